//! What a run consists of. Everything is drawn from the seed, each family of faults on or off: a run
//! with all faults at once hides what a run with two would show. A plan can be changed before it is run,
//! which is how a failing seed is made small.

mod change;
mod fates;
mod situation;
mod swarm;

use std::collections::BTreeSet;

use flotilla_base::{Seeded, Span};
use flotilla_multiraft::MemoryBudget;
use flotilla_raftgroup::{GroupLimits, Timing};

use crate::ambush::Ambush;
use crate::changes::ChangePlan;
use crate::fault::Strike;
use crate::fetches::FetchPlan;
use crate::partition::Shape;
use crate::pd::PdPlan;
use crate::reads::ReadPlan;
use crate::snapshots::SnapshotPlan;
use crate::splits::SplitPlan;

pub use change::{Change, Number, PlanError, SWITCHES, Switch};
pub use fates::{Fate, Fates, ZONE};
pub use situation::Situation;

/// The shape of the cluster.
#[derive(Clone, Debug)]
pub struct Topology {
    /// How many stores.
    pub stores: u64,
    /// How many regions hold keys; one more, the guard region, stays empty.
    pub regions: u64,
    /// Voters of each region.
    pub replicas: u64,
    /// Further members of each region, on other stores, that do not vote.
    pub learners: u64,
    /// The bootstrap reaches each store up to this much later, so that messages arrive before it.
    pub bootstrap_spread: Span,
    /// How often members change.
    pub changes: ChangePlan,
    /// What becomes of stores for good.
    pub fates: Fates,
}

/// What the clocks of stores show.
#[derive(Clone, Debug)]
pub struct ClockPlan {
    /// Clocks run up to this many thousandths too fast or too slow.
    pub drift_permille: u64,
    /// Wall clocks are up to this far from the truth, in both directions.
    pub wall_error_max: Span,
}

/// How the network behaves.
#[derive(Clone, Debug)]
pub struct NetPlan {
    /// Shortest delay.
    pub delay_min: Span,
    /// Up to this much is added to each.
    pub delay_spread: Span,
    /// Messages lost between stores, in thousandths.
    pub loss_permille: u64,
    /// Messages lost between clients and stores, in thousandths.
    pub client_loss_permille: u64,
    /// Messages that arrive twice, in thousandths.
    pub duplicate_permille: u64,
    /// Messages that come very late, in thousandths.
    pub straggler_permille: u64,
    /// How late at most.
    pub straggler_max: Span,
}

/// How disks and threads behave.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// Shortest sync.
    pub sync_min: Span,
    /// Up to this much is added to each.
    pub sync_spread: Span,
    /// Syncs that stall, in thousandths.
    pub stall_permille: u64,
    /// How long at most.
    pub stall_max: Span,
    /// A turn begins up to this much after its first input.
    pub turn_spread: Span,
    /// Appliers work up to this much after they got something.
    pub apply_spread: Span,
    /// Written rounds that may wait for a sync; with so many, no replica of the store is collected.
    pub rounds_max: usize,
    /// Threads that run replicas; they write and send in parallel.
    pub workers: usize,
    /// Between two effects of a thread passes up to this much time; none passes where it is zero.
    pub step_spread: Span,
    /// How snapshots travel and are put in place.
    pub snapshots: SnapshotPlan,
    /// How old log entries are read.
    pub fetches: FetchPlan,
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// How many clients, each with one request at a time.
    pub clients: u64,
    /// How many operations each has to finish.
    pub operations: u64,
    /// How many keys they share.
    pub keys: u64,
    /// Largest value.
    pub value_bytes_max: u64,
    /// Operations that are reads, in thousandths.
    pub read_permille: u64,
    /// Longest pause between two operations.
    pub think_max: Span,
    /// How long a client waits for an answer before it asks elsewhere.
    pub patience: Span,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultFamily {
    /// Links are cut in both directions, in one of the plan's shapes.
    Cut,
    /// Links are cut in one direction each, in one of the plan's shapes.
    OneWayCut,
    /// Links of some stores are clogged one after the other, and freed in another order: what was sent
    /// meanwhile arrives late.
    Clog,
    /// Clients do not reach a store; the stores reach each other.
    ClientCut,
    /// A store crashes, between any two effects, and restarts.
    Crash,
    /// All stores crash at once.
    Blackout,
    /// A store crashes again and again, soon after each start.
    Storm,
    /// A store stands still, and then sees everything that arrived meanwhile at once.
    Pause,
    /// No sync of a store ends for a while.
    Hang,
    /// A sync of a store fails: the store stops.
    SyncError,
    /// The disk of a store is full: writes are refused, and the store stops.
    Full,
    /// The wall clock of a store jumps by up to an hour.
    WallJump,
}

