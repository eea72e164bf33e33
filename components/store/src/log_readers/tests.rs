//! The threads of a store without the rest of it: a disk that a test can hold up, and peers whose mail a test takes out.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flotilla_base::{
    Family, Index, KeyRange, KvRead, Moment, Mutation, PeerId, ReadError, RegionId, ScanDirection,
    Seeded, Span, StoreId, Tables, Term,
};
use flotilla_engine::{Engine, EngineOptions};
use flotilla_multiraft::{Liveness, RegionTable, Replica, ReplicaConfig, SharedLiveness};
use flotilla_poller::{After, Handler, Mailbox, Manual, Quota, ReadyQueue, TurnLimits};
use flotilla_raftgroup::{
    Entry, FetchNumber, FetchOrder, GroupLimits, Timing, disk, fetch::FETCH_BYTES,
};
use flotilla_telemetry::{MonotonicClock, render};
use parking_lot::Mutex;

use super::*;
use crate::router::PeerState;

/// Nothing that is waited for takes so long unless it never comes.
const LIVENESS: Duration = Duration::from_secs(30);
/// Of entries: no two orders fit into an inbox.
const VALUE_BYTES: usize = 512 << 10;
/// Entries of each log.
const ENTRIES: u64 = 10;

/// Stands still while the gate is locked.
struct Disk {
    tables: Mutex<Tables>,
    gate: Mutex<()>,
    /// Reads that have begun.
    begun: AtomicUsize,
}

impl KvRead for Disk {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.tables.lock().get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock());
        self.tables.lock().scan(family, range, direction, visit)
    }
}

/// What each region's peer was told, in order.
type Told = BTreeMap<RegionId, Vec<(FetchNumber, Fetched)>>;

#[derive(Default)]
struct Listener {
    told: Told,
}

impl Handler for Listener {
    type State = PeerState;
    type Message = PeerMail;

    fn handle(
        &mut self,
        cell: &Mailbox<PeerState, PeerMail>,
        _replica: &mut PeerState,
        messages: &mut Vec<PeerMail>,
    ) -> After {
        for input in messages.drain(..) {
            let Input::Fetched(number, fetched) = input else { panic!("nobody else writes") };
            self.told.entry(RegionId(cell.key())).or_default().push((number, fetched));
        }
        After::Keep
    }

    fn closed(&mut self, _replica: &mut PeerState, _messages: Vec<PeerMail>) {}

    fn end(&mut self) {}
}

/// Dropped in the order of the fields.
struct Readers {
    readers: LogReaders,
    disk: Arc<Disk>,
    peers: Manual<Listener>,
    queue: ReadyQueue<PeerState, PeerMail>,
    router: Router,
    metrics: Arc<StoreMetrics>,
    _directory: tempfile::TempDir,
}

fn peer_of(region: RegionId) -> PeerId {
    PeerId(region.get() * 10 + 1)
}

fn entry(index: u64, bytes: usize) -> Entry {
    let data = Bytes::from(vec![b'v'; bytes]);
    Entry { term: Term(5), index: Index(index), data, ..Entry::default() }
}

fn order(region: RegionId) -> LogFetch {
    let number = FetchNumber { term: Term(6), count: region.get() };
    let range = Index(2)..Index(ENTRIES + 1);
    let order =
        FetchOrder { number, group: region, truncated: Index(0), range, bytes_max: FETCH_BYTES };
    LogFetch { region, peer: peer_of(region), order }
}

