//! A view of the cluster through the placement driver.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use flotilla_base::{ClusterId, Key, KeyRange, Peer, Region, StoreId};
use flotilla_proto::{metapb, pdpb};
use flotilla_routing::{Failure, NoRoute};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

use crate::{
    call::{Call, Object, Subject},
    core::Core,
    error::Error,
    health::ClusterHealth,
    options::CallOptions,
    wire::peer,
};

/// Regions that one question asks for.
const REGIONS_PAGE_ITEMS: i32 = 1_024;

/// Questions about the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    core: Arc<Core>,
    options: CallOptions,
}

/// The members of the placement driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The cluster they serve.
    pub cluster: ClusterId,
    /// All of them.
    pub members: Vec<Member>,
    /// The id of the one that leads; `None` during an election.
    pub leader: Option<u64>,
}

/// One member of the placement driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u64,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// What a store is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It holds data and takes more.
    Up,
    /// It holds data and gives it away.
    Offline,
    /// It has left.
    Tombstone,
}

/// What the placement driver knows of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// Its id.
    pub id: StoreId,
    /// Where it serves.
    pub address: String,
    /// Where it shows its state to people; empty where it does not.
    pub status_address: String,
    /// What it is to the cluster.
    pub state: StoreState,
    /// What it runs.
    pub version: String,
    /// Its last sign of life, in nanoseconds since 1970; zero where there was none.
    pub last_heartbeat_unix_nanos: i64,
    /// Its last report.
    pub report: StoreReport,
}

/// What a store says of itself, as of its last heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Regions with a peer on it.
    pub regions: u32,
    /// Size of its disk.
    pub capacity_bytes: u64,
    /// What is free of it.
    pub available_bytes: u64,
    /// What its data takes.
    pub used_bytes: u64,
}

/// What the placement driver knows of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// Its shape.
    pub region: Region,
    /// Who leads it, as of its last heartbeat.
    pub leader: Option<Peer>,
    /// Peers that do not answer their leader.
    pub down: Vec<Peer>,
    /// Peers that have not caught up with their leader.
    pub pending: Vec<Peer>,
}

/// A timestamp of the placement driver; no two are equal, later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Milliseconds since 1970, as the placement driver counts them.
    pub physical_millis: i64,
    /// Position within the millisecond.
    pub logical: i64,
}

