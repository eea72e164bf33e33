//! Why something was done or is not done, for people and their tools: `/flotilla/v1/…`.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use flotilla_base::{RegionId, StoreId};
use flotilla_placement::DecisionRecord;
use flotilla_proto::{cluster, placement as wire};
use serde_json::{Value, json};

use super::{
    Context, format,
    query::Query,
    routes::{Answered, Refused, bad, bootstrapped},
};
use crate::admin::{self, Subject};

/// Decisions that are listed where nobody says how many, and how many at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 10_000;

/// `GET /flotilla/v1/decisions?region=&store=&by=&limit=`: the last one first.
pub(super) async fn list(State(context): State<Context>, RawQuery(query): RawQuery) -> Answered {
    bootstrapped(&context).await?;
    let query = Query::new(query);
    let id = |name: &str| {
        let given = query.has(name).then(|| query.number(name, 0, usize::MAX));
        given.transpose().map(|id| id.map(|id| id as u64))
    };
    let (region, store) = (id("region")?.map(RegionId), id("store")?.map(StoreId));
    let limit = query.number("limit", LIMIT_DEFAULT, LIMIT_MAX)?;
    let by = query.texts("by").next().map(|by| by.strip_suffix("-scheduler").unwrap_or(by));
    let by = by.map(str::to_owned);
    let fits = move |record: &&DecisionRecord| {
        let decision = &record.decision;
        region.is_none_or(|region| decision.region == region)
            && store.is_none_or(|store| admin::is_of(decision, store))
            && by.as_ref().is_none_or(|by| decision.by == by)
    };
    let found = context.core.glance(move |sight| {
        let found = sight.mind().decisions().iter().filter(fits).take(limit);
        found.map(admin::decision_to_wire).collect::<Vec<_>>()
    });
    let shown: Vec<Value> = found.await?.iter().map(decision).collect();
    Ok(Json(json!({ "decisions": shown })).into_response())
}

/// `GET /flotilla/v1/explain/{region|store|operator}/{id}` and `/explain/scheduler/{name}`.
pub(super) async fn explain(
    State(context): State<Context>,
    Path((kind, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answered {
    bootstrapped(&context).await?;
    let limit = Query::new(query).number("limit", LIMIT_DEFAULT, LIMIT_MAX)?;
    let id = || {
        let parsed = name.parse::<u64>();
        parsed.map_err(|error| bad(format!("{name:?} is no id: {error}")))
    };
    let subject = match kind.as_str() {
        "region" => Subject::Region(RegionId(id()?)),
        "store" => Subject::Store(StoreId(id()?)),
        "operator" => Subject::Operator(RegionId(id()?)),
        "scheduler" => Subject::By(name.clone()),
        other => {
            let text = format!(
                "nothing explains {other:?}: region, store, operator and scheduler can be asked for"
            );
            return Err(Refused(StatusCode::NOT_FOUND, text));
        }
    };
    let told = context.core.glance(move |sight| admin::explain(sight, &subject, limit)).await??;
    Ok(Json(explained(&told)).into_response())
}

/// `GET /flotilla/v1/placement`: what is under way, what waits, and what cannot be done.
pub(super) async fn overview(State(context): State<Context>) -> Answered {
    bootstrapped(&context).await?;
    let seen = context.core.glance(|sight| (admin::list_stores(sight), sight.operators().len()));
    let (listed, moving) = seen.await?;
    Ok(Json(json!({
        "moving_regions": moving,
        "waiting_regions": listed.waiting_regions,
        "stuck_regions": listed.stuck_regions,
        "stores": listed.stores.iter().map(store).collect::<Vec<_>>(),
    }))
    .into_response())
}

fn decision(decision: &wire::Decision) -> Value {
    let other = |other: &wire::Alternative| json!({ "store_id": other.store_id, "why": other.why });
    json!({
        "id": decision.id,
        "time": format::date(decision.unix_ms),
        "by": decision.by,
        "region_id": decision.region_id,
        "brief": decision.brief,
        "why": decision.why,
        "alternatives": decision.alternatives.iter().map(other).collect::<Vec<_>>(),
    })
}

fn reason(reason: &wire::Reason) -> Value {
    json!({ "time": format::date(reason.unix_ms), "why": reason.why })
}

/// `null` for a text that says nothing.
fn told(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

fn store(store: &wire::Store) -> Value {
    let label = |label: &wire::Label| (label.key.clone(), Value::from(label.value.as_str()));
    json!({
        "store_id": store.store_id,
        "labels": store.labels.iter().map(label).collect::<serde_json::Map<_, _>>(),
        "leader_weight": store.leader_weight,
        "region_weight": store.region_weight,
        "add_peers_per_minute": store.add_peers_per_minute,
        "remove_peers_per_minute": store.remove_peers_per_minute,
        "maintained_until": until(store.maintained_until_unix_ms),
        "drain": store.drain.as_ref().map(drain),
    })
}

fn until(unix_ms: u64) -> Value {
    if unix_ms == 0 { Value::Null } else { format::date(unix_ms).into() }
}

fn drain(drain: &wire::Drain) -> Value {
    let stuck = |stuck: &wire::StuckRegion| json!({ "region_id": stuck.region_id, "reason": stuck.reason.as_ref().map(reason) });
    json!({
        "regions_left": drain.regions_left,
        "bytes_left": drain.bytes_left,
        "moving": drain.moving,
        "stuck_regions": drain.stuck_regions,
        "stuck": drain.stuck.iter().map(stuck).collect::<Vec<_>>(),
    })
}

fn explained(answer: &wire::ExplainResponse) -> Value {
    json!({
        "decisions": answer.decisions.iter().map(decision).collect::<Vec<_>>(),
        "decisions_in_all": answer.decisions_in_all,
        "operator": answer.operator.as_ref().map(operator),
        "stuck": answer.stuck.as_ref().map(reason),
        "store": answer.store.as_ref().map(account),
        "scheduler": answer.scheduler.as_ref().map(scheduler),
        "is_halted": answer.is_halted,
    })
}

fn account(account: &wire::StoreAccount) -> Value {
    json!({
        "store": account.store.as_ref().map(store),
        "leaders": account.leaders,
        "replicas": account.replicas,
        "bytes": account.bytes,
        "copies": account.copies,
        "no_peers": told(&account.no_peers),
        "no_leads": told(&account.no_leads),
    })
}

fn scheduler(scheduler: &wire::Scheduler) -> Value {
    json!({
        "name": scheduler.name,
        "runs": scheduler.runs,
        "paused_until": until(scheduler.paused_until_unix_ms),
        "stores": scheduler.stores,
        "idle": scheduler.idle.as_ref().map(reason),
        "running": scheduler.running,
    })
}

fn operator(operator: &cluster::Operator) -> Value {
    let ending = operator.ending.as_ref().map(|ending| {
        let outcome = match ending.outcome() {
            cluster::Outcome::Finished => "finished",
            cluster::Outcome::TimedOut => "timed out",
            cluster::Outcome::Cancelled | cluster::Outcome::Unspecified => "cancelled",
        };
        json!({ "outcome": outcome, "why": told(&ending.reason), "time": format::date(ending.unix_ms) })
    });
    json!({
        "brief": operator.brief,
        "by": operator.asked_by,
        "time": format::date(operator.created_unix_ms),
        "steps": operator.steps,
        "done": operator.done,
        "ending": ending,
    })
}
