//! The group's view of its log: recent entries in memory, older ones on disk. Those that followers lack are fetched from
//! there by others ([`crate::fetch`]).
//!
//! The crate takes an error of its storage for the end of the process. So an entry that is missing or damaged is none: it
//! is noted ([`LogView::damage`]), and the crate is given what it can go on with, the entries in front of that one or the
//! term zero, which matches nothing. What the crate makes of it is worth nothing, and never leaves the group: see
//! [`crate::Group::damage`]. Only a database that cannot be read is an error.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::VecDeque;
use std::sync::Arc;

use flotilla_base::{Index, KvRead, PeerId, RegionId, Term};
use raft::eraftpb::{Entry, HardState as RaftHardState, Snapshot};
use raft::{GetEntriesContext, RaftState as RaftInitialState, Storage, StorageError};

use crate::config::LogLimits;
use crate::disk::{self, DiskError};
use crate::fetch::{Fetches, Kept};
use crate::membership::conf_state;
use crate::message::{EntryKind, HardState, LogPosition, Voters, entry_to_raft};
use crate::retention::LogSizes;
use crate::snapshot::{self, Attempts};

/// Implements the crate's `Storage` over a cache and a reader of the disk.
///
/// Invariants: `truncated.index ≤ cache_start - 1 ≤ last.index`; the cache is contiguous and ends at
/// `last`; whatever is not in the cache is on disk.
pub(crate) struct LogView {
    group: RegionId,
    disk: Arc<dyn KvRead + Send + Sync>,
    hard_state: HardState,
    voters: Voters,
    truncated: LogPosition,
    last: LogPosition,
    /// Entries `(last.index - cache.len(), last.index]`.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// The entry in front of the cache, where one was dropped from it: its term is asked for all the time.
    before_cache: LogPosition,
    outline: Outline,
    asked: Asked,
}

/// What comes of the crate's questions, which it asks without a right to change anything.
#[derive(Default)]
struct Asked {
    /// For what is not in memory.
    fetches: RefCell<Fetches>,
    /// For snapshots.
    attempts: RefCell<Attempts>,
    /// The first damage that was met.
    damage: RefCell<Option<DiskError>>,
}

/// What is remembered of entries, also of those that left the cache.
#[derive(Default)]
struct Outline {
    sizes: LogSizes,
    /// Where changes of the membership stand that are not applied yet, ascending.
    changes: VecDeque<u64>,
}

/// What a log starts from.
pub(crate) struct LogStart {
    pub(crate) hard_state: HardState,
    pub(crate) voters: Voters,
    pub(crate) truncated: LogPosition,
    pub(crate) last: LogPosition,
}

impl LogView {
    pub(crate) fn new(
        group: RegionId,
        disk: Arc<dyn KvRead + Send + Sync>,
        start: LogStart,
    ) -> Self {
        let LogStart { hard_state, voters, truncated, last } = start;
        assert!(truncated.index <= last.index, "the log ends behind its truncation");
        Self {
            group,
            disk,
            hard_state,
            voters,
            truncated,
            last,
            cache: VecDeque::new(),
            cache_bytes: 0,
            before_cache: truncated,
            outline: Outline::default(),
            asked: Asked::default(),
        }
    }

    /// The same log, of which so much is kept for others.
    pub(crate) fn keeping(mut self, limits: &LogLimits) -> Self {
        self.outline.sizes = LogSizes::within(limits);
        self
    }

    pub(crate) const fn sizes(&self) -> &LogSizes {
        &self.outline.sizes
    }

    pub(crate) fn attempts(&mut self) -> &mut Attempts {
        self.asked.attempts.get_mut()
    }

