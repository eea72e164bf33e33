//! A store's disk: what is written, and which part of it a crash would leave.
//!
//! All batches go through one write-ahead log. So a crash keeps what was synced and a prefix of what was
//! written behind it, each batch whole or not at all.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange, KvRead, Mutation, ReadError, Rng, ScanDirection};

/// The content of all families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    families: [BTreeMap<Key, Bytes>; Family::ALL.len()],
}

impl Layer {
    /// The pairs of a family.
    #[must_use]
    pub fn family(&self, family: Family) -> &BTreeMap<Key, Bytes> {
        &self.families[family as usize]
    }

    fn apply(&mut self, batch: &[Mutation]) {
        for mutation in batch {
            match mutation {
                Mutation::Put(family, key, value) => {
                    self.families[*family as usize].insert(key.clone(), value.clone());
                }
                Mutation::Delete(family, key) => {
                    self.families[*family as usize].remove(key);
                }
                Mutation::DeleteRange(family, range) => {
                    self.families[*family as usize].retain(|key, _| !range.contains(key));
                }
            }
        }
    }
}

impl KvRead for Layer {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.family(family).get(key).cloned())
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let pairs = self.family(family);
        let end = if range.end.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(range.end.as_ref())
        };
        let mut found = pairs.range::<[u8], _>((Bound::Included(range.start.as_ref()), end));
        loop {
            let next = match direction {
                ScanDirection::Forward => found.next(),
                ScanDirection::Reverse => found.next_back(),
            };
            let Some((key, value)) = next else { return Ok(()) };
            if !visit(key, value) {
                return Ok(());
            }
        }
    }
}

/// What reads see: everything that was written, synced or not. Shared with the groups of a store, which
/// ask for old log entries.
#[derive(Debug, Default)]
pub struct Image {
    layer: Mutex<Layer>,
}

impl Image {
    /// Calls `look` with the content.
    pub fn look<R>(&self, look: impl FnOnce(&Layer) -> R) -> R {
        look(&self.layer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Layer)) {
        change(&mut self.layer.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl KvRead for Image {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.look(|layer| layer.get(family, key))
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.look(|layer| layer.scan(family, range, direction, visit))
    }
}

/// Number of a written batch; grows by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchNumber(pub u64);

/// The disk of one store.
///
/// Invariant: `image` is `synced` with all of `pending` applied in order.
#[derive(Debug, Default)]
pub struct SimDisk {
    image: Arc<Image>,
    synced: Layer,
    pending: VecDeque<Vec<Mutation>>,
    written: BatchNumber,
}

impl SimDisk {
    /// What reads see.
    #[must_use]
    pub const fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// What surely survives a crash.
    #[must_use]
    pub const fn synced(&self) -> &Layer {
        &self.synced
    }

    /// The last written batch.
    #[must_use]
    pub const fn written(&self) -> BatchNumber {
        self.written
    }

    /// Writes a batch behind the others. Reads see it at once; a crash may lose it.
    pub fn write(&mut self, batch: Vec<Mutation>) -> BatchNumber {
        self.image.change(|layer| layer.apply(&batch));
        self.pending.push_back(batch);
        self.written = BatchNumber(self.written.0 + 1);
        self.written
    }

    /// Makes everything up to `number` durable.
    pub fn sync(&mut self, number: BatchNumber) {
        let behind = usize::try_from(self.written.0 - number.0).unwrap_or(usize::MAX);
        let count = self.pending.len().saturating_sub(behind);
        for batch in self.pending.drain(..count) {
            self.synced.apply(&batch);
        }
    }

    /// Loses power: of what was not synced a random prefix survives. Readers of the old image keep a
    /// view that no longer changes.
    pub fn crash(&mut self, rng: &mut Rng) -> usize {
        let kept = usize::try_from(rng.below(self.pending.len() as u64 + 1)).unwrap_or(0);
        for batch in self.pending.drain(..kept) {
            self.synced.apply(&batch);
        }
        let lost = self.pending.len();
        self.pending.clear();
        let image = Image::default();
        image.change(|layer| layer.clone_from(&self.synced));
        self.image = Arc::new(image);
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Vec<Mutation> {
        vec![Mutation::Put(Family::Raw, key.into(), "v".into())]
    }

    #[test]
    fn a_crash_keeps_a_prefix_of_what_was_not_synced() {
        let mut outcomes = BTreeMap::new();
        for seed in 0..50 {
            let mut disk = SimDisk::default();
            let first = disk.write(put("a"));
            for key in ["b", "c"] {
                disk.write(put(key));
            }
            disk.sync(first);
            assert_eq!(disk.synced().family(Family::Raw).len(), 1);
            let lost = disk.crash(&mut Rng::new(seed));
            let kept: Vec<Key> =
                disk.image().look(|layer| layer.family(Family::Raw).keys().cloned().collect());
            assert_eq!(kept, ["a", "b", "c"][..3 - lost], "seed {seed}");
            *outcomes.entry(lost).or_insert(0) += 1;
        }
        assert_eq!(outcomes.len(), 3, "every prefix occurs: {outcomes:?}");
    }
}
