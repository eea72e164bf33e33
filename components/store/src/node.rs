//! One store as a value: started, asked, stopped. Nothing of it is global; several run in one process.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flotilla_base::{ClusterId, Epoch, ReadError, Region, RegionId, Rng, Seeded, Span, StoreId};
use flotilla_engine::data_dir::{DataDir, DataDirError, Expect, Role};
use flotilla_engine::{Engine, EngineError, EngineOptions, StageError};
use flotilla_multiraft::region_table::ClaimError;
use flotilla_multiraft::{
    Held, Input, Liveness, RegionTable, ReplicaConfig, Report, SharedLiveness,
};
use flotilla_poller::{Alarm, Pool, PoolOptions, Quota, Ready, ReadyQueue, Syncer, SyncerOptions};
use flotilla_raftgroup::{GroupError, GroupLimits};
use flotilla_telemetry::{MonotonicClock, StatusError, StatusServer, Unfinished, spawn_or_abort};
use flotilla_transport::{Identity, Limits, Peers, RaftService, SnapshotLimits};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::apply_pool::{ApplyCells, ApplyWorker};
use crate::boot::{self, Planned, Recovered};
use crate::config::StoreConfig;
use crate::host::{Shared, StoreHost, SyncerHost};
use crate::log_readers::LogReaders;
use crate::memory::Memory;
use crate::metrics::StoreMetrics;
use crate::network::Inbound;
use crate::pd_link::PdLink;
use crate::raft_pool::{RaftWorker, RoundToken};
use crate::router::{PeerMail, PeerState, Router};
use crate::service::SplitParts;
use crate::silence::Silence;
use crate::snapshots::{self, Snapshots};
use crate::split::load::hot::{HotRegions, split_hot_regions};
use crate::split::load::meter::Loads;
use crate::split::sizes::Sizes;
use crate::split::splitter::{SplitRegions, Splitter};
use crate::split::{GrownRegions, split_grown_regions};
use crate::{brake, pulse, service, status};

/// Mail that may be refused: of one replica, and of all of a store.
const INBOX_QUOTA: Quota = Quota { cell_bytes: 64 << 20, total_bytes: 256 << 20 };
/// How long a store that is stopped in order waits for others to take over its leads: a little longer than the gate
/// after which a hand-over is given up.
const HAND_OVER_TIME: Duration = Duration::from_secs(1);
/// How long it waits for its server, which ends by itself before.
const SERVER_TIME: Duration = Duration::from_secs(1);
/// How long it waits for what reads or writes files beside its pools.
const BLOCKING_TIME: Duration = Duration::from_millis(500);

