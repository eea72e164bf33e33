//! The network between stores, and between clients and stores: it loses, delays, reorders and doubles.

use std::collections::BTreeSet;

use flotilla_base::{Rng, Span, StoreId};

use crate::plan::NetPlan;

/// What happens to one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Arrives once for each span, that much later.
    Arrives(Vec<Span>),
    /// Never arrives. The sender may learn of it, as from a broken connection.
    Lost {
        /// Whether the sender learns of it.
        is_noticed: bool,
    },
}

/// Delays and cuts.
#[derive(Debug)]
pub struct SimNet {
    plan: NetPlan,
    rng: Rng,
    /// Directions in which nothing passes.
    cuts: BTreeSet<(StoreId, StoreId)>,
}

impl SimNet {
    /// A network that behaves as `plan` says.
    #[must_use]
    pub const fn new(plan: NetPlan, rng: Rng) -> Self {
        Self { plan, rng, cuts: BTreeSet::new() }
    }

    /// What happens to a message between two stores.
    pub fn carry(&mut self, from: StoreId, to: StoreId) -> Fate {
        if self.cuts.contains(&(from, to)) || self.rng.chance(self.plan.loss_permille) {
            return Fate::Lost { is_noticed: self.rng.chance(200) };
        }
        let mut arrivals = vec![self.delay()];
        if self.rng.chance(self.plan.duplicate_permille) {
            arrivals.push(self.delay() * (1 + self.rng.below(50)));
        }
        Fate::Arrives(arrivals)
    }

    /// What happens to a message between a client and a store; these are never doubled.
    pub fn carry_client(&mut self) -> Fate {
        if self.rng.chance(self.plan.client_loss_permille) {
            return Fate::Lost { is_noticed: false };
        }
        Fate::Arrives(vec![self.delay()])
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: StoreId, to: StoreId) {
        self.cuts.insert((from, to));
    }

    /// Opens one direction.
    pub fn open(&mut self, from: StoreId, to: StoreId) {
        self.cuts.remove(&(from, to));
    }

    /// Ends all faults: from now on every message arrives, and soon.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.plan.loss_permille = 0;
        self.plan.client_loss_permille = 0;
        self.plan.duplicate_permille = 0;
        self.plan.straggler_permille = 0;
    }

    fn delay(&mut self) -> Span {
        let delay = self.plan.delay_min + Span(self.rng.below(self.plan.delay_spread.0 + 1));
        if self.rng.chance(self.plan.straggler_permille) {
            return delay + Span(self.rng.below(self.plan.straggler_max.0 + 1));
        }
        delay
    }
}
