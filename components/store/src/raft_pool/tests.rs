//! The threads of one store around one region with one peer, on a disk whose syncs a test can hold up.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flotilla_base::{
    ByteSize, ClusterId, Epoch, Family, Incarnation, Index, Key, KeyRange, KvRead as _, Moment,
    Mutation, Peer, PeerId, PeerRole, Region, RegionId, Rng, Seeded, Span, StoreId, Term,
};
use flotilla_engine::{
    Engine, EngineError, EngineOptions, Stages, WriteBatch,
    stage::{self, FreeBytes},
};
use flotilla_multiraft::{
    Cleanup, Held, Input, InstallEffect, Liveness, MemoryBudget, NewRegion, NotInPlace,
    PeerMessage, RecoveredPeer, RegionTable, ReplicaConfig, Reply, RequestError, RequestHeader,
    SharedLiveness, Slot, SnapshotEffect, SplitCommand, SplitRequest, StageNumber, WriteCommand,
    destroy::put_cleanup,
    persist::{RegionState, put_region_state},
    recover_remains, recover_store,
    removal::put_removed,
};
use flotilla_poller::{Alarm, Pool, PoolOptions, Quota, ReadyQueue, SyncHost, SyncerOptions};
use flotilla_proto::raft::{SnapshotData, SnapshotFamily, SnapshotHead};
use flotilla_raftgroup::{
    ApplyState, Entry, GroupLimits, HardState, LogPosition, Message, MessageKind, RaftState,
    SnapshotNumber, Timing, disk,
};
use flotilla_telemetry::{MonotonicClock, render};
use flotilla_transport::{
    Identity, Limits, Peers, ReceiveSnapshot as _, ResolveStore, Resolved, TransportEvents as _,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{runtime::Runtime, sync::oneshot, time::timeout};

use super::*;
use crate::split::sizes::{Sizes, SplitLimits};
use crate::{
    apply_pool::{ApplyCells, ApplyWorker},
    boot::{self, Planned},
    envelope::encode,
    host::{Shared, SyncerHost},
    log_readers::LogReaders,
    memory::Memory,
    metrics::StoreMetrics,
    network::Inbound,
    node::StoreError,
    router::{PeerMail, PeerState, Router, WriteOutcome},
    silence::Silence,
    snapshots::{self, Snapshots},
};

const REGION: RegionId = RegionId(2);
const PEER: PeerId = PeerId(21);
const STORE: StoreId = StoreId(1);
/// What a split makes.
const CHILD: RegionId = RegionId(5);
/// Nothing that is waited for takes so long unless it never comes.
const LIVENESS: Duration = Duration::from_secs(30);
const QUOTA: Quota = Quota { cell_bytes: 1 << 20, total_bytes: 1 << 20 };

/// A syncer's host that stands still while the gate is locked.
struct Gated {
    host: SyncerHost,
    gate: Arc<Mutex<()>>,
}

impl SyncHost for Gated {
    type Token = RoundToken;
    type Error = EngineError;

    fn sync(&mut self) -> Result<(), EngineError> {
        drop(self.gate.lock());
        self.host.sync()
    }

    fn deliver(&mut self, token: RoundToken) {
        self.host.deliver(token);
    }

    fn room(&mut self, key: u64) {
        self.host.room(key);
    }

    fn fatal(&mut self, error: EngineError) {
        self.host.fatal(error);
    }
}

/// Nobody else is there.
struct Alone;

#[tonic::async_trait]
impl ResolveStore for Alone {
    async fn resolve(&self, _store: StoreId) -> Resolved {
        Resolved::Gone
    }
}

/// Dropped in the order of the fields: who sends stops before who receives.
struct OneStore {
    _raft: Pool<RaftWorker>,
    _alarm: Arc<Alarm>,
    syncer: Arc<Syncer<RoundToken>>,
    _apply: Pool<ApplyWorker>,
    router: Router,
    gate: Arc<Mutex<()>>,
    shared: Shared,
    inbound: Arc<Inbound>,
    runtime: Runtime,
    directory: tempfile::TempDir,
}

fn replica_config(engine: &Engine) -> ReplicaConfig {
    ReplicaConfig {
        store: STORE,
        seed: 1,
        run: 1,
        timing: Timing::default(),
        limits: GroupLimits::default(),
        seeded: Seeded::NONE,
        liveness: SharedLiveness::new(Liveness::new(Timing::default(), Seeded::NONE, Moment(0))),
        start_spread: Span::ZERO,
        disk: Arc::new(engine.clone()),
    }
}

fn snapshots_of(
    (directory, engine, free): (&Path, &Engine, FreeBytes),
    inbound: &Arc<Inbound>,
    peers: &Arc<Peers>,
    runtime: &Runtime,
) -> Snapshots {
    let stages = Stages::open_on(&directory.join("snap"), ByteSize(0), free).expect("a directory");
    Snapshots::new(parts_of(engine, inbound, peers, runtime), stages)
}

fn parts_of(
    engine: &Engine,
    inbound: &Arc<Inbound>,
    peers: &Arc<Peers>,
    runtime: &Runtime,
) -> snapshots::Parts {
    snapshots::Parts {
        engine: engine.clone(),
        router: inbound.router.clone(),
        peers: Arc::clone(peers),
        inbound: Arc::clone(inbound),
        metrics: Arc::clone(&inbound.metrics),
        runtime: runtime.handle().clone(),
        view_time: snapshots::VIEW_TIME,
        install_pause: snapshots::INSTALL_PAUSE,
    }
}

/// Nobody has ever been silent, and the disk has room.
fn inbound_of(
    replicas: ReplicaConfig,
    (router, clock): (&Router, MonotonicClock),
    queue: ReadyQueue<PeerState, PeerMail>,
    memory: Memory,
    metrics: &Arc<StoreMetrics>,
) -> Arc<Inbound> {
    Arc::new(Inbound {
        router: router.clone(),
        queue,
        replicas,
        clock,
        silence: Arc::new(Silence::default()),
        brake: Arc::default(),
        memory,
        metrics: Arc::clone(metrics),
        peers: std::sync::OnceLock::new(),
        clears: std::sync::OnceLock::new(),
    })
}

/// The region of all tests, with this store's peer among its members.
fn begin_first_region(inbound: &Inbound, router: &Router, peers: Vec<Peer>) {
    let region = Region { id: REGION, range: KeyRange::all(), epoch: Epoch::FIRST, peers };
    inbound.create(REGION, PEER);
    router.table().initialise(PEER, &region).expect("nobody owns a key");
    router.notify(REGION, PEER, Input::Bootstrap { region: Box::new(region), leads: true });
}

fn identity() -> Identity {
    Identity { cluster_id: ClusterId(7), store_id: STORE, incarnation: Incarnation(1) }
}

impl OneStore {
    /// Its region is bootstrapped and led. One undurable round fills its queue to the disk.
    fn start() -> Self {
        Self::start_with(vec![Peer::voter(PEER, STORE)], MemoryBudget::default())
    }

    fn start_with(members: Vec<Peer>, budget: MemoryBudget) -> Self {
        Self::start_on(members, budget, |_volume| Ok(ByteSize(u64::MAX)))
    }

    /// On a volume that has so much left for snapshots.
    fn start_on(members: Vec<Peer>, budget: MemoryBudget, free: FreeBytes) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = Engine::open(directory.path(), &EngineOptions::default()).expect("an engine");
        let runtime = Runtime::new().expect("a runtime");
        let (clock, metrics) = (MonotonicClock::start(), Arc::new(StoreMetrics::new(&engine)));
        let router = Router::new(RegionTable::new(STORE), clock);
        let (queue, ready) = ReadyQueue::new(QUOTA);
        let (apply_queue, apply_ready) = ReadyQueue::new(QUOTA);
        let replicas = replica_config(&engine);
        let inbound = inbound_of(replicas, (&router, clock), queue, Memory::new(budget), &metrics);
        let identity = identity();
        let (events, handle) = (Arc::clone(&inbound) as Arc<_>, runtime.handle().clone());
        let peers = Peers::new(identity, Arc::new(Alone), events, Limits::default(), handle);
        let disk = (directory.path(), &engine, free);
        let shared = Shared {
            snapshots: snapshots_of(disk, &inbound, &peers, &runtime),
            sizes: Arc::new(Sizes::new(SplitLimits::default())),
            inbound: Arc::clone(&inbound),
            engine,
            router: router.clone(),
            peers,
            metrics,
            clock,
            unfinished: flotilla_telemetry::Unfinished::default(),
            apply_cells: Arc::new(ApplyCells::new()),
            apply_queue,
            reports: Arc::new(|_report| {}),
        };
        let gate = Arc::new(Mutex::new(()));
        let host = Gated { host: SyncerHost::new(shared.clone()), gate: Arc::clone(&gate) };
        let syncer = SyncerOptions { tokens: 1, ..SyncerOptions::new("raft-sync") };
        let syncer = Arc::new(Syncer::start(syncer, host).expect("a thread"));
        let woken = router.clone();
        let wake = move |region, _generation| wake(&woken, region);
        let alarm = Arc::new(Alarm::start("raft-alarm", clock.reader(), wake).expect("a thread"));
        let apply = Pool::start(&PoolOptions::new("apply", 1), apply_ready, |_| {
            ApplyWorker::new(shared.clone())
        });
        let raft = Pool::start(&PoolOptions::new("raft", 1), ready, |_| {
            let Shared { engine, router, metrics, .. } = &shared;
            let disk = Arc::new(engine.clone());
            let readers = Arc::new(LogReaders::start(disk, router, metrics).expect("threads"));
            let (rounds, alarm) = (Arc::clone(&syncer), Arc::clone(&alarm));
            let host = StoreHost::new(shared.clone(), rounds, alarm, readers);
            RaftWorker::new(host, Arc::clone(&syncer))
        });
        begin_first_region(&inbound, &router, members);
        let store = Self {
            _raft: raft.expect("a thread"),
            _alarm: alarm,
            syncer,
            _apply: apply.expect("a thread"),
            router,
            gate,
            shared,
            inbound,
            runtime,
            directory,
        };
        store.until(|| matches!(store.read(), Reply::ReadAt(_)));
        store
    }

    fn parts(&self) -> snapshots::Parts {
        parts_of(&self.shared.engine, &self.inbound, &self.shared.peers, &self.runtime)
    }

    fn until(&self, is_done: impl Fn() -> bool) {
        let end = Instant::now() + LIVENESS;
        while !is_done() {
            assert!(Instant::now() < end, "it never came");
            std::thread::yield_now();
        }
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(LIVENESS, future).await.expect("an answer") })
    }

    fn read(&self) -> Reply {
        self.wait(self.router.read_barrier(REGION, header()))
    }

    async fn write(router: Router) -> WriteOutcome {
        Self::write_to(router, REGION, header()).await
    }

    async fn write_to(router: Router, region: RegionId, header: RequestHeader) -> WriteOutcome {
        let put = Mutation::Put(Family::Raw, "k".into(), "v".into());
        let version = header.version;
        let command = WriteCommand { version, clock_millis: 1, guard: None, mutations: vec![put] };
        router.write(region, header, command).await
    }

    /// The regions behind a split of the one that is there.
    fn split(&self, end: &'static str) -> Vec<Region> {
        let members = self.router.regions()[0].peers.len();
        let peers = (51..).map(PeerId).take(members).collect();
        let child = NewRegion { end: end.into(), region: CHILD, peers };
        let command = SplitCommand { epoch: Epoch::FIRST, children: vec![child] };
        let (ticket, answer) = oneshot::channel();
        let request = SplitRequest { peer: PEER, command, ticket };
        self.router.notify(REGION, PEER, Input::Split(Box::new(request)));
        match self.wait(answer).expect("an answer") {
            Reply::Split(division) => division.regions().cloned().collect(),
            reply => panic!("{reply:?}"),
        }
    }

    /// The region is out of service, and its applier at work on the last keys only.
    fn give_up_keys(&self) {
        let table = self.router.table();
        table.quarantine(REGION, PEER);
        let rest = Region { id: REGION, range: KeyRange::new("x", ""), ..Region::default() };
        table.split(&rest, &[]).expect("a range of its own");
    }

    /// Stages that are there, whole or not.
    fn staged(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("snap")).expect("listed").count()
    }

    /// Holds up the disk, and fills the queue to it.
    fn fill_queue(&self) -> (MutexGuard<'_, ()>, tokio::task::JoinHandle<WriteOutcome>) {
        let held = self.gate.lock();
        let write = self.runtime.spawn(Self::write(self.router.clone()));
        self.until(|| !self.syncer.has_room());
        (held, write)
    }
}

