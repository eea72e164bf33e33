//! The plan of a seed. Each part has a stream of its own, so that a new draw in one shifts no other.

use flotilla_base::{Rng, Span};
use flotilla_multiraft::MemoryBudget;
use flotilla_raftgroup::GroupLimits;

use super::{
    ClockPlan, DiskPlan, Fates, FaultFamily, FaultPlan, GroupPlan, LoadPlan, Missing, NetPlan,
    Phases, Plan, Topology,
};
use crate::changes::ChangePlan;
use crate::fetches::FetchPlan;
use crate::partition::Shape;
use crate::pd::PdPlan;
use crate::reads::ReadPlan;
use crate::snapshots::SnapshotPlan;
use crate::splits::SplitPlan;

/// First of the streams of this file.
const FIRST_LANE: u64 = 20;

impl Plan {
    /// A plan with every parameter drawn, every family of faults on or off.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let lane = |number| Rng::lane(seed, FIRST_LANE + number);
        let changes = ChangePlan::swarm(seed);
        let topology = Topology { changes, ..swarm_topology(&mut lane(0)) };
        let phases = swarm_phases(&topology, &mut lane(1));
        Self {
            seed,
            topology,
            clocks: swarm_clocks(&mut lane(2)),
            net: swarm_net(&mut lane(3)),
            disk: DiskPlan {
                snapshots: SnapshotPlan::swarm(seed),
                fetches: FetchPlan::swarm(seed),
                ..swarm_disk(&mut lane(4))
            },
            load: swarm_load(&mut lane(5)),
            reads: ReadPlan::swarm(seed),
            splits: SplitPlan::swarm(seed),
            faults: swarm_faults(&mut lane(6)),
            pd: PdPlan::swarm(seed),
            phases,
            groups: GroupPlan {
                limits: swarm_limits(seed, &mut lane(7)),
                memory: swarm_memory(&mut lane(8)),
                ..GroupPlan::default()
            },
        }
    }
}

