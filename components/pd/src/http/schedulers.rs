//! Schedulers, as tools list, add, pause and remove them.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::IntoResponse,
};
use flotilla_base::StoreId;
use flotilla_placement::SchedulerName;
use flotilla_proto::placement as wire;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Context, format,
    query::Query,
    routes::{Answered, Refused, bad, bootstrapped, read, said},
};
use crate::admin::{self, SchedulerChange, Unwanted};

async fn listed(context: &Context) -> Result<Vec<wire::Scheduler>, Refused> {
    bootstrapped(context).await?;
    Ok(context.core.glance(admin::schedulers).await?)
}

/// One that runs.
async fn running(context: &Context, name: &str) -> Result<wire::Scheduler, Refused> {
    let not_found = || Unwanted::UnknownScheduler(name.to_owned());
    let wanted = SchedulerName::parse(name).ok_or_else(not_found)?.to_string();
    let mut all = listed(context).await?.into_iter();
    Ok(all.find(|scheduler| scheduler.runs && scheduler.name == wanted).ok_or_else(not_found)?)
}

/// `GET /schedulers?status=paused|disabled&timestamp=true`.
pub(super) async fn list(State(context): State<Context>, RawQuery(query): RawQuery) -> Answered {
    let all = listed(&context).await?;
    let query = Query::new(query);
    let status = query.texts("status").next().unwrap_or_default();
    let has_times = query.texts("timestamp").next() == Some("true");
    let is_usual = |name: &str| SchedulerName::USUAL.iter().any(|usual| usual.to_string() == name);
    let is_wanted = |scheduler: &&wire::Scheduler| match status {
        "paused" => scheduler.paused_until_unix_ms > 0,
        "disabled" => !scheduler.runs && is_usual(&scheduler.name),
        _ => scheduler.runs,
    };
    let shown = all.iter().filter(is_wanted).map(|scheduler| match (status, has_times) {
        ("paused", true) => json!({
            "name": scheduler.name,
            "resume_at": format::date(scheduler.paused_until_unix_ms),
        }),
        _ => json!(scheduler.name),
    });
    Ok(Json(shown.collect::<Vec<Value>>()).into_response())
}

/// What a tool wants of a scheduler.
#[derive(Debug, Deserialize)]
struct Wish {
    name: Option<String>,
    store_id: Option<Value>,
}

/// `POST /schedulers {"name": …, "store_id": …}`.
pub(super) async fn add(State(context): State<Context>, body: Bytes) -> Answered {
    bootstrapped(&context).await?;
    let wish: Wish = read(&body)?;
    let name = wish.name.ok_or_else(|| bad("missing scheduler name"))?;
    let unknown = || bad(Unwanted::UnknownScheduler(name.clone()).to_string());
    let known = SchedulerName::parse(&name).ok_or_else(unknown)?;
    let store = wish.store_id.as_ref().and_then(id);
    if known.takes_stores() && store.is_none() {
        return Err(bad("missing store id"));
    }
    let store = store.filter(|_| known.takes_stores());
    let joined = admin::change_scheduler(&context.core, &name, SchedulerChange::Add(store)).await?;
    Ok(said(if joined {
        "The scheduler has been applied to the store."
    } else {
        "The scheduler is created."
    }))
}

/// An id; tools write it with a point as well.
fn id(value: &Value) -> Option<StoreId> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and below 2^53, where a number with a point is exact"
    )]
    let whole = |number: f64| {
        let is_whole = number.fract() == 0.0 && (0.0..9e15).contains(&number);
        is_whole.then_some(number as u64)
    };
    value.as_u64().or_else(|| value.as_f64().and_then(whole)).map(StoreId)
}

/// `DELETE /schedulers/{name}`; `evict-leader-scheduler-4` is its part for store 4.
pub(super) async fn remove(State(context): State<Context>, Path(name): Path<String>) -> Answered {
    bootstrapped(&context).await?;
    admin::change_scheduler(&context.core, &name, SchedulerChange::Remove(None)).await?;
    Ok(said("The scheduler is removed."))
}

