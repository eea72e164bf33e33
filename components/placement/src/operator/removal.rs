//! Whether a store may leave, judged by what heartbeats show.
//!
//! It is refused wherever it is not certain to come to an end: what is left must be able to hold every replica, and every
//! region must be able to decide. A store that is lost does not help with that; one that is emptied while it serves does.

use flotilla_base::{RegionId, StoreId};

use super::{change::Sight, shape::Shape};
use crate::{
    meta::{StoreRecord, StoreState},
    rule::{Labels, RuleRefusal},
    view::StoreHealth,
};

/// How a store leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It is emptied, whether it serves meanwhile or not. That can be taken back until it is empty.
    Drain,
    /// It is gone for good: only a store that is not there may be.
    Lost,
}

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
    /// The same of a store that is to be emptied.
    #[error(
        "store {store} cannot be emptied: {up} other stores are up, and each region has {replicas} replicas, one to a \
         store. Start one more store first{}",
        if *up > 0 { format!(", or let each region have {up} replicas (setting replication.max-replicas)") } else { String::new() }
    )]
    TooFewToDrain {
        /// The store.
        store: StoreId,
        /// Stores that stay and are up.
        up: usize,
        /// Stores that a region needs.
        replicas: u32,
    },
    /// A rule could not be kept without it.
    #[error("store {store} cannot be removed: without it {rule}")]
    Needed {
        /// The store.
        store: StoreId,
        /// The rule.
        rule: RuleRefusal,
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
    /// Whether a store of the cluster may be told to leave. One that is leaving already may be told again.
    ///
    /// # Errors
    /// [`RemovalRefusal`]
    pub fn check_removal(&self, store: StoreId, leave: Leave) -> Result<(), RemovalRefusal> {
        let is_leaving = |record: &StoreRecord| record.state == StoreState::Offline;
        if self.stores.get(&store).is_some_and(is_leaving) {
            return Ok(());
        }
        let state = match self.view.health(store, self.now) {
            StoreHealth::Up => "is up",
            StoreHealth::Unheard => "may be about to report to this placement driver",
            StoreHealth::Disconnected | StoreHealth::Down => "",
        };
        let serves = !state.is_empty();
        if serves && leave == Leave::Lost {
            return Err(RemovalRefusal::InUse { store, state });
        }
        self.check_those_that_stay(store, leave)?;
        let regions = self.view.regions();
        if regions.has_holes() {
            return Err(RemovalRefusal::RegionsUnknown(store));
        }
        for info in regions.of_store(store, RegionId(0)) {
            let lives_on = |other| if other == store { serves } else { self.is_up(other) };
            if !Shape::of(&info.region).has_majority(|peer| lives_on(peer.store)) {
                return Err(RemovalRefusal::NoMajority { store, region: info.region.id });
            }
        }
        Ok(())
    }

    /// Whether the other stores that are up can hold every replica.
    fn check_those_that_stay(&self, store: StoreId, leave: Leave) -> Result<(), RemovalRefusal> {
        let stays = |it: &&StoreRecord| it.id != store && self.check_target(it.id).is_ok();
        let stay = self.stores.values().filter(stays).map(|it| self.policy.labels(it));
        let stay: Vec<Labels<'_>> = stay.collect();
        let (up, replicas) = (stay.len(), self.policy.replicas_max());
        if up < replicas as usize {
            return Err(match leave {
                Leave::Drain => RemovalRefusal::TooFewToDrain { store, up, replicas },
                Leave::Lost => RemovalRefusal::TooFewUp { store, up, replicas },
            });
        }
        let goes: Vec<_> =
            self.stores.get(&store).map(|it| self.policy.labels(it)).into_iter().collect();
        let departed = self.policy.check_departure(&stay, &goes);
        departed.map_err(|rule| RemovalRefusal::Needed { store, rule })
    }
}
