//! A store is removed for good, with the test in the part of the store that leads all regions: it carries out every order
//! and reports what came of it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use flotilla_pd::Pd;
use flotilla_proto::{
    cluster::{Contact, RemoveStoreRequest},
    eraftpb::ConfChangeType,
    metapb::{self, PeerRole},
    pdpb,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::{
    port::{get, send},
    support::{Clients, LIVENESS, own_address, start},
};

/// Stores, and the regions that one of them leads.
struct Played {
    pd: Pd,
    address: SocketAddr,
    clients: Clients,
    stores: Vec<metapb::Store>,
    regions: Vec<metapb::Region>,
    /// The store that leads all of them.
    leader: u64,
    beats: mpsc::Sender<pdpb::RegionHeartbeatRequest>,
    orders: Streaming<pdpb::RegionHeartbeatResponse>,
    dir: TempDir,
}

/// Where a leader reports its regions, and is told what to do.
type Link = (mpsc::Sender<pdpb::RegionHeartbeatRequest>, Streaming<pdpb::RegionHeartbeatResponse>);

async fn link(clients: &mut Clients) -> Result<Link> {
    let (beats, stream) = mpsc::channel(8);
    Ok((beats, clients.pd.region_heartbeat(ReceiverStream::new(stream)).await?.into_inner()))
}

impl Played {
    async fn open(count: u64) -> Result<Self> {
        let (dir, address) = (tempfile::tempdir()?, own_address());
        let pd = start(dir.path(), address, 3).await?;
        let mut clients = Clients::connect(pd.client_url()).await?;
        let planned = clients.bootstrap(count).await?;
        let request = pdpb::GetAllStoresRequest { header: clients.header(), ..Default::default() };
        let stores = clients.pd.get_all_stores(request).await?.into_inner().stores;
        let regions: Vec<_> = planned.into_iter().filter_map(|planned| planned.region).collect();
        let leader = regions[0].peers[0].store_id;
        let (beats, orders) = link(&mut clients).await?;
        let mut played = Self { pd, address, clients, stores, regions, leader, beats, orders, dir };
        played.report_all(None).await?;
        let known = async {
            while get(address, "/pd/api/v1/regions/range-holes").await?.1 != json!([]) {
                tokio::task::yield_now().await;
            }
            Ok::<_, anyhow::Error>(())
        };
        timeout(LIVENESS, known).await??;
        Ok(played)
    }

    /// All but one store report, and the leader its regions.
    async fn report_all(&mut self, dead: Option<u64>) -> Result<()> {
        for store in self.stores.iter().filter(|store| Some(store.id) != dead) {
            let stats = Some(pdpb::StoreStats { store_id: store.id, ..Default::default() });
            let request = pdpb::StoreHeartbeatRequest { header: self.clients.header(), stats };
            self.clients.pd.store_heartbeat(request).await?;
        }
        for at in 0..self.regions.len() {
            self.report(at).await?;
        }
        Ok(())
    }

    async fn report(&self, at: usize) -> Result<()> {
        let region = &self.regions[at];
        let leader = region.peers.iter().find(|peer| peer.store_id == self.leader).copied();
        let beat = pdpb::RegionHeartbeatRequest {
            header: self.clients.header(),
            region: Some(region.clone()),
            leader,
            term: 6,
            ..Default::default()
        };
        Ok(self.beats.send(beat).await?)
    }

    /// A store that holds peers and leads nothing.
    fn follower(&self) -> u64 {
        let mut peers = self.regions[0].peers.iter().map(|peer| peer.store_id);
        peers.find(|store| *store != self.leader).unwrap_or_default()
    }

    /// The store's process ends, and the placement driver sees it.
    async fn kill(&mut self, store: u64) -> Result<()> {
        drop(self.clients.keep_line(store, 1).await?);
        let seen = async {
            loop {
                let contacts = self.clients.contacts().await?;
                if contacts.contains(&(store, Contact::Disconnected)) {
                    return Ok::<_, tonic::Status>(());
                }
                tokio::task::yield_now().await;
            }
        };
        Ok(timeout(LIVENESS, seen).await??)
    }

    async fn delete(&self, store: u64) -> Result<(u16, Value)> {
        let path = format!("/pd/api/v1/store/{store}");
        let (code, body) = send(self.address, "DELETE", &path, "").await?;
        Ok((code, serde_json::from_str(&body).with_context(|| body)?))
    }

    /// Asks for one that is lost.
    async fn delete_lost(&self, store: u64) -> Result<(u16, Value)> {
        let path = format!("/pd/api/v1/store/{store}?force");
        let (code, body) = send(self.address, "DELETE", &path, "").await?;
        Ok((code, serde_json::from_str(&body).with_context(|| body)?))
    }

    async fn refused(&self, store: u64, code: u16, part: &str) -> Result<()> {
        let (actual, text) = self.delete_lost(store).await?;
        let text = text.as_str().with_context(|| text.to_string())?;
        anyhow::ensure!(actual == code && text.contains(part), "{actual} {text} lacks {part:?}");
        Ok(())
    }

    async fn state_of(&self, store: u64) -> Result<String> {
        let (_, body) = get(self.address, &format!("/pd/api/v1/store/{store}")).await?;
        let name = body["store"]["state_name"].as_str();
        Ok(name.with_context(|| body.to_string())?.to_owned())
    }

    /// Carries out the next order that is not void.
    async fn obey(&mut self) -> Result<()> {
        loop {
            let order = timeout(LIVENESS, self.orders.message()).await??.context("an order")?;
            let at = self.regions.iter().position(|region| region.id == order.region_id);
            let at = at.context("a known region")?;
            if self.regions[at].region_epoch == order.region_epoch {
                carry_out(&mut self.regions[at], &order);
                return self.report(at).await;
            }
        }
    }
}

fn carry_out(region: &mut metapb::Region, order: &pdpb::RegionHeartbeatResponse) {
    let settled = |role: PeerRole| match role {
        PeerRole::Voter | PeerRole::IncomingVoter => PeerRole::Voter,
        PeerRole::Learner | PeerRole::DemotingVoter => PeerRole::Learner,
    };
    if let Some(change) = &order.change_peer {
        let peer = change.peer.unwrap_or_default();
        region.peers.retain(|known| known.id != peer.id);
        if change.change_type() != ConfChangeType::RemoveNode {
            region.peers.push(peer);
        }
    } else if let Some(joint) = &order.change_peer_v2 {
        for change in &joint.changes {
            let id = change.peer.unwrap_or_default().id;
            let role = match change.change_type() {
                ConfChangeType::AddNode => PeerRole::IncomingVoter,
                _ => PeerRole::DemotingVoter,
            };
            region.peers.iter_mut().filter(|it| it.id == id).for_each(|it| it.role = role.into());
        }
        if joint.changes.is_empty() {
            region.peers.iter_mut().for_each(|it| it.role = settled(it.role()).into());
        }
    }
    if let Some(epoch) = &mut region.region_epoch {
        epoch.conf_ver += 1;
    }
}

/// What was recorded goes on after a restart of the placement driver, and the address is free in the end.
#[tokio::test]
async fn a_store_that_is_gone_is_replaced() -> Result<()> {
    let mut played = Played::open(4).await?;
    let dead = played.follower();
    let address =
        played.stores.iter().find(|store| store.id == dead).context("it")?.address.clone();
    played.refused(dead, 400, "is up: only a store that is gone").await?;
    played.refused(4711, 404, "4711 not found").await?;
    played.kill(dead).await?;
    let (code, said) = played.delete_lost(dead).await?;
    assert_eq!((code, said), (200, json!("The store is set as Offline.")));
    assert_eq!(played.state_of(dead).await?, "Offline");
    let new = played.clients.alloc_id(1).await?;
    let taken = played.clients.register(new, &address, 1).await.expect_err("it is not free yet");
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert!(taken.message().contains(&format!("store remove {dead}")), "{}", taken.message());
    // A region is on its way, and whoever ordered that is gone.
    played.obey().await?;
    let Played { pd, address: at, stores, regions, leader, dir, .. } = played;
    pd.shutdown().await?;
    let pd = start(dir.path(), at, 3).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let (beats, orders) = link(&mut clients).await?;
    let mut played =
        Played { pd, address: at, clients, stores, regions, leader, beats, orders, dir };
    played.report_all(Some(dead)).await?;
    let holds = |region: &metapb::Region| region.peers.iter().any(|peer| peer.store_id == dead);
    while played.regions.iter().any(holds) {
        assert_eq!(played.state_of(dead).await?, "Offline", "it holds a peer");
        played.obey().await?;
    }
    let buried = async {
        while played.state_of(dead).await? != "Tombstone" {
            tokio::task::yield_now().await;
        }
        Ok::<_, anyhow::Error>(())
    };
    timeout(LIVENESS, buried).await??;
    for region in &played.regions {
        let is_voter = |peer: &metapb::Peer| peer.role() == PeerRole::Voter;
        assert!(region.peers.len() == 3 && region.peers.iter().all(is_voter), "{region:?}");
    }
    let (_, records) = get(played.address, "/pd/api/v1/operators/records").await?;
    let first = records[0].as_str().context("a record")?;
    assert!(first.starts_with("replace-rule-offline-peer {mv peer: store ["), "{first}");
    assert!(first.contains("(kind:replica,region,"), "{first}");
    played.clients.register(new, &address, 1).await?;
    let back = played.clients.register(dead, &address, 2).await.expect_err("it is gone for good");
    assert!(back.message().contains("must stop"), "{}", back.message());
    played.refused(dead, 410, "ErrStoreRemoved").await?;
    Ok(played.pd.shutdown().await?)
}

#[tokio::test]
async fn three_of_three_need_a_new_one_first() -> Result<()> {
    let mut played = Played::open(3).await?;
    let dead = played.follower();
    played.kill(dead).await?;
    played.refused(dead, 400, "2 other stores are up").await?;
    let (cluster_id, store_id) = (played.clients.cluster_id, dead);
    let request = RemoveStoreRequest { cluster_id, store_id };
    let refused = played.clients.cluster.remove_store(request).await.expect_err("by gRPC as well");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("Start a new store first"), "{}", refused.message());
    assert_eq!(played.state_of(dead).await?, "Disconnected", "nothing was changed");
    Ok(played.pd.shutdown().await?)
}

