//! Log matching: entries of one index and term are equal in all logs ever written, and so is what stands
//! before them.
//!
//! An entry that a crash takes, and of which nobody else ever heard, was never there: the only voter of a
//! group may lead the same term again, since it had not promised anybody not to.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_base::{Family, Index, KvRead, Mutation, RegionId, StoreId, Term};
use flotilla_multiraft::PeerMessage;
use flotilla_raftgroup::disk;

use super::{Place, Verdict, Violation, require};

const MATCHING: &str = "log matching";

/// What was ever written.
#[derive(Debug, Default)]
pub struct LogMatchingJudge {
    /// Per region, index and term: the record, and the term of the entry before.
    entries: BTreeMap<(RegionId, Index, Term), (Bytes, Term)>,
    /// Entries that one store alone knows of.
    secrets: BTreeSet<(StoreId, RegionId, Index, Term)>,
}

impl LogMatchingJudge {
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

    /// A message leaves its store: what it carries is no secret any more.
    pub fn on_message(&mut self, message: &PeerMessage) {
        for entry in &message.message.entries {
            let (store, region) = (message.from.store, message.region);
            self.secrets.remove(&(store, region, entry.index, entry.term));
        }
    }

    /// A store is gone; `image` is what its disk kept.
    pub fn on_crash(&mut self, store: StoreId, image: &dyn KvRead) {
        let first = (store, RegionId(0), Index(0), Term(0));
        let of_store = self.secrets.range(first..).take_while(|it| it.0 == store).copied();
        let is_gone = |(_, region, index, term): &(StoreId, RegionId, Index, Term)| {
            let found = disk::read_entry(image, *region, *index);
            found.map_or(true, |entry| entry.term != *term)
        };
        for secret in of_store.filter(is_gone).collect::<Vec<_>>() {
            self.secrets.remove(&secret);
            let (_, region, index, term) = secret;
            self.entries.remove(&(region, index, term));
        }
    }

    fn check_entry(
        &mut self,
        store: StoreId,
        key: &[u8],
        record: &Bytes,
        image: &dyn KvRead,
    ) -> Verdict {
        let (region, index) = position_of(key);
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
        let known = match self.entries.entry((region, index, entry.term)) {
            Entry::Occupied(known) => &*known.into_mut(),
            Entry::Vacant(vacant) => {
                self.secrets.insert((store, region, index, entry.term));
                vacant.insert(written.clone())
            }
        };
        require(*known == written, MATCHING, || {
            format!("{place}: entry {index} of term {} differs from another store's", entry.term)
        })
    }
}

/// Region and index in the key of an entry.
#[must_use]
pub fn position_of(key: &[u8]) -> (RegionId, Index) {
    let number = |bytes: Option<&[u8]>| {
        bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
    };
    (RegionId(number(key.get(..8))), Index(number(key.get(8..))))
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use flotilla_raftgroup::MessageKind;

    use super::*;
    use crate::judge::samples::{
        ONE, OTHER, append, apply_state, broken, disk, entry, message, position,
    };

    fn write(
        judge: &mut LogMatchingJudge,
        place: Place,
        entries: &[flotilla_raftgroup::Entry],
    ) -> Verdict {
        let batch = append(5, entries);
        let disk = disk([vec![apply_state(position(5, 5), 0)], batch.clone()]);
        judge.on_write(place.0, &batch, disk.image().as_ref())
    }

    #[test]
    fn equal_logs_match_and_others_do_not() {
        let (first, second) = (entry(6, 6, "k", "1:"), entry(6, 7, "k", "2:"));
        for differs in [
            vec![entry(6, 6, "k", "3:")],
            vec![first.clone(), entry(6, 7, "k", "3:")],
            // The same entry behind another one.
            vec![entry(5, 6, "k", "3:"), second.clone()],
        ] {
            let mut judge = LogMatchingJudge::default();
            let log = [first.clone(), second.clone()];
            assert_eq!(write(&mut judge, ONE, &log), Ok(()));
            assert_eq!(write(&mut judge, OTHER, &log), Ok(()));
            assert_eq!(broken(write(&mut judge, OTHER, &differs)), MATCHING);
        }
    }

    #[test]
    fn what_a_crash_takes_may_be_written_anew_unless_somebody_heard_of_it() {
        let (lost, new) = (entry(6, 6, "k", "1:"), entry(6, 6, "k", "2:"));
        for is_sent in [false, true] {
            let mut judge = LogMatchingJudge::default();
            assert_eq!(write(&mut judge, ONE, from_ref(&lost)), Ok(()));
            if is_sent {
                let mut append = message(MessageKind::Append, 6);
                append.message.entries = vec![lost.clone()];
                judge.on_message(&append);
            }
            judge.on_crash(OTHER.0, disk([]).synced());
            judge.on_crash(ONE.0, disk([]).synced());
            assert_eq!(write(&mut judge, ONE, from_ref(&new)).is_err(), is_sent);
        }
        let mut judge = LogMatchingJudge::default();
        assert_eq!(write(&mut judge, ONE, from_ref(&lost)), Ok(()));
        judge.on_crash(ONE.0, disk([append(5, &[lost])]).synced());
        assert_eq!(broken(write(&mut judge, ONE, &[new])), MATCHING, "it is still there");
    }

    #[test]
    fn a_hole_is_found() {
        let mut judge = LogMatchingJudge::default();
        assert_eq!(broken(write(&mut judge, ONE, &[entry(6, 7, "k", "1:")])), MATCHING);
    }
}
