//! The owner: the only one that changes the raft group, the replicated state and the view.
//!
//! It runs on a thread of its own, since it writes to the database. It sleeps until a request, a
//! durable round or a deadline of the group; there is no tick.
//!
//! A *reign* is the time in which this member leads in one term. It begins when an entry of the term
//! was applied here: from then on the state holds everything that any earlier leader can have
//! committed. It is open to requests once its first timestamp window was applied.

mod open;
mod request;
mod round;
mod serve;
mod syncer;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use flotilla_base::{Moment, Term};
use flotilla_engine::{DataDir, Engine};
use flotilla_placement::{ClusterView, IdBatch, IdPool, MetaState};
use flotilla_raftgroup::{ReadyNumber, Single, Timing};
use flotilla_telemetry::MonotonicClock;
use tokio::sync::{mpsc, watch};

use self::syncer::Syncer;
pub(crate) use self::{
    open::MEMBER,
    request::{ClusterHealth, Denied, RegionLookup, Reply, Request, StoreEntry},
};
use crate::{PdError, config::PdConfig, metrics::PdMetrics, status::Status, tso::TsoGate};

/// Requests that may wait for the owner; askers wait for room beyond that.
const REQUESTS_MAX: usize = 4096;
/// Requests that are served between two rounds of the group.
const REQUESTS_PER_TURN: usize = 256;

/// What a proposal is for: completed when its entry is applied, or lost.
#[derive(Debug)]
pub(super) enum Ticket {
    InitCluster,
    IdWindow,
    TsoWindow,
    PutStore(Reply<()>),
    Bootstrap,
}

/// What the owner keeps for the time in which it leads.
#[derive(Debug)]
struct Reign {
    term: Term,
    /// Whether requests are served.
    is_open: bool,
    ids: IdPool,
    /// Askers that wait for an id window, in order.
    id_waiters: VecDeque<(u32, Reply<IdBatch>)>,
    /// Commands of this kind that are proposed and not applied: never two at a time.
    asked: BTreeSet<Asked>,
}

/// Commands that the owner proposes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    IdWindow,
    TsoWindow,
    Bootstrap,
}

impl Reign {
    fn new(term: Term) -> Self {
        Self {
            term,
            is_open: false,
            ids: IdPool::default(),
            id_waiters: VecDeque::new(),
            asked: BTreeSet::new(),
        }
    }
}

/// What is given to the owner and shared with others.
#[derive(Debug)]
pub(crate) struct Shared {
    pub clock: MonotonicClock,
    pub tso: Arc<TsoGate>,
    pub status: watch::Sender<Status>,
    /// Counts changes that matter to routing.
    pub regions: watch::Sender<u64>,
    pub metrics: PdMetrics,
}

/// The owner.
pub(crate) struct PdCore {
    engine: Engine,
    max_replicas: u32,
    timing: Timing,
    single: Single<Ticket>,
    state: MetaState,
    view: ClusterView,
    reign: Option<Reign>,
    /// Rounds that are written and not known durable, with the moment of the write.
    unsynced: VecDeque<(ReadyNumber, Moment)>,
    syncer: Syncer,
    shared: Shared,
    /// Last, so that the directory is given back after everything that holds the database is gone.
    data_dir: DataDir,
}

/// The inputs of the owner.
pub(crate) struct Inputs {
    pub requests: mpsc::Receiver<Request>,
    /// Closed by whoever wants the owner to end.
    pub shutdown: watch::Receiver<bool>,
}

/// The queue of requests.
pub(crate) fn request_queue() -> (mpsc::Sender<Request>, mpsc::Receiver<Request>) {
    mpsc::channel(REQUESTS_MAX)
}

impl PdCore {
    /// Opens group and state. Nothing is proposed yet.
    pub(crate) fn open(
        config: &PdConfig,
        engine: Engine,
        data_dir: DataDir,
        shared: Shared,
    ) -> Result<Self, PdError> {
        let now = shared.clock.now();
        let opened = open::open(&engine, &data_dir, config.timing, now)?;
        let core = Self {
            syncer: Syncer::start(engine.clone()).map_err(PdError::Thread)?,
            engine,
            data_dir,
            max_replicas: config.max_replicas,
            timing: config.timing,
            single: opened.single,
            state: opened.state,
            view: ClusterView::new(now),
            reign: None,
            unsynced: VecDeque::new(),
            shared,
        };
        core.publish();
        Ok(core)
    }

    /// Runs until shutdown or an error after which nothing may be written any more.
    pub(crate) async fn run(mut self, mut inputs: Inputs) -> Result<(), PdError> {
        let outcome = self.turns(&mut inputs).await;
        self.end_reign();
        for ticket in self.single.drain() {
            self.abandon(ticket);
        }
        self.publish();
        outcome
    }

    async fn turns(&mut self, inputs: &mut Inputs) -> Result<(), PdError> {
        let tso = self.shared.tso.clone();
        let mut requests = Vec::with_capacity(REQUESTS_PER_TURN);
        loop {
            self.single.wake(self.shared.clock.now());
            self.rounds()?;
            self.judge_lease();
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                _ = inputs.shutdown.changed() => return Ok(()),
                durable = self.syncer.durable() => self.on_durable(durable)?,
                () = tso.window_is_wanted() => self.ask_tso_window(),
                count = inputs.requests.recv_many(&mut requests, REQUESTS_PER_TURN) => {
                    if count == 0 {
                        return Ok(());
                    }
                    for request in requests.drain(..) {
                        self.serve(request);
                    }
                }
                () = sleep_until(self.shared.clock, deadline) => {}
            }
        }
    }

    fn next_deadline(&self) -> Moment {
        let stalls_at = match self.unsynced.front() {
            Some((_, written)) if self.leads() => *written + self.timing.gate,
            _ => Moment::NEVER,
        };
        self.single.group().next_deadline().min(stalls_at)
    }

    /// A leader whose disk stands still cannot keep what it promises: it says nothing until the disk
    /// is back.
    fn judge_lease(&mut self) {
        let now = self.shared.clock.now();
        let is_stalled =
            self.unsynced.front().is_some_and(|(_, at)| now.since(*at) >= self.timing.gate);
        let is_open = self.reign.as_ref().is_some_and(|reign| reign.is_open);
        let leads = is_open && !is_stalled;
        if leads == self.leads() {
            return;
        }
        if leads {
            self.shared.tso.lease().grant_until(Moment::NEVER);
        } else {
            tracing::warn!(is_stalled, "placement driver gives up its lease");
            self.shared.tso.lease().withdraw();
        }
        self.publish();
    }

    fn leads(&self) -> bool {
        self.shared.tso.leads_now()
    }

    fn publish(&self) {
        let status = Status {
            cluster: self.state.cluster(),
            is_leading: self.leads(),
            bootstrap: self.state.bootstrap().cloned().map(Arc::new),
            stores: self.state.stores().len(),
        };
        self.shared.metrics.is_leader.set(status.is_leading.into());
        self.shared.metrics.stores.set(i64::try_from(status.stores).unwrap_or(i64::MAX));
        self.shared.status.send_replace(status);
    }
}

async fn sleep_until(clock: MonotonicClock, deadline: Moment) {
    if deadline == Moment::NEVER {
        // Nothing is due: only an input ends the turn.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(deadline.since(clock.now()).into()).await;
}
