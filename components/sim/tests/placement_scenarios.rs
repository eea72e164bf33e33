//! Scripts of `testscripts/placement/`: clusters that grow, shrink and lose stores, with what stores carry over time drawn
//! below. Regenerate with `UPDATE_GOLDENFILES=1`.

use std::{error::Error, fmt::Write as _};

use flotilla_base::{KeyRange, Seeded, Span};
use flotilla_placement::{LabelConstraint, LabelOp, Policy, Rates, Rule, rule::RuleEdit};
use flotilla_sim::placement::{
    RegionPlan, StorePlan, Trouble, World,
    curve::{Figure, Point},
    trouble::Place,
    world::keys_of,
};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MIB: u64 = 1 << 20;

#[test]
fn scenarios() -> std::io::Result<()> {
    for script in ["grow", "shrink", "sizes", "weights", "slow", "restarts", "zones", "skew"] {
        goldenscript::run(&mut Script::default(), format!("testscripts/placement/{script}"))?;
    }
    Ok(())
}

/// A cluster. Stores are numbered from 1 in the order in which they came.
#[derive(Default)]
struct Script {
    world: Option<World>,
    /// Regions at the beginning.
    regions: u64,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let mut args = command.consume_args();
        let output = match command.name.as_str() {
            "cluster" => self.cluster(&mut args)?,
            "settle" => self.settle(&mut args)?,
            "ask" => self.ask(&mut args)?,
            "set" => self.set(&mut args)?,
            "rule" => self.rule(&mut args)?,
            "join" => self.join(&mut args)?,
            "drain" => {
                let place: Place = args.next_pos().ok_or("a store")?.parse::<Place>()? - 1;
                self.world()?.drain_store(place)?;
                self.refusal()?
            }
            "places" => self.places(&mut args)?,
            "stuck" => self.stuck()?,
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
                    Some("heat") => Figure::Heat,
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
fn store(labels: Vec<(String, String)>) -> StorePlan {
    StorePlan { copy_bytes_per_second: 8 * MIB, labels, ..StorePlan::default() }
}

/// What is left of the arguments: labels.
fn labels(args: &mut ArgumentConsumer<'_>) -> Vec<(String, String)> {
    let rest = std::iter::from_fn(|| args.next_key());
    rest.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn constraints(args: &mut ArgumentConsumer<'_>) -> Vec<LabelConstraint> {
    let is = |(key, value)| LabelConstraint { key, op: LabelOp::In, values: vec![value] };
    labels(args).into_iter().map(is).collect()
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
        let zones: usize = args.take_key("zones").map_or(Ok(0), str::parse)?;
        let mut world = World::new(1, 3, Seeded::NONE);
        for number in 0..stores {
            let zone =
                number.checked_rem(zones).map(|at| ("zone".to_owned(), format!("z{}", at + 1)));
            world.add_store(store(zone.into_iter().collect()));
        }
        let plan = |number: u64| {
            let first = usize::try_from(number)? % on;
            let places = (0..3).map(|offset| (first + offset) % on).collect();
            Ok(RegionPlan { size_bytes: size(sizes, number)? * MIB, places })
        };
        let plans = (0..regions).map(plan).collect::<Outcome<Vec<_>>>()?;
        world.found(&plans)?;
        self.world = Some(world);
        self.regions = regions;
        Ok(String::new())
    }

    /// What the placement driver has refused.
    fn refusal(&mut self) -> Outcome<String> {
        let refusal = self.world()?.take_refusal();
        Ok(refusal.map_or_else(String::new, |refusal| format!("refused: {refusal}\n")))
    }

    fn join(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        self.world()?.trouble(&Trouble::Join(Box::new(store(labels(args)))))?;
        Ok(String::new())
    }

    fn set(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let name = args.next_pos().ok_or("a name")?;
        let value = args.next_pos().ok_or("a value")?.to_owned();
        let known = Policy::describe().into_iter().find(|(known, ..)| known.ends_with(name));
        let (name, ..) = known.ok_or_else(|| format!("there is no setting {name}"))?;
        self.world()?.trouble(&Trouble::Set(name, value))?;
        self.refusal()
    }

    /// A rule for all keys, or for those of the first `regions`; other keys are labels that its stores have to have.
    fn rule(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let regions: Option<u64> = args.take_key("regions").map(str::parse).transpose()?;
        let default = Policy::default().default_rule();
        let rule = Rule {
            id: args.next_pos().map_or(default.id.as_str(), |id| id).to_owned(),
            count: args.take_key("count").map_or(Ok(3), str::parse)?,
            index: u32::from(regions.is_some()),
            is_override: regions.is_some(),
            range: regions.map_or(KeyRange::all(), |it| keys_of(0..it, self.regions)),
            constraints: constraints(args),
            ..default
        };
        self.world()?.edit_rules(vec![RuleEdit::Put(Box::new(rule))])?;
        self.refusal()
    }

    /// Clients ask for so many keys in a second, by Zipf's law, or of one region in `every`.
    fn ask(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let reads: u64 = args.take_key("reads").map_or(Ok(0), str::parse)?;
        let writes: u64 = args.take_key("writes").map_or(Ok(0), str::parse)?;
        let every: Option<u64> = args.take_key("every").map(str::parse).transpose()?;
        self.world()?.ask(|number| {
            let share = |keys: u64| match every {
                Some(every) => keys * u64::from(number % every == 0),
                None => keys / (number + 1),
            };
            Rates { read_keys: share(reads), written_keys: share(writes), ..Rates::default() }
        });
        Ok(String::new())
    }

    fn places(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let kind = args.next_pos().ok_or("a label")?;
        let mut text = String::new();
        for (places, regions) in self.world()?.places(kind) {
            writeln!(text, "{regions} regions are in {places} places of kind {kind}")?;
        }
        Ok(text)
    }

    fn stuck(&mut self) -> Outcome<String> {
        let mut text = String::new();
        for (why, regions) in self.world()?.stuck() {
            writeln!(text, "{regions} regions: {why}")?;
        }
        Ok(text)
    }

    /// Waits for the end of all moves. With `excess`, no more is copied than has to be, and so many hundredths of that.
    fn settle(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let excess: Option<u64> = args.take_key("excess").map(str::parse).transpose()?;
        let world = self.world()?;
        let least = world.least_to_copy() / MIB;
        let (began, before) = (world.now(), *world.summary());
        world.clear_curve();
        world.settle(Span::from_millis(24 * 3_600_000))?;
        world.cut_curve();
        let after = *world.summary();
        let minutes = (world.now().since(began).as_millis() / 60_000).saturating_sub(60);
        let (moves, transfers) = (after.moves - before.moves, after.transfers - before.transfers);
        let (repairs, twice) = (after.repairs - before.repairs, world.moved_twice());
        let copied = (after.copied_bytes - before.copied_bytes) / MIB;
        let mut text = format!(
            "quiet after {minutes} min: {repairs} repairs, {moves} moves, {transfers} transfers, {copied} MiB copied"
        );
        if let Some(excess) = excess {
            write!(text, " of {least} that had to be")?;
            if copied * 100 > least * (100 + excess) {
                return Err(format!("{text}: more than {excess} % too much").into());
            }
        }
        writeln!(text, "; {twice} replicas moved twice")?;
        Ok(text)
    }

    fn loads(&mut self) -> Outcome<String> {
        let points = self.world()?.points();
        let is_hot = points.iter().any(|(_, point)| point.heat > 0);
        let title = "store  leads  replicas     MiB";
        let mut table = format!("{title}{}\n", if is_hot { "    heat" } else { "" });
        for (number, (_, point)) in (1..).zip(&points) {
            let Point { leaders, replicas, mib, heat } = point;
            write!(table, "{number:>5}  {leaders:>5}  {replicas:>8}  {mib:>6}")?;
            let heat = if is_hot { format!("  {heat:>6}") } else { String::new() };
            writeln!(table, "{heat}")?;
        }
        Ok(table)
    }
}