impl Admin {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let options = CallOptions::from(&core.options);
        Self { core, options }
    }

    /// The same questions with another deadline for each.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        let options = CallOptions { deadline, ..self.options };
        Self { core: Arc::clone(&self.core), options }
    }

    /// The members of the placement driver.
    ///
    /// # Errors
    /// [`Error`] where none answers before the deadline.
    pub async fn members(&self) -> Result<Members, Error> {
        let question = || {
            self.core.pd.ask(|mut pd, header| async move {
                let request = pdpb::GetMembersRequest { header };
                let answer = pd.get_members(request).await?.into_inner();
                Ok((answer.header.clone(), answer))
            })
        };
        let answer = self.call("list", "the members").ask(question).await?;
        let member = |member: pdpb::Member| Member {
            name: member.name,
            id: member.member_id,
            client_urls: member.client_urls,
        };
        Ok(Members {
            cluster: self.core.pd.cluster(),
            leader: answer.leader.map(|leader| leader.member_id),
            members: answer.members.into_iter().map(member).collect(),
        })
    }

    /// Whether the cluster has been started up: whether its first regions exist.
    ///
    /// # Errors
    /// As [`Self::members`].
    pub async fn is_bootstrapped(&self) -> Result<bool, Error> {
        let question = || {
            self.core.pd.ask(|mut pd, header| async move {
                let request = pdpb::IsBootstrappedRequest { header };
                let answer = pd.is_bootstrapped(request).await?.into_inner();
                Ok((answer.header.clone(), answer.bootstrapped))
            })
        };
        self.call("ask about", "the cluster").ask(question).await
    }

    /// All stores, those that have left included, ordered by id.
    ///
    /// # Errors
    /// As [`Self::members`].
    pub async fn stores(&self) -> Result<Vec<StoreInfo>, Error> {
        let question = || {
            self.core.pd.ask(|mut pd, header| async move {
                let request = pdpb::GetAllStoresRequest { header, exclude_tombstone_stores: false };
                let answer = pd.get_all_stores(request).await?.into_inner();
                Ok((answer.header.clone(), answer.stores))
            })
        };
        let mut stores = self.call("list", "the stores").ask(question).await?;
        stores.sort_by_key(|store| store.id);
        let mut infos = Vec::with_capacity(stores.len());
        for store in stores {
            let id = StoreId(store.id);
            let answer = self.call("ask about", "a store").ask(|| self.core.pd.store(id)).await?;
            infos.push(store_info(store, answer.stats.unwrap_or_default()));
        }
        Ok(infos)
    }

    /// How stores and regions are, as the placement driver judges them now; `None` where it is another
    /// implementation, which does not tell.
    ///
    /// # Errors
    /// As [`Self::members`].
    pub async fn health(&self) -> Result<Option<ClusterHealth>, Error> {
        let mut call = self.call("ask about", "the health of the cluster");
        let answer = call.ask(|| self.core.pd.health()).await?;
        Ok(answer.map(ClusterHealth::from))
    }

    /// Those of `stores` that do not answer a plain question within `patience`: they are dead, frozen, cut off from
    /// here, or have far too much to do. Each is asked itself, all of them at once.
    pub async fn silent_stores(
        &self,
        stores: &[StoreInfo],
        patience: Duration,
    ) -> BTreeSet<StoreId> {
        let patience = patience.min(self.options.deadline);
        let mut questions = JoinSet::new();
        for store in stores {
            let (core, id) = (Arc::clone(&self.core), store.id);
            let address: Arc<str> = Arc::from(store.address.as_str());
            questions.spawn(async move { (id, core.is_answering(&address, patience).await) });
        }
        let answers = questions.join_all().await.into_iter();
        answers.filter_map(|(id, is_answering)| (!is_answering).then_some(id)).collect()
    }

    /// The regions that share a key with `range`, in the order of their keys, at most `limit`.
    ///
    /// # Errors
    /// As [`Self::members`].
    pub async fn regions(&self, range: KeyRange, limit: usize) -> Result<Vec<RegionInfo>, Error> {
        let mut infos: Vec<RegionInfo> = Vec::new();
        let mut start = range.start;
        while infos.len() < limit {
            let page = self.regions_page(start.clone(), range.end.clone()).await?;
            // Borders may move between two pages; a region that was seen is not shown again.
            let is_new = |info: &RegionInfo| info.region.range.start >= start;
            let fresh = page.into_iter().filter(|info| infos.is_empty() || is_new(info));
            let fresh: Vec<RegionInfo> = fresh.collect();
            let Some(last) = fresh.last() else { break };
            start = last.region.range.end.clone();
            infos.extend(fresh);
            if start.is_empty() || (!range.end.is_empty() && start >= range.end) {
                break;
            }
        }
        infos.truncate(limit);
        Ok(infos)
    }

    /// A fresh timestamp, larger than all that were given out before the call.
    ///
    /// # Errors
    /// As [`Self::members`].
    pub async fn tso(&self) -> Result<Timestamp, Error> {
        let question = || {
            self.core.pd.ask(|mut pd, header| async move {
                let request = pdpb::TsoRequest { header, count: 1, dc_location: String::new() };
                let mut answers = pd.tso(tokio_stream::once(request)).await?.into_inner();
                let answer = answers.next().await.unwrap_or_else(|| {
                    Err(tonic::Status::unavailable("the stream of timestamps ended early"))
                })?;
                Ok((answer.header.clone(), answer.timestamp.unwrap_or_default()))
            })
        };
        let timestamp = self.call("get", "a timestamp").ask(question).await?;
        Ok(Timestamp { physical_millis: timestamp.physical, logical: timestamp.logical })
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) const fn options(&self) -> CallOptions {
        self.options
    }

    async fn regions_page(&self, start: Key, end: Key) -> Result<Vec<RegionInfo>, Error> {
        let question = || {
            let (start_key, end_key) = (start.clone(), end.clone());
            async {
                let answer = self.core.pd.ask(|mut pd, header| async move {
                    let limit = REGIONS_PAGE_ITEMS;
                    let request = pdpb::ScanRegionsRequest { header, start_key, end_key, limit };
                    let answer = pd.scan_regions(request).await?.into_inner();
                    Ok((answer.header.clone(), answer.regions))
                });
                answer.await?.into_iter().map(region_info).collect()
            }
        };
        self.call("list", "the regions").ask(question).await
    }

    pub(crate) fn call(&self, verb: &'static str, object: &'static str) -> Call<'_> {
        let subject = Subject { verb, object: Object::Named(object) };
        Call::read(&self.core, subject, self.options)
    }
}

pub(crate) fn store_info(store: metapb::Store, stats: pdpb::StoreStats) -> StoreInfo {
    StoreInfo {
        id: StoreId(store.id),
        state: match store.state() {
            metapb::StoreState::Up => StoreState::Up,
            metapb::StoreState::Offline => StoreState::Offline,
            metapb::StoreState::Tombstone => StoreState::Tombstone,
        },
        address: store.address,
        status_address: store.status_address,
        version: store.version,
        last_heartbeat_unix_nanos: store.last_heartbeat,
        report: StoreReport {
            regions: stats.region_count,
            capacity_bytes: stats.capacity,
            available_bytes: stats.available,
            used_bytes: stats.used_size,
        },
    }
}

pub(crate) fn region_info(region: pdpb::Region) -> Result<RegionInfo, Failure> {
    let meta = Region::try_from(region.region.unwrap_or_default()).map_err(|why| {
        let text = format!("it described a region that makes no sense: {why}");
        Failure::NoRoute(NoRoute::PlacementDriver(text))
    })?;
    let down = region.down_peers.iter().filter_map(|stats| stats.peer.as_ref());
    Ok(RegionInfo {
        region: meta,
        leader: region.leader.as_ref().and_then(peer),
        down: down.filter_map(peer).collect(),
        pending: region.pending_peers.iter().filter_map(peer).collect(),
    })
}
