//! Hard state never goes back: a (term, vote) that was durable is there after every crash.

use std::collections::BTreeMap;

use flotilla_base::{KvRead, PeerId, RegionId, StoreId, Term};
use flotilla_raftgroup::disk;

use super::membership::is_buried;
use super::{Place, Verdict, Violation, require};

const PROMISE: &str = "I2: a peer never forgets its (term, vote)";

/// What stores were seen to hold durably.
#[derive(Debug, Default)]
pub struct PromiseJudge {
    promises: BTreeMap<(StoreId, RegionId), (Term, PeerId)>,
}

impl PromiseJudge {
    /// A store made everything up to a point durable, or came back from a crash.
    ///
    /// # Errors
    /// An earlier promise is gone.
    pub fn on_synced(
        &mut self,
        store: StoreId,
        regions: &[RegionId],
        synced: &dyn KvRead,
    ) -> Verdict {
        for &region in regions {
            if is_buried(region, synced) {
                // It is gone for good, and its id with it.
                self.promises.remove(&(store, region));
                continue;
            }
            let state = disk::read_raft_state(synced, region)
                .map_err(|error| Violation { rule: PROMISE, what: error.to_string() })?
                .unwrap_or_default();
            let now = (state.hard_state.term, state.hard_state.vote);
            let before = self.promises.insert((store, region), now).unwrap_or_default();
            let is_kept = now.0 > before.0
                || (now.0 == before.0 && (before.1.is_none() || now.1 == before.1));
            require(is_kept, PROMISE, || {
                let place = Place(store, region);
                format!("{place}: was {before:?}, is {now:?}")
            })?;
        }
        Ok(())
    }

    /// The regions of which a store holds promises.
    pub fn regions(&self, store: StoreId) -> impl Iterator<Item = RegionId> {
        let of_store = (store, RegionId(0))..=(store, RegionId(u64::MAX));
        self.promises.range(of_store).map(|((_, region), _)| *region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{ONE, REGION, broken, disk, position, raft_state};

    fn see(judge: &mut PromiseJudge, term: u64, vote: u64) -> Verdict {
        let disk = disk([vec![raft_state(term, vote, position(5, 5))]]);
        judge.on_synced(ONE.0, &[REGION], disk.synced())
    }

    #[test]
    fn a_promise_that_is_taken_back_is_found() {
        for (term, vote) in [(7, 202), (7, 0), (6, 201)] {
            let mut judge = PromiseJudge::default();
            for (term, vote) in [(6, 0), (6, 202), (7, 0), (7, 201)] {
                assert_eq!(see(&mut judge, term, vote), Ok(()));
            }
            assert_eq!(broken(see(&mut judge, term, vote)), PROMISE);
        }
    }

    #[test]
    fn a_store_that_forgot_a_region_is_found() {
        let mut judge = PromiseJudge::default();
        assert_eq!(see(&mut judge, 7, 201), Ok(()));
        let known: Vec<RegionId> = judge.regions(ONE.0).collect();
        assert_eq!(broken(judge.on_synced(ONE.0, &known, disk([]).synced())), PROMISE);
    }
}
