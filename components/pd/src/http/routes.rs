//! The answers. Errors are JSON strings, in the form `[PD:kind:Name]text` that tools match on.

use axum::{
    Json,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use flotilla_base::StoreId;
use flotilla_pdcore::{Denied, StoreEntry};
use flotilla_placement::StoreState;
use flotilla_telemetry::render;
use serde_json::json;

use super::{
    Context, format,
    model::{Member, StoreInfo, state_name},
    query::Query,
};
use crate::{
    SERVED_VERSION,
    core::{Look, Request},
    status::Status,
};

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
            Denied::UnknownStore(id) => Self(
                StatusCode::NOT_FOUND,
                format!("[PD:core:ErrStoreNotFound]store {id} not found"),
            ),
            Denied::Operator(refusal) => refusal.into(),
            Denied::NoOperator(_) => super::operators::not_found(),
            Denied::Tombstone(id) => Self(
                StatusCode::GONE,
                format!("[PD:core:ErrStoreRemoved]store {id} has been removed"),
            ),
            Denied::Refused(_) | Denied::Split(_) | Denied::Removal(_) => {
                Self(StatusCode::BAD_REQUEST, denied.to_string())
            }
        }
    }
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

/// `?state=Up&state=…` chooses by state; without it everything but tombstones is listed.
pub(super) async fn stores(State(context): State<Context>, RawQuery(query): RawQuery) -> Answered {
    bootstrapped(&context).await?;
    let entries = context.core.ask(|reply| Look::Stores { reply }).await?;
    let query = Query::new(query);
    let states: Vec<&str> = query.texts("state").collect();
    let is_wanted = |entry: &&StoreEntry| {
        let name = state_name(entry);
        if states.is_empty() {
            entry.record.state != StoreState::Tombstone
        } else {
            states.iter().any(|state| state.eq_ignore_ascii_case(name))
        }
    };
    let stores: Vec<_> = entries.iter().filter(is_wanted).map(StoreInfo::from).collect();
    Ok(Json(json!({ "count": stores.len(), "stores": stores })).into_response())
}

pub(super) async fn store(State(context): State<Context>, id: PathId) -> Answered {
    bootstrapped(&context).await?;
    let id = StoreId(number(id)?);
    let entry = context.core.ask(|reply| Look::Store { id, reply }).await?;
    Ok(Json(StoreInfo::from(&entry)).into_response())
}

/// `DELETE /store/{id}`: it leaves for good, and what it held is made anew elsewhere.
pub(super) async fn remove_store(State(context): State<Context>, id: PathId) -> Answered {
    bootstrapped(&context).await?;
    let id = StoreId(number(id)?);
    context.core.ask(|reply| Request::RemoveStore { id, reply }).await?;
    Ok(Json("The store is set as Offline.").into_response())
}

pub(super) async fn metrics(State(context): State<Context>) -> Response {
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, render(&context.registry)).into_response()
}

pub(super) async fn no_such_path(uri: Uri) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("404 page not found: {}", uri.path()))
}
