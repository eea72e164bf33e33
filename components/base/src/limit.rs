//! Limits of the product that more than one crate must agree on, each with the reason for its value.

/// Longest key a write may carry: TiKV's default (`storage.max-key-size`), so that data stays portable.
pub const KEY_BYTES_MAX: usize = 8 << 10;

/// Longest value a write may carry: one entry must fit a message with room for its key and headers.
pub const VALUE_BYTES_MAX: usize = 6 << 20;

/// Largest log entry (TiKV's `raft-entry-max-size`); a batch of writes is refused above it.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// Largest message that any server decodes: twice the largest entry.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// First log position of a region: an empty peer (last index 0) can therefore never be filled by log
/// alone, and must be initialised by bootstrap, split or snapshot.
pub const FIRST_INDEX: u64 = 5;

/// Term of that first position.
pub const FIRST_TERM: u64 = 5;
