//! Stores that leave: each region with a peer on one is made whole elsewhere, a few regions at a time, until nothing is
//! left there. What is to be done for a region says the checker ([`crate::check`](mod@crate::check)); here is only which
//! regions it is asked about.
//!
//! Each look begins with the regions as they are, so that whoever leads next goes on where the last one stopped. A store
//! that is a tombstone already is looked at as well, since an order that was under way may have put a peer there behind its
//! back.

use std::collections::BTreeMap;

use flotilla_base::{Moment, RegionId, Span, StoreId};

use super::{change::Sight, controller::OperatorController, plan::Plan, setbacks::Setbacks};
use crate::{
    check::{Finding, check},
    fleet::Fleet,
    meta::{StoreRecord, StoreState},
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

    /// Looks at what is left on the stores that leave.
    pub fn look(&mut self, sight: &Sight<'_>, operators: &OperatorController) -> DrainLook {
        let mut look = DrainLook::default();
        let running = operators.iter().filter(|running| running.asked_by == ASKED_BY).count();
        let mut room = RUNNING_MAX.saturating_sub(running);
        let mut fleet = Fleet::of(*sight, operators);
        let setbacks = Setbacks::of(operators, sight.now);
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
                // One that cannot be changed now is met again by a later look.
                if let Finding::Do(intent) = check(&fleet, info, &setbacks) {
                    fleet.note(&intent.plan);
                    look.plans.push(intent.plan);
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
            && !regions.has_holes()
    }
}
