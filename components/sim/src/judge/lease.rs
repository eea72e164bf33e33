//! Lease exclusion: at no moment of true time may readers of two stores trust a permit for one region.
//!
//! The judge sees what stores show their readers, and knows how fast each store's clock runs.

use std::collections::BTreeMap;

use flotilla_base::{Moment, RegionId, StoreId};
use flotilla_multiraft::Delegate;

use super::{Place, Verdict, require};

const EXCLUSION: &str = "lease exclusion: one permit for a region at a time";

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
}

impl LeaseJudge {
    /// A store shows its readers a delegate whose lease ends at `ends`, in true time.
    ///
    /// # Errors
    /// Readers of another store may still trust theirs.
    pub fn on_permit(
        &mut self,
        place: Place,
        delegate: Delegate,
        now: Moment,
        ends: Moment,
    ) -> Verdict {
        let Place(store, region) = place;
        self.shown.insert((region, store), Shown { delegate, ends });
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::permits::samples::{permitted, withdrawn};
    use crate::judge::samples::{ONE, OTHER, broken};

    #[test]
    fn two_permits_at_once_are_found_by_true_time() {
        let mut judge = LeaseJudge::default();
        assert_eq!(judge.on_permit(ONE, permitted(0, 6), Moment(10), Moment(100)), Ok(()));
        let elsewhere = Place(StoreId(2), RegionId(3));
        assert_eq!(judge.on_permit(elsewhere, permitted(0, 6), Moment(10), Moment(100)), Ok(()));
        let rival = judge.on_permit(OTHER, permitted(0, 7), Moment(99), Moment(200));
        assert_eq!(broken(rival), EXCLUSION);
    }

    #[test]
    fn one_after_the_other_is_no_crime() {
        for end in 0..3 {
            let mut judge = LeaseJudge::default();
            assert_eq!(judge.on_permit(ONE, permitted(0, 6), Moment(10), Moment(100)), Ok(()));
            let mut now = Moment(50);
            match end {
                0 => assert_eq!(judge.on_permit(ONE, withdrawn(1), now, Moment(0)), Ok(())),
                1 => judge.on_crash(ONE.0),
                _ => now = Moment(100),
            }
            assert_eq!(judge.on_permit(OTHER, permitted(0, 7), now, Moment(200)), Ok(()));
        }
    }
}
