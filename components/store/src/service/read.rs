//! Reads: a view of the engine that may be used, then a look at the region's shape, in this order.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange, KvRead, Region, ScanDirection};
use flotilla_multiraft::RequestError;
use flotilla_proto::kvrpcpb::KvPair;
use tonic::Status;

use super::{
    Regions,
    context::{Rejection, Target},
    error::region_error,
    raw::RawService,
    read_pool::Patience,
    view::{Reader, Stop},
};
use crate::{
    split::{borders::Edges, load::flow::Access, survey::edges},
    value::{self, RawValue},
};

/// A long read looks up every so many keys whether anybody still waits for it.
const KEYS_BETWEEN_LOOKS: usize = 256;

/// The largest answer. It is made in memory and sent by the threads that carry heartbeats; clients take no larger one.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What is left of the largest answer.
struct AnswerRoom(usize);

impl Default for AnswerRoom {
    fn default() -> Self {
        Self(ANSWER_BYTES_MAX)
    }
}

impl AnswerRoom {
    const fn taken(&self) -> usize {
        ANSWER_BYTES_MAX - self.0
    }

    fn take(&mut self, bytes: usize) -> Result<(), Rejection> {
        let left = self.0.checked_sub(bytes).ok_or_else(|| {
            // Clients look for these words.
            let text = format!("answer exceeds {ANSWER_BYTES_MAX} bytes: ask for fewer keys");
            Rejection::Call(Status::out_of_range(text))
        })?;
        self.0 = left;
        Ok(())
    }
}

/// A scan as the client asked for it.
#[derive(Clone)]
pub(super) struct Scan {
    pub(super) start: Key,
    pub(super) end: Key,
    pub(super) limit: usize,
    pub(super) key_only: bool,
    pub(super) direction: ScanDirection,
}

impl Scan {
    /// The part of `range` that was looked at to find `pairs`.
    fn passed(&self, pairs: &[KvPair], range: KeyRange) -> KeyRange {
        let last = pairs.last().filter(|_| pairs.len() >= self.limit).map(|pair| pair.key.clone());
        match (last, self.direction) {
            (None, _) => range,
            (Some(last), ScanDirection::Forward) => KeyRange { end: last, ..range },
            (Some(last), ScanDirection::Reverse) => KeyRange { start: last, ..range },
        }
    }
}

impl<R: Regions> RawService<R> {
    /// The value of a key, if it has one that is not gone.
    pub(super) async fn get(
        &self,
        target: &Target,
        key: Key,
    ) -> Result<Option<RawValue>, Rejection> {
        self.read(target, move |reader, _patience| reader.get(&key)).await
    }

    /// What is stored under a key, and its value as [`Self::get`] finds it.
    pub(super) async fn get_stored(
        &self,
        target: &Target,
        key: Key,
    ) -> Result<(Option<Bytes>, Option<RawValue>), Rejection> {
        self.read(target, move |reader, _patience| reader.get_stored(&key)).await
    }

    /// How many seconds a key's value has left, zero where it never ends; `None` where it has none.
    pub(super) async fn ttl_seconds(
        &self,
        target: &Target,
        key: Key,
    ) -> Result<Option<u64>, Rejection> {
        let read = move |reader: &Reader<'_, R>, _patience: &Patience<'_>| {
            let found = reader.get(&key)?;
            Ok(found.map(|value| value.ttl_seconds(reader.now_seconds())))
        };
        self.read(target, read).await
    }

    /// The pairs of those keys that have a value, in the order of `keys`.
    pub(super) async fn batch_get(
        &self,
        target: &Target,
        keys: Vec<Key>,
    ) -> Result<Vec<KvPair>, Rejection> {
        let keys: Arc<[Key]> = keys.into();
        self.read(target, move |reader, patience| reader.batch_get(&keys, patience)).await
    }

    /// The pairs of a scan within its region.
    pub(super) async fn scan(&self, target: &Target, scan: Scan) -> Result<Vec<KvPair>, Rejection> {
        self.read(target, move |reader, patience| reader.scan(&scan, patience)).await
    }

    /// The region as it is now, if it has the shape that the request means.
    pub(super) fn region(&self, target: &Target) -> Result<Region, Rejection> {
        region(&self.source().regions, target)
    }

    /// What the client is told where its replica refuses.
    pub(super) fn refusal(&self, refusal: RequestError, target: &Target) -> Rejection {
        Rejection::region(region_error(refusal, &target.header, &self.source().regions))
    }

    /// What the client is told where a key is outside.
    pub(super) fn outside(&self, region: &Region, key: Key) -> Rejection {
        outside(&self.source().regions, region, key)
    }
}

