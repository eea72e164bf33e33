//! Changes of regions, as tools ask for them and read them.

use std::collections::BTreeSet;

use axum::{
    Json,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use flotilla_base::{RegionId, StoreId};
use flotilla_pdcore::AskedChange;
use flotilla_placement::{
    Change, EndedOperator, Ending, Operator, OperatorRefusal, Plan, SchedulerName,
    operator::{SplitAt, drain, leftover},
    scatter as spread,
};
use serde::{Deserialize, Serialize};

use super::{
    Context, format,
    query::Query,
    routes::{Answered, PathId, Refused, bad, bootstrapped, number, read, said},
    scatter,
};
use crate::core::{LastOperator, Look, Request};

/// What a tool asks for. Which of these are needed depends on the name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    name: Option<String>,
    region_id: Option<u64>,
    store_id: Option<u64>,
    from_store_id: Option<u64>,
    to_store_id: Option<u64>,
    to_store_ids: Option<Vec<u64>>,
    peer_roles: Option<Vec<String>>,
    policy: Option<String>,
    keys: Option<Vec<String>>,
}

impl Wish {
    fn change(self) -> Result<Change, Refused> {
        let store = |id: Option<u64>, missing: &str| id.map(StoreId).ok_or_else(|| bad(missing));
        let its_store = || store(self.store_id, "missing store id");
        match self.name.as_deref() {
            Some("transfer-leader") => {
                let missing = "missing store id to transfer leader to";
                Ok(Change::TransferLeader(store(self.to_store_id, missing)?))
            }
            Some("add-peer") => Ok(Change::AddPeer(its_store()?)),
            Some("add-learner") => Ok(Change::AddLearner(its_store()?)),
            Some("remove-peer") => Ok(Change::RemovePeer(its_store()?)),
            Some("transfer-peer") => Ok(Change::MovePeer {
                from: store(self.from_store_id, "missing store id to transfer peer from")?,
                to: store(self.to_store_id, "missing store id to transfer peer to")?,
            }),
            Some("transfer-region") => self.move_region(),
            Some("split-region") => self.split(),
            Some(name @ "merge-region") => {
                Err(bad(format!("{name} is not supported by this placement driver")))
            }
            Some(_) => Err(bad("unknown operator")),
            None => Err(bad("missing operator name")),
        }
    }

    fn move_region(self) -> Result<Change, Refused> {
        let stores = self.to_store_ids.unwrap_or_default();
        if stores.is_empty() {
            return Err(bad("missing store ids to transfer region to"));
        }
        let is_plain = |role: &String| matches!(role.as_str(), "" | "voter" | "follower");
        match self.peer_roles.unwrap_or_default().iter().find(|role| !is_plain(role)) {
            Some(role) => Err(bad(format!("peer role {role:?} is not supported: all peers vote"))),
            None => {
                Ok(Change::MoveRegion(stores.into_iter().map(StoreId).collect::<BTreeSet<_>>()))
            }
        }
    }

    fn split(self) -> Result<Change, Refused> {
        let at = match self.policy.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("scan") => SplitAt::Middle,
            Some("approximate") => SplitAt::AboutMiddle,
            Some("usekey") => {
                let hex = Query::new(Some("format=hex".to_owned()));
                let keys = self.keys.unwrap_or_default().into_iter();
                let keys = keys.map(|key| hex.key(key.into_bytes()).map(Into::into));
                SplitAt::Keys(keys.collect::<Result<_, _>>()?)
            }
            Some(other) => return Err(bad(format!("check policy {other} is not supported"))),
            None => return Err(bad("missing split policy")),
        };
        Ok(Change::SplitRegion(at))
    }
}

/// `POST /operators`.
pub(super) async fn add(State(context): State<Context>, body: Bytes) -> Answered {
    bootstrapped(&context).await?;
    let wish: Wish = read(&body)?;
    let region = wish.region_id.map(RegionId);
    match wish.name.as_deref() {
        Some("scatter-region") => return scatter::one(&context, region).await,
        Some("scatter-regions") => return scatter::several(&context, &read(&body)?).await,
        _ => {}
    }
    let change = wish.change()?;
    let region = region.ok_or_else(|| bad("missing region id"))?;
    let asked = Box::new(AskedChange { region, change, asked_by: "http" });
    context.core.ask(|reply| Request::AddOperator { asked, reply }).await?;
    Ok(said("The operator is created."))
}

/// `GET /operators?kind=…&object`: those under way.
pub(super) async fn list(State(context): State<Context>, RawQuery(query): RawQuery) -> Answered {
    bootstrapped(&context).await?;
    let list = context.core.ask(|reply| Look::Operators { reply }).await?;
    let is_object = wants_object(query.as_deref());
    let query = Query::new(query);
    let kinds: Vec<&str> = query.texts("kind").collect();
    let is_wanted = |running: &&Operator| {
        kinds.is_empty() || kind(running).split(',').any(|own| kinds.contains(&own))
    };
    let wanted = list.running.iter().filter(is_wanted);
    let shown = wanted.map(|running| Shown::new(running, None, is_object));
    Ok(Json(shown.collect::<Vec<_>>()).into_response())
}

