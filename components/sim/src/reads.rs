//! How clients read, and reads in place: a thread of its own beside the replicas, which may stand still
//! between any two of its steps.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_base::{Bug, Index, Key, PeerId, Region, RegionId, Rng, Seeded, Span, StoreId};
use flotilla_multiraft::{Delegate, LocalRead, RequestHeader};

use crate::event::Ticket;

/// Longer than a hand-over takes before it is aborted.
const LATENESS_MAX: Span = Span::from_millis(2_500);

/// How often a hand-over is late, in thousandths.
const LATE_PERMILLE: u64 = 300;

/// How reads are made, and how often leads are handed over meanwhile.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// Reads that are tried in place at the leader, in thousandths.
    pub in_place_permille: u64,
    /// Reads at any replica, in thousandths; the rest goes to the leader's inbox.
    pub replica_permille: u64,
    /// A read in place stands still for up to this long between two steps.
    pub pause_max: Span,
    /// Longest time between two hand-overs; zero for none.
    pub transfer_interval: Span,
    /// Successors that are told much later than they should be, in thousandths.
    pub late_permille: u64,
}

/// How a read is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadKind {
    /// The leader's replica confirms it.
    #[default]
    Led,
    /// In place at the leader, by its permit.
    InPlace,
    /// At any replica.
    Replica,
}

impl ReadPlan {
    /// Half of all reads in place, none at followers, and nobody stands still.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            in_place_permille: 500,
            replica_permille: 0,
            pause_max: Span::ZERO,
            transfer_interval: Span::ZERO,
            late_permille: LATE_PERMILLE,
        }
    }

    /// The plan of a seed.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 6);
        let mut pick = |choices: [u64; 3]| choices[rng_index(&mut rng)];
        Self {
            in_place_permille: pick([200, 500, 800]),
            replica_permille: pick([0, 100, 200]),
            pause_max: Span::from_millis(pick([0, 900, 2_500])),
            transfer_interval: Span::from_millis(pick([0, 400, 3_000])),
            late_permille: LATE_PERMILLE,
        }
    }
}

fn rng_index(rng: &mut Rng) -> usize {
    usize::try_from(rng.below(3)).unwrap_or(0)
}

/// Draws how reads are made.
#[derive(Debug)]
pub struct ReadChance {
    plan: ReadPlan,
    rng: Rng,
}

impl ReadChance {
    /// Draws as `plan` says.
    #[must_use]
    pub fn new(plan: ReadPlan, seed: u64) -> Self {
        Self { plan, rng: Rng::lane(seed, 7) }
    }

    /// How the next read is made.
    pub fn kind(&mut self) -> ReadKind {
        let ReadPlan { in_place_permille, replica_permille, .. } = self.plan;
        let drawn = self.rng.below(1000);
        if drawn < in_place_permille {
            ReadKind::InPlace
        } else if drawn < in_place_permille + replica_permille {
            ReadKind::Replica
        } else {
            ReadKind::Led
        }
    }

    /// One of the region's stores.
    pub fn replica(&mut self, region: &Region) -> StoreId {
        let drawn = self.rng.below(region.peers.len().max(1) as u64);
        let peer = region.peers.get(usize::try_from(drawn).unwrap_or(0));
        peer.map(|peer| peer.store).unwrap_or_default()
    }

    /// One of the regions.
    pub fn region<'a>(&mut self, regions: &'a [Region]) -> Option<&'a Region> {
        let drawn = self.rng.below(regions.len().max(1) as u64);
        regions.get(usize::try_from(drawn).unwrap_or(0))
    }

    /// How long a reading thread stands still before its next step.
    pub fn pause(&mut self) -> Span {
        // Most do not stand still at all, or no read would ever be served.
        let most = if self.rng.chance(700) { Span::ZERO } else { self.plan.pause_max };
        Span(self.rng.below(most.0 + 1))
    }

    /// How much later than other messages one that tells a successor arrives: a late one must be void.
    pub fn lateness(&mut self) -> Span {
        let is_late =
            self.plan.transfer_interval > Span::ZERO && self.rng.chance(self.plan.late_permille);
        let most = if is_late { LATENESS_MAX } else { Span::ZERO };
        Span(self.rng.below(most.0 + 1))
    }

    /// Time to the next hand-over; `None` where there is none.
    pub fn transfer_interval(&mut self) -> Option<Span> {
        let longest = self.plan.transfer_interval;
        (longest > Span::ZERO).then(|| Span(1 + self.rng.below(longest.0)))
    }
}

/// A read in place that has begun.
#[derive(Debug)]
pub struct Reading {
    /// Its right to be served by a peer, once it has passed the first steps.
    pub read: Option<(PeerId, LocalRead)>,
    /// The region.
    pub region: RegionId,
    /// The key.
    pub key: Key,
    /// What the request said, for the replica if this does not work out.
    pub header: RequestHeader,
    /// What was known of the key when it began.
    pub floor: Index,
    /// What its view shows, and how far that is, once it is taken.
    pub view: Option<(Option<Bytes>, Index)>,
}

/// What a store's reading threads see, and what they have in hand.
#[derive(Debug, Default)]
pub struct Readers {
    /// What each region's peer lets them read.
    pub delegates: BTreeMap<RegionId, (PeerId, Delegate)>,
    /// How far each region's data is.
    pub visible: BTreeMap<RegionId, Index>,
    /// Reads between two steps.
    pub readings: BTreeMap<Ticket, Reading>,
    /// What is wrong on purpose.
    pub seeded: Seeded,
}

impl Readers {
    /// The first steps of a read; `None` where the replica is to be asked.
    pub fn begin(
        &mut self,
        region: RegionId,
        header: &RequestHeader,
    ) -> Option<(PeerId, LocalRead)> {
        let (peer, delegate) = self.delegates.get(&region)?;
        let mut applied = self.visible.get(&region).copied().unwrap_or_default();
        if self.seeded.has(Bug::LEASE_READ_IGNORES_PUBLISHED_COMMIT) {
            applied = Index(u64::MAX);
        }
        Some((*peer, LocalRead::begin(delegate, header, applied).ok()?))
    }

    /// What the peer shows by which a read has begun; nothing where another one is in its place.
    #[must_use]
    pub fn shown_by(&self, region: RegionId, peer: PeerId) -> Delegate {
        let shown = self.delegates.get(&region).filter(|(current, _)| *current == peer);
        shown.map(|(_, delegate)| *delegate).unwrap_or_default()
    }

    /// The peer of a region is destroyed: what a later peer may serve is not for the reads that began at this one.
    pub fn forget(&mut self, region: RegionId) {
        self.visible.remove(&region);
        self.delegates.remove(&region);
        let begun = self.readings.values_mut().filter(|reading| reading.region == region);
        begun.for_each(|reading| reading.read = None);
    }

    /// The first steps of a read that has its view already.
    pub fn begin_again(&mut self, ticket: Ticket) {
        if let Some(mut reading) = self.readings.remove(&ticket) {
            reading.read = self.begin(reading.region, &reading.header);
            self.readings.insert(ticket, reading);
        }
    }
}
