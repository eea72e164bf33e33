//! The server around the services: limits, pings, and its end.

use std::{io, sync::Arc, time::Duration};

use flotilla_base::{ClusterId, limit::MESSAGE_BYTES_MAX};
use flotilla_transport::RaftService;
use tokio::{net::TcpListener, sync::watch};
use tonic::{codec::CompressionEncoding, service::Routes, transport::Server};

use super::{
    Regions,
    admission::Admission,
    answers::{Accounted, AnswerMemory},
    context::Identity,
    health::HealthService,
    listener::Accept,
    raw::{Parts, RawService, Source},
    read_pool::ReadPool,
    rpc_metrics::RpcMetrics,
};
use crate::{
    config::StoreConfig,
    host::Shared,
    pd_link::PdLink,
    split::{load::meter::Loads, splitter::SplitRegions},
};

/// Calls at the same time on one connection: published clients send hundreds.
const STREAMS_MAX: u32 = 4096;
/// Flow-control windows; the protocol's own 64 KiB would make large values wait for round trips.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A connection that is silent for so long is asked for a sign of life, and given up where none comes.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls under way may take once the store stops.
const DRAIN_TIME: Duration = Duration::from_millis(300);

/// What requests have to do with splits.
pub(crate) struct SplitParts {
    pub(crate) splitter: Arc<dyn SplitRegions>,
    /// What regions are asked for is counted in it.
    pub(crate) loads: Arc<Loads>,
}

/// All services of a store on its one port. `raft` comes from the transport.
///
/// # Errors
/// A thread for reads cannot be started.
pub(crate) fn routes(
    config: &StoreConfig,
    shared: &Shared,
    link: &PdLink,
    splits: &SplitParts,
    raft: flotilla_proto::raft::raft_server::RaftServer<RaftService>,
) -> io::Result<Routes> {
    let identity = Identity { cluster: link.cluster_id(), store: shared.router.store_id() };
    debug_assert_ne!(identity.cluster, ClusterId(0), "the link knows its cluster");
    let source = Source {
        regions: shared.router.clone(),
        engine: shared.engine.clone(),
        identity,
        metrics: RpcMetrics::new(shared.metrics.registry()),
        splitter: Arc::clone(&splits.splitter),
        loads: Arc::clone(&splits.loads),
        brake: Arc::clone(&shared.inbound.brake),
        clock_millis: flotilla_telemetry::clock::unix_millis,
    };
    let room_to_apply = Arc::clone(shared.inbound.memory.room_to_apply());
    let parts = Parts {
        source: Arc::new(source),
        admission: Admission::new(config.limits.write_memory, room_to_apply),
        answers: AnswerMemory::new(config.limits.answer_memory),
        pool: ReadPool::start(config.threads.read)?,
    };
    Ok(client_routes(parts).add_service(raft))
}

/// The services for clients.
pub(super) fn client_routes<R: Regions>(parts: Parts<R>) -> Routes {
    let raw = RawService::new(Arc::new(parts))
        .into_server()
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Gzip);
    Routes::new(Accounted(raw)).add_service(HealthService::server())
}

/// Serves until `stopped` says so; calls under way get a moment then.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    mut stopped: watch::Receiver<bool>,
) {
    let mut drained = stopped.clone();
    let until_stopped = async move {
        // A sender that is gone is a store that is gone.
        let _sender_gone = stopped.wait_for(|stop| *stop).await.is_err();
    };
    // Streams between stores never end by themselves.
    let until_drained = async move {
        let _sender_gone = drained.wait_for(|stop| *stop).await.is_err();
        tokio::time::sleep(DRAIN_TIME).await;
    };
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .add_routes(routes)
        .serve_with_incoming_shutdown(Accept::new(listener), until_stopped);
    tokio::select! {
        ended = server => {
            if let Err(error) = ended {
                tracing::error!(%error, "the server of the store ended");
            }
        }
        () = until_drained => {}
    }
}