/// It serves meanwhile, can be told to stay, and says how far it is.
#[tokio::test]
async fn a_store_that_is_up_is_drained() -> Result<()> {
    let mut played = Played::open(4).await?;
    let leaving = played.follower();
    let address = played.address;
    let stay = format!("/pd/api/v1/store/{leaving}/state?state=Up");
    let (code, said) = played.delete(leaving).await?;
    assert_eq!((code, said), (200, json!("The store is set as Offline.")));
    assert_eq!(played.state_of(leaving).await?, "Offline");
    let (_, placement) = get(address, "/flotilla/v1/placement").await?;
    let of_it = |placement: &Value| {
        let stores = placement["stores"].as_array().cloned().unwrap_or_default();
        stores.into_iter().find(|store| store["store_id"] == leaving).unwrap_or_default()
    };
    assert_eq!(of_it(&placement)["drain"]["regions_left"], played.regions.len(), "{placement}");
    let (code, progress) = get(address, "/pd/api/v1/stores/progress?action=removing").await?;
    assert_eq!((code, &progress["progress"]), (200, &json!(0.0)), "{progress}");
    let (code, progress) =
        get(address, &format!("/pd/api/v1/stores/progress?id={leaving}")).await?;
    assert_eq!((code, &progress["store_id"]), (200, &json!(leaving)), "{progress}");
    let (code, said) = send(address, "POST", &stay, "").await?;
    assert_eq!((code, said.as_str()), (200, "\"The store's state is updated.\""));
    assert_eq!(played.state_of(leaving).await?, "Up");
    assert_eq!(get(address, "/pd/api/v1/stores/progress?action=removing").await?.0, 404);
    let (_, placement) = get(address, "/flotilla/v1/placement").await?;
    assert_eq!(of_it(&placement)["drain"], Value::Null, "{placement}");

    assert_eq!(played.delete(leaving).await?.0, 200);
    let holds = |region: &metapb::Region| region.peers.iter().any(|peer| peer.store_id == leaving);
    while played.regions.iter().any(holds) {
        played.obey().await?;
    }
    let buried = async {
        while played.state_of(leaving).await? != "Tombstone" {
            tokio::task::yield_now().await;
        }
        Ok::<_, anyhow::Error>(())
    };
    timeout(LIVENESS, buried).await??;
    for path in [&stay, &format!("/pd/api/v1/store/{leaving}/label")] {
        let (code, text) = send(address, "POST", path, "{\"zone\": \"z1\"}").await?;
        assert!(code == 410 && text.contains("ErrStoreRemoved"), "{path}: {code} {text}");
    }
    Ok(played.pd.shutdown().await?)
}

