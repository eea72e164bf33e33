//! A sample of seeds: every rule holds, and no plan is blind.

use flotilla_sim::marks::Marks;
use flotilla_sim::trial::{Trial, attempt, repeat};
use flotilla_sim::{COMMITTED_SEEDS, Summary};

/// The optimised build is some twenty times faster.
const SEEDS: u64 = if cfg!(debug_assertions) { 10 } else { *COMMITTED_SEEDS.end() };

#[test]
fn every_rule_holds() {
    let (mut total, mut marks) = (Summary::default(), Marks::default());
    for seed in 1..=SEEDS {
        let Trial { world, outcome } = attempt(seed, &[], false);
        match outcome {
            Ok(summary) => total += summary,
            Err(failure) => panic!("{}\nrepeat: {}", failure.what, repeat(seed, &[])),
        }
        marks += world.marks();
    }
    println!("{SEEDS} seeds: {total}\n{}", marks.table());
    let Summary { operations, failures, elections, crashes, .. } = total;
    for (what, count) in [
        ("operations", operations),
        ("failed attempts", failures),
        ("elections", elections),
        ("crashes", crashes),
    ] {
        assert!(count > 0, "the plans are blind: no {what}");
    }
    if SEEDS == *COMMITTED_SEEDS.end() {
        let missing: Vec<&str> = marks.missing().map(|mark| mark.name).collect();
        assert_eq!(missing, [""; 0], "the plans are blind: no seed reached these");
    }
}
