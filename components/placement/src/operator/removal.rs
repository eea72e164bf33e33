//! Whether a store may be removed for good, judged by what heartbeats show.
//!
//! A removal cannot be taken back, so it is refused wherever it is not certain to come to an end: what is left must be
//! able to hold every replica, and every region must be able to decide without the store.

use flotilla_base::{RegionId, StoreId};

use super::{change::Sight, shape::Shape};
use crate::{
    meta::{StoreRecord, StoreState},
    view::StoreHealth,
};

/// Why a store is not removed, beside what the records say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemovalRefusal {
    /// It is there, or may be.
    #[error(
        "store {store} {state}: only a store that is gone for good is removed. Stop it first; one whose \
         directory is whole is started again instead"
    )]
    InUse {
        /// The store.
        store: StoreId,
        /// How it is.
        state: &'static str,
    },
    /// Nobody could take its replicas.
    #[error(
        "store {store} cannot be removed: {up} other stores are up, and each region has {replicas} \
         replicas, one to a store. Start a new store first, at another address, then remove store {store}: \
         what it held is made anew there"
    )]
    TooFewUp {
        /// The store.
        store: StoreId,
        /// Stores that stay and are up.
        up: usize,
        /// Stores that a region needs.
        replicas: u32,
    },
    /// A region could not go on without it.
    #[error(
        "store {store} cannot be removed: without it region {region} has no majority of stores that are \
         up. Start the others first"
    )]
    NoMajority {
        /// The store.
        store: StoreId,
        /// One of the regions.
        region: RegionId,
    },
    /// Regions that are not known may have a peer on it.
    #[error(
        "store {0} cannot be removed at the moment: not all regions have reported to the placement \
         driver yet. Ask again"
    )]
    RegionsUnknown(StoreId),
}

impl Sight<'_> {
    /// Whether a store of the cluster may be told to leave, each region having `replicas` voters. One that is leaving
    /// already may be told again.
    ///
    /// # Errors
    /// [`RemovalRefusal`]
    pub fn check_removal(&self, store: StoreId, replicas: u32) -> Result<(), RemovalRefusal> {
        let is_leaving = |record: &StoreRecord| record.state == StoreState::Offline;
        if self.stores.get(&store).is_some_and(is_leaving) {
            return Ok(());
        }
        let state = match self.view.health(store, self.now) {
            StoreHealth::Up => "is up",
            StoreHealth::Unheard => "may be about to report to this placement driver",
            StoreHealth::Disconnected | StoreHealth::Down => "",
        };
        if !state.is_empty() {
            return Err(RemovalRefusal::InUse { store, state });
        }
        let stays = |other: &&StoreId| **other != store && self.check_target(**other).is_ok();
        let up = self.stores.keys().filter(stays).count();
        if up < replicas as usize {
            return Err(RemovalRefusal::TooFewUp { store, up, replicas });
        }
        let regions = self.view.regions();
        if !regions.holes().is_empty() {
            return Err(RemovalRefusal::RegionsUnknown(store));
        }
        for info in regions.of_store(store, RegionId(0)) {
            let lives_on = |store_of_peer| store_of_peer != store && self.is_up(store_of_peer);
            if !Shape::of(&info.region).has_majority(|peer| lives_on(peer.store)) {
                return Err(RemovalRefusal::NoMajority { store, region: info.region.id });
            }
        }
        Ok(())
    }
}
