//! The family of placement: its own commands, with its own seeds.

use std::ops::RangeInclusive;

use flotilla_base::Bug;
use flotilla_sim::marks::{Mark, Marks};
use flotilla_sim::placement::trial::{Trial, attempt, repeat};
use flotilla_sim::placement::{COMMITTED_SEEDS, Summary, curve::Figure, marks};

use super::{
    arguments::SweepCommand,
    output::print,
    sweep::{Family, sweep},
};

/// What of placement is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PlacementCommand {
    Run { seed: u64, bug: Option<Bug>, is_traced: bool },
    Sweep(SweepCommand),
}

/// A placement driver over modelled stores.
struct Placements;

impl Family for Placements {
    type Summary = Summary;
    const COMMITTED: RangeInclusive<u64> = COMMITTED_SEEDS;
    const MARKS: &'static [Mark] = marks::ALL;

    fn attempt(seed: u64) -> (Marks, Result<Self::Summary, String>) {
        let Trial { world, outcome } = attempt(seed, None, false);
        (world.marks().clone(), outcome.map_err(|failure| failure.what))
    }

    fn repeat(seed: u64) -> String {
        repeat(seed, None)
    }
}

/// Does it; whether every rule held.
pub(crate) fn placement(command: &PlacementCommand) -> bool {
    match command {
        PlacementCommand::Run { seed, bug, is_traced } => run(*seed, *bug, *is_traced),
        PlacementCommand::Sweep(command) => sweep::<Placements>(command),
    }
}

fn run(seed: u64, bug: Option<Bug>, is_traced: bool) -> bool {
    let Trial { world, outcome } = attempt(seed, bug, is_traced);
    print(world.trace_text());
    if is_traced {
        let curves =
            [("replicas", Figure::Replicas), ("leads", Figure::Leaders), ("MiB", Figure::Mib)];
        for (name, figure) in curves {
            print(&format!("{name}\n{}\n", world.curve().draw(figure)));
        }
    }
    match outcome {
        Ok(summary) => print(&format!("seed {seed}: {summary}\n")),
        Err(failure) => {
            print(&format!("seed {seed} failed {}\n", failure.what));
            print(&format!("repeat: {}\n", repeat(seed, bug)));
            return false;
        }
    }
    true
}
