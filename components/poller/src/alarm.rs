//! Wakes keys at their deadlines, from one thread, whatever the number of keys.

use std::io;
use std::time::Duration;

use flotilla_base::Moment;

use crate::Deadlines;
use crate::guard::{abort_on_panic, guard};
use crate::sync::{Arc, Condvar, Mutex, thread};

/// Reads the node's monotonic clock. It must advance as real time does.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// A thread that sleeps until the earliest deadline. A key has at most one deadline, so there are never more than
/// keys; a key that has none costs nothing.
pub struct Alarm {
    shared: Arc<Shared>,
    worker: Option<thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    earlier: Condvar,
}

struct State {
    deadlines: Deadlines,
    /// Until when the thread sleeps; only an earlier deadline needs to wake it.
    sleeps_until: Moment,
    stopped: bool,
}

impl Alarm {
    /// Starts the thread. `fire` is called on it with key and generation, without any lock held, and must not
    /// block: it sends a message.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(
        name: &str,
        clock: Clock,
        fire: impl FnMut(u64, u64) + Send + 'static,
    ) -> io::Result<Self> {
        let state = State {
            deadlines: Deadlines::default(),
            // Awake: the thread looks at the deadlines before it first sleeps.
            sleeps_until: Moment(0),
            stopped: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), earlier: Condvar::default() });
        let theirs = shared.clone();
        let worker = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || guard(|| theirs.run(&clock, fire), &abort_on_panic()))?;
        Ok(Self { shared, worker: Some(worker) })
    }

    /// Asks for `key` to be woken at `deadline`; see [`Deadlines::set`]. [`Moment::NEVER`] asks for nothing.
    pub fn set(&self, key: u64, generation: u64, deadline: Moment) {
        if deadline == Moment::NEVER {
            return;
        }
        let mut state = self.shared.state.lock();
        state.deadlines.set(key, generation, deadline);
        if deadline < state.sleeps_until {
            // Until the thread looks again, further deadlines need not wake it.
            state.sleeps_until = deadline;
            drop(state);
            self.shared.earlier.notify_one();
        }
    }

    /// Forgets the deadline of `key`, unless it belongs to a later generation.
    pub fn clear(&self, key: u64, generation: u64) {
        self.shared.state.lock().deadlines.clear(key, generation);
    }

    /// Number of keys with a deadline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.state.lock().deadlines.len()
    }

    /// Whether no key has a deadline.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    fn run(&self, clock: &Clock, mut fire: impl FnMut(u64, u64)) {
        let mut due = Vec::new();
        let mut state = self.state.lock();
        while !state.stopped {
            // The clock is read under the lock: it takes nothing and keeps "due" and "sleeps until" consistent.
            let now = clock();
            state.deadlines.take_due(now, &mut due);
            if !due.is_empty() {
                state.sleeps_until = Moment(0);
                drop(state);
                for (key, generation) in due.drain(..) {
                    fire(key, generation);
                }
                state = self.state.lock();
                continue;
            }
            state.sleeps_until = state.deadlines.next().unwrap_or(Moment::NEVER);
            let sleep = Duration::from(state.sleeps_until.since(now));
            state = if state.sleeps_until == Moment::NEVER {
                self.earlier.wait(state)
            } else {
                self.earlier.wait_for(state, sleep)
            };
        }
    }
}

impl Drop for Alarm {
    /// Ends the thread and waits for it.
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.earlier.notify_one();
        if let Some(worker) = self.worker.take()
            && worker.thread().id() != thread::current().id()
        {
            // A panic would have ended the process.
            drop(worker.join());
        }
    }
}
