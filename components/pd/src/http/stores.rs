//! Answers about stores, and what becomes of them.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use flotilla_base::StoreId;
use flotilla_pdcore::{Denied, StoreEntry};
use flotilla_placement::{Leave, StoreState, policy::check_label};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Context,
    model::{StoreInfo, state_name},
    query::Query,
    routes::{Answered, PathId, Refused, bad, bootstrapped, number, read, said},
};
use crate::{
    admin::{self, Limits, Stage, StoreChange, Unwanted},
    core::{Look, Request},
};

/// States by their names.
const STATES: [&str; 5] = ["Up", "Disconnected", "Down", "Offline", "Tombstone"];

async fn entries(context: &Context) -> Result<Vec<StoreEntry>, Refused> {
    bootstrapped(context).await?;
    Ok(context.core.ask(|reply| Look::Stores { reply }).await?)
}

fn listed<'a>(entries: impl IntoIterator<Item = &'a StoreEntry>) -> Response {
    let stores: Vec<_> = entries.into_iter().map(StoreInfo::from).collect();
    Json(json!({ "count": stores.len(), "stores": stores })).into_response()
}

fn is_here(entry: &&StoreEntry) -> bool {
    entry.record.state != StoreState::Tombstone
}

/// `?state=Up&state=…` chooses by state; without it everything but tombstones is listed.
pub(super) async fn all(State(context): State<Context>, RawQuery(query): RawQuery) -> Answered {
    let entries = entries(&context).await?;
    let query = Query::new(query);
    let states: Vec<&str> = query.texts("state").collect();
    let is_wanted = |entry: &&StoreEntry| {
        let name = state_name(entry);
        if states.is_empty() {
            is_here(entry)
        } else {
            states.iter().any(|state| state.eq_ignore_ascii_case(name))
        }
    };
    Ok(listed(entries.iter().filter(is_wanted)))
}

/// `/stores/check?state=…`: the same, where the state has to be one.
pub(super) async fn check(context: State<Context>, RawQuery(query): RawQuery) -> Answered {
    let asked = Query::new(query.clone());
    let is_known = |state: &&str| STATES.iter().any(|known| known.eq_ignore_ascii_case(state));
    if let Some(state) = asked.texts("state").find(|state| !is_known(state)) {
        return Err(bad(format!("unknown StoreState: {state}")));
    }
    all(context, RawQuery(query)).await
}

pub(super) async fn one(State(context): State<Context>, id: PathId) -> Answered {
    bootstrapped(&context).await?;
    let id = StoreId(number(id)?);
    let entry = context.core.glance(move |sight| {
        // One that was forgotten is none of those that are told of here.
        let is_listed = sight.state().stores().contains_key(&id);
        if is_listed { sight.store(id) } else { Err(Denied::UnknownStore(id)) }
    });
    Ok(Json(StoreInfo::from(&entry.await??)).into_response())
}

/// `DELETE /stores/remove-tombstone`: those that were removed for good are listed no more.
pub(super) async fn forget(State(context): State<Context>) -> Answered {
    bootstrapped(&context).await?;
    admin::forget(&context.core, Vec::new()).await?;
    Ok(said("Remove tombstone successfully."))
}

/// `DELETE /store/{id}`: it leaves, and what it held is made anew elsewhere. With `?force` it must be gone already.
pub(super) async fn remove(
    State(context): State<Context>,
    id: PathId,
    RawQuery(query): RawQuery,
) -> Answered {
    bootstrapped(&context).await?;
    let id = StoreId(number(id)?);
    if Query::new(query.clone()).has("force") {
        let leave = Leave::Lost;
        context.core.ask(|reply| Request::RemoveStore { id, leave, reply }).await?;
    } else {
        admin::drain(&context.core, id).await?;
    }
    Ok(said("The store is set as Offline."))
}

/// `POST /store/{id}/state?state=Up` takes a removal back; `Offline` is one.
pub(super) async fn set_state(
    State(context): State<Context>,
    id: PathId,
    RawQuery(query): RawQuery,
) -> Answered {
    bootstrapped(&context).await?;
    let id = StoreId(number(id)?);
    let query = Query::new(query);
    let state = query.texts("state").next().unwrap_or_default();
    if state.eq_ignore_ascii_case("Up") {
        admin::stay(&context.core, id).await?;
    } else if state.eq_ignore_ascii_case("Offline") {
        admin::drain(&context.core, id).await?;
    } else {
        return Err(bad(format!("invalid state {state}")));
    }
    Ok(said("The store's state is updated."))
}

