//! The thread that makes the log durable while the owner goes on.

use std::{io, thread::JoinHandle};

use flotilla_engine::{Engine, EngineError};
use flotilla_raftgroup::ReadyNumber;
use flotilla_telemetry::{MonotonicClock, WorkMark, thread};
use tokio::sync::mpsc;

/// Rounds that may wait for the disk: more than the group keeps outstanding, so handing over never waits.
const ROUNDS_MAX: usize = 256;

/// The owner's end of the thread. Dropping it ends the thread and waits for that: the database is
/// closed only when nobody holds it any more.
#[derive(Debug)]
pub(super) struct Syncer {
    /// Present until the end.
    written: Option<mpsc::Sender<ReadyNumber>>,
    durable: mpsc::Receiver<Result<ReadyNumber, EngineError>>,
    worker: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start(engine: Engine, mark: WorkMark, clock: MonotonicClock) -> io::Result<Self> {
        let (written, mut waiting) = mpsc::channel(ROUNDS_MAX);
        let (done, durable) = mpsc::channel(ROUNDS_MAX);
        let worker = thread::spawn("pd-sync", move || {
            while let Some(first) = waiting.blocking_recv() {
                // One sync for all that wait: what was handed over is written already.
                let mut last = first;
                while let Ok(next) = waiting.try_recv() {
                    last = next;
                }
                mark.begin(clock.now());
                let outcome = engine.sync().map(|()| last);
                mark.end();
                let is_failed = outcome.is_err();
                if done.blocking_send(outcome).is_err() || is_failed {
                    return;
                }
            }
        })?;
        Ok(Self { written: Some(written), durable, worker: Some(worker) })
    }

    /// Hands over a round whose log is written; `false` where the thread is gone.
    pub(super) fn push(&self, number: ReadyNumber) -> bool {
        self.written.as_ref().is_some_and(|written| written.try_send(number).is_ok())
    }

    /// The next number up to which everything is durable; `None` where the thread is gone.
    pub(super) async fn durable(&mut self) -> Option<Result<ReadyNumber, EngineError>> {
        self.durable.recv().await
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.durable.close();
        self.written = None;
        if let Some(worker) = self.worker.take() {
            let _a_panic_was_seen_as_the_end_of_the_queue = worker.join();
        }
    }
}
