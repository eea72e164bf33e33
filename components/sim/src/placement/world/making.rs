//! How a cluster gets its regions: those of the bootstrap, as if they had been split and moved in an earlier life.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{
    ConfVer, Epoch, KeyRange, Peer, PeerId, Region, RegionId, Span, StoreId, Version,
    key::guard_border,
};
use flotilla_pdcore::Input;
use flotilla_placement::{Answer, IdBatch, Rates};

use super::{Event, World};
use crate::judge::Verdict;
use crate::placement::curve::Point;
use crate::placement::driver::{Asker, Said};
use crate::placement::region::{KEYS, ModelRegion, key_of};
use crate::placement::trouble::Place;

/// A region that is there at the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPlan {
    /// Its size.
    pub size_bytes: u64,
    /// Where its voters are; the first one leads.
    pub places: Vec<Place>,
}

impl World {
    /// The regions come into the world, once the stores of the bootstrap are there.
    ///
    /// # Errors
    /// A rule is broken by it.
    ///
    /// # Panics
    /// Where the cluster has no first regions yet, or a region is nowhere.
    pub fn found(&mut self, plans: &[RegionPlan]) -> Verdict {
        self.tell(Input::Wake)?;
        let state = self.driver.state().expect("the placement driver runs");
        let first = state.bootstrap().expect("enough stores are there").regions.clone();
        let count = plans.len() as u64;
        assert!(count > 0, "a region at least");
        for (plan, number) in plans.iter().zip(0..) {
            let end =
                if number + 1 == count { guard_border() } else { key_of(cut(number + 1, count)) };
            let range = KeyRange::new(key_of(cut(number, count)), end);
            let own = (number == 0).then(|| first[0].region.id);
            self.found_one(own, range, plan, count)?;
        }
        let guard = RegionPlan { size_bytes: 0, places: plans[0].places.clone() };
        let range = first[1].region.range.clone();
        self.found_one(Some(first[1].region.id), range, &guard, 1)?;
        self.schedule(Span::ZERO, Event::Sample);
        Ok(())
    }

    fn found_one(
        &mut self,
        id: Option<RegionId>,
        range: KeyRange,
        plan: &RegionPlan,
        version: u64,
    ) -> Verdict {
        let count = u32::try_from(plan.places.len()).unwrap_or(u32::MAX) + 1;
        let ids = self.take_ids(count)?;
        let id = id.unwrap_or(RegionId(ids.first));
        let stores: Vec<StoreId> =
            plan.places.iter().filter_map(|place| self.store_at(*place)).collect();
        let peers = stores.iter().zip(ids.first + 1..);
        let peers: Vec<Peer> = peers.map(|(store, id)| Peer::voter(PeerId(id), *store)).collect();
        let leader = peers.first().map(|peer| peer.id);
        let epoch = Epoch { version: Version(version), conf_ver: ConfVer(5) };
        let region = Region { id, range, epoch, peers };
        let region = ModelRegion { leader, ..ModelRegion::new(region, plan.size_bytes) };
        self.adopt(region, &[])?;
        self.report(id);
        Ok(())
    }

    fn take_ids(&mut self, count: u32) -> Result<IdBatch, crate::judge::Violation> {
        let input = Input::AllocIds { count, ticket: Asker::World };
        let said = self.driver.tell(self.now, input);
        let ids = said.iter().find_map(|word| match word {
            Said::Reply(Asker::World, Ok(Answer::Ids(ids))) => Some(*ids),
            _ => None,
        });
        self.take(said, None, &[])?;
        Ok(ids.expect("a placement driver that runs has ids"))
    }

    /// What each store carries, in truth.
    #[must_use]
    pub fn points(&self) -> Vec<(StoreId, Point)> {
        let point = |store: StoreId| {
            let mut point = Point::default();
            let mut bytes = 0;
            for region in self.regions.values() {
                if region.region.peer_on(store).is_some() {
                    point.replicas += 1;
                    bytes += region.size_bytes;
                }
                let peer = region.region.peer_on(store);
                point.heat += peer.map_or(0, |peer| region.heat_on(peer));
                point.leaders +=
                    u64::from(region.leader().is_some_and(|leader| leader.store == store));
            }
            point.mib = bytes >> 20;
            point
        };
        self.stores.keys().map(|store| (*store, point(*store))).collect()
    }

    pub(super) fn sample(&mut self) {
        const EACH: Span = Span::from_millis(5_000);
        let points = self.points().into_iter().map(|(_, point)| point).collect();
        self.around.curve.add(self.now, points);
        self.schedule(EACH, Event::Sample);
    }

    /// Forgets what was drawn later than two minutes behind the last decision.
    pub fn cut_curve(&mut self) {
        const BEHIND: Span = Span::from_millis(120_000);
        self.around.curve.cut(self.last_change + BEHIND);
    }

    /// Forgets what was drawn so far.
    pub fn clear_curve(&mut self) {
        self.around.curve.clear();
    }

    /// From now on clients ask so much of the regions, in the order of their keys, in a second.
    pub fn ask(&mut self, rates: impl Fn(u64) -> Rates) {
        let now = self.now;
        self.last_change = now;
        let regions = self.regions.values_mut().filter(|it| !it.region.is_guard());
        let mut regions: Vec<&mut ModelRegion> = regions.collect();
        regions.sort_by(|a, b| a.region.range.start.cmp(&b.region.range.start));
        for (number, region) in (0..).zip(regions) {
            region.told = now;
            region.rates = rates(number);
        }
    }

    /// How many regions have their replicas in so many places of a kind.
    #[must_use]
    pub fn places(&self, kind: &str) -> BTreeMap<usize, u64> {
        let mut counts = BTreeMap::new();
        for region in self.regions.values() {
            let stores = region.region.peers.iter().filter_map(|it| self.stores.get(&it.store));
            let places = stores.flat_map(|it| it.plan.labels.iter().filter(|it| it.0 == kind));
            let places: BTreeSet<&str> = places.map(|(_, value)| value.as_str()).collect();
            *counts.entry(places.len()).or_default() += 1;
        }
        counts
    }

    /// Replicas that had come to a store, and went on from there, since this was asked last.
    pub fn moved_twice(&mut self) -> u64 {
        std::mem::take(&mut self.around.travels).twice()
    }
}

/// The keys of some regions, by number, where there are `count` of them at the beginning.
#[must_use]
pub fn keys_of(numbers: std::ops::Range<u64>, count: u64) -> KeyRange {
    KeyRange::new(key_of(cut(numbers.start, count)), key_of(cut(numbers.end, count)))
}

/// Where the region of this number begins.
fn cut(number: u64, count: u64) -> u64 {
    KEYS / count * number
}
