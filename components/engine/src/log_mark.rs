//! A mark in the directory of a database: it has a write-ahead log from now on.
//!
//! A database without a log either never came to be, since its creation was interrupted, or has lost what it
//! promised. Its other files look the same in both cases, until something is flushed; the mark tells them
//! apart. It is made durable with the log's own entry in the directory, before anything is written.

use std::{fs, io, path::Path};

use crate::{data_dir::sync_directory, wal_check};

const MARK: &str = "HAS-LOG";
const TEXT: &str = "This database has a write-ahead log (*.log). Without it, it is not whole, and is not opened.\n";

/// Whether the log of the database in `dir` is still to be begun.
///
/// # Errors
/// A text for people where it had one that is gone.
pub(crate) fn is_log_to_be_begun(dir: &Path) -> Result<bool, String> {
    let read = |cause: io::Error| format!("{}: {cause}", dir.display());
    if !wal_check::lacks_logs(dir)? {
        return Ok(false);
    }
    match dir.join(MARK).try_exists().map_err(read)? {
        true => Err("its write-ahead log (*.log) is missing".to_owned()),
        false => Ok(true),
    }
}

/// Marks the database in `dir`, which has been opened; durable when it returns.
///
/// # Errors
/// A text for people where the disk fails.
pub(crate) fn put(dir: &Path) -> Result<(), String> {
    let path = dir.join(MARK);
    let failed = |cause: io::Error| format!("{}: {cause}", path.display());
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    fs::write(&path, TEXT).map_err(failed)?;
    sync_directory(dir).map_err(failed)
}
