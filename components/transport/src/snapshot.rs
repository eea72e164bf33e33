//! Snapshots: the data of a region from one store to another, on a connection of its own, since it would hold up
//! everything else.
//!
//! Whoever sends reserves a [`SnapshotSlot`] first, and hands over an iterator, which is pulled on a thread that may wait for
//! a disk. At most a few chunks are in memory on either side: the iterator rests while the connection has no room, and
//! the receiver is asked for the next part when [`SnapshotSink::take`] has returned.
//!
//! An attempt has exactly one outcome, the value of [`crate::Peers::send_snapshot`]. An error does not say that the receiver has
//! kept nothing: its answer may be lost.

mod deadline;
mod receive;
mod send;

use std::{collections::HashMap, sync::Arc, time::Duration};

use flotilla_base::StoreId;
use flotilla_proto::raft::{SnapshotData, SnapshotHead, SnapshotTail};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;

pub(crate) use self::receive::receive;
use crate::{link::SnapshotLimits, stats::SnapshotStats};

/// Format of the records in chunks: all that is known of them here.
const BLOCK_VERSION: u8 = 1;

/// Takes snapshots that arrive. Knows what they are of; this crate does not.
#[tonic::async_trait]
pub trait ReceiveSnapshot: Send + Sync {
    /// A snapshot of another store begins. Its envelope leads to this store.
    ///
    /// # Errors
    /// The status that refuses it.
    async fn begin(
        &self,
        from: StoreId,
        head: SnapshotHead,
    ) -> Result<Box<dyn SnapshotSink>, Status>;
}

/// Takes one snapshot. Dropped without [`SnapshotSink::finish`], it was broken off.
#[tonic::async_trait]
pub trait SnapshotSink: Send {
    /// Takes the next data, whose checksum is right. Nothing more is read from the connection before it returns.
    ///
    /// # Errors
    /// The status that refuses all of it.
    async fn take(&mut self, data: SnapshotData) -> Result<(), Status>;

    /// All of it was taken; the sender says so much about it. When this returns, it is durable.
    ///
    /// # Errors
    /// The status that refuses it.
    async fn finish(self: Box<Self>, tail: SnapshotTail) -> Result<(), Status>;
}

/// Some data to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotPart {
    /// As it travels.
    pub data: SnapshotData,
    /// Pairs in it.
    pub pairs: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Why a snapshot did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFailure {
    /// The receiver cannot be reached.
    #[error("store {0} cannot be reached: {1}")]
    Unreachable(StoreId, String),
    /// The receiver refused it, or the connection broke.
    #[error("store {0} did not take it: {1}")]
    NotTaken(StoreId, Box<Status>),
    /// The data could not be read here.
    #[error("its data cannot be read: {0}")]
    Source(String),
    /// It took too long.
    #[error("it took longer than {0:?}")]
    TooSlow(Duration),
    /// This store is closing.
    #[error("this store is closing")]
    Closed,
}

/// The right to send one snapshot to a store; given back when it is dropped.
#[derive(Debug)]
pub struct SnapshotSlot {
    to: StoreId,
    _place: Place,
}

/// How many snapshots are on the way, and how fast they may be.
#[derive(Debug)]
pub(crate) struct Traffic {
    limits: SnapshotLimits,
    sending: Arc<Mutex<HashMap<StoreId, usize>>>,
    receiving: Arc<Mutex<HashMap<StoreId, usize>>>,
    pub(crate) stats: SnapshotStats,
    pace: Pace,
}

/// One of the snapshots on the way.
#[derive(Debug)]
pub(crate) struct Place {
    store: StoreId,
    all: Arc<Mutex<HashMap<StoreId, usize>>>,
}

/// Lets so many bytes pass a second. Bytes that come together are let pass one after the other, in the order of asking.
#[derive(Debug)]
struct Pace {
    bytes_a_second: u64,
    /// When everything that was asked for will have passed.
    free_at: Mutex<Option<Instant>>,
}

