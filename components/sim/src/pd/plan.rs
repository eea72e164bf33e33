//! What a run does with its placement driver. Drawn from lanes of its own, so that the rest of a seed stays
//! what it is.

use flotilla_base::{Rng, Span};

/// A kind of fault of the placement driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PdFamily {
    /// A member crashes, between any two effects, and restarts.
    Crash,
    /// All members crash at once.
    Blackout,
    /// A member stands still.
    Pause,
    /// Nothing that a member writes becomes durable for a while.
    Hang,
    /// A member cannot be reached by the others, or does not reach them.
    Cut,
    /// A wall clock is set, forwards or back; perhaps while its member is down.
    Clock,
}

/// Where the regions come from that a placement driver hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The placement driver bootstraps the cluster; stores wait for its plan.
    Plan,
    /// The world's own regions; the placement driver's plan is carried out by nobody.
    World,
    /// A history of splits, merges and moves that no store carries out: stores do not split yet.
    Paper,
}

/// The placement driver of a run.
#[derive(Clone, Debug)]
pub struct PdPlan {
    /// How many members; zero for no placement driver at all.
    pub members: u64,
    /// Where regions come from.
    pub origin: Origin,
    /// How many clients, each with one request at a time.
    pub clients: u64,
    /// How many operations each has to finish.
    pub operations: u64,
    /// Requests for timestamps that take as many as one may, in thousandths.
    pub greedy_permille: u64,
    /// Longest pause between two operations.
    pub think_max: Span,
    /// How long a client waits for an answer before it asks elsewhere.
    pub patience: Span,
    /// A thread stands still for up to this long between taking a timestamp and releasing it.
    pub pause_max: Span,
    /// Longest time between two heartbeats of a store.
    pub beat_max: Span,
    /// Monotonic clocks run up to this many thousandths too fast or too slow.
    pub drift_permille: u64,
    /// Applied entries that stay in the log.
    pub log_entries_kept: u64,
    /// What breaks.
    pub faults: PdFaultPlan,
}

/// Which faults occur at the placement driver while safety is judged.
#[derive(Clone, Debug)]
pub struct PdFaultPlan {
    /// The families of faults to draw from; none for a calm run.
    pub families: Vec<PdFamily>,
    /// Longest time between two faults.
    pub interval: Span,
    /// Longest duration of one.
    pub length_max: Span,
    /// A wall clock is set by up to this much, in both directions.
    pub jump_max: Span,
}

impl PdPlan {
    /// No placement driver: for scenarios of stores alone.
    #[must_use]
    pub fn absent() -> Self {
        Self { members: 0, ..Self::calm() }
    }

    /// One member that drives the cluster, and nothing breaks.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            members: 1,
            origin: Origin::Plan,
            clients: 2,
            operations: 100,
            greedy_permille: 0,
            think_max: Span::from_millis(20),
            patience: Span::from_millis(2_000),
            pause_max: Span::ZERO,
            beat_max: Span::from_millis(500),
            drift_permille: 0,
            log_entries_kept: 1024,
            faults: PdFaultPlan {
                families: Vec::new(),
                interval: Span::from_millis(1_000),
                length_max: Span::from_millis(1_000),
                jump_max: Span::ZERO,
            },
        }
    }

    /// The plan of a seed.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 20);
        let rng = &mut rng;
        let millis = Span::from_millis;
        Self {
            members: pick(rng, [1, 1, 3]),
            origin: [Origin::Plan, Origin::World, Origin::Paper][index(rng)],
            clients: 1 + rng.below(3),
            operations: 20 + rng.below(100),
            greedy_permille: pick(rng, [0, 50, 900]),
            think_max: millis(pick(rng, [1, 20, 200])),
            patience: millis(pick(rng, [300, 1_000, 3_000])),
            pause_max: millis(pick(rng, [0, 900, 2_500])),
            beat_max: millis(pick(rng, [300, 800, 2_000])),
            drift_permille: pick(rng, [0, 2, 10]),
            log_entries_kept: pick(rng, [2, 16, 1024]),
            faults: PdFaultPlan {
                families: swarm_families(rng),
                interval: millis(pick(rng, [600, 3_000, 8_000])),
                length_max: millis(pick(rng, [20, 1_500, 5_000])),
                jump_max: millis(pick(rng, [10, 2_000, 3_600_000])),
            },
        }
    }
}

fn swarm_families(rng: &mut Rng) -> Vec<PdFamily> {
    use PdFamily::{Blackout, Clock, Crash, Cut, Hang, Pause};
    let all = [(Crash, 600), (Blackout, 250), (Pause, 400), (Hang, 400), (Cut, 400), (Clock, 500)];
    all.into_iter().filter(|(_, permille)| rng.chance(*permille)).map(|(it, _)| it).collect()
}

fn pick(rng: &mut Rng, choices: [u64; 3]) -> u64 {
    choices[index(rng)]
}

fn index(rng: &mut Rng) -> usize {
    usize::try_from(rng.below(3)).unwrap_or(0)
}
