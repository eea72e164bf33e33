//! A cluster that is to be hurt: its nodes, what stands between them and their network and disks, the load on it,
//! and the history of both.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use flotilla_base::Rng;
use flotilla_client::Client;
use flotilla_histcheck::{Limits, check};
use tokio::runtime::Runtime;

use crate::{
    churn::{Churn, Interrupted},
    clients::{Load, Plan},
    common::{
        LIVENESS, Sandbox,
        cluster::{Cluster, Place},
        metric, say,
    },
    facilities::{Cage, Facilities},
    ledger::Ledger,
    map,
    network::{Network, Wanted},
    report::{self, Row, Verdict},
    shim::{Shim, Sync},
    volume::{Kind, Volume},
};

/// Small memtables, so that logs are replaced often; and disks that are nearly full may be opened.
const STORE_SETTINGS: &str =
    "[storage]\nmemtable = \"4MiB\"\nlog-memtable = \"4MiB\"\nmin-free-disk = \"1MiB\"\n";
/// Small regions whose snapshots take their time.
const CHURN_SETTINGS: &str = "[region]\nsplit-size = \"1MiB\"\nsnapshot-rate = \"1MiB\"\n";
const PD_SETTINGS: &str = "min-free-disk = \"1MiB\"\n";
/// Successes that show that a cluster is well.
const WELL: u64 = 40;
/// A run of which less succeeds says nothing.
const SUCCESS_PERCENT_MIN: usize = 20;

/// Only syncs of write-ahead logs are meant.
pub(crate) const LOGS: &str = ".log";

/// Why a run proves nothing.
#[derive(Clone, Debug)]
pub(crate) struct Invalid(pub String);

pub(crate) type Outcome = Result<(), Invalid>;

/// What a scenario stands on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) stores: usize,
    /// How many of them hold each key.
    pub(crate) replicas: usize,
    pub(crate) network: Wanted,
    pub(crate) disks: Option<Kind>,
    pub(crate) load: Plan,
    pub(crate) churn: Regions,
}

/// What regions do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regions {
    /// There is one.
    Rest,
    /// They are changed.
    Change,
    /// For so long that faults must meet each kind of change.
    ChangeLong,
}

impl Setup {
    /// Stores that hold all keys, each of them, and have nothing special.
    pub(crate) const fn of(stores: usize, load: Plan) -> Self {
        Self {
            stores,
            replicas: stores,
            network: Wanted::None,
            disks: None,
            load,
            churn: Regions::Rest,
        }
    }

    /// Regions have stores to move to, and are moved.
    pub(crate) const fn churned(load: Plan, churn: Regions) -> Self {
        Self { replicas: 3, churn, ..Self::of(5, load) }
    }
}

/// A node's disk and what is between the two.
#[derive(Debug, Default)]
pub(crate) struct Basis {
    pub(crate) volume: Option<Volume>,
    pub(crate) shim: Option<Shim>,
}

pub(crate) struct Arena {
    pub(crate) scenario: &'static str,
    pub(crate) facilities: Facilities,
    pub(crate) cluster: Cluster,
    pub(crate) network: Network,
    /// Of each node.
    pub(crate) bases: Vec<Basis>,
    pub(crate) rng: Rng,
    pub(crate) runtime: Runtime,
    pub(crate) ledger: Arc<Ledger>,
    /// How many stores hold each key.
    pub(crate) replicas: usize,
    seed: u64,
    started: Instant,
    faults: BTreeMap<String, u32>,
    /// Bytes of logs that were gone after power cuts.
    lost_bytes: u64,
    observer: Client,
    load: Option<Load>,
    churn: Option<Churn>,
}

