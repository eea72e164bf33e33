//! A fourth store joins a cluster that holds data and serves clients, and takes a peer of every region under their load.
//!
//! `FLOTILLA_FILL_BYTES` says how much data, 2 GiB where nothing is said. In each round one of the four stores is without a
//! peer of each region, and gets one; leaders stay where they are, so that nobody asks for a change of leaders.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use flotilla_base::{PeerRole, RegionId, StoreId};
use flotilla_client::{Admin, KeyRange, RegionChange, RegionInfo};
use serde_json::Value;

use super::common::{LIVENESS, Process, cluster::Cluster, metric, say};

const ROUNDS: usize = 3;
const VALUE_BYTES: u64 = 4 << 10;
/// Put clients under way at the same time.
const CLIENTS: &str = "16";
/// How long the load is measured before the moves of a round.
const CALM: &str = "20s";
/// Regions that are moved at the same time, as when a store is emptied.
const MOVES: usize = 8;
/// A load that is ended when the moves are.
const UNTIL_ENDED: &str = "2h";
/// How long all moves of a round, or the writing of the data, may take.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// What clients saw of their puts, in seconds.
struct Latencies {
    p50: f64,
    p99: f64,
    errors: u64,
}

impl Latencies {
    fn read(bench: &str) -> Self {
        let said: Value =
            serde_json::from_str(bench).unwrap_or_else(|why| panic!("{why}: {bench}"));
        let puts = &said["bench"]["results"][0];
        let seconds = |name: &str| puts[name].as_f64().unwrap_or_else(|| panic!("{said}"));
        let errors = puts["errors"].as_u64().unwrap_or_else(|| panic!("{said}"));
        Self { p50: seconds("p50_seconds"), p99: seconds("p99_seconds"), errors }
    }
}

/// One round.
struct Round {
    before: Latencies,
    during: Latencies,
    moves: usize,
    took: Duration,
    snapshot_bytes: u64,
    leader_changes: u64,
}

/// Four stores, the last of which came later.
struct Filled {
    cluster: Cluster,
    runtime: tokio::runtime::Runtime,
    admin: Admin,
    keys: String,
}

fn bytes() -> u64 {
    let said = std::env::var("FLOTILLA_FILL_BYTES").ok();
    said.map_or(2 << 30, |text| text.parse().expect("a whole number of bytes"))
}

fn bench(cluster: &Cluster, workload: &str, keys: &str, duration: &str) -> Process {
    let pd = cluster.pd();
    let value = VALUE_BYTES.to_string();
    let mut command = cluster.sandbox.command(&[
        "bench",
        workload,
        "--pd",
        &pd,
        "--keys",
        keys,
        "--value-size",
        &value,
        "--clients",
        CLIENTS,
        "--duration",
        duration,
        "--keep",
        "-o",
        "json",
    ]);
    Process::spawn(&mut command)
}

impl Filled {
    fn start() -> Self {
        let keys = (bytes() / VALUE_BYTES).max(1).to_string();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let mut cluster = Cluster::start(3);
        let began = Instant::now();
        let filled = bench(&cluster, "get", &keys, "1s").finish_within(PATIENCE);
        assert_eq!(filled.code, 0, "{}\n{}", filled.stdout, filled.stderr);
        say(&format!("{keys} keys of {VALUE_BYTES} bytes written in {:.1?}", began.elapsed()));
        cluster.join();
        let admin = runtime.block_on(cluster.client(LIVENESS)).admin();
        Self { cluster, runtime, admin, keys }
    }

    fn sum(&self, series: &str) -> u64 {
        let figure = |position| metric(&self.cluster.status_address(position), series);
        self.cluster.stores().filter_map(figure).sum()
    }

    fn regions(&self) -> Vec<RegionInfo> {
        let regions = self.admin.regions(KeyRange::all(), usize::MAX);
        self.runtime.block_on(regions).expect("regions are known")
    }

    fn stores(&self) -> BTreeSet<StoreId> {
        let stores = self.runtime.block_on(self.admin.stores()).expect("stores are known");
        stores.iter().map(|store| store.id).collect()
    }

