//! Start and stop of a placement driver.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use flotilla_engine::{
    DataDir, Engine, EngineOptions,
    data_dir::{Expect, Role},
};
use flotilla_proto::pdpb;
use flotilla_telemetry::{MonotonicClock, Registry, Unfinished, spawn_or_abort, thread};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle as TaskHandle, spawn_blocking},
    time::timeout,
};

use crate::{
    PdError, SERVED_VERSION,
    admin::Progress,
    config::PdConfig,
    core::{Inputs, MEMBER, Owner, Request, Shared, request_queue},
    grpc,
    handle::CoreHandle,
    http,
    listener::{self, Routers},
    metrics::PdMetrics,
    status::Status,
    tso::TsoGate,
};

/// How long a first start waits for the cluster's identity.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A running placement driver. Dropping it ends it too, without waiting for the end.
#[derive(Debug)]
pub struct Pd {
    address: SocketAddr,
    client_url: String,
    handle: CoreHandle,
    /// Ends the listener.
    stop_serving: watch::Sender<bool>,
    /// Ends the owner.
    stop_owner: watch::Sender<bool>,
    ended: oneshot::Receiver<Result<(), PdError>>,
    owner: JoinHandle<()>,
    serving: TaskHandle<()>,
}

impl Pd {
    /// Starts a placement driver on the runtime of the caller, and returns once it accepts
    /// connections and the cluster has an identity. Its metrics go into `registry`, which no other
    /// placement driver may share.
    ///
    /// # Errors
    /// [`PdError`]; nothing keeps running then.
    pub async fn start(config: PdConfig, registry: &Registry) -> Result<Self, PdError> {
        check(&config)?;
        // The address comes first: a second start beside a running one must not touch anything.
        let listener = bind(config.client_address).await?;
        let address = listener
            .local_addr()
            .map_err(|cause| PdError::Listen { address: config.client_address, cause })?;
        let config = PdConfig { client_address: address, ..config };
        let client_url = config.client_url();
        let member = Arc::new(member(&config));
        let clock = MonotonicClock::start();
        let metrics = PdMetrics::new(registry);
        let shared = Shared {
            clock,
            tso: Arc::new(TsoGate::new(clock, metrics.timestamps.clone())),
            status: watch::Sender::new(Status::default()),
            regions: watch::Sender::new(0),
            metrics,
            unfinished: Unfinished::default(),
        };
        let (stop_serving, serves) = watch::channel(false);
        let (stop_owner, owns) = watch::channel(false);
        let (requests, queue) = request_queue();
        let handle = core_handle(&shared, requests);
        let core = spawn_blocking(move || open(&config, shared)).await;
        let core = core.map_err(|panic| PdError::Thread(io::Error::other(panic)))??;
        let inputs = Inputs { requests: queue, shutdown: owns };
        let (owner, ended) = run_owner(core, inputs)?;
        let http = http::router(&handle, &member, registry);
        let routers = Routers { grpc: grpc::router(&handle, &member), http };
        let served = listener::serve(listener, routers, serves);
        let serving = spawn_or_abort(&Handle::current(), "serve", served);
        let mut pd =
            Self { address, client_url, handle, stop_serving, stop_owner, ended, owner, serving };
        pd.wait_for_identity().await?;
        tracing::info!(address = %pd.address, cluster = pd.cluster_id(), "placement driver serves");
        Ok(pd)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that it tells to clients.
    #[must_use]
    pub fn client_url(&self) -> &str {
        &self.client_url
    }

    /// The cluster's identity.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.handle.status().cluster_id()
    }

