//! How stores and regions are, as the placement driver judges them.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{RegionId, StoreId};
use flotilla_proto::{cluster, pdpb};

use crate::admin::{StoreInfo, store_info};

/// How a cluster is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterHealth {
    /// All stores that have not left.
    pub stores: BTreeMap<StoreId, Contact>,
    /// Regions whose leader has not reported for so long that they may have none.
    pub silent_regions: BTreeSet<RegionId>,
    /// Voters that each region is to have; zero where the placement driver does not tell.
    pub max_replicas: u32,
    /// The stores that have registered, by id, while the cluster has no regions: these are made when there are as many
    /// as each region is to have voters. `None` from then on.
    pub start_up: Option<Vec<StoreInfo>>,
}

/// What the placement driver knows of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Heard lately.
    Up,
    /// Not heard of since the placement driver's leader took over, which it has just done.
    Unheard,
    /// Its connection is broken, or it has been silent for more than 20 seconds.
    Disconnected,
    /// Silent for more than 30 minutes.
    Down,
}

fn registered(start_up: cluster::StartUp) -> Vec<StoreInfo> {
    let stores = start_up.stores.into_iter();
    stores.map(|store| store_info(store, pdpb::StoreStats::default())).collect()
}

impl From<cluster::HealthResponse> for ClusterHealth {
    fn from(answer: cluster::HealthResponse) -> Self {
        let store = |store: &cluster::StoreHealth| {
            let contact = match store.contact() {
                cluster::Contact::Up => Contact::Up,
                cluster::Contact::Disconnected => Contact::Disconnected,
                cluster::Contact::Down => Contact::Down,
                // A word of a newer version says nothing that could be relied on.
                cluster::Contact::Unheard | cluster::Contact::Unspecified => Contact::Unheard,
            };
            (StoreId(store.store_id), contact)
        };
        Self {
            stores: answer.stores.iter().map(store).collect(),
            silent_regions: answer.silent_regions.into_iter().map(RegionId).collect(),
            max_replicas: answer.max_replicas,
            start_up: answer.start_up.map(registered),
        }
    }
}
