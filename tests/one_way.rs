//! A cluster in one process whose connections lose messages in chosen directions: a follower that is cut off and
//! comes back changes neither term nor leader, and no request fails or is even repeated; a leader that is cut off
//! shows nobody what is not the newest; and followers show what was just acknowledged. Beside that: a store that is
//! stopped in order answers what is under way and hands over its leads.
//!
//! The simulator proves the same exactly, in virtual time; these tests prove that the real transport, the real
//! clocks and the real threads are wired to the same rules. A machine that stands still for long makes elections
//! that are no mistake, so these are judged only where a watching thread saw no such pause.

mod common;

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{LIVENESS, in_process::Cluster};
use flotilla_base::StoreId;
use flotilla_client::{Client, KeyRange, RawKv, ReadFrom, RegionInfo};
use flotilla_proto::{
    kvrpcpb::{Context, RawPutRequest, RawPutResponse},
    raft::{RaftEnvelope, RaftMessageKind},
    tikvpb::{
        BatchCommandsEmptyRequest, BatchCommandsRequest, batch_commands_request as commands,
        tikv_client::TikvClient,
    },
};
use flotilla_store::{RequestHeader, Store};

/// Longer than two gates of 0.8 s: a follower that could start an election would have done so.
const CUT: Duration = Duration::from_secs(2);
/// Longer than one gate: a follower that is back and disturbs does it at once.
const BACK: Duration = Duration::from_secs(1);
/// Half a gate. Whoever stands still for longer may miss so many heartbeats that an election is right.
const PAUSE: Duration = Duration::from_millis(400);
/// Runs of one cut, of which one has to be without such a pause.
const ATTEMPTS: usize = 5;

/// What is counted. A replica that hears nothing only asks whether it would be voted for.
const PRE_VOTES: &str = "flotilla_raft_elections_total{type=\"pre-vote\"}";
const VOTES: &str = "flotilla_raft_elections_total{type=\"vote\"}";
const LEADS: &str = "flotilla_raft_leader_changes_total{";

impl Cluster {
    /// Who leads each region. Every region has a leader by now.
    fn leaders(&self, client: &Client) -> Vec<StoreId> {
        let regions = self.runtime.block_on(client.admin().regions(KeyRange::all(), 16));
        let regions = regions.expect("regions are known");
        regions.iter().map(|region| region.leader.expect("somebody leads").store).collect()
    }

    /// The sum of the series that begin with `series` at the store at this position, since it started.
    fn count(&self, position: usize, series: &str) -> u64 {
        let address = format!("{}:{}", self.sandbox.host, 20180 + position);
        common::metric(&address, series).expect("the status server answers")
    }

    /// Votes asked for, leads taken and requests repeated since the start, and who leads.
    fn order(&self, client: &Client) -> Order {
        let [votes, leads] = [VOTES, LEADS].map(|series| {
            (0..self.stores.len()).map(|position| self.count(position, series)).sum()
        });
        let repetitions = client.stats().all_retries().map(|(_, count)| count).sum();
        Order { votes, leads, repetitions, leaders: self.leaders(client) }
    }

    /// Writes and reads for this long, and then until it `is_over`; each must succeed.
    fn use_for(&self, client: &Client, length: Duration, is_over: impl Fn() -> bool) {
        let end = Instant::now() + length;
        let raw = client.raw();
        self.runtime.block_on(async {
            let mut number = 0_u64;
            while Instant::now() < end || !is_over() {
                assert!(Instant::now() < end + LIVENESS, "it never came");
                let (key, value) = (format!("k{}", number % 10), number.to_string());
                raw.put(key.clone(), value.clone()).await.expect("a put succeeds");
                let found = raw.get(key).await.expect("a get succeeds");
                assert_eq!(found.as_deref(), Some(value.as_bytes()));
                number += 1;
            }
        });
    }
}

/// What a follower must not change.
#[derive(Debug, PartialEq)]
struct Order {
    votes: u64,
    leads: u64,
    repetitions: u64,
    leaders: Vec<StoreId>,
}

/// A thread that does what every node does all the time: it is scheduled, and syncs a file on the same disk.
struct Watch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    fn start(directory: &Path) -> Self {
        let file = File::create(directory.join("watch")).expect("a file");
        let is_over = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&is_over);
        let watch = move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !shared.load(Ordering::SeqCst) {
                // The passing of time is what is measured.
                thread::sleep(Duration::from_millis(10));
                file.write_all_at(b"x", 0).expect("written");
                file.sync_all().expect("synced");
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        };
        Self { is_over, thread: thread::spawn(watch) }
    }

    /// The longest time from one of its rounds to the next.
    fn longest_pause(self) -> Duration {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("the watch goes on to its end")
    }
}