impl FaultFamily {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Cut,
        Self::OneWayCut,
        Self::Clog,
        Self::ClientCut,
        Self::Crash,
        Self::Blackout,
        Self::Storm,
        Self::Pause,
        Self::Hang,
        Self::SyncError,
        Self::Full,
        Self::WallJump,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::OneWayCut => "one-way-cut",
            Self::Clog => "clog",
            Self::ClientCut => "client-cut",
            Self::Crash => "crash",
            Self::Blackout => "blackout",
            Self::Storm => "storm",
            Self::Pause => "pause",
            Self::Hang => "hang",
            Self::SyncError => "sync-error",
            Self::Full => "full",
            Self::WallJump => "wall-jump",
        }
    }
}

/// Which faults occur while safety is judged.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// The families to draw from; none for a calm run.
    pub families: Vec<FaultFamily>,
    /// The shapes of cuts to draw from.
    pub shapes: Vec<Shape>,
    /// Longest time between two faults.
    pub interval: Span,
    /// Longest duration of one.
    pub length_max: Span,
    /// Only the faults of these numbers happen, counted from 1; all of them without it.
    pub only: Option<BTreeSet<u64>>,
    /// What breaks at fixed moments besides.
    pub strikes: Vec<Strike>,
    /// What waits for its moment besides.
    pub ambush: Option<Ambush>,
    /// What the faults of this plan may not cost.
    pub costs: Costs,
}

/// What faults that are harmless enough may not cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Once a region has a leader it keeps it.
    pub is_lead_kept: bool,
    /// Clients never wait longer than this for the next operation that ends; zero for no such promise.
    pub silence_max: Span,
}

/// Who is missing while everything must come to an end: a majority of every region is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Nobody.
    #[default]
    Nobody,
    /// One store stays down.
    Dead,
    /// One store runs, and no other store hears it or is heard by it.
    CutOff,
}

/// How long the parts of a run take.
#[derive(Clone, Debug)]
pub struct Phases {
    /// How long faults last; then everything heals.
    pub safety: Span,
    /// How long clients may take after that.
    pub liveness: Span,
    /// Who is missing during that time; at its end all are there.
    pub missing: Missing,
}

/// What groups are made with.
#[derive(Clone, Debug, Default)]
pub struct GroupPlan {
    /// Bounds.
    pub limits: GroupLimits,
    /// What all groups of a store may keep in memory together.
    pub memory: MemoryBudget,
    /// Times.
    pub timing: Timing,
    /// What is wrong on purpose.
    pub seeded: Seeded,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where every draw comes from.
    pub seed: u64,
    /// The cluster.
    pub topology: Topology,
    /// Clocks.
    pub clocks: ClockPlan,
    /// The network.
    pub net: NetPlan,
    /// Disks and threads.
    pub disk: DiskPlan,
    /// Clients.
    pub load: LoadPlan,
    /// How clients read, and how often leads are handed over.
    pub reads: ReadPlan,
    /// How often regions are split.
    pub splits: SplitPlan,
    /// Faults.
    pub faults: FaultPlan,
    /// The placement driver.
    pub pd: PdPlan,
    /// How long all that takes.
    pub phases: Phases,
    /// What the groups are made with.
    pub groups: GroupPlan,
}

impl Plan {
    /// The plan of a seed: a swarm, or one of the situations.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Situation::of(seed).map_or_else(|| Self::swarm(seed), |situation| situation.plan(seed))
    }

    /// The plan of a seed with changes.
    #[must_use]
    pub fn changed(seed: u64, changes: &[Change]) -> Self {
        let mut plan = Self::of(seed);
        changes.iter().for_each(|change| change.apply(&mut plan));
        plan
    }

    /// Three stores, one region and the guard, nothing random but the spread of campaigns: for
    /// scenarios that count in exact virtual time.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        let millis = Span::from_millis;
        Self {
            seed,
            topology: Topology {
                stores: 3,
                regions: 1,
                replicas: 3,
                learners: 0,
                bootstrap_spread: Span::ZERO,
                changes: ChangePlan::none(),
                fates: Fates::default(),
            },
            clocks: ClockPlan { drift_permille: 0, wall_error_max: Span::ZERO },
            net: NetPlan {
                delay_min: Span::from_micros(200),
                delay_spread: Span::ZERO,
                loss_permille: 0,
                client_loss_permille: 0,
                duplicate_permille: 0,
                straggler_permille: 0,
                straggler_max: Span::ZERO,
            },
            disk: DiskPlan {
                sync_min: Span::from_micros(200),
                sync_spread: Span::ZERO,
                stall_permille: 0,
                stall_max: Span::ZERO,
                turn_spread: Span::ZERO,
                apply_spread: Span::ZERO,
                rounds_max: 64,
                workers: 1,
                step_spread: Span::ZERO,
                snapshots: SnapshotPlan::calm(),
                fetches: FetchPlan::calm(),
            },
            load: LoadPlan {
                clients: 4,
                operations: 100,
                keys: 8,
                value_bytes_max: 32,
                read_permille: 500,
                think_max: millis(20),
                patience: millis(2_000),
            },
            reads: ReadPlan::calm(),
            splits: SplitPlan::none(),
            faults: FaultPlan::default(),
            pd: PdPlan::absent(),
            phases: Phases {
                safety: millis(10_000),
                liveness: millis(240_000),
                missing: Missing::Nobody,
            },
            groups: GroupPlan::default(),
        }
    }
}
