//! Regions that are to be spread over the stores, because somebody is about to load them: as many replicas and leads of
//! these regions on each store as can be, whatever else the stores carry.
//!
//! All of them are planned at once, from where they are now. A replica stays where it is unless another store has at least
//! two fewer of them, so that regions that are spread already are left alone. What is being done to a region counts as
//! done: regions that come one after the other are spread as well as if they came together.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Peer, RegionId, StoreId};

use crate::{
    check,
    decision::{Decision, Intent},
    fleet::{Fleet, Obstacle},
    operator::{
        Change, OperatorController, Step,
        shape::Shape,
        step::{has_caught_up, votes_on},
    },
    round::Round,
    view::RegionInfo,
};

/// Who asks for these operators, in the words of the public protocol.
pub const ASKED_BY: &str = "scatter-region";

/// Regions that are to be spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScatterWish {
    /// These.
    pub regions: BTreeSet<RegionId>,
    /// Regions that count as well and stay where they are, since they were asked for before. Those that are not known any
    /// more do not count.
    pub among: BTreeSet<RegionId>,
}

/// What becomes of regions that are to be spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScatterOutcome {
    /// They begin to move.
    pub moving: Vec<RegionId>,
    /// They are spread already.
    pub settled: Vec<RegionId>,
    /// They cannot be moved at the moment, or are not known; with the reason.
    pub failed: Vec<(RegionId, String)>,
}

impl ScatterOutcome {
    /// How many of 100 regions are spread, or begin to be.
    #[must_use]
    pub const fn finished_percentage(&self) -> u64 {
        let done = (self.moving.len() + self.settled.len()) as u64;
        let asked = done + self.failed.len() as u64;
        match (100 * done).checked_div(asked) {
            Some(percentage) => percentage,
            None => 100,
        }
    }
}

/// What was planned, and what could not be.
#[derive(Debug, Default)]
pub struct Scattered {
    /// What is to begin. New peers have no ids yet.
    pub intents: Vec<Intent>,
    /// Regions that stay as they are, since they are spread already.
    pub settled: Vec<RegionId>,
    /// Regions that cannot be moved at the moment, with the reason.
    pub failed: Vec<(RegionId, String)>,
}

impl Scattered {
    /// The same without the plans.
    #[must_use]
    pub fn outcome(&self) -> ScatterOutcome {
        let Self { intents, settled, failed } = self;
        let moving = intents.iter().map(|intent| intent.plan.region).collect();
        ScatterOutcome { moving, settled: settled.clone(), failed: failed.clone() }
    }
}

/// How many of the regions each store has.
#[derive(Debug, Default)]
struct Counts {
    voters: BTreeMap<StoreId, u64>,
    leads: BTreeMap<StoreId, u64>,
}

impl Counts {
    fn of<'r>(
        regions: impl Iterator<Item = &'r RegionInfo>,
        operators: &OperatorController,
    ) -> Self {
        let mut counts = Self::default();
        for info in regions {
            let (members, leader) = when_done(info, operators);
            for peer in members.peers().filter(|peer| votes_on(*peer)) {
                *counts.voters.entry(peer.store).or_default() += 1;
            }
            if let Some(leader) = leader {
                *counts.leads.entry(leader).or_default() += 1;
            }
        }
        counts
    }

    fn voters(&self, store: StoreId) -> u64 {
        self.voters.get(&store).copied().unwrap_or_default()
    }

    fn leads(&self, store: StoreId) -> u64 {
        self.leads.get(&store).copied().unwrap_or_default()
    }
}

/// The members of a region, and the store of its leader, when what is being done to it is done.
fn when_done(info: &RegionInfo, operators: &OperatorController) -> (Shape, Option<StoreId>) {
    let mut members = Shape::of(&info.region);
    let mut leader = info.leader.map(|leader| leader.store);
    let running = operators.running(info.region.id);
    let steps = running.into_iter().flat_map(|it| it.plan.steps.iter().skip(it.done()));
    for step in steps {
        match step {
            // Its leader has reported it between the order and the answer to it.
            Step::AddLearner(peer) if members.on(peer.store).is_some() => {}
            Step::TransferLeader { to, .. } => {
                leader = to.first().map(|peer| peer.store).or(leader);
            }
            step => members = members.after(step),
        }
    }
    (members, leader)
}

fn shift(counts: &mut BTreeMap<StoreId, u64>, from: StoreId, to: StoreId) {
    debug_assert_ne!(from, to, "it goes to another store");
    let left = counts.entry(from).or_default();
    *left = left.saturating_sub(1);
    *counts.entry(to).or_default() += 1;
}

