//! Locks, atomics, threads and the channel of the run queue, behind one face.
//!
//! With the feature `shuttle` they are shuttle's, which tries schedules that real threads hit once a year. The
//! code above this module is the same in both cases.

#[cfg(not(feature = "shuttle"))]
pub(crate) use real::*;
#[cfg(feature = "shuttle")]
pub(crate) use shuttled::*;

#[cfg(not(feature = "shuttle"))]
mod real {
    use std::time::Duration;

    pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
    pub(crate) use std::thread;

    /// A condition variable whose waits hand the guard back, as the standard library's do.
    #[derive(Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        pub(crate) fn wait_for<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            timeout: Duration,
        ) -> MutexGuard<'a, T> {
            // Whether it timed out does not matter: every caller looks at the guarded data again.
            let _timed_out = self.0.wait_for(&mut guard, timeout);
            guard
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
    }

    /// The sending half of the run queue.
    pub(crate) struct Sender<T>(crossbeam_channel::Sender<T>);

    /// The receiving half of the run queue; clones share it.
    pub(crate) struct Receiver<T>(crossbeam_channel::Receiver<T>);

    /// A first-in first-out queue of many senders and receivers. It has no bound of its own: see the run queue
    /// for what bounds it.
    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        /// Appends `item`; gives it back when no receiver is left.
        pub(crate) fn send(&self, item: T) -> Result<(), T> {
            self.0.send(item).map_err(|refused| refused.0)
        }
    }

    impl<T> Receiver<T> {
        /// Waits for an item; `None` when no sender is left.
        pub(crate) fn recv(&self) -> Option<T> {
            self.0.recv().ok()
        }

        /// Takes an item if there is one.
        pub(crate) fn try_recv(&self) -> Option<T> {
            self.0.try_recv().ok()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }
}

#[cfg(feature = "shuttle")]
mod shuttled {
    use std::collections::VecDeque;
    use std::time::Duration;

    pub(crate) use shuttle::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Arc, MutexGuard};
    pub(crate) use shuttle::thread;

    const POISON: &str = "a panic ends a shuttle schedule, so no lock is seen poisoned";

    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect(POISON)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
            self.0.read().expect(POISON)
        }

        pub(crate) fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
            self.0.write().expect(POISON)
        }
    }

    #[derive(Default)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    impl Condvar {
        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).expect(POISON)
        }

        pub(crate) fn wait_for<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            timeout: Duration,
        ) -> MutexGuard<'a, T> {
            self.0.wait_timeout(guard, timeout).expect(POISON).0
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
    }

    struct Channel<T> {
        items: Mutex<VecDeque<T>>,
        arrived: Condvar,
        receivers: AtomicUsize,
    }

    pub(crate) struct Sender<T>(Arc<Channel<T>>);

    pub(crate) struct Receiver<T>(Arc<Channel<T>>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let channel = Arc::new(Channel {
            items: Mutex::new(VecDeque::new()),
            arrived: Condvar::default(),
            receivers: AtomicUsize::new(1),
        });
        (Sender(channel.clone()), Receiver(channel))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, item: T) -> Result<(), T> {
            let mut items = self.0.items.lock();
            if self.0.receivers.load(Ordering::SeqCst) == 0 {
                return Err(item);
            }
            items.push_back(item);
            self.0.arrived.notify_one();
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn recv(&self) -> Option<T> {
            let mut items = self.0.items.lock();
            loop {
                if let Some(item) = items.pop_front() {
                    return Some(item);
                }
                items = self.0.arrived.wait(items);
            }
        }

        pub(crate) fn try_recv(&self) -> Option<T> {
            self.0.items.lock().pop_front()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.items.lock().len()
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            self.0.receivers.fetch_add(1, Ordering::SeqCst);
            Self(self.0.clone())
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            let mut items = self.0.items.lock();
            if self.0.receivers.fetch_sub(1, Ordering::SeqCst) == 1 {
                let left = std::mem::take(&mut *items);
                drop(items);
                drop(left);
            }
        }
    }
}
