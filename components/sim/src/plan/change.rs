//! Changes of a plan: what the command line overrides, and what a failing seed can do without.

use std::collections::BTreeSet;
use std::fmt;

use flotilla_base::{Bug, Seeded, Span, StoreId};

use flotilla_multiraft::MemoryBudget;

use super::{FaultFamily, Missing, Plan};
use crate::changes::ChangePlan;
use crate::fetches::FetchPlan;
use crate::partition::Shape;
use crate::reads::ReadPlan;
use crate::splits::SplitPlan;

/// A part of a plan that can be turned off. The families of faults and the shapes of cuts can be, too, by
/// their names.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is gone without it.
    pub what: &'static str,
    turn_off: fn(&mut Plan),
}

/// All switches besides families and shapes.
pub const SWITCHES: [Switch; 24] = [
    Switch::new("loss", "lost messages of stores", |it| it.net.loss_permille = 0),
    Switch::new("client-loss", "lost requests and answers", |it| it.net.client_loss_permille = 0),
    Switch::new("duplicates", "messages that arrive twice", |it| it.net.duplicate_permille = 0),
    Switch::new("stragglers", "messages that come very late", |it| it.net.straggler_permille = 0),
    Switch::new("jitter", "different delays of messages", |it| it.net.delay_spread = Span::ZERO),
    Switch::new("slow-disk", "slow syncs", |it| it.disk.sync_spread = Span::ZERO),
    Switch::new("stalls", "syncs that stall", |it| it.disk.stall_permille = 0),
    Switch::new("slow-turns", "turns that begin late", |it| it.disk.turn_spread = Span::ZERO),
    Switch::new("slow-fetches", "time to read old log entries, and want of room for them", |it| {
        it.disk.fetches = FetchPlan::calm();
    }),
    Switch::new("slow-steps", "time between two effects", |it| it.disk.step_spread = Span::ZERO),
    Switch::new("slow-apply", "slow appliers", |it| it.disk.apply_spread = Span::ZERO),
    Switch::new("drift", "clocks of different speeds", |it| it.clocks.drift_permille = 0),
    Switch::new("wall-errors", "wrong wall clocks", |it| it.clocks.wall_error_max = Span::ZERO),
    Switch::new("late-bootstrap", "peers that are made late", |it| {
        it.topology.bootstrap_spread = Span::ZERO;
    }),
    Switch::new("in-place", "reads in place", |it| it.reads.in_place_permille = 0),
    Switch::new("replica-reads", "reads at followers", |it| it.reads.replica_permille = 0),
    Switch::new("hand-overs", "leads that are handed over", |it| {
        it.reads = ReadPlan { transfer_interval: Span::ZERO, ..it.reads.clone() };
    }),
    Switch::new("splits", "regions that are split", |it| it.splits = SplitPlan::none()),
    Switch::new("changes", "members that change", |it| {
        it.topology.changes = ChangePlan::none();
    }),
    Switch::new("additions", "members that are added", |it| {
        it.topology.changes.has_additions = false;
        it.topology.changes.return_permille = 0;
    }),
    Switch::new("ambush", "faults that wait for their moment", |it| it.faults.ambush = None),
    Switch::new("large-values", "values of many bytes", |it| it.load.value_bytes_max = 1),
    Switch::new("memory", "small budgets of memory", |it| {
        it.groups.memory = MemoryBudget::default();
    }),
    Switch::new("missing", "a store that is missing in the second phase", |it| {
        it.phases.missing = Missing::Nobody;
    }),
];

impl Switch {
    const fn new(name: &'static str, what: &'static str, turn_off: fn(&mut Plan)) -> Self {
        Self { name, what, turn_off }
    }
}

/// A number of a plan that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    /// Stores.
    Stores,
    /// Regions that hold keys.
    Regions,
    /// Clients.
    Clients,
    /// Operations of each client.
    Operations,
    /// Keys.
    Keys,
    /// Milliseconds of the first phase.
    Millis,
}

impl Number {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Stores, Self::Regions, Self::Clients, Self::Operations, Self::Keys, Self::Millis];

    /// Its option on the command line.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Stores => "--stores",
            Self::Regions => "--regions",
            Self::Clients => "--clients",
            Self::Operations => "--operations",
            Self::Keys => "--keys",
            Self::Millis => "--millis",
        }
    }

    /// What the plan says.
    #[must_use]
    pub const fn of(self, plan: &Plan) -> u64 {
        match self {
            Self::Stores => plan.topology.stores,
            Self::Regions => plan.topology.regions,
            Self::Clients => plan.load.clients,
            Self::Operations => plan.load.operations,
            Self::Keys => plan.load.keys,
            Self::Millis => plan.phases.safety.as_millis(),
        }
    }
}

/// One change of a plan. Its text is the option that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Turns something off.
    Off(String),
    /// Sets a number.
    Set(Number, u64),
    /// Of all faults only those of these numbers happen.
    Only(BTreeSet<u64>),
    /// Plants a mistake.
    Plant(Bug),
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is no such option.
    #[error("{0} is no option of a plan")]
    Option(String),
    /// There is nothing of that name.
    #[error("there is no switch, family or shape {0:?}; the usage lists them")]
    Name(String),
    /// There is no such mistake.
    #[error("there is no bug {0:?}; the board in docs/testing.md lists them")]
    Bug(String),
    /// This program cannot make mistakes on purpose.
    #[error("bugs can be planted only where the program is built with --features seeded-bugs")]
    NotBuiltIn,
    /// A number was expected.
    #[error("{option} takes a whole number from 1 on, not {found:?}")]
    Number {
        /// Which option.
        option: String,
        /// What was given.
        found: String,
    },
}

