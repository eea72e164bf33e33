//! What would be if stores came or went: `/flotilla/v1/plan`.

use axum::{
    Json,
    extract::{RawQuery, State},
    response::IntoResponse,
};
use flotilla_placement::{policy::parse_duration, prospect::COME_MAX};
use flotilla_proto::placement as wire;
use serde_json::{Value, json};

use super::{
    Context,
    query::Query,
    routes::{Answered, Refused, bad, bootstrapped},
    rules::read_edits,
};
use crate::admin;

/// `GET /flotilla/v1/plan?add-stores=2&label=zone=z4&remove=3&horizon=1h&rules=[…]`.
pub(super) async fn plan(State(context): State<Context>, RawQuery(query): RawQuery) -> Answered {
    bootstrapped(&context).await?;
    let query = Query::new(query);
    // One more than there may be is refused by whoever knows the limit.
    let come = query.number("add-stores", 0, COME_MAX + 1)?;
    let label = |text: &str| {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            bad(format!("{text:?} is no label: a key and a value are needed, such as zone=z4"))
        })?;
        Ok::<_, Refused>((key.to_owned(), value.to_owned()))
    };
    let labels: Vec<(String, String)> =
        query.texts("label").map(label).collect::<Result<_, _>>()?;
    let store = |text: &str| {
        let id = text.parse::<u64>();
        id.map_err(|error| bad(format!("remove={text:?} is no store: {error}")))
    };
    let go: Vec<u64> = query.texts("remove").map(store).collect::<Result<_, _>>()?;
    let horizon = query.texts("horizon").next().map(|text| {
        let wrong = || bad(format!("horizon={text:?} is no duration: 30m or 1h30m is one"));
        parse_duration(text).ok_or_else(wrong)
    });
    let supposition = admin::supposition(come, &labels, go);
    let edits = query.bytes("rules").map(|rules| read_edits(rules).map_err(bad)).transpose()?;
    let supposed = admin::Supposed { supposition, edits: edits.unwrap_or_default() };
    let plan = admin::plan(&context.core, supposed, horizon.transpose()?).await?;
    Ok(Json(json_of(&plan)).into_response())
}

fn json_of(plan: &wire::PlanResponse) -> Value {
    let stuck = |stuck: &wire::StuckRegion| json!({ "region_id": stuck.region_id, "why": stuck.reason.as_ref().map(|it| &it.why) });
    let idle = |idle: &wire::IdleScheduler| json!({ "scheduler": idle.name, "why": idle.why });
    json!({
        "moves": plan.moves,
        "moved_bytes": plan.moved_bytes,
        "transfers": plan.transfers,
        "ends_after_ms": plan.ends_after_ms,
        "is_settled": plan.is_settled,
        "horizon_ms": plan.horizon_ms,
        "copy_bytes_per_second": plan.copy_bytes_per_second,
        "cut_off": plan.cut_off,
        "stores": plan.stores.iter().map(store).collect::<Vec<_>>(),
        "stuck_regions": plan.stuck_regions,
        "stuck": plan.stuck.iter().map(stuck).collect::<Vec<_>>(),
        "idle": plan.idle.iter().map(idle).collect::<Vec<_>>(),
    })
}

fn store(store: &wire::PlannedStore) -> Value {
    let carried = |load: &Option<wire::Carried>| {
        let wire::Carried { leaders, replicas, bytes } = load.unwrap_or_default();
        json!({ "leaders": leaders, "replicas": replicas, "bytes": bytes })
    };
    json!({
        "store_id": store.store_id,
        "is_new": store.is_new,
        "is_removed": store.is_removed,
        "before": carried(&store.before),
        "after": carried(&store.after),
    })
}
