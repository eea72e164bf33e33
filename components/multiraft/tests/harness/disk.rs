//! A disk in memory: a crash keeps what was synced and a prefix of the batches behind it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange, KvRead, Mutation, ReadError, ScanDirection};

type Pairs = BTreeMap<(Family, Key), Bytes>;

#[derive(Default)]
pub(crate) struct View(Mutex<Pairs>);

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) view: Arc<View>,
    synced: Pairs,
    pending: Vec<Vec<Mutation>>,
}

impl Disk {
    pub(crate) fn write(&mut self, batch: Vec<Mutation>) {
        apply(&mut self.view.0.lock().expect("no test panics while it holds the disk"), &batch);
        self.pending.push(batch);
    }

    pub(crate) fn sync(&mut self) {
        for batch in self.pending.drain(..) {
            apply(&mut self.synced, &batch);
        }
    }

    pub(crate) fn crash(&mut self, kept: usize) -> usize {
        let lost = self.pending.len().saturating_sub(kept);
        self.pending.truncate(kept);
        self.sync();
        self.view = Arc::new(View(Mutex::new(self.synced.clone())));
        lost
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
        let pairs = self.0.lock().expect("no test panics while it holds the disk");
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
