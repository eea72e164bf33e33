//! The engine: writes, syncs, reads, and housekeeping of one database.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use flotilla_base::{Family, KeyRange, KvRead, Mutation, ReadError, ScanDirection};
use rocksdb::{BottommostLevelCompaction, CompactOptions, DB, Options, Range, WriteOptions};

use crate::{
    CompactionDebt, CutTail, EngineError, EngineOptions, EngineStats, LogDeletion, Snapshot,
    WriteBatch, log_mark,
    read::{self, ABOVE_EVERY_KEY, handle},
    stats, tuning, wal_check,
};

/// One database with all families. Clones share it; it is closed when the last clone and the last
/// [`Snapshot`] are gone.
///
/// Every method may be called from any thread; none but [`Engine::sync`], [`Engine::flush`] and
/// [`Engine::compact`] waits for a disk on purpose, but any of them may meet one.
#[derive(Clone)]
pub struct Engine {
    database: Arc<Database>,
}

/// What clones and snapshots share.
pub(crate) struct Database {
    rocks: DB,
    path: PathBuf,
    log_deletion: LogDeletion,
    cut_tail: Option<CutTail>,
}

impl Database {
    pub(crate) fn rocks(&self) -> &DB {
        &self.rocks
    }

    /// What [`Engine::approximate_size`] says.
    pub(crate) fn approximate_size(&self, range: &KeyRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let rocks = &self.rocks;
        let is_bounded = !range.end.is_empty();
        let end = if is_bounded { range.end.as_ref() } else { ABOVE_EVERY_KEY.as_slice() };
        let of_family = |family| {
            let ranges = [Range::new(&range.start, end)];
            rocks.get_approximate_sizes_cf(handle(rocks, family), &ranges).iter().sum::<u64>()
        };
        Family::DATA.into_iter().map(of_family).sum()
    }
}

/// Proves that all writes up to a sequence number are durable: only a sync makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Durable {
    up_to: u64,
}

impl Durable {
    pub(crate) const fn covers(self, sequence: u64) -> bool {
        sequence <= self.up_to
    }
}

impl Engine {
    pub(crate) fn rocks(&self) -> &DB {
        self.database.rocks()
    }
}

/// RocksDB over `dir`, where what stands in its logs is sound.
fn open_checked(dir: &Path, options: &EngineOptions) -> Result<DB, String> {
    if log_mark::is_log_to_be_begun(dir)? {
        // Closed again: it leaves a log behind.
        drop(open_rocks(&tuning::options_without_log(options), dir, options)?);
    }
    let rocks = open_rocks(&tuning::database_options(options), dir, options)?;
    log_mark::put(dir)?;
    Ok(rocks)
}

fn open_rocks(database: &Options, dir: &Path, options: &EngineOptions) -> Result<DB, String> {
    let opened = DB::open_cf_descriptors(database, dir, tuning::families(options));
    opened.map_err(|cause| cause.to_string())
}

impl Engine {
    /// Opens the database in `dir`, creating it and its families where they are missing, and replays
    /// its log. What a power cut left behind the last record of the log is dropped, and cut off where
    /// RocksDB would never finish reading it ([`Engine::cut_tail`]).
    ///
    /// The caller holds the directory, as by [`DataDir`](crate::DataDir).
    ///
    /// # Errors
    /// [`EngineError::Open`] where files are damaged, missing, in use or not readable.
    pub fn open(dir: &Path, options: &EngineOptions) -> Result<Self, EngineError> {
        let failed = |message| EngineError::Open { path: dir.to_owned(), message };
        let cut_tail = wal_check::cut_rubbish(dir).map_err(failed)?;
        let rocks = open_checked(dir, options).map_err(|cause| match &cut_tail {
            Some(tail) => failed(format!("{cause}; a tail was cut off before: {tail}")),
            None => failed(cause),
        })?;
        let path = dir.to_owned();
        let database = Database { rocks, path, log_deletion: options.log_deletion, cut_tail };
        Ok(Self { database: Arc::new(database) })
    }

    /// Writes a batch atomically. It survives the death of the process when this returns, and the
    /// death of the machine when a later [`Engine::sync`] has returned.
    ///
    /// # Errors
    /// [`EngineError::RefusedBatch`] without any effect; [`EngineError::Fatal`] with an unknown one.
    pub fn write(&self, batch: &WriteBatch) -> Result<(), EngineError> {
        batch.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let encoded = self.encode(batch);
        // Never `sync` here: it would hold every other writer for the length of a disk sync.
        let written = self.database.rocks.write_opt(encoded, &WriteOptions::default());
        written.map_err(|cause| EngineError::fatal("write", &cause))
    }

