//! The answers. Errors are JSON strings, in the form `[PD:kind:Name]text` that tools match on.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use flotilla_pdcore::Denied;
use flotilla_placement::Refusal;
use flotilla_telemetry::render;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Context, format, model::Member};
use crate::{SERVED_VERSION, status::Status};

/// An answer, or an error as text.
pub(super) type Answered = Result<Response, Refused>;

/// An error: status, and the text of the JSON string.
pub(super) struct Refused(pub StatusCode, pub String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotLeader | Denied::Stopped => {
                Self(StatusCode::SERVICE_UNAVAILABLE, format!("no leader: {denied}"))
            }
            Denied::UnknownStore(id) | Denied::Refused(Refusal::UnknownStore(id)) => Self(
                StatusCode::NOT_FOUND,
                format!("[PD:core:ErrStoreNotFound]store {id} not found"),
            ),
            Denied::Operator(refusal) => refusal.into(),
            Denied::UnknownRegion(_) => {
                Self(StatusCode::NOT_FOUND, format!("[PD:region:ErrRegionNotFound]{denied}"))
            }
            Denied::NoOperator(_) => super::operators::not_found(),
            Denied::Tombstone(id) | Denied::Refused(Refusal::Tombstone(id)) => Self(
                StatusCode::GONE,
                format!("[PD:core:ErrStoreRemoved]store {id} has been removed"),
            ),
            Denied::Refused(_) | Denied::Split(_) | Denied::Removal(_) => {
                Self(StatusCode::BAD_REQUEST, denied.to_string())
            }
        }
    }
}

/// A request that makes no sense.
pub(super) fn bad(why: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, why.into())
}

/// That something is done: the text is a contract with tools.
pub(super) fn said(text: &str) -> Response {
    Json(text).into_response()
}

/// The body of a request.
pub(super) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| bad(error.to_string()))
}

/// An id as a path has it: any bytes, behind percent signs.
pub(super) type PathId = Result<Path<String>, PathRejection>;

pub(super) fn number(id: PathId) -> Result<u64, Refused> {
    let refused = |why: String| {
        Refused(StatusCode::BAD_REQUEST, format!("[PD:strconv:ErrStrconvParseUint]{why}"))
    };
    let Path(text) = id.map_err(|rejection| refused(rejection.body_text()))?;
    text.parse().map_err(|error| refused(format!("{text:?} is no id: {error}")))
}

/// The status of a leader whose cluster has regions.
pub(super) async fn bootstrapped(context: &Context) -> Result<Status, Refused> {
    let status = context.core.leading().await?;
    if status.bootstrap.is_some() {
        return Ok(status);
    }
    let wanted = status.cluster.map_or(0, |cluster| cluster.max_replicas);
    let text = format!(
        "[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped, please start TiKV first: {} of \
         {wanted} stores are registered",
        status.stores
    );
    Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, text))
}

fn leads(context: &Context) -> bool {
    context.core.status().is_leading && context.core.tso.leads_now()
}

pub(super) async fn cluster(State(context): State<Context>) -> Answered {
    let status = bootstrapped(&context).await?;
    let max_peers = status.cluster.map_or(0, |cluster| cluster.max_replicas);
    Ok(Json(json!({ "id": status.cluster_id(), "max_peer_count": max_peers })).into_response())
}

pub(super) async fn cluster_status(State(context): State<Context>) -> Answered {
    let status = context.core.leading().await?;
    let bootstrap_ms = status.bootstrap.as_ref().map(|plan| plan.unix_s * 1000);
    let date = bootstrap_ms.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), format::date);
    let is_initialized = status.bootstrap.is_some();
    let body = json!({
        "raft_bootstrap_time": date,
        "is_initialized": is_initialized,
        "replication_status": "",
    });
    Ok(Json(body).into_response())
}

pub(super) async fn health(State(context): State<Context>) -> Response {
    let member = &context.member;
    let body = json!([{
        "name": member.name,
        "member_id": member.member_id,
        "client_urls": member.client_urls,
        "health": leads(&context),
    }]);
    Json(body).into_response()
}

pub(super) async fn ping() -> StatusCode {
    StatusCode::OK
}

pub(super) async fn live(State(context): State<Context>) -> Response {
    match context.core.is_alive() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

pub(super) async fn ready(State(context): State<Context>) -> Answered {
    context.core.leading().await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn version() -> Response {
    Json(json!({ "version": format!("v{SERVED_VERSION}") })).into_response()
}

pub(super) async fn status(State(context): State<Context>) -> Response {
    let body = json!({
        "version": format!("v{SERVED_VERSION}"),
        "git_hash": context.member.git_hash,
        "kernel_type": "Flotilla",
    });
    Json(body).into_response()
}

pub(super) async fn members(State(context): State<Context>) -> Response {
    let member = || Member::from(context.member.as_ref());
    let leader = leads(&context).then(member);
    let body = json!({
        "header": { "cluster_id": context.core.status().cluster_id() },
        "members": [member()],
        "leader": leader,
        "etcd_leader": leader,
    });
    Json(body).into_response()
}

pub(super) async fn leader(State(context): State<Context>) -> Answered {
    context.core.leading().await?;
    Ok(Json(Member::from(context.member.as_ref())).into_response())
}

pub(super) async fn metrics(State(context): State<Context>) -> Response {
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, render(&context.registry)).into_response()
}

pub(super) async fn no_such_path(uri: Uri) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("404 page not found: {}", uri.path()))
}
