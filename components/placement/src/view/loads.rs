//! Regions by the stores that hold them, and what each store carries: kept with every report, so that nobody
//! has to count.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Peer, RegionId, StoreId};

use super::{report::RegionInfo, stores::StoreLoad};

/// Sums of figures that leaders say of themselves, which may be any number: wide enough for all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    leaders: u64,
    leader_bytes: u128,
    regions: u64,
    region_bytes: u128,
    pending_peers: u64,
    heat: u128,
}

/// The regions of every store.
#[derive(Debug, Default)]
pub(super) struct StoreIndex {
    held: BTreeSet<(StoreId, RegionId)>,
    /// Of stores that hold a region.
    sums: BTreeMap<StoreId, Sums>,
}

impl StoreIndex {
    /// A region is known.
    pub(super) fn add(&mut self, info: &RegionInfo) {
        for peer in &info.region.peers {
            self.held.insert((peer.store, info.region.id));
            let sums = self.sums.entry(peer.store).or_default();
            let bytes = u128::from(info.stats.size_bytes);
            sums.regions += 1;
            sums.region_bytes += bytes;
            sums.pending_peers += u64::from(info.pending_peers.contains(peer));
            sums.heat += heat(info, peer);
            if info.leader.is_some_and(|leader| leader.id == peer.id) {
                sums.leaders += 1;
                sums.leader_bytes += bytes;
            }
        }
    }

    /// A region that was added, in the very form in which it was added, is known no more.
    pub(super) fn remove(&mut self, info: &RegionInfo) {
        for peer in &info.region.peers {
            let was_held = self.held.remove(&(peer.store, info.region.id));
            debug_assert!(was_held, "what is removed was added");
            let Some(sums) = self.sums.get_mut(&peer.store) else { continue };
            let bytes = u128::from(info.stats.size_bytes);
            sums.regions -= 1;
            sums.region_bytes -= bytes;
            sums.pending_peers -= u64::from(info.pending_peers.contains(peer));
            sums.heat -= heat(info, peer);
            if info.leader.is_some_and(|leader| leader.id == peer.id) {
                sums.leaders -= 1;
                sums.leader_bytes -= bytes;
            }
            if sums.regions == 0 {
                self.sums.remove(&peer.store);
            }
        }
    }

    /// The regions of one store, ascending, from `first` on.
    pub(super) fn regions(
        &self,
        store: StoreId,
        first: RegionId,
    ) -> impl Iterator<Item = RegionId> + '_ {
        self.held.range((store, first)..=(store, RegionId(u64::MAX))).map(|(_, region)| *region)
    }

    /// What one store carries.
    pub(super) fn load(&self, store: StoreId) -> StoreLoad {
        self.sums.get(&store).map(Sums::load).unwrap_or_default()
    }

    /// What each store carries that holds a region.
    pub(super) fn loads(&self) -> BTreeMap<StoreId, StoreLoad> {
        self.sums.iter().map(|(store, sums)| (*store, sums.load())).collect()
    }
}

/// What a peer costs its store.
fn heat(info: &RegionInfo, peer: &Peer) -> u128 {
    let (leads, rates) = (info.leader.is_some_and(|leader| leader.id == peer.id), info.load.rates);
    u128::from(if leads { rates.leader_heat() } else { rates.replica_heat() })
}

impl Sums {
    fn load(&self) -> StoreLoad {
        let narrow = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        StoreLoad {
            leaders: self.leaders,
            leader_bytes: narrow(self.leader_bytes),
            regions: self.regions,
            region_bytes: narrow(self.region_bytes),
            pending_peers: self.pending_peers,
            heat: narrow(self.heat),
        }
    }
}
