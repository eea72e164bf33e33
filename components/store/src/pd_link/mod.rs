//! A store's link to its placement driver: joins the cluster, reports regions and the store itself, and
//! looks up where other stores are.
//!
//! The placement driver may be away at any time: regions go on, reports wait (the latest of each region,
//! no queue), and addresses that were known stay known.
//!
//! Reading order: [`leader`] (finding whom to ask), this file, [`regions`], [`orders`], [`figures`], [`addresses`].

mod addresses;
mod figures;
mod leader;
mod orders;
mod regions;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flotilla_base::{ClusterId, Incarnation, PeerId, PeerRole, Region, RegionId, StoreId};
use flotilla_multiraft::Report;
use flotilla_proto::{
    SERVED_VERSION, metapb, pdpb,
    pdpb::pd_client::PdClient,
    store_link::{
        AwaitBootstrapRequest, BootstrapPlan, RegisterStoreRequest,
        store_link_client::StoreLinkClient,
    },
};
use flotilla_telemetry::{clock::unix_millis, spawn_or_abort};
use flotilla_transport::ResolveStore;
use tokio::runtime::Handle;
use tonic::Status;

use crate::{boot::Planned, config::StoreConfig, host::Shared, service::SplitParts};

use self::{
    addresses::StoreAddresses,
    leader::Leader,
    orders::Orders,
    regions::{LedRegions, Reporter, TakeOrder},
};

pub use leader::PdLinkError;

/// How long a store that starts waits for its placement driver.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// How long a split waits for ids. A client may wait for it.
const SPLIT_PATIENCE: Duration = Duration::from_secs(5);

/// One call that waits for the bootstrap ends by itself before this.
const BOOTSTRAP_ANSWER: Duration = Duration::from_secs(60);

/// How often a store and its regions are reported where nothing changes.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The link of one store.
pub struct PdLink {
    leader: Arc<Leader>,
    addresses: Arc<StoreAddresses>,
    led: Arc<LedRegions>,
    is_bootstrapped: AtomicBool,
    /// Set once registered.
    store: OnceLock<Registered>,
}

/// This store as the placement driver knows it.
struct Registered {
    id: StoreId,
    run: Incarnation,
    data_dir: PathBuf,
    started_unix_seconds: u64,
}

/// What a store learns when it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// How many replicas each region should have.
    pub max_replicas: u32,
}

impl PdLink {
    /// Finds the leader of the placement driver at `endpoints` (each `host:port`). A `cluster` of zero
    /// takes whatever cluster it speaks for. Waits up to a minute for one to be there.
    ///
    /// # Errors
    /// [`PdLinkError`]: nobody is there, or it speaks for another cluster.
    pub async fn connect(endpoints: &[String], cluster: ClusterId) -> Result<Self, PdLinkError> {
        let leader = Arc::new(Leader::new(endpoints, cluster));
        leader.find(JOIN_PATIENCE).await?;
        Ok(Self {
            addresses: Arc::new(StoreAddresses::new(Arc::clone(&leader))),
            leader,
            led: Arc::default(),
            is_bootstrapped: AtomicBool::new(false),
            store: OnceLock::new(),
        })
    }