impl Arena {
    /// Starts a cluster and its clients.
    pub(crate) fn new(
        scenario: &'static str,
        setup: Setup,
        facilities: Facilities,
        cage: Cage,
        seed: u64,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let sandbox = Sandbox::new();
        let network = Network::new(setup.network, 1 + setup.stores, &sandbox, runtime.handle());
        let mut bases = Vec::new();
        let place = |node| {
            let mut place = Place::plain(&sandbox, node);
            bases.push(found(&sandbox, node, &mut place, setup, &facilities));
            network.settle(node, &mut place);
            if cage == Cage::None {
                let die_with_us = ["setpriv", "--pdeathsig", "KILL"].map(str::to_owned);
                place.wrap.splice(0..0, die_with_us);
            }
            place
        };
        let places = (0..=setup.stores).map(place).collect();
        let replicas = u32::try_from(setup.replicas).expect("few");
        let processes = Arc::clone(&network.processes);
        let mut cluster = Cluster::start_at(sandbox, places, replicas, processes);
        for (node, basis) in bases.iter().enumerate() {
            let loaded = basis.shim.as_ref().map(Shim::process);
            let own = cluster.process(node).id();
            assert!(
                loaded.is_none_or(|loaded| loaded == own),
                "node {node} runs without its library"
            );
        }
        let observer = runtime.block_on(cluster.client(LIVENESS));
        // The placement driver knows regions and their leaders once these have told it.
        let _first = leader(&cluster, &observer, &runtime);
        let ledger = Arc::new(Ledger::new());
        let pd = cluster.pd();
        let load = runtime.block_on(Load::start(setup.load, &pd, seed, &ledger));
        assert_ne!(load.serves_followers, Some(false), "followers serve reads within {LIVENESS:?}");
        let churn = (setup.churn != Regions::Rest).then(|| {
            let must_meet_all = setup.churn == Regions::ChangeLong;
            runtime.block_on(Churn::start(&cluster, seed, must_meet_all))
        });
        let (started, rng, faults) = (Instant::now(), Rng::new(seed), BTreeMap::new());
        let load = Some(load);
        Self {
            scenario,
            facilities,
            cluster,
            network,
            bases,
            rng,
            runtime,
            ledger,
            replicas: setup.replicas,
            seed,
            started,
            faults,
            lost_bytes: 0,
            observer,
            load,
            churn,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Something happens: it goes into the history, and to whoever reads along.
    pub(crate) fn note(&self, text: &str) {
        self.ledger.note(text);
        let seconds = self.elapsed().as_secs_f64();
        say(&format!("chaos: {} {seconds:7.2} s: {text}", self.scenario));
    }

    /// A fault of this kind begins.
    pub(crate) fn inject(&mut self, kind: &str, what: &str) {
        *self.faults.entry(kind.to_owned()).or_default() += 1;
        self.churn.iter().for_each(Churn::meets_fault);
        self.note(what);
    }

    /// A power cut took these bytes of logs.
    pub(crate) fn lose(&mut self, bytes: u64) {
        self.lost_bytes += bytes;
    }

    /// Bytes of logs that power cuts took so far.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    pub(crate) fn faults(&self) -> u32 {
        self.faults.values().sum()
    }

    pub(crate) fn draw(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.below(bound as u64)).expect("below the bound")
    }

    /// Draws so many different stores.
    pub(crate) fn draw_stores(&mut self, count: usize) -> Vec<usize> {
        let mut stores: Vec<usize> = self.cluster.stores().collect();
        while stores.len() > count {
            let out = self.draw(stores.len());
            stores.remove(out);
        }
        stores
    }

    /// A store that leads the region under load.
    pub(crate) fn leader(&self) -> usize {
        leader(&self.cluster, &self.observer, &self.runtime)
    }

    /// Where regions are changed, most faults let some of that come to an end first. Meanwhile others begin.
    pub(crate) fn let_regions_move(&mut self) {
        if let Some(churn) = self.churn.as_ref().filter(|_| self.rng.chance(700)) {
            self.runtime.block_on(churn.get_on());
        }
    }

    /// Where regions are changed, the disks of most victims are slow for a while: whatever changes does so in several writes
    /// that wait for each other, and a fault is to find it between two of them.
    pub(crate) fn stretch_changes(&mut self, victims: &[usize]) {
        if self.churn.is_none() || !self.rng.chance(700) {
            return;
        }
        let late = Duration::from_millis(20 + self.rng.below(150));
        self.set_log_syncs(victims, Sync::Late(late));
        let (awaits_split, work) = (self.rng.chance(300), self.rng.below(30));
        if let Some(churn) = &self.churn {
            self.runtime.block_on(churn.get_on());
            if awaits_split {
                self.runtime.block_on(churn.until_split());
            }
        }
        self.progress(1 + work, "with slow disks");
    }

    /// They are dead, and their disks are fast again.
    pub(crate) fn end_stretch(&self, victims: &[usize]) {
        if self.churn.is_some() {
            self.set_log_syncs(victims, Sync::Honest);
        }
    }

    fn set_log_syncs(&self, nodes: &[usize], sync: Sync) {
        let stores = nodes.iter().filter(|node| **node != Cluster::PD);
        for shim in stores.filter_map(|node| self.bases[*node].shim.as_ref()) {
            shim.set(sync, LOGS);
        }
    }

    /// Starts all nodes that are down. Where regions are changed, what stores were in the middle of is counted.
    pub(crate) fn revive_all(&mut self) {
        let down: Vec<usize> =
            self.cluster.stores().filter(|store| !self.cluster.is_up(*store)).collect();
        let Some(churn) = &mut self.churn else { return self.cluster.revive_all() };
        let staged = down.iter().map(|store| staged(&self.cluster.place(*store).data)).sum();
        let mut found = Interrupted { snapshots: staged, ..Interrupted::default() };
        self.cluster.revive_all();
        for store in &down {
            let address = self.cluster.status_address(*store);
            let count = |work: &str| {
                let series = format!("flotilla_store_interrupted{{type=\"{work}\"}}");
                metric(&address, &series).unwrap_or(0)
            };
            let [splits, installs, destroys] = ["split", "install", "destroy"].map(count);
            found.add(Interrupted { splits, installs, destroys, snapshots: 0 });
        }
        churn.found(found);
        self.note(&format!("interrupted: {found}"));
    }

    /// Waits for more successes of clients.
    pub(crate) fn progress(&self, more: u64, what: &str) {
        self.runtime.block_on(self.ledger.progress(more, what));
    }

