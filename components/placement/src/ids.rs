//! Ids of stores, regions and peers: one space that only grows, handed out from windows.

/// A run of ids, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdBatch {
    /// The smallest.
    pub first: u64,
    /// The largest: what the wire answers.
    pub last: u64,
}

impl IdBatch {
    /// How many ids it holds.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// How many ids a window takes at least.
const WINDOW_IDS: u64 = 1000;

/// The part of the last window that one leader has not handed out. A new leader starts with an empty
/// pool: what its predecessor left is never used.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdPool {
    rest: Option<IdBatch>,
}

impl IdPool {
    /// Takes `count` ids that follow each other (0 counts as 1); `None` where the window is too short
    /// for them, and then [`Self::window_for`] must be taken first.
    pub const fn take(&mut self, count: u32) -> Option<IdBatch> {
        let count = if count == 0 { 1 } else { count as u64 };
        let Some(rest) = self.rest else { return None };
        if rest.count() < count {
            return None;
        }
        let batch = IdBatch { first: rest.first, last: rest.first + count - 1 };
        assert!(batch.last <= rest.last, "an id beyond the window is somebody else's");
        self.rest = if batch.last == rest.last {
            None
        } else {
            Some(IdBatch { first: batch.last + 1, last: rest.last })
        };
        Some(batch)
    }

    /// How many ids to ask for, so that `count` can be taken.
    #[must_use]
    pub fn window_for(count: u32) -> u64 {
        WINDOW_IDS.max(2 * u64::from(count))
    }

    /// Puts a new window in place of what is left of the last one, so that a batch never spans a hole.
    pub const fn refill(&mut self, window: IdBatch) {
        assert!(window.first > 0 && window.first <= window.last, "0 is no id");
        self.rest = Some(window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_never_spans_two_windows() {
        let mut pool = IdPool::default();
        assert_eq!(pool.take(1), None, "no window, no id");
        pool.refill(IdBatch { first: 1, last: 10 });
        assert_eq!(pool.take(0), Some(IdBatch { first: 1, last: 1 }), "0 means 1");
        assert_eq!(pool.take(8), Some(IdBatch { first: 2, last: 9 }));
        assert_eq!(pool.take(2), None, "one is left, two are asked");
        assert_eq!(IdPool::window_for(2), 1000);
        assert_eq!(IdPool::window_for(5000), 10_000);
        pool.refill(IdBatch { first: 1011, last: 2010 });
        assert_eq!(pool.take(2), Some(IdBatch { first: 1011, last: 1012 }));
        assert_eq!(pool.take(998), Some(IdBatch { first: 1013, last: 2010 }));
        assert_eq!(pool.take(1), None);
    }
}
