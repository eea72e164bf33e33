//! What was moved lately, so that nobody moves it on, or back.
//!
//! Whoever puts a replica somewhere wants it there: the checker, people, a move for load or for balance. Load and balance
//! leave it alone for a while, however they would like it elsewhere.
//!
//! It is gone with the reign. A move of balance leaves the stores more even than they were, so that at constant load none
//! takes an earlier one back, whoever leads; what is remembered keeps load that changes from sending replicas to and fro.

use flotilla_base::{Moment, RegionId, Span, StoreId};

use crate::{
    lately::Lately,
    operator::{Plan, Step},
};

/// A replica that came to a store stays there for so long, and does not come back to the store that it left; a region that
/// was moved for its load is let be by everybody who cares for load or balance.
pub(crate) const COOL_DOWN: Span = Span::from_millis(10 * 60_000);
/// A region is moved for its load at most [`MOVES_MAX`] times in so long.
const HOUR: Span = Span::from_millis(60 * 60_000);
const MOVES_MAX: u8 = 2;

/// What was moved lately.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Stores that took or gave a replica of a region.
    replicas: Lately<(RegionId, StoreId)>,
    /// Regions that were moved, or split, for their load.
    heated: Lately<RegionId>,
    /// The same for an hour, each time in a place of its own below [`MOVES_MAX`].
    hourly: Lately<(RegionId, u8)>,
}

impl Moved {
    /// Replicas begin to move.
    pub(crate) fn note(&mut self, now: Moment, plan: &Plan) {
        for step in &plan.steps {
            if let Step::AddLearner(peer) | Step::RemovePeer(peer) = step {
                self.replicas.note(now, (plan.region, peer.store), COOL_DOWN);
            }
        }
    }

    /// A region begins to be moved, or split, for its load.
    pub(crate) fn note_heated(&mut self, now: Moment, plan: &Plan) {
        self.note(now, plan);
        self.heated.note(now, plan.region, COOL_DOWN);
        let free = (0..MOVES_MAX).find(|place| !self.hourly.holds(now, (plan.region, *place)));
        debug_assert!(free.is_some(), "whoever moves for load asks first");
        self.hourly.note(now, (plan.region, free.unwrap_or_default()), HOUR);
    }

    /// Whether the store took or gave a replica of the region lately.
    pub(crate) fn is_cooling(&self, now: Moment, region: RegionId, store: StoreId) -> bool {
        self.replicas.holds(now, (region, store))
    }

    /// Whether the region was moved for its load lately: neither load nor balance is a reason to move it again.
    pub(crate) fn is_heated(&self, now: Moment, region: RegionId) -> bool {
        self.heated.holds(now, region)
    }

    /// Whether load may be a reason to move the region.
    pub(crate) fn may_heat(&self, now: Moment, region: RegionId) -> bool {
        let is_free = |place| !self.hourly.holds(now, (region, place));
        !self.is_heated(now, region) && (0..MOVES_MAX).any(is_free)
    }
}
