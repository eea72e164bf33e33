//! A store is to go: it is emptied while it serves, each region keeps its three voters, and clients notice nothing.

use std::time::Instant;

use crate::{
    arena::{Arena, Disturbance, Scale},
    common::say,
    spread::Spread,
};

/// The store that is to go.
const LEAVING: &str = "store-2";

pub(crate) fn run(scale: &Scale, disturbance: Disturbance) {
    let mut arena = Arena::start(4, scale);
    arena.load();
    arena.begin();
    let before = arena.spread();
    let traffic = arena.traffic();
    let leaving = arena.store_id(LEAVING);
    let began = Instant::now();
    arena.drain(leaving);
    arena.disturb(disturbance);
    arena.until("it is a tombstone", |arena| arena.is_buried(leaving));
    let seconds = began.elapsed().as_secs_f64();
    let calls = traffic.finish();
    assert!(arena.all_have_three_voters(|peer| peer.store != leaving));
    let after = arena.spread();
    assert_eq!(after.stores(), 3);
    arena.assert_nothing_moved_twice();
    let (moves, mebibytes) = (&arena.moves, arena.moved_bytes() >> 20);
    say(&format!("placement: drain, {disturbance:?}: {} regions", arena.regions().len()));
    say(&Spread::head());
    say(&before.row("before"));
    say(&after.row("after"));
    say(&format!(
        "empty in {seconds:.1} s; {moves}; {mebibytes} MiB moved; {calls} calls, no error"
    ));
    arena.stop();
}
