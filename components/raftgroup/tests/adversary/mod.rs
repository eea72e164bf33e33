//! One group, and whatever the network could say to it. A sequence of bytes is a script: it chooses the
//! state in which the group is met, and then messages of all kinds with the numbers that hurt, between the
//! steps that its host does anyway. The group may refuse and forget; it may not panic, nor take back what it
//! promised, nor hand out what is not durable.

pub(crate) mod message;
mod peer;
pub(crate) mod script;

use flotilla_raftgroup::{Group, HardState, MessageKind, Role, StepError};

pub(crate) use peer::Peer;
use script::Script;

/// What became of the messages of some scripts: a test that saw nothing proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Messages that were stepped, by the role in which they met the group.
    pub(crate) stepped: [u64; 4],
    /// Messages that were refused.
    pub(crate) refused: u64,
    /// Messages that proved damage.
    pub(crate) damaged: u64,
    /// Entries that were committed.
    pub(crate) committed: u64,
    /// Appends that replaced entries.
    pub(crate) overwritten: u64,
    /// Crashes.
    pub(crate) crashes: u64,
    /// Reads that were granted.
    pub(crate) granted: u64,
    /// Snapshots that were to be sent, and those that would have been installed.
    pub(crate) snapshots: u64,
    pub(crate) installable: u64,
}

impl Tally {
    /// Adds what another script saw.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = self.stepped.iter_mut().zip(other.stepped);
        pairs.for_each(|(sum, more)| *sum += more);
        self.refused += other.refused;
        self.damaged += other.damaged;
        self.committed += other.committed;
        self.overwritten += other.overwritten;
        self.crashes += other.crashes;
        self.granted += other.granted;
        self.snapshots += other.snapshots;
        self.installable += other.installable;
    }
}

/// Plays a script to its end, or to the first message that proves damage.
///
/// # Panics
/// Where the group panics, or breaks a rule.
#[must_use]
pub(crate) fn play(bytes: &[u8]) -> Tally {
    let mut script = Script::new(bytes);
    let mut peer = Peer::met_in(script.choose(peer::STATES), script.byte());
    while !script.is_over() {
        match script.choose(24) {
            0..12 => {
                if !hear(&mut peer, &mut script) {
                    break;
                }
            }
            12..16 => peer.collect(),
            16..18 => peer.sync(),
            18 => peer.apply(),
            19 => peer.wake(),
            20 => peer.pass_time(u64::from(script.byte()) * 8),
            21 => peer.propose(script.byte()),
            22 => peer.read_or_transfer(script.byte()),
            _ => peer.truncate_or_crash(script.byte()),
        }
        peer.check();
    }
    peer.tally
}

/// A message arrives; `false` where it proves damage, and the peer is out of service.
fn hear(peer: &mut Peer, script: &mut Script<'_>) -> bool {
    let message = message::any(&peer.known(), script);
    let before = (peer.group.role(), peer.group.committed(), peer.group.last());
    let is_member = peer.is_member(message.from);
    let (kind, term, commit) = (message.kind, message.term, message.commit);
    if peer.group.check_snapshot(&message).is_ok() {
        assert!(message.index > before.1, "{message:?} brings nothing new");
        let promised = HardState { term: before.0.term, ..HardState::default() };
        let behind = Group::promise_behind_snapshot(promised, &message);
        assert!(behind.term >= before.0.term, "{message:?} takes a promise back");
        peer.tally.installable += 1;
    }
    match peer.group.step(peer.now, message) {
        Ok(()) => {
            let role = match before.0.role {
                Role::Follower => 0,
                Role::PreCandidate => 1,
                Role::Candidate => 2,
                Role::Leader => 3,
            };
            peer.tally.stepped[role] += 1;
            true
        }
        Err(StepError::Damaged(_)) => {
            let is_proof = matches!(kind, MessageKind::Heartbeat | MessageKind::Quiesce)
                && is_member
                && commit > before.2.index
                && (term > before.0.term
                    || (term == before.0.term && before.0.role != Role::Leader));
            assert!(
                is_proof,
                "{kind:?} of term {term} commit {commit} proves no damage: {before:?}"
            );
            peer.tally.damaged += 1;
            false
        }
        Err(_refused) => {
            let after = (peer.group.role(), peer.group.committed(), peer.group.last());
            assert_eq!(after, before, "a message that is refused changes nothing");
            peer.tally.refused += 1;
            true
        }
    }
}
