//! The link against a placement driver that is played by a script.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::atomic::{AtomicU8, Ordering as AtomicOrdering},
    time::Duration,
};

use flotilla_base::{ConfVer, Epoch, Key, KeyRange, Moment, Peer, RegionId, Seeded, Term};
use flotilla_damage::damaged;
use flotilla_engine::{Engine, EngineOptions};
use flotilla_multiraft::{Liveness, RegionTable, RequestError, SharedLiveness};
use flotilla_proto::{
    pdpb::pd_server::{Pd, PdServer},
    store_link::{
        self, KeepLineRequest, LineNotice, RegisterStoreResponse,
        store_link_server::{StoreLink, StoreLinkServer},
    },
};
use flotilla_raftgroup::{Role, RoleChange, Timing};
use flotilla_telemetry::MonotonicClock;
use flotilla_transport::Resolved;
use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use proptest::prelude::*;
use prost::Message as _;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

use super::*;
use crate::{
    config::LoadLimits,
    router::Router,
    silence::Silence,
    split::{
        load::meter::Loads,
        splitter::{SplitFailure, SplitRegions},
    },
};

/// Nothing that is waited for takes so long unless it never comes.
const LIVENESS: Duration = Duration::from_secs(30);
const CLUSTER: u64 = 77;

/// An address that no other test of any process uses.
fn address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(1, AtomicOrdering::SeqCst);
    SocketAddr::from(([127, high | 0x80, low, last], 2379))
}

/// What a played placement driver says and hears.
#[derive(Clone)]
struct Played {
    address: SocketAddr,
    cluster: u64,
    /// Statuses before the plan.
    before_plan: Arc<Mutex<VecDeque<Status>>>,
    refusal: Option<Status>,
    /// Our end of the store's line, which breaks when this is dropped.
    line: Arc<Mutex<Option<Line>>>,
    heard: mpsc::UnboundedSender<Heard>,
}

/// The sending end of a line.
type Line = mpsc::Sender<Result<LineNotice, Status>>;

/// Region, term, and the stores whose peers do not answer.
type Heard = (u64, u64, Vec<u64>);

impl Played {
    fn new(cluster: u64) -> (Self, mpsc::UnboundedReceiver<Heard>) {
        let (heard, hears) = mpsc::unbounded_channel();
        let (address, before_plan) = (address(), Arc::default());
        let (refusal, line) = (None, Arc::default());
        (Self { address, cluster, before_plan, refusal, line, heard }, hears)
    }

    /// Serves on a runtime of its own: when that goes, all connections go.
    fn start(&self) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind(self.address).expect("an address");
        listener.set_nonblocking(true).expect("a listener");
        let played = self.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let served = tonic::transport::Server::builder()
                .add_service(PdServer::new(played.clone()))
                .add_service(StoreLinkServer::new(played))
                .serve_with_incoming(TcpListenerStream::new(listener));
            served.await.expect("serves until its runtime ends");
        });
        Server(Some(runtime))
    }

    fn header(&self) -> Option<pdpb::ResponseHeader> {
        Some(pdpb::ResponseHeader { cluster_id: self.cluster, error: None })
    }

    async fn connect(&self) -> Result<PdLink, PdLinkError> {
        PdLink::connect(&[self.address.to_string()], ClusterId(0)).await
    }
}

/// A placement driver that can be killed.
struct Server(Option<tokio::runtime::Runtime>);

