//! What breaks, and how it is mended.

use flotilla_base::{Rng, Span, StoreId};

use crate::partition::{Shape, shuffle};
use crate::plan::{FaultFamily, FaultPlan};

/// Longest jump of a wall clock, in either direction.
const WALL_JUMP_MAX: Span = Span::from_millis(3_600_000);

/// A fault that waits to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Directions in which nothing passes.
    Cut(Vec<(StoreId, StoreId)>),
    /// A store that no client reaches.
    ClientCut(StoreId),
    /// A store is down.
    Down(StoreId),
    /// A disk on which no sync ends.
    Hang(StoreId),
    /// A disk without room.
    Full(StoreId),
}

/// What the world is to break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Cut these directions.
    Cut(Vec<(StoreId, StoreId)>),
    /// Hold back what this store sends and what is sent to it.
    Clog(StoreId),
    /// Cut a store off from all clients.
    ClientCut(StoreId),
    /// Crash a store after so many further steps; zero crashes at once.
    Crash(StoreId, u64),
    /// End a store for good.
    Lose(StoreId),
    /// Let this store stand still.
    Pause(StoreId),
    /// Let no sync of this store end.
    Hang(StoreId),
    /// Let the next sync of this store fail.
    FailSync(StoreId),
    /// Refuse what this store writes.
    Fill(StoreId),
    /// Move the wall clock of a store by so many milliseconds.
    JumpWall(StoreId, i64),
}

impl Order {
    /// The stores that it speaks of.
    #[must_use]
    pub fn stores(&self) -> Vec<StoreId> {
        match self {
            Self::Cut(directions) => directions.iter().flat_map(|(a, b)| [*a, *b]).collect(),
            Self::Clog(store)
            | Self::ClientCut(store)
            | Self::Crash(store, _)
            | Self::Lose(store)
            | Self::Pause(store)
            | Self::Hang(store)
            | Self::FailSync(store)
            | Self::Fill(store)
            | Self::JumpWall(store, _) => vec![*store],
        }
    }

    /// The kind of fault that gives such orders.
    #[must_use]
    pub const fn family(&self) -> FaultFamily {
        match self {
            Self::Cut(_) => FaultFamily::Cut,
            Self::Clog(_) => FaultFamily::Clog,
            Self::ClientCut(_) => FaultFamily::ClientCut,
            Self::Crash(..) | Self::Lose(_) => FaultFamily::Crash,
            Self::Pause(_) => FaultFamily::Pause,
            Self::Hang(_) => FaultFamily::Hang,
            Self::FailSync(_) => FaultFamily::SyncError,
            Self::Fill(_) => FaultFamily::Full,
            Self::JumpWall(..) => FaultFamily::WallJump,
        }
    }
}

/// One order of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// So much later than the fault begins.
    pub after: Span,
    /// What breaks.
    pub order: Order,
    /// How long it stays broken.
    pub length: Span,
}

/// Who is worth breaking.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Stores that lead, one for each region.
    pub leaders: Vec<StoreId>,
    /// The store that leads the region with the most requests.
    pub hottest: Option<StoreId>,
}

/// Draws faults. Each has its own stream: one that is left out shifts no other.
#[derive(Debug)]
pub struct Nemesis {
    plan: FaultPlan,
    stores: u64,
    seed: u64,
    /// How many were drawn.
    drawn: u64,
    lengths: Rng,
}

impl Nemesis {
    /// Draws faults for so many stores.
    #[must_use]
    pub fn new(plan: FaultPlan, stores: u64, mut rng: Rng) -> Self {
        let seed = rng.next();
        Self { plan, stores, seed, drawn: 0, lengths: Rng::lane(seed, 0) }
    }

