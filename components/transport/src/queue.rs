//! What waits for one lane of one store: bounded, with a policy for what is lost first.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    task::{Context, Poll, Waker},
};

use flotilla_proto::raft::{RaftEnvelope, RaftMessageKind};
use prost::Message as _;

use crate::link::{Limits, Target};

/// A batch holds at most this many envelopes: it bounds the time under the queue's lock.
const BATCH_MESSAGES: usize = 1024;

/// Votes and answers are dropped only at this multiple of the budget.
const HARD_LIMIT_FACTOR: usize = 2;

/// Whether an envelope found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits; the queue grew by so many bytes.
    Queued(usize),
    /// It took the place of an older heartbeat to the same peer: sizes of the new and the old one.
    Replaced { new_bytes: usize, old_bytes: usize },
    /// No room.
    Dropped,
}

struct Queued {
    envelope: RaftEnvelope,
    bytes: usize,
}

/// Envelopes in order. Not a lock of its own: the owner wraps it.
pub(crate) struct Queue {
    budget_bytes: usize,
    budget_messages: usize,
    batch_bytes: usize,
    messages: VecDeque<Queued>,
    bytes: usize,
    /// How many envelopes have left: the position of the front one, for `heartbeats`.
    taken: usize,
    /// Where the waiting heartbeat to each peer stands.
    heartbeats: HashMap<Target, usize>,
    /// Peers whose envelopes found no room since the last report.
    dropped: BTreeSet<Target>,
    /// Peers of the latest batch: it may be lost with its connection.
    in_flight: BTreeSet<Target>,
    waker: Option<Waker>,
    /// Grows with each failure: a stream of an earlier generation gets nothing any more.
    generation: u64,
}

impl Queue {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            budget_bytes: limits.queue_bytes,
            budget_messages: limits.queue_messages,
            batch_bytes: limits.batch_bytes,
            messages: VecDeque::new(),
            bytes: 0,
            taken: 0,
            heartbeats: HashMap::new(),
            dropped: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            waker: None,
            generation: 0,
        }
    }

    /// Appends an envelope, or replaces an older heartbeat by it, or drops it.
    ///
    /// Entries go first when room runs short, since raft sends them again; votes and answers have as
    /// much room again.
    pub(crate) fn push(&mut self, envelope: RaftEnvelope) -> Pushed {
        let bytes = envelope.encoded_len();
        let kind = kind_of(&envelope);
        if kind == RaftMessageKind::Heartbeat
            && let Some(old_bytes) = self.replace_heartbeat(&envelope, bytes)
        {
            return Pushed::Replaced { new_bytes: bytes, old_bytes };
        }
        let factor = if kind == RaftMessageKind::Append { 1 } else { HARD_LIMIT_FACTOR };
        let has_room = self.messages.len() < self.budget_messages * factor
            && (self.bytes + bytes <= self.budget_bytes * factor || self.messages.is_empty());
        let target = Target::of(&envelope);
        if !has_room {
            self.dropped.insert(target);
            return Pushed::Dropped;
        }
        if kind == RaftMessageKind::Heartbeat {
            self.heartbeats.insert(target, self.taken + self.messages.len());
        }
        self.bytes += bytes;
        self.messages.push_back(Queued { envelope, bytes });
        Pushed::Queued(bytes)
    }

    /// A heartbeat says everything that an older one said, unless only the older one carries a read's context.
    fn replace_heartbeat(&mut self, envelope: &RaftEnvelope, bytes: usize) -> Option<usize> {
        let position = *self.heartbeats.get(&Target::of(envelope))?;
        let waiting = self.messages.get_mut(position.checked_sub(self.taken)?)?;
        if has_context(&waiting.envelope) && !has_context(envelope) {
            return None;
        }
        waiting.envelope.clone_from(envelope);
        let old_bytes = mem::replace(&mut waiting.bytes, bytes);
        self.bytes = self.bytes + bytes - old_bytes;
        Some(old_bytes)
    }

    /// What a new stream must show to get batches.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes the envelopes of the next batch and their size, or registers to be woken for one. Nothing for a stream of an
    /// earlier generation: its connection may outlive its failure for a moment and would swallow a batch.
    pub(crate) fn poll_batch(
        &mut self,
        generation: u64,
        context: &mut Context<'_>,
    ) -> Poll<Option<(Vec<RaftEnvelope>, usize)>> {
        if generation != self.generation {
            return Poll::Ready(None);
        }
        if self.poll_ready(context).is_pending() {
            return Poll::Pending;
        }
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        self.in_flight.clear();
        while batch.len() < BATCH_MESSAGES
            && let Some(front) = self.messages.front()
            && (batch_bytes + front.bytes <= self.batch_bytes || batch.is_empty())
            && let Some(Queued { envelope, bytes }) = self.messages.pop_front()
        {
            self.forget_heartbeat(&envelope);
            self.taken += 1;
            self.in_flight.insert(Target::of(&envelope));
            batch_bytes += bytes;
            batch.push(envelope);
        }
        self.bytes -= batch_bytes;
        Poll::Ready(Some((batch, batch_bytes)))
    }

    fn forget_heartbeat(&mut self, envelope: &RaftEnvelope) {
        let target = Target::of(envelope);
        if self.heartbeats.get(&target) == Some(&self.taken) {
            self.heartbeats.remove(&target);
        }
    }

    /// Ready while something waits.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.messages.is_empty() {
            self.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Whom to wake, if something waits and somebody waits for it.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        if self.messages.is_empty() { None } else { self.waker.take() }
    }

    /// The peers whose envelopes found no room since the last call.
    pub(crate) fn take_dropped(&mut self) -> Vec<Target> {
        mem::take(&mut self.dropped).into_iter().collect()
    }

    /// Drops everything: the peers concerned, those of the latest batch included, and how much was dropped.
    pub(crate) fn fail(&mut self) -> Failed {
        self.generation += 1;
        let messages = mem::take(&mut self.messages);
        self.taken += messages.len();
        self.heartbeats.clear();
        let mut targets = mem::take(&mut self.in_flight);
        targets.append(&mut self.dropped);
        targets.extend(messages.iter().map(|queued| Target::of(&queued.envelope)));
        Failed {
            targets: targets.into_iter().collect(),
            messages: messages.len(),
            bytes: mem::take(&mut self.bytes),
        }
    }
}

/// What a failed connection took with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) targets: Vec<Target>,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// The kind of an envelope's message; unspecified also for what this version does not know.
pub(crate) fn kind_of(envelope: &RaftEnvelope) -> RaftMessageKind {
    let message = envelope.message.as_ref();
    message.map_or(RaftMessageKind::Unspecified, flotilla_proto::raft::RaftMessage::kind)
}

fn has_context(envelope: &RaftEnvelope) -> bool {
    envelope.message.as_ref().is_some_and(|message| !message.context.is_empty())
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
