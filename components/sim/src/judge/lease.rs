//! Lease exclusion: at no moment of true time may readers of two stores trust a permit for one region. And
//! what is served by a permit is not older than what anybody had been told before that read began.
//!
//! The judge sees what stores show their readers, and knows how fast each store's clock runs.

use std::collections::BTreeMap;

use flotilla_base::{Index, Moment, RegionId, StoreId};
use flotilla_multiraft::Delegate;

use super::{Place, Verdict, require};

const EXCLUSION: &str = "lease exclusion: one permit for a region at a time";
const GENERATION: &str = "a permit that is withdrawn never comes back under its generation";
const STALE: &str = "no read by permit is stale";

/// What a store shows its readers.
#[derive(Clone, Copy, Debug)]
struct Shown {
    delegate: Delegate,
    /// First moment of true time at which the store's clock ends the lease.
    ends: Moment,
}

/// What all stores show their readers.
#[derive(Debug, Default)]
pub struct LeaseJudge {
    shown: BTreeMap<(RegionId, StoreId), Shown>,
    served: u64,
}

impl LeaseJudge {
    /// A store shows its readers a delegate whose lease ends at `ends`, in true time.
    ///
    /// # Errors
    /// Readers of another store may still trust theirs; or the generation tells nobody of a withdrawal.
    pub fn on_permit(
        &mut self,
        place: Place,
        delegate: Delegate,
        now: Moment,
        ends: Moment,
    ) -> Verdict {
        let Place(store, region) = place;
        let before = self.shown.insert((region, store), Shown { delegate, ends });
        if let Some(before) = before {
            let earlier = before.delegate;
            let is_withdrawn = earlier.permit.is_some() && delegate.permit.is_none();
            let is_told = delegate.generation > earlier.generation;
            let grows = delegate.generation >= earlier.generation;
            require(grows && (is_told || !is_withdrawn), GENERATION, || {
                format!("{place}: {earlier:?}, then {delegate:?}")
            })?;
        }
        if delegate.permit.is_none() || ends <= now {
            return Ok(());
        }
        let others = self.shown.range((region, StoreId(0))..=(region, StoreId(u64::MAX)));
        let mut others = others.filter(|((_, other), _)| *other != store);
        let rival = others.find(|(_, it)| it.delegate.permit.is_some() && it.ends > now);
        require(rival.is_none(), EXCLUSION, || {
            format!("{place} at {now}: {delegate:?} until {ends}, beside {rival:?}")
        })
    }

    /// A store is gone, and its readers with it.
    pub fn on_crash(&mut self, store: StoreId) {
        self.shown.retain(|(_, other), _| *other != store);
    }

    /// A read by permit returned what was written at `position`; `floor` was known when it began.
    ///
    /// # Errors
    /// Something newer was known.
    pub fn on_served(&mut self, place: Place, floor: Index, position: Index) -> Verdict {
        self.served += 1;
        require(position >= floor, STALE, || {
            format!("{place}: a read saw {position}, {floor} was known when it began")
        })
    }

    /// Reads that were served by permit.
    #[must_use]
    pub const fn served(&self) -> u64 {
        self.served
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{PeerId, Term, Version};
    use flotilla_multiraft::Permit;

    use super::*;

    const FIRST: Place = Place(StoreId(1), RegionId(2));
    const SECOND: Place = Place(StoreId(2), RegionId(2));

    fn delegate(generation: u64, term: u64) -> Delegate {
        let (term, version) = (Term(term), Version(1));
        let (peer, commit, until) = (PeerId(1), Index(7), Moment(0));
        Delegate { generation, permit: Some(Permit { peer, term, version, commit, until }) }
    }

    fn withdrawn(generation: u64) -> Delegate {
        Delegate { generation, permit: None }
    }

    #[test]
    fn two_permits_at_once_are_found_by_true_time() {
        let mut judge = LeaseJudge::default();
        assert_eq!(judge.on_permit(FIRST, delegate(0, 6), Moment(10), Moment(100)), Ok(()));
        let elsewhere = Place(StoreId(2), RegionId(3));
        assert_eq!(judge.on_permit(elsewhere, delegate(0, 6), Moment(10), Moment(100)), Ok(()));
        let rival = judge.on_permit(SECOND, delegate(0, 7), Moment(99), Moment(200));
        assert_eq!(rival.map_err(|violation| violation.rule), Err(EXCLUSION));
    }

    #[test]
    fn one_after_the_other_is_no_crime() {
        for end in 0..3 {
            let mut judge = LeaseJudge::default();
            assert_eq!(judge.on_permit(FIRST, delegate(0, 6), Moment(10), Moment(100)), Ok(()));
            let mut now = Moment(50);
            match end {
                0 => assert_eq!(judge.on_permit(FIRST, withdrawn(1), now, Moment(0)), Ok(())),
                1 => judge.on_crash(FIRST.0),
                _ => now = Moment(100),
            }
            assert_eq!(judge.on_permit(SECOND, delegate(0, 7), now, Moment(200)), Ok(()));
        }
    }

    #[test]
    fn a_withdrawal_without_a_new_generation_is_found() {
        for generation in [0, 1] {
            let mut judge = LeaseJudge::default();
            assert_eq!(judge.on_permit(FIRST, delegate(1, 6), Moment(10), Moment(100)), Ok(()));
            let verdict = judge.on_permit(FIRST, withdrawn(generation), Moment(20), Moment(0));
            assert_eq!(verdict.map_err(|violation| violation.rule), Err(GENERATION));
        }
    }

    #[test]
    fn a_read_that_misses_what_was_known_is_found() {
        let mut judge = LeaseJudge::default();
        assert_eq!(judge.on_served(FIRST, Index(7), Index(7)), Ok(()));
        let verdict = judge.on_served(FIRST, Index(7), Index(6));
        assert_eq!(verdict.map_err(|violation| violation.rule), Err(STALE));
        assert_eq!(judge.served(), 2);
    }
}
