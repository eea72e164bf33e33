//! A store is lost for good: each of its regions has three voters on other stores again, and clients notice nothing.

use std::time::Instant;

use crate::{
    arena::{Arena, Disturbance, Scale},
    common::say,
    spread::Spread,
};

/// The store that is lost; its neighbour is empty until then.
const LOST: &str = "store-2";
/// A store that is silent for longer is not waited for; the least that is possible.
pub(crate) const DOWN_TIME: &str = "10s";

/// How the cluster learns that it will not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Somebody says so.
    Removed,
    /// It has been silent for too long.
    Silent,
}

pub(crate) fn run(scale: &Scale, farewell: Farewell, disturbance: Disturbance) {
    let mut arena = Arena::start(4, scale);
    arena.set("max-store-down-time", DOWN_TIME);
    arena.load();
    arena.begin();
    let before = arena.spread();
    let traffic = arena.traffic();
    let lost = arena.store_id(LOST);
    let began = Instant::now();
    arena.kill(LOST);
    if farewell == Farewell::Removed {
        arena.remove(lost);
    }
    arena.disturb(disturbance);
    arena.until("three voters elsewhere", |arena| {
        arena.all_have_three_voters(|peer| peer.store != lost)
    });
    let seconds = began.elapsed().as_secs_f64();
    let calls = traffic.finish();
    let after = arena.spread();
    assert_eq!(after.stores(), 3);
    arena.assert_nothing_moved_twice();
    let (moves, mebibytes) = (&arena.moves, arena.moved_bytes() >> 20);
    say(&format!(
        "placement: lose, {farewell:?}, {disturbance:?}: {} regions",
        arena.regions().len()
    ));
    say(&Spread::head());
    say(&before.row("before"));
    say(&after.row("after"));
    say(&format!(
        "whole in {seconds:.1} s; {moves}; {mebibytes} MiB moved; {calls} calls, no error"
    ));
    arena.stop();
}