impl Readers {
    /// With the peers of so many regions, whose logs hold entries of so many bytes.
    fn start(regions: u64, bytes: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = Engine::open(directory.path(), &EngineOptions::default()).expect("an engine");
        let metrics = Arc::new(StoreMetrics::new(&engine));
        let clock = MonotonicClock::start();
        let router = Router::new(RegionTable::new(StoreId(1)), clock);
        let quota = Quota { cell_bytes: 3 << 20, total_bytes: 64 << 20 };
        let (queue, ready) = ReadyQueue::new(quota);
        let disk = Arc::new(Disk {
            tables: Mutex::default(),
            gate: Mutex::default(),
            begun: AtomicUsize::new(0),
        });
        let readers = LogReaders::start(Arc::clone(&disk) as _, &router, &metrics);
        let peers = Manual::new(ready, Listener::default(), TurnLimits::default());
        let started = Self {
            readers: readers.expect("threads"),
            disk,
            peers,
            queue,
            router,
            metrics,
            _directory: directory,
        };
        for region in (1..=regions).map(RegionId) {
            let mut batch = Vec::new();
            let entries: Vec<Entry> = (1..=ENTRIES).map(|index| entry(index, bytes)).collect();
            disk::append_entries(region, Index(0), &entries, &mut batch);
            started.disk.tables.lock().apply(&batch);
            started.begin_peer(region, peer_of(region));
        }
        started
    }

    fn begin_peer(&self, region: RegionId, peer: PeerId) {
        let (timing, seeded) = (Timing::default(), Seeded::NONE);
        let liveness = Liveness::new(timing, seeded, Moment(0));
        let config = ReplicaConfig {
            store: StoreId(1),
            seed: 1,
            run: 1,
            timing,
            limits: GroupLimits::default(),
            seeded,
            liveness: SharedLiveness::new(liveness),
            start_spread: Span::ZERO,
            disk: Arc::clone(&self.disk) as _,
        };
        let replica = Replica::uninitialised(config, region, peer, Moment(0)).expect("it starts");
        let cell = self.queue.cell(region.get(), peer.get(), Box::new(replica));
        assert!(self.router.cells().register(cell).is_ok(), "one peer of each region");
    }

    fn until(&mut self, mut is_done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + LIVENESS;
        while !is_done(self) {
            assert!(Instant::now() < end, "it never came");
            std::thread::yield_now();
        }
    }

    /// Lets the peers take their mail until they were told so much.
    fn until_told(&mut self, count: usize) -> &Told {
        self.until(|readers| {
            readers.peers.turn();
            readers.peers.handler().told.values().flatten().count() >= count
        });
        &self.peers.handler().told
    }

    fn shows(&self, result: &str) -> u64 {
        let name = format!("flotilla_raft_log_fetches_total{{result=\"{result}\"}} ");
        let text = render(self.metrics.registry());
        let found = text.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
        found.expect("it is there from the beginning")
    }

    fn spoil(&self, region: RegionId, index: u64) {
        let key = disk::entry_key(region, Index(index));
        self.disk.tables.lock().apply(&[Mutation::Put(Family::RaftLog, key, "?".into())]);
    }
}

/// Every peer is told once, of its own log, from the first entry on and without a hole.
#[test]
fn each_order_is_answered_to_its_peer() {
    const REGIONS: u64 = 200;
    let mut readers = Readers::start(REGIONS, 100);
    for region in (1..=REGIONS).map(RegionId) {
        readers.readers.order(order(region));
    }
    let told = readers.until_told(200);
    assert_eq!(told.len(), 200);
    for (region, told) in told {
        let [(number, Fetched::Entries { before, entries })] = told.as_slice() else {
            panic!("region {region}: {told:?}")
        };
        assert_eq!(number.count, region.get(), "its own order");
        assert_eq!(before.map(|it| it.index), Some(Index(1)));
        let indices: Vec<u64> = entries.iter().map(|entry| entry.index.get()).collect();
        assert_eq!(indices, (2..=ENTRIES).collect::<Vec<_>>());
    }
    assert_eq!([readers.shows("read"), readers.shows("refused")], [REGIONS, 0]);
}

