//! `flotilla.pd.StoreLink`: registration of store runs, the wait for the first regions, and the lines that show
//! which stores are there.

use std::time::Duration;

use flotilla_base::{Incarnation, StoreId};
use flotilla_pdcore::Denied;
use flotilla_proto::{store_link as wire, store_link::store_link_server::StoreLink};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{convert, reject};
use crate::{
    core::{Look, Request as Ask},
    handle::CoreHandle,
};

/// How long one call waits for the bootstrap before the store has to call again: short enough that no
/// middle box takes the call for dead.
const BOOTSTRAP_WAIT: Duration = Duration::from_secs(20);

/// What stores ask beyond the public protocol.
pub(super) struct StoreLinkService {
    pub core: CoreHandle,
}

#[tonic::async_trait]
impl StoreLink for StoreLinkService {
    async fn register_store(
        &self,
        request: Request<wire::RegisterStoreRequest>,
    ) -> Result<Response<wire::RegisterStoreResponse>, Status> {
        let request = request.into_inner();
        let status = reject::admit(&self.core, request.cluster_id).await?;
        let store = request.store.ok_or_else(|| Status::invalid_argument("store is absent"))?;
        let store = Box::new(convert::store_from_wire(store, request.incarnation));
        let stored = self.core.ask(|reply| Ask::PutStore { store, reply }).await;
        stored.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(wire::RegisterStoreResponse {
            cluster_id: status.cluster_id(),
            max_replicas: status.cluster.map_or(0, |cluster| cluster.max_replicas),
        }))
    }

    async fn await_bootstrap(
        &self,
        request: Request<wire::AwaitBootstrapRequest>,
    ) -> Result<Response<wire::BootstrapPlan>, Status> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let id = StoreId(request.store_id);
        let known = self.core.ask(|reply| Look::Store { id, reply }).await;
        known.map_err(|denied| reject::status(&denied))?;
        let mut watched = self.core.status.clone();
        let made = timeout(BOOTSTRAP_WAIT, watched.wait_for(|now| now.bootstrap.is_some())).await;
        let status = match made {
            Ok(Ok(status)) => status.clone(),
            Ok(Err(_owner_is_gone)) => return Err(reject::status(&Denied::Stopped)),
            Err(_elapsed) => {
                let text = "too few stores are registered to bootstrap; call again";
                return Err(Status::deadline_exceeded(text));
            }
        };
        let planned = status.bootstrap.iter().flat_map(|plan| &plan.regions);
        let regions = planned.map(|planned| wire::PlannedRegion {
            region: Some((&planned.region).into()),
            first_leader_peer: planned.first_leader.get(),
        });
        let cluster_id = status.cluster_id();
        Ok(Response::new(wire::BootstrapPlan { cluster_id, regions: regions.collect() }))
    }

    async fn keep_line(
        &self,
        request: Request<wire::KeepLineRequest>,
    ) -> Result<Response<BoxStream<wire::LineNotice>>, Status> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let (id, run) = (StoreId(request.store_id), Incarnation(request.incarnation));
        let (notices, line) = mpsc::channel(1);
        let (opened, told) = oneshot::channel();
        // A task of its own: this call may be dropped at any moment, and what was opened must be closed.
        tokio::spawn(watch_line(self.core.clone(), id, run, opened, notices));
        let outcome = told.await.unwrap_or(Err(Denied::Stopped));
        outcome.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(line))))
    }
}

/// Tells the owner of the beginning and of the end of a line. It ends when the store's end of it is gone, or when
/// this member leads no more.
async fn watch_line(
    core: CoreHandle,
    id: StoreId,
    run: Incarnation,
    opened: oneshot::Sender<Result<(), Denied>>,
    notices: mpsc::Sender<Result<wire::LineNotice, Status>>,
) {
    let outcome = core.ask(|reply| Ask::OpenLine { id, run, reply }).await;
    let is_open = outcome.is_ok();
    let _caller_may_be_gone = opened.send(outcome);
    if !is_open {
        return;
    }
    let is_deposed = tokio::select! {
        () = notices.closed() => false,
        () = core.deposed() => true,
    };
    let _owner_may_be_gone = core.tell(Ask::BreakLine { id, run }).await;
    if is_deposed {
        let _store_may_be_gone = notices.send(Err(reject::status(&Denied::NotLeader))).await;
    }
}
