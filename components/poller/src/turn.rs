//! One turn: take many ready cells, run each, end the turn, and only then release them.

use crate::Mailbox;
use crate::cell::Taken;
use crate::queue::Entry;
use crate::sync::Receiver;

/// What runs the cells of one worker. Each worker has a handler of its own.
pub trait Handler: Send + 'static {
    /// The state of a cell.
    type State: Send + 'static;
    /// What is sent to a cell.
    type Message: Send + 'static;

    /// A turn begins.
    fn begin(&mut self) {}

    /// Runs one cell on its new mail. Must take all of `messages` out, in order; may be called without any.
    ///
    /// Effects that must be durable before the cell runs again are collected in the handler and carried out by
    /// [`Handler::end`].
    fn handle(
        &mut self,
        cell: &Mailbox<Self::State, Self::Message>,
        state: &mut Self::State,
        messages: &mut Vec<Self::Message>,
    ) -> After;

    /// The cell answered [`After::Close`], or mail was left when it did: answers what nobody will handle any more.
    /// The cell takes no more mail at this point; its state is dropped after the turn's end.
    fn closed(&mut self, state: &mut Self::State, messages: Vec<Self::Message>);

    /// Whether this turn has collected enough and should end before its limit of cells.
    fn is_full(&self) -> bool {
        false
    }

    /// The turn ends: one write for all cells of the turn. They stay unreleased until this returns.
    fn end(&mut self);

    /// Nothing is ready: the worker is about to sleep.
    fn idle(&mut self) {}
}

/// What becomes of a cell after it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It runs again when it has mail.
    Keep,
    /// It runs again even without mail, behind all cells that are ready now.
    Again,
    /// It never runs again.
    Close,
}

/// How much one turn may take.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// Cells in one turn.
    pub cells: usize,
    /// Messages of one cell in one turn; the rest waits for its next turn.
    pub messages: usize,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self { cells: 256, messages: 4096 }
    }
}

/// A handler and the buffers of its turns.
pub(crate) struct Turns<H: Handler> {
    pub(crate) handler: H,
    limits: TurnLimits,
    ran: Vec<Ran<H::State, H::Message>>,
    messages: Vec<H::Message>,
}

/// A cell that ran in this turn.
struct Ran<S, M> {
    mailbox: Mailbox<S, M>,
    next: Next,
}

/// What the release does with a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    Run,
    Finish,
}

impl<H: Handler> Turns<H> {
    pub(crate) fn new(handler: H, limits: TurnLimits) -> Self {
        Self { handler, limits, ran: Vec::new(), messages: Vec::new() }
    }

    /// Runs one turn that starts with the cell `first`. Returns the number of cells run and whether a stop was met.
    pub(crate) fn run(
        &mut self,
        first: Mailbox<H::State, H::Message>,
        ready: &Receiver<Entry<H::State, H::Message>>,
    ) -> (usize, bool) {
        let mut stopped = false;
        self.handler.begin();
        self.run_cell(first);
        // No cell comes twice in one turn: those that ran are released only below.
        while self.ran.len() < self.limits.cells && !self.handler.is_full() {
            match ready.try_recv() {
                Some(Entry::Cell(mailbox)) => self.run_cell(mailbox),
                Some(Entry::Stop) => {
                    stopped = true;
                    break;
                }
                None => break,
            }
        }
        self.handler.end();
        let count = self.ran.len();
        self.release();
        (count, stopped)
    }

    fn run_cell(&mut self, mailbox: Mailbox<H::State, H::Message>) {
        let Self { handler, limits, ran, messages } = self;
        if !mailbox.cell.start() {
            return;
        }
        let taken = mailbox.cell.take(limits.messages, messages);
        let after = mailbox.cell.with_state(|state| {
            let after = handler.handle(&mailbox, state, messages);
            assert!(messages.is_empty(), "a handler takes all messages of its cell");
            if after == After::Close {
                let left = mailbox.cell.close_inbox();
                handler.closed(state, left);
            }
            after
        });
        let next = match (after, taken) {
            (Some(After::Close) | None, _) => Next::Finish,
            (Some(After::Again), _) | (_, Taken::More) => Next::Run,
            (Some(After::Keep), Taken::All) => Next::Wait,
        };
        messages.clear();
        ran.push(Ran { mailbox, next });
    }

    fn release(&mut self) {
        for Ran { mailbox, next } in self.ran.drain(..) {
            if next == Next::Finish {
                mailbox.cell.finish();
            } else if mailbox.cell.release(next == Next::Run) {
                mailbox.enqueue();
            }
        }
    }
}
