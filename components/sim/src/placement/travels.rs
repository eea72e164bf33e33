//! Replicas that were moved more than once: what has come to a store for the sake of repair or balance is to stay there.

use std::collections::BTreeSet;

use flotilla_base::{RegionId, StoreId};
use flotilla_placement::{Operator, Step};

/// What has come to stores since somebody began to count.
#[derive(Clone, Debug, Default)]
pub struct Travels {
    came: BTreeSet<(RegionId, StoreId)>,
    twice: u64,
}

impl Travels {
    /// An operator begins.
    pub fn on_begun(&mut self, operator: &Operator) {
        let region = operator.plan.region;
        for step in &operator.plan.steps {
            match step {
                Step::AddLearner(peer) => _ = self.came.insert((region, peer.store)),
                Step::RemovePeer(peer) => {
                    self.twice += u64::from(self.came.remove(&(region, peer.store)));
                }
                _ => {}
            }
        }
    }

    /// Replicas that had come, and went on.
    #[must_use]
    pub const fn twice(&self) -> u64 {
        self.twice
    }
}
