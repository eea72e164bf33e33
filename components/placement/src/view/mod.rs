//! What the leader of the placement driver knows from heartbeats: soft state, rebuilt within seconds.
//!
//! The view never invents and never edits a region: whatever it returns was reported word for word by
//! some leader. A store destroys a peer that a region with a newer epoch does not list, so a guess
//! here would cost data there.

mod gap;
mod load;
mod loads;
mod regions;
mod report;
mod stores;

use std::{collections::BTreeMap, sync::Arc};

use flotilla_base::{Incarnation, Moment, Region, RegionId, Span, StoreId};

use crate::{operator::Stamp, policy::Policy};

use stores::StoreLine;

pub use gap::Gap;
pub(crate) use load::SETTLED_FLOWS;
pub use load::{Flow, Load, Rates};
pub use regions::{RegionMap, ScanRefusal};
pub use report::{RegionInfo, RegionReport, RegionStats, ReportEffect, StaleReport};
pub use stores::{StoreHealth, StoreLoad, StoreStats, StoreStatus};

/// Leaders report every ten seconds. A region whose leader has left out two reports may have none.
const LEADER_SILENT_AFTER: Span = Span::from_millis(25_000);

/// Regions and stores as the last heartbeats showed them.
#[derive(Debug)]
pub struct ClusterView {
    opened: Moment,
    /// A store that is silent for longer is down.
    max_store_down: Span,
    /// Stores that are being worked on, and until when: none of them is down before.
    awaited: BTreeMap<StoreId, Moment>,
    regions: RegionMap,
    stores: BTreeMap<StoreId, StoreStatus>,
    /// Of stores that opened one in this reign.
    lines: BTreeMap<StoreId, StoreLine>,
}

