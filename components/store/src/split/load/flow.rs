//! What was read and written: sums, and what is between two of them.

/// Bytes of keys and values, and numbers of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) written_bytes: u64,
    pub(crate) written_keys: u64,
    pub(crate) read_bytes: u64,
    pub(crate) read_keys: u64,
}

/// What a request does to what it touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Flow {
    /// What has come to `before`, which was counted earlier by the same counters.
    pub(super) fn since(self, before: Self) -> Self {
        let less = |now: u64, before: u64| {
            debug_assert!(now >= before, "counts only grow");
            now.saturating_sub(before)
        };
        Self {
            written_bytes: less(self.written_bytes, before.written_bytes),
            written_keys: less(self.written_keys, before.written_keys),
            read_bytes: less(self.read_bytes, before.read_bytes),
            read_keys: less(self.read_keys, before.read_keys),
        }
    }

    /// Both together.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
            written_keys: self.written_keys.saturating_add(other.written_keys),
            read_bytes: self.read_bytes.saturating_add(other.read_bytes),
            read_keys: self.read_keys.saturating_add(other.read_keys),
        }
    }
}
