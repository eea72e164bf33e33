//! Scripts of `testscripts/placement/`: clusters that grow, shrink and lose stores, with what stores carry over time drawn
//! below. Regenerate with `UPDATE_GOLDENFILES=1`.

use std::{error::Error, fmt::Write as _};

use flotilla_base::{Seeded, Span};
use flotilla_sim::placement::{
    RegionPlan, StorePlan, Trouble, World, curve::Figure, trouble::Place,
};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MIB: u64 = 1 << 20;

#[test]
fn scenarios() -> std::io::Result<()> {
    for script in ["grow", "shrink", "sizes", "weights", "slow", "restarts"] {
        goldenscript::run(&mut Script::default(), format!("testscripts/placement/{script}"))?;
    }
    Ok(())
}

/// A cluster. Stores are numbered from 1 in the order in which they came.
#[derive(Default)]
struct Script {
    world: Option<World>,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let mut args = command.consume_args();
        let output = match command.name.as_str() {
            "cluster" => self.cluster(&mut args)?,
            "settle" => self.settle()?,
            "run" => {
                let minutes: u64 = args.take_key("minutes").ok_or("minutes")?.parse()?;
                self.world()?.run_for(Span::from_millis(minutes * 60_000))?;
                String::new()
            }
            "draw" => {
                let figure = match args.next_pos() {
                    Some("replicas") => Figure::Replicas,
                    Some("leads") => Figure::Leaders,
                    Some("mib") => Figure::Mib,
                    other => return Err(format!("draw {other:?}").into()),
                };
                self.world()?.curve().draw(figure)
            }
            "loads" => self.loads()?,
            name => {
                let trouble = trouble(name, &mut args)?;
                self.world()?.trouble(&trouble)?;
                String::new()
            }
        };
        args.reject_next()?;
        Ok(output)
    }
}

fn trouble(name: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<Trouble> {
    if name == "join" {
        return Ok(Trouble::Join(Box::new(store())));
    }
    if name == "restart-pd" {
        return Ok(Trouble::RestartPd);
    }
    let place: Place = args.next_pos().ok_or("a store is missing")?.parse::<Place>()? - 1;
    Ok(match name {
        "stop" => Trouble::Stop(place),
        "start" => Trouble::Start(place),
        "slow" => Trouble::Slow(place),
        "fast" => Trouble::Fast(place),
        "remove" => Trouble::Remove(place),
        "weigh" => {
            let leads = args.take_key("leads").map_or(Ok(1_000), str::parse)?;
            let data = args.take_key("data").map_or(Ok(1_000), str::parse)?;
            Trouble::Weigh(place, leads, data)
        }
        _ => return Err(format!("there is no {name}").into()),
    })
}

/// Each copies 8 MiB in a second.
fn store() -> StorePlan {
    StorePlan { copy_bytes_per_second: 8 * MIB, ..StorePlan::default() }
}

/// Sizes of regions in MiB.
fn size(kind: &str, number: u64) -> Outcome<u64> {
    Ok(match kind {
        "equal" => 96,
        "zipf" => 8_192 / (number + 1),
        "fat" if number == 0 => 8_192,
        "fat" => 10,
        _ => return Err(format!("no sizes are {kind}").into()),
    })
}

impl Script {
    fn world(&mut self) -> Outcome<&mut World> {
        self.world.as_mut().ok_or_else(|| "there is no cluster".into())
    }

    fn cluster(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let stores: usize = args.take_key("stores").map_or(Ok(3), str::parse)?;
        let regions: u64 = args.take_key("regions").map_or(Ok(60), str::parse)?;
        let sizes = args.take_key("sizes").unwrap_or("equal");
        let on: usize = args.take_key("on").map_or(Ok(stores), str::parse)?;
        let mut world = World::new(1, 3, Seeded::NONE);
        for _store in 0..stores {
            world.add_store(store());
        }
        let plan = |number: u64| {
            let first = usize::try_from(number)? % on;
            let places = (0..3).map(|offset| (first + offset) % on).collect();
            Ok(RegionPlan { size_bytes: size(sizes, number)? * MIB, places })
        };
        let plans = (0..regions).map(plan).collect::<Outcome<Vec<_>>>()?;
        world.found(&plans)?;
        self.world = Some(world);
        Ok(String::new())
    }

    fn settle(&mut self) -> Outcome<String> {
        let world = self.world()?;
        let (began, before) = (world.now(), *world.summary());
        world.clear_curve();
        world.settle(Span::from_millis(24 * 3_600_000))?;
        world.cut_curve();
        let after = *world.summary();
        let minutes = (world.now().since(began).as_millis() / 60_000).saturating_sub(60);
        let (moves, transfers) = (after.moves - before.moves, after.transfers - before.transfers);
        let copied = (after.copied_bytes - before.copied_bytes) / MIB;
        Ok(format!(
            "quiet after {minutes} min: {moves} moves, {transfers} transfers, {copied} MiB copied\n"
        ))
    }

    fn loads(&mut self) -> Outcome<String> {
        let mut table = String::from("store  leads  replicas     MiB\n");
        for (number, (_, point)) in (1..).zip(self.world()?.points()) {
            let (leads, replicas, mib) = (point.leaders, point.replicas, point.mib);
            writeln!(table, "{number:>5}  {leads:>5}  {replicas:>8}  {mib:>6}")?;
        }
        Ok(table)
    }
}
