//! A cluster that obeys a script: real sockets and the real protocol, but no replication. One map
//! holds the data; each store refuses, hangs or dies as it is told.

mod pd;
mod store;

use std::{
    collections::{BTreeMap, VecDeque},
    net::TcpListener,
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use flotilla_base::{
    ConfVer, Epoch, KeyRange, Peer, PeerId, Region, RegionId, StoreId, Version, key::guard_border,
};
use flotilla_client::{Client, ClientOptions};
use flotilla_proto::{
    cluster::{HealthResponse, cluster_server::ClusterServer},
    errorpb,
    pdpb::pd_server::PdServer,
    tikvpb::tikv_server::TikvServer,
};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Server, server::Router};

/// What a store does with its next request instead of serving it.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with a region error.
    Refuse(Box<errorpb::Error>),
    /// Answers with a text in the body.
    Reject(&'static str),
    /// Dies before the request is carried out; perhaps it comes back at once.
    DieBefore { comes_back: bool },
    /// Carries the request out and dies before it answers.
    DieAfter { comes_back: bool },
    /// Never answers, and does nothing.
    Hang,
}

/// The number of the placement driver among the nodes.
pub(crate) const PD: u64 = 0;

/// What the fake cluster consists of.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) cluster: u64,
    pub(crate) data: BTreeMap<Bytes, Bytes>,
    /// Regions with the store that leads each.
    pub(crate) regions: Vec<(Region, u64)>,
    /// What the placement driver says instead, where it is behind.
    pub(crate) stale_regions: Option<Vec<(Region, u64)>>,
    /// What it says of stores and regions; `None` where it does not know the question.
    pub(crate) health: Option<HealthResponse>,
    pub(crate) addresses: BTreeMap<u64, String>,
    pub(crate) faults: BTreeMap<u64, VecDeque<Fault>>,
    /// Calls that came in, by method.
    pub(crate) asked: BTreeMap<&'static str, u64>,
    /// Calls that came in, by store.
    pub(crate) asked_at: BTreeMap<u64, u64>,
    /// Writes that were carried out.
    pub(crate) writes: u64,
}

impl World {
    pub(crate) fn count(&mut self, method: &'static str) {
        *self.asked.entry(method).or_default() += 1;
    }
}

enum Power {
    Cut { node: u64, comes_back: bool },
    Stop,
}

/// What nodes share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) world: Arc<Mutex<World>>,
    power: mpsc::Sender<Power>,
}

impl Shared {
    /// Dies: never returns, because its runtime goes away.
    async fn die(&self, node: u64, comes_back: bool) -> ! {
        self.power.send(Power::Cut { node, comes_back }).expect("the switch outlives its nodes");
        std::future::pending().await
    }
}

type Nodes = Arc<Mutex<BTreeMap<u64, Runtime>>>;

/// A fake cluster of one placement driver and three stores.
pub(crate) struct Fake {
    shared: Shared,
    nodes: Nodes,
    switch: Option<JoinHandle<()>>,
}

impl Fake {
    /// One region below the guard, led by store 1.
    pub(crate) fn start() -> Self {
        Self::start_with(1)
    }

    pub(crate) fn start_with(cluster: u64) -> Self {
        let host = own_host();
        let (power, orders) = mpsc::channel();
        let mut addresses: BTreeMap<u64, String> =
            (1..=3).map(|store| (store, format!("{host}:{}", 20160 + store))).collect();
        addresses.insert(PD, format!("{host}:2379"));
        let regions =
            vec![(region(2, "", guard_border(), 1), 1), (region(3, guard_border(), "", 1), 1)];
        let world = World { cluster, regions, addresses, ..World::default() };
        let shared = Shared { world: Arc::new(Mutex::new(world)), power };
        let nodes = Nodes::default();
        for node in 0..=3 {
            nodes.lock().insert(node, start_node(&shared, node));
        }
        let switch = std::thread::spawn({
            let (shared, nodes) = (shared.clone(), Arc::clone(&nodes));
            move || operate(&orders, &shared, &nodes)
        });
        Self { shared, nodes, switch: Some(switch) }
    }