    /// The number of the fault that is drawn next.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.drawn + 1
    }

    /// What breaks next, in the order of the strikes' times; nothing in a calm run, or where the plan leaves
    /// this one out. Leaders break more often than others.
    pub fn draw(&mut self, targets: &Targets) -> Vec<Strike> {
        self.drawn += 1;
        let number = self.drawn;
        let is_left_out = self.plan.only.as_ref().is_some_and(|only| !only.contains(&number));
        let count = self.plan.families.len() as u64;
        if is_left_out || count == 0 {
            return Vec::new();
        }
        let mut rng = Rng::lane(self.seed, number);
        let family = self.plan.families[to_usize(rng.below(count))];
        let draw = Draw { plan: &self.plan, stores: self.stores, targets, rng: &mut rng };
        draw.strikes(family)
    }

    /// How long a store stays down that crashed a while after it was told to.
    pub fn length(&mut self) -> Span {
        Span(self.lengths.below(self.plan.length_max.0 + 1))
    }

    /// Time to the next fault.
    #[must_use]
    pub fn interval(&self) -> Span {
        Span(Rng::lane(self.seed, u64::MAX - self.drawn).below(self.plan.interval.0 + 1))
    }
}

/// One fault that is being drawn.
struct Draw<'a> {
    plan: &'a FaultPlan,
    stores: u64,
    targets: &'a Targets,
    rng: &'a mut Rng,
}

