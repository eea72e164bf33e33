//! Makes a failing seed small and prints the command that repeats it.

use flotilla_sim::minimize::{Minimal, minimize as search};
use flotilla_sim::plan::Change;

use super::{kind::Kind, output::print};

/// Minimizes; a seed that does not fail is an error of its own.
pub(crate) fn minimize(kind: Kind, seed: u64, changes: &[Change]) -> bool {
    // Hundreds of runs fail on purpose: their panics are looked at, not printed.
    std::panic::set_hook(Box::new(|_| {}));
    let mut run = |changes: &[Change]| kind.attempt(seed, changes, false).outcome.err();
    let Some(Minimal { changes, failure, runs }) = search(seed, changes, &mut run) else {
        print(&format!("seed {seed} does not fail\n"));
        return false;
    };
    print(&format!("seed {seed} failed {}\n", failure.what));
    print(&format!("{runs} runs, {} changes are left\n", changes.len()));
    print(&format!("repeat: {}\n", kind.repeat(seed, &changes)));
    true
}