/// Why a store does not start.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory may not be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The storage engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What is on disk cannot be read.
    #[error(transparent)]
    Read(ReadError),
    /// What destroyed peers left cannot be read.
    #[error(transparent)]
    Remains(#[from] flotilla_multiraft::RemainsError),
    /// Files of snapshots cannot be read or removed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Two regions on disk own the same keys.
    #[error("regions on disk contradict each other: {0}")]
    Claim(ClaimError),
    /// A group on disk cannot be started.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The address for metrics, health and settings cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    ListenStatus {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The placement driver does not answer, refuses this store, or speaks of another cluster.
    #[error("cannot join the cluster: {0}")]
    Join(#[from] crate::pd_link::PdLinkError),
    /// A thread or the runtime could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// The store was stopped meanwhile.
    #[error("the store was stopped")]
    Stopped,
}

/// A running store.
pub struct Store {
    id: StoreId,
    cluster: ClusterId,
    shared: Shared,
    threads: Threads,
    link: Arc<PdLink>,
    stopping: watch::Sender<bool>,
    /// The server on the store's port; ends after `stopping` says so.
    serving: JoinHandle<()>,
    runtime: Runtime,
    /// Held for as long as anything of this store may touch its disk; dropped last.
    data_dir: DataDir,
}

/// Dropped in the order of the fields: who sends stops before who receives.
struct Threads {
    raft_pool: Pool<RaftWorker>,
    alarm: Arc<Alarm>,
    syncer: Arc<Syncer<RoundToken>>,
    apply_pool: Pool<ApplyWorker>,
    log_readers: Arc<LogReaders>,
}

/// What is bound before anything else: a port in use must not cost a half-started store, nor leave a directory behind.
struct Sockets {
    service: TcpListener,
    status: StatusServer,
}

impl Store {
    /// Starts a store and returns when it serves. Blocks; must not be called on a runtime's thread.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong; nothing is left running.
    pub fn start(config: StoreConfig) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.runtime)
            .thread_name("store-io")
            .enable_all()
            .build()?;
        let sockets = runtime.block_on(bind(&config))?;
        let expect = Expect { free_min: config.limits.free_min, ..Expect::of(Role::Store) };
        let mut data_dir = DataDir::open(&config.data_dir, &expect)?;
        let options = EngineOptions { log_deletion: data_dir.log_deletion(), ..config.engine };
        let engine = Engine::open(&data_dir.database_path(), &options)?;
        if let Some(tail) = engine.cut_tail() {
            tracing::warn!(%tail, "rubbish was cut off a write-ahead log");
        }
        let link = Arc::new(runtime.block_on(join_cluster(&config, &mut data_dir))?);
        let (stopping, stopped) = watch::channel(false);
        let assembly = Assembly { config, engine, link: Arc::clone(&link), runtime: &runtime };
        let (shared, threads, serving) = assembly.run(&data_dir, sockets, stopped)?;
        let (id, cluster) = (data_dir.store_id(), data_dir.cluster_id());
        tracing::info!(store = id.get(), cluster = cluster.get(), "store serves");
        Ok(Self { id, cluster, shared, threads, link, stopping, serving, runtime, data_dir })
    }

    /// This store's id.
    #[must_use]
    pub const fn id(&self) -> StoreId {
        self.id
    }

    /// The cluster it belongs to.
    #[must_use]
    pub const fn cluster_id(&self) -> ClusterId {
        self.cluster
    }

    /// The way to its replicas, for callers in the same process.
    #[must_use]
    pub const fn router(&self) -> &Router {
        &self.shared.router
    }

    /// The connections to other stores: tests cut them.
    #[must_use]
    pub const fn peers(&self) -> &Arc<Peers> {
        &self.shared.peers
    }

    /// Stops in order: leads are handed over, then no new requests are taken, those under way get a moment, and
    /// everything written is synced. Each step has its bound. Blocks; must not be called on a runtime's thread.
    pub fn shutdown(mut self) {
        self.hand_over_leads();
        self.stopping.send_replace(true);
        let serving = &mut self.serving;
        let served = self.runtime.block_on(async { timeout(SERVER_TIME, serving).await });
        if served.is_err() {
            tracing::warn!("the server did not end in time; calls under way are cut");
        }
        self.stop(BLOCKING_TIME);
    }

    /// Stops without a moment for anybody: no request is finished, no lead handed over. What is in the inboxes still
    /// runs, and what is written is synced: a killed process is harsher, and tests of durability kill processes.
    pub fn kill(self) {
        self.stop(Duration::ZERO);
    }

    /// A follower that takes over is asked for at once; one that only notices the silence waits for a gate first.
    fn hand_over_leads(&self) {
        let leaders = self.link.transferable();
        for (region, peer) in &leaders {
            self.shared.router.notify(*region, *peer, Input::Transfer(None));
        }
        let led_elsewhere =
            async { timeout(HAND_OVER_TIME, self.link.until_led_elsewhere(&leaders)).await };
        if self.runtime.block_on(led_elsewhere).is_err() {
            tracing::warn!("not every lead was taken over in time");
        }
    }

    fn stop(self, patience: Duration) {
        let Self { shared, threads, runtime, data_dir, stopping, .. } = self;
        shared.peers.close();
        runtime.shutdown_timeout(patience.max(Duration::from_millis(1)));
        let Threads { raft_pool, alarm, syncer, apply_pool, log_readers } = threads;
        raft_pool.shutdown();
        drop((alarm, syncer, log_readers));
        apply_pool.shutdown();
        shared.snapshots.close();
        // Replicas and appliers hold the engine; their cells would keep it open.
        for cell in shared.router.cells().drain() {
            drop(cell.dispose());
        }
        for cell in shared.apply_cells.drain() {
            drop(cell.dispose());
        }
        drop((shared, stopping));
        // Only now may another process, or the next run, use the directory.
        drop(data_dir);
    }
}

