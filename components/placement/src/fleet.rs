//! The stores when a decision is taken: what each carries and is about to carry, and what keeps it from taking more.
//!
//! What is under way counts exactly once. A peer that is to come counts for its store from the moment that its operator
//! begins until the region's leader reports it, since from then on the view counts it; one that is to go counts as gone
//! until it is. Nothing is guessed from time that has passed.
//!
//! Nothing is refused without saying so: [`Obstacle`] tells what stands in the way, with the numbers.

use std::{collections::BTreeMap, fmt};

use flotilla_base::{Bug, Peer, RegionId, Seeded, StoreId};

use crate::{
    meta::{StoreRecord, StoreState},
    operator::{
        Change, Operator, OperatorController, OperatorRefusal, Plan, Sight, Step, change::refuses,
    },
    policy::{SchedulerName, StorePolicy},
    rule::Labels,
    schedule::Score,
    view::{RegionInfo, StoreHealth, StoreStats},
};

/// What a replica weighs beside its data: its log, its heartbeats, its memory. It makes many small regions count by their
/// number, and large ones by their size.
pub const REPLICA_OVERHEAD_BYTES: u64 = 8 << 20;
/// What has to be free on any disk.
const ROOM_BYTES: u64 = 8 << 30;

/// What keeps a store from taking a leader or a peer at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is not up, or leaves.
    NotUp(&'static str),
    /// It asks to be left in peace.
    Busy,
    /// Its disk is too full.
    LowSpace {
        /// What is free on it.
        available_bytes: u64,
        /// Its size.
        capacity_bytes: u64,
    },
    /// So many copies are on their way to it.
    Copies(u32),
    /// So many peers have come to it within a minute.
    Rate(u32),
    /// It leads nothing: a scheduler, or work on it, keeps leads away.
    LeadsEvicted,
    /// Its weight is 0.
    NoWeight,
    /// More load would make it hot.
    Hot {
        /// What it has.
        heat: u64,
        /// What would come to it.
        more: u64,
        /// More than that is hot.
        limit: u64,
    },
}

impl Obstacle {
    /// Whether it is likely to be over in a moment, so that waiting is better than another store.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::Copies(_) | Self::Rate(_))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        match self {
            Self::NotUp(state) => write!(f, "it is {state}"),
            Self::Busy => f.write_str("it is busy"),
            Self::LowSpace { available_bytes, capacity_bytes } => {
                let (available, capacity) = (available_bytes / MIB, capacity_bytes / MIB);
                write!(f, "only {available} MiB of its {capacity} MiB are free")
            }
            Self::Copies(copies) => write!(f, "{copies} copies are on their way to it"),
            Self::Rate(peers) => write!(f, "{peers} peers have come to it within a minute"),
            Self::LeadsEvicted => f.write_str("it is kept free of leads"),
            Self::NoWeight => f.write_str("its weight is 0"),
            Self::Hot { heat, more, limit } => {
                write!(
                    f,
                    "its heat is {heat}, {more} would come to it, and more than {limit} is hot"
                )
            }
        }
    }
}

/// A store when a decision is taken.
#[derive(Clone, Debug)]
pub struct Seat<'a> {
    /// As it registered.
    pub record: &'a StoreRecord,
    /// How it is to be treated.
    pub policy: &'a StorePolicy,
    /// How it is.
    pub health: StoreHealth,
    /// What it last said of itself.
    pub stats: StoreStats,
    /// Leads, with those under way.
    pub leaders: u64,
    /// Replicas, with those under way.
    pub replicas: u64,
    /// Data of these, in bytes.
    pub bytes: u64,
    /// What its leads and replicas cost it, with those under way; see
    /// [`leader_heat`](crate::view::Rates::leader_heat).
    pub heat: u64,
    /// Copies on their way to it.
    pub copies: u32,
    /// Peers that have begun to come to it within the last minute.
    pub arrivals: u32,
    /// Whether leads are kept away.
    pub is_evicted: bool,
    /// Whether leads are to come to it, and stay.
    pub is_granted: bool,
}

