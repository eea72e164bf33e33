//! How a leader changes the members of its region: what it asks of a change before it proposes it, and how it ends a
//! joint configuration.
//!
//! What stands in the log is checked by every applier for itself. Here stands what only the leader knows: who holds
//! the log, and who answers. A change is refused after which those who answered lately would be no majority, since
//! the next one could not be made either.

use flotilla_base::{Bug, Moment, Peer, PeerId, PeerRole, Region};

use crate::effects::{Effects, Report};
use crate::input::{MembersChanged, MembershipInput, RequestError, RequestHeader};
use crate::membership::{ChangeError, ChangePeers, change, is_joint, voters_of};
use crate::replica::{Lifecycle, Replica};

/// A change of a region's members that somebody wants.
#[derive(Clone, Debug)]
pub struct ChangeRequest<T> {
    /// The peer that the requester means; zero is not checked.
    pub peer: PeerId,
    /// What to do.
    pub command: ChangePeers,
    /// Answered once, with [`crate::Reply::Changed`] by the applier, or with the loss of the term.
    pub ticket: T,
}

impl<T> Replica<T> {
    pub(crate) fn handle_membership(
        &mut self,
        input: MembershipInput<T>,
        effects: &mut Effects<T>,
    ) {
        match input {
            MembershipInput::ChangePeers(request) => self.handle_change(request, effects),
            MembershipInput::Changed(changed) => self.handle_changed(changed, effects),
            MembershipInput::MayLeave => self.may_leave(),
        }
    }

    fn handle_change(&mut self, request: ChangeRequest<T>, effects: &mut Effects<T>) {
        let ChangeRequest { peer, command, ticket } = request;
        let proposed = self
            .check_leads_whatever_the_range(peer)
            .and_then(|()| self.check_steps(&command))
            .and_then(|()| change(&self.region, &command))
            .and_then(|after| self.check_may_change().map(|()| after))
            .and_then(|after| self.check_change(&after))
            .and_then(|()| {
                self.members.began_in = self.group.role().term;
                let proposed = self.group.propose_membership(command.encode());
                proposed.map_err(|error| self.refusal(error))
            });
        match proposed {
            Ok(position) => self.writes.await_change(position, ticket),
            Err(error) => effects.refuse(ticket, error),
        }
    }

    fn check_leads_whatever_the_range(&self, peer: PeerId) -> Result<(), RequestError> {
        self.check_lives(&RequestHeader { peer, ..RequestHeader::default() })?;
        if self.group.is_leader() { Ok(()) } else { Err(self.not_leader()) }
    }

    /// A joint configuration is left by leaders, not by requests.
    fn check_steps(&self, command: &ChangePeers) -> Result<(), RequestError> {
        if command.changes.is_empty() {
            return Err(self.refused_change(ChangeError::Empty));
        }
        Ok(())
    }

    const fn refused_change(&self, cause: ChangeError) -> RequestError {
        RequestError::Change { region: self.region.id, cause }
    }

    /// What only the leader knows of a change to `after`.
    fn check_change(&mut self, after: &Region) -> Result<(), RequestError> {
        let stays = after.peer(self.peer).is_some_and(|own| own.role == PeerRole::Voter);
        if !stays {
            let successor = self.hand_over_before(after);
            return Err(self.refused_change(ChangeError::Leader { successor }));
        }
        let checked = self.check_added(after).and_then(|()| self.check_promoted(after));
        checked.and_then(|()| self.check_majorities(after)).map_err(|it| self.refused_change(it))
    }

    /// The lead goes to a voter that stays one, answers, and holds the most.
    fn hand_over_before(&mut self, after: &Region) -> Option<PeerId> {
        let is_voter = |region: &Region, peer: PeerId| {
            region.peer(peer).is_some_and(|it| it.role == PeerRole::Voter)
        };
        let heirs = after.peers.iter().map(|peer| peer.id).filter(|peer| {
            *peer != self.peer
                && is_voter(after, *peer)
                && is_voter(&self.region, *peer)
                && self.group.is_heard(*peer)
        });
        let successor = heirs.max_by_key(|peer| (self.group.matched(*peer), *peer))?;
        self.group.transfer(successor).is_ok().then_some(successor)
    }

