//! I10: timestamps are handed out once, in an order that real time allows, over all lives of all members;
//! and never further ahead of the clocks than a window.
//!
//! An operation begins when its request reaches a member and ends when the answer leaves it: inside of
//! what a client sees, and around the moment at which the timestamp is taken. So the order holds for
//! clients, too.

use std::collections::BTreeMap;

use flotilla_placement::{Timestamp, tso::LOGICAL_BITS};

use crate::judge::{Verdict, require};
use crate::pd::event::PdTicket;

const ORDER: &str =
    "I10: a timestamp is larger than all that were released before it was asked for";
const ONCE: &str = "I10: a timestamp is handed out once";
const AHEAD: &str = "I10: timestamps are no further ahead than a window";

/// How far a reign lets timestamps be ahead of the clock.
const WINDOW_MS: u64 = 3_000;
/// How much further each reign may push them that begins while they are ahead.
const PUSH_MS: u64 = 101;

/// What was released.
#[derive(Debug, Default)]
pub struct TimestampJudge {
    /// Ranges by their largest timestamp, with their smallest.
    released: BTreeMap<Timestamp, Timestamp>,
    /// What was released when each request came.
    floors: BTreeMap<PdTicket, Timestamp>,
    largest: Timestamp,
    /// Timestamps that were asked for.
    asked: u64,
    /// The latest time that any wall clock of a member has shown, milliseconds.
    clock_max_ms: u64,
    reigns: u64,
}

impl TimestampJudge {
    /// A request for so many reaches a member.
    pub fn on_begin(&mut self, ticket: PdTicket, count: u32) {
        self.asked += u64::from(count);
        self.floors.insert(ticket, self.largest);
    }

    /// A member looks at its wall clock.
    pub fn on_clock(&mut self, unix_ms: u64) {
        self.clock_max_ms = self.clock_max_ms.max(unix_ms);
    }

    /// A reign begins.
    pub const fn on_reign(&mut self) {
        self.reigns += 1;
    }

    /// `count` timestamps up to `last` leave a member.
    ///
    /// # Errors
    /// They are too small, were handed out before, or are too far in the future.
    pub fn on_release(&mut self, ticket: PdTicket, last: Timestamp, count: u32) -> Verdict {
        let is_sound = last.logical < 1 << LOGICAL_BITS && last.logical + 1 >= u64::from(count);
        require(is_sound && count > 0, ONCE, || format!("{count} up to {last:?} make no sense"))?;
        let first = Timestamp { logical: last.logical + 1 - u64::from(count), ..last };
        let floor = self.floors.remove(&ticket).unwrap_or_default();
        require(first > floor, ORDER, || {
            format!("request {}: {first:?}, {floor:?} had been released", ticket.0)
        })?;
        let neighbour = self.released.range(first..).next();
        require(neighbour.is_none_or(|(_, start)| *start > last), ONCE, || {
            format!("request {}: {first:?}..={last:?}, earlier {neighbour:?}", ticket.0)
        })?;
        // A batch that does not fit a millisecond leaves less than its own size of it unused.
        let counted_ms = 1 + ((2 * self.asked) >> LOGICAL_BITS);
        let limit_ms = self.clock_max_ms + WINDOW_MS + PUSH_MS * self.reigns + counted_ms;
        require(last.physical_ms <= limit_ms, AHEAD, || {
            let clock_ms = self.clock_max_ms;
            format!("{last:?}, clocks have shown {clock_ms}, {} reigns began", self.reigns)
        })?;
        self.released.insert(last, first);
        self.largest = self.largest.max(last);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(physical_ms: u64, logical: u64) -> Timestamp {
        Timestamp { physical_ms, logical }
    }

    fn judge() -> TimestampJudge {
        let mut judge = TimestampJudge::default();
        judge.on_clock(1000);
        judge.on_reign();
        for ticket in 1..=4 {
            judge.on_begin(PdTicket(ticket), 1);
        }
        judge
    }

    fn rule(verdict: Verdict) -> Option<&'static str> {
        verdict.err().map(|violation| violation.rule)
    }

    #[test]
    fn one_that_is_smaller_than_what_was_known_is_found() {
        let mut judge = judge();
        assert_eq!(judge.on_release(PdTicket(1), at(1000, 10), 5), Ok(()));
        // Asked before that left: may be smaller, may not be equal.
        assert_eq!(judge.on_release(PdTicket(2), at(1000, 5), 5), Ok(()));
        judge.on_begin(PdTicket(5), 1);
        assert_eq!(rule(judge.on_release(PdTicket(5), at(1000, 11), 2)), Some(ORDER));
        judge.on_begin(PdTicket(6), 1);
        assert_eq!(rule(judge.on_release(PdTicket(6), at(999, 11), 1)), Some(ORDER));
    }

    #[test]
    fn one_that_is_handed_out_twice_is_found() {
        for (last, count) in
            [(at(1000, 10), 1), (at(1000, 6), 1), (at(1000, 12), 3), (at(1000, 20), 20)]
        {
            let mut judge = judge();
            assert_eq!(judge.on_release(PdTicket(1), at(1000, 10), 5), Ok(()));
            assert_eq!(rule(judge.on_release(PdTicket(2), last, count)), Some(ONCE), "{last:?}");
        }
        assert_eq!(
            rule(judge().on_release(PdTicket(1), at(1000, 3), 5)),
            Some(ONCE),
            "no such batch"
        );
    }

    #[test]
    fn one_from_the_future_is_found() {
        assert_eq!(judge().on_release(PdTicket(1), at(4000, 1), 1), Ok(()));
        assert_eq!(rule(judge().on_release(PdTicket(1), at(4200, 1), 1)), Some(AHEAD));
    }
}