/// Which messages of the follower with the first id are lost, by sender and receiver.
type Loses = fn(StoreId, StoreId, StoreId) -> bool;

struct Cut {
    name: &'static str,
    is_deaf: bool,
    loses: Loses,
}

const CUTS: [Cut; 3] = [
    Cut { name: "hears nothing", is_deaf: true, loses: |own, _from, to| to == own },
    Cut { name: "is heard by nobody", is_deaf: false, loses: |own, from, _to| from == own },
    Cut { name: "both", is_deaf: true, loses: |own, from, to| from == own || to == own },
];

#[test]
fn a_follower_that_was_cut_off_changes_nothing() {
    let cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    for cut in CUTS {
        let is_judged = (0..ATTEMPTS).any(|_attempt| cut_off(&cluster, &client, &cut));
        assert!(is_judged, "{}: the machine stood still in each of {ATTEMPTS} runs", cut.name);
    }
    cluster.stop();
}

/// Cuts a follower off and lets it come back. Whether that could be judged: not where something changed and the
/// machine stood still.
fn cut_off(cluster: &Cluster, client: &Client, cut: &Cut) -> bool {
    let Cut { name, is_deaf, loses } = *cut;
    cluster.use_for(client, Duration::from_millis(200), || true);
    let before = cluster.order(client);
    assert!(before.votes > 0 && before.leads > 0, "the first leaders are counted: {before:?}");
    let follows = |store: &Store| !before.leaders.contains(&store.id());
    let position = cluster.stores.iter().position(follows).expect("two regions, three stores");
    let follower = &cluster.stores[position];
    let (own, lost) = (follower.id(), Arc::new(AtomicU64::new(0)));
    let pre_votes = cluster.count(position, PRE_VOTES);
    let watch = Watch::start(cluster.sandbox.path());
    let counter = Arc::clone(&lost);
    let filter = move |from, to, _: &_| {
        let is_lost = loses(own, from, to);
        counter.fetch_add(u64::from(is_lost), Ordering::Relaxed);
        !is_lost
    };
    follower.peers().set_filter(Some(Arc::new(filter)));
    cluster.use_for(client, CUT, || {
        let misses_its_leaders = cluster.count(position, PRE_VOTES) > pre_votes;
        lost.load(Ordering::Relaxed) > 0 && (misses_its_leaders || !is_deaf)
    });
    follower.peers().set_filter(None);
    cluster.use_for(client, BACK, || true);
    let (after, pause) = (cluster.order(client), watch.longest_pause());
    if before == after {
        return true;
    }
    assert!(
        pause >= PAUSE,
        "{name}: {before:?} became {after:?}; no pause was longer than {pause:?}"
    );
    common::say(&format!("{name}: the machine stood still for {pause:?}: not judged"));
    false
}

const REPLICA_READS: &str = "flotilla_reads_total{type=\"replica\"}";
const READS_IN_PLACE: &str = "flotilla_reads_total{type=\"in_place\"}";

impl Cluster {
    /// The region of the first key, and where the store is that leads it.
    fn first_region(&self, client: &Client) -> (RegionInfo, usize) {
        let regions = self.runtime.block_on(client.admin().regions(KeyRange::all(), 1));
        let region = regions.expect("regions are known").remove(0);
        let leader = region.leader.expect("somebody leads").store;
        let position = self.stores.iter().position(|store| store.id() == leader);
        (region, position.expect("one of the stores"))
    }

    /// Cuts the store at this position off from the others, in both directions, and returns when another one leads
    /// the first region.
    fn depose(&self, client: &Client, position: usize) {
        let own = self.stores[position].id();
        let filter = move |from, to, _: &_| from != own && to != own;
        self.stores[position].peers().set_filter(Some(Arc::new(filter)));
        until(|| self.first_region(client).1 != position);
    }
}

fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + LIVENESS;
    while !is_so() {
        assert!(Instant::now() < end, "it never came");
        thread::yield_now();
    }
}

