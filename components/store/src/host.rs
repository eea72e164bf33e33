//! Executes the effects of a round on real threads: the store's implementation of [`Host`].

use std::sync::Arc;

use flotilla_base::{Moment, PeerId, Region, RegionId};
use flotilla_engine::{Engine, EngineError, WriteBatch};
use flotilla_multiraft::{
    Applier, ApplyTask, Birth, Delegate, Delivery, Host, Input, LogFetch, LogWrite,
    MembershipInput, PeerMessage, Reply, Report, SnapshotEffect, Tombstone,
};
use flotilla_poller::{Alarm, SyncHost, Syncer};
use flotilla_raftgroup::ReadyNumber;
use flotilla_telemetry::{MonotonicClock, Unfinished, WorkMark};
use flotilla_transport::Peers;

use crate::apply_pool::{ApplyCells, ApplyMail, ApplyQueue};
use crate::log_readers::LogReaders;
use crate::memory::Memory;
use crate::metrics::StoreMetrics;
use crate::network::{Inbound, send_all};
use crate::raft_pool::RoundToken;
use crate::router::{Router, Ticket};
use crate::snapshots::Snapshots;
use crate::split::sizes::Sizes;

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
    /// Makes peers without data, and knows who is silent.
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) snapshots: Snapshots,
    /// What is written is counted in it.
    pub(crate) sizes: Arc<Sizes>,
    /// What the threads are about: whether this store is alive is judged by it.
    pub(crate) unfinished: Unfinished,
    /// Told what the placement driver should hear; must not block.
    pub(crate) reports: Arc<dyn Fn(&Report) + Send + Sync>,
}

/// The host of one raft worker.
pub(crate) struct StoreHost {
    shared: Shared,
    syncer: Arc<Syncer<RoundToken>>,
    alarm: Arc<Alarm>,
    log_readers: Arc<LogReaders>,
}

impl StoreHost {
    pub(crate) fn new(
        shared: Shared,
        syncer: Arc<Syncer<RoundToken>>,
        alarm: Arc<Alarm>,
        log_readers: Arc<LogReaders>,
    ) -> Self {
        Self { shared, syncer, alarm, log_readers }
    }

    pub(crate) fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    pub(crate) fn mark(&self) -> WorkMark {
        self.shared.unfinished.worker("turn of replicas")
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.shared.inbound.memory
    }

    pub(crate) fn metrics(&self) -> &StoreMetrics {
        &self.shared.metrics
    }

    /// Whether readers have used the region in place since the last call.
    pub(crate) fn take_use(&self, region: RegionId) -> bool {
        self.shared.router.delegates().take_use(region)
    }

    /// Messages of the round leave together.
    pub(crate) fn flush(&self) {
        self.shared.peers.flush();
    }

    /// All ranges change in one step; then the children hear that they live.
    fn split(&self, parent: &Region, births: &[Birth]) {
        let children: Vec<_> = births.iter().map(|it| (it.peer, &it.region)).collect();
        let outcome = self.shared.router.table().split(parent, &children);
        outcome.unwrap_or_else(|error| stop("give a split's children their keys", &error));
        self.shared.sizes.divided(parent.id, births);
        for birth in births {
            let input = Input::Born(Box::new(birth.clone()));
            self.shared.router.notify(birth.region.id, birth.peer, input);
        }
    }

    fn let_go(&self, region: RegionId, peer: PeerId) {
        let may_go = self.shared.router.table().let_go(region, peer);
        if may_go {
            self.shared.snapshots.claim_ended();
            let input = Input::Membership(Box::new(MembershipInput::MayLeave));
            self.shared.router.notify(region, peer, input);
        }
    }

    /// The worker closes the replica's cell behind this turn. The applier has nothing in its inbox.
    fn destroy(&self, region: RegionId, peer: PeerId, tombstone: Tombstone) {
        let Shared { router, apply_cells, .. } = &self.shared;
        let (key, generation) = (region.get(), peer.get());
        drop((router.cells().remove(key, generation), apply_cells.remove(key, generation)));
        router.table().release(region, peer, tombstone);
        router.delegates().forget(region, peer);
        self.shared.sizes.forget(region);
        tracing::info!(region = key, peer = generation, "peer is destroyed");
    }

    /// Starts the applier of a peer that has its data now. One that had other data before has an applier already, with
    /// nothing left to do: it begins anew.
    fn start_applier(&self, applier: Applier, region: RegionId) {
        self.shared.router.show_applier(region, &applier);
        let (key, generation) = (region.get(), applier.peer().get());
        let cells = &self.shared.apply_cells;
        match cells.get(key).filter(|cell| cell.generation() == generation) {
            Some(cell) => {
                self.shared.sizes.forget(region);
                let is_taken = cell.send(ApplyMail::Begin(Box::new(applier))).is_ok();
                debug_assert!(is_taken, "appliers end with their store");
            }
            None => {
                let cell = self.shared.apply_queue.cell(key, generation, applier);
                let is_first = cells.register(cell).is_ok();
                debug_assert!(is_first, "a peer is initialised once");
            }
        }
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
        let (region, peer) = (task.region, task.peer);
        self.shared.metrics.apply_lag(task.entries.len());
        self.shared.router.delegates().committed(region, peer, task.commit);
        // What is committed and applied by nobody would be lost without a word. A peer that is destroyed has handed
        // over its last entries long before, so each one that does has its applier.
        hand_over(&self.shared.apply_cells, task)
            .unwrap_or_else(|error| stop("apply committed entries", &error));
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        answer(ticket, reply);
    }

