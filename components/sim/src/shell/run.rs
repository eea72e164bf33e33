//! Single runs: shown, or compared with another run of the same seed.

use std::ops::RangeInclusive;

use flotilla_sim::trial::Trial;

use super::{arguments::RunCommand, kind::Kind, output::print};

/// Runs one seed and says what happened.
pub(crate) fn run(command: &RunCommand) -> bool {
    let RunCommand { kind, seed, changes, is_traced, history } = command;
    let Trial { world, outcome } = kind.attempt(*seed, changes, *is_traced);
    print(world.trace_text());
    let is_written = history.as_ref().is_none_or(|path| write_history(&world, path));
    match outcome {
        Ok(summary) => {
            print(&format!("seed {seed}: {summary}\n"));
            is_written
        }
        Err(failure) => {
            print(&format!("seed {seed} failed {}\n", failure.what));
            print(&format!("repeat: {}\n", kind.repeat(*seed, changes)));
            false
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this program does the IO of the pure crate")]
fn write_history(world: &flotilla_sim::World, path: &str) -> bool {
    let written =
        world.judges().history.history().map_err(|error| error.to_string()).and_then(|history| {
            let mut lines = Vec::new();
            flotilla_histcheck::json::write(&history, &mut lines)
                .and_then(|()| std::fs::write(path, lines))
                .map_err(|error| error.to_string())
        });
    if let Err(cause) = &written {
        eprintln!("cannot write the history to {path}: {cause}");
    }
    written.is_ok()
}

/// Runs each seed twice; the traces must be equal, byte for byte.
pub(crate) fn are_deterministic(kind: Kind, seeds: RangeInclusive<u64>) -> bool {
    let mut are_equal = true;
    for seed in seeds {
        let traces = [(), ()].map(|()| {
            let Trial { world, outcome } = kind.attempt(seed, &[], true);
            format!("{}{outcome:?}", world.trace_text())
        });
        if traces[0] == traces[1] {
            print(&format!("seed {seed}: two equal traces of {} bytes\n", traces[0].len()));
            continue;
        }
        are_equal = false;
        let differs = traces[0].lines().zip(traces[1].lines()).find(|(one, other)| one != other);
        print(&format!("seed {seed}: two runs differ: {differs:?}\n"));
        let prefix = kind.prefix();
        print(&format!("repeat: flotilla-sim {prefix}determinism --seed {seed}\n"));
    }
    are_equal
}
