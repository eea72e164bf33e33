//! When a snapshot has been under way for too long: on either side, by the same rule.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::link::SnapshotLimits;

/// The end of one snapshot's time, which moves on with what passes. Announced is an estimate, of data as it lies on a
/// disk: more may come, which takes longer. Whatever carries no bytes gains no time.
#[derive(Debug)]
pub(super) struct Deadline {
    limits: SnapshotLimits,
    announced: u64,
    passed: AtomicU64,
    started: Instant,
}

impl Deadline {
    /// The time begins now.
    pub(super) fn new(limits: SnapshotLimits, announced: u64) -> Self {
        Self { limits, announced, passed: AtomicU64::new(0), started: Instant::now() }
    }

    /// So many bytes more have passed.
    pub(super) fn passed(&self, bytes: u64) {
        self.passed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits until the time is over; returns how long it was.
    pub(super) async fn over(&self) -> Duration {
        loop {
            let bytes = self.announced.max(self.passed.load(Ordering::Relaxed));
            let time_max = self.limits.deadline(bytes);
            let left = time_max.saturating_sub(self.started.elapsed());
            if left.is_zero() {
                return time_max;
            }
            sleep(left).await;
        }
    }
}