fn wake(router: &Router, region: u64) {
    let cell = router.cells().get(region).expect("only cells set alarms");
    cell.send(Input::Wake).expect("no cell is closed");
}

fn header() -> RequestHeader {
    RequestHeader { version: Epoch::FIRST.version, ..RequestHeader::default() }
}

#[test]
fn a_full_queue_to_the_disk_stops_no_read() {
    let store = OneStore::start();
    let (held, write) = store.fill_queue();
    for _ in 0..3 {
        assert!(matches!(store.read(), Reply::ReadAt(_)));
    }
    assert!(!store.syncer.has_room() && !write.is_finished(), "the disk stood still all the time");
    drop(held);
    let written = store.wait(write).expect("no panic");
    assert_eq!(written, WriteOutcome::Done(Reply::Written));
}

/// Readers are told of a commit before anybody else, and of its data before its client.
#[test]
fn what_was_answered_is_there_for_reads_in_place() {
    let store = OneStore::start();
    let begin = || store.router.begin_in_place(REGION, &header());
    store.until(|| begin().is_ok());
    for _ in 0..200 {
        let written = store.wait(OneStore::write(store.router.clone()));
        assert_eq!(written, WriteOutcome::Done(Reply::Written));
        match begin() {
            // Where this thread stood still for long, there is no lease either.
            Ok(read) => {
                let _served_unless_it_ran_out = store.router.finish_in_place(read);
            }
            Err(why) => assert_eq!(why, NotInPlace::NoPermit),
        }
        assert_eq!(store.router.applied_clock_millis(REGION), 1);
    }
    store.until(|| begin().and_then(|read| store.router.finish_in_place(read)).is_ok());
}

