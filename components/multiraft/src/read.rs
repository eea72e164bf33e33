//! Reads that see everything acknowledged before them, without a log entry: the leader proves its lead
//! to all reads of a turn with one round of heartbeats, or by its lease, then they wait until apply has
//! caught up.

use std::collections::BTreeMap;

use flotilla_base::{Bug, Index, Moment};
use flotilla_raftgroup::{ReadError, ReadGrant, ReadToken};

use crate::effects::Effects;
use crate::input::{ReadRequest, Reply};
use crate::replica::Replica;
use crate::replica_read::ReplicaReads;

/// Reads on their way. Each ticket is in exactly one of the four places.
#[derive(Debug)]
pub(crate) struct Reads<T> {
    /// Wait for a round to begin.
    unsent: Vec<T>,
    /// Wait for the round's confirmation.
    rounds: BTreeMap<ReadToken, Vec<T>>,
    /// Wait for apply to reach the index.
    granted: BTreeMap<Index, Vec<T>>,
    /// Wait for another leader's answer.
    pub(crate) remote: ReplicaReads<T>,
}

impl<T> Default for Reads<T> {
    fn default() -> Self {
        Self {
            unsent: Vec::new(),
            rounds: BTreeMap::new(),
            granted: BTreeMap::new(),
            remote: ReplicaReads::default(),
        }
    }
}

impl<T> Reads<T> {
    /// No read is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        let is_confirmed = self.unsent.is_empty() && self.rounds.is_empty();
        is_confirmed && self.granted.values().all(Vec::is_empty) && self.remote.is_empty()
    }

    /// A read that this leader is to confirm.
    pub(crate) fn push(&mut self, ticket: T) {
        self.unsent.push(ticket);
    }

    /// Every ticket that waits for a confirmation which this peer can no longer get. Granted ones stay:
    /// their index was confirmed while it led.
    pub(crate) fn take_unconfirmed(&mut self) -> Vec<T> {
        let mut tickets = std::mem::take(&mut self.unsent);
        tickets.extend(std::mem::take(&mut self.rounds).into_values().flatten());
        tickets.extend(self.remote.take_all());
        tickets
    }

    /// Every ticket that waits for apply alone.
    pub(crate) fn take_granted(&mut self) -> Vec<T> {
        std::mem::take(&mut self.granted).into_values().flatten().collect()
    }
}

impl<T> Replica<T> {
    pub(crate) fn handle_read(&mut self, request: ReadRequest<T>, effects: &mut Effects<T>) {
        match self.check_leads(&request.header) {
            Ok(()) => self.reads.unsent.push(request.ticket),
            Err(error) => effects.refuse(request.ticket, error),
        }
    }

    /// No round at all within a lease, else one for all reads that arrived in this turn. They arrived before
    /// the clock was read.
    pub(crate) fn start_reads(&mut self, now: Moment, effects: &mut Effects<T>) {
        if self.reads.unsent.is_empty() {
            return;
        }
        if let Some(index) = self.group.leased_index(now) {
            let tickets = std::mem::take(&mut self.reads.unsent);
            self.reads.granted.entry(index).or_default().extend(tickets);
            self.answer_reads(effects);
            return;
        }
        match self.group.read_index() {
            Ok(token) => {
                let tickets = std::mem::take(&mut self.reads.unsent);
                self.reads.rounds.insert(token, tickets);
            }
            // The first entry of the term commits within a round trip; the reads wait for it.
            Err(ReadError::NotYet) => {}
            Err(ReadError::NotLeader(_)) => self.fail_reads(effects),
        }
    }

    pub(crate) fn grant_reads(&mut self, grants: Vec<ReadGrant>) {
        for ReadGrant { token, index } in grants {
            // A confirmed round also proves every earlier one.
            let later = self.reads.rounds.split_off(&ReadToken(token.0 + 1));
            let confirmed = std::mem::replace(&mut self.reads.rounds, later);
            let remote = self.reads.remote.take_granted(token);
            let tickets = confirmed.into_values().flatten().chain(remote);
            self.reads.granted.entry(index).or_default().extend(tickets);
        }
    }

    /// Answers the reads whose index is applied.
    pub(crate) fn answer_reads(&mut self, effects: &mut Effects<T>) {
        let is_hasty = self.has_bug(Bug::READ_BEFORE_APPLY);
        while let Some(first) = self.reads.granted.first_entry() {
            if *first.key() > self.apply.applied && !is_hasty {
                break;
            }
            let applied = self.apply.applied;
            let tickets = first.remove().into_iter();
            effects.replies.extend(tickets.map(|ticket| (ticket, Reply::ReadAt(applied))));
        }
    }

    /// The lead is gone: nobody confirms these any more.
    pub(crate) fn fail_reads(&mut self, effects: &mut Effects<T>) {
        for ticket in self.reads.take_unconfirmed() {
            effects.refuse(ticket, self.not_leader());
        }
    }
}