/// Three of three: a drain could never come to an end. Nothing is begun, and it is told what would be possible.
#[tokio::test]
async fn a_drain_that_could_not_end_is_refused() -> Result<()> {
    let played = Played::open(3).await?;
    let (code, text) = played.delete(played.follower()).await?;
    let parts = ["2 other stores are up", "Start one more store", "replication.max-replicas"];
    let text = text.as_str().context("a text")?;
    assert!(code == 400 && parts.iter().all(|part| text.contains(part)), "{code} {text}");
    assert_eq!(played.state_of(played.follower()).await?, "Up");
    Ok(played.pd.shutdown().await?)
}

/// The word of each decision is told, with what it was not.
#[tokio::test]
async fn decisions_are_told_with_their_reasons() -> Result<()> {
    let mut played = Played::open(3).await?;
    let (address, leader, region) = (played.address, played.leader, played.regions[0].id);
    // What balance has begun would keep the region from anything else, since nobody carries it out.
    for path in ["/pd/api/v1/schedulers/balance-leader-scheduler", "/pd/api/v1/operators"] {
        assert_eq!(send(address, "DELETE", path, "").await?.0, 200, "{path}");
    }
    let wish = json!({ "name": "evict-leader-scheduler", "store_id": leader }).to_string();
    let (code, text) = send(address, "POST", "/pd/api/v1/schedulers", &wish).await?;
    assert_eq!(code, 200, "{text}");
    let path = format!("/flotilla/v1/decisions?by=evict-leader-scheduler&region={region}&limit=1");
    let decided = async {
        loop {
            let (_, told) = get(address, &path).await?;
            if let Some(decision) = told["decisions"].as_array().and_then(|all| all.first()) {
                return Ok::<_, anyhow::Error>(decision.clone());
            }
            // Leaders report, and so what was decided before is over some time.
            played.report_all(None).await?;
        }
    };
    let decision = timeout(LIVENESS, decided).await??;
    assert_eq!((&decision["by"], &decision["region_id"]), (&json!("evict-leader"), &json!(region)));
    let brief = decision["brief"].as_str().context("a text")?;
    assert!(brief.starts_with(&format!("transfer leader: store {leader} to ")), "{decision}");
    assert!(decision["why"].as_str().is_some_and(|why| why.contains("leads are to leave")));
    assert_eq!(decision["alternatives"].as_array().map(Vec::len), Some(1), "{decision}");
    let (_, of_store) = get(address, &format!("/flotilla/v1/decisions?store={leader}")).await?;
    assert!(of_store["decisions"].as_array().is_some_and(|all| !all.is_empty()), "{of_store}");
    let (_, none) = get(address, "/flotilla/v1/decisions?store=4711").await?;
    assert_eq!(none["decisions"], json!([]));
    let (_, told) = get(address, &format!("/flotilla/v1/explain/store/{leader}")).await?;
    assert_eq!(told["store"]["no_leads"], "it is kept free of leads", "{told}");
    let (_, told) = get(address, &format!("/flotilla/v1/explain/region/{region}")).await?;
    assert!(told["decisions_in_all"].as_u64() > Some(0), "{told}");
    let (_, told) = get(address, &format!("/flotilla/v1/explain/operator/{region}")).await?;
    let (by, decisions) = (&told["operator"]["by"], &told["decisions"]);
    assert!(
        decisions.as_array().is_some_and(|all| all.len() == 1 && &all[0]["by"] == by),
        "{told}"
    );
    let text = get(address, &format!("/pd/api/v1/operators/{region}")).await?.1;
    assert!(
        text.as_str().is_some_and(|text| text.contains("operator: ") && !text.contains("admin-")),
        "{text}"
    );
    for (path, code) in [("region/4711", 404), ("operator/4711", 404), ("scheduler/nobody", 200)] {
        assert_eq!(get(address, &format!("/flotilla/v1/explain/{path}")).await?.0, code, "{path}");
    }
    Ok(played.pd.shutdown().await?)
}
