//! A cluster of stores and a placement driver in the process of the test.

use std::{collections::BTreeMap, path::Path, time::Duration};

use flotilla_base::{Family, KeyRange, KvRead as _, Region, ScanDirection};
use flotilla_client::{Client, ClientOptions};
use flotilla_engine::{Engine, EngineOptions};
use flotilla_pd::{Pd, PdConfig};
use flotilla_store::{RequestHeader, Store, StoreConfig};
use flotilla_telemetry::Registry;

use super::Sandbox;

pub struct Cluster {
    pub sandbox: Sandbox,
    pub stores: Vec<Store>,
    pub pd: Pd,
    pub runtime: tokio::runtime::Runtime,
}

impl Cluster {
    /// Three stores whose settings are the usual ones but for what `change` makes of them.
    pub fn start(change: impl Fn(&mut StoreConfig)) -> Self {
        Self::of(3, change)
    }

    /// So many stores.
    pub fn of(stores: usize, change: impl Fn(&mut StoreConfig)) -> Self {
        let sandbox = Sandbox::new();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let address = |port: u16| format!("{}:{port}", sandbox.host).parse().expect("an address");
        let config = PdConfig::new("pd-1", sandbox.path().join("pd-1"), address(2379));
        let pd = runtime.block_on(Pd::start(config, &Registry::new())).expect("pd starts");
        let stores = (0..stores).map(|position| start_store(&sandbox, position, &change)).collect();
        Self { sandbox, stores, pd, runtime }
    }

    /// Kills the store at this position, and starts it again on what it has on disk.
    #[allow(dead_code, reason = "not every test program does it")]
    pub fn kill_and_start(&mut self, position: usize, change: impl Fn(&mut StoreConfig)) {
        self.stores.remove(position).kill();
        self.stores.insert(position, start_store(&self.sandbox, position, &change));
    }

    /// Starts one more store, with the directory and the ports of this position.
    #[allow(dead_code, reason = "not every test program does it")]
    pub fn start_at(&mut self, position: usize, change: impl Fn(&mut StoreConfig)) {
        self.stores.push(start_store(&self.sandbox, position, &change));
    }

    /// A client that knows nothing yet.
    pub fn client(&self) -> Client {
        let options =
            ClientOptions { deadline: Duration::from_secs(30), ..ClientOptions::default() };
        let pd = [self.sandbox.pd()];
        self.runtime.block_on(Client::connect(&pd, options)).expect("the cluster answers")
    }

    /// From now on the placement driver moves nothing by itself.
    #[allow(dead_code, reason = "not every test program does it")]
    pub fn hold_still(&self) {
        self.set("schedule.halt-scheduling", "true");
    }

    /// From now on it mends regions and moves nothing else.
    #[allow(dead_code, reason = "not every test program does it")]
    pub fn only_mend(&self) {
        self.set("schedule.region-schedule-limit", "0");
    }

    fn set(&self, name: &str, value: &str) {
        let setting = (name.to_owned(), Some(value.to_owned()));
        let client = self.client();
        self.runtime.block_on(client.admin().set_settings(&[setting])).expect("it is recorded");
    }

    /// A figure of the store at this position, since it started; zero where it does not answer.
    #[allow(dead_code, reason = "not every test program does it")]
    pub fn figure(&self, position: usize, series: &str) -> u64 {
        let status = format!("{}:{}", self.sandbox.host, 20180 + position);
        super::metric(&status, series).unwrap_or(0)
    }

    /// Whether the store at this position has applied all that was acknowledged.
    #[allow(dead_code, reason = "not every test program does it")]
    pub fn has_caught_up(&self, position: usize) -> bool {
        let router = self.stores[position].router();
        let is_at_the_end = |region: &Region| {
            let header =
                RequestHeader { version: region.epoch.version, ..RequestHeader::default() };
            let reply = self.runtime.block_on(router.replica_barrier(region.id, header));
            format!("{reply:?}").starts_with("ReadAt")
        };
        router.regions().iter().all(is_at_the_end)
    }

    /// Ends all of it; the directories are there as long as what is returned.
    pub fn stop(self) -> Sandbox {
        for store in self.stores {
            store.shutdown();
        }
        self.runtime.block_on(self.pd.shutdown()).expect("pd stops");
        self.sandbox
    }
}

/// Keys and their values.
pub type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// All raw data of a store that has stopped.
#[allow(dead_code, reason = "not every test program does it")]
pub fn data_of(store: &Path) -> Pairs {
    let [data] = families_of(store, [Family::Raw]);
    data
}

/// All that is in these families of a store that has stopped.
pub fn families_of<const COUNT: usize>(store: &Path, families: [Family; COUNT]) -> [Pairs; COUNT] {
    let engine = Engine::open(&store.join("db"), &EngineOptions::default()).expect("opened");
    families.map(|family| {
        let mut pairs = Pairs::new();
        engine
            .scan(family, &KeyRange::all(), ScanDirection::Forward, &mut |key, value| {
                pairs.insert(key.to_vec(), value.to_vec());
                true
            })
            .expect("read");
        pairs
    })
}

fn start_store(sandbox: &Sandbox, position: usize, change: &impl Fn(&mut StoreConfig)) -> Store {
    let data = sandbox.path().join(format!("store-{}", position + 1));
    let mut config = StoreConfig::new(data, vec![sandbox.pd()]);
    let address = |port: usize| format!("{}:{port}", sandbox.host).parse().expect("an address");
    (config.listen, config.status_listen) = (address(20160 + position), address(20180 + position));
    change(&mut config);
    Store::start(config).expect("a store starts")
}
