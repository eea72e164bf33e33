//! Which other stores live, as far as this store hears.
//!
//! Each store sends each other one a sign of life every [`Liveness::interval`], whatever becomes of its regions. A store
//! lives while it was heard within the gate. Regions that sleep rely on it: a sleeping follower takes its leader's store
//! for its leader, and wakes when that store falls silent or runs anew.
//!
//! It is data that is told the time; the host says when something was heard, asks [`Liveness::judge`] once an interval,
//! and tells every replica of each store that begins or ceases to live, *after* this view shows it
//! ([`crate::Notice::StoreChanged`]). Replicas look at the view when they take an input, so none is missed between the
//! look and the notice.
//!
//! It knows as well which stores are gone for good, as far as the host was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use flotilla_base::{Bug, Moment, Seeded, Span, StoreId};
use flotilla_raftgroup::Timing;

/// The last sign of life of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The run that gave it. Runs of a store are numbered upwards.
    pub run: u64,
    /// When it was heard, by this store's clock.
    pub at: Moment,
    is_alive: bool,
    /// Its silence was excused, since this process stood still; not again before it is heard.
    is_excused: bool,
}

/// Which other stores live.
#[derive(Debug)]
pub struct Liveness {
    timing: Timing,
    seeded: Seeded,
    signs: BTreeMap<StoreId, Sign>,
    judged_at: Moment,
    /// Stores that never run again. Only grows.
    gone: BTreeSet<StoreId>,
    /// Those of whom no replica was told yet.
    newly_gone: BTreeSet<StoreId>,
}

impl Liveness {
    /// Nobody was heard yet.
    #[must_use]
    pub const fn new(timing: Timing, seeded: Seeded, now: Moment) -> Self {
        Self {
            timing,
            seeded,
            signs: BTreeMap::new(),
            judged_at: now,
            gone: BTreeSet::new(),
            newly_gone: BTreeSet::new(),
        }
    }

    /// How often a store gives a sign of life, and judges the others: four fit into a gate.
    #[must_use]
    pub fn interval(timing: &Timing) -> Span {
        Span(timing.gate.0 / 4)
    }

    /// `store` gave a sign of life in its run `run`. Returns whether every replica is to be told: it begins to live, or
    /// runs anew. A late sign of an earlier run says nothing.
    pub fn hear(&mut self, store: StoreId, run: u64, now: Moment) -> bool {
        let sign = Sign { run, at: now, is_alive: true, is_excused: false };
        let before = self.signs.get(&store).copied();
        if before.is_some_and(|before| before.run > run) {
            return false;
        }
        self.signs.insert(store, sign);
        let is_same = |before: Sign| before.is_alive && (before.run == run || self.ignores_runs());
        !before.is_some_and(is_same)
    }

    /// The stores whose silence has lasted for a gate, and those which were buried since the last call. Every replica is to
    /// be told of each.
    pub fn judge(&mut self, now: Moment) -> Vec<StoreId> {
        let interval = Self::interval(&self.timing);
        let is_late = now.since(self.judged_at) > interval + self.timing.stall;
        self.judged_at = now;
        let mut silent = std::mem::take(&mut self.newly_gone);
        for (store, sign) in &mut self.signs {
            let is_over = sign.is_alive && now.since(sign.at) >= self.timing.gate;
            if is_over && is_late && !std::mem::replace(&mut sign.is_excused, true) {
                // What came meanwhile may still wait to be read.
                continue;
            }
            if is_over {
                sign.is_alive = false;
                silent.insert(*store);
            }
        }
        silent.into_iter().collect()
    }

    /// The last sign of a store that lives.
    #[must_use]
    pub fn sign(&self, store: StoreId) -> Option<Sign> {
        self.signs.get(&store).copied().filter(|sign| sign.is_alive)
    }

    /// When `store` was heard last, if it lives in this run.
    #[must_use]
    pub fn heard_in(&self, store: StoreId, run: u64) -> Option<Moment> {
        let sign = self.sign(store)?;
        (sign.run == run || self.ignores_runs()).then_some(sign.at)
    }

