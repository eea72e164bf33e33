//! What breaks, and how it is mended.

use flotilla_base::{Rng, Span, StoreId};

use crate::plan::{FaultFamily, FaultPlan};

/// A fault that waits to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Directions in which nothing passes.
    Cut(Vec<(StoreId, StoreId)>),
    /// A store is down.
    Down(StoreId),
}

/// What the world is to break now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Cut these directions.
    Cut(Vec<(StoreId, StoreId)>),
    /// Crash these stores after so many further steps each; zero crashes at once.
    Crash(Vec<StoreId>, u64),
    /// Let this store stand still.
    Pause(StoreId),
}

/// Draws faults.
#[derive(Debug)]
pub struct Nemesis {
    plan: FaultPlan,
    stores: u64,
    rng: Rng,
}

impl Nemesis {
    /// Draws faults for so many stores.
    #[must_use]
    pub const fn new(plan: FaultPlan, stores: u64, rng: Rng) -> Self {
        Self { plan, stores, rng }
    }

    /// What breaks next, and for how long; `None` in a calm run. Leaders break more often than others.
    pub fn draw(&mut self, leaders: &[StoreId]) -> Option<(Order, Span)> {
        let count = self.plan.families.len() as u64;
        let family = *self.plan.families.get(to_usize(self.rng.below(count)))?;
        let victim = self.victim(leaders);
        let others = (1..=self.stores).map(StoreId).filter(|store| *store != victim);
        let order = match family {
            FaultFamily::Cut => {
                let alone = self.rng.chance(600);
                let both = others.filter(|_| alone || self.rng.chance(500));
                Order::Cut(both.flat_map(|other| [(victim, other), (other, victim)]).collect())
            }
            FaultFamily::OneWayCut => {
                let is_deaf = self.rng.chance(500);
                let alone = self.rng.chance(600);
                let some = others.filter(|_| alone || self.rng.chance(500));
                let direct = |other| if is_deaf { (other, victim) } else { (victim, other) };
                Order::Cut(some.map(direct).collect())
            }
            FaultFamily::Crash => {
                let steps = if self.rng.chance(300) { 0 } else { 1 + self.rng.below(40) };
                Order::Crash(vec![victim], steps)
            }
            FaultFamily::Blackout => Order::Crash((1..=self.stores).map(StoreId).collect(), 0),
            FaultFamily::Pause => Order::Pause(victim),
        };
        Some((order, self.length()))
    }

    /// How long something lasts.
    pub fn length(&mut self) -> Span {
        Span(self.rng.below(self.plan.length_max.0 + 1))
    }

    /// Time to the next fault.
    pub fn interval(&mut self) -> Span {
        Span(self.rng.below(self.plan.interval.0 + 1))
    }

    fn victim(&mut self, leaders: &[StoreId]) -> StoreId {
        if !leaders.is_empty() && self.rng.chance(500) {
            return leaders[to_usize(self.rng.below(leaders.len() as u64))];
        }
        StoreId(1 + self.rng.below(self.stores))
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}