impl Change {
    /// The change that an option of the command line asks for.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn parse(option: &str, value: &str) -> Result<Self, PlanError> {
        let number = |found: &str| {
            let parsed = found.parse().ok().filter(|number| *number > 0);
            let wrong = || PlanError::Number { option: option.to_owned(), found: found.to_owned() };
            parsed.ok_or_else(wrong)
        };
        if let Some(which) = Number::ALL.into_iter().find(|it| it.option() == option) {
            return Ok(Self::Set(which, number(value)?));
        }
        match option {
            "--off" if is_name(value) => Ok(Self::Off(value.to_owned())),
            "--off" => Err(PlanError::Name(value.to_owned())),
            "--bug" => {
                let bug = Bug::from_name(value).ok_or_else(|| PlanError::Bug(value.to_owned()))?;
                Seeded::planting(bug).map(|_| Self::Plant(bug)).ok_or(PlanError::NotBuiltIn)
            }
            "--only" if value == "none" => Ok(Self::Only(BTreeSet::new())),
            "--only" => value.split(',').map(number).collect::<Result<_, _>>().map(Self::Only),
            _ => Err(PlanError::Option(option.to_owned())),
        }
    }

    /// Changes `plan`.
    pub fn apply(&self, plan: &mut Plan) {
        match self {
            Self::Off(name) => turn_off(name, plan),
            Self::Set(number, to) => set(*number, *to, plan),
            Self::Only(numbers) => plan.faults.only = Some(numbers.clone()),
            Self::Plant(bug) => plan.groups.seeded = Seeded::planting(*bug).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off(name) => write!(f, "--off {name}"),
            Self::Plant(bug) => write!(f, "--bug {}", bug.name),
            Self::Set(number, to) => write!(f, "{} {to}", number.option()),
            Self::Only(numbers) if numbers.is_empty() => write!(f, "--only none"),
            Self::Only(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
                write!(f, "--only {}", numbers.join(","))
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    SWITCHES.iter().any(|it| it.name == name)
        || FaultFamily::ALL.iter().any(|it| it.name() == name)
        || Shape::ALL.iter().any(|it| it.name() == name)
}

fn turn_off(name: &str, plan: &mut Plan) {
    if let Some(switch) = SWITCHES.iter().find(|it| it.name == name) {
        (switch.turn_off)(plan);
    }
    plan.faults.strikes.retain(|strike| strike.order.family().name() != name);
    plan.faults.families.retain(|family| family.name() != name);
    plan.faults.shapes.retain(|shape| shape.name() != name);
}

fn set(number: Number, to: u64, plan: &mut Plan) {
    match number {
        Number::Stores => {
            plan.topology.stores = to;
            plan.topology.replicas = plan.topology.replicas.min(to);
            plan.topology.learners = plan.topology.learners.min(to - plan.topology.replicas);
            let exists = |store: &StoreId| store.get() <= to;
            plan.topology.fates.keep(to);
            plan.faults.strikes.retain(|strike| strike.order.stores().iter().all(exists));
            if plan.topology.replicas < 3 {
                plan.phases.missing = Missing::Nobody;
            }
        }
        Number::Regions => plan.topology.regions = to,
        Number::Clients => plan.load.clients = to,
        Number::Operations => plan.load.operations = to,
        Number::Keys => plan.load.keys = to,
        Number::Millis => plan.phases.safety = Span::from_millis(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_change_is_the_option_that_makes_it() {
        let names = SWITCHES.iter().map(|it| it.name);
        let names = names.chain(FaultFamily::ALL.iter().map(|it| it.name()));
        let names = names.chain(Shape::ALL.iter().map(|it| it.name()));
        let off = names.map(|name| Change::Off(name.to_owned()));
        let set = Number::ALL.into_iter().map(|number| Change::Set(number, 3));
        let only =
            [vec![], vec![7], vec![2, 30]].map(|them| Change::Only(them.into_iter().collect()));
        let changes: Vec<Change> = off.chain(set).chain(only).collect();
        let planted = Bug::ALL.iter().filter(|bug| Seeded::planting(**bug).is_some());
        let changes = changes.into_iter().chain(planted.map(|bug| Change::Plant(*bug)));
        let changes: Vec<Change> = changes.collect();
        let texts: BTreeSet<String> = changes.iter().map(Change::to_string).collect();
        assert_eq!(texts.len(), changes.len(), "no name is used twice");
        for change in changes {
            let text = change.to_string();
            let (option, value) = text.split_once(' ').expect("an option and its value");
            assert_eq!(Change::parse(option, value), Ok(change));
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for (option, value) in [
            ("--off", "nothing"),
            ("--clients", "0"),
            ("--clients", "x"),
            ("--only", "1,,2"),
            ("--on", "loss"),
            ("--bug", "none"),
        ] {
            assert!(Change::parse(option, value).is_err(), "{option} {value}");
        }
    }

    #[test]
    fn everything_that_is_off_is_off() {
        for seed in 1..=50 {
            let mut plan = Plan::of(seed);
            let names = SWITCHES.iter().map(|it| it.name);
            let names = names.chain(FaultFamily::ALL.iter().map(|it| it.name()));
            for name in names.chain(Shape::ALL.iter().map(|it| it.name())) {
                Change::Off(name.to_owned()).apply(&mut plan);
            }
            assert!(plan.faults.families.is_empty() && plan.faults.shapes.is_empty());
            assert_eq!((plan.faults.ambush, plan.faults.strikes), (None, Vec::new()));
            let NetPlan { loss_permille, duplicate_permille, straggler_permille, .. } = plan.net;
            assert_eq!((loss_permille, duplicate_permille, straggler_permille), (0, 0, 0));
            assert_eq!((plan.clocks.drift_permille, plan.disk.stall_permille), (0, 0));
        }
    }

    use crate::plan::NetPlan;
}