/// `POST /schedulers/{name} {"delay": seconds}`; 0 lets it go on. `all` are those that run.
pub(super) async fn pause(
    State(context): State<Context>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answered {
    bootstrapped(&context).await?;
    let input: std::collections::BTreeMap<String, Value> = read(&body)?;
    // Without one it would be guessed whether it is to pause or to go on.
    let delay = input.get("delay").ok_or_else(|| bad("missing pause time"))?;
    let refused = || bad(format!("pause time cannot be {delay}: a number of seconds is possible"));
    let seconds = delay.as_u64().ok_or_else(refused)?;
    let change = SchedulerChange::Pause { millis: seconds.saturating_mul(1_000) };
    if name == "all" {
        for scheduler in listed(&context).await?.iter().filter(|scheduler| scheduler.runs) {
            admin::change_scheduler(&context.core, &scheduler.name, change).await?;
        }
    } else {
        admin::change_scheduler(&context.core, &name, change).await?;
    }
    Ok(said("Pause or resume the scheduler successfully."))
}

/// `GET /scheduler-config/{name}/list`.
pub(super) async fn config(State(context): State<Context>, Path(name): Path<String>) -> Answered {
    let scheduler = running(&context, &name).await?;
    let everything = json!([{ "start-key": "", "end-key": "" }]);
    let takes_stores = SchedulerName::parse(&name).is_some_and(SchedulerName::takes_stores);
    let body = if takes_stores {
        let ranges = scheduler.stores.iter().map(|id| (id.to_string(), everything.clone()));
        json!({ "store-id-ranges": ranges.collect::<serde_json::Map<_, _>>() })
    } else {
        json!({ "ranges": everything })
    };
    Ok(Json(body).into_response())
}

/// `POST /scheduler-config/{name}/config {"store_id": …}`: for this store as well.
pub(super) async fn add_store(
    State(context): State<Context>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answered {
    let scheduler = running(&context, &name).await?;
    let wish: Wish = read(&body)?;
    let takes_stores = SchedulerName::parse(&name).is_some_and(SchedulerName::takes_stores);
    if !takes_stores {
        return Err(bad(format!("the {} has nothing that could be set", scheduler.name)));
    }
    let store = wish.store_id.as_ref().and_then(id).ok_or_else(|| bad("missing store id"))?;
    admin::change_scheduler(&context.core, &name, SchedulerChange::Add(Some(store))).await?;
    Ok(said("The scheduler has been applied to the store."))
}

/// `DELETE /scheduler-config/{name}/delete/{store}`: for this store no more.
pub(super) async fn remove_store(
    State(context): State<Context>,
    Path((name, store)): Path<(String, String)>,
) -> Answered {
    let scheduler = running(&context, &name).await?;
    let store = store.parse().map_err(|error| {
        bad(format!("[PD:strconv:ErrStrconvParseUint]{store:?} is no id: {error}"))
    })?;
    let change = SchedulerChange::Remove(Some(StoreId(store)));
    admin::change_scheduler(&context.core, &name, change).await?;
    let was_last = scheduler.stores.len() == 1;
    let told = was_last.then_some("The last store has been deleted");
    Ok(Json(told).into_response())
}

/// `GET /schedulers/diagnostic/{name}`: what it does, or why it does nothing.
pub(super) async fn diagnose(State(context): State<Context>, Path(name): Path<String>) -> Answered {
    bootstrapped(&context).await?;
    let unknown = || Unwanted::UnknownScheduler(name.clone());
    let wanted = SchedulerName::parse(&name).ok_or_else(unknown)?.to_string();
    let (all, is_halted) = context
        .core
        .glance(|sight| (admin::schedulers(sight), sight.state().policy().settings.is_halted))
        .await?;
    let found = all.into_iter().find(|scheduler| scheduler.name == wanted);
    let scheduler = found.ok_or_else(unknown)?;
    let (status, summary) = match &scheduler.idle {
        _ if !scheduler.runs => ("disabled", String::new()),
        _ if is_halted => ("halted", String::new()),
        _ if scheduler.paused_until_unix_ms > 0 => ("paused", String::new()),
        _ if scheduler.running > 0 => ("scheduling", String::new()),
        Some(idle) => ("normal", idle.why.clone()),
        None => ("pending", String::new()),
    };
    let seen_s = scheduler.idle.map_or(0, |idle| idle.unix_ms / 1_000);
    Ok(Json(json!({
        "name": scheduler.name,
        "status": status,
        "summary": summary,
        "timestamp": seen_s,
    }))
    .into_response())
}
