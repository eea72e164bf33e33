//! The lock that keeps a directory to one process.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{DataDirError, error::io_error};

pub(super) const LOCK_FILE: &str = "LOCK";

/// Longer than any process id: what is read of a foreign file.
const PID_TEXT_BYTES_MAX: u64 = 32;

/// Held while it lives. The operating system gives it back when the process dies in any way, so a
/// file that is left behind locks nobody out.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn acquire(dir: &Path) -> Result<Self, DataDirError> {
        let path = dir.join(LOCK_FILE);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|cause| io_error("open", &path, cause))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(DataDirError::InUse { path: dir.to_owned(), pid: read_pid(&file) });
            }
            Err(cause) => return Err(io_error("lock", &path, cause.into())),
        }
        // For people only; nothing depends on it.
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|cause| io_error("write", &path, cause))?;
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_TEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
