//! Stores that leave: each region with a peer on one is made whole elsewhere, a few regions at a time, until nothing is
//! left there.
//!
//! Each look begins with the regions as they are, so that whoever leads next goes on where the last one stopped: a
//! learner that was added and not promoted is used, not added once more. All that is remembered is which stores were
//! waited for in vain ([`super::setbacks`]): others are tried first. A store that is a tombstone already is looked at as
//! well, since an order that was under way may have put a peer there behind its back.

use std::collections::BTreeMap;

use flotilla_base::{Moment, Peer, RegionId, Span, StoreId};

use super::{
    change::{Change, Sight},
    controller::OperatorController,
    plan::Plan,
    setbacks::Setbacks,
    shape::Shape,
    step::{Step, votes_on},
};
use crate::{
    meta::{StoreRecord, StoreState},
    view::RegionInfo,
};

/// Who asks for these operators, in a word for people.
pub const ASKED_BY: &str = "drain";
/// Regions that are moved away at the same time. Each copies its data to a store that serves clients meanwhile.
pub const RUNNING_MAX: usize = 8;
/// Time from one look to the next: a region that is taken up is known to be by then.
pub const PAUSE: Span = Span::from_millis(500);
/// Regions that one look considers at most; the next one goes on behind them.
const REGIONS_PER_LOOK: usize = 1_024;

/// What is to be done for the stores that leave.
#[derive(Debug, Default)]
pub struct DrainLook {
    /// Changes to begin. New peers have no ids yet.
    pub plans: Vec<Plan>,
    /// Stores of which nothing is left.
    pub emptied: Vec<StoreId>,
}

/// How far the stores that leave have been looked at in this reign.
#[derive(Debug, Default)]
pub struct Drain {
    next_look: Moment,
    /// Where the next look at a store begins.
    cursors: BTreeMap<StoreId, RegionId>,
}

impl Drain {
    /// When [`Self::look`] has something to do.
    #[must_use]
    pub fn next_look(&self, sight: &Sight<'_>) -> Moment {
        let is_leaving = sight.leaving().next().is_some();
        if is_leaving { self.next_look } else { Moment::NEVER }
    }

    /// Whether it is time for a look; if so, the next one is due a pause later.
    pub fn is_due(&mut self, sight: &Sight<'_>) -> bool {
        let is_due = self.next_look(sight) <= sight.now;
        if is_due {
            self.next_look = sight.now + PAUSE;
        }
        is_due
    }

    /// Looks at what is left on the stores that leave, each region having `replicas` voters.
    pub fn look(
        &mut self,
        sight: &Sight<'_>,
        replicas: u32,
        operators: &OperatorController,
    ) -> DrainLook {
        let mut look = DrainLook::default();
        let running = operators.iter().filter(|running| running.asked_by == ASKED_BY).count();
        let mut room = RUNNING_MAX.saturating_sub(running);
        let mut burden = Burden::of(sight, operators);
        for store in sight.leaving() {
            if sight.is_emptied(store) {
                look.emptied.push(store);
            }
            let first = self.cursors.remove(&store).unwrap_or_default();
            let regions = sight.view.regions().of_store(store, first).take(REGIONS_PER_LOOK);
            for info in regions {
                if room == 0 {
                    self.cursors.insert(store, info.region.id);
                    break;
                }
                let region = info.region.id;
                self.cursors.insert(store, RegionId(region.get().saturating_add(1)));
                let is_planned = look.plans.iter().any(|plan| plan.region == region);
                if is_planned || operators.check_free(region).is_err() {
                    continue;
                }
                let change = sight.relief(info, store, replicas, &burden);
                // One that cannot be changed now is met again by a later look.
                if let Some(plan) = change.and_then(|change| sight.plan(region, &change).ok()) {
                    burden.carried.note(&plan);
                    look.plans.push(plan);
                    room -= 1;
                }
            }
            // Behind the last region the next look begins in front again.
            let next = self.cursors.get(&store).copied().unwrap_or_default();
            if sight.view.regions().of_store(store, next).next().is_none() {
                self.cursors.remove(&store);
            }
        }
        look
    }
}

