//! Between wire messages and the words of `flotilla-placement`. Towards us everything is checked.

use flotilla_base::{Incarnation, KeyRange, Peer, Region, StoreId, Term};
use flotilla_pdcore::StoreEntry;
use flotilla_placement::{
    Command, Order, RegionInfo, RegionReport, RegionStats, SplitIds, StoreRecord, StoreState,
    StoreStats, StoreStatus,
    operator::{PeerChange, PeerChangeKind, SplitAt},
};
use flotilla_proto::{ConvertError, eraftpb, metapb, pdpb};

/// The store that a registration describes; `incarnation` is zero where the sender names no run.
pub(super) fn store_from_wire(store: metapb::Store, incarnation: u64) -> StoreRecord {
    StoreRecord {
        id: StoreId(store.id),
        address: store.address,
        peer_address: store.peer_address,
        status_address: store.status_address,
        version: store.version,
        git_hash: store.git_hash,
        deploy_path: store.deploy_path,
        labels: store.labels.into_iter().map(|label| (label.key, label.value)).collect(),
        start_unix_s: store.start_timestamp,
        incarnation: Incarnation(incarnation),
        state: StoreState::Up,
    }
}

/// A store as clients see it.
pub(crate) fn store_to_wire(entry: &StoreEntry) -> metapb::Store {
    let record = entry.record.clone();
    let (state, node_state) = match record.state {
        StoreState::Up => (metapb::StoreState::Up, metapb::NodeState::Serving),
        StoreState::Offline => (metapb::StoreState::Offline, metapb::NodeState::Removing),
        StoreState::Tombstone => (metapb::StoreState::Tombstone, metapb::NodeState::Removed),
    };
    let label = |(key, value)| metapb::StoreLabel { key, value };
    let heard_ms = entry.status.map_or(0, |status| status.heard_unix_ms);
    metapb::Store {
        id: record.id.get(),
        address: record.address,
        state: state.into(),
        labels: entry.labels().into_iter().map(label).collect(),
        version: record.version,
        peer_address: record.peer_address,
        status_address: record.status_address,
        git_hash: record.git_hash,
        start_timestamp: record.start_unix_s,
        deploy_path: record.deploy_path,
        last_heartbeat: i64::try_from(heard_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
        physically_destroyed: false,
        node_state: node_state.into(),
    }
}

/// What a store says about itself.
pub(super) fn stats_from_wire(stats: &pdpb::StoreStats) -> StoreStats {
    StoreStats {
        capacity_bytes: stats.capacity,
        available_bytes: stats.available,
        used_bytes: stats.used_size,
        regions: stats.region_count.into(),
        start_unix_s: stats.start_time.into(),
        is_busy: stats.is_busy,
        written_bytes: stats.bytes_written,
        read_bytes: stats.bytes_read,
        written_keys: stats.keys_written,
        read_keys: stats.keys_read,
        interval_s: seconds_of(stats.interval),
        slow_score: stats.slow_score,
    }
}

/// What a report covers: any two numbers.
fn seconds_of(interval: Option<pdpb::TimeInterval>) -> u64 {
    interval.map_or(0, |it| it.end_timestamp.saturating_sub(it.start_timestamp))
}

/// The same for clients.
pub(super) fn stats_to_wire(store: StoreId, status: &StoreStatus) -> pdpb::StoreStats {
    let stats = status.stats;
    pdpb::StoreStats {
        store_id: store.get(),
        capacity: stats.capacity_bytes,
        available: stats.available_bytes,
        used_size: stats.used_bytes,
        region_count: u32::try_from(stats.regions).unwrap_or(u32::MAX),
        start_time: u32::try_from(stats.start_unix_s).unwrap_or(u32::MAX),
        is_busy: stats.is_busy,
        bytes_written: stats.written_bytes,
        bytes_read: stats.read_bytes,
        keys_written: stats.written_keys,
        keys_read: stats.read_keys,
        slow_score: stats.slow_score,
        ..pdpb::StoreStats::default()
    }
}

/// A region leader's report.
pub(super) fn report_from_wire(
    request: pdpb::RegionHeartbeatRequest,
) -> Result<RegionReport, ConvertError> {
    let region: Region = request.region.ok_or(ConvertError::Absent("region"))?.try_into()?;
    let leader: Peer = request.leader.ok_or(ConvertError::Absent("leader"))?.try_into()?;
    let mut down_peers = Vec::new();
    for down in request.down_peers {
        let peer = down.peer.ok_or(ConvertError::Absent("down peer"))?.try_into()?;
        down_peers.push((peer, down.down_seconds));
    }
    let pending_peers = request.pending_peers.into_iter().map(Peer::try_from);
    Ok(RegionReport {
        region,
        leader,
        term: Term(request.term),
        stats: RegionStats {
            size_bytes: request.approximate_size,
            keys: request.approximate_keys,
            written_bytes: request.bytes_written,
            read_bytes: request.bytes_read,
            written_keys: request.keys_written,
            read_keys: request.keys_read,
            interval_s: seconds_of(request.interval),
        },
        down_peers,
        pending_peers: pending_peers.collect::<Result<_, _>>()?,
    })
}

/// A region's leader for clients; `None` where it has not been heard of yet.
fn leader_to_wire(info: &RegionInfo) -> Option<metapb::Peer> {
    info.leader.map(Into::into)
}

fn down_to_wire(info: &RegionInfo) -> Vec<pdpb::PeerStats> {
    let down = |&(peer, down_seconds): &(Peer, u64)| pdpb::PeerStats {
        peer: Some(peer.into()),
        down_seconds,
    };
    info.down_peers.iter().map(down).collect()
}

fn pending_to_wire(info: &RegionInfo) -> Vec<metapb::Peer> {
    info.pending_peers.iter().map(|peer| (*peer).into()).collect()
}

/// The answer to a lookup; without a region where none is known.
pub(super) fn region_response(
    header: Option<pdpb::ResponseHeader>,
    info: Option<&RegionInfo>,
) -> pdpb::GetRegionResponse {
    let Some(info) = info else {
        return pdpb::GetRegionResponse { header, ..pdpb::GetRegionResponse::default() };
    };
    pdpb::GetRegionResponse {
        header,
        region: Some((&info.region).into()),
        leader: leader_to_wire(info),
        down_peers: down_to_wire(info),
        pending_peers: pending_to_wire(info),
    }
}

/// One region of a scan.
pub(crate) fn region_to_wire(info: &RegionInfo) -> pdpb::Region {
    pdpb::Region {
        region: Some((&info.region).into()),
        leader: leader_to_wire(info),
        down_peers: down_to_wire(info),
        pending_peers: pending_to_wire(info),
    }
}

/// Ranges that are asked for.
pub(super) fn range_from_wire(range: pdpb::KeyRange) -> KeyRange {
    KeyRange { start: range.start_key, end: range.end_key }
}

/// How many are asked for: zero and less mean "no limit".
pub(super) fn limit_from_wire(limit: i32) -> usize {
    usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX)
}

