//! Learners that nobody makes anything of: a change of members that ended early has left one, with the reign in which it
//! was asked for or since a step took too long; or a region with one was split, and the operator works on the other piece.
//!
//! A region that has a learner, and no operator, for [`GRACE`] has it removed, unless somebody has asked for a learner in
//! this reign, or a placement rule asks for one: what an earlier reign was asked for is not known. Regions of stores that leave are the drain's
//! ([`super::drain`]), which uses what is there already.
//!
//! Nothing is searched for: regions tell by their reports. What is due is looked at again then, so that a region which has
//! changed meanwhile costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, Peer, PeerId, PeerRole, RegionId, Span};

use super::{
    change::{Change, OperatorKind, Sight},
    controller::OperatorController,
    plan::Plan,
    shape::Shape,
    step::Step,
};
use crate::{check::Placement, due::Due, meta::StoreState, view::RegionInfo};

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
    due: Due,
    /// Peers that somebody wants to be learners, as long as they are there.
    wanted: BTreeMap<RegionId, BTreeSet<PeerId>>,
}

impl Leftovers {
    /// An operator has begun: what it adds may be wanted to stay as it is.
    pub fn on_begun(&mut self, plan: &Plan) {
        if plan.kind != OperatorKind::AddLearner {
            return;
        }
        for step in &plan.steps {
            if let Step::AddLearner(peer) = step {
                self.wanted.entry(plan.region).or_default().insert(peer.id);
            }
        }
    }

    /// `region` was reported.
    pub fn on_report(
        &mut self,
        sight: &Sight<'_>,
        operators: &OperatorController,
        region: RegionId,
    ) {
        self.forget_wanted(sight, operators, region);
        match self.leftover_of(sight, operators, region) {
            Some(_) => self.due.put(region, sight.now + GRACE),
            None => _ = self.due.forget(region),
        }
    }

    /// When [`Self::look`] has something to do.
    #[must_use]
    pub fn next_look(&self) -> Moment {
        self.due.next()
    }

    /// What is due, as changes to begin. A region that keeps its learner tells so by its next report.
    pub fn look(&mut self, sight: &Sight<'_>, operators: &OperatorController) -> Vec<Plan> {
        let running = operators.iter().filter(|running| running.asked_by == ASKED_BY).count();
        let room = RUNNING_MAX.saturating_sub(running);
        let mut plans = Vec::new();
        while let Some(region) = self.due.pop(sight.now) {
            let Some(learner) = self.leftover_of(sight, operators, region) else { continue };
            let plan = sight.plan(region, &Change::RemovePeer(learner.store));
            match plan {
                Ok(plan) if plans.len() < room => plans.push(plan),
                _ => self.due.put(region, sight.now + PAUSE),
            }
        }
        plans
    }

    /// A learner of the region that nobody works on, or wants.
    fn leftover_of(
        &self,
        sight: &Sight<'_>,
        operators: &OperatorController,
        region: RegionId,
    ) -> Option<Peer> {
        let info = sight.view.regions().by_id(region)?;
        let is_free = operators.check_free(region).is_ok();
        let is_settled = !Shape::of(&info.region).is_joint();
        let wanted = self.wanted.get(&region);
        let is_wanted = |peer: &Peer| wanted.is_some_and(|wanted| wanted.contains(&peer.id));
        let is_left = |peer: &Peer| peer.role == PeerRole::Learner && !is_wanted(peer);
        let is_asked_for = |peer: &Peer| {
            let placement = Placement::of(sight, info);
            placement.is_ok_and(|placement| placement.asks_for_learner(peer.store))
        };
        let mut left = info.region.peers.iter().copied().filter(is_left);
        let mut learner = || left.find(|peer| !is_asked_for(peer));
        if is_free && is_settled && !sight.is_drained(info) { learner() } else { None }
    }

    /// Peers that are gone, or never came, are wanted no more.
    fn forget_wanted(
        &mut self,
        sight: &Sight<'_>,
        operators: &OperatorController,
        region: RegionId,
    ) {
        if operators.running(region).is_some() {
            return;
        }
        let Some(wanted) = self.wanted.get_mut(&region) else { return };
        let known = sight.view.regions().by_id(region);
        wanted.retain(|peer| known.is_some_and(|info| info.region.peer(*peer).is_some()));
        if wanted.is_empty() {
            self.wanted.remove(&region);
        }
    }
}

impl Sight<'_> {
    /// Whether a peer of the region is on a store that leaves.
    fn is_drained(&self, info: &RegionInfo) -> bool {
        let is_leaving = |peer: &Peer| {
            self.stores.get(&peer.store).is_some_and(|record| record.state != StoreState::Up)
        };
        info.region.peers.iter().any(is_leaving)
    }
}
