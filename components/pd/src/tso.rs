//! Timestamps on the way out: the reign's allocator behind a lock that is held for nanoseconds.
//!
//! The owner changes what stands behind the lock: it begins and ends reigns, widens windows, grants and
//! withdraws the lease. Streams take timestamps here without asking the owner, so neither its queue nor a
//! disk is between a client and its timestamp.

use std::time::Duration;

use flotilla_placement::{Taken, Timestamp, TsoChange, TsoDesk, TsoError};
use flotilla_telemetry::{MonotonicClock, clock::unix_millis};
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout_at},
};

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
    desk: Mutex<TsoDesk>,
    /// Counts ends of reigns and widenings.
    changes: watch::Sender<u64>,
    /// Tells the owner that a larger window is wanted.
    window_wanted: Notify,
    clock: MonotonicClock,
    handed_out: IntCounter,
}

impl TsoGate {
    /// A gate without a reign; `handed_out` counts timestamps.
    pub(crate) fn new(clock: MonotonicClock, handed_out: IntCounter) -> Self {
        Self {
            desk: Mutex::new(TsoDesk::default()),
            changes: watch::Sender::new(0),
            window_wanted: Notify::new(),
            clock,
            handed_out,
        }
    }

    /// Whether this member may say now that it leads.
    pub(crate) fn leads_now(&self) -> bool {
        let now = self.clock.now();
        self.desk.lock().leads(now)
    }

    /// Carries out a change before it returns.
    pub(crate) fn change(&self, change: TsoChange) {
        let is_waited_for = matches!(change, TsoChange::Extend { .. } | TsoChange::Close);
        self.desk.lock().change(change);
        if is_waited_for {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// The end of the window to propose now.
    pub(crate) fn wanted_window(&self) -> Option<u64> {
        self.desk.lock().window_wanted(unix_millis())
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
            match self.take(count) {
                Ok(taken) => return self.release(taken, count),
                Err(TsoError::Ahead { ahead_ms }) => {
                    // Only time itself helps here.
                    let enough = Instant::now() + Duration::from_millis(ahead_ms);
                    sleep_until(enough.min(deadline)).await;
                }
                Err(error @ (TsoError::ZeroCount | TsoError::TooMany(_))) => {
                    return Err(TsoRefusal::BadCount(error));
                }
                Err(TsoError::NeedWindow | TsoError::NoReign) => {
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

    fn take(&self, count: u32) -> Result<Taken, TsoError> {
        let now_ms = unix_millis();
        let mut desk = self.desk.lock();
        let outcome = desk.take(count, now_ms);
        let is_window_short = desk.window_wanted(now_ms).is_some();
        drop(desk);
        if is_window_short {
            self.window_wanted.notify_one();
        }
        outcome
    }

    /// The clock is read after the value was taken: whoever leads next hands out larger values only after
    /// this lease has ended.
    fn release(&self, taken: Taken, count: u32) -> Result<Timestamp, TsoRefusal> {
        let now = self.clock.now();
        let released = self.desk.lock().release(taken, now).ok_or(TsoRefusal::NotLeader)?;
        self.handed_out.inc_by(count.into());
        Ok(released)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::Moment;
    use flotilla_placement::TsoReign;

    use super::*;

    fn opened() -> TsoGate {
        let gate = TsoGate::new(
            MonotonicClock::start(),
            IntCounter::new("timestamps", "Timestamps.").expect("a valid name"),
        );
        gate.change(TsoChange::Open(TsoReign::new(0, unix_millis())));
        gate.change(TsoChange::Lease(Some(Moment::NEVER)));
        gate
    }

    #[tokio::test]
    async fn waits_for_the_window_and_asks_for_it() {
        let gate = opened();
        let widen = async {
            gate.window_is_wanted().await;
            let end_ms = gate.wanted_window().expect("no window yet");
            gate.change(TsoChange::Extend { end_ms });
        };
        let (first, ()) = tokio::join!(gate.alloc(10), widen);
        let first = first.expect("window came");
        let second = gate.alloc(1).await.expect("within the window");
        assert!(second > first && first.logical >= 10);
    }

    #[tokio::test]
    async fn no_reign_no_timestamp() {
        let gate = opened();
        gate.change(TsoChange::Close);
        assert_eq!(gate.alloc(1).await, Err(TsoRefusal::NotLeader));
        assert_eq!(gate.wanted_window(), None);
    }

    #[tokio::test]
    async fn a_lease_that_ended_gives_nothing() {
        let gate = opened();
        gate.change(TsoChange::Extend { end_ms: u64::MAX });
        gate.change(TsoChange::Lease(Some(Moment(1))));
        assert_eq!(gate.alloc(1).await, Err(TsoRefusal::NotLeader));
        let zero = gate.alloc(0).await;
        assert_eq!(zero, Err(TsoRefusal::BadCount(TsoError::ZeroCount)));
    }
}
