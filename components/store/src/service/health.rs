//! The standard health service: whether this server serves. Clients that get no answer in time take the
//! whole store for dead.

use flotilla_proto::health::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, codegen::BoxStream};

/// Serves from the first connection that is accepted to the last: the store listens only between.
pub(super) struct HealthService;

impl HealthService {
    pub(super) fn server() -> HealthServer<Self> {
        HealthServer::new(Self)
    }
}

fn status_of(request: Request<HealthCheckRequest>) -> Result<HealthCheckResponse, Status> {
    let service = request.into_inner().service;
    if !matches!(service.as_str(), "" | "tikvpb.Tikv" | "grpc.health.v1.Health") {
        return Err(Status::not_found(format!("there is no service {service:?} here")));
    }
    Ok(HealthCheckResponse { status: ServingStatus::Serving.into() })
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        status_of(request).map(Response::new)
    }

    /// Says so once; the end of the stream is the change.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<BoxStream<HealthCheckResponse>>, Status> {
        let now = tokio_stream::once(Ok(status_of(request)?));
        Ok(Response::new(Box::pin(now.chain(tokio_stream::pending()))))
    }
}