/// Applier, replica and table on threads of their own: each part serves its keys, and nobody the old shape.
#[test]
fn a_region_that_was_split_serves_in_parts() {
    let store = OneStore::start();
    let written = store.wait(OneStore::write(store.router.clone()));
    assert_eq!(written, WriteOutcome::Done(Reply::Written));
    let regions = store.split("m");
    assert_eq!(regions.iter().map(|it| it.id).collect::<Vec<_>>(), [CHILD, REGION]);
    // The answer comes from the applier, the new borders come with the replica's next round.
    store.until(|| store.router.regions() == regions);
    let version = regions[0].epoch.version;
    let now = RequestHeader { version, ..RequestHeader::default() };
    let barrier = || store.wait(store.router.read_barrier(CHILD, now));
    store.until(|| matches!(barrier(), Reply::ReadAt(_)));
    let write =
        |region, header| store.wait(OneStore::write_to(store.router.clone(), region, header));
    assert_eq!(write(CHILD, now), WriteOutcome::Done(Reply::Written));
    let outside = write(REGION, now);
    let is_outside =
        matches!(outside, WriteOutcome::Done(Reply::Failed(RequestError::KeyNotInRegion { .. })));
    assert!(is_outside, "{outside:?}");
    let old = write(REGION, header());
    let is_old =
        matches!(old, WriteOutcome::Done(Reply::Failed(RequestError::EpochNotMatch { .. })));
    assert!(is_old, "{old:?}");
    let begin = |region, header| store.router.begin_in_place(region, header);
    store.until(|| begin(CHILD, &now).is_ok() && begin(REGION, &now).is_ok());
    assert!(begin(REGION, &header()).is_err());
}

