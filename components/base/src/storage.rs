//! What pure code needs to know of storage: families, mutations, and reading.

use bytes::Bytes;

use crate::{Key, KeyRange};

/// A column family of a store's one database. The list of data families stands here and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Raw key-value data.
    Raw,
    /// Transactional values.
    Default,
    /// Transactional locks.
    Lock,
    /// Transactional commit records.
    Write,
    /// Raft log entries only.
    RaftLog,
    /// Identities, hard states, region states and apply states; of a placement driver: its whole state.
    RaftMeta,
}

impl Family {
    /// Every family, in the order of creation.
    pub const ALL: [Self; 6] =
        [Self::Raw, Self::Default, Self::Lock, Self::Write, Self::RaftLog, Self::RaftMeta];

    /// The families that hold data of a region: what moves, splits and vanishes with it.
    pub const DATA: [Self; 4] = [Self::Raw, Self::Default, Self::Lock, Self::Write];

    /// The name on disk. RocksDB insists on a family called `default`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Default => "default",
            Self::Lock => "lock",
            Self::Write => "write",
            Self::RaftLog => "raftlog",
            Self::RaftMeta => "raftmeta",
        }
    }
}

/// One change of a write batch. A batch is atomic, also across a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Sets a key.
    Put(Family, Key, Bytes),
    /// Removes a key.
    Delete(Family, Key),
    /// Removes every key of a range with an upper bound.
    DeleteRange(Family, KeyRange),
}

impl Mutation {
    /// Bytes of keys and values: what a batch is metered by.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Put(_, key, value) => key.len() + value.len(),
            Self::Delete(_, key) => key.len(),
            Self::DeleteRange(_, range) => range.start.len() + range.end.len(),
        }
    }
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanDirection {
    /// Ascending from the start of the range.
    #[default]
    Forward,
    /// Descending from the end of the range.
    Reverse,
}

/// A read failed in the storage engine: never a fault of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage engine: {0}")]
pub struct ReadError(pub String);

/// A consistent view of all families. The only trait by which pure code reads.
pub trait KvRead {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`ReadError`] where the engine fails.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// Calls `visit` for the pairs of `range` in order until it returns `false` or the range ends.
    ///
    /// # Errors
    /// [`ReadError`] where the engine fails; pairs may have been visited before.
    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError>;
}