    /// Waits until it ends by itself, which it does only where it must not go on: the process should
    /// end then, too.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> Result<(), PdError> {
        let gone = || PdError::Thread(io::Error::other("the owner has panicked"));
        (&mut self.ended).await.map_err(|_dropped| gone())?
    }

    /// Stops in order: nobody is let in, calls under way get a moment while the owner still answers, then the owner
    /// ends. Waits for all of it.
    ///
    /// # Errors
    /// What went wrong before or in the end.
    pub async fn shutdown(mut self) -> Result<(), PdError> {
        self.stop_serving.send_replace(true);
        let _what_was_late_is_cut = (&mut self.serving).await;
        self.end().await
    }

    /// Stops without a moment for anybody: calls under way are cut. Waits for the end of the owner.
    ///
    /// # Errors
    /// What went wrong before or in the end.
    pub async fn kill(self) -> Result<(), PdError> {
        self.serving.abort();
        self.end().await
    }

    async fn end(mut self) -> Result<(), PdError> {
        self.stop_owner.send_replace(true);
        let outcome = self.ended().await;
        let owner = self.owner;
        let joined = spawn_blocking(move || owner.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            return Err(PdError::Thread(io::Error::other("the owner has panicked")));
        }
        outcome
    }

    /// Replicas of each region, as they were chosen when the cluster was made.
    #[must_use]
    pub fn max_replicas(&self) -> u32 {
        self.handle.status().cluster.map_or(0, |cluster| cluster.max_replicas)
    }

    async fn wait_for_identity(&mut self) -> Result<(), PdError> {
        let mut status = self.handle.status.clone();
        let known = status.wait_for(|status| status.cluster.is_some());
        tokio::select! {
            known = timeout(START_PATIENCE, known) => match known {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_owner_is_gone)) => {}
                Err(_elapsed) => return Err(PdError::NotReady),
            },
            ended = &mut self.ended => if let Ok(Err(error)) = ended {
                return Err(error);
            },
        }
        Err(PdError::NotReady)
    }
}

fn check(config: &PdConfig) -> Result<(), PdError> {
    if config.max_replicas == 0 {
        return Err(PdError::Config("max-replicas must be at least 1".to_owned()));
    }
    if config.name.is_empty() {
        return Err(PdError::Config("a member needs a name".to_owned()));
    }
    let url = config.client_url();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        let text =
            format!("advertised client URL {url:?} needs a scheme, for example http://{url}");
        return Err(PdError::Config(text));
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, PdError> {
    TcpListener::bind(address).await.map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => PdError::AddressInUse(address),
        _ => PdError::Listen { address, cause },
    })
}

fn core_handle(shared: &Shared, requests: mpsc::Sender<Request>) -> CoreHandle {
    CoreHandle {
        requests,
        status: shared.status.subscribe(),
        regions: shared.regions.subscribe(),
        tso: shared.tso.clone(),
        clock: shared.clock,
        unfinished: shared.unfinished.clone(),
        deciding: Arc::default(),
        planning: Arc::default(),
        scatter_groups: crate::admin::ScatterGroups::default(),
        progress: Progress::default(),
    }
}

fn open(config: &PdConfig, shared: Shared) -> Result<Owner, PdError> {
    let expect = Expect { free_min: config.free_min, ..Expect::of(Role::Pd) };
    let data_dir = DataDir::open(&config.data_dir, &expect)?;
    let options = EngineOptions { log_deletion: data_dir.log_deletion(), ..config.engine };
    let engine = Engine::open(&data_dir.database_path(), &options)?;
    if let Some(tail) = engine.cut_tail() {
        tracing::warn!(%tail, "rubbish was cut off a write-ahead log");
    }
    Owner::open(config, engine, data_dir, shared)
}

type RunningOwner = (JoinHandle<()>, oneshot::Receiver<Result<(), PdError>>);

/// Runs the owner on a thread of its own: it writes to a disk, and nothing else may wait for that.
fn run_owner(core: Owner, inputs: Inputs) -> Result<RunningOwner, PdError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(PdError::Thread)?;
    let (end, ended) = oneshot::channel();
    let owner = thread::spawn("pd-core", move || {
        let outcome = runtime.block_on(core.run(inputs));
        if let Err(error) = &outcome {
            tracing::error!(%error, "placement driver stops");
        }
        let _nobody_may_wait = end.send(outcome);
    });
    Ok((owner.map_err(PdError::Thread)?, ended))
}

fn member(config: &PdConfig) -> pdpb::Member {
    pdpb::Member {
        name: config.name.clone(),
        member_id: MEMBER.get(),
        client_urls: vec![config.client_url()],
        binary_version: SERVED_VERSION.to_owned(),
        ..pdpb::Member::default()
    }
}
