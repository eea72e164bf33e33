//! The gRPC interface of a placement driver that runs in the test, on a real database.

use anyhow::{Context as _, Result};
use flotilla_base::{Family, KvRead as _, ScanDirection};
use flotilla_engine::{Engine, EngineOptions};
use flotilla_proto::{cluster::Contact, metapb, pdpb, store_link};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{Clients, LIVENESS, own_address, start};

fn error_of(header: Option<pdpb::ResponseHeader>) -> Option<(pdpb::ErrorType, String)> {
    let error = header?.error?;
    Some((error.r#type(), error.message))
}

#[tokio::test]
async fn members_and_cluster_are_told_to_anybody() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 3).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    assert_ne!(clients.cluster_id, 0);
    assert_eq!(clients.cluster_id, pd.cluster_id());
    clients.alloc_id(1).await.context("leads once this is answered")?;
    let members = clients.pd.get_members(pdpb::GetMembersRequest::default()).await?.into_inner();
    let leader = members.leader.context("a leader")?;
    assert_ne!(leader.member_id, 0);
    assert_eq!(leader.client_urls, [pd.client_url()]);
    assert_eq!(members.members, [leader]);
    let info = clients.pd.get_cluster_info(pdpb::GetClusterInfoRequest::default()).await?;
    assert_eq!(info.into_inner().service_modes, [i32::from(pdpb::ServiceMode::PdSvcMode)]);
    Ok(pd.shutdown().await?)
}

#[tokio::test]
async fn other_clusters_are_refused_with_both_ids() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 3).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let ours = std::mem::replace(&mut clients.cluster_id, 99);
    let refused = clients.alloc_id(1).await.expect_err("another cluster");
    let refused: tonic::Status = refused.downcast()?;
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), format!("mismatch cluster id, need {ours} but got 99"));
    let tso = clients.timestamp(1).await.expect_err("another cluster");
    assert_eq!(tso.downcast::<tonic::Status>()?.code(), Code::FailedPrecondition);
    let request = pdpb::IsBootstrappedRequest { header: None };
    let headless = clients.pd.is_bootstrapped(request).await.expect_err("no header");
    assert_eq!(headless.code(), Code::FailedPrecondition);
    Ok(pd.shutdown().await?)
}

#[tokio::test]
async fn ids_follow_each_other_and_are_never_given_twice() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let address = own_address();
    let pd = start(dir.path(), address, 3).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    assert_eq!(clients.alloc_id(0).await?, 1, "0 means 1, and the first id is 1");
    assert_eq!(clients.alloc_id(10).await?, 11, "the last of the batch is answered");
    let large = clients.alloc_id(5000).await?;
    assert!(large >= 5011, "{large}");
    pd.shutdown().await?;
    let pd = start(dir.path(), address, 3).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    assert!(clients.alloc_id(1).await? > large);
    Ok(pd.shutdown().await?)
}

