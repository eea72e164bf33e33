//! What several test programs of this crate share.
#![allow(dead_code, reason = "every test program uses a part of it")]

use flotilla_base::{ByteSize, Family, KeyRange, KvRead, ScanDirection};
use flotilla_engine::{Engine, EngineOptions, LogDeletion, MemtableOptions};
use tempfile::TempDir;

/// Small memtables, so that a test reaches flushes; everything else as in production.
pub(crate) fn options(log_deletion: LogDeletion) -> EngineOptions {
    let memtables = |count| MemtableOptions { size: ByteSize::mib(4), count };
    EngineOptions {
        data_memtables: memtables(4),
        log_memtables: memtables(4),
        meta_memtables: memtables(2),
        block_cache: ByteSize::mib(8),
        log_deletion,
        ..EngineOptions::default()
    }
}

/// An engine in a directory that lives as long as the first value.
pub(crate) fn scratch_engine() -> (TempDir, Engine) {
    let scratch = tempfile::tempdir().expect("scratch directory");
    let options = options(LogDeletion::SingleDelete);
    let engine = Engine::open(&scratch.path().join("db"), &options).expect("open");
    (scratch, engine)
}

/// All pairs of a range, in the order of the scan.
pub(crate) fn pairs(
    view: &impl KvRead,
    family: Family,
    range: &KeyRange,
    direction: ScanDirection,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        true
    };
    view.scan(family, range, direction, &mut visit).expect("scan");
    found
}