impl Server {
    async fn kill(mut self) {
        let runtime = self.0.take().expect("killed once");
        let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(LIVENESS));
        ended.await.expect("ended");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl Pd for Played {
    async fn get_members(
        &self,
        _: Request<pdpb::GetMembersRequest>,
    ) -> Result<Response<pdpb::GetMembersResponse>, Status> {
        let client_urls = vec![format!("http://{}", self.address)];
        let leader = pdpb::Member { member_id: 1, client_urls, ..Default::default() };
        Ok(Response::new(pdpb::GetMembersResponse {
            header: self.header(),
            members: vec![leader.clone()],
            leader: Some(leader),
            ..pdpb::GetMembersResponse::default()
        }))
    }

    async fn alloc_id(
        &self,
        _: Request<pdpb::AllocIdRequest>,
    ) -> Result<Response<pdpb::AllocIdResponse>, Status> {
        Ok(Response::new(pdpb::AllocIdResponse { header: self.header(), id: 1001, count: 1 }))
    }

    async fn get_store(
        &self,
        request: Request<pdpb::GetStoreRequest>,
    ) -> Result<Response<pdpb::GetStoreResponse>, Status> {
        let id = request.into_inner().store_id;
        if id == 8 {
            return Err(Status::invalid_argument("no store 8 is known"));
        }
        let state = if id == 9 { metapb::StoreState::Tombstone } else { metapb::StoreState::Up };
        let address = format!("store-{id}:20160");
        let store = metapb::Store { id, address, state: state.into(), ..Default::default() };
        let header = self.header();
        Ok(Response::new(pdpb::GetStoreResponse { header, store: Some(store), stats: None }))
    }

    async fn get_all_stores(
        &self,
        _: Request<pdpb::GetAllStoresRequest>,
    ) -> Result<Response<pdpb::GetAllStoresResponse>, Status> {
        let store =
            |id| metapb::Store { id, address: format!("store-{id}:20160"), ..Default::default() };
        let (header, stores) = (self.header(), vec![store(5), store(7)]);
        Ok(Response::new(pdpb::GetAllStoresResponse { header, stores }))
    }

    async fn region_heartbeat(
        &self,
        request: Request<Streaming<pdpb::RegionHeartbeatRequest>>,
    ) -> Result<Response<BoxStream<pdpb::RegionHeartbeatResponse>>, Status> {
        let mut reports = request.into_inner();
        // The answer begins with the first report, as a server may do.
        let first = reports.message().await?.ok_or_else(|| Status::cancelled("no report"))?;
        let heard = self.heard.clone();
        let hear = move |report: pdpb::RegionHeartbeatRequest| {
            let region = report.region.unwrap_or_default().id;
            let down = report.down_peers.iter().inspect(|stats| assert!(stats.down_seconds > 0));
            let down = down.filter_map(|stats| stats.peer.map(|peer| peer.store_id)).collect();
            let _test_is_over = heard.send((region, report.term, down));
        };
        hear(first);
        tokio::spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                hear(report);
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }
}

#[tonic::async_trait]
impl StoreLink for Played {
    async fn register_store(
        &self,
        request: Request<RegisterStoreRequest>,
    ) -> Result<Response<RegisterStoreResponse>, Status> {
        let request = request.into_inner();
        let store = request.store.unwrap_or_default();
        assert_eq!((request.cluster_id, request.incarnation), (self.cluster, 4));
        assert!(store.version.starts_with("8.5.0-flotilla-"), "{}", store.version);
        assert_eq!((store.id, store.address.as_str()), (1001, "127.0.0.1:20160"));
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let answer = RegisterStoreResponse { cluster_id: self.cluster, max_replicas: 3 };
        Ok(Response::new(answer))
    }

    async fn keep_line(
        &self,
        request: Request<KeepLineRequest>,
    ) -> Result<Response<BoxStream<LineNotice>>, Status> {
        let KeepLineRequest { cluster_id, store_id, incarnation } = request.into_inner();
        assert_eq!((cluster_id, store_id, incarnation), (self.cluster, 1001, 4));
        let (held, line) = mpsc::channel(1);
        *self.line.lock() = Some(held);
        Ok(Response::new(Box::pin(ReceiverStream::new(line))))
    }