/// `GET /operators/{region}?object`: the one that goes on, or the last one that has ended.
pub(super) async fn last(
    State(context): State<Context>,
    id: PathId,
    RawQuery(query): RawQuery,
) -> Answered {
    bootstrapped(&context).await?;
    let region = RegionId(number(id)?);
    let found = context.core.ask(|reply| Look::LastOperator { region, reply }).await?;
    let (operator, ending) = match &found {
        Some(LastOperator::Running(running)) => (running.as_ref(), None),
        Some(LastOperator::Ended(ended)) => (&ended.operator, Some(ended.ending)),
        None => return Err(not_found()),
    };
    if wants_object(query.as_deref()) {
        return Ok(Json(Shown::new(operator, ending, true)).into_response());
    }
    let status = match ending {
        None => "RUNNING",
        Some(Ending::Finished) => "SUCCESS",
        Some(Ending::TimedOut) => "TIMEOUT",
        Some(Ending::Cancelled(_)) => "CANCEL",
    };
    Ok(said(&format!("status: {status}, operator: {}", text(operator, ending))))
}

/// `GET /operators/records?from=…`: those that have ended since then, in seconds since 1970; the last one first.
pub(super) async fn records(State(context): State<Context>, RawQuery(query): RawQuery) -> Answered {
    bootstrapped(&context).await?;
    let from = Query::new(query).number("from", 0, usize::MAX)? as u64;
    let list = context.core.ask(|reply| Look::Operators { reply }).await?;
    let ended = list.ended.iter().filter(|ended| ended.at.unix_ms / 1000 >= from);
    Ok(Json(ended.map(|ended| record(ended)).collect::<Vec<_>>()).into_response())
}

/// `DELETE /operators/{region}`.
pub(super) async fn cancel(State(context): State<Context>, id: PathId) -> Answered {
    bootstrapped(&context).await?;
    let region = RegionId(number(id)?);
    context.core.ask(|reply| Request::CancelOperator { region, reply }).await?;
    Ok(said("The pending operator is canceled."))
}

/// `DELETE /operators`.
pub(super) async fn cancel_all(State(context): State<Context>) -> Answered {
    bootstrapped(&context).await?;
    let list = context.core.ask(|reply| Look::Operators { reply }).await?;
    for running in list.running {
        let region = running.plan.region;
        // One that ended by itself meanwhile is gone as well.
        let _ended_by_then =
            context.core.ask(|reply| Request::CancelOperator { region, reply }).await;
    }
    Ok(said("All pending operators are canceled."))
}

pub(super) fn not_found() -> Refused {
    let text = "[PD:operator:ErrOperatorNotFound]operator not found".to_owned();
    Refused(StatusCode::NOT_FOUND, text)
}

/// `?object`, with or without a value.
fn wants_object(query: Option<&str>) -> bool {
    Query::new(query.map(str::to_owned)).has("object")
}

impl From<OperatorRefusal> for Refused {
    fn from(refusal: OperatorRefusal) -> Self {
        let (status, code) = match &refusal {
            OperatorRefusal::UnknownRegion(_) => {
                (StatusCode::NOT_FOUND, "[PD:region:ErrRegionNotFound]")
            }
            OperatorRefusal::UnknownStore(_) => {
                (StatusCode::NOT_FOUND, "[PD:core:ErrStoreNotFound]")
            }
            OperatorRefusal::NotUp { .. } => {
                (StatusCode::BAD_REQUEST, "[PD:core:ErrStoreUnhealthy]")
            }
            OperatorRefusal::NoLeader(_) => {
                (StatusCode::BAD_REQUEST, "[PD:checker:ErrRegionNoLeader]")
            }
            OperatorRefusal::Busy { .. } | OperatorRefusal::Full(_) => {
                (StatusCode::BAD_REQUEST, "[PD:operator:ErrAddOperator]")
            }
            _ => (StatusCode::BAD_REQUEST, "[PD:schedule:ErrCreateOperator]"),
        };
        Self(status, format!("{code}{refusal}"))
    }
}

/// An operator as text, or as an object where that is asked for.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown {
    Text(String),
    Object(Object),
}

#[derive(Debug, Serialize)]
struct Object {
    desc: String,
    brief: String,
    region_id: u64,
    region_epoch: Epoch,
    kind: u32,
    timeout: String,
    status: u32,
}

#[derive(Debug, Serialize)]
struct Epoch {
    conf_ver: u64,
    version: u64,
}

impl Shown {
    fn new(operator: &Operator, ending: Option<Ending>, is_object: bool) -> Self {
        if !is_object {
            return Self::Text(text(operator, ending));
        }
        let plan = &operator.plan;
        // The numbers of the public protocol.
        let bit = |word: &str| match word {
            "admin" => 1,
            "split" => 1 << 5,
            "replica" => 1 << 6,
            "region" => 1 << 7,
            _ => 1 << 8,
        };
        Self::Object(Object {
            desc: desc(operator),
            brief: plan.brief.clone(),
            region_id: plan.region.get(),
            region_epoch: Epoch {
                conf_ver: plan.epoch.conf_ver.get(),
                version: plan.epoch.version.get(),
            },
            kind: kind(operator).split(',').map(bit).sum(),
            timeout: timeout(plan),
            status: match ending {
                None => 1,
                Some(Ending::Finished) => 2,
                Some(Ending::Cancelled(_)) => 3,
                Some(Ending::TimedOut) => 6,
            },
        })
    }
}

