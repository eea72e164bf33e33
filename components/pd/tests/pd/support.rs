//! A placement driver on a loopback address of its own, and clients for it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use flotilla_base::ByteSize;
use flotilla_pd::{Pd, PdConfig};
use flotilla_proto::{
    cluster::{Contact, HealthRequest, cluster_client::ClusterClient},
    metapb, pdpb,
    pdpb::pd_client::PdClient,
    store_link,
    store_link::store_link_client::StoreLinkClient,
};
use flotilla_telemetry::Registry;
use tonic::transport::{Channel, Endpoint};

/// Everything that is waited for comes within this time, or the test fails.
pub(crate) const LIVENESS: Duration = Duration::from_secs(30);

/// An address that no other test of this machine uses at the same time.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let byte = |value: u32| u8::try_from(value % 254 + 1).expect("below 256");
    let host = Ipv4Addr::new(127, byte(process), byte(process / 254), byte(number));
    SocketAddr::from((host, 2379))
}

pub(crate) fn config(dir: &Path, address: SocketAddr, max_replicas: u32) -> PdConfig {
    let free_min = ByteSize::mib(1);
    PdConfig { max_replicas, free_min, ..PdConfig::new("pd-1", dir, address) }
}

pub(crate) async fn start(dir: &Path, address: SocketAddr, max_replicas: u32) -> Result<Pd> {
    Ok(Pd::start(config(dir, address, max_replicas), &Registry::new()).await?)
}

/// All services over one connection.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) pd: PdClient<Channel>,
    pub(crate) link: StoreLinkClient<Channel>,
    pub(crate) cluster: ClusterClient<Channel>,
    pub(crate) cluster_id: u64,
}

impl Clients {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.timeout(LIVENESS);
        let channel = endpoint.connect().await?;
        let mut pd = PdClient::new(channel.clone());
        let members = pd.get_members(pdpb::GetMembersRequest::default()).await?.into_inner();
        let cluster_id = members.header.context("header")?.cluster_id;
        let (link, cluster) = (StoreLinkClient::new(channel.clone()), ClusterClient::new(channel));
        Ok(Self { pd, link, cluster, cluster_id })
    }

    pub(crate) fn header(&self) -> Option<pdpb::RequestHeader> {
        Some(pdpb::RequestHeader { cluster_id: self.cluster_id, ..Default::default() })
    }

    pub(crate) async fn alloc_id(&mut self, count: u32) -> Result<u64> {
        let request = pdpb::AllocIdRequest { header: self.header(), count };
        let response = self.pd.alloc_id(request).await?.into_inner();
        anyhow::ensure!(response.count == count.max(1), "granted {}", response.count);
        Ok(response.id)
    }

    /// Registers a run of a store at `address`.
    pub(crate) async fn register(
        &mut self,
        id: u64,
        address: &str,
        incarnation: u64,
    ) -> Result<store_link::RegisterStoreResponse, tonic::Status> {
        let store = metapb::Store {
            id,
            address: address.to_owned(),
            version: "8.5.0-flotilla-test".to_owned(),
            start_timestamp: 1,
            ..Default::default()
        };
        let request = store_link::RegisterStoreRequest {
            cluster_id: self.cluster_id,
            store: Some(store),
            incarnation,
        };
        Ok(self.link.register_store(request).await?.into_inner())
    }

    /// Registers `count` stores and waits for the first regions.
    pub(crate) async fn bootstrap(&mut self, count: u64) -> Result<Vec<store_link::PlannedRegion>> {
        let mut first = 0;
        for number in 0..count {
            let id = self.alloc_id(1).await?;
            first = if number == 0 { id } else { first };
            self.register(id, &format!("127.0.0.1:{}", 20160 + number), 1).await?;
        }
        let request =
            store_link::AwaitBootstrapRequest { cluster_id: self.cluster_id, store_id: first };
        let plan = self.link.await_bootstrap(request).await?.into_inner();
        anyhow::ensure!(plan.cluster_id == self.cluster_id, "plan of cluster {}", plan.cluster_id);
        Ok(plan.regions)
    }

    /// What is known of each store, by id.
    pub(crate) async fn contacts(&mut self) -> Result<Vec<(u64, Contact)>, tonic::Status> {
        let request = HealthRequest { cluster_id: self.cluster_id };
        let health = self.cluster.health(request).await?.into_inner();
        Ok(health.stores.iter().map(|store| (store.store_id, store.contact())).collect())
    }

    /// Opens a line for a run of a store. It breaks when the answer is dropped.
    pub(crate) async fn keep_line(
        &mut self,
        store_id: u64,
        incarnation: u64,
    ) -> Result<tonic::Streaming<store_link::LineNotice>, tonic::Status> {
        let cluster_id = self.cluster_id;
        let request = store_link::KeepLineRequest { cluster_id, store_id, incarnation };
        Ok(self.link.keep_line(request).await?.into_inner())
    }

    /// Takes `counts` timestamps on one stream that is half-closed at once; one answer for each.
    pub(crate) async fn timestamps(&mut self, counts: &[u32]) -> Result<Vec<pdpb::TsoResponse>> {
        let header = self.header();
        let request =
            |count| pdpb::TsoRequest { header: header.clone(), count, dc_location: String::new() };
        let requests: Vec<_> = counts.iter().copied().map(request).collect();
        let mut stream = self.pd.tso(tokio_stream::iter(requests)).await?.into_inner();
        let mut answers = Vec::new();
        while let Some(answer) = stream.message().await? {
            answers.push(answer);
        }
        Ok(answers)
    }

    /// The largest of `count` timestamps as one number.
    pub(crate) async fn timestamp(&mut self, count: u32) -> Result<i64> {
        let answers = self.timestamps(&[count]).await?;
        let timestamp = answers.first().and_then(|answer| answer.timestamp).context("timestamp")?;
        Ok((timestamp.physical << 18) + timestamp.logical)
    }
}
