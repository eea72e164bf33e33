//! A cluster of processes that a test starts, kills and starts again, each by itself.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use flotilla_client::{Client, ClientOptions};
use parking_lot::Mutex;

use super::{FLOTILLA, Process, Sandbox};

/// How many stores hold each key.
const REPLICAS: u32 = 3;

/// Where a node lives, and how it is started.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address that it listens on.
    pub host: String,
    /// `host:port` under which the others reach it, where that is not where it listens.
    pub advertise: Option<String>,
    pub data: PathBuf,
    /// Words in front of the program: a command that runs it.
    pub wrap: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Further arguments.
    pub more: Vec<String>,
}

/// The last process of each node, for those who have to know it as soon as it is started.
pub type Processes = Arc<Mutex<BTreeMap<usize, u32>>>;

/// One placement driver and some stores.
#[derive(Debug)]
pub struct Cluster {
    pub sandbox: Sandbox,
    replicas: u32,
    /// The placement driver first, as in `nodes`.
    places: Vec<Place>,
    /// `None` for what is down.
    nodes: Vec<Option<Process>>,
    processes: Processes,
}

impl Cluster {
    /// The placement driver among the nodes.
    pub const PD: usize = 0;

    /// Starts everything and returns when all nodes serve.
    pub fn start(stores: usize) -> Self {
        let sandbox = Sandbox::new();
        let places = (0..=stores).map(|position| Place::plain(&sandbox, position)).collect();
        let replicas = REPLICAS.min(u32::try_from(stores).expect("few"));
        Self::start_at(sandbox, places, replicas, Processes::default())
    }

    /// Starts everything at these places, the placement driver's first, and returns when all nodes serve.
    pub fn start_at(
        sandbox: Sandbox,
        places: Vec<Place>,
        replicas: u32,
        processes: Processes,
    ) -> Self {
        let nodes = places.iter().map(|_| None).collect();
        let mut cluster = Self { sandbox, replicas, places, nodes, processes };
        cluster.revive_all();
        cluster
    }

    /// One store more, where there is room; returns when it serves.
    pub fn join(&mut self) {
        let position = self.nodes.len();
        self.places.push(Place::plain(&self.sandbox, position));
        self.nodes.push(None);
        self.revive(position);
    }

    pub fn stores(&self) -> std::ops::Range<usize> {
        1..self.nodes.len()
    }

    /// Where others reach the placement driver.
    pub fn pd(&self) -> String {
        self.places[Self::PD].reached_at(2379)
    }

    /// Where others reach the store at `position`.
    pub fn store_address(&self, position: usize) -> String {
        self.places[position].reached_at(20159 + position)
    }

    /// Where the store at `position` shows its metrics.
    pub fn status_address(&self, position: usize) -> String {
        format!("{}:{}", self.places[position].host, 20179 + position)
    }

    pub fn place(&self, position: usize) -> &Place {
        &self.places[position]
    }

    pub fn log(&self, position: usize) -> PathBuf {
        self.sandbox.path().join(format!("node-{position}.log"))
    }

    fn args(&self, position: usize) -> Vec<String> {
        let Place { host, advertise, data, more, .. } = &self.places[position];
        let (data, log) = (data.display().to_string(), self.log(position).display().to_string());
        let replicas = self.replicas.to_string();
        let pd = self.pd();
        let (listen, status) =
            (format!("{host}:{}", 20159 + position), self.status_address(position));
        let pd_listen = format!("{host}:2379");
        let own: Vec<&str> = if position == Self::PD {
            vec!["pd", "--listen", &pd_listen, "--max-replicas", &replicas]
        } else {
            vec!["store", "--pd", &pd, "--listen", &listen, "--status-listen", &status]
        };
        let common = ["--data", &data, "--log-file", &log, "--exit-on-stdin-eof"];
        let mut args: Vec<String> = own.into_iter().chain(common).map(str::to_owned).collect();
        if let Some(advertise) = advertise {
            args.extend(["--advertise".to_owned(), advertise.clone()]);
        }
        args.extend(more.iter().cloned());
        args
    }

