//! A cluster of three stores and a placement driver in the process of the test.

use std::time::Duration;

use flotilla_client::{Client, ClientOptions};
use flotilla_pd::{Pd, PdConfig};
use flotilla_store::{Store, StoreConfig};
use flotilla_telemetry::Registry;

use super::Sandbox;

pub struct Cluster {
    pub sandbox: Sandbox,
    pub stores: Vec<Store>,
    pub pd: Pd,
    pub runtime: tokio::runtime::Runtime,
}

impl Cluster {
    /// Stores whose settings are the usual ones but for what `change` makes of them.
    pub fn start(change: impl Fn(&mut StoreConfig)) -> Self {
        let sandbox = Sandbox::new();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let address = |port: u16| format!("{}:{port}", sandbox.host).parse().expect("an address");
        let config = PdConfig::new("pd-1", sandbox.path().join("pd-1"), address(2379));
        let pd = runtime.block_on(Pd::start(config, &Registry::new())).expect("pd starts");
        let stores = (0..3).map(|position| start_store(&sandbox, position, &change)).collect();
        Self { sandbox, stores, pd, runtime }
    }

    /// Kills the store at this position, and starts it again on what it has on disk.
    #[allow(dead_code, reason = "not every test program does it")]
    pub fn kill_and_start(&mut self, position: usize, change: impl Fn(&mut StoreConfig)) {
        self.stores.remove(position).kill();
        self.stores.insert(position, start_store(&self.sandbox, position, &change));
    }

    /// A client that knows nothing yet.
    pub fn client(&self) -> Client {
        let options =
            ClientOptions { deadline: Duration::from_secs(30), ..ClientOptions::default() };
        let pd = [self.sandbox.pd()];
        self.runtime.block_on(Client::connect(&pd, options)).expect("the cluster answers")
    }

    pub fn stop(self) {
        for store in self.stores {
            store.shutdown();
        }
        self.runtime.block_on(self.pd.shutdown()).expect("pd stops");
    }
}

fn start_store(sandbox: &Sandbox, position: usize, change: &impl Fn(&mut StoreConfig)) -> Store {
    let data = sandbox.path().join(format!("store-{}", position + 1));
    let mut config = StoreConfig::new(data, vec![sandbox.pd()]);
    let address = |port: usize| format!("{}:{port}", sandbox.host).parse().expect("an address");
    (config.listen, config.status_listen) = (address(20160 + position), address(20180 + position));
    change(&mut config);
    Store::start(config).expect("a store starts")
}
