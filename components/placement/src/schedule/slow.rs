//! A store whose disk has become slow leads nothing: clients wait for its writes, and what it leads would lose its leader
//! again and again.
//!
//! It is one store at a time. Where several are slow, something else is wrong, and leads would go from one slow store to
//! another. Which store it is is replicated, so that a new leader of the placement driver goes on with it; a store counts
//! as well again after ten minutes in which it was never slow, so that one that is slow now and then does not see its leads
//! come and go.

use flotilla_base::{Moment, Span, StoreId};

use crate::{
    meta::{StoreRecord, StoreState},
    operator::Sight,
    policy::SchedulerName,
    view::StoreHealth,
};

/// The score from which on a store is slow; see `slow_score` of a store's report.
const SLOW: u64 = 80;
/// The score of a store that is well. One that does not say how it is counts as such.
const WELL: u64 = 1;
/// A store that was slow gets leads again when it has been well for so long.
pub(crate) const RECOVERY: Span = Span::from_millis(600_000);

/// Since when the store that is kept free of leads is well.
#[derive(Debug, Default)]
pub(crate) struct SlowStores {
    well_since: Option<Moment>,
}

impl SlowStores {
    /// What is to be recorded: the store that is slow, or that none is any more; `None` where nothing changes.
    pub(crate) fn judge(&mut self, sight: &Sight<'_>, unix_ms: u64) -> Option<Option<StoreId>> {
        let scheduler = sight.policy.schedulers.get(&SchedulerName::EvictSlowStore);
        let scheduler = scheduler.filter(|scheduler| !scheduler.is_paused(unix_ms));
        let Some(known) = scheduler.map(|scheduler| scheduler.stores.first().copied()) else {
            self.well_since = None;
            return None;
        };
        match known {
            Some(store) => self.has_recovered(sight, store).then_some(None),
            None => {
                self.well_since = None;
                only_slow(sight).map(Some)
            }
        }
    }

    fn has_recovered(&mut self, sight: &Sight<'_>, store: StoreId) -> bool {
        let is_there = |record: &StoreRecord| record.state != StoreState::Tombstone;
        if !sight.stores.get(&store).is_some_and(is_there) {
            return true;
        }
        // Of one that is not heard nobody knows.
        if score(sight, store).is_none_or(|score| score > WELL) {
            self.well_since = None;
            return false;
        }
        let since = *self.well_since.get_or_insert(sight.now);
        sight.now.since(since) >= RECOVERY
    }
}

/// What a store says of its disk; `None` for one that is not up.
fn score(sight: &Sight<'_>, store: StoreId) -> Option<u64> {
    let is_up = sight.view.health(store, sight.now) == StoreHealth::Up;
    sight.view.store(store).filter(|_| is_up).map(|status| status.stats.slow_score)
}