    fn report(&mut self, report: Report) {
        match &report {
            Report::Split { parent, births, .. } => self.split(parent, births),
            Report::Initialised { region, peer, apply } => {
                self.start_applier(Applier::new(region.clone(), *peer, *apply), region.id);
                self.shared.router.table().born(region.id);
            }
            Report::Quarantined { region, damage } => {
                tracing::error!(region = region.get(), %damage, "peer taken out of service");
                let peer = self.shared.router.cells().get(region.get());
                let peer = PeerId(peer.map_or(0, |cell| cell.generation()));
                self.shared.router.table().quarantine(*region, peer);
                self.shared.snapshots.claim_ended();
            }
            Report::Role { change, .. } => self.shared.metrics.role_changed(*change),
            Report::Members { region, peer } => {
                self.shared.router.table().change_members(*peer, region);
            }
            Report::Leaving { region, peer } => self.let_go(*region, *peer),
            Report::Destroyed { region, peer, tombstone, cleanup } => {
                self.destroy(*region, *peer, *tombstone);
                cleanup.iter().cloned().for_each(|cleanup| self.shared.snapshots.clean(cleanup));
            }
            Report::Orphaned(cleanup) => self.shared.snapshots.clean(cleanup.clone()),
            Report::Lagging { .. } => {}
        }
        (self.shared.reports)(&report);
    }

    fn snapshot(&mut self, effect: SnapshotEffect) {
        self.shared.snapshots.perform(effect);
    }

    fn fetch(&mut self, fetch: LogFetch) {
        self.log_readers.order(fetch);
    }

    fn alarm(&mut self, region: RegionId, at: Moment) {
        self.alarm.set(region.get(), 0, at);
    }
}

/// A task of a peer that has no applier.
#[derive(Debug, thiserror::Error)]
#[error("peer {peer} of region {region} has no applier")]
pub(crate) struct NoApplier {
    region: RegionId,
    peer: PeerId,
}

/// Puts a task into the inbox of its peer's applier.
fn hand_over(cells: &ApplyCells, task: ApplyTask<Ticket>) -> Result<(), NoApplier> {
    let (region, peer) = (task.region, task.peer);
    let cell = cells.get(region.get()).filter(|cell| cell.generation() == peer.get());
    let is_taken = cell.is_some_and(|cell| cell.send(ApplyMail::Task(task)).is_ok());
    is_taken.then_some(()).ok_or(NoApplier { region, peer })
}

/// Completes a ticket; nobody listens where the client went away, and nothing is lost by it.
pub(crate) fn answer(ticket: Ticket, reply: Reply) {
    let _client_is_gone = ticket.send(reply).is_err();
}

/// What the syncer does.
pub(crate) struct SyncerHost {
    shared: Shared,
    mark: WorkMark,
}

impl SyncerHost {
    pub(crate) fn new(shared: Shared) -> Self {
        let mark = shared.unfinished.worker("sync of the log");
        Self { shared, mark }
    }
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
        let begun = self.shared.clock.now();
        self.mark.begin(begun);
        self.shared.metrics.slowness().begin(begun);
        self.shared.engine.sync()?;
        self.shared.metrics.slowness().end(self.shared.clock.now());
        self.mark.end();
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

#[cfg(test)]
mod tests {
    use flotilla_base::Index;
    use flotilla_poller::{Quota, ReadyQueue};
    use flotilla_raftgroup::ApplyState;

    use super::*;

    #[test]
    fn a_task_without_an_applier_is_no_silence() {
        let (cells, region) = (ApplyCells::new(), RegionId(2));
        let task = |peer| ApplyTask {
            region,
            peer: PeerId(peer),
            entries: Vec::new(),
            commit: Index(7),
            truncate: None,
        };
        assert!(hand_over(&cells, task(21)).is_err(), "nobody is there");
        let quota = Quota { cell_bytes: 1 << 20, total_bytes: 1 << 20 };
        let (queue, ready): (ApplyQueue, _) = ReadyQueue::new(quota);
        let shape = Region { id: region, ..Region::default() };
        let applier = Applier::new(shape, PeerId(21), ApplyState::default());
        let registered = cells.register(queue.cell(region.get(), 21, applier));
        assert!(registered.is_ok() && hand_over(&cells, task(21)).is_ok());
        assert!(hand_over(&cells, task(20)).is_err(), "an earlier peer");
        for cell in cells.drain() {
            drop(cell.dispose());
        }
        assert!(hand_over(&cells, task(21)).is_err(), "gone");
        drop(ready);
    }
}
