//! Until when a benchmark goes on.

use std::time::{Duration, Instant};

use tokio::{sync::watch, task::coop::consume_budget, time::sleep_until};

/// The end of a run: after a time, or as soon as somebody wants it.
#[derive(Debug)]
pub(super) struct Pace {
    end: Instant,
    stopped: watch::Receiver<bool>,
}

impl Pace {
    /// A run that begins now.
    pub(super) fn new(duration: Duration, stopped: watch::Receiver<bool>) -> Self {
        // Longer than anybody waits, where the sum is more than the clock holds.
        let longest = Duration::from_secs(1 << 32);
        let end = Instant::now() + duration.min(longest);
        Self { end, stopped }
    }

    pub(super) fn is_over(&self) -> bool {
        *self.stopped.borrow() || Instant::now() >= self.end
    }

    /// Whether one more operation is wanted. Operations that are refused at once never wait for anything, so
    /// this gives way to others now and then: to the clock, to interrupts, to the other clients.
    pub(super) async fn goes_on(&self) -> bool {
        consume_budget().await;
        !self.is_over()
    }

    /// Waits for the end.
    pub(super) async fn over(&self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = sleep_until(self.end.into()) => {}
            Ok(_) = stopped.wait_for(|stop| *stop) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing that is waited for takes so long unless it never comes.
    const LIVENESS: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn operations_that_never_wait_hold_nobody_up() {
        let (stop, stopped) = watch::channel(false);
        let pace = Pace::new(LIVENESS, stopped);
        tokio::spawn(async move { stop.send_replace(true) });
        while pace.goes_on().await {}
        assert!(Instant::now() < pace.end, "the other task had its turn");
    }

    #[tokio::test]
    async fn the_clock_ends_it_whatever_else_happens() {
        let (_stop, stopped) = watch::channel(false);
        let pace = Pace::new(Duration::from_millis(20), stopped);
        while pace.goes_on().await {}
        assert!(Instant::now() >= pace.end);
        pace.over().await;
    }
}
