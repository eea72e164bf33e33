//! Regions come and go under a client's hands: it gets every key, each once and in order, and no error.
//!
//! `FLOTILLA_CHURN_SECONDS` says for how long; a minute where nothing is said.

mod common;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{
    eventually,
    in_process::{Cluster, data_of},
};
use flotilla_base::{
    ByteSize, Peer, PeerRole, Region, RegionId, Rng, StoreId, key::decode_memcomparable,
};
use flotilla_client::{
    Applied, Bytes, Client, ClientOptions, Cut, ErrorKind, KeyRange, RegionChange, RegionInfo,
    placement::{LoadOrder, Loads, Rates},
};
use flotilla_store::{Store, StoreConfig, config::LoadLimits};

/// How many regions sleep on a store.
const ASLEEP: &str = "flotilla_regions_asleep";

/// What each call may take.
const DEADLINE: Duration = Duration::from_secs(10);

fn length() -> Duration {
    let said = std::env::var("FLOTILLA_CHURN_SECONDS").ok().map(|text| text.parse::<u64>());
    Duration::from_secs(said.map_or(60, |seconds| seconds.expect("a number of seconds")))
}

impl Cluster {
    fn hasty_client(&self) -> Client {
        let options = ClientOptions { deadline: DEADLINE, ..ClientOptions::default() };
        let pd = [self.sandbox.pd()];
        self.runtime.block_on(Client::connect(&pd, options)).expect("the cluster answers")
    }

    /// All regions, as soon as the placement driver has a whole map with a leader for each.
    fn regions(&self, client: &Client) -> Vec<RegionInfo> {
        let admin = client.admin();
        let look = || {
            let regions = admin.regions(KeyRange::all(), usize::MAX);
            self.runtime.block_on(regions).expect("regions are known")
        };
        eventually("a whole map", || is_whole(&look()));
        look()
    }
}

/// Whether each key has one region, and each region a leader.
fn is_whole(regions: &[RegionInfo]) -> bool {
    let mut border = Bytes::new();
    for RegionInfo { region, leader, .. } in regions {
        if region.range.start != border || leader.is_none() {
            return false;
        }
        border = region.range.end.clone();
    }
    border.is_empty() && !regions.is_empty()
}

fn user(number: u64) -> Bytes {
    format!("usertable:user{number:08}").into()
}

fn value_of(key: &Bytes, size: usize) -> Bytes {
    key.iter().copied().cycle().take(size).collect()
}

/// Small regions: a split for each MiB.
fn small(config: &mut StoreConfig) {
    config.limits.splits.size = ByteSize::mib(1);
}

/// Keys of one prefix are cut as well as any, and clients of transactions can read what lies around them.
#[test]
fn regions_are_split_as_they_grow() {
    const KEYS: u64 = 4_000;
    let cluster = Cluster::start(small);
    let client = cluster.client();
    let raw = client.raw();
    cluster.runtime.block_on(async {
        for first in (0..KEYS).step_by(100) {
            let pairs =
                (first..first + 100).map(user).map(|key| (key.clone(), value_of(&key, 2_000)));
            raw.batch_put(pairs).await.expect("pairs are written");
        }
    });
    let is_small = |regions: &[Region]| {
        let holds =
            |region: &Region| (0..KEYS).map(user).filter(|key| region.range.contains(key)).count();
        // Eight million bytes: no region may keep more than one and a half MiB, and a quarter that came since.
        regions.iter().all(|region| holds(region) * 2_022 < 2 << 20)
    };
    eventually("small regions", || {
        is_small(&cluster.regions(&client).into_iter().map(|it| it.region).collect::<Vec<_>>())
    });
    let regions = cluster.regions(&client);
    let guards = regions.iter().filter(|info| info.region.is_guard()).count();
    assert_eq!(guards, 1, "the guard region is there, and whole");
    let is_form = |border: &Bytes| border.is_empty() || decode_memcomparable(border).is_some();
    let readable =
        |info: &&RegionInfo| is_form(&info.region.range.start) && is_form(&info.region.range.end);
    let around: Vec<_> = regions.iter().filter(readable).map(|info| &info.region.range).collect();
    assert!(around[0].start.is_empty() && around[0].end < user(0), "{around:?}");
    assert!(around[1].start > user(KEYS), "{around:?}");
    // A client that knows the regions as they were, and one that knows nothing.
    for raw in [raw, cluster.client().raw()] {
        let found = cluster.runtime.block_on(raw.scan(KeyRange::all()).collect()).expect("a scan");
        assert!(found.iter().map(|pair| pair.key.clone()).eq((0..KEYS).map(user)));
        assert!(found.iter().all(|pair| pair.value == value_of(&pair.key, 2_000)));
        let some: Vec<Bytes> = (0..KEYS).step_by(37).map(user).collect();
        let found = cluster.runtime.block_on(raw.batch_get(some.clone())).expect("a batch");
        let expected = some.iter().map(|key| Some(value_of(key, 2_000)));
        assert!(found.into_iter().eq(expected));
    }
    // All stores come to hold the same regions.
    let shapes = |position: usize| cluster.stores[position].router().regions();
    eventually("equal regions", || shapes(0) == shapes(1) && shapes(1) == shapes(2));
    cluster.stop();
}

