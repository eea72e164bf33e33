//! A batch of writes as plain data.

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange, Mutation};

use crate::BatchError;

/// Writes that take effect together or not at all, also across a crash, in the order they were added.
///
/// Deletions in family `raftlog` are written in the mode of the data directory ([`LogDeletion`]), so
/// nobody else needs to know it.
///
/// [`LogDeletion`]: crate::LogDeletion
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    mutations: Vec<Mutation>,
    size_bytes: usize,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, family: Family, key: impl Into<Key>, value: impl Into<Bytes>) {
        self.push(Mutation::Put(family, key.into(), value.into()));
    }

    /// Removes a key; in family `raftlog` one that exists.
    pub fn delete(&mut self, family: Family, key: impl Into<Key>) {
        self.push(Mutation::Delete(family, key.into()));
    }

    /// Removes every key of `range`, which needs an upper bound. Not for family `raftlog`.
    pub fn delete_range(&mut self, family: Family, range: KeyRange) {
        self.push(Mutation::DeleteRange(family, range));
    }

    /// Adds one write.
    pub fn push(&mut self, mutation: Mutation) {
        self.size_bytes += mutation.size_bytes();
        self.mutations.push(mutation);
    }

    /// Moves the writes of `other` behind the writes of this batch.
    pub fn append(&mut self, other: &mut Self) {
        self.mutations.append(&mut other.mutations);
        self.size_bytes += std::mem::take(&mut other.size_bytes);
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.mutations.clear();
        self.size_bytes = 0;
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mutations.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mutations.is_empty()
    }

    /// The writes in order.
    #[must_use]
    pub fn mutations(&self) -> &[Mutation] {
        &self.mutations
    }

    /// Checks what the database would take without complaint and get wrong.
    pub(crate) fn check(&self) -> Result<(), BatchError> {
        for mutation in &self.mutations {
            match mutation {
                Mutation::DeleteRange(Family::RaftLog, _) => {
                    return Err(BatchError::RangeInRaftLog);
                }
                Mutation::DeleteRange(family, range) if range.end.is_empty() => {
                    return Err(BatchError::UnboundedRange(*family));
                }
                Mutation::Put(..) | Mutation::Delete(..) | Mutation::DeleteRange(..) => {}
            }
        }
        Ok(())
    }
}

impl From<Vec<Mutation>> for WriteBatch {
    fn from(mutations: Vec<Mutation>) -> Self {
        let size_bytes = mutations.iter().map(Mutation::size_bytes).sum();
        Self { mutations, size_bytes }
    }
}

impl Extend<Mutation> for WriteBatch {
    fn extend<I: IntoIterator<Item = Mutation>>(&mut self, mutations: I) {
        for mutation in mutations {
            self.push(mutation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_writes() {
        let mut batch = WriteBatch::new();
        assert!(batch.is_empty());
        batch.put(Family::Raw, "key", "value");
        batch.delete(Family::Lock, "key");
        let mut other =
            WriteBatch::from(vec![Mutation::DeleteRange(Family::Raw, KeyRange::new("a", "b"))]);
        batch.append(&mut other);
        assert_eq!((batch.size_bytes(), batch.len(), other.size_bytes()), (13, 3, 0));
        batch.clear();
        assert_eq!((batch.size_bytes(), batch.len()), (0, 0));
    }

    #[test]
    fn range_deletions_are_checked() {
        let refused = |family, range| {
            WriteBatch::from(vec![Mutation::DeleteRange(family, range)]).check().err()
        };
        let unbounded = Some(BatchError::UnboundedRange(Family::Raw));
        assert_eq!(refused(Family::Raw, KeyRange::all()), unbounded);
        let in_log = Some(BatchError::RangeInRaftLog);
        assert_eq!(refused(Family::RaftLog, KeyRange::new("a", "b")), in_log);
        assert_eq!(refused(Family::Raw, KeyRange::new("a", "b")), None);
    }
}
