//! What must hold in the end where the placement driver decides: it comes to an end, and what it leaves is whole and even.

use std::collections::BTreeSet;

use flotilla_base::{Moment, PeerRole, Region, Span, StoreId};

use super::World;
use crate::judge::{Verdict, require};
use crate::pd::PdMark;
use crate::pd::event::Wish;
use crate::placement::curve::Point;
use crate::replicas::marks;

/// Nothing is decided for so long at the end.
const QUIET: Span = Span::from_millis(20 * 60_000);
/// All decisions have come to their end within this.
const SETTLES_WITHIN: Span = Span::from_millis(2 * 3_600_000);
/// The world is looked at so often.
const LOOK: Span = Span::from_millis(1_000);
/// A store may be this far from the mean, in replicas and in leads, or by a tenth of it.
const UNEVEN_MAX: u64 = 2;

impl World {
    /// Waits until nothing is decided any more.
    ///
    /// # Errors
    /// There is no end.
    pub(super) fn settle_placement(&mut self) -> Verdict {
        if !self.pd.is_obeyed() {
            return Ok(());
        }
        let (deadline, mut is_calm) = (self.now + SETTLES_WITHIN, false);
        let mut began = self.now;
        loop {
            self.run_for(LOOK)?;
            self.pd.note_time(self.now);
            if !is_calm && self.is_placed() {
                (is_calm, began) = (true, self.now);
                self.to_pd(crate::pd::PdSide::on_calm);
                self.trace(|| "every region is whole, and every store as it is to be".to_owned());
            }
            let quiet_since = self.pd.last_decision().max(began);
            if is_calm && self.now.since(quiet_since) >= QUIET {
                break;
            }
            require(self.now < deadline, "balance comes to an end", || self.unplaced(quiet_since))?;
        }
        let marks = &mut self.judges.lookout.marks;
        let done = self.pd.done();
        marks.reach_if(done.moves > 0, marks::MOVED);
        marks.reach_if(done.transfers > 0, marks::LEADS_MOVED);
        marks.reach_if(self.pd.marks().count(PdMark::Reigns) > 1, marks::REIGNS);
        self.check_wishes()?;
        self.regions.iter().try_for_each(|region| self.check_whole(region))?;
        self.check_even()
    }

    fn is_placed(&self) -> bool {
        let is_whole = |region| self.check_whole(region).is_ok();
        self.check_wishes().is_ok() && self.regions.iter().all(is_whole)
    }

    fn unplaced(&self, since: Moment) -> String {
        let whole = self.regions.iter().try_for_each(|region| self.check_whole(region));
        format!("last decided at {since}; {:?}", self.check_wishes().and(whole).err())
    }

    /// Whoever was to leave has left, and nothing is left there.
    fn check_wishes(&self) -> Verdict {
        let buried = self.pd.buried();
        for (_, wish) in &self.plan.topology.fates.wishes {
            let Wish::Leave(store, _) = wish else { continue };
            require(buried.contains(store), "a store that leaves is buried in the end", || {
                format!("store {store}")
            })?;
        }
        for store in buried {
            let mut regions = self.regions.iter();
            let left = regions.find(|region| region.peer_on(store).is_some());
            require(left.is_none(), "nothing is left on a store that is buried", || {
                format!("store {store}: {left:?}")
            })?;
        }
        Ok(())
    }

    /// A region has as many voters as it is to have, nobody else, all on stores that are there, and each in another zone
    /// where there are as many.
    fn check_whole(&self, region: &Region) -> Verdict {
        let replicas = usize::try_from(self.plan.topology.replicas).unwrap_or(0);
        let are_voters = region.peers.iter().all(|peer| peer.role == PeerRole::Voter);
        let gone = &self.record.placed.gone;
        let are_there = region.peers.iter().all(|peer| !gone.contains(&peer.store));
        let is_whole = region.peers.len() == replicas && are_voters && are_there;
        require(is_whole, "regions are whole in the end", || format!("{region:?}"))?;
        let fates = &self.plan.topology.fates;
        let own: BTreeSet<_> = region.peers.iter().map(|peer| fates.zone_of(peer.store)).collect();
        let is_apart = fates.zones < self.plan.topology.replicas || own.len() == replicas;
        require(is_apart, "no two replicas of a region are in one zone", || format!("{region:?}"))
    }

    /// Replicas and leads are spread over the stores that are left.
    fn check_even(&self) -> Verdict {
        let gone = &self.record.placed.gone;
        let there: Vec<Point> = (1..)
            .zip(self.points())
            .filter(|(store, _)| !gone.contains(&StoreId(*store)))
            .map(|(_, point)| point)
            .collect();
        let of = |load: fn(&Point) -> u64| there.iter().map(load).collect::<Vec<_>>();
        check_spread("replicas are even in the end", &of(|point| point.replicas))?;
        check_spread("leads are even in the end", &of(|point| point.leaders))
    }

    /// What each store carries, in the order of their numbers.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let leaders: Vec<Option<StoreId>> =
            self.regions.iter().map(|it| self.leader(it.id).map(|(store, _)| store)).collect();
        let point = |store| {
            let leaders = leaders.iter().filter(|leader| **leader == Some(store)).count() as u64;
            let held = self.regions.iter().filter(|it| it.peer_on(store).is_some());
            Point { leaders, replicas: held.count() as u64, mib: 0, heat: 0 }
        };
        self.store_ids().map(point).collect()
    }
}

fn check_spread(rule: &'static str, loads: &[u64]) -> Verdict {
    // In thousandths.
    let mean = loads.iter().sum::<u64>() * 1_000 / (loads.len() as u64).max(1);
    let most = (UNEVEN_MAX * 1_000).max(mean / 10);
    let is_far = |load: &u64| (load * 1_000).abs_diff(mean) > most;
    require(!loads.iter().any(is_far), rule, || format!("{loads:?}"))
}