/// `POST /store/{id}/label {"key": "value"}`; with `?force` in place of all that were set before.
pub(super) async fn label(
    State(context): State<Context>,
    id: PathId,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answered {
    bootstrapped(&context).await?;
    let id = StoreId(number(id)?);
    let labels: BTreeMap<String, String> = read(&body)?;
    let set = labels.into_iter().collect();
    let is_all = Query::new(query).has("force");
    let change = StoreChange::Label { is_all, set, delete: Vec::new() };
    admin::treat(&context.core, id, change).await?;
    Ok(said("The store's label is updated."))
}

/// `DELETE /store/{id}/label "key"`.
pub(super) async fn delete_label(
    State(context): State<Context>,
    id: PathId,
    body: Bytes,
) -> Answered {
    bootstrapped(&context).await?;
    let id = StoreId(number(id)?);
    let key: String = read(&body)?;
    check_label(&key, "any").map_err(|refusal| bad(refusal.to_string()))?;
    let delete = vec![key.clone()];
    let change = StoreChange::Label { is_all: false, set: Vec::new(), delete };
    admin::treat(&context.core, id, change).await?;
    Ok(said(&format!("The label {key} is deleted for store {id}.")))
}

/// `POST /store/{id}/weight {"leader": 1, "region": 1}`.
pub(super) async fn weigh(State(context): State<Context>, id: PathId, body: Bytes) -> Answered {
    bootstrapped(&context).await?;
    let id = StoreId(number(id)?);
    let input: BTreeMap<String, Value> = read(&body)?;
    let weight = |name: &str| {
        let value = input.get(name).ok_or_else(|| bad(format!("{name} weight unset")))?;
        let number = value.as_f64().filter(|weight| *weight >= 0.0);
        number.ok_or_else(|| bad(format!("bad format {name} weight")))
    };
    let (leader, region) = (Some(weight("leader")?), Some(weight("region")?));
    admin::treat(&context.core, id, StoreChange::Weigh { leader, region }).await?;
    Ok(said("The store's weight is updated."))
}

/// Of one store or of several.
#[derive(Debug, Deserialize)]
struct LimitWish {
    rate: Option<Value>,
    r#type: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl LimitWish {
    /// Peers in a minute, and of which kind; `None` for both.
    fn limits(&self) -> Result<(u32, Limits), Refused> {
        let rate = self.rate.as_ref().ok_or_else(|| bad("rate unset"))?;
        let rate = rate.as_f64().filter(|rate| *rate > 0.0);
        let rate = rate.ok_or_else(|| bad("invalid rate which should be larger than 0"))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number; one that is too large is as good as the largest"
        )]
        let peers = rate.ceil() as u32;
        let limit = Some(Some(peers));
        let limits = match self.r#type.as_deref() {
            None => Limits { add: limit, remove: limit },
            Some("add-peer") => Limits { add: limit, remove: None },
            Some("remove-peer") => Limits { add: None, remove: limit },
            Some(other) => return Err(bad(format!("unknown type {other}"))),
        };
        Ok((peers, limits))
    }
}

fn refuse_ttl(query: Option<String>) -> Result<(), Refused> {
    let is_given = Query::new(query).has("ttlSecond");
    if is_given { Err(bad("ttlSecond is deprecated")) } else { Ok(()) }
}