/// What a store says of the snapshots that it sends: one of a region with these keys, for its peer on this store.
fn announced(region: RegionId, range: KeyRange) -> SnapshotHead {
    let peers = [1, 2].map(|it| Peer::voter(PeerId(region.get() * 10 + it), StoreId(it))).to_vec();
    let (to, from) = (peers[0], peers[1]);
    let message = Message::new(MessageKind::Snapshot, from.id, to.id, Term(6));
    let message = Message { index: Index(9), log_term: Term(6), ..message };
    let epoch = Epoch::FIRST;
    let message = PeerMessage { region, from, to, epoch, matched_by_all: Index(0), message };
    SnapshotHead {
        envelope: Some(encode(message)),
        region: Some(Region { id: region, range, epoch, peers }.into()),
        clock_millis: 1,
        expected_bytes: 1 << 20,
        removed: Vec::new(),
    }
}

/// What would be refused when it is here is not sent.
#[test]
fn a_snapshot_of_keys_that_have_an_owner_is_refused_as_it_begins() {
    let store = OneStore::start();
    let begin = |head| store.wait(store.shared.snapshots.begin(StoreId(2), head)).map(|_sink| ());
    let refused = begin(announced(CHILD, KeyRange::new("b", "g"))).expect_err("an owner");
    assert_eq!(refused.code(), tonic::Code::Aborted, "{refused}");
    assert!(refused.message().contains("overlaps region 2"), "{refused}");
    store.split("m");
    store.until(|| store.router.regions().len() == 2);
    let refused = begin(announced(RegionId(7), KeyRange::new("b", "g"))).expect_err("an owner");
    assert!(refused.message().contains("overlaps region 5"), "{refused}");
}

/// What the volume of the next test has left.
static FREE: AtomicU64 = AtomicU64::new(100 << 20);

