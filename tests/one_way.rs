//! A cluster in one process whose connections lose messages in one direction only: a follower that is
//! cut off and comes back changes neither term nor leader, and no request fails or is even repeated.
//!
//! The simulator proves the same exactly, in virtual time; this test proves that the real transport and
//! the real clocks are wired to the same rules.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

use common::Sandbox;
use flotilla_base::StoreId;
use flotilla_client::{Client, ClientOptions, KeyRange};
use flotilla_pd::{Pd, PdConfig};
use flotilla_store::{Store, StoreConfig};
use flotilla_telemetry::Registry;

/// Longer than two gates: a follower that could start an election would have done so.
const CUT: Duration = Duration::from_secs(2);

/// What is counted. A replica that hears nothing only asks whether it would be voted for.
const PRE_VOTES: &str = "flotilla_raft_elections_total{type=\"pre-vote\"}";
const VOTES: &str = "flotilla_raft_elections_total{type=\"vote\"}";
const LEADS: &str = "flotilla_raft_leader_changes_total{";

struct Cluster {
    sandbox: Sandbox,
    stores: Vec<Store>,
    pd: Pd,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let address = |port: u16| format!("{}:{port}", sandbox.host).parse().expect("an address");
        let config = PdConfig::new("pd-1", sandbox.path().join("pd-1"), address(2379));
        let pd = runtime.block_on(Pd::start(config, &Registry::new())).expect("pd starts");
        let start = |number: u16| {
            let data = sandbox.path().join(format!("store-{number}"));
            let config = StoreConfig::new(data, vec![sandbox.pd()]);
            let (listen, status_listen) = (address(20159 + number), address(20179 + number));
            Store::start(StoreConfig { listen, status_listen, ..config }).expect("a store starts")
        };
        let stores = (1..=3).map(start).collect();
        Self { sandbox, stores, pd, runtime }
    }

    fn client(&self) -> Client {
        let options =
            ClientOptions { deadline: Duration::from_secs(30), ..ClientOptions::default() };
        let pd = [self.sandbox.pd()];
        self.runtime.block_on(Client::connect(&pd, options)).expect("the cluster answers")
    }

    /// Who leads each region. Every region has a leader by now.
    fn leaders(&self, client: &Client) -> Vec<StoreId> {
        let regions = self.runtime.block_on(client.admin().regions(KeyRange::all(), 16));
        let regions = regions.expect("regions are known");
        regions.iter().map(|region| region.leader.expect("somebody leads").store).collect()
    }

    /// The sum of the series that begin with `series` at the store at this position, since it started.
    fn count(&self, position: usize, series: &str) -> u64 {
        let port = 20180 + u16::try_from(position).expect("few stores");
        let mut status = TcpStream::connect((self.sandbox.host.as_str(), port))
            .expect("the status server listens");
        status
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .expect("it takes a request");
        let mut text = String::new();
        status.read_to_string(&mut text).expect("metrics are text");
        let value = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok());
        text.lines().filter(|line| line.starts_with(series)).filter_map(value).sum()
    }

    /// Votes asked for and leads taken, over all stores and regions since they started.
    fn elections(&self) -> [u64; 2] {
        [VOTES, LEADS]
            .map(|series| (0..self.stores.len()).map(|position| self.count(position, series)).sum())
    }

    /// Writes and reads until `end`; each must succeed at the first attempt.
    fn use_until(&self, client: &Client, end: Instant) {
        let raw = client.raw();
        self.runtime.block_on(async {
            let mut number = 0_u64;
            while Instant::now() < end {
                let (key, value) = (format!("k{}", number % 10), number.to_string());
                raw.put(key.clone(), value.clone()).await.expect("a put succeeds");
                let found = raw.get(key).await.expect("a get succeeds");
                assert_eq!(found.as_deref(), Some(value.as_bytes()));
                number += 1;
            }
        });
    }

    fn stop(self) {
        for store in self.stores {
            store.shutdown();
        }
        self.runtime.block_on(self.pd.shutdown()).expect("pd stops");
    }
}

#[test]
fn a_follower_that_was_cut_off_changes_nothing() {
    let cluster = Cluster::start();
    let client = cluster.client();
    cluster.use_until(&client, Instant::now() + Duration::from_millis(200));
    let leaders = cluster.leaders(&client);
    let follows = |store: &&Store| !leaders.contains(&store.id());
    let position = cluster.stores.iter().position(|store| follows(&store));
    let position = position.expect("two regions, three stores");
    let follower = &cluster.stores[position];
    let (elections, repetitions) = (cluster.elections(), repetitions(&client));
    assert!(elections.iter().all(|count| *count > 0), "the first leaders: {elections:?}");
    let own = follower.id();
    type Loses = fn(StoreId, StoreId, StoreId) -> bool;
    let cuts: [(&str, bool, Loses); 3] = [
        ("hears nothing", true, |own, _from, to| to == own),
        ("is heard by nobody", false, |own, from, _to| from == own),
        ("both", true, |own, from, to| from == own || to == own),
    ];
    for (name, is_deaf, loses) in cuts {
        let (lost, pre_votes) = (Arc::new(AtomicU64::new(0)), cluster.count(position, PRE_VOTES));
        let counter = Arc::clone(&lost);
        let filter = move |from, to, _: &_| {
            let is_lost = loses(own, from, to);
            counter.fetch_add(u64::from(is_lost), Ordering::Relaxed);
            !is_lost
        };
        follower.peers().set_filter(Some(Arc::new(filter)));
        cluster.use_until(&client, Instant::now() + CUT);
        follower.peers().set_filter(None);
        assert!(lost.load(Ordering::Relaxed) > 0, "{name}: nothing was cut");
        let asked = cluster.count(position, PRE_VOTES) - pre_votes;
        assert!(asked > 0 || !is_deaf, "{name}: it did not even miss its leaders");
        cluster.use_until(&client, Instant::now() + CUT);
        assert_eq!(cluster.elections(), elections, "{name}: somebody asked for votes");
        assert_eq!(cluster.leaders(&client), leaders, "{name}: the lead moved");
        assert_eq!(repetitions, self::repetitions(&client), "{name}: a request was repeated");
    }
    cluster.stop();
}

fn repetitions(client: &Client) -> u64 {
    client.stats().all_retries().map(|(_, count)| count).sum()
}
