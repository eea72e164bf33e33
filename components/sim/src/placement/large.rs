//! A cluster as large as one is planned to be, for what one look of the mind and one report of a region cost there. Who
//! measures has the clock.

use std::collections::BTreeMap;

use flotilla_base::{
    ConfVer, Epoch, KeyRange, Moment, Peer, PeerId, Region, RegionId, Rng, Span, StoreId, Term,
    Version,
};
use flotilla_placement::{
    ClusterView, Intent, Mind, OperatorController, Policy, RegionReport, RegionStats, Sight, Stamp,
    StoreRecord, StoreStats, StoreStatus,
};

use super::region::{KEYS, key_of};

const REPLICAS: u64 = 3;
/// Ids of regions begin behind those of stores, and those of peers behind those of regions.
const REGIONS_FROM: u64 = 1 << 20;
const PEERS_FROM: u64 = 1 << 32;

/// A balanced cluster, of which everything has been reported.
#[derive(Debug)]
pub struct Large {
    stores: BTreeMap<StoreId, StoreRecord>,
    policy: Policy,
    view: ClusterView,
    mind: Mind,
    operators: OperatorController,
    regions: u64,
    now: Moment,
    rng: Rng,
}

impl Large {
    /// A cluster of so many stores and regions. `empty` more stores hold nothing.
    #[must_use]
    pub fn new(stores: (u64, u64), regions: u64) -> Self {
        Self::founded(stores, regions, |_number| Vec::new(), Policy::default())
    }

    /// The same where each store stands in one of so many zones. No two replicas may be in one place of the kind
    /// `isolation`, of "zone" and "host"; empty where they are only as far apart as they can be.
    ///
    /// # Panics
    /// There is no such kind.
    #[must_use]
    pub fn in_zones(stores: u64, regions: u64, (zones, isolation): (u64, &str)) -> Self {
        let mut policy = Policy::default();
        for (name, value) in [("location-labels", "zone,host"), ("isolation-level", isolation)] {
            policy.set(name, value).expect("a setting");
        }
        let label = |key: &str, value: u64| (key.to_owned(), format!("{key}-{value}"));
        let labels = |number| vec![label("zone", number % zones), label("host", number)];
        Self::founded((stores, 0), regions, labels, policy)
    }

    fn founded(
        (stores, empty): (u64, u64),
        regions: u64,
        labels: impl Fn(u64) -> Vec<(String, String)>,
        policy: Policy,
    ) -> Self {
        let now = Moment(0) + Span::from_millis(60_000);
        let record =
            |id| StoreRecord { id: StoreId(id), labels: labels(id), ..StoreRecord::default() };
        let records = (1..=stores + empty).map(|id| (StoreId(id), record(id))).collect();
        let mut large = Self {
            stores: records,
            policy,
            view: ClusterView::new(Moment(0)),
            mind: Mind::default(),
            operators: OperatorController::default(),
            regions,
            now,
            rng: Rng::new(1),
        };
        for number in 0..regions {
            let report = report(number, regions, stores);
            large.take(report);
        }
        large.beat();
        large
    }

    /// How many regions wait for something.
    #[must_use]
    pub fn wanting(&self) -> usize {
        self.mind.wanting()
    }

    /// Every store says how it is.
    fn beat(&mut self) {
        let stats = StoreStats {
            capacity_bytes: 1 << 44,
            available_bytes: 1 << 43,
            ..StoreStats::default()
        };
        let status = StoreStatus { stats, heard: self.now, ..StoreStatus::default() };
        self.stores.keys().for_each(|store| self.view.on_store_report(*store, status));
    }

    fn take(&mut self, report: RegionReport) {
        let region = report.region.id;
        let taken = self.view.on_region_report(self.now, report);
        debug_assert!(taken.is_ok(), "{taken:?}");
        let (stores, policy, view) = (&self.stores, &self.policy, &self.view);
        let sight = Sight { stores, policy, view, now: self.now };
        let at = Stamp { now: self.now, unix_ms: 0 };
        let events = self.operators.on_report(&sight, region, at);
        debug_assert!(events.is_empty(), "no region has an operator");
        self.mind.on_report(&sight, &self.operators, region);
    }

    /// One more store comes, which holds nothing.
    pub fn join(&mut self) {
        let last = self.stores.keys().next_back().map_or(0, |last| last.get());
        let id = StoreId(last + 1);
        self.stores.insert(id, StoreRecord { id, ..StoreRecord::default() });
    }

    /// A region that is drawn reports once more. The report is made beforehand: only what the placement driver does with it
    /// is to be measured.
    pub fn draw_report(&mut self) -> RegionReport {
        let number = self.rng.below(self.regions);
        let known = self.view.region(RegionId(REGIONS_FROM + number)).expect("all were reported");
        RegionReport {
            region: known.region.clone(),
            leader: known.leader.unwrap_or_default(),
            term: known.term,
            stats: known.stats,
            ..RegionReport::default()
        }
    }

    /// Takes a report.
    pub fn heartbeat(&mut self, report: RegionReport) {
        self.take(report);
    }

    /// One look of the mind at everything, a moment later; what it decides, of which nothing is begun.
    pub fn look(&mut self) -> Vec<Intent> {
        self.mind.hurry(self.now);
        self.now = self.now + Span::from_millis(100);
        self.beat();
        let (stores, policy, view) = (&self.stores, &self.policy, &self.view);
        let sight = Sight { stores, policy, view, now: self.now };
        self.mind.look(sight, &self.operators, Stamp { now: self.now, unix_ms: 0 })
    }
}

/// Replicas go round: each store has as many as any other, and leads as many.
fn report(number: u64, regions: u64, stores: u64) -> RegionReport {
    let start = KEYS / regions * number;
    let end = if number + 1 == regions {
        KeyRange::all().end
    } else {
        key_of(KEYS / regions * (number + 1))
    };
    let peer = |offset: u64| {
        let store = StoreId((number + offset * (stores / REPLICAS).max(1)) % stores + 1);
        Peer::voter(PeerId(PEERS_FROM + number * REPLICAS + offset), store)
    };
    let peers: Vec<Peer> = (0..REPLICAS).map(peer).collect();
    let leader = peers[0];
    let epoch = Epoch { version: Version(1), conf_ver: ConfVer(1) };
    let range = KeyRange::new(key_of(start), end);
    let region = Region { id: RegionId(REGIONS_FROM + number), range, epoch, peers };
    let stats = RegionStats { size_bytes: 96 << 20, ..RegionStats::default() };
    RegionReport { region, leader, term: Term(1), stats, ..RegionReport::default() }
}
