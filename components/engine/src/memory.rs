//! The engine's twin in memory: the model in tests, and a store for tests that need no disk.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange, KvRead, Mutation, ReadError, ScanDirection};
use parking_lot::RwLock;

use crate::{EngineError, WriteBatch};

type Tables = BTreeMap<Family, BTreeMap<Key, Bytes>>;

/// Holds what [`crate::Engine`] would hold. Clones share the data.
#[derive(Clone, Debug, Default)]
pub struct MemEngine {
    /// Copied on the first write after a snapshot was taken.
    tables: Arc<RwLock<Arc<Tables>>>,
}

/// The state of a [`MemEngine`] at one instant.
#[derive(Clone, Debug)]
pub struct MemSnapshot {
    tables: Arc<Tables>,
}

impl MemEngine {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a batch atomically.
    ///
    /// # Errors
    /// [`EngineError::RefusedBatch`] for the same batches as the real engine; nothing else.
    pub fn write(&self, batch: &WriteBatch) -> Result<(), EngineError> {
        batch.check()?;
        let mut shared = self.tables.write();
        let tables = Arc::make_mut(&mut shared);
        for mutation in batch.mutations() {
            match mutation {
                Mutation::Put(family, key, value) => {
                    tables.entry(*family).or_default().insert(key.clone(), value.clone());
                }
                Mutation::Delete(family, key) => {
                    tables.entry(*family).or_default().remove(key);
                }
                Mutation::DeleteRange(family, range) => {
                    tables.entry(*family).or_default().retain(|key, _| !range.contains(key));
                }
            }
        }
        Ok(())
    }

    /// The state of this instant.
    #[must_use]
    pub fn snapshot(&self) -> MemSnapshot {
        MemSnapshot { tables: Arc::clone(&self.tables.read()) }
    }
}

impl KvRead for MemEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.snapshot().get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.snapshot().scan(family, range, direction, visit)
    }
}

impl KvRead for MemSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.tables.get(&family).and_then(|table| table.get(key)).cloned())
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        // `BTreeMap::range` panics on an inverted range.
        let Some(table) = self.tables.get(&family).filter(|_| !range.is_empty()) else {
            return Ok(());
        };
        let end = match range.end.as_ref() {
            [] => Bound::Unbounded,
            end => Bound::Excluded(end),
        };
        let mut pairs = table.range::<[u8], _>((Bound::Included(range.start.as_ref()), end));
        loop {
            let next = match direction {
                ScanDirection::Forward => pairs.next(),
                ScanDirection::Reverse => pairs.next_back(),
            };
            match next {
                Some((key, value)) if visit(key, value) => {}
                _ => return Ok(()),
            }
        }
    }
}
