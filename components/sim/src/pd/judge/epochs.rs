//! I7: the epoch of a region only grows, both of its numbers: in what one run of a store reports, and in
//! what one reign of the placement driver answers.

use std::collections::BTreeMap;

use flotilla_base::{Epoch, Region, RegionId, StoreId};

use super::region_map::ReignKey;
use crate::event::Run;
use crate::judge::{Verdict, require};

const REPORTED: &str = "I7: a store reports no earlier epoch than before";
const ANSWERED: &str = "I7: no earlier epoch is answered than before";

/// The newest epochs.
#[derive(Debug, Default)]
pub struct EpochJudge {
    reported: BTreeMap<(StoreId, Run, RegionId), Epoch>,
    answered: BTreeMap<(ReignKey, RegionId), Epoch>,
}

impl EpochJudge {
    /// A run of a store makes a report.
    ///
    /// # Errors
    /// It is behind an earlier one.
    pub fn on_report(&mut self, store: StoreId, run: Run, region: &Region) -> Verdict {
        let before = self.reported.insert((store, run, region.id), region.epoch);
        require(grows(before, region.epoch), REPORTED, || {
            format!("store {store} region {}: {before:?}, then {}", region.id, region.epoch)
        })
    }

    /// A region is answered in a reign.
    ///
    /// # Errors
    /// A later epoch was answered before.
    pub fn on_answer(&mut self, reign: ReignKey, region: &Region) -> Verdict {
        let before = self.answered.insert((reign, region.id), region.epoch);
        require(grows(before, region.epoch), ANSWERED, || {
            format!("{reign:?} region {}: {before:?}, then {}", region.id, region.epoch)
        })
    }
}

fn grows(before: Option<Epoch>, after: Epoch) -> bool {
    before.is_none_or(|before| before.version <= after.version && before.conf_ver <= after.conf_ver)
}

#[cfg(test)]
mod tests {
    use flotilla_base::{ConfVer, PeerId, Term, Version};

    use super::*;

    fn region(version: u64, conf_ver: u64) -> Region {
        let epoch = Epoch { version: Version(version), conf_ver: ConfVer(conf_ver) };
        Region { id: RegionId(2), epoch, ..Region::default() }
    }

    #[test]
    fn an_epoch_that_goes_back_is_found() {
        for (version, conf_ver) in [(2, 9), (9, 2)] {
            let mut judge = EpochJudge::default();
            let key = ReignKey { member: PeerId(1), run: Run(1), term: Term(6) };
            assert_eq!(judge.on_answer(key, &region(3, 3)), Ok(()));
            let verdict = judge.on_answer(key, &region(version, conf_ver));
            assert_eq!(verdict.map_err(|violation| violation.rule), Err(ANSWERED));
            let next = ReignKey { term: Term(7), ..key };
            assert_eq!(judge.on_answer(next, &region(version, conf_ver)), Ok(()));

            assert_eq!(judge.on_report(StoreId(1), Run(1), &region(3, 3)), Ok(()));
            assert_eq!(judge.on_report(StoreId(2), Run(1), &region(version, conf_ver)), Ok(()));
            let verdict = judge.on_report(StoreId(1), Run(1), &region(version, conf_ver));
            assert_eq!(verdict.map_err(|violation| violation.rule), Err(REPORTED));
        }
    }
}