    /// The cluster; never zero.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.leader.cluster()
    }

    /// A fresh id.
    ///
    /// # Errors
    /// [`PdLinkError`] where the placement driver refuses, or is away for too long.
    pub async fn alloc_id(&self) -> Result<u64, PdLinkError> {
        let ask = |channel, header| async move {
            let request = pdpb::AllocIdRequest { header: Some(header), count: 1 };
            let answer = PdClient::new(channel).alloc_id(request).await?.into_inner();
            leader::check_header(answer.header)?;
            Ok(answer.id)
        };
        self.leader.ask(JOIN_PATIENCE, ask).await
    }

    /// Announces this run of the store, and learns where the others are.
    ///
    /// # Errors
    /// [`PdLinkError`] where it is refused: another store has its address, or a later run of it is known.
    pub async fn register(
        &self,
        config: &StoreConfig,
        id: StoreId,
        incarnation: Incarnation,
    ) -> Result<Registration, PdLinkError> {
        let started_unix_seconds = unix_millis() / 1000;
        let store = describe(config, id, started_unix_seconds);
        let ask = |channel, header: pdpb::RequestHeader| {
            let request = RegisterStoreRequest {
                cluster_id: header.cluster_id,
                store: Some(store.clone()),
                incarnation: incarnation.get(),
            };
            async move { Ok(StoreLinkClient::new(channel).register_store(request).await?.into_inner()) }
        };
        let answer = self.leader.ask(JOIN_PATIENCE, ask).await?;
        self.addresses.learn_all().await;
        let data_dir = config.data_dir.clone();
        // A second registration announces the same run again.
        let registered = Registered { id, run: incarnation, data_dir, started_unix_seconds };
        let _same_run = self.store.set(registered).is_err();
        let (cluster_id, max_replicas) = (ClusterId(answer.cluster_id), answer.max_replicas);
        Ok(Registration { cluster_id, max_replicas })
    }

    /// Waits for the first regions of the cluster, for as long as it takes.
    pub(crate) async fn await_bootstrap(&self) -> Vec<Planned> {
        let store = self.store_id();
        loop {
            let ask = |channel, header: pdpb::RequestHeader| async move {
                let request =
                    AwaitBootstrapRequest { cluster_id: header.cluster_id, store_id: store.get() };
                Ok(StoreLinkClient::new(channel).await_bootstrap(request).await?.into_inner())
            };
            match self.leader.ask_long(BOOTSTRAP_ANSWER, ask).await.and_then(read_plan) {
                Ok(plan) => {
                    self.is_bootstrapped.store(true, Ordering::Release);
                    return plan;
                }
                Err(error) => {
                    tracing::debug!(%error, "still waiting for the first regions");
                    self.leader.pause().await;
                }
            }
        }
    }

    /// Whether the first regions of the cluster were announced to this run.
    #[must_use]
    pub fn is_bootstrapped(&self) -> bool {
        self.is_bootstrapped.load(Ordering::Acquire)
    }

    /// Where other stores are.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn ResolveStore> {
        Arc::clone(&self.addresses) as Arc<dyn ResolveStore>
    }

    /// Notes what changed; a new lead is reported at once. Never blocks.
    pub fn report(&self, report: &Report) {
        self.led.note(report);
    }

    /// How many regions this store leads.
    #[must_use]
    pub fn led_regions(&self) -> usize {
        self.led.len()
    }

    /// Whether this store leads the region, as far as it knows.
    pub(crate) fn leads(&self, region: RegionId) -> bool {
        self.led.leads(region)
    }

    /// Ids for `count` new regions that `region` is about to have split off, and for their peers.
    ///
    /// # Errors
    /// [`PdLinkError`] where the placement driver refuses, or is away for too long.
    pub(crate) async fn ask_split(
        &self,
        region: &Region,
        count: usize,
    ) -> Result<Vec<(RegionId, Vec<PeerId>)>, PdLinkError> {
        let region = metapb::Region::from(region.clone());
        let split_count = u32::try_from(count).unwrap_or(u32::MAX);
        let ask = |channel, header| {
            let (header, region) = (Some(header), Some(region.clone()));
            let request = pdpb::AskBatchSplitRequest { header, region, split_count };
            async move {
                let answer = PdClient::new(channel).ask_batch_split(request).await?.into_inner();
                leader::check_header(answer.header)?;
                Ok(answer.ids)
            }
        };
        let ids = self.leader.ask(SPLIT_PATIENCE, ask).await?;
        if ids.len() != count {
            let why = format!("{} ids for {count} new regions", ids.len());
            return Err(PdLinkError::Refused(why));
        }
        let read = |ids: pdpb::SplitId| {
            (RegionId(ids.new_region_id), ids.new_peer_ids.into_iter().map(PeerId).collect())
        };
        Ok(ids.into_iter().map(read).collect())
    }

    /// Tells what came out of a split. Where that does not arrive, the leaders' own reports say the same.
    pub(crate) async fn report_split(&self, regions: &[Region]) {
        let regions: Vec<metapb::Region> = regions.iter().cloned().map(Into::into).collect();
        let tell = |channel, header| {
            let (header, regions) = (Some(header), regions.clone());
            let request = pdpb::ReportBatchSplitRequest { header, regions };
            async move {
                let answer = PdClient::new(channel).report_batch_split(request).await?;
                leader::check_header(answer.into_inner().header)
            }
        };
        if let Err(error) = self.leader.ask(Duration::ZERO, tell).await {
            tracing::debug!(%error, "a split was not reported");
        }
    }

    /// The leaders on this store that another voter could follow.
    pub(crate) fn transferable(&self) -> Vec<(RegionId, PeerId)> {
        self.led.transferable()
    }

    /// Waits until none of these is led from here, for as long as it takes.
    pub(crate) async fn until_led_elsewhere(&self, leaders: &[(RegionId, PeerId)]) {
        self.led.until_led_elsewhere(leaders).await;
    }

    /// Reports this store and the regions it leads, until `runtime` ends.
    pub(crate) fn start_reporting(
        &self,
        runtime: &Handle,
        shared: &Shared,
        SplitParts { splitter, loads }: &SplitParts,
    ) {
        let Some(Registered { id, run, data_dir, started_unix_seconds }) = self.store.get() else {
            debug_assert!(false, "a store registers before it reports");
            return;
        };
        let figures = figures::Figures {
            store: *id,
            started_unix_seconds: *started_unix_seconds,
            data_dir: data_dir.clone(),
            engine: shared.engine.clone(),
            router: shared.router.clone(),
            sizes: Arc::clone(&shared.sizes),
            loads: Arc::clone(loads),
            slowness: (Arc::clone(&shared.metrics), shared.clock),
        };
        let (leader, led) = (Arc::clone(&self.leader), Arc::clone(&self.led));
        let reporter = Reporter { store: *id, run: *run, loads: Arc::clone(loads) };
        let (engine, router) = (shared.engine.clone(), shared.router.clone());
        let orders = Orders::new(engine, router, Arc::clone(splitter), Arc::clone(&led));
        let take_order: TakeOrder = Arc::new(move |order| orders.take(order));
        let regions =
            regions::report_regions(Arc::clone(&leader), Arc::clone(&led), take_order, reporter);
        let liveness = shared.inbound.replicas.liveness.clone();
        let burials = addresses::bury_stores(self.addresses.gone(), liveness);
        let silence = regions::watch_silence(Arc::clone(&shared.inbound.silence), Arc::clone(&led));
        let figures = figures::report_store(leader, led, figures);
        let _they_live_as_long_as_the_store = (
            spawn_or_abort(runtime, "report-regions", regions),
            spawn_or_abort(runtime, "watch-silence", silence),
            spawn_or_abort(runtime, "bury-stores", burials),
            spawn_or_abort(runtime, "report-store", figures),
        );
    }

    /// This store; zero before it is registered.
    fn store_id(&self) -> StoreId {
        self.store.get().map_or(StoreId(0), |store| store.id)
    }
}

