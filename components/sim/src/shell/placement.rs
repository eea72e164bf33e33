//! The family of placement: its own commands, with its own seeds.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flotilla_base::Bug;
use flotilla_sim::marks::Marks;
use flotilla_sim::placement::trial::{Trial, attempt, repeat};
use flotilla_sim::placement::{COMMITTED_SEEDS, Summary, curve::Figure, marks};

/// After so many seeds a line says how far it is.
const PROGRESS_SEEDS: u64 = 1_000;

/// What of placement is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PlacementCommand {
    Run { seed: u64, bug: Option<Bug>, is_traced: bool },
    Sweep { seeds: RangeInclusive<u64>, jobs: u64, keeps_going: bool },
}

/// Does it; whether every rule held.
pub(crate) fn placement(command: &PlacementCommand) -> bool {
    match command {
        PlacementCommand::Run { seed, bug, is_traced } => run(*seed, *bug, *is_traced),
        PlacementCommand::Sweep { seeds, jobs, keeps_going } => {
            sweep(&Shared::new(seeds.clone(), *keeps_going), *jobs)
        }
    }
}

fn run(seed: u64, bug: Option<Bug>, is_traced: bool) -> bool {
    let Trial { world, outcome } = attempt(seed, bug, is_traced);
    print!("{}", world.trace_text());
    if is_traced {
        println!("replicas\n{}", world.curve().draw(Figure::Replicas));
        println!("leads\n{}", world.curve().draw(Figure::Leaders));
        println!("MiB\n{}", world.curve().draw(Figure::Mib));
    }
    match outcome {
        Ok(summary) => println!("seed {seed}: {summary}"),
        Err(failure) => {
            println!("seed {seed} failed {}\nrepeat: {}", failure.what, repeat(seed, bug));
            return false;
        }
    }
    true
}

/// What the threads share.
struct Shared {
    seeds: RangeInclusive<u64>,
    next: AtomicU64,
    is_stopped: AtomicBool,
    keeps_going: bool,
}

impl Shared {
    fn new(seeds: RangeInclusive<u64>, keeps_going: bool) -> Self {
        let next = AtomicU64::new(*seeds.start());
        Self { seeds, next, is_stopped: AtomicBool::new(false), keeps_going }
    }
}

#[derive(Default)]
struct Found {
    seeds: u64,
    failed: u64,
    total: Summary,
    marks: Marks,
}

#[expect(clippy::disallowed_methods, reason = "this program has the threads of the pure crate")]
fn sweep(shared: &Shared, jobs: u64) -> bool {
    let mut all = Found::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| work(shared))).collect();
        for worker in workers {
            let found = worker.join().expect("a worker catches the panics of runs");
            all.seeds += found.seeds;
            all.failed += found.failed;
            all.total += found.total;
            all.marks += &found.marks;
        }
    });
    println!("{} seeds, {} failed: {}", all.seeds, all.failed, all.total);
    print!("{}", all.marks.table_of(marks::ALL));
    let is_whole = shared.seeds.start() <= COMMITTED_SEEDS.start()
        && shared.seeds.end() >= COMMITTED_SEEDS.end();
    let missing: Vec<&str> = all.marks.missing_of(marks::ALL).map(|mark| mark.name).collect();
    if is_whole && all.failed == 0 && !missing.is_empty() {
        println!("the plans are blind: no seed reached {}", missing.join(", "));
        return false;
    }
    all.failed == 0
}

fn work(shared: &Shared) -> Found {
    let mut found = Found::default();
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if !shared.seeds.contains(&seed) || shared.is_stopped.load(Ordering::Relaxed) {
            return found;
        }
        let Trial { world, outcome } = attempt(seed, None, false);
        found.seeds += 1;
        found.marks += world.marks();
        match outcome {
            Ok(summary) => found.total += summary,
            Err(failure) => {
                found.failed += 1;
                println!("seed {seed} failed {}\nrepeat: {}", failure.what, repeat(seed, None));
                shared.is_stopped.store(!shared.keeps_going, Ordering::Relaxed);
            }
        }
        let done = seed - shared.seeds.start() + 1;
        if done.is_multiple_of(PROGRESS_SEEDS) {
            eprintln!("{done} seeds");
        }
    }
}
