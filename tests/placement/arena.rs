//! A playground with many small regions, and what is asked of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use flotilla_base::{ByteSize, Peer, PeerRole, RegionId, Rng, StoreId};
use flotilla_client::{
    Admin, Bytes, Client, ClientOptions, KeyRange, RegionChange, RegionInfo, StoreState,
};
use serde_json::Value;
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    common::{LIVENESS, Playground, Sandbox, eventually, http_json, metric},
    moves::Moves,
    spread::Spread,
    traffic::Traffic,
};

/// Between two looks at the cluster, which has other work.
const PAUSE: Duration = Duration::from_millis(100);
/// Parts of the key space that grow at the same time.
const LANES: u64 = 8;
/// A region that is too large is looked at within this time.
const SETTLED: Duration = Duration::from_secs(3);
const VALUE_BYTES: usize = 4 << 10;
/// Keys of one batch.
const BATCH: u64 = 64;

/// How large a scenario is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// About so many regions.
    pub(crate) regions: usize,
    /// Beyond half as much again a region is split.
    pub(crate) region_size: ByteSize,
    /// So long nothing may be moved in the end.
    pub(crate) calm: Duration,
    /// So long it may take until then.
    pub(crate) patience: Duration,
}

/// What else happens while stores come and go. The outcome has to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    None,
    /// The placement driver is killed, and started again, when the first regions have been moved.
    RestartOfPd,
}

/// Scenarios are timed, and each has a whole cluster.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Arena {
    sandbox: Sandbox,
    playground: Playground,
    runtime: Runtime,
    client: Client,
    scale: Scale,
    keys_per_lane: u64,
    pub(crate) moves: Moves,
    /// Where the replicas were before the scenario began.
    stores_before: BTreeMap<RegionId, BTreeSet<StoreId>>,
    /// What nodes had received before the scenario began.
    bytes_before: BTreeMap<String, u64>,
    /// The last to go.
    _turn: MutexGuard<'static, ()>,
}

/// A key of the data.
pub(crate) fn key(lane: u64, number: u64) -> Bytes {
    format!("place/{lane}/{number:08}").into()
}

/// A value that does not get smaller when it is compressed; all are of one size.
pub(crate) fn value(lane: u64, number: u64) -> Bytes {
    let mut rng = Rng::lane(lane, number);
    let words = std::iter::repeat_with(|| rng.next().to_le_bytes());
    words.take(VALUE_BYTES / 8).flatten().collect()
}

