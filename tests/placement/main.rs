//! Placement: playgrounds whose stores come and go under clients, and where leaders and replicas are then.
//!
//! A scenario loads data until there are enough regions, changes the cluster while a client reads and writes, waits until
//! nothing is moved any more, and prints a table. `make placement` runs all of them at their full size.
//!
//! Reading order: `grow`, `drain`, `lose`, `zones`; then what scenarios are made of: `arena`, `traffic`, `spread`, `moves`.

#[path = "../common/mod.rs"]
mod common;

mod arena;
mod drain;
mod grow;
mod lose;
mod moves;
mod spread;
mod traffic;
mod zones;

use std::time::Duration;

use arena::{Arena, Disturbance, Scale};
use flotilla_base::ByteSize;
use flotilla_client::RegionChange;
use lose::Farewell;

/// As large as scenarios are for people.
const FULL: Scale = Scale {
    regions: 200,
    region_size: ByteSize::mib(4),
    calm: Duration::from_secs(60),
    patience: Duration::from_secs(1_800),
};

/// A small one for every test run.
const SAMPLE: Scale = Scale {
    regions: 40,
    region_size: ByteSize::mib(1),
    calm: Duration::from_secs(5),
    patience: Duration::from_secs(120),
};

#[test]
#[ignore = "takes minutes: make placement"]
fn loss() {
    lose::run(&FULL, Farewell::Removed, Disturbance::None);
    lose::run(&FULL, Farewell::Silent, Disturbance::None);
    lose::run(&FULL, Farewell::Silent, Disturbance::RestartOfPd);
}

#[test]
#[ignore = "takes minutes: make placement"]
fn departure() {
    drain::run(&FULL, Disturbance::None);
    drain::run(&FULL, Disturbance::RestartOfPd);
}

#[test]
#[ignore = "takes minutes: make placement"]
fn zones_are_kept() {
    zones::run(&FULL, Disturbance::None);
    zones::run(&FULL, Disturbance::RestartOfPd);
}

#[test]
#[ignore = "takes minutes: make placement"]
fn growth() {
    grow::run(&FULL, Disturbance::None);
    grow::run(&FULL, Disturbance::RestartOfPd);
}

#[test]
fn sampled_loss() {
    lose::run(&SAMPLE, Farewell::Silent, Disturbance::None);
}

#[test]
fn sampled_departure() {
    drain::run(&SAMPLE, Disturbance::RestartOfPd);
}

#[test]
fn sampled_zones() {
    zones::run(&SAMPLE, Disturbance::None);
}

#[test]
fn sampled_growth() {
    grow::run(&SAMPLE, Disturbance::None);
}

/// What the scenarios are made of, with one move by hand: each figure shows it, and the client notices nothing.
#[test]
fn a_move_is_seen_and_counted() {
    let mut arena = Arena::start(3, &SAMPLE);
    arena.hold_still();
    arena.load();
    let before = arena.spread();
    assert_eq!(before.stores(), 3);
    assert!(before.leaders.iter().sum::<u64>() >= SAMPLE.regions as u64, "{before:?}");
    assert!(before.replicas.iter().all(|count| *count >= SAMPLE.regions as u64), "{before:?}");
    assert!(before.replicas_are_balanced(), "each store has every region: {before:?}");
    let traffic = arena.traffic();
    arena.add_stores(2);
    assert_eq!((arena.moves.count(), arena.moved_bytes()), (0, 0));
    let (info, to) = (arena.a_region(), arena.newest_store());
    let from = info.region.peers[0].store;
    arena.change(info.region.id, RegionChange::MovePeer { from, to });
    arena.until("the move has ended", |arena| arena.moves.count() == 1 && arena.is_idle());
    arena.until("the newest store has a replica", |arena| {
        arena.spread().replicas.iter().filter(|count| **count == 0).count() == 1
    });
    assert!(!arena.spread().replicas_are_balanced());
    assert!(arena.moved_bytes() > 0, "its data went as a snapshot");
    arena.until("there was some traffic", |_arena| traffic.calls() > 100);
    traffic.finish();
    arena.stop();
}