/// The leader of a region serves its own data without asking anybody. Once another store has acknowledged a write,
/// it does not any more: neither a read that begins then, nor one that began long before and stood still.
#[test]
fn a_leader_that_is_cut_off_serves_nothing_in_place() {
    let cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    for round in 0..3 {
        cluster.use_for(&client, Duration::from_millis(200), || true);
        let (region, position) = cluster.first_region(&client);
        let router = cluster.stores[position].router();
        let header =
            RequestHeader { version: region.region.epoch.version, ..RequestHeader::default() };
        let begin = || router.begin_in_place(region.region.id, &header);
        until(|| begin().and_then(|read| router.finish_in_place(read)).is_ok());
        let standing_still: Vec<_> = begin().into_iter().collect();
        cluster.depose(&client, position);
        // A client that does not know the old leader: it would wait there for what cannot be committed.
        let newcomer = cluster.client().raw();
        cluster.runtime.block_on(newcomer.put("k0", "elsewhere")).expect("a put succeeds");
        for read in standing_still {
            let served = router.finish_in_place(read);
            assert!(served.is_err(), "round {round}: served what was read before the cut");
        }
        for _ in 0..1_000 {
            let served = begin().and_then(|read| router.finish_in_place(read));
            assert!(served.is_err(), "round {round}: served what is not the newest");
        }
        // Whoever asks that store is told to ask elsewhere, and finds the newest.
        let found = cluster.runtime.block_on(client.raw().get("k0")).expect("a get succeeds");
        assert_eq!(found.as_deref(), Some(b"elsewhere".as_slice()));
        cluster.stores[position].peers().set_filter(None);
    }
    let in_place: u64 = (0..3).map(|position| cluster.count(position, READS_IN_PLACE)).sum();
    assert!(in_place > 0, "nothing was ever read in place");
    cluster.stop();
}

/// Whoever was told of a write finds it at each replica, and so does everybody who is told of it in turn.
#[test]
fn followers_show_what_was_just_acknowledged() {
    // A read at a follower waits for the leader's next heartbeat: more of them take long and prove no more.
    const PUTS: u64 = 40;
    let cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    cluster.use_for(&client, Duration::from_millis(200), || true);
    let raw = client.raw();
    let anywhere = raw.with_read_from(ReadFrom::AnyReplica);
    let served = || [0, 1, 2].map(|position| cluster.count(position, REPLICA_READS));
    let before = served();
    cluster.runtime.block_on(async {
        for number in 0..PUTS {
            raw.put("key", number.to_string()).await.expect("a put succeeds");
            // Three in turn: one at each replica.
            for _ in 0..3 {
                let found = anywhere.get("key").await.expect("a get succeeds");
                assert_eq!(found.as_deref(), Some(number.to_string().as_bytes()));
            }
        }
    });
    let (_region, leader) = cluster.first_region(&client);
    let after = served();
    for position in (0..3).filter(|position| *position != leader) {
        let here = after[position] - before[position];
        assert!(here > 0, "nothing was read at the follower at {position}");
    }
    cluster.stop();
}

/// The same while the lead changes all the time: a register that only grows never goes back, wherever it is read.
#[test]
fn a_register_never_goes_back_while_leaders_are_cut_off() {
    let cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    let acknowledged = AtomicU64::new(0);
    cluster.runtime.block_on(client.raw().put("key", "0")).expect("a put succeeds");
    let is_over = AtomicBool::new(false);
    let read = |raw: RawKv| {
        let (acknowledged, is_over) = (&acknowledged, &is_over);
        async move {
            let mut reads = 0_u64;
            while !is_over.load(Ordering::SeqCst) {
                let floor = acknowledged.load(Ordering::SeqCst);
                let found = raw.get("key").await.expect("a get succeeds").expect("a value");
                let found = std::str::from_utf8(&found).expect("digits").parse::<u64>();
                let found = found.expect("a number");
                assert!(found >= floor, "{found} was read, {floor} was acknowledged before");
                acknowledged.fetch_max(found, Ordering::SeqCst);
                reads += 1;
            }
            reads
        }
    };
    thread::scope(|scope| {
        let readers = [ReadFrom::Leader, ReadFrom::AnyReplica].map(|read_from| {
            // Each with a view of its own of who leads.
            let client = cluster.client();
            let raw = client.raw().with_read_from(read_from);
            let (cluster, read) = (&cluster, &read);
            scope.spawn(move || cluster.runtime.block_on(read(raw)))
        });
        for _ in 0..4 {
            let write_until = |end: Instant| {
                // A client of today: nothing of it is under way when the lead changes.
                let raw = cluster.client().raw();
                cluster.runtime.block_on(async {
                    while Instant::now() < end {
                        let next = acknowledged.load(Ordering::SeqCst) + 1;
                        raw.put("key", next.to_string()).await.expect("a put succeeds");
                        acknowledged.fetch_max(next, Ordering::SeqCst);
                    }
                });
            };
            write_until(Instant::now() + Duration::from_millis(300));
            let (_region, position) = cluster.first_region(&client);
            cluster.depose(&client, position);
            write_until(Instant::now() + Duration::from_millis(1_000));
            cluster.stores[position].peers().set_filter(None);
        }
        is_over.store(true, Ordering::SeqCst);
        for reader in readers {
            assert!(reader.join().expect("nothing went back") > 0, "nothing was read");
        }
    });
    cluster.stop();
}

