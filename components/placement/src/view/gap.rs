//! What a picture of the cluster lacks: for seconds behind a start, and for a moment behind a split.

use flotilla_base::{KeyRange, Moment, RegionId, StoreId};

use super::{ClusterView, StoreHealth};
use crate::{meta::StoreState, operator::Sight};

/// Something that is not known yet. What is not known could be anything: nothing is decided or foretold by the rest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// A store may be about to report.
    #[error(
        "store {0} has not reported since the placement driver was started: ask again in some seconds, when it has, or counts \
         as down"
    )]
    Store(StoreId),
    /// Nobody says who owns them.
    #[error(
        "no leader has reported the keys of {0} since the placement driver was started: ask again in some seconds. Where it \
         stays so, their region has no majority: flotilla ctl stores shows which store is to be started"
    )]
    Keys(KeyRange),
    /// A piece of a split, which nobody has reported to lead.
    #[error(
        "region {0} has just been made by a split, and has not reported yet: ask again in some seconds"
    )]
    Leader(RegionId),
}

impl ClusterView {
    /// What is not known of these stores, and of their regions.
    fn gap(&self, now: Moment, stores: impl IntoIterator<Item = StoreId>) -> Option<Gap> {
        let awaited = || {
            let mut stores = stores.into_iter();
            stores.find(|store| self.health(*store, now) == StoreHealth::Unheard)
        };
        let is_early = now.since(self.opened) <= StoreHealth::FIRST_CONTACT;
        let store = is_early.then(awaited).flatten().map(Gap::Store);
        store.or_else(|| self.regions.first_hole().map(Gap::Keys))
    }

    /// A region that nobody has reported to lead.
    #[must_use]
    pub fn unled(&self) -> Option<Gap> {
        let unled = self.regions.iter().find(|info| info.leader.is_none());
        unled.map(|info| Gap::Leader(info.region.id))
    }
}

impl Sight<'_> {
    /// What is not known of the cluster.
    #[must_use]
    pub fn gap(&self) -> Option<Gap> {
        let members = self.stores.values();
        let members = members.filter(|record| record.state != StoreState::Tombstone);
        self.view.gap(self.now, members.map(|record| record.id))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flotilla_base::{Epoch, Key, Peer, PeerId, Region, Span};

    use super::*;
    use crate::{
        meta::StoreRecord,
        policy::Policy,
        view::{RegionReport, StoreStatus},
    };

    #[test]
    fn what_is_missing_is_told_until_nothing_is() {
        let at = |millis| Moment(0) + Span::from_millis(millis);
        let mut view = ClusterView::new(at(0));
        let record = |id, state| StoreRecord { id: StoreId(id), state, ..StoreRecord::default() };
        // Nobody waits for a word of the third.
        let stores: BTreeMap<StoreId, StoreRecord> = [
            record(1, StoreState::Up),
            record(2, StoreState::Offline),
            record(3, StoreState::Tombstone),
        ]
        .map(|record| (record.id, record))
        .into();
        let policy = Policy::default();
        let gap = |view: &ClusterView, millis| {
            let sight = Sight { stores: &stores, policy: &policy, view, now: at(millis) };
            sight.gap()
        };
        assert_eq!(gap(&view, 0), Some(Gap::Store(StoreId(1))));
        let status = StoreStatus { heard: at(10), ..StoreStatus::default() };
        view.on_store_report(StoreId(1), status);
        assert_eq!(gap(&view, 5_000), Some(Gap::Store(StoreId(2))));
        let everything = Some(Gap::Keys(KeyRange::all()));
        assert_eq!(gap(&view, 5_001), everything, "it counts as away");
        view.on_store_report(StoreId(2), status);
        assert_eq!(gap(&view, 20), everything);
        let leader = Peer::voter(PeerId(7), StoreId(1));
        let mut report = |id, range| {
            let region =
                Region { id: RegionId(id), range, epoch: Epoch::FIRST, peers: vec![leader] };
            let report = RegionReport { region, leader, ..RegionReport::default() };
            view.on_region_report(at(20), report).expect("fresh");
            gap(&view, 30)
        };
        let behind = KeyRange::new(Key::from("m"), Key::new());
        assert_eq!(
            report(1, KeyRange::new(Key::new(), Key::from("m"))),
            Some(Gap::Keys(behind.clone()))
        );
        assert_eq!(report(2, behind), None);
        assert_eq!(view.unled(), None);
    }

    #[test]
    fn each_gap_says_when_to_ask_again() {
        let gaps = [Gap::Store(StoreId(3)), Gap::Keys(KeyRange::all()), Gap::Leader(RegionId(2))];
        for gap in gaps {
            assert!(gap.to_string().contains("ask again in some seconds"), "{gap}");
        }
    }
}
