//! What the replicas of this store hold in memory together. Their workers add it up, turn by turn, and ask what is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flotilla_multiraft::{Allowance, Held, MemoryBudget};
use tokio::sync::Notify;

/// The sums of one store. Exact between turns: only a turn changes what a replica holds, and each tells the difference.
#[derive(Debug)]
pub(crate) struct Memory {
    budget: MemoryBudget,
    cached_bytes: AtomicUsize,
    backlog_bytes: AtomicUsize,
    room_to_apply: Arc<Notify>,
}

impl Memory {
    pub(crate) fn new(budget: MemoryBudget) -> Self {
        let zero = || AtomicUsize::new(0);
        let room_to_apply = Arc::default();
        Self { budget, cached_bytes: zero(), backlog_bytes: zero(), room_to_apply }
    }

    /// Told with each turn that leaves less to be applied: then a write that was refused may find room. One of those that
    /// wait is woken at a time, however many there are; a word that nobody waits for is kept for the next one.
    pub(crate) const fn room_to_apply(&self) -> &Arc<Notify> {
        &self.room_to_apply
    }

    /// What all replicas hold now.
    pub(crate) fn held(&self) -> Held {
        Held {
            cached_bytes: self.cached_bytes.load(Ordering::Relaxed),
            backlog_bytes: self.backlog_bytes.load(Ordering::Relaxed),
        }
    }

    /// What is left to each. Workers that ask at the same time get the same: together they may exceed the budget by
    /// what their turns add, and the next turns give it back.
    pub(crate) fn allowance(&self) -> Allowance {
        self.budget.allowance(self.held())
    }

    /// No replica takes anything that has to be applied.
    pub(crate) fn is_apply_behind(&self) -> bool {
        self.allowance().backlog_bytes == 0
    }

    /// A replica that held `before` holds `after` now.
    pub(crate) fn changed(&self, before: Held, after: Held) {
        for (sum, before, after) in [
            (&self.cached_bytes, before.cached_bytes, after.cached_bytes),
            (&self.backlog_bytes, before.backlog_bytes, after.backlog_bytes),
        ] {
            if before != after {
                // Around the end of the numbers where it is less.
                let was = sum.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
                debug_assert!(was >= before, "what one holds is part of what all hold");
            }
        }
        // Behind the sums: whoever is woken meets them.
        if after.backlog_bytes < before.backlog_bytes {
            self.room_to_apply.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn held(cached_bytes: usize, backlog_bytes: usize) -> Held {
        Held { cached_bytes, backlog_bytes }
    }

    #[test]
    fn sums_follow_what_replicas_hold() {
        let memory = Memory::new(MemoryBudget { cached_bytes: 800, backlog_bytes: 500 });
        memory.changed(Held::default(), held(300, 100));
        memory.changed(Held::default(), held(100, 200));
        memory.changed(held(300, 100), held(100, 150));
        assert_eq!(memory.held(), held(200, 350));
        assert_eq!(memory.allowance(), Allowance { cached_bytes: 75, backlog_bytes: 150 });
        assert!(!memory.is_apply_behind());
        memory.changed(held(100, 150), held(900, 300));
        assert_eq!(memory.allowance(), Allowance { cached_bytes: 0, backlog_bytes: 0 });
        assert!(memory.is_apply_behind());
        memory.changed(held(900, 300), Held::default());
        assert_eq!(memory.held(), held(100, 200));
    }

    #[test]
    fn only_what_is_applied_makes_room_to_apply() {
        let memory = Memory::new(MemoryBudget::default());
        memory.changed(Held::default(), held(300, 100));
        memory.changed(held(300, 100), held(0, 100));
        let told = || memory.room_to_apply().notified().now_or_never().is_some();
        assert!(!told(), "nothing was applied");
        memory.changed(held(0, 100), held(0, 99));
        assert!(told());
        assert!(!told(), "once");
    }
}
