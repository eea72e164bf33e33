//! Members come and go by the log: in steps after which every two majorities of neighbouring configurations have a
//! voter in common; a learner votes once it holds what is committed; and whoever was removed takes part in nothing.
//!
//! What a change makes of a region the judge computes by itself, so that a store that computes something else is
//! found when shapes are compared.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{
    ConfVer, Family, Index, KvRead, Mutation, Peer, PeerId, PeerRole, Region, RegionId, StoreId,
    Term,
};
use flotilla_multiraft::{ChangeKind, ChangePeers, PeerMessage};
use flotilla_raftgroup::{Entry, EntryKind, MessageKind, disk};

use super::log_matching::position_of;
use super::{Place, Verdict, require};

const OVERLAP: &str = "majorities of neighbouring configurations have a voter in common";
const GONE: &str = "a removed peer takes part in nothing";
const PROOF: &str = "a learner is promoted by proof";

/// First byte of the keys of tombstones.
pub(super) const TOMBSTONE_KIND: u8 = 0x15;

/// What is known of members besides their shapes.
#[derive(Debug, Default)]
pub struct MembershipJudge {
    /// So many entries of what is committed a promoted learner may lack.
    pub promotion_lag_max: u64,
    /// Peers that know that they were removed.
    gone: BTreeSet<(Place, PeerId)>,
    /// The last entry that each store holds durably.
    durable: BTreeMap<Place, Index>,
    /// What the leader that was asked for changes of a membership of this version knew committed then, at least.
    asked: BTreeMap<(RegionId, ConfVer), Index>,
    /// Changes that stand in some log.
    seen: BTreeSet<(RegionId, Index, Term)>,
}

impl MembershipJudge {
    /// A leader that knows so much committed is asked for a change.
    pub fn on_asked(&mut self, region: RegionId, asked: ConfVer, committed: Index) {
        let least = self.asked.entry((region, asked)).or_insert(committed);
        *least = committed.min(*least);
    }

    /// A replica is told that it is no member any more.
    pub fn on_removed(&mut self, place: Place, peer: PeerId) {
        self.gone.insert((place, peer));
    }

    /// A peer is found on a disk that says whether it is removed. What was applied and not durable is not known any more.
    pub fn on_found(&mut self, place: Place, peer: PeerId, is_removed: bool) {
        if is_removed {
            self.gone.insert((place, peer));
        } else {
            self.gone.remove(&(place, peer));
        }
    }

    /// A peer makes a message.
    ///
    /// # Errors
    /// It knows that it is no member.
    pub fn on_message(&self, message: &PeerMessage) -> Verdict {
        let place = Place(message.from.store, message.region);
        let kind = message.message.kind;
        let is_end = kind == MessageKind::GoneConfirmed;
        let is_gone = self.gone.contains(&(place, message.from.id));
        require(is_end || !is_gone, GONE, || {
            format!("{place}: peer {} says {kind:?}", message.from.id)
        })
    }

    /// A store made everything up to a point durable, or came back from a crash.
    pub fn on_synced(&mut self, store: StoreId, regions: &[RegionId], synced: &dyn KvRead) {
        for region in regions {
            let state = disk::read_raft_state(synced, *region).ok().flatten();
            let last = state.unwrap_or_default().last.index;
            self.durable.insert(Place(store, *region), last);
        }
    }

    /// A batch was written at a store; `committed` is what each of its regions there knows committed, and `shape` what
    /// a region looks like by the log.
    ///
    /// # Errors
    /// It holds the promotion of a learner that lacks what is committed.
    pub fn on_write<'a>(
        &mut self,
        batch: &[Mutation],
        committed: impl Fn(RegionId) -> Index,
        shape: impl Fn(RegionId) -> Option<&'a Region>,
    ) -> Verdict {
        for mutation in batch {
            let Mutation::Put(Family::RaftLog, key, record) = mutation else { continue };
            let (region, index) = position_of(key);
            let Ok(entry) = disk::decode_entry(index, record) else { continue };
            let Some(command) = change_in(&entry) else { continue };
            if self.seen.insert((region, index, entry.term)) {
                self.check_proof(region, &command, committed(region), shape(region))?;
            }
        }
        Ok(())
    }

    fn check_proof(
        &self,
        region: RegionId,
        command: &ChangePeers,
        committed: Index,
        shape: Option<&Region>,
    ) -> Verdict {
        let counts = shape.is_some_and(|it| it.epoch.conf_ver == command.epoch.conf_ver);
        let promoted = command.changes.iter().filter(|it| counts && it.kind == ChangeKind::Promote);
        // It judges when it is asked; it may hear of more before it writes.
        let asked = self.asked.get(&(region, command.epoch.conf_ver)).copied();
        let committed = asked.map_or(committed, |asked| asked.min(committed));
        for step in promoted {
            let place = Place(step.store, region);
            let durable = self.durable.get(&place).copied().unwrap_or_default();
            let holds = durable.get() + self.promotion_lag_max >= committed.get();
            require(holds, PROOF, || {
                format!("{place}: holds up to {durable}, {committed} is committed elsewhere")
            })?;
        }
        Ok(())
    }
}

