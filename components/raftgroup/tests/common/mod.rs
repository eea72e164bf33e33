//! A disk in memory: a crash keeps what was synced and a prefix of the batches behind it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange, KvRead, Mutation, ReadError, ScanDirection};

type Pairs = BTreeMap<(Family, Key), Bytes>;

/// A view of all families.
#[derive(Default)]
pub(crate) struct View(Mutex<Pairs>);

/// What is written, and which part of it a crash would leave.
#[derive(Default)]
pub(crate) struct Disk {
    /// Everything that was written.
    pub(crate) view: Arc<View>,
    /// What surely survives.
    pub(crate) synced: View,
    pending: VecDeque<Vec<Mutation>>,
}

impl Disk {
    pub(crate) fn write(&mut self, batch: Vec<Mutation>) {
        self.view.apply(&batch);
        self.pending.push_back(batch);
    }

    /// Makes the oldest batch durable.
    pub(crate) fn sync_one(&mut self) {
        if let Some(batch) = self.pending.pop_front() {
            self.synced.apply(&batch);
        }
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// Loses power: the oldest `kept` of the batches behind the last sync survive.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.pending.truncate(kept);
        while !self.pending.is_empty() {
            self.sync_one();
        }
        self.view = Arc::new(View(Mutex::new(self.synced.pairs().clone())));
    }
}

impl View {
    fn pairs(&self) -> MutexGuard<'_, Pairs> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    fn apply(&self, batch: &[Mutation]) {
        apply(&mut self.pairs(), batch);
    }
}

fn apply(pairs: &mut Pairs, batch: &[Mutation]) {
    for mutation in batch {
        match mutation {
            Mutation::Put(family, key, value) => {
                pairs.insert((*family, key.clone()), value.clone());
            }
            Mutation::Delete(family, key) => {
                pairs.remove(&(*family, key.clone()));
            }
            Mutation::DeleteRange(family, range) => {
                pairs.retain(|(kept, key), _| kept != family || !range.contains(key));
            }
        }
    }
}

impl KvRead for View {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let key = Bytes::copy_from_slice(key);
        Ok(self
            .0
            .lock()
            .expect("no test panics while it holds the disk")
            .get(&(family, key))
            .cloned())
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let pairs = self.pairs();
        let from = Bound::Included((family, range.start.clone()));
        let found = pairs.range((from, Bound::Unbounded));
        let found = found.take_while(|((kept, _), _)| *kept == family);
        let mut found: Vec<_> = found.filter(|((_, key), _)| range.contains(key)).collect();
        if direction == ScanDirection::Reverse {
            found.reverse();
        }
        found.into_iter().all(|((_, key), value)| visit(key, value));
        Ok(())
    }
}
