//! The owner: a thread of its own around [`flotilla_pdcore::PdCore`], since it writes to the database.
//!
//! It sleeps until a request, a durable round or a deadline of the group; there is no tick.

mod host;
mod request;
mod syncer;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use flotilla_base::{ClusterId, Incarnation, Moment, PeerId, Seeded};
use flotilla_engine::{DataDir, Engine, EngineError, WriteBatch};
use flotilla_pdcore::{Clocks, CoreConfig, Effects, Input, PdCore, Wish, birth};
use flotilla_raftgroup::{GroupLimits, ReadyNumber};
use flotilla_telemetry::{MonotonicClock, Unfinished, WorkMark, clock::unix_millis};
use tokio::sync::{mpsc, watch};

pub(crate) use self::request::{
    Glance, LastOperator, Listed, Look, RegionLookup, Reply, Request, Selection,
};
use self::{
    host::{Host, OrderLines},
    request::{Asker, answer},
    syncer::Syncer,
};
use crate::{PdError, config::PdConfig, metrics::PdMetrics, status::Status, tso::TsoGate};

/// The only member so far.
pub(crate) const MEMBER: PeerId = PeerId(1);
/// Requests that may wait for the owner; askers wait for room beyond that.
const REQUESTS_MAX: usize = 4096;
/// Requests that are served between two rounds of the group.
const REQUESTS_PER_TURN: usize = 256;
/// Applied entries that stay in the log, for members that were away for a moment.
const LOG_ENTRIES_KEPT: u64 = 1024;

/// What is given to the owner and shared with others.
#[derive(Debug)]
pub(crate) struct Shared {
    pub clock: MonotonicClock,
    pub tso: Arc<TsoGate>,
    pub status: watch::Sender<Status>,
    /// Counts changes that matter to routing.
    pub regions: watch::Sender<u64>,
    pub metrics: PdMetrics,
    /// What the threads are about: whether this member is alive is judged by it.
    pub unfinished: Unfinished,
}

/// The owner.
pub(crate) struct Owner {
    core: PdCore<Asker>,
    host: Host,
    /// What is to be done in the next turn.
    effects: Effects<Asker>,
    mark: WorkMark,
}

/// What the owner waits for.
pub(crate) struct Inputs {
    pub requests: mpsc::Receiver<Request>,
    /// Closed by whoever wants the owner to end.
    pub shutdown: watch::Receiver<bool>,
}

/// The queue of requests.
pub(crate) fn request_queue() -> (mpsc::Sender<Request>, mpsc::Receiver<Request>) {
    mpsc::channel(REQUESTS_MAX)
}

impl Owner {
    /// Opens group and state. Nothing is proposed yet.
    pub(crate) fn open(
        config: &PdConfig,
        engine: Engine,
        data_dir: DataDir,
        shared: Shared,
    ) -> Result<Self, PdError> {
        let first_records = birth(&engine)?;
        let is_new = !first_records.is_empty();
        if is_new {
            engine.write(&WriteBatch::from(first_records))?;
            engine.sync()?;
        }
        let Incarnation(run) = data_dir.incarnation();
        let core_config = CoreConfig {
            members: vec![MEMBER],
            member: MEMBER,
            max_replicas: config.max_replicas,
            fresh_cluster: draw_cluster_id(),
            run,
            timing: config.timing,
            limits: GroupLimits::default(),
            log_entries_kept: LOG_ENTRIES_KEPT,
            seeded: Seeded::NONE,
        };
        let reader = Arc::new(engine.clone());
        let now = shared.clock.now();
        let core = PdCore::open(core_config, reader, is_new, now)?;
        check_identity(&core, &data_dir)?;
        let (mark, clock) = (shared.unfinished.worker("sync of the log"), shared.clock);
        let syncer = Syncer::start(engine.clone(), mark, clock).map_err(PdError::Thread)?;
        let mark = shared.unfinished.worker("turn of the owner");
        let host = Host { engine, syncer, shared, lines: OrderLines::default(), data_dir };
        let owner = Self { core, host, effects: Effects::default(), mark };
        owner.publish();
        Ok(owner)
    }

    /// Runs until shutdown or an error after which nothing may be written any more.
    pub(crate) async fn run(mut self, mut inputs: Inputs) -> Result<(), PdError> {
        let outcome = self.turns(&mut inputs).await;
        self.core.close(&mut self.effects);
        let closed = self.effects.finish(&mut self.host);
        self.publish();
        outcome.and(closed)
    }

    async fn turns(&mut self, inputs: &mut Inputs) -> Result<(), PdError> {
        let tso = self.host.shared.tso.clone();
        let mut requests = Vec::with_capacity(REQUESTS_PER_TURN);
        loop {
            self.mark.begin(self.host.shared.clock.now());
            self.core.turn(self.clocks(), &mut self.effects, &mut self.host)?;
            self.publish();
            self.mark.end();
            let deadline = self.core.next_deadline(self.host.shared.clock.now());
            tokio::select! {
                biased;
                _ = inputs.shutdown.changed() => return Ok(()),
                durable = self.host.syncer.durable() => self.on_durable(durable)?,
                () = tso.window_is_wanted() => {
                    if let Some(end_ms) = tso.wanted_window() {
                        self.handle(Input::WidenTso { end_ms })?;
                    }
                }
                count = inputs.requests.recv_many(&mut requests, REQUESTS_PER_TURN) => {
                    if count == 0 {
                        return Ok(());
                    }
                    for request in requests.drain(..) {
                        self.serve(request)?;
                    }
                }
                () = sleep_until(self.host.shared.clock, deadline) => {}
            }
        }
    }

