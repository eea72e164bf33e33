//! A sample of seeds, and the promise that a seed repeats.

use flotilla_sim::{Plan, Summary, World};

/// The optimised build is some twenty times faster.
const SEEDS: u64 = if cfg!(debug_assertions) { 10 } else { 300 };

#[test]
fn every_rule_holds() {
    let mut total = Summary::default();
    for seed in 1..=SEEDS {
        match World::new(Plan::swarm(seed), false).run() {
            Ok(summary) => total += summary,
            Err(violation) => {
                panic!("{violation}\nrepeat: flotilla-sim run --seed {seed} --trace")
            }
        }
    }
    println!("{SEEDS} seeds: {total}");
    let Summary { operations, failures, elections, crashes, lost_batches, truncated, .. } = total;
    for (what, count) in [
        ("operations", operations),
        ("failed attempts", failures),
        ("elections", elections),
        ("crashes", crashes),
        ("batches lost in crashes", lost_batches),
        ("entries that left logs", truncated),
    ] {
        assert!(count > 0, "the plans are blind: no {what}");
    }
}

#[test]
fn a_seed_repeats_byte_by_byte() {
    for seed in [3, 14, 63, 279] {
        let trace = || {
            let mut world = World::new(Plan::swarm(seed), true);
            let outcome = world.run();
            format!("{}{outcome:?}", world.trace_text())
        };
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}
