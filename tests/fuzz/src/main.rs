//! Drives the targets without coverage, on any toolchain: valid inputs, spoilt, for some seconds each.

use std::alloc::System;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cap::Cap;
use flotilla_damage::damaged;
use flotilla_fuzz::{TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Nothing that comes from outside may make us take more at once.
const TAKEN_BYTES_MAX: usize = 64 << 20;

/// A failed allocation ends the process, and says how large it was.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Inputs between two looks at the clock.
const ROUND: u32 = 1_000;

const USAGE: &str = "usage: flotilla-fuzz targets                   their names
       flotilla-fuzz seeds FOLDER              writes valid inputs, one folder for each target
       flotilla-fuzz run SECONDS [TARGET...]   spoilt inputs; all targets where none is named
       flotilla-fuzz replay TARGET FILE...     single inputs, for example what libFuzzer has kept";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["targets"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["seeds", folder] => write_seeds(Path::new(folder)).map_err(|why| why.to_string()),
        ["run", seconds, chosen @ ..] => match seconds.parse() {
            Ok(seconds) => run(Duration::from_secs(seconds), chosen),
            Err(why) => Err(format!("{seconds}: {why}")),
        },
        ["replay", name, files @ ..] => replay(name, files),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn write_seeds(folder: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

fn run(time: Duration, chosen: &[&str]) -> Result<(), String> {
    let all = || TARGETS.iter().map(|target| target.name).collect();
    let chosen = if chosen.is_empty() { all() } else { chosen.to_vec() };
    let targets: Vec<&Target> = chosen.into_iter().map(named).collect::<Result<_, _>>()?;
    for target in targets {
        let inputs = drive(target, time)?;
        let each_second = inputs / time.as_secs().max(1);
        println!("{:<10} {inputs} inputs, {each_second} a second", target.name);
    }
    Ok(())
}

fn replay(name: &str, files: &[&str]) -> Result<(), String> {
    let target = named(name)?;
    for file in files {
        let input = std::fs::read(file).map_err(|why| format!("{file}: {why}"))?;
        (target.run)(&input);
        println!("{file}: nothing is broken");
    }
    Ok(())
}

fn named(name: &str) -> Result<&'static Target, String> {
    flotilla_fuzz::target(name).ok_or_else(|| format!("there is no target {name}"))
}

fn drive(target: &Target, time: Duration) -> Result<u64, String> {
    let seeds = (target.seeds)();
    seeds.iter().for_each(|seed| (target.run)(seed));
    let noise = prop::collection::vec(any::<u8>(), 0..1_000);
    let inputs = prop_oneof![3 => damaged(prop::sample::select(seeds)), 1 => noise];
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < time {
        let limit = ALLOCATOR.allocated().saturating_add(TAKEN_BYTES_MAX);
        ALLOCATOR.set_limit(limit).map_err(|_too_low| "the limit is below what is taken")?;
        let config =
            ProptestConfig { cases: ROUND, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = TestRunner::new(config);
        let outcome = runner.run(&inputs, |input| {
            (target.run)(&input);
            Ok(())
        });
        outcome.map_err(|why| format!("{}: {why}", target.name))?;
        count += u64::from(ROUND);
    }
    Ok(count)
}
