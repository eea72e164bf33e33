//! Shapes of regions by the log alone: which keys a region owns from an index on, and where a region comes from.
//!
//! It computes what a split makes by itself, so that a store that computes something else is found. From it other
//! judges know which writes count, what a new region begins with, and whether the regions tile the key space.

use std::collections::BTreeMap;

use flotilla_base::{Index, KeyRange, PeerId, Region, RegionId, Term, Version, limit};
use flotilla_multiraft::{ChangePeers, SplitCommand, WriteCommand};
use flotilla_raftgroup::LogPosition;

use super::{Verdict, membership, require};

const ONCE: &str = "ids are given once";
const TILES: &str = "regions tile the key space";
const LEFT: &str = "liveness: every joint configuration is left";
const CONFIRMED: &str = "liveness: every removed peer is known to be gone";

/// One region's life.
#[derive(Debug)]
struct Line {
    /// Its shapes, each from an index on.
    shapes: Vec<(Index, Region)>,
    /// The region that it was split from, and where that stands in its log.
    origin: Option<(RegionId, Index)>,
    /// What is added to an index of its log, so that a key's positions grow when it gets another region.
    base: u64,
    /// The largest clock of its ancestors' entries, in milliseconds.
    clock_millis: u64,
    members: MemberLine,
}

/// How a region's members changed.
#[derive(Debug, Default)]
struct MemberLine {
    /// Removed, and not known to be gone.
    removed: Vec<PeerId>,
    /// The term in which the joint configuration was entered that is not left.
    entered_in: Option<Term>,
}

/// How often members changed, in all regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// Changes that had an effect.
    pub changed: u64,
    /// Joint configurations that were left in another term than entered.
    pub left_by_other: u64,
    /// Removed peers that are known to be gone.
    pub confirmed: u64,
}

/// The lives of all regions. Knows nothing of a region that it was not told of.
#[derive(Debug, Default)]
pub struct Lineage {
    lines: BTreeMap<RegionId, Line>,
    counts: ChangeCounts,
}

impl Lineage {
    /// The bootstrap makes a region.
    pub fn found(&mut self, region: &Region) {
        let shapes = vec![(Index(limit::FIRST_INDEX), region.clone())];
        let members = MemberLine::default();
        let line = Line { shapes, origin: None, base: 0, clock_millis: 0, members };
        self.lines.entry(region.id).or_insert(line);
    }

    /// A split stands at `index` of a region's log, behind entries of these clocks.
    ///
    /// # Errors
    /// It gives an id again, or the regions do not tile the key space any more.
    pub fn on_split(
        &mut self,
        region: RegionId,
        index: Index,
        clock_millis: u64,
        split: &SplitCommand,
    ) -> Verdict {
        let Some(shape) = self.shape(region).filter(|shape| counts(shape, split)).cloned() else {
            return Ok(());
        };
        let version = Version(shape.epoch.version.get() + split.children.len() as u64);
        let base = self.position(region, index).get();
        let mut start = shape.range.start.clone();
        for child in &split.children {
            let known: Vec<PeerId> = self.peers().collect();
            let is_new = !self.lines.contains_key(&child.region)
                && child.peers.iter().all(|peer| !known.contains(peer));
            require(is_new, ONCE, || format!("region {region} at {index}: {child:?}"))?;
            let mut made = Region { id: child.region, ..shape.clone() };
            made.range = KeyRange::new(start, child.end.clone());
            made.epoch.version = version;
            for (peer, id) in made.peers.iter_mut().zip(&child.peers) {
                peer.id = *id;
            }
            start = child.end.clone();
            let shapes = vec![(Index(limit::FIRST_INDEX), made)];
            let members = MemberLine::default();
            let line = Line { shapes, origin: Some((region, index)), base, clock_millis, members };
            self.lines.insert(child.region, line);
        }
        let mut kept = shape;
        kept.range.start = start;
        kept.epoch.version = version;
        if let Some(line) = self.lines.get_mut(&region) {
            line.shapes.push((index, kept));
        }
        self.check()
    }

