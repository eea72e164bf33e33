//! Executes the effects of a round on real threads: the store's implementation of [`Host`].

use std::sync::Arc;

use flotilla_base::{Moment, PeerId, Region, RegionId};
use flotilla_engine::{Engine, EngineError, WriteBatch};
use flotilla_multiraft::{
    Applier, ApplyTask, Birth, Delegate, Delivery, Host, Input, LogWrite, PeerMessage, Reply,
    Report,
};
use flotilla_poller::{Alarm, SyncHost, Syncer};
use flotilla_raftgroup::ReadyNumber;
use flotilla_telemetry::MonotonicClock;
use flotilla_transport::Peers;

use crate::apply_pool::{ApplyCells, ApplyQueue};
use crate::metrics::StoreMetrics;
use crate::network::{Inbound, send_all};
use crate::raft_pool::RoundToken;
use crate::router::{Router, Ticket};
use crate::silence::Silence;

/// What the threads of one store share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) router: Router,
    pub(crate) peers: Arc<Peers>,
    pub(crate) metrics: Arc<StoreMetrics>,
    pub(crate) clock: MonotonicClock,
    pub(crate) apply_cells: Arc<ApplyCells>,
    pub(crate) apply_queue: ApplyQueue,
    /// Makes peers without data.
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) silence: Arc<Silence>,
    /// Told what the placement driver should hear; must not block.
    pub(crate) reports: Arc<dyn Fn(&Report) + Send + Sync>,
}

/// The host of one raft worker.
pub(crate) struct StoreHost {
    shared: Shared,
    syncer: Arc<Syncer<RoundToken>>,
    alarm: Arc<Alarm>,
}

impl StoreHost {
    pub(crate) fn new(shared: Shared, syncer: Arc<Syncer<RoundToken>>, alarm: Arc<Alarm>) -> Self {
        Self { shared, syncer, alarm }
    }

    pub(crate) fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    pub(crate) fn metrics(&self) -> &StoreMetrics {
        &self.shared.metrics
    }

    /// Messages of the round leave together.
    pub(crate) fn flush(&self) {
        self.shared.peers.flush();
    }

    /// All ranges change in one step; then the children hear that they live.
    fn split(&self, parent: &Region, births: &[Birth]) {
        let children: Vec<_> = births.iter().map(|it| (it.peer, &it.region)).collect();
        let outcome = self.shared.router.table().write().split(parent, &children);
        outcome.unwrap_or_else(|error| stop("give a split's children their keys", &error));
        for birth in births {
            let input = Input::Born(Box::new(birth.clone()));
            self.shared.router.notify(birth.region.id, birth.peer, input);
        }
    }

    fn start_applier(&self, applier: Applier, region: RegionId) {
        self.shared.router.show_applier(region, &applier);
        let (key, generation) = (region.get(), applier.peer().get());
        let cell = self.shared.apply_queue.cell(key, generation, applier);
        let is_first = self.shared.apply_cells.register(cell).is_ok();
        debug_assert!(is_first, "a peer is initialised once");
    }
}

impl Host<Ticket> for StoreHost {
    fn permit(&mut self, region: RegionId, peer: PeerId, delegate: Delegate) {
        self.shared.router.delegates().publish(region, peer, delegate);
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        send_all(&self.shared.peers, messages);
        // Before the write that follows: followers write in parallel with this leader.
        self.shared.peers.flush();
    }

    fn persist(&mut self, write: LogWrite) {
        let must_sync = !write.batch.is_empty();
        let bytes = write.bytes;
        self.shared.metrics.appended(write.entries);
        if must_sync {
            let batch = WriteBatch::from(write.batch);
            self.shared.engine.write(&batch).unwrap_or_else(|error| stop("write the log", &error));
        }
        if self.syncer.push(write.after, bytes, must_sync).is_err() {
            // A sync failed: the process is about to end, and nothing may be promised any more.
            tracing::error!("a round was written behind a failed sync; it is not acknowledged");
        }
    }

    fn apply(&mut self, task: ApplyTask<Ticket>) {
        self.shared.metrics.apply_lag(task.entries.len());
        let cell = self.shared.apply_cells.get(task.region.get());
        if let Some(cell) = cell.filter(|cell| cell.generation() == task.peer.get()) {
            let _closed_means_gone = cell.send(task).is_err();
        }
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        answer(ticket, reply);
    }

    fn report(&mut self, report: Report) {
        match &report {
            Report::Split { parent, births, .. } => self.split(parent, births),
            Report::Initialised { region, peer, apply } => {
                self.start_applier(Applier::new(region.clone(), *peer, *apply), region.id);
            }
            Report::Quarantined { region, damage } => {
                tracing::error!(region = region.get(), %damage, "peer taken out of service");
                let peer = self.shared.router.cells().get(region.get());
                let peer = PeerId(peer.map_or(0, |cell| cell.generation()));
                self.shared.router.table().write().quarantine(*region, peer);
            }
            Report::Role { change, .. } => self.shared.metrics.role_changed(*change),
        }
        (self.shared.reports)(&report);
    }

    fn alarm(&mut self, region: RegionId, at: Moment) {
        self.alarm.set(region.get(), 0, at);
    }
}

/// Completes a ticket; nobody listens where the client went away, and nothing is lost by it.
pub(crate) fn answer(ticket: Ticket, reply: Reply) {
    let _client_is_gone = ticket.send(reply).is_err();
}

/// What the syncer does.
pub(crate) struct SyncerHost {
    pub(crate) shared: Shared,
}

impl Delivery for SyncerHost {
    fn persisted(&mut self, region: RegionId, peer: PeerId, number: ReadyNumber) {
        self.shared.router.notify(region, peer, Input::Persisted(number));
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        send_all(&self.shared.peers, messages);
    }
}

impl SyncHost for SyncerHost {
    type Token = RoundToken;
    type Error = EngineError;

    fn sync(&mut self) -> Result<(), EngineError> {
        let started = std::time::Instant::now();
        self.shared.engine.sync()?;
        self.shared.metrics.synced(started.elapsed());
        Ok(())
    }

    fn deliver(&mut self, token: RoundToken) {
        for after in token {
            after.deliver(self);
        }
        self.shared.peers.flush();
    }

    fn room(&mut self, key: u64) {
        if let Some(cell) = self.shared.router.cells().get(key) {
            let _closed_means_gone = cell.send(Input::Wake).is_err();
        }
    }

    fn fatal(&mut self, error: EngineError) {
        stop("sync the log", &error);
    }
}

/// Ends the process: after a failed write or sync nobody knows what is on disk, and a second try would
/// report success for what the first one lost.
pub(crate) fn stop(doing: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(%error, "cannot {doing}; the store stops, its data is read back at the next start");
    std::process::abort()
}
