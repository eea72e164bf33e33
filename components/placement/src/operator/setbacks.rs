//! Stores that operators have waited for in vain: whoever plans anew prefers others.
//!
//! It is kept beside the operators that are remembered, which are few: transfers of leads would push them out within
//! seconds. It is gone with the reign.
//! It is a preference only. A store that is the only one left is taken again.

use std::collections::BTreeMap;

use flotilla_base::{Moment, Peer, PeerId, RegionId, Span, StoreId};

use super::{
    controller::{CancelReason, EndedOperator, Ending, OperatorController},
    drain,
    step::{Step, votes_on},
};
use crate::{check, lately::Lately};

/// What is longer ago tells nothing about a store.
pub const REMEMBERED: Span = Span::from_millis(60 * 60_000);

/// What operators that have ended tell of the stores that they copied data to.
#[derive(Debug, Default)]
pub(super) struct SetbackLog {
    /// Where a region waited in vain for a store.
    regions: Lately<(RegionId, StoreId)>,
    /// Whether the last operator that ended, of whatever region, waited in vain for the store; and when it ended.
    stores: BTreeMap<StoreId, (Moment, bool)>,
    /// Peers that a repair added as learners and waited for in vain: nobody else wants them.
    left_over: Lately<PeerId>,
}

impl SetbackLog {
    /// An operator has ended.
    pub(super) fn note(&mut self, ended: &EndedOperator) {
        let (operator, now) = (&ended.operator, ended.at.now);
        let is_in_vain = matches!(
            ended.ending,
            Ending::TimedOut | Ending::Cancelled(CancelReason::StoreLost(_))
        );
        self.stores.retain(|_, (since, _)| now < *since + REMEMBERED);
        let waited_for = operator.step().filter(|_| is_in_vain).map(|step| step.receivers());
        for peer in waited_for.unwrap_or_default() {
            self.stores.insert(peer.store, (now, true));
            self.regions.note(now, (operator.plan.region, peer.store), REMEMBERED);
        }
        let done = operator.plan.steps.iter().take(operator.done());
        for peer in done.flat_map(|step| step.receivers()) {
            self.stores.insert(peer.store, (now, false));
        }
        let is_repair = operator.asked_by == drain::ASKED_BY || check::is_repair(operator.asked_by);
        if is_in_vain && is_repair {
            for step in &operator.plan.steps {
                if let Step::AddLearner(peer) = step {
                    self.left_over.note(now, peer.id, REMEMBERED);
                }
            }
        }
    }
}

/// What the last operators tell of the stores that they copied data to.
#[derive(Clone, Copy, Debug)]
pub struct Setbacks<'a> {
    log: &'a SetbackLog,
    now: Moment,
}

impl<'a> Setbacks<'a> {
    /// What they tell now.
    #[must_use]
    pub const fn of(operators: &'a OperatorController, now: Moment) -> Self {
        Self { log: operators.setbacks(), now }
    }

    /// Whether the peer is a learner of which a repair has made nothing.
    pub(crate) fn is_left_over(&self, peer: Peer) -> bool {
        !votes_on(peer) && self.log.left_over.holds(self.now, peer.id)
    }

    /// Orders stores for a region: those before others that it has not waited for in vain, or longer ago; of these, those
    /// that other regions have not waited for in vain.
    pub(crate) fn rank(&self, region: RegionId, store: StoreId) -> (Moment, bool) {
        let until = self.log.regions.until(self.now, (region, store));
        let since = until.map_or(Moment::default(), |until| Moment(until.0 - REMEMBERED.0));
        let last = self.log.stores.get(&store);
        let is_doubted = last.is_some_and(|(at, in_vain)| *in_vain && self.now < *at + REMEMBERED);
        (since, is_doubted)
    }
}
