//! Three members of etcd with default settings.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};

use crate::{
    load::Target,
    nodes::{Node, Scratch, own_host, until},
};

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code follows the generator's taste, and only parts of it trip each lint"
)]
mod protocol {
    tonic::include_proto!("etcdserverpb");
}

use protocol::{
    PutRequest, RangeRequest, StatusRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};

const MEMBERS: usize = 3;

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Etcd {
    nodes: Vec<Node>,
    target: EtcdTarget,
}

/// Connections to the leader.
///
/// All clients speak to the leader alone. That is etcd's best case: calls to another member are
/// forwarded to it.
#[derive(Clone, Debug)]
pub(crate) struct EtcdTarget {
    channels: Vec<Channel>,
    client: KvClient<Channel>,
}

impl Etcd {
    pub(crate) async fn start(binary: &Path, scratch: &Scratch, connections: u32) -> Result<Self> {
        let host = own_host();
        let peer = |member: usize| format!("http://{host}:{}", 2380 + 10 * member);
        let client = |member: usize| format!("http://{host}:{}", 2379 + 10 * member);
        let cluster: Vec<String> =
            (0..MEMBERS).map(|member| format!("m{member}={}", peer(member))).collect();
        let mut nodes = Vec::new();
        for member in 0..MEMBERS {
            let mut command = Command::new(binary);
            command
                .arg("--name")
                .arg(format!("m{member}"))
                .arg("--data-dir")
                .arg(scratch.path(&format!("m{member}")))
                .args(["--initial-cluster", &cluster.join(",")])
                .args(["--listen-peer-urls", &peer(member)])
                .args(["--initial-advertise-peer-urls", &peer(member)])
                .args(["--listen-client-urls", &client(member)])
                .args(["--advertise-client-urls", &client(member)])
                .args(["--log-level", "warn"]);
            nodes.push(Node::start(&mut command, scratch.path(&format!("m{member}.log")))?);
        }
        let urls: Vec<String> = (0..MEMBERS).map(client).collect();
        let leader = until("etcd's first election", &mut nodes, || find_leader(&urls)).await?;
        let mut channels = Vec::new();
        for _connection in 0..connections {
            channels.push(connect(&leader).await?);
        }
        let client = KvClient::new(channels.first().context("no connection")?.clone());
        Ok(Self { nodes, target: EtcdTarget { channels, client } })
    }

    pub(crate) fn target(&self) -> EtcdTarget {
        self.target.clone()
    }

    pub(crate) async fn stop(self) -> Result<()> {
        for node in self.nodes {
            node.kill().await?;
        }
        Ok(())
    }
}

async fn connect(url: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect().await?)
}

/// The leader's address, once all members agree on it.
async fn find_leader(urls: &[String]) -> Result<String> {
    let mut ids = Vec::new();
    let mut leaders = Vec::new();
    for url in urls {
        let mut client = MaintenanceClient::new(connect(url).await?);
        let status = client.status(StatusRequest {}).await?.into_inner();
        ids.push(status.header.context("an answer without a header")?.member_id);
        leaders.push(status.leader);
    }
    ensure!(leaders.iter().all(|leader| *leader == leaders[0]), "the members do not agree yet");
    let position = ids.iter().position(|id| *id == leaders[0]).context("no leader yet")?;
    Ok(urls[position].clone())
}

impl Target for EtcdTarget {
    fn client(&self, number: u32) -> Self {
        let channel = &self.channels[number as usize % self.channels.len()];
        Self { channels: Vec::new(), client: KvClient::new(channel.clone()) }
    }

    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<()> {
        self.client.put(PutRequest { key, value, lease: 0 }).await?;
        Ok(())
    }

    async fn get(&mut self, key: Bytes) -> Result<Option<Bytes>> {
        let answer = self.client.range(RangeRequest { key, serializable: false }).await?;
        Ok(answer.into_inner().kvs.pop().map(|pair| pair.value))
    }
}
