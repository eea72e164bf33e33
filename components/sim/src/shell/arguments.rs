//! What the program is asked for.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use flotilla_base::Bug;
use flotilla_sim::COMMITTED_SEEDS;
use flotilla_sim::partition::Shape;
use flotilla_sim::plan::{Change, FaultFamily, SWITCHES};
use flotilla_sim::{placement, replicas};

use super::{kind::Kind, placement::PlacementCommand};

pub(crate) const USAGE: &str = "usage:
  flotilla-sim run --seed N [CHANGE…] [--trace] [--history FILE]
      one run. --trace prints every event, --history writes what clients saw as lines for flotilla-histcheck
  flotilla-sim sweep [--from A] [--count N] [--jobs N] [--keep-going]
      runs of many seeds; without numbers those that every change of the program must pass.
      These must also reach every rare situation of the table that is printed
  flotilla-sim determinism --seed N | [--from A] --count N
      two runs of each seed, which must leave equal traces
  flotilla-sim minimize --seed N [CHANGE…]
      the smallest changes of a failing seed's plan with which the same rule is still broken
  flotilla-sim replicas run --seed N [CHANGE…] [--trace] [--history FILE]
      one run in which the placement driver decides and real replicas carry it out
  flotilla-sim replicas sweep [--from A] [--count N] [--jobs N] [--keep-going]
  flotilla-sim replicas determinism --seed N | [--from A] --count N
  flotilla-sim replicas minimize --seed N [CHANGE…]
      the same of such runs
  flotilla-sim placement run --seed N [--bug NAME] [--trace]
      one run of the placement driver over modelled stores. --trace prints every event, and what stores carry over time
  flotilla-sim placement sweep [--from A] [--count N] [--jobs N] [--keep-going]
      such runs of many seeds; without numbers those that every change of the program must pass

CHANGE is one of:
  --off NAME      without this; --help lists the names
  --only A,B,…    of all faults only those of these numbers, as the trace counts them; or none
  --bug NAME      with a mistake that is planted on purpose; needs --features seeded-bugs
  --stores N  --regions N  --clients N  --operations N  --keys N  --millis N

Exit code 0: every rule held. 1: a rule was broken; the last line repeats it. 2: wrong usage.";

/// A command with what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run(RunCommand),
    Sweep(Kind, SweepCommand),
    Determinism { kind: Kind, seeds: RangeInclusive<u64> },
    Minimize { kind: Kind, seed: u64, changes: Vec<Change> },
    Placement(PlacementCommand),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunCommand {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    pub(crate) changes: Vec<Change>,
    pub(crate) is_traced: bool,
    pub(crate) history: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SweepCommand {
    pub(crate) seeds: RangeInclusive<u64>,
    pub(crate) jobs: u64,
    pub(crate) keeps_going: bool,
}

/// Every name that can be turned off.
pub(crate) fn names() -> String {
    let mut text = String::from("names:\n");
    for switch in SWITCHES {
        let _never_fails = writeln!(text, "  {:<16}{}", switch.name, switch.what);
    }
    let families: Vec<&str> = FaultFamily::ALL.iter().map(|family| family.name()).collect();
    let shapes: Vec<&str> = Shape::ALL.iter().map(|shape| shape.name()).collect();
    let (families, shapes) = (families.join(" "), shapes.join(" "));
    let _never_fails = write!(text, "  families of faults: {families}\n  shapes of cuts: {shapes}");
    text
}

/// What was given, before it is known to fit the command.
#[derive(Default)]
struct Given {
    seed: Option<u64>,
    from: Option<u64>,
    count: Option<u64>,
    jobs: Option<u64>,
    history: Option<String>,
    flags: Vec<String>,
    changes: Vec<Change>,
}

/// The command that `arguments` ask for.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn parse(arguments: &[String]) -> Result<Command, String> {
    let (verb, options) = arguments.split_first().ok_or("a command is missing")?;
    if verb == "placement" {
        return parse_placement(options).map(Command::Placement);
    }
    if verb == "replicas" {
        let (verb, options) = options.split_first().ok_or("what of replicas?")?;
        return parse_world(Kind::Replicas, verb, options);
    }
    parse_world(Kind::Clusters, verb, options)
}

fn parse_world(kind: Kind, verb: &str, options: &[String]) -> Result<Command, String> {
    let committed = match kind {
        Kind::Clusters => COMMITTED_SEEDS,
        Kind::Replicas => replicas::COMMITTED_SEEDS,
    };
    let mut given = read(options)?;
    let command = match verb {
        "run" => Command::Run(RunCommand {
            kind,
            seed: given.take_seed()?,
            changes: std::mem::take(&mut given.changes),
            is_traced: given.take_flag("--trace"),
            history: given.history.take(),
        }),
        "sweep" => Command::Sweep(kind, given.take_sweep(committed)?),
        "determinism" => {
            let seeds = match given.seed.take() {
                Some(seed) => seed..=seed,
                None => given.take_seeds(1..=20)?,
            };
            Command::Determinism { kind, seeds }
        }
        "minimize" => Command::Minimize {
            kind,
            seed: given.take_seed()?,
            changes: std::mem::take(&mut given.changes),
        },
        other => return Err(format!("there is no command \"{}{other}\"", kind.prefix())),
    };
    given.expect_nothing_left(verb).map(|()| command)
}

