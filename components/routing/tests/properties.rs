//! Properties over many seeds: how soon a client finds a new leader, and that the map stays a map.

use std::collections::BTreeMap;

use flotilla_base::{
    ConfVer, Epoch, KeyRange, Moment, Peer, PeerId, Region, RegionId, Span, StoreId, Version,
};
use flotilla_routing::{
    Access, Attempts, Failure, Refusal, RegionCache, Step, attempts::SEARCH_PAUSES, decide,
};
use proptest::prelude::*;

fn region(id: u64, start: u8, end: u8, version: u64) -> Region {
    let voter = |store| Peer::voter(PeerId(id * 10 + store), StoreId(store));
    Region {
        id: RegionId(id),
        range: KeyRange::new(vec![start], vec![end]),
        epoch: Epoch { version: Version(version), conf_ver: ConfVer(1) },
        peers: (1..=3).map(voter).collect(),
    }
}

/// Store 1 led and is dead. The others name it as leader until they suspect it, then nobody, and
/// from `elected` on store 3 leads. Connections to store 1 fail after `refusal`.
fn time_to_success(seed: u64, suspected: Moment, elected: Moment, refusal: Span) -> Moment {
    let mut cache = RegionCache::default();
    let old_leader = region(2, 1, 9, 1).peers[0];
    cache.learn(region(2, 1, 9, 1), Some(old_leader));
    let mut now = Moment::default();
    let mut call = Attempts::new(Access::Read, now + Span::from_millis(60_000), seed);
    loop {
        let route = cache.locate(&[5]).expect("cached");
        let failure = match route.peer.store.get() {
            1 => {
                now = now + refusal;
                Failure::Unsent("connection refused".to_owned())
            }
            3 if now >= elected => return now,
            _ => {
                let leader = match () {
                    () if now >= elected => route.region.peer_on(StoreId(3)),
                    () if now >= suspected => None,
                    () => Some(old_leader),
                };
                Failure::Refused(Refusal::NotLeader { leader })
            }
        };
        let decision = decide(&failure, Some(&route));
        cache.correct(now, &route, &decision.correction);
        match call.after(now, &decision, route.region.peers.len()) {
            Step::Retry => {}
            Step::Wait(until) => now = until,
            Step::GiveUp(ending) => panic!("gave up: {ending:?}"),
        }
    }
}

proptest! {
    #[test]
    fn a_new_leader_is_found_within_the_longest_pause(
        seed: u64,
        suspected_ms in 0..900_u64,
        election_ms in 0..900_u64,
        refusal_us in 0..2_000_u64,
    ) {
        let suspected = Moment::default() + Span::from_millis(suspected_ms);
        let elected = suspected + Span::from_millis(election_ms);
        let refusal = Span::from_micros(refusal_us);
        let found = time_to_success(seed, suspected, elected, refusal);
        // The dead store is asked at most once more in the meantime.
        prop_assert!(found <= elected + SEARCH_PAUSES.most + refusal * 2, "{} {}", elected, found);
    }

    #[test]
    fn the_map_never_goes_back(
        news in prop::collection::vec((1..6_u64, 0..20_u8, 1..20_u8, 1..8_u64), 0..60),
    ) {
        let mut cache = RegionCache::default();
        let mut before: BTreeMap<u8, u64> = BTreeMap::new();
        for (id, start, len, version) in news {
            cache.learn(region(id, start, start + len, version), None);
            let mut after = BTreeMap::new();
            for key in 0..40_u8 {
                // `learn` itself asserts that ranges do not overlap.
                let Some(route) = cache.locate(&[key]) else { continue };
                prop_assert!(route.region.range.contains(&[key]));
                let below = cache.locate_below(&[key, 0]).expect("the same region");
                prop_assert_eq!(below.region.id, route.region.id);
                let version = route.region.epoch.version.get();
                let known = before.get(&key).copied().unwrap_or(0);
                prop_assert!(version >= known, "key {} went from {} to {}", key, known, version);
                after.insert(key, version);
            }
            before = after;
        }
    }
}
