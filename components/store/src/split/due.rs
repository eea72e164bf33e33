//! Regions that are to be looked at, each at its time: one that cannot be looked at now stands behind those that can.

use std::collections::{BTreeSet, HashMap};

use flotilla_base::RegionId;
use tokio::time::Instant;

/// Regions by the time at which they are due; each is due once.
#[derive(Debug, Default)]
pub(super) struct Due {
    by_region: HashMap<RegionId, Instant>,
    queue: BTreeSet<(Instant, RegionId)>,
}

impl Due {
    /// A region is due at `at`, unless it is due already: whatever was put off stays so. Returns whether that changed
    /// anything.
    pub(super) fn add(&mut self, region: RegionId, at: Instant) -> bool {
        let is_new = !self.by_region.contains_key(&region);
        if is_new {
            self.put_off(region, at);
        }
        is_new
    }

    /// A region is due at `until`, whether it was due before or not.
    pub(super) fn put_off(&mut self, region: RegionId, until: Instant) {
        self.remove(region);
        self.by_region.insert(region, until);
        self.queue.insert((until, region));
        debug_assert_eq!(self.by_region.len(), self.queue.len(), "each is due once");
    }

    pub(super) fn remove(&mut self, region: RegionId) {
        if let Some(at) = self.by_region.remove(&region) {
            self.queue.remove(&(at, region));
        }
    }

    /// The region that has been due for longest, which is then due no more; `None` where none is due by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<RegionId> {
        let (_, region) = self.queue.first().copied().filter(|(at, _)| *at <= now)?;
        self.remove(region);
        Some(region)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// All regions that are due, now or later.
    #[cfg(test)]
    pub(super) fn regions(&self) -> BTreeSet<RegionId> {
        self.by_region.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_is_due_once_and_in_the_order_of_time() {
        let (mut due, now) = (Due::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!((due.pop(now), due.next()), (None, None));
        assert!(due.add(RegionId(2), at(1)) && due.add(RegionId(3), at(0)));
        assert!(!due.add(RegionId(2), at(0)), "it is due already");
        assert_eq!(due.next(), Some(at(0)));
        assert_eq!([due.pop(at(0)), due.pop(at(0))], [Some(RegionId(3)), None]);
        due.put_off(RegionId(2), at(5));
        assert!(due.add(RegionId(3), at(2)));
        assert_eq!([due.pop(at(1)), due.pop(at(9))], [None, Some(RegionId(3))]);
        due.remove(RegionId(2));
        assert_eq!((due.pop(at(9)), due.next()), (None, None));
    }
}