/// Who makes operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// Somebody outside, or who takes away what is left of what somebody asked for.
    People,
    /// Somebody has regions spread.
    Spread,
    /// A store that leaves is emptied.
    Drain,
    Scheduler(SchedulerName),
    /// It mends regions; so it is called.
    Checker(&'static str),
}

impl Maker {
    fn of(operator: &Operator) -> Self {
        match operator.asked_by {
            "http" | "ctl" | "SplitRegions" | leftover::ASKED_BY => Self::People,
            drain::ASKED_BY => Self::Drain,
            spread::ASKED_BY => Self::Spread,
            by => SchedulerName::parse(by).map_or(Self::Checker(by), Self::Scheduler),
        }
    }
}

/// What it is for, in the words of the public protocol.
pub(crate) fn desc(operator: &Operator) -> String {
    match Maker::of(operator) {
        Maker::People => format!("admin-{}", operator.plan.kind.name()),
        Maker::Spread => spread::ASKED_BY.to_owned(),
        Maker::Drain => "replace-rule-offline-peer".to_owned(),
        Maker::Scheduler(name) => name.name().to_owned(),
        Maker::Checker(by) => by.to_owned(),
    }
}

/// What it changes.
pub(crate) fn kind(operator: &Operator) -> String {
    let plan = &operator.plan;
    let maker = match Maker::of(operator) {
        Maker::People | Maker::Spread => "admin",
        Maker::Drain | Maker::Checker(_) => "replica",
        Maker::Scheduler(SchedulerName::BalanceHotRegion) => "hot-region",
        Maker::Scheduler(_) => "",
    };
    let changed: &[&str] = match (plan.changes_members(), plan.changes_leader()) {
        (true, true) => &["region", "leader"],
        (true, false) => &["region"],
        (false, true) => &["leader"],
        (false, false) => &["split"],
    };
    let words: Vec<&str> =
        [maker].iter().chain(changed).copied().filter(|it| !it.is_empty()).collect();
    words.join(",")
}

fn timeout(plan: &Plan) -> String {
    format::duration(plan.timeout().as_millis() / 1000)
}

/// Tools take it apart: words and brackets are a contract.
fn text(operator: &Operator, ending: Option<Ending>) -> String {
    let plan = &operator.plan;
    let steps: Vec<String> =
        plan.steps.iter().enumerate().map(|(at, step)| format!("{at}:{{{step}}}")).collect();
    let created = format::date(operator.created.unix_ms);
    let mut text = format!(
        "{} {{{}}} (kind:{}, region:{}({}, {}), createAt:{created}, startAt:{created}, currentStep:{}, \
         size:{}, steps:[{}], timeout:[{}])",
        desc(operator),
        plan.brief,
        kind(operator),
        plan.region,
        plan.epoch.version,
        plan.epoch.conf_ver,
        operator.done(),
        plan.size_bytes.div_ceil(1 << 20),
        steps.join(", "),
        timeout(plan),
    );
    match ending {
        None => {}
        Some(Ending::Finished) => text.push_str(" finished"),
        Some(Ending::TimedOut) => text.push_str(" timeout"),
        Some(Ending::Cancelled(_)) => {
            text.push_str(&format!(" cancelled: {}", ending.map_or("", |it| it.reason())));
        }
    }
    text
}

fn record(ended: &EndedOperator) -> String {
    let took = ended.at.unix_ms.saturating_sub(ended.operator.created.unix_ms) / 1000;
    let (finished, took) = (format::date(ended.at.unix_ms), format::duration(took));
    let text = text(&ended.operator, Some(ended.ending));
    format!("{text} (finishAt:{finished}, duration:{took})")
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        /// Whatever a tool sends: it is refused with a reason, or means something.
        #[test]
        fn damaged_wishes_are_refused_or_read(
            bytes in damaged(prop::sample::select(vec![
                json!({ "name": "split-region", "region_id": 2, "policy": "usekey", "keys": ["6B"] }),
                json!({ "name": "transfer-region", "to_store_ids": [1, 2], "peer_roles": ["voter"] }),
                json!({ "name": "transfer-peer", "from_store_id": 1, "to_store_id": u64::MAX }),
            ]).prop_map(|wish| wish.to_string().into_bytes())),
        ) {
            if let Ok(wish) = serde_json::from_slice::<Wish>(&bytes) {
                match wish.change() {
                    Ok(change) => prop_assert!(!change.kind().name().is_empty()),
                    Err(Refused(status, why)) => {
                        prop_assert!(status.is_client_error() && !why.is_empty());
                    }
                }
            }
        }
    }
}
