//! A cluster of processes that a test starts, kills and starts again, each by itself.

use std::{path::PathBuf, process::Stdio, time::Duration};

use flotilla_client::{Client, ClientOptions};

use super::{Process, Sandbox};

/// How many stores hold each key.
const REPLICAS: u32 = 3;

/// One placement driver and some stores.
#[derive(Debug)]
pub struct Cluster {
    pub sandbox: Sandbox,
    /// The placement driver first; `None` for what is down.
    nodes: Vec<Option<Process>>,
}

impl Cluster {
    /// The placement driver among the nodes.
    pub const PD: usize = 0;

    /// Starts everything and returns when all nodes serve.
    pub fn start(stores: usize) -> Self {
        let sandbox = Sandbox::new();
        let nodes = (0..=stores).map(|_| None).collect();
        let mut cluster = Self { sandbox, nodes };
        cluster.revive_all();
        cluster
    }

    pub fn stores(&self) -> std::ops::Range<usize> {
        1..self.nodes.len()
    }

    /// Where the store at `position` serves.
    pub fn store_address(&self, position: usize) -> String {
        format!("{}:{}", self.sandbox.host, 20159 + position)
    }

    /// Where the store at `position` shows its metrics.
    pub fn status_address(&self, position: usize) -> String {
        format!("{}:{}", self.sandbox.host, 20179 + position)
    }

    pub fn data(&self, position: usize) -> PathBuf {
        self.sandbox.path().join(format!("node-{position}"))
    }

    fn args(&self, position: usize) -> Vec<String> {
        let host = &self.sandbox.host;
        let data = self.data(position).display().to_string();
        let log = self.sandbox.path().join(format!("node-{position}.log")).display().to_string();
        let replicas = REPLICAS.min(u32::try_from(self.nodes.len() - 1).expect("few")).to_string();
        let pd = self.sandbox.pd();
        let (listen, status) = (self.store_address(position), self.status_address(position));
        let pd_listen = format!("{host}:2379");
        let own: Vec<&str> = if position == Self::PD {
            vec!["pd", "--listen", &pd_listen, "--max-replicas", &replicas]
        } else {
            vec!["store", "--pd", &pd, "--listen", &listen, "--status-listen", &status]
        };
        let common = ["--data", &data, "--log-file", &log, "--exit-on-stdin-eof"];
        own.into_iter().chain(common).map(str::to_owned).collect()
    }

    fn spawn(&mut self, position: usize) {
        let mut command = self.sandbox.command(&self.args(position));
        command.stdin(Stdio::piped());
        self.nodes[position] = Some(Process::spawn(&mut command));
    }

    fn wait_until_serving(&mut self, position: usize) {
        let process = self.nodes[position].as_mut().expect("spawned");
        process.line_with("serves on");
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
        for node in self.nodes.iter().flatten() {
            node.signal("KILL");
        }
        for node in &mut self.nodes {
            drop(node.take());
        }
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
        Client::connect(&[self.sandbox.pd()], options).await.expect("the cluster answers")
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