/// `POST /store/{id}/limit {"rate": 15, "type": "add-peer"}`; both kinds without a type.
pub(super) async fn limit(
    State(context): State<Context>,
    id: PathId,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answered {
    bootstrapped(&context).await?;
    refuse_ttl(query)?;
    let id = StoreId(number(id)?);
    let (_, limits) = read::<LimitWish>(&body)?.limits()?;
    admin::treat(&context.core, id, StoreChange::Limit(limits)).await?;
    Ok(said("The store's limit is updated."))
}

/// `POST /stores/limit {"rate": 15, "type": "add-peer", "labels": {…}}`.
pub(super) async fn limit_all(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answered {
    bootstrapped(&context).await?;
    refuse_ttl(query)?;
    let wish: LimitWish = read(&body)?;
    let (peers, limits) = wish.limits()?;
    let is_everything = wish.labels.is_none() && wish.r#type.is_none();
    if is_everything {
        admin::set_all_limits(&context.core, peers).await?;
    } else {
        let labels = wish.labels.unwrap_or_default().into_iter().collect();
        admin::limit_stores(&context.core, limits, labels).await?;
    }
    Ok(said("Set store limit successfully."))
}

/// `GET /stores/limit`: those in force, by store.
pub(super) async fn limits(State(context): State<Context>) -> Answered {
    bootstrapped(&context).await?;
    let limits = context.core.glance(admin::limits).await?;
    let object = limits.into_iter().map(|(store, (add, remove))| {
        (store.to_string(), json!({ "add-peer": add, "remove-peer": remove }))
    });
    Ok(Json(object.collect::<BTreeMap<_, _>>()).into_response())
}

/// `GET /stores/progress?action=removing`, or `?id=…`: how far stores are that leave.
pub(super) async fn progress(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Answered {
    let entries = entries(&context).await?;
    let leaving = entries.iter().filter(|entry| entry.record.state == StoreState::Offline);
    let stage = |entry: &StoreEntry| context.core.progress.stage(entry.record.id, entry.load);
    let query = Query::new(query);
    if query.has("id") {
        let id = StoreId(query.number("id", 0, usize::MAX)? as u64);
        let found = leaving.clone().find(|entry| entry.record.id == id);
        let entry = found.ok_or_else(|| no_progress(&format!("the store ID: {id}")))?;
        return Ok(progress_of(stage(entry), Some(id)));
    }
    let action = query.texts("action").next().unwrap_or_default().to_ascii_lowercase();
    let stages: Vec<Stage> = match action.as_str() {
        "removing" => leaving.map(stage).collect(),
        // Stores take their share at once.
        "preparing" => Vec::new(),
        "" => return Err(bad("need query parameters")),
        other => return Err(bad(format!("unknown action {other}"))),
    };
    if stages.is_empty() {
        return Err(no_progress(&format!("the action: {action}")));
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of stores")]
    let mean = |of: fn(&Stage) -> f64| stages.iter().map(of).sum::<f64>() / stages.len() as f64;
    let slowest = stages.iter().map(|stage| stage.left_s).fold(0.0, f64::max);
    let all = Stage {
        done: mean(|stage| stage.done),
        mib_per_s: mean(|stage| stage.mib_per_s),
        left_s: slowest,
    };
    Ok(progress_of(all, None))
}

fn progress_of(Stage { done, mib_per_s, left_s }: Stage, store: Option<StoreId>) -> Response {
    let mut object = json!({
        "action": "removing",
        "progress": done,
        "current_speed": mib_per_s,
        "left_seconds": left_s,
    });
    if let Some(store) = store {
        object["store_id"] = json!(store.get());
    }
    Json(object).into_response()
}

fn no_progress(of: &str) -> Refused {
    let text = format!("[PD:progress:ErrProgressNotFound]no progress found for {of}");
    Refused(StatusCode::NOT_FOUND, text)
}

/// `GET /labels`: each once.
pub(super) async fn labels(State(context): State<Context>) -> Answered {
    let entries = entries(&context).await?;
    let labels: std::collections::BTreeSet<_> =
        entries.iter().filter(is_here).flat_map(StoreEntry::labels).collect();
    let shown = labels.iter().map(|(key, value)| json!({ "key": key, "value": value }));
    Ok(Json(shown.collect::<Vec<_>>()).into_response())
}

/// `GET /labels/stores?name=…&value=…`: stores with such a label.
pub(super) async fn labelled(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Answered {
    let entries = entries(&context).await?;
    let query = Query::new(query);
    let (name, value) = (query.texts("name").next(), query.texts("value").next());
    let fits = |(own_key, own): &(String, String)| {
        name.is_none_or(|name| name.is_empty() || name == own_key)
            && value.is_none_or(|value| value.is_empty() || value == own)
    };
    let is_wanted = |entry: &&StoreEntry| is_here(entry) && entry.labels().iter().any(fits);
    Ok(listed(entries.iter().filter(is_wanted)))
}

impl From<Unwanted> for Refused {
    fn from(unwanted: Unwanted) -> Self {
        const NOT_FOUND: &str = "[PD:scheduler:ErrSchedulerNotFound]scheduler not found";
        match unwanted {
            Unwanted::Denied(denied) => denied.into(),
            Unwanted::SchedulerNotRunning(_)
            | Unwanted::NotItsStore(..)
            | Unwanted::UnknownScheduler(_) => Self(StatusCode::NOT_FOUND, NOT_FOUND.to_owned()),
            Unwanted::SchedulerRuns(_) => {
                bad("[PD:scheduler:ErrSchedulerExisted]scheduler existed")
            }
            Unwanted::Early(_) => {
                let text = format!("[PD:cluster:ErrNotWhole]{unwanted}");
                Self(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            other => bad(other.to_string()),
        }
    }
}