#[tokio::test]
async fn bootstraps_once_enough_stores_are_there() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let address = own_address();
    let pd = start(dir.path(), address, 3).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let header = clients.header();
    let request = pdpb::GetRegionRequest { header: header.clone(), ..Default::default() };
    let early = clients.pd.get_region(request).await?.into_inner();
    let kind = error_of(early.header).map(|(kind, _)| kind);
    assert_eq!(kind, Some(pdpb::ErrorType::NotBootstrapped));
    let request = pdpb::BootstrapRequest { header: header.clone(), ..Default::default() };
    let by_hand = clients.pd.bootstrap(request.clone()).await?.into_inner();
    let (_, text) = error_of(by_hand.header).context("refused")?;
    assert!(text.contains("by itself once 3 stores"), "{text}");

    let regions = clients.bootstrap(3).await?;
    let planned: Vec<metapb::Region> =
        regions.iter().filter_map(|planned| planned.region.clone()).collect();
    assert_eq!(planned.len(), 2);
    assert!(planned.iter().all(|region| region.peers.len() == 3));
    assert!(planned[0].start_key.is_empty() && planned[1].end_key.is_empty());
    assert_eq!(planned[0].end_key, flotilla_base::key::guard_border());
    assert_eq!(planned[0].end_key, planned[1].start_key);
    let leader_store = |index: usize| {
        let peers = &planned[index].peers;
        peers.iter().find(|peer| peer.id == regions[index].first_leader_peer).map(|p| p.store_id)
    };
    assert_ne!(leader_store(0), leader_store(1), "first leaders are spread");
    let again = clients.pd.bootstrap(request).await?.into_inner();
    let kind = error_of(again.header).map(|(kind, _)| kind);
    assert_eq!(kind, Some(pdpb::ErrorType::AlreadyBootstrapped));

    pd.shutdown().await?;
    let pd = start(dir.path(), address, 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let store_id = planned[0].peers[0].store_id;
    let request = store_link::AwaitBootstrapRequest { cluster_id: clients.cluster_id, store_id };
    let kept = clients.link.await_bootstrap(request).await?.into_inner();
    assert_eq!(kept.regions, regions, "the plan is the cluster's, for ever");
    Ok(pd.shutdown().await?)
}

#[tokio::test]
async fn stores_register_and_report() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    clients.bootstrap(1).await?;
    let header = clients.header();
    let request = pdpb::GetAllStoresRequest { header: header.clone(), ..Default::default() };
    let stores = clients.pd.get_all_stores(request).await?.into_inner().stores;
    let [store] = stores.as_slice() else { anyhow::bail!("one store: {stores:?}") };
    assert_eq!(store.address, "127.0.0.1:20160");

    let twin = clients.register(store.id + 1, &store.address, 1).await.expect_err("taken");
    assert_eq!(twin.code(), Code::AlreadyExists);
    assert!(twin.message().contains("duplicated store address"), "{twin}");
    clients.register(store.id, &store.address, 2).await?;
    let copy = clients.register(store.id, &store.address, 1).await.expect_err("an older run");
    assert_eq!(copy.code(), Code::FailedPrecondition);

    let stats = pdpb::StoreStats { store_id: store.id, capacity: 7 << 30, ..Default::default() };
    let request = pdpb::StoreHeartbeatRequest { header: header.clone(), stats: Some(stats) };
    clients.pd.store_heartbeat(request).await?;
    let request = pdpb::GetStoreRequest { header: header.clone(), store_id: store.id };
    let known = clients.pd.get_store(request).await?.into_inner();
    assert_eq!(known.stats.map(|stats| stats.capacity), Some(7 << 30));
    assert!(known.store.is_some_and(|store| store.last_heartbeat > 0));

    let request = pdpb::GetStoreRequest { header: header.clone(), store_id: 4711 };
    let unknown = clients.pd.get_store(request).await.expect_err("no such store");
    assert_eq!(unknown.code(), Code::Unknown);
    assert_eq!(unknown.message(), "invalid store ID 4711, not found");
    let moved = metapb::Store { address: "127.0.0.1:20999".to_owned(), ..store.clone() };
    let request = pdpb::PutStoreRequest { header: header.clone(), store: Some(moved) };
    let put = clients.pd.put_store(request).await?.into_inner();
    assert_eq!(error_of(put.header), None, "a store may come back at another address");
    let nameless = pdpb::PutStoreRequest { header, store: Some(metapb::Store::default()) };
    let put = clients.pd.put_store(nameless).await?.into_inner();
    assert_eq!(error_of(put.header).map(|(kind, _)| kind), Some(pdpb::ErrorType::Unknown));
    Ok(pd.shutdown().await?)
}

