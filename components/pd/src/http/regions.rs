//! Answers about regions.

use std::{cmp::Reverse, sync::Arc};

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use flotilla_base::{KeyRange, RegionId, StoreId};
use flotilla_placement::RegionInfo;
use flotilla_proto::placement::{RegionCheck, ReplicaRole};
use serde_json::json;

use super::{
    Context, format,
    model::Region,
    query::{Query, unescape},
    routes::{Answered, PathId, Refused, bootstrapped, number},
};
use crate::{
    admin::{RegionFilter, has_replica},
    core::{Look, RegionLookup, Selection},
};

/// How many regions are listed where nobody says how many, and how many at most.
const LIMIT_DEFAULT: usize = 16;
const LIMIT_MAX: usize = 10_240;

type Infos = Vec<Arc<RegionInfo>>;

async fn list(context: &Context, selection: Selection) -> Result<Infos, Refused> {
    bootstrapped(context).await?;
    let listed = context.core.ask(|reply| Look::Regions { selection, reply }).await?;
    listed.map_err(|refusal| Refused(StatusCode::BAD_REQUEST, refusal.to_string()))
}

fn answer<'a>(infos: impl IntoIterator<Item = &'a Arc<RegionInfo>>) -> Response {
    let regions: Vec<_> = infos.into_iter().map(|info| Region::from(info.as_ref())).collect();
    Json(json!({ "count": regions.len(), "regions": regions })).into_response()
}

fn one(found: Option<Arc<RegionInfo>>) -> Response {
    let found: Option<Region> = found.map(|info| info.as_ref().into());
    Json(found).into_response()
}

pub(super) async fn all(State(context): State<Context>) -> Answered {
    Ok(answer(&list(&context, Selection::all()).await?))
}

pub(super) async fn count(State(context): State<Context>) -> Answered {
    let count = list(&context, Selection::all()).await?.len();
    Ok(Json(json!({ "count": count })).into_response())
}

pub(super) async fn by_id(State(context): State<Context>, id: PathId) -> Answered {
    bootstrapped(&context).await?;
    let lookup = RegionLookup::Id(RegionId(number(id)?));
    Ok(one(context.core.region(lookup).await?))
}

/// The key stands behind percent signs in the path, and may be any bytes.
pub(super) async fn by_key(
    State(context): State<Context>,
    uri: Uri,
    RawQuery(query): RawQuery,
) -> Answered {
    bootstrapped(&context).await?;
    let (_, key) = uri.path().rsplit_once('/').unwrap_or_default();
    let key = Query::new(query).key(unescape(key))?;
    Ok(one(context.core.region(RegionLookup::Key(key.into())).await?))
}

/// `?key=…&end_key=…&limit=…`.
pub(super) async fn range(State(context): State<Context>, RawQuery(query): RawQuery) -> Answered {
    let query = Query::new(query);
    let key = |name| query.key(query.bytes(name).unwrap_or_default().to_vec());
    let range = KeyRange::new(key("key")?, key("end_key")?);
    let limit = query.number("limit", LIMIT_DEFAULT, LIMIT_MAX)?;
    Ok(answer(&list(&context, Selection::Range(range, limit)).await?))
}

/// `?type=leader|follower|learner|all&limit=…`.
pub(super) async fn of_store(
    State(context): State<Context>,
    id: PathId,
    RawQuery(query): RawQuery,
) -> Answered {
    let (store, query) = (StoreId(number(id)?), Query::new(query));
    let limit = query.number("limit", usize::MAX, usize::MAX)?;
    let role = match query.texts("type").next().unwrap_or("all") {
        "leader" => ReplicaRole::Leader,
        "learner" => ReplicaRole::Learner,
        "follower" => ReplicaRole::Follower,
        _ => ReplicaRole::AnyRole,
    };
    let held = list(&context, Selection::Store(store)).await?;
    let held = held.iter().filter(|info| has_replica(info, store, role));
    Ok(answer(held.take(limit)))
}

pub(super) async fn siblings(State(context): State<Context>, id: PathId) -> Answered {
    let id = RegionId(number(id)?);
    Ok(answer(&list(&context, Selection::Siblings(id)).await?))
}

/// Ranges of keys that are in no region, each as `[start, end]`.
pub(super) async fn holes(State(context): State<Context>) -> Answered {
    bootstrapped(&context).await?;
    let holes = context.core.ask(|reply| Look::Holes { reply }).await?;
    let text = |hole: &KeyRange| [format::hex(&hole.start), format::hex(&hole.end)];
    Ok(Json(holes.iter().map(text).collect::<Vec<_>>()).into_response())
}

/// The regions with the largest figure of a kind, largest first: `/regions/{figure}?limit=…`.
pub(super) async fn top(
    State(context): State<Context>,
    Path(figure): Path<String>,
    RawQuery(query): RawQuery,
) -> Answered {
    let figure_of: fn(&RegionInfo) -> u64 = match figure.as_str() {
        "writeflow" => |info| info.load.rates.written_bytes,
        "readflow" => |info| info.load.rates.read_bytes,
        "writequery" => |info| info.load.rates.written_keys,
        "readquery" => |info| info.load.rates.read_keys,
        "confver" => |info| info.region.epoch.conf_ver.get(),
        "version" => |info| info.region.epoch.version.get(),
        "size" => |info| info.stats.size_bytes,
        "keys" => |info| info.stats.keys,
        _ => return Err(unknown(&figure)),
    };
    let limit = Query::new(query).number("limit", LIMIT_DEFAULT, LIMIT_MAX)?;
    let mut infos = list(&context, Selection::all()).await?;
    infos.sort_by_key(|info| (Reverse(figure_of(info)), info.region.id));
    infos.truncate(limit);
    Ok(answer(&infos))
}

/// The regions of which something odd holds: `/regions/check/{name}`.
pub(super) async fn check(State(context): State<Context>, Path(name): Path<String>) -> Answered {
    bootstrapped(&context).await?;
    let check = match name.as_str() {
        "miss-peer" => RegionCheck::MissPeer,
        "extra-peer" => RegionCheck::ExtraPeer,
        "down-peer" => RegionCheck::DownPeer,
        "pending-peer" => RegionCheck::PendingPeer,
        "learner-peer" => RegionCheck::LearnerPeer,
        "offline-peer" => RegionCheck::OfflinePeer,
        "empty-region" => RegionCheck::EmptyRegion,
        "oversized-region" => RegionCheck::OversizedRegion,
        _ => return Err(unknown(&name)),
    };
    let filter = RegionFilter { store: None, check };
    let taken = context.core.glance(move |sight| {
        let infos = sight.regions().scan(&KeyRange::all(), usize::MAX).into_iter();
        infos.filter(|info| filter.takes(sight, info)).collect::<Infos>()
    });
    Ok(answer(&taken.await?))
}

fn unknown(name: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("404 page not found: {name}"))
}
