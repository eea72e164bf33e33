//! What the leader of the placement driver knows from heartbeats: soft state, rebuilt within seconds.
//!
//! The view never invents and never edits a region: whatever it returns was reported word for word by
//! some leader. A store destroys a peer that a region with a newer epoch does not list, so a guess
//! here would cost data there.

mod regions;
mod stores;

use std::{collections::BTreeMap, sync::Arc};

use flotilla_base::{Moment, RegionId, StoreId};

pub use regions::{RegionInfo, RegionMap, RegionReport, RegionStats, ReportEffect, StaleReport};
pub use stores::{StoreHealth, StoreLoad, StoreStats, StoreStatus};

/// Regions and stores as the last heartbeats showed them.
#[derive(Debug)]
pub struct ClusterView {
    opened: Moment,
    regions: RegionMap,
    stores: BTreeMap<StoreId, StoreStatus>,
}

impl ClusterView {
    /// An empty view of a reign that begins now.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { opened: now, regions: RegionMap::default(), stores: BTreeMap::new() }
    }

    /// The regions.
    #[must_use]
    pub const fn regions(&self) -> &RegionMap {
        &self.regions
    }

    /// Takes a region leader's report, unless something newer is known.
    ///
    /// # Errors
    /// [`StaleReport`] says what is known; the view is unchanged then.
    pub fn on_region_report(
        &mut self,
        now: Moment,
        report: RegionReport,
    ) -> Result<ReportEffect, StaleReport> {
        self.regions.report(now, report)
    }

    /// Takes a store's statistics. The caller has checked that the store is registered.
    pub fn on_store_report(&mut self, store: StoreId, status: StoreStatus) {
        self.stores.insert(store, status);
    }

    /// The last statistics of a store; `None` before its first heartbeat in this reign.
    #[must_use]
    pub fn store(&self, store: StoreId) -> Option<&StoreStatus> {
        self.stores.get(&store)
    }

    /// How a registered store is, by the time since its last heartbeat. A reign that has just begun
    /// counts from its beginning, so that a restart here does not make every store look dead.
    #[must_use]
    pub fn health(&self, store: StoreId, now: Moment) -> StoreHealth {
        let heard = self.stores.get(&store).map_or(self.opened, |status| status.heard);
        StoreHealth::after(now.since(heard))
    }

    /// Leaders, replicas and sizes of every store that holds a reported region.
    #[must_use]
    pub fn loads(&self) -> BTreeMap<StoreId, StoreLoad> {
        let mut loads = BTreeMap::<StoreId, StoreLoad>::new();
        for info in self.regions.iter() {
            for peer in &info.region.peers {
                let load = loads.entry(peer.store).or_default();
                load.regions += 1;
                // Sizes are what leaders say of themselves: any number.
                load.region_bytes = load.region_bytes.saturating_add(info.stats.size_bytes);
                load.pending_peers += u64::from(info.pending_peers.contains(peer));
                if peer.id == info.leader.id {
                    load.leaders += 1;
                    load.leader_bytes = load.leader_bytes.saturating_add(info.stats.size_bytes);
                }
            }
        }
        loads
    }

    /// The region with this id.
    #[must_use]
    pub fn region(&self, id: RegionId) -> Option<&Arc<RegionInfo>> {
        self.regions.by_id(id)
    }
}
