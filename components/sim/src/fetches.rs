//! Old log entries that are read for followers, beside the threads that run replicas: later, or not at all.

use flotilla_base::{Rng, Span};

/// How long reading takes.
#[derive(Clone, Debug)]
pub struct FetchPlan {
    /// What was read is there up to so much later.
    pub spread: Span,
    /// Orders that find no room, in thousandths.
    pub refused_permille: u64,
}

impl FetchPlan {
    /// Reading takes no time, and there is always room.
    #[must_use]
    pub const fn calm() -> Self {
        Self { spread: Span::ZERO, refused_permille: 0 }
    }

    /// The plan of a seed.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 16);
        let mut pick = |choices: [u64; 4]| choices[usize::try_from(rng.below(4)).unwrap_or(0)];
        Self {
            // Where nothing may stay in memory and a message takes one entry, each entry is read by itself.
            spread: Span::from_millis(pick([0, 5, 50, 300])),
            refused_permille: pick([0, 0, 50, 300]),
        }
    }
}

/// Draws about fetches.
#[derive(Debug)]
pub(crate) struct FetchChance {
    plan: FetchPlan,
    rng: Rng,
}

impl FetchChance {
    pub(crate) fn new(plan: FetchPlan, seed: u64) -> Self {
        Self { plan, rng: Rng::lane(seed, 17) }
    }

    /// How long the next one takes.
    pub(crate) fn delay(&mut self) -> Span {
        Span(self.rng.below(self.plan.spread.0 + 1))
    }

    /// Whether there is no room for it.
    pub(crate) fn is_refused(&mut self) -> bool {
        self.rng.chance(self.plan.refused_permille)
    }
}
