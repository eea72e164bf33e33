//! When a leader may answer reads from its own data without asking anybody.
//!
//! A follower that heard its leader keeps its gate closed for [`Timing::gate`](crate::Timing::gate). So
//! once a majority has answered a round of heartbeats, nobody else can lead before a gate has passed since
//! that round *began to leave*: the leader may trust it for [`Timing::lease`](crate::Timing::lease), which
//! is shorter by what clocks may drift apart. The answers' own moments prove nothing: they may have been
//! under way for long.
//!
//! There is no lease
//! * before an entry of the leader's own term is committed: older commits may not be known yet;
//! * while the lead is being handed over, for the successor need not wait for any gate; and after a
//!   hand-over that failed, until an entry is committed that was proposed later: its majority refuses the
//!   shorter log of a successor that was told late;
//! * while the oldest unfinished write is older than one gate: a leader with such a disk is about to go;
//! * after a restart, after a step-down, and in another term.

use flotilla_base::{Bug, Index, Moment, Span, Term};

use crate::group::Group;

/// What a leader may trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The term of this lead.
    pub term: Term,
    /// By this peer's clock, nobody else leads before this moment.
    pub until: Moment,
}

/// The evidence of one lead.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    length: Span,
    until: Option<Moment>,
    /// Only a commit behind this index makes the evidence count.
    barrier: Index,
}

impl LeaseClock {
    pub(crate) const fn new(length: Span) -> Self {
        Self { length, until: None, barrier: Index(0) }
    }

    /// A lead begins or ends: nothing is proved about it.
    pub(crate) const fn start_anew(&mut self) {
        *self = Self::new(self.length);
    }

    /// A majority answered a round that began to leave at `sent_at`.
    pub(crate) fn note_confirmed(&mut self, sent_at: Moment) {
        self.until = self.until.max(Some(sent_at + self.length));
    }

    /// Only an entry that is proposed behind `last` brings the lease back.
    pub(crate) const fn withdraw_until_behind(&mut self, last: Index) {
        self.until = None;
        self.barrier = last;
    }

    fn until(&self, committed: Index) -> Option<Moment> {
        self.until.filter(|_| committed > self.barrier)
    }
}

impl Group {
    /// What this leader may trust; it may have run out already.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        let is_leaving = self.is_transferring() && !self.has_bug(Bug::LEASE_DURING_TRANSFER);
        let is_shut = !self.can_read() || is_leaving || self.is_disk_late();
        if is_shut {
            return None;
        }
        let until = self.lease.until(self.committed())?;
        Some(Lease { term: self.role().term, until })
    }

    /// The index that a read which arrived before `now` may read at without a round; `None` where the lease
    /// has run out, or there is none.
    ///
    /// The clock must have been read *after* the request was taken, or a pause in between would let a read
    /// pass that began long after the lease.
    #[must_use]
    pub fn leased_index(&self, now: Moment) -> Option<Index> {
        self.lease().filter(|lease| now < lease.until).map(|_| self.committed())
    }

    /// Whether the oldest write that is not durable yet has waited for more than a gate, whatever for.
    fn is_disk_late(&self) -> bool {
        let gate = self.timing().gate;
        self.oldest_write().is_some_and(|since| self.seen_at().since(since) > gate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Timing;

    fn after(millis: u64) -> Moment {
        Moment(1) + Span::from_millis(millis)
    }

    /// The leader's clock is as slow and the follower's as fast as we allow for: in true time the lease
    /// still ends before the gate of whoever answered, even if the answer took no time at all.
    #[test]
    fn clocks_that_drift_a_tenth_apart_each_leave_no_gap() {
        let Timing { gate, lease, .. } = Timing::default();
        let longest_lease = lease.0 * 10 / 9;
        let shortest_gate = gate.0 * 10 / 11;
        assert!(longest_lease < shortest_gate, "{longest_lease} {shortest_gate}");
    }

    #[test]
    fn a_lease_counts_from_the_newest_round_that_left() {
        let mut clock = LeaseClock::new(Span::from_millis(600));
        assert_eq!(clock.until(Index(9)), None);
        clock.note_confirmed(after(100));
        clock.note_confirmed(after(50));
        assert_eq!(clock.until(Index(9)), Some(after(700)));
        clock.start_anew();
        assert_eq!(clock.until(Index(9)), None);
    }

    #[test]
    fn a_withdrawn_lease_waits_for_a_later_entry() {
        let mut clock = LeaseClock::new(Span::from_millis(600));
        clock.withdraw_until_behind(Index(7));
        clock.note_confirmed(after(100));
        assert_eq!(clock.until(Index(7)), None);
        assert_eq!(clock.until(Index(8)), Some(after(700)));
    }
}
