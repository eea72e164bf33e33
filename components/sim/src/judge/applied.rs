//! One sequence of applied entries per region, the same on all stores. From it other judges know each key's
//! content at each index.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_base::{Index, Key, Mutation, RegionId, Term, limit};
use flotilla_multiraft::{ApplyTask, Command};
use flotilla_raftgroup::Entry;

use super::lineage::Lineage;
use super::membership;
use super::{Place, Violation, require};
use crate::event::Ticket;

const EQUAL: &str = "applied prefixes are equal";

/// The content of a key from an index on.
type Versions = Vec<(Index, Bytes)>;

/// What is known of one region.
#[derive(Debug, Default)]
struct Sequence {
    /// Entries behind the first index.
    entries: Vec<Entry>,
    /// Term of the store that was the first to hand each over: it was committed in that or in an earlier one.
    committed_by: Vec<Term>,
    /// Largest wall clock of the entries up to each, in milliseconds.
    clocks_millis: Vec<u64>,
    versions: BTreeMap<Key, Versions>,
}

/// The sequences of all regions.
#[derive(Debug, Default)]
pub struct AppliedJudge {
    regions: BTreeMap<RegionId, Sequence>,
    /// What each region looks like, by the log.
    pub lineage: Lineage,
    /// Where each attempt stands.
    positions: BTreeMap<Ticket, Index>,
}

impl AppliedJudge {
    /// A store that is in `term` hands entries to an applier. Returns the attempts that are new in the sequence.
    ///
    /// # Errors
    /// They are not what another store applied.
    pub fn on_hand_over<T>(
        &mut self,
        place: Place,
        task: &ApplyTask<T>,
        term: Term,
    ) -> Result<Vec<Ticket>, Violation> {
        let mut fresh = Vec::new();
        for (entry, _) in &task.entries {
            fresh.extend(self.record(place, entry, term)?);
        }
        Ok(fresh)
    }

    fn record(
        &mut self,
        place: Place,
        entry: &Entry,
        term: Term,
    ) -> Result<Option<Ticket>, Violation> {
        let first_clock_millis = self.lineage.first_clock_millis(place.1);
        let sequence = self.regions.entry(place.1).or_default();
        let offset = offset_of(entry.index);
        if let Some(known) = offset.and_then(|offset| sequence.entries.get(offset)) {
            let verdict = require(known == entry, EQUAL, || {
                format!("{place}: entry {} is {entry:?}, elsewhere {known:?}", entry.index)
            });
            return verdict.map(|()| None);
        }
        require(offset == Some(sequence.entries.len()), EQUAL, || {
            format!("{place}: nobody applied what stands before {}", entry.index)
        })?;
        sequence.entries.push(entry.clone());
        sequence.committed_by.push(term);
        let clock_millis = sequence.clocks_millis.last().copied().unwrap_or(first_clock_millis);
        if let Some(change) = membership::change_in(entry) {
            sequence.clocks_millis.push(clock_millis);
            let verdict = self.lineage.on_change(place.1, entry.position(), &change);
            return verdict.map(|()| None);
        }
        let write = match Command::decode(&entry.data) {
            Ok(Command::Write(write)) => write,
            Ok(Command::Split(split)) => {
                sequence.clocks_millis.push(clock_millis);
                let verdict = self.lineage.on_split(place.1, entry.index, clock_millis, &split);
                return verdict.map(|()| None);
            }
            Ok(Command::Forget(forget)) => {
                sequence.clocks_millis.push(clock_millis);
                self.lineage.on_forget(place.1, &forget.peers);
                return Ok(None);
            }
            Err(_) => {
                sequence.clocks_millis.push(clock_millis);
                return Ok(None);
            }
        };
        sequence.clocks_millis.push(clock_millis.max(write.clock_millis));
        if !self.lineage.counts(place.1, &write) {
            return Ok(None);
        }
        let position = self.lineage.position(place.1, entry.index);
        let before = Index(entry.index.get() - 1);
        let is_void = write.guard.is_some_and(|guard| {
            let stored = self.content(place.1, &guard.key, before).map(|(_, value)| value);
            stored != guard.stored.as_ref()
        });
        if is_void {
            return Ok(None);
        }
        let mut written = None;
        for mutation in write.mutations {
            if let Mutation::Put(_, key, value) = mutation {
                written = ticket_of(&value);
                let sequence = self.regions.entry(place.1).or_default();
                sequence.versions.entry(key).or_default().push((position, value));
            }
        }
        if let Some(ticket) = written {
            let again = self.positions.insert(ticket, position);
            require(again.is_none(), EQUAL, || {
                format!("{place}: attempt {} is applied twice", ticket.0)
            })?;
        }
        Ok(written)
    }

