//! Learners that nobody makes anything of: a change of members that ended early has left one, with the reign in which it
//! was asked for or since a step took too long; or a region with one was split, and the operator works on the other piece.
//!
//! A region that has a learner, and no operator, for [`GRACE`] has it removed. Who is given a peer is to vote, so there is
//! no learner that is wanted as such. Regions of stores that leave are the drain's ([`super::drain`]), which uses what is
//! there already.
//!
//! Nothing is searched for: regions tell by their reports. What is due is looked at again then, so that a region which has
//! changed meanwhile costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, Peer, PeerRole, RegionId, Span};

use super::{
    change::{Change, Sight},
    controller::OperatorController,
    plan::Plan,
    shape::Shape,
};
use crate::{meta::StoreState, view::RegionInfo};

/// Who asks for these operators, in a word for people.
pub const ASKED_BY: &str = "leftover";
/// How long a learner may be there without an operator: whoever has lost one, asks for it again by then.
pub const GRACE: Span = Span::from_millis(10_000);
/// Time until the next try where too much is under way, or the region cannot be changed.
pub const PAUSE: Span = Span::from_millis(1_000);
/// Such operators at the same time.
pub const RUNNING_MAX: usize = 8;

/// The regions with a learner and without an operator. Each is due once.
#[derive(Debug, Default)]
pub struct Leftovers {
    due: BTreeMap<RegionId, Moment>,
    /// The same, by time.
    queue: BTreeSet<(Moment, RegionId)>,
}

impl Leftovers {
    /// `region` was reported.
    pub fn on_report(
        &mut self,
        sight: &Sight<'_>,
        operators: &OperatorController,
        region: RegionId,
    ) {
        match sight.leftover_of(operators, region) {
            Some(_) if self.due.contains_key(&region) => {}
            Some(_) => self.put(region, sight.now + GRACE),
            None => self.forget(region),
        }
    }

    /// When [`Self::look`] has something to do.
    #[must_use]
    pub fn next_look(&self) -> Moment {
        self.queue.first().map_or(Moment::NEVER, |(due, _)| *due)
    }

    /// What is due, as changes to begin. A region that keeps its learner tells so by its next report.
    pub fn look(&mut self, sight: &Sight<'_>, operators: &OperatorController) -> Vec<Plan> {
        let running = operators.iter().filter(|running| running.asked_by == ASKED_BY).count();
        let room = RUNNING_MAX.saturating_sub(running);
        let mut plans = Vec::new();
        while let Some((due, region)) = self.queue.first().copied() {
            if due > sight.now {
                break;
            }
            self.forget(region);
            let Some(learner) = sight.leftover_of(operators, region) else { continue };
            let plan = sight.plan(region, &Change::RemovePeer(learner.store));
            match plan {
                Ok(plan) if plans.len() < room => plans.push(plan),
                _ => self.put(region, sight.now + PAUSE),
            }
        }
        debug_assert_eq!(self.due.len(), self.queue.len());
        plans
    }

    fn put(&mut self, region: RegionId, due: Moment) {
        self.due.insert(region, due);
        self.queue.insert((due, region));
    }

    fn forget(&mut self, region: RegionId) {
        if let Some(due) = self.due.remove(&region) {
            self.queue.remove(&(due, region));
        }
    }
}

impl Sight<'_> {
    /// A learner of the region that nobody works on.
    fn leftover_of(&self, operators: &OperatorController, region: RegionId) -> Option<Peer> {
        let info = self.view.regions().by_id(region)?;
        let is_free = operators.check_free(region).is_ok();
        let is_settled = !Shape::of(&info.region).is_joint();
        let learner = || info.region.peers.iter().copied().find(|it| it.role == PeerRole::Learner);
        if is_free && is_settled && !self.is_drained(info) { learner() } else { None }
    }

    /// Whether a peer of the region is on a store that leaves.
    fn is_drained(&self, info: &RegionInfo) -> bool {
        let is_leaving = |peer: &Peer| {
            self.stores.get(&peer.store).is_some_and(|record| record.state != StoreState::Up)
        };
        info.region.peers.iter().any(is_leaving)
    }
}
