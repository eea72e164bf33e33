//! A run from outside: what came of it, panics of production code included.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::judge::Verdict;
use crate::minimize::Failure;
use crate::plan::{Change, Plan};
use crate::summary::Summary;
use crate::world::World;

/// A run that is over.
#[derive(Debug)]
pub struct Trial {
    /// The world as it was left.
    pub world: World,
    /// What came of it.
    pub outcome: Result<Summary, Failure>,
}

/// Runs a seed with changes. A panic of production code is a broken rule like any other.
#[must_use]
pub fn attempt(seed: u64, changes: &[Change], is_traced: bool) -> Trial {
    try_out(Plan::changed(seed, changes), is_traced)
}

/// Runs a plan.
pub(crate) fn try_out(plan: Plan, is_traced: bool) -> Trial {
    let mut world = World::new(plan, is_traced);
    let mut summary = None;
    let run = AssertUnwindSafe(|| world.run().map(|run| summary = Some(run)));
    let (rule, what) = match (failure(catch_unwind(run)), summary) {
        (Some(failure), _) => failure,
        (None, summary) => return Trial { world, outcome: Ok(summary.unwrap_or_default()) },
    };
    let what = format!("at {}: {what}", world.now());
    let failure = Failure { rule, what, faults: world.faults() };
    Trial { world, outcome: Err(failure) }
}

/// The broken rule, and how it was broken; `None` where none was. A panic of production code is one, too.
pub(crate) fn failure(outcome: std::thread::Result<Verdict>) -> Option<(String, String)> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some((violation.rule.to_owned(), violation.to_string())),
        Err(panic) => {
            let said = message(panic.as_ref());
            // Two panics of one line differ in their numbers.
            let rule = said.replace(|character: char| character.is_ascii_digit(), "#");
            Some((rule, format!("a panic: {said}")))
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// The line that repeats a run.
#[must_use]
pub fn repeat(seed: u64, changes: &[Change]) -> String {
    repeat_by("run", seed, changes)
}

/// The same, where the run is of another kind.
pub(crate) fn repeat_by(command: &str, seed: u64, changes: &[Change]) -> String {
    let changes: String = changes.iter().map(|change| format!(" {change}")).collect();
    format!("flotilla-sim {command} --seed {seed}{changes} --trace")
}
