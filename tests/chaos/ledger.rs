//! What all clients of a run share: the history, its clock, and the progress that the run waits for.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use flotilla_base::Moment;
use flotilla_client::Applied;
use flotilla_histcheck::{History, OperationId, Recorder, Request, Response};
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use crate::common::LIVENESS;

/// The history of a run while it happens.
#[derive(Debug)]
pub(crate) struct Ledger {
    begin: Instant,
    recorder: Mutex<Recorder>,
    acknowledged: watch::Sender<u64>,
    clients: AtomicU64,
    is_over: AtomicBool,
    /// Broken promises that are not about keys.
    complaints: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            recorder: Mutex::default(),
            acknowledged: watch::Sender::new(0),
            clients: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            complaints: Mutex::default(),
        }
    }

    /// The clock of the history: the monotonic one of this process.
    pub(crate) fn now(&self) -> Moment {
        Moment(
            u64::try_from(self.begin.elapsed().as_nanos())
                .expect("a run is shorter than 500 years"),
        )
    }

    /// The number of a client that nobody had before.
    pub(crate) fn new_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn note(&self, text: &str) {
        let now = self.now();
        self.recorder.lock().note(text, now);
    }

    pub(crate) fn complain(&self, text: String) {
        self.complaints.lock().push(text);
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().clone()
    }

    /// Records one call for each of `asked`, all carried out by `call`. Returns the number that the client
    /// has from now on: whoever does not know what became of a write is replaced.
    pub(crate) async fn attempt(
        &self,
        client: u64,
        asked: Vec<(String, Request)>,
        call: impl Future<Output = Result<Response, Applied>>,
    ) -> u64 {
        let ids: Vec<OperationId> = {
            let (now, mut recorder) = (self.now(), self.recorder.lock());
            let invoke = |(key, request)| recorder.invoke(client, key, request, now);
            asked.into_iter().map(invoke).collect()
        };
        let answer = call.await;
        let (now, mut recorder) = (self.now(), self.recorder.lock());
        match answer {
            Ok(response) => {
                ids.into_iter().for_each(|id| recorder.ok(id, response.clone(), now));
                drop(recorder);
                self.acknowledged.send_modify(|count| *count += 1);
                client
            }
            Err(Applied::No) => {
                ids.into_iter().for_each(|id| recorder.fail(id, now));
                client
            }
            Err(Applied::Unknown | Applied::Yes) => self.new_client(),
        }
    }

    /// Records a read that was answered; one that was refused would tell nothing.
    pub(crate) fn found(&self, client: u64, key: String, invoked: Moment, response: Response) {
        let (now, mut recorder) = (self.now(), self.recorder.lock());
        let id = recorder.invoke(client, key, Request::Read, invoked);
        recorder.ok(id, response, now);
    }

    /// Waits for so many more successes. How fast they come depends on the machine; but there must never be
    /// silence for long.
    pub(crate) async fn progress(&self, more: u64, what: &str) {
        let mut acknowledged = self.acknowledged.subscribe();
        let wanted = *acknowledged.borrow_and_update() + more;
        while *acknowledged.borrow_and_update() < wanted {
            let next = timeout(LIVENESS, acknowledged.changed()).await;
            assert!(matches!(next, Ok(Ok(()))), "no progress {what}");
        }
    }

    /// Tells all clients to come to an end.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The history so far.
    pub(crate) fn history(&self) -> History {
        self.recorder.lock().clone().finish().expect("clients keep to the form")
    }
}
