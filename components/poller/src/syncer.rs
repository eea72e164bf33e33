//! One sync for many turns: the thread that makes written turns durable and says so.
//!
//! Workers write without syncing and push a token for each turn. The thread takes all tokens that wait, syncs
//! once, and delivers them in the order in which they were pushed; meanwhile the next turns write. So the number
//! of turns that share one sync grows with the time a sync takes, without any timer.

use std::collections::{BTreeSet, VecDeque};
use std::{io, mem};

use crate::guard::{abort_on_panic, guard};
use crate::sync::{Arc, Condvar, Mutex, thread};

/// What a syncer does its work with. All methods are called on the syncer's thread without any lock held.
pub trait SyncHost: Send + 'static {
    /// Stands for one written turn.
    type Token: Send + 'static;
    /// Why a sync failed.
    type Error;

    /// Makes everything durable that was written before this call.
    ///
    /// # Errors
    /// It is unknown what is durable. The syncer calls [`SyncHost::fatal`] and never syncs again.
    fn sync(&mut self) -> Result<(), Self::Error>;

    /// The turn of `token` is durable.
    fn deliver(&mut self, token: Self::Token);

    /// There is room again: wakes the cell `key`, which was refused by [`Syncer::has_room_or_wake`].
    fn room(&mut self, key: u64);

    /// A sync failed. Expected to end the process: no undelivered token will ever be delivered.
    fn fatal(&mut self, error: Self::Error);
}

/// How a syncer is made.
#[derive(Clone, Debug)]
pub struct SyncerOptions {
    /// Names the thread.
    pub name: String,
    /// Number of undelivered tokens at which there is no more room.
    pub tokens: usize,
    /// Bytes of undelivered tokens at which there is no more room.
    pub bytes: usize,
}

/// A bounded queue of tokens and the thread that syncs for them. Dropping it syncs and delivers what is left.
pub struct Syncer<T> {
    shared: Arc<Shared<T>>,
    worker: Option<thread::JoinHandle<()>>,
}

struct Shared<T> {
    options: SyncerOptions,
    state: Mutex<State<T>>,
    pushed: Condvar,
}

struct State<T> {
    waiting: VecDeque<Pushed<T>>,
    /// Pushed and not yet delivered, the ones in `waiting` included.
    outstanding: usize,
    outstanding_bytes: usize,
    /// Keys to be told when there is room again; bounded by the number of cells.
    wants_room: BTreeSet<u64>,
    stopped: bool,
    failed: bool,
}

struct Pushed<T> {
    token: T,
    bytes: usize,
    must_sync: bool,
}

impl SyncerOptions {
    /// The usual bounds: 64 turns or 64 MiB.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), tokens: 64, bytes: 64 << 20 }
    }
}

impl<T: Send + 'static> Syncer<T> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(options: SyncerOptions, host: impl SyncHost<Token = T>) -> io::Result<Self> {
        let name = options.name.clone();
        let state = State {
            waiting: VecDeque::new(),
            outstanding: 0,
            outstanding_bytes: 0,
            wants_room: BTreeSet::new(),
            stopped: false,
            failed: false,
        };
        let shared =
            Arc::new(Shared { options, state: Mutex::new(state), pushed: Condvar::default() });
        let theirs = shared.clone();
        let worker = thread::Builder::new()
            .name(name)
            .spawn(move || guard(|| theirs.run(host), &abort_on_panic()))?;
        Ok(Self { shared, worker: Some(worker) })
    }

    /// Whether another turn may be collected. Workers ask before they collect, and push what they have written
    /// in any case: the queue exceeds its bounds by at most one turn a worker.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared.has_room(&self.shared.state.lock())
    }

    /// Like [`Syncer::has_room`]; where there is none, `key` is woken through [`SyncHost::room`] once there is.
    #[must_use]
    pub fn has_room_or_wake(&self, key: u64) -> bool {
        let mut state = self.shared.state.lock();
        let room = self.shared.has_room(&state);
        if !room {
            state.wants_room.insert(key);
        }
        room
    }

    /// Hands over a written turn that holds `bytes` in memory. It is never dropped for lack of room.
    /// `must_sync` says whether it may be delivered only after a sync.
    ///
    /// # Errors
    /// A sync has failed: the token is given back, and nothing is delivered any more.
    pub fn push(&self, token: T, bytes: usize, must_sync: bool) -> Result<(), T> {
        let mut state = self.shared.state.lock();
        if state.failed {
            return Err(token);
        }
        state.outstanding += 1;
        state.outstanding_bytes += bytes;
        state.waiting.push_back(Pushed { token, bytes, must_sync });
        drop(state);
        self.shared.pushed.notify_one();
        Ok(())
    }

    /// Number of tokens pushed and not yet delivered.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.shared.state.lock().outstanding
    }
}

impl<T> Shared<T> {
    fn has_room(&self, state: &State<T>) -> bool {
        state.outstanding < self.options.tokens && state.outstanding_bytes < self.options.bytes
    }

    fn run(&self, mut host: impl SyncHost<Token = T>) {
        let mut batch = VecDeque::new();
        loop {
            let mut state = self.state.lock();
            while state.waiting.is_empty() && !state.stopped {
                state = self.pushed.wait(state);
            }
            if state.waiting.is_empty() {
                return;
            }
            mem::swap(&mut state.waiting, &mut batch);
            drop(state);
            // Every token of the batch was pushed, hence written, before this sync began.
            if batch.iter().any(|pushed| pushed.must_sync)
                && let Err(error) = host.sync()
            {
                self.state.lock().failed = true;
                host.fatal(error);
                return;
            }
            for pushed in batch.drain(..) {
                host.deliver(pushed.token);
                for key in self.delivered(pushed.bytes) {
                    host.room(key);
                }
            }
        }
    }

    /// Counts one token as delivered. Returns the keys that can be told of room.
    fn delivered(&self, bytes: usize) -> BTreeSet<u64> {
        let mut state = self.state.lock();
        state.outstanding -= 1;
        state.outstanding_bytes -= bytes;
        if self.has_room(&state) { mem::take(&mut state.wants_room) } else { BTreeSet::new() }
    }
}

impl<T> Drop for Syncer<T> {
    /// Syncs and delivers what was pushed, ends the thread and waits for it.
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.pushed.notify_one();
        if let Some(worker) = self.worker.take()
            && worker.thread().id() != thread::current().id()
        {
            // A panic would have ended the process.
            drop(worker.join());
        }
    }
}