    fn encode(&self, batch: &WriteBatch) -> rocksdb::WriteBatch {
        let rocks = &self.database.rocks;
        let mut encoded = rocksdb::WriteBatch::default();
        for mutation in batch.mutations() {
            match mutation {
                Mutation::Put(family, key, value) => {
                    encoded.put_cf(handle(rocks, *family), key, value);
                }
                Mutation::Delete(Family::RaftLog, key)
                    if self.database.log_deletion == LogDeletion::SingleDelete =>
                {
                    encoded.single_delete_cf(handle(rocks, Family::RaftLog), key);
                }
                Mutation::Delete(family, key) => encoded.delete_cf(handle(rocks, *family), key),
                // An inverted range is a corruption to RocksDB; to us it holds no key.
                Mutation::DeleteRange(_, range) if range.is_empty() => {}
                Mutation::DeleteRange(family, range) => {
                    encoded.delete_range_cf(handle(rocks, *family), &range.start, &range.end);
                }
            }
        }
        encoded
    }

    /// Makes every write that returned before this call durable. Writers go on meanwhile.
    ///
    /// # Errors
    /// [`EngineError::Fatal`]: what is on disk is unknown and stays so; a second try may succeed
    /// without the data being there. End the process.
    pub fn sync(&self) -> Result<(), EngineError> {
        self.make_durable().map(|_proof| ())
    }

    /// As [`Self::sync`], with a proof of it for whatever must not come before.
    pub(crate) fn make_durable(&self) -> Result<Durable, EngineError> {
        let up_to = self.database.rocks.latest_sequence_number();
        let synced = self.database.rocks.flush_wal(true);
        synced.map_err(|cause| EngineError::fatal("sync", &cause))?;
        Ok(Durable { up_to })
    }

    /// The state of this instant.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.database)
    }

    /// Writes all memtables to tables and waits for it.
    ///
    /// # Errors
    /// [`EngineError::Fatal`] where the disk fails.
    pub fn flush(&self) -> Result<(), EngineError> {
        let rocks = &self.database.rocks;
        for family in Family::ALL {
            let flushed = rocks.flush_cf(handle(rocks, family));
            flushed.map_err(|cause| EngineError::fatal("flush", &cause))?;
        }
        Ok(())
    }

    /// Compacts a whole family down to its last level and waits for it: deleted data leaves the disk.
    pub fn compact(&self, family: Family) {
        let rocks = &self.database.rocks;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        let unbounded = None::<&[u8]>;
        rocks.compact_range_cf_opt(handle(rocks, family), unbounded, unbounded, &options);
    }

    /// Bytes of tables that data of `range` takes on disk, over all data families. An estimate from
    /// the tables' indexes: memtables are not counted. RocksDB could count them, but its binding for Rust (0.25) does not say
    /// so to it. A range of which nothing was flushed yet has the size zero.
    #[must_use]
    pub fn approximate_size(&self, range: &KeyRange) -> u64 {
        self.database.approximate_size(range)
    }

    /// Scans `range` upwards, as [`KvRead::scan`] does, for a reader that comes once: what is read takes the place of
    /// nothing in the cache.
    ///
    /// # Errors
    /// The disk fails, or its data is damaged.
    pub fn scan_once(
        &self,
        family: Family,
        range: &KeyRange,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let scan = read::Scan { family, range, direction: ScanDirection::Forward };
        read::scan(&self.database.rocks, read::once(), &scan, visit)
    }

    /// Figures for metrics and flow control. Reads the directory: for scrapes, not for hot paths.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        stats::collect(&self.database.rocks, &self.database.path)
    }

    /// Whether RocksDB holds back all writes right now (every memtable of some family is full). Cheap.
    #[must_use]
    pub fn is_write_stopped(&self) -> bool {
        stats::is_write_stopped(&self.database.rocks)
    }

    /// What compactions of user data have still to do. Cheap: numbers that RocksDB keeps.
    #[must_use]
    pub fn compaction_debt(&self) -> CompactionDebt {
        stats::compaction_debt(&self.database.rocks)
    }

    /// What was cut off a write-ahead log when the database was opened: worth a line in the log.
    #[must_use]
    pub fn cut_tail(&self) -> Option<&CutTail> {
        self.database.cut_tail.as_ref()
    }

    /// How log entries are removed here.
    #[must_use]
    pub fn log_deletion(&self) -> LogDeletion {
        self.database.log_deletion
    }
}

impl KvRead for Engine {
    /// The latest value of `key`.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        read::get(&self.database.rocks, &read::read_options(family), family, key)
    }

    /// Scans the state of the instant of the call.
    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let scan = read::Scan { family, range, direction };
        read::scan(&self.database.rocks, read::read_options(family), &scan, visit)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", self.database.path.display())
    }
}
