//! Regions that have to be looked at again, each at its time.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use flotilla_base::{Moment, RegionId};

/// Regions by the time at which they are due; each is due once.
#[derive(Debug, Default)]
pub(crate) struct Due {
    by_region: BTreeMap<RegionId, Moment>,
    queue: BTreeSet<(Moment, RegionId)>,
}

impl Due {
    /// A region is due then; one that is due already stays so.
    pub(crate) fn put(&mut self, region: RegionId, due: Moment) {
        if let Entry::Vacant(place) = self.by_region.entry(region) {
            place.insert(due);
            self.queue.insert((due, region));
        }
        debug_assert_eq!(self.by_region.len(), self.queue.len());
    }

    /// The next `count` regions that are due later are due now.
    pub(crate) fn hasten(&mut self, now: Moment, count: usize) {
        let later = self.queue.range((now, RegionId(u64::MAX))..).copied();
        let next: Vec<RegionId> = later.take(count).map(|(_, region)| region).collect();
        for region in next {
            self.forget(region);
            self.put(region, now);
        }
    }

    /// A region is not due any more; whether it was.
    pub(crate) fn forget(&mut self, region: RegionId) -> bool {
        let due = self.by_region.remove(&region);
        due.is_some_and(|due| self.queue.remove(&(due, region)))
    }

    /// The next region that is due by `now`, which is then due no more.
    pub(crate) fn pop(&mut self, now: Moment) -> Option<RegionId> {
        let (_, region) = self.queue.first().copied().filter(|(due, _)| *due <= now)?;
        self.forget(region);
        Some(region)
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Moment {
        self.queue.first().map_or(Moment::NEVER, |(due, _)| *due)
    }

    /// How many are due, now or later.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