/// A peer that does not come to take its mail holds one answer of two MiB, and is refused the next.
#[test]
fn what_finds_no_room_is_refused_and_not_kept() {
    let mut readers = Readers::start(1, VALUE_BYTES);
    readers.readers.order(order(RegionId(1)));
    readers.until(|readers| readers.shows("read") == 1);
    let held = readers.queue.waiting_bytes();
    let most = usize::try_from(FETCH_BYTES).expect("small");
    assert!(held > VALUE_BYTES && held <= most, "{held} bytes of no more than an order's");
    for _ in 0..5 {
        readers.readers.order(order(RegionId(1)));
    }
    readers.until(|readers| readers.shows("refused") == 5);
    assert_eq!(readers.queue.waiting_bytes(), held, "nothing of it is kept");
    let told = &readers.until_told(6)[&RegionId(1)];
    assert!(matches!(told[0].1, Fetched::Entries { .. }), "{told:?}");
    assert!(told[1..].iter().all(|it| it.1 == Fetched::Refused), "each order has its answer");
    readers.readers.order(order(RegionId(1)));
    readers.until(|readers| readers.shows("read") == 2);
}

/// Another peer of the region stands where it was: what was read is not for that one.
#[test]
fn a_destroyed_peer_is_told_nothing_and_holds_nobody_up() {
    let mut readers = Readers::start(3, VALUE_BYTES);
    let [gone, followed] = [RegionId(1), RegionId(2)];
    for region in [gone, followed] {
        let cell = readers.router.cells().remove(region.get(), peer_of(region).get());
        drop(cell.expect("it was there").dispose());
    }
    readers.begin_peer(followed, PeerId(99));
    for region in [gone, followed, RegionId(3)] {
        readers.readers.order(order(region));
    }
    readers.until(|readers| readers.shows("read") == 3);
    let told = readers.until_told(1);
    assert_eq!(told.keys().collect::<Vec<_>>(), [&RegionId(3)]);
    assert_eq!(readers.queue.waiting_bytes(), 0);
}

/// The store ends, and the disk still reads: what is under way is waited for, and nothing else is begun.
#[test]
fn the_end_waits_for_what_is_being_read_and_for_nothing_else() {
    const REGIONS: u64 = 50;
    let mut readers = Readers::start(REGIONS, VALUE_BYTES);
    let disk = Arc::clone(&readers.disk);
    let gate = disk.gate.lock();
    for region in (1..=REGIONS).map(RegionId) {
        readers.readers.order(order(region));
    }
    readers.until(|readers| readers.disk.begun.load(Ordering::SeqCst) == THREADS);
    let Readers { readers, mut peers, queue, .. } = readers;
    let waiting = readers.waiting.clone();
    let end = std::thread::spawn(move || drop(readers));
    let begin = Instant::now();
    while !waiting.is_empty() {
        assert!(begin.elapsed() < LIVENESS, "what waits is dropped");
        std::thread::yield_now();
    }
    assert!(!end.is_finished(), "the disk is still read");
    drop(gate);
    end.join().expect("no panic");
    assert_eq!(disk.begun.load(Ordering::SeqCst), THREADS, "nothing more was begun");
    while peers.turn() > 0 {}
    assert_eq!(peers.handler().told.len(), THREADS);
    assert_eq!(queue.waiting_bytes(), 0);
}

/// Damage is an answer like others: the one whose log it is hears of it, and nobody else.
#[test]
fn damage_is_told_to_its_peer_alone() {
    let mut readers = Readers::start(4, 100);
    // The first that was ordered, one in the middle, and the one in front, of which only the term is wanted.
    for (region, index) in [(1, 2), (2, 7), (3, 1)] {
        readers.spoil(RegionId(region), index);
    }
    for region in (1..=4).map(RegionId) {
        readers.readers.order(order(region));
    }
    let told = readers.until_told(4);
    for (region, index) in [(1, 2), (2, 7), (3, 1)] {
        let (_number, fetched) = &told[&RegionId(region)][0];
        let Fetched::Damaged(damage) = fetched else { panic!("{fetched:?}") };
        let named = format!("group {region}: entry {index} of the log");
        assert!(damage.to_string().starts_with(&named), "{damage}");
    }
    assert!(matches!(told[&RegionId(4)][0].1, Fetched::Entries { .. }));
    assert_eq!([readers.shows("damaged"), readers.shows("read")], [3, 1]);
}
