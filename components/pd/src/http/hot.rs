//! Hot regions and stores: `/hotspot/…`, in the shapes that tools parse. Rates are those of a second, smoothed.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use flotilla_base::{Moment, Peer, PeerRole, StoreId};
use flotilla_pdcore::Leading;
use flotilla_placement::{Rates, RegionInfo, view::RegionMap};
use flotilla_telemetry::clock::unix_millis;
use serde::Serialize;
use serde_json::json;

use super::{
    Context, format,
    routes::{Answered, bootstrapped},
};

/// Regions of one store that are listed at most.
const PER_STORE_MAX: usize = 1_000;
/// From so much on a region is listed: bytes or keys in a second, as placement drivers of the public protocol have it.
const WRITES_MIN: (u64, u64) = (1 << 10, 32);
const READS_MIN: (u64, u64) = (8 << 10, 128);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reads,
    Writes,
}

impl Kind {
    /// Bytes and keys.
    const fn flow(self, rates: &Rates) -> (u64, u64) {
        match self {
            Self::Reads => (rates.read_bytes, rates.read_keys),
            Self::Writes => (rates.written_bytes, rates.written_keys),
        }
    }

    const fn is_hot(self, rates: &Rates) -> bool {
        let (bytes, keys) = self.flow(rates);
        let (bytes_min, keys_min) = match self {
            Self::Reads => READS_MIN,
            Self::Writes => WRITES_MIN,
        };
        bytes >= bytes_min || keys >= keys_min
    }

    /// Whether the peer has its part in it: all have in writes, and the leader alone in reads.
    fn concerns(self, info: &RegionInfo, peer: &Peer) -> bool {
        self == Self::Writes || leads(info, peer)
    }
}

fn leads(info: &RegionInfo, peer: &Peer) -> bool {
    info.leader.is_some_and(|leader| leader.id == peer.id)
}

/// One peer of a hot region.
#[derive(Debug, Serialize)]
struct HotPeer {
    store_id: u64,
    is_leader: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    region_id: u64,
    hot_degree: u8,
    flow_bytes: u64,
    flow_keys: u64,
    flow_query: u64,
    anti_count: u8,
    last_update_time: String,
}

/// What of hot regions is on one store.
#[derive(Debug, Default, Serialize)]
struct HotStore {
    store_bytes: u64,
    store_keys: u64,
    store_query: u64,
    total_flow_bytes: u64,
    total_flow_keys: u64,
    total_flow_query: u64,
    regions_count: usize,
    statistics: Vec<HotPeer>,
}

pub(super) async fn reads(State(context): State<Context>) -> Answered {
    regions(&context, Kind::Reads).await
}

pub(super) async fn writes(State(context): State<Context>) -> Answered {
    regions(&context, Kind::Writes).await
}

async fn regions(context: &Context, kind: Kind) -> Answered {
    bootstrapped(context).await?;
    let told = context.core.glance(move |sight| {
        let clocks = (sight.scheduling().now, unix_millis());
        let own = own_rates(sight);
        let [as_peer, as_leader] =
            [false, true].map(|leaders| by_store(sight.regions(), &own, (kind, leaders), clocks));
        json!({ "as_peer": as_peer, "as_leader": as_leader })
    });
    Ok(Json(told.await?).into_response())
}

fn own_rates(sight: &Leading<'_>) -> BTreeMap<StoreId, Rates> {
    let stores = sight.stores().into_iter();
    stores.filter_map(|entry| Some((entry.record.id, entry.status?.load.rates))).collect()
}

/// The hot regions of each store: those that it leads, or all of them.
fn by_store(
    regions: &RegionMap,
    own: &BTreeMap<StoreId, Rates>,
    (kind, leaders_only): (Kind, bool),
    clocks: (Moment, u64),
) -> BTreeMap<String, HotStore> {
    let mut stores: BTreeMap<String, HotStore> = BTreeMap::new();
    let bytes: fn(&Rates) -> u64 = match kind {
        Kind::Reads => |rates| rates.read_bytes.max(rates.read_keys),
        Kind::Writes => |rates| rates.written_bytes.max(rates.written_keys),
    };
    for info in regions.hottest(bytes, usize::MAX).iter().filter(|it| kind.is_hot(&it.load.rates)) {
        let is_told =
            |peer: &&Peer| kind.concerns(info, peer) && (!leaders_only || leads(info, peer));
        for peer in info.region.peers.iter().filter(is_told) {
            let store = stores.entry(peer.store.to_string()).or_default();
            let (flow_bytes, flow_keys) = kind.flow(&info.load.rates);
            store.total_flow_bytes += flow_bytes;
            store.total_flow_keys += flow_keys;
            store.total_flow_query += flow_keys;
            store.regions_count += 1;
            let rates = own.get(&peer.store).copied().unwrap_or_default();
            (store.store_bytes, store.store_keys) = kind.flow(&rates);
            store.store_query = store.store_keys;
            if store.statistics.len() < PER_STORE_MAX {
                store.statistics.push(hot_peer(info, peer, (flow_bytes, flow_keys), clocks));
            }
        }
    }
    stores
}

fn hot_peer(
    info: &RegionInfo,
    peer: &Peer,
    (flow_bytes, flow_keys): (u64, u64),
    (now, unix_ms): (Moment, u64),
) -> HotPeer {
    let ago_ms = now.since(info.heard).as_millis();
    HotPeer {
        store_id: peer.store.get(),
        is_leader: leads(info, peer),
        is_learner: peer.role == PeerRole::Learner,
        region_id: info.region.id.get(),
        hot_degree: info.load.flows,
        flow_bytes,
        flow_keys,
        // Each key is a request, but for those that a scan finds.
        flow_query: flow_keys,
        anti_count: 0,
        last_update_time: format::date(unix_ms.saturating_sub(ago_ms)),
    }
}

/// What each store is asked for, by its own account.
pub(super) async fn stores(State(context): State<Context>) -> Answered {
    bootstrapped(&context).await?;
    let own = context.core.glance(own_rates).await?;
    Ok(stores_of(&own))
}

fn stores_of(own: &BTreeMap<StoreId, Rates>) -> Response {
    let each = |number: fn(&Rates) -> u64| -> BTreeMap<String, u64> {
        own.iter().map(|(store, rates)| (store.to_string(), number(rates))).collect()
    };
    let body = json!({
        "bytes-write-rate": each(|rates| rates.written_bytes),
        "bytes-read-rate": each(|rates| rates.read_bytes),
        "keys-write-rate": each(|rates| rates.written_keys),
        "keys-read-rate": each(|rates| rates.read_keys),
        "query-write-rate": each(|rates| rates.written_keys),
        "query-read-rate": each(|rates| rates.read_keys),
    });
    Json(body).into_response()
}
