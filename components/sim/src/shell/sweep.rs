//! Runs of many seeds, on several threads.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flotilla_sim::marks::Marks;
use flotilla_sim::trial::{Trial, attempt, repeat};
use flotilla_sim::{COMMITTED_SEEDS, Summary};

use super::{arguments::SweepCommand, output::print};

/// After so many seeds a line says how far it is.
const PROGRESS_SEEDS: u64 = 1_000;

/// What the threads share.
struct Shared {
    seeds: RangeInclusive<u64>,
    next: AtomicU64,
    is_stopped: AtomicBool,
    keeps_going: bool,
}

/// What was found out.
#[derive(Default)]
struct Found {
    seeds: u64,
    failed: u64,
    total: Summary,
    marks: Marks,
}

/// Runs the seeds. Every failing one leaves two lines, the second of which repeats it.
pub(crate) fn sweep(command: &SweepCommand) -> bool {
    let SweepCommand { seeds, jobs, keeps_going } = command;
    let shared = Shared {
        seeds: seeds.clone(),
        next: AtomicU64::new(*seeds.start()),
        is_stopped: AtomicBool::new(false),
        keeps_going: *keeps_going,
    };
    let found = run_all(&shared, *jobs);
    print(&format!("{} seeds, {} failed: {}\n", found.seeds, found.failed, found.total));
    print(&found.marks.table());
    let is_whole = seeds.start() <= COMMITTED_SEEDS.start() && seeds.end() >= COMMITTED_SEEDS.end();
    let missing: Vec<&str> = found.marks.missing().map(|mark| mark.name).collect();
    if is_whole && found.failed == 0 && !missing.is_empty() {
        print(&format!("the plans are blind: no seed reached {}\n", missing.join(", ")));
        return false;
    }
    found.failed == 0
}

#[expect(clippy::disallowed_methods, reason = "this program has the threads of the pure crate")]
fn run_all(shared: &Shared, jobs: u64) -> Found {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| work(shared))).collect();
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

fn work(shared: &Shared) -> Found {
    let mut found = Found::default();
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if !shared.seeds.contains(&seed) || shared.is_stopped.load(Ordering::Relaxed) {
            return found;
        }
        let Trial { world, outcome } = attempt(seed, &[], false);
        found.seeds += 1;
        found.marks += world.marks();
        match outcome {
            Ok(summary) => found.total += summary,
            Err(failure) => {
                found.failed += 1;
                print(&format!(
                    "seed {seed} failed {}\nrepeat: {}\n",
                    failure.what,
                    repeat(seed, &[])
                ));
                shared.is_stopped.store(!shared.keeps_going, Ordering::Relaxed);
            }
        }
        let done = seed - shared.seeds.start() + 1;
        if done.is_multiple_of(PROGRESS_SEEDS) {
            eprintln!("{done} seeds");
        }
    }
}
