//! What holds for a while.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, Span};

/// So much is remembered of one kind.
const KEPT_MAX: usize = 65_536;

/// What holds until a moment; of too many, those that end first are forgotten.
#[derive(Debug)]
pub(crate) struct Lately<K> {
    until: BTreeMap<K, Moment>,
    queue: BTreeSet<(Moment, K)>,
}

impl<K> Default for Lately<K> {
    fn default() -> Self {
        Self { until: BTreeMap::new(), queue: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Lately<K> {
    /// It holds for so long from now on, and not as was said before.
    pub(crate) fn note(&mut self, now: Moment, key: K, span: Span) {
        self.forget_oldest(now);
        let until = now + span;
        if let Some(earlier) = self.until.insert(key, until) {
            self.queue.remove(&(earlier, key));
        }
        self.queue.insert((until, key));
        debug_assert_eq!(self.until.len(), self.queue.len());
    }

    fn forget_oldest(&mut self, now: Moment) {
        while let Some(first) = self.queue.first().copied() {
            if first.0 > now && self.queue.len() < KEPT_MAX {
                break;
            }
            self.queue.remove(&first);
            self.until.remove(&first.1);
        }
    }

    /// Whether it holds.
    pub(crate) fn holds(&self, now: Moment, key: K) -> bool {
        self.until(now, key).is_some()
    }

    /// Until when it holds; `None` where it does not.
    pub(crate) fn until(&self, now: Moment, key: K) -> Option<Moment> {
        self.until.get(&key).copied().filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_forgotten_by_its_end() {
        let mut lately = Lately::<u64>::default();
        let now = Moment(0);
        for key in 0..KEPT_MAX as u64 + 10 {
            lately.note(now, key, Span(1_000 + key));
        }
        assert_eq!((lately.until.len(), lately.queue.len()), (KEPT_MAX, KEPT_MAX));
        assert!(!lately.holds(now, 9) && lately.holds(now, 10));
        lately.note(now, 10, Span(2));
        assert!(lately.holds(Moment(1), 10) && !lately.holds(Moment(2), 10), "the last word");
        lately.note(Moment(1 << 30), 7, Span(1));
        assert_eq!(lately.until.len(), 1, "what has ended");
    }
}
