//! Election safety: at most one leader in a term.

use std::collections::BTreeMap;

use flotilla_base::{PeerId, RegionId, Term};
use flotilla_raftgroup::{Role, RoleChange};

use super::{Verdict, require};

/// Who led which term.
#[derive(Debug, Default)]
pub struct ElectionJudge {
    leaders: BTreeMap<(RegionId, Term), PeerId>,
    elections: u64,
}

impl ElectionJudge {
    /// A peer says what it is now.
    ///
    /// # Errors
    /// Another peer led that term.
    pub fn on_role(&mut self, region: RegionId, peer: PeerId, change: RoleChange) -> Verdict {
        if change.role != Role::Leader {
            return Ok(());
        }
        let RoleChange { term, .. } = change;
        let before = *self.leaders.entry((region, term)).or_insert_with(|| {
            self.elections += 1;
            peer
        });
        require(before == peer, "election safety", || {
            format!("region {region} term {term}: {before} led, and now {peer}")
        })
    }

    /// How many terms had a leader, over all regions.
    #[must_use]
    pub const fn elections(&self) -> u64 {
        self.elections
    }
}
