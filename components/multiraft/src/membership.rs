//! Changes of a region's members: what is asked for, what the region becomes by it, and who counts then.
//!
//! The command stands in the log as the data of an entry of raft's own kind for changes. What the region becomes is
//! a function of the region and the command; what raft is told follows from what the region became. So there is one
//! decision, and raft only has a view of it.
//!
//! A change of at most one voter is simple. One of several voters takes two entries: the first one enters a joint
//! configuration, in which some members are voters of one half only, and the second one, a command without steps,
//! leaves it. The leader proposes the second one by itself, and so does every leader that finds a joint
//! configuration: it is never left to the one that entered it.

use std::collections::BTreeSet;

use bytes::Bytes;
use flotilla_base::codec::{CodecError, RecordReader, RecordWriter};
use flotilla_base::{ConfVer, Epoch, Peer, PeerId, PeerRole, Region, StoreId, Version};
use flotilla_raftgroup::Voters;

use crate::input::RequestError;

/// So many steps one change may have.
pub const CHANGES_MAX: usize = 16;

const VERSION: u8 = 1;
/// Differs from the kinds of all other commands: whoever looks at the kind alone takes it for none of them.
const KIND_CHANGE_PEERS: u8 = 5;

/// What a step does to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// A new member, which receives the log and does not count.
    AddLearner,
    /// A learner becomes a voter.
    Promote,
    /// A voter becomes a learner.
    Demote,
    /// A member is none any more, and its store destroys what it had.
    Remove,
}

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// What happens.
    pub kind: ChangeKind,
    /// To whom. A new member's id was never used before.
    pub peer: PeerId,
    /// Where it lives.
    pub store: StoreId,
}

/// A change of a region's members. Without steps it leaves a joint configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangePeers {
    /// Shape of the region under which it was proposed. The membership's version is checked again at apply; that of
    /// the range does not matter.
    pub epoch: Epoch,
    /// The steps, which take effect together.
    pub changes: Vec<PeerChange>,
}

/// Why a change is refused. The last five are known to the leader alone; the others are found in the log as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It has too many steps.
    #[error("it has {0} steps; up to {CHANGES_MAX} can be made at once")]
    Count(usize),
    /// There is nothing to do: it has no steps, and there is no joint configuration to leave.
    #[error("it changes nothing")]
    Empty,
    /// The last change is not over.
    #[error("the last change is not over yet")]
    Joint,
    /// Two steps are about one peer, or an id is zero.
    #[error("peer {0} is named twice, or has no id")]
    Ids(PeerId),
    /// The region has no such member.
    #[error("peer {peer} on store {store} is no member")]
    Unknown {
        /// Who.
        peer: PeerId,
        /// Where.
        store: StoreId,
    },
    /// A new member has an id that is or was used, or lives where there is one already.
    #[error("store {store} has a member already, or the id of peer {peer} was used before")]
    Taken {
        /// Who.
        peer: PeerId,
        /// Where.
        store: StoreId,
    },
    /// The member is no learner, or no voter.
    #[error("peer {0} cannot be promoted or demoted: it is that already")]
    Role(PeerId),
    /// Among several steps that change voters, a voter can be demoted only, and so can one of two. Of two voters both
    /// must hold the entry; the one that is removed may learn first that they do, and be destroyed, while the other one
    /// restarts without that knowledge and needs its vote.
    #[error(
        "voter {0} must be demoted first: other voters change with it, or only one would be left"
    )]
    RemovesVoter(PeerId),
    /// Nobody would vote.
    #[error("no voter would be left")]
    LastVoter,
    /// The leader itself would be removed or demoted.
    #[error("the leader is among them; it hands over to {}", shown(.successor))]
    Leader {
        /// To whom it hands over, if anybody can take over: ask there.
        successor: Option<PeerId>,
    },
    /// A learner has not proved that it holds the log.
    #[error("learner {peer} holds the log up to {matched} only, {committed} is committed")]
    NotCaughtUp {
        /// Who.
        peer: PeerId,
        /// What it is known to hold.
        matched: flotilla_base::Index,
        /// What it needs, nearly.
        committed: flotilla_base::Index,
    },
    /// A learner does not answer.
    #[error("learner {0} was not heard for too long")]
    Silent(PeerId),
    /// The voters that answer would be no majority.
    #[error("only {heard} of {voters} voters answered lately")]
    NoMajority {
        /// How many answered.
        heard: usize,
        /// How many there would be.
        voters: usize,
    },
}

