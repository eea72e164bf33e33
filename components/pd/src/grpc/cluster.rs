//! `flotilla.cluster.Cluster`: how stores and regions are, for whoever looks after the cluster.

use flotilla_placement::StoreHealth;
use flotilla_proto::{cluster as wire, cluster::cluster_server::Cluster};
use tonic::{Request, Response, Status};

use super::reject;
use crate::{core::Request as Ask, handle::CoreHandle};

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
        let theirs = request.into_inner().cluster_id;
        reject::check_cluster(self.core.status().cluster_id(), theirs)?;
        let status = self.core.leading().await.map_err(|denied| reject::status(&denied))?;
        let health = self.core.ask(|reply| Ask::Health { reply }).await;
        let health = health.map_err(|denied| reject::status(&denied))?;
        let store = |(id, health): (flotilla_base::StoreId, StoreHealth)| wire::StoreHealth {
            store_id: id.get(),
            contact: contact(health).into(),
        };
        Ok(Response::new(wire::HealthResponse {
            cluster_id: status.cluster_id(),
            stores: health.stores.into_iter().map(store).collect(),
            silent_regions: health.silent_regions.iter().map(|region| region.get()).collect(),
        }))
    }
}

const fn contact(health: StoreHealth) -> wire::Contact {
    match health {
        StoreHealth::Up => wire::Contact::Up,
        StoreHealth::Unheard => wire::Contact::Unheard,
        StoreHealth::Disconnected => wire::Contact::Disconnected,
        StoreHealth::Down => wire::Contact::Down,
    }
}
