//! What a run consists of. Everything is drawn from the seed, each family of faults on or off: a run
//! with all faults at once hides what a run with two would show.

use flotilla_base::{Rng, Span};
use flotilla_raftgroup::{GroupLimits, Timing};

use crate::pd::PdPlan;
use crate::reads::ReadPlan;

/// The shape of the cluster.
#[derive(Clone, Debug)]
pub struct Topology {
    /// How many stores.
    pub stores: u64,
    /// How many regions hold keys; one more, the guard region, stays empty.
    pub regions: u64,
    /// Voters of each region.
    pub replicas: u64,
    /// The bootstrap reaches each store up to this much later, so that messages arrive before it.
    pub bootstrap_spread: Span,
    /// Clocks run up to this many thousandths too fast or too slow.
    pub drift_permille: u64,
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
    /// Links are cut in both directions.
    Cut,
    /// Links are cut in one direction.
    OneWayCut,
    /// A store crashes, between any two effects, and restarts.
    Crash,
    /// All stores crash at once.
    Blackout,
    /// A store stands still.
    Pause,
}

/// Which faults occur while safety is judged.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// The families to draw from; none for a calm run.
    pub families: Vec<FaultFamily>,
    /// Longest time between two faults.
    pub interval: Span,
    /// Longest duration of one.
    pub length_max: Span,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where every draw comes from.
    pub seed: u64,
    /// The cluster.
    pub topology: Topology,
    /// The network.
    pub net: NetPlan,
    /// Disks and threads.
    pub disk: DiskPlan,
    /// Clients.
    pub load: LoadPlan,
    /// How clients read, and how often leads are handed over.
    pub reads: ReadPlan,
    /// Faults.
    pub faults: FaultPlan,
    /// The placement driver.
    pub pd: PdPlan,
    /// How long faults last; then everything heals.
    pub safety: Span,
    /// How long clients may take after that.
    pub liveness: Span,
    /// Bounds of the groups.
    pub limits: GroupLimits,
    /// Times of the groups.
    pub timing: Timing,
}

impl Plan {
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
                bootstrap_spread: Span::ZERO,
                drift_permille: 0,
            },
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
            faults: FaultPlan::default(),
            pd: PdPlan::absent(),
            safety: millis(10_000),
            liveness: millis(240_000),
            limits: GroupLimits::default(),
            timing: Timing::default(),
        }
    }

    /// The plan of a seed: every parameter drawn, every family of faults on or off.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 1);
        let millis = Span::from_millis;
        let stores = if rng.chance(250) { 5 } else { 3 };
        let topology = Topology {
            stores,
            regions: 1 + rng.below(4),
            replicas: if rng.chance(300) { stores } else { 3 },
            bootstrap_spread: millis(pick(&mut rng, [0, 20, 1_500])),
            drift_permille: pick(&mut rng, [0, 2, 10]),
        };
        Self {
            topology,
            net: swarm_net(&mut rng),
            disk: swarm_disk(&mut rng),
            load: swarm_load(&mut rng),
            reads: ReadPlan::swarm(seed),
            faults: swarm_faults(&mut rng),
            pd: PdPlan::swarm(seed),
            safety: millis(5_000 + rng.below(25_000)),
            limits: swarm_limits(&mut rng),
            ..Self::calm(seed)
        }
    }
}

fn pick<const N: usize>(rng: &mut Rng, choices: [u64; N]) -> u64 {
    choices[usize::try_from(rng.below(N as u64)).unwrap_or(0)]
}

fn swarm_net(rng: &mut Rng) -> NetPlan {
    NetPlan {
        delay_min: Span::from_micros(50 + rng.below(500)),
        delay_spread: Span::from_micros(pick(rng, [0, 300, 5_000, 40_000])),
        loss_permille: pick(rng, [0, 0, 10, 100, 250]),
        client_loss_permille: pick(rng, [0, 0, 50]),
        duplicate_permille: pick(rng, [0, 0, 20, 150]),
        straggler_permille: pick(rng, [0, 0, 20]),
        straggler_max: Span::from_millis(3_000),
    }
}

fn swarm_disk(rng: &mut Rng) -> DiskPlan {
    DiskPlan {
        sync_min: Span::from_micros(50 + rng.below(300)),
        sync_spread: Span::from_micros(pick(rng, [0, 1_000, 20_000, 200_000])),
        stall_permille: pick(rng, [0, 0, 10]),
        stall_max: Span::from_millis(2_000),
        turn_spread: Span::from_micros(pick(rng, [0, 20, 2_000])),
        apply_spread: Span::from_micros(pick(rng, [0, 100, 10_000, 300_000])),
    }
}

fn swarm_load(rng: &mut Rng) -> LoadPlan {
    LoadPlan {
        clients: 1 + rng.below(8),
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
    use FaultFamily::{Blackout, Crash, Cut, OneWayCut, Pause};
    let mut families = Vec::new();
    for (family, permille) in
        [(Cut, 500), (OneWayCut, 500), (Crash, 500), (Blackout, 250), (Pause, 300)]
    {
        if rng.chance(permille) {
            families.push(family);
        }
    }
    FaultPlan {
        families,
        interval: Span::from_millis(pick(rng, [200, 1_000, 3_000])),
        length_max: Span::from_millis(pick(rng, [300, 1_500, 5_000])),
    }
}

fn swarm_limits(rng: &mut Rng) -> GroupLimits {
    GroupLimits {
        message_bytes_max: pick(rng, [0, 1 << 10, 1 << 20]),
        inflight_messages_max: usize::try_from(pick(rng, [1, 4, 128])).unwrap_or(4),
        uncommitted_bytes_max: pick(rng, [1 << 20, 64 << 20]),
        committed_bytes_max: pick(rng, [1, 1 << 10, 4 << 20]),
        outstanding_max: usize::try_from(pick(rng, [1, 3, 16])).unwrap_or(3),
        cache_bytes_max: usize::try_from(pick(rng, [0, 1 << 10, 4 << 20])).unwrap_or(0),
    }
}