    /// Ids are used once: a removed peer does not come back.
    fn check_added(&self, after: &Region) -> Result<(), ChangeError> {
        let removed = &self.members.removals.removed;
        match after.peers.iter().find(|peer| removed.iter().any(|it| it.id == peer.id)) {
            Some(Peer { id: peer, store, .. }) => {
                Err(ChangeError::Taken { peer: *peer, store: *store })
            }
            None => Ok(()),
        }
    }

    /// A learner becomes a voter by proof: it holds the log nearly as far as it is committed, and it answers.
    fn check_promoted(&self, after: &Region) -> Result<(), ChangeError> {
        if self.has_bug(Bug::PROMOTE_WITHOUT_PROOF) {
            return Ok(());
        }
        let votes = |role| matches!(role, PeerRole::Voter | PeerRole::IncomingVoter);
        let is_learner = |id| self.region.peer(id).is_none_or(|it| it.role == PeerRole::Learner);
        let promoted = after.peers.iter().filter(|it| votes(it.role) && is_learner(it.id));
        for Peer { id: peer, .. } in promoted.copied() {
            if !self.nearly_holds_log(peer) {
                let (matched, committed) = (self.group.matched(peer), self.group.committed());
                return Err(ChangeError::NotCaughtUp { peer, matched, committed });
            }
            if !self.group.is_heard(peer) {
                return Err(ChangeError::Silent(peer));
            }
        }
        Ok(())
    }

    /// Whether this leader knows that a member lacks few committed entries, and that all of those are in the log still:
    /// who needs a snapshot holds nothing.
    pub(crate) fn nearly_holds_log(&self, peer: PeerId) -> bool {
        let (matched, committed) = (self.group.matched(peer), self.group.committed());
        let lag = committed.get().saturating_sub(matched.get());
        matched >= self.group.truncated().index && lag <= self.config.limits.promotion_lag_max
    }

    /// In both halves of what comes, those who answered lately are a majority.
    fn check_majorities(&self, after: &Region) -> Result<(), ChangeError> {
        let members = voters_of(after);
        for half in [&members.voters, &members.outgoing] {
            let (voters, answered) = (half.len(), |peer: &&PeerId| self.group.is_heard(**peer));
            let heard = half.iter().filter(answered).count();
            if voters > 0 && heard * 2 <= voters {
                return Err(ChangeError::NoMajority { heard, voters });
            }
        }
        Ok(())
    }

    /// Whoever leads a joint configuration ends it, whoever began it.
    pub(crate) fn leave_joint(&mut self) {
        let is_due = self.group.is_leader() && is_joint(&self.region);
        if !is_due || self.check_may_change().is_err() || self.is_leave_lost() {
            return;
        }
        let command = ChangePeers { epoch: self.region.epoch, changes: Vec::new() };
        // Where it is refused now, the next turn asks again.
        let _asked_again = self.group.propose_membership(command.encode());
    }

    fn is_leave_lost(&self) -> bool {
        let is_own = self.members.began_in == self.group.role().term;
        self.has_bug(Bug::LEAVE_LOST) && !is_own
    }

    /// The region has other members. The group counts by them from now on, and whoever is none of them leaves.
    fn handle_changed(&mut self, changed: MembersChanged, effects: &mut Effects<T>) {
        let MembersChanged { region, removed } = changed;
        assert_eq!(region.id, self.region.id, "{self:?}: the result of another region's change");
        let is_new = region.epoch.conf_ver > self.region.epoch.conf_ver;
        assert!(
            is_new || region.epoch == self.region.epoch,
            "{self:?}: a change of the membership goes back"
        );
        self.members.removals.become_known(removed);
        if !is_new {
            return;
        }
        self.region = region.clone();
        self.group.apply_membership(&voters_of(&region));
        self.look_at_lagging();
        let is_member = region.peer(self.peer).is_some();
        effects.births.push(Report::Members { region, peer: self.peer });
        if !is_member && self.life != Lifecycle::Leaving && !self.is_orphan_on_purpose() {
            self.begin_leaving(effects);
        }
    }

    /// What needs a look with every turn.
    pub(crate) fn mind_membership(&mut self, now: Moment, effects: &mut Effects<T>) {
        self.leave_joint();
        self.pursue_removed(now, effects);
        self.tell_lagging(now, effects);
    }
}
