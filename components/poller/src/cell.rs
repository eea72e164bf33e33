//! The cell: inbox, readiness and state of one state machine.
//!
//! ```text
//! IDLE ── mail ──▶ QUEUED ── taken by a worker ──▶ RUNNING ── mail ──▶ DIRTY
//!   ▲                ▲                                │ released         │ released
//!   └────────────────┼────────────────────────────────┘                  │
//!                    └───────────────────────────────────────────────────┘       any ── closed ──▶ CLOSED
//! ```
//!
//! Why no wake-up is lost: a sender pushes before it reads the readiness. If it reads QUEUED or DIRTY, the taking
//! of mail that follows comes later in the order of the inbox lock: a taking that preceded the push would have
//! shown the sender RUNNING, or something later, through that same lock. If it reads RUNNING, its DIRTY forces one
//! more turn.
//!
//! Only the transition IDLE → QUEUED (by a sender) and the release (by the owner) put the cell into the run
//! queue, so it is there at most once. That is what bounds the run queue, and what makes the owner exclusive.

use std::collections::VecDeque;

use crate::queue::{Entry, Shared};
use crate::sync::{Arc, AtomicU8, Mutex, Ordering, Sender};
use crate::{Closed, SendError};

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const DIRTY: u8 = 3;
const CLOSED: u8 = 4;

/// The least that a message is charged for, in bytes: it also bounds the number of small messages.
const MESSAGE_BYTES_MIN: usize = 64;

/// An idle inbox keeps room for this many messages and gives larger buffers back: most cells are idle.
const IDLE_CAPACITY: usize = 16;

pub(crate) struct Cell<S, M> {
    pub(crate) key: u64,
    pub(crate) generation: u64,
    /// Sequentially consistent throughout: it costs nothing beside the inbox lock, and it is the one ordering that
    /// the schedule tests model exactly.
    readiness: AtomicU8,
    inbox: Mutex<Inbox<M>>,
    /// `None` once the cell is closed. Never contended by workers: readiness gives one of them exclusive use.
    state: Mutex<Option<S>>,
    run_queue: Sender<Entry<S, M>>,
    shared: Arc<Shared>,
}

struct Inbox<M> {
    /// Messages, each with the bytes it is charged for (0 for internal ones).
    messages: VecDeque<(M, usize)>,
    bytes: usize,
    closed: bool,
}

/// What the owner found when it took the mail.
pub(crate) enum Taken {
    /// All mail was taken.
    All,
    /// More mail is left: the cell must run again.
    More,
}

impl<S, M> Cell<S, M> {
    pub(crate) fn new(
        key: u64,
        generation: u64,
        state: S,
        run_queue: Sender<Entry<S, M>>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            key,
            generation,
            readiness: AtomicU8::new(IDLE),
            inbox: Mutex::new(Inbox { messages: VecDeque::new(), bytes: 0, closed: false }),
            state: Mutex::new(Some(state)),
            run_queue,
            shared,
        }
    }

    /// Appends a message without charging for it.
    pub(crate) fn push(&self, message: M) -> Result<(), Closed<M>> {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(Closed(message));
        }
        inbox.messages.push_back((message, 0));
        Ok(())
    }

    /// Appends a message charged with `bytes`, if the cell's and the pool's quotas allow it.
    pub(crate) fn push_charged(&self, message: M, bytes: usize) -> Result<(), SendError<M>> {
        let bytes = bytes.max(MESSAGE_BYTES_MIN);
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(SendError::Closed(message));
        }
        // An empty inbox takes any message: otherwise one larger than the quota could never be sent.
        let over =
            inbox.bytes > 0 && inbox.bytes.saturating_add(bytes) > self.shared.quota.cell_bytes;
        if over || !self.shared.charge(bytes) {
            return Err(SendError::Full(message));
        }
        inbox.bytes += bytes;
        inbox.messages.push_back((message, bytes));
        Ok(())
    }

    /// Marks a new message. Returns whether the caller must put the cell into the run queue.
    pub(crate) fn mark_mail(&self) -> bool {
        let mut seen = self.readiness.load(Ordering::SeqCst);
        loop {
            let next = match seen {
                IDLE => QUEUED,
                RUNNING => DIRTY,
                _ => return false,
            };
            match self.exchange(seen, next) {
                Ok(()) => return next == QUEUED,
                Err(now) => seen = now,
            }
        }
    }

    /// The worker that took the cell out of the run queue becomes its owner. `false`: the cell was closed.
    pub(crate) fn start(&self) -> bool {
        match self.exchange(QUEUED, RUNNING) {
            Ok(()) => true,
            Err(found) => {
                assert_eq!(found, CLOSED, "a cell in the run queue is queued or closed");
                false
            }
        }
    }

    /// Moves up to `limit` messages into `into`. By the owner only, after [`Cell::start`].
    pub(crate) fn take(&self, limit: usize, into: &mut Vec<M>) -> Taken {
        let mut inbox = self.inbox.lock();
        let count = inbox.messages.len().min(limit);
        let mut freed = 0;
        into.extend(inbox.messages.drain(..count).map(|(message, bytes)| {
            freed += bytes;
            message
        }));
        inbox.bytes -= freed;
        self.shared.release(freed);
        if inbox.messages.is_empty() { Taken::All } else { Taken::More }
    }

    /// Runs `with` on the state; `None` if the cell was closed. By the owner only.
    pub(crate) fn with_state<R>(&self, with: impl FnOnce(&mut S) -> R) -> Option<R> {
        let mut state = self.state.try_lock().expect("readiness gives one worker exclusive use");
        state.as_mut().map(with)
    }

    /// The owner gives the cell back. Returns whether the caller must put it into the run queue again.
    pub(crate) fn release(&self, run_again: bool) -> bool {
        let mut seen = if run_again { DIRTY } else { RUNNING };
        loop {
            let next = match seen {
                RUNNING if !run_again => IDLE,
                RUNNING | DIRTY => QUEUED,
                found => {
                    assert_eq!(found, CLOSED, "a cell is released by the worker that runs it");
                    return false;
                }
            };
            match self.exchange(seen, next) {
                Ok(()) if next == QUEUED => return true,
                Ok(()) => {
                    self.shrink();
                    return false;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Refuses mail from now on and returns what was not taken. Any message is thus either taken or in here.
    pub(crate) fn close_inbox(&self) -> Vec<M> {
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        let freed = std::mem::take(&mut inbox.bytes);
        self.shared.release(freed);
        std::mem::take(&mut inbox.messages).into_iter().map(|(message, _)| message).collect()
    }

    /// Ends the cell: it never runs again, and its state is dropped here. The inbox must be closed.
    pub(crate) fn finish(&self) {
        self.readiness.store(CLOSED, Ordering::SeqCst);
        let state = self.state.lock().take();
        // Outside the lock: dropping a state may do anything, also look at this cell.
        drop(state);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    /// The queue in which the cell waits for a worker.
    pub(crate) fn run_queue(&self) -> &Sender<Entry<S, M>> {
        &self.run_queue
    }

    fn exchange(&self, from: u8, to: u8) -> Result<(), u8> {
        self.readiness.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).map(|_| ())
    }

    fn shrink(&self) {
        if let Some(mut inbox) = self.inbox.try_lock()
            && inbox.messages.is_empty()
            && inbox.messages.capacity() > IDLE_CAPACITY
        {
            inbox.messages = VecDeque::new();
        }
    }
}

impl<S, M> Drop for Cell<S, M> {
    fn drop(&mut self) {
        // Mail that nobody will take any more gives its share of the pool's quota back.
        drop(self.close_inbox());
    }
}