    pub(crate) fn world(&self) -> parking_lot::MutexGuard<'_, World> {
        self.shared.world.lock()
    }

    pub(crate) fn endpoint(&self) -> String {
        self.world().addresses[&PD].clone()
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(ClientOptions::default()).await
    }

    pub(crate) async fn client_with(&self, options: ClientOptions) -> Client {
        Client::connect(&[self.endpoint()], options).await.expect("the fake is up")
    }

    /// Queues faults for a store.
    pub(crate) fn script(&self, store: u64, faults: impl IntoIterator<Item = Fault>) {
        self.world().faults.entry(store).or_default().extend(faults);
    }

    /// Cuts the range below the guard at `keys`; all regions stay with leader 1.
    pub(crate) fn split(&self, keys: &[&'static str]) {
        let mut borders: Vec<Bytes> = vec![Bytes::new()];
        borders.extend(keys.iter().copied().map(Bytes::from));
        borders.extend([guard_border(), Bytes::new()]);
        let version = self.world().regions[0].0.epoch.version.get() + 1;
        let cut = borders.windows(2).zip(2..);
        let regions = cut.map(|(b, id)| (region(id, b[0].clone(), b[1].clone(), version), 1));
        self.world().regions = regions.collect();
    }

    /// Moves the leadership of all regions.
    pub(crate) fn lead(&self, store: u64) {
        self.world().regions.iter_mut().for_each(|(_, leader)| *leader = store);
    }

    /// Kills a node and waits until its sockets are closed.
    pub(crate) async fn kill(&self, node: u64) {
        let runtime = self.nodes.lock().remove(&node);
        tokio::task::spawn_blocking(move || shut_down(runtime)).await.expect("stops");
    }

    /// Starts a node that was killed.
    pub(crate) fn revive(&self, node: u64) {
        let runtime = start_node(&self.shared, node);
        self.nodes.lock().insert(node, runtime);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.power.send(Power::Stop).expect("the switch is there");
        self.switch.take().expect("joined once").join().expect("the switch did not panic");
        for (_, runtime) in std::mem::take(&mut *self.nodes.lock()) {
            runtime.shutdown_background();
        }
    }
}

fn operate(orders: &mpsc::Receiver<Power>, shared: &Shared, nodes: &Nodes) {
    while let Ok(Power::Cut { node, comes_back }) = orders.recv() {
        shut_down(nodes.lock().remove(&node));
        if comes_back {
            nodes.lock().insert(node, start_node(shared, node));
        }
    }
}

fn shut_down(runtime: Option<Runtime>) {
    if let Some(runtime) = runtime {
        runtime.shutdown_timeout(Duration::from_secs(30));
    }
}

fn start_node(shared: &Shared, node: u64) -> Runtime {
    let address = shared.world.lock().addresses[&node].clone();
    let listener = TcpListener::bind(&address).expect("the address is the test's own");
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
    let mut server = Server::builder();
    let router: Router = if node == PD {
        server
            .add_service(PdServer::new(pd::FakePd(shared.clone())))
            .add_service(ClusterServer::new(pd::FakePd(shared.clone())))
    } else {
        let store = store::FakeStore { node, shared: shared.clone() };
        server.add_service(TikvServer::new(store).max_decoding_message_size(16 << 20))
    };
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("non-blocking");
        let served = router.serve_with_incoming(TcpListenerStream::new(listener)).await;
        served.expect("the server runs until its runtime goes away");
    });
    runtime
}

pub(crate) fn region(
    id: u64,
    start: impl Into<Bytes>,
    end: impl Into<Bytes>,
    version: u64,
) -> Region {
    let voter = |store| Peer::voter(PeerId(id * 10 + store), StoreId(store));
    Region {
        id: RegionId(id),
        range: KeyRange::new(start, end),
        epoch: Epoch { version: Version(version), conf_ver: ConfVer(1) },
        peers: (1..=3).map(voter).collect(),
    }
}

fn own_host() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed) + 1;
    let id = process::id();
    format!("127.{}.{}.{number}", 1 + (id >> 8) % 254, id % 256)
}
