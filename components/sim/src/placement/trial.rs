//! A run of placement from outside: what came of it, panics of production code included.

use std::panic::{AssertUnwindSafe, catch_unwind};

use flotilla_base::{Bug, Seeded, Span};
use flotilla_placement::SchedulerName;

use super::{Noise, Plan, Summary, World, trouble::Trouble};
use crate::judge::Verdict;
use crate::minimize::Failure;
use crate::trial::failure;

/// An end is reached within this.
const SETTLES_WITHIN: Span = Span::from_millis(24 * 3_600_000);

/// A run that is over.
#[derive(Debug)]
pub struct Trial {
    /// The world as it was left.
    pub world: World,
    /// What came of it.
    pub outcome: Result<Summary, Failure>,
}

/// Runs a seed, with a bug that is planted on purpose or without.
///
/// # Panics
/// Where a bug is named and none can be planted.
#[must_use]
pub fn attempt(seed: u64, bug: Option<Bug>, is_traced: bool) -> Trial {
    let mut plan = Plan::of(seed);
    if let Some(bug) = bug {
        plan.seeded = Seeded::planting(bug).expect("bugs are built in");
    }
    let mut world = World::new(plan.seed, plan.max_replicas, plan.seeded);
    if is_traced {
        world.trace_events();
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut world, &plan)));
    let outcome = match failure(outcome) {
        None => Ok(*world.summary()),
        Some((rule, what)) => {
            let what = format!("at {}: {what}", world.now());
            Err(Failure { rule, what, faults: 0 })
        }
    };
    Trial { world, outcome }
}

/// Carries a plan out.
///
/// # Errors
/// A rule is broken.
pub fn run(world: &mut World, plan: &Plan) -> Verdict {
    for store in &plan.stores {
        world.add_store(store.clone());
    }
    world.found(&plan.regions)?;
    for (name, value) in &plan.settings {
        world.trouble(&Trouble::Set(name, value.clone()))?;
    }
    world.set_noise(plan.noise);
    let begun = world.now();
    for (at, trouble) in &plan.troubles {
        let due = begun + *at;
        world.run_for(due.since(world.now()))?;
        world.trouble(trouble)?;
    }
    let end = begun + plan.length;
    world.run_for(end.since(world.now()))?;
    world.set_noise(Noise::default());
    while !world.driver().is_running() {
        world.run_for(Span::from_millis(1_000))?;
    }
    world.trouble(&Trouble::Unschedule(SchedulerName::EvictLeader))?;
    for place in 0..world.points().len() {
        world.trouble(&Trouble::Start(place))?;
        world.trouble(&Trouble::Fast(place))?;
    }
    world.settle(SETTLES_WITHIN)
}

/// The line that repeats a run.
#[must_use]
pub fn repeat(seed: u64, bug: Option<Bug>) -> String {
    let bug = bug.map_or_else(String::new, |bug| format!(" --bug {}", bug.name));
    format!("flotilla-sim placement run --seed {seed}{bug} --trace")
}