fn shown(successor: &Option<PeerId>) -> String {
    successor.map_or_else(|| "nobody, since none could".to_owned(), |peer| format!("peer {peer}"))
}

impl ChangePeers {
    /// The command as the data of an entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut record = RecordWriter::new(VERSION);
        record.byte(KIND_CHANGE_PEERS);
        record.number(self.epoch.version.get()).number(self.epoch.conf_ver.get());
        record.number(self.changes.len() as u64);
        for PeerChange { kind, peer, store } in &self.changes {
            record.byte(number_of(*kind)).number(peer.get()).number(store.get());
        }
        record.finish()
    }

    /// The command in the data of an entry.
    ///
    /// # Errors
    /// [`CodecError`] where this program does not know the command; the store must stop.
    pub fn decode(data: &Bytes) -> Result<Self, CodecError> {
        let mut fields = RecordReader::open(data, VERSION)?;
        if fields.byte()? != KIND_CHANGE_PEERS {
            return Err(CodecError::Meaningless("command kind"));
        }
        let (version, conf_ver) = (Version(fields.number()?), ConfVer(fields.number()?));
        let mut changes = Vec::new();
        for _ in 0..fields.number()? {
            let kind = kind_of(fields.byte()?)?;
            let (peer, store) = (PeerId(fields.number()?), StoreId(fields.number()?));
            changes.push(PeerChange { kind, peer, store });
        }
        fields.finish()?;
        Ok(Self { epoch: Epoch { version, conf_ver }, changes })
    }
}

const fn number_of(kind: ChangeKind) -> u8 {
    match kind {
        ChangeKind::AddLearner => 1,
        ChangeKind::Promote => 2,
        ChangeKind::Demote => 3,
        ChangeKind::Remove => 4,
    }
}

const fn kind_of(number: u8) -> Result<ChangeKind, CodecError> {
    match number {
        1 => Ok(ChangeKind::AddLearner),
        2 => Ok(ChangeKind::Promote),
        3 => Ok(ChangeKind::Demote),
        4 => Ok(ChangeKind::Remove),
        _ => Err(CodecError::Meaningless("step of a change")),
    }
}

/// Whether a member is a voter of one half only.
#[must_use]
pub fn is_joint(region: &Region) -> bool {
    let is_settled = |role| matches!(role, PeerRole::Voter | PeerRole::Learner);
    !region.peers.iter().all(|peer| is_settled(peer.role))
}

/// Who counts in a region.
#[must_use]
pub fn voters_of(region: &Region) -> Voters {
    let with = |roles: &[PeerRole]| {
        let peers = region.peers.iter().filter(|peer| roles.contains(&peer.role));
        let mut peers: Vec<PeerId> = peers.map(|peer| peer.id).collect();
        peers.sort_unstable();
        peers
    };
    let outgoing = if is_joint(region) {
        with(&[PeerRole::Voter, PeerRole::DemotingVoter])
    } else {
        Vec::new()
    };
    Voters {
        voters: with(&[PeerRole::Voter, PeerRole::IncomingVoter]),
        learners: with(&[PeerRole::Learner]),
        outgoing,
        learners_next: with(&[PeerRole::DemotingVoter]),
    }
}

/// What `region` becomes by `command`: a function of the two and of nothing else.
///
/// The version of the membership grows by one with each step, and where a joint configuration is left by one with
/// each member whose role changes.
///
/// # Errors
/// Another version of the membership, or [`ChangeError`].
pub fn change(region: &Region, command: &ChangePeers) -> Result<Region, RequestError> {
    if command.epoch.conf_ver != region.epoch.conf_ver {
        return Err(RequestError::EpochNotMatch { current: Box::new(region.clone()) });
    }
    let changed = match command.changes.as_slice() {
        [] => leave(region),
        changes => enter(region, changes),
    };
    let (changed, count) =
        changed.map_err(|cause| RequestError::Change { region: region.id, cause })?;
    let conf_ver = ConfVer(region.epoch.conf_ver.get() + count as u64);
    let changed = Region { epoch: Epoch { conf_ver, ..region.epoch }, ..changed };
    debug_assert!(changed.validate().is_ok(), "{changed:?}");
    debug_assert!(count > 0, "a change without a new version");
    Ok(changed)
}