fn pick<const N: usize>(rng: &mut Rng, choices: [u64; N]) -> u64 {
    choices[to_usize(rng.below(N as u64))]
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn swarm_topology(rng: &mut Rng) -> Topology {
    let stores = pick(rng, [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 7]);
    let replicas = pick(rng, [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5, 5, 5, 7, 7]);
    Topology {
        stores,
        regions: pick(rng, [1, 1, 2, 2, 3, 4, 8, 16]),
        replicas: replicas.min(stores),
        learners: 0,
        bootstrap_spread: Span::from_millis(pick(rng, [0, 20, 1_500])),
        changes: ChangePlan::none(),
        fates: Fates::default(),
    }
}

fn swarm_phases(topology: &Topology, rng: &mut Rng) -> Phases {
    let missing = match rng.below(4) {
        _ if topology.replicas < 3 => Missing::Nobody,
        0 => Missing::Dead,
        1 => Missing::CutOff,
        _ => Missing::Nobody,
    };
    let longest = pick(rng, [10_000, 20_000, 30_000, 60_000]);
    Phases {
        safety: Span::from_millis(5_000 + rng.below(longest)),
        liveness: Span::from_millis(240_000),
        missing,
    }
}

fn swarm_clocks(rng: &mut Rng) -> ClockPlan {
    ClockPlan {
        drift_permille: pick(rng, [0, 2, 10, 100]),
        wall_error_max: Span::from_millis(pick(rng, [0, 500, 3_600_000])),
    }
}

fn swarm_net(rng: &mut Rng) -> NetPlan {
    NetPlan {
        delay_min: Span::from_micros(50 + rng.below(500)),
        delay_spread: Span::from_micros(pick(rng, [0, 300, 5_000, 40_000])),
        loss_permille: pick(rng, [0, 0, 10, 100, 300]),
        client_loss_permille: pick(rng, [0, 0, 50]),
        duplicate_permille: pick(rng, [0, 0, 20, 200]),
        straggler_permille: pick(rng, [0, 0, 20]),
        straggler_max: Span::from_millis(3_000),
    }
}

fn swarm_disk(rng: &mut Rng) -> DiskPlan {
    DiskPlan {
        sync_min: Span::from_micros(50 + rng.below(300)),
        sync_spread: Span::from_micros(pick(rng, [0, 1_000, 20_000, 200_000])),
        stall_permille: pick(rng, [0, 0, 10]),
        stall_max: Span::from_millis(pick(rng, [500, 2_000, 6_000])),
        turn_spread: Span::from_micros(pick(rng, [0, 20, 2_000])),
        apply_spread: Span::from_micros(pick(rng, [0, 100, 10_000, 300_000])),
        rounds_max: to_usize(pick(rng, [1, 4, 64, 64])),
        workers: to_usize(pick(rng, [1, 2])),
        step_spread: Span::from_micros(pick(rng, [0, 0, 10, 1_000])),
        snapshots: SnapshotPlan::calm(),
        fetches: FetchPlan::calm(),
    }
}

fn swarm_load(rng: &mut Rng) -> LoadPlan {
    LoadPlan {
        clients: 1 + rng.below(12),
        operations: 20 + rng.below(150),
        keys: pick(rng, [1, 3, 10, 40]),
        // Large values make logs worth shortening.
        value_bytes_max: pick(rng, [32, 32, 200_000]),
        read_permille: pick(rng, [100, 500, 800]),
        think_max: Span::from_millis(pick(rng, [1, 20, 200])),
        patience: Span::from_millis(pick(rng, [100, 300, 1_000, 3_000])),
    }
}

fn swarm_faults(rng: &mut Rng) -> FaultPlan {
    let permille = |family| match family {
        FaultFamily::Cut | FaultFamily::OneWayCut | FaultFamily::Crash => 500,
        FaultFamily::Pause => 300,
        FaultFamily::Clog | FaultFamily::Blackout | FaultFamily::ClientCut => 250,
        FaultFamily::Storm | FaultFamily::Hang | FaultFamily::SyncError => 200,
        FaultFamily::Full | FaultFamily::WallJump => 150,
    };
    let families = FaultFamily::ALL.into_iter().filter(|family| rng.chance(permille(*family)));
    let families = families.collect();
    let shapes: Vec<Shape> = Shape::ALL.into_iter().filter(|_| rng.chance(500)).collect();
    FaultPlan {
        families,
        shapes: if shapes.is_empty() { vec![Shape::Alone] } else { shapes },
        interval: Span::from_millis(pick(rng, [300, 1_000, 3_000, 10_000])),
        length_max: Span::from_millis(pick(rng, [300, 1_500, 5_000])),
        ..FaultPlan::default()
    }
}

/// Half of the runs have regions that sleep, most of them soon.
fn swarm_idle_beats(rng: &mut Rng) -> u32 {
    const NEVER: u64 = GroupLimits::NEVER_SLEEPS as u64;
    let beats = pick(rng, [NEVER, NEVER, NEVER, NEVER, 0, 1, 2, 20]);
    u32::try_from(beats).unwrap_or(GroupLimits::NEVER_SLEEPS)
}

/// At one byte, one entry after the other is applied.
fn swarm_memory(rng: &mut Rng) -> MemoryBudget {
    let usual = MemoryBudget::default();
    MemoryBudget {
        cached_bytes: pick_or(rng, [0, 1 << 10, 16 << 10], usual.cached_bytes),
        backlog_bytes: pick_or(rng, [1, 100, 1 << 10], usual.backlog_bytes),
    }
}

/// One of the choices in one of three cases.
fn pick_or(rng: &mut Rng, choices: [u64; 3], usual: usize) -> usize {
    let picked = to_usize(pick(rng, choices));
    if rng.chance(333) { picked } else { usual }
}

fn swarm_limits(seed: u64, rng: &mut Rng) -> GroupLimits {
    GroupLimits {
        message_bytes_max: pick(rng, [0, 1 << 10, 1 << 20]),
        inflight_messages_max: to_usize(pick(rng, [1, 4, 128])),
        uncommitted_bytes_max: pick(rng, [1 << 20, 64 << 20]),
        committed_bytes_max: pick(rng, [1, 1 << 10, 4 << 20]),
        outstanding_max: to_usize(pick(rng, [1, 3, 16])),
        cache_bytes_max: to_usize(pick(rng, [0, 1 << 10, 4 << 20])),
        log: SnapshotPlan::swarm_log(seed),
        promotion_lag_max: pick(rng, [0, 2, 16, 1024]),
        idle_beats: swarm_idle_beats(&mut Rng::lane(seed, FIRST_LANE + 60)),
    }
}
