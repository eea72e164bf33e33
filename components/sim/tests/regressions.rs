//! Seeds that once failed, and what they found. A later change of the program may draw other numbers: what
//! keeps each fault from coming back is the script that is named beside it.

use flotilla_sim::{Plan, World};

/// A seed, and what it found.
const FOUND: [(u64, &str); 0] = [];

#[test]
fn seeds_that_once_failed_hold() {
    for (seed, found) in FOUND {
        if let Err(violation) = World::new(Plan::swarm(seed), false).run() {
            panic!("seed {seed} fails again ({found}): {violation}");
        }
    }
}
