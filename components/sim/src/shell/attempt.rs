//! One run of a seed, and how it failed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use flotilla_sim::minimize::Failure;
use flotilla_sim::plan::Change;
use flotilla_sim::{Plan, Summary, World};

/// A run that is over.
pub(crate) struct Attempt {
    pub(crate) world: World,
    pub(crate) outcome: Result<Summary, Failure>,
}

/// Runs a seed with changes. A panic of production code is a broken rule like any other.
pub(crate) fn attempt(seed: u64, changes: &[Change], is_traced: bool) -> Attempt {
    let mut plan = Plan::swarm(seed);
    changes.iter().for_each(|change| change.apply(&mut plan));
    let mut world = World::new(plan, is_traced);
    let (rule, what) = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(summary)) => return Attempt { world, outcome: Ok(summary) },
        Ok(Err(violation)) => (violation.rule.to_owned(), violation.to_string()),
        Err(panic) => {
            let said = message(panic.as_ref());
            // Two panics of one line differ in their numbers.
            let rule = said.replace(|character: char| character.is_ascii_digit(), "#");
            (rule, format!("a panic: {said}"))
        }
    };
    let what = format!("at {}: {what}", world.now());
    let failure = Failure { rule, what, faults: world.faults() };
    Attempt { world, outcome: Err(failure) }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// The line that repeats a run.
pub(crate) fn repeat(seed: u64, changes: &[Change]) -> String {
    let changes: String = changes.iter().map(|change| format!(" {change}")).collect();
    format!("flotilla-sim run --seed {seed}{changes} --trace")
}
