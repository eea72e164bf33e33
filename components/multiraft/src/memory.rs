//! What all replicas of a store keep in memory together, and what that leaves to each of them.
//!
//! A bound for each region is none for a store of ten thousand. So the host adds up what its replicas hold
//! ([`Replica::held`]), asks [`MemoryBudget::allowance`] what is left, and says so to each replica in front of its turn
//! ([`Replica::allow`]). No replica may hold more than is free: whoever holds most is refused first, and the room that it
//! gives back goes to all.
//!
//! Beyond the allowance, a replica
//! - drops entries from its cache that are applied here, so that they are durable and can be read from the disk. What is
//!   not applied stays, whatever the budget: it is bounded by what may be uncommitted and by the next point;
//! - takes no entries that would have to be applied: a follower drops them and is sent them again, a leader refuses.
//!
//! **Knows nothing of** who adds up, and of how much a machine has.

use crate::replica::Replica;

/// A replica's entries that wait to be applied, in bytes, however much is free: more than any applier does in a second
/// says that this one is behind.
const BACKLOG_BYTES_MAX: usize = 32 << 20;

/// A cache takes this part of what is free at most, so that it shrinks before nothing is.
const CACHE_PART: usize = 8;

/// What the replicas of one store may hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Bytes of log entries that are kept for followers and appliers.
    pub cached_bytes: usize,
    /// Bytes of entries that are handed to appliers and not applied.
    pub backlog_bytes: usize,
}

impl Default for MemoryBudget {
    /// 256 MiB each: what a store takes in within a few seconds.
    fn default() -> Self {
        Self { cached_bytes: 256 << 20, backlog_bytes: 256 << 20 }
    }
}

/// What one replica holds, or all of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of log entries in memory.
    pub cached_bytes: usize,
    /// Bytes of entries that wait to be applied.
    pub backlog_bytes: usize,
}

/// What one replica may hold until it is told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes of applied entries in its cache.
    pub cached_bytes: usize,
    /// It takes no entries while as many bytes wait to be applied.
    pub backlog_bytes: usize,
}

impl Allowance {
    /// As much as one region may hold.
    pub const UNSHARED: Self = Self { cached_bytes: usize::MAX, backlog_bytes: BACKLOG_BYTES_MAX };
}

impl Held {
    /// The sum of all, of which one held `before` and holds `after` now.
    #[must_use]
    pub fn changed(self, before: Self, after: Self) -> Self {
        let changed = |sum: usize, before: usize, after: usize| {
            assert!(sum >= before, "what one holds is part of what all hold");
            sum - before + after
        };
        Self {
            cached_bytes: changed(self.cached_bytes, before.cached_bytes, after.cached_bytes),
            backlog_bytes: changed(self.backlog_bytes, before.backlog_bytes, after.backlog_bytes),
        }
    }
}

impl MemoryBudget {
    /// What is left to each replica where all together hold so much.
    #[must_use]
    pub fn allowance(&self, held: Held) -> Allowance {
        let free_cache = self.cached_bytes.saturating_sub(held.cached_bytes);
        let free_backlog = self.backlog_bytes.saturating_sub(held.backlog_bytes);
        Allowance {
            cached_bytes: free_cache / CACHE_PART,
            backlog_bytes: free_backlog.min(BACKLOG_BYTES_MAX),
        }
    }
}

impl<T> Replica<T> {
    /// What it holds. Changes with its turns alone.
    #[must_use]
    pub fn held(&self) -> Held {
        Held { cached_bytes: self.group.cached_bytes(), backlog_bytes: self.apply.backlog_bytes }
    }

    /// It may hold so much from now on, and lets go of what it may. To be called in front of a turn.
    pub fn allow(&mut self, allowance: Allowance) {
        let own_limit = self.config.limits.cache_bytes_max;
        self.group.limit_cache(allowance.cached_bytes.min(own_limit));
        self.apply.backlog_max = allowance.backlog_bytes;
    }

    /// Whether entries may come that have to be applied.
    pub(crate) const fn has_room_to_apply(&self) -> bool {
        self.apply.backlog_bytes < self.apply.backlog_max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: MemoryBudget = MemoryBudget { cached_bytes: 64 << 20, backlog_bytes: 64 << 20 };

    #[test]
    fn nobody_is_held_back_while_there_is_room_and_everybody_when_there_is_none() {
        let left = BUDGET.allowance(Held::default());
        assert_eq!(left, Allowance { cached_bytes: 8 << 20, backlog_bytes: 32 << 20 });
        let held = Held { cached_bytes: 56 << 20, backlog_bytes: 63 << 20 };
        let left = BUDGET.allowance(held);
        assert_eq!(left, Allowance { cached_bytes: 1 << 20, backlog_bytes: 1 << 20 });
        let held = Held { cached_bytes: 80 << 20, backlog_bytes: 64 << 20 };
        let left = BUDGET.allowance(held);
        assert_eq!(left, Allowance { cached_bytes: 0, backlog_bytes: 0 });
    }

    proptest! {
        /// However many replicas take turns and want all that they are allowed: together they keep within the budget.
        #[test]
        fn what_all_hold_together_is_bounded(
            turns in prop::collection::vec((0_usize..40, any::<bool>()), 0..500),
        ) {
            let mut caches = [0; 40];
            for (turn, grows) in turns {
                let held = Held { cached_bytes: caches.iter().sum(), backlog_bytes: 0 };
                let most = BUDGET.allowance(held).cached_bytes;
                caches[turn] = if grows { most } else { most.min(caches[turn]) };
                prop_assert!(caches.iter().sum::<usize>() <= BUDGET.cached_bytes);
            }
        }
    }
}
