//! Three zones with two stores each: each region has one replica in each zone, and still has when a store is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use flotilla_base::StoreId;

use crate::{
    arena::{Arena, Disturbance, Scale},
    common::say,
    lose::DOWN_TIME,
};

/// The store that is gone; another one stands in its zone.
const LOST: &str = "store-2";

pub(crate) fn run(scale: &Scale, disturbance: Disturbance) {
    let mut arena = Arena::start(6, scale);
    arena.set("location-labels", "zone");
    arena.set("max-store-down-time", DOWN_TIME);
    arena.load();
    let zones = arena.zones();
    assert_eq!(zones.values().collect::<BTreeSet<_>>().len(), 3, "{zones:?}");
    let began = Instant::now();
    arena.until("a replica in each zone", |arena| are_spread(arena, &zones, None));
    let spread = began.elapsed().as_secs_f64();
    arena.begin();
    let traffic = arena.traffic();
    let lost = arena.store_id(LOST);
    let began = Instant::now();
    arena.kill(LOST);
    arena.disturb(disturbance);
    arena.until("the same without the store", |arena| are_spread(arena, &zones, Some(lost)));
    let whole = began.elapsed().as_secs_f64();
    let calls = traffic.finish();
    arena.assert_nothing_moved_twice();
    let (moves, mebibytes) = (&arena.moves, arena.moved_bytes() >> 20);
    say(&format!("placement: zones, {disturbance:?}: {} regions", arena.regions().len()));
    say(&format!("a replica in each of three zones {spread:.1} s behind the load"));
    say(&format!(
        "and again {whole:.1} s behind the death of a store; {moves}; {mebibytes} MiB moved; {calls} calls, no error"
    ));
    arena.stop();
}

/// Whether each region has three voters, in three zones, none of them on a store that is gone.
fn are_spread(arena: &Arena, zones: &BTreeMap<StoreId, String>, gone: Option<StoreId>) -> bool {
    let is_spread = |stores: BTreeSet<StoreId>| {
        let of_stores: BTreeSet<_> = stores.iter().filter_map(|store| zones.get(store)).collect();
        of_stores.len() == 3
    };
    let regions = arena.regions();
    arena.all_have_three_voters(|peer| Some(peer.store) != gone)
        && regions
            .iter()
            .all(|info| is_spread(info.region.peers.iter().map(|peer| peer.store).collect()))
}
