//! When a log may be shortened: once every voter holds the entries, dead ones included. Without
//! snapshots a voter that misses entries could never be brought up to date.

use flotilla_base::{Bug, Index};
use flotilla_raftgroup::LogPosition;

use crate::replica::Replica;

/// So many entries are worth one batch of deletions, or so many bytes.
const ENTRIES_WORTH_IT: u64 = 256;
const BYTES_WORTH_IT: usize = 1 << 20;

/// What a replica knows about the use of its log.
#[derive(Debug, Default)]
pub(crate) struct LogGc {
    /// Every voter holds entries up to there.
    on_all_voters: Index,
    /// The applier was told to shorten the log up to there.
    requested: Index,
    /// Bytes applied since that order.
    bytes_since: usize,
}

impl LogGc {
    pub(crate) fn note_on_all_voters(&mut self, index: Index) {
        self.on_all_voters = self.on_all_voters.max(index);
    }

    pub(crate) const fn note_applied_bytes(&mut self, bytes: usize) {
        self.bytes_since += bytes;
    }

    fn target(&self, applied: Index) -> Option<Index> {
        let target = self.on_all_voters.min(applied);
        let entries = target.get().saturating_sub(self.requested.get());
        let is_worth_it =
            entries >= ENTRIES_WORTH_IT || (entries > 0 && self.bytes_since >= BYTES_WORTH_IT);
        is_worth_it.then_some(target)
    }
}

impl<T> Replica<T> {
    /// The order to shorten the log, where it is due.
    pub(crate) fn take_truncation(&mut self) -> Option<LogPosition> {
        let is_careless = self.group.is_leader() && self.has_bug(Bug::TRUNCATE_PAST_FOLLOWER);
        let is_held =
            if is_careless { Some(self.apply.applied) } else { self.group.matched_by_all() };
        if let Some(index) = is_held {
            self.log_gc.note_on_all_voters(index);
        }
        let requested = self.log_gc.requested.max(self.group.truncated().index);
        self.log_gc.requested = requested;
        let target = self.log_gc.target(self.apply.applied)?;
        let position = self.group.position(target)?;
        assert!(target <= self.apply.applied, "a restart would need what is deleted");
        assert!(target <= self.log_gc.on_all_voters, "a voter would need what is deleted");
        // Before the applier deletes anything: the group must not look for an entry that is gone.
        self.group.on_truncated(position);
        self.log_gc.requested = target;
        self.log_gc.bytes_since = 0;
        Some(position)
    }
}