fn leave(region: &Region) -> Result<(Region, usize), ChangeError> {
    let mut settled = region.clone();
    let mut count = 0;
    for peer in &mut settled.peers {
        peer.role = match peer.role {
            PeerRole::IncomingVoter => PeerRole::Voter,
            PeerRole::DemotingVoter => PeerRole::Learner,
            PeerRole::Voter | PeerRole::Learner => continue,
        };
        count += 1;
    }
    if count == 0 { Err(ChangeError::Empty) } else { Ok((settled, count)) }
}

fn enter(region: &Region, changes: &[PeerChange]) -> Result<(Region, usize), ChangeError> {
    if changes.len() > CHANGES_MAX {
        return Err(ChangeError::Count(changes.len()));
    }
    if is_joint(region) {
        return Err(ChangeError::Joint);
    }
    let is_voter = |id| region.peer(id).is_some_and(|peer: Peer| peer.role == PeerRole::Voter);
    let touches_voters = |it: &&PeerChange| match it.kind {
        ChangeKind::AddLearner => false,
        ChangeKind::Promote | ChangeKind::Demote => true,
        ChangeKind::Remove => is_voter(it.peer),
    };
    let becomes_joint = changes.iter().filter(touches_voters).count() > 1;
    let mut changed = region.clone();
    let mut named = BTreeSet::from([PeerId(0)]);
    for step in changes {
        if !named.insert(step.peer) {
            return Err(ChangeError::Ids(step.peer));
        }
        take_step(&mut changed, *step, becomes_joint)?;
    }
    let stays = |peer: &&Peer| matches!(peer.role, PeerRole::Voter | PeerRole::IncomingVoter);
    let voters = changed.peers.iter().filter(stays).count();
    if voters == 0 {
        return Err(ChangeError::LastVoter);
    }
    let removed = changes.iter().find(|it| it.kind == ChangeKind::Remove && is_voter(it.peer));
    if let Some(removed) = removed.filter(|_| voters == 1) {
        return Err(ChangeError::RemovesVoter(removed.peer));
    }
    Ok((changed, changes.len()))
}

