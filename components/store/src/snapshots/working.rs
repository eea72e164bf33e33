//! Who is at work on threads that the store does not own: it may not end, and its directory not be used again, before
//! they are done.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Counts who is at work.
#[derive(Clone, Default)]
pub(super) struct Working(Arc<Count>);

#[derive(Default)]
struct Count {
    busy: Mutex<usize>,
    changed: Condvar,
}

/// One that is at work, until it is dropped.
pub(super) struct Busy(Arc<Count>);

impl Working {
    pub(super) fn begin(&self) -> Busy {
        *self.0.busy.lock() += 1;
        Busy(Arc::clone(&self.0))
    }

    /// Waits until nobody is at work.
    pub(super) fn until_none(&self) {
        let mut busy = self.0.busy.lock();
        self.0.changed.wait_while(&mut busy, |busy| *busy > 0);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.busy.lock() -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_sees_the_last_one_end() {
        let working = Working::default();
        working.until_none();
        let (first, second) = (working.begin(), working.begin());
        let ended = Arc::new(Mutex::new(0));
        let count = Arc::clone(&ended);
        let worker = std::thread::spawn(move || {
            for busy in [first, second] {
                std::thread::yield_now();
                *count.lock() += 1;
                drop(busy);
            }
        });
        working.until_none();
        assert_eq!(*ended.lock(), 2);
        worker.join().expect("no panic");
    }
}