impl ClusterView {
    /// An empty view of a reign that begins now.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        let (stores, lines) = (BTreeMap::new(), BTreeMap::new());
        let (regions, max_store_down) = (RegionMap::default(), StoreHealth::DOWN_AFTER);
        let awaited = BTreeMap::new();
        Self { opened: now, max_store_down, awaited, regions, stores, lines }
    }

    /// Takes what people have decided about how long silent stores are waited for.
    pub fn take_policy(&mut self, policy: &Policy, at: Stamp) {
        self.max_store_down = policy.settings.max_store_down;
        let maintained = policy.stores.iter().filter(|(_, it)| it.is_maintained(at.unix_ms));
        let until = |unix_ms: u64| at.now + Span::from_millis(unix_ms - at.unix_ms);
        self.awaited =
            maintained.map(|(store, it)| (*store, until(it.maintained_until_unix_ms))).collect();
    }

    /// The regions.
    #[must_use]
    pub const fn regions(&self) -> &RegionMap {
        &self.regions
    }

    /// Takes a region leader's report, unless something newer is known.
    ///
    /// # Errors
    /// [`StaleReport`] says what is known; the view is unchanged then.
    pub fn on_region_report(
        &mut self,
        now: Moment,
        report: RegionReport,
    ) -> Result<ReportEffect, StaleReport> {
        self.regions.report(now, report)
    }

    /// Takes a piece of a split that a store reports. What leaders report of it counts more: this only fills
    /// the time until they do.
    ///
    /// # Errors
    /// [`StaleReport`] says what is known; the view is unchanged then.
    pub fn on_split_piece(
        &mut self,
        now: Moment,
        region: Region,
    ) -> Result<ReportEffect, StaleReport> {
        self.regions.piece(now, region)
    }

    /// Takes a store's statistics. The caller has checked that the store is registered.
    pub fn on_store_report(&mut self, store: StoreId, status: StoreStatus) {
        let known = self.stores.get(&store).map_or(status.load, |known| known.load);
        let load = known.and(&status.stats.flow());
        self.stores.insert(store, StoreStatus { load, ..status });
    }

    /// The last statistics of a store; `None` before its first heartbeat in this reign.
    #[must_use]
    pub fn store(&self, store: StoreId) -> Option<&StoreStatus> {
        self.stores.get(&store)
    }

    /// A store has opened a line that ends with its run. The caller has checked that the store is registered.
    pub fn on_line_opened(&mut self, now: Moment, store: StoreId, run: Incarnation) {
        self.lines.entry(store).or_default().open(run, now);
    }

    /// A line that was opened is broken.
    pub fn on_line_broken(&mut self, store: StoreId, run: Incarnation) {
        if let Some(line) = self.lines.get_mut(&store) {
            line.close(run);
        }
    }

    /// How a registered store is: by its line, which breaks at once when its process ends, and by the time
    /// since it was last heard. A store that keeps no line is judged by its silence alone.
    #[must_use]
    pub fn health(&self, store: StoreId, now: Moment) -> StoreHealth {
        let is_awaited = self.awaited.get(&store).is_some_and(|until| now < *until);
        let health = self.health_alone(store, now);
        if is_awaited { health.min(StoreHealth::Disconnected) } else { health }
    }

    fn health_alone(&self, store: StoreId, now: Moment) -> StoreHealth {
        let reported = self.stores.get(&store).map(|status| status.heard);
        let line = self.lines.get(&store);
        let heard = reported.max(line.map(StoreLine::opened)).unwrap_or(self.opened);
        let silence = now.since(heard);
        let by_silence = StoreHealth::after(silence, self.max_store_down);
        match (line, reported) {
            (Some(line), _) if !line.is_open() => {
                StoreHealth::cut_off(silence, self.max_store_down)
            }
            (None, None) if now.since(self.opened) > StoreHealth::FIRST_CONTACT => {
                by_silence.max(StoreHealth::Disconnected)
            }
            (None, None) => StoreHealth::Unheard,
            (Some(_), _) | (None, Some(_)) => by_silence,
        }
    }

    /// Regions whose leader has not reported for so long that it may not be there any more.
    #[must_use]
    pub fn silent_regions(&self, now: Moment) -> Vec<RegionId> {
        let silent = self.regions.iter().filter(|info| Self::is_silent(info, now));
        silent.map(|info| info.region.id).collect()
    }

    /// Whether the region's leader has not reported for so long.
    #[must_use]
    pub fn is_silent(info: &RegionInfo, now: Moment) -> bool {
        now.since(info.heard) > LEADER_SILENT_AFTER
    }

    /// The region with this id.
    #[must_use]
    pub fn region(&self, id: RegionId) -> Option<&Arc<RegionInfo>> {
        self.regions.by_id(id)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, KeyRange, Peer, PeerId, Region};

    use super::*;
    use crate::StorePolicy;

    const STORE: StoreId = StoreId(3);

    fn at(millis: u64) -> Moment {
        Moment(0) + Span::from_millis(millis)
    }

    fn report(view: &mut ClusterView, millis: u64) {
        view.on_store_report(STORE, StoreStatus { heard: at(millis), ..StoreStatus::default() });
    }

    #[test]
    fn a_broken_line_shows_at_once() {
        let mut view = ClusterView::new(at(0));
        view.on_line_opened(at(10), STORE, Incarnation(1));
        report(&mut view, 20);
        assert_eq!(view.health(STORE, at(30)), StoreHealth::Up);
        view.on_line_broken(STORE, Incarnation(1));
        assert_eq!(view.health(STORE, at(31)), StoreHealth::Disconnected);
        assert_eq!(view.health(STORE, at(31 * 60_000)), StoreHealth::Down);
        // It is back before the end of a second old line is noticed.
        view.on_line_opened(at(40), STORE, Incarnation(1));
        view.on_line_opened(at(50), STORE, Incarnation(2));
        view.on_line_broken(STORE, Incarnation(1));
        assert_eq!(view.health(STORE, at(60)), StoreHealth::Up);
        view.on_line_broken(STORE, Incarnation(2));
        assert_eq!(view.health(STORE, at(70)), StoreHealth::Disconnected);
    }

    #[test]
    fn one_run_may_open_its_next_line_before_the_last_one_ends() {
        let mut view = ClusterView::new(at(0));
        view.on_line_opened(at(10), STORE, Incarnation(1));
        view.on_line_opened(at(20), STORE, Incarnation(1));
        view.on_line_broken(STORE, Incarnation(1));
        assert_eq!(view.health(STORE, at(30)), StoreHealth::Up);
        // A run that is over opens no line that counts.
        view.on_line_opened(at(30), STORE, Incarnation(0));
        view.on_line_broken(STORE, Incarnation(1));
        assert_eq!(view.health(STORE, at(40)), StoreHealth::Disconnected);
    }

    #[test]
    fn who_is_down_is_for_people_to_say() {
        let mut view = ClusterView::new(at(0));
        report(&mut view, 0);
        let mut policy = Policy::default();
        let stamp = |millis| Stamp { now: at(millis), unix_ms: 1_000_000 + millis };
        let mut health = |policy: &Policy, millis| {
            view.take_policy(policy, stamp(0));
            view.health(STORE, at(millis))
        };
        assert_eq!(health(&policy, 1_800_000), StoreHealth::Disconnected);
        assert_eq!(health(&policy, 1_800_001), StoreHealth::Down);
        policy.set("max-store-down-time", "1m").expect("possible");
        assert_eq!(health(&policy, 60_000), StoreHealth::Disconnected);
        assert_eq!(health(&policy, 60_001), StoreHealth::Down);
        // One that may be about to report is not down, however impatient people are.
        policy.set("max-store-down-time", "10s").expect("possible");
        assert_eq!(health(&policy, 20_000), StoreHealth::Up);
        assert_eq!(health(&policy, 20_001), StoreHealth::Down);
        let until = StorePolicy { maintained_until_unix_ms: 1_090_000, ..StorePolicy::USUAL };
        policy.stores.insert(STORE, until);
        assert_eq!(health(&policy, 89_999), StoreHealth::Disconnected);
        assert_eq!(health(&policy, 90_000), StoreHealth::Down);
    }

    #[test]
    fn a_store_whose_line_is_broken_is_down_when_people_say_so() {
        let mut view = ClusterView::new(at(0));
        let mut policy = Policy::default();
        policy.set("max-store-down-time", "10s").expect("possible");
        view.take_policy(&policy, Stamp { now: at(0), unix_ms: 0 });
        view.on_line_opened(at(0), STORE, Incarnation(1));
        assert_eq!(view.health(STORE, at(15_000)), StoreHealth::Up);
        view.on_line_broken(STORE, Incarnation(1));
        assert_eq!(view.health(STORE, at(10_000)), StoreHealth::Disconnected);
        assert_eq!(view.health(STORE, at(10_001)), StoreHealth::Down);
    }

    #[test]
    fn a_store_whose_line_is_open_still_has_to_report() {
        let mut view = ClusterView::new(at(0));
        view.on_line_opened(at(0), STORE, Incarnation(1));
        assert_eq!(view.health(STORE, at(20_000)), StoreHealth::Up);
        assert_eq!(view.health(STORE, at(20_001)), StoreHealth::Disconnected);
    }

    #[test]
    fn a_store_without_a_line_is_judged_by_its_reports() {
        let mut view = ClusterView::new(at(0));
        assert_eq!(view.health(STORE, at(5_000)), StoreHealth::Unheard);
        assert_eq!(view.health(STORE, at(5_001)), StoreHealth::Disconnected);
        assert_eq!(view.health(STORE, at(31 * 60_000)), StoreHealth::Down);
        report(&mut view, 6_000);
        assert_eq!(view.health(STORE, at(26_000)), StoreHealth::Up);
        assert_eq!(view.health(STORE, at(26_001)), StoreHealth::Disconnected);
    }

    #[test]
    fn a_region_is_silent_after_two_reports_that_did_not_come() {
        let mut view = ClusterView::new(at(0));
        let leader = Peer::voter(PeerId(7), STORE);
        let (id, range) = (RegionId(2), KeyRange::all());
        let region = Region { id, range, epoch: Epoch::FIRST, peers: vec![leader] };
        let report = RegionReport { region, leader, ..RegionReport::default() };
        view.on_region_report(at(0), report).expect("taken");
        assert_eq!(view.silent_regions(at(25_000)), []);
        assert_eq!(view.silent_regions(at(25_001)), [RegionId(2)]);
    }
}
