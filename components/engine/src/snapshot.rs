//! Snapshots that own their database.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{Family, KeyRange, KvRead, ReadError, ScanDirection};
use rocksdb::{DB, ReadOptions, ReadTier};

use crate::{engine::Database, read};

/// The state of all families at one instant. Cheap to clone; may be sent to other threads.
///
/// It keeps the database open, and keeps old versions on disk from being dropped: hold it for the
/// length of one piece of work only.
#[derive(Clone)]
pub struct Snapshot {
    pinned: Arc<Pinned>,
}

/// Fields are dropped in the order of their declaration: the snapshot is given back before this
/// share of the database goes.
struct Pinned {
    snapshot: rocksdb::Snapshot<'static>,
    database: Arc<Database>,
}

impl Snapshot {
    pub(crate) fn of(database: &Arc<Database>) -> Self {
        let database = Arc::clone(database);
        let borrowed: rocksdb::Snapshot<'_> = database.rocks().snapshot();
        #[expect(unsafe_code, reason = "the crate has no snapshot that owns its database")]
        // SAFETY: the snapshot borrows the `DB` inside the allocation of `database`, which neither
        // moves nor is changed while an `Arc` to it exists. `Pinned` holds such an `Arc` and drops it
        // after the snapshot. The extended lifetime stays inside `Pinned`: no method hands out
        // anything that borrows from the snapshot for longer than `&self`.
        let snapshot = unsafe {
            std::mem::transmute::<rocksdb::Snapshot<'_>, rocksdb::Snapshot<'static>>(borrowed)
        };
        Self { pinned: Arc::new(Pinned { snapshot, database }) }
    }

    /// The number of writes that the snapshot has seen; grows from snapshot to snapshot.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.pinned.snapshot.sequence_number()
    }

    /// Scans `range` upwards, as [`crate::Engine::scan_once`] does.
    ///
    /// # Errors
    /// The disk fails, or its data is damaged.
    pub fn scan_once(
        &self,
        family: Family,
        range: &KeyRange,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let mut options = read::once();
        options.set_snapshot(&self.pinned.snapshot);
        let scan = read::Scan { family, range, direction: ScanDirection::Forward };
        read::scan(self.rocks(), options, &scan, visit)
    }

    /// Bytes that data of `range` is going to take in tables, over all data families, about: what the tables' indexes say,
    /// and every pair that memtables hold. Reads memtables and indexes, no data.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn size_as_tables(&self, range: &KeyRange) -> Result<u64, ReadError> {
        let mut bytes = self.pinned.database.approximate_size(range);
        for family in Family::DATA {
            let mut options = ReadOptions::default();
            options.set_read_tier(ReadTier::Memtable);
            options.set_snapshot(&self.pinned.snapshot);
            let scan = read::Scan { family, range, direction: ScanDirection::Forward };
            read::scan(self.rocks(), options, &scan, &mut |key, value| {
                bytes += (key.len() + value.len()) as u64;
                true
            })?;
        }
        Ok(bytes)
    }

    fn rocks(&self) -> &DB {
        self.pinned.database.rocks()
    }

    fn read_options(&self, family: Family) -> ReadOptions {
        let mut options = read::read_options(family);
        options.set_snapshot(&self.pinned.snapshot);
        options
    }
}

impl KvRead for Snapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        read::get(self.rocks(), &self.read_options(family), family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let scan = read::Scan { family, range, direction };
        read::scan(self.rocks(), self.read_options(family), &scan, visit)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({})", self.sequence())
    }
}
