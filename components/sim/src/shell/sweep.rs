//! Runs of many seeds, on several threads.

use std::fmt::Display;
use std::ops::{AddAssign, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flotilla_sim::marks::{self, Mark, Marks};
use flotilla_sim::{COMMITTED_SEEDS, replicas, trial};

use super::{arguments::SweepCommand, output::print};

/// After so many seeds a line says how far it is.
const PROGRESS_SEEDS: u64 = 1_000;

/// Runs of one kind, each made by its seed alone.
pub(crate) trait Family {
    /// What is counted in runs without a fault.
    type Summary: Default + AddAssign + Display + Send;
    /// Seeds that every change of the program must pass.
    const COMMITTED: RangeInclusive<u64>;
    /// Rare situations that these must reach.
    const MARKS: &'static [Mark];

    /// One run: the situations that it reached, and its figures or the evidence of what was wrong.
    fn attempt(seed: u64) -> (Marks, Result<Self::Summary, String>);

    /// The command line that repeats it.
    fn repeat(seed: u64) -> String;
}

/// Whole clusters.
pub(crate) struct Clusters;

impl Family for Clusters {
    type Summary = flotilla_sim::Summary;
    const COMMITTED: RangeInclusive<u64> = COMMITTED_SEEDS;
    const MARKS: &'static [Mark] = marks::ALL;

    fn attempt(seed: u64) -> (Marks, Result<Self::Summary, String>) {
        let trial::Trial { world, outcome } = trial::attempt(seed, &[], false);
        (world.marks().clone(), outcome.map_err(|failure| failure.what))
    }

    fn repeat(seed: u64) -> String {
        trial::repeat(seed, &[])
    }
}

/// Clusters that do what the placement driver orders.
pub(crate) struct Replicas;

impl Family for Replicas {
    type Summary = flotilla_sim::Summary;
    const COMMITTED: RangeInclusive<u64> = replicas::COMMITTED_SEEDS;
    const MARKS: &'static [Mark] = replicas::marks::ALL;

    fn attempt(seed: u64) -> (Marks, Result<Self::Summary, String>) {
        let trial::Trial { world, outcome } = replicas::trial::attempt(seed, &[], false);
        (world.marks().clone(), outcome.map_err(|failure| failure.what))
    }

    fn repeat(seed: u64) -> String {
        replicas::trial::repeat(seed, &[])
    }
}

/// What the threads share.
struct Shared {
    seeds: RangeInclusive<u64>,
    next: AtomicU64,
    is_stopped: AtomicBool,
    keeps_going: bool,
}

/// What was found out.
#[derive(Default)]
struct Found<S> {
    seeds: u64,
    failed: u64,
    total: S,
    marks: Marks,
}

/// Runs the seeds. Every failing one leaves two lines, the second of which repeats it.
pub(crate) fn sweep<F: Family>(command: &SweepCommand) -> bool {
    let SweepCommand { seeds, jobs, keeps_going } = command;
    let shared = Shared {
        seeds: seeds.clone(),
        next: AtomicU64::new(*seeds.start()),
        is_stopped: AtomicBool::new(false),
        keeps_going: *keeps_going,
    };
    let found = run_all::<F>(&shared, *jobs);
    print(&format!("{} seeds, {} failed: {}\n", found.seeds, found.failed, found.total));
    print(&found.marks.table_of(F::MARKS));
    let is_whole = seeds.start() <= F::COMMITTED.start() && seeds.end() >= F::COMMITTED.end();
    let missing: Vec<&str> = found.marks.missing_of(F::MARKS).map(|mark| mark.name).collect();
    if is_whole && found.failed == 0 && !missing.is_empty() {
        print(&format!("the plans are blind: no seed reached {}\n", missing.join(", ")));
        return false;
    }
    found.failed == 0
}

#[expect(clippy::disallowed_methods, reason = "this program has the threads of the pure crate")]
fn run_all<F: Family>(shared: &Shared, jobs: u64) -> Found<F::Summary> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| work::<F>(shared))).collect();
        let mut all = Found::default();
        for worker in workers {
            let found = worker.join().expect("a worker catches the panics of runs");
            all.seeds += found.seeds;
            all.failed += found.failed;
            all.total += found.total;
            all.marks += &found.marks;
        }
        all
    })
}

fn work<F: Family>(shared: &Shared) -> Found<F::Summary> {
    let mut found = Found::default();
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if !shared.seeds.contains(&seed) || shared.is_stopped.load(Ordering::Relaxed) {
            return found;
        }
        let (marks, outcome) = F::attempt(seed);
        found.seeds += 1;
        found.marks += &marks;
        match outcome {
            Ok(summary) => found.total += summary,
            Err(what) => {
                found.failed += 1;
                print(&format!("seed {seed} failed {what}\nrepeat: {}\n", F::repeat(seed)));
                shared.is_stopped.store(!shared.keeps_going, Ordering::Relaxed);
            }
        }
        let done = seed - shared.seeds.start() + 1;
        if done.is_multiple_of(PROGRESS_SEEDS) {
            eprintln!("{done} seeds");
        }
    }
}