fn parse_placement(arguments: &[String]) -> Result<PlacementCommand, String> {
    let (verb, options) = arguments.split_first().ok_or("what of placement?")?;
    let mut given = read(options)?;
    let command = match verb.as_str() {
        "run" => PlacementCommand::Run {
            seed: given.take_seed()?,
            bug: given.take_bug(),
            is_traced: given.take_flag("--trace"),
        },
        "sweep" => PlacementCommand::Sweep(given.take_sweep(placement::COMMITTED_SEEDS)?),
        other => return Err(format!("there is no command {other:?} of placement")),
    };
    given.expect_nothing_left(verb).map(|()| command)
}

fn read(options: &[String]) -> Result<Given, String> {
    let mut given = Given::default();
    let mut words = options.iter();
    while let Some(option) = words.next() {
        if matches!(option.as_str(), "--trace" | "--keep-going") {
            given.flags.push(option.clone());
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
        let number = || {
            value.parse().map_err(|_not_a_number| format!("{option} takes a number, not {value:?}"))
        };
        match option.as_str() {
            "--seed" => given.seed = Some(number()?),
            "--from" => given.from = Some(number()?),
            "--count" => given.count = Some(number()?),
            "--jobs" => given.jobs = Some(number()?),
            "--history" => given.history = Some(value.clone()),
            _ => given.changes.push(Change::parse(option, value).map_err(|it| it.to_string())?),
        }
    }
    Ok(given)
}

impl Given {
    fn take_seed(&mut self) -> Result<u64, String> {
        self.seed.take().ok_or_else(|| "--seed is missing".to_owned())
    }

    fn take_sweep(&mut self, committed: RangeInclusive<u64>) -> Result<SweepCommand, String> {
        Ok(SweepCommand {
            seeds: self.take_seeds(committed)?,
            jobs: self.jobs.take().unwrap_or(1).max(1),
            keeps_going: self.take_flag("--keep-going"),
        })
    }

    fn take_seeds(&mut self, usual: RangeInclusive<u64>) -> Result<RangeInclusive<u64>, String> {
        let from = self.from.take().unwrap_or(*usual.start());
        let length = usual.end() - usual.start() + 1;
        match self.count.take().unwrap_or(length).checked_sub(1) {
            Some(further) => Ok(from..=from.saturating_add(further)),
            None => Err("--count is at least 1".to_owned()),
        }
    }

    fn take_bug(&mut self) -> Option<Bug> {
        let is_bug = |change: &Change| matches!(change, Change::Plant(_));
        let at = self.changes.iter().position(is_bug)?;
        match self.changes.remove(at) {
            Change::Plant(bug) => Some(bug),
            _ => None,
        }
    }

    fn take_flag(&mut self, flag: &str) -> bool {
        let before = self.flags.len();
        self.flags.retain(|given| given != flag);
        self.flags.len() < before
    }

    fn expect_nothing_left(&self, verb: &str) -> Result<(), String> {
        let numbers = [("--seed", self.seed), ("--from", self.from)];
        let more = [("--count", self.count), ("--jobs", self.jobs)];
        let mut left: Vec<String> = numbers
            .into_iter()
            .chain(more)
            .filter_map(|(name, value)| value.map(|_| name.to_owned()))
            .collect();
        left.extend(self.history.as_ref().map(|_| "--history".to_owned()));
        left.extend(self.flags.iter().cloned());
        left.extend(self.changes.iter().map(ToString::to_string));
        match left.first() {
            Some(option) => Err(format!("{verb} does not take {option}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn the_line_that_repeats_a_run_is_understood() {
        let command = parsed("run --seed 7 --off loss --clients 2 --only 3,9 --trace");
        let Ok(Command::Run(run)) = command else { panic!("{command:?}") };
        let shown: Vec<String> = run.changes.iter().map(Change::to_string).collect();
        assert_eq!((run.seed, run.is_traced, run.history), (7, true, None));
        assert_eq!(shown, ["--off loss", "--clients 2", "--only 3,9"]);
    }

    #[test]
    fn a_sweep_without_numbers_is_that_of_the_committed_seeds() {
        let command = parsed("sweep --jobs 2");
        let Ok(Command::Sweep(Kind::Clusters, sweep)) = command else { panic!("{command:?}") };
        assert_eq!((sweep.seeds, sweep.jobs, sweep.keeps_going), (COMMITTED_SEEDS, 2, false));
        let command = parsed("replicas sweep --from 10 --count 5 --keep-going");
        let Ok(Command::Sweep(Kind::Replicas, sweep)) = command else { panic!("{command:?}") };
        assert_eq!((sweep.seeds, sweep.jobs, sweep.keeps_going), (10..=14, 1, true));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [
            ("", "command"),
            ("walk", "walk"),
            ("replicas walk", "replicas walk"),
            ("run", "--seed"),
            ("run --seed", "--seed"),
            ("run --seed x", "\"x\""),
            ("run --seed 1 --off rain", "rain"),
            ("run --seed 1 --bug rain", "rain"),
            ("run --seed 1 --jobs 2", "--jobs"),
            ("sweep --count 0", "--count"),
            ("sweep --off loss", "--off loss"),
            ("minimize --seed 1 --trace", "--trace"),
        ] {
            let wrong = parsed(line).expect_err(line);
            assert!(wrong.contains(named), "{line}: {wrong}");
        }
    }
}
