//! The board: each bug of [`Bug::ALL`] is planted in turn, and seeds are tried in order until a judge accuses it.
//! A bug that no seed finds soon is a hole in the plans or in the judges.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use flotilla_base::Bug;
use flotilla_sim::COMMITTED_SEEDS;
use flotilla_sim::minimize::Failure;
use flotilla_sim::placement;
use flotilla_sim::plan::Change;
use flotilla_sim::trial::{attempt, repeat};

/// A fifth of the seeds that every change of the program has to pass: so many small changes of the plans leave
/// the bug found.
const SEEDS: u64 = *COMMITTED_SEEDS.end() / 5;

/// As many as the machine of the checks has processors.
const THREADS: usize = 2;

/// The first seed that finds a bug, and how.
type Found = Option<Finding>;

struct Finding {
    seed: u64,
    failure: Failure,
    /// How the seed fails where no bug is planted: then it has found nothing.
    without: Option<Failure>,
}

/// Runs a seed of the family that is to find the bug, with it or without.
fn fails(seed: u64, bug: Bug, is_planted: bool) -> Option<Failure> {
    if Bug::PLACEMENT.contains(&bug) {
        return placement::trial::attempt(seed, is_planted.then_some(bug), false).outcome.err();
    }
    let changes: &[Change] = if is_planted { &[Change::Plant(bug)] } else { &[] };
    attempt(seed, changes, false).outcome.err()
}

fn find(bug: Bug) -> Found {
    (1..=SEEDS).find_map(|seed| {
        let failure = fails(seed, bug, true)?;
        let without = fails(seed, bug, false);
        Some(Finding { seed, failure, without })
    })
}

#[expect(clippy::disallowed_methods, reason = "a test may have the threads of the pure crate")]
fn find_all() -> Vec<(Bug, Found)> {
    let (next, board) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = find(*bug);
            board.lock().expect("no other thread panics").push((*bug, found));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    board.into_inner().expect("no thread panicked")
}

/// The table of `docs/testing.md`.
fn table(board: &[(Bug, Found)]) -> String {
    let mut table = String::from("| bug | seed | what accuses it |\n|---|---|---|\n");
    for (bug, found) in board {
        let (seed, rule) = match found {
            Some(it) => (it.seed.to_string(), it.failure.rule.as_str()),
            None => ("–".to_owned(), "–"),
        };
        let _never_fails = writeln!(table, "| `{}` | {seed} | {rule} |", bug.name);
    }
    table
}

#[test]
fn every_planted_bug_is_found_soon() {
    // Runs fail on purpose: their panics are looked at, not printed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut board = find_all();
    std::panic::set_hook(hook);
    board.sort_by_key(|(bug, _)| Bug::ALL.iter().position(|it| it == bug));
    println!("{}", table(&board));
    for finding in board.iter().filter_map(|(_, found)| found.as_ref()) {
        if let Some(failure) = &finding.without {
            panic!("without a bug: {}\nrepeat: {}", failure.what, repeat(finding.seed, &[]));
        }
    }
    let missed = board.iter().filter(|(_, found)| found.is_none());
    let missed: Vec<&str> = missed.map(|(bug, _)| bug.name).collect();
    assert_eq!(missed, [""; 0], "not found within {SEEDS} seeds");
}
