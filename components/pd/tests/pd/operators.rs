//! Operators, with the test in the part of the store that leads a region: it reports, is told what to do, and
//! reports what came of it.

use std::{env, fmt::Write as _, fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use flotilla_pd::Pd;
use flotilla_proto::{
    cluster,
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

const OPERATORS: &str = "/pd/api/v1/operators";

/// Four stores, the region of all keys on three of them, and the stream of the store that leads it.
struct Stage {
    pd: Pd,
    clients: Clients,
    beats: mpsc::Sender<pdpb::RegionHeartbeatRequest>,
    orders: Streaming<pdpb::RegionHeartbeatResponse>,
    region: metapb::Region,
    leader: metapb::Peer,
    pending: Vec<metapb::Peer>,
    /// The store that holds no peer.
    fourth: u64,
    _dir: TempDir,
}

impl Stage {
    async fn open() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let pd = start(dir.path(), own_address(), 3).await?;
        let mut clients = Clients::connect(pd.client_url()).await?;
        let planned = clients.bootstrap(4).await?;
        let request = pdpb::GetAllStoresRequest { header: clients.header(), ..Default::default() };
        let stores = clients.pd.get_all_stores(request).await?.into_inner().stores;
        for store in &stores {
            let stats = Some(pdpb::StoreStats { store_id: store.id, ..Default::default() });
            let request = pdpb::StoreHeartbeatRequest { header: clients.header(), stats };
            clients.pd.store_heartbeat(request).await?;
        }
        let region = planned[0].region.clone().context("a region")?;
        let holds = |store: &&metapb::Store| region.peers.iter().any(|it| it.store_id == store.id);
        let fourth = stores.iter().find(|store| !holds(store)).context("a fourth store")?.id;
        let (beats, stream) = mpsc::channel(8);
        let orders = clients.pd.region_heartbeat(ReceiverStream::new(stream)).await?.into_inner();
        let leader = region.peers[0];
        let pending = Vec::new();
        let mut stage =
            Self { pd, clients, beats, orders, region, leader, pending, fourth, _dir: dir };
        stage.beat().await?;
        stage.settle().await?;
        Ok(stage)
    }

    /// The leader reports the region as it is.
    async fn beat(&mut self) -> Result<()> {
        let beat = pdpb::RegionHeartbeatRequest {
            header: self.clients.header(),
            region: Some(self.region.clone()),
            leader: Some(self.leader),
            pending_peers: self.pending.clone(),
            approximate_size: 96 << 20,
            term: 6,
            ..Default::default()
        };
        Ok(self.beats.send(beat).await?)
    }

    /// Waits until the placement driver shows the region as it is.
    async fn settle(&mut self) -> Result<()> {
        let (region, leader) = (Some(self.region.clone()), Some(self.leader));
        let seen = async {
            loop {
                let (header, region_id) = (self.clients.header(), self.region.id);
                let request =
                    pdpb::GetRegionByIdRequest { header, region_id, ..Default::default() };
                let answer = self.clients.pd.get_region_by_id(request).await?.into_inner();
                if answer.region == region && answer.leader == leader {
                    return Ok::<_, tonic::Status>(());
                }
                tokio::task::yield_now().await;
            }
        };
        Ok(timeout(LIVENESS, seen).await??)
    }

    /// The next order. It is for the leader and the epoch of the last report.
    async fn order(&mut self) -> Result<pdpb::RegionHeartbeatResponse> {
        let order = timeout(LIVENESS, self.orders.message()).await??.context("an order")?;
        anyhow::ensure!(order.header.as_ref().is_some_and(|it| it.error.is_none()), "{order:?}");
        anyhow::ensure!(order.region_id == self.region.id, "{order:?}");
        anyhow::ensure!(order.region_epoch == self.region.region_epoch, "{order:?}");
        anyhow::ensure!(order.target_peer == Some(self.leader), "{order:?}");
        Ok(order)
    }

    /// The members of the region from now on, once more changed.
    fn set(&mut self, peers: Vec<metapb::Peer>) {
        self.region.peers = peers;
        if let Some(epoch) = &mut self.region.region_epoch {
            epoch.conf_ver += 1;
        }
    }

    fn address(&self) -> SocketAddr {
        self.pd.address()
    }

    async fn post(&self, wish: Value) -> Result<(u16, Value)> {
        said(send(self.address(), "POST", OPERATORS, &wish.to_string()).await?)
    }

    async fn delete(&self) -> Result<(u16, Value)> {
        let path = format!("{OPERATORS}/{}", self.region.id);
        said(send(self.address(), "DELETE", &path, "").await?)
    }

    async fn status(&self) -> Result<String> {
        let (_, text) = get(self.address(), &format!("{OPERATORS}/{}", self.region.id)).await?;
        Ok(text.as_str().with_context(|| text.to_string())?.to_owned())
    }

    /// Waits until the operator has ended so.
    async fn ends(&self, status: &str) -> Result<String> {
        let ended = async {
            loop {
                let text = self.status().await?;
                if text.starts_with(&format!("status: {status},")) {
                    return Ok::<_, anyhow::Error>(text);
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(LIVENESS, ended).await?
    }
}

fn said((code, body): (u16, String)) -> Result<(u16, Value)> {
    Ok((code, serde_json::from_str(&body).with_context(|| body)?))
}

fn as_role(peer: metapb::Peer, role: PeerRole) -> metapb::Peer {
    metapb::Peer { role: role.into(), ..peer }
}

fn change(kind: ConfChangeType, peer: metapb::Peer) -> pdpb::ChangePeer {
    pdpb::ChangePeer { peer: Some(peer), change_type: kind.into() }
}

fn created() -> (u16, Value) {
    (200, json!("The operator is created."))
}

/// The whole way: each order follows the report of what the last one did.
#[tokio::test]
async fn a_peer_moves_step_by_step() -> Result<()> {
    let mut stage = Stage::open().await?;
    let (region_id, to) = (stage.region.id, stage.fourth);
    let old = stage.region.peers.clone();
    let from = old[2].store_id;
    let wish = json!({
        "name": "transfer-peer", "region_id": region_id, "from_store_id": from, "to_store_id": to,
    });
    assert_eq!(stage.post(wish.clone()).await?, created());
    // At once, without waiting for the next report.
    let added = stage.order().await?.change_peer.context("a change")?;
    assert_eq!(added.change_type(), ConfChangeType::AddLearnerNode);
    let learner = added.peer.context("a peer")?;
    assert_eq!((learner.store_id, learner.role()), (to, PeerRole::Learner));
    assert!(old.iter().all(|peer| peer.id != learner.id) && learner.id != 0);
    let (code, busy) = stage.post(wish).await?;
    assert_eq!(code, 400);
    assert!(busy.as_str().is_some_and(|it| it.contains("is being changed already")), "{busy}");

    // It is there, and lacks the data.
    let joined = [old.clone(), vec![learner]].concat();
    stage.set(joined);
    stage.pending = vec![learner];
    stage.beat().await?;
    stage.pending.clear();
    stage.beat().await?;
    let joint = stage.order().await?.change_peer_v2.context("a joint change")?;
    let (promoted, demoted) =
        (as_role(learner, PeerRole::Voter), as_role(old[2], PeerRole::Learner));
    let changes = vec![
        change(ConfChangeType::AddNode, promoted),
        change(ConfChangeType::AddLearnerNode, demoted),
    ];
    assert_eq!(joint.changes, changes);

    let (coming, going) =
        (as_role(learner, PeerRole::IncomingVoter), as_role(old[2], PeerRole::DemotingVoter));
    stage.set(vec![old[0], old[1], going, coming]);
    stage.beat().await?;
    assert_eq!(stage.order().await?.change_peer_v2, Some(pdpb::ChangePeerV2::default()));
    stage.set(vec![old[0], old[1], demoted, promoted]);
    stage.beat().await?;
    let removed = stage.order().await?.change_peer.context("a removal")?;
    assert_eq!(removed, change(ConfChangeType::RemoveNode, demoted));
    assert!(stage.status().await?.contains("currentStep:3"), "{}", stage.status().await?);
    stage.set(vec![old[0], old[1], promoted]);
    stage.beat().await?;
    let text = stage.ends("SUCCESS").await?;
    assert!(text.contains("admin-move-peer {mv peer: store"), "{text}");

    let (code, metrics) = send(stage.address(), "GET", "/metrics", "").await?;
    assert_eq!(code, 200);
    for line in [
        "flotilla_pd_operators 0",
        "flotilla_pd_operators_ended_total{result=\"finished\",type=\"move-peer\"} 1",
        "flotilla_pd_orders_total{result=\"sent\"} 4",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    Ok(stage.pd.shutdown().await?)
}

#[tokio::test]
async fn the_lead_is_handed_over_and_strangers_end_an_operator() -> Result<()> {
    let mut stage = Stage::open().await?;
    let region_id = stage.region.id;
    let to = stage.region.peers[1];
    let wish = json!({
        "name": "transfer-leader", "region_id": region_id, "to_store_id": to.store_id,
    });
    assert_eq!(stage.post(wish).await?, created());
    let order = stage.order().await?.transfer_leader.context("a transfer")?;
    assert_eq!((order.peer, order.peers), (Some(to), Vec::new()));
    stage.leader = to;
    stage.beat().await?;
    stage.ends("SUCCESS").await?;

    let request = pdpb::GetOperatorRequest { header: stage.clients.header(), region_id };
    let last = stage.clients.pd.get_operator(request).await?.into_inner();
    assert_eq!((last.region_id, last.status()), (region_id, pdpb::OperatorStatus::Success));
    assert_eq!(
        (&last.desc[..], &last.kind[..]),
        (&b"admin-transfer-leader"[..], &b"admin,leader"[..])
    );
    let request = pdpb::GetOperatorRequest { header: stage.clients.header(), region_id: 4711 };
    let none = stage.clients.pd.get_operator(request).await?.into_inner();
    let error = none.header.and_then(|header| header.error).context("none")?;
    assert_eq!(error.r#type(), pdpb::ErrorType::RegionNotFound);

    let wish = json!({ "name": "add-peer", "region_id": region_id, "store_id": stage.fourth });
    assert_eq!(stage.post(wish.clone()).await?, created());
    stage.order().await?;
    let peers = stage.region.peers[..2].to_vec();
    stage.set(peers);
    stage.beat().await?;
    let text = stage.ends("CANCEL").await?;
    assert!(text.ends_with("cancelled: epoch not match"), "{text}");
    // What was asked for by hand is given up by hand.
    assert_eq!(stage.post(wish).await?, created());
    stage.order().await?;
    let cancelled = json!("The pending operator is canceled.");
    assert_eq!(stage.delete().await?, (200, cancelled));
    assert!(stage.ends("CANCEL").await?.ends_with("cancelled: admin stop"));
    Ok(stage.pd.shutdown().await?)
}

/// An order that nobody can take is lost, and given again with a report.
#[tokio::test]
async fn a_leader_that_comes_back_is_told_again() -> Result<()> {
    let mut stage = Stage::open().await?;
    let region_id = stage.region.id;
    let (beats, stream) = mpsc::channel(8);
    let stream = stage.clients.pd.region_heartbeat(ReceiverStream::new(stream)).await?;
    stage.beats = beats;
    // The old stream has ended with its sender.
    assert!(timeout(LIVENESS, stage.orders.message()).await??.is_none());
    stage.orders = stream.into_inner();
    let wish = json!({ "name": "add-learner", "region_id": region_id, "store_id": stage.fourth });
    assert_eq!(stage.post(wish).await?, created());
    // A new shape voids what was said before.
    if let Some(epoch) = &mut stage.region.region_epoch {
        epoch.version += 1;
    }
    stage.beat().await?;
    assert!(stage.order().await?.change_peer.is_some());
    let (_, metrics) = send(stage.address(), "GET", "/metrics", "").await?;
    let lost = "flotilla_pd_orders_total{result=\"lost\"} 1";
    assert!(metrics.lines().any(|line| line == lost), "{metrics}");
    Ok(stage.pd.shutdown().await?)
}

/// One region alone is spread whatever it does; what is not known is named.
#[tokio::test]
async fn regions_are_spread_by_id_and_by_keys() -> Result<()> {
    let mut stage = Stage::open().await?;
    let id = stage.region.id;
    let mut asked = async |region_id: u64, regions_id: &[u64]| {
        let (header, group) = (stage.clients.header(), "table".to_owned());
        let regions_id = regions_id.to_vec();
        let request = pdpb::ScatterRegionRequest {
            header,
            region_id,
            group,
            regions_id,
            ..Default::default()
        };
        let answer = stage.clients.pd.scatter_region(request).await?.into_inner();
        let header = answer.header.context("a header")?;
        anyhow::Ok((answer.finished_percentage, header.error))
    };
    assert_eq!(asked(id, &[]).await?, (100, None));
    assert_eq!(asked(0, &[id, 4711]).await?, (50, None));
    let (_, error) = asked(4711, &[]).await?;
    let error = error.context("it is not known")?;
    assert_eq!(error.r#type(), pdpb::ErrorType::RegionNotFound);
    assert!(error.message.contains("region 4711"), "{error:?}");

    let unknown = "[PD:region:ErrRegionNotFound]no leader has reported a region 4711";
    let scatter = |region_id: u64| json!({ "name": "scatter-region", "region_id": region_id });
    assert_eq!(stage.post(scatter(id)).await?, created());
    assert_eq!(stage.post(scatter(4711)).await?, (404, json!(unknown)));
    let several = json!({ "name": "scatter-regions", "regions_id": [id, 4711] });
    let failures = json!({ "4711": "it is not known" });
    let half = json!({ "processed-percentage": 50, "failures": failures });
    assert_eq!(stage.post(several.clone()).await?, (200, half.clone()));
    let path = "/pd/api/v1/regions/scatter";
    let all = json!({ "processed-percentage": 100, "failures": {} });
    let missing = "missing regions: give regions_id, or start_key and end_key in hexadecimal";
    for (body, expected) in [
        (several, (200, half)),
        (json!({ "start_key": "61", "end_key": "6B", "group": "t" }), (200, all)),
        (json!({}), (400, json!(missing))),
        (
            json!({ "start_key": "6B", "end_key": "6" }),
            (400, json!("[PD:hex:ErrHexDecodingString]\"6\" is no hexadecimal key")),
        ),
    ] {
        let told = said(send(stage.address(), "POST", path, &body.to_string()).await?)?;
        assert_eq!(told, expected, "{body}");
    }
    Ok(stage.pd.shutdown().await?)
}

#[tokio::test]
async fn regions_begin_where_a_client_wants_them_to() -> Result<()> {
    let mut stage = Stage::open().await?;
    let mut asking = stage.clients.clone();
    let header = asking.header();
    let keys = ["m", "c", "m"].map(bytes::Bytes::from).to_vec();
    let asked = tokio::spawn(async move {
        let request = pdpb::SplitRegionsRequest { header, split_keys: keys, retry_limit: 0 };
        asking.pd.split_regions(request).await
    });
    let split = stage.order().await?.split_region.context("a split")?;
    assert_eq!(
        (split.policy(), split.keys),
        (pdpb::CheckPolicy::Usekey, vec!["c".into(), "m".into()])
    );

    let (header, region) = (stage.clients.header(), Some(stage.region.clone()));
    let request = pdpb::AskBatchSplitRequest { header, region, split_count: 2 };
    let ids = stage.clients.pd.ask_batch_split(request).await?.into_inner().ids;
    let piece = |id: &pdpb::SplitId, start: &'static str, end: &'static str| {
        let peers = stage.region.peers.iter().zip(&id.new_peer_ids);
        metapb::Region {
            id: id.new_region_id,
            start_key: start.into(),
            end_key: end.into(),
            region_epoch: stage
                .region
                .region_epoch
                .map(|it| metapb::RegionEpoch { version: it.version + 2, ..it }),
            peers: peers.map(|(peer, id)| metapb::Peer { id: *id, ..*peer }).collect(),
        }
    };
    let pieces = [piece(&ids[0], "", "c"), piece(&ids[1], "c", "m")];
    let whole = stage.region.clone();
    let region_epoch = pieces[0].region_epoch;
    let rest = metapb::Region { start_key: "m".into(), region_epoch, ..whole };
    for region in [pieces[0].clone(), pieces[1].clone(), rest.clone()] {
        (stage.leader, stage.region) = (region.peers[0], region);
        stage.beat().await?;
    }
    let answer = timeout(LIVENESS, asked).await???.into_inner();
    assert_eq!(answer.finished_percentage, 100);
    let mut regions = vec![pieces[1].id, rest.id];
    regions.sort_unstable();
    assert_eq!(answer.regions_id, regions);
    stage.ends("SUCCESS").await?;

    // The guard region is never split; what begins there already needs no split.
    let header = stage.clients.header();
    let split_keys = vec!["m".into(), bytes::Bytes::from(vec![0xff; 100])];
    let request = pdpb::SplitRegionsRequest { header, split_keys, retry_limit: 0 };
    let answer = stage.clients.pd.split_regions(request).await?.into_inner();
    assert_eq!((answer.finished_percentage, answer.regions_id), (50, vec![rest.id]));
    Ok(stage.pd.shutdown().await?)
}

#[tokio::test]
async fn our_own_tools_add_list_and_cancel() -> Result<()> {
    let mut stage = Stage::open().await?;
    let (cluster_id, region_id) = (stage.clients.cluster_id, stage.region.id);
    let add = |change| cluster::AddOperatorRequest { cluster_id, region_id, change };
    let peer = cluster::add_operator_request::Change::AddPeer(stage.fourth);
    let made = stage.clients.cluster.add_operator(add(Some(peer))).await?.into_inner();
    let made = made.operator.context("an operator")?;
    assert_eq!((made.kind.as_str(), made.asked_by.as_str(), made.done), ("add-peer", "ctl", 0));
    assert_eq!(made.steps.len(), 2);
    let busy =
        stage.clients.cluster.add_operator(add(Some(peer))).await.expect_err("one at a time");
    assert_eq!(busy.code(), Code::FailedPrecondition);
    let nothing = stage.clients.cluster.add_operator(add(None)).await.expect_err("no change");
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let list = cluster::ListOperatorsRequest { cluster_id };
    let listed = stage.clients.cluster.list_operators(list).await?.into_inner();
    assert_eq!((listed.running, listed.ended.len()), (vec![made], 0));
    let request = cluster::CancelOperatorRequest { cluster_id, region_id };
    stage.clients.cluster.cancel_operator(request).await?;
    let again = stage.clients.cluster.cancel_operator(request).await.expect_err("it is gone");
    assert_eq!(again.code(), Code::FailedPrecondition);
    let listed = stage.clients.cluster.list_operators(list).await?.into_inner();
    let ending = listed.ended[0].ending.clone().context("an end")?;
    assert_eq!(ending.outcome(), cluster::Outcome::Cancelled);
    assert!(ending.reason.starts_with("admin stop"), "{}", ending.reason);
    let other = cluster::ListOperatorsRequest { cluster_id: 99 };
    let refused = stage.clients.cluster.list_operators(other).await.expect_err("another cluster");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    Ok(stage.pd.shutdown().await?)
}

/// Dates are of today, and how long it took is chance.
fn without_dates(text: &str) -> String {
    let marks = ["createAt:", "startAt:", "finishAt:", "duration:"];
    let mut shown = String::new();
    let mut rest = text;
    while let Some((at, mark)) =
        marks.iter().filter_map(|mark| Some((rest.find(mark)?, mark))).min_by_key(|it| it.0)
    {
        let start = at + mark.len();
        let end = rest[start..].find([',', ')']).map_or(rest.len(), |length| start + length);
        shown.push_str(&rest[..start]);
        shown.push_str("...");
        rest = &rest[end..];
    }
    shown + rest
}

/// What tools are answered, word for word. `UPDATE_GOLDENFILES=1` writes the file anew.
#[tokio::test]
async fn tools_are_answered_in_these_shapes() -> Result<()> {
    let stage = Stage::open().await?;
    let (region, fourth) = (stage.region.id, stage.fourth);
    let store = |at: usize| stage.region.peers[at].store_id;
    let address = stage.address();
    let mut actual = String::new();
    let mut calls: Vec<(&str, String, Value)> = Vec::new();
    for wish in [
        json!({ "region_id": region }),
        json!({ "name": "nonsense" }),
        json!({ "name": "merge-region", "source_region_id": 1, "target_region_id": 2 }),
        json!({ "name": "add-peer", "store_id": fourth }),
        json!({ "name": "add-peer", "region_id": region }),
        json!({ "name": "add-peer", "region_id": "x" }),
        json!({ "name": "add-peer", "region_id": 4711, "store_id": fourth }),
        json!({ "name": "add-peer", "region_id": region, "store_id": 4711 }),
        json!({ "name": "add-peer", "region_id": region, "store_id": store(0) }),
        json!({ "name": "transfer-leader", "region_id": region, "to_store_id": fourth }),
        json!({ "name": "transfer-region", "region_id": region, "to_store_ids": [] }),
        json!({ "name": "split-region", "region_id": region, "policy": "ratio" }),
        json!({ "name": "split-region", "region_id": region, "policy": "usekey", "keys": ["6"] }),
    ] {
        calls.push(("POST", String::new(), wish));
    }
    let one = format!("/{region}");
    calls.push(("GET", one.clone(), Value::Null));
    calls.push(("DELETE", one.clone(), Value::Null));
    for wish in [
        json!({ "name": "transfer-leader", "region_id": region, "to_store_id": store(1) }),
        json!({ "name": "add-peer", "region_id": region, "store_id": fourth }),
        json!({ "name": "add-learner", "region_id": region, "store_id": fourth }),
        json!({ "name": "remove-peer", "region_id": region, "store_id": store(0) }),
        json!({ "name": "transfer-peer", "region_id": region, "from_store_id": store(2), "to_store_id": fourth }),
        json!({ "name": "transfer-region", "region_id": region, "to_store_ids": [store(1), store(2), fourth] }),
        json!({ "name": "split-region", "region_id": region, "policy": "scan" }),
        json!({ "name": "split-region", "region_id": region, "policy": "usekey", "keys": ["6B6579"] }),
    ] {
        calls.push(("POST", String::new(), wish));
        calls.push(("GET", one.clone(), Value::Null));
        calls.push(("DELETE", one.clone(), Value::Null));
    }
    calls.push((
        "POST",
        String::new(),
        json!({
            "name": "transfer-leader", "region_id": region, "to_store_id": store(2),
        }),
    ));
    for path in ["", "?kind=admin", "?kind=region", "?kind=leader&object=1", "/x"] {
        calls.push(("GET", path.to_owned(), Value::Null));
    }
    calls.push(("GET", format!("{one}?object"), Value::Null));
    calls.push(("DELETE", String::new(), Value::Null));
    calls.push(("GET", String::new(), Value::Null));
    calls.push(("GET", "/records?from=99999999999".to_owned(), Value::Null));
    calls.push(("GET", "/records".to_owned(), Value::Null));
    for (method, path, body) in calls {
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let (code, answer) =
            said(send(address, method, &format!("{OPERATORS}{path}"), &sent).await?)?;
        let answer = without_dates(&format!("{answer:#}"));
        writeln!(actual, "{method} operators{path} {sent}\n{code} {answer}\n")?;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pd/operators.golden");
    if env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(&golden, &actual)?;
    }
    assert_eq!(actual, fs::read_to_string(&golden)?);
    Ok(stage.pd.shutdown().await?)
}
