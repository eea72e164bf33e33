//! Before RocksDB opens a database: makes sure that it will come to the end of its logs, and that what it
//! finds there is a prefix of what was written.
//!
//! A power cut may leave anything behind the last synced record of a write-ahead log. RocksDB drops it, with
//! two exceptions ([`records::Ending`]).
//!
//! *Traps*: rubbish at which its reader turns for ever. It is cut off. Nothing that was synced is ever cut:
//! - what was synced is a row of whole records from the first byte of the log on; the cut is at the end of
//!   that row, and RocksDB would take nothing from behind it either;
//! - damage within that row leaves whole batches behind it, here or in a later log. Then nothing is cut and
//!   the database is refused, though it may be rubbish that looks like a batch.
//!
//! *Holes*: zeros between two batches, over which it passes as over nothing. A prefix would end there. The
//! database is refused: what stands behind the zeros may have been synced.
//!
//! All other damage is left to RocksDB, gaps between two logs included: each log says where the one before
//! it ended (`tuning::set_verify_log_before`). The caller holds the directory: no log grows meanwhile.

mod records;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use self::records::{BLOCK_BYTES, Ending, ReaderTwin, find_batch};

/// Names the manifest in use.
const CURRENT: &str = "CURRENT";

/// Rubbish that was removed from the end of a write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The log.
    pub log: PathBuf,
    /// Its length now: the end of its last whole record.
    pub length: u64,
    /// How many bytes were cut off.
    pub removed_bytes: u64,
}

impl fmt::Display for CutTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, length, removed_bytes } = self;
        write!(f, "{}: {removed_bytes} bytes behind byte {length}", log.display())
    }
}

/// Cuts the rubbish that RocksDB would never finish reading off the logs of the database in `dir`; durable
/// when it returns. Does nothing where there is none, nor where there is no database.
///
/// Reads all logs once.
///
/// # Errors
/// A text for people where a log cannot be read, must not be cut, or has a hole. Nothing is changed then.
pub(crate) fn cut_rubbish(dir: &Path) -> Result<Option<CutTail>, String> {
    let logs = match write_ahead_logs(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(|cause| at(dir, &cause))?,
    };
    check_manifest(dir)?;
    let mut remaining = logs.as_slice();
    while let Some((log, later)) = remaining.split_first() {
        match find_ending(log).map_err(|cause| at(log, &cause))? {
            None | Some(Ending::Stop) => remaining = later,
            Some(Ending::Hole { at, next }) => return Err(hole(log, at, next)),
            Some(Ending::Trap { whole_until, .. }) => {
                check_nothing_whole_behind(log, whole_until, later)?;
                // Later logs hold no batch, and without one there is no trap.
                return cut(log, whole_until).map(Some).map_err(|cause| at(log, &cause));
            }
        }
    }
    Ok(None)
}

/// Whether `dir` holds a database, and no log of it.
pub(crate) fn lacks_logs(dir: &Path) -> Result<bool, String> {
    let is_database = dir.join(CURRENT).try_exists().map_err(|cause| at(dir, &cause))?;
    Ok(is_database && write_ahead_logs(dir).map_err(|cause| at(dir, &cause))?.is_empty())
}

/// All write-ahead logs, the oldest first.
fn write_ahead_logs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| is_log) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// A manifest is read by the same reader. It is synced after each record, and RocksDB refuses one that is
/// damaged; so do we.
fn check_manifest(dir: &Path) -> Result<(), String> {
    // A database without CURRENT is new, or RocksDB says what is wrong with it.
    let Ok(name) = fs::read_to_string(dir.join(CURRENT)) else { return Ok(()) };
    let manifest = dir.join(name.trim_end());
    match find_ending(&manifest) {
        Ok(None | Some(Ending::Stop)) => Ok(()),
        Ok(Some(Ending::Hole { at, next })) => Err(hole(&manifest, at, next)),
        Ok(Some(Ending::Trap { at, .. })) => {
            Err(format!("{} is damaged at byte {at}", manifest.display()))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(at(&manifest, &cause)),
    }
}

fn find_ending(log: &Path) -> io::Result<Option<Ending>> {
    let mut file = File::open(log)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut twin = ReaderTwin::default();
    while read_block(&mut file, &mut block)? {
        if let Some(ending) = twin.read(&block) {
            return Ok(Some(ending));
        }
    }
    Ok(None)
}

fn hole(log: &Path, zeros: u64, next: u64) -> String {
    format!("{} holds zeros at byte {zeros}, and goes on at byte {next}", log.display())
}

fn check_nothing_whole_behind(log: &Path, from: u64, later: &[PathBuf]) -> Result<(), String> {
    let damaged = format!("{} is damaged at byte {from}", log.display());
    let behind = batch_behind(log, from).map_err(|cause| at(log, &cause))?;
    if let Some(batch) = behind {
        return Err(format!("{damaged}, and a whole record stands behind that at byte {batch}"));
    }
    for path in later {
        if batch_behind(path, 0).map_err(|cause| at(path, &cause))?.is_some() {
            return Err(format!("{damaged}, and a later log goes on: {}", path.display()));
        }
    }
    Ok(())
}

/// Where a whole record of a batch begins, at `from` or behind it.
fn batch_behind(log: &Path, from: u64) -> io::Result<Option<u64>> {
    let mut file = File::open(log)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut begin = 0;
    while read_block(&mut file, &mut block)? {
        let skip = usize::try_from(from.saturating_sub(begin)).unwrap_or(usize::MAX);
        if let Some(offset) = find_batch(&block, skip) {
            return Ok(Some(begin + offset as u64));
        }
        begin += block.len() as u64;
    }
    Ok(None)
}

fn cut(log: &Path, length: u64) -> io::Result<CutTail> {
    let file = File::options().write(true).open(log)?;
    let removed_bytes = file.metadata()?.len() - length;
    file.set_len(length)?;
    file.sync_all()?;
    Ok(CutTail { log: log.to_owned(), length, removed_bytes })
}

/// Fills `block` with the next block of a log; false at its end.
fn read_block(file: &mut File, block: &mut Vec<u8>) -> io::Result<bool> {
    block.clear();
    file.take(BLOCK_BYTES as u64).read_to_end(block)?;
    Ok(!block.is_empty())
}

fn at(path: &Path, cause: &io::Error) -> String {
    format!("{}: {cause}", path.display())
}