/// The one store that is slow, while others are not.
fn only_slow(sight: &Sight<'_>) -> Option<StoreId> {
    let stores = sight.stores.values().filter(|record| record.state != StoreState::Tombstone);
    let scores = stores.filter_map(|record| Some((record.id, score(sight, record.id)?)));
    let (slow, others): (Vec<_>, Vec<_>) = scores.partition(|(_, score)| *score >= SLOW);
    match slow.as_slice() {
        [(store, _)] if !others.is_empty() => Some(*store),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{ClusterView, Policy, StoreStats, StoreStatus};

    struct Scene {
        policy: Policy,
        stores: BTreeMap<StoreId, StoreRecord>,
        view: ClusterView,
        judge: SlowStores,
        now: Moment,
        /// How often the record changed.
        changes: usize,
    }

    impl Scene {
        fn new(stores: u64) -> Self {
            let record = |id| StoreRecord { id: StoreId(id), ..StoreRecord::default() };
            Self {
                policy: Policy::default(),
                stores: (1..=stores).map(|id| (StoreId(id), record(id))).collect(),
                view: ClusterView::new(Moment(0)),
                judge: SlowStores::default(),
                now: Moment(0) + Span::from_millis(100_000),
                changes: 0,
            }
        }

        /// Ten seconds pass, each store reports, and what is judged is recorded. The store that is free of leads then.
        fn report(&mut self, scores: &[u64]) -> Option<u64> {
            self.now = self.now + Span::from_millis(10_000);
            for (store, slow_score) in (1..).map(StoreId).zip(scores) {
                let stats = StoreStats { slow_score: *slow_score, ..StoreStats::default() };
                let status = StoreStatus { heard: self.now, stats, ..StoreStatus::default() };
                self.view.on_store_report(store, status);
            }
            let (stores, policy, view) = (&self.stores, &self.policy, &self.view);
            let sight = Sight { stores, policy, view, now: self.now };
            let judged = self.judge.judge(&sight, 0);
            let scheduler = self.policy.schedulers.get_mut(&SchedulerName::EvictSlowStore);
            if let (Some(judged), Some(scheduler)) = (judged, scheduler) {
                scheduler.stores = judged.into_iter().collect();
                self.changes += 1;
            }
            let scheduler = self.policy.schedulers.get(&SchedulerName::EvictSlowStore)?;
            scheduler.stores.first().map(|store| store.get())
        }
    }

    #[test]
    fn one_slow_store_is_found_and_several_are_let_be() {
        let mut scene = Scene::new(3);
        for (scores, expected) in [
            ([1, 79, 1], None),
            ([80, 80, 1], None),
            ([100, 100, 100], None),
            ([0, 0, 0], None),
            ([1, 80, 79], Some(2)),
            ([1, 1, 100], Some(2)),
            ([100, 100, 1], Some(2)),
        ] {
            assert_eq!(scene.report(&scores), expected, "{scores:?}");
        }
        let mut alone = Scene::new(1);
        assert_eq!(alone.report(&[100]), None, "nobody else could lead");
        let mut silent = Scene::new(3);
        silent.report(&[1, 1, 100]);
        silent.policy.schedulers.remove(&SchedulerName::EvictSlowStore);
        assert_eq!(silent.report(&[1, 1, 100]), None, "somebody has removed it");
    }

    #[test]
    fn it_is_well_when_it_was_so_for_ten_minutes() {
        let mut scene = Scene::new(3);
        assert_eq!(scene.report(&[1, 100, 1]), Some(2));
        for _report in 0..60 {
            assert_eq!(scene.report(&[1, 1, 1]), Some(2));
        }
        // A new leader of the placement driver knows which store it is, and not since when it is well.
        scene.judge = SlowStores::default();
        for _report in 0..60 {
            assert_eq!(scene.report(&[1, 1, 1]), Some(2));
        }
        assert_eq!(scene.report(&[1, 1, 1]), None);
        assert_eq!((scene.report(&[1, 1, 100]), scene.changes), (Some(3), 3), "the next one");
    }

    #[test]
    fn one_that_is_slow_now_and_then_does_not_see_its_leads_come_and_go() {
        let mut scene = Scene::new(3);
        for report in 0..1_000 {
            let score = if report / 3 % 2 == 0 { 100 } else { 1 };
            assert_eq!(scene.report(&[1, score, 1]), Some(2));
        }
        assert_eq!(scene.changes, 1);
    }

    #[test]
    fn one_that_is_gone_is_forgotten_and_one_that_is_silent_is_not() {
        let mut scene = Scene::new(3);
        assert_eq!(scene.report(&[1, 1, 100]), Some(3));
        for _report in 0..100 {
            assert_eq!(scene.report(&[1, 1]), Some(3), "nobody knows");
        }
        assert_eq!(scene.report(&[1, 1, 1]), Some(3));
        let state = StoreState::Tombstone;
        let gone = StoreRecord { id: StoreId(3), state, ..StoreRecord::default() };
        scene.stores.insert(StoreId(3), gone);
        assert_eq!(scene.report(&[1, 1]), None);
    }
}