impl std::fmt::Debug for PdLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PdLink").field("cluster", &self.cluster_id()).finish_non_exhaustive()
    }
}

fn describe(config: &StoreConfig, id: StoreId, started_unix_seconds: u64) -> metapb::Store {
    let label = |(key, value): (&String, &String)| metapb::StoreLabel {
        key: key.clone(),
        value: value.clone(),
    };
    metapb::Store {
        id: id.get(),
        address: config.advertised(),
        labels: config.labels.iter().map(label).collect(),
        version: SERVED_VERSION.to_owned(),
        status_address: config.status_listen.to_string(),
        start_timestamp: i64::try_from(started_unix_seconds).unwrap_or(i64::MAX),
        ..metapb::Store::default()
    }
}

fn read_plan(plan: BootstrapPlan) -> Result<Vec<Planned>, PdLinkError> {
    let read = |planned: flotilla_proto::store_link::PlannedRegion| {
        let region = planned.region.ok_or_else(|| "a region is absent".to_owned())?;
        let region = Region::try_from(region).map_err(|why| why.to_string())?;
        // Raft starts no group that nobody could lead.
        if region.peers.iter().all(|peer| peer.role == PeerRole::Learner) {
            return Err(format!("region {} has no voter", region.id));
        }
        Ok(Planned { region, first_leader: PeerId(planned.first_leader_peer) })
    };
    let regions = plan.regions.into_iter().map(read).collect::<Result<_, String>>();
    regions.map_err(|why| PdLinkError::Refused(format!("the plan of the first regions: {why}")))
}

/// A status for what is wrong with an answer that came.
fn unusable(why: String) -> Status {
    Status::failed_precondition(why)
}
