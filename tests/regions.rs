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

use common::{eventually, in_process::Cluster};
use flotilla_base::{ByteSize, Region, Rng, key::decode_memcomparable};
use flotilla_client::{Bytes, Client, ClientOptions, KeyRange, RegionInfo};
use flotilla_store::StoreConfig;

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

/// What goes on at the same time.
struct Churn<'a> {
    cluster: &'a Cluster,
    keys: Vec<Bytes>,
    is_over: AtomicBool,
    scans: AtomicU64,
    writes: AtomicU64,
    splits: AtomicU64,
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
        self.scans.fetch_add(1, Ordering::Relaxed);
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
        let turn = self.writes.fetch_add(1, Ordering::Relaxed);
        let key = &self.keys[usize::try_from(turn).expect("small") * 997 % self.keys.len()];
        let raw = client.raw();
        self.cluster.runtime.block_on(async {
            raw.put(key.clone(), turn.to_string()).await.expect("a put succeeds");
            let found = raw.get(key.clone()).await.expect("a get succeeds");
            assert_eq!(found, Some(turn.to_string().into()));
        });
    }

    fn split(&self, client: &Client) {
        let turn = self.splits.fetch_add(1, Ordering::Relaxed);
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

const KEYS: u64 = 3_000;

#[test]
fn clients_notice_nothing_of_splits() {
    let cluster = Cluster::start(|_config| {});
    let raw = cluster.client().raw();
    // Every other key: borders lie at keys that exist, and between them.
    let keys: Vec<Bytes> = (0..KEYS).map(|number| user(2 * number)).collect();
    cluster.runtime.block_on(async {
        for keys in keys.chunks(500) {
            let pairs = keys.iter().map(|key| (key.clone(), Bytes::from_static(b"0")));
            raw.batch_put(pairs).await.expect("pairs are written");
        }
    });
    let zero = || AtomicU64::new(0);
    let (scans, writes, splits) = (zero(), zero(), zero());
    let is_over = AtomicBool::new(false);
    let churn = Churn { cluster: &cluster, keys, is_over, scans, writes, splits };
    thread::scope(|scope| {
        let works = [Churn::scan, Churn::scan_downwards, Churn::write, Churn::split];
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
    let regions = cluster.regions(&cluster.client()).len();
    let Churn { scans, writes, splits, .. } = churn;
    let [scans, writes, splits] = [scans, writes, splits].map(AtomicU64::into_inner);
    common::say(&format!("{scans} scans over {regions} regions, {writes} writes, {splits} splits"));
    assert!(scans > 3 && writes > 3 && regions > 20);
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
    assert_eq!(split(&[b"m"]).expect("a split"), 1);
    assert_eq!(split(&[b"m", b""]).expect("nothing to do"), 0);
    let guard = flotilla_base::key::guard_border();
    assert_eq!(split(&[guard.to_vec().leak()]).expect("a border already"), 0);
    let refused = split(&[&[0xff; 100]]).expect_err("the guard region");
    assert!(refused.to_string().contains("guard region"), "{refused}");
    // More than one entry of a log has room for.
    let many: Vec<Bytes> = (0..150).map(|number| format!("n{number:03}").into()).collect();
    let cut = cluster.runtime.block_on(client.admin().split(many.clone()));
    assert_eq!(cut.expect("a split"), 1);
    let regions = cluster.regions(&client);
    let begins = |key: &Bytes| regions.iter().any(|info| info.region.range.start == *key);
    assert!(many.iter().all(begins), "{regions:?}");
    cluster.stop();
}