    pub(crate) fn attempts_now(&self) -> Ref<'_, Attempts> {
        self.asked.attempts.borrow()
    }

    pub(crate) fn fetches(&self) -> Ref<'_, Fetches> {
        self.asked.fetches.borrow()
    }

    pub(crate) fn fetches_mut(&self) -> RefMut<'_, Fetches> {
        self.asked.fetches.borrow_mut()
    }

    pub(crate) fn fetches_now(&mut self) -> &mut Fetches {
        self.asked.fetches.get_mut()
    }

    /// An entry of this log is missing or damaged.
    pub(crate) fn note_damage(&self, damage: DiskError) {
        self.asked.damage.borrow_mut().get_or_insert(damage);
    }

    pub(crate) fn damage(&self) -> Option<DiskError> {
        self.asked.damage.borrow().clone()
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.asked.damage.borrow().is_some()
    }

    pub(crate) fn reader(&self) -> &dyn KvRead {
        self.disk.as_ref()
    }

    /// Entries from there on are in memory.
    pub(crate) fn cache_start(&self) -> Index {
        self.cache.front().map_or(self.last.index.next(), |entry| Index(entry.index))
    }

    /// Where the state machine stands in the snapshot that `peer` is being sent.
    pub(crate) fn snapshot_under_way(&self, peer: PeerId) -> Option<LogPosition> {
        self.asked.attempts.borrow().position(peer)
    }

    pub(crate) const fn truncated(&self) -> LogPosition {
        self.truncated
    }

    pub(crate) const fn last(&self) -> LogPosition {
        self.last
    }

    /// Makes `entries` the end of the log, replacing what stands at their indices.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index <= self.last.index.get() + 1, "an append leaves a hole in the log");
        while self.cache.back().is_some_and(|entry| entry.index >= first.index) {
            self.cache_bytes -= self.cache.pop_back().map_or(0, |entry| bytes_of(&entry));
        }
        self.outline.changes.retain(|change| *change < first.index);
        for entry in entries {
            if is_change(entry) {
                self.outline.changes.push_back(entry.index);
            }
            self.cache_bytes += bytes_of(entry);
            self.outline.sizes.note(
                Index(entry.index),
                bytes_of(entry) as u64,
                self.truncated.index,
            );
            self.cache.push_back(entry.clone());
        }
        if let Some(entry) = entries.last() {
            self.last = LogPosition { term: Term(entry.term), index: Index(entry.index) };
        }
    }

    /// Bytes of the entries in memory.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cache_bytes + self.asked.fetches.borrow().bytes()
    }

    /// The log starts behind `position` from now on, whatever the disk still holds.
    pub(crate) fn truncate(&mut self, position: LogPosition) {
        assert!(position.index <= self.last.index, "truncation behind the end of the log");
        if position.index > self.truncated.index {
            self.truncated = position;
            self.shrink(position.index, 0);
        }
    }

    /// Drops cached entries up to `needless`, and further ones up to `droppable` while more than
    /// `bytes_max` are held. Both must be durable.
    pub(crate) fn trim(&mut self, needless: Index, droppable: Index, bytes_max: usize) {
        self.shrink(needless, 0);
        self.shrink(droppable, bytes_max);
    }

    fn shrink(&mut self, up_to: Index, bytes_max: usize) {
        while self.cache_bytes > bytes_max
            && self.cache.front().is_some_and(|entry| entry.index <= up_to.get())
        {
            let Some(entry) = self.cache.pop_front() else { break };
            self.cache_bytes -= bytes_of(&entry);
            self.before_cache = LogPosition { term: Term(entry.term), index: Index(entry.index) };
        }
    }

    /// Looks for changes of the membership behind what is applied: once, when the group starts. From then on
    /// they are remembered as they come.
    pub(crate) fn find_changes(&mut self, applied: Index) -> Result<(), DiskError> {
        let behind = applied.next()..self.last.index.next();
        let mut changes = VecDeque::new();
        disk::read_entries(self.disk.as_ref(), self.group, behind, &mut |entry| {
            if entry.kind != EntryKind::Normal {
                changes.push_back(entry.index.get());
            }
            true
        })?;
        self.outline.changes = changes;
        Ok(())
    }

    /// Whether a change of the membership stands up to `committed` and is not applied.
    pub(crate) fn has_change_up_to(&self, committed: Index) -> bool {
        self.outline.changes.front().is_some_and(|first| *first <= committed.get())
    }

    /// Everything up to `applied` is applied.
    pub(crate) fn forget_changes(&mut self, applied: Index) {
        while self.outline.changes.front().is_some_and(|first| *first <= applied.get()) {
            self.outline.changes.pop_front();
        }
    }

    fn cached(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.cache.front()?.index)?;
        self.cache.get(usize::try_from(offset).ok()?)
    }

    /// Zero where the entry is damaged.
    fn read_term(&self, index: u64) -> raft::Result<u64> {
        let entry = disk::read_entry(self.disk.as_ref(), self.group, Index(index));
        self.unless_damaged(entry.map(|entry| entry.term.get()))
    }

    /// For the crate itself, which cannot wait. No further than the log is whole.
    fn read_into(&self, taken: &mut Taken, low: u64, high: u64) -> raft::Result<()> {
        let range = Index(low)..Index(high);
        let read = disk::read_entries(self.disk.as_ref(), self.group, range, &mut |entry| {
            taken.push(entry_to_raft(entry))
        });
        self.unless_damaged(read)
    }

    /// What was read, or nothing where there is damage, which is noted.
    fn unless_damaged<T: Default>(&self, read: Result<T, DiskError>) -> raft::Result<T> {
        match read {
            Ok(found) => Ok(found),
            Err(error @ DiskError::Read(_)) => {
                Err(raft::Error::Store(StorageError::Other(Box::new(error))))
            }
            Err(damage) => {
                self.note_damage(damage);
                Ok(T::default())
            }
        }
    }

    /// For a follower, which can.
    fn take_fetched(&self, taken: &mut Taken, low: u64, high: u64) -> Result<(), StorageError> {
        match self.asked.fetches.borrow_mut().ask(low) {
            Kept::Entries(entries) => {
                let mut wanted = entries.iter().take_while(|entry| entry.index < high);
                while let Some(entry) = wanted.next()
                    && taken.push(entry.clone())
                {}
                Ok(())
            }
            Kept::Missing => Err(StorageError::LogTemporarilyUnavailable),
        }
    }
}

