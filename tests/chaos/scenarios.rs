//! The scenarios: a cluster, a load, rounds of faults, and how long they go on.

use std::{env, time::Duration};

use crate::{
    arena::{Arena, Invalid, Outcome, Regions, Setup},
    clients::Plan,
    common::say,
    facilities::{Cage, Facilities},
    installs,
    network::Wanted,
    report::{Row, Verdict},
    rounds::{self, Round},
    shim::Sync,
    volume::Kind,
};

/// Multiplies the length of every scenario: `make chaos`.
const FACTOR: &str = "FLOTILLA_CHAOS_FACTOR";
const SEED: &str = "FLOTILLA_CHAOS_SEED";
/// How long a scenario of a test run goes on.
const SECONDS: u64 = 60;
/// Power cuts of a test run.
const CYCLES: u32 = 30;
/// The same where regions change: the cluster has more to do in each of them.
const CHURN_SECONDS: u64 = 40;
const CHURN_CYCLES: u32 = 10;
/// In so many cycles a cluster that never syncs must have lost something.
const CONTROL_CYCLES: u32 = 20;

/// Faults at the level of processes.
pub(crate) const KILLS: &str = "kills";
pub(crate) const PAUSES: &str = "pauses";
pub(crate) const PARTITIONS: &str = "partitions";
/// The same without namespaces, which is how machines without privileges run it.
pub(crate) const PARTITIONS_BY_PROXY: &str = "partitions-by-proxy";
pub(crate) const DISKS: &str = "disks";
pub(crate) const SYNCS: &str = "failed-syncs";
pub(crate) const POWER: &str = "power";
/// Kills and power cuts while regions are split, moved and handed over.
pub(crate) const CHURN_KILLS: &str = "churn-kills";
pub(crate) const CHURN_POWER: &str = "churn-power";
/// Disks that are full while a snapshot is put in place.
pub(crate) const INSTALLS: &str = "full-installs";
/// Everything that the machine allows, in any order.
pub(crate) const MIX: &str = "mix";
/// Disks that never sync: it must be seen that they lose data.
pub(crate) const CONTROL: &str = "power-without-syncs";

/// What the long form runs, in this order.
pub(crate) const ALL: [&str; 12] = [
    KILLS,
    PAUSES,
    PARTITIONS,
    PARTITIONS_BY_PROXY,
    DISKS,
    INSTALLS,
    SYNCS,
    POWER,
    CHURN_KILLS,
    CHURN_POWER,
    MIX,
    CONTROL,
];

const LOAD: Plan = Plan { registers: 4, counters: 2, sets: 2, published: 0, pinned: 0, padding: 0 };

/// When a scenario is over.
#[derive(Clone, Copy, Debug)]
enum Length {
    Time(Duration),
    Rounds(u32),
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Runs a scenario here and now.
pub(crate) fn run(name: &str, facilities: Facilities, cage: Cage) -> Row {
    let factor = number(FACTOR).unwrap_or(1);
    let time = Length::Time(Duration::from_secs(SECONDS * factor));
    let cycles = Length::Rounds(CYCLES * u32::try_from(factor).expect("small"));
    let lines = if facilities.namespaces { Wanted::Namespaces } else { Wanted::Proxies };
    let setup = Setup::of(3, LOAD);
    let churn = if factor > 1 { Regions::ChangeLong } else { Regions::Change };
    let has_power = facilities.disk == Some(Kind::Loop) && facilities.tools.is_some();
    let power = Setup { disks: Some(Kind::Loop), ..Setup::of(5, LOAD) };
    let skip = |name: &str, why: &str| Row::skipped(name, why);
    let stage = Stage { facilities, cage, length: time };
    match name {
        KILLS => {
            let load = Plan { sets: 1, published: 1, ..LOAD };
            stage.play(KILLS, Setup { load, ..setup }, &[rounds::kill])
        }
        PAUSES => {
            let load = Plan { pinned: 3, ..LOAD };
            stage.play(PAUSES, Setup { load, ..setup }, &[rounds::pause])
        }
        PARTITIONS | PARTITIONS_BY_PROXY => {
            let is_plain = name == PARTITIONS;
            let network = if is_plain { lines } else { Wanted::Proxies };
            let load = Plan { pinned: 1, ..LOAD };
            let name = if is_plain { PARTITIONS } else { PARTITIONS_BY_PROXY };
            stage.play(name, Setup { network, ..Setup::of(5, load) }, &[rounds::cut])
        }
        DISKS => stage.disks(setup),
        INSTALLS => installs::run(INSTALLS, number(SEED).unwrap_or(1), &stage.facilities),
        SYNCS if stage.facilities.tools.is_none() => skip(SYNCS, "no C compiler, so no sync fails"),
        SYNCS => {
            let disks = stage.facilities.disk.filter(|kind| *kind == Kind::Loop);
            stage.play(SYNCS, Setup { disks, ..setup }, &[rounds::fail_syncs])
        }
        CHURN_KILLS => {
            let setup = Setup::churned(LOAD, churn);
            let length = Length::Time(Duration::from_secs(CHURN_SECONDS * factor));
            Stage { length, ..stage }.play(CHURN_KILLS, setup, &[rounds::kill])
        }
        POWER | CHURN_POWER | CONTROL if !has_power => {
            skip(name, "no disk here can lose its power")
        }
        POWER => Stage { length: cycles, ..stage }.power(POWER, power),
        CHURN_POWER => {
            let length = Length::Rounds(CHURN_CYCLES * u32::try_from(factor).expect("small"));
            let setup = Setup { disks: Some(Kind::Loop), ..Setup::churned(LOAD, churn) };
            Stage { length, ..stage }.power(CHURN_POWER, setup)
        }
        CONTROL => stage.control(Setup { disks: Some(Kind::Loop), ..setup }),
        MIX => stage.mix(Setup { network: lines, ..Setup::of(5, LOAD) }),
        _ => panic!("there is no scenario {name:?}"),
    }
}

/// Where scenarios are played.
struct Stage {
    facilities: Facilities,
    cage: Cage,
    length: Length,
}

impl Stage {
    fn open(self, name: &'static str, setup: Setup) -> Arena {
        let seed = number(SEED).unwrap_or(1);
        Arena::new(name, setup, self.facilities, self.cage, seed)
    }