/// The change that an entry holds.
#[must_use]
pub fn change_in(entry: &Entry) -> Option<ChangePeers> {
    let is_change = entry.kind == EntryKind::ConfChangeV2;
    is_change.then(|| ChangePeers::decode(&entry.data).ok()).flatten()
}

/// Whether a peer that had a place on a disk is destroyed there.
#[must_use]
pub fn is_buried(region: RegionId, synced: &dyn KvRead) -> bool {
    let key = disk::meta_key(TOMBSTONE_KIND, region);
    let is_there = synced.get(Family::RaftMeta, &key).is_ok_and(|found| found.is_some());
    is_there && disk::read_raft_state(synced, region).is_ok_and(|state| state.is_none())
}

/// What a region of this shape becomes by a change; `None` where it does not count.
///
/// # Errors
/// Majorities of the two could pass each other by.
pub fn changed(shape: &Region, command: &ChangePeers) -> Result<Option<Region>, super::Violation> {
    if shape.epoch.conf_ver != command.epoch.conf_ver {
        return Ok(None);
    }
    let mut after = shape.clone();
    let role_of = |id: PeerId| shape.peer(id).map(|peer| peer.role);
    let moved = command.changes.iter().filter(|step| match step.kind {
        ChangeKind::AddLearner => false,
        ChangeKind::Promote | ChangeKind::Demote => true,
        ChangeKind::Remove => role_of(step.peer) == Some(PeerRole::Voter),
    });
    let is_joint = moved.count() > 1;
    let mut count = command.changes.len() as u64;
    for step in &command.changes {
        let found = after.peers.iter().position(|peer| peer.id == step.peer);
        match (step.kind, found) {
            (ChangeKind::AddLearner, None) => {
                let role = PeerRole::Learner;
                after.peers.push(Peer { id: step.peer, store: step.store, role });
            }
            (ChangeKind::Remove, Some(at)) => _ = after.peers.remove(at),
            (ChangeKind::Promote, Some(at)) => {
                after.peers[at].role =
                    if is_joint { PeerRole::IncomingVoter } else { PeerRole::Voter };
            }
            (ChangeKind::Demote, Some(at)) => {
                after.peers[at].role =
                    if is_joint { PeerRole::DemotingVoter } else { PeerRole::Learner };
            }
            _ => return Ok(None),
        }
    }
    if command.changes.is_empty() {
        for peer in &mut after.peers {
            let settled = match peer.role {
                PeerRole::IncomingVoter => PeerRole::Voter,
                PeerRole::DemotingVoter => PeerRole::Learner,
                role => role,
            };
            count += u64::from(settled != peer.role);
            peer.role = settled;
        }
    }
    after.epoch.conf_ver = ConfVer(shape.epoch.conf_ver.get() + count);
    require(overlap(shape, &after), OVERLAP, || format!("{shape:?} and {after:?}"))?;
    Ok(Some(after))
}

/// Whether a configuration is a joint one.
#[must_use]
pub fn is_joint(region: &Region) -> bool {
    let is_half = |role| matches!(role, PeerRole::IncomingVoter | PeerRole::DemotingVoter);
    region.peers.iter().any(|peer| is_half(peer.role))
}

/// Whether every two majorities have a voter in common: all sets of peers are tried.
fn overlap(one: &Region, other: &Region) -> bool {
    let ids: BTreeSet<PeerId> = one.peers.iter().chain(&other.peers).map(|peer| peer.id).collect();
    let ids: Vec<PeerId> = ids.into_iter().collect();
    (0..1_u64 << ids.len()).all(|set| {
        let is_in =
            |id: PeerId| ids.iter().position(|it| *it == id).is_some_and(|at| set >> at & 1 == 1);
        !(decides(one, is_in) && decides(other, |id| !is_in(id)))
    })
}