    async fn await_bootstrap(
        &self,
        _: Request<AwaitBootstrapRequest>,
    ) -> Result<Response<BootstrapPlan>, Status> {
        if let Some(status) = self.before_plan.lock().pop_front() {
            return Err(status);
        }
        let first_leader_peer = 4;
        let planned =
            store_link::PlannedRegion { region: Some((&region(2)).into()), first_leader_peer };
        Ok(Response::new(BootstrapPlan { cluster_id: self.cluster, regions: vec![planned] }))
    }
}

fn region(id: u64) -> Region {
    Region {
        id: RegionId(id),
        range: KeyRange::all(),
        epoch: Epoch::FIRST,
        peers: vec![Peer::voter(PeerId(4), StoreId(1001)), Peer::voter(PeerId(5), StoreId(1002))],
    }
}

fn role(id: u64, role: Role, term: u64) -> Report {
    let change = RoleChange { role, term: Term(term), leader: Some(PeerId(4)) };
    Report::Role { region: region(id), peer: PeerId(4), change }
}

#[tokio::test]
async fn a_store_joins() {
    let (played, _) = Played::new(CLUSTER);
    let statuses = [Status::deadline_exceeded("call again"), Status::unavailable("not leader")];
    played.before_plan.lock().extend(statuses);
    let config = StoreConfig::new("data", Vec::new());
    let join = async {
        let link = played.connect().await?;
        assert_eq!(link.cluster_id(), ClusterId(CLUSTER));
        let id = StoreId(link.alloc_id().await?);
        let registration = link.register(&config, id, Incarnation(4)).await?;
        assert_eq!(registration.max_replicas, 3);
        assert!(!link.is_bootstrapped());
        let plan = link.await_bootstrap().await;
        assert_eq!((plan.len(), plan[0].first_leader), (1, PeerId(4)));
        assert_eq!(plan[0].region, region(2));
        assert!(link.is_bootstrapped());
        Ok::<_, PdLinkError>(())
    };
    // The store is there first and waits.
    let start = async { played.start() };
    let (joined, _server) = tokio::join!(timeout(LIVENESS, join), start);
    joined.expect("in time").expect("joined");
}

#[tokio::test]
async fn refusals_end_waiting_at_once() {
    let (mut played, _) = Played::new(CLUSTER);
    let text = "store 7 has this address";
    played.refusal = Some(Status::already_exists(text));
    let _server = played.start();
    let link = played.connect().await.expect("connected");
    let config = StoreConfig::new("data", Vec::new());
    let refused = link.register(&config, StoreId(1001), Incarnation(4)).await;
    assert_eq!(refused, Err(PdLinkError::Refused(text.to_owned())));
    for (kind, expected) in [
        (pdpb::ErrorType::StoreTombstone, PdLinkError::Removed(text.to_owned())),
        (pdpb::ErrorType::NotBootstrapped, PdLinkError::NotBootstrapped),
        (pdpb::ErrorType::AlreadyBootstrapped, PdLinkError::Refused(text.to_owned())),
    ] {
        let mut told = Played { refusal: None, address: address(), ..played.clone() };
        let mut refusal = Status::failed_precondition(text);
        let name = tonic::metadata::MetadataValue::from_static(kind.as_str_name());
        refusal.metadata_mut().insert(flotilla_proto::ERROR_KIND, name);
        told.refusal = Some(refusal);
        let _server = told.start();
        let link = told.connect().await.expect("connected");
        let refused = link.register(&config, StoreId(1001), Incarnation(4)).await;
        assert_eq!(refused, Err(expected), "the kind counts, not the words");
    }
    let other = PdLink::connect(&[played.address.to_string()], ClusterId(78)).await;
    let (ours, theirs) = (ClusterId(78), ClusterId(CLUSTER));
    assert_eq!(other.map(|_link| ()), Err(PdLinkError::OtherCluster { ours, theirs }));
}

/// Reports of a link, of which nobody knows that they end.
fn report(link: &PdLink) -> tokio::task::JoinHandle<()> {
    let (leader, led) = (Arc::clone(&link.leader), Arc::clone(&link.led));
    let loads = Arc::new(Loads::new(LoadLimits::default()));
    let reporter = Reporter { store: StoreId(1001), run: Incarnation(4), loads };
    tokio::spawn(regions::report_regions(leader, led, Arc::new(|_order| {}), reporter))
}

#[tokio::test]
async fn led_regions_are_reported_at_once_and_again_to_a_new_listener() {
    let (played, mut heard) = Played::new(CLUSTER);
    let server = played.start();
    let link = played.connect().await.expect("connected");
    link.report(&role(2, Role::Leader, 6));
    let reporting = report(&link);
    let mut next = async || timeout(LIVENESS, heard.recv()).await.expect("in time");
    assert_eq!(next().await, Some((2, 6, vec![])));
    link.report(&role(3, Role::Leader, 7));
    assert_eq!(next().await, Some((3, 7, vec![])));
    link.report(&role(3, Role::Follower, 8));
    assert_eq!(link.led_regions(), 1);
    link.led.measured(&[(RegionId(2), 4096), (RegionId(3), 1)]);
    assert_eq!(next().await, Some((2, 6, vec![])));

    server.kill().await;
    link.report(&role(2, Role::Leader, 9));
    link.report(&role(2, Role::Leader, 10));
    let _server = played.start();
    while next().await != Some((2, 10, vec![])) {}
    reporting.abort();
}

#[tokio::test]
async fn a_change_of_members_keeps_the_lead_that_is_reported() {
    let (played, mut heard) = Played::new(CLUSTER);
    let _server = played.start();
    let link = played.connect().await.expect("connected");
    let reporting = report(&link);
    let mut next = async || timeout(LIVENESS, heard.recv()).await.expect("in time");
    link.report(&role(2, Role::Leader, 6));
    assert_eq!(next().await, Some((2, 6, vec![])));
    let changed = Region { epoch: Epoch { conf_ver: ConfVer(9), ..Epoch::FIRST }, ..region(2) };
    link.report(&Report::Members { region: changed, peer: PeerId(4) });
    assert_eq!(next().await, Some((2, 6, vec![])));
    let lagging = |region, peers| Report::Lagging { region: RegionId(region), peers };
    // Nobody leads this one here.
    link.report(&lagging(3, vec![Peer::voter(PeerId(5), StoreId(1002))]));
    assert_eq!(link.led_regions(), 1);
    link.report(&lagging(2, vec![Peer::voter(PeerId(5), StoreId(1002))]));
    assert_eq!(next().await, Some((2, 6, vec![])));
    reporting.abort();
}

#[tokio::test]
async fn a_silent_store_is_reported_with_its_peers_and_so_is_its_return() {
    let (played, mut heard) = Played::new(CLUSTER);
    let _server = played.start();
    let link = played.connect().await.expect("connected");
    let silence = Arc::new(Silence::default());
    let watching = regions::watch_silence(Arc::clone(&silence), Arc::clone(&link.led));
    let (reporting, watching) = (report(&link), tokio::spawn(watching));
    let mut next = async || timeout(LIVENESS, heard.recv()).await.expect("in time");
    link.report(&role(2, Role::Leader, 6));
    assert_eq!(next().await, Some((2, 6, vec![])));
    silence.broke(StoreId(1002), tokio::time::Instant::now());
    assert_eq!(next().await, Some((2, 6, vec![1002])));
    silence.heard(StoreId(1002));
    assert_eq!(next().await, Some((2, 6, vec![])));
    // It has no peer there.
    silence.broke(StoreId(1003), tokio::time::Instant::now());
    link.report(&role(2, Role::Leader, 7));
    assert_eq!(next().await, Some((2, 7, vec![])));
    reporting.abort();
    watching.abort();
}

#[tokio::test]
async fn a_line_is_open_while_regions_are_reported() {
    let (played, mut heard) = Played::new(CLUSTER);
    let _server = played.start();
    let link = played.connect().await.expect("connected");
    link.report(&role(2, Role::Leader, 6));
    let reporting = report(&link);
    let mut next = async || timeout(LIVENESS, heard.recv()).await.expect("in time");
    assert_eq!(next().await, Some((2, 6, vec![])));
    let first = played.line.lock().take().expect("opened before the first report");
    // Its end is the end of the contact: the store begins anew.
    drop(first);
    assert_eq!(next().await, Some((2, 6, vec![])));
    let second = played.line.lock().take().expect("opened again");
    reporting.abort();
    timeout(LIVENESS, second.closed()).await.expect("it ends with its store");
}

#[tokio::test]
async fn addresses_stay_known_while_the_placement_driver_is_away() {
    let (played, _) = Played::new(CLUSTER);
    let server = played.start();
    let link = played.connect().await.expect("connected");
    let resolver = link.resolver();
    assert_eq!(resolver.resolve(StoreId(5)).await, Resolved::At("store-5:20160".to_owned()));
    assert_eq!(resolver.resolve(StoreId(9)).await, Resolved::Gone);
    let config = StoreConfig::new("data", Vec::new());
    link.register(&config, StoreId(1001), Incarnation(4)).await.expect("registered");
    server.kill().await;
    // Nobody has asked for it: it came with the registration.
    assert_eq!(resolver.resolve(StoreId(7)).await, Resolved::At("store-7:20160".to_owned()));
    link.addresses.expire();
    assert_eq!(resolver.resolve(StoreId(7)).await, Resolved::At("store-7:20160".to_owned()));
    assert_eq!(resolver.resolve(StoreId(5)).await, Resolved::At("store-5:20160".to_owned()));
    assert_eq!(resolver.resolve(StoreId(6)).await, Resolved::Unknown);
}

/// Replicas give up waiting for such a store. So it takes the word of the placement driver, and nothing less.
#[tokio::test]
async fn only_a_tombstone_is_gone_for_good() {
    let (played, _) = Played::new(CLUSTER);
    let server = played.start();
    let link = played.connect().await.expect("connected");
    let liveness = Liveness::new(Timing::default(), Seeded::NONE, Moment(0));
    let liveness = SharedLiveness::new(liveness);
    let mut gone = link.addresses.gone();
    let burying = addresses::bury_stores(link.addresses.gone(), liveness.clone());
    let burying = tokio::spawn(burying);
    let resolver = link.resolver();
    assert_eq!(resolver.resolve(StoreId(8)).await, Resolved::Unknown);
    assert!(matches!(resolver.resolve(StoreId(5)).await, Resolved::At(_)));
    assert!(!gone.has_changed().expect("the link is there"), "none is gone");
    assert_eq!(resolver.resolve(StoreId(9)).await, Resolved::Gone);
    gone.changed().await.expect("the link is there");
    server.kill().await;
    link.addresses.expire();
    for store in [5, 6, 9] {
        resolver.resolve(StoreId(store)).await;
    }
    assert_eq!(*gone.borrow_and_update(), BTreeSet::from([StoreId(9)]));
    // What was noted is passed on to its end.
    drop((link, resolver));
    timeout(LIVENESS, burying).await.expect("in time").expect("ended");
    let known = (5..10).filter(|store| liveness.look(|it| it.is_gone(StoreId(*store))));
    assert_eq!(known.collect::<Vec<_>>(), [9]);
}

#[tokio::test]
async fn each_new_connection_is_noticed_once() {
    let (played, _hears) = Played::new(CLUSTER);
    let server = played.start();
    let link = played.connect().await.expect("a link");
    timeout(LIVENESS, link.leader.connected()).await.expect("the first one");
    let is_noticed_again = tokio::select! {
        biased;
        () = link.leader.connected() => true,
        () = std::future::ready(()) => false,
    };
    assert!(!is_noticed_again, "nobody new listens");
    server.kill().await;
    // What the end of the stream of reports does.
    link.leader.forget();
    let _server = played.start();
    link.alloc_id().await.expect("an id");
    timeout(LIVENESS, link.leader.connected()).await.expect("the one after the restart");
}

/// Splits what it is asked for, once these refusals are used up.
#[derive(Default)]
struct Refusing {
    refusals: Mutex<VecDeque<RequestError>>,
    split: Notify,
}

impl SplitRegions for Refusing {
    fn split(
        &self,
        region: Region,
        _borders: Vec<Key>,
    ) -> BoxFuture<'_, Result<Vec<Region>, SplitFailure>> {
        let answer = match self.refusals.lock().pop_front() {
            Some(refusal) => Err(SplitFailure::Refused(refusal)),
            None => {
                self.split.notify_one();
                Ok(vec![region])
            }
        };
        std::future::ready(answer).boxed()
    }
}