/// The disk fills up while a snapshot arrives: the sender is told, nothing is left, and the peer takes the next one.
#[test]
fn a_snapshot_that_finds_the_disk_full_ends() {
    let store =
        OneStore::start_on(vec![Peer::voter(PEER, STORE)], MemoryBudget::default(), |_volume| {
            Ok(ByteSize(FREE.load(Ordering::Relaxed)))
        });
    store.give_up_keys();
    let begin = || {
        let head = announced(CHILD, KeyRange::new("b", "g"));
        store.wait(store.shared.snapshots.begin(StoreId(2), head))
    };
    let mut sink = begin().unwrap_or_else(|refused| panic!("{refused}"));
    FREE.store(1 << 20, Ordering::Relaxed);
    let refused = begin().map(|_sink| ()).expect_err("no room");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    let mut rng = Rng::new(7);
    let mut noise = || (0..1 << 17).flat_map(|_| rng.next().to_le_bytes()).collect::<Bytes>();
    let refused = (0..60).find_map(|count| {
        let key = Key::from(format!("c{count:02}"));
        store.wait(sink.take(part(&[(key, noise())]))).err()
    });
    let refused = refused.expect("no room for what comes");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    store.until(|| store.staged() == 0);
    FREE.store(100 << 20, Ordering::Relaxed);
    drop(begin().unwrap_or_else(|refused| panic!("{refused}")));
}

fn part(pairs: &[(Key, Bytes)]) -> SnapshotData {
    SnapshotData { family: SnapshotFamily::Raw.into(), block: stage::encode_block(pairs) }
}

/// A sender keeps its place for what it brings. Whoever is refused in the middle leaves nothing.
#[test]
fn a_snapshot_that_brings_nothing_ends() {
    let store = OneStore::start();
    store.give_up_keys();
    let head = announced(CHILD, KeyRange::new("b", "g"));
    let sink = store.wait(store.shared.snapshots.begin(StoreId(2), head));
    let mut sink = sink.unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(store.staged(), 1);
    store.wait(sink.take(part(&[("c".into(), "value".into())]))).expect("taken");
    let ended = store.wait(async {
        loop {
            if let Err(refused) = sink.take(part(&[])).await {
                return refused;
            }
        }
    });
    assert_eq!(ended.code(), tonic::Code::InvalidArgument, "{ended}");
    store.until(|| store.staged() == 0);
}

/// Nobody is given what is being deleted, and what has to wait for that is done behind it.
#[test]
fn what_a_destroyed_peer_left_is_cleaned_once_its_range_is_free() {
    let store = OneStore::start();
    store.give_up_keys();
    let Shared { engine, snapshots, .. } = &store.shared;
    let range = KeyRange::new("b", "");
    let order = Cleanup { region: RegionId(9), peer: PeerId(91), range };
    let put = |key: &'static str| Mutation::Put(Family::Raw, key.into(), "left".into());
    let left = vec![put_cleanup(&order), put("c"), put("y")];
    engine.write(&WriteBatch::from(left)).expect("written");
    let has = |key: &str| engine.get(Family::Raw, key.as_bytes()).expect("readable").is_some();
    let begin = || {
        let head = announced(CHILD, KeyRange::new("b", "g"));
        store.wait(snapshots.begin(StoreId(2), head)).map(|_sink| ())
    };

    let cleaning = store.router.table().begin_cleaning(&mut vec![order.clone()]).expect("free");
    let refused = begin().expect_err("somebody is about to delete it");
    assert!(refused.message().contains("is being deleted"), "{refused}");
    snapshots.clean(order);
    assert!(has("c"), "the order waits");
    store.router.table().end_cleaning(cleaning);
    snapshots.claim_ended();
    assert_eq!([has("c"), has("y")], [false, true], "what the damaged peer held is its own");
    assert_eq!(recover_remains(engine).expect("sound").cleanups, []);
    begin().unwrap_or_else(|refused| panic!("{refused}"));
}

/// A member that takes nothing: its leader would keep four MiB in memory for it.
#[test]
fn what_is_kept_for_others_has_a_budget() {
    let absent = Peer { role: PeerRole::Learner, ..Peer::voter(PeerId(22), StoreId(2)) };
    let budget = MemoryBudget { cached_bytes: 800 << 10, ..MemoryBudget::default() };
    let store = OneStore::start_with(vec![Peer::voter(PEER, STORE), absent], budget);
    let value = Bytes::from(vec![b'v'; 32 << 10]);
    for _ in 0..100 {
        let put = Mutation::Put(Family::Raw, "k".into(), value.clone());
        let (version, mutations) = (header().version, vec![put]);
        let command = WriteCommand { version, clock_millis: 1, guard: None, mutations };
        let written = store.wait(store.router.write(REGION, header(), command));
        assert_eq!(written, WriteOutcome::Done(Reply::Written));
        let held = store.inbound.memory.held().cached_bytes;
        // A turn keeps an eighth of what is free; what came since may not be applied yet.
        assert!(held <= 400 << 10, "{held} bytes");
    }
    assert!(store.inbound.memory.held().cached_bytes >= 32 << 10, "there is room for some");
}

