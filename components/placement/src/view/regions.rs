//! The region map: which region owns which keys, by the newest report of each key's owner.
//!
//! The key space is cut into *tiles*. A tile shows the region that was last reported for its keys.
//! After a split the report of one half may come before the other's; the keys of the other half then
//! keep showing the parent, so a key that was ever covered stays covered, and a client that follows
//! the old word is corrected by the store. Only lookups of one key do that. A list holds regions that own
//! their whole range, so no two of them overlap, and a reader who goes on at the end of the last one misses
//! nothing; where a child is not known yet, the list has a hole.
//!
//! Order of versions: a split or merge gives the survivors a version above every region they came
//! from, so for each key the higher version is the later truth, whatever the region id. TiKV's placement
//! driver makes an exception for regions of epoch 1/1, which its recovery of lost majorities creates. Here
//! the first regions of a cluster are of that epoch, and none is ever created anew: no exception is made.
//!
//! Each lookup, and each report that changes no border, costs the logarithm of the number of regions; a list
//! costs its length on top, and a report what it hides.

use std::{cmp::Reverse, collections::BTreeMap, ops::Bound, sync::Arc};

use flotilla_base::{Epoch, Key, KeyRange, Moment, Region, RegionId, StoreId};

use super::{
    Rates, StoreLoad,
    loads::StoreIndex,
    report::{RegionInfo, RegionReport, ReportEffect, StaleReport, check_epoch},
};

/// Keys from the tile's start up to `end`, and the region last reported for them.
#[derive(Clone, Debug)]
struct Tile {
    end: Key,
    info: Arc<RegionInfo>,
}

impl Tile {
    /// Whether its region owns nothing beyond it.
    fn is_whole(&self, start: &Key) -> bool {
        let range = &self.info.region.range;
        *start == range.start && self.end == range.end
    }
}

/// The newest report of a region.
#[derive(Clone, Debug)]
struct Newest {
    info: Arc<RegionInfo>,
    /// In how many tiles it shows; never 0.
    tiles: usize,
}

/// Why regions are not listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanRefusal {
    /// A range ends before it starts, or begins before the end of the one before it.
    #[error("invalid key range {0}: ranges must ascend and not overlap")]
    BadRange(KeyRange),
    /// Somebody wants to see all keys, and these are in no region that is known.
    #[error("no region is known for the keys of {0}")]
    Hole(KeyRange),
}

/// Regions by key, by id and by store.
#[derive(Debug, Default)]
pub struct RegionMap {
    /// Tiles by their start; they do not overlap.
    tiles: BTreeMap<Key, Tile>,
    /// The newest report of each region that still shows in a tile.
    by_id: BTreeMap<RegionId, Newest>,
    /// The same by the stores that hold it.
    by_store: StoreIndex,
    /// The last epochs of regions that show nowhere any more: a late report of one is late all the same.
    hidden: BTreeMap<RegionId, Epoch>,
}

impl RegionMap {
    /// The region that owns `key`; `None` where no leader has reported one yet.
    #[must_use]
    pub fn by_key(&self, key: &[u8]) -> Option<&Arc<RegionInfo>> {
        self.tile_of(key).map(|(_, tile)| &tile.info)
    }

    /// The region before the one that owns `key`; `None` for the first.
    #[must_use]
    pub fn previous(&self, key: &[u8]) -> Option<&Arc<RegionInfo>> {
        let (start, _) = self.tile_of(key)?;
        let (_, before) = self.tiles.range(..start.clone()).next_back()?;
        (before.end == *start).then_some(&before.info)
    }

    /// The region with this id.
    #[must_use]
    pub fn by_id(&self, id: RegionId) -> Option<&Arc<RegionInfo>> {
        self.by_id.get(&id).map(|newest| &newest.info)
    }

    /// The regions with a replica on `store`, by id, from `first` on.
    pub fn of_store(
        &self,
        store: StoreId,
        first: RegionId,
    ) -> impl Iterator<Item = &Arc<RegionInfo>> {
        self.by_store.regions(store, first).filter_map(|id| self.by_id(id))
    }