fn decides(region: &Region, is_in: impl Fn(PeerId) -> bool) -> bool {
    let majority = |roles: [PeerRole; 2]| {
        let half = region.peers.iter().filter(|peer| roles.contains(&peer.role));
        let (voters, yes) = half
            .fold((0, 0), |(voters, yes), peer| (voters + 1, yes + usize::from(is_in(peer.id))));
        yes * 2 > voters
    };
    let stays = majority([PeerRole::Voter, PeerRole::IncomingVoter]);
    let goes = majority([PeerRole::Voter, PeerRole::DemotingVoter]);
    stays && (goes || !is_joint(region))
}

#[cfg(test)]
mod tests {
    use flotilla_base::Epoch;
    use flotilla_multiraft::PeerChange;

    use super::*;
    use crate::judge::samples::{
        ONE, REGION, append, broken, disk, entry, message, position, region,
    };
    use crate::judge::samples::{peer, raft_state};

    fn step(kind: ChangeKind, store: u64) -> PeerChange {
        let Peer { id: peer, store, .. } = peer(store);
        PeerChange { kind, peer, store }
    }

    fn command(changes: &[PeerChange]) -> ChangePeers {
        ChangePeers { epoch: Epoch::FIRST, changes: changes.to_vec() }
    }

    #[test]
    fn majorities_that_pass_each_other_by_are_found() {
        let roles = |roles: [PeerRole; 3]| {
            let mut region = region();
            for (peer, role) in region.peers.iter_mut().zip(roles) {
                peer.role = role;
            }
            region
        };
        use PeerRole::{DemotingVoter, Learner, Voter};
        let (all, one) = (roles([Voter; 3]), roles([Voter, Learner, Learner]));
        let joint = roles([Voter, DemotingVoter, DemotingVoter]);
        assert!(!overlap(&all, &one), "two of three do not need the first");
        assert!(overlap(&all, &joint) && overlap(&joint, &one));
        assert!(overlap(&all, &roles([Voter, Voter, Learner])));
    }

    #[test]
    fn a_change_is_computed_anew() {
        let after = |changes: &[PeerChange]| changed(&region(), &command(changes)).expect("sound");
        let demoted = after(&[step(ChangeKind::Demote, 3)]).expect("it counts");
        assert_eq!(
            (demoted.peers[2].role, demoted.epoch.conf_ver),
            (PeerRole::Learner, ConfVer(2))
        );
        let both = [step(ChangeKind::Demote, 2), step(ChangeKind::Demote, 3)];
        assert!(is_joint(&after(&both).expect("it counts")));
        assert_eq!(after(&[step(ChangeKind::Remove, 4)]), None);
        let old = ChangePeers { epoch: Epoch::default(), ..command(&both) };
        assert_eq!(changed(&region(), &old), Ok(None));
    }

    #[test]
    fn a_removed_peer_that_speaks_is_found() {
        let mut judge = MembershipJudge::default();
        let vote = message(MessageKind::RequestVoteResponse, 6);
        assert_eq!(judge.on_message(&vote), Ok(()));
        judge.on_removed(ONE, vote.from.id);
        assert_eq!(broken(judge.on_message(&vote)), GONE);
        assert_eq!(judge.on_message(&message(MessageKind::GoneConfirmed, 0)), Ok(()));
        judge.on_found(ONE, vote.from.id, false);
        assert_eq!(judge.on_message(&vote), Ok(()), "a crash took that back");
        judge.on_found(ONE, vote.from.id, true);
        assert_eq!(broken(judge.on_message(&vote)), GONE);
    }

    #[test]
    fn a_promotion_without_a_log_is_found() {
        let data = command(&[step(ChangeKind::Promote, 2)]).encode();
        let kind = EntryKind::ConfChangeV2;
        let promotion = Entry { kind, data, ..entry(6, 9, "k", "1:") };
        let shape = region();
        for (last, is_sound) in [(8, true), (7, true), (6, false)] {
            let mut judge = MembershipJudge { promotion_lag_max: 1, ..MembershipJudge::default() };
            let held = disk([vec![raft_state(6, 0, position(6, last))]]);
            judge.on_synced(StoreId(2), &[REGION], held.synced());
            let batch = append(8, std::slice::from_ref(&promotion));
            let verdict = judge.on_write(&batch, |_| Index(8), |_| Some(&shape));
            assert_eq!(verdict.is_ok(), is_sound, "{last}");
        }
    }
}
