//! Counters of the transport, for whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the transport has done since its start. Each number is exact, but they are not one snapshot.
#[derive(Debug, Default)]
pub struct TransportStats {
    /// Bytes that wait in all queues now.
    pub queued_bytes: Counter,
    /// Envelopes handed to connections.
    pub sent_messages: Counter,
    /// Batches handed to connections.
    pub sent_batches: Counter,
    /// Encoded bytes handed to connections.
    pub sent_bytes: Counter,
    /// Envelopes delivered to this store.
    pub received_messages: Counter,
    /// Batches delivered to this store.
    pub received_batches: Counter,
    /// Envelopes dropped because their queue was full.
    pub dropped_full: Counter,
    /// Envelopes dropped because their connection failed.
    pub dropped_disconnected: Counter,
    /// Envelopes received and not understood, or meant for another store.
    pub dropped_refused: Counter,
    /// Streams opened to other stores.
    pub connects: Counter,
    /// Streams that failed or could not be opened.
    pub failures: Counter,
    /// Streams of others that were refused or broke off.
    pub broken_streams: Counter,
}

/// What has become of snapshots.
#[derive(Debug, Default)]
pub struct SnapshotStats {
    /// Sent, and kept by their receivers.
    pub sent: Counter,
    /// Not sent to their end, or not kept.
    pub send_failed: Counter,
    /// Bytes of keys and values handed to connections.
    pub sent_bytes: Counter,
    /// Received to their end, and kept.
    pub received: Counter,
    /// Refused, damaged or broken off.
    pub receive_failed: Counter,
    /// Bytes of blocks that were received.
    pub received_bytes: Counter,
}

/// A number that any thread may change.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, count: usize) {
        self.0.fetch_sub(count as u64, Ordering::Relaxed);
    }
}