impl Arena {
    pub(crate) fn start(stores: u16, scale: &Scale) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let sandbox = Sandbox::new();
        let (stores, size) = (stores.to_string(), scale.region_size.to_string());
        let args = ["--stores", &stores, "--region-size", &size];
        let playground = Playground::start(&sandbox, &args);
        let runtime = Runtime::new().expect("a runtime starts");
        let options = ClientOptions { deadline: LIVENESS, ..ClientOptions::default() };
        let connected = runtime.block_on(Client::connect(&[sandbox.pd()], options));
        let client = connected.expect("the cluster answers");
        let (scale, moves) = (*scale, Moves::default());
        Self {
            sandbox,
            playground,
            runtime,
            client,
            scale,
            keys_per_lane: 0,
            moves,
            stores_before: BTreeMap::new(),
            bytes_before: BTreeMap::new(),
            _turn: turn,
        }
    }

    fn admin(&self) -> Admin {
        self.client.admin()
    }

    /// From now on the placement driver moves nothing by itself.
    pub(crate) fn hold_still(&self) {
        self.set("halt-scheduling", "true");
    }

    /// Changes a setting of the cluster.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.sandbox.ok(&["ctl", "settings", "set", name, value]);
    }

    /// All regions, in the order of their keys.
    pub(crate) fn regions(&self) -> Vec<RegionInfo> {
        let regions = self.admin();
        let regions = self.runtime.block_on(regions.regions(KeyRange::all(), usize::MAX));
        regions.expect("regions are known")
    }

    /// Writes until there are about as many regions as the scale says, and returns when none is split any more.
    pub(crate) fn load(&mut self) {
        let began = Instant::now();
        loop {
            let regions = self.regions().len();
            assert!(began.elapsed() < self.scale.patience, "{regions} regions");
            if regions >= self.scale.regions {
                break;
            }
            // Whoever writes faster than regions are split gets far more of them in the end.
            let room = (regions as u64 + LANES) * self.scale.region_size.bytes() * 3 / 2;
            if self.keys_per_lane * LANES * VALUE_BYTES as u64 > room {
                std::thread::sleep(PAUSE);
            } else {
                self.write_a_batch_for_each_lane();
            }
        }
        self.until_no_region_is_split();
        self.until("each region has a leader", |arena| {
            arena.regions().iter().all(|info| info.leader.is_some())
        });
        // Stores tell the placement driver in turn of what they hold.
        self.until("the figures are those of all regions", |arena| {
            arena.spread().leaders.iter().sum::<u64>() == arena.regions().len() as u64
        });
    }

    fn write_a_batch_for_each_lane(&mut self) {
        let first = self.keys_per_lane;
        self.keys_per_lane += BATCH;
        self.runtime.block_on(async {
            let mut writes = JoinSet::new();
            for lane in 0..LANES {
                let raw = self.client.raw();
                let numbers = first..first + BATCH;
                let pairs = numbers.map(move |number| (key(lane, number), value(lane, number)));
                writes.spawn(async move { raw.batch_put(pairs).await });
            }
            for written in writes.join_all().await {
                written.expect("pairs are written");
            }
        });
    }

    fn until_no_region_is_split(&mut self) {
        let (mut count, mut since) = (0, Instant::now());
        while since.elapsed() < SETTLED {
            let now = self.regions().len();
            if now != count {
                (count, since) = (now, Instant::now());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Clients that read and write what was loaded.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::start(&self.runtime, &self.client, LANES, self.keys_per_lane)
    }

    /// Returns when the placement driver counts all of them as up.
    pub(crate) fn add_stores(&self, count: u16) {
        self.sandbox.ok(&["playground", "add-store", "--count", &count.to_string()]);
    }

    pub(crate) fn kill(&self, node: &str) {
        self.sandbox.ok(&["playground", "kill", node]);
    }

    pub(crate) fn revive(&self, node: &str) {
        self.sandbox.ok(&["playground", "start", node]);
    }

    pub(crate) fn disturb(&mut self, disturbance: Disturbance) {
        if disturbance == Disturbance::RestartOfPd {
            let before = self.moves.count();
            self.until("something is moved", |arena| arena.moves.count() > before + 4);
            self.kill("pd-1");
            self.revive("pd-1");
        }
    }

    /// What each store has, as the placement driver tells tools.
    pub(crate) fn spread(&self) -> Spread {
        Spread::read(&http_json(&self.sandbox.pd(), "/pd/api/v1/stores"))
    }

    /// Waits until what was loaded is in balance. From here on it is counted what is moved.
    pub(crate) fn begin(&mut self) {
        self.until_calm(Instant::now(), SETTLED);
        self.moves.begin_anew();
        self.stores_before = self.stores_of_regions();
        self.bytes_before = self.received_bytes();
    }

    fn stores_of_regions(&self) -> BTreeMap<RegionId, BTreeSet<StoreId>> {
        let regions = self.regions().into_iter().map(|info| info.region);
        regions.map(|it| (it.id, it.peers.iter().map(|peer| peer.store).collect())).collect()
    }

    /// Nothing was moved that had been moved already: of each region as many replicas were made as it has on stores where
    /// it had none.
    pub(crate) fn assert_nothing_moved_twice(&self) {
        let after = self.stores_of_regions();
        let again = self.stores_before.iter().filter_map(|(region, before)| {
            let needed = after.get(region)?.difference(before).count();
            let made = self.moves.copies_of(*region);
            (made.len() > needed).then_some((*region, needed, made))
        });
        let again: Vec<(RegionId, usize, &[String])> = again.collect();
        assert_eq!(again, [], "regions, replicas needed, and made: {}", self.moves);
    }

    /// Bytes of snapshots that living nodes have received since the scenario began.
    pub(crate) fn moved_bytes(&self) -> u64 {
        let before = |node: &String| self.bytes_before.get(node).copied().unwrap_or(0);
        self.received_bytes().iter().map(|(node, now)| now - before(node)).sum()
    }

    /// Bytes that each living node has received as snapshots, by its address.
    fn received_bytes(&self) -> BTreeMap<String, u64> {
        let status = self.sandbox.json(&["playground", "status"]);
        let nodes = status["playground"]["nodes"].as_array().expect("a list");
        let addresses = nodes.iter().filter_map(|node| node["status_address"].as_str());
        let series = "flotilla_snapshot_bytes_total{type=\"received\"}";
        addresses.filter_map(|it| Some((it.to_owned(), metric(it, series)?))).collect()
    }

    /// Has a region changed.
    pub(crate) fn change(&self, region: RegionId, change: RegionChange) {
        let asked = self.runtime.block_on(self.admin().change_region(region, change));
        asked.expect("it is taken");
    }

    /// One with data.
    pub(crate) fn a_region(&self) -> RegionInfo {
        let holds_data = |info: &RegionInfo| info.region.range.contains(&key(0, 0));
        self.regions().into_iter().find(holds_data).expect("each key has a region")
    }

    /// The id of a node of the playground.
    pub(crate) fn store_id(&self, node: &str) -> StoreId {
        let status = self.sandbox.json(&["playground", "status"]);
        let nodes = status["playground"]["nodes"].as_array().expect("a list");
        let found = nodes.iter().find(|found| found["name"] == node).expect("it is known");
        StoreId(number(&found["store_id"]))
    }

    /// Has a store that is down removed for good, as soon as the placement driver takes it for down.
    pub(crate) fn remove(&self, store: StoreId) {
        let id = store.to_string();
        eventually("it is removed", || {
            self.sandbox.run(&["ctl", "store", "remove", &id, "--yes"]).code == 0
        });
    }

    /// Has a store emptied that works.
    pub(crate) fn drain(&self, store: StoreId) {
        self.sandbox.ok(&["ctl", "store", "drain", &store.to_string(), "--yes"]);
    }

    /// Whether a store is a tombstone.
    pub(crate) fn is_buried(&self, store: StoreId) -> bool {
        let stores = self.runtime.block_on(self.admin().stores());
        stores.is_ok_and(|stores| {
            stores.iter().any(|it| it.id == store && it.state == StoreState::Tombstone)
        })
    }

    /// The label `zone` of each store.
    pub(crate) fn zones(&self) -> BTreeMap<StoreId, String> {
        let answer = http_json(&self.sandbox.pd(), "/pd/api/v1/stores");
        let stores = answer["stores"].as_array().expect("a list").iter().map(|it| &it["store"]);
        let zone_of = |store: &Value| {
            let labels = store["labels"].as_array()?;
            let zone = labels.iter().find(|label| label["key"] == "zone")?["value"].as_str()?;
            Some((StoreId(number(&store["id"])), zone.to_owned()))
        };
        stores.filter_map(zone_of).collect()
    }

    /// Whether each region has three voters that answer, all of them where they may be.
    pub(crate) fn all_have_three_voters(&self, may_be: impl Fn(&Peer) -> bool) -> bool {
        let is_fine = |peer: &Peer| peer.role == PeerRole::Voter && may_be(peer);
        self.regions().iter().all(|info| {
            let peers = &info.region.peers;
            peers.len() == 3 && info.down.is_empty() && peers.iter().all(is_fine)
        })
    }

    /// The store that came last.
    pub(crate) fn newest_store(&self) -> StoreId {
        let stores = self.runtime.block_on(self.admin().stores()).expect("stores are known");
        stores.iter().map(|store| store.id).max().expect("there are some")
    }

    /// Looks at the operators again; whether none is under way. `false` where the placement driver does not answer.
    pub(crate) fn look(&mut self) -> bool {
        match self.runtime.block_on(self.admin().operators()) {
            Ok(operators) => {
                self.moves.take(&operators.ended);
                operators.running.is_empty()
            }
            Err(_it_starts) => false,
        }
    }

    /// Waits for a condition, for as long as the scale allows; the operators are looked at meanwhile.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        loop {
            self.look();
            if is_so(self) {
                return;
            }
            let (patience, spread) = (self.scale.patience, self.spread());
            assert!(began.elapsed() < patience, "{what}: not within {patience:?}: {spread:?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether nothing is being done to regions.
    pub(crate) fn is_idle(&self) -> bool {
        let operators = self.runtime.block_on(self.admin().operators());
        operators.is_ok_and(|operators| operators.running.is_empty())
    }

    /// Waits until everything is in balance and nothing was moved for as long as `calm`. The time from `began` to the
    /// last move.
    pub(crate) fn until_calm(&mut self, began: Instant, calm: Duration) -> Duration {
        let patience = self.scale.patience;
        let (mut last, mut moved) = (Instant::now(), self.moves.count());
        loop {
            let is_idle = self.look();
            let spread = self.spread();
            if self.moves.count() != moved || !is_idle || !spread.is_balanced() {
                (last, moved) = (Instant::now(), self.moves.count());
            }
            if last.elapsed() >= calm {
                return last - began;
            }
            let moves = &self.moves;
            assert!(began.elapsed() < patience, "no calm within {patience:?}: {moves}: {spread:?}");
            std::thread::sleep(PAUSE);
        }
    }

    pub(crate) fn stop(self) {
        self.playground.stop();
    }
}

/// A whole number of a JSON object, zero where it has none.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
