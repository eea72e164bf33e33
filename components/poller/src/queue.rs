//! The run queue: ready cells in the order in which they became ready, and the quota their inboxes share.

use crate::Mailbox;
use crate::cell::Cell;
use crate::sync::{Arc, AtomicUsize, Ordering, Receiver, Sender, channel};

/// How much refusable mail may wait, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// In one cell. A single message is taken even if it is larger.
    pub cell_bytes: usize,
    /// In all cells of the queue together.
    pub total_bytes: usize,
}

/// What all cells of one queue share.
pub(crate) struct Shared {
    pub(crate) quota: Quota,
    waiting_bytes: AtomicUsize,
}

/// An entry of the run queue.
pub(crate) enum Entry<S, M> {
    Cell(Mailbox<S, M>),
    /// One worker ends when it takes this.
    Stop,
}

/// The side of a run queue on which cells are made. Clones make cells of the same queue.
///
/// The queue has no capacity because it needs none: a cell is in it at most once, so it is bounded by the number
/// of cells.
pub struct ReadyQueue<S, M> {
    pub(crate) sender: Sender<Entry<S, M>>,
    shared: Arc<Shared>,
}

/// The side of a run queue from which a [`crate::Pool`] or a [`crate::Manual`] takes ready cells.
pub struct Ready<S, M> {
    pub(crate) receiver: Receiver<Entry<S, M>>,
    pub(crate) sender: Sender<Entry<S, M>>,
}

impl<S, M> ReadyQueue<S, M> {
    /// Makes a queue. Its cells can be made, and sent to, before anything runs them.
    #[must_use]
    pub fn new(quota: Quota) -> (Self, Ready<S, M>) {
        let (sender, receiver) = channel();
        let shared = Arc::new(Shared { quota, waiting_bytes: AtomicUsize::new(0) });
        (Self { sender: sender.clone(), shared }, Ready { receiver, sender })
    }

    /// Makes an idle cell. `generation` tells it apart from earlier and later cells of the same key.
    #[must_use]
    pub fn cell(&self, key: u64, generation: u64, state: S) -> Mailbox<S, M> {
        let cell = Cell::new(key, generation, state, self.sender.clone(), self.shared.clone());
        Mailbox { cell: Arc::new(cell) }
    }

    /// The refusable mail that waits in all cells of this queue, in bytes.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.shared.waiting_bytes.load(Ordering::Relaxed)
    }
}

impl<S, M> Clone for ReadyQueue<S, M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), shared: self.shared.clone() }
    }
}

impl Shared {
    /// Takes `bytes` out of the common quota, if it has them.
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        let mut waiting = self.waiting_bytes.load(Ordering::Relaxed);
        loop {
            let more = waiting.saturating_add(bytes);
            if more > self.quota.total_bytes {
                return false;
            }
            let exchange = self.waiting_bytes.compare_exchange_weak(
                waiting,
                more,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match exchange {
                Ok(_) => return true,
                Err(now) => waiting = now,
            }
        }
    }

    pub(crate) fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