#[tokio::test]
async fn a_store_that_is_gone_shows_at_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let address = own_address();
    let pd = start(dir.path(), address, 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let unknown = clients.keep_line(1, 1).await.expect_err("not registered");
    assert_eq!(unknown.message(), "invalid store ID 1, not found");
    clients.bootstrap(1).await?;
    assert_eq!(clients.contacts().await?, [(1, Contact::Unheard)]);

    let mut store = Clients::connect(pd.client_url()).await?;
    let line = store.keep_line(1, 1).await?;
    assert_eq!(clients.contacts().await?, [(1, Contact::Up)]);
    // The process is gone, and with it its connection.
    drop((line, store));
    let gone = async {
        while clients.contacts().await? != [(1, Contact::Disconnected)] {
            tokio::task::yield_now().await;
        }
        Ok::<_, tonic::Status>(())
    };
    timeout(LIVENESS, gone).await??;

    let mut store = Clients::connect(pd.client_url()).await?;
    let mut line = store.keep_line(1, 2).await?;
    assert_eq!(clients.contacts().await?, [(1, Contact::Up)]);
    let ours = std::mem::replace(&mut clients.cluster_id, 99);
    let other = clients.contacts().await.expect_err("another cluster");
    assert_eq!(other.message(), format!("mismatch cluster id, need {ours} but got 99"));
    // The store learns of the end as well.
    pd.shutdown().await?;
    assert!(timeout(LIVENESS, line.message()).await?.is_err());
    let pd = start(dir.path(), address, 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    assert_eq!(
        clients.contacts().await?,
        [(1, Contact::Unheard)],
        "a new leader knows nothing yet"
    );
    Ok(pd.shutdown().await?)
}

/// A heartbeat of the `leader`-th peer of a planned region.
fn beat(
    clients: &Clients,
    planned: &store_link::PlannedRegion,
    leader: usize,
    term: u64,
) -> pdpb::RegionHeartbeatRequest {
    let region = planned.region.clone();
    let leader = region.as_ref().and_then(|region| region.peers.get(leader).cloned());
    let header = clients.header();
    pdpb::RegionHeartbeatRequest { header, region, leader, term, ..Default::default() }
}

fn by_key(clients: &Clients, key: impl Into<bytes::Bytes>) -> pdpb::GetRegionRequest {
    let header = clients.header();
    pdpb::GetRegionRequest { header, region_key: key.into(), ..Default::default() }
}

#[tokio::test]
async fn the_latest_leader_is_told_at_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 3).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let planned = clients.bootstrap(3).await?;
    let (beats, stream) = mpsc::channel(8);
    let _orders = clients.pd.region_heartbeat(ReceiverStream::new(stream)).await?;
    // Asked before any leader has reported: answered as soon as one has.
    let mut asker = clients.pd.clone();
    let request = by_key(&clients, "k");
    let early = tokio::spawn(async move { asker.get_region(request).await });
    beats.send(beat(&clients, &planned[0], 0, 6)).await?;
    assert_eq!(early.await??.into_inner().region, planned[0].region);

    let elected = beat(&clients, &planned[0], 2, 7);
    let wanted = elected.leader;
    beats.send(elected).await?;
    let request = by_key(&clients, "k");
    timeout(LIVENESS, async {
        while clients.pd.get_region(request.clone()).await?.into_inner().leader != wanted {
            tokio::task::yield_now().await;
        }
        Ok::<_, tonic::Status>(())
    })
    .await??;
    beats.send(beat(&clients, &planned[0], 0, 6)).await?;
    beats.send(beat(&clients, &planned[1], 1, 6)).await?;
    let guard = clients.pd.get_region(by_key(&clients, vec![0xff; 100])).await?.into_inner();
    assert_eq!(guard.region, planned[1].region);
    let after = clients.pd.get_region(by_key(&clients, "k")).await?.into_inner();
    assert_eq!(after.leader, wanted, "an old leader is not believed");
    Ok(pd.shutdown().await?)
}

