//! Command line of the simulator.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use flotilla_sim::{Plan, Summary, World};

const USAGE: &str = "usage:
  flotilla-sim run --seed N [--trace]       one run; prints every event with --trace
  flotilla-sim sweep [--from A] --count N   runs of the seeds from A (default 1)
  flotilla-sim determinism --seed N         two runs of one seed, which must leave equal traces

Exit code 0: every rule held. 1: a rule was broken; the last line repeats it. 2: wrong usage.";

#[derive(Clone, Copy)]
enum Command {
    Run { seed: u64, is_traced: bool },
    Sweep { from: u64, count: u64 },
    Determinism { seed: u64 },
}

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the program's own arguments")]
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_sound = match parse(&arguments) {
        Some(Command::Run { seed, is_traced }) => run(seed, is_traced),
        Some(Command::Sweep { from, count }) => sweep(from, count),
        Some(Command::Determinism { seed }) => is_deterministic(seed),
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(arguments: &[String]) -> Option<Command> {
    let mut words = arguments.iter().map(String::as_str);
    let verb = words.next()?;
    let (mut seed, mut from, mut count, mut is_traced) = (None, Some(1), None, false);
    while let Some(word) = words.next() {
        match word {
            "--trace" => is_traced = true,
            "--seed" => seed = words.next()?.parse().ok(),
            "--from" => from = words.next()?.parse().ok(),
            "--count" => count = words.next()?.parse().ok(),
            _ => return None,
        }
    }
    match verb {
        "run" => Some(Command::Run { seed: seed?, is_traced }),
        "sweep" => Some(Command::Sweep { from: from?, count: count? }),
        "determinism" => Some(Command::Determinism { seed: seed? }),
        _ => None,
    }
}

fn run(seed: u64, is_traced: bool) -> bool {
    let mut world = World::new(Plan::swarm(seed), is_traced);
    let outcome = judge(&mut world);
    print!("{}", world.trace_text());
    report(seed, outcome, true)
}

fn sweep(from: u64, count: u64) -> bool {
    let mut total = Summary::default();
    for seed in from..from + count {
        let outcome = judge(&mut World::new(Plan::swarm(seed), false));
        if let Ok(summary) = &outcome {
            total += *summary;
        }
        if !report(seed, outcome, false) {
            return false;
        }
    }
    println!("{count} seeds: {total}");
    true
}

fn is_deterministic(seed: u64) -> bool {
    let traces = [(), ()].map(|()| {
        let mut world = World::new(Plan::swarm(seed), true);
        let outcome = judge(&mut world);
        format!("{}{outcome:?}", world.trace_text())
    });
    if traces[0] == traces[1] {
        println!("seed {seed}: two equal traces of {} bytes", traces[0].len());
        return true;
    }
    let differs = traces[0].lines().zip(traces[1].lines()).find(|(one, other)| one != other);
    println!("seed {seed}: two runs differ: {differs:?}");
    println!("repeat: flotilla-sim determinism --seed {seed}");
    false
}

/// A panic of production code is a broken rule like any other.
fn judge(world: &mut World) -> Result<Summary, String> {
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(outcome) => outcome.map_err(|violation| violation.to_string()),
        Err(_printed_by_the_hook) => Err("a panic".to_owned()),
    }
    .map_err(|cause| format!("at {}: {cause}", world.now()))
}

fn report(seed: u64, outcome: Result<Summary, String>, is_verbose: bool) -> bool {
    match outcome {
        Ok(summary) => {
            if is_verbose {
                println!("seed {seed}: {summary}");
            }
            true
        }
        Err(cause) => {
            println!("seed {seed} failed {cause}");
            println!("repeat: flotilla-sim run --seed {seed} --trace");
            false
        }
    }
}
