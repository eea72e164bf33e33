//! The HTTP interface on the client port: `/pd/api/v1/…` with the shapes that tools parse, and the
//! paths that operators, probes and Prometheus ask.

mod format;
mod model;
pub(crate) mod operators;
mod query;
mod regions;
mod routes;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use flotilla_proto::pdpb;
use flotilla_telemetry::Registry;

use crate::handle::CoreHandle;

/// What every route may ask.
#[derive(Clone, Debug)]
struct Context {
    core: CoreHandle,
    member: Arc<pdpb::Member>,
    registry: Registry,
}

/// All paths.
pub(crate) fn router(core: &CoreHandle, member: &Arc<pdpb::Member>, registry: &Registry) -> Router {
    let context =
        Context { core: core.clone(), member: member.clone(), registry: registry.clone() };
    let api = Router::new()
        .route("/cluster", get(routes::cluster))
        .route("/cluster/status", get(routes::cluster_status))
        .route("/health", get(routes::health))
        .route("/ping", get(routes::ping))
        .route("/version", get(routes::version))
        .route("/status", get(routes::status))
        .route("/members", get(routes::members))
        .route("/leader", get(routes::leader))
        .route("/stores", get(routes::stores))
        .route("/store/{id}", get(routes::store).delete(routes::remove_store))
        .route("/region/id/{id}", get(regions::by_id))
        .route("/region/key/{key}", get(regions::by_key))
        .route("/regions", get(regions::all))
        .route("/regions/count", get(regions::count))
        .route("/regions/key", get(regions::range))
        .route("/regions/store/{id}", get(regions::of_store))
        .route("/regions/sibling/{id}", get(regions::siblings))
        .route("/regions/range-holes", get(regions::holes))
        .route("/regions/check/{complaint}", get(regions::check))
        .route("/regions/{figure}", get(regions::top))
        .route(
            "/operators",
            get(operators::list).post(operators::add).delete(operators::cancel_all),
        )
        .route("/operators/records", get(operators::records))
        .route("/operators/{region}", get(operators::last).delete(operators::cancel));
    Router::new()
        .nest("/pd/api/v1", api)
        .route("/pd/health", get(routes::health))
        .route("/pd/ping", get(routes::ping))
        .route("/metrics", get(routes::metrics))
        .route("/livez", get(routes::live))
        .route("/readyz", get(routes::ready))
        .fallback(routes::no_such_path)
        .with_state(context)
        .layer(middleware::from_fn(refuse_head))
}

/// Tools wait for 405 to HEAD as the sign that the interface is up; the router would take HEAD for GET.
async fn refuse_head(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    next.run(request).await
}
