//! How far the regions of each store have been looked at. No look considers all of them: the next one goes on behind it.

use std::collections::BTreeMap;

use flotilla_base::{RegionId, StoreId};

/// The first region of each store that comes next.
#[derive(Debug, Default)]
pub(super) struct Cursors(BTreeMap<StoreId, RegionId>);

impl Cursors {
    /// The first region of a store that comes next.
    pub(super) fn first(&self, store: StoreId) -> RegionId {
        self.0.get(&store).copied().unwrap_or_default()
    }

    /// The next look at a store goes on behind this region, or begins anew where it was the last one.
    pub(super) fn pass(&mut self, store: StoreId, last: Option<RegionId>) {
        let behind = last.map_or(RegionId(0), |last| RegionId(last.get().saturating_add(1)));
        self.0.insert(store, behind);
    }
}
