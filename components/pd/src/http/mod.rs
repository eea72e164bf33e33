//! The HTTP interface on the client port: `/pd/api/v1/…` with the shapes that tools parse, and the
//! paths that operators, probes and Prometheus ask.

mod config;
mod decisions;
mod format;
mod hot;
mod model;
pub(crate) mod operators;
mod plan;
mod query;
mod refused;
mod regions;
mod routes;
pub(crate) mod rules;
mod scatter;
mod schedulers;
mod stores;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
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
        .nest("/config", decided())
        .route("/stores", get(stores::all))
        .route("/stores/check", get(stores::check))
        .route("/stores/limit", get(stores::limits).post(stores::limit_all))
        .route("/stores/progress", get(stores::progress))
        .route("/stores/remove-tombstone", delete(stores::forget))
        .route("/store/{id}", get(stores::one).delete(stores::remove))
        .route("/store/{id}/state", post(stores::set_state))
        .route("/store/{id}/label", post(stores::label).delete(stores::delete_label))
        .route("/store/{id}/weight", post(stores::weigh))
        .route("/store/{id}/limit", post(stores::limit))
        .route("/labels", get(stores::labels))
        .route("/labels/stores", get(stores::labelled))
        .route("/schedulers", get(schedulers::list).post(schedulers::add))
        .route("/schedulers/{name}", post(schedulers::pause).delete(schedulers::remove))
        .route("/schedulers/diagnostic/{name}", get(schedulers::diagnose))
        .route("/scheduler-config/{name}/list", get(schedulers::config))
        .route("/scheduler-config/{name}/config", post(schedulers::add_store))
        .route("/scheduler-config/{name}/delete/{store}", delete(schedulers::remove_store))
        .route("/region/id/{id}", get(regions::by_id))
        .route("/region/key/{key}", get(regions::by_key))
        .route("/regions", get(regions::all))
        .route("/regions/count", get(regions::count))
        .route("/regions/key", get(regions::range))
        .route("/regions/store/{id}", get(regions::of_store))
        .route("/regions/scatter", post(scatter::scatter))
        .route("/regions/sibling/{id}", get(regions::siblings))
        .route("/regions/range-holes", get(regions::holes))
        .route("/regions/check/{complaint}", get(regions::check))
        .route("/regions/{figure}", get(regions::top))
        .route("/hotspot/regions/read", get(hot::reads))
        .route("/hotspot/regions/write", get(hot::writes))
        .route("/hotspot/stores", get(hot::stores))
        .route(
            "/operators",
            get(operators::list).post(operators::add).delete(operators::cancel_all),
        )
        .route("/operators/records", get(operators::records))
        .route("/operators/{region}", get(operators::last).delete(operators::cancel));
    let api = api.merge(refused::router());
    let ours = Router::new()
        .route("/decisions", get(decisions::list))
        .route("/explain/{kind}/{name}", get(decisions::explain))
        .route("/plan", get(plan::plan))
        .route("/placement", get(decisions::overview));
    Router::new()
        .nest("/pd/api/v1", api)
        .nest("/flotilla/v1", ours)
        .route("/pd/health", get(routes::health))
        .route("/pd/ping", get(routes::ping))
        .route("/metrics", get(routes::metrics))
        .route("/livez", get(routes::live))
        .route("/readyz", get(routes::ready))
        .fallback(routes::no_such_path)
        .with_state(context)
        .layer(middleware::from_fn(refuse_head))
}

/// What people have decided: settings and rules.
fn decided() -> Router<Context> {
    Router::new()
        .route("/", get(config::all).post(config::set_all))
        .route("/schedule", get(config::schedule).post(config::set_schedule))
        .route("/replicate", get(config::replication).post(config::set_replication))
        .route("/cluster-version", get(config::cluster_version))
        .route("/replication-mode", get(config::replication_mode))
        .route("/label-property", get(config::label_property))
        .route("/rules", get(rules::all))
        .route("/rules/batch", post(rules::batch))
        .route("/rules/group/{group}", get(rules::of_group))
        .route("/rules/region/{id}", get(rules::of_region))
        .route("/rules/region/{id}/detail", get(rules::detail))
        .route("/rule", post(rules::put))
        .route("/rule/{group}/{id}", get(rules::one).delete(rules::delete))
        .route("/rule_groups", get(rules::groups))
        .route("/rule_group", post(rules::put_group))
        .route("/rule_group/{id}", delete(rules::delete_group))
}

/// Tools wait for 405 to HEAD as the sign that the interface is up; the router would take HEAD for GET.
async fn refuse_head(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    next.run(request).await
}
