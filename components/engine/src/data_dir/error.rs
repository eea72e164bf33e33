//! Why a directory can not be used.

use std::{
    io,
    path::{Path, PathBuf},
};

use flotilla_base::{ByteSize, ClusterId, StoreId};

use super::Role;

/// A directory that must not be used as it is. Each message says what, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds it.
    #[error(
        "data directory {path} is in use by {}; two processes on one directory would destroy it. \
         Stop the other one, or choose another directory",
        process(*.pid)
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds it, as far as is known.
        pid: Option<u32>,
    },
    /// It holds data of another cluster.
    #[error(
        "data directory {path} belongs to cluster {found}, but this is cluster {expected}; mixing \
         them would corrupt both. Connect to the placement driver of cluster {found}, or choose an \
         empty directory"
    )]
    DirectoryOfAnotherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster of the caller.
        expected: ClusterId,
        /// The cluster of the directory.
        found: ClusterId,
    },
    /// It holds data of another store.
    #[error(
        "data directory {path} belongs to store {found}, but store {expected} was asked for; a store \
         never changes its id. Choose the directory of store {expected}, or an empty one"
    )]
    DirectoryOfAnotherStore {
        /// The directory.
        path: PathBuf,
        /// The store that the caller names.
        expected: StoreId,
        /// The store of the directory.
        found: StoreId,
    },
    /// It belongs to a process of another kind.
    #[error(
        "data directory {path} belongs to a {found}, but a {expected} was started on it. Start a \
         {found} there, or choose an empty directory"
    )]
    OtherRole {
        /// The directory.
        path: PathBuf,
        /// The role of the caller.
        expected: Role,
        /// The role of the directory.
        found: Role,
    },
    /// A newer program wrote it.
    #[error(
        "data directory {path} has format {found}, but this program knows formats up to \
         {newest_known}; nothing was changed. Start a newer Flotilla on it"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Format of the directory.
        found: u32,
        /// Newest format of this program.
        newest_known: u32,
    },
    /// It holds something, but nothing says whose it is.
    #[error(
        "directory {path} is not empty and has no file \"ident\", so it is no data directory of \
         Flotilla, or a damaged one; nothing was changed. Choose an empty directory"
    )]
    NotEmptyWithoutIdent {
        /// The directory.
        path: PathBuf,
    },
    /// The file that says whose it is can not be trusted.
    #[error(
        "file \"ident\" in data directory {path} is damaged ({reason}); the disk may be failing, \
         nothing was changed. Leave the directory as it is, and do not start with an empty one: that \
         would be a new node, and one that is lost cannot be replaced yet. Look for errors of the disk \
         in the system's log, and report it"
    )]
    DamagedIdent {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The volume is nearly full.
    #[error(
        "the volume of data directory {path} has {available} free, but {needed} are needed to start; \
         a full disk would stop the process at once. Free some space, or choose another volume"
    )]
    TooLittleDisk {
        /// The directory.
        path: PathBuf,
        /// Free space.
        available: ByteSize,
        /// Free space that is demanded.
        needed: ByteSize,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {cause}. Check its permissions and the disk")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

pub(super) fn io_error(action: &'static str, path: &Path, cause: io::Error) -> DataDirError {
    DataDirError::Io { action, path: path.to_owned(), cause }
}