/// What was done.
#[derive(Debug, Default)]
struct Counts {
    scans: AtomicU64,
    writes: AtomicU64,
    splits: AtomicU64,
    moves: AtomicU64,
    transfers: AtomicU64,
    /// Changes that something else was in the way of.
    refused: AtomicU64,
    /// Changes that did not come to their end.
    given_up: AtomicU64,
}

/// What goes on at the same time.
struct Churn<'a> {
    cluster: &'a Cluster,
    keys: Vec<Bytes>,
    is_over: AtomicBool,
    counts: Counts,
}

impl Churn<'_> {
    fn repeat(&self, work: fn(&Self, &Client)) {
        let client = self.cluster.hasty_client();
        while !self.is_over.load(Ordering::Relaxed) {
            work(self, &client);
        }
    }

    fn scan(&self, client: &Client) {
        let raw = client.raw();
        let found = self.cluster.runtime.block_on(raw.scan(KeyRange::all()).key_only().collect());
        let found = found.expect("a scan ends well").into_iter().map(|pair| pair.key);
        assert!(found.eq(self.keys.iter().cloned()), "every key, once and in order");
        self.counts.scans.fetch_add(1, Ordering::Relaxed);
    }

    fn scan_downwards(&self, client: &Client) {
        let raw = client.raw();
        let scan = raw.scan(KeyRange::all()).key_only().reverse();
        let found = self.cluster.runtime.block_on(scan.collect());
        let found = found.expect("a scan ends well").into_iter().map(|pair| pair.key);
        assert!(found.eq(self.keys.iter().rev().cloned()), "downwards as well");
    }

    /// What was written is read back.
    fn write(&self, client: &Client) {
        let turn = self.counts.writes.fetch_add(1, Ordering::Relaxed);
        let key = &self.keys[usize::try_from(turn).expect("small") * 997 % self.keys.len()];
        let raw = client.raw();
        self.cluster.runtime.block_on(async {
            raw.put(key.clone(), turn.to_string()).await.expect("a put succeeds");
            let found = raw.get(key.clone()).await.expect("a get succeeds");
            assert_eq!(found, Some(turn.to_string().into()));
        });
    }

    fn split(&self, client: &Client) {
        let turn = self.counts.splits.fetch_add(1, Ordering::Relaxed);
        let mut rng = Rng::lane(7, turn);
        let at: BTreeSet<Bytes> = (0..3).map(|_| user(rng.below(2 * KEYS))).collect();
        let admin = client.admin();
        self.cluster.runtime.block_on(admin.split(at)).expect("a split succeeds");
        // Enough regions to be in everybody's way; from then on a split now and then.
        if turn > 100 {
            thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Churn<'_> {
    /// A peer of some region goes to a store that has none.
    fn move_a_peer(&self, client: &Client) {
        let mut rng = Rng::lane(11, self.counts.moves.load(Ordering::Relaxed));
        let Some(info) = self.any_region(client, &mut rng) else { return };
        let members: BTreeSet<StoreId> = info.region.peers.iter().map(|peer| peer.store).collect();
        let of = |is_member| {
            let stores = self.cluster.stores.iter().map(|store| store.router().store_id());
            stores.filter(|store| members.contains(store) == is_member).collect::<Vec<_>>()
        };
        let (from, to) = (pick(&of(true), &mut rng), pick(&of(false), &mut rng));
        let (Some(from), Some(to)) = (from, to) else { return };
        self.change(client, &info, RegionChange::MovePeer { from, to }, &self.counts.moves);
    }

    fn transfer(&self, client: &Client) {
        let mut rng = Rng::lane(13, self.counts.transfers.load(Ordering::Relaxed));
        let Some(info) = self.any_region(client, &mut rng) else { return };
        let is_other_voter = |peer: &&Peer| {
            peer.role == PeerRole::Voter && Some(peer.id) != info.leader.map(|it| it.id)
        };
        let others: Vec<StoreId> =
            info.region.peers.iter().filter(is_other_voter).map(|peer| peer.store).collect();
        let Some(to) = pick(&others, &mut rng) else { return };
        self.change(client, &info, RegionChange::TransferLeader(to), &self.counts.transfers);
    }

    fn any_region(&self, client: &Client, rng: &mut Rng) -> Option<RegionInfo> {
        let admin = client.admin();
        let regions = admin.regions(KeyRange::all(), usize::MAX);
        let regions = self.cluster.runtime.block_on(regions).expect("regions are known");
        pick(&regions, rng)
    }

    /// Has a region changed, and waits until that has ended. Another change of it may be under way, or it was split
    /// since it was looked at: that is refused, and nothing is changed.
    fn change(&self, client: &Client, info: &RegionInfo, change: RegionChange, done: &AtomicU64) {
        let admin = client.admin();
        let region = info.region.id;
        let asked = self.cluster.runtime.block_on(admin.change_region(region, change));
        let Ok(operator) = asked else {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        eventually("the end of an operator", || {
            let operators = self.cluster.runtime.block_on(admin.operators()).expect("an answer");
            !operators.running.iter().any(|running| running.id == operator.id)
        });
        let operators = self.cluster.runtime.block_on(admin.operators()).expect("an answer");
        let ended = operators.ended.iter().find(|ended| ended.id == operator.id);
        let ending = ended.and_then(|ended| ended.ending.clone()).expect("it is remembered");
        if ending.outcome == "finished" {
            done.fetch_add(1, Ordering::Relaxed);
        } else {
            // Split, led by another peer or asked for by somebody else meanwhile.
            common::say(&format!(
                "region {region}: {} {}: {}",
                operator.brief, ending.outcome, ending.reason
            ));
            self.counts.given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn pick<T: Clone>(from: &[T], rng: &mut Rng) -> Option<T> {
    let count = u64::try_from(from.len()).expect("small");
    (count > 0).then(|| from[usize::try_from(rng.below(count)).expect("small")].clone())
}

/// What is on the disks is what the map says: each key on the stores of its region and nowhere else, equal on all.
fn assert_no_orphans(
    paths: &[(StoreId, std::path::PathBuf)],
    regions: &[RegionInfo],
    keys: &[Bytes],
) {
    let data: Vec<_> = paths.iter().map(|(store, path)| (*store, data_of(path))).collect();
    let owner = |key: &[u8]| {
        let info = regions.iter().find(|info| info.region.range.contains(key));
        &info.expect("the map is whole").region
    };
    for (store, pairs) in &data {
        let stray = pairs.keys().find(|key| owner(key).peer_on(*store).is_none());
        assert!(stray.is_none(), "store {store} has {stray:?} of a region that is not there");
    }
    for key in keys {
        let peers = &owner(key).peers;
        let values = data.iter().filter(|(store, _)| peers.iter().any(|peer| peer.store == *store));
        let values: BTreeSet<_> = values.map(|(_, pairs)| pairs.get(&key[..])).collect();
        assert!(values.len() == 1 && !values.contains(&None), "{key:?}: {values:?}");
    }
}

const KEYS: u64 = 3_000;

#[test]
fn clients_notice_nothing_of_splits_moves_and_transfers() {
    let cluster = Cluster::of(5, |_config| {});
    let raw = cluster.client().raw();
    // Every other key: borders lie at keys that exist, and between them.
    let keys: Vec<Bytes> = (0..KEYS).map(|number| user(2 * number)).collect();
    cluster.runtime.block_on(async {
        for keys in keys.chunks(500) {
            let pairs = keys.iter().map(|key| (key.clone(), Bytes::from_static(b"0")));
            raw.batch_put(pairs).await.expect("pairs are written");
        }
    });
    let (counts, is_over) = (Counts::default(), AtomicBool::new(false));
    let churn = Churn { cluster: &cluster, keys, is_over, counts };
    let works = [
        Churn::scan,
        Churn::scan_downwards,
        Churn::write,
        Churn::split,
        Churn::move_a_peer,
        Churn::transfer,
    ];
    thread::scope(|scope| {
        let workers = works.map(|work| {
            let churn = &churn;
            scope.spawn(move || churn.repeat(work))
        });
        let end = Instant::now() + length();
        while Instant::now() < end && workers.iter().all(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(50));
        }
        churn.is_over.store(true, Ordering::Relaxed);
    });
    let Churn { keys, counts, .. } = churn;
    // What was given up may lack a voter, or have one too many.
    cluster.only_mend();
    let regions = cluster.settled();
    common::say(&format!("{counts:?} over {} regions", regions.len()));
    let Counts { scans, writes, moves, transfers, given_up, .. } = counts;
    let given_up = given_up.into_inner();
    let done = [scans, writes, moves, transfers].map(AtomicU64::into_inner);
    assert!(done.iter().all(|count| *count > 3) && regions.len() > 20);
    assert!(given_up < done[2] + done[3], "more changes are given up than finished: {given_up}");
    let path = |(position, store): (usize, &Store)| {
        let path = cluster.sandbox.path().join(format!("store-{}", position + 1));
        (store.router().store_id(), path)
    };
    let paths: Vec<_> = cluster.stores.iter().enumerate().map(path).collect();
    let sandbox = cluster.stop();
    assert_no_orphans(&paths, &regions, &keys);
    drop(sandbox);
}

impl Cluster {
    /// The regions, once each has three voters, nobody else has a peer of it, and all of them have applied what was
    /// acknowledged.
    fn settled(&self) -> Vec<RegionInfo> {
        let client = self.client();
        let has_three_voters = |info: &RegionInfo| {
            let peers = &info.region.peers;
            peers.len() == 3 && peers.iter().all(|peer| peer.role == PeerRole::Voter)
        };
        eventually("three voters", || self.regions(&client).iter().all(has_three_voters));
        let regions = self.regions(&client);
        let has_its_own = |store: &Store| {
            let router = store.router();
            let is_own = |info: &&RegionInfo| info.region.peer_on(router.store_id()).is_some();
            let own: BTreeSet<_> = regions.iter().filter(is_own).map(|it| it.region.id).collect();
            own == router.regions().iter().map(|region| region.id).collect()
        };
        eventually("removed peers are gone", || self.stores.iter().all(has_its_own));
        let all = 0..self.stores.len();
        eventually("all is applied", || all.clone().all(|it| self.has_caught_up(it)));
        regions
    }
}

impl Cluster {
    /// Has a region changed, and waits until it is.
    fn change(&self, client: &Client, region: RegionId, change: RegionChange) {
        let admin = client.admin();
        let asked = self.runtime.block_on(admin.change_region(region, change));
        let operator = asked.expect("it is taken").id;
        let ended = || {
            let operators = self.runtime.block_on(admin.operators()).expect("an answer");
            operators.ended.into_iter().find(|ended| ended.id == operator)
        };
        eventually("the end of an operator", || ended().is_some());
        let ending = ended().and_then(|ended| ended.ending).expect("it has ended");
        assert_eq!(ending.outcome, "finished", "{}", ending.reason);
    }
}

/// The last peer goes where it is told to: the new one leads before the old one goes.
#[test]
fn the_only_voter_moves() {
    let cluster = Cluster::of(4, |_config| {});
    let client = cluster.client();
    cluster.hold_still();
    let raw = client.raw();
    let keys: Vec<Bytes> = (0..20).map(user).collect();
    let pairs = keys.iter().map(|key| (key.clone(), key.clone()));
    cluster.runtime.block_on(raw.batch_put(pairs)).expect("written");
    let look = || {
        let regions = cluster.regions(&client);
        regions.into_iter().find(|it| it.region.range.contains(&keys[0])).expect("a whole map")
    };
    let region = look().region;
    let stores = cluster.stores.iter().map(|store| store.router().store_id());
    let (old, new): (Vec<_>, Vec<_>) = stores.partition(|it| region.peer_on(*it).is_some());
    for change in [
        RegionChange::RemovePeer(old[1]),
        RegionChange::RemovePeer(old[0]),
        RegionChange::MovePeer { from: old[2], to: new[0] },
        RegionChange::MovePeer { from: new[0], to: old[0] },
    ] {
        cluster.change(&client, region.id, change);
    }
    let RegionInfo { region, leader, .. } = look();
    assert_eq!(region.peers.iter().map(|peer| peer.store).collect::<Vec<_>>(), [old[0]]);
    assert_eq!(leader.map(|peer| peer.store), Some(old[0]));
    let found = cluster.runtime.block_on(raw.scan(KeyRange::all()).collect()).expect("a scan");
    assert!(found.into_iter().map(|pair| pair.key).eq(keys));
    cluster.stop();
}

/// Regions that nobody wants anything of sleep, all of them, and the first request finds them awake. So do those whose
/// leader's store dies in their sleep.
#[test]
fn idle_regions_sleep_and_are_there_at_once() {
    let mut cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    let (raw, admin) = (client.raw(), client.admin());
    let keys: Vec<Bytes> = (0..20).map(user).collect();
    cluster.runtime.block_on(async {
        raw.batch_put(keys.iter().map(|key| (key.clone(), key.clone()))).await.expect("written");
        admin.split(keys.clone()).await.expect("a split succeeds");
    });
    let count = cluster.regions(&client).len() as u64;
    assert!(count > 20, "{count} regions");
    let all_sleep = || (0..3).all(|position| cluster.figure(position, ASLEEP) == count);
    eventually("all regions sleep", all_sleep);
    let found = cluster.runtime.block_on(raw.scan(KeyRange::all()).collect()).expect("a scan");
    assert!(found.into_iter().map(|pair| pair.key).eq(keys.iter().cloned()));
    eventually("all regions sleep again", all_sleep);
    let dead = cluster.stores[0].router().store_id();
    cluster.stores.remove(0).kill();
    // Nobody asks the regions for anything: the placement driver tells what their leaders report.
    let is_led = |info: &RegionInfo| info.leader.is_some_and(|leader| leader.store != dead);
    eventually("leaders on stores that live", || cluster.regions(&client).iter().all(is_led));
    let changed = keys.into_iter().map(|key| (key, "new"));
    cluster.runtime.block_on(raw.batch_put(changed)).expect("written");
    cluster.stop();
}

/// What cannot be cut says why, and stays as it is.
#[test]
fn what_cannot_be_cut_is_told() {
    let cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    let split = |keys: &[&'static [u8]]| {
        let keys = keys.iter().map(|key| Bytes::from_static(key));
        cluster.runtime.block_on(client.admin().split(keys))
    };
    let cuts = split(&[b"m"]).expect("a split");
    let [Cut { region, parts }] = cuts.as_slice() else { panic!("{cuts:?}") };
    assert_eq!(parts.last().map(|part| part.id), Some(*region), "it keeps its last part");
    assert!(parts.iter().any(|part| part.range.start == "m"), "{parts:?}");
    assert_eq!(split(&[b"m", b""]).expect("nothing to do"), []);
    let guard = flotilla_base::key::guard_border();
    assert_eq!(split(&[guard.to_vec().leak()]).expect("a border already"), []);
    let refused = split(&[&[0xff; 100]]).expect_err("the guard region");
    assert!(refused.to_string().contains("guard region"), "{refused}");
    assert_eq!((refused.kind(), refused.attempts()), (ErrorKind::Refused, 1), "{refused}");
    let long = split(&[b"a", vec![b'x'; 8193].leak()]).expect_err("no key is so long");
    assert_eq!((long.kind(), long.applied()), (ErrorKind::TooLarge, Applied::No), "{long}");
    // What is cut by the time somebody refuses stays cut.
    let partly = split(&[b"p", &[0xff; 100]]).expect_err("the guard region");
    assert_eq!(partly.applied(), Applied::Unknown, "{partly}");
    // More than one entry of a log has room for.
    let many: Vec<Bytes> = (0..150).map(|number| format!("n{number:03}").into()).collect();
    let cut = cluster.runtime.block_on(client.admin().split(many.clone()));
    assert_eq!(cut.expect("a split").len(), 1);
    let regions = cluster.regions(&client);
    let begins = |key: &Bytes| regions.iter().any(|info| info.region.range.start == *key);
    assert!(many.iter().all(begins), "{regions:?}");
    cluster.stop();
}

/// Every region is asked for too much at a few requests a second.
fn touchy(config: &mut StoreConfig) {
    config.limits.load = LoadLimits { requests: 5, bytes: ByteSize(0) };
}

impl Cluster {
    /// What became of regions that were asked for too much, on all stores.
    fn load_splits(&self, result: &str) -> u64 {
        let series = format!("flotilla_store_load_splits_total{{result=\"{result}\"}}");
        let count = |port| {
            let address = format!("{}:{port}", self.sandbox.host);
            common::metric(&address, &series).expect("the store answers")
        };
        (20180..20183).map(count).sum()
    }
}

/// Small regions are split where they are asked for too much, and where it helps: one key alone is only told.
#[test]
fn regions_are_split_for_their_load() {
    const KEYS: u64 = 200;
    let cluster = Cluster::start(touchy);
    let client = cluster.client();
    let raw = client.raw();
    let pairs = (0..KEYS).map(user).map(|key| (key, Bytes::from_static(b"0")));
    cluster.runtime.block_on(raw.batch_put(pairs)).expect("pairs are written");
    let ask = |number: u64| {
        cluster.runtime.block_on(async {
            raw.get(user(number)).await.expect("a get succeeds");
            raw.put(user(number), "1").await.expect("a put succeeds");
        });
    };
    let before = cluster.regions(&client);
    eventually("a hot key", || {
        (0..100).for_each(|_| ask(7));
        cluster.load_splits("hot_key") > 0
    });
    assert_eq!(cluster.load_splits("split"), 0, "no border shares one key out");
    assert_eq!(cluster.regions(&client).len(), before.len());
    let turns = AtomicU64::new(0);
    let some = || Rng::lane(7, turns.fetch_add(1, Ordering::Relaxed)).below(KEYS);
    eventually("a split", || {
        (0..100).for_each(|_| ask(some()));
        cluster.load_splits("split") > 0
    });
    // The border is among the keys, and both sides have their share of them.
    let is_between = |info: &&RegionInfo| {
        user(0) < info.region.range.start && info.region.range.start < user(KEYS)
    };
    let regions = cluster.regions(&client);
    let border = regions.iter().find(is_between).expect("a border");
    let left = (0..KEYS).filter(|number| user(*number) < border.region.range.start).count();
    assert!((20..180).contains(&left), "{left} of {KEYS} keys are left of it");
    let found = cluster.runtime.block_on(raw.scan(KeyRange::all()).key_only().collect());
    let found = found.expect("a scan").into_iter().map(|pair| pair.key);
    assert!(found.eq((0..KEYS).map(user)), "every key, once and in order");
    cluster.stop();
}

/// Also where no region is split for its load. The leader counts, and the placement driver hears of it with the next
/// reports.
#[test]
fn what_regions_are_asked_for_is_known() {
    let unlimited = |config: &mut StoreConfig| {
        config.limits.load = LoadLimits { requests: 0, bytes: ByteSize(0) };
    };
    let cluster = Cluster::start(unlimited);
    let client = cluster.client();
    let (raw, admin) = (client.raw(), client.admin());
    let loads = || {
        cluster.runtime.block_on(async {
            for number in 0..100 {
                raw.put(user(number), "1").await.expect("a put succeeds");
            }
            raw.scan(KeyRange::all()).key_only().collect().await.expect("a scan succeeds");
            admin.loads(LoadOrder::Writes, 5).await.expect("loads are known")
        })
    };
    let first = loads();
    assert_eq!(first.regions, [], "one report says nothing about a rate");
    let is_asked = |rates: &Rates| rates.written_keys > 0 && rates.written_bytes > 0;
    let is_known = |loads: &Loads| {
        let region = loads.regions.first();
        region.is_some_and(|it| is_asked(&it.rates) && it.rates.read_keys > 0)
            && loads.stores.iter().any(|store| is_asked(&store.rates))
            && loads.stores.iter().all(|store| store.heat > 0 && store.slow_score > 0)
    };
    eventually("flows", || is_known(&loads()));
    cluster.stop();
}