/// Carries out orders for [`region`] 2, which has no replica here to be told.
fn orders(link: &PdLink, engine: Engine, splitter: &Arc<Refusing>) -> Arc<Orders> {
    let mut table = RegionTable::new(StoreId(1001));
    table.create_uninitialised(RegionId(2), PeerId(4)).expect("nobody is there");
    table.initialise(PeerId(4), &region(2)).expect("nobody owns a key");
    let router = Router::new(table, MonotonicClock::start());
    let splitter = Arc::clone(splitter) as Arc<dyn SplitRegions>;
    Orders::new(engine, router, splitter, Arc::clone(&link.led))
}

/// The next report is what the placement driver answers with the order again. Nothing else has it reported here.
#[tokio::test]
async fn a_region_whose_order_has_to_wait_is_reported_again_soon() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = Engine::open(dir.path(), &EngineOptions::default()).expect("opened");
    let (played, mut heard) = Played::new(CLUSTER);
    let _server = played.start();
    let link = played.connect().await.expect("connected");
    link.report(&role(2, Role::Leader, 6));
    let reporting = report(&link);
    let mut next = async || timeout(LIVENESS, heard.recv()).await.expect("in time");
    assert_eq!(next().await, Some((2, 6, vec![])));

    let splitter = Arc::new(Refusing::default());
    splitter.refusals.lock().push_back(RequestError::Busy(RegionId(2)));
    let orders = orders(&link, engine, &splitter);
    let order = || pdpb::RegionHeartbeatResponse {
        region_id: 2,
        region_epoch: Some(metapb::RegionEpoch { conf_ver: 1, version: 1 }),
        ..pdpb::RegionHeartbeatResponse::default()
    };
    let policy = pdpb::CheckPolicy::Usekey.into();
    let split = || pdpb::RegionHeartbeatResponse {
        split_region: Some(pdpb::SplitRegion { policy, keys: vec!["m".into()] }),
        ..order()
    };
    orders.take(split());
    // One order at a time: it is the first one's turn until the region is reported.
    orders.take(split());
    assert_eq!(next().await, Some((2, 6, vec![])));
    orders.take(split());
    timeout(LIVENESS, splitter.split.notified()).await.expect("carried out");

    // Nobody takes the lead over.
    let to = Some(region(2).peers[1].into());
    let transfer_leader = Some(pdpb::TransferLeader { peer: to, peers: Vec::new() });
    let transfer = pdpb::RegionHeartbeatResponse { transfer_leader, ..order() };
    // The turn of the split may take a moment to end.
    while !orders.is_free(RegionId(2)) {
        tokio::task::yield_now().await;
    }
    orders.take(transfer);
    assert_eq!(next().await, Some((2, 6, vec![])));
    reporting.abort();
}

