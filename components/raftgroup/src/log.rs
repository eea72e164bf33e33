//! The group's view of its log: recent entries in memory, older ones read from disk.

use std::collections::VecDeque;
use std::sync::Arc;

use flotilla_base::{Index, KvRead, PeerId, RegionId, Term};
use raft::eraftpb::{ConfState, Entry, HardState as RaftHardState, Snapshot};
use raft::{GetEntriesContext, RaftState as RaftInitialState, Storage, StorageError};

use crate::disk;
use crate::message::{HardState, LogPosition, Voters, entry_to_raft};

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
        }
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
            self.cache_bytes -= self.cache.pop_back().map_or(0, |entry| entry_bytes(&entry));
        }
        for entry in entries {
            self.cache_bytes += entry_bytes(entry);
            self.cache.push_back(entry.clone());
        }
        if let Some(entry) = entries.last() {
            self.last = LogPosition { term: Term(entry.term), index: Index(entry.index) };
        }
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
            self.cache_bytes -= self.cache.pop_front().map_or(0, |entry| entry_bytes(&entry));
        }
    }

    fn cached(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.cache.front()?.index)?;
        self.cache.get(usize::try_from(offset).ok()?)
    }

    fn read(&self, index: u64) -> raft::Result<Entry> {
        disk::read_entry(self.disk.as_ref(), self.group, Index(index))
            .map(entry_to_raft)
            .map_err(|error| raft::Error::Store(StorageError::Other(Box::new(error))))
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    const OVERHEAD: usize = size_of::<Entry>();
    OVERHEAD + entry.data.len() + entry.context.len()
}

fn ids(peers: &[PeerId]) -> Vec<u64> {
    peers.iter().map(|peer| peer.get()).collect()
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftInitialState> {
        let hard_state = RaftHardState {
            term: self.hard_state.term.get(),
            vote: self.hard_state.vote.get(),
            commit: self.hard_state.commit.get(),
            ..RaftHardState::default()
        };
        let conf_state = ConfState {
            voters: ids(&self.voters.voters),
            learners: ids(&self.voters.learners),
            ..ConfState::default()
        };
        Ok(RaftInitialState { hard_state, conf_state })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        assert!(
            high <= self.last.index.get() + 1,
            "entries behind the end of the log were asked for"
        );
        if low <= self.truncated.index.get() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in low..high {
            let entry = match self.cached(index) {
                Some(entry) => entry.clone(),
                None => self.read(index)?,
            };
            bytes += entry_bytes(&entry) as u64;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.truncated.index.get() {
            return Ok(self.truncated.term.get());
        }
        if index == self.last.index.get() {
            return Ok(self.last.term.get());
        }
        if index < self.truncated.index.get() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > self.last.index.get() {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        match self.cached(index) {
            Some(entry) => Ok(entry.term),
            None => self.read(index).map(|entry| entry.term),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index.get() + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.index.get())
    }

    /// There are no snapshots: the log is never truncated past what every voter holds. The crate asks
    /// again later; any other error would be fatal to it.
    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
