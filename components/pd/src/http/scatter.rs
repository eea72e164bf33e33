//! Regions that are to be spread over the stores, as tools ask for it.

use std::collections::BTreeSet;

use axum::{Json, body::Bytes, extract::State, response::IntoResponse};
use flotilla_base::{KeyRange, RegionId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Context, format,
    query::Query,
    routes::{Answered, Refused, bad, bootstrapped, read, said},
};
use crate::{
    admin,
    core::{Look, Selection},
};

/// Which regions: by id, or all between two keys in hexadecimal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    regions_id: Option<Vec<u64>>,
    start_key: Option<String>,
    end_key: Option<String>,
    group: String,
}

impl Wanted {
    fn range(&self) -> Result<Option<KeyRange>, Refused> {
        if self.start_key.is_none() && self.end_key.is_none() {
            return Ok(None);
        }
        let hex = Query::new(Some("format=hex".to_owned()));
        let key = |key: &Option<String>| hex.key(key.clone().unwrap_or_default().into_bytes());
        Ok(Some(KeyRange::new(key(&self.start_key)?, key(&self.end_key)?)))
    }

    async fn regions(&self, context: &Context) -> Result<BTreeSet<RegionId>, Refused> {
        if let Some(ids) = self.regions_id.as_ref().filter(|ids| !ids.is_empty()) {
            return Ok(ids.iter().copied().map(RegionId).collect());
        }
        let missing = "missing regions: give regions_id, or start_key and end_key in hexadecimal";
        let range = self.range()?.ok_or_else(|| bad(missing))?;
        let told = format!("[{}, {})", format::hex(&range.start), format::hex(&range.end));
        let selection = Selection::Range(range, usize::MAX);
        let listed = context.core.ask(|reply| Look::Regions { selection, reply }).await?;
        let listed = listed.map_err(|refusal| bad(refusal.to_string()))?;
        if listed.is_empty() {
            return Err(bad(format!("no region is known in {told}")));
        }
        Ok(listed.iter().map(|info| info.region.id).collect())
    }
}

/// `POST /regions/scatter`.
pub(super) async fn scatter(State(context): State<Context>, body: Bytes) -> Answered {
    bootstrapped(&context).await?;
    several(&context, &read(&body)?).await
}

/// How many of 100 are spread or begin to be, and what keeps the others.
pub(super) async fn several(context: &Context, wanted: &Wanted) -> Answered {
    let regions = wanted.regions(context).await?;
    let outcome = admin::scatter(&context.core, &wanted.group, regions).await?;
    let failures = outcome.failed.iter().map(|(id, why)| (id.to_string(), why.as_str().into()));
    let failures: Map<String, Value> = failures.collect();
    Ok(Json(json!({
        "processed-percentage": outcome.finished_percentage(),
        "failures": failures,
    }))
    .into_response())
}

/// The operator `scatter-region`.
pub(super) async fn one(context: &Context, region: Option<RegionId>) -> Answered {
    let region = region.ok_or_else(|| bad("missing region id"))?;
    let outcome = admin::scatter(&context.core, "", BTreeSet::from([region])).await?;
    match outcome.failed.first() {
        Some((_, why)) => Err(bad(format!(
            "[PD:schedule:ErrCreateOperator]region {region} cannot be spread: {why}"
        ))),
        None => Ok(said("The operator is created.")),
    }
}
