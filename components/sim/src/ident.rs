//! The file that numbers the runs of a store, beside its database. A crash keeps what was synced; of what was only
//! written it keeps what the system had time to write back by itself, and the rest where the process alone died.

use flotilla_base::{Incarnation, Moment, Rng, Span};

/// So long may a system keep a written file in memory.
const WRITE_BACK: Span = Span::from_millis(5_000);

/// The number of a store's last run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ident {
    synced: Incarnation,
    written: Incarnation,
    written_at: Moment,
}

impl Ident {
    /// A run begins at `now`: it has the next number.
    pub fn begin(&mut self, now: Moment) -> Incarnation {
        (self.written, self.written_at) = (self.written.next(), now);
        self.written
    }

    /// The number is durable.
    pub const fn sync(&mut self) {
        self.synced = self.written;
    }

    /// The number of the last run, as far as the file says.
    #[must_use]
    pub const fn last(&self) -> Incarnation {
        self.written
    }

    /// Whether a loss of power at `now` would take the number if nobody had synced it.
    #[must_use]
    pub fn is_fresh(&self, now: Moment) -> bool {
        now.since(self.written_at) < WRITE_BACK
    }

    /// The process or the machine is gone.
    pub fn crash(&mut self, now: Moment, rng: &mut Rng) {
        let is_lost = self.synced < self.written && self.is_fresh(now) && rng.chance(500);
        if is_lost {
            self.written = self.synced;
        }
        self.sync();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The number of the run behind a crash that many milliseconds after the start, by what `sync` did.
    fn second(millis: u64, seed: u64, sync: impl Fn(&mut Ident)) -> Incarnation {
        let mut ident = Ident::default();
        assert_eq!(ident.begin(Moment(1)), Incarnation(1));
        sync(&mut ident);
        ident.crash(Moment(1) + Span::from_millis(millis), &mut Rng::new(seed));
        ident.begin(Moment(1) + Span::from_millis(millis))
    }

    #[test]
    fn a_number_comes_again_only_where_it_was_not_synced() {
        let numbers = |millis, sync: fn(&mut Ident)| -> BTreeSet<u64> {
            (0..40).map(|seed| second(millis, seed, sync).get()).collect()
        };
        assert_eq!(numbers(0, Ident::sync), BTreeSet::from([2]));
        assert_eq!(numbers(4_999, |_| {}), BTreeSet::from([1, 2]), "a process may die alone");
        assert_eq!(numbers(5_000, |_| {}), BTreeSet::from([2]), "it is written back");
    }
}
