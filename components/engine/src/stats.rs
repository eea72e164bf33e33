//! Figures of a running engine, as plain data.

use std::{fs, path::Path};

use flotilla_base::Family;
use rocksdb::{DB, properties};

use crate::read::handle;

/// Figures of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyStats {
    /// Which family.
    pub family: Family,
    /// Files in level 0: what a read has to look through one by one.
    pub level0_files: u64,
    /// Memory of all memtables, in bytes.
    pub memtable_bytes: u64,
    /// Full memtables that wait for their flush.
    pub immutable_memtables: u64,
    /// Bytes that compaction has still to rewrite.
    pub pending_compaction_bytes: u64,
    /// Estimate of bytes of live data in tables.
    pub live_data_bytes: u64,
    /// Bytes of all tables.
    pub table_bytes: u64,
    /// Estimate of the number of keys.
    pub keys: u64,
}

/// Figures of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStats {
    /// One for each family, in the order of [`Family::ALL`].
    pub families: Vec<FamilyStats>,
    /// Bytes of all WAL files.
    pub wal_bytes: u64,
    /// Bytes of all files of the database: tables, WAL, and what RocksDB notes beside them.
    pub disk_bytes: u64,
    /// Whether writes are held back until a flush ends.
    pub is_write_stopped: bool,
    /// Bytes a second that writes are slowed down to; 0 where they are not.
    pub delayed_write_rate: u64,
    /// Memory of the block cache, in bytes.
    pub block_cache_bytes: u64,
    /// Snapshots that are held.
    pub snapshots: u64,
    /// When the oldest of them was taken, in seconds since the Unix epoch; 0 without snapshots.
    pub oldest_snapshot_unix_seconds: u64,
    /// Flushes and compactions that run.
    pub background_jobs_running: u64,
    /// Errors of flushes and compactions since the start.
    pub background_errors: u64,
}

/// What compactions of user data have still to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionDebt {
    /// Files in level 0 of the family that has most.
    pub level0_files_max: u64,
    /// Bytes that have still to be rewritten, over all families.
    pub bytes: u64,
}

impl EngineStats {
    /// The figures of one family.
    #[must_use]
    pub fn family(&self, family: Family) -> &FamilyStats {
        let found = self.families.iter().find(|stats| stats.family == family);
        found.expect("figures are collected for every family")
    }
}

pub(crate) fn is_write_stopped(rocks: &DB) -> bool {
    property(rocks, properties::IS_WRITE_STOPPED) != 0
}

pub(crate) fn compaction_debt(rocks: &DB) -> CompactionDebt {
    let owed = |family| {
        let handle = handle(rocks, family);
        let bytes = properties::ESTIMATE_PENDING_COMPACTION_BYTES;
        let bytes = rocks.property_int_value_cf(handle, bytes).ok().flatten().unwrap_or(0);
        (level0_files(rocks, family), bytes)
    };
    let owed = Family::DATA.map(owed);
    CompactionDebt {
        level0_files_max: owed.iter().map(|(files, _)| *files).max().unwrap_or(0),
        bytes: owed.iter().map(|(_, bytes)| bytes).sum(),
    }
}

pub(crate) fn collect(rocks: &DB, path: &Path) -> EngineStats {
    // The cache is shared by all families, and a property of one.
    let any_family = handle(rocks, Family::Default);
    let block_cache = rocks.property_int_value_cf(any_family, properties::BLOCK_CACHE_USAGE);
    let (wal_bytes, disk_bytes) = file_bytes(path);
    EngineStats {
        families: Family::ALL.into_iter().map(|family| collect_family(rocks, family)).collect(),
        wal_bytes,
        disk_bytes,
        is_write_stopped: is_write_stopped(rocks),
        delayed_write_rate: property(rocks, properties::ACTUAL_DELAYED_WRITE_RATE),
        block_cache_bytes: block_cache.ok().flatten().unwrap_or(0),
        snapshots: property(rocks, properties::NUM_SNAPSHOTS),
        oldest_snapshot_unix_seconds: property(rocks, properties::OLDEST_SNAPSHOT_TIME),
        background_jobs_running: property(rocks, properties::NUM_RUNNING_FLUSHES)
            + property(rocks, properties::NUM_RUNNING_COMPACTIONS),
        background_errors: property(rocks, properties::BACKGROUND_ERRORS),
    }
}

fn collect_family(rocks: &DB, family: Family) -> FamilyStats {
    let handle = handle(rocks, family);
    let figure = |name: &properties::PropName| {
        rocks.property_int_value_cf(handle, name).ok().flatten().unwrap_or(0)
    };
    FamilyStats {
        family,
        level0_files: level0_files(rocks, family),
        memtable_bytes: figure(properties::CUR_SIZE_ALL_MEM_TABLES),
        immutable_memtables: figure(properties::NUM_IMMUTABLE_MEM_TABLE),
        pending_compaction_bytes: figure(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        live_data_bytes: figure(properties::ESTIMATE_LIVE_DATA_SIZE),
        table_bytes: figure(properties::TOTAL_SST_FILES_SIZE),
        keys: figure(properties::ESTIMATE_NUM_KEYS),
    }
}

pub(crate) fn level0_files(rocks: &DB, family: Family) -> u64 {
    let name = properties::num_files_at_level(0);
    let text = rocks.property_value_cf(handle(rocks, family), &name).ok().flatten();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A figure that RocksDB does not know counts as 0: metrics must not stop a store.
pub(crate) fn property(rocks: &DB, name: &properties::PropName) -> u64 {
    rocks.property_int_value(name).ok().flatten().unwrap_or(0)
}

/// Bytes of the WAL files in `path`, and of all files.
fn file_bytes(path: &Path) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(path) else { return (0, 0) };
    let (mut wal, mut all) = (0, 0);
    for entry in entries.flatten() {
        // A file may vanish between listing and asking: it then holds nothing any more.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            all += metadata.len();
            let is_wal = entry.path().extension().is_some_and(|extension| extension == "log");
            wal += if is_wal { metadata.len() } else { 0 };
        }
    }
    (wal, all)
}
