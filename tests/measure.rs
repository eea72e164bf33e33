//! Measurements of whole programs. They assert nothing about time or size: they print what they found,
//! for the documentation. `make failover`, `make idle`, `make startup`, `make fill` and `make full-load` run them.

mod common;
mod fill;

use std::{
    fs,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::{LIVENESS, Playground, Process, Sandbox, cluster::Cluster, metric, say};
use flotilla_base::StoreId;
use flotilla_client::{Bytes, Client, ClientOptions, KeyRange, RegionInfo};
use tikv_client::RawClient;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

const KILLS: usize = 30;
/// Time from one probe to the next, where none has to wait.
const PROBE_PERIOD: Duration = Duration::from_millis(5);
/// Probes in a row that must succeed between two kills.
const CALM_PROBES: u64 = 200;
const STARTS: usize = 5;
/// How long a benchmark may take beside its duration, most of it to fill the cluster.
const FILL_PATIENCE: Duration = Duration::from_secs(300);
/// Ticks of the system's accounting of CPU time in a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Smallest, middle and largest of some durations, in seconds.
fn spread(label: &str, mut durations: Vec<Duration>) -> String {
    durations.sort();
    let [first, .., last] = durations.as_slice() else { return format!("{label}: too few") };
    let median = durations[durations.len() / 2].as_secs_f64();
    let (first, last, count) = (first.as_secs_f64(), last.as_secs_f64(), durations.len());
    format!("{label:<24} min {first:.3} s   median {median:.3} s   max {last:.3} s   of {count}")
}

/// A client that writes all the time, and the longest pause between two of its successes.
struct Probe {
    successes: watch::Sender<u64>,
    errors: AtomicU64,
    longest_micros: AtomicU64,
    is_over: AtomicBool,
}

impl Probe {
    /// Probes with `put` until it is over.
    fn start<F, E>(put: impl Fn(u64) -> F + Send + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<(), E>> + Send,
        E: Send,
    {
        let probe = Arc::new(Self {
            successes: watch::Sender::new(0),
            errors: AtomicU64::new(0),
            longest_micros: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&probe);
        tokio::spawn(async move {
            let mut ticks = interval(PROBE_PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut last = Instant::now();
            let mut number = 0;
            while !shared.is_over.load(Ordering::Relaxed) {
                ticks.tick().await;
                number += 1;
                if put(number).await.is_err() {
                    shared.errors.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let micros = u64::try_from(last.elapsed().as_micros()).expect("fits");
                last = Instant::now();
                shared.longest_micros.fetch_max(micros, Ordering::Relaxed);
                shared.successes.send_modify(|count| *count += 1);
            }
        });
        probe
    }

    /// Waits for a time without failure, and forgets the longest pause.
    async fn calm(&self) {
        let mut successes = self.successes.subscribe();
        let wanted = *successes.borrow() + CALM_PROBES;
        let waited = timeout(LIVENESS, successes.wait_for(|count| *count >= wanted)).await;
        assert!(matches!(waited, Ok(Ok(_))), "the cluster does not come to rest");
        self.longest_micros.store(0, Ordering::Relaxed);
    }

    /// The longest pause around a kill.
    async fn gap(&self) -> Duration {
        let mut successes = self.successes.subscribe();
        // One success may have been on its way; the second one is the new leader's.
        let wanted = *successes.borrow() + CALM_PROBES / 2;
        let waited = timeout(LIVENESS, successes.wait_for(|count| *count >= wanted)).await;
        assert!(matches!(waited, Ok(Ok(_))), "nobody leads any more");
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }
}

#[test]
#[ignore = "a measurement: make failover"]
fn failover() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut cluster = Cluster::start(3);
        let client = cluster.client(LIVENESS).await;
        let raw = client.raw();
        let own = Probe::start(move |number| {
            let raw = raw.clone();
            async move { raw.put("probe/own", number.to_string()).await }
        });
        let raw = RawClient::new(vec![cluster.sandbox.pd()]).await.expect("the cluster answers");
        let published = Probe::start(move |number| {
            let raw = raw.clone();
            async move { raw.put("probe/published".to_owned(), number.to_string()).await }
        });
        let (mut own_gaps, mut published_gaps) = (Vec::new(), Vec::new());
        for kill in 1..=KILLS {
            own.calm().await;
            published.calm().await;
            let victim = cluster.leader_of(&client, b"probe").await.expect("somebody leads");
            cluster.kill(victim);
            let (own_gap, published_gap) = tokio::join!(own.gap(), published.gap());
            cluster.revive(victim);
            say(&format!("kill {kill}/{KILLS}, store {victim}: own {own_gap:.3?}, published {published_gap:.3?}"));
            own_gaps.push(own_gap);
            published_gaps.push(published_gap);
        }
        own.is_over.store(true, Ordering::Relaxed);
        published.is_over.store(true, Ordering::Relaxed);
        say(&spread("own client", own_gaps));
        say(&spread("published client", published_gaps));
        say(&format!(
            "errors returned: own client {}, published client {}",
            own.errors.load(Ordering::Relaxed),
            published.errors.load(Ordering::Relaxed),
        ));
    });
}

#[test]
#[ignore = "a measurement: make startup"]
fn startup() {
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _start in 0..STARTS {
        let sandbox = Sandbox::new();
        let started = Instant::now();
        let playground = Playground::start(&sandbox, &[]);
        starts.push(started.elapsed());
        let stopping = Instant::now();
        playground.stop();
        stops.push(stopping.elapsed());
    }
    say(&spread("start until ready", starts));
    say(&spread("stop", stops));
}

#[test]
#[ignore = "a measurement: make idle"]
fn idle() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &[]);
    let process = playground.process.id();
    // Nothing is waited for: the passing of time is what is measured.
    std::thread::sleep(Duration::from_secs(30));
    let resident = resident_kib(process) / 1024;
    let before = cpu_seconds(process);
    std::thread::sleep(Duration::from_secs(60));
    let spent = cpu_seconds(process) - before;
    say(&format!(
        "resident memory after 30 s: {resident} MiB; CPU time of the minute after: {spent:.2} s"
    ));
    playground.stop();
}

fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |position: usize| fields[position].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// `FLOTILLA_REGIONS` (10,000 where not given) regions that nobody asks anything of: memory, CPU time, start, and the time
/// until each has a leader again behind the kill of a store.
#[test]
#[ignore = "a measurement: make regions"]
fn regions() {
    let said = std::env::var("FLOTILLA_REGIONS").unwrap_or_else(|_unset| "10000".to_owned());
    let count: u64 = said.parse().expect("a whole number of regions");
    let sandbox = Sandbox::new();
    let args = ["--name", "regions", "--timeout", "5m"];
    let playground = Playground::start(&sandbox, &args);
    let empty_kib = resident_kib(playground.process.id());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let started = Instant::now();
    runtime.block_on(split_into(&sandbox, count));
    say(&format!("{count} regions made in {:.1} s", started.elapsed().as_secs_f64()));
    describe_idle(&playground, count, empty_kib);
    playground.stop();
    let (mut starts, mut failovers) = (Vec::new(), Vec::new());
    for round in 0..STARTS {
        let started = Instant::now();
        let playground = Playground::start(&sandbox, &args);
        starts.push(started.elapsed());
        let victim = format!("store-{}", round % 3 + 1);
        runtime.block_on(until_all_are_led(&sandbox, StoreId(0)));
        let id = store_id(&sandbox, &playground, round % 3);
        let killed = Instant::now();
        sandbox.ok(&["playground", "kill", &victim, "--timeout", "5m"]);
        runtime.block_on(until_all_are_led(&sandbox, id));
        failovers.push(killed.elapsed());
        playground.stop();
    }
    say(&spread("start until ready", starts));
    say(&spread("kill until all are led", failovers));
}

/// Cuts the key space into so many regions.
async fn split_into(sandbox: &Sandbox, count: u64) {
    let options = ClientOptions { deadline: Duration::from_secs(300), ..ClientOptions::default() };
    let client = Client::connect(&[sandbox.pd()], options).await.expect("the cluster answers");
    let keys: Vec<Bytes> = (0..count).map(|number| format!("r{number:08}").into()).collect();
    for keys in keys.chunks(500) {
        client.admin().split(keys.iter().cloned()).await.expect("a split");
    }
}

/// Waits until each region has a leader that is not on this store.
async fn until_all_are_led(sandbox: &Sandbox, gone: StoreId) {
    let client = Client::connect(&[sandbox.pd()], ClientOptions::default()).await;
    let admin = client.expect("the cluster answers").admin();
    let is_led = |info: &RegionInfo| info.leader.is_some_and(|leader| leader.store != gone);
    loop {
        let regions = admin.regions(KeyRange::all(), usize::MAX).await.expect("regions are known");
        if !regions.is_empty() && regions.iter().all(is_led) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The id of the store at this position of the playground.
fn store_id(sandbox: &Sandbox, playground: &Playground, position: usize) -> StoreId {
    let address = playground.note["stores"][position]["address"].as_str().expect("an address");
    let stores = sandbox.json(&["ctl", "stores"]);
    let stores = stores["stores"].as_array().expect("a list");
    let store = stores.iter().find(|store| store["address"] == address).expect("it is known");
    StoreId(store["id"].as_u64().expect("a number"))
}

/// Memory and CPU time of a cluster that nobody asks anything of.
fn describe_idle(playground: &Playground, regions: u64, empty_kib: u64) {
    let process = playground.process.id();
    std::thread::sleep(Duration::from_secs(30));
    let resident = resident_kib(process);
    let before = cpu_seconds(process);
    std::thread::sleep(Duration::from_secs(30));
    let share = (cpu_seconds(process) - before) / 30.0 * 100.0;
    let replica_bytes = resident.saturating_sub(empty_kib) * 1024 / (3 * regions);
    say(&format!(
        "idle: {} MiB resident, {share:.1} % of one core; {replica_bytes} bytes a replica",
        resident / 1024
    ));
}

/// `FLOTILLA_MINUTES` (30 where not given) of load by 64 clients, and the changes of leaders in it.
#[test]
#[ignore = "a measurement: make full-load"]
fn full_load() {
    let minutes = std::env::var("FLOTILLA_MINUTES").unwrap_or_else(|_unset| "30".to_owned());
    let minutes: u64 = minutes.parse().expect("a whole number of minutes");
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &[]);
    let changes = || -> u64 {
        let stores = playground.note["stores"].as_array().expect("a list");
        let status = stores.iter().map(|store| store["status"].as_str().expect("an address"));
        let count = |address| metric(address, "flotilla_raft_leader_changes_total");
        status.map(|address| count(address).expect("it listens")).sum()
    };
    let before = changes();
    assert!(before >= 2, "the first leaders of both regions are counted");
    let duration = format!("{minutes}m");
    let mut command = sandbox.command(&["bench", "mixed", "--duration", &duration]);
    // Before its duration begins, it fills the cluster.
    let patience = Duration::from_secs(minutes * 60) + FILL_PATIENCE;
    let bench = Process::spawn(&mut command).finish_within(patience);
    assert_eq!(bench.code, 0, "{}\n{}", bench.stdout, bench.stderr);
    say(&bench.stdout);
    say(&format!("changes of leaders in {minutes} minutes: {}", changes() - before));
    playground.stop();
}
