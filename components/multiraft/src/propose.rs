//! From a client's write to entries of the leader's log.
//!
//! Entries are proposed in bunches: while earlier ones wait for this store's disk, new ones wait here
//! and leave together. A single client notices nothing, since nothing of its own is outstanding; many
//! clients share a Ready, its messages, its write and its sync, and so does every follower. The bunches
//! grow with the time that a sync takes, without any timer.

use std::collections::VecDeque;

use bytes::Bytes;
use flotilla_base::Seeded;
use flotilla_base::limit::ENTRY_BYTES_MAX;
use flotilla_raftgroup::{Entry, LogPosition, Proposals, ProposeError};

use crate::apply::check_write;
use crate::effects::Effects;
use crate::input::{Proposal, Reply, RequestError};
use crate::replica::Replica;

/// So many Readys may wait for the disk while further entries are proposed: one that is being synced,
/// and one that is written meanwhile.
const READYS_AHEAD: usize = 1;

/// Bytes of writes that wait here. The disk may take long, and clients that have given up meanwhile come again.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Writes on their way into the log. Each ticket is in exactly one of the two places.
#[derive(Debug)]
pub(crate) struct Writes<T> {
    /// Checked and encoded, not proposed yet: they certainly have no effect.
    waiting: VecDeque<(Bytes, T)>,
    /// The size of all of them.
    waiting_bytes: usize,
    /// In the log, their fate not known yet.
    proposed: Proposals<T>,
    /// The last split that this peer proposed.
    split: Option<LogPosition>,
}

impl<T> Writes<T> {
    /// No write is on its way yet; `seeded` is what is wrong on purpose.
    pub(crate) const fn with_bugs(seeded: Seeded) -> Self {
        let proposed = Proposals::with_bugs(seeded);
        Self { waiting: VecDeque::new(), waiting_bytes: 0, proposed, split: None }
    }

    /// No write is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.proposed.is_empty()
    }

    /// The ticket of a committed entry, and those which that entry proves lost.
    pub(crate) fn committed(&mut self, entry: &Entry) -> (Option<T>, Vec<T>) {
        self.proposed.committed(entry)
    }

    /// A split is in the log.
    pub(crate) fn split_at(&mut self, position: LogPosition, ticket: T) {
        self.split = Some(position);
        self.proposed.push(position, ticket);
    }

    /// A change of the members is in the log.
    pub(crate) fn await_change(&mut self, position: LogPosition, ticket: T) {
        self.proposed.push(position, ticket);
    }

    /// The last split that was proposed here.
    pub(crate) const fn split(&self) -> Option<LogPosition> {
        self.split
    }

    /// Every ticket that is not proposed yet.
    pub(crate) fn take_waiting(&mut self) -> Vec<T> {
        self.waiting_bytes = 0;
        self.waiting.drain(..).map(|(_, ticket)| ticket).collect()
    }

    /// Every ticket, when the replica ends.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let waiting = self.take_waiting();
        waiting.into_iter().chain(self.proposed.drain()).collect()
    }
}

impl<T> Replica<T> {
    pub(crate) fn handle_proposal(&mut self, proposal: Proposal<T>, effects: &mut Effects<T>) {
        let Proposal { header, command, ticket } = proposal;
        let checked = self
            .check_leads(&header)
            .and_then(|()| check_write(&self.region, &command))
            .and_then(|()| self.check_backlog())
            .map(|()| command.encode())
            .and_then(|data| self.check_size(data));
        match checked {
            Ok(data) => {
                self.writes.waiting_bytes += data.len();
                self.writes.waiting.push_back((data, ticket));
            }
            Err(error) => effects.refuse(ticket, error),
        }
    }

    /// Proposes what waits, if the disk is not behind; refuses it if the lead is gone.
    pub(crate) fn propose_waiting(&mut self, effects: &mut Effects<T>) {
        if self.group.is_leader() && self.group.outstanding() > READYS_AHEAD {
            // The notice that one of them is durable brings this replica back here.
            return;
        }
        if self.is_split_proposed() {
            // The end of the split does: behind it they would be refused in any case.
            return;
        }
        if self.group.is_transferring() {
            // The end of the hand-over does: then they are proposed here, or refused with the new leader.
            return;
        }
        while let Some((data, ticket)) = self.writes.waiting.pop_front() {
            assert!(self.writes.waiting_bytes >= data.len(), "each write was counted when it came");
            self.writes.waiting_bytes -= data.len();
            match self.group.propose(data) {
                Ok(position) => self.writes.proposed.push(position, ticket),
                Err(error) => effects.refuse(ticket, self.refusal(error)),
            }
        }
    }

    /// Nothing more is applied here: what waits for it can only be told that its fate is not known.
    pub(crate) fn give_up(&mut self, effects: &mut Effects<T>) {
        let writes = self.writes.drain().into_iter();
        effects.replies.extend(writes.map(|ticket| (ticket, Reply::Unknown)));
        let region = self.region.id;
        for ticket in self.reads.take_granted() {
            effects.refuse(ticket, RequestError::Quarantined(region));
        }
    }

    pub(crate) fn refusal(&self, error: ProposeError) -> RequestError {
        let region = self.region.id;
        match error {
            ProposeError::Busy => RequestError::Busy(region),
            ProposeError::NotLeader(_) => self.not_leader(),
        }
    }

    /// What is proposed has to be applied, by this store as well.
    fn check_backlog(&self) -> Result<(), RequestError> {
        let refusal = RequestError::ApplyBehind(self.region.id);
        self.has_room_to_apply().then_some(()).ok_or(refusal)
    }

    pub(crate) fn check_size(&self, data: Bytes) -> Result<Bytes, RequestError> {
        if data.len() > ENTRY_BYTES_MAX {
            return Err(RequestError::EntryTooLarge { region: self.region.id, bytes: data.len() });
        }
        if self.writes.waiting_bytes + data.len() > WAITING_BYTES_MAX {
            return Err(RequestError::Busy(self.region.id));
        }
        Ok(data)
    }
}