    /// A change of the members stands at a position of a region's log.
    ///
    /// # Errors
    /// Majorities from before and after it could pass each other by, or it gives an id again.
    pub fn on_change(
        &mut self,
        region: RegionId,
        at: LogPosition,
        command: &ChangePeers,
    ) -> Verdict {
        let Some(shape) = self.shape(region) else { return Ok(()) };
        let Some(after) = membership::changed(shape, command)? else { return Ok(()) };
        let gone = shape.peers.iter().map(|peer| peer.id).filter(|id| after.peer(*id).is_none());
        let gone: Vec<PeerId> = gone.collect();
        let added = after.peers.iter().map(|peer| peer.id).filter(|id| shape.peer(*id).is_none());
        let mut added = added.peekable();
        let known: Vec<PeerId> = self.peers().collect();
        let is_new = added.all(|peer| !known.contains(&peer));
        require(is_new, ONCE, || format!("region {region} at {}: {command:?}", at.index))?;
        let Some(line) = self.lines.get_mut(&region) else { return Ok(()) };
        self.counts.changed += 1;
        line.members.removed.extend(gone);
        let entered_in = membership::is_joint(&after).then_some(at.term);
        let before = std::mem::replace(&mut line.members.entered_in, entered_in);
        self.counts.left_by_other += u64::from(before.is_some_and(|term| term != at.term));
        line.shapes.push((at.index, after));
        Ok(())
    }

    /// Removed peers are known to be gone.
    pub fn on_forget(&mut self, region: RegionId, peers: &[PeerId]) {
        let Some(line) = self.lines.get_mut(&region) else { return };
        let before = line.members.removed.len();
        line.members.removed.retain(|peer| !peers.contains(peer));
        self.counts.confirmed += (before - line.members.removed.len()) as u64;
    }

    /// How often members changed.
    #[must_use]
    pub const fn changes(&self) -> ChangeCounts {
        self.counts
    }

    /// Everything has come to rest.
    ///
    /// # Errors
    /// A joint configuration was never left, or a removed peer is not known to be gone.
    pub fn on_end(&self) -> Verdict {
        for (region, line) in &self.lines {
            let shape = line.shapes.last().map(|(_, shape)| shape);
            let is_joint = shape.is_some_and(membership::is_joint);
            require(!is_joint, LEFT, || format!("region {region}: {shape:?}"))?;
            let removed = &line.members.removed;
            require(removed.is_empty(), CONFIRMED, || format!("region {region}: {removed:?}"))?;
        }
        Ok(())
    }

    /// How many shapes of regions there were.
    #[must_use]
    pub fn shapes(&self) -> usize {
        self.lines.values().map(|line| line.shapes.len()).sum()
    }

    /// Whether a write that stands behind all that is known of its region changes data.
    #[must_use]
    pub fn counts(&self, region: RegionId, write: &WriteCommand) -> bool {
        use flotilla_base::Mutation::{Delete, DeleteRange, Put};
        self.shape(region).is_none_or(|shape| {
            let is_inside = write.mutations.iter().all(|mutation| match mutation {
                Put(_, key, _) | Delete(_, key) => shape.range.contains(key),
                DeleteRange(_, range) => shape.range.covers(range),
            });
            shape.epoch.version == write.version && is_inside
        })
    }

    /// A place in a region's log, as a number that grows along the lives of a key's regions.
    #[must_use]
    pub fn position(&self, region: RegionId, index: Index) -> Index {
        Index(self.lines.get(&region).map_or(0, |line| line.base) + index.get())
    }

    /// The region that a region was split from, and where.
    #[must_use]
    pub fn origin(&self, region: RegionId) -> Option<(RegionId, Index)> {
        self.lines.get(&region)?.origin
    }

    /// What the clock of a region's first entries was, in milliseconds.
    #[must_use]
    pub fn first_clock_millis(&self, region: RegionId) -> u64 {
        self.lines.get(&region).map_or(0, |line| line.clock_millis)
    }

    /// A region's newest shape.
    #[must_use]
    pub fn shape(&self, region: RegionId) -> Option<&Region> {
        self.lines.get(&region)?.shapes.last().map(|(_, shape)| shape)
    }

    /// A region's shape behind the entry at `applied`.
    #[must_use]
    pub fn shape_at(&self, region: RegionId, applied: Index) -> Option<&Region> {
        let shapes = &self.lines.get(&region)?.shapes;
        shapes.iter().rev().find(|(index, _)| *index <= applied).map(|(_, shape)| shape)
    }

    /// What a region owned in a version.
    #[must_use]
    pub fn range_of(&self, region: RegionId, version: Version) -> Option<&KeyRange> {
        let shapes = &self.lines.get(&region)?.shapes;
        let found = shapes.iter().find(|(_, shape)| shape.epoch.version == version);
        found.map(|(_, shape)| &shape.range)
    }

    /// How many regions there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// All regions in their newest shapes, by their keys.
    #[must_use]
    pub fn map(&self) -> Vec<Region> {
        let shapes = self.lines.keys().filter_map(|region| self.shape(*region));
        let mut shapes: Vec<Region> = shapes.cloned().collect();
        shapes.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        shapes
    }

    /// Every id that was ever given to a peer.
    fn peers(&self) -> impl Iterator<Item = PeerId> {
        let shapes = self.lines.values().flat_map(|line| line.shapes.iter());
        shapes.flat_map(|(_, shape)| shape.peers.iter().map(|peer| peer.id))
    }

