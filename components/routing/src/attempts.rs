//! The patience of one call: how often, how soon, how long, and what to say at the end.

use flotilla_base::{Moment, Rng, Span};

use crate::{
    decision::{Decision, Ended, Next},
    failure::Cause,
};

/// Pauses of the search for a leader or a region. A new leader is found at most the longest pause
/// after it is elected, so that one must stay well below what an election itself takes.
pub const SEARCH_PAUSES: Pauses =
    Pauses { least: Span::from_millis(2), most: Span::from_millis(50) };

/// Pauses while the placement driver does not help. Longer: it has one address, so nothing else
/// can be tried meanwhile, and all calls of all clients wait for the same process.
pub const PLACEMENT_DRIVER_PAUSES: Pauses =
    Pauses { least: Span::from_millis(5), most: Span::from_millis(250) };

/// Pauses after a store said that it is busy. What a store asks for counts up to the longest.
pub const BUSY_PAUSES: Pauses =
    Pauses { least: Span::from_millis(20), most: Span::from_millis(1_000) };

/// After so many pauses a search doubts the region itself, in case its peers have all moved.
pub const PAUSES_BEFORE_RELOAD: u32 = 5;

/// A write is not repeated with less time than this left: it would hardly be answered in time, and
/// would turn a certain "not applied" into a doubt.
pub const LAST_WRITE_LEAST: Span = Span::from_millis(20);

/// A series of pauses: each twice the one before, between two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first pause.
    pub least: Span,
    /// The longest pause.
    pub most: Span,
}

/// What a call does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads: repeating it is always safe.
    Read,
    /// It writes, and the same write twice is the same as once.
    Write {
        /// Whether the call goes on after an attempt whose outcome is not known. A repetition
        /// that is acknowledged settles the matter, but it may overwrite what another client
        /// wrote in between: a history checker must not use it.
        repeat_unknown: bool,
    },
}

/// Whether a write took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Certainly not, and it never will.
    No,
    /// Certainly; the error concerns what came after it.
    Yes,
    /// Perhaps, wholly or in part, now or later.
    Unknown,
}

/// What the call does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Locate again and send at once.
    Retry,
    /// Do so at this moment.
    Wait(Moment),
    /// Report failure.
    GiveUp(Ending),
}

/// How a call ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why there is no further attempt.
    pub ended: Ended,
    /// What is known of a write.
    pub applied: Applied,
}

/// The state of one call between its attempts.
#[derive(Clone, Debug)]
pub struct Attempts {
    access: Access,
    deadline: Moment,
    rng: Rng,
    failures: u32,
    hasty: u32,
    search_pauses: u32,
    placement_driver_pauses: u32,
    busy_pauses: u32,
    may_have_happened: bool,
}

impl Attempts {
    /// A call that may last until `deadline`; `seed` spreads its pauses.
    #[must_use]
    pub const fn new(access: Access, deadline: Moment, seed: u64) -> Self {
        Self {
            access,
            deadline,
            rng: Rng::new(seed),
            failures: 0,
            hasty: 0,
            search_pauses: 0,
            placement_driver_pauses: 0,
            busy_pauses: 0,
            may_have_happened: false,
        }
    }

    /// When the call ends at the latest.
    #[must_use]
    pub const fn deadline(&self) -> Moment {
        self.deadline
    }

    /// How many attempts have failed.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a long search calls for a fresh look at the region; true once per so many pauses.
    #[must_use]
    pub const fn is_search_long(&self) -> bool {
        self.hasty == 0
            && self.search_pauses > 0
            && self.search_pauses.is_multiple_of(PAUSES_BEFORE_RELOAD)
    }

    /// What follows from a failed attempt. `peers` is the number of replicas that could be asked:
    /// so many attempts, less one, may follow each other without a pause. Without that bound two
    /// stale replicas that name each other as leader would be asked as fast as they answer.
    pub fn after(&mut self, now: Moment, decision: &Decision, peers: usize) -> Step {
        self.failures += 1;
        let is_write = matches!(self.access, Access::Write { .. });
        self.may_have_happened |= is_write && decision.may_have_happened;
        if self.may_have_happened && self.access == (Access::Write { repeat_unknown: false }) {
            return self.give_up(Ended::Undetermined);
        }
        let wait = match decision.next {
            Next::End(ended) => return self.give_up(ended),
            Next::Again(_) if (self.hasty as usize) + 1 < peers.max(2) => {
                self.hasty += 1;
                return if self.is_worth_it(now) { Step::Retry } else { self.give_up(Ended::Late) };
            }
            Next::Again(cause) | Next::Pause(cause) => self.pause(cause),
            Next::PauseFor(cause, least) => self.pause(cause).max(least.min(BUSY_PAUSES.most)),
        };
        self.hasty = 0;
        // A pause that ends too late cannot be followed by anything: say so now.
        let until = now + wait;
        if self.is_worth_it(until) { Step::Wait(until) } else { self.give_up(Ended::Late) }
    }

    /// The end of a call whose deadline passed while it looked for the way, with nothing sent.
    #[must_use]
    pub const fn out_of_time(&self) -> Ending {
        self.ending(Ended::Late)
    }

    fn is_worth_it(&self, at: Moment) -> bool {
        match self.access {
            Access::Read => at < self.deadline,
            Access::Write { .. } => at + LAST_WRITE_LEAST < self.deadline,
        }
    }

    const fn give_up(&self, ended: Ended) -> Step {
        Step::GiveUp(self.ending(ended))
    }

    const fn ending(&self, ended: Ended) -> Ending {
        let applied = if self.may_have_happened { Applied::Unknown } else { Applied::No };
        Ending { ended, applied }
    }

    fn pause(&mut self, cause: Cause) -> Span {
        let (taken, pauses) = match cause {
            Cause::Busy => (&mut self.busy_pauses, BUSY_PAUSES),
            Cause::PlacementDriver => (&mut self.placement_driver_pauses, PLACEMENT_DRIVER_PAUSES),
            Cause::Leader | Cause::Region | Cause::Unreachable | Cause::Lost | Cause::NotReady => {
                (&mut self.search_pauses, SEARCH_PAUSES)
            }
        };
        debug_assert!(pauses.least <= pauses.most, "pauses grow");
        let full = (pauses.least * (1 << (*taken).min(16))).min(pauses.most);
        *taken = taken.saturating_add(1);
        debug_assert!(full >= pauses.least && full <= pauses.most, "a pause keeps to its limits");
        // Half fixed, half drawn: calls that failed together do not return together.
        Span(full.0 / 2 + self.rng.below(full.0 / 2 + 1))
    }
}
