//! The gRPC services of the client port: `pdpb.PD`, `flotilla.pd.StoreLink`, `flotilla.cluster.Cluster`,
//! `flotilla.placement.Placement`, and the health service.

mod cluster;
mod convert;
mod health;
mod pd;
mod placement;
mod reject;
mod split;
mod store_link;
mod streams;

use std::sync::Arc;

use flotilla_base::limit;
use flotilla_proto::{
    cluster::cluster_server::ClusterServer, health::health_server::HealthServer, pdpb,
    pdpb::pd_server::PdServer, placement::placement_server::PlacementServer,
    store_link::store_link_server::StoreLinkServer,
};
use tonic::{codec::CompressionEncoding, service::Routes};

use self::{
    cluster::ClusterService, health::HealthService, pd::PdService, placement::PlacementService,
    store_link::StoreLinkService,
};
use crate::handle::CoreHandle;

pub(crate) use self::{
    cluster::{ended_to_wire, operator_to_wire},
    convert::{region_to_wire, store_to_wire},
};

/// All services as one router.
pub(crate) fn router(core: &CoreHandle, member: &Arc<pdpb::Member>) -> axum::Router {
    let pd = PdServer::new(PdService { core: core.clone(), member: member.clone() })
        .max_decoding_message_size(limit::MESSAGE_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Gzip);
    let link = StoreLinkServer::new(StoreLinkService { core: core.clone() })
        .max_decoding_message_size(limit::MESSAGE_BYTES_MAX);
    Routes::new(pd)
        .add_service(link)
        .add_service(ClusterServer::new(ClusterService { core: core.clone() }))
        .add_service(PlacementServer::new(PlacementService { core: core.clone() }))
        .add_service(HealthServer::new(HealthService))
        .into_axum_router()
}