    /// A follower of each region goes to the store that has none of it. How many regions were moved.
    fn move_all(&self) -> usize {
        let stores = self.stores();
        let regions = self.regions();
        let mut waiting: BTreeSet<RegionId> = regions.iter().map(|info| info.region.id).collect();
        let moves = waiting.len();
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "{} regions are not moved", waiting.len());
            let operators = self.runtime.block_on(self.admin.operators()).expect("an answer");
            let room = MOVES.saturating_sub(operators.running.len());
            if waiting.is_empty() && operators.running.is_empty() {
                return moves;
            }
            let mut regions = self.regions();
            regions.retain(|info| waiting.contains(&info.region.id));
            for info in regions.iter().take(room) {
                let Some(change) = wish(info, &stores) else { continue };
                let asked = self.admin.change_region(info.region.id, change);
                // One that has just been split, or elects a leader, is asked again.
                if self.runtime.block_on(asked).is_ok() {
                    waiting.remove(&info.region.id);
                }
            }
            // What is measured goes on meanwhile, and is not to be disturbed by questions.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn round(&self) -> Round {
        let before = bench(&self.cluster, "put", &self.keys, CALM).finish_within(PATIENCE);
        let load = bench(&self.cluster, "put", &self.keys, UNTIL_ENDED);
        let received = || self.sum("flotilla_snapshot_bytes_total{type=\"received\"}");
        let leads = || self.sum("flotilla_raft_leader_changes_total");
        let (bytes_before, leads_before) = (received(), leads());
        let regions_before = self.regions().len() as u64;
        let began = Instant::now();
        let moves = self.move_all();
        let took = began.elapsed();
        load.signal("INT");
        let during = load.finish_within(PATIENCE);
        // The first leader of a region that a split made is none that was elected anew.
        let new_regions = self.regions().len() as u64 - regions_before;
        Round {
            before: Latencies::read(&before.stdout),
            during: Latencies::read(&during.stdout),
            moves,
            took,
            snapshot_bytes: received() - bytes_before,
            leader_changes: (leads() - leads_before).saturating_sub(new_regions),
        }
    }
}

/// The move of a follower to the only store without a peer.
fn wish(info: &RegionInfo, stores: &BTreeSet<StoreId>) -> Option<RegionChange> {
    let leader = info.leader?;
    let is_follower = |role, store| role == PeerRole::Voter && store != leader.store;
    let from = info.region.peers.iter().find(|peer| is_follower(peer.role, peer.store))?.store;
    let to = *stores.iter().find(|store| info.region.peer_on(**store).is_none())?;
    Some(RegionChange::MovePeer { from, to })
}

/// Smallest, middle and largest.
fn spread(label: &str, unit: &str, mut figures: Vec<f64>) -> String {
    figures.sort_by(f64::total_cmp);
    let middle = figures[figures.len() / 2];
    let (first, last) = (figures[0], figures[figures.len() - 1]);
    format!("{label:<32} min {first:.2} {unit}   median {middle:.2} {unit}   max {last:.2} {unit}")
}

#[test]
#[ignore = "a measurement: make fill"]
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn fill() {
    let filled = Filled::start();
    let rounds: Vec<Round> = (0..ROUNDS).map(|_round| filled.round()).collect();
    for round in &rounds {
        let (moves, seconds) = (round.moves, round.took.as_secs_f64());
        let errors = round.before.errors + round.during.errors;
        let changes = round.leader_changes;
        say(&format!(
            "{moves} regions moved in {seconds:.1} s; changes of leaders {changes}, errors {errors}"
        ));
    }
    let all = |figure: &dyn Fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let rate =
        |round: &Round| round.snapshot_bytes as f64 / (1 << 20) as f64 / round.took.as_secs_f64();
    say(&spread("p50 before", "ms", all(&|round| round.before.p50 * 1e3)));
    say(&spread("p50 during", "ms", all(&|round| round.during.p50 * 1e3)));
    say(&spread("p99 before", "ms", all(&|round| round.before.p99 * 1e3)));
    say(&spread("p99 during", "ms", all(&|round| round.during.p99 * 1e3)));
    say(&spread("p99 during, of that before", "times", all(&|r| r.during.p99 / r.before.p99)));
    say(&spread("snapshots", "MiB/s", all(&rate)));
}
