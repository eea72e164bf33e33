//! Timestamps on the way out: the reign's allocator behind a lock that is held for nanoseconds.
//!
//! The owner opens the gate with a reign, widens its window as windows are applied, and closes it when
//! the reign ends. Streams take timestamps here without asking the owner, so neither its queue nor a
//! disk is between a client and its timestamp.

use std::time::Duration;

use flotilla_placement::{Timestamp, TsoError, TsoReign};
use flotilla_telemetry::MonotonicClock;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{clock::unix_ms, status::Lease};

/// How long a caller waits for a leader or a window.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a caller gets no timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TsoRefusal {
    /// This member does not lead, or not for sure.
    NotLeader,
    /// The request can never be served.
    BadCount(TsoError),
}

/// Where streams take timestamps.
#[derive(Debug)]
pub(crate) struct TsoGate {
    reign: Mutex<Option<TsoReign>>,
    /// Counts openings, closings and widenings.
    changes: watch::Sender<u64>,
    /// Tells the owner that a larger window is wanted.
    window_wanted: Notify,
    lease: Lease,
    clock: MonotonicClock,
    handed_out: IntCounter,
}

impl TsoGate {
    /// A closed gate; `handed_out` counts timestamps.
    pub(crate) fn new(clock: MonotonicClock, handed_out: IntCounter) -> Self {
        Self {
            reign: Mutex::new(None),
            changes: watch::Sender::new(0),
            window_wanted: Notify::new(),
            lease: Lease::default(),
            clock,
            handed_out,
        }
    }

    /// The lease of this member; granted and withdrawn by the owner alone.
    pub(crate) const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether this member may say now that it leads.
    pub(crate) fn leads_now(&self) -> bool {
        self.lease.holds(self.clock.now())
    }

    /// Begins a reign. It hands out nothing before its first window.
    pub(crate) fn open(&self, reign: TsoReign) {
        *self.reign.lock() = Some(reign);
    }

    /// Ends the reign, before anyone is told that this member no longer leads.
    pub(crate) fn close(&self) {
        self.lease.withdraw();
        *self.reign.lock() = None;
        self.note_change();
    }

    /// Takes over an applied window.
    pub(crate) fn extend(&self, end_ms: u64) {
        if let Some(reign) = self.reign.lock().as_mut() {
            reign.extend(end_ms);
        }
        self.note_change();
    }

    /// The end of the window to propose now.
    pub(crate) fn wanted_window(&self) -> Option<u64> {
        self.reign.lock().as_ref().and_then(|reign| reign.window_wanted(unix_ms()))
    }

    /// Completes when a larger window is wanted.
    pub(crate) async fn window_is_wanted(&self) {
        self.window_wanted.notified().await;
    }

    /// Hands out `count` timestamps; the largest is returned.
    pub(crate) async fn alloc(&self, count: u32) -> Result<Timestamp, TsoRefusal> {
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            match self.try_alloc(count) {
                Some(Ok(timestamp)) => return self.confirm(timestamp, count),
                Some(Err(TsoError::Ahead { ahead_ms })) => {
                    // Only time itself helps here.
                    let enough = Instant::now() + Duration::from_millis(ahead_ms);
                    sleep_until(enough.min(deadline)).await;
                }
                Some(Err(error @ (TsoError::ZeroCount | TsoError::TooMany(_)))) => {
                    return Err(TsoRefusal::BadCount(error));
                }
                Some(Err(TsoError::NeedWindow)) | None => {
                    let changed = timeout_at(deadline, changes.changed()).await;
                    if !matches!(changed, Ok(Ok(()))) {
                        return Err(TsoRefusal::NotLeader);
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(TsoRefusal::NotLeader);
            }
        }
    }

    /// `None` while no reign is open.
    fn try_alloc(&self, count: u32) -> Option<Result<Timestamp, TsoError>> {
        let now_ms = unix_ms();
        let mut guard = self.reign.lock();
        let reign = guard.as_mut()?;
        let outcome = reign.alloc(count, now_ms);
        let is_window_short = reign.window_wanted(now_ms).is_some();
        drop(guard);
        if is_window_short {
            self.window_wanted.notify_one();
        }
        Some(outcome)
    }

    /// The lease is asked after the value was taken: whoever leads next hands out larger values only
    /// after this lease has ended.
    fn confirm(&self, timestamp: Timestamp, count: u32) -> Result<Timestamp, TsoRefusal> {
        if !self.leads_now() {
            return Err(TsoRefusal::NotLeader);
        }
        self.handed_out.inc_by(count.into());
        Ok(timestamp)
    }

    fn note_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::Moment;

    use super::*;

    fn opened() -> TsoGate {
        let gate = TsoGate::new(
            MonotonicClock::start(),
            IntCounter::new("timestamps", "Timestamps.").expect("a valid name"),
        );
        gate.open(TsoReign::new(0, unix_ms()));
        gate.lease().grant_until(Moment::NEVER);
        gate
    }

    #[tokio::test]
    async fn waits_for_the_window_and_asks_for_it() {
        let gate = opened();
        let widen = async {
            gate.window_is_wanted().await;
            gate.extend(gate.wanted_window().expect("no window yet"));
        };
        let (first, ()) = tokio::join!(gate.alloc(10), widen);
        let first = first.expect("window came");
        let second = gate.alloc(1).await.expect("within the window");
        assert!(second > first && first.logical >= 10);
    }

    #[tokio::test]
    async fn no_reign_no_timestamp() {
        let gate = opened();
        gate.close();
        assert_eq!(gate.alloc(1).await, Err(TsoRefusal::NotLeader));
        assert_eq!(gate.wanted_window(), None);
    }

    #[tokio::test]
    async fn a_lease_that_ended_gives_nothing() {
        let gate = opened();
        gate.extend(u64::MAX);
        gate.lease().grant_until(Moment(1));
        assert_eq!(gate.alloc(1).await, Err(TsoRefusal::NotLeader));
        let zero = gate.alloc(0).await;
        assert_eq!(zero, Err(TsoRefusal::BadCount(TsoError::ZeroCount)));
    }
}