impl Seat<'_> {
    /// Its label of this key: as set by hand, else as it registered; empty where it has none.
    #[must_use]
    pub fn label(&self, key: &str) -> &str {
        self.labels().get(key)
    }

    /// All its labels.
    #[must_use]
    pub fn labels(&self) -> Labels<'_> {
        self.policy.labels_of(self.record)
    }

    /// What it carries in data and in replicas, in bytes.
    #[must_use]
    pub const fn weight_bytes(&self) -> u64 {
        self.bytes.saturating_add(self.replicas.saturating_mul(REPLICA_OVERHEAD_BYTES))
    }
}

/// All stores that are not tombstones.
#[derive(Debug)]
pub struct Fleet<'a> {
    /// What is known.
    pub sight: Sight<'a>,
    seats: BTreeMap<StoreId, Seat<'a>>,
    /// Where load is spread at all, and somebody is there to take it. Moves do not change it.
    scale: Option<HeatScale>,
    /// What is wrong on purpose.
    pub(crate) seeded: Seeded,
}

/// What is much load for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeatScale {
    /// What a store has in the mean.
    pub mean: u64,
    /// A store that has more is hot.
    pub limit: u64,
}

/// A store is hot from so many hundredths of the mean on.
const HOT_PERCENT: u64 = 120;
/// A store with less is never hot: it can do a multiple of that.
const HOT_MIN: u64 = 1_000;

impl<'a> Fleet<'a> {
    /// The stores as they are, with what `operators` are about to make of them.
    #[must_use]
    pub fn of(sight: Sight<'a>, operators: &OperatorController) -> Self {
        let is_there = |record: &&StoreRecord| record.state != StoreState::Tombstone;
        let records = sight.stores.values().filter(is_there);
        let seats = records.map(|record| (record.id, seat(&sight, record))).collect();
        let seeded = operators.seeded();
        let mut fleet = Self { sight, seats, scale: None, seeded };
        for running in operators.iter() {
            if !seeded.has(Bug::BALANCE_IGNORES_IN_FLIGHT) {
                fleet.count(running);
            }
            if seeded.has(Bug::BALANCE_COUNTS_IN_FLIGHT_TWICE) {
                fleet.count(running);
            }
        }
        for seat in fleet.seats.values_mut() {
            seat.arrivals = operators.arrivals(sight.now, seat.record.id);
        }
        fleet.scale = fleet.measure_heat();
        fleet
    }

    fn measure_heat(&self) -> Option<HeatScale> {
        let is_spread = self.sight.policy.schedulers.contains_key(&SchedulerName::BalanceHotRegion);
        let heats = self.seats.values().filter(|seat| check_up(seat).is_ok());
        let (sum, count) = heats
            .fold((0_u128, 0_u128), |(sum, count), seat| (sum + u128::from(seat.heat), count + 1));
        let mean = u64::try_from(sum.checked_div(count)?).unwrap_or(u64::MAX);
        let limit = (mean / 100).saturating_mul(HOT_PERCENT) + mean % 100 * HOT_PERCENT / 100;
        is_spread.then_some(HeatScale { mean, limit: limit.max(HOT_MIN) })
    }

    /// What is much load for a store; `None` where load is not looked at.
    #[must_use]
    pub const fn heat_scale(&self) -> Option<HeatScale> {
        self.scale
    }