/// What others have to apply takes the room.
#[test]
fn a_store_with_too_much_to_apply_takes_no_writes() {
    let store = OneStore::start();
    let memory = &store.inbound.memory;
    let others = Held { backlog_bytes: 256 << 20, ..Held::default() };
    memory.changed(Held::default(), others);
    assert!(memory.is_apply_behind());
    let refused = store.wait(OneStore::write(store.router.clone()));
    let behind = RequestError::ApplyBehind(REGION);
    assert_eq!(refused, WriteOutcome::Done(Reply::Failed(behind)));
    assert!(matches!(store.read(), Reply::ReadAt(_)), "reads need no room");
    memory.changed(others, Held::default());
    let written = store.wait(OneStore::write(store.router.clone()));
    assert_eq!(written, WriteOutcome::Done(Reply::Written));
    store.until(|| memory.held().backlog_bytes == 0);
}

/// Entries of other stores are dropped in front of the inboxes, and heartbeats are not.
#[test]
fn a_store_with_too_much_to_apply_takes_no_entries() {
    let store = OneStore::start();
    let dropped = || {
        let text = render(store.shared.metrics.registry());
        text.lines().filter(|line| line.contains("reason=\"apply behind\"")).count()
    };
    let message = |kind, entries| PeerMessage {
        region: REGION,
        from: Peer::voter(PeerId(22), StoreId(2)),
        to: Peer::voter(PEER, STORE),
        epoch: Epoch::FIRST,
        matched_by_all: Index(0),
        message: Message { entries, ..Message::new(kind, PeerId(22), PEER, Term(5)) },
    };
    let arrive = |message| {
        store.inbound.deliver(StoreId(2), Incarnation(1), vec![encode(message)]);
    };
    let entry = || Entry { index: Index(9), term: Term(5), ..Entry::default() };
    arrive(message(MessageKind::Append, vec![entry()]));
    assert_eq!(dropped(), 0);
    let others = Held { backlog_bytes: 256 << 20, ..Held::default() };
    store.inbound.memory.changed(Held::default(), others);
    arrive(message(MessageKind::Heartbeat, Vec::new()));
    arrive(message(MessageKind::Append, Vec::new()));
    assert_eq!(dropped(), 0);
    arrive(message(MessageKind::Append, vec![entry()]));
    assert_eq!(dropped(), 1);
}

/// A mark that is written all the same would keep the region away from this store for ever.
#[test]
fn a_first_region_that_cannot_be_made_leaves_no_mark() {
    let store = OneStore::start();
    let region = |id: u64| Region {
        id: RegionId(id),
        range: KeyRange::all(),
        epoch: Epoch::FIRST,
        peers: vec![Peer::voter(PeerId(id * 10), STORE)],
    };
    let plan = |id| vec![Planned { region: region(id), first_leader: PeerId(id * 10) }];
    let bootstrap = |plan| {
        let (_none, initialised) = tokio::sync::watch::channel(0);
        let (shared, inbound) = (store.shared.clone(), Arc::clone(&store.inbound));
        store.wait(boot::bootstrap(shared, inbound, plan, initialised))
    };
    let refused = bootstrap(plan(4)).expect_err("all keys have an owner");
    assert!(matches!(refused, StoreError::Claim(_)), "{refused}");
    assert!(!boot::is_bootstrapped(&store.shared.engine).expect("readable"));
    bootstrap(plan(REGION.get())).expect("it is there already");
    assert!(boot::is_bootstrapped(&store.shared.engine).expect("readable"));
}

/// A start that finds a peer damaged says so on the disk, in front of everything else that it does.
#[test]
fn a_peer_that_was_found_damaged_is_damaged_for_good() {
    [true, false].into_iter().for_each(start_with_a_spoilt_record);
}

