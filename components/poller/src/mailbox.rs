//! The handle through which mail reaches a cell.

use std::fmt;

use crate::cell::Cell;
use crate::queue::Entry;
use crate::sync::Arc;

/// A handle to one cell; clones are handles to the same cell.
///
/// An accepted message is handled by a worker, or returned by the close of the cell, exactly once. Only when the
/// whole pool has stopped are accepted messages dropped; what a dropped message means is its type's business.
pub struct Mailbox<S, M> {
    pub(crate) cell: Arc<Cell<S, M>>,
}

/// The cell takes no more mail. Gives the message back.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed<M>(pub M);

/// Why a message that may be refused was refused. Gives the message back.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<M> {
    /// The cell's inbox, or all inboxes of the pool together, hold as many bytes as they may.
    Full(M),
    /// The cell takes no more mail.
    Closed(M),
}

impl<S, M> Mailbox<S, M> {
    /// The key that the cell was made with.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.cell.key
    }

    /// Tells cells apart that were made for the same key one after the other.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.cell.generation
    }

    /// Sends a message that must never be lost: completions of what the cell itself has started. There are only
    /// so many of those outstanding, so they are neither charged for nor refused for lack of room.
    ///
    /// # Errors
    /// The cell is closed.
    pub fn send(&self, message: M) -> Result<(), Closed<M>> {
        self.cell.push(message)?;
        self.ready();
        Ok(())
    }

    /// Sends a message that came from outside and may be refused. `bytes` is what it holds in memory.
    ///
    /// # Errors
    /// The cell is closed, or a quota is used up.
    pub fn try_send(&self, message: M, bytes: usize) -> Result<(), SendError<M>> {
        self.cell.push_charged(message, bytes)?;
        self.ready();
        Ok(())
    }

    /// Whether the cell refuses mail for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.cell.is_closed()
    }

    /// Closes the cell from outside, drops its state and returns the mail that nobody has taken.
    ///
    /// For the end of a pool, after [`crate::Pool::shutdown`] has returned: a worker in the middle of a turn would not have
    /// written yet what this state told it to. A cell of a living pool is closed by its handler
    /// ([`crate::After::Close`]).
    #[must_use = "the messages wait for an answer"]
    pub fn dispose(&self) -> Vec<M> {
        let left = self.cell.close_inbox();
        self.cell.finish();
        left
    }

    fn ready(&self) {
        if self.cell.mark_mail() {
            self.enqueue();
        }
    }

    /// Puts the cell at the tail of the run queue. The caller has just made it QUEUED.
    pub(crate) fn enqueue(&self) {
        if self.cell.run_queue().send(Entry::Cell(self.clone())).is_err() {
            // No worker is left and none will come: refuse mail from now on instead of piling it up.
            drop(self.cell.close_inbox());
        }
    }
}

impl<S, M> Clone for Mailbox<S, M> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone() }
    }
}

impl<S, M> fmt::Debug for Mailbox<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({}, generation {})", self.key(), self.generation())
    }
}

impl<M> From<Closed<M>> for SendError<M> {
    fn from(closed: Closed<M>) -> Self {
        Self::Closed(closed.0)
    }
}

impl<M> fmt::Display for Closed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cell is closed")
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the inbox is full",
            Self::Closed(_) => "the cell is closed",
        })
    }
}
