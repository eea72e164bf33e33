//! `flotilla.cluster.Cluster`: how stores and regions are, changes of regions, and the removal of stores, for whoever
//! looks after the cluster.

use flotilla_base::{RegionId, StoreId};
use flotilla_pdcore::{AskedChange, Denied};
use flotilla_placement::{Change, EndedOperator, Ending, Leave, Operator, StoreHealth};
use flotilla_proto::{cluster as wire, cluster::cluster_server::Cluster};
use tonic::{Request, Response, Status};

use super::reject;
use crate::{
    core::{LastOperator, Look, Request as Ask},
    handle::CoreHandle,
};

/// What is told beyond the public protocol.
pub(super) struct ClusterService {
    pub core: CoreHandle,
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn health(
        &self,
        request: Request<wire::HealthRequest>,
    ) -> Result<Response<wire::HealthResponse>, Status> {
        let status = reject::admit(&self.core, request.into_inner().cluster_id).await?;
        let health = self.core.ask(|reply| Look::Health { reply }).await;
        let health = health.map_err(|denied| reject::status(&denied))?;
        let store = |(id, health): (StoreId, StoreHealth)| wire::StoreHealth {
            store_id: id.get(),
            contact: contact(health).into(),
        };
        Ok(Response::new(wire::HealthResponse {
            cluster_id: status.cluster_id(),
            stores: health.stores.into_iter().map(store).collect(),
            silent_regions: health.silent_regions.iter().map(|region| region.get()).collect(),
            max_replicas: status.cluster.map_or(0, |cluster| cluster.max_replicas),
        }))
    }

    async fn remove_store(
        &self,
        request: Request<wire::RemoveStoreRequest>,
    ) -> Result<Response<wire::RemoveStoreResponse>, Status> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let id = StoreId(request.store_id);
        let removed =
            self.core.ask(|reply| Ask::RemoveStore { id, leave: Leave::Lost, reply }).await;
        removed.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(wire::RemoveStoreResponse {}))
    }

    async fn add_operator(
        &self,
        request: Request<wire::AddOperatorRequest>,
    ) -> Result<Response<wire::AddOperatorResponse>, Status> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let change = request.change.ok_or_else(|| Status::invalid_argument("change is absent"))?;
        let (region, change) = (RegionId(request.region_id), change_from_wire(change));
        let asked = Box::new(AskedChange { region, change, asked_by: "ctl" });
        let added = self.core.ask(|reply| Ask::AddOperator { asked, reply }).await;
        added.map_err(|denied| reject::status(&denied))?;
        let last = self.core.ask(|reply| Look::LastOperator { region, reply }).await;
        let operator = match last.map_err(|denied| reject::status(&denied))? {
            Some(LastOperator::Running(running)) => Some(operator_to_wire(&running)),
            Some(LastOperator::Ended(ended)) => Some(ended_to_wire(&ended)),
            None => None,
        };
        Ok(Response::new(wire::AddOperatorResponse { operator }))
    }

    async fn cancel_operator(
        &self,
        request: Request<wire::CancelOperatorRequest>,
    ) -> Result<Response<wire::CancelOperatorResponse>, Status> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let region = RegionId(request.region_id);
        let cancelled = self.core.ask(|reply| Ask::CancelOperator { region, reply }).await;
        cancelled.map_err(|denied: Denied| reject::status(&denied))?;
        Ok(Response::new(wire::CancelOperatorResponse {}))
    }

    async fn list_operators(
        &self,
        request: Request<wire::ListOperatorsRequest>,
    ) -> Result<Response<wire::ListOperatorsResponse>, Status> {
        reject::admit(&self.core, request.into_inner().cluster_id).await?;
        let list = self.core.ask(|reply| Look::Operators { reply }).await;
        let list = list.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(wire::ListOperatorsResponse {
            running: list.running.iter().map(operator_to_wire).collect(),
            ended: list.ended.iter().map(|ended| ended_to_wire(ended)).collect(),
        }))
    }
}

fn change_from_wire(change: wire::add_operator_request::Change) -> Change {
    use wire::add_operator_request::Change as Wire;
    match change {
        Wire::TransferLeader(store) => Change::TransferLeader(StoreId(store)),
        Wire::AddPeer(store) => Change::AddPeer(StoreId(store)),
        Wire::AddLearner(store) => Change::AddLearner(StoreId(store)),
        Wire::RemovePeer(store) => Change::RemovePeer(StoreId(store)),
        Wire::MovePeer(wire::MovePeer { from_store, to_store }) => {
            Change::MovePeer { from: StoreId(from_store), to: StoreId(to_store) }
        }
    }
}

pub(crate) fn operator_to_wire(operator: &Operator) -> wire::Operator {
    let plan = &operator.plan;
    wire::Operator {
        id: operator.id.0,
        region_id: plan.region.get(),
        kind: plan.kind.name().to_owned(),
        brief: plan.brief.clone(),
        asked_by: operator.asked_by.to_owned(),
        steps: plan.steps.iter().map(ToString::to_string).collect(),
        done: u32::try_from(operator.done()).unwrap_or(u32::MAX),
        created_unix_ms: operator.created.unix_ms,
        ending: None,
        timeout_ms: plan.timeout().as_millis(),
    }
}

pub(crate) fn ended_to_wire(ended: &EndedOperator) -> wire::Operator {
    let (outcome, reason) = match ended.ending {
        Ending::Finished => (wire::Outcome::Finished, String::new()),
        Ending::TimedOut => (wire::Outcome::TimedOut, ended.ending.to_string()),
        Ending::Cancelled(_) => (wire::Outcome::Cancelled, ended.ending.to_string()),
    };
    let ending = wire::Ending { outcome: outcome.into(), reason, unix_ms: ended.at.unix_ms };
    wire::Operator { ending: Some(ending), ..operator_to_wire(&ended.operator) }
}

const fn contact(health: StoreHealth) -> wire::Contact {
    match health {
        StoreHealth::Up => wire::Contact::Up,
        StoreHealth::Unheard => wire::Contact::Unheard,
        StoreHealth::Disconnected => wire::Contact::Disconnected,
        StoreHealth::Down => wire::Contact::Down,
    }
}