    /// `store` will never run again under its id: its placement driver says that it is a tombstone. That word is final,
    /// since no tombstone is registered again and no id is given twice. It has to be that very word: a store that is
    /// silent, not found or not known may come back.
    pub fn bury(&mut self, store: StoreId) {
        if self.gone.insert(store) {
            self.newly_gone.insert(store);
        }
    }

    /// Whether `store` is known to be gone for good.
    #[must_use]
    pub fn is_gone(&self, store: StoreId) -> bool {
        self.gone.contains(&store)
    }

    fn ignores_runs(&self) -> bool {
        self.seeded.has(Bug::LIVENESS_OF_ANOTHER_RUN_COUNTS)
    }
}

/// The view that the replicas of one store share with whoever hears the other stores.
#[derive(Clone, Debug)]
pub struct SharedLiveness(Arc<RwLock<Liveness>>);

impl SharedLiveness {
    /// A view to share.
    #[must_use]
    pub fn new(liveness: Liveness) -> Self {
        Self(Arc::new(RwLock::new(liveness)))
    }

    /// Looks at it.
    pub fn look<R>(&self, look: impl FnOnce(&Liveness) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it. Nothing else is to be locked meanwhile.
    pub fn change<R>(&self, change: impl FnOnce(&mut Liveness) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: StoreId = StoreId(2);

    fn at(millis: u64) -> Moment {
        Moment(1) + Span::from_millis(millis)
    }

    fn liveness() -> Liveness {
        Liveness::new(Timing::default(), Seeded::NONE, at(0))
    }

    /// Judges every interval up to `until`; the stores that fall silent, and when.
    fn judge_until(liveness: &mut Liveness, from: u64, until: u64) -> Vec<(u64, StoreId)> {
        let moments = (from..=until).step_by(200);
        moments.flat_map(|ms| liveness.judge(at(ms)).into_iter().map(move |it| (ms, it))).collect()
    }

    #[test]
    fn a_store_lives_for_a_gate_behind_its_last_sign() {
        let mut liveness = liveness();
        assert_eq!(liveness.heard_in(OTHER, 1), None);
        assert!(liveness.hear(OTHER, 1, at(0)), "it begins to live");
        assert!(!liveness.hear(OTHER, 1, at(200)));
        assert_eq!(judge_until(&mut liveness, 200, 800), []);
        assert_eq!(liveness.heard_in(OTHER, 1), Some(at(200)));
        assert_eq!(liveness.judge(at(1_000)), [OTHER]);
        assert_eq!(liveness.heard_in(OTHER, 1), None);
        assert_eq!(liveness.judge(at(1_200)), [], "told once");
        assert!(liveness.hear(OTHER, 1, at(1_300)), "it is back");
    }

    #[test]
    fn another_run_is_another_life() {
        let mut liveness = liveness();
        assert!(liveness.hear(OTHER, 4, at(0)));
        assert!(liveness.hear(OTHER, 5, at(100)), "it runs anew");
        assert_eq!(liveness.heard_in(OTHER, 4), None);
        assert_eq!(liveness.heard_in(OTHER, 5), Some(at(100)));
        assert!(!liveness.hear(OTHER, 4, at(200)), "a late sign of the run before");
        assert_eq!(liveness.heard_in(OTHER, 5), Some(at(100)));
    }

    #[test]
    fn a_store_that_is_buried_is_told_of_once() {
        let mut liveness = liveness();
        liveness.bury(OTHER);
        assert_eq!(liveness.judge(at(200)), [OTHER]);
        liveness.bury(OTHER);
        assert_eq!(liveness.judge(at(400)), []);
        assert!(liveness.is_gone(OTHER) && liveness.sign(OTHER).is_none());
    }

    #[test]
    fn a_process_that_stood_still_listens_once_more_and_only_once() {
        let mut liveness = liveness();
        liveness.hear(OTHER, 1, at(0));
        assert_eq!(liveness.judge(at(5_000)), [], "what came meanwhile is not read yet");
        assert_eq!(liveness.judge(at(5_400)), [OTHER], "late again, and nothing came");
        liveness.hear(OTHER, 1, at(5_500));
        assert_eq!(liveness.judge(at(9_000)), []);
    }
}