    fn spawn(&mut self, position: usize) {
        let place = &self.places[position];
        let mut words = place.wrap.iter().map(String::as_str).chain([FLOTILLA]);
        let mut command = Command::new(words.next().expect("at least the program"));
        command.args(words).args(self.args(position));
        self.sandbox.settle(&mut command);
        command.envs(place.environment.iter().cloned()).stdin(Stdio::piped());
        let process = Process::spawn(&mut command);
        self.processes.lock().insert(position, process.id());
        self.nodes[position] = Some(process);
    }

    fn wait_until_serving(&mut self, position: usize) {
        let process = self.nodes[position].as_mut().expect("spawned");
        process.line_with("serves on");
    }

    /// The process of a node that is up.
    #[track_caller]
    pub fn process(&mut self, position: usize) -> &mut Process {
        let node = self.nodes[position].as_mut();
        node.unwrap_or_else(|| panic!("node {position} is down"))
    }

    pub fn is_up(&self, position: usize) -> bool {
        self.nodes[position].is_some()
    }

    /// Ends a node with SIGKILL, and returns when it is gone.
    pub fn kill(&mut self, position: usize) {
        if let Some(mut process) = self.nodes[position].take() {
            assert!(!process.has_ended(), "node {position} had ended by itself");
            process.kill();
        }
    }

    /// Ends all nodes with SIGKILL; each signal is sent before any end is waited for.
    pub fn kill_all(&mut self) {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.kill_at_once(&all);
    }

    /// The same for some nodes, which may have ended by themselves.
    pub fn kill_at_once(&mut self, positions: &[usize]) {
        for position in positions {
            if let Some(node) = &self.nodes[*position] {
                node.signal("KILL");
            }
        }
        for position in positions {
            drop(self.nodes[*position].take());
        }
    }

    /// Waits until a node has ended by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self, position: usize) -> ExitStatus {
        let status = self.process(position).wait();
        self.nodes[position] = None;
        status
    }

    /// Ends all stores in order, all at the same time, and returns when they are gone.
    #[track_caller]
    pub fn stop_stores(&mut self) {
        for position in self.stores() {
            self.process(position).signal("TERM");
        }
        for position in self.stores() {
            let status = self.wait_for_end(position);
            assert!(status.success(), "store {position} does not end in order: {status}");
        }
    }

    /// How a node has ended by itself, if it has.
    pub fn end_of(&mut self, position: usize) -> Option<ExitStatus> {
        let has_ended = self.process(position).has_ended();
        has_ended.then(|| self.wait_for_end(position))
    }

    /// Starts a node that is down, and returns when it serves.
    pub fn revive(&mut self, position: usize) {
        self.spawn(position);
        self.wait_until_serving(position);
    }

    /// Starts all nodes that are down, at once.
    pub fn revive_all(&mut self) {
        let down: Vec<usize> =
            (0..self.nodes.len()).filter(|position| self.nodes[*position].is_none()).collect();
        for position in &down {
            self.spawn(*position);
        }
        for position in down {
            self.wait_until_serving(position);
        }
    }

    /// A client with this much time for each call.
    pub async fn client(&self, deadline: Duration) -> Client {
        let options = ClientOptions { deadline, ..ClientOptions::default() };
        Client::connect(&[self.pd()], options).await.expect("the cluster answers")
    }

    /// Which node leads the region of `key`.
    pub async fn leader_of(&self, client: &Client, key: &[u8]) -> Option<usize> {
        let stores = client.admin().stores().await.ok()?;
        let mut end = key.to_vec();
        end.push(0);
        let range = flotilla_client::KeyRange::new(key.to_vec(), end);
        let regions = client.admin().regions(range, 1).await.ok()?;
        let leader = regions.first()?.leader?.store;
        let address = &stores.iter().find(|store| store.id == leader)?.address;
        self.stores().find(|position| self.store_address(*position) == *address)
    }
}

impl Place {
    /// A node that is no different from others, in a directory of the sandbox.
    pub fn plain(sandbox: &Sandbox, position: usize) -> Self {
        Self {
            host: sandbox.host.clone(),
            advertise: None,
            data: sandbox.path().join(format!("node-{position}")),
            wrap: Vec::new(),
            environment: Vec::new(),
            more: Vec::new(),
        }
    }

    fn reached_at(&self, port: usize) -> String {
        self.advertise.clone().unwrap_or_else(|| format!("{}:{port}", self.host))
    }
}