    /// Where an attempt's write stands, once it is committed; see [`Lineage::position`].
    #[must_use]
    pub fn position(&self, ticket: Ticket) -> Option<Index> {
        self.positions.get(&ticket).copied()
    }

    /// All entries that any store applied, in order.
    #[must_use]
    pub fn entries(&self, region: RegionId) -> &[Entry] {
        self.regions.get(&region).map_or(&[], |sequence| &sequence.entries)
    }

    /// The entries that were certainly committed in terms before this one, in order. An entry of an early term
    /// may be committed in a much later one, and leaders of the terms between need not have it.
    #[must_use]
    pub fn committed_before(&self, region: RegionId, term: Term) -> &[Entry] {
        let Some(sequence) = self.regions.get(&region) else { return &[] };
        let last = sequence.committed_by.iter().rposition(|by| *by < term);
        &sequence.entries[..last.map_or(0, |last| last + 1)]
    }

    /// Last index that any store applied.
    #[must_use]
    pub fn last(&self, region: RegionId) -> Index {
        Index(limit::FIRST_INDEX + self.entries(region).len() as u64)
    }

    /// Largest wall clock that the entries up to `applied` carry, in milliseconds.
    #[must_use]
    pub fn clock_millis(&self, region: RegionId, applied: Index) -> u64 {
        let clocks = self.regions.get(&region).map(|sequence| &sequence.clocks_millis);
        let clock = clocks.zip(offset_of(applied)).and_then(|(clocks, at)| clocks.get(at));
        clock.copied().unwrap_or_else(|| self.lineage.first_clock_millis(region))
    }

    /// Every key that was ever written in the region, or in one that it comes from.
    #[must_use]
    pub fn keys(&self, region: RegionId) -> BTreeSet<&Key> {
        let mut keys = BTreeSet::new();
        let mut next = Some(region);
        while let Some(region) = next {
            let sequence = self.regions.get(&region).into_iter();
            keys.extend(sequence.flat_map(|sequence| sequence.versions.keys()));
            next = self.lineage.origin(region).map(|(parent, _)| parent);
        }
        keys
    }

    /// A key's content behind the entry at `applied`, and the position at which it was written.
    #[must_use]
    pub fn content(&self, region: RegionId, key: &[u8], applied: Index) -> Option<&(Index, Bytes)> {
        let versions = self.regions.get(&region).and_then(|it| it.versions.get(key));
        let last = self.lineage.position(region, applied);
        let written = versions.and_then(|it| it.iter().rev().find(|(at, _)| *at <= last));
        written.or_else(|| {
            let (parent, split_at) = self.lineage.origin(region)?;
            self.content(parent, key, split_at)
        })
    }
}

fn offset_of(index: Index) -> Option<usize> {
    usize::try_from(index.get().checked_sub(limit::FIRST_INDEX + 1)?).ok()
}

