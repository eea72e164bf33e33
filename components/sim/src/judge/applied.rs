//! One sequence of applied entries per region: what any store hands to its applier is committed there,
//! durable there, in order, and the same on all stores. From it the judge knows each key's content at
//! each index, and compares what stores hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_base::{Family, Index, Key, KvRead, Mutation, Region, RegionId, StoreId, limit};
use flotilla_multiraft::{ApplyTask, Command};
use flotilla_raftgroup::{Entry, disk};

use super::{Place, Verdict, Violation, require};
use crate::disk::Layer;
use crate::event::Ticket;

const ORDER: &str = "F6: applied is only what is committed and durable here, in order";
const EQUAL: &str = "applied prefixes are equal";
const ATOMIC: &str = "I3: data and applied index change in one batch";

/// The content of a key from an index on.
type Versions = Vec<(Index, Bytes)>;

/// What is known of one region.
#[derive(Debug, Default)]
struct Sequence {
    /// Entries behind the first index.
    entries: Vec<Entry>,
    versions: BTreeMap<Key, Versions>,
}

/// The sequences of all regions.
#[derive(Debug, Default)]
pub struct AppliedJudge {
    regions: BTreeMap<RegionId, Sequence>,
    /// What was last handed to the applier, since the start of the store.
    handed: BTreeMap<(StoreId, RegionId), Index>,
    /// Where each attempt stands.
    positions: BTreeMap<Ticket, Index>,
}

impl AppliedJudge {
    /// A store starts with a state machine at `applied`.
    pub fn on_start(&mut self, store: StoreId, region: RegionId, applied: Index) {
        self.handed.insert((store, region), applied);
    }

    /// A store hands entries to an applier.
    ///
    /// # Errors
    /// They are not committed, not durable, not in order, or not what another store applied.
    pub fn on_hand_over<T>(
        &mut self,
        store: StoreId,
        task: &ApplyTask<T>,
        committed: Index,
        synced: &dyn KvRead,
    ) -> Result<Vec<Ticket>, Violation> {
        let place = Place(store, task.region);
        let mut fresh = Vec::new();
        for (entry, _) in &task.entries {
            let index = entry.index;
            let handed = self.handed.entry((store, task.region)).or_default();
            require(index == handed.next(), ORDER, || format!("{place}: {index} after {handed}"))?;
            *handed = index;
            require(index <= committed, ORDER, || {
                format!("{place}: {index} is not committed, only {committed} is")
            })?;
            let durable = disk::read_entry(synced, task.region, index);
            require(durable.as_ref() == Ok(entry), ORDER, || {
                format!("{place}: {index} is not durable: {durable:?}")
            })?;
            fresh.extend(self.record(place, entry)?);
        }
        Ok(fresh)
    }

    fn record(&mut self, place: Place, entry: &Entry) -> Result<Option<Ticket>, Violation> {
        let sequence = self.regions.entry(place.1).or_default();
        let offset = usize::try_from(entry.index.get() - limit::FIRST_INDEX - 1).unwrap_or(0);
        if let Some(known) = sequence.entries.get(offset) {
            let verdict = require(known == entry, EQUAL, || {
                format!("{place}: entry {} is {entry:?}, elsewhere {known:?}", entry.index)
            });
            return verdict.map(|()| None);
        }
        sequence.entries.push(entry.clone());
        let Ok(Command::Write(write)) = Command::decode(&entry.data) else { return Ok(None) };
        let mut written = None;
        for mutation in write.mutations {
            if let Mutation::Put(_, key, value) = mutation {
                written = ticket_of(&value);
                sequence.versions.entry(key).or_default().push((entry.index, value));
            }
        }
        if let Some(ticket) = written {
            let again = self.positions.insert(ticket, entry.index);
            require(again.is_none(), EQUAL, || {
                format!("{place}: attempt {} is applied twice", ticket.0)
            })?;
        }
        Ok(written)
    }

    /// Where an attempt's write stands, once it is committed.
    #[must_use]
    pub fn position(&self, ticket: Ticket) -> Option<Index> {
        self.positions.get(&ticket).copied()
    }

    /// Last index that any store applied.
    #[must_use]
    pub fn last(&self, region: RegionId) -> Index {
        let count = self.regions.get(&region).map_or(0, |sequence| sequence.entries.len());
        Index(limit::FIRST_INDEX + count as u64)
    }

    /// A key's content behind the entry at `applied`, and the index at which it was written.
    #[must_use]
    pub fn content(&self, region: RegionId, key: &[u8], applied: Index) -> Option<&(Index, Bytes)> {
        let versions = self.regions.get(&region)?.versions.get(key)?;
        versions.iter().rev().find(|(index, _)| *index <= applied)
    }

    /// Compares the data of a region with what its applied index asks for.
    ///
    /// # Errors
    /// They differ.
    pub fn check_data(&self, store: StoreId, region: &Region, image: &Layer) -> Verdict {
        let place = Place(store, region.id);
        let Ok(Some(state)) = disk::read_apply_state(image, region.id) else {
            return require(false, ATOMIC, || format!("{place}: no apply state"));
        };
        let applied = state.applied.index;
        let found = image.family(Family::Raw).iter().filter(|(key, _)| region.range.contains(key));
        let found: BTreeMap<&Key, &Bytes> = found.collect();
        let keys = self.regions.get(&region.id).into_iter().flat_map(|it| it.versions.keys());
        let expected = keys
            .filter_map(|key| self.content(region.id, key, applied).map(|(_, value)| (key, value)));
        let expected: BTreeMap<&Key, &Bytes> = expected.collect();
        require(found == expected, ATOMIC, || {
            let differs = |key: &&Key| found.get(*key) != expected.get(*key);
            let keys: Vec<_> = found.keys().chain(expected.keys()).copied().collect();
            format!("{place} at {applied}: keys {:?}", keys.iter().find(|key| differs(key)))
        })
    }
}

/// The attempt that wrote a value: each writes its own number, so that no two values are equal.
#[must_use]
pub fn ticket_of(value: &[u8]) -> Option<Ticket> {
    let digits = value.split(|byte| *byte == b':').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Ticket)
}
