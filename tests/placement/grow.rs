//! Two stores come to a cluster of three that is full of regions: each gets its share of leaders and replicas, clients
//! notice nothing, and then nothing is moved any more.

use std::time::Instant;

use crate::{
    arena::{Arena, Disturbance, Scale},
    common::say,
    spread::Spread,
};

pub(crate) fn run(scale: &Scale, disturbance: Disturbance) {
    let mut arena = Arena::start(3, scale);
    arena.load();
    arena.begin();
    let before = arena.spread();
    let traffic = arena.traffic();
    let began = Instant::now();
    arena.add_stores(2);
    arena.disturb(disturbance);
    let took = arena.until_calm(began, scale.calm);
    let calls = traffic.finish();
    let after = arena.spread();
    assert_eq!(after.stores(), 5);
    arena.assert_nothing_moved_twice();
    let (seconds, mebibytes) = (took.as_secs_f64(), arena.moved_bytes() >> 20);
    say(&format!("placement: grow, {disturbance:?}: {} regions", arena.regions().len()));
    say(&Spread::head());
    say(&before.row("before"));
    say(&after.row("after"));
    say(&format!(
        "balanced in {seconds:.1} s; {}; {mebibytes} MiB moved; {calls} calls, no error",
        arena.moves
    ));
    arena.stop();
}
