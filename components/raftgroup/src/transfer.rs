//! Handing the lead over, on request or because this store's disk stands still.
//!
//! The successor is told only when it holds the whole log, and proposals wait meanwhile. The message names
//! the end of that log and is void where the receiver's is another: a copy that comes late must not make a
//! peer campaign that has fallen behind since. The crate's own hand-over is not used; it names nothing.

use std::cmp::Reverse;

use bytes::Bytes;
use flotilla_base::{Bug, Moment, PeerId};

use crate::group::{Group, Role};
use crate::message::{Message, MessageKind};

/// A leader with a write that has waited for so many gates looks for a successor.
const GATES_UNTIL_GIVING_UP: u64 = 2;

/// Why a hand-over did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only the leader hands over.
    #[error("this peer does not lead")]
    NotLeader(Option<PeerId>),
    /// The peer is no other voter of the group.
    #[error("peer {0} cannot lead this group instead")]
    NoSuccessor(PeerId),
    /// Another peer is about to take over.
    #[error("the lead is being handed to peer {0}")]
    Busy(PeerId),
}

/// A hand-over under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    to: PeerId,
    /// Aborted then; asking again does not move it.
    until: Moment,
    is_told: bool,
}

impl Transfer {
    pub(crate) const fn until(&self) -> Moment {
        self.until
    }
}

impl Group {
    /// Hands the lead to `to` as soon as that peer holds the whole log. From now on there is no lease and
    /// nothing is proposed, until another peer leads or one gate has passed.
    ///
    /// # Errors
    /// [`TransferError`]; nothing has changed then.
    pub fn transfer(&mut self, to: PeerId) -> Result<(), TransferError> {
        if !self.is_leader() {
            return Err(TransferError::NotLeader(self.leader()));
        }
        if to == self.peer() || !self.is_heir(to) {
            return Err(TransferError::NoSuccessor(to));
        }
        match &self.transfer {
            Some(under_way) if under_way.to == to => Ok(()),
            Some(under_way) => Err(TransferError::Busy(under_way.to)),
            None => {
                let until = self.seen_at() + self.timing().gate;
                self.transfer = Some(Transfer { to, until, is_told: false });
                Ok(())
            }
        }
    }

    /// Whether the lead is being handed over.
    #[must_use]
    pub const fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }

    pub(crate) fn is_successor(&self, peer: PeerId) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.to == peer)
    }

    /// Whether the candidate was told to campaign by the leader itself.
    pub(crate) fn is_chosen(kind: MessageKind, context: &Bytes) -> bool {
        kind == MessageKind::RequestVote && **context == *raft::CAMPAIGN_TRANSFER
    }

    /// Tells the successor, once it holds everything.
    pub(crate) fn tell_successor(&mut self) {
        let (last, term, from) = (self.last(), self.role().term, self.peer());
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| !transfer.is_told) else {
            return;
        };
        let progress = self.raw.raft.prs().get(transfer.to.get());
        if progress.is_some_and(|progress| progress.matched == last.index.get()) {
            transfer.is_told = true;
            let message = Message::new(MessageKind::TimeoutNow, from, transfer.to, term);
            self.reading.post(Message { index: last.index, log_term: last.term, ..message });
        }
    }

    /// Ends a hand-over that took too long, and gives up the lead where the disk stands still.
    pub(crate) fn mind_transfer(&mut self, now: Moment) {
        let is_disk_lost = self.is_disk_lost();
        if self.transfer.as_ref().is_some_and(|transfer| now >= transfer.until) {
            self.transfer = None;
            if is_disk_lost {
                self.step_down();
                return;
            }
            // The successor may have been told, and may be told again by a late copy.
            if !self.has_bug(Bug::LEASE_AFTER_ABORTED_TRANSFER) {
                self.lease.withdraw_until_behind(self.last().index);
            }
            // An entry of no effect, so that the lease returns where nobody writes.
            let _lease_waits_for_the_next_write = self.propose(Bytes::new());
        } else if is_disk_lost && self.transfer.is_none() {
            match self.successor() {
                Some(successor) => {
                    let _is_leader_and_knows_it = self.transfer(successor);
                }
                // Nobody else can lead: waiting is better than nothing.
                None if self.is_sole_voter() => {}
                None => self.step_down(),
            }
        }
    }

    /// Whether the oldest write that is not durable yet has waited for too long while this process was
    /// awake: while it slept, no disk could have told it of an end.
    fn is_disk_lost(&self) -> bool {
        let allowed = self.timing().gate * GATES_UNTIL_GIVING_UP;
        let waits_since = self.oldest_write().map(|since| since.max(self.awake_since()));
        let is_lost = waits_since.is_some_and(|since| self.seen_at().since(since) > allowed);
        is_lost && !self.has_bug(Bug::LEADER_KEEPS_STALLED_DISK)
    }

    /// The voter that would lose the least time as the next leader: it answers, and holds the most. `None` where no
    /// other voter answers, and at a peer that does not lead.
    #[must_use]
    pub fn successor(&self) -> Option<PeerId> {
        if !self.is_leader() {
            return None;
        }
        let progress = self.raw.raft.prs();
        let voters = progress.conf().voters().ids();
        let others = voters.iter().filter(|id| *id != self.peer().get());
        let answering = others.filter_map(|id| Some((id, progress.get(id)?)));
        let answering = answering.filter(|(id, it)| it.recent_active && self.is_heir(PeerId(*id)));
        answering.max_by_key(|(id, it)| (it.matched, Reverse(*id))).map(|(id, _)| PeerId(id))
    }

    pub(crate) fn is_sole_voter(&self) -> bool {
        let voters = self.raw.raft.prs().conf().voters().ids();
        voters.len() == 1 && voters.contains(self.peer().get())
    }

    pub(crate) fn step_down(&mut self) {
        debug_assert_eq!(self.role().role, Role::Leader, "only a leader steps down");
        let term = self.raw.raft.term;
        self.raw.raft.become_follower(term, raft::INVALID_ID);
    }
}