/// The ids of a split.
pub(super) fn split_to_wire(ids: &SplitIds) -> pdpb::SplitId {
    let peers = ids.peers.iter().map(|peer| peer.get());
    pdpb::SplitId { new_region_id: ids.region.get(), new_peer_ids: peers.collect() }
}

/// An order for a region's leader.
pub(super) fn order_to_wire(cluster: u64, order: Order) -> pdpb::RegionHeartbeatResponse {
    let mut answer = pdpb::RegionHeartbeatResponse {
        header: super::reject::header(cluster),
        region_id: order.region.get(),
        region_epoch: Some(order.epoch.into()),
        target_peer: Some(order.leader.into()),
        ..pdpb::RegionHeartbeatResponse::default()
    };
    let change_peer_v2 = |changes| Some(pdpb::ChangePeerV2 { changes });
    match order.command {
        Command::ChangePeer(change) => answer.change_peer = Some(change_to_wire(&change)),
        Command::ChangePeers(changes) => {
            answer.change_peer_v2 = change_peer_v2(changes.iter().map(change_to_wire).collect());
        }
        Command::LeaveJoint => answer.change_peer_v2 = change_peer_v2(Vec::new()),
        Command::TransferLeader(to) => {
            let mut peers: Vec<metapb::Peer> = to.into_iter().map(Into::into).collect();
            let peer = peers.first().copied();
            if peers.len() == 1 {
                peers.clear();
            }
            answer.transfer_leader = Some(pdpb::TransferLeader { peer, peers });
        }
        Command::Split(at) => {
            let policy = match at {
                SplitAt::Middle => pdpb::CheckPolicy::Scan,
                SplitAt::AboutMiddle => pdpb::CheckPolicy::Approximate,
                SplitAt::Keys(_) => pdpb::CheckPolicy::Usekey,
            };
            let keys = if let SplitAt::Keys(keys) = at { keys } else { Vec::new() };
            answer.split_region = Some(pdpb::SplitRegion { policy: policy.into(), keys });
        }
    }
    answer
}

