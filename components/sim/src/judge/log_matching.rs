//! Logs as they are written: entries of one index and term are equal everywhere, and so is what stands
//! before them; a promise is never taken back.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_base::{Family, Index, KvRead, Mutation, PeerId, RegionId, StoreId, Term};
use flotilla_raftgroup::disk;

use super::{Place, Verdict, Violation, require};

const MATCHING: &str = "log matching";
const PROMISE: &str = "I2: a peer never forgets its (term, vote)";

/// What was ever written.
#[derive(Debug, Default)]
pub struct LogJudge {
    /// Per region, index and term: the record, and the term of the entry before.
    entries: BTreeMap<(RegionId, Index, Term), (Bytes, Term)>,
    /// Newest promise that each store was seen to hold durably.
    promises: BTreeMap<(StoreId, RegionId), (Term, PeerId)>,
}

impl LogJudge {
    /// A batch was written to a store; `image` already shows it.
    ///
    /// # Errors
    /// It contradicts an earlier one of any store.
    pub fn on_write(&mut self, store: StoreId, batch: &[Mutation], image: &dyn KvRead) -> Verdict {
        for mutation in batch {
            if let Mutation::Put(Family::RaftLog, key, record) = mutation {
                self.check_entry(store, key, record, image)?;
            }
        }
        Ok(())
    }

    fn check_entry(
        &mut self,
        store: StoreId,
        key: &[u8],
        record: &Bytes,
        image: &dyn KvRead,
    ) -> Verdict {
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
        let (region, index) = (RegionId(number(&key[..8])), Index(number(&key[8..])));
        let place = Place(store, region);
        let damaged = |what: String| Violation { rule: MATCHING, what };
        let entry = disk::decode_entry(index, record)
            .map_err(|error| damaged(format!("{place}: entry {index}: {error}")))?;
        let previous = Index(index.get() - 1);
        let term_before = match disk::read_entry(image, region, previous) {
            Ok(entry) => entry.term,
            Err(_missing) => disk::read_apply_state(image, region)
                .ok()
                .flatten()
                .filter(|state| state.truncated.index == previous)
                .map(|state| state.truncated.term)
                .ok_or_else(|| damaged(format!("{place}: a hole before entry {index}")))?,
        };
        let written = (record.clone(), term_before);
        let known =
            self.entries.entry((region, index, entry.term)).or_insert_with(|| written.clone());
        require(*known == written, MATCHING, || {
            format!("{place}: entry {index} of term {} differs from another store's", entry.term)
        })
    }

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
}
