//! What an operator may choose. What must not vary stands in `tuning`.

use std::{fmt, str::FromStr};

use flotilla_base::ByteSize;

/// How entries are removed from the raft log: chosen when a data directory is created, recorded in
/// its ident, never changed afterwards (mixing both on one key is undefined in RocksDB).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogDeletion {
    /// An entry and its deletion annihilate when they meet, and leave nothing behind. Demands that
    /// every key is put exactly once between two deletions, which is up to whoever writes the log.
    #[default]
    SingleDelete,
    /// An ordinary tombstone for each entry: costs a little more disk bandwidth, forgives anything.
    Delete,
}

impl fmt::Display for LogDeletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleDelete => "single-delete",
            Self::Delete => "delete",
        })
    }
}

impl FromStr for LogDeletion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "single-delete" => Ok(Self::SingleDelete),
            "delete" => Ok(Self::Delete),
            _ => Err(()),
        }
    }
}

/// The memtables of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemtableOptions {
    /// Size at which a memtable is closed and queued for its flush.
    pub size: ByteSize,
    /// How many may be in memory; writes stop when all are full.
    pub count: u32,
}

impl MemtableOptions {
    const fn total_bytes(self) -> u64 {
        self.size.bytes() * self.count as u64
    }
}

/// Sizes of an engine. The defaults fit three stores in one process of a laptop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Memtables of each data family.
    pub data_memtables: MemtableOptions,
    /// Memtables of the raft log: large, so that most entries are deleted before they are flushed.
    pub log_memtables: MemtableOptions,
    /// Memtables of identities and raft states: small, because a quiet family pins old WAL files.
    pub meta_memtables: MemtableOptions,
    /// One cache of uncompressed blocks for all families.
    pub block_cache: ByteSize,
    /// Upper bound of open table files.
    pub open_files_max: u32,
    /// Threads for flushes and compactions.
    pub background_jobs: u32,
    /// Total size of WAL files at which the family that pins the oldest is flushed. Raised to one and
    /// a half times the sum of all memtables where it is less: quiet families would be flushed all
    /// the time, in tiny files.
    pub wal_total_max: ByteSize,
    /// How log entries are removed. Take it from [`DataDir::log_deletion`].
    ///
    /// [`DataDir::log_deletion`]: crate::DataDir::log_deletion
    pub log_deletion: LogDeletion,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            data_memtables: MemtableOptions { size: ByteSize::mib(32), count: 4 },
            log_memtables: MemtableOptions { size: ByteSize::mib(32), count: 4 },
            meta_memtables: MemtableOptions { size: ByteSize::mib(8), count: 2 },
            block_cache: ByteSize::mib(64),
            open_files_max: 256,
            background_jobs: 2,
            wal_total_max: ByteSize::mib(1024),
            log_deletion: LogDeletion::default(),
        }
    }
}

impl EngineOptions {
    /// The bound that RocksDB is given, see [`EngineOptions::wal_total_max`].
    pub(crate) fn wal_total_bytes_max(&self) -> u64 {
        let data_families = flotilla_base::Family::DATA.len() as u64;
        let memtables = self.data_memtables.total_bytes() * data_families
            + self.log_memtables.total_bytes()
            + self.meta_memtables.total_bytes();
        self.wal_total_max.bytes().max(memtables + memtables / 2)
    }
}