impl Traffic {
    pub(crate) fn new(limits: SnapshotLimits) -> Self {
        let pace = Pace { bytes_a_second: limits.rate.max(1), free_at: Mutex::default() };
        Self {
            limits,
            sending: Arc::default(),
            receiving: Arc::default(),
            stats: SnapshotStats::default(),
            pace,
        }
    }

    /// A place among those that are sent; `None` where all are taken.
    fn send_to(&self, store: StoreId) -> Option<SnapshotSlot> {
        let place = self.place(&self.sending, store)?;
        Some(SnapshotSlot { to: store, _place: place })
    }

    fn receive_from(&self, store: StoreId) -> Option<Place> {
        self.place(&self.receiving, store)
    }

    fn place(&self, all: &Arc<Mutex<HashMap<StoreId, usize>>>, store: StoreId) -> Option<Place> {
        let mut taken = all.lock();
        let of_all: usize = taken.values().sum();
        let of_store = taken.get(&store).copied().unwrap_or(0);
        if of_all >= self.limits.streams_max || of_store >= self.limits.streams_of_store_max {
            return None;
        }
        taken.insert(store, of_store + 1);
        Some(Place { store, all: Arc::clone(all) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.all.lock();
        let left = taken.get(&self.store).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            taken.remove(&self.store);
        } else {
            taken.insert(self.store, left);
        }
    }
}

impl Pace {
    /// Waits until `bytes` may pass.
    async fn pass(&self, bytes: u64) {
        let at = self.pass_at(Instant::now(), bytes);
        tokio::time::sleep_until(at).await;
    }

    /// When `bytes` may pass that are asked for at `now`.
    fn pass_at(&self, now: Instant, bytes: u64) -> Instant {
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_a_second);
        let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock();
        let at = free_at.map_or(now, |free_at| free_at.max(now));
        *free_at = Some(at + takes);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let limits =
            SnapshotLimits { streams_max: 3, streams_of_store_max: 2, ..SnapshotLimits::default() };
        let traffic = Traffic::new(limits);
        let first = traffic.send_to(StoreId(2)).expect("a place");
        let _second = traffic.send_to(StoreId(2)).expect("a place");
        assert!(traffic.send_to(StoreId(2)).is_none(), "two for a store");
        let _third = traffic.send_to(StoreId(3)).expect("a place");
        assert!(traffic.send_to(StoreId(4)).is_none(), "three in all");
        assert!(traffic.receive_from(StoreId(4)).is_some(), "the other way is counted for itself");
        drop(first);
        assert!(traffic.send_to(StoreId(2)).is_some());
    }

    #[test]
    fn bytes_pass_at_their_pace() {
        let pace = Pace { bytes_a_second: 1 << 20, free_at: Mutex::default() };
        let begin = Instant::now();
        let passed = [0; 5].map(|_chunk| pace.pass_at(begin, 1 << 20) - begin);
        assert_eq!(passed, [0, 1, 2, 3, 4].map(Duration::from_secs), "the first one at once");
        let later = begin + Duration::from_secs(60);
        assert_eq!(pace.pass_at(later, 1), later, "nothing is owed");
        assert!(pace.pass_at(later, 1) > later, "and nothing was saved up");
    }

    #[test]
    fn large_snapshots_have_more_time() {
        let limits = SnapshotLimits::default();
        assert_eq!(limits.deadline(0), Duration::from_secs(600));
        // All places are taken, and none is faster than the slowest.
        assert_eq!(limits.deadline(1_000 << 20), Duration::from_secs(600 + 8_000));
        let slow = SnapshotLimits { rate: 1 << 19, ..limits };
        assert_eq!(slow.deadline(1_000 << 20), Duration::from_secs(600 + 16_000));
        let nothing = SnapshotLimits { rate: 0, ..limits };
        assert!(nothing.deadline(u64::MAX) > slow.deadline(1 << 40));
    }
}
