//! When a log may be shortened: the leader says up to where nobody needs it ([`flotilla_raftgroup::retention`]), and
//! every replica shortens its own as far as it has applied it.

use flotilla_base::{Bug, Index};
use flotilla_raftgroup::{LogLimits, LogPosition};

use crate::replica::Replica;

/// What a replica knows about the use of its log.
#[derive(Debug, Default)]
pub(crate) struct LogGc {
    /// A leader said that nobody needs it up to there.
    needless: Index,
    /// The applier was told to shorten the log up to there.
    requested: Index,
    /// Bytes applied since that order.
    bytes_since: usize,
}

impl LogGc {
    /// A leader's newest word counts: whoever it cares for again may need what it had given up. Others say nothing.
    pub(crate) fn note_needless(&mut self, index: Index) {
        if !index.is_none() {
            self.needless = index;
        }
    }

    pub(crate) const fn note_applied_bytes(&mut self, bytes: usize) {
        self.bytes_since += bytes;
    }

    fn target(&self, applied: Index, limits: &LogLimits) -> Option<Index> {
        let target = self.needless.min(applied);
        let entries = target.get().saturating_sub(self.requested.get());
        let is_worth_it = entries >= limits.worth_entries
            || (entries > 0 && self.bytes_since >= limits.worth_bytes);
        is_worth_it.then_some(target)
    }
}

impl<T> Replica<T> {
    /// The order to shorten the log, where it is due.
    pub(crate) fn take_truncation(&mut self) -> Option<LogPosition> {
        let is_careless = self.group.is_leader() && self.has_bug(Bug::TRUNCATE_PAST_FOLLOWER);
        let is_held =
            if is_careless { Some(self.apply.applied) } else { self.group.needless_log() };
        if let Some(index) = is_held {
            self.log_gc.note_needless(index);
        }
        let requested = self.log_gc.requested.max(self.group.truncated().index);
        self.log_gc.requested = requested;
        let target = self.log_gc.target(self.apply.applied, &self.config.limits.log)?;
        let position = self.group.position(target)?;
        assert!(target <= self.apply.applied, "a restart would need what is deleted");
        assert!(target <= self.log_gc.needless, "nobody said that it is needless");
        // Before the applier deletes anything: the group must not look for an entry that is gone.
        self.group.on_truncated(position);
        self.log_gc.requested = target;
        self.log_gc.bytes_since = 0;
        Some(position)
    }
}
