//! Chaos: clusters of real processes under faults of processes, network and disks, with clients whose histories
//! are checked.
//!
//! Each scenario runs in namespaces of its own, as far as the machine allows: `facilities` asks it first, and says
//! what is missing. A run passes if the history is one that was promised **and** every fault was seen to have its
//! effect. `docs/testing.md` tells what each scenario proves, and how to read a violation.
//!
//! Reading order: `scenarios`, `rounds`, `arena`, `clients`, `counters`, `pinned`, `ledger`; `churn` and `map` for
//! regions that change meanwhile; `installs`, which has a database and no cluster; then what faults are made of: `facilities`, `cage`, `network`, `proxy`, `volume`, `throttle`, `shim`; and `report`.

#[path = "../common/mod.rs"]
mod common;

mod arena;
mod cage;
mod churn;
mod clients;
mod counters;
mod facilities;
mod installs;
mod ledger;
mod map;
mod network;
mod pinned;
mod proxy;
mod report;
mod rounds;
mod scenarios;
mod shim;
mod throttle;
mod volume;

use std::env;

use common::say;
use facilities::{Cage, Facilities};

#[test]
fn what_this_machine_allows() {
    cage::run(FACILITIES);
}

#[test]
fn kill_and_restart() {
    cage::run(scenarios::KILLS).judge();
}

#[test]
fn pauses_of_leaders() {
    cage::run(scenarios::PAUSES).judge();
}

#[test]
fn partitions() {
    cage::run(scenarios::PARTITIONS).judge();
}

#[test]
fn full_and_slow_disks() {
    cage::run(scenarios::DISKS).judge();
}

#[test]
fn disks_that_are_full_in_the_middle_of_an_install() {
    cage::run(scenarios::INSTALLS).judge();
}

#[test]
fn failed_syncs() {
    cage::run(scenarios::SYNCS).judge();
}

#[test]
fn power_cuts() {
    cage::run(scenarios::POWER).judge();
}

#[test]
fn kills_while_regions_change() {
    cage::run(scenarios::CHURN_KILLS).judge();
}

#[test]
fn power_cuts_while_regions_change() {
    cage::run(scenarios::CHURN_POWER).judge();
}

/// Everything, for longer, and whether the test can fail at all.
#[test]
#[ignore = "takes the better part of an hour: make chaos"]
fn everything() {
    cage::run(FACILITIES);
    let only = env::var(ONLY).unwrap_or_default();
    let is_wanted = |name: &&str| only.is_empty() || only.split(',').any(|it| it == *name);
    let wanted = scenarios::ALL.into_iter().filter(is_wanted);
    let rows: Vec<report::Row> = wanted.map(cage::run).collect();
    assert!(!rows.is_empty(), "{only:?} is none of {:?}", scenarios::ALL);
    say(&report::table(&rows));
    rows.iter().for_each(report::Row::judge);
}

/// Names the scenarios that `make chaos` runs, where that is not all of them.
const ONLY: &str = "FLOTILLA_CHAOS_ONLY";
/// Shows what is there; no scenario.
const FACILITIES: &str = "facilities";

#[test]
#[ignore = "the program that the other tests start inside of namespaces"]
fn inside() {
    let Ok(scenario) = env::var(cage::SCENARIO) else { return };
    let cage = Cage::named(&env::var(cage::CAGE).expect("whoever starts this says how"));
    if cage != Cage::None {
        network::open_loopback();
    }
    let directory = tempfile::tempdir().expect("a directory");
    let facilities = Facilities::probe(cage, directory.path());
    let row = if scenario == FACILITIES {
        facilities.show(cage);
        report::Row::skipped(FACILITIES, "no scenario")
    } else {
        scenarios::run(&scenario, facilities, cage)
    };
    row.send();
}