    /// The stores, by id.
    pub fn seats(&self) -> impl Iterator<Item = &Seat<'a>> {
        self.seats.values()
    }

    /// One store.
    #[must_use]
    pub fn seat(&self, store: StoreId) -> Option<&Seat<'a>> {
        self.seats.get(&store)
    }

    /// Notes that leads are kept away from a store.
    pub fn evict(&mut self, store: StoreId) {
        if let Some(seat) = self.seats.get_mut(&store) {
            seat.is_evicted = true;
        }
    }

    /// Notes that leads are to come to a store, and stay.
    pub fn grant(&mut self, store: StoreId) {
        if let Some(seat) = self.seats.get_mut(&store) {
            seat.is_granted = true;
        }
    }

    /// What a region has to go through to become so; see [`Sight::plan`]. Where its lead has to go somewhere, it goes to a
    /// store that takes leads, if there is one.
    ///
    /// # Errors
    /// [`OperatorRefusal`]
    pub fn plan(&self, region: RegionId, change: &Change) -> Result<Plan, OperatorRefusal> {
        Plan::of(&self.sight, Some(self), region, change)
    }

    /// What a store leads for its share, with one more.
    pub(crate) fn leads_with_one_more(&self, store: StoreId) -> Score {
        let of = |seat: &Seat<'_>| Score::of(seat.leaders + 1, seat.policy.leader_weight_permille);
        self.seats.get(&store).map_or(Score::of(1, 0), of)
    }

    /// Counts what an operator that goes on has still to do.
    fn count(&mut self, running: &Operator) {
        let Some(info) = self.sight.view.region(running.plan.region) else { return };
        self.anticipate(info, &running.plan, running.done());
    }

    fn count_arrivals(&mut self, plan: &Plan) {
        for step in &plan.steps {
            if let Step::AddLearner(peer) = step
                && let Some(seat) = self.seats.get_mut(&peer.store)
            {
                seat.arrivals += 1;
            }
        }
    }

    /// Counts a plan that is about to begin.
    pub fn note(&mut self, plan: &Plan) {
        if let Some(info) = self.sight.view.region(plan.region) {
            self.anticipate(info, plan, 0);
            self.count_arrivals(plan);
        }
    }

    /// Whether a store stays cool if so much load comes to it. Who does not move for load must not make a store hot, or
    /// would be undone.
    ///
    /// # Errors
    /// [`Obstacle::Hot`]
    pub fn check_heat(&self, store: StoreId, more: u64) -> Result<(), Obstacle> {
        let (Some(HeatScale { limit, .. }), Some(seat)) = (self.scale, self.seats.get(&store))
        else {
            return Ok(());
        };
        if more > 0 && seat.heat.saturating_add(more) > limit {
            return Err(Obstacle::Hot { heat: seat.heat, more, limit });
        }
        Ok(())
    }

    /// The same of every store to which a plan brings load.
    ///
    /// # Errors
    /// [`Obstacle::Hot`]
    pub(crate) fn check_plan_heat(&self, info: &RegionInfo, plan: &Plan) -> Result<(), Obstacle> {
        let (rates, mut leads) = (info.load.rates, info.leader.map(|leader| leader.store));
        let first = leads;
        for step in &plan.steps {
            match step {
                Step::AddLearner(peer) => self.check_heat(peer.store, rates.replica_heat())?,
                Step::TransferLeader { to, .. } => leads = to.first().map(|peer| peer.store),
                _ => {}
            }
        }
        match leads.filter(|_| leads != first) {
            Some(store) if info.region.peer_on(store).is_some() => {
                self.check_heat(store, rates.lead_heat())
            }
            Some(store) => self.check_heat(store, rates.leader_heat()),
            None => Ok(()),
        }
    }

    /// What the steps behind the first `done` make of the stores of a region that is as `info` shows it.
    fn anticipate(&mut self, info: &RegionInfo, plan: &Plan, done: usize) {
        let (bytes, rates) = (info.stats.size_bytes, info.load.rates);
        let is_member = |peer: &Peer| info.region.peer_on(peer.store).is_some();
        let leader = info.leader.map(|leader| leader.store);
        let mut leads = leader;
        for (at, step) in plan.steps.iter().enumerate() {
            match step {
                Step::AddLearner(peer) => {
                    if let Some(seat) = self.seats.get_mut(&peer.store) {
                        if !is_member(peer) {
                            seat.replicas += 1;
                            seat.bytes = seat.bytes.saturating_add(bytes);
                            seat.heat = seat.heat.saturating_add(rates.replica_heat());
                        }
                        seat.copies += u32::from(at >= done);
                    }
                }
                Step::RemovePeer(peer) if is_member(peer) => {
                    if let Some(seat) = self.seats.get_mut(&peer.store) {
                        seat.replicas = seat.replicas.saturating_sub(1);
                        seat.bytes = seat.bytes.saturating_sub(bytes);
                        seat.heat = seat.heat.saturating_sub(rates.replica_heat());
                    }
                }
                Step::TransferLeader { to, .. } if at >= done => {
                    leads = to.first().map(|peer| peer.store).or(leads);
                }
                _ => {}
            }
        }
        if leads != leader {
            if let Some(seat) = leader.and_then(|store| self.seats.get_mut(&store)) {
                seat.leaders = seat.leaders.saturating_sub(1);
                seat.heat = seat.heat.saturating_sub(rates.lead_heat());
            }
            if let Some(seat) = leads.and_then(|store| self.seats.get_mut(&store)) {
                seat.leaders += 1;
                seat.heat = seat.heat.saturating_add(rates.lead_heat());
            }
        }
    }

    /// What keeps a store from taking a peer of `bytes`.
    ///
    /// # Errors
    /// The first [`Obstacle`]; those that last go before those that pass.
    pub fn check_peer(&self, store: StoreId, bytes: u64) -> Result<(), Obstacle> {
        let settings = &self.sight.policy.settings;
        let Some(seat) = self.seats.get(&store) else { return Err(Obstacle::NotUp("gone")) };
        check_up(seat)?;
        let StoreStats { capacity_bytes, available_bytes, is_busy, .. } = seat.stats;
        if is_low(&seat.stats, bytes, settings.low_space_permille) {
            return Err(Obstacle::LowSpace { available_bytes, capacity_bytes });
        }
        if is_busy {
            return Err(Obstacle::Busy);
        }
        if seat.copies >= settings.limits.copies_per_store {
            return Err(Obstacle::Copies(seat.copies));
        }
        let rate =
            seat.policy.add_peers_per_minute.unwrap_or(settings.limits.store_peers_per_minute);
        if seat.arrivals >= rate {
            return Err(Obstacle::Rate(seat.arrivals));
        }
        Ok(())
    }

    /// What keeps a store from taking a lead.
    ///
    /// # Errors
    /// The first [`Obstacle`].
    pub fn check_leader(&self, store: StoreId) -> Result<(), Obstacle> {
        let Some(seat) = self.seats.get(&store) else { return Err(Obstacle::NotUp("gone")) };
        check_up(seat)?;
        if seat.is_evicted {
            return Err(Obstacle::LeadsEvicted);
        }
        if seat.stats.is_busy {
            return Err(Obstacle::Busy);
        }
        Ok(())
    }
}

