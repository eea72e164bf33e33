//! A few threads that read old log entries for followers that lag behind: a disk that is slow with them must not keep raft
//! workers from heartbeats.
//!
//! What they may hold is bounded: each reads one order at a time, of no more than
//! [`FETCH_BYTES`](flotilla_raftgroup::fetch::FETCH_BYTES) and an entry. What was read is charged for in its replica's inbox
//! as all that may be refused there, and where that is full it is dropped and its replica told so; behind that it counts as
//! cached. A peer has one order under way, so the orders that wait are no more than the regions.
//!
//! What the disk has damaged is told to its replica like anything else that was read, and costs that peer alone. A database
//! that cannot be read ends the store. A store that stops reads nothing more: whoever waits for it stops as well.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use flotilla_base::KvRead;
use flotilla_multiraft::{Input, LogFetch};
use flotilla_poller::SendError;
use flotilla_raftgroup::Fetched;

use crate::host::stop;
use crate::metrics::StoreMetrics;
use crate::router::{PeerMail, Router};

/// One reads while the other waits for its disk.
const THREADS: usize = 2;

/// The threads, and the way to them.
pub(crate) struct LogReaders {
    /// `None` only while they end.
    orders: Option<Sender<LogFetch>>,
    /// What nobody has begun to read.
    waiting: Receiver<LogFetch>,
    threads: Vec<JoinHandle<()>>,
}

/// What a thread needs.
#[derive(Clone)]
struct Reader {
    disk: Arc<dyn KvRead + Send + Sync>,
    router: Router,
    metrics: Arc<StoreMetrics>,
}

impl LogReaders {
    /// Starts them.
    pub(crate) fn start(
        disk: Arc<dyn KvRead + Send + Sync>,
        router: &Router,
        metrics: &Arc<StoreMetrics>,
    ) -> io::Result<Self> {
        let (sender, receiver) = unbounded();
        let (router, metrics) = (router.clone(), Arc::clone(metrics));
        let reader = Reader { disk, router, metrics };
        let spawn = |number: usize| {
            let (reader, orders) = (reader.clone(), receiver.clone());
            flotilla_telemetry::thread::spawn(&format!("log-{number}"), move || {
                reader.work(&orders);
            })
        };
        let threads = (0..THREADS).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { orders: Some(sender), waiting: receiver, threads })
    }

    /// Has entries read, without waiting for it.
    pub(crate) fn order(&self, fetch: LogFetch) {
        let orders = self.orders.as_ref().expect("present until the threads end");
        let _threads_outlive_it = orders.send(fetch).is_err();
    }
}

impl Drop for LogReaders {
    /// Waits for what is being read, which holds the database open; what is not begun is dropped.
    fn drop(&mut self) {
        self.orders = None;
        self.waiting.try_iter().for_each(drop);
        for thread in self.threads.drain(..) {
            let _panics_end_the_process = thread.join().is_err();
        }
    }
}

impl Reader {
    fn work(&self, orders: &Receiver<LogFetch>) {
        for fetch in orders {
            // An order without an answer would cost its followers their service.
            if catch_unwind(AssertUnwindSafe(|| self.serve(&fetch))).is_err() {
                stop("read the log", &"a panic");
            }
        }
    }

    fn serve(&self, fetch: &LogFetch) {
        let read = fetch.order.read(self.disk.as_ref());
        let fetched = read.unwrap_or_else(|error| stop("read the log", &error));
        let fetched = self.deliver(fetch, fetched);
        self.metrics.fetched(&fetched);
    }

    /// Returns what its replica is told.
    fn deliver(&self, fetch: &LogFetch, fetched: Fetched) -> Fetched {
        let LogFetch { region, peer, order } = fetch;
        let bytes = fetched.size_bytes();
        let told = Input::Fetched(order.number, fetched.clone());
        let cell = self.router.cells().get(region.get());
        let Some(cell) = cell.filter(|cell| cell.generation() == peer.get()) else {
            return fetched;
        };
        match cell.try_send(told, bytes) {
            Ok(()) | Err(SendError::Closed(_)) => fetched,
            Err(SendError::Full(_)) => {
                let refused: PeerMail = Input::Fetched(order.number, Fetched::Refused);
                self.router.notify(*region, *peer, refused);
                Fetched::Refused
            }
        }
    }
}

#[cfg(test)]
mod tests;