/// Entries that are being collected, up to a number of bytes; the first one always fits.
struct Taken {
    entries: Vec<Entry>,
    bytes: u64,
    bytes_max: u64,
}

impl Taken {
    /// Whether the entry was taken.
    fn push(&mut self, entry: Entry) -> bool {
        self.bytes += bytes_of(&entry) as u64;
        let fits = self.bytes <= self.bytes_max || self.entries.is_empty();
        if fits {
            self.entries.push(entry);
        }
        fits
    }
}

fn is_change(entry: &Entry) -> bool {
    entry.entry_type != raft::eraftpb::EntryType::EntryNormal
}

/// What an entry with so many bytes of data and context takes in memory.
pub(crate) const fn entry_bytes(payload_bytes: usize) -> usize {
    const OVERHEAD: usize = size_of::<Entry>();
    OVERHEAD + payload_bytes
}

fn bytes_of(entry: &Entry) -> usize {
    entry_bytes(entry.data.len() + entry.context.len())
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftInitialState> {
        let hard_state = RaftHardState {
            term: self.hard_state.term.get(),
            vote: self.hard_state.vote.get(),
            commit: self.hard_state.commit.get(),
            ..RaftHardState::default()
        };
        Ok(RaftInitialState { hard_state, conf_state: conf_state(&self.voters) })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        assert!(
            high <= self.last.index.get() + 1,
            "entries behind the end of the log were asked for"
        );
        if low <= self.truncated.index.get() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let cache_start = self.cache_start().get().min(high);
        let mut taken = Taken { entries: Vec::new(), bytes: 0, bytes_max };
        if low < cache_start && context.can_async() {
            self.take_fetched(&mut taken, low, cache_start).map_err(raft::Error::Store)?;
        } else if low < cache_start {
            self.read_into(&mut taken, low, cache_start)?;
        }
        let is_gapless = taken.entries.len() as u64 == cache_start.saturating_sub(low);
        let mut rest = low.max(cache_start)..high;
        while is_gapless && let Some(entry) = rest.next().and_then(|index| self.cached(index)) {
            if !taken.push(entry.clone()) {
                break;
            }
        }
        Ok(taken.entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.truncated.index.get() {
            return Ok(self.truncated.term.get());
        }
        if index == self.last.index.get() {
            return Ok(self.last.term.get());
        }
        if index == self.before_cache.index.get() {
            return Ok(self.before_cache.term.get());
        }
        if index < self.truncated.index.get() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > self.last.index.get() {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let fetched = || self.asked.fetches.borrow().term_at(index);
        match self.cached(index).map(|entry| entry.term).or_else(fetched) {
            Some(term) => Ok(term),
            None => self.read_term(index),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index.get() + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.index.get())
    }

    /// Where there is none to be given, somebody is asked for one, and the crate asks again later.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let position = self.asked.attempts.borrow_mut().ask(PeerId(to), Index(request_index));
        position.map(snapshot::without_data).ok_or_else(snapshot::not_now)
    }
}
