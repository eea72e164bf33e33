//! The placement driver: finding its leader, and single questions to it. Repetition is the
//! caller's business.

use std::{
    error::Error as _,
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use flotilla_base::{ClusterId, Key, Peer, Region, StoreId, address::authority, key::guard_border};
use flotilla_proto::{
    cluster::{HealthRequest, HealthResponse, cluster_client::ClusterClient},
    metapb,
    pdpb::{self, pd_client::PdClient},
    placement::placement_client::PlacementClient,
};
use flotilla_routing::{Failure, NoRoute, RegionCache};
use parking_lot::{Mutex, RwLock};
use tokio::task::JoinSet;
use tonic::{Code, Status, transport::Channel};

use crate::{
    core::Place,
    error::{Error, ErrorKind},
    flight::Flight,
    links,
    wire::{describe, peer},
};

/// How long one question may take. All of them are answered from memory; a leader that needs
/// longer is hanging, and another may have taken its place.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The way to the placement driver's leader.
#[derive(Debug)]
pub(crate) struct PdLink {
    /// The endpoints and whatever addresses members have named since.
    known: Arc<Mutex<Vec<Arc<str>>>>,
    cluster: Arc<OnceLock<ClusterId>>,
    leader: Flight<Leader>,
    connect_timeout: Duration,
}

/// A connection to the leader.
#[derive(Clone, Debug)]
struct Leader {
    address: Arc<str>,
    channel: Channel,
}

/// What one member says of all.
#[derive(Debug)]
struct Testimony {
    address: Arc<str>,
    channel: Channel,
    answer: pdpb::GetMembersResponse,
}

impl PdLink {
    /// Checks the endpoints' form; connects to nothing.
    pub(crate) fn new(endpoints: &[&str], connect_timeout: Duration) -> Result<Self, Error> {
        let refused = |why| {
            let what = "cannot connect to the cluster".to_owned();
            Error::unsent(ErrorKind::InvalidArgument, what, why)
        };
        if endpoints.is_empty() {
            return Err(refused("no address of a placement driver is given".to_owned()));
        }
        for endpoint in endpoints {
            links::endpoint(endpoint).map_err(refused)?;
        }
        let endpoints: Vec<Arc<str>> =
            endpoints.iter().map(|text| Arc::from(authority(text))).collect();
        Ok(Self {
            known: Arc::new(Mutex::new(endpoints)),
            cluster: Arc::default(),
            leader: Flight::default(),
            connect_timeout,
        })
    }

    /// The cluster; zero before the first contact.
    pub(crate) fn cluster(&self) -> ClusterId {
        self.cluster.get().copied().unwrap_or_default()
    }

    /// Finds the leader. [`Failure::Unsent`] where nobody answers at all.
    pub(crate) async fn connect(&self) -> Result<(), Failure> {
        self.leader().await.map(|_leader| ())
    }

    /// Asks for the region at `place` and tells `cache`.
    pub(crate) async fn look_up(
        &self,
        place: Place<'_>,
        cache: &RwLock<RegionCache>,
    ) -> Result<(), Failure> {
        let (region, leader) = match place {
            Place::At(key) => self.region_at(Key::copy_from_slice(key)).await?,
            Place::Below(key) => self.region_below(key).await?,
        };
        cache.write().learn(region, leader);
        Ok(())
    }

    /// Asks for a store's address.
    pub(crate) async fn store_address(&self, id: StoreId) -> Result<String, Failure> {
        let store = self.store(id).await?.store.unwrap_or_default();
        let is_gone = store.state() == metapb::StoreState::Tombstone;
        if is_gone || store.address.is_empty() {
            return Err(Failure::NoRoute(NoRoute::Store(id)));
        }
        Ok(store.address)
    }

    /// Asks for all that is known of a store.
    pub(crate) async fn store(&self, id: StoreId) -> Result<pdpb::GetStoreResponse, Failure> {
        let answer = self.ask(|mut pd, header| async move {
            let request = pdpb::GetStoreRequest { header, store_id: id.get() };
            let answer = pd.get_store(request).await?.into_inner();
            Ok((answer.header.clone(), answer))
        });
        answer.await.map_err(|failure| match failure {
            Failure::Rejected(text) if text.contains(UNKNOWN_STORE) => {
                Failure::NoRoute(NoRoute::Store(id))
            }
            other => other,
        })
    }

    /// Asks one question of the leader. `question` returns the answer with a copy of its header.
    pub(crate) async fn ask<T, F>(
        &self,
        question: impl FnOnce(PdClient<Channel>, Option<pdpb::RequestHeader>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<(Option<pdpb::ResponseHeader>, T), Status>>,
    {
        self.ask_on(|channel, header| question(PdClient::new(channel), header)).await
    }

    /// Asks how stores and regions are. `None` where the placement driver is another implementation, which
    /// does not know the question.
    pub(crate) async fn health(&self) -> Result<Option<HealthResponse>, Failure> {
        let question = |channel, _header| async {
            let request = HealthRequest { cluster_id: self.cluster().get() };
            match ClusterClient::new(channel).health(request).await {
                Ok(answer) => Ok((None, Some(answer.into_inner()))),
                Err(status) if status.code() == Code::Unimplemented => Ok((None, None)),
                Err(status) => Err(status),
            }
        };
        self.ask_on(question).await
    }

    /// Asks one question beyond the public protocol.
    pub(crate) async fn ask_cluster<T, F>(
        &self,
        question: impl FnOnce(ClusterClient<Channel>, u64) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.ask_beyond(|channel, cluster| question(ClusterClient::new(channel), cluster)).await
    }

    /// Asks one question about placement.
    pub(crate) async fn ask_placement<T, F>(
        &self,
        question: impl FnOnce(PlacementClient<Channel>, u64) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.ask_beyond(|channel, cluster| question(PlacementClient::new(channel), cluster)).await
    }

    /// The same, with an answer that may take so long.
    pub(crate) async fn ask_placement_for<T, F>(
        &self,
        patience: Duration,
        question: impl FnOnce(PlacementClient<Channel>, u64) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let cluster = self.cluster().get();
        let question = |channel, _header| async {
            Ok((None, question(PlacementClient::new(channel), cluster).await?))
        };
        self.ask_for(patience, question).await
    }

    /// The answers have no header.
    async fn ask_beyond<T, F>(&self, question: impl FnOnce(Channel, u64) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let cluster = self.cluster().get();
        let question = |channel, _header| async { Ok((None, question(channel, cluster).await?)) };
        self.ask_on(question).await
    }

    async fn ask_on<T, F>(
        &self,
        question: impl FnOnce(Channel, Option<pdpb::RequestHeader>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<(Option<pdpb::ResponseHeader>, T), Status>>,
    {
        self.ask_for(ANSWER_TIMEOUT, question).await
    }

    async fn ask_for<T, F>(
        &self,
        patience: Duration,
        question: impl FnOnce(Channel, Option<pdpb::RequestHeader>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<(Option<pdpb::ResponseHeader>, T), Status>>,
    {
        let (leader, number) = self.leader().await?;
        let header = pdpb::RequestHeader {
            cluster_id: self.cluster().get(),
            ..pdpb::RequestHeader::default()
        };
        let asked = question(leader.channel.clone(), Some(header));
        let status = match tokio::time::timeout(patience, asked).await {
            Ok(Ok((header, answer))) => return check(header.as_ref()).map(|()| answer),
            Ok(Err(status)) => status,
            Err(_elapsed) => Status::unavailable(format!("no answer within {patience:?}")),
        };
        match status.code() {
            Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented => {
                Err(Failure::Rejected(status.message().to_owned()))
            }
            Code::Unknown if status.message().contains(UNKNOWN_STORE) => {
                Err(Failure::Rejected(status.message().to_owned()))
            }
            // Whatever else it is: the next question looks for the leader anew.
            _ => {
                self.leader.discard(number);
                Err(no_answer(describe(&leader.address, &status)))
            }
        }
    }

    async fn region_at(&self, key: Key) -> Result<(Region, Option<Peer>), Failure> {
        let answer = self.ask(|mut pd, header| async move {
            let request = pdpb::GetRegionRequest { header, region_key: key, need_buckets: false };
            let answer = pd.get_region(request).await?.into_inner();
            Ok((answer.header.clone(), answer))
        });
        region_of(answer.await?)
    }

    /// The region that ends at `key` or holds the keys right below it.
    async fn region_below(&self, key: &[u8]) -> Result<(Region, Option<Peer>), Failure> {
        if key.is_empty() {
            return self.last_region().await;
        }
        let key = Key::copy_from_slice(key);
        let (region, leader) = self.region_at(key.clone()).await?;
        if region.range.start < key {
            return Ok((region, leader));
        }
        let answer = self.ask(|mut pd, header| async move {
            let request = pdpb::GetRegionRequest { header, region_key: key, need_buckets: false };
            let answer = pd.get_prev_region(request).await?.into_inner();
            Ok((answer.header.clone(), answer))
        });
        region_of(answer.await?)
    }

    /// The region without an upper bound. In a cluster of ours it begins at the guard border; in
    /// any other it lies at or above that border.
    async fn last_region(&self) -> Result<(Region, Option<Peer>), Failure> {
        let (mut region, mut leader) = self.region_at(guard_border()).await?;
        while !region.range.end.is_empty() {
            (region, leader) = self.region_at(region.range.end).await?;
        }
        Ok((region, leader))
    }

    async fn leader(&self) -> Result<(Leader, u64), Failure> {
        let search = || {
            let (known, cluster) = (Arc::clone(&self.known), Arc::clone(&self.cluster));
            find_leader(known, cluster, self.connect_timeout)
        };
        match self.leader.get(search).await {
            Ok(landed) => Ok((landed.value, landed.number)),
            Err(why) if why.contains(MISMATCH) => Err(Failure::Rejected(why.to_string())),
            Err(why) if why.contains(NO_LEADER) => Err(no_answer(why.to_string())),
            // Before the first contact nobody has been reached at all.
            Err(why) if self.cluster.get().is_none() => Err(Failure::Unsent(why.to_string())),
            Err(why) => Err(no_answer(why.to_string())),
        }
    }
}

const MISMATCH: &str = "mismatch cluster id";
const NO_LEADER: &str = "has no leader yet";
/// The text is protocol: there is no code for it.
const UNKNOWN_STORE: &str = "invalid store ID";

fn no_answer(text: String) -> Failure {
    Failure::NoRoute(NoRoute::PlacementDriver(text))
}

fn check(header: Option<&pdpb::ResponseHeader>) -> Result<(), Failure> {
    let Some(error) = header.and_then(|header| header.error.as_ref()) else { return Ok(()) };
    match error.r#type() {
        pdpb::ErrorType::Ok => Ok(()),
        pdpb::ErrorType::NotBootstrapped => Err(Failure::NoRoute(NoRoute::NotBootstrapped)),
        pdpb::ErrorType::RegionNotFound => Err(Failure::NoRoute(NoRoute::Region)),
        _ => Err(Failure::Rejected(error.message.clone())),
    }
}

fn region_of(answer: pdpb::GetRegionResponse) -> Result<(Region, Option<Peer>), Failure> {
    let region = answer.region.ok_or(Failure::NoRoute(NoRoute::Region))?;
    let region = Region::try_from(region)
        .map_err(|why| no_answer(format!("it described a region that makes no sense: {why}")))?;
    Ok((region, answer.leader.as_ref().and_then(peer)))
}

/// Asks every known member who leads, and connects to that one.
async fn find_leader(
    known: Arc<Mutex<Vec<Arc<str>>>>,
    cluster: Arc<OnceLock<ClusterId>>,
    timeout: Duration,
) -> Result<Leader, String> {
    let mut asked = JoinSet::new();
    for address in known.lock().iter().cloned() {
        asked.spawn(hear(address, timeout));
    }
    let mut testimonies = Vec::new();
    let mut failures = Vec::new();
    while let Some(heard) = asked.join_next().await {
        match heard {
            Ok(Ok(testimony)) => testimonies.push(testimony),
            Ok(Err(why)) => failures.push(why),
            Err(_cancelled) => {}
        }
    }
    for Testimony { address, answer, .. } in &testimonies {
        let told = ClusterId(answer.header.as_ref().map_or(0, |header| header.cluster_id));
        if told.is_none() {
            // It is at its first start, and has not made the cluster yet.
            return Err(format!("the placement driver at {address} {NO_LEADER}"));
        }
        let expected = *cluster.get_or_init(|| told);
        if told != expected {
            return Err(format!("{MISMATCH}: need {expected} but {address} belongs to {told}"));
        }
    }
    let Some(first) = testimonies.first() else { return Err(failures.join("; ")) };
    let leader = testimonies.iter().find_map(|testimony| testimony.answer.leader.clone());
    let fallback = Leader { address: Arc::clone(&first.address), channel: first.channel.clone() };
    let Some(leader) = leader else {
        return Err(format!("the placement driver at {} {NO_LEADER}", first.address));
    };
    remember(&known, &testimonies);
    let urls: Vec<Arc<str>> =
        leader.client_urls.iter().map(|url| Arc::from(authority(url))).collect();
    if let Some(heard) = testimonies.iter().find(|heard| urls.contains(&heard.address)) {
        let (address, channel) = (Arc::clone(&heard.address), heard.channel.clone());
        return Ok(Leader { address, channel });
    }
    for address in urls {
        if let Ok(channel) = links::open(&address, timeout).await {
            return Ok(Leader { address, channel });
        }
    }
    // Its advertised address does not work from here. A member that answers may be the leader
    // itself behind a forwarded port; if it is not, it will say so.
    Ok(fallback)
}

async fn hear(address: Arc<str>, timeout: Duration) -> Result<Testimony, String> {
    let channel = links::open(&address, timeout).await?;
    let request = pdpb::GetMembersRequest { header: Some(pdpb::RequestHeader::default()) };
    let mut pd = PdClient::new(channel.clone());
    match tokio::time::timeout(ANSWER_TIMEOUT, pd.get_members(request)).await {
        Ok(Ok(answer)) => Ok(Testimony { address, channel, answer: answer.into_inner() }),
        Ok(Err(status)) if status.code() == Code::Unimplemented => {
            Err(format!("{address} is not a placement driver; is it a store's port?"))
        }
        // The connection came about, and something else than gRPC was at its other end, or it broke.
        Ok(Err(status)) if status.source().is_some() => {
            let why = describe(&address, &status);
            Err(format!("{why}; is it the port of a placement driver?"))
        }
        Ok(Err(status)) => Err(describe(&address, &status)),
        Err(_elapsed) => Err(format!("{address} did not answer within {ANSWER_TIMEOUT:?}")),
    }
}

/// Takes note of members' addresses, so that the leader is found when the given endpoints are gone.
fn remember(known: &Mutex<Vec<Arc<str>>>, testimonies: &[Testimony]) {
    /// More members than any placement driver has.
    const KNOWN_MAX: usize = 64;
    let members = testimonies.iter().flat_map(|testimony| &testimony.answer.members);
    let mut known = known.lock();
    for address in members.flat_map(|member| &member.client_urls).map(|url| authority(url).into()) {
        if known.len() < KNOWN_MAX && !known.contains(&address) {
            known.push(address);
        }
    }
}