#[tokio::test]
async fn regions_are_found_by_key_neighbour_id_and_range() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 3).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let planned = clients.bootstrap(3).await?;
    let header = clients.header();
    let nonsense = pdpb::RegionHeartbeatRequest { header: header.clone(), ..Default::default() };
    let beats = [beat(&clients, &planned[0], 0, 6), beat(&clients, &planned[1], 1, 6), nonsense];
    let opened = clients.pd.region_heartbeat(tokio_stream::iter(beats)).await?;
    let mut orders = opened.into_inner();
    let refused = orders.message().await?.context("an error in band")?;
    assert!(error_of(refused.header).is_some_and(|(_, text)| text.contains("region is absent")));
    assert_eq!(orders.message().await?, None, "a half-closed stream ends without an error");

    let request = pdpb::ScanRegionsRequest { header: header.clone(), ..Default::default() };
    let all = clients.pd.scan_regions(request).await?.into_inner();
    assert_eq!((all.regions.len(), all.region_metas.len(), all.leaders.len()), (2, 2, 2));
    let request =
        pdpb::ScanRegionsRequest { header: header.clone(), limit: 1, ..Default::default() };
    assert_eq!(clients.pd.scan_regions(request).await?.into_inner().regions.len(), 1);
    let border = by_key(&clients, flotilla_base::key::guard_border());
    let before = clients.pd.get_prev_region(border).await?.into_inner();
    assert_eq!(before.region, planned[0].region);
    let first = clients.pd.get_prev_region(by_key(&clients, "")).await?.into_inner();
    assert_eq!(first.region, None);
    for (region_id, found) in [(4711, None), (6, planned[1].region.clone())] {
        let region_id = found.as_ref().map_or(region_id, |region| region.id);
        let header = header.clone();
        let request = pdpb::GetRegionByIdRequest { header, region_id, ..Default::default() };
        let answer = clients.pd.get_region_by_id(request).await?.into_inner();
        assert_eq!((answer.region, error_of(answer.header)), (found, None));
    }
    Ok(pd.shutdown().await?)
}

#[tokio::test]
async fn timestamps_come_in_order_one_answer_each() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let counts: Vec<u32> = (1..=200).collect();
    let answers = clients.timestamps(&counts).await?;
    assert_eq!(answers.iter().map(|answer| answer.count).collect::<Vec<_>>(), counts);
    let mut last = 0;
    for answer in answers {
        let timestamp = answer.timestamp.context("timestamp")?;
        assert!(timestamp.logical < 1 << 18 && timestamp.suffix_bits == 0);
        let largest = (timestamp.physical << 18) + timestamp.logical;
        assert!(largest - i64::from(answer.count) >= last, "{largest} after {last}");
        last = largest;
    }
    let zero = clients.timestamps(&[0]).await.expect_err("count 0 is an error of the stream");
    assert_eq!(zero.downcast::<tonic::Status>()?.code(), Code::InvalidArgument);
    pd.shutdown().await?;
    let gone = clients.timestamp(1).await;
    assert!(gone.is_err(), "nobody hands out timestamps after the end");
    Ok(())
}

#[tokio::test]
async fn the_log_stays_short() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let address = own_address();
    let pd = start(dir.path(), address, 1).await?;
    let clients = Clients::connect(pd.client_url()).await?;
    for batch in 0..50 {
        let mut registrations = tokio::task::JoinSet::new();
        for number in 0..64 {
            let mut clients = clients.clone();
            let id = batch * 64 + number + 1;
            let store = format!("store-{id}:20160");
            registrations.spawn(async move { clients.register(id, &store, 1).await });
        }
        while let Some(registered) = registrations.join_next().await {
            registered??;
        }
    }
    pd.shutdown().await?;
    let mut entries = 0;
    let engine = Engine::open(&dir.path().join("db"), &EngineOptions::default())?;
    let everything = flotilla_base::KeyRange::all();
    engine.scan(Family::RaftLog, &everything, ScanDirection::Forward, &mut |_, _| {
        entries += 1;
        true
    })?;
    drop(engine);
    assert!((1024..=2100).contains(&entries), "{entries} entries after 3200 registrations");
    let pd = start(dir.path(), address, 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let again = clients.register(7, "store-7:20160", 0).await?;
    assert_eq!(again.cluster_id, clients.cluster_id, "the state came back without its old log");
    Ok(pd.shutdown().await?)
}
