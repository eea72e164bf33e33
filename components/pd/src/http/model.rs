//! The JSON shapes of the interface. Numbers are numbers, also those above 2^53.

use flotilla_base::{ByteSize, Peer, PeerRole};
use flotilla_pdcore::StoreEntry;
use flotilla_placement::{RegionInfo, StoreHealth, StorePolicy, StoreState};
use flotilla_proto::{metapb, pdpb};
use serde::Serialize;

use super::format::{date, duration, hex};
use crate::grpc;

#[derive(Debug, Serialize)]
pub(super) struct Member {
    name: String,
    member_id: u64,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
    deploy_path: String,
    binary_version: String,
    git_hash: String,
}

impl From<&pdpb::Member> for Member {
    fn from(member: &pdpb::Member) -> Self {
        Self {
            name: member.name.clone(),
            member_id: member.member_id,
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            deploy_path: member.deploy_path.clone(),
            binary_version: member.binary_version.clone(),
            git_hash: member.git_hash.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Label {
    key: String,
    value: String,
}

#[derive(Debug, Serialize)]
struct Store {
    id: u64,
    address: String,
    /// Left out for stores that are up.
    #[serde(skip_serializing_if = "is_zero")]
    state: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Label>,
    version: String,
    peer_address: String,
    status_address: String,
    git_hash: String,
    start_timestamp: i64,
    deploy_path: String,
    last_heartbeat: i64,
    #[serde(flatten)]
    stage: Stage,
}

/// Where a store is in its life, beside the older `state`.
#[derive(Debug, Serialize)]
struct Stage {
    node_state: i32,
    state_name: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &i32) -> bool {
    *number == 0
}

#[derive(Debug, Default, Serialize)]
struct StoreStatus {
    capacity: String,
    available: String,
    used_size: String,
    #[serde(flatten)]
    leaders: LeaderLoad,
    #[serde(flatten)]
    regions: RegionLoad,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_peer_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_ts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_heartbeat_ts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct LeaderLoad {
    leader_count: u64,
    leader_weight: f64,
    leader_score: u64,
    leader_size: u64,
}

#[derive(Debug, Default, Serialize)]
struct RegionLoad {
    region_count: u64,
    region_weight: f64,
    region_score: u64,
    region_size: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct StoreInfo {
    store: Store,
    status: StoreStatus,
}

const MIB: u64 = 1 << 20;

impl From<&StoreEntry> for StoreInfo {
    fn from(entry: &StoreEntry) -> Self {
        Self { store: Store::new(entry), status: StoreStatus::new(entry) }
    }
}

impl Store {
    fn new(entry: &StoreEntry) -> Self {
        let wire: metapb::Store = grpc::store_to_wire(entry);
        let label = |label: metapb::StoreLabel| Label { key: label.key, value: label.value };
        Self {
            id: wire.id,
            address: wire.address,
            state: wire.state,
            labels: wire.labels.into_iter().map(label).collect(),
            version: wire.version,
            peer_address: wire.peer_address,
            status_address: wire.status_address,
            git_hash: wire.git_hash,
            start_timestamp: wire.start_timestamp,
            deploy_path: wire.deploy_path,
            last_heartbeat: wire.last_heartbeat,
            stage: Stage { node_state: wire.node_state, state_name: state_name(entry) },
        }
    }
}

/// What people call the state of a store.
pub(super) const fn state_name(entry: &StoreEntry) -> &'static str {
    match (entry.record.state, entry.health) {
        // Tools know no word for a store that is about to come back to a new leader.
        (StoreState::Up, StoreHealth::Up | StoreHealth::Unheard) => "Up",
        (StoreState::Up, StoreHealth::Disconnected) => "Disconnected",
        (StoreState::Up, StoreHealth::Down) => "Down",
        (StoreState::Offline, _) => "Offline",
        (StoreState::Tombstone, _) => "Tombstone",
    }
}

impl StoreStatus {
    fn new(entry: &StoreEntry) -> Self {
        let (stats, load) = (entry.status.unwrap_or_default().stats, entry.load);
        let StorePolicy { leader_weight_permille, region_weight_permille, .. } = entry.policy;
        let size = |bytes| ByteSize(bytes).to_string();
        let heard_ms = entry.status.map(|status| status.heard_unix_ms);
        // What a store says of itself: any number.
        let start_ms = u64::try_from(entry.record.start_unix_s).unwrap_or(0).saturating_mul(1000);
        let uptime = heard_ms.map(|heard_ms| duration(heard_ms.saturating_sub(start_ms) / 1000));
        Self {
            capacity: size(stats.capacity_bytes),
            available: size(stats.available_bytes),
            used_size: size(stats.used_bytes),
            leaders: LeaderLoad {
                leader_count: load.leaders,
                leader_weight: weight(leader_weight_permille),
                leader_score: score(load.leaders, leader_weight_permille),
                leader_size: load.leader_bytes / MIB,
            },
            regions: RegionLoad {
                region_count: load.regions,
                region_weight: weight(region_weight_permille),
                region_score: score(load.region_bytes / MIB, region_weight_permille),
                region_size: load.region_bytes / MIB,
            },
            pending_peer_count: (load.pending_peers > 0).then_some(load.pending_peers),
            start_ts: (start_ms > 0).then(|| date(start_ms)),
            last_heartbeat_ts: heard_ms.map(date),
            uptime,
        }
    }
}

fn weight(permille: u32) -> f64 {
    f64::from(permille) / 1_000.0
}

/// What a store carries for its weight.
const fn score(load: u64, weight_permille: u32) -> u64 {
    let weight = if weight_permille == 0 { 1 } else { weight_permille as u64 };
    load.saturating_mul(1_000) / weight
}

#[derive(Debug, Serialize)]
struct Epoch {
    conf_ver: u64,
    version: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct PeerInfo {
    id: u64,
    store_id: u64,
    #[serde(skip_serializing_if = "is_zero")]
    role: i32,
    role_name: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
}

impl From<Peer> for PeerInfo {
    fn from(peer: Peer) -> Self {
        let role_name = match peer.role {
            PeerRole::Voter => "Voter",
            PeerRole::Learner => "Learner",
            PeerRole::IncomingVoter => "IncomingVoter",
            PeerRole::DemotingVoter => "DemotingVoter",
        };
        Self {
            id: peer.id.get(),
            store_id: peer.store.get(),
            role: metapb::PeerRole::from(peer.role).into(),
            role_name,
            is_learner: peer.role == PeerRole::Learner,
        }
    }
}

#[derive(Debug, Serialize)]
struct DownPeer {
    down_seconds: u64,
    peer: PeerInfo,
}

#[derive(Debug, Serialize)]
pub(super) struct Region {
    id: u64,
    start_key: String,
    end_key: String,
    epoch: Epoch,
    peers: Vec<PeerInfo>,
    /// All zero where it has not been heard of yet.
    leader: PeerInfo,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    down_peers: Vec<DownPeer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pending_peers: Vec<PeerInfo>,
    cpu_usage: u64,
    #[serde(flatten)]
    flow: Flow,
}

#[derive(Debug, Serialize)]
struct Flow {
    written_bytes: u64,
    read_bytes: u64,
    written_keys: u64,
    read_keys: u64,
    /// MiB; at least 1 for a region that holds anything.
    approximate_size: u64,
    approximate_keys: u64,
}

impl From<&RegionInfo> for Region {
    fn from(info: &RegionInfo) -> Self {
        let (region, stats) = (&info.region, &info.stats);
        let down =
            |&(peer, down_seconds): &(Peer, u64)| DownPeer { down_seconds, peer: peer.into() };
        Self {
            id: region.id.get(),
            start_key: hex(&region.range.start),
            end_key: hex(&region.range.end),
            epoch: Epoch {
                conf_ver: region.epoch.conf_ver.get(),
                version: region.epoch.version.get(),
            },
            peers: region.peers.iter().map(|peer| (*peer).into()).collect(),
            leader: info.leader.unwrap_or_default().into(),
            down_peers: info.down_peers.iter().map(down).collect(),
            pending_peers: info.pending_peers.iter().map(|peer| (*peer).into()).collect(),
            cpu_usage: 0,
            flow: Flow {
                written_bytes: stats.written_bytes,
                read_bytes: stats.read_bytes,
                written_keys: stats.written_keys,
                read_keys: stats.read_keys,
                approximate_size: stats.size_bytes.div_ceil(MIB),
                approximate_keys: stats.keys,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_placement::{StoreLoad, StoreRecord, StoreStats, StoreStatus};
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), Just(i64::MAX.unsigned_abs())]
    }

    proptest! {
        /// What a store says of itself is shown, whatever it is.
        #[test]
        fn damaged_figures_are_shown(numbers in prop::array::uniform5(numbers())) {
            let [start, capacity, heard, size, count] = numbers;
            let stats =
                StoreStats { capacity_bytes: capacity, used_bytes: size, ..StoreStats::default() };
            let status = StoreStatus { stats, heard_unix_ms: heard, ..StoreStatus::default() };
            let load = StoreLoad { regions: count, region_bytes: size, ..StoreLoad::default() };
            let record =
                StoreRecord { start_unix_s: start.cast_signed(), ..StoreRecord::default() };
            let (health, policy) = (StoreHealth::Up, StorePolicy::USUAL);
            let entry = StoreEntry { record, status: Some(status), health, load, policy };
            let shown = serde_json::to_value(StoreInfo::from(&entry)).expect("JSON takes it");
            let started = start.cast_signed();
            prop_assert_eq!(shown["store"]["start_timestamp"].as_i64(), Some(started));
            if started.is_positive() && start > heard / 1000 {
                prop_assert_eq!(shown["status"]["uptime"].as_str(), Some("0s"), "it has just begun");
            }
        }
    }
}
