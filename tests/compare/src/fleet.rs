//! Three stores and a placement driver of Flotilla, each a process of its own, as etcd's members are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use flotilla_client::{Client, ClientOptions, RawKv};
use serde::Deserialize;
use tokio::process::Command;

use crate::{
    load::Target,
    metrics::{Syncs, scrape},
    nodes::{Node, Scratch, own_host, until},
};

/// A running playground.
#[derive(Debug)]
pub(crate) struct Fleet {
    binary: PathBuf,
    nodes: Vec<Node>,
    status_addresses: Vec<String>,
    target: FleetTarget,
}

/// The part of the ready file that is needed here.
#[derive(Debug, Deserialize)]
struct ReadyFile {
    playground: Ready,
}

#[derive(Debug, Deserialize)]
struct Ready {
    pd: Vec<String>,
    stores: Vec<ReadyStore>,
}

#[derive(Debug, Deserialize)]
struct ReadyStore {
    status: String,
}

/// One client, shared: it routes to the leader by itself.
#[derive(Clone, Debug)]
pub(crate) struct FleetTarget(RawKv);

impl Fleet {
    pub(crate) async fn start(binary: &Path, scratch: &Scratch, connections: u32) -> Result<Self> {
        let ready_file = scratch.path("ready.json");
        let mut command = Command::new(binary);
        command
            .args(["playground", "--processes"])
            .arg("--host")
            .arg(own_host().to_string())
            .arg("--data")
            .arg(scratch.path("data"))
            .arg("--ready-file")
            .arg(&ready_file);
        let mut nodes = vec![Node::start(&mut command, scratch.path("playground.log"))?];
        let ready = until("the playground's start", &mut nodes, async || {
            Ok(serde_json::from_slice::<ReadyFile>(&fs::read(&ready_file)?)?.playground)
        })
        .await?;
        ensure!(ready.stores.len() == 3, "the playground has not three stores");
        let options = ClientOptions {
            connections_per_store: connections as usize,
            ..ClientOptions::default()
        };
        let client = Client::connect(&ready.pd, options).await?;
        Ok(Self {
            binary: binary.to_owned(),
            nodes,
            status_addresses: ready.stores.into_iter().map(|store| store.status).collect(),
            target: FleetTarget(client.raw()),
        })
    }

    pub(crate) fn target(&self) -> FleetTarget {
        self.target.clone()
    }

    /// What the stores have made durable so far, and in how many syncs.
    pub(crate) async fn syncs(&self) -> Result<Syncs> {
        let mut sum = Syncs::default();
        for address in &self.status_addresses {
            let text = scrape(address).await;
            sum.add(&text.with_context(|| format!("no metrics from {address}"))?)?;
        }
        Ok(sum)
    }

    pub(crate) async fn stop(self) -> Result<()> {
        for node in self.nodes {
            let id = node.id().context("the playground has ended by itself")?.to_string();
            let mut stop = Command::new(&self.binary);
            stop.args(["playground", "stop", "--pid", &id]).kill_on_drop(true);
            // Where the polite way fails, `end` takes the other one.
            let asked = stop.output().await?;
            if asked.status.success() { node.end().await? } else { node.kill().await? }
        }
        Ok(())
    }
}

impl Target for FleetTarget {
    fn client(&self, _number: u32) -> Self {
        self.clone()
    }

    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<()> {
        Ok(self.0.put(key, value).await?)
    }

    async fn get(&mut self, key: Bytes) -> Result<Option<Bytes>> {
        Ok(self.0.get(key).await?)
    }
}
