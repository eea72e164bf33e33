//! Settings in the shapes of the public protocol: kebab-case, durations as Go writes them, switches as texts.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Bytes,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use flotilla_pdcore::Leading;
use flotilla_placement::SchedulerName;
use serde_json::{Map, Value, json};

use super::{
    Context,
    query::Query,
    routes::{Answered, Refused, bad, read, said},
};
use crate::{SERVED_VERSION, admin};

const SCHEDULE: &str = "schedule";
const REPLICATION: &str = "replication";
/// The limit of all stores that have none of their own; as an object it is each store's.
const STORE_LIMIT: &str = "store-limit";

type Section = Map<String, Value>;

/// One section as it is.
fn section(sight: &Leading<'_>, name: &str) -> Section {
    let mut section = Section::new();
    for (setting, value) in sight.state().policy().list() {
        let Some((own, key)) = setting.split_once('.') else { continue };
        if own == name {
            section.insert(key.to_owned(), shown(&value));
        }
    }
    if name == SCHEDULE {
        complete(sight, &mut section);
    }
    section
}

/// Numbers are numbers; everything else, switches too, is text.
fn shown(value: &str) -> Value {
    let whole = value.parse::<u64>().ok().map(Value::from);
    let number = || value.parse::<f64>().ok().map(Value::from);
    whole.or_else(number).unwrap_or_else(|| value.into())
}

/// What tools look for in the section beside settings.
fn complete(sight: &Leading<'_>, section: &mut Section) {
    let pair = |(add, remove): (u32, u32)| json!({ "add-peer": add, "remove-peer": remove });
    let usual = sight.state().policy().settings.limits.store_peers_per_minute;
    let limits = admin::limits(sight).into_iter();
    let limits: BTreeMap<String, Value> =
        limits.map(|(store, limits)| (store.to_string(), pair(limits))).collect();
    section.insert(STORE_LIMIT.to_owned(), json!(limits));
    section.insert("default-store-limit".to_owned(), pair((usual, usual)));
    let running = &sight.state().policy().schedulers;
    let is_shown =
        |name: &SchedulerName| running.contains_key(name) || SchedulerName::USUAL.contains(name);
    let schedulers = SchedulerName::ALL.into_iter().filter(is_shown).map(|name| {
        let stores = running.get(&name).into_iter().flat_map(|policy| &policy.stores);
        let args: Vec<String> = stores.map(ToString::to_string).collect();
        json!({
            "type": name.name(),
            "args": args,
            "disable": !running.contains_key(&name),
            "args-payload": "",
        })
    });
    section.insert("schedulers-v2".to_owned(), schedulers.collect());
}

/// `GET /config`.
pub(super) async fn all(State(context): State<Context>) -> Answered {
    context.core.leading().await?;
    let sections =
        context.core.glance(|sight| [SCHEDULE, REPLICATION].map(|it| section(sight, it)));
    let [schedule, replication] = sections.await?;
    let member = &context.member;
    let body = json!({
        "name": member.name,
        "client-urls": member.client_urls.join(","),
        "peer-urls": member.peer_urls.join(","),
        "cluster-version": SERVED_VERSION,
        "schedule": schedule,
        "replication": replication,
    });
    Ok(Json(body).into_response())
}

/// `GET /config/cluster-version`.
pub(super) async fn cluster_version() -> Response {
    Json(SERVED_VERSION).into_response()
}

/// `GET /config/replication-mode`: there is one.
pub(super) async fn replication_mode() -> Response {
    Json(json!({ "replication-mode": "majority" })).into_response()
}

/// `GET /config/label-property`: no label means anything by itself.
pub(super) async fn label_property() -> Response {
    Json(json!({})).into_response()
}

/// `GET /config/schedule`.
pub(super) async fn schedule(State(context): State<Context>) -> Answered {
    context.core.leading().await?;
    Ok(Json(context.core.glance(|sight| section(sight, SCHEDULE)).await?).into_response())
}

/// `GET /config/replicate`.
pub(super) async fn replication(State(context): State<Context>) -> Answered {
    context.core.leading().await?;
    Ok(Json(context.core.glance(|sight| section(sight, REPLICATION)).await?).into_response())
}

/// `POST /config`: names with or without their section, or sections as objects; all or none.
pub(super) async fn set_all(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answered {
    if Query::new(query).has("ttlSecond") {
        return Err(bad("ttlSecond is not supported: set it back when the time is over"));
    }
    let wish: Section = read(&body)?;
    if wish.is_empty() {
        return Ok(said("The input is empty."));
    }
    let mut values = Vec::new();
    for (name, value) in wish {
        match value {
            Value::Object(section) if [SCHEDULE, REPLICATION].contains(&name.as_str()) => {
                values.extend(of_section(&name, section)?);
            }
            value => values.push((name.clone(), Some(text(&name, &value)?))),
        }
    }
    set(&context, values).await
}

/// `POST /config/schedule`.
pub(super) async fn set_schedule(State(context): State<Context>, body: Bytes) -> Answered {
    set(&context, of_section(SCHEDULE, read(&body)?)?).await
}

/// `POST /config/replicate`.
pub(super) async fn set_replication(State(context): State<Context>, body: Bytes) -> Answered {
    set(&context, of_section(REPLICATION, read(&body)?)?).await
}

type Values = Vec<(String, Option<String>)>;

fn of_section(name: &str, section: Section) -> Result<Values, Refused> {
    let value = |(key, value): (String, Value)| {
        let text = text(&key, &value)?;
        let is_whole = key.split_once('.').is_some_and(|(own, _)| own == name);
        let key = if is_whole { key } else { format!("{name}.{key}") };
        Ok((key, Some(text)))
    };
    section.into_iter().map(value).collect()
}

async fn set(context: &Context, values: Values) -> Answered {
    context.core.leading().await?;
    admin::set(&context.core, values).await?;
    Ok(said("The config is updated."))
}

/// A value as people write it.
fn text(name: &str, value: &Value) -> Result<String, Refused> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(bad(format!("{name} cannot be {value}: a text, a number or a switch is possible")))
        }
    }
}
