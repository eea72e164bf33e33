//! One look of the mind: the stores, and what has been decided since it began. Whoever decides next sees it.

use std::collections::BTreeSet;

use flotilla_base::{Peer, RegionId};

use crate::{
    decision::Intent,
    fleet::Fleet,
    operator::{OperatorController, controller::RUNNING_MAX, step::has_caught_up},
    view::RegionInfo,
};

/// What is decided in one look.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    /// The stores, with what is under way and what this look has decided.
    pub fleet: Fleet<'a>,
    /// What is under way.
    pub operators: &'a OperatorController,
    intents: Vec<Intent>,
    /// Regions of `intents`.
    taken: BTreeSet<RegionId>,
}

impl<'a> Round<'a> {
    pub(crate) const fn new(fleet: Fleet<'a>, operators: &'a OperatorController) -> Self {
        Self { fleet, operators, intents: Vec::new(), taken: BTreeSet::new() }
    }

    /// Whether nothing is done to a region, or about to be.
    pub(crate) fn is_free(&self, region: RegionId) -> bool {
        !self.taken.contains(&region) && self.operators.check_free(region).is_ok()
    }

    /// Whether as many changes are under way, or about to be, as there may be of all regions.
    pub(crate) fn is_full(&self) -> bool {
        self.operators.len() + self.intents.len() >= RUNNING_MAX
    }

    /// Whether a region may be moved for the sake of balance: it is free, it is led, all its peers are well, and none is on
    /// a store that does not stay. That one goes first, and perhaps to just the store that this would have left.
    pub(crate) fn is_movable(&self, info: &RegionInfo) -> bool {
        let is_well =
            |peer: &Peer| has_caught_up(info, *peer) && !self.fleet.sight.is_lost(peer.store);
        self.is_free(info.region.id)
            && info.leader.is_some()
            && info.region.peers.iter().all(is_well)
    }

    /// Decides something.
    pub(crate) fn decide(&mut self, intent: Intent) {
        let is_new = self.taken.insert(intent.plan.region);
        debug_assert!(is_new, "one change of a region at a time: {intent:?}");
        self.fleet.note(&intent.plan);
        self.intents.push(intent);
    }

    /// How much has been decided.
    pub(crate) const fn decided(&self) -> usize {
        self.intents.len()
    }

    /// What has been decided, in this order.
    pub(crate) fn into_intents(self) -> Vec<Intent> {
        debug_assert_eq!(self.taken.len(), self.intents.len(), "each region has one intent");
        self.intents
    }
}
