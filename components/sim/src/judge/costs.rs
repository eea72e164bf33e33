//! What harmless faults may not cost: a lead that nothing was wrong with, or the service itself.

use std::collections::BTreeMap;

use flotilla_base::{Moment, PeerId, RegionId, Span, Term};
use flotilla_raftgroup::{Role, RoleChange};

use super::{Verdict, require};
use crate::plan::Costs;

const KEPT: &str = "a lead is not lost over nothing";
const SERVED: &str = "a majority of sound stores serves";

/// What was seen of leads and of service.
#[derive(Debug, Default)]
pub struct CostJudge {
    costs: Costs,
    leads: BTreeMap<RegionId, (Term, PeerId)>,
    /// When the last operation ended.
    served_at: Moment,
}

impl CostJudge {
    /// A judge for a plan that promises `costs`.
    #[must_use]
    pub fn new(costs: Costs) -> Self {
        Self { costs, ..Self::default() }
    }

    /// A peer says what it is now.
    ///
    /// # Errors
    /// It leads, and another lead was lost for that.
    pub fn on_role(&mut self, region: RegionId, peer: PeerId, change: RoleChange) -> Verdict {
        if change.role != Role::Leader {
            return Ok(());
        }
        let now = (change.term, peer);
        let before = *self.leads.entry(region).or_insert(now);
        require(before == now || !self.costs.is_lead_kept, KEPT, || {
            format!("region {region}: {before:?} led, now {now:?}")
        })
    }

    /// An operation of a client ends, or the faults do.
    ///
    /// # Errors
    /// Nothing had ended for too long.
    pub fn on_served(&mut self, now: Moment) -> Verdict {
        let silence = now.since(std::mem::replace(&mut self.served_at, now));
        let most = self.costs.silence_max;
        require(most == Span::ZERO || silence <= most, SERVED, || {
            format!("no operation ended for {silence}, at most {most} are allowed")
        })
    }

    /// The faults are over: what follows has promises of its own.
    pub fn close(&mut self) {
        self.costs = Costs::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{REGION, broken};

    fn leads(peer: u64, term: u64) -> (PeerId, RoleChange) {
        let peer = PeerId(peer);
        (peer, RoleChange { role: Role::Leader, term: Term(term), leader: Some(peer) })
    }

    fn see(judge: &mut CostJudge, (peer, change): (PeerId, RoleChange)) -> Verdict {
        judge.on_role(REGION, peer, change)
    }

    #[test]
    fn a_lead_that_is_lost_over_nothing_is_found() {
        let costs = Costs { is_lead_kept: true, ..Costs::default() };
        for (peer, term) in [(202, 6), (201, 7)] {
            let mut judge = CostJudge::new(costs);
            assert_eq!(see(&mut judge, leads(201, 6)), Ok(()));
            let follows = RoleChange { term: Term(7), ..RoleChange::default() };
            assert_eq!(see(&mut judge, (PeerId(202), follows)), Ok(()));
            assert_eq!(broken(see(&mut judge, leads(peer, term))), KEPT);
            let mut judge = CostJudge::default();
            assert_eq!(see(&mut judge, leads(201, 6)), Ok(()));
            assert_eq!(see(&mut judge, leads(peer, term)), Ok(()), "nothing is promised");
        }
    }

    #[test]
    fn silence_is_found_until_the_faults_are_over() {
        let second = Span::from_millis(1_000);
        let mut judge = CostJudge::new(Costs { silence_max: second, ..Costs::default() });
        let mut now = Moment(0);
        for _ in 0..3 {
            now = now + second;
            assert_eq!(judge.on_served(now), Ok(()));
        }
        now = now + second + Span(1);
        assert_eq!(broken(judge.on_served(now)), SERVED);
        judge.close();
        assert_eq!(judge.on_served(now + second * 9), Ok(()));
    }
}