/// Of the raft state, or of the members that were removed.
fn start_with_a_spoilt_record(is_of_raft: bool) {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Engine::open(directory.path(), &EngineOptions::default()).expect("an engine");
    let region = |id: u64, range| {
        let peers = vec![Peer::voter(PeerId(id * 10 + 1), STORE)];
        Region { id: RegionId(id), range, epoch: Epoch::FIRST, peers }
    };
    let position = LogPosition { term: Term(5), index: Index(5) };
    let raft = RaftState { hard_state: HardState::default(), last: position };
    let records = |region: Region| {
        let (id, peer) = (region.id, region.peers[0].id);
        let state = put_region_state(id, &RegionState::Normal(peer, region));
        let apply = disk::put_apply_state(id, &ApplyState::starting_at(position));
        [state, apply, disk::put_raft_state(id, &raft)]
    };
    let write = |batch| engine.write(&WriteBatch::from(batch)).expect("written");
    write(records(region(2, KeyRange::new("", "m"))).to_vec());
    write(records(region(3, KeyRange::new("m", ""))).to_vec());
    let gone = [Peer::voter(PeerId(29), StoreId(9))];
    let sound =
        if is_of_raft { disk::put_raft_state(REGION, &raft) } else { put_removed(REGION, &gone) };
    let Mutation::Put(family, key, _) = &sound else { panic!("a put") };
    write(vec![Mutation::Put(*family, key.clone(), "damaged".into())]);
    let start = || {
        let (config, mut table) = (replica_config(&engine), RegionTable::new(STORE));
        let clock = MonotonicClock::start();
        let recovered = boot::recover(&config, &engine, &mut table, clock).expect("it starts");
        assert_eq!(table.slot(REGION), Some(&Slot::Quarantined(PEER)));
        assert!(matches!(table.slot(RegionId(3)), Some(Slot::Live(..))), "it is sound");
        recovered.replicas.len()
    };
    assert_eq!(start(), 1);
    write(vec![sound]);
    assert_eq!(start(), 1, "its record is whole again, and it may have promised more");
}

/// A follower that was away asks for entries of which one is damaged by now: that region has no peer here any more, not after
/// a restart either, and the other one serves.
#[test]
fn a_damaged_record_of_an_old_log_costs_its_peer_alone() {
    let absent = Peer { role: PeerRole::Learner, ..Peer::voter(PeerId(22), StoreId(2)) };
    let budget = MemoryBudget { cached_bytes: 0, ..MemoryBudget::default() };
    let store = OneStore::start_with(vec![Peer::voter(PEER, STORE), absent], budget);
    for _ in 0..8 {
        let written = store.wait(OneStore::write(store.router.clone()));
        assert_eq!(written, WriteOutcome::Done(Reply::Written));
    }
    let regions = store.split("m");
    store.until(|| store.router.regions() == regions);
    let engine = &store.shared.engine;
    let entry = disk::entry_key(REGION, Index(9));
    let sound = engine.get(Family::RaftLog, &entry).expect("readable");
    assert!(sound.is_some(), "it is in the log");
    let spoilt = Mutation::Put(Family::RaftLog, entry, "damaged".into());
    engine.write(&WriteBatch::from(vec![spoilt])).expect("written");
    let lacks_it = || PeerMessage {
        region: REGION,
        from: absent,
        to: Peer::voter(PEER, STORE),
        epoch: regions[1].epoch,
        matched_by_all: Index(0),
        message: Message::new(MessageKind::HeartbeatResponse, absent.id, PEER, Term(6)),
    };
    store.until(|| {
        store.inbound.deliver(absent.store, Incarnation(1), vec![encode(lacks_it())]);
        store.router.table().is_quarantined(REGION)
    });
    let version = regions[0].epoch.version;
    let now = RequestHeader { version, ..RequestHeader::default() };
    let read = |region| store.wait(store.router.read_barrier(region, now));
    let refused = read(REGION);
    let is_refused = matches!(refused, Reply::Failed(RequestError::Quarantined(REGION)));
    assert!(is_refused, "{refused:?}");
    assert!(store.router.begin_in_place(REGION, &now).is_err());
    store.until(|| matches!(read(CHILD), Reply::ReadAt(_)));
    let written = store.wait(OneStore::write_to(store.router.clone(), CHILD, now));
    assert_eq!(written, WriteOutcome::Done(Reply::Written));
    let found = recover_store(engine).expect("readable");
    let is_damaged = |it: &RecoveredPeer| {
        matches!(it, RecoveredPeer::Damaged { region: REGION, peer: PEER, .. })
    };
    let is_sound = |it: &RecoveredPeer| matches!(it, RecoveredPeer::Normal { region, .. } if region.id == CHILD);
    assert!(found.len() == 2 && found.iter().any(is_damaged) && found.iter().any(is_sound));
}

/// A view keeps the database from giving up old data, whatever has become of the wish for it.
#[test]
fn a_view_that_nobody_comes_to_send_is_given_up() {
    let store = OneStore::start();
    let take = |view_time| {
        let directory = tempfile::tempdir().expect("a directory");
        let stages = Stages::open(directory.path(), ByteSize(0)).expect("a directory");
        let metrics = Arc::new(StoreMetrics::new(&store.shared.engine));
        let parts = snapshots::Parts { metrics: Arc::clone(&metrics), view_time, ..store.parts() };
        let snapshots = Snapshots::new(parts, stages);
        // Of a peer that is not there: it hears nothing of it.
        let (peer, to) = (PeerId(99), Peer::voter(PeerId(22), StoreId(2)));
        let number = SnapshotNumber { term: Term(1), count: 1 };
        snapshots.perform(SnapshotEffect::Take { region: REGION, peer, number, to });
        let line = |count: usize| format!("flotilla_snapshot_views {count}\n");
        let shows = move |count| render(metrics.registry()).contains(&line(count));
        (snapshots, shows)
    };
    let (kept, shows) = take(snapshots::VIEW_TIME);
    store.until(|| shows(1));
    kept.close();
    assert!(shows(0), "it went with the store, and not before");
    let (_given_up, shows) = take(Duration::from_millis(20));
    store.until(|| shows(0));
}

