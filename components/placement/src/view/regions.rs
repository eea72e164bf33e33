//! The region map: which region owns which keys, by the newest report of each key's owner.
//!
//! The key space is cut into *tiles*. A tile shows the region that was last reported for its keys.
//! After a split the report of one half may come before the other's; the keys of the other half then
//! keep showing the parent, so a key that was ever covered stays covered, and a client that follows
//! the old word is corrected by the store.
//!
//! Order of versions: a split or merge gives the survivors a version above every region they came
//! from, so for each key the higher version is the later truth, whatever the region id.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use flotilla_base::{Epoch, Key, KeyRange, Moment, Peer, Region, RegionError, RegionId, Term};

/// Sizes and flows of a region, as its leader estimates them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionStats {
    /// Approximate size; 0 where the leader does not know yet.
    pub size_bytes: u64,
    /// Approximate number of keys; 0 where the leader does not know yet.
    pub keys: u64,
    /// Written in the interval.
    pub written_bytes: u64,
    /// Read in the interval.
    pub read_bytes: u64,
    /// Keys written in the interval.
    pub written_keys: u64,
    /// Keys read in the interval.
    pub read_keys: u64,
}

/// A heartbeat of a region's leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionReport {
    /// The region as its leader has applied it.
    pub region: Region,
    /// The leader.
    pub leader: Peer,
    /// The leader's term; 0 where it did not say.
    pub term: Term,
    /// Sizes and flows.
    pub stats: RegionStats,
    /// Peers that do not answer, with the seconds since they did.
    pub down_peers: Vec<(Peer, u64)>,
    /// Peers that lag behind.
    pub pending_peers: Vec<Peer>,
}

/// A region as last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// The region, word for word as a leader reported it.
    pub region: Region,
    /// That leader.
    pub leader: Peer,
    /// Its term.
    pub term: Term,
    /// Sizes and flows.
    pub stats: RegionStats,
    /// Peers that do not answer, with the seconds since they did.
    pub down_peers: Vec<(Peer, u64)>,
    /// Peers that lag behind.
    pub pending_peers: Vec<Peer>,
    /// When it was last reported.
    pub heard: Moment,
}

/// Why a report is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaleReport {
    /// The region makes no sense.
    #[error(transparent)]
    Invalid(#[from] RegionError),
    /// The leader is no peer of the region.
    #[error("region {0}: its leader is no peer of it")]
    ForeignLeader(RegionId),
    /// The same region is known at a later epoch.
    #[error("region {region} is stale: epoch {reported} reported, {known} known")]
    Epoch {
        /// The region.
        region: RegionId,
        /// Epoch of the report.
        reported: Epoch,
        /// Epoch in the view.
        known: Epoch,
    },
    /// The same region at the same epoch has a later leader.
    #[error("region {region} is stale: reported by the leader of term {reported}, {known} known")]
    Leader {
        /// The region.
        region: RegionId,
        /// Term of the report.
        reported: Term,
        /// Term in the view.
        known: Term,
    },
    /// Another region owns some of the keys at a later version.
    #[error("region {region} is stale: region {owner} owns keys of it at a later version")]
    Overlap {
        /// The region.
        region: RegionId,
        /// The later owner.
        owner: RegionId,
    },
}

/// What a report that was taken changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportEffect {
    /// Whether range, peers or leader differ from what was known: what routing depends on.
    pub is_routing_changed: bool,
    /// Another region that claims the same keys at the same version. This cannot happen within one
    /// history of a cluster: an alarm is due.
    pub conflict: Option<RegionId>,
}

/// Keys from the tile's start up to `end`, and the region last reported for them.
#[derive(Clone, Debug)]
struct Tile {
    end: Key,
    info: Arc<RegionInfo>,
}

