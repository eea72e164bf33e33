//! The clocks of a node: the monotonic one for spans, the wall clock for timestamps and for people.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use flotilla_base::Moment;
use rustix::time::{ClockId, clock_gettime};

/// Reads moments since the node's start. Copies are the same clock.
///
/// It counts the time in which the machine slept: a lease must not outlive a suspended laptop.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start_nanos: u64,
}

impl MonotonicClock {
    /// A clock that starts now, at [`Moment`] 0.
    #[must_use]
    pub fn start() -> Self {
        Self { start_nanos: boot_nanos() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(boot_nanos().saturating_sub(self.start_nanos))
    }

    /// The clock as the function that threads without a clock of their own are given.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn Fn() -> Moment + Send + Sync> {
        let clock = *self;
        Arc::new(move || clock.now())
    }
}

/// The wall clock in milliseconds since 1970; zero where it stands before.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the machine's start, its sleep included.
fn boot_nanos() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).expect("the machine did not start in the future");
    let nanos = u64::try_from(time.tv_nsec).expect("a fraction of a second is not negative");
    seconds * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_clock_agree_and_never_step_back() {
        let clock = MonotonicClock::start();
        let reader = clock.reader();
        let mut last = Moment(0);
        for _ in 0..1000 {
            let (first, second) = (clock.now(), reader());
            assert!(last <= first && first <= second);
            last = second;
        }
    }
}
