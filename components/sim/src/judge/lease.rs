//! Lease exclusion: at no moment of true time may readers trust two permits for one key: of two stores for a region,
//! or of a region and another that it was split from.
//!
//! The judge sees what stores show their readers, and knows how fast each store's clock runs.

use std::collections::BTreeMap;

use flotilla_base::{KeyRange, Moment, StoreId};
use flotilla_multiraft::Delegate;

use super::{Place, Verdict, require};

const EXCLUSION: &str = "lease exclusion: one permit for a key at a time";

/// What a store shows its readers.
#[derive(Clone, Debug)]
struct Shown {
    delegate: Delegate,
    /// What the region owns in the permit's version; nothing where that is not known.
    range: Option<KeyRange>,
    /// First moment of true time at which the store's clock ends the lease.
    ends: Moment,
}

/// What all stores show their readers.
#[derive(Debug, Default)]
pub struct LeaseJudge {
    shown: BTreeMap<Place, Shown>,
}

impl LeaseJudge {
    /// A store shows its readers a delegate for the keys of `range` whose lease ends at `ends`, in true time.
    ///
    /// # Errors
    /// Readers may still trust another one.
    pub fn on_permit(
        &mut self,
        place: Place,
        (delegate, range): (Delegate, Option<&KeyRange>),
        now: Moment,
        ends: Moment,
    ) -> Verdict {
        let range = range.cloned();
        self.shown.insert(place, Shown { delegate, range: range.clone(), ends });
        if delegate.permit.is_none() || ends <= now {
            return Ok(());
        }
        let overlaps = |other: &Place, it: &Shown| match (&range, &it.range) {
            (Some(range), Some(other)) => range.overlaps(other),
            _ => other.1 == place.1,
        };
        let mut others = self.shown.iter().filter(|(other, _)| **other != place);
        let rival = others.find(|(other, it)| {
            it.delegate.permit.is_some() && it.ends > now && overlaps(other, it)
        });
        require(rival.is_none(), EXCLUSION, || {
            format!("{place} at {now}: {delegate:?} until {ends}, beside {rival:?}")
        })
    }

    /// A store is gone, and its readers with it.
    pub fn on_crash(&mut self, store: StoreId) {
        self.shown.retain(|Place(other, _), _| *other != store);
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::RegionId;

    use super::*;
    use crate::judge::permits::samples::{permitted, withdrawn};
    use crate::judge::samples::{ONE, OTHER, broken};

    #[test]
    fn two_permits_at_once_are_found_by_true_time() {
        let mut judge = LeaseJudge::default();
        assert_eq!(judge.on_permit(ONE, (permitted(0, 6), None), Moment(10), Moment(100)), Ok(()));
        let elsewhere = Place(StoreId(2), RegionId(3));
        assert_eq!(
            judge.on_permit(elsewhere, (permitted(0, 6), None), Moment(10), Moment(100)),
            Ok(())
        );
        let rival = judge.on_permit(OTHER, (permitted(0, 7), None), Moment(99), Moment(200));
        assert_eq!(broken(rival), EXCLUSION);
    }

    #[test]
    fn a_region_and_its_child_at_once_are_found() {
        let child = Place(ONE.0, RegionId(9));
        let ranges = ["f", "p"].map(|end| KeyRange::new("a", end));
        for (other, is_rival) in [(KeyRange::new("p", ""), false), (KeyRange::new("o", ""), true)] {
            let mut judge = LeaseJudge::default();
            let parent = (permitted(0, 6), Some(&other));
            assert_eq!(judge.on_permit(ONE, parent, Moment(10), Moment(100)), Ok(()));
            let shown = (permitted(0, 6), Some(&ranges[0]));
            assert_eq!(judge.on_permit(child, shown, Moment(11), Moment(100)), Ok(()));
            let shown = (permitted(0, 6), Some(&ranges[1]));
            let verdict = judge.on_permit(child, shown, Moment(12), Moment(100));
            assert_eq!(verdict.is_err(), is_rival);
        }
    }

    #[test]
    fn one_after_the_other_is_no_crime() {
        for end in 0..3 {
            let mut judge = LeaseJudge::default();
            assert_eq!(
                judge.on_permit(ONE, (permitted(0, 6), None), Moment(10), Moment(100)),
                Ok(())
            );
            let mut now = Moment(50);
            match end {
                0 => assert_eq!(judge.on_permit(ONE, (withdrawn(1), None), now, Moment(0)), Ok(())),
                1 => judge.on_crash(ONE.0),
                _ => now = Moment(100),
            }
            assert_eq!(judge.on_permit(OTHER, (permitted(0, 7), None), now, Moment(200)), Ok(()));
        }
    }
}