    fn check(&self) -> Verdict {
        let map = self.map();
        let first = map.first().is_some_and(|region| region.range.start.is_empty());
        let last = map.last().is_some_and(|region| region.range.end.is_empty());
        let joins = |pair: &[Region]| pair[0].range.end == pair[1].range.start;
        let is_sound = first && last && map.windows(2).all(joins);
        require(is_sound, TILES, || format!("{map:?}"))
    }
}

/// Whether a split changes a region of this shape.
fn counts(shape: &Region, split: &SplitCommand) -> bool {
    let ends = split.children.iter().map(|child| &child.end);
    let borders: Vec<_> = [&shape.range.start].into_iter().chain(ends).collect();
    let ascends = borders.windows(2).all(|pair| pair[0] < pair[1]);
    let is_inside = borders.iter().all(|border| shape.range.contains(border));
    let is_full = split.children.iter().all(|child| child.peers.len() == shape.peers.len());
    split.epoch == shape.epoch
        && !membership::is_joint(shape)
        && !split.children.is_empty()
        && ascends
        && is_inside
        && is_full
        && !shape.is_guard()
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, Mutation};
    use flotilla_multiraft::NewRegion;

    use super::*;
    use crate::judge::samples::{REGION, broken, region};

    fn child(end: &'static str, id: u64) -> NewRegion {
        let peers = (1..=3).map(|store| PeerId(id * 100 + store)).collect();
        NewRegion { end: end.into(), region: RegionId(id), peers }
    }

    fn split(version: u64, children: Vec<NewRegion>) -> SplitCommand {
        let epoch = Epoch { version: Version(version), ..Epoch::FIRST };
        SplitCommand { epoch, children }
    }

    fn told() -> Lineage {
        let mut lineage = Lineage::default();
        lineage.found(&region());
        let children = vec![child("f", 5), child("m", 6)];
        assert_eq!(lineage.on_split(REGION, Index(9), 40, &split(1, children)), Ok(()));
        lineage
    }

    #[test]
    fn shapes_and_positions_follow_the_log() {
        let mut lineage = told();
        let shown = |lineage: &Lineage| -> Vec<(u64, String)> {
            lineage.map().iter().map(|it| (it.id.get(), it.range.to_string())).collect()
        };
        let expected = [(5, "[\"\", f)"), (6, "[f, m)"), (2, "[m, \"\")")];
        assert_eq!(shown(&lineage), expected.map(|(id, range)| (id, range.to_owned())));
        let version = |at| lineage.shape_at(REGION, Index(at)).map(|it| it.epoch.version.get());
        assert_eq!([8, 9, 10].map(version), [Some(1), Some(3), Some(3)]);
        assert_eq!(lineage.position(RegionId(5), Index(6)), Index(15));
        assert_eq!(lineage.origin(RegionId(6)), Some((REGION, Index(9))));
        assert_eq!(lineage.first_clock_millis(RegionId(5)), 40);
        // Of an older shape, at a border, outside: none of them counts.
        for (version, end) in [(1, "p"), (3, "m"), (3, "a")] {
            let split = split(version, vec![child(end, 7)]);
            assert_eq!(lineage.on_split(REGION, Index(11), 0, &split), Ok(()));
        }
        assert_eq!(lineage.count(), 3);
    }

    #[test]
    fn an_id_that_comes_again_is_found() {
        for bad in [child("p", 5), NewRegion { region: RegionId(8), ..child("p", 6) }] {
            let verdict = told().on_split(REGION, Index(11), 0, &split(3, vec![bad]));
            assert_eq!(broken(verdict), ONCE);
        }
    }

    #[test]
    fn only_writes_of_the_shape_count() {
        let lineage = told();
        let counts = |region, version, key: &'static str| {
            let put = Mutation::Put(flotilla_base::Family::Raw, key.into(), "1:".into());
            let version = Version(version);
            let write =
                WriteCommand { version, clock_millis: 1, guard: None, mutations: vec![put] };
            lineage.counts(RegionId(region), &write)
        };
        assert!(counts(2, 3, "x") && counts(5, 3, "a") && counts(6, 3, "f"));
        assert!(!counts(2, 1, "x") && !counts(2, 3, "a") && !counts(5, 3, "f"));
        assert!(counts(99, 1, "x"), "nothing is known of it");
    }

    #[test]
    fn regions_that_leave_a_gap_are_found() {
        let mut lineage = Lineage::default();
        lineage.found(&Region { range: KeyRange::new("", "y"), ..region() });
        let verdict = lineage.on_split(REGION, Index(9), 0, &split(1, vec![child("f", 5)]));
        assert_eq!(broken(verdict), TILES);
    }
}