/// Regions by key and by id.
#[derive(Debug, Default)]
pub struct RegionMap {
    /// Tiles by their start; they do not overlap.
    tiles: BTreeMap<Key, Tile>,
    /// The newest report of each region that still shows in a tile.
    by_id: BTreeMap<RegionId, Arc<RegionInfo>>,
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
        self.by_id.get(&id)
    }

    /// The regions that own keys of `range`, ascending, at most `limit`; each once.
    #[must_use]
    pub fn scan(&self, range: &KeyRange, limit: usize) -> Vec<Arc<RegionInfo>> {
        let first = self.tile_of(&range.start).map_or(&range.start, |(start, _)| start);
        let mut listed = BTreeSet::new();
        let is_new =
            |info: &&Arc<RegionInfo>| listed.insert((info.region.id, info.region.epoch.version));
        self.tiles
            .range(first.clone()..)
            .take_while(|(start, _)| range.end.is_empty() || **start < range.end)
            .map(|(_, tile)| &tile.info)
            .filter(is_new)
            .take(limit)
            .cloned()
            .collect()
    }

    /// Every region, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RegionInfo>> {
        self.by_id.values()
    }

    /// How many regions there are.
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
        let conflict = self.check(&report)?;
        let known = self.by_id.get(&report.region.id);
        let is_routing_changed = known.is_none_or(|known| {
            known.region != report.region || known.leader.id != report.leader.id
        });
        let info = Arc::new(RegionInfo::new(now, report, known.map(AsRef::as_ref)));
        let id = info.region.id;
        self.insert(info);
        self.debug_assert_sound(id);
        Ok(ReportEffect { is_routing_changed, conflict })
    }

    /// Judges a report; gives the region it conflicts with, if any.
    fn check(&self, report: &RegionReport) -> Result<Option<RegionId>, StaleReport> {
        let region = &report.region;
        region.validate()?;
        if region.peer(report.leader.id).is_none() {
            return Err(StaleReport::ForeignLeader(region.id));
        }
        if let Some(known) = self.by_id.get(&region.id) {
            known.check_successor(report)?;
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
    fn insert(&mut self, info: Arc<RegionInfo>) {
        let range = info.region.range.clone();
        debug_assert!(!range.is_empty(), "a region owns a key");
        let starts: Vec<Key> = self.overlapping_starts(&range);
        let mut covered = Vec::with_capacity(starts.len());
        for start in starts {
            let Some(tile) = self.tiles.remove(&start) else { continue };
            if start < range.start {
                let left = Tile { end: range.start.clone(), info: tile.info.clone() };
                self.tiles.insert(start, left);
            }
            let sticks_out = tile.end.is_empty() || tile.end > range.end;
            if !range.end.is_empty() && sticks_out {
                let right = Tile { end: tile.end.clone(), info: tile.info.clone() };
                self.tiles.insert(range.end.clone(), right);
            }
            covered.push(tile.info);
        }
        self.tiles.insert(range.start, Tile { end: range.end, info: info.clone() });
        self.by_id.insert(info.region.id, info);
        for old in covered {
            self.forget_if_hidden(&old);
        }
    }

    /// A region none of whose keys shows any more was merged away: its id is forgotten.
    fn forget_if_hidden(&mut self, old: &Arc<RegionInfo>) {
        let id = old.region.id;
        let is_newest = self.by_id.get(&id).is_some_and(|newest| Arc::ptr_eq(newest, old));
        let shows = |tile: &Tile| Arc::ptr_eq(&tile.info, old);
        if is_newest && !self.overlapping(&old.region.range).any(shows) {
            self.by_id.remove(&id);
        }
    }

    /// Costs a look at the neighbours: for tests and simulations.
    fn debug_assert_sound(&self, id: RegionId) {
        let own = &self.by_id[&id].region;
        let shown: Vec<&Tile> = self.overlapping(&own.range).collect();
        debug_assert_eq!(shown.len(), 1, "the newest report covers its whole range");
        debug_assert!(shown.iter().all(|tile| tile.info.region.id == id), "and nothing else does");
    }

    fn tile_of(&self, key: &[u8]) -> Option<(&Key, &Tile)> {
        let (start, tile) =
            self.tiles.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        (tile.end.is_empty() || key < tile.end.as_ref()).then_some((start, tile))
    }

    fn overlapping_starts(&self, range: &KeyRange) -> Vec<Key> {
        self.overlapping_pairs(range).map(|(start, _)| start.clone()).collect()
    }

    fn overlapping(&self, range: &KeyRange) -> impl Iterator<Item = &Tile> {
        self.overlapping_pairs(range).map(|(_, tile)| tile)
    }

    fn overlapping_pairs(&self, range: &KeyRange) -> impl Iterator<Item = (&Key, &Tile)> {
        let first = self.tile_of(&range.start).map_or(&range.start, |(start, _)| start);
        let upper = if range.end.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(range.end.as_ref())
        };
        self.tiles.range::<[u8], _>((Bound::Included(first.as_ref()), upper))
    }
}

impl RegionInfo {
    fn new(now: Moment, report: RegionReport, known: Option<&Self>) -> Self {
        let mut stats = report.stats;
        // A leader that has just been elected does not know its sizes yet; the last ones are better
        // than none.
        if let Some(known) = known.filter(|_| stats.size_bytes == 0) {
            stats.size_bytes = known.stats.size_bytes;
            stats.keys = known.stats.keys;
        }
        Self {
            region: report.region,
            leader: report.leader,
            term: report.term,
            stats,
            down_peers: report.down_peers,
            pending_peers: report.pending_peers,
            heard: now,
        }
    }

    /// Whether `report` of the same region may follow this one.
    fn check_successor(&self, report: &RegionReport) -> Result<(), StaleReport> {
        let (known, reported) = (self.region.epoch, report.region.epoch);
        if reported.version < known.version || reported.conf_ver < known.conf_ver {
            return Err(StaleReport::Epoch { region: self.region.id, reported, known });
        }
        // An isolated old leader goes on reporting at the same epoch: its term gives it away.
        let is_old_leader = !report.term.is_none() && report.term < self.term;
        if reported == known && is_old_leader {
            let (reported, known) = (report.term, self.term);
            return Err(StaleReport::Leader { region: self.region.id, reported, known });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