/// The attempt that wrote a value: each writes its own number, so that no two values are equal.
#[must_use]
pub fn ticket_of(value: &[u8]) -> Option<Ticket> {
    let digits = value.split(|byte| *byte == b':').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Ticket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{ONE, OTHER, REGION, entry, guarded_entry, task};

    const TERM: Term = Term(9);

    fn apply(
        judge: &mut AppliedJudge,
        place: Place,
        entries: &[Entry],
    ) -> Result<Vec<Ticket>, &'static str> {
        let verdict = judge.on_hand_over(place, &task(entries.to_vec()), TERM);
        verdict.map_err(|violation| violation.rule)
    }

    #[test]
    fn another_entry_at_an_applied_index_is_found() {
        let mut judge = AppliedJudge::default();
        let log = [entry(6, 6, "k", "1:"), entry(6, 7, "k", "2:")];
        assert_eq!(apply(&mut judge, ONE, &log), Ok(vec![Ticket(1), Ticket(2)]));
        assert_eq!(apply(&mut judge, OTHER, &log[..1]), Ok(vec![]));
        assert_eq!(apply(&mut judge, OTHER, &[entry(6, 7, "k", "3:")]), Err(EQUAL));
        assert_eq!(apply(&mut judge, ONE, &[entry(6, 9, "k", "3:")]), Err(EQUAL), "a hole");
        assert_eq!(judge.last(REGION), Index(7));
    }

    /// An entry of term 6 may wait for a leader of term 8: a leader of term 7 need not have it.
    #[test]
    fn an_entry_binds_leaders_of_the_terms_behind_that_in_which_it_was_committed() {
        let mut judge = AppliedJudge::default();
        let log = [entry(6, 6, "k", "1:"), entry(6, 7, "k", "2:"), entry(8, 8, "k", "3:")];
        for (entries, term) in [(&log[..1], 7), (&log[..2], 9), (&log[..], 8)] {
            let tasks = task(entries.to_vec());
            judge.on_hand_over(ONE, &tasks, Term(term)).expect("a sound log");
        }
        let bound = |term| judge.committed_before(REGION, Term(term)).len();
        assert_eq!([6, 7, 8, 9, 10].map(bound), [0, 0, 1, 3, 3]);
    }

    #[test]
    fn a_write_that_is_applied_twice_is_found() {
        let mut judge = AppliedJudge::default();
        let log = [entry(6, 6, "k", "1:"), entry(6, 7, "k", "1:")];
        assert_eq!(apply(&mut judge, ONE, &log), Err(EQUAL));
    }

    #[test]
    fn a_write_whose_guard_fails_changes_nothing() {
        let mut judge = AppliedJudge::default();
        let guarded = |index, value, stored: Option<&'static str>| {
            let stored = stored.map(Bytes::from);
            guarded_entry(6, index, ("k", value), stored)
        };
        let log = [
            guarded(6, "1:", Some("0:")),
            guarded(7, "2:", None),
            guarded(8, "3:", None),
            guarded(9, "4:", Some("2:")),
        ];
        let written = apply(&mut judge, ONE, &log).expect("a sound log");
        assert_eq!(written, [Ticket(2), Ticket(4)]);
        let content = |index| judge.content(REGION, b"k", Index(index)).map(|(at, _)| at.get());
        assert_eq!([6, 7, 8, 9].map(content), [None, Some(7), Some(7), Some(9)]);
    }

    #[test]
    fn content_and_clock_are_those_of_an_index() {
        let mut judge = AppliedJudge::default();
        let log = [entry(6, 6, "k", "1:"), entry(6, 7, "l", "2:"), entry(6, 8, "k", "3:")];
        apply(&mut judge, ONE, &log).expect("a sound log");
        let content = |index| judge.content(REGION, b"k", Index(index)).map(|(at, _)| at.get());
        assert_eq!([5, 6, 7, 8, 9].map(content), [None, Some(6), Some(6), Some(8), Some(8)]);
        assert_eq!([5, 6, 8].map(|at| judge.clock_millis(REGION, Index(at))), [0, 6, 8]);
    }
}