    /// Nothing is hurt now: all nodes are up, and clients get on.
    pub(crate) fn well(&mut self, when: &str) {
        for node in 0..self.bases.len() {
            let has_ended = self.cluster.process(node).has_ended();
            assert!(!has_ended, "node {node} has ended by itself {when}");
        }
        self.progress(WELL, when);
    }

    /// Reads back everything that was ever written.
    pub(crate) fn read_back(&self) {
        let load = self.load.as_ref().expect("the run goes on");
        self.runtime.block_on(load.read_back());
    }

    /// Whether the history so far, which has no holes, is one that was promised.
    pub(crate) fn is_sound(&self) -> bool {
        check(&self.ledger.history(), Limits::default()).is_sound()
    }

    /// Ends the load, and reads everything back. Where regions were changed, they come to rest as well, and disks hold
    /// what the map says.
    fn come_to_rest(&mut self) -> Outcome {
        let churned = self.churn.take().map(|churn| self.runtime.block_on(churn.end()));
        self.well("at the end");
        let load = self.load.take().expect("the run goes on");
        self.runtime.block_on(load.finish());
        let Some(churned) = churned else { return Ok(()) };
        self.note(&format!("regions were changed: {churned}"));
        if let Err(why) = map::settle_and_compare(self) {
            self.ledger.complain(why);
        }
        churned.ensure_effect()
    }

    /// Ends the load, reads everything back, and judges.
    pub(crate) fn judge(mut self, outcome: Outcome) -> Row {
        let outcome = outcome.and_then(|()| self.come_to_rest());
        // Without effect where all has come to an end. Otherwise a fault was not mended: nobody could be sure of an
        // answer.
        self.ledger.end();
        let history = self.ledger.history();
        let report = check(&history, Limits::default());
        let (ok, failed, unknown) = (report.ok, report.failed, report.unknown);
        let mut broken = self.ledger.complaints();
        if !report.is_sound() || (outcome.is_ok() && report.unread_additions > 0) {
            broken.push(report.to_string());
        }
        let share = 100 * ok / (ok + failed + unknown).max(1);
        let verdict = match outcome {
            _ if !broken.is_empty() => Verdict::Violated(broken.join("\n")),
            Err(Invalid(why)) => Verdict::Invalid(why),
            Ok(()) if self.faults() == 0 => Verdict::Invalid("no fault was injected".to_owned()),
            Ok(()) if share < SUCCESS_PERCENT_MIN => {
                Verdict::Invalid(format!("only {share} of 100 operations succeeded"))
            }
            Ok(()) => Verdict::Passed,
        };
        if verdict != Verdict::Passed {
            report::keep(self.scenario, &history, self.logs());
        }
        Row {
            scenario: self.scenario.to_owned(),
            seed: self.seed,
            seconds: self.elapsed().as_secs(),
            ok,
            failed,
            unknown,
            faults: std::mem::take(&mut self.faults),
            verdict,
        }
    }

    fn logs(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.bases.len()).map(|node| self.cluster.log(node))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if thread::panicking() {
            report::keep(self.scenario, &self.ledger.history(), self.logs());
        }
    }
}

/// Snapshots that a store has on its disk and not in place, whole or not. One that is in place may just be going.
fn staged(data: &Path) -> u64 {
    fs::read_dir(data.join("snap")).map_or(0, |stages| stages.count() as u64)
}

/// Waits until a leader is known.
fn leader(cluster: &Cluster, observer: &Client, runtime: &Runtime) -> usize {
    let deadline = Instant::now() + LIVENESS;
    while Instant::now() < deadline {
        if let Some(leader) = runtime.block_on(cluster.leader_of(observer, b"r/00")) {
            return leader;
        }
    }
    panic!("no leader is known");
}

/// Lays the ground for a node: a disk, the library in front of it, and settings that fit.
fn found(
    sandbox: &Sandbox,
    node: usize,
    place: &mut Place,
    setup: Setup,
    facilities: &Facilities,
) -> Basis {
    let (name, settings) = match node {
        Cluster::PD => ("pd.toml", PD_SETTINGS.to_owned()),
        _ if setup.churn != Regions::Rest => {
            ("store.toml", [STORE_SETTINGS, CHURN_SETTINGS].concat())
        }
        _ => ("store.toml", STORE_SETTINGS.to_owned()),
    };
    let settings_file = sandbox.path().join(name);
    fs::write(&settings_file, settings).expect("written");
    place.more.extend(["--config".to_owned(), settings_file.display().to_string()]);
    let mut basis = Basis::default();
    if let Some(kind) = setup.disks {
        let volume = Volume::create(kind, &sandbox.path().join(format!("disk-{node}")));
        let volume = volume.expect("the probe of facilities has done the same");
        place.data = volume.directory().join("data");
        basis.volume = Some(volume);
    }
    if let Some(tools) = &facilities.tools {
        let shim = Shim::new(sandbox.path().join(format!("shim-{node}")));
        place.environment.extend(shim.environment(tools));
        basis.shim = Some(shim);
    }
    basis
}
