//! What was moved lately, so that nobody moves it on, or back.
//!
//! Schedulers have ranks: repair goes before evictions, these before load, and load before balance. What one of them did
//! is left alone by those below it for a while, however they would like it.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, RegionId, Span, StoreId};

use crate::operator::{Plan, Step};

/// A replica that came to a store stays there for so long, and does not come back to the store that it left; a region that
/// was moved for its load is let be by everybody who cares for load or balance.
pub(crate) const COOL_DOWN: Span = Span::from_millis(10 * 60_000);
/// A region is moved for its load at most [`MOVES_MAX`] times in so long.
const HOUR: Span = Span::from_millis(60 * 60_000);
const MOVES_MAX: u8 = 2;
/// Moves that are remembered.
const MOVED_MAX: usize = 65_536;

/// What holds until a moment; of too many, those that end first are forgotten.
#[derive(Debug)]
struct Lately<K> {
    until: BTreeMap<K, Moment>,
    queue: BTreeSet<(Moment, K)>,
}

impl<K> Default for Lately<K> {
    fn default() -> Self {
        Self { until: BTreeMap::new(), queue: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Lately<K> {
    fn note(&mut self, now: Moment, key: K, span: Span) {
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
            if first.0 > now && self.queue.len() < MOVED_MAX {
                break;
            }
            self.queue.remove(&first);
            self.until.remove(&first.1);
        }
    }

    fn holds(&self, now: Moment, key: K) -> bool {
        self.until.get(&key).is_some_and(|until| now < *until)
    }
}

/// What was moved lately.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Stores that took or gave a replica of a region.
    replicas: Lately<(RegionId, StoreId)>,
    /// Regions that were moved, or split, for their load.
    heated: Lately<RegionId>,
    /// The same for an hour, each time in a place of its own below [`MOVES_MAX`].
    hourly: Lately<(RegionId, u8)>,
}

impl Moved {
    /// Replicas begin to move.
    pub(crate) fn note(&mut self, now: Moment, plan: &Plan) {
        for step in &plan.steps {
            if let Step::AddLearner(peer) | Step::RemovePeer(peer) = step {
                self.replicas.note(now, (plan.region, peer.store), COOL_DOWN);
            }
        }
    }

    /// A region begins to be moved, or split, for its load.
    pub(crate) fn note_heated(&mut self, now: Moment, plan: &Plan) {
        self.note(now, plan);
        self.heated.note(now, plan.region, COOL_DOWN);
        let free = (0..MOVES_MAX).find(|place| !self.hourly.holds(now, (plan.region, *place)));
        debug_assert!(free.is_some(), "whoever moves for load asks first");
        self.hourly.note(now, (plan.region, free.unwrap_or_default()), HOUR);
    }

    /// Whether the store took or gave a replica of the region lately.
    pub(crate) fn is_cooling(&self, now: Moment, region: RegionId, store: StoreId) -> bool {
        self.replicas.holds(now, (region, store))
    }

    /// Whether the region was moved for its load lately: neither load nor balance is a reason to move it again.
    pub(crate) fn is_heated(&self, now: Moment, region: RegionId) -> bool {
        self.heated.holds(now, region)
    }

    /// Whether load may be a reason to move the region.
    pub(crate) fn may_heat(&self, now: Moment, region: RegionId) -> bool {
        let is_free = |place| !self.hourly.holds(now, (region, place));
        !self.is_heated(now, region) && (0..MOVES_MAX).any(is_free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_forgotten_by_its_end() {
        let mut lately = Lately::<u64>::default();
        let now = Moment(0);
        for key in 0..MOVED_MAX as u64 + 10 {
            lately.note(now, key, Span(1_000 + key));
        }
        assert_eq!((lately.until.len(), lately.queue.len()), (MOVED_MAX, MOVED_MAX));
        assert!(!lately.holds(now, 9) && lately.holds(now, 10));
        lately.note(now, 10, Span(2));
        assert!(lately.holds(Moment(1), 10) && !lately.holds(Moment(2), 10), "the last word");
        lately.note(Moment(1 << 30), 7, Span(1));
        assert_eq!(lately.until.len(), 1, "what has ended");
    }
}
