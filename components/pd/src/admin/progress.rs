//! How fast stores are emptied: remembered by this process since it saw one begin, or since somebody asked first.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use flotilla_base::StoreId;
use flotilla_placement::StoreLoad;
use parking_lot::Mutex;

const MIB: u64 = 1 << 20;

/// Where stores that leave began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Mutex<BTreeMap<StoreId, Begun>>>);

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Instant,
    size_mib: u64,
}

/// How far a store is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stage {
    /// From 0 to 1.
    pub done: f64,
    /// MiB in a second since it began.
    pub mib_per_s: f64,
    /// Until it is empty, at that speed; as large as can be where nothing moves.
    pub left_s: f64,
}

/// Each region counts as a MiB at least, as tools of the public protocol count it.
fn size_mib(load: StoreLoad) -> u64 {
    (load.region_bytes / MIB).max(load.regions)
}

impl Progress {
    /// A store begins to leave.
    pub(crate) fn begin(&self, store: StoreId, carried: StoreLoad) {
        let begun = Begun { at: Instant::now(), size_mib: size_mib(carried) };
        self.0.lock().insert(store, begun);
    }

    /// It stays.
    pub(crate) fn end(&self, store: StoreId) {
        self.0.lock().remove(&store);
    }

    /// How far a store is that carries so much now.
    pub(crate) fn stage(&self, store: StoreId, carries: StoreLoad) -> Stage {
        let left = size_mib(carries);
        let mut all = self.0.lock();
        let begun =
            all.entry(store).or_insert_with(|| Begun { at: Instant::now(), size_mib: left });
        begun.size_mib = begun.size_mib.max(left);
        let seconds = begun.at.elapsed().as_secs_f64();
        stage(begun.size_mib, left, seconds)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share and a speed, for people")]
fn stage(begun_mib: u64, left_mib: u64, seconds: f64) -> Stage {
    let moved = begun_mib.saturating_sub(left_mib) as f64;
    let done = if begun_mib == 0 { 1.0 } else { moved / begun_mib as f64 };
    let mib_per_s = if seconds > 0.0 { moved / seconds } else { 0.0 };
    let left_s = match left_mib {
        0 => 0.0,
        _ if mib_per_s > 0.0 => left_mib as f64 / mib_per_s,
        _ => f64::MAX,
    };
    Stage { done, mib_per_s, left_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_what_has_moved_since_the_begin() {
        assert_eq!(stage(100, 75, 5.0), Stage { done: 0.25, mib_per_s: 5.0, left_s: 15.0 });
        assert_eq!(stage(100, 100, 5.0), Stage { done: 0.0, mib_per_s: 0.0, left_s: f64::MAX });
        assert_eq!(stage(100, 0, 5.0), Stage { done: 1.0, mib_per_s: 20.0, left_s: 0.0 });
        assert_eq!(stage(0, 0, 0.0), Stage { done: 1.0, mib_per_s: 0.0, left_s: 0.0 });
        let small = StoreLoad { regions: 7, region_bytes: 2 * MIB, ..StoreLoad::default() };
        assert_eq!(size_mib(small), 7, "each region counts as one at least");
        let progress = Progress::default();
        progress.begin(StoreId(1), small);
        let half = StoreLoad { regions: 0, region_bytes: 0, ..small };
        assert!(progress.stage(StoreId(1), half).left_s == 0.0);
        progress.end(StoreId(1));
        assert!(
            progress.stage(StoreId(1), small).done == 0.0,
            "it has just begun for whoever asks"
        );
    }
}
