//! Placement rules, as tools list and change them.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use flotilla_base::{KeyRange, RegionId};
use flotilla_pdcore::{Denied, Leading};
use flotilla_placement::{
    Border, Demand, LabelConstraint, LabelOp, Placement, Role, Rule, RuleGroup, RuleRefusal,
    rule::RuleEdit,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Context, format,
    model::PeerInfo,
    query::Query,
    routes::{Answered, PathId, Refused, bad, bootstrapped, number, read, said},
};
use crate::admin::{self, Unwanted};

/// A rule on the wire.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct WireRule {
    group_id: String,
    id: String,
    #[serde(skip_serializing_if = "is_zero")]
    index: u32,
    #[serde(rename = "override", skip_serializing_if = "std::ops::Not::not")]
    is_override: bool,
    start_key: String,
    end_key: String,
    role: String,
    is_witness: bool,
    count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    label_constraints: Vec<WireConstraint>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    location_labels: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    isolation_level: String,
}

/// A rule that somebody sends, and what is to become of it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct WireEdit {
    rule: WireRule,
    action: Option<String>,
    is_prefix: bool,
}

impl TryFrom<Map<String, Value>> for WireEdit {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        // Tools send back what other implementations have told them.
        for theirs in ["version", "create_timestamp"] {
            let _number: Option<Option<u64>> = take(&mut fields, theirs)?;
        }
        let action = take(&mut fields, "action")?.flatten();
        let is_prefix = take(&mut fields, "delete_by_id_prefix")?.unwrap_or_default();
        Ok(Self { rule: serde_json::from_value(Value::Object(fields))?, action, is_prefix })
    }
}

