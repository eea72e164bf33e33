//! Many keys at once: sorted, cut into lots that fit one region and one message, sent side by side.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use flotilla_base::{Key, KeyRange, Moment};
use flotilla_proto::kvrpcpb;
use flotilla_routing::Access;
use tokio::task::JoinSet;

use crate::{
    call::{Call, Object, Subject},
    core::{Core, Place},
    error::{Error, ErrorKind},
    options::{CallOptions, ReadFrom},
    raw::KeyValue,
    wire::Rpc,
};

/// Most items of one message.
const LOT_ITEMS_MAX: usize = 512;

/// Most bytes of one message, unless a single item is larger: far below the largest log entry, so
/// that a batch does not hold up the single writes beside it.
const LOT_BYTES_MAX: usize = 512 << 10;

/// Most messages of one call under way at once.
const LOTS_IN_FLIGHT_MAX: usize = 8;

/// How one kind of batch is sent.
struct Kind<R> {
    subject: Subject<'static>,
    access: Access,
    read_from: ReadFrom,
    request: fn(&[KeyValue]) -> R,
}

impl<R> Clone for Kind<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Kind<R> {}

pub(crate) async fn get(
    core: &Arc<Core>,
    options: CallOptions,
    keys: Vec<Key>,
) -> Result<Vec<Option<Bytes>>, Error> {
    let kind = Kind {
        subject: Subject { verb: "get", object: Object::Named("a batch of keys") },
        access: Access::Read,
        read_from: options.read_from,
        request: |items| kvrpcpb::RawBatchGetRequest {
            keys: items.iter().map(|item| item.key.clone()).collect(),
            ..kvrpcpb::RawBatchGetRequest::default()
        },
    };
    let answers = send(core, options, kind, keys.iter().cloned().map(bare)).await?;
    let pairs = answers.into_iter().flat_map(|answer| answer.pairs);
    let found: BTreeMap<Key, Bytes> = pairs.map(|pair| (pair.key, pair.value)).collect();
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

pub(crate) async fn put(
    core: &Arc<Core>,
    options: CallOptions,
    pairs: Vec<KeyValue>,
) -> Result<(), Error> {
    let kind = Kind {
        subject: Subject { verb: "put", object: Object::Named("a batch of keys") },
        access: Access::Write { repeat_unknown: options.repeat_unknown_writes },
        read_from: ReadFrom::Leader,
        request: |items| kvrpcpb::RawBatchPutRequest {
            pairs: items.iter().cloned().map(pair).collect(),
            ..kvrpcpb::RawBatchPutRequest::default()
        },
    };
    send(core, options, kind, pairs).await.map(|_answers| ())
}

pub(crate) async fn delete(
    core: &Arc<Core>,
    options: CallOptions,
    keys: Vec<Key>,
) -> Result<(), Error> {
    let kind = Kind {
        subject: Subject { verb: "delete", object: Object::Named("a batch of keys") },
        access: Access::Write { repeat_unknown: options.repeat_unknown_writes },
        read_from: ReadFrom::Leader,
        request: |items| kvrpcpb::RawBatchDeleteRequest {
            keys: items.iter().map(|item| item.key.clone()).collect(),
            ..kvrpcpb::RawBatchDeleteRequest::default()
        },
    };
    send(core, options, kind, keys.into_iter().map(bare)).await.map(|_answers| ())
}

/// Removes a range, one region after the other. The guard region at the end of all keys is empty
/// for ever and is left alone.
pub(crate) async fn delete_range(
    core: &Core,
    options: CallOptions,
    mut range: KeyRange,
) -> Result<(), Error> {
    let subject = Subject { verb: "delete", object: Object::Named("a range of keys") };
    let access = Access::Write { repeat_unknown: options.repeat_unknown_writes };
    let deadline = core.now() + options.deadline.into();
    core.stats.count_call();
    let mut is_partly_done = false;
    loop {
        let first = range.start.clone();
        let mut call = Call::until(core, subject, access, deadline);
        let done = async {
            loop {
                let route = call.route(Place::At(&first)).await?;
                let region = &route.region;
                let Some(part) = region.range.intersection(&range).filter(|_| !region.is_guard())
                else {
                    return Ok(region.range.end.clone());
                };
                let request = kvrpcpb::RawDeleteRangeRequest {
                    start_key: part.start,
                    end_key: part.end,
                    ..kvrpcpb::RawDeleteRangeRequest::default()
                };
                if call.attempt(&route, request).await?.is_some() {
                    return Ok(region.range.end.clone());
                }
            }
        };
        let end = done.await.map_err(|error: Error| partly(error, is_partly_done))?;
        is_partly_done = true;
        range.start = end;
        if range.start.is_empty() || range.is_empty() {
            return Ok(());
        }
    }
}

fn bare(key: Key) -> KeyValue {
    KeyValue { key, value: Bytes::new() }
}

fn pair(KeyValue { key, value }: KeyValue) -> kvrpcpb::KvPair {
    kvrpcpb::KvPair { error: None, key, value }
}

fn partly(error: Error, is_partly_done: bool) -> Error {
    if is_partly_done { error.partly_applied() } else { error }
}

/// Sends all items; the answers come in no particular order.
async fn send<R: Rpc + 'static>(
    core: &Arc<Core>,
    options: CallOptions,
    kind: Kind<R>,
    items: impl IntoIterator<Item = KeyValue>,
) -> Result<Vec<R::Answer>, Error> {
    core.stats.count_call();
    // Sorted, so that the keys of a region follow each other; once each, the last value winning.
    let items: BTreeMap<Key, Bytes> =
        items.into_iter().map(|KeyValue { key, value }| (key, value)).collect();
    let deadline = core.now() + options.deadline.into();
    let items = items.into_iter().map(|(key, value)| KeyValue { key, value }).collect();
    let lots = cut(core, kind, deadline, items).await?;
    let is_write = kind.access != Access::Read;
    let is_divided = lots.len() > 1;
    let mut lots = lots.into_iter();
    let mut answers = Vec::with_capacity(lots.len());
    let mut in_flight = JoinSet::new();
    loop {
        while in_flight.len() < LOTS_IN_FLIGHT_MAX
            && let Some(lot) = lots.next()
        {
            let core = Arc::clone(core);
            in_flight.spawn(async move { send_lot(&core, kind, deadline, lot).await });
        }
        match in_flight.join_next().await {
            None => return Ok(answers),
            Some(Ok(Ok(lot))) => answers.extend(lot),
            // The others are given up with the set; what they sent may still take effect.
            Some(Ok(Err(error))) => return Err(partly(error, is_write && is_divided)),
            Some(Err(join)) => match join.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Cancelled: the runtime is shutting down and will not come back to us either.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }
}

/// Cuts sorted items where regions and messages end. Regions may change right after; then a lot is
/// sent in more than one message.
async fn cut<R: Rpc>(
    core: &Core,
    kind: Kind<R>,
    deadline: Moment,
    items: Vec<KeyValue>,
) -> Result<Vec<Vec<KeyValue>>, Error> {
    let mut call = Call::until(core, kind.subject, Access::Read, deadline);
    let mut lots: Vec<Vec<KeyValue>> = Vec::new();
    let mut range: Option<KeyRange> = None;
    let mut lot_bytes = 0;
    for item in items {
        let item_bytes = item.key.len() + item.value.len();
        let is_same_region = range.as_ref().is_some_and(|range| range.contains(&item.key));
        if !is_same_region {
            range = Some(call.route(Place::At(&item.key)).await?.region.range.clone());
        }
        match lots.last_mut() {
            Some(lot)
                if is_same_region
                    && lot.len() < LOT_ITEMS_MAX
                    && lot_bytes + item_bytes <= LOT_BYTES_MAX =>
            {
                lot_bytes += item_bytes;
                lot.push(item);
            }
            _ => {
                lot_bytes = item_bytes;
                lots.push(vec![item]);
            }
        }
    }
    Ok(lots)
}

async fn send_lot<R: Rpc>(
    core: &Core,
    kind: Kind<R>,
    deadline: Moment,
    items: Vec<KeyValue>,
) -> Result<Vec<R::Answer>, Error> {
    let is_write = kind.access != Access::Read;
    let mut answers = Vec::new();
    let mut rest = items.as_slice();
    let mut items_max = LOT_ITEMS_MAX;
    let new_call =
        || Call::until(core, kind.subject, kind.access, deadline).reading_from(kind.read_from);
    let mut call = new_call();
    while let Some(first) = rest.first() {
        let is_partly_done = is_write && !answers.is_empty();
        let route = call.route(Place::At(&first.key)).await;
        let route = route.map_err(|error| partly(error, is_partly_done))?;
        let inside = rest.partition_point(|item| route.region.range.contains(&item.key));
        let (part, behind) = rest.split_at(inside.min(items_max).max(1));
        match call.attempt(&route, (kind.request)(part)).await {
            Ok(None) => {}
            Ok(Some(answer)) => {
                answers.push(answer);
                rest = behind;
                call = new_call();
            }
            // Only an answer can be too large here, and fewer keys make a smaller one.
            Err(error) if !is_write && error.kind() == ErrorKind::TooLarge && part.len() > 1 => {
                items_max = part.len() / 2;
                call = new_call();
            }
            Err(error) => return Err(partly(error, is_partly_done)),
        }
    }
    Ok(answers)
}
