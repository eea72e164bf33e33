//! The network between stores, and between clients and stores: it loses, delays, reorders, doubles and
//! holds back.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, Rng, Span, StoreId};

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

/// Delays, cuts and clogs.
#[derive(Debug)]
pub struct SimNet {
    plan: NetPlan,
    rng: Rng,
    /// Directions in which nothing passes, each with the number of cuts: a cut that ends ends no other.
    cuts: BTreeMap<(StoreId, StoreId), u64>,
    /// Stores that no client reaches.
    client_cuts: BTreeSet<StoreId>,
    /// Until when everything from and to a store is held back.
    clogs: BTreeMap<StoreId, Moment>,
}

impl SimNet {
    /// A network that behaves as `plan` says.
    #[must_use]
    pub const fn new(plan: NetPlan, rng: Rng) -> Self {
        Self {
            plan,
            rng,
            cuts: BTreeMap::new(),
            client_cuts: BTreeSet::new(),
            clogs: BTreeMap::new(),
        }
    }

    /// What happens to a message between two stores that leaves at `now`.
    pub fn carry(&mut self, from: StoreId, to: StoreId, now: Moment) -> Fate {
        if self.cuts.contains_key(&(from, to)) || self.rng.chance(self.plan.loss_permille) {
            return Fate::Lost { is_noticed: self.rng.chance(200) };
        }
        let held = self.held(from, to, now);
        let mut arrivals = vec![held + self.delay()];
        if self.rng.chance(self.plan.duplicate_permille) {
            arrivals.push(held + self.delay() * (1 + self.rng.below(50)));
        }
        Fate::Arrives(arrivals)
    }

    /// What happens to a message between a client and a store; these are never doubled.
    pub fn carry_client(&mut self, store: StoreId) -> Fate {
        let is_lost = self.rng.chance(self.plan.client_loss_permille);
        if is_lost || self.client_cuts.contains(&store) {
            return Fate::Lost { is_noticed: false };
        }
        Fate::Arrives(vec![self.delay()])
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: StoreId, to: StoreId) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    /// Ends one cut of a direction; it is open once all of them have ended.
    pub fn open(&mut self, from: StoreId, to: StoreId) {
        if let Some(cuts) = self.cuts.get_mut(&(from, to)) {
            *cuts -= 1;
        }
        self.cuts.retain(|_, cuts| *cuts > 0);
    }

    /// Cuts a store off from all clients, or lets them reach it again.
    pub fn cut_clients(&mut self, store: StoreId, is_cut: bool) {
        if is_cut {
            self.client_cuts.insert(store);
        } else {
            self.client_cuts.remove(&store);
        }
    }

    /// Holds back everything from and to a store until that moment.
    pub fn clog(&mut self, store: StoreId, until: Moment) {
        let known = self.clogs.entry(store).or_default();
        *known = until.max(*known);
    }

    /// Whether what leaves now is held back.
    #[must_use]
    pub fn is_clogged(&self, from: StoreId, to: StoreId, now: Moment) -> bool {
        self.held(from, to, now) > Span::ZERO
    }

    /// Ends all faults: from now on every message arrives, and soon.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.client_cuts.clear();
        self.clogs.clear();
        self.plan.loss_permille = 0;
        self.plan.client_loss_permille = 0;
        self.plan.duplicate_permille = 0;
        self.plan.straggler_permille = 0;
    }

    fn held(&self, from: StoreId, to: StoreId, now: Moment) -> Span {
        let until = |store| self.clogs.get(&store).copied().unwrap_or_default();
        until(from).max(until(to)).since(now)
    }

    fn delay(&mut self) -> Span {
        let delay = self.plan.delay_min + Span(self.rng.below(self.plan.delay_spread.0 + 1));
        if self.rng.chance(self.plan.straggler_permille) {
            return delay + Span(self.rng.below(self.plan.straggler_max.0 + 1));
        }
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    const ONE: StoreId = StoreId(1);
    const OTHER: StoreId = StoreId(2);
    const NOW: Moment = Moment(1_000);

    fn calm() -> SimNet {
        SimNet::new(Plan::calm(1).net, Rng::new(1))
    }

    fn arrives(fate: &Fate) -> bool {
        matches!(fate, Fate::Arrives(_))
    }

    #[test]
    fn a_cut_is_for_one_direction_until_it_is_opened() {
        let mut net = calm();
        net.cut(ONE, OTHER);
        assert!(!arrives(&net.carry(ONE, OTHER, NOW)) && arrives(&net.carry(OTHER, ONE, NOW)));
        net.open(ONE, OTHER);
        assert!(arrives(&net.carry(ONE, OTHER, NOW)));
        net.open(ONE, OTHER);
        net.cut(ONE, OTHER);
        net.cut(ONE, OTHER);
        net.open(ONE, OTHER);
        assert!(!arrives(&net.carry(ONE, OTHER, NOW)), "the other cut goes on");
    }

    #[test]
    fn a_store_that_clients_do_not_reach_is_reached_by_others() {
        let mut net = calm();
        net.cut_clients(ONE, true);
        assert!(!arrives(&net.carry_client(ONE)) && arrives(&net.carry_client(OTHER)));
        assert!(arrives(&net.carry(ONE, OTHER, NOW)) && arrives(&net.carry(OTHER, ONE, NOW)));
        net.cut_clients(ONE, false);
        assert!(arrives(&net.carry_client(ONE)));
    }

    #[test]
    fn a_clogged_link_holds_back_and_loses_nothing() {
        let mut net = calm();
        let until = NOW + Span::from_millis(7);
        net.clog(ONE, until);
        net.clog(ONE, NOW);
        for (from, to) in [(ONE, OTHER), (OTHER, ONE)] {
            let delay = Span::from_millis(7) + Plan::calm(1).net.delay_min;
            assert_eq!(net.carry(from, to, NOW), Fate::Arrives(vec![delay]));
        }
        let delay = Plan::calm(1).net.delay_min;
        assert_eq!(net.carry(ONE, OTHER, until), Fate::Arrives(vec![delay]));
    }

    #[test]
    fn loss_and_doubles_come_as_often_as_planned_and_end_with_the_faults() {
        let plan = NetPlan { loss_permille: 300, duplicate_permille: 200, ..Plan::calm(1).net };
        let mut net = SimNet::new(plan, Rng::new(1));
        let mut counts = [0_u32; 3];
        for _ in 0..10_000 {
            match net.carry(ONE, OTHER, NOW) {
                Fate::Lost { .. } => counts[0] += 1,
                Fate::Arrives(delays) => counts[delays.len()] += 1,
            }
        }
        assert!((2_800..3_200).contains(&counts[0]), "{counts:?}");
        assert!((1_200..1_600).contains(&counts[2]), "{counts:?}");
        net.heal();
        for _ in 0..1_000 {
            assert!(
                matches!(net.carry(ONE, OTHER, NOW), Fate::Arrives(delays) if delays.len() == 1)
            );
        }
    }
}
