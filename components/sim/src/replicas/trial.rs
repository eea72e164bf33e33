//! A run from outside.

use super::plan::plan;
use crate::plan::Change;
use crate::trial::{Trial, repeat_by, try_out};

/// Runs a seed with changes.
#[must_use]
pub fn attempt(seed: u64, changes: &[Change], is_traced: bool) -> Trial {
    let mut plan = plan(seed);
    changes.iter().for_each(|change| change.apply(&mut plan));
    try_out(plan, is_traced)
}

/// The line that repeats a run.
#[must_use]
pub fn repeat(seed: u64, changes: &[Change]) -> String {
    repeat_by("replicas run", seed, changes)
}
