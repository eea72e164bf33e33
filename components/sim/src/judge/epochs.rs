//! Epochs: an epoch names one shape of a region, and within a run no peer goes back to an older one.

use std::collections::BTreeMap;

use flotilla_base::{Epoch, Region, RegionId, StoreId};

use super::{Place, Verdict, require};

const SHAPE: &str = "an epoch names one shape of a region";
const BACK: &str = "epochs are monotone";

/// What peers said about their regions.
#[derive(Debug, Default)]
pub struct EpochJudge {
    shapes: BTreeMap<RegionId, Vec<Region>>,
    newest: BTreeMap<(StoreId, RegionId), Epoch>,
}

impl EpochJudge {
    /// A peer says what its region looks like.
    ///
    /// # Errors
    /// Another peer said otherwise of the same epoch, or the epoch is older than its last one.
    pub fn on_region(&mut self, store: StoreId, region: &Region) -> Verdict {
        self.on_shape(store, region)?;
        self.on_epoch(Place(store, region.id), region.epoch)
    }

    /// A store tells of a shape that a region has, or has had.
    ///
    /// # Errors
    /// Another peer said otherwise of the same epoch.
    pub fn on_shape(&mut self, store: StoreId, region: &Region) -> Verdict {
        let shapes = self.shapes.entry(region.id).or_default();
        match shapes.iter().find(|known| known.epoch == region.epoch) {
            None => shapes.push(region.clone()),
            Some(known) => require(known == region, SHAPE, || {
                format!("store {store}: {region:?}, elsewhere {known:?}")
            })?,
        }
        Ok(())
    }

    /// A peer makes a message with this epoch. A peer without data knows none.
    ///
    /// # Errors
    /// It is older than its last one.
    pub fn on_epoch(&mut self, place: Place, epoch: Epoch) -> Verdict {
        let Place(store, region) = place;
        let before = self.newest.insert((store, region), epoch).unwrap_or_default();
        let grows = epoch.version >= before.version && epoch.conf_ver >= before.conf_ver;
        require(grows, BACK, || format!("{place}: was {before:?}, is {epoch:?}"))
    }

    /// A peer is destroyed: the next one there knows nothing of what it knew.
    pub fn on_destroyed(&mut self, Place(store, region): Place) {
        self.newest.remove(&(store, region));
    }

    /// A store starts anew, from what it has applied durably.
    pub fn on_crash(&mut self, store: StoreId) {
        self.newest.retain(|(other, _), _| *other != store);
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{ConfVer, Version};

    use super::*;
    use crate::judge::samples::{ONE, broken, region};

    #[test]
    fn two_shapes_of_one_epoch_are_found() {
        let mut judge = EpochJudge::default();
        assert_eq!(judge.on_region(StoreId(1), &region()), Ok(()));
        assert_eq!(judge.on_region(StoreId(2), &region()), Ok(()));
        let mut other = region();
        other.peers.pop();
        assert_eq!(broken(judge.on_region(StoreId(3), &other)), SHAPE);
        other.epoch.conf_ver = ConfVer(2);
        assert_eq!(judge.on_region(StoreId(3), &other), Ok(()));
    }

    #[test]
    fn an_epoch_that_goes_back_is_found() {
        let epoch =
            |version, conf_ver| Epoch { version: Version(version), conf_ver: ConfVer(conf_ver) };
        for older in [epoch(2, 1), epoch(1, 3)] {
            let mut judge = EpochJudge::default();
            assert_eq!(judge.on_epoch(ONE, Epoch::default()), Ok(()));
            assert_eq!(judge.on_epoch(ONE, epoch(2, 2)), Ok(()));
            assert_eq!(broken(judge.on_epoch(ONE, older)), BACK);
            judge.on_destroyed(ONE);
            assert_eq!(judge.on_epoch(ONE, Epoch::default()), Ok(()), "another peer");
            assert_eq!(judge.on_epoch(ONE, epoch(2, 2)), Ok(()));
            judge.on_crash(ONE.0);
            assert_eq!(judge.on_epoch(ONE, epoch(1, 1)), Ok(()), "applied again after a crash");
        }
    }
}
