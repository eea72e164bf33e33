//! What breaks at the placement driver, and how it is mended.

use flotilla_base::{PeerId, Rng, Span, StoreId};

use super::plan::{PdFamily, PdPlan};

/// A fault that waits to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PdFault {
    /// A member is down.
    Down(PeerId),
    /// The disk of a member makes nothing durable.
    Hung(PeerId),
    /// Directions in which nothing passes, by the numbers of the members.
    Cut(Vec<(StoreId, StoreId)>),
}

/// What is to break now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PdOrder {
    /// Crash these members after so many further steps each; zero crashes at once.
    Crash(Vec<PeerId>, u64),
    /// Let this member stand still.
    Pause(PeerId),
    /// Let this member's disk stand still.
    Hang(PeerId),
    /// Cut these directions.
    Cut(Vec<(StoreId, StoreId)>),
    /// Set this member's wall clock by so many milliseconds, and crash it if so.
    Clock(PeerId, i64, bool),
}

/// Draws faults.
#[derive(Debug)]
pub struct PdNemesis {
    plan: PdPlan,
    rng: Rng,
}

impl PdNemesis {
    /// Draws as `plan` says.
    #[must_use]
    pub const fn new(plan: PdPlan, rng: Rng) -> Self {
        Self { plan, rng }
    }

    /// What breaks next, and for how long; `None` in a calm run.
    pub fn draw(&mut self) -> Option<(PdOrder, Span)> {
        let drawn = self.rng.below(self.plan.faults.families.len() as u64);
        let family = *self.plan.faults.families.get(usize::try_from(drawn).unwrap_or(0))?;
        let members = self.plan.members;
        let victim = PeerId(1 + self.rng.below(members));
        let order = match family {
            PdFamily::Crash => PdOrder::Crash(vec![victim], self.steps()),
            PdFamily::Blackout => PdOrder::Crash((1..=members).map(PeerId).collect(), 0),
            PdFamily::Pause => PdOrder::Pause(victim),
            PdFamily::Hang => PdOrder::Hang(victim),
            PdFamily::Cut => {
                let way = self.rng.below(3);
                let alone = StoreId(victim.get());
                let others = (1..=members).map(StoreId).filter(|other| *other != alone);
                let directions = others.flat_map(|other| [(alone, other), (other, alone)]);
                let is_cut = |index: usize| way == 2 || index % 2 == usize::from(way == 1);
                PdOrder::Cut(
                    directions
                        .enumerate()
                        .filter(|(at, _)| is_cut(*at))
                        .map(|(_, it)| it)
                        .collect(),
                )
            }
            PdFamily::Clock => {
                let most = self.plan.faults.jump_max.as_millis();
                let by = i64::try_from(self.rng.below(2 * most + 1)).unwrap_or(0);
                let by = by - i64::try_from(most).unwrap_or(0);
                PdOrder::Clock(victim, by, self.rng.chance(500))
            }
        };
        Some((order, self.length()))
    }

    /// How long something lasts.
    pub fn length(&mut self) -> Span {
        Span(self.rng.below(self.plan.faults.length_max.0 + 1))
    }

    /// Time to the next fault.
    pub fn interval(&mut self) -> Span {
        Span(1 + self.rng.below(self.plan.faults.interval.0 + 1))
    }

    fn steps(&mut self) -> u64 {
        if self.rng.chance(300) { 0 } else { 1 + self.rng.below(12) }
    }
}
