//! Before RocksDB opens a database: makes sure that it will come to the end of its logs.
//!
//! A power cut may leave anything behind the last synced record of a write-ahead log. RocksDB drops it, but
//! for one form of rubbish, at which its reader turns for ever: see [`records::ReaderTwin`]. Such rubbish is
//! cut off. Nothing that was synced is ever cut:
//! - what was synced is a row of whole records from the first byte of the log on; the cut is at the end of
//!   that row, and RocksDB would take nothing from behind it either;
//! - damage *within* that row would leave whole records behind it, here or in a later log. Then nothing is
//!   cut and the database is refused, though rubbish may be all there is to it;
//! - a damaged manifest is never cut.
//!
//! Damage that RocksDB comes to an end with is left to it. The caller holds the directory: no log grows
//! meanwhile.

mod records;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use self::records::{BLOCK_BYTES, ReaderTwin, Trap, find_whole_record};

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
/// A text for people where a log cannot be read or must not be cut. Nothing is changed then.
pub(crate) fn cut_rubbish(dir: &Path) -> Result<Option<CutTail>, String> {
    let logs = match write_ahead_logs(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(|cause| at(dir, &cause))?,
    };
    check_manifest(dir)?;
    let mut remaining = logs.as_slice();
    while let Some((log, later)) = remaining.split_first() {
        if let Some(trap) = find_trap(log).map_err(|cause| at(log, &cause))? {
            check_nothing_whole_behind(log, trap, later)?;
            // Later logs are empty: there is nothing in them to look for.
            return cut(log, trap).map(Some).map_err(|cause| at(log, &cause));
        }
        remaining = later;
    }
    Ok(None)
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
    match find_trap(&manifest) {
        Ok(None) => Ok(()),
        Ok(Some(trap)) => Err(format!("{} is damaged at byte {}", manifest.display(), trap.at)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(at(&manifest, &cause)),
    }
}

fn find_trap(log: &Path) -> io::Result<Option<Trap>> {
    let mut file = File::open(log)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut twin = ReaderTwin::default();
    while read_block(&mut file, &mut block)? {
        if let Some(trap) = twin.read(&block) {
            return Ok(Some(trap));
        }
    }
    Ok(None)
}

fn check_nothing_whole_behind(log: &Path, trap: Trap, later: &[PathBuf]) -> Result<(), String> {
    let damaged = format!("{} is damaged at byte {}", log.display(), trap.whole_until);
    let whole = whole_record_behind(log, trap.whole_until).map_err(|cause| at(log, &cause))?;
    if let Some(whole) = whole {
        return Err(format!("{damaged}, and a whole record stands behind that at byte {whole}"));
    }
    for path in later {
        if fs::metadata(path).map_err(|cause| at(path, &cause))?.len() > 0 {
            return Err(format!("{damaged}, and a later log follows: {}", path.display()));
        }
    }
    Ok(())
}

/// Where a whole record begins, at `from` or behind it.
fn whole_record_behind(log: &Path, from: u64) -> io::Result<Option<u64>> {
    let mut file = File::open(log)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut begin = 0;
    while read_block(&mut file, &mut block)? {
        let skip = usize::try_from(from.saturating_sub(begin)).unwrap_or(usize::MAX);
        if let Some(offset) = find_whole_record(&block, skip) {
            return Ok(Some(begin + offset as u64));
        }
        begin += block.len() as u64;
    }
    Ok(None)
}

fn cut(log: &Path, trap: Trap) -> io::Result<CutTail> {
    let file = File::options().write(true).open(log)?;
    let length = file.metadata()?.len();
    file.set_len(trap.whole_until)?;
    file.sync_all()?;
    let removed_bytes = length - trap.whole_until;
    Ok(CutTail { log: log.to_owned(), length: trap.whole_until, removed_bytes })
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