    fn clocks(&self) -> Clocks {
        Clocks { now: self.host.shared.clock.now(), unix_ms: unix_millis() }
    }

    fn on_durable(
        &mut self,
        durable: Option<Result<ReadyNumber, EngineError>>,
    ) -> Result<(), PdError> {
        let number = durable.ok_or_else(sync_is_gone)??;
        self.handle(Input::Persisted(number))
    }

    fn handle(&mut self, input: Input<Asker>) -> Result<(), PdError> {
        let clocks = self.clocks();
        Ok(self.core.handle(clocks, input, &mut self.effects)?)
    }

    /// Requests are served in the order in which they came.
    fn serve(&mut self, request: Request) -> Result<(), PdError> {
        let input = match request {
            Request::AllocIds { count, reply } => {
                Input::AllocIds { count, ticket: Asker::Ids(reply) }
            }
            Request::PutStore { store, reply } => {
                Input::PutStore { store, ticket: Asker::Done(reply) }
            }
            Request::RemoveStore { id, leave, reply } => {
                Input::RemoveStore { id, leave, ticket: Asker::Done(reply) }
            }
            Request::StoreHeartbeat { id, stats, reply } => {
                Input::StoreHeartbeat { id, stats, ticket: Asker::Done(reply) }
            }
            Request::OpenLine { id, run, reply } => {
                Input::OpenLine { id, run, ticket: Asker::Done(reply) }
            }
            Request::BreakLine { id, run } => Input::BreakLine { id, run },
            Request::RegionHeartbeat { report, orders } => {
                let store = report.leader.store;
                if self.core.state().stores().contains_key(&store) {
                    self.host.lines.note(store, orders);
                }
                Input::RegionHeartbeat(report)
            }
            Request::AddOperator { asked, reply } => {
                Input::Operate { wish: Wish::Change(asked), ticket: Asker::Done(reply) }
            }
            Request::CancelOperator { region, reply } => {
                Input::Operate { wish: Wish::Cancel(region), ticket: Asker::Done(reply) }
            }
            Request::Scatter { wish, reply } => {
                Input::Operate { wish: Wish::Scatter(wish), ticket: Asker::Scattered(reply) }
            }
            Request::Administer { change, reply } => {
                Input::Administer { change, ticket: Asker::Done(reply) }
            }
            Request::AskSplit { region, children, reply } => {
                Input::AskSplit { region, children, ticket: Asker::Ids(reply) }
            }
            Request::ReportSplit { pieces, reply } => {
                Input::ReportSplit { pieces, ticket: Asker::Done(reply) }
            }
            Request::Look(look) => {
                self.look_up(look);
                return Ok(());
            }
        };
        self.handle(input)
    }

    /// Answers what changes nothing.
    fn look_up(&self, look: Look) {
        let sight = self.core.leading(self.host.shared.clock.now());
        match look {
            Look::Store { id, reply } => answer(reply, sight.and_then(|sight| sight.store(id))),
            Look::Stores { reply } => answer(reply, sight.map(|sight| sight.stores())),
            Look::Health { reply } => answer(reply, sight.map(|sight| sight.health())),
            Look::Region { lookup, reply } => {
                answer(reply, sight.map(|sight| lookup.find(sight.regions())));
            }
            Look::Regions { selection, reply } => {
                answer(reply, sight.map(|sight| selection.list(sight.regions())));
            }
            Look::Holes { reply } => answer(reply, sight.map(|sight| sight.regions().holes())),
            Look::LastOperator { region, reply } => {
                answer(reply, sight.map(|sight| LastOperator::of(sight.operators(), region)));
            }
            Look::Glance(glance) => glance.at(sight),
            Look::Operators { reply } => {
                answer(reply, sight.map(|sight| sight.operators().list()));
            }
        }
    }

    fn publish(&self) {
        let shared = &self.host.shared;
        let state = self.core.state();
        let is_leading = self.core.leads(shared.clock.now());
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        shared.metrics.is_leader.set(is_leading.into());
        shared.metrics.stores.set(count(state.stores().len()));
        shared.metrics.regions.set(count(self.core.view().regions().len()));
        shared.metrics.operators.set(count(self.core.operators()));
        shared.status.send_if_modified(|status| status.update(state, is_leading));
    }
}

fn check_identity(core: &PdCore<Asker>, data_dir: &DataDir) -> Result<(), PdError> {
    let directory = data_dir.cluster_id();
    match core.state().cluster() {
        Some(cluster) if !directory.is_none() && cluster.id != directory => {
            Err(PdError::MixedUp { path: data_dir.path().to_owned(), directory, state: cluster.id })
        }
        _ => Ok(()),
    }
}

/// A random identity for a new cluster: not zero, and small enough for programs with signed numbers.
fn draw_cluster_id() -> ClusterId {
    // The standard library seeds each of these from the system's random source.
    let drawn = RandomState::new().hash_one("cluster") >> 1;
    ClusterId(drawn.max(1))
}

fn sync_is_gone() -> PdError {
    PdError::Thread(std::io::Error::other("the thread that syncs the log has ended"))
}

async fn sleep_until(clock: MonotonicClock, deadline: Moment) {
    if deadline == Moment::NEVER {
        // Nothing is due: only an input ends the turn.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(deadline.since(clock.now()).into()).await;
}