impl Cluster {
    /// A connection to the store at this position, without any routing or repetition.
    fn plain_client(&self, position: usize) -> TikvClient<tonic::transport::Channel> {
        let url = format!("http://{}:{}", self.sandbox.host, 20160 + position);
        self.runtime.block_on(TikvClient::connect(url)).expect("the store is there")
    }
}

/// Whoever only falls silent is missed by others, who ask each other first whether it is gone. A successor does not ask.
#[test]
fn a_store_that_is_stopped_in_order_hands_its_leads_over() {
    let mut cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    cluster.hold_still();
    cluster.use_for(&client, Duration::from_millis(200), || true);
    let (_region, position) = cluster.first_region(&client);
    let id = cluster.stores[position].id();
    let led = cluster.leaders(&client).iter().filter(|leader| **leader == id).count() as u64;
    assert!(led > 0, "it leads the first region");
    let counted = |cluster: &Cluster| {
        let others = (0..3).filter(|other| *other != position);
        let of = |series| others.clone().map(|other| cluster.count(other, series)).sum::<u64>();
        [PRE_VOTES, VOTES, LEADS].map(of)
    };
    let watch = Watch::start(cluster.sandbox.path());
    let [pre_votes, votes, leads] = counted(&cluster);
    cluster.stores.remove(position).shutdown();
    let handed_over = counted(&cluster);
    cluster.runtime.block_on(cluster.client().raw().put("k", "v")).expect("served by others");
    let (after, pause) = (counted(&cluster), watch.longest_pause());
    // Where the machine stood still, others may have missed their leaders.
    if pause < PAUSE {
        assert_eq!(handed_over, [pre_votes, votes + led, leads + led]);
        assert_eq!(after, handed_over);
    }
    cluster.stop();
}

/// The put waits for followers that get no entries. They get them once the store is being stopped.
#[test]
fn a_write_that_is_under_way_when_its_store_is_stopped_gets_its_answer() {
    let mut cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    cluster.use_for(&client, Duration::from_millis(200), || true);
    let (region, position) = cluster.first_region(&client);
    let epoch = region.region.epoch;
    let header = RequestHeader { version: epoch.version, ..RequestHeader::default() };
    let mut plain = cluster.plain_client(position);
    let store = cluster.stores.remove(position);
    let (id, router, peers) = (store.id(), store.router().clone(), Arc::clone(store.peers()));
    let is_held = Arc::new(AtomicU64::new(0));
    let held = Arc::clone(&is_held);
    let filter = move |from: StoreId, _to, envelope: &RaftEnvelope| {
        let is_append = |body: &flotilla_proto::raft::RaftMessage| {
            body.kind() == RaftMessageKind::Append && !body.entries.is_empty()
        };
        let holds = from == id && envelope.message.as_ref().is_some_and(is_append);
        held.fetch_add(u64::from(holds), Ordering::SeqCst);
        !holds
    };
    peers.set_filter(Some(Arc::new(filter)));
    let context = Context {
        region_id: region.region.id.get(),
        region_epoch: Some(epoch.into()),
        peer: region.leader.map(Into::into),
        ..Context::default()
    };
    let (key, value) = ("k".into(), "v".into());
    let put = RawPutRequest { context: Some(context), key, value, ..RawPutRequest::default() };
    let put = cluster.runtime.spawn(async move { plain.raw_put(put).await });
    until(|| is_held.load(Ordering::SeqCst) > 0);
    thread::scope(|scope| {
        let stopping = scope.spawn(|| store.shutdown());
        // A leader that hands over gives up its lease first.
        until(|| router.begin_in_place(region.region.id, &header).is_err());
        peers.set_filter(None);
        let answer = cluster.runtime.block_on(put).expect("no panic").expect("an answer");
        assert_eq!(answer.into_inner(), RawPutResponse::default());
        stopping.join().expect("stopped");
    });
    cluster.stop();
}

/// Nothing of it needs anybody else: only the store's own end could cut it off.
#[test]
fn a_command_that_is_under_way_when_its_store_is_stopped_gets_its_answer() {
    let mut cluster = Cluster::start(|_config| {});
    let mut plain = cluster.plain_client(0);
    let probe = BatchCommandsEmptyRequest { test_id: 7, delay_time: 200 };
    let cmd = Some(commands::request::Cmd::Empty(probe));
    let (requests, request_ids) = (vec![commands::Request { cmd }], vec![1]);
    let command = BatchCommandsRequest { requests, request_ids };
    let (commands, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = cluster
        .runtime
        .block_on(async {
            commands.send(command).await.expect("room for one");
            plain.batch_commands(stream).await
        })
        .expect("a stream")
        .into_inner();
    cluster.stores.remove(0).shutdown();
    let answer = cluster.runtime.block_on(answers.message()).expect("no cut").expect("an answer");
    assert_eq!(answer.request_ids, [1]);
    cluster.stop();
}
