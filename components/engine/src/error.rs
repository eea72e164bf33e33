//! What can go wrong, sorted by what the caller must do.

use std::path::PathBuf;

use flotilla_base::{Family, ReadError};

/// A failed call of the engine. Reads fail with [`ReadError`] instead.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database could not be opened. Nothing was changed, but for a tail of a log that `message` names where
    /// one was cut off.
    #[error(
        "cannot open the database {path}: {message}. Leave its files as they are; never repair them in place"
    )]
    Open {
        /// Directory of the database.
        path: PathBuf,
        /// What RocksDB says.
        message: String,
    },
    /// A write or sync failed: nobody knows how much of it is on disk. End the process; never retry.
    #[error("{operation} failed, its outcome is unknown, this process must end: {message}")]
    Fatal {
        /// Which call failed.
        operation: &'static str,
        /// What RocksDB says.
        message: String,
    },
    /// The batch can not be written as it stands: a fault of the caller. Nothing was written.
    #[error(transparent)]
    RefusedBatch(#[from] BatchError),
}

impl EngineError {
    pub(crate) fn fatal(operation: &'static str, cause: &rocksdb::Error) -> Self {
        Self::Fatal { operation, message: cause.to_string() }
    }
}

/// Why a batch is refused before it reaches the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A range deletion needs an upper bound.
    #[error("range deletion in family {} has no upper bound", .0.name())]
    UnboundedRange(Family),
    /// Raft log entries are removed one by one: a range tombstone over single deletions is undefined.
    #[error("range deletion in the raft log: its entries are removed one by one")]
    RangeInRaftLog,
}

pub(crate) fn read_error(cause: &rocksdb::Error) -> ReadError {
    ReadError(cause.to_string())
}
