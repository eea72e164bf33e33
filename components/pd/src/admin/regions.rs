//! Regions by what is asked of them: who holds them, and what is odd about them.

use flotilla_base::{Key, KeyRange, PeerRole, StoreId};
use flotilla_pdcore::Leading;
use flotilla_placement::{RegionInfo, StoreState};
use flotilla_proto::placement::{self as wire, RegionCheck, ReplicaRole};

use super::loads::rates_to_wire;

/// Regions that are looked at for one page: the owner of the state does nothing else meanwhile.
const PAGE_REGIONS: usize = 1_024;
/// A region of at most so many bytes counts as empty.
const EMPTY_BYTES: u64 = 1 << 20;
/// Half as much again as the usual `region.split-size`: a store would have split a larger one.
const OVERSIZED_BYTES: u64 = 384 << 20;

/// Which regions are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionFilter {
    /// Those with a replica here that has the role.
    pub store: Option<(StoreId, ReplicaRole)>,
    /// Those of which this holds.
    pub check: RegionCheck,
}

impl RegionFilter {
    /// Whether the region is asked for.
    pub(crate) fn takes(&self, sight: &Leading<'_>, info: &RegionInfo) -> bool {
        self.store.is_none_or(|(store, role)| has_replica(info, store, role))
            && holds(sight, self.check, info)
    }
}

/// Whether the region has a replica with this role on the store.
pub(crate) fn has_replica(info: &RegionInfo, store: StoreId, role: ReplicaRole) -> bool {
    let Some(peer) = info.region.peer_on(store) else { return false };
    let leads = info.leader.is_some_and(|leader| leader.store == store);
    let learns = peer.role == PeerRole::Learner;
    match role {
        ReplicaRole::AnyRole => true,
        ReplicaRole::Leader => leads,
        ReplicaRole::Follower => !leads && !learns,
        ReplicaRole::Learner => learns,
    }
}

fn holds(sight: &Leading<'_>, check: RegionCheck, info: &RegionInfo) -> bool {
    let peers = &info.region.peers;
    match check {
        RegionCheck::AnyRegion => true,
        RegionCheck::MissPeer => wanted(sight, info).is_some_and(|wanted| peers.len() < wanted),
        RegionCheck::ExtraPeer => wanted(sight, info).is_some_and(|wanted| peers.len() > wanted),
        RegionCheck::DownPeer => !info.down_peers.is_empty(),
        RegionCheck::PendingPeer => !info.pending_peers.is_empty(),
        RegionCheck::LearnerPeer => peers.iter().any(|peer| peer.role == PeerRole::Learner),
        RegionCheck::OfflinePeer => {
            let stores = sight.state().stores();
            let stays = |store| stores.get(&store).is_some_and(|it| it.state == StoreState::Up);
            peers.iter().any(|peer| !stays(peer.store))
        }
        // The guard region is empty for ever, and nothing is wrong with that.
        RegionCheck::EmptyRegion => info.stats.size_bytes <= EMPTY_BYTES && !info.region.is_guard(),
        RegionCheck::OversizedRegion => info.stats.size_bytes > OVERSIZED_BYTES,
    }
}

/// Replicas that the rules ask for; `None` for a region in which other rules begin to apply, which has to be split first.
fn wanted(sight: &Leading<'_>, info: &RegionInfo) -> Option<usize> {
    let demands = sight.state().policy().demands(&info.region).ok()?;
    Some(demands.iter().map(|demand| demand.count).sum())
}

/// The regions of a page that are asked for.
pub(crate) fn page(
    sight: &Leading<'_>,
    range: &KeyRange,
    filter: RegionFilter,
) -> wire::ListRegionsResponse {
    let looked_at = sight.regions().scan(range, PAGE_REGIONS);
    let behind = |end: &Key| !end.is_empty() && (range.end.is_empty() || *end < range.end);
    let last = looked_at.last().filter(|_| looked_at.len() == PAGE_REGIONS);
    let next_key = last.map(|last| last.region.range.end.clone()).filter(behind);
    let taken = looked_at.iter().filter(|info| filter.takes(sight, info));
    wire::ListRegionsResponse { regions: taken.map(|info| to_wire(info)).collect(), next_key }
}

fn to_wire(info: &RegionInfo) -> wire::ListedRegion {
    wire::ListedRegion {
        region: Some(crate::grpc::region_to_wire(info)),
        size_bytes: info.stats.size_bytes,
        keys: info.stats.keys,
        rates: Some(rates_to_wire(&info.load.rates)),
    }
}