    /// What each store carries that holds a region.
    #[must_use]
    pub fn loads(&self) -> BTreeMap<StoreId, StoreLoad> {
        self.by_store.loads()
    }

    /// What one store carries.
    #[must_use]
    pub fn load(&self, store: StoreId) -> StoreLoad {
        self.by_store.load(store)
    }

    /// The regions that own keys of `range`, ascending, at most `limit`. They do not overlap; keys whose
    /// owner is known from an older report only are in none of them.
    #[must_use]
    pub fn scan(&self, range: &KeyRange, limit: usize) -> Vec<Arc<RegionInfo>> {
        self.whole(range).take(limit).cloned().collect()
    }

    /// The regions of several ranges, as [`Self::scan`] lists those of one; each once, at most `limit` in all.
    ///
    /// # Errors
    /// [`ScanRefusal`]: the ranges make no sense; or `must_cover` is asked for and keys that the limit leaves
    /// within reach are in no region.
    pub fn scan_ranges(
        &self,
        ranges: &[KeyRange],
        limit: usize,
        must_cover: bool,
    ) -> Result<Vec<Arc<RegionInfo>>, ScanRefusal> {
        check_ranges(ranges)?;
        let mut listed: Vec<Arc<RegionInfo>> = Vec::new();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let mut border = Some(range.start.clone());
            for info in self.whole(range) {
                // Borders of two ranges may lie in one region.
                let is_listed = listed.last().is_some_and(|last| last.region.id == info.region.id);
                if !is_listed && listed.len() == limit {
                    return Ok(listed);
                }
                let own = &info.region.range;
                if must_cover && let Some(start) = border.filter(|border| own.start > *border) {
                    return Err(ScanRefusal::Hole(KeyRange::new(start, own.start.clone())));
                }
                border = (!own.end.is_empty()).then(|| own.end.clone());
                if !is_listed {
                    listed.push(Arc::clone(info));
                }
            }
            let is_short = |border: &Key| range.end.is_empty() || *border < range.end;
            if must_cover
                && listed.len() < limit
                && let Some(start) = border.filter(is_short)
            {
                return Err(ScanRefusal::Hole(KeyRange::new(start, range.end.clone())));
            }
        }
        Ok(listed)
    }

    /// The keys that [`Self::scan`] lists in no region, ascending.
    #[must_use]
    pub fn holes(&self) -> Vec<KeyRange> {
        self.each_hole().collect()
    }

    /// Whether there are [`Self::holes`]. Ends at the first of them.
    #[must_use]
    pub fn has_holes(&self) -> bool {
        self.first_hole().is_some()
    }

    /// The first of [`Self::holes`]. Looks no further.
    #[must_use]
    pub fn first_hole(&self) -> Option<KeyRange> {
        self.each_hole().next()
    }

    fn each_hole(&self) -> impl Iterator<Item = KeyRange> {
        let mut border = Some(Key::new());
        let regions = self.whole_everywhere().map(|info| Some(&info.region.range));
        regions.chain([None]).filter_map(move |own| {
            let start = border.take()?;
            let Some(own) = own else { return Some(KeyRange::new(start, Key::new())) };
            border = (!own.end.is_empty()).then(|| own.end.clone());
            (own.start > start).then(|| KeyRange::new(start, own.start.clone()))
        })
    }

    /// Every region, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RegionInfo>> {
        self.by_id.values().map(|newest| &newest.info)
    }

    /// Every region from this id on, by id.
    pub fn iter_from(&self, first: RegionId) -> impl Iterator<Item = &Arc<RegionInfo>> {
        self.by_id.range(first..).map(|(_, newest)| &newest.info)
    }

    /// The regions for which a number of their rates is largest, the largest first, at most `limit`; none of which it is 0.
    #[must_use]
    pub fn hottest(&self, number: fn(&Rates) -> u64, limit: usize) -> Vec<Arc<RegionInfo>> {
        let mut hot: Vec<_> = self.iter().filter(|info| number(&info.load.rates) > 0).collect();
        hot.sort_by_key(|info| (Reverse(number(&info.load.rates)), info.region.id));
        hot.into_iter().take(limit).cloned().collect()
    }

    /// How many regions there are, those included that own only a part of their range any more.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no region was reported yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether every key has an owner.
    #[must_use]
    pub fn covers_everything(&self) -> bool {
        let mut border = Some(Key::new());
        for (start, tile) in &self.tiles {
            if border.as_ref() != Some(start) {
                return false;
            }
            border = (!tile.end.is_empty()).then(|| tile.end.clone());
        }
        border.is_none()
    }

    /// Takes a report unless something newer is known.
    pub(super) fn report(
        &mut self,
        now: Moment,
        report: RegionReport,
    ) -> Result<ReportEffect, StaleReport> {
        let region = &report.region;
        region.validate()?;
        if region.peer(report.leader.id).is_none() {
            return Err(StaleReport::ForeignLeader(region.id));
        }
        let conflict = self.check(region)?;
        let known = self.by_id(region.id);
        if let Some(known) = known {
            known.check_leader(&report)?;
        }
        let is_routing_changed = known.is_none_or(|known| {
            known.region != *region || known.leader.map(|it| it.id) != Some(report.leader.id)
        });
        let info = RegionInfo::new(now, report, known.map(AsRef::as_ref));
        self.insert(info);
        Ok(ReportEffect { is_routing_changed, conflict })
    }

    /// Takes a piece of a split, which its leader has not reported yet, unless as much is known.
    pub(super) fn piece(
        &mut self,
        now: Moment,
        region: Region,
    ) -> Result<ReportEffect, StaleReport> {
        region.validate()?;
        if let Some(owner) = self.check(&region)? {
            return Err(StaleReport::Overlap { region: region.id, owner });
        }
        let known = self.by_id(region.id);
        if known.is_some_and(|known| known.region.epoch == region.epoch) {
            return Ok(ReportEffect::default());
        }
        let info = RegionInfo::piece(now, region, known.map(AsRef::as_ref));
        self.insert(info);
        Ok(ReportEffect { is_routing_changed: true, conflict: None })
    }

    /// Whether a region may take the keys of its range; gives the region it conflicts with, if any.
    ///
    /// # Errors
    /// The same region is known at a later epoch, or another one owns some of the keys at a later version.
    pub(crate) fn check(&self, region: &Region) -> Result<Option<RegionId>, StaleReport> {
        if let Some(known) = self.by_id(region.id) {
            known.check_shape(region)?;
        } else if let Some(known) = self.hidden.get(&region.id) {
            check_epoch(region, *known)?;
        }
        let mut conflict = None;
        for tile in self.overlapping(&region.range) {
            let owner = &tile.info.region;
            if owner.epoch.version > region.epoch.version {
                return Err(StaleReport::Overlap { region: region.id, owner: owner.id });
            }
            if owner.id != region.id && owner.epoch.version == region.epoch.version {
                conflict = Some(owner.id);
            }
        }
        Ok(conflict)
    }

    /// Puts `info` over every tile of its range. What sticks out of a cut tile keeps its region.
    fn insert(&mut self, info: RegionInfo) {
        let info = Arc::new(info);
        let (id, range) = (info.region.id, info.region.range.clone());
        debug_assert!(!range.is_empty(), "a region owns a key");
        let starts: Vec<Key> = self.overlapping_starts(&range);
        self.hidden.remove(&id);
        if let Some(old) = self.by_id.remove(&id) {
            self.by_store.remove(&old.info);
        }
        for start in starts {
            let Some(tile) = self.tiles.remove(&start) else { continue };
            let mut parts = 0;
            if start < range.start {
                let left = Tile { end: range.start.clone(), info: tile.info.clone() };
                self.tiles.insert(start, left);
                parts += 1;
            }
            let sticks_out = tile.end.is_empty() || tile.end > range.end;
            if !range.end.is_empty() && sticks_out {
                let right = Tile { end: tile.end, info: tile.info.clone() };
                self.tiles.insert(range.end.clone(), right);
                parts += 1;
            }
            self.note_parts(&tile.info, parts);
        }
        self.tiles.insert(range.start, Tile { end: range.end, info: info.clone() });
        self.by_store.add(&info);
        self.by_id.insert(id, Newest { info, tiles: 1 });
        self.debug_assert_sound(id);
    }

    /// So many tiles have taken the place of one of a region. A region none of whose keys shows any more was merged away, or
    /// others have reported its keys at later versions.
    fn note_parts(&mut self, info: &Arc<RegionInfo>, parts: usize) {
        let id = info.region.id;
        // An earlier report of a region that has a newer one shows no longer than its keys have no owner.
        let newest = self.by_id.get_mut(&id).filter(|newest| Arc::ptr_eq(&newest.info, info));
        let Some(newest) = newest else { return };
        newest.tiles = newest.tiles + parts - 1;
        if newest.tiles == 0 {
            self.by_id.remove(&id);
            self.by_store.remove(info);
            self.hidden.insert(id, info.region.epoch);
        }
    }

    /// Costs a look at the neighbours: for tests and simulations.
    fn debug_assert_sound(&self, id: RegionId) {
        let own = &self.by_id[&id].info.region;
        let shown: Vec<&Tile> = self.overlapping(&own.range).collect();
        debug_assert_eq!(shown.len(), 1, "the newest report covers its whole range");
        debug_assert!(shown.iter().all(|tile| tile.info.region.id == id), "and nothing else does");
    }

    fn tile_of(&self, key: &[u8]) -> Option<(&Key, &Tile)> {
        let (start, tile) =
            self.tiles.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        (tile.end.is_empty() || key < tile.end.as_ref()).then_some((start, tile))
    }

    /// Regions that own their whole range, of which a part lies in `range`; ascending.
    fn whole(&self, range: &KeyRange) -> impl Iterator<Item = &Arc<RegionInfo>> {
        let pairs = self.overlapping_pairs(range).filter(|(start, tile)| tile.is_whole(start));
        pairs.map(|(_, tile)| &tile.info)
    }

    fn whole_everywhere(&self) -> impl Iterator<Item = &Arc<RegionInfo>> {
        let pairs = self.tiles.iter().filter(|(start, tile)| tile.is_whole(start));
        pairs.map(|(_, tile)| &tile.info)
    }

    fn overlapping_starts(&self, range: &KeyRange) -> Vec<Key> {
        self.overlapping_pairs(range).map(|(start, _)| start.clone()).collect()
    }

    fn overlapping(&self, range: &KeyRange) -> impl Iterator<Item = &Tile> {
        self.overlapping_pairs(range).map(|(_, tile)| tile)
    }

    fn overlapping_pairs(&self, range: &KeyRange) -> impl Iterator<Item = (&Key, &Tile)> {
        let first = self.tile_of(&range.start).map_or(&range.start, |(start, _)| start);
        let upper = match range.end.as_ref() {
            _ if range.is_empty() => Bound::Excluded(first.as_ref()),
            [] => Bound::Unbounded,
            end => Bound::Excluded(end),
        };
        self.tiles.range::<[u8], _>((Bound::Included(first.as_ref()), upper))
    }
}

/// Ranges have to ascend without touching each other's keys.
fn check_ranges(ranges: &[KeyRange]) -> Result<(), ScanRefusal> {
    let mut border = Some(&[][..]);
    for range in ranges {
        let is_inverted = !range.end.is_empty() && range.start > range.end;
        let is_behind = border.is_some_and(|border| *border <= *range.start);
        if is_inverted || !is_behind {
            return Err(ScanRefusal::BadRange(range.clone()));
        }
        border = (!range.end.is_empty()).then_some(&range.end[..]);
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
