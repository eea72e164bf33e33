//! The published crate `tikv-client`, unmodified, on a real data set: every line of the files of crates
//! that this workspace locks. The data is loaded while the leader's store is killed with SIGKILL; calls
//! that come back with an error are repeated and counted.

mod common;

use std::{
    collections::BTreeMap,
    env, fs,
    future::Future,
    hash::{DefaultHasher, Hasher as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use common::{LIVENESS, cluster::Cluster, say};
use flotilla_client::KeyRange;
use tikv_client::{ColumnFamily, Error, IntoOwnedRange as _, Key, KvPair, RawClient};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
};

/// The data set has at least so many records; crates are taken in the order of their names until then.
const RECORDS_MIN: usize = 60_000;
/// Records of one batch, and batches under way.
const BATCH_RECORDS: usize = 128;
const LANES: usize = 8;
/// Records of one page: the published client decodes no more than 4 MiB.
const PAGE_RECORDS: u32 = 1_024;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// A published client, and how many of its calls came back with an error.
#[derive(Clone)]
struct Patient {
    raw: RawClient,
    errors: Arc<AtomicU64>,
}

impl Patient {
    async fn connect(pd: &str) -> Self {
        let raw = RawClient::new(vec![pd]).await.expect("the cluster answers");
        Self { raw, errors: Arc::default() }
    }

    /// Repeats a call until it succeeds.
    async fn again<T, F>(&self, call: impl Fn(RawClient) -> F) -> T
    where
        F: Future<Output = Result<T, Error>>,
    {
        let started = Instant::now();
        loop {
            match call(self.raw.clone()).await {
                Ok(value) => return value,
                Err(error) => {
                    assert!(started.elapsed() < LIVENESS, "{error}");
                    self.errors.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_keys_batches_ranges_and_refusals() {
    let cluster = Cluster::start(3);
    let client = Patient::connect(&cluster.sandbox.pd()).await;
    let raw = &client.raw;
    raw.put("k".to_owned(), "v".to_owned()).await.expect("put");
    assert_eq!(raw.get("k".to_owned()).await.expect("get"), Some(b"v".to_vec()));
    assert_eq!(raw.get("nothing".to_owned()).await.expect("get"), None);
    raw.put("empty".to_owned(), "").await.expect("an empty value is a value");
    assert_eq!(raw.get("empty".to_owned()).await.expect("get"), Some(Vec::new()));
    raw.delete("k".to_owned()).await.expect("delete");
    assert_eq!(raw.get("k".to_owned()).await.expect("get"), None);

    let pairs: Vec<(String, String)> =
        (0..1_000).map(|number| (format!("n/{number:04}"), format!("value {number}"))).collect();
    raw.batch_put(pairs.clone()).await.expect("batch put");
    let keys = ["n/0500", "n/nothing", "n/0007"].map(str::to_owned);
    let found = raw.batch_get(keys).await.expect("batch get");
    let mut found: Vec<Key> = found.into_iter().map(|KvPair(key, _value)| key).collect();
    found.sort();
    assert_eq!(found, [Key::from("n/0007".to_owned()), Key::from("n/0500".to_owned())]);

    let range = || ("n/0100".."n/0200").into_owned();
    let forward = raw.scan(range(), 1_000).await.expect("scan");
    let values: Vec<&[u8]> = forward.iter().map(|pair| pair.1.as_slice()).collect();
    assert_eq!(
        (values.len(), values[0], values[99]),
        (100, b"value 100".as_slice(), b"value 199".as_slice())
    );
    let mut backward = raw.scan_reverse(range(), 1_000).await.expect("reverse scan");
    backward.reverse();
    assert_eq!(forward, backward);
    let keys = raw.scan_keys(range(), 7).await.expect("scan of keys");
    assert_eq!(keys, forward[..7].iter().map(|pair| pair.0.clone()).collect::<Vec<_>>());
    let keys = raw.scan_keys_reverse(range(), 3).await.expect("reverse scan of keys");
    assert_eq!(keys, forward[97..].iter().rev().map(|pair| pair.0.clone()).collect::<Vec<_>>());

    raw.batch_delete(["n/0500".to_owned(), "n/0501".to_owned()]).await.expect("batch delete");
    raw.delete_range(("n/0600".."n/0700").into_owned()).await.expect("delete range");
    let left = raw.scan_keys(("n/".."n0").into_owned(), 10_000).await.expect("scan of keys");
    assert_eq!(left.len(), 1_000 - 2 - 100);

    // A swap is done by who knows the value, and says what was there.
    let atomic = raw.with_atomic_for_cas();
    let swap = async |expected: Option<&str>, new: &str| {
        let expected = expected.map(|value| value.as_bytes().to_vec());
        let (found, is_done) =
            atomic.compare_and_swap("cas".to_owned(), expected, new.to_owned()).await.expect("cas");
        (found.map(|value| String::from_utf8(value).expect("text")), is_done)
    };
    assert_eq!(swap(None, "1").await, (None, true));
    assert_eq!(swap(None, "2").await, (Some("1".to_owned()), false));
    assert_eq!(swap(Some("1"), "3").await, (Some("1".to_owned()), true));
    assert_eq!(swap(Some("1"), "4").await, (Some("3".to_owned()), false));

    // What one client writes, the other reads.
    let own = cluster.client(LIVENESS).await.raw();
    assert_eq!(own.get("n/0001").await.expect("get").as_deref(), Some(b"value 1".as_slice()));
    own.put("ours", "seen").await.expect("put");
    assert_eq!(raw.get("ours".to_owned()).await.expect("get"), Some(b"seen".to_vec()));
    let all = KeyRange::new("n/", "n0");
    assert_eq!(own.scan(all.clone()).count().await.expect("count"), 898);

    // What is too large or makes no sense is refused, and changes nothing.
    let too_long = "n/".to_owned() + &"k".repeat(9 << 10);
    raw.put(too_long, "v".to_owned()).await.expect_err("a key of 9 KiB");
    raw.put("n/large".to_owned(), vec![0; 7 << 20]).await.expect_err("a value of 7 MiB");
    raw.with_cf(ColumnFamily::Write).put("n/family".to_owned(), "v").await.expect_err("a family");
    assert_eq!(own.scan(all).count().await.expect("count"), 898);
    raw.put("large".to_owned(), vec![7; 3 << 20]).await.expect("3 MiB are allowed");
    assert_eq!(
        raw.get("large".to_owned()).await.expect("get").map(|value| value.len()),
        Some(3 << 20)
    );
}

#[test]
fn a_real_data_set_survives_kills_of_the_leader() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(load_kill_and_compare());
}

async fn load_kill_and_compare() {
    let records = Arc::new(data_set());
    let bytes: usize = records.iter().map(|(key, value)| key.len() + value.len()).sum();
    say(&format!("{} records, {} MiB", records.len(), bytes >> 20));
    let mut cluster = Cluster::start(3);
    let client = Patient::connect(&cluster.sandbox.pd()).await;
    let observer = cluster.client(LIVENESS).await;

    // At a third and at two thirds of the load, whoever leads then is killed.
    let loading = Loading::start(&client, Arc::clone(&records));
    for third in 1..=2 {
        loading.reached(records.len() * third / 3).await;
        let victim = cluster.leader_of(&observer, b"a").await.expect("somebody leads");
        cluster.kill(victim);
        loading.reached(records.len() * third / 3 + records.len() / 6).await;
        cluster.revive(victim);
        say(&format!("killed and revived store {victim}; {} errors came back", client.errors()));
    }
    loading.finish().await;
    let load_errors = client.errors();

    let expected = digest(records.iter().map(|(key, value)| (key.as_slice(), value.as_slice())));
    compare_gets(&client, &records).await;
    compare_batches(&client, &records, expected).await;
    compare_scans(&client, &records, expected).await;
    let own = observer.raw().scan(KeyRange::all()).collect().await.expect("scan");
    assert_eq!(digest(own.iter().map(|pair| (pair.key.as_ref(), pair.value.as_ref()))), expected);
    say(&format!("{load_errors} errors came back while loading, {} in all", client.errors()));
}

/// Records being written, by several lanes.
struct Loading {
    written: watch::Receiver<usize>,
    lanes: JoinSet<()>,
}

impl Loading {
    fn start(client: &Patient, records: Arc<Records>) -> Self {
        let batches: Vec<Vec<(Vec<u8>, Vec<u8>)>> = {
            let all: Vec<_> =
                records.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            all.chunks(BATCH_RECORDS).map(<[_]>::to_vec).collect()
        };
        let batches = Arc::new(Mutex::new(batches.into_iter()));
        let (sender, written) = watch::channel(0);
        let sender = Arc::new(sender);
        let mut lanes = JoinSet::new();
        for _lane in 0..LANES {
            let (client, batches, sender) =
                (client.clone(), Arc::clone(&batches), Arc::clone(&sender));
            lanes.spawn(async move {
                loop {
                    let Some(batch) = batches.lock().await.next() else { return };
                    client.again(|raw| raw_batch_put(raw, batch.clone())).await;
                    sender.send_modify(|count| *count += batch.len());
                }
            });
        }
        Self { written, lanes }
    }

    async fn reached(&self, count: usize) {
        let mut written = self.written.clone();
        let patience = LIVENESS * 4;
        let waited = tokio::time::timeout(patience, written.wait_for(|done| *done >= count)).await;
        assert!(waited.is_ok(), "the load stands still at {}", *self.written.borrow());
    }

    async fn finish(mut self) {
        while let Some(lane) = self.lanes.join_next().await {
            lane.expect("a lane ends in order");
        }
    }
}

async fn raw_batch_put(raw: RawClient, batch: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), Error> {
    raw.batch_put(batch).await
}

async fn compare_gets(client: &Patient, records: &Arc<Records>) {
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let (client, records) = (client.clone(), Arc::clone(records));
        lanes.spawn(async move {
            let mut count = 0;
            for (key, value) in records.iter().skip(lane).step_by(LANES) {
                let found = client.again(|raw| get(raw, key.clone())).await;
                assert_eq!(found.as_ref(), Some(value), "{}", String::from_utf8_lossy(key));
                count += 1;
            }
            count
        });
    }
    let mut count = 0;
    while let Some(lane) = lanes.join_next().await {
        count += lane.expect("a lane ends in order");
    }
    assert_eq!(count, records.len(), "every record was asked for");
}

async fn get(raw: RawClient, key: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    raw.get(key).await
}

async fn compare_batches(client: &Patient, records: &Records, expected: u64) {
    let mut found = Records::new();
    let keys: Vec<Vec<u8>> = records.keys().cloned().collect();
    for batch in keys.chunks(BATCH_RECORDS) {
        let pairs = client.again(|raw| batch_get(raw, batch.to_vec())).await;
        found.extend(pairs.into_iter().map(|pair| (pair.0.into(), pair.1)));
    }
    let found = found.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    assert_eq!(digest(found), expected, "by batch get");
}

async fn batch_get(raw: RawClient, keys: Vec<Vec<u8>>) -> Result<Vec<KvPair>, Error> {
    raw.batch_get(keys).await
}

/// Pages in all four ways. The published client finds the region of a reverse scan by its lower bound,
/// and reads on from the start of all keys at the end of all regions; so pages of an unbounded scan ask
/// for no more than there is.
async fn compare_scans(client: &Patient, records: &Records, expected: u64) {
    for (is_bounded, is_reverse) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(records.len());
        while found.len() < records.len() {
            let left = u32::try_from(records.len() - found.len()).expect("fits");
            let limit = PAGE_RECORDS.min(left);
            let last = found.last().map(|(key, _value)| key.clone());
            let page =
                client.again(|raw| page(raw, last.clone(), limit, (is_bounded, is_reverse))).await;
            assert_eq!(page.len(), limit as usize, "bounded {is_bounded}, reverse {is_reverse}");
            found.extend(page.into_iter().map(|pair| (pair.0.into(), pair.1)));
        }
        if is_reverse {
            found.reverse();
        }
        let found = found.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        assert_eq!(digest(found), expected, "bounded {is_bounded}, reverse {is_reverse}");
        if is_bounded {
            let beyond =
                client.again(|raw| page(raw, Some(b"~~~".to_vec()), 10, (true, false))).await;
            assert!(beyond.is_empty(), "nothing lies behind the last record");
        }
    }
}

/// The page behind `last`.
async fn page(
    raw: RawClient,
    last: Option<Vec<u8>>,
    limit: u32,
    (is_bounded, is_reverse): (bool, bool),
) -> Result<Vec<KvPair>, Error> {
    let end = || b"~~~~".to_vec();
    if is_reverse {
        return match (last, is_bounded) {
            (Some(last), _) => raw.scan_reverse(Vec::new()..last, limit).await,
            (None, true) => raw.scan_reverse(Vec::new()..end(), limit).await,
            (None, false) => raw.scan_reverse(Vec::new().., limit).await,
        };
    }
    let start = last.map_or_else(Vec::new, |mut last| {
        last.push(0);
        last
    });
    match is_bounded {
        true => raw.scan(start..end(), limit).await,
        false => raw.scan(start.., limit).await,
    }
}

fn digest<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, value) in pairs {
        for part in [key, value] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
    }
    hasher.finish()
}

/// `crate/path:line` for every line of every file of crates of the registry that this workspace locks.
fn data_set() -> Records {
    let sources = registry_sources();
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock"));
    let lock: toml::Table = lock.expect("the lock file").parse().expect("TOML");
    let packages = lock["package"].as_array().expect("a list");
    let mut records = Records::new();
    for package in packages {
        let text = |field: &str| package[field].as_str().expect("text").to_owned();
        let name = format!("{}-{}", text("name"), text("version"));
        let Some(folder) =
            sources.iter().map(|source| source.join(&name)).find(|path| path.is_dir())
        else {
            continue;
        };
        add_files(&folder, &name, &mut records);
        if records.len() >= RECORDS_MIN {
            return records;
        }
    }
    panic!("the registry holds only {} lines", records.len());
}

fn registry_sources() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.unwrap_or_else(|| Path::new(&env::var_os("HOME").expect("a home")).join(".cargo"));
    let entries = fs::read_dir(home.join("registry/src")).expect("cargo's registry");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

fn add_files(folder: &Path, name: &str, records: &mut Records) {
    for entry in fs::read_dir(folder).expect("readable") {
        let entry = entry.expect("readable");
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            add_files(&entry.path(), &name, records);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).expect("readable");
            for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                records.insert(format!("{name}:{}", number + 1).into_bytes(), line.to_vec());
            }
        }
    }
}