fn take<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, serde_json::Error> {
    fields.remove(name).map(serde_json::from_value).transpose()
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct WireConstraint {
    key: String,
    op: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WireGroup {
    id: String,
    #[serde(skip_serializing_if = "is_zero")]
    index: u32,
    #[serde(rename = "override", skip_serializing_if = "std::ops::Not::not")]
    is_override: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl WireEdit {
    /// What is to be done about the rule: it is put, where no action says otherwise.
    fn into_edit(self) -> Result<RuleEdit, RuleRefusal> {
        let Self { rule, action, is_prefix } = self;
        match action.as_deref() {
            None | Some("add") => Ok(RuleEdit::Put(Box::new(rule.into_rule()?))),
            Some("del") => {
                let WireRule { group_id, id, .. } = rule;
                Ok(RuleEdit::Delete { group_id, id, is_prefix })
            }
            Some(other) => {
                Err(rule.refuse(format!("its action is {other:?}"), "add and del are possible"))
            }
        }
    }
}

impl WireRule {
    fn refuse(&self, why: impl Into<String>, possible: impl Into<String>) -> RuleRefusal {
        let rule = format!("{}/{}", self.group_id, self.id);
        RuleRefusal { rule, why: why.into(), possible: possible.into() }
    }

    fn into_rule(self) -> Result<Rule, RuleRefusal> {
        if self.is_witness {
            let possible = "A role of learner is possible, which has the data and does not vote";
            return Err(self.refuse("it asks for witnesses, of which there are none", possible));
        }
        let role = Role::parse(&self.role);
        let role = role.map_err(|refusal| self.refuse(refusal.why, refusal.possible))?;
        let key = |text: &str| {
            let hex = Query::new(Some("format=hex".to_owned()));
            let possible = "Pairs of hexadecimal digits are possible, or nothing";
            let key = hex.key(text.as_bytes().to_vec());
            key.map_err(|_no_hex| self.refuse(format!("{text:?} is no hexadecimal key"), possible))
        };
        let range = KeyRange::new(key(&self.start_key)?, key(&self.end_key)?);
        let constraint = |wire: &WireConstraint| {
            let possible = "in, notIn, exists and notExists are possible";
            let op = LabelOp::parse(&wire.op);
            let op = op.ok_or_else(|| {
                self.refuse(format!("it asks for {} {:?}", wire.key, wire.op), possible)
            })?;
            Ok(LabelConstraint { key: wire.key.clone(), op, values: wire.values.clone() })
        };
        let constraints = self.label_constraints.iter().map(constraint);
        let constraints = constraints.collect::<Result<_, RuleRefusal>>()?;
        Ok(Rule {
            range,
            role,
            constraints,
            group_id: self.group_id,
            id: self.id,
            index: self.index,
            is_override: self.is_override,
            count: self.count,
            location_labels: self.location_labels,
            isolation_level: self.isolation_level,
        })
    }
}

impl From<&Rule> for WireRule {
    fn from(rule: &Rule) -> Self {
        Self {
            group_id: rule.group_id.clone(),
            id: rule.id.clone(),
            index: rule.index,
            is_override: rule.is_override,
            start_key: format::hex(&rule.range.start),
            end_key: format::hex(&rule.range.end),
            role: rule.role.name().to_owned(),
            count: rule.count,
            label_constraints: rule.constraints.iter().map(Into::into).collect(),
            location_labels: rule.location_labels.clone(),
            isolation_level: rule.isolation_level.clone(),
            is_witness: false,
        }
    }
}

impl From<&LabelConstraint> for WireConstraint {
    fn from(constraint: &LabelConstraint) -> Self {
        Self {
            key: constraint.key.clone(),
            op: constraint.op.name().to_owned(),
            values: constraint.values.clone(),
        }
    }
}

/// The edits that a list of rules with actions stands for.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(crate) fn read_edits(json: &[u8]) -> Result<Vec<RuleEdit>, String> {
    let edits: Vec<WireEdit> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let edits = edits.into_iter().map(WireEdit::into_edit);
    edits.collect::<Result<_, _>>().map_err(|refusal: RuleRefusal| refusal.to_string())
}

/// Rules as a list.
pub(crate) fn write_rules(rules: &[Rule]) -> Value {
    json!(rules.iter().map(WireRule::from).collect::<Vec<_>>())
}

fn wire_edit(edit: WireEdit) -> Result<RuleEdit, Refused> {
    edit.into_edit().map_err(|refusal| bad(refusal.to_string()))
}

async fn change(context: &Context, edits: Vec<RuleEdit>, told: &str) -> Answered {
    admin::change_rules(&context.core, edits).await?;
    Ok(said(told))
}

async fn listed(context: &Context) -> Result<Vec<Rule>, Refused> {
    bootstrapped(context).await?;
    Ok(context.core.glance(|sight| sight.state().policy().all_rules()).await?)
}

/// `GET /config/rules`.
pub(super) async fn all(State(context): State<Context>) -> Answered {
    Ok(Json(write_rules(&listed(&context).await?)).into_response())
}

/// `GET /config/rules/group/{group}`.
pub(super) async fn of_group(
    State(context): State<Context>,
    Path(group): Path<String>,
) -> Answered {
    let mut rules = listed(&context).await?;
    rules.retain(|rule| rule.group_id == group);
    Ok(Json(write_rules(&rules)).into_response())
}

/// `GET /config/rule/{group}/{id}`; `null` where there is none.
pub(super) async fn one(
    State(context): State<Context>,
    Path((group, id)): Path<(String, String)>,
) -> Answered {
    let rules = listed(&context).await?;
    let found = rules.iter().find(|rule| rule.group_id == group && rule.id == id);
    Ok(match found {
        Some(rule) => Json(json!(WireRule::from(rule))).into_response(),
        None => (StatusCode::NOT_FOUND, Json(Value::Null)).into_response(),
    })
}

/// `POST /config/rule`.
pub(super) async fn put(State(context): State<Context>, body: Bytes) -> Answered {
    bootstrapped(&context).await?;
    let edit: WireEdit = read(&body)?;
    let edit = wire_edit(WireEdit { action: None, ..edit })?;
    change(&context, vec![edit], "Update rule successfully.").await
}

/// `DELETE /config/rule/{group}/{id}`. One that is not there is gone as well.
pub(super) async fn delete(
    State(context): State<Context>,
    Path((group_id, id)): Path<(String, String)>,
) -> Answered {
    bootstrapped(&context).await?;
    let edit = RuleEdit::Delete { group_id, id, is_prefix: false };
    change(&context, vec![edit], "Delete rule successfully.").await
}

/// `POST /config/rules/batch`: all or none.
pub(super) async fn batch(State(context): State<Context>, body: Bytes) -> Answered {
    bootstrapped(&context).await?;
    let edits = read_edits(&body).map_err(bad)?;
    change(&context, edits, "Batch operations successfully.").await
}

/// `GET /config/rule_groups`.
pub(super) async fn groups(State(context): State<Context>) -> Answered {
    bootstrapped(&context).await?;
    let groups = context.core.glance(|sight| sight.state().policy().rules.groups().to_vec());
    let groups = groups.await?.into_iter().map(|RuleGroup { id, index, is_override }| WireGroup {
        id,
        index,
        is_override,
    });
    Ok(Json(groups.collect::<Vec<_>>()).into_response())
}

/// `POST /config/rule_group`.
pub(super) async fn put_group(State(context): State<Context>, body: Bytes) -> Answered {
    bootstrapped(&context).await?;
    let WireGroup { id, index, is_override } = read(&body)?;
    let edit = RuleEdit::PutGroup(RuleGroup { id, index, is_override });
    change(&context, vec![edit], "Update rule group successfully.").await
}

/// `DELETE /config/rule_group/{id}`.
pub(super) async fn delete_group(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Answered {
    bootstrapped(&context).await?;
    let edit = RuleEdit::DeleteGroup(id);
    change(&context, vec![edit], "Delete rule group successfully.").await
}

/// `GET /config/rules/region/{id}`: the rules that apply to it.
pub(super) async fn of_region(State(context): State<Context>, id: PathId) -> Answered {
    bootstrapped(&context).await?;
    let region = RegionId(number(id)?);
    let told = context.core.glance(move |sight| fit(sight, region)).await??;
    let rules = told["rule-fits"].as_array().into_iter().flatten().map(|fit| fit["rule"].clone());
    Ok(Json(Value::Array(rules.collect())).into_response())
}

/// `GET /config/rules/region/{id}/detail`: the same with the peers that count for each.
pub(super) async fn detail(State(context): State<Context>, id: PathId) -> Answered {
    bootstrapped(&context).await?;
    let region = RegionId(number(id)?);
    let told = context.core.glance(move |sight| fit(sight, region)).await??;
    Ok(Json(told).into_response())
}

/// Which peers of a region count for which rule.
fn fit(sight: &Leading<'_>, region: RegionId) -> Result<Value, Unwanted> {
    let info = sight.regions().by_id(region).ok_or(Denied::UnknownRegion(region))?;
    let policy = sight.state().policy();
    let scheduling = sight.scheduling();
    let placement = Placement::of(&scheduling, info).map_err(|Border(key)| Unwanted::Rules(format!(
        "other placement rules begin at the key {} inside of region {region}: it is split there first",
        format::hex(&key)
    )))?;
    let all = policy.all_rules();
    let default = policy.default_rule();
    let rule = |demand: &Demand<'_>| {
        let is_it = |rule: &&Rule| rule.group_id == demand.group_id && rule.id == demand.id;
        json!(WireRule::from(all.iter().find(is_it).unwrap_or(&default)))
    };
    let peers = |set: flotilla_placement::rule::MemberSet| {
        let peers = set.iter().map(|at| PeerInfo::from(placement.members[at].peer));
        json!(peers.collect::<Vec<_>>())
    };
    let fits = placement.demands.iter().zip(&placement.fit.rules).map(|(demand, fit)| {
        json!({
            "rule": rule(demand),
            "peers": peers(fit.members),
            "peers-different-role": peers(fit.mismatched),
            "isolation-score": fit.isolation.score(),
        })
    });
    Ok(json!({
        "rule-fits": fits.collect::<Vec<_>>(),
        "orphan-peers": peers(placement.fit.orphans),
    }))
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    fn told(rule: Value) -> String {
        read_edits(json!([rule]).to_string().as_bytes()).expect_err("refused")
    }

    #[test]
    fn what_is_malformed_is_named_with_what_is_possible() {
        let fine = json!({
            "group_id": "pd", "id": "a", "role": "voter", "count": 3, "start_key": "6B", "end_key": "",
            "version": 1, "create_timestamp": 2,
            "label_constraints": [{ "key": "disk", "op": "in", "values": ["ssd"] }],
        });
        let edits = read_edits(json!([fine]).to_string().as_bytes()).expect("fine");
        let [RuleEdit::Put(rule)] = edits.as_slice() else { panic!("{edits:?}") };
        assert_eq!((&rule.range.start[..], rule.count), (&b"k"[..], 3));
        let with = |field: &str, value: Value| {
            let mut rule = fine.clone();
            rule[field] = value;
            told(rule)
        };
        for (field, value, part) in [
            ("role", json!("leaders"), "leader, voter, follower and learner are possible"),
            ("count", json!(-1), "expected u32"),
            ("counts", json!(1), "unknown field `counts`"),
            ("start_key", json!("6"), "pd/a\" cannot be: \"6\" is no hexadecimal key"),
            ("is_witness", json!(true), "A role of learner is possible"),
            ("action", json!("drop"), "add and del are possible"),
            ("label_constraints", json!([{ "key": "disk", "op": "is" }]), "notIn, exists"),
        ] {
            let told = with(field, value);
            assert!(told.contains(part), "no {part:?} in {told}");
        }
    }

    proptest! {
        #[test]
        fn damaged_rules_are_refused_or_read(
            bytes in damaged(Just(json!([{
                "group_id": "pd", "id": "a", "role": "voter", "count": 3, "start_key": "6B", "end_key": "",
                "label_constraints": [{ "key": "disk", "op": "in", "values": ["ssd"] }],
            }]).to_string().into_bytes())),
        ) {
            if let Err(why) = read_edits(&bytes) {
                prop_assert!(!why.is_empty());
            }
        }
    }
}
