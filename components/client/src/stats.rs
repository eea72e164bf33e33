//! Counters for whoever wants to watch a client.

use std::sync::atomic::{AtomicU64, Ordering};

use flotilla_routing::Cause;

/// Counters since the client was made. All only grow; reading them costs nothing.
#[derive(Debug, Default)]
pub struct ClientStats {
    calls: AtomicU64,
    failures: AtomicU64,
    unknown_outcomes: AtomicU64,
    retries: [AtomicU64; Cause::ALL.len()],
}

impl ClientStats {
    /// Calls begun.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls that ended with an error.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Calls among them whose write may have taken effect.
    #[must_use]
    pub fn unknown_outcomes(&self) -> u64 {
        self.unknown_outcomes.load(Ordering::Relaxed)
    }

    /// Attempts that were repeated for this cause.
    #[must_use]
    pub fn retries(&self, cause: Cause) -> u64 {
        self.retries[cause as usize].load(Ordering::Relaxed)
    }

    /// Attempts that were repeated, by the cause's name.
    pub fn all_retries(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Cause::ALL.into_iter().map(|cause| (cause.name(), self.retries(cause)))
    }

    pub(crate) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_retry(&self, cause: Cause) {
        self.retries[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failure(&self, is_outcome_unknown: bool) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.unknown_outcomes.fetch_add(u64::from(is_outcome_unknown), Ordering::Relaxed);
    }
}