impl Draw<'_> {
    fn strikes(mut self, family: FaultFamily) -> Vec<Strike> {
        let victim = self.victim();
        let length = self.length();
        let one = |order| vec![Strike { after: Span::ZERO, order, length }];
        match family {
            FaultFamily::Cut => {
                let both = self.pairs(victim).into_iter();
                one(Order::Cut(both.flat_map(|(a, b)| [(a, b), (b, a)]).collect()))
            }
            FaultFamily::OneWayCut => {
                let directions = self.directions(victim);
                one(Order::Cut(directions))
            }
            FaultFamily::Clog => self.swizzle(),
            FaultFamily::ClientCut => one(Order::ClientCut(victim)),
            FaultFamily::Crash => {
                let steps = if self.rng.chance(300) { 0 } else { 1 + self.rng.below(40) };
                one(Order::Crash(victim, steps))
            }
            FaultFamily::Blackout => self.everybody(|store| Order::Crash(store, 0)),
            FaultFamily::Storm => self.storm(victim),
            FaultFamily::Pause => one(Order::Pause(victim)),
            FaultFamily::Hang => one(Order::Hang(victim)),
            FaultFamily::SyncError => one(Order::FailSync(victim)),
            // Rarely all disks are full.
            FaultFamily::Full if self.rng.chance(100) => self.everybody(Order::Fill),
            FaultFamily::Full => one(Order::Fill(victim)),
            FaultFamily::WallJump => {
                let jump = i64::try_from(self.rng.below(WALL_JUMP_MAX.as_millis())).unwrap_or(0);
                one(Order::JumpWall(victim, if self.rng.chance(500) { jump } else { -jump }))
            }
        }
    }

    fn victim(&mut self) -> StoreId {
        let leaders = &self.targets.leaders;
        if !leaders.is_empty() && self.rng.chance(500) {
            return leaders[to_usize(self.rng.below(leaders.len() as u64))];
        }
        StoreId(1 + self.rng.below(self.stores))
    }

    fn length(&mut self) -> Span {
        Span(self.rng.below(self.plan.length_max.0 + 1))
    }

    fn pairs(&mut self, victim: StoreId) -> Vec<(StoreId, StoreId)> {
        let count = self.plan.shapes.len() as u64;
        let shape = self.plan.shapes.get(to_usize(self.rng.below(count)));
        let shape = shape.copied().unwrap_or(Shape::Alone);
        let center = match shape {
            Shape::Hottest => self.targets.hottest.unwrap_or(victim),
            _ => victim,
        };
        shape.pairs(self.stores, center, self.rng).into_iter().collect()
    }

    /// One direction of each pair: the victim is deaf, or mute, or each pair is drawn.
    fn directions(&mut self, victim: StoreId) -> Vec<(StoreId, StoreId)> {
        let mode = self.rng.below(3);
        let pairs = self.pairs(victim);
        let direct = |(one, other): (StoreId, StoreId), rng: &mut Rng| {
            let is_to_victim = match mode {
                0 => other == victim,
                1 => one == victim,
                _ => rng.chance(500),
            };
            if is_to_victim { (one, other) } else { (other, one) }
        };
        pairs.into_iter().map(|pair| direct(pair, self.rng)).collect()
    }

    fn everybody(&mut self, order: impl Fn(StoreId) -> Order) -> Vec<Strike> {
        let stores = (1..=self.stores).map(StoreId);
        let strike = |store| {
            let (order, length) = (order(store), self.length());
            Strike { after: Span::ZERO, order, length }
        };
        stores.map(strike).collect()
    }

    /// Some stores, clogged one after the other and freed in another order.
    fn swizzle(&mut self) -> Vec<Strike> {
        let mut stores: Vec<StoreId> = (1..=self.stores).map(StoreId).collect();
        shuffle(&mut stores, self.rng);
        stores.truncate(1 + to_usize(self.rng.below(self.stores)));
        let step = self.length();
        let mut ends: Vec<u64> = (1..=stores.len() as u64).collect();
        shuffle(&mut ends, self.rng);
        let count = stores.len() as u64;
        let strike = |(begin, (store, end)): (u64, (StoreId, u64))| Strike {
            after: Span(step.0 * begin / count),
            order: Order::Clog(store),
            length: Span(step.0 * (count - begin + end) / count),
        };
        (0..).zip(stores.into_iter().zip(ends)).map(strike).collect()
    }

    /// A store that comes up and goes down again, faster than a gate opens.
    fn storm(&mut self, victim: StoreId) -> Vec<Strike> {
        let mut after = Span::ZERO;
        let mut strikes = Vec::new();
        for _ in 0..3 + self.rng.below(8) {
            let length = Span::from_millis(self.rng.below(200));
            let steps = if self.rng.chance(500) { 0 } else { 1 + self.rng.below(10) };
            strikes.push(Strike { after, order: Order::Crash(victim, steps), length });
            after = after + length + Span::from_millis(self.rng.below(900));
        }
        strikes
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn nemesis(families: &[FaultFamily], only: Option<BTreeSet<u64>>) -> Nemesis {
        let plan = FaultPlan {
            families: families.to_vec(),
            shapes: Shape::ALL.to_vec(),
            interval: Span::from_millis(1_000),
            length_max: Span::from_millis(1_000),
            only,
            ..FaultPlan::default()
        };
        Nemesis::new(plan, 5, Rng::new(1))
    }

    #[test]
    fn every_family_strikes() {
        for family in FaultFamily::ALL {
            let mut nemesis = nemesis(&[family], None);
            for _ in 0..50 {
                let strikes = nemesis.draw(&Targets::default());
                assert!(!strikes.is_empty(), "{family:?}");
                assert!(strikes.is_sorted_by_key(|strike| strike.after), "{family:?}");
            }
        }
        assert_eq!(nemesis(&[], None).draw(&Targets::default()), []);
    }

    #[test]
    fn a_fault_that_is_left_out_shifts_no_other() {
        let mut all = nemesis(&FaultFamily::ALL, None);
        let mut some = nemesis(&FaultFamily::ALL, Some([3, 5].into()));
        for number in 1..=9 {
            let (expected, found) = (all.draw(&Targets::default()), some.draw(&Targets::default()));
            assert_eq!(all.interval(), some.interval());
            if number == 3 || number == 5 {
                assert_eq!(found, expected, "fault {number}");
            } else {
                assert_eq!(found, [], "fault {number}");
            }
        }
    }

    #[test]
    fn what_is_clogged_one_after_the_other_is_freed_in_another_order() {
        let mut nemesis = nemesis(&[FaultFamily::Clog], None);
        let mut orders: BTreeMap<bool, u32> = BTreeMap::new();
        for _ in 0..50 {
            let strikes = nemesis.draw(&Targets::default());
            let ends: Vec<Span> = strikes.iter().map(|it| it.after + it.length).collect();
            *orders.entry(ends.is_sorted()).or_default() += 1;
            let last = strikes.iter().map(|strike| strike.after).max();
            assert!(ends.iter().min() >= last.as_ref(), "all are clogged together for a moment");
        }
        assert!(orders[&false] > 10, "{orders:?}");
    }

    #[test]
    fn leaders_break_more_often() {
        let mut nemesis = nemesis(&[FaultFamily::Pause], None);
        let targets = Targets { leaders: vec![StoreId(4)], hottest: None };
        let is_leader = |strike: &Strike| strike.order == Order::Pause(StoreId(4));
        let drawn: Vec<Strike> = (0..1_000).flat_map(|_| nemesis.draw(&targets)).collect();
        let hits = drawn.iter().filter(|strike| is_leader(strike)).count();
        assert!((500..700).contains(&hits), "{hits} of 1000");
    }
}