impl<R: Regions> Reader<'_, R> {
    /// The region as it is now; its shape must be the request's, and it must own `key`.
    fn region_with(&self, key: &[u8]) -> Result<Region, Rejection> {
        let region = region(&self.source.regions, &self.target)?;
        if region.range.contains(key) {
            return Ok(region);
        }
        Err(outside(&self.source.regions, &region, Bytes::copy_from_slice(key)))
    }

    /// The region, and the ends of what it holds.
    pub(super) fn edges(&self) -> Result<(Region, Edges), Stop> {
        self.confirm()?;
        let region = region(&self.source.regions, &self.target)?;
        let edges = edges(&self.source.engine, &region.range).map_err(internal)?;
        Ok((region, edges))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<RawValue>, Stop> {
        self.get_stored(key).map(|(_stored, value)| value)
    }

    fn get_stored(&self, key: &[u8]) -> Result<(Option<Bytes>, Option<RawValue>), Stop> {
        let stored = self.source.engine.get(Family::Raw, key);
        self.confirm()?;
        let (id, version) = (self.target.region, self.target.header.version);
        if !self.source.regions.owns(id, version, key) {
            self.region_with(key)?;
        }
        let stored = stored.map_err(internal)?;
        let value = self.decode(stored.as_ref())?;
        let bytes = key.len() + stored.as_ref().map_or(0, Bytes::len);
        let load = (self.target.shape(), Access::Read);
        self.source.loads.touched(load, bytes, [key].into_iter());
        Ok((stored, value))
    }

    fn batch_get(&self, keys: &[Key], patience: &Patience<'_>) -> Result<Vec<KvPair>, Stop> {
        let view = self.source.engine.snapshot();
        self.confirm()?;
        let region = region(&self.source.regions, &self.target)?;
        let (mut pairs, mut room) = (Vec::new(), AnswerRoom::default());
        for (position, key) in keys.iter().enumerate() {
            if position % KEYS_BETWEEN_LOOKS == 0 && patience.is_over() {
                return Err(Rejection::deadline().into());
            }
            if !region.range.contains(key) {
                return Err(outside(&self.source.regions, &region, key.clone()).into());
            }
            let stored = view.get(Family::Raw, key).map_err(internal)?;
            if let Some(value) = self.decode(stored.as_ref())? {
                room.take(key.len() + value.bytes.len())?;
                pairs.push(KvPair { key: key.clone(), value: value.bytes, ..KvPair::default() });
            }
        }
        let keys = keys.iter().map(|key| key.as_ref());
        let load = (self.target.shape(), Access::Read);
        self.source.loads.touched(load, room.taken(), keys);
        Ok(pairs)
    }

    fn scan(&self, scan: &Scan, patience: &Patience<'_>) -> Result<Vec<KvPair>, Stop> {
        let view = self.source.engine.snapshot();
        self.confirm()?;
        let region = region(&self.source.regions, &self.target)?;
        let Some(range) = self.clip(scan, &region)? else { return Ok(Vec::new()) };
        let (mut pairs, mut visited, mut failure) = (Vec::new(), 0_usize, None);
        let mut room = AnswerRoom::default();
        view.scan(Family::Raw, &range, scan.direction, &mut |key, stored| {
            visited += 1;
            if visited % KEYS_BETWEEN_LOOKS == 0 && patience.is_over() {
                failure = Some(Rejection::deadline());
                return false;
            }
            match value::borrowed(stored) {
                Ok((expiry_seconds, _)) if self.is_gone(expiry_seconds) => {}
                Ok((_, live)) => {
                    let live = if scan.key_only { &[] } else { live };
                    match room.take(key.len() + live.len()) {
                        Ok(()) => pairs.push(pair(key, live)),
                        Err(full) => failure = Some(full),
                    }
                }
                Err(damage) => failure = Some(internal(damage)),
            }
            failure.is_none() && pairs.len() < scan.limit
        })
        .map_err(internal)?;
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        let passed = || scan.passed(&pairs, range);
        let load = (self.target.shape(), Access::Read);
        self.source.loads.passed(load, (room.taken(), pairs.len()), passed);
        Ok(pairs)
    }

    /// The value of a stored form, unless it is gone.
    fn decode(&self, stored: Option<&Bytes>) -> Result<Option<RawValue>, Stop> {
        let value = stored.map(RawValue::decode).transpose().map_err(internal)?;
        Ok(value.filter(|value| !self.is_gone(value.expiry_seconds)))
    }

    /// The part of a scan that lies in the region; `None` where that is nothing. A scan must begin in
    /// the region: going down, it may begin at its end.
    fn clip(&self, scan: &Scan, region: &Region) -> Result<Option<KeyRange>, Rejection> {
        let is_reverse = scan.direction == ScanDirection::Reverse;
        let begins_here = match scan.start.is_empty() && is_reverse {
            true => true,
            false => region.range.contains_or_ends_at(&scan.start),
        };
        if !begins_here {
            return Err(outside(&self.source.regions, region, scan.start.clone()));
        }
        let (start, end) = match scan.direction {
            ScanDirection::Forward => (scan.start.clone(), scan.end.clone()),
            ScanDirection::Reverse => (scan.end.clone(), scan.start.clone()),
        };
        let asked = KeyRange { start, end };
        if scan.limit == 0 || asked.is_empty() {
            return Ok(None);
        }
        Ok(region.range.intersection(&asked))
    }
}

fn region<R: Regions>(regions: &R, target: &Target) -> Result<Region, Rejection> {
    let refuse = |refusal| Err(Rejection::region(region_error(refusal, &target.header, regions)));
    let Some(region) = regions.region(target.region) else {
        return refuse(RequestError::RegionNotFound(target.region));
    };
    if region.epoch.version != target.header.version {
        return refuse(RequestError::EpochNotMatch { current: Box::new(region) });
    }
    Ok(region)
}

fn outside<R: Regions>(regions: &R, region: &Region, key: Key) -> Rejection {
    let (id, range) = (region.id, region.range.clone());
    let refusal = RequestError::KeyNotInRegion { region: id, key, range };
    Rejection::region(region_error(refusal, &Default::default(), regions))
}

fn pair(key: &[u8], value: &[u8]) -> KvPair {
    KvPair {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        ..KvPair::default()
    }
}

/// A failure of the store itself: no other store does better by being asked the same.
pub(super) fn internal(cause: impl std::fmt::Display) -> Rejection {
    let cause = cause.to_string();
    tracing::error!(cause, "a read failed");
    Rejection::Refused(cause)
}