/// Plans how to spread these regions.
#[must_use]
pub fn scatter(fleet: Fleet<'_>, operators: &OperatorController, wish: &ScatterWish) -> Scattered {
    let (view, regions) = (fleet.sight.view, &wish.regions);
    let counted = regions.union(&wish.among).filter_map(|region| view.region(*region));
    let mut counts = Counts::of(counted.map(AsRef::as_ref), operators);
    let mut round = Round::new(fleet, operators);
    let mut scattered = Scattered::default();
    for region in regions {
        let Some(info) = view.region(*region) else {
            scattered.failed.push((*region, "it is not known".to_owned()));
            continue;
        };
        if let Some(why) = refusal(&round, info) {
            scattered.failed.push((*region, why));
            continue;
        }
        match place(&round.fleet, info, &mut counts) {
            None => scattered.settled.push(*region),
            Some(change) => match round.fleet.plan(*region, &change) {
                Ok(plan) => {
                    let decision = Decision {
                        by: ASKED_BY,
                        region: *region,
                        brief: plan.brief.clone(),
                        why: format!("{} regions are to be spread over the stores", regions.len()),
                        alternatives: Vec::new(),
                    };
                    round.decide(Intent { plan, decision });
                }
                Err(refusal) => scattered.failed.push((*region, refusal.to_string())),
            },
        }
    }
    scattered.intents = round.into_intents();
    let Scattered { intents, settled, failed } = &scattered;
    let told = intents.len() + settled.len() + failed.len();
    debug_assert_eq!(told, regions.len(), "each region is told of once");
    scattered
}

fn refusal(round: &Round<'_>, info: &RegionInfo) -> Option<String> {
    if let Err(refusal) = round.operators.check_free(info.region.id) {
        return Some(refusal.to_string());
    }
    let is_well = |peer: &Peer| has_caught_up(info, *peer);
    match info.leader {
        None => Some("it has no leader".to_owned()),
        Some(_) if !info.region.peers.iter().all(is_well) => {
            Some("one of its peers does not answer, or lags behind".to_owned())
        }
        Some(_) => None,
    }
}

/// Where the region goes: its replicas that are better elsewhere, or else its lead; `None` where it is well placed.
fn place(fleet: &Fleet<'_>, info: &RegionInfo, counts: &mut Counts) -> Option<Change> {
    let moves = relocations(fleet, info, counts);
    match moves.as_slice() {
        [] => hand_over(fleet, info, counts),
        [(from, to)] => Some(Change::MovePeer { from: *from, to: *to }),
        moves => {
            let gone = |store: &StoreId| moves.iter().any(|(from, _)| from == store);
            let voters = info.region.peers.iter().filter(|peer| votes_on(**peer));
            let stay = voters.map(|peer| peer.store).filter(|store| !gone(store));
            Some(Change::MoveRegion(stay.chain(moves.iter().map(|(_, to)| *to)).collect()))
        }
    }
}

/// Replicas that are better elsewhere, and where: several only in a region that has no learners, which would go with them.
fn relocations(
    fleet: &Fleet<'_>,
    info: &RegionInfo,
    counts: &mut Counts,
) -> Vec<(StoreId, StoreId)> {
    let voters = info.region.peers.iter().filter(|peer| votes_on(**peer));
    let mut sources: Vec<StoreId> = voters.map(|peer| peer.store).collect();
    sources.sort_by_key(|store| (std::cmp::Reverse(counts.voters(*store)), *store));
    let most = if sources.len() == info.region.peers.len() { sources.len() } else { 1 };
    let mut moves: Vec<(StoreId, StoreId)> = Vec::new();
    for from in sources {
        let is_fit = |to: &StoreId| {
            info.region.peer_on(*to).is_none()
                && moves.iter().all(|(_, taken)| taken != to)
                && counts.voters(from) >= counts.voters(*to) + 2
                && takes(fleet, *to, info.stats.size_bytes)
                && check::keeps_place(fleet, info, from, *to)
        };
        let stores = fleet.seats().map(|seat| seat.record.id);
        let to = stores.filter(is_fit).min_by_key(|store| (counts.voters(*store), *store));
        if let Some(to) = to.filter(|_| moves.len() < most) {
            shift(&mut counts.voters, from, to);
            if info.leader.is_some_and(|leader| leader.store == from) {
                // Who leads then is the plan's to say; the count is near enough.
                shift(&mut counts.leads, from, to);
            }
            moves.push((from, to));
        }
    }
    moves
}

/// Limits of what is on its way are for changes that nobody waits for. Whoever asks wants all of it to begin, and a store
/// takes copies one after the other in any case. But where nothing is on its way the limit is none at all: that is meant.
fn takes(fleet: &Fleet<'_>, store: StoreId, bytes: u64) -> bool {
    match fleet.check_peer(store, bytes) {
        Ok(()) => true,
        Err(Obstacle::Copies(begun) | Obstacle::Rate(begun)) => begun > 0,
        Err(_it_stays_so) => false,
    }
}

fn hand_over(fleet: &Fleet<'_>, info: &RegionInfo, counts: &mut Counts) -> Option<Change> {
    let leader = info.leader?.store;
    let is_fit = |to: &StoreId| {
        *to != leader
            && counts.leads(leader) >= counts.leads(*to) + 2
            && fleet.check_leader(*to).is_ok()
    };
    let voters = info.region.peers.iter().filter(|peer| votes_on(**peer));
    let to = voters.map(|peer| peer.store).filter(is_fit);
    let to = to.min_by_key(|store| (counts.leads(*store), *store))?;
    shift(&mut counts.leads, leader, to);
    Some(Change::TransferLeader(to))
}
