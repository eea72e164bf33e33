//! Scenarios in exact virtual time: what clients would feel.

mod common;

use common::{REGION, SEEDS, advance, leader, millis};
use flotilla_base::{StoreId, Term};
use flotilla_sim::plan::{DiskPlan, LoadPlan};
use flotilla_sim::{Plan, Violation, World};

/// A calm cluster with clients that never stop.
fn cluster(seed: u64) -> World {
    let calm = Plan::calm(seed);
    let load = LoadPlan { operations: u64::MAX, ..calm.load.clone() };
    World::new(Plan { load, ..calm }, true)
}

/// A calm cluster that nobody uses: all logs are equal, so only the gate keeps elections away.
fn idle_cluster(seed: u64) -> World {
    let calm = Plan::calm(seed);
    let load = LoadPlan { operations: 0, ..calm.load.clone() };
    World::new(Plan { load, ..calm }, true)
}

#[test]
fn the_peer_that_the_bootstrap_names_leads_within_milliseconds() {
    let mut world = cluster(1);
    advance(&mut world, millis(5));
    assert_eq!(leader(&world), (StoreId(1), Term(6)));
}

type Directions = fn(StoreId, StoreId) -> Vec<(StoreId, StoreId)>;

/// Cuts a follower off for a while in the given directions to each other store.
fn follower_comes_back(seed: u64, directions: Directions) -> Result<(), Violation> {
    let mut world = if seed.is_multiple_of(4) { idle_cluster(seed) } else { cluster(seed) };
    advance(&mut world, millis(1_000));
    let before = leader(&world);
    let failures = world.summary().failures;
    let follower = (1..=3).map(StoreId).find(|store| *store != before.0).expect("two follow");
    let others = (1..=3).map(StoreId).filter(|store| *store != follower);
    let cuts: Vec<_> = others.flat_map(|other| directions(follower, other)).collect();
    world.cut(&cuts);
    // Five gates: time for many campaigns.
    world.run_for(millis(4_000))?;
    assert_eq!(leader(&world), before, "seed {seed}: during the cut");
    world.open(&cuts);
    for _ in 0..400 {
        world.run_for(millis(10))?;
        assert_eq!(leader(&world), before, "seed {seed}: after the cut");
        let replica = world.store(follower).replica(REGION).expect("it lives");
        let term = replica.role().term;
        assert_eq!(term, before.1, "seed {seed}: the follower's term");
    }
    assert_eq!(world.summary().failures, failures, "seed {seed}: requests failed");
    let behind = world.store(follower).replica(REGION).expect("it lives").applied();
    let ahead = world.store(before.0).replica(REGION).expect("it lives").applied();
    assert!(behind.get() + 20 >= ahead.get(), "seed {seed}: {behind} of {ahead}: it caught up");
    Ok(())
}

#[test]
fn a_follower_that_was_cut_off_disturbs_nobody() {
    for seed in 1..=SEEDS {
        follower_comes_back(seed, |follower, other| vec![(follower, other), (other, follower)])
            .expect("every rule holds");
    }
}

#[test]
fn a_follower_that_was_deaf_disturbs_nobody() {
    for seed in 1..=SEEDS {
        follower_comes_back(seed, |follower, other| vec![(other, follower)])
            .expect("every rule holds");
    }
}

#[test]
fn a_follower_that_was_mute_disturbs_nobody() {
    for seed in 1..=SEEDS {
        follower_comes_back(seed, |follower, other| vec![(follower, other)])
            .expect("every rule holds");
    }
}

#[test]
fn a_killed_leader_has_a_successor_within_a_second() {
    let mut gaps = Vec::new();
    for seed in 1..=SEEDS {
        let mut world = cluster(seed);
        advance(&mut world, millis(1_500 + 7 * seed));
        let before = leader(&world);
        world.crash(before.0);
        let start = world.now();
        while world.leader(REGION).is_none() {
            advance(&mut world, millis(1));
        }
        gaps.push(world.now().since(start).as_millis());
        assert_eq!(leader(&world).1, before.1.next(), "seed {seed}: one election is enough");
        world.start(before.0);
        advance(&mut world, millis(3_000));
        assert_eq!(leader(&world).1, before.1.next(), "seed {seed}: the old leader follows");
    }
    gaps.sort_unstable();
    println!("gaps of {} kills: {gaps:?} ms", gaps.len());
    // The gate from the last heartbeat, the spread of the first rank, and one election.
    let longest = *gaps.last().expect("there were kills");
    assert!(longest <= 1_000, "{gaps:?}");
}

/// The judges compare every answer; clients are on both sides, some of them only read.
#[test]
fn a_leader_that_is_cut_off_answers_no_read() {
    for seed in 1..=SEEDS {
        let calm = Plan::calm(seed);
        let load = LoadPlan {
            clients: 8,
            operations: u64::MAX,
            keys: 1,
            patience: millis(100),
            ..calm.load.clone()
        };
        let mut world = World::new(Plan { load, ..calm }, true);
        advance(&mut world, millis(1_000));
        let (old, term) = leader(&world);
        let others = (1..=3).map(StoreId).filter(|store| *store != old);
        let cuts: Vec<_> = others.flat_map(|other| [(old, other), (other, old)]).collect();
        world.cut(&cuts);
        advance(&mut world, millis(1_200));
        let (new, newer) = leader(&world);
        assert_ne!(new, old, "seed {seed}");
        assert_eq!(newer, term.next(), "seed {seed}");
        advance(&mut world, millis(1_200));
        let replica = world.store(old).replica(REGION).expect("it lives");
        assert!(!replica.group().is_leader(), "seed {seed}: its own quorum check deposed it");
    }
}

/// A campaign needs two syncs one after the other. Where these take longer than its round, candidates must not
/// overtake each other again and again.
#[test]
fn slow_disks_delay_an_election_and_do_not_prevent_it() {
    let mut gaps = Vec::new();
    for seed in 1..=SEEDS {
        let calm = Plan::calm(seed);
        let disk =
            DiskPlan { sync_min: millis(300), sync_spread: millis(100), ..calm.disk.clone() };
        let load = LoadPlan { operations: u64::MAX, ..calm.load.clone() };
        let mut world = World::new(Plan { load, disk, ..calm }, true);
        advance(&mut world, millis(5_000 + 7 * seed));
        let before = leader(&world);
        world.crash(before.0);
        let start = world.now();
        while world.leader(REGION).is_none() {
            advance(&mut world, millis(1));
        }
        gaps.push(world.now().since(start).as_millis());
    }
    gaps.sort_unstable();
    println!("gaps of {} kills: {gaps:?} ms", gaps.len());
    // The gate, the first campaigns of both and a second one of each.
    let longest = *gaps.last().expect("there were kills");
    assert!(longest <= 3_000, "{gaps:?}");
}
