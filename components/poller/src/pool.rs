//! The worker pool, and its twin without threads.

use std::{fmt, io};

use crate::guard::{OnPanic, abort_on_panic, guard};
use crate::queue::{Entry, Ready};
use crate::sync::{Receiver, Sender, thread};
use crate::turn::{Handler, TurnLimits, Turns};

/// How a pool is made.
#[derive(Clone)]
pub struct PoolOptions {
    /// Names the threads, with a number behind it.
    pub name: String,
    /// Number of threads; at least one.
    pub workers: usize,
    /// How much one turn may take.
    pub limits: TurnLimits,
    /// Called with the thread's name when a handler panics; afterwards that worker ends. The default aborts the
    /// process: the panicked turn was not written, its cells are not released, and nothing may act as if they were.
    pub on_panic: OnPanic,
}

/// Threads that run the ready cells of one queue.
pub struct Pool<H: Handler> {
    workers: Vec<thread::JoinHandle<()>>,
    stop: Sender<Entry<H::State, H::Message>>,
}

/// The same queue and the same turns without threads: stepped by a test or a simulator.
pub struct Manual<H: Handler> {
    turns: Turns<H>,
    ready: Ready<H::State, H::Message>,
}

impl PoolOptions {
    /// The usual limits, and an abort when a handler panics.
    #[must_use]
    pub fn new(name: impl Into<String>, workers: usize) -> Self {
        Self {
            name: name.into(),
            workers,
            limits: TurnLimits::default(),
            on_panic: abort_on_panic(),
        }
    }
}

impl<H: Handler> Pool<H> {
    /// Starts the workers. `handler` makes one handler for each of them, given its number from 0.
    ///
    /// # Errors
    /// A thread could not be started; those that were have ended again.
    pub fn start(
        options: &PoolOptions,
        ready: Ready<H::State, H::Message>,
        mut handler: impl FnMut(usize) -> H,
    ) -> io::Result<Self> {
        assert!(options.workers > 0, "a pool has at least one worker");
        let mut pool = Self { workers: Vec::new(), stop: ready.sender };
        for number in 0..options.workers {
            let name = format!("{}-{number}", options.name);
            let turns = Turns::new(handler(number), options.limits);
            let (receiver, stop) = (ready.receiver.clone(), pool.stop.clone());
            let on_panic = options.on_panic.clone();
            let body = move || guard(|| work(turns, &receiver, &stop), &on_panic);
            // When this fails, the drop of `pool` ends the workers that run already.
            pool.workers.push(thread::Builder::new().name(name).spawn(body)?);
        }
        Ok(pool)
    }

    /// Runs what is in the inboxes now, then ends all workers and waits for them. Cells stay as they are: their owner
    /// disposes of them ([`crate::Mailbox::dispose`]). Later mail is refused.
    pub fn shutdown(mut self) {
        self.stop_workers();
    }

    fn stop_workers(&mut self) {
        for _ in &self.workers {
            if self.stop.send(Entry::Stop).is_err() {
                break;
            }
        }
        let this = thread::current().id();
        for worker in self.workers.drain(..) {
            // A pool dropped by one of its own workers must not wait for itself.
            if worker.thread().id() != this {
                // A worker that panicked has already been reported through `on_panic`.
                drop(worker.join());
            }
        }
    }
}

impl<H: Handler> Drop for Pool<H> {
    fn drop(&mut self) {
        self.stop_workers();
    }
}

impl<H: Handler> fmt::Debug for Pool<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} workers)", self.workers.len())
    }
}

impl<H: Handler> Manual<H> {
    /// Takes over the queue.
    #[must_use]
    pub fn new(ready: Ready<H::State, H::Message>, handler: H, limits: TurnLimits) -> Self {
        Self { turns: Turns::new(handler, limits), ready }
    }

    /// Runs one turn if a cell is ready. Returns the number of cells that ran.
    pub fn turn(&mut self) -> usize {
        match self.ready.receiver.try_recv() {
            Some(Entry::Cell(first)) => self.turns.run(first, &self.ready.receiver).0,
            Some(Entry::Stop) | None => {
                self.turns.handler.idle();
                0
            }
        }
    }

    /// Number of cells that wait for a turn.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.receiver.len()
    }

    /// The handler that runs the turns.
    pub fn handler(&mut self) -> &mut H {
        &mut self.turns.handler
    }
}

/// A worker that is told to stop goes on for so many turns for each cell that waits: those that were given more mail
/// than one turn takes stand behind the word. Who gets mail all the time does not keep it for ever.
const LAST_TURNS_PER_CELL: usize = 64;

fn work<H: Handler>(
    mut turns: Turns<H>,
    ready: &Receiver<Entry<H::State, H::Message>>,
    stop: &Sender<Entry<H::State, H::Message>>,
) {
    loop {
        let entry = ready.try_recv().or_else(|| {
            turns.handler.idle();
            ready.recv()
        });
        let Some(Entry::Cell(first)) = entry else { break };
        if turns.run(first, ready).1 {
            break;
        }
    }
    let stops = finish(&mut turns, ready);
    for _ in 0..stops {
        // The receiving end is in this very function.
        let _received = stop.send(Entry::Stop).is_ok();
    }
}

/// Runs what is ready, and returns how many words for other workers were among it. Whatever another worker runs
/// meanwhile comes back into the queue before that one looks for its own word.
fn finish<H: Handler>(
    turns: &mut Turns<H>,
    ready: &Receiver<Entry<H::State, H::Message>>,
) -> usize {
    let mut stops = 0;
    for _turn in 0..LAST_TURNS_PER_CELL * (1 + ready.len()) {
        match ready.try_recv() {
            Some(Entry::Cell(first)) => stops += usize::from(turns.run(first, ready).1),
            Some(Entry::Stop) => stops += 1,
            None => break,
        }
    }
    stops
}
