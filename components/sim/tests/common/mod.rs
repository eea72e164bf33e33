//! What scenarios in virtual time share.

use flotilla_base::{RegionId, Span, StoreId, Term};
use flotilla_sim::World;

/// The optimised build is some twenty times faster.
pub(crate) const SEEDS: u64 = if cfg!(debug_assertions) { 4 } else { 20 };

pub(crate) const REGION: RegionId = RegionId(2);

pub(crate) fn millis(count: u64) -> Span {
    Span::from_millis(count)
}

pub(crate) fn leader(world: &World) -> (StoreId, Term) {
    world.leader(REGION).expect("the region has a leader")
}

/// Runs and, where a rule is broken, shows how it came to that.
pub(crate) fn advance(world: &mut World, span: Span) {
    if let Err(violation) = world.run_for(span) {
        let lines: Vec<&str> = world.trace_text().lines().rev().take(40).collect();
        panic!("{violation}\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
}
