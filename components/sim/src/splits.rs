//! How regions are split: at drawn keys, at drawn moments, and with something breaking right behind it.

use flotilla_base::{Key, PeerId, Region, RegionId, Rng, Span, StoreId, Version};
use flotilla_multiraft::{NewRegion, SplitCommand};

use crate::client::key_name;
use crate::event::Ticket;

/// Tickets of splits are numbered from here, those of clients from 0.
const FIRST_TICKET: u64 = 1 << 40;

/// Regions that splits make are numbered from here: a placement driver on paper gives smaller ids.
const FIRST_REGION: u64 = 1_000_000;

/// How often regions are split.
#[derive(Clone, Debug)]
pub struct SplitPlan {
    /// Longest time between two splits; zero for none.
    pub interval: Span,
    /// So many are asked for at most, those included that are refused.
    pub count_max: u64,
}

impl SplitPlan {
    /// No splits.
    #[must_use]
    pub const fn none() -> Self {
        Self { interval: Span::ZERO, count_max: 0 }
    }

    /// The plan of a seed: two of three runs have splits.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 10);
        let interval = [0, 300, 2_000][usize::try_from(rng.below(3)).unwrap_or(0)];
        Self { interval: Span::from_millis(interval), count_max: 1 + rng.below(12) }
    }
}

/// What else happens to a region's stores right behind a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// Nothing.
    Calm,
    /// One of them crashes after so many steps.
    Crash(u64),
    /// One of them is cut off from the others.
    Cut,
    /// The lead is handed over.
    HandOver,
}

/// Whether a ticket is that of a split.
#[must_use]
pub const fn is_split(ticket: Ticket) -> bool {
    ticket.0 >= FIRST_TICKET
}

/// Draws splits.
#[derive(Debug)]
pub struct SplitChance {
    plan: SplitPlan,
    rng: Rng,
    asked: u64,
    regions: u64,
    keys: u64,
}

impl SplitChance {
    /// Draws as `plan` says, for clients with so many keys.
    #[must_use]
    pub fn new(plan: SplitPlan, keys: u64, seed: u64) -> Self {
        Self { plan, rng: Rng::lane(seed, 11), asked: 0, regions: 0, keys }
    }

    /// Time to the next split; `None` where there is none.
    pub fn interval(&mut self) -> Option<Span> {
        let is_over = self.plan.interval == Span::ZERO || self.asked >= self.plan.count_max;
        (!is_over).then(|| Span(1 + self.rng.below(self.plan.interval.0)))
    }

    /// The next split's ticket.
    pub const fn ticket(&mut self) -> Ticket {
        self.asked += 1;
        Ticket(FIRST_TICKET + self.asked)
    }

    /// One of the regions: mostly not the guard region, which comes last.
    pub fn region<'a>(&mut self, regions: &'a [Region]) -> Option<&'a Region> {
        let guard = u64::from(self.rng.chance(20));
        let drawn = self.rng.below((regions.len() as u64 + guard).saturating_sub(1).max(1));
        regions.get(usize::try_from(drawn).unwrap_or(0))
    }

    /// How the region is to be split: mostly in a way that makes sense.
    pub fn command(&mut self, region: &Region) -> SplitCommand {
        let mut epoch = region.epoch;
        if self.rng.chance(50) {
            let version = epoch.version.get();
            epoch.version = Version(if self.rng.chance(500) { version - 1 } else { version + 1 });
        }
        let count = if self.rng.chance(250) { 2 } else { 1 };
        let mut ends: Vec<Key> = (0..8).map(|_| self.key()).collect();
        if self.rng.chance(900) {
            ends.retain(|end| region.range.contains(end) && *end != region.range.start);
            ends.sort();
            ends.dedup();
        }
        ends.truncate(count);
        let children = ends.into_iter().map(|end| self.child(end, region)).collect();
        SplitCommand { epoch, children }
    }

    /// What happens behind it.
    pub fn aftermath(&mut self) -> Aftermath {
        match self.rng.below(8) {
            0 | 1 => Aftermath::Crash(self.rng.below(60)),
            2 => Aftermath::Cut,
            3 => Aftermath::HandOver,
            _ => Aftermath::Calm,
        }
    }

    /// A short while.
    pub fn moment(&mut self) -> Span {
        Span(self.rng.below(Span::from_millis(20).0))
    }

    /// One of so many.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count.max(1) as u64)).unwrap_or(0)
    }

    /// A key of clients, or one between two of them.
    fn key(&mut self) -> Key {
        let key = key_name(self.rng.below(self.keys + 1));
        if self.rng.chance(500) {
            return key;
        }
        [&key[..], b"+"].concat().into()
    }

    fn child(&mut self, end: Key, region: &Region) -> NewRegion {
        self.regions += 1;
        let id = RegionId(FIRST_REGION + self.regions);
        let peer = |store: StoreId| PeerId(id.get() * 100 + store.get());
        let peers = region.peers.iter().map(|member| peer(member.store)).collect();
        NewRegion { end, region: id, peers }
    }
}
