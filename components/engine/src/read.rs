//! Reading, the same for the latest state and for snapshots.

use bytes::Bytes;
use flotilla_base::{Family, KeyRange, ReadError, ScanDirection, limit::KEY_BYTES_MAX};
use rocksdb::{ColumnFamily, DB, ReadOptions};

use crate::error::read_error;

/// Stands for "no upper bound" where RocksDB insists on one: behind every key that a region without an end may hold, in
/// whatever form it is stored.
pub(crate) static ABOVE_EVERY_KEY: [u8; 2 * KEY_BYTES_MAX] = [0xff; 2 * KEY_BYTES_MAX];
/// Bytes that are read at once by who reads much.
const READAHEAD_BYTES: usize = 1 << 20;

/// The handle of a family; all exist since the database was opened.
pub(crate) fn handle(database: &DB, family: Family) -> &ColumnFamily {
    database.cf_handle(family.name()).expect("every family is created when the database is opened")
}

/// Options for reading `family` in its latest state.
pub(crate) fn read_options(family: Family) -> ReadOptions {
    let mut options = ReadOptions::default();
    // Log entries are read once, by a lagging follower or at start: they would only evict user data.
    options.fill_cache(family != Family::RaftLog);
    options
}

/// Options for a reader that comes once and reads much.
pub(crate) fn once() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_readahead_size(READAHEAD_BYTES);
    options
}

pub(crate) fn get(
    database: &DB,
    options: &ReadOptions,
    family: Family,
    key: &[u8],
) -> Result<Option<Bytes>, ReadError> {
    let found = database.get_pinned_cf_opt(handle(database, family), key, options);
    let found = found.map_err(|cause| read_error(&cause))?;
    Ok(found.map(|value| Bytes::copy_from_slice(&value)))
}

/// What to scan: parameters that always travel together.
pub(crate) struct Scan<'a> {
    pub(crate) family: Family,
    pub(crate) range: &'a KeyRange,
    pub(crate) direction: ScanDirection,
}

pub(crate) fn scan(
    database: &DB,
    mut options: ReadOptions,
    scan: &Scan<'_>,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), ReadError> {
    if scan.range.is_empty() {
        return Ok(());
    }
    options.set_total_order_seek(true);
    // The bounds keep the iterator from wading through tombstones behind them.
    if !scan.range.start.is_empty() {
        options.set_iterate_lower_bound(scan.range.start.as_ref());
    }
    if !scan.range.end.is_empty() {
        options.set_iterate_upper_bound(scan.range.end.as_ref());
    }
    let mut iterator = database.raw_iterator_cf_opt(handle(database, scan.family), options);
    match scan.direction {
        ScanDirection::Forward => iterator.seek_to_first(),
        ScanDirection::Reverse => iterator.seek_to_last(),
    }
    while let Some((key, value)) = iterator.item() {
        if !visit(key, value) {
            return Ok(());
        }
        match scan.direction {
            ScanDirection::Forward => iterator.next(),
            ScanDirection::Reverse => iterator.prev(),
        }
    }
    // An iterator also becomes invalid where reading fails: only its status tells the end from an error.
    iterator.status().map_err(|cause| read_error(&cause))
}