async fn bind(config: &StoreConfig) -> Result<Sockets, StoreError> {
    let refused = |cause| StoreError::Listen { address: config.listen, cause };
    let service = TcpListener::bind(config.listen).await.map_err(refused)?;
    let refused = |StatusError::Listen { address, source }| StoreError::ListenStatus {
        address,
        cause: source,
    };
    let status = StatusServer::bind(config.status_listen).await.map_err(refused)?;
    Ok(Sockets { service, status })
}

/// Learns the cluster, takes an id where this directory has none, and announces this run. The identity
/// is durable before the placement driver hears of it.
async fn join_cluster(config: &StoreConfig, data_dir: &mut DataDir) -> Result<PdLink, StoreError> {
    let link = PdLink::connect(&config.pd_endpoints, data_dir.cluster_id()).await?;
    let mut id = data_dir.store_id();
    if id.is_none() {
        id = StoreId(link.alloc_id().await?);
    }
    data_dir.claim(link.cluster_id(), id)?;
    link.register(config, id, data_dir.incarnation()).await?;
    Ok(link)
}

/// Everything that is needed once, while a store is put together.
struct Assembly<'a> {
    config: StoreConfig,
    engine: Engine,
    link: Arc<PdLink>,
    runtime: &'a Runtime,
}

impl Assembly<'_> {
    fn run(
        self,
        data_dir: &DataDir,
        sockets: Sockets,
        stopped: watch::Receiver<bool>,
    ) -> Result<(Shared, Threads, JoinHandle<()>), StoreError> {
        let clock = MonotonicClock::start();
        let metrics = Arc::new(StoreMetrics::new(&self.engine));
        let replicas = self.replica_config(data_dir, clock);
        let mut table = RegionTable::new(data_dir.store_id());
        let recovered = boot::recover(&replicas, &self.engine, &mut table, clock)?;
        metrics.found(recovered.interrupted);
        let router = Router::new(table, clock);
        let (queue, ready) = ReadyQueue::new(INBOX_QUOTA);
        let inbound = Arc::new(Inbound {
            router: router.clone(),
            queue: queue.clone(),
            replicas,
            clock,
            metrics: Arc::clone(&metrics),
            silence: Arc::new(Silence::default()),
            brake: Arc::default(),
            memory: Memory::new(self.config.limits.memory),
            peers: OnceLock::new(),
            clears: OnceLock::new(),
        });
        let peers = Peers::new(
            identity(data_dir),
            self.link.resolver(),
            Arc::clone(&inbound) as Arc<_>,
            self.transport_limits(),
            self.runtime.handle().clone(),
        );
        let _is_set_once = inbound.peers.set(Arc::downgrade(&peers));
        let free_min = self.config.limits.free_min;
        let stages = snapshots::open_stages(data_dir, &recovered.stages, free_min)?;
        let parts = snapshots::Parts {
            engine: self.engine.clone(),
            router: router.clone(),
            peers: Arc::clone(&peers),
            inbound: Arc::clone(&inbound),
            metrics: Arc::clone(&metrics),
            runtime: self.runtime.handle().clone(),
            view_time: snapshots::VIEW_TIME,
            install_pause: snapshots::INSTALL_PAUSE,
        };
        let (initialised_sender, initialised) = watch::channel(0_usize);
        let link = Arc::clone(&self.link);
        let (apply_queue, apply_ready) = ReadyQueue::new(INBOX_QUOTA);
        let shared = Shared {
            engine: self.engine.clone(),
            router,
            peers,
            metrics,
            clock,
            apply_cells: Arc::new(ApplyCells::new()),
            apply_queue,
            inbound: Arc::clone(&inbound),
            snapshots: Snapshots::new(parts, stages),
            sizes: Arc::new(Sizes::new(self.config.limits.splits)),
            unfinished: Unfinished::default(),
            reports: Arc::new(move |report: &Report| {
                // The children of splits are none that the bootstrap waits for.
                let is_first = |region: &Region| region.epoch == Epoch::FIRST;
                if matches!(report, Report::Initialised { region, .. } if is_first(region)) {
                    initialised_sender.send_modify(|count| *count += 1);
                }
                link.report(report);
            }),
        };
        watch_metrics(&shared, &queue);
        let threads = self.start_threads(&shared, ready, apply_ready)?;
        start_peers(&shared, &queue, recovered);
        let serving = self.start_services(&shared, sockets, stopped)?;
        self.start_pulse(&shared);
        self.start_bootstrap(&shared, inbound, initialised)?;
        Ok((shared, threads, serving))
    }

    fn start_pulse(&self, shared: &Shared) {
        let (inbound, peers) = (Arc::clone(&shared.inbound), Arc::clone(&shared.peers));
        let pulse = pulse::beat(inbound, peers, shared.unfinished.clone());
        let _lives_as_long_as_the_store = spawn_or_abort(self.runtime.handle(), "pulse", pulse);
    }

    fn transport_limits(&self) -> Limits {
        let rate = self.config.limits.snapshot_rate.bytes();
        let snapshots = SnapshotLimits { rate, ..SnapshotLimits::default() };
        Limits { snapshots, ..Limits::default() }
    }

    fn replica_config(&self, data_dir: &DataDir, clock: MonotonicClock) -> ReplicaConfig {
        let (timing, seeded) = (self.config.timing, Seeded::NONE);
        let run = data_dir.incarnation().get();
        ReplicaConfig {
            store: data_dir.store_id(),
            seed: Rng::lane(data_dir.cluster_id().get(), data_dir.store_id().get() ^ (run << 32))
                .next(),
            run,
            timing,
            limits: GroupLimits { log: self.config.limits.log, ..GroupLimits::default() },
            seeded,
            liveness: SharedLiveness::new(Liveness::new(timing, seeded, clock.now())),
            start_spread: Span::ZERO,
            disk: Arc::new(self.engine.clone()),
        }
    }

    fn start_threads(
        &self,
        shared: &Shared,
        ready: Ready<PeerState, PeerMail>,
        apply_ready: Ready<flotilla_multiraft::Applier, crate::apply_pool::ApplyMail>,
    ) -> Result<Threads, StoreError> {
        let apply = PoolOptions::new("apply", self.config.threads.apply);
        let apply_pool = Pool::start(&apply, apply_ready, |_| ApplyWorker::new(shared.clone()))?;
        let host = SyncerHost::new(shared.clone());
        let syncer = Arc::new(Syncer::start(SyncerOptions::new("raft-sync"), host)?);
        let router = shared.router.clone();
        let wake = move |key, _generation| {
            if let Some(cell) = router.cells().get(key) {
                let _closed_means_gone = cell.send(Input::Wake).is_err();
            }
        };
        let alarm = Arc::new(Alarm::start("raft-alarm", shared.clock.reader(), wake)?);
        let Shared { engine, router, metrics, .. } = shared;
        let disk = Arc::new(engine.clone());
        let log_readers = Arc::new(LogReaders::start(disk, router, metrics)?);
        let raft = PoolOptions::new("raft", self.config.threads.raft);
        let raft_pool = Pool::start(&raft, ready, |_| {
            let host = StoreHost::new(
                shared.clone(),
                Arc::clone(&syncer),
                Arc::clone(&alarm),
                Arc::clone(&log_readers),
            );
            RaftWorker::new(host, Arc::clone(&syncer))
        })?;
        Ok(Threads { raft_pool, alarm, syncer, apply_pool, log_readers })
    }

    fn start_services(
        &self,
        shared: &Shared,
        sockets: Sockets,
        stopped: watch::Receiver<bool>,
    ) -> Result<JoinHandle<()>, StoreError> {
        let receiver = Arc::new(shared.snapshots.clone());
        let raft = RaftService::server(Arc::clone(&shared.peers), receiver);
        let splitter = Splitter::new(shared.router.clone(), Arc::clone(&self.link));
        let splitter: Arc<dyn SplitRegions> = Arc::new(splitter);
        let loads = Arc::new(Loads::new(self.config.limits.load));
        let splits = SplitParts { splitter: Arc::clone(&splitter), loads: Arc::clone(&loads) };
        let routes = service::routes(&self.config, shared, &self.link, &splits, raft)?;
        let served = service::serve(sockets.service, routes, stopped.clone());
        let runtime = self.runtime.handle();
        let serving = spawn_or_abort(runtime, "serve", served);
        let routes = status::routes(&self.config, shared, &self.link);
        let until = async move {
            let mut stopped = stopped;
            let _sender_gone_means_stopped = stopped.wait_for(|stop| *stop).await.is_err();
        };
        let status = sockets.status.serve(routes, until);
        let _lives_as_long_as_the_store = spawn_or_abort(runtime, "status", status);
        self.link.start_reporting(runtime, shared, &splits);
        let watch = brake::Watch {
            brake: Arc::clone(&shared.inbound.brake),
            engine: shared.engine.clone(),
            data_dir: self.config.data_dir.clone(),
            free_min: self.config.limits.free_min,
            router: shared.router.clone(),
            link: Arc::clone(&self.link),
        };
        let _lives_as_long_as_the_store = spawn_or_abort(runtime, "brake", brake::watch(watch));
        self.start_splits(shared, splits);
        Ok(serving)
    }

    fn start_splits(&self, shared: &Shared, SplitParts { splitter, loads }: SplitParts) {
        let runtime = self.runtime.handle();
        let grown = GrownRegions {
            sizes: Arc::clone(&shared.sizes),
            engine: shared.engine.clone(),
            router: shared.router.clone(),
            link: Arc::clone(&self.link),
            splitter: Arc::clone(&splitter),
        };
        let _lives_as_long_as_the_store =
            spawn_or_abort(runtime, "split-grown", split_grown_regions(grown));
        let hot = HotRegions {
            loads,
            engine: shared.engine.clone(),
            router: shared.router.clone(),
            link: Arc::clone(&self.link),
            splitter,
            metrics: Arc::clone(&shared.metrics),
        };
        let _lives_as_long_as_the_store =
            spawn_or_abort(runtime, "split-hot", split_hot_regions(hot));
    }

    /// Waits for the first regions in the background: a cluster may get its other stores tomorrow.
    fn start_bootstrap(
        &self,
        shared: &Shared,
        inbound: Arc<Inbound>,
        initialised: watch::Receiver<usize>,
    ) -> Result<(), StoreError> {
        if boot::is_bootstrapped(&shared.engine)? {
            return Ok(());
        }
        let (link, shared) = (Arc::clone(&self.link), shared.clone());
        let bootstrap = async move {
            let plan: Vec<Planned> = link.await_bootstrap().await;
            if let Err(error) = boot::bootstrap(shared, inbound, plan, initialised).await {
                tracing::error!(%error, "the first regions are not complete on this store");
            }
        };
        let _lives_as_long_as_it_must =
            spawn_or_abort(self.runtime.handle(), "bootstrap", bootstrap);
        Ok(())
    }
}