fn change_to_wire(change: &PeerChange) -> pdpb::ChangePeer {
    let kind = match change.kind {
        PeerChangeKind::Voter => eraftpb::ConfChangeType::AddNode,
        PeerChangeKind::Learner => eraftpb::ConfChangeType::AddLearnerNode,
        PeerChangeKind::Remove => eraftpb::ConfChangeType::RemoveNode,
    };
    pdpb::ChangePeer { peer: Some(change.peer.into()), change_type: kind.into() }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{ConfVer, Epoch, Moment, PeerId, RegionId, Version};
    use flotilla_damage::damaged;
    use flotilla_placement::ClusterView;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    /// Heartbeats of a region with its neighbours' ranges and epochs.
    fn heartbeat(id: u64) -> pdpb::RegionHeartbeatRequest {
        let peer = |store| Peer::voter(PeerId(10 * id + store), StoreId(store));
        let region = Region {
            id: RegionId(id),
            range: KeyRange::new(vec![b'a' + id as u8], vec![b'c' + id as u8]),
            epoch: Epoch { version: Version(id), conf_ver: ConfVer(1) },
            peers: (1..=3).map(peer).collect(),
        };
        let down = pdpb::PeerStats { peer: Some(peer(3).into()), down_seconds: u64::MAX };
        pdpb::RegionHeartbeatRequest {
            region: Some(region.into()),
            leader: Some(peer(1).into()),
            term: 6,
            down_peers: vec![down],
            pending_peers: vec![peer(2).into()],
            approximate_size: u64::MAX,
            ..Default::default()
        }
    }

    proptest! {
        /// Whatever leaders report: it is refused, or the view shows it and tells it on.
        #[test]
        fn damaged_heartbeats_are_refused_or_shown(
            reports in prop::collection::vec(
                damaged((1..4_u64).prop_map(|id| heartbeat(id).encode_to_vec())),
                0..9,
            ),
        ) {
            let mut view = ClusterView::new(Moment(1));
            for bytes in reports {
                let Ok(request) = pdpb::RegionHeartbeatRequest::decode(bytes.as_slice()) else {
                    continue;
                };
                let Ok(report) = report_from_wire(request) else { continue };
                let id = report.region.id;
                if view.on_region_report(Moment(2), report.clone()).is_ok() {
                    let shown = view.region(id).expect("it was taken");
                    prop_assert_eq!(&shown.region, &report.region);
                    let told = region_response(None, Some(shown)).region;
                    prop_assert_eq!(told.map(Region::try_from), Some(Ok(report.region)));
                }
            }
            let _sums_of_any_sizes = view.regions().loads();
        }

        #[test]
        fn damaged_stores_are_told_as_they_came(
            bytes in damaged(Just(metapb::Store {
                id: 4,
                address: "127.0.0.1:20160".to_owned(),
                labels: vec![metapb::StoreLabel { key: "zone".to_owned(), value: "z".to_owned() }],
                start_timestamp: -1,
                ..Default::default()
            }.encode_to_vec())),
            incarnation: u64,
        ) {
            if let Ok(store) = metapb::Store::decode(bytes.as_slice()) {
                let record = store_from_wire(store.clone(), incarnation);
                let (health, load) = (flotilla_placement::StoreHealth::Up, <_>::default());
                let policy = flotilla_placement::StorePolicy::USUAL;
                let told = store_to_wire(&StoreEntry { record, status: None, health, load, policy });
                prop_assert_eq!((told.id, told.address), (store.id, store.address));
                prop_assert_eq!(told.labels, store.labels);
            }
        }
    }
}
