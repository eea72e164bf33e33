//! Leases, hand-overs and hung disks in exact virtual time. The judges compare every read, in place, at a
//! leader or at a follower, with what clients were told before.

mod common;

use common::{REGION, SEEDS, advance, leader, millis};
use flotilla_base::{Span, StoreId};
use flotilla_sim::plan::LoadPlan;
use flotilla_sim::reads::ReadPlan;
use flotilla_sim::{Plan, World};

/// A calm cluster with clients that never stop and read as `reads` says.
fn cluster(seed: u64, reads: ReadPlan) -> World {
    let calm = Plan::calm(seed);
    let load = LoadPlan { clients: 8, operations: u64::MAX, keys: 2, ..calm.load.clone() };
    World::new(Plan { load, reads, ..calm }, true)
}

/// Time until another store leads.
fn until_another_leads(world: &mut World, than: StoreId, most: Span) -> Span {
    let start = world.now();
    while world.leader(REGION).is_none_or(|(store, _)| store == than) {
        advance(world, millis(1));
        assert!(world.now().since(start) <= most, "nobody took over in {most}");
    }
    world.now().since(start)
}

#[test]
fn a_calm_leader_serves_reads_in_place() {
    let reads = ReadPlan { in_place_permille: 1000, replica_permille: 0, ..ReadPlan::calm() };
    let mut world = cluster(1, reads);
    advance(&mut world, millis(1_000));
    let before = world.summary();
    advance(&mut world, millis(5_000));
    let after = world.summary();
    let asked = |line: &&str| line.contains("get in place");
    let reads = world.trace_text().lines().filter(asked).count() as u64;
    let in_place = after.in_place - before.in_place;
    assert!(reads > 500 && in_place * 10 > reads * 8, "{in_place} of {reads} reads");
    assert_eq!(after.failures, before.failures);
}

#[test]
fn a_follower_serves_reads_of_its_own() {
    let reads = ReadPlan { in_place_permille: 0, replica_permille: 1000, ..ReadPlan::calm() };
    let mut world = cluster(1, reads);
    advance(&mut world, millis(1_000));
    let before = world.summary();
    advance(&mut world, millis(5_000));
    let after = world.summary();
    let count = after.replica_reads - before.replica_reads;
    assert!(count > 200, "{count} reads");
    // A follower hears of a commit with the next message of its leader, and so do its reads.
    assert_eq!(after.failures, before.failures);
}

#[test]
fn a_lead_goes_where_it_shall_within_milliseconds() {
    for seed in 1..=SEEDS {
        let mut world = cluster(seed, ReadPlan::calm());
        advance(&mut world, millis(1_000 + 7 * seed));
        let (old, term) = leader(&world);
        let to = StoreId(1 + old.get() % 3);
        world.hand_over(REGION, to);
        let gap = until_another_leads(&mut world, old, millis(800));
        assert_eq!(leader(&world), (to, term.next()), "seed {seed}");
        assert!(gap <= millis(20), "seed {seed}: {gap}");
        let served = world.summary().in_place;
        advance(&mut world, millis(2_000));
        assert_eq!(leader(&world), (to, term.next()), "seed {seed}: it stays there");
        assert!(world.summary().in_place > served, "seed {seed}: the new leader serves in place");
    }
}

/// The successor cannot be reached: the old leader goes on, first without a lease, then with one.
#[test]
fn a_hand_over_that_fails_costs_the_lease_for_a_moment() {
    for seed in 1..=SEEDS {
        let mut world = cluster(seed, ReadPlan::calm());
        advance(&mut world, millis(1_000 + 7 * seed));
        let before = leader(&world);
        let to = StoreId(1 + before.0.get() % 3);
        let others = (1..=3).map(StoreId).filter(|store| *store != to);
        let cuts: Vec<_> = others.flat_map(|other| [(to, other), (other, to)]).collect();
        world.cut(&cuts);
        world.hand_over(REGION, to);
        advance(&mut world, millis(5));
        let served = world.summary().in_place;
        advance(&mut world, millis(700));
        assert_eq!(world.summary().in_place, served, "seed {seed}: no lease meanwhile");
        advance(&mut world, millis(700));
        assert!(world.summary().in_place > served, "seed {seed}: the lease is back");
        assert_eq!(leader(&world), before, "seed {seed}");
    }
}

/// Heartbeats need no disk, so nobody else would ever find out.
#[test]
fn a_leader_whose_disk_hangs_gives_up() {
    for seed in 1..=SEEDS {
        let mut world = cluster(seed, ReadPlan::calm());
        advance(&mut world, millis(1_000 + 7 * seed));
        let (old, term) = leader(&world);
        world.hang_disk(old);
        let gap = until_another_leads(&mut world, old, millis(3_000));
        // Two gates, the next heartbeat of the old leader, and the hand-over.
        assert!(gap >= millis(1_600) && gap <= millis(1_900), "seed {seed}: {gap}");
        assert_eq!(leader(&world).1, term.next(), "seed {seed}: one election is enough");
        let operations = world.summary().operations;
        advance(&mut world, millis(3_000));
        assert!(world.summary().operations > operations + 100, "seed {seed}: clients go on");
    }
}