/// Has what is known elsewhere shown with each scrape.
fn watch_metrics(shared: &Shared, queue: &ReadyQueue<PeerState, PeerMail>) {
    shared.metrics.watch_brake(Arc::clone(&shared.inbound.brake));
    let inbound_held = Arc::downgrade(&shared.inbound);
    shared.metrics.watch_memory(move || {
        inbound_held.upgrade().map_or_else(Held::default, |inbound| inbound.memory.held())
    });
    let waiting = queue.clone();
    shared.metrics.watch_inbox(move || waiting.waiting_bytes());
}

const fn identity(data_dir: &DataDir) -> Identity {
    Identity {
        cluster_id: data_dir.cluster_id(),
        store_id: data_dir.store_id(),
        incarnation: data_dir.incarnation(),
    }
}

/// Puts recovered peers into their cells and wakes them once, which sets their first deadlines.
fn start_peers(shared: &Shared, queue: &ReadyQueue<PeerState, PeerMail>, recovered: Recovered) {
    for (region, applier) in recovered.appliers {
        shared.router.show_applier(region, &applier);
        let cell = shared.apply_queue.cell(region.get(), applier.peer().get(), applier);
        let is_first = shared.apply_cells.register(cell).is_ok();
        debug_assert!(is_first, "a region has one peer on a store");
    }
    recovered.cleanups.into_iter().for_each(|cleanup| shared.snapshots.clean(cleanup));
    for replica in recovered.replicas {
        let (region, peer): (RegionId, _) = (replica.region().id, replica.peer());
        let cell = queue.cell(region.get(), peer.get(), replica);
        let is_first = shared.router.cells().register(cell).is_ok();
        debug_assert!(is_first, "a region has one peer on a store");
        shared.router.notify(region, peer, Input::Wake);
    }
}
