//! Regions as the placement driver and stores tell them, on their way into a client's map and into the placement
//! driver's own. Oracles: what is converted keeps every rule of regions; in both maps no key has two owners.

use flotilla_base::{KeyRange, Moment, Peer, Region, RegionId, Term};
use flotilla_placement::{ClusterView, RegionReport, RegionStats};
use flotilla_proto::{metapb, pdpb};
use flotilla_routing::RegionCache;
use prost::Message as _;

/// See the module.
pub fn run(bytes: &[u8]) {
    let Ok(told) = pdpb::ScanRegionsResponse::decode(bytes) else { return };
    let mut cache = RegionCache::default();
    let mut view = ClusterView::new(Moment(1));
    for (term, told) in (1..).zip(told.regions) {
        let Ok(region) = Region::try_from(told.region.unwrap_or_default()) else { continue };
        assert_eq!(region.validate(), Ok(()));
        let leader = told.leader.and_then(|leader| Peer::try_from(leader).ok());
        // It looks after the rule itself where debug assertions are on.
        let _stored_or_not = cache.learn(region.clone(), leader);
        for key in [&region.range.start, &region.range.end] {
            let found = cache.locate(key);
            assert!(found.is_none_or(|route| route.region.range.contains(key)));
            let _any_route = cache.locate_below(key);
        }
        let Some(leader) = leader else { continue };
        let down = told.down_peers.first().map_or(0, |down| down.down_seconds);
        let stats = RegionStats { size_bytes: down, ..RegionStats::default() };
        let report = RegionReport { region, leader, term: Term(term), stats, ..Default::default() };
        let _taken_or_stale = view.on_region_report(Moment(term), report);
        check(&view);
    }
}

fn check(view: &ClusterView) {
    let all = view.regions().scan(&KeyRange::all(), usize::MAX);
    for info in &all {
        // A region shows at least where it is owner, and nobody else does there.
        assert!(view.region(info.region.id).is_some(), "{:?} shows and is not known", info.region);
    }
    let _sums_of_any_sizes = view.regions().loads();
    let _any_answer = view.regions().covers_everything();
    assert!(view.regions().len() <= all.len(), "each known region shows");
    assert!(view.region(RegionId(0)).is_none());
}

pub(crate) fn region(
    id: u64,
    start: &'static [u8],
    end: &'static [u8],
    version: u64,
) -> metapb::Region {
    let peer = |store_id| metapb::Peer { id: id * 10 + store_id, store_id, ..Default::default() };
    metapb::Region {
        id,
        start_key: start.into(),
        end_key: end.into(),
        region_epoch: Some(metapb::RegionEpoch { conf_ver: 1, version }),
        peers: vec![peer(1), peer(2)],
    }
}

/// Splits, merges and a change of leader.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let told = |region: metapb::Region| {
        let leader = region.peers.first().copied();
        let down = pdpb::PeerStats { peer: leader, down_seconds: u64::MAX };
        pdpb::Region { region: Some(region), leader, down_peers: vec![down], ..Default::default() }
    };
    let split = [
        region(2, b"", b"", 1),
        region(3, b"", b"m", 2),
        region(2, b"m", b"", 2),
        region(3, b"", b"", 3),
    ];
    let regions = split.map(told).to_vec();
    vec![pdpb::ScanRegionsResponse { regions, ..Default::default() }.encode_to_vec()]
}
