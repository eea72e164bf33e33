//! Peers that have begun to come to each store within the last minute, whatever has become of them since.
//!
//! They are counted as they begin and not read from the operators that are remembered: those are few, and transfers of
//! leads would push them out within seconds.

use std::collections::{BTreeMap, VecDeque};

use flotilla_base::{Moment, Span, StoreId};

use super::{plan::Plan, step::Step};

/// What is longer ago does not count.
const MINUTE: Span = Span::from_millis(60_000);
/// Arrivals within one of these count as the last one of them, so that a store has few entries however many come to it.
const SLICE: Span = Span::from_millis(100);

/// What has come to each store.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// The last moment of a slice, and how many came in it; ascending.
    by_store: BTreeMap<StoreId, VecDeque<(Moment, u32)>>,
}

impl Arrivals {
    /// A plan begins.
    pub(super) fn note(&mut self, now: Moment, plan: &Plan) {
        for step in &plan.steps {
            if let Step::AddLearner(peer) = step {
                self.note_one(now, peer.store);
            }
        }
    }

    fn note_one(&mut self, now: Moment, store: StoreId) {
        let slices = self.by_store.entry(store).or_default();
        while slices.front().is_some_and(|(last, _)| now.since(*last) > MINUTE) {
            slices.pop_front();
        }
        let is_same = |last: Moment| last.0 / SLICE.0 == now.0 / SLICE.0;
        match slices.back_mut().filter(|(last, _)| is_same(*last)) {
            Some((last, count)) => (*last, *count) = (now, count.saturating_add(1)),
            None => slices.push_back((now, 1)),
        }
        debug_assert!(slices.len() as u64 <= MINUTE.0 / SLICE.0 + 2, "a minute has so many slices");
    }

    /// How many have come to a store within a minute.
    pub(super) fn of(&self, now: Moment, store: StoreId) -> u32 {
        let slices = self.by_store.get(&store).into_iter().flatten();
        let recent = slices.filter(|(last, _)| now.since(*last) <= MINUTE);
        recent.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_counted_in_few_entries() {
        let (mut arrivals, store) = (Arrivals::default(), StoreId(3));
        let at = |millis: u64| Moment(0) + Span::from_millis(millis);
        for millis in 0..200_000 {
            arrivals.note_one(at(millis), store);
        }
        let slices = arrivals.by_store[&store].len();
        assert!(slices <= 602, "{slices}");
        let count = arrivals.of(at(199_999), store);
        assert!((60_000..=60_101).contains(&count), "{count}");
        assert_eq!(arrivals.of(at(199_999 + 60_000), store), 100, "the last slice");
        assert_eq!(arrivals.of(at(199_999 + 60_001), store), 0);
        assert_eq!(arrivals.of(at(199_999), StoreId(4)), 0);
    }
}
