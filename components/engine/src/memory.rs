//! The engine's twin in memory: the model in tests, and a store for tests that need no disk.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{Family, KeyRange, KvRead, ReadError, ScanDirection, Tables};
use parking_lot::RwLock;

use crate::{EngineError, WriteBatch};

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
        Arc::make_mut(&mut self.tables.write()).apply(batch.mutations());
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
        self.tables.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.tables.scan(family, range, direction, visit)
    }
}
