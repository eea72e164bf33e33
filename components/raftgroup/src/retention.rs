//! How much of its log a leader keeps, and for whom.
//!
//! A member that lacks entries which are gone needs a snapshot, which costs as much as all of its data. So a member
//! that is heard holds the log from what it has on; one that has fallen silent holds it only within a bound; and one
//! that is being sent a snapshot holds it from that snapshot on, for it would otherwise need the next one. Nothing is
//! ever given up that this leader itself has not applied.
//!
//! Who is heard is judged by real time, as everything else is. A member of which this lead knows nothing yet counts
//! as heard when the lead began, or when it became a member, and as lacking all of the log. In a joint configuration
//! the members of both halves count; whoever was removed counts no more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flotilla_base::{Index, Moment, PeerId, Term};

use crate::config::{LogBound, LogLimits};
use crate::group::{Group, Role, RoleChange};

/// Sizes of the log are remembered at this many places within the smaller bound.
const PLACES: u64 = 16;

/// What a leader knows of who needs its log.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// Since when this lead knows each member.
    known_since: BTreeMap<PeerId, Moment>,
}

impl Retention {
    /// These are the members from `now` on.
    pub(crate) fn follow_members(&mut self, members: &BTreeSet<PeerId>, now: Moment) {
        self.known_since.retain(|peer, _| members.contains(peer));
        for member in members {
            self.known_since.entry(*member).or_insert(now);
        }
    }
}

/// How many bytes of entries were appended up to some indices.
#[derive(Debug, Default)]
pub(crate) struct LogSizes {
    appended: u64,
    /// Bytes between two places.
    step: u64,
    /// Ascending; an index that was replaced counts twice.
    places: VecDeque<(Index, u64)>,
}

impl LogSizes {
    /// Of a log of which so much will be asked for.
    pub(crate) fn within(limits: &LogLimits) -> Self {
        let step = limits.silent.bytes.min(limits.slow.bytes) / PLACES;
        Self { step, ..Self::default() }
    }

    /// An entry of so many bytes now stands at `index`; the log begins behind `begin`.
    pub(crate) fn note(&mut self, index: Index, bytes: u64, begin: Index) {
        self.appended = self.appended.saturating_add(bytes);
        while self.places.back().is_some_and(|(last, _)| *last >= index) {
            self.places.pop_back();
        }
        let before = self.places.back().map_or(0, |(_, appended)| *appended);
        if self.places.is_empty() || self.appended - before > self.step {
            self.places.push_back((index, self.appended));
        }
        while self.places.get(1).is_some_and(|(second, _)| *second <= begin) {
            self.places.pop_front();
        }
    }

    /// The last remembered index behind which there are more than so many bytes; zero where there is none.
    fn floor(&self, bytes: u64) -> Index {
        let is_beyond = |place: &&(Index, u64)| self.appended - place.1 > bytes;
        self.places.iter().take_while(is_beyond).last().map_or(Index(0), |(index, _)| *index)
    }
}

impl Group {
    /// A lead begins at `now`, or ends: nothing is known about its members.
    pub(crate) fn keep_log_anew(&mut self, now: Moment) {
        let members = self.raw.raft.prs().iter().map(|(id, _)| (PeerId(*id), now));
        self.retention = Retention { known_since: members.collect() };
        let RoleChange { role, term, .. } = self.role();
        let term = if role == Role::Leader { term } else { Term(0) };
        self.raw.mut_store().attempts().start_anew(term);
        self.raw.mut_store().fetches_now().start_anew(term);
    }

    /// The largest index that every member is known to hold, dead ones included; leaders only.
    #[must_use]
    pub fn matched_by_all(&self) -> Option<Index> {
        if !self.is_leader() {
            return None;
        }
        self.raw.raft.prs().iter().map(|(_, progress)| Index(progress.matched)).min()
    }

    /// Nobody whom this leader cares for needs the log up to there, and it has applied all of it itself; `None` at a
    /// peer that does not lead.
    #[must_use]
    pub fn needless_log(&self) -> Option<Index> {
        if !self.is_leader() {
            return None;
        }
        let applied = Index(self.raw.raft.raft_log.applied);
        let others = self.raw.raft.prs().iter().filter(|(id, _)| **id != self.peer().get());
        let held = others.map(|(id, it)| self.held_by(PeerId(*id), Index(it.matched), applied));
        Some(held.min().map_or(applied, |held| held.min(applied)))
    }

    fn held_by(&self, peer: PeerId, matched: Index, applied: Index) -> Index {
        if let Some(snapshot) = self.raw.store().snapshot_under_way(peer) {
            return matched.max(snapshot.index);
        }
        let limits = self.config.limits.log;
        let bound = if self.is_silent(peer) { limits.silent } else { limits.slow };
        matched.max(self.log_floor(bound, applied))
    }

    fn is_silent(&self, peer: PeerId) -> bool {
        let allowed = self.timing().gate * self.config.limits.log.silent_after_gates;
        let known_since = self.retention.known_since.get(&peer).copied();
        let last_heard = self.duties.heard.last(peer).or(known_since).unwrap_or_default();
        self.seen_at().since(last_heard) > allowed
    }

    fn log_floor(&self, bound: LogBound, applied: Index) -> Index {
        let by_entries = Index(applied.get().saturating_sub(bound.entries));
        let by_bytes = self.raw.store().sizes().floor(bound.bytes);
        by_entries.max(by_bytes).min(applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_back_from_the_end() {
        let mut sizes = LogSizes { step: 10, ..LogSizes::default() };
        for index in 6..=40 {
            sizes.note(Index(index), 10, Index(5));
        }
        // Behind 30 there are 100 bytes.
        assert_eq!(sizes.floor(99), Index(30));
        assert_eq!(sizes.floor(100), Index(28));
        assert_eq!(sizes.floor(0), Index(38));
        assert_eq!(sizes.floor(1_000), Index(0));
        sizes.note(Index(41), 10, Index(36));
        assert!(sizes.places.iter().all(|(index, _)| *index >= Index(36)), "{sizes:?}");
    }

    #[test]
    fn a_replaced_end_is_forgotten() {
        let mut sizes = LogSizes::default();
        for index in (6..=20).chain(10..=12) {
            sizes.note(Index(index), 10, Index(5));
        }
        assert!(sizes.places.iter().all(|(index, _)| index.get() <= 12), "{sizes:?}");
        assert_eq!(sizes.floor(0), Index(11));
    }
}