/// A whole stage of so many large values under "c", and what installs it for a peer that is not there.
struct Staged {
    directory: tempfile::TempDir,
    snapshots: Snapshots,
    metrics: Arc<StoreMetrics>,
}

const STAGE: StageNumber = StageNumber(7);

impl Staged {
    fn new(store: &OneStore, install_pause: Duration) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let stages = Stages::open(directory.path(), ByteSize(0)).expect("a directory");
        let range = KeyRange::new("b", "g");
        let mut writer = stages.begin(STAGE.0, range, ByteSize(0)).expect("begun");
        let mut rng = Rng::new(7);
        for count in 0..40 {
            let noise = (0..8 << 10).flat_map(|_| rng.next().to_le_bytes()).collect();
            writer.put(Family::Raw, format!("c{count:02}").into(), noise).expect("in order");
        }
        writer.finish().expect("whole");
        let metrics = Arc::new(StoreMetrics::new(&store.shared.engine));
        let parts =
            snapshots::Parts { metrics: Arc::clone(&metrics), install_pause, ..store.parts() };
        Self { directory, snapshots: Snapshots::new(parts, stages), metrics }
    }

    fn table(&self) -> PathBuf {
        self.directory.path().join(STAGE.0.to_string()).join("raw-1.sst")
    }

    fn install(&self) {
        let clean = KeyRange::new("b", "g");
        let effect =
            InstallEffect::Replace { region: CHILD, peer: PeerId(51), clean, stage: STAGE };
        self.snapshots.perform(SnapshotEffect::Install(effect));
    }

    fn shows(&self, metric: &str) -> u64 {
        let text = render(self.metrics.registry());
        let found = text.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse().ok());
        found.expect("it is there from the beginning")
    }

    fn put_off(&self) -> u64 {
        self.shows("flotilla_snapshot_installs_put_off_total ")
    }

    fn installed(&self) -> u64 {
        self.shows("flotilla_snapshot_install_seconds_count ")
    }
}

/// What the operating system lacks now it may have later: the stage is whole, and the peer has nothing else.
#[test]
fn an_install_that_fails_for_now_is_tried_again() {
    let store = OneStore::start();
    store.give_up_keys();
    let staged = Staged::new(&store, Duration::from_millis(20));
    // No file can have that name now.
    let name = staged.table().with_extension("ingest");
    std::fs::create_dir(&name).expect("created");
    staged.install();
    store.until(|| staged.put_off() >= 2);
    assert_eq!(staged.installed(), 0);
    assert!(staged.table().exists(), "nothing of it is forgotten");
    std::fs::remove_dir(&name).expect("removed");
    store.until(|| staged.installed() == 1);
    let read = store.shared.engine.get(Family::Raw, b"c39").expect("readable");
    assert_eq!(read.map(|value| value.len()), Some(64 << 10));
    staged.snapshots.close();
}

/// A store that stops does not wait for what is to be done later.
#[test]
fn an_install_that_is_put_off_holds_up_no_end() {
    let store = OneStore::start();
    store.give_up_keys();
    let staged = Staged::new(&store, 2 * LIVENESS);
    std::fs::create_dir(staged.table().with_extension("ingest")).expect("created");
    staged.install();
    store.until(|| staged.put_off() == 1);
    let snapshots = staged.snapshots.clone();
    store.wait(store.runtime.spawn_blocking(move || snapshots.close())).expect("no panic");
}

#[test]
fn a_stage_that_is_damaged_is_lost() {
    let store = OneStore::start();
    store.give_up_keys();
    for is_gone in [false, true] {
        let staged = Staged::new(&store, LIVENESS);
        let table = staged.table();
        if is_gone {
            std::fs::remove_file(&table).expect("removed");
        } else {
            let mut bytes = std::fs::read(&table).expect("read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&table, bytes).expect("written");
        }
        staged.install();
        store.until(|| !table.parent().expect("a directory").exists());
        assert_eq!((staged.put_off(), staged.installed()), (0, 0));
        staged.snapshots.close();
    }
}