fn plan(peers: Vec<Peer>) -> BootstrapPlan {
    let region = Region { peers, ..region(2) };
    let first_leader_peer = 4;
    let planned = store_link::PlannedRegion { region: Some(region.into()), first_leader_peer };
    BootstrapPlan { cluster_id: CLUSTER, regions: vec![planned] }
}

fn learner() -> Peer {
    Peer { role: PeerRole::Learner, ..region(2).peers[0] }
}

#[test]
fn a_first_region_that_nobody_could_lead_is_refused() {
    for peers in [vec![], vec![learner()]] {
        let refused = read_plan(plan(peers)).expect_err("no voter");
        assert!(refused.to_string().contains("region 2 has no voter"), "{refused}");
    }
    let both = vec![Peer { id: PeerId(5), store: StoreId(2), ..learner() }, region(2).peers[0]];
    assert_eq!(read_plan(plan(both)).expect("one voter").len(), 1);
}

proptest! {
    /// Whatever plan is taken, raft starts from each of its regions.
    #[test]
    fn damaged_plans_are_refused_or_can_be_carried_out(
        bytes in damaged(
            prop::sample::select(vec![region(2).peers, vec![learner()]])
                .prop_map(|peers| plan(peers).encode_to_vec()),
        ),
    ) {
        let plan = BootstrapPlan::decode(bytes.as_slice()).map(read_plan);
        for Planned { region, .. } in plan.into_iter().flatten().flatten() {
            prop_assert_eq!(region.validate(), Ok(()));
            prop_assert!(region.peers.iter().any(|peer| peer.role != PeerRole::Learner));
        }
    }
}
