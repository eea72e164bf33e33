//! Who counts in a group, and how that changes.
//!
//! A change is an entry of the log whose data belongs to the state machine: this crate only knows that it is one.
//! It counts from the moment at which it is *applied*, on each member for itself. What keeps two majorities from
//! passing each other by is that neighbouring configurations differ by one voter, or by a joint configuration
//! between them, and that a leader proposes the next change only behind the last one.
//!
//! The crate's own way to propose a change is not used: it parses the data as its own protobuf form, and where it
//! dislikes the moment it puts an empty entry in the change's place without a word. Here a change at a bad moment is
//! refused. The crate's automatic end of a joint configuration is not used either: it is lost with its leader.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_base::{Bug, Index, Moment, PeerId, Seeded, Term};
use raft::eraftpb::{self, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use crate::group::{Group, ProposeError};
use crate::message::{LogPosition, Voters};

impl Voters {
    /// Whether two majorities are needed.
    #[must_use]
    pub const fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `peer` alone decides everything.
    #[must_use]
    pub fn is_sole(&self, peer: PeerId) -> bool {
        let is_only = |half: &[PeerId]| half.iter().all(|voter| *voter == peer);
        !self.voters.is_empty() && is_only(&self.voters) && is_only(&self.outgoing)
    }

    /// The same members with what is wrong on purpose.
    pub(crate) fn with_bugs(self, seeded: Seeded) -> Self {
        if !seeded.has(Bug::JOINT_QUORUM_ONE_HALF) {
            return self;
        }
        let mut half = Self { outgoing: Vec::new(), learners_next: Vec::new(), ..self };
        half.learners.extend(self.learners_next);
        half.learners.sort_unstable();
        half
    }

    /// What each member is after a joint configuration is left.
    fn roles(&self) -> BTreeMap<PeerId, ConfChangeType> {
        let learners = self.learners.iter().chain(&self.learners_next);
        let learners = learners.map(|peer| (*peer, ConfChangeType::AddLearnerNode));
        let voters = self.voters.iter().map(|peer| (*peer, ConfChangeType::AddNode));
        learners.chain(voters).collect()
    }
}

/// The crate's form.
pub(crate) fn conf_state(voters: &Voters) -> eraftpb::ConfState {
    let ids = |peers: &[PeerId]| peers.iter().map(|peer| peer.get()).collect();
    eraftpb::ConfState {
        voters: ids(&voters.voters),
        learners: ids(&voters.learners),
        voters_outgoing: ids(&voters.outgoing),
        learners_next: ids(&voters.learners_next),
        ..eraftpb::ConfState::default()
    }
}

/// When members of a leader's group answered it last.
#[derive(Debug)]
pub(crate) struct Heard(BTreeMap<PeerId, Moment>);

impl Heard {
    pub(crate) const NOBODY: Self = Self(BTreeMap::new());

    pub(crate) fn last(&self, peer: PeerId) -> Option<Moment> {
        self.0.get(&peer).copied()
    }

    /// The member, or its store for it, was heard at this moment.
    pub(crate) fn note(&mut self, peer: PeerId, at: Moment) {
        let known = self.0.entry(peer).or_default();
        *known = at.max(*known);
    }
}

impl Group {
    /// The members that count now.
    #[must_use]
    pub fn voters(&self) -> Voters {
        let state = self.raw.raft.prs().conf().to_conf_state();
        let ids = |ids: &[u64]| {
            let mut peers: Vec<PeerId> = ids.iter().copied().map(PeerId).collect();
            peers.sort_unstable();
            peers
        };
        Voters {
            voters: ids(&state.voters),
            learners: ids(&state.learners),
            outgoing: ids(&state.voters_outgoing),
            learners_next: ids(&state.learners_next),
        }
    }

    /// Appends a change of the membership to the leader's log. `data` is the state machine's; whoever applies it
    /// calls [`Self::apply_membership`].
    ///
    /// # Errors
    /// [`ProposeError`]; the change certainly has no effect then. [`ProposeError::Busy`] also where an earlier
    /// change may not be applied here yet.
    pub fn propose_membership(&mut self, data: Bytes) -> Result<LogPosition, ProposeError> {
        if !self.is_leader() {
            return Err(ProposeError::NotLeader(self.leader()));
        }
        if self.is_transferring() || self.is_membership_pending() {
            return Err(ProposeError::Busy);
        }
        let raft = &mut self.raw.raft;
        let entry_type = eraftpb::EntryType::EntryConfChangeV2;
        let mut entry = eraftpb::Entry { entry_type, data, ..eraftpb::Entry::default() };
        if !raft.append_entry(std::slice::from_mut(&mut entry)) {
            return Err(ProposeError::Busy);
        }
        raft.pending_conf_index = raft.raft_log.last_index();
        raft.bcast_append();
        Ok(LogPosition { term: Term(raft.term), index: Index(raft.pending_conf_index) })
    }

    /// Whether a change may stand in the log that this leader has not applied. A new leader takes everything that it
    /// inherits for one.
    #[must_use]
    pub fn is_membership_pending(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// From now on the members are `target`. To be called in the order of the log, in front of
    /// [`Self::on_applied`] for the entry that says so. A leader that does not count any more stops leading.
    ///
    /// # Panics
    /// Where `target` differs from the members by more than one voter, and by no joint configuration.
    pub fn apply_membership(&mut self, target: &Voters) {
        let target = target.clone().with_bugs(self.seeded());
        let now = self.voters();
        for change in changes_between(&now, &target) {
            let applied = self.raw.apply_conf_change(&change);
            assert!(applied.is_ok(), "{self:?}: {now:?} cannot become {target:?}: {applied:?}");
        }
        debug_assert_eq!(self.voters(), target, "{self:?}: the members are others than asked for");
        self.follow_members();
        // The crate lets it lead on, and panics when the next entry is acknowledged to it.
        if !self.raw.raft.promotable() {
            self.resign();
        }
    }

    /// Stops leading, if this peer leads. Nobody is told; the others find out by its silence.
    pub fn resign(&mut self) {
        if self.is_leader() {
            self.step_down();
            self.follow_role(self.seen_at());
        }
    }

    /// What this leader knows durable at a member; zero where nothing is known.
    #[must_use]
    pub fn matched(&self, peer: PeerId) -> Index {
        let progress = self.raw.raft.prs().get(peer.get());
        Index(progress.map_or(0, |progress| progress.matched))
    }

    /// Whether this leader heard the member within the last gate. It always hears itself.
    #[must_use]
    pub fn is_heard(&self, peer: PeerId) -> bool {
        let heard_at = self.duties.heard.last(peer);
        let is_recent = |at: Moment| self.seen_at().since(at) < self.timing().gate;
        peer == self.peer() || heard_at.is_some_and(is_recent)
    }

    /// Whether the peer votes, and goes on to.
    #[must_use]
    pub fn is_heir(&self, peer: PeerId) -> bool {
        self.voters().voters.contains(&peer)
    }

    pub(crate) fn note_heard(&mut self, now: Moment, from: PeerId, term: Term) {
        let is_member = self.raw.raft.prs().get(from.get()).is_some();
        if is_member && self.is_leader() && term.get() == self.raw.raft.term {
            self.duties.heard.note(from, now);
        }
    }

    /// Nothing is kept for whoever is no member any more; who is new counts as known from now on.
    fn follow_members(&mut self) {
        let members: BTreeSet<PeerId> =
            self.raw.raft.prs().iter().map(|(id, _)| PeerId(*id)).collect();
        self.duties.heard.0.retain(|peer, _| members.contains(peer));
        self.retention.follow_members(&members, self.seen_at());
    }

    /// Whether a change of the membership is committed and not applied here: a campaign would go by rules that are
    /// over.
    pub(crate) fn has_unapplied_change(&self) -> bool {
        self.raw.store().has_change_up_to(self.committed())
    }

    /// Place of this peer among the voters that could follow `leader`, rotated by group so that the
    /// leaders of many groups do not all move to one store.
    pub(crate) fn rank(&self, leader: PeerId) -> u64 {
        let voters = self.raw.raft.prs().conf().voters().ids();
        let mut heirs: Vec<u64> = voters.iter().filter(|id| *id != leader.get()).collect();
        heirs.sort_unstable();
        let own = heirs.iter().position(|id| *id == self.peer().get()).unwrap_or(0) as u64;
        let count = heirs.len().max(1) as u64;
        (own + self.id().get() % count) % count
    }
}

/// What the crate is told, one after the other, so that `now` becomes `target`.
fn changes_between(now: &Voters, target: &Voters) -> Vec<ConfChangeV2> {
    if now == target {
        return Vec::new();
    }
    if now.is_joint() && !target.is_joint() {
        // Leaving is a change without steps.
        return vec![ConfChangeV2::default()];
    }
    let (before, after) = (now.roles(), target.roles());
    let kept = after.iter().filter(|(peer, role)| before.get(peer) != Some(role));
    let kept = kept.map(|(peer, role)| step(*peer, *role));
    let gone = before.keys().filter(|peer| !after.contains_key(peer));
    let gone = gone.map(|peer| step(*peer, ConfChangeType::RemoveNode));
    let steps = kept.chain(gone);
    if target.is_joint() {
        let transition = ConfChangeTransition::Explicit;
        return vec![ConfChangeV2 {
            transition,
            changes: steps.collect::<Vec<_>>().into(),
            ..ConfChangeV2::default()
        }];
    }
    let alone = |step| ConfChangeV2 { changes: vec![step].into(), ..ConfChangeV2::default() };
    steps.map(alone).collect()
}

fn step(peer: PeerId, change_type: ConfChangeType) -> ConfChangeSingle {
    ConfChangeSingle { change_type, node_id: peer.get(), ..ConfChangeSingle::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[u64], learners: &[u64], outgoing: &[u64], next: &[u64]) -> Voters {
        let ids = |ids: &[u64]| ids.iter().copied().map(PeerId).collect();
        Voters {
            voters: ids(voters),
            learners: ids(learners),
            outgoing: ids(outgoing),
            learners_next: ids(next),
        }
    }

    #[test]
    fn one_voter_is_sole_only_where_both_halves_say_so() {
        assert!(members(&[1], &[2], &[], &[]).is_sole(PeerId(1)));
        assert!(!members(&[1], &[], &[1, 2], &[2]).is_sole(PeerId(1)));
        assert!(!members(&[2], &[1], &[], &[]).is_sole(PeerId(1)));
        assert!(!members(&[], &[1], &[], &[]).is_sole(PeerId(1)));
    }

    #[test]
    fn the_crate_is_told_the_difference() {
        let told = |now: &Voters, target: &Voters| -> Vec<(ConfChangeTransition, Vec<_>)> {
            let steps = |it: &ConfChangeV2| {
                it.changes.iter().map(|step| (step.node_id, step.change_type)).collect()
            };
            changes_between(now, target).iter().map(|it| (it.transition, steps(it))).collect()
        };
        let three = members(&[1, 2, 3], &[], &[], &[]);
        assert_eq!(told(&three, &three), []);
        let fewer = members(&[1, 2], &[3], &[], &[]);
        let demoted = vec![(3, ConfChangeType::AddLearnerNode)];
        assert_eq!(told(&three, &fewer), [(ConfChangeTransition::Auto, demoted)]);
        let gone = vec![(3, ConfChangeType::RemoveNode)];
        let two = members(&[1, 2], &[], &[], &[]);
        assert_eq!(told(&fewer, &two), [(ConfChangeTransition::Auto, gone)]);
        let joint = members(&[1, 4], &[], &[1, 2, 3], &[2, 3]);
        let entered = vec![
            (2, ConfChangeType::AddLearnerNode),
            (3, ConfChangeType::AddLearnerNode),
            (4, ConfChangeType::AddNode),
        ];
        let before = members(&[1, 2, 3], &[4], &[], &[]);
        assert_eq!(told(&before, &joint), [(ConfChangeTransition::Explicit, entered)]);
        let after = members(&[1, 4], &[2, 3], &[], &[]);
        assert_eq!(told(&joint, &after), [(ConfChangeTransition::Auto, vec![])]);
    }
}
