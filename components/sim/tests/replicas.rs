//! Placement with real replicas: a sample of its seeds, and each scenario in calm weather, drawn.
//! Regenerate `testscripts/replicas/` with `UPDATE_GOLDENFILES=1`.

use std::{error::Error, fmt::Write as _};

use flotilla_base::Span;
use flotilla_sim::pd::event::Wish;
use flotilla_sim::placement::curve::{Curve, Figure};
use flotilla_sim::replicas::{
    Scenario,
    trial::{attempt, repeat},
};
use flotilla_sim::trial::Trial;
use flotilla_sim::{Summary, World};
use goldenscript::{Command, Context, Runner};

/// The optimised build is some twenty times faster.
const SEEDS: u64 = if cfg!(debug_assertions) { 1 } else { 12 };

const SECOND: Span = Span::from_millis(1_000);

#[test]
fn every_rule_holds() {
    let mut total = Summary::default();
    for seed in 1..=SEEDS {
        match attempt(seed, &[], false).outcome {
            Ok(summary) => total += summary,
            Err(failure) => panic!("{}\nrepeat: {}", failure.what, repeat(seed, &[])),
        }
    }
    assert!(total.operations > 0 && total.transfers > 0, "the plans are blind: {total}");
}

#[test]
fn a_seed_repeats() {
    let run = || {
        let Trial { world, outcome } = attempt(2, &[], true);
        (outcome.expect("every rule holds"), world.trace_text().to_owned())
    };
    assert!(run() == run(), "two traces differ");
}

/// What the placement driver is told not to do, the judges of the end find undone.
#[test]
fn the_judges_of_the_end_accuse() {
    let off = |name| Wish::Setting(name, "0".to_owned());
    for (scenario, wish, rule) in [
        (Scenario::Grow, off("schedule.region-schedule-limit"), "replicas are even in the end"),
        (Scenario::Shrink, off("schedule.leader-schedule-limit"), "leads are even in the end"),
        (Scenario::Return, off("schedule.region-schedule-limit"), "replicas are even in the end"),
    ] {
        let mut plan = scenario.plan(1);
        plan.topology.fates.wishes.push((SECOND, wish));
        let outcome = World::new(plan, false).run();
        assert_eq!(outcome.map_err(|it| it.rule), Err(rule), "{scenario:?}");
    }
    let mut plan = Scenario::Zones.plan(1);
    plan.topology.fates.wishes.retain(|(_, wish)| !format!("{wish:?}").contains("location-labels"));
    let outcome = World::new(plan, false).run().map_err(|it| it.to_string());
    let said = outcome.expect_err("nobody cares for zones");
    assert!(said.contains("balance comes to an end") && said.contains("one zone"), "{said}");
}

#[test]
fn scenarios() -> std::io::Result<()> {
    for script in ["grow", "shrink", "loss", "return", "zones", "replace"] {
        goldenscript::run(&mut Script, format!("testscripts/replicas/{script}"))?;
    }
    Ok(())
}

struct Script;

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        let scenario = match command.name.as_str() {
            "grow" => Scenario::Grow,
            "shrink" => Scenario::Shrink,
            "loss" => Scenario::Loss,
            "return" => Scenario::Return,
            "zones" => Scenario::Zones,
            "replace" => Scenario::Replace,
            name => return Err(format!("there is no scenario {name}").into()),
        };
        show(scenario)
    }
}

/// What becomes of the stores, and what they carry in the first phase and in the end.
fn show(scenario: Scenario) -> Result<String, Box<dyn Error>> {
    let plan = scenario.plan(1);
    let seconds = plan.phases.safety.as_millis() / 1_000;
    let (mut world, mut curve) = (World::new(plan, true), Curve::default());
    for _second in 0..seconds {
        world.run_for(SECOND)?;
        curve.add(world.now(), world.points());
    }
    world.finish()?;
    let mut shown = String::new();
    for line in world.trace_text().lines().filter(|line| is_of_note(line)) {
        writeln!(shown, "{}", line.trim_start())?;
    }
    for (name, figure) in [("replicas", Figure::Replicas), ("leads", Figure::Leaders)] {
        write!(shown, "{name}\n{}", curve.draw(figure))?;
    }
    writeln!(shown, "store  leads  replicas")?;
    for (store, point) in (1..).zip(world.points()) {
        writeln!(shown, "{store:>5}  {:>5}  {:>8}", point.leaders, point.replicas)?;
    }
    let done = world.pd().done();
    writeln!(shown, "{} operators, {} moves for balance", done.operators, done.moves)?;
    Ok(shown)
}

/// A store begins or ends, or all is as it is to be.
fn is_of_note(line: &str) -> bool {
    let said = line.split_once("ms ").map_or("", |(_, said)| said);
    let is_of_store = said.starts_with("store ")
        && ["starts", "crashes", "never runs again"].iter().any(|word| said.contains(word));
    is_of_store || said.starts_with("every region is whole") || said.ends_with("is wished for")
}