fn take_step(
    region: &mut Region,
    step: PeerChange,
    becomes_joint: bool,
) -> Result<(), ChangeError> {
    let PeerChange { kind, peer, store } = step;
    if kind == ChangeKind::AddLearner {
        let is_taken = region.peer(peer).is_some() || region.peer_on(store).is_some();
        if is_taken || store.is_none() {
            return Err(ChangeError::Taken { peer, store });
        }
        region.peers.push(Peer { id: peer, store, role: PeerRole::Learner });
        return Ok(());
    }
    let place = region.peers.iter().position(|it| (it.id, it.store) == (peer, store));
    let place = place.ok_or(ChangeError::Unknown { peer, store })?;
    let role = &mut region.peers[place].role;
    match (kind, *role) {
        (ChangeKind::Promote, PeerRole::Learner) if becomes_joint => {
            *role = PeerRole::IncomingVoter;
        }
        (ChangeKind::Promote, PeerRole::Learner) => *role = PeerRole::Voter,
        (ChangeKind::Demote, PeerRole::Voter) if becomes_joint => *role = PeerRole::DemotingVoter,
        (ChangeKind::Demote, PeerRole::Voter) => *role = PeerRole::Learner,
        (ChangeKind::Remove, PeerRole::Voter) if becomes_joint => {
            return Err(ChangeError::RemovesVoter(peer));
        }
        (ChangeKind::Remove, _) => _ = region.peers.remove(place),
        _ => return Err(ChangeError::Role(peer)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flotilla_base::{KeyRange, RegionId};
    use flotilla_damage::{assert_canonical, damaged_records};
    use proptest::prelude::*;

    use super::*;

    const KINDS: [ChangeKind; 4] = [AddLearner, Promote, Demote, Remove];

    /// Voters on the stores 1 to 3, a learner on store 4.
    fn region() -> Region {
        let peer = |store| Peer::voter(PeerId(20 + store), StoreId(store));
        let mut peers: Vec<Peer> = (1..=4).map(peer).collect();
        peers[3].role = Learner;
        Region { id: RegionId(2), range: KeyRange::all(), epoch: Epoch::FIRST, peers }
    }

    fn step(kind: ChangeKind, store: u64) -> PeerChange {
        PeerChange { kind, peer: PeerId(20 + store), store: StoreId(store) }
    }

    fn command(region: &Region, changes: &[PeerChange]) -> ChangePeers {
        ChangePeers { epoch: region.epoch, changes: changes.to_vec() }
    }

    fn changed(changes: &[PeerChange]) -> Result<Region, ChangeError> {
        change(&region(), &command(&region(), changes)).map_err(|error| match error {
            RequestError::Change { cause, .. } => cause,
            other => panic!("{other:?}"),
        })
    }

    fn roles(region: &Region) -> Vec<(u64, PeerRole)> {
        region.peers.iter().map(|peer| (peer.store.get(), peer.role)).collect()
    }

    use ChangeKind::{AddLearner, Demote, Promote, Remove};
    use PeerRole::{DemotingVoter, IncomingVoter, Learner, Voter};

    #[test]
    fn a_change_of_one_voter_is_simple() {
        let three = [(1, Voter), (2, Voter), (3, Voter)];
        for (changes, last, conf_ver) in [
            (vec![step(AddLearner, 5)], vec![(4, Learner), (5, Learner)], 2),
            (vec![step(Promote, 4)], vec![(4, Voter)], 2),
            (vec![step(Remove, 4)], vec![], 2),
            (vec![step(Promote, 4), step(AddLearner, 5)], vec![(4, Voter), (5, Learner)], 3),
        ] {
            let after = changed(&changes).expect("sound");
            assert_eq!(roles(&after), [&three[..], &last].concat(), "{changes:?}");
            assert_eq!(after.epoch.conf_ver, ConfVer(conf_ver));
            assert!(!is_joint(&after) && !voters_of(&after).is_joint());
        }
        let after = changed(&[step(Demote, 3)]).expect("sound");
        assert_eq!(roles(&after)[2], (3, Learner));
        let after = changed(&[step(Remove, 2), step(Remove, 4)]).expect("sound");
        assert_eq!(roles(&after), [(1, Voter), (3, Voter)]);
    }

    #[test]
    fn a_change_of_several_voters_is_entered_and_left() {
        let joint = changed(&[step(Promote, 4), step(Demote, 1)]).expect("sound");
        assert_eq!(roles(&joint), [(1, DemotingVoter), (2, Voter), (3, Voter), (4, IncomingVoter)]);
        assert_eq!(joint.epoch.conf_ver, ConfVer(3));
        let ids = |ids: &[u64]| ids.iter().copied().map(PeerId).collect::<Vec<_>>();
        let expected = Voters {
            voters: ids(&[22, 23, 24]),
            learners: ids(&[]),
            outgoing: ids(&[21, 22, 23]),
            learners_next: ids(&[21]),
        };
        assert_eq!(voters_of(&joint), expected);
        let another = change(&joint, &command(&joint, &[step(Promote, 1)]));
        let cause = ChangeError::Joint;
        assert_eq!(another, Err(RequestError::Change { region: RegionId(2), cause }));
        let after = change(&joint, &command(&joint, &[])).expect("there is something to leave");
        assert_eq!(roles(&after), [(1, Learner), (2, Voter), (3, Voter), (4, Voter)]);
        assert_eq!(after.epoch.conf_ver, ConfVer(5));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let (peer, store) = (PeerId(25), StoreId(5));
        for (changes, expected) in [
            (vec![], ChangeError::Empty),
            (vec![step(AddLearner, 9); 17], ChangeError::Count(17)),
            (vec![step(AddLearner, 5), step(Promote, 5)], ChangeError::Ids(peer)),
            (vec![PeerChange { peer: PeerId(0), ..step(Remove, 1) }], ChangeError::Ids(PeerId(0))),
            (vec![step(Remove, 5)], ChangeError::Unknown { peer, store }),
            (vec![step(AddLearner, 0)], ChangeError::Taken { peer: PeerId(20), store: StoreId(0) }),
            (
                vec![PeerChange { store: StoreId(2), ..step(AddLearner, 5) }],
                ChangeError::Taken { peer, store: StoreId(2) },
            ),
            (
                vec![PeerChange { peer: PeerId(22), ..step(AddLearner, 5) }],
                ChangeError::Taken { peer: PeerId(22), store },
            ),
            (
                vec![PeerChange { store: StoreId(2), ..step(Promote, 4) }],
                ChangeError::Unknown { peer: PeerId(24), store: StoreId(2) },
            ),
            (vec![step(Promote, 1)], ChangeError::Role(PeerId(21))),
            (vec![step(Demote, 4)], ChangeError::Role(PeerId(24))),
            (vec![step(Demote, 1), step(Remove, 2)], ChangeError::RemovesVoter(PeerId(22))),
            (vec![step(Demote, 1), step(Demote, 2), step(Demote, 3)], ChangeError::LastVoter),
        ] {
            assert_eq!(changed(&changes), Err(expected), "{changes:?}");
        }
    }

    #[test]
    fn one_of_two_voters_is_demoted_before_it_is_removed() {
        let mut two = region();
        two.peers.remove(0);
        let cause = ChangeError::RemovesVoter(PeerId(22));
        let refused = change(&two, &command(&two, &[step(Remove, 2)]));
        assert_eq!(refused, Err(RequestError::Change { region: RegionId(2), cause }));
        let demoted = change(&two, &command(&two, &[step(Demote, 2)])).expect("sound");
        assert!(change(&demoted, &command(&demoted, &[step(Remove, 2)])).is_ok());
    }

    #[test]
    fn only_the_version_of_the_membership_is_compared() {
        let version = Version(9);
        let epoch = Epoch { version, ..Epoch::FIRST };
        let changes = vec![step(Promote, 4)];
        assert!(change(&region(), &ChangePeers { epoch, changes: changes.clone() }).is_ok());
        for conf_ver in [0, 2].map(ConfVer) {
            let epoch = Epoch { conf_ver, ..Epoch::FIRST };
            let refused = change(&region(), &ChangePeers { epoch, changes: changes.clone() });
            assert!(matches!(refused, Err(RequestError::EpochNotMatch { .. })), "{conf_ver}");
        }
    }

    prop_compose! {
        fn commands()(
            epoch in (any::<u64>(), any::<u64>()),
            changes in prop::collection::vec(
                (prop::sample::select(KINDS.to_vec()), any::<u64>(), any::<u64>()),
                0..5,
            ),
        ) -> ChangePeers {
            let epoch = Epoch { version: Version(epoch.0), conf_ver: ConfVer(epoch.1) };
            let change = |(kind, peer, store)| {
                PeerChange { kind, peer: PeerId(peer), store: StoreId(store) }
            };
            ChangePeers { epoch, changes: changes.into_iter().map(change).collect() }
        }
    }

    proptest! {
        #[test]
        fn round_trip(command in commands()) {
            let data = command.encode();
            prop_assert!(!crate::Command::is_split(&data));
            prop_assert_eq!(ChangePeers::decode(&data), Ok(command));
        }

        #[test]
        fn damaged_commands_are_refused_or_canonical(
            record in damaged_records(commands().prop_map(|command| command.encode().to_vec())),
        ) {
            let decode = |record: &[u8]| ChangePeers::decode(&Bytes::copy_from_slice(record));
            assert_canonical(&record, decode, |command| command.encode().to_vec());
        }

        /// Whatever is asked for, neighbouring configurations share a voter in every two majorities.
        #[test]
        fn neighbours_overlap(
            steps in prop::collection::vec((prop::sample::select(KINDS.to_vec()), 1..7_u64), 0..6),
        ) {
            let mut now = region();
            for round in steps.chunks(2) {
                let changes: Vec<_> = round.iter().map(|(kind, store)| step(*kind, *store)).collect();
                for changes in [&changes[..], &[]] {
                    let Ok(after) = change(&now, &command(&now, changes)) else { continue };
                    let (old, new) = (voters_of(&now), voters_of(&after));
                    let joins = new.outgoing == old.voters || old.outgoing == new.outgoing;
                    let differs = old.voters.iter().filter(|it| !new.voters.contains(it)).count()
                        + new.voters.iter().filter(|it| !old.voters.contains(it)).count();
                    let leaves = old.is_joint() && new.voters == old.voters;
                    prop_assert!(leaves || (new.is_joint() && joins) || differs <= 1, "{:?}", after);
                    prop_assert!(!new.voters.is_empty());
                    now = after;
                }
            }
        }
    }

    #[test]
    fn golden_bytes() {
        let epoch = Epoch { version: Version(3), conf_ver: ConfVer(2) };
        let bytes = ChangePeers { epoch, changes: vec![step(Promote, 4)] }.encode();
        assert_eq!(bytes[..8], [1, 5, 3, 2, 1, 2, 24, 4]);
        assert_eq!(bytes.len(), 12);
    }
}
