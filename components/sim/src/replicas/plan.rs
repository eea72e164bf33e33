//! The plans: what becomes of the stores by the scenario, and how bad the weather is by the seed.

use flotilla_base::{Rng, Span, StoreId};
use flotilla_placement::Leave;

use crate::fault::{Order, Strike};
use crate::partition::Shape;
use crate::pd::event::Wish;
use crate::pd::plan::PdFaultPlan;
use crate::pd::{PdFamily, PdPlan};
use crate::plan::{Fate, Fates, FaultFamily, FaultPlan, LoadPlan, Phases, Plan, ZONE};
use crate::snapshots::SnapshotPlan;
use crate::splits::SplitPlan;

/// A store that is silent for longer is not waited for.
const MAX_DOWN: &str = "30s";
/// The same, and a while more.
const LONG_DOWN: Span = millis(70_000);

/// What becomes of the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Some join.
    Grow,
    /// One leaves.
    Shrink,
    /// One ends for good, and is given up.
    Loss,
    /// One is away for so long that its replicas are made elsewhere, and comes back.
    Return,
    /// The third of three zones joins, and a store more in the first.
    Zones,
    /// One joins and another one leaves.
    Replace,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Grow, Self::Shrink, Self::Loss, Self::Return, Self::Zones, Self::Replace];

    /// What a seed is about: each in turn.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self::ALL[usize::try_from(seed).unwrap_or(0) % Self::ALL.len()]
    }

    /// Its plan where nothing else happens: no faults, and no randomness but that of the code itself.
    #[must_use]
    pub fn plan(self, seed: u64) -> Plan {
        let mut rng = Rng::lane(seed, 61);
        let rng = &mut rng;
        let mut plan = calm(seed);
        let mut fates = std::mem::take(&mut plan.topology.fates);
        let at = |rng: &mut Rng| millis(10_000 + rng.below(20_000));
        match self {
            Self::Grow => {
                let stores = 4 + rng.below(3);
                plan.topology.stores = stores;
                let late = (4..=stores).map(|store| Fate { after: at(rng), store: StoreId(store) });
                fates.late = late.collect();
            }
            Self::Shrink => {
                plan.topology.stores = 4 + rng.below(2);
                let leaver = any(rng, &plan);
                fates.wishes.push((at(rng), Wish::Leave(leaver, Leave::Drain)));
            }
            Self::Loss => {
                plan.topology.stores = 4 + rng.below(2);
                let fate = Fate { after: at(rng), store: any(rng, &plan) };
                fates.lost = vec![fate];
                let given_up = fate.after + millis(1_000 + rng.below(60_000));
                fates.wishes.push((given_up, Wish::Leave(fate.store, Leave::Lost)));
            }
            Self::Return => {
                plan.topology.stores = 4 + rng.below(2);
                let order = Order::Crash(any(rng, &plan), 0);
                plan.faults.strikes = vec![Strike { after: at(rng), order, length: LONG_DOWN }];
            }
            Self::Zones => {
                plan.topology.stores = 6;
                fates.zones = 3;
                let late = [3, 6].map(|store| Fate { after: at(rng), store: StoreId(store) });
                fates.late = late.to_vec();
                let label = Wish::Setting("replication.location-labels", ZONE.to_owned());
                fates.wishes.push((millis(1), label));
            }
            Self::Replace => {
                plan.topology.stores = 4;
                fates.late = vec![Fate { after: at(rng), store: StoreId(4) }];
                let leaver = StoreId(1 + rng.below(3));
                fates.wishes.push((at(rng), Wish::Leave(leaver, Leave::Drain)));
            }
        }
        plan.topology.fates = fates;
        plan
    }
}

/// The plan of a seed: its scenario, in calm or bad weather.
#[must_use]
pub fn plan(seed: u64) -> Plan {
    let mut plan = Scenario::of(seed).plan(seed);
    let mut rng = Rng::lane(seed, 60);
    let rng = &mut rng;
    plan.net.delay_spread = Span::from_micros(pick(rng, [0, 300, 5_000]));
    plan.net.loss_permille = pick(rng, [0, 0, 20]);
    plan.net.client_loss_permille = pick(rng, [0, 0, 20]);
    plan.net.duplicate_permille = pick(rng, [0, 0, 20]);
    plan.disk.sync_spread = Span::from_micros(pick(rng, [0, 1_000, 10_000]));
    plan.disk.apply_spread = Span::from_micros(pick(rng, [0, 100, 20_000]));
    plan.disk.snapshots = SnapshotPlan::swarm(seed);
    plan.groups.limits.log = SnapshotPlan::swarm_log(seed);
    plan.groups.limits.promotion_lag_max = pick(rng, [2, 16, 1_024]);
    plan.load.think_max = millis(pick(rng, [100, 300, 1_000]));
    plan.pd.members = pick(rng, [1, 1, 3]);
    plan.pd.beat_max = millis(pick(rng, [1_000, 3_000, 10_000]));
    plan.pd.faults = PdFaultPlan {
        families: some(rng, &[PdFamily::Crash, PdFamily::Blackout, PdFamily::Pause, PdFamily::Cut]),
        interval: millis(15_000),
        length_max: millis(3_000),
        ..plan.pd.faults
    };
    plan.faults = FaultPlan {
        families: some(rng, &[FaultFamily::Crash, FaultFamily::Cut, FaultFamily::Pause]),
        shapes: vec![Shape::Alone, Shape::Half],
        interval: millis(8_000),
        length_max: millis(2_500),
        ..plan.faults
    };
    plan
}

/// Three stores, a region that is cut into some twenty at once, clients that write to all of them, and a placement driver
/// that is obeyed.
fn calm(seed: u64) -> Plan {
    let mut plan = Plan::calm(seed);
    plan.load = LoadPlan {
        clients: 3,
        operations: u64::MAX,
        keys: 60,
        think_max: millis(300),
        patience: millis(1_000),
        ..plan.load
    };
    plan.splits = SplitPlan { interval: millis(250), count_max: 60 };
    plan.groups.limits.idle_beats = 2;
    let down = Wish::Setting("schedule.max-store-down-time", MAX_DOWN.to_owned());
    plan.topology.fates =
        Fates { are_orders_obeyed: true, wishes: vec![(millis(1), down)], ..Fates::default() };
    plan.pd = PdPlan {
        clients: 1,
        operations: 40,
        think_max: millis(1_000),
        beat_max: millis(3_000),
        ..PdPlan::calm()
    };
    plan.phases = Phases { safety: millis(90_000), ..plan.phases };
    plan
}

const fn millis(count: u64) -> Span {
    Span::from_millis(count)
}

fn pick(rng: &mut Rng, choices: [u64; 3]) -> u64 {
    choices[usize::try_from(rng.below(3)).unwrap_or(0)]
}

fn any(rng: &mut Rng, plan: &Plan) -> StoreId {
    StoreId(1 + rng.below(plan.topology.stores))
}

/// Nothing in half of the cases, else some of them.
fn some<F: Copy>(rng: &mut Rng, all: &[F]) -> Vec<F> {
    let is_calm = rng.chance(500);
    all.iter().copied().filter(|_| !is_calm && rng.chance(500)).collect()
}