/// What is weighed where several stores could take a peer.
struct Burden {
    carried: Carried,
    setbacks: Setbacks,
}

impl Burden {
    fn of(sight: &Sight<'_>, operators: &OperatorController) -> Self {
        Self {
            carried: Carried::of(sight, operators),
            setbacks: Setbacks::of(operators, sight.now),
        }
    }
}

/// How many regions each store has, those included that are on their way to it.
struct Carried(BTreeMap<StoreId, u64>);

impl Carried {
    fn of(sight: &Sight<'_>, operators: &OperatorController) -> Self {
        let loads = sight.view.regions().loads();
        let mut carried =
            Self(loads.into_iter().map(|(store, load)| (store, load.regions)).collect());
        operators.iter().filter(|running| running.done() == 0).for_each(|running| {
            carried.note(&running.plan);
        });
        carried
    }

    fn note(&mut self, plan: &Plan) {
        for step in &plan.steps {
            if let Step::AddLearner(peer) = step {
                *self.0.entry(peer.store).or_default() += 1;
            }
        }
    }

    fn on(&self, store: StoreId) -> u64 {
        self.0.get(&store).copied().unwrap_or_default()
    }
}

impl Sight<'_> {
    /// The stores that leave and are not known to be empty, and tombstones that hold a region all the same.
    fn leaving(&self) -> impl Iterator<Item = StoreId> {
        let holds = |store| self.view.regions().load(store).regions > 0;
        let leaves = move |record: &&StoreRecord| match record.state {
            StoreState::Up => false,
            StoreState::Offline => true,
            StoreState::Tombstone => holds(record.id),
        };
        self.stores.values().filter(leaves).map(|record| record.id)
    }

    /// Whether a store that leaves has nothing left: every key has an owner that is known from this reign, and none of
    /// them has a peer there.
    fn is_emptied(&self, store: StoreId) -> bool {
        let is_offline = |record: &StoreRecord| record.state == StoreState::Offline;
        let regions = self.view.regions();
        self.stores.get(&store).is_some_and(is_offline)
            && regions.load(store).regions == 0
            && regions.holes().is_empty()
    }

    /// What takes a region off a store that leaves, so that as many voters stay as are there now, or as are wanted; `None`
    /// where no store can take its peer at the moment.
    fn relief(
        &self,
        info: &RegionInfo,
        leaving: StoreId,
        replicas: u32,
        burden: &Burden,
    ) -> Option<Change> {
        let members = Shape::of(&info.region).left();
        let stays = |store: StoreId| {
            self.stores.get(&store).is_some_and(|record| record.state == StoreState::Up)
        };
        let voters = members.peers().filter(|peer| votes_on(*peer) && stays(peer.store)).count();
        let is_needed = members.on(leaving).is_some_and(votes_on) && voters < replicas as usize;
        if !is_needed {
            return Some(Change::RemovePeer(leaving));
        }
        let is_fit = |store: &StoreId| {
            let is_free = members.on(*store).is_none_or(|known| !votes_on(known));
            is_free && self.check_target(*store).is_ok()
        };
        // One that holds a learner has the data, or is about to have it, unless it has been waited for in vain.
        let rank = |store: &StoreId| {
            let setback = burden.setbacks.rank(info.region.id, *store);
            (setback, members.on(*store).is_none(), burden.carried.on(*store), *store)
        };
        let to = self.stores.keys().copied().filter(is_fit).min_by_key(rank)?;
        // What an earlier attempt has left elsewhere goes in the same turn, where nobody else's learner goes with it.
        let left_over = |peer: &Peer| burden.setbacks.is_left_over(*peer);
        let (voters, others): (Vec<Peer>, Vec<Peer>) = members
            .peers()
            .filter(|peer| ![leaving, to].contains(&peer.store))
            .partition(|it| votes_on(*it));
        if others.is_empty() || !others.iter().all(left_over) {
            return Some(Change::MovePeer { from: leaving, to });
        }
        let voters = voters.iter().map(|peer| peer.store);
        Some(Change::MoveRegion(voters.chain([to]).collect()))
    }
}