/// Whether a store that takes so much more has too little space left. Where others fill its disk, the share that is free
/// says little: a store that could hold twice what it holds, and has some room besides, is not low on space.
fn is_low(stats: &StoreStats, bytes: u64, low_space_permille: u32) -> bool {
    let free_share = 1_000_u32.saturating_sub(low_space_permille);
    let kept = u128::from(stats.capacity_bytes) * u128::from(free_share);
    let left = stats.available_bytes.saturating_sub(bytes);
    // A store that has not said how large its disk is is not judged by it.
    stats.capacity_bytes > 0
        && u128::from(left) * 1_000 < kept
        && left < ROOM_BYTES.max(stats.used_bytes.saturating_add(bytes))
}

fn check_up(seat: &Seat<'_>) -> Result<(), Obstacle> {
    refuses(seat.record.state, seat.health).map_or(Ok(()), |state| Err(Obstacle::NotUp(state)))
}

fn seat<'a>(sight: &Sight<'a>, record: &'a StoreRecord) -> Seat<'a> {
    let load = sight.view.regions().load(record.id);
    Seat {
        record,
        policy: sight.policy.store(record.id),
        health: sight.view.health(record.id, sight.now),
        stats: sight.view.store(record.id).map(|status| status.stats).unwrap_or_default(),
        leaders: load.leaders,
        replicas: load.regions,
        bytes: load.region_bytes,
        heat: load.heat,
        copies: 0,
        arrivals: 0,
        is_evicted: false,
        is_granted: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_disk_that_others_fill_is_not_low_while_there_is_room() {
        let stats = |capacity, available, used| StoreStats {
            capacity_bytes: capacity * GIB,
            available_bytes: available * GIB,
            used_bytes: used * GIB,
            ..StoreStats::default()
        };
        let is_low = |stats| is_low(&stats, GIB / 4, 800);
        // Its own: a fifth has to be free.
        assert!(!is_low(stats(1_000, 201, 790)));
        assert!(is_low(stats(1_000, 200, 790)));
        // Of others: twice its data have to fit, and eight GiB.
        assert!(!is_low(stats(1_000, 40, 20)));
        assert!(is_low(stats(1_000, 20, 20)));
        assert!(!is_low(stats(250, 9, 1)));
        assert!(is_low(stats(250, 8, 1)));
        assert!(!is_low(StoreStats::default()), "it has not said");
    }
}