    /// Rounds, one drawn after the other, until it is over.
    fn play(self, name: &'static str, setup: Setup, rounds: &[Round]) -> Row {
        let length = self.length;
        let mut arena = self.open(name, setup);
        let outcome = play(&mut arena, length, rounds);
        arena.judge(outcome)
    }

    /// Power cuts that never took anything would prove nothing.
    fn power(self, name: &'static str, setup: Setup) -> Row {
        let length = self.length;
        let mut arena = self.open(name, setup);
        let mut outcome = play(&mut arena, length, &[rounds::power_cut]);
        if outcome.is_ok() && arena.lost_bytes() == 0 {
            outcome = Err(Invalid("no power cut took a byte".to_owned()));
        }
        arena.judge(outcome)
    }

    fn disks(self, setup: Setup) -> Row {
        // Values that fill a disk.
        let load = Plan { padding: 4 << 10, ..LOAD };
        let mut rounds: Vec<Round> = Vec::new();
        if self.facilities.disk.is_some() {
            rounds.push(rounds::fill);
        } else {
            say(&format!("chaos: {DISKS}: SKIP: full disks: none can be made here"));
        }
        if self.facilities.tools.is_some() {
            rounds.push(rounds::slow);
        } else {
            say(&format!("chaos: {DISKS}: SKIP: slow disks: no C compiler"));
        }
        if rounds.is_empty() {
            return Row::skipped(DISKS, "disks can neither be full nor slow here");
        }
        let disks = self.facilities.disk;
        self.play(DISKS, Setup { disks, load, ..setup }, &rounds)
    }

    fn mix(self, setup: Setup) -> Row {
        let Facilities { disk, ref tools, .. } = self.facilities;
        let mut rounds: Vec<Round> = vec![rounds::kill, rounds::pause, rounds::cut];
        if disk.is_some() {
            rounds.push(rounds::fill);
        }
        if tools.is_some() {
            rounds.extend([rounds::slow as Round, rounds::fail_syncs]);
        }
        if disk == Some(Kind::Loop) && tools.is_some() {
            rounds.push(rounds::power_cut);
        }
        let load = Plan { pinned: 1, published: 1, padding: 2 << 10, ..LOAD };
        self.play(MIX, Setup { disks: disk, load, ..setup }, &rounds)
    }

    /// All lose their power while no sync is done: what was acknowledged since then must be found missing.
    fn control(self, setup: Setup) -> Row {
        let mut arena = self.open(CONTROL, setup);
        for cycle in 1..=CONTROL_CYCLES {
            match lose_what_was_not_synced(&mut arena) {
                Err(Invalid(why)) => return arena.judge(Err(Invalid(why))),
                Ok(lost) => arena.note(&format!("cycle {cycle}: {lost} bytes of logs are gone")),
            }
            if !arena.is_sound() {
                let mut row = arena.judge(Ok(()));
                let caught = matches!(row.verdict, Verdict::Violated(_));
                say(&format!(
                    "chaos: {CONTROL}: found in cycle {cycle}: {}",
                    first_line(&row.verdict)
                ));
                row.verdict = if caught { Verdict::Passed } else { row.verdict };
                return row;
            }
        }
        let mut row = arena.judge(Ok(()));
        let why = format!(
            "nothing was missed in {CONTROL_CYCLES} cycles without syncs: the test sees nothing"
        );
        row.verdict = Verdict::Violated(why);
        row
    }
}

fn first_line(verdict: &Verdict) -> &str {
    let Verdict::Violated(why) = verdict else { return "" };
    why.lines().next().unwrap_or_default()
}

fn play(arena: &mut Arena, length: Length, rounds: &[Round]) -> Outcome {
    arena.well("before the first fault");
    loop {
        let is_over = match length {
            Length::Time(time) => arena.elapsed() >= time,
            Length::Rounds(count) => arena.faults() >= count,
        };
        if is_over {
            return Ok(());
        }
        arena.let_regions_move();
        let round = rounds[arena.draw(rounds.len())];
        round(arena)?;
    }
}

/// Nodes that start are honest, so that they start; then they lie, and lose their power.
fn lose_what_was_not_synced(arena: &mut Arena) -> Result<u64, Invalid> {
    let all: Vec<usize> = arena.cluster.stores().collect();
    let set = |arena: &Arena, sync: Sync| {
        for store in &all {
            arena.bases[*store].shim.as_ref().expect("the scenario needs it").set(sync, "");
        }
    };
    set(arena, Sync::Lies);
    arena.progress(200, "while no sync is done");
    rounds::lose_power(arena, "power cuts of all", &all)?;
    set(arena, Sync::Honest);
    let lost = rounds::regain_power(arena, &all)?;
    arena.well("after a power cut");
    arena.read_back();
    Ok(lost)
}
