//! Stores that operators have waited for in vain: whoever plans anew prefers others.
//!
//! It is read from the operators that have ended, so it is bounded by what is remembered of them, and gone with the reign.
//! It is a preference only. A store that is the only one left is taken again.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, Peer, PeerId, RegionId, Span, StoreId};

use super::{
    controller::{CancelReason, EndedOperator, Ending, OperatorController},
    drain,
    step::{Step, votes_on},
};
use crate::check;

/// What is longer ago tells nothing about a store.
pub const REMEMBERED: Span = Span::from_millis(60 * 60_000);

/// What the last operators tell of the stores that they copied data to.
#[derive(Debug, Default)]
pub struct Setbacks {
    /// When a region last waited in vain for a store.
    regions: BTreeMap<(RegionId, StoreId), Moment>,
    /// Whether the last operator that ended, of whatever region, waited in vain for the store.
    stores: BTreeMap<StoreId, bool>,
    /// Peers that a repair added as learners and waited for in vain: nobody else wants them.
    left_over: BTreeSet<PeerId>,
}

impl Setbacks {
    /// What they tell now.
    #[must_use]
    pub fn of(operators: &OperatorController, now: Moment) -> Self {
        let mut setbacks = Self::default();
        let is_recent = |ended: &&EndedOperator| now < ended.at.now + REMEMBERED;
        operators.ended().take_while(is_recent).for_each(|ended| setbacks.note(ended));
        setbacks
    }

    /// The later ones come first.
    fn note(&mut self, ended: &EndedOperator) {
        let operator = &ended.operator;
        let done = operator.plan.steps.iter().take(operator.done());
        for peer in done.flat_map(|step| step.receivers()) {
            self.stores.entry(peer.store).or_insert(false);
        }
        let is_in_vain = matches!(
            ended.ending,
            Ending::TimedOut | Ending::Cancelled(CancelReason::StoreLost(_))
        );
        let waited_for = operator.step().filter(|_| is_in_vain).map(|step| step.receivers());
        for peer in waited_for.unwrap_or_default() {
            self.stores.entry(peer.store).or_insert(true);
            self.regions.entry((operator.plan.region, peer.store)).or_insert(ended.at.now);
        }
        let is_repair = [drain::ASKED_BY, check::ASKED_BY].contains(&operator.asked_by);
        if is_in_vain && is_repair {
            let added = operator.plan.steps.iter().filter_map(|step| match step {
                Step::AddLearner(peer) => Some(peer.id),
                _ => None,
            });
            self.left_over.extend(added);
        }
    }

    /// Whether the peer is a learner of which a repair has made nothing.
    pub(crate) fn is_left_over(&self, peer: Peer) -> bool {
        !votes_on(peer) && self.left_over.contains(&peer.id)
    }

    /// Orders stores for a region: those before others that it has not waited for in vain, or longer ago; of these, those
    /// that other regions have not waited for in vain.
    pub(crate) fn rank(&self, region: RegionId, store: StoreId) -> (Moment, bool) {
        let since = self.regions.get(&(region, store)).copied().unwrap_or_default();
        (since, self.stores.get(&store).copied().unwrap_or_default())
    }
}
