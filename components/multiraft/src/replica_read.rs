//! Reads at a follower: it asks its leader for a read index and answers when its own apply has reached it.
//! Together with the leader's own reads they are linearizable: the index is the leader's commit index at a
//! moment behind the read's begin, and the leader published it to its own readers before it answered.
//!
//! A question or its answer may be lost. Each question has a context that was never used; a later one is
//! asked for all that wait, and its answer covers them. A read that has waited for one gate is refused, so
//! that its client looks elsewhere: a leader of an older program does not answer at all.

use std::collections::BTreeMap;

use flotilla_base::{Moment, Span};
use flotilla_raftgroup::{ReadToken, Timing};

use crate::effects::Effects;
use crate::input::{ReadRequest, RequestError};
use crate::replica::Replica;

/// Reads of a follower. Each ticket is in exactly one of the two places, until it waits for apply alone.
#[derive(Debug)]
pub(crate) struct ReplicaReads<T> {
    /// Wait for a question to be asked.
    unsent: Vec<T>,
    /// Wait for an answer to this question or a later one, since this moment.
    rounds: BTreeMap<ReadToken, (Moment, Vec<T>)>,
    /// When the last question was asked.
    asked_at: Moment,
}

impl<T> Default for ReplicaReads<T> {
    fn default() -> Self {
        Self { unsent: Vec::new(), rounds: BTreeMap::new(), asked_at: Moment(0) }
    }
}

impl<T> ReplicaReads<T> {
    /// No read waits, and no question is to be asked again.
    pub(crate) fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.rounds.is_empty()
    }

    /// Every ticket that an answer to the question `token` grants.
    pub(crate) fn take_granted(&mut self, token: ReadToken) -> Vec<T> {
        let later = self.rounds.split_off(&ReadToken(token.0 + 1));
        let granted = std::mem::replace(&mut self.rounds, later);
        granted.into_values().flat_map(|(_, tickets)| tickets).collect()
    }

    /// Every ticket.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        let mut tickets = std::mem::take(&mut self.unsent);
        let rounds = std::mem::take(&mut self.rounds);
        tickets.extend(rounds.into_values().flat_map(|(_, tickets)| tickets));
        tickets
    }

    /// When something is due: another question, or a refusal.
    pub(crate) fn deadline(&self, timing: &Timing) -> Moment {
        let Some((_, (since, _))) = self.rounds.first_key_value() else { return Moment::NEVER };
        (self.asked_at + patience(timing)).min(*since + timing.gate)
    }

    fn take_hopeless(&mut self, timing: &Timing, now: Moment) -> Vec<T> {
        let mut tickets = Vec::new();
        while let Some(oldest) = self.rounds.first_entry() {
            if now < oldest.get().0 + timing.gate {
                break;
            }
            tickets.extend(oldest.remove().1);
        }
        if self.rounds.values().all(|(_, waiting)| waiting.is_empty()) {
            // Nobody waits for what was asked again.
            self.rounds.clear();
        }
        tickets
    }

    fn is_question_due(&self, timing: &Timing, now: Moment) -> bool {
        let is_overdue = !self.rounds.is_empty() && now >= self.asked_at + patience(timing);
        is_overdue || !self.unsent.is_empty()
    }
}

/// How long an answer may take before the question is asked again: a leader without a lease needs a round
/// trip of its own, and one that was just elected an entry more.
fn patience(timing: &Timing) -> Span {
    timing.heartbeat * 2
}

impl<T> Replica<T> {
    pub(crate) fn handle_replica_read(
        &mut self,
        request: ReadRequest<T>,
        effects: &mut Effects<T>,
    ) {
        match self.check_serves(&request.header) {
            Ok(()) if self.group.is_leader() => self.reads.push(request.ticket),
            Ok(()) => self.reads.remote.unsent.push(request.ticket),
            Err(error) => effects.refuse(request.ticket, error),
        }
    }

    /// One question for all reads that arrived in this turn, or for those that wait for too long.
    pub(crate) fn ask_for_replica_reads(&mut self, now: Moment, effects: &mut Effects<T>) {
        let timing = self.timing();
        for ticket in self.reads.remote.take_hopeless(&timing, now) {
            effects.refuse(ticket, self.not_leader());
        }
        if !self.reads.remote.is_question_due(&timing, now) {
            return;
        }
        match self.group.ask_leader() {
            Ok(token) => {
                let remote = &mut self.reads.remote;
                let tickets = std::mem::take(&mut remote.unsent);
                remote.rounds.insert(token, (now, tickets));
                remote.asked_at = now;
            }
            // This peer leads since they arrived: they are its own reads now.
            Err(_) if self.group.is_leader() => self.lead_replica_reads(),
            Err(_nobody_leads) => {
                for ticket in self.reads.remote.take_all() {
                    effects.refuse(ticket, self.not_leader());
                }
            }
        }
    }

    /// What waited for another leader's answer is confirmed by this one's own round.
    pub(crate) fn lead_replica_reads(&mut self) {
        for ticket in self.reads.remote.take_all() {
            self.reads.push(ticket);
        }
    }

    /// What a client is told that should ask the leader.
    pub(crate) fn not_leader(&self) -> RequestError {
        let leader = self.group.leader().and_then(|leader| self.region.peer(leader));
        RequestError::NotLeader { region: self.region.id, leader }
    }
}
