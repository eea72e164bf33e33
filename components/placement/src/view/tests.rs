//! Tests of the region map, alone and against a model of splits, merges and elections.

use std::collections::BTreeSet;

use flotilla_base::{ConfVer, Epoch, Peer, PeerId, Term, Version, key::guard_border};
use proptest::prelude::*;

use super::*;
use crate::view::{ClusterView, RegionStats};

fn report(id: u64, range: (&str, &str), version: u64, term: u64) -> RegionReport {
    let peers: Vec<_> =
        (1..=3).map(|store| Peer::voter(PeerId(id * 10 + store), StoreId(store))).collect();
    let epoch = Epoch { version: Version(version), conf_ver: ConfVer(1) };
    let range = KeyRange::new(range.0.to_owned(), range.1.to_owned());
    let region = Region { id: RegionId(id), range, epoch, peers };
    let leader = region.peers[0];
    RegionReport { region, leader, term: Term(term), ..RegionReport::default() }
}

fn take(map: &mut RegionMap, report: RegionReport) -> Result<ReportEffect, StaleReport> {
    map.report(Moment(1), report)
}

fn owner(map: &RegionMap, key: &str) -> Option<(u64, u64)> {
    let info = map.by_key(key.as_bytes())?;
    Some((info.region.id.get(), info.region.epoch.version.get()))
}

/// Late reports of one store come together: the first hides a region, the second is of its youth.
#[test]
fn a_region_that_shows_nowhere_is_not_forgotten() {
    let mut map = RegionMap::default();
    take(&mut map, report(37, ("c", "e"), 13, 7)).expect("taken");
    take(&mut map, report(28, ("b", "e"), 15, 6)).expect("later");
    assert!(map.by_id(RegionId(37)).is_none(), "it shows nowhere");
    let late = take(&mut map, report(37, ("m", "p"), 9, 6));
    assert!(matches!(late, Err(StaleReport::Epoch { .. })), "{late:?}");
    take(&mut map, report(37, ("m", "p"), 13, 8)).expect("as late as it was known");
}

#[test]
fn a_new_leader_shows_at_once_and_an_old_one_never_again() {
    let mut map = RegionMap::default();
    take(&mut map, report(2, ("", ""), 1, 6)).expect("first");
    let mut elected = report(2, ("", ""), 1, 7);
    elected.leader = elected.region.peers[1];
    let effect = take(&mut map, elected.clone()).expect("later term");
    assert!(effect.is_routing_changed);
    let again = take(&mut map, elected.clone()).expect("repeated");
    assert!(!again.is_routing_changed);
    let late = take(&mut map, report(2, ("", ""), 1, 6)).expect_err("earlier term");
    assert!(matches!(late, StaleReport::Leader { known: Term(7), .. }), "{late}");
    assert_eq!(map.by_key(b"any").and_then(|info| info.leader), Some(elected.leader));
}

#[test]
fn nonsense_is_refused() {
    let mut map = RegionMap::default();
    let stranger =
        RegionReport { leader: Peer::voter(PeerId(99), StoreId(9)), ..report(2, ("", ""), 1, 6) };
    assert_eq!(take(&mut map, stranger), Err(StaleReport::ForeignLeader(RegionId(2))));
    let inverted = take(&mut map, report(2, ("b", "a"), 1, 6));
    assert!(matches!(inverted, Err(StaleReport::Invalid(_))));
    assert!(map.is_empty() && !map.covers_everything());
}

fn listed(map: &RegionMap) -> Vec<u64> {
    map.scan(&KeyRange::all(), usize::MAX).iter().map(|info| info.region.id.get()).collect()
}

#[test]
fn the_parent_shows_until_its_children_are_known() {
    let mut map = RegionMap::default();
    take(&mut map, report(2, ("", ""), 5, 6)).expect("parent");
    take(&mut map, report(2, ("m", ""), 6, 6)).expect("right half keeps the id");
    assert_eq!(owner(&map, "a"), Some((2, 5)), "the left half is not known yet");
    assert_eq!(owner(&map, "z"), Some((2, 6)));
    assert_eq!(listed(&map), [2], "a list shows regions that own their whole range");
    assert_eq!(map.holes(), [KeyRange::new("", "m")]);
    take(&mut map, report(3, ("", "m"), 6, 6)).expect("left half");
    assert_eq!(owner(&map, "a"), Some((3, 6)));
    assert_eq!((listed(&map), map.len()), (vec![3, 2], 2));
    assert_eq!(map.holes(), []);
    let late = take(&mut map, report(2, ("", ""), 5, 9)).expect_err("the parent is history");
    assert!(matches!(late, StaleReport::Epoch { .. }), "{late}");
}

#[test]
fn a_child_may_report_before_its_parent_has_shrunk() {
    let mut map = RegionMap::default();
    take(&mut map, report(2, ("", ""), 5, 6)).expect("parent");
    take(&mut map, report(3, ("", "m"), 6, 6)).expect("child");
    assert_eq!((owner(&map, "a"), owner(&map, "z")), (Some((3, 6)), Some((2, 5))));
    assert_eq!(listed(&map), [3]);
    assert!(map.by_id(RegionId(2)).is_some(), "it still owns keys");
    let late = take(&mut map, report(2, ("", ""), 5, 7)).expect_err("it has shrunk");
    assert!(matches!(late, StaleReport::Overlap { owner: RegionId(3), .. }), "{late}");
    take(&mut map, report(2, ("m", ""), 6, 6)).expect("it says so");
    assert_eq!(listed(&map), [3, 2]);
}

#[test]
fn the_report_of_a_split_fills_the_time_until_leaders_report() {
    let mut map = RegionMap::default();
    let mut sized = report(2, ("", ""), 5, 6);
    sized.stats.size_bytes = 7;
    take(&mut map, sized.clone()).expect("parent");
    let (left, right) = (report(3, ("", "m"), 6, 6), report(2, ("m", ""), 6, 6));
    for piece in [&left, &right] {
        let effect = map.piece(Moment(2), piece.region.clone()).expect("newer");
        assert!(effect.is_routing_changed);
    }
    assert_eq!(listed(&map), [3, 2]);
    let leader = |map: &RegionMap, id| map.by_id(RegionId(id)).expect("known").leader;
    assert_eq!((leader(&map, 3), leader(&map, 2)), (None, Some(sized.leader)));
    assert_eq!(map.by_id(RegionId(2)).map(|info| info.stats), Some(sized.stats));
    take(&mut map, left.clone()).expect("its leader is newer than nothing");
    assert_eq!(leader(&map, 3), Some(left.leader));
    let late = map.piece(Moment(3), left.region.clone()).expect("late");
    assert!(!late.is_routing_changed, "nothing in it is new");
    assert_eq!(leader(&map, 3), Some(left.leader), "and nothing is lost to it");
    let old = map.piece(Moment(3), sized.region).expect_err("history");
    assert!(matches!(old, StaleReport::Epoch { .. }), "{old}");
    let foreign = map.piece(Moment(3), report(9, ("a", "b"), 6, 6).region).expect_err("two owners");
    assert!(matches!(foreign, StaleReport::Overlap { owner: RegionId(3), .. }), "{foreign}");
}

#[test]
fn a_region_that_was_merged_away_is_forgotten() {
    let mut map = RegionMap::default();
    take(&mut map, report(2, ("", "m"), 5, 6)).expect("left");
    take(&mut map, report(3, ("m", ""), 5, 6)).expect("right");
    take(&mut map, report(3, ("", ""), 6, 6)).expect("merged");
    assert_eq!((map.by_id(RegionId(2)), map.len()), (None, 1));
    let late = take(&mut map, report(2, ("", "m"), 5, 8)).expect_err("gone");
    assert!(matches!(late, StaleReport::Overlap { owner: RegionId(3), .. }), "{late}");
}

#[test]
fn two_owners_at_one_version_raise_an_alarm() {
    let mut map = RegionMap::default();
    take(&mut map, report(2, ("", ""), 5, 6)).expect("first");
    let effect = take(&mut map, report(9, ("a", "b"), 5, 6)).expect("the later one counts");
    assert_eq!(effect.conflict, Some(RegionId(2)));
    assert_eq!(owner(&map, "aa"), Some((9, 5)));
}

#[test]
fn a_known_size_is_not_lost_to_a_leader_that_has_none() {
    let mut map = RegionMap::default();
    let mut sized = report(2, ("", ""), 1, 6);
    sized.stats = RegionStats { size_bytes: 96 << 20, keys: 1000, ..RegionStats::default() };
    take(&mut map, sized).expect("first");
    take(&mut map, report(2, ("", ""), 1, 7)).expect("new leader");
    let stats = map.by_id(RegionId(2)).expect("known").stats;
    assert_eq!((stats.size_bytes, stats.keys), (96 << 20, 1000));
}

#[test]
fn lookups_on_the_first_regions() {
    let mut map = RegionMap::default();
    assert_eq!(owner(&map, "a"), None);
    let mut data = report(2, ("", ""), 1, 6);
    data.region.range.end = guard_border();
    let mut guard = report(6, ("", ""), 1, 6);
    guard.region.range.start = guard_border();
    take(&mut map, data).expect("data");
    assert!(!map.covers_everything());
    take(&mut map, guard).expect("guard");
    assert!(map.covers_everything());
    let ids = |infos: Vec<Arc<RegionInfo>>| {
        infos.iter().map(|info| info.region.id.get()).collect::<Vec<_>>()
    };
    assert_eq!(ids(map.scan(&KeyRange::all(), usize::MAX)), [2, 6]);
    assert_eq!(
        ids(map.scan(&KeyRange::new("k", ""), 1)),
        [2],
        "from the region that holds the key"
    );
    assert_eq!(ids(map.scan(&KeyRange::new("", "zz"), 9)), [2], "the end is exclusive");
    assert_eq!(map.previous(b"a"), None);
    let before_guard = map.previous(&guard_border()).map(|info| info.region.id);
    assert_eq!(before_guard, Some(RegionId(2)));
    assert!(map.by_id(RegionId(6)).is_some_and(|info| info.region.is_guard()));
}

#[test]
fn nobody_is_next_to_a_hole() {
    let mut map = RegionMap::default();
    take(&mut map, report(2, ("", "c"), 5, 6)).expect("left");
    take(&mut map, report(3, ("m", ""), 5, 6)).expect("right");
    assert_eq!(
        (owner(&map, "b"), owner(&map, "c"), owner(&map, "m")),
        (Some((2, 5)), None, Some((3, 5)))
    );
    assert_eq!((map.previous(b"m"), map.previous(b"d"), map.previous(b"a")), (None, None, None));
    assert_eq!(map.holes(), [KeyRange::new("c", "m")]);
    take(&mut map, report(4, ("c", "m"), 5, 6)).expect("between");
    assert_eq!(map.previous(b"z").map(|info| info.region.id), Some(RegionId(4)));
}

/// `count` regions of three replicas, whose borders are numbers.
fn many(count: u64) -> RegionMap {
    let border = |number: u64| match number {
        0 => String::new(),
        _ if number == count => String::new(),
        _ => format!("{number:05}"),
    };
    let mut map = RegionMap::default();
    // One region owned everything before.
    take(&mut map, report(1, ("", ""), 1, 6)).expect("the first");
    for number in 0..count {
        let (start, end) = (border(number), border(number + 1));
        let mut region = report(2 + number, (&start, &end), count, 6);
        region.stats.size_bytes = 1;
        take(&mut map, region).expect("a later one");
    }
    map
}

#[test]
fn ten_thousand_regions_are_found_at_their_borders() {
    let count = 10_000;
    let map = many(count);
    assert_eq!((map.len() as u64, map.by_id(RegionId(1))), (count, None));
    assert!(map.covers_everything() && map.holes().is_empty());
    let id = |info: Option<&Arc<RegionInfo>>| info.map(|info| info.region.id.get());
    assert_eq!(id(map.by_key(b"")), Some(2));
    assert_eq!(id(map.previous(b"")), None);
    for number in [1, 2, 4_711, count - 1] {
        let border = format!("{number:05}");
        assert_eq!(id(map.by_key(border.as_bytes())), Some(2 + number));
        assert_eq!(id(map.by_key(format!("{border}x").as_bytes())), Some(2 + number));
        assert_eq!(id(map.by_key(format!("{:05}~", number - 1).as_bytes())), Some(1 + number));
        assert_eq!(id(map.previous(border.as_bytes())), Some(1 + number));
    }
    let page = map.scan(&KeyRange::new("04711", ""), 3);
    assert_eq!(
        page.iter().map(|info| info.region.id.get()).collect::<Vec<_>>(),
        [4713, 4714, 4715]
    );
    assert_eq!(map.scan(&KeyRange::new("04711", "04711"), 3).len(), 0, "no key, no region");
    assert_eq!(map.scan(&KeyRange::all(), usize::MAX).len() as u64, count);
    let on_store: Vec<_> = map.of_store(StoreId(2), RegionId(9_000)).take(2).collect();
    assert_eq!(
        on_store.iter().map(|info| info.region.id.get()).collect::<Vec<_>>(),
        [9_000, 9_001]
    );
    assert_eq!(map.of_store(StoreId(4), RegionId(0)).count(), 0);
    let load = map.load(StoreId(1));
    assert_eq!((load.leaders, load.regions, load.region_bytes), (count, count, count));
    assert_eq!(map.loads().len(), 3);
}

#[test]
fn several_ranges_are_scanned_at_once() {
    let mut map = many(10);
    let scan = |map: &RegionMap, ranges: &[(&'static str, &'static str)], limit, must_cover| {
        let ranges: Vec<_> = ranges.iter().map(|&(start, end)| KeyRange::new(start, end)).collect();
        let listed = map.scan_ranges(&ranges, limit, must_cover);
        listed.map(|infos| infos.iter().map(|info| info.region.id.get()).collect::<Vec<_>>())
    };
    let all = usize::MAX;
    assert_eq!(scan(&map, &[("", "")], all, true).map(|ids| ids.len()), Ok(10));
    assert_eq!(scan(&map, &[], all, true), Ok(vec![]));
    let touching = [("00001", "00001a"), ("00001b", "00003"), ("00003", "00003"), ("00009", "")];
    assert_eq!(scan(&map, &touching, all, true), Ok(vec![3, 4, 11]), "each once");
    assert_eq!(scan(&map, &touching, 2, true), Ok(vec![3, 4]));
    assert_eq!(
        scan(&map, &[("00001", ""), ("00003", "00004")], all, false),
        Err(ScanRefusal::BadRange(KeyRange::new("00003", "00004")))
    );
    for wrong in [[("b", "a"), ("c", "d")], [("b", "d"), ("c", "e")], [("c", "d"), ("a", "b")]] {
        assert!(
            matches!(scan(&map, &wrong, all, false), Err(ScanRefusal::BadRange(_))),
            "{wrong:?}"
        );
    }
    // The left half of region 7 is not known yet.
    take(&mut map, report(7, ("00005k", "00006"), 11, 6)).expect("the right one");
    let hole = KeyRange::new("00005", "00005k");
    assert_eq!(map.holes(), std::slice::from_ref(&hole));
    assert_eq!(scan(&map, &[("00004", "00006a")], all, false), Ok(vec![6, 7, 8]));
    assert_eq!(scan(&map, &[("00004", "00006a")], all, true), Err(ScanRefusal::Hole(hole.clone())));
    assert_eq!(scan(&map, &[("00004", "00005")], all, true), Ok(vec![6]), "it lies behind");
    assert_eq!(scan(&map, &[("00004", "00006a")], 1, true), Ok(vec![6]), "out of reach");
    let inside = KeyRange::new("00005b", "00005c");
    assert_eq!(scan(&map, &[("00005b", "00005c")], all, true), Err(ScanRefusal::Hole(inside)));
    assert_eq!(
        scan(&RegionMap::default(), &[("", "")], all, true),
        Err(ScanRefusal::Hole(KeyRange::all()))
    );
}

/// A history of regions as the stores make it; every report a leader could send is collected.
#[derive(Clone, Debug)]
struct History {
    live: Vec<RegionReport>,
    sent: Vec<RegionReport>,
    /// What the splits have made, each in the order of keys.
    splits: Vec<Vec<Region>>,
    next_id: u64,
}

impl History {
    fn new() -> Self {
        let first = report(1, ("", ""), 1, 6);
        Self { live: vec![first.clone()], sent: vec![first], splits: Vec::new(), next_id: 2 }
    }

    fn step(&mut self, action: u8, pick: usize, keys: [u8; 2]) {
        let at = pick % self.live.len();
        match action % 5 {
            0 | 1 => self.split(at, pick.is_multiple_of(2), keys),
            2 if at + 1 < self.live.len() => self.merge(at),
            3 => self.live[at].region.epoch.conf_ver.0 += 1,
            _ => {
                let changed = &mut self.live[at];
                changed.term.0 += 1;
                changed.leader = changed.region.peers[keys[0] as usize % 3];
            }
        }
        self.sent.extend(self.live.iter().cloned());
    }

    /// Cuts at one or two borders; the first or the last piece keeps the id.
    fn split(&mut self, at: usize, keeps_first: bool, keys: [u8; 2]) {
        let parent = self.live[at].clone();
        let Region { range, .. } = parent.region.clone();
        let inside = |key: &Key| range.contains(key) && *key != range.start;
        let borders: BTreeSet<Key> =
            keys.iter().map(|key| Key::from(vec![*key])).filter(inside).collect();
        if borders.is_empty() {
            return;
        }
        let starts = std::iter::once(range.start.clone()).chain(borders.iter().cloned());
        let ends = borders.iter().cloned().chain(std::iter::once(range.end.clone()));
        let mut pieces: Vec<RegionReport> = Vec::new();
        let last = borders.len();
        for (number, (start, end)) in starts.zip(ends).enumerate() {
            let mut piece = parent.clone();
            if number != if keeps_first { 0 } else { last } {
                piece = report(self.next_id, ("", ""), 1, 6);
                self.next_id += 1;
            }
            piece.region.epoch = parent.region.epoch;
            piece.region.epoch.version.0 += borders.len() as u64;
            piece.region.range = KeyRange { start, end };
            pieces.push(piece);
        }
        self.splits.push(pieces.iter().map(|piece| piece.region.clone()).collect());
        self.live.splice(at..=at, pieces);
    }

    fn merge(&mut self, at: usize) {
        let source = self.live.remove(at).region;
        let target = &mut self.live[at].region;
        target.epoch.version.0 = target.epoch.version.0.max(source.epoch.version.0) + 1;
        target.range.start = source.range.start;
    }

    fn truth(&self) -> Vec<(Region, Peer)> {
        self.live.iter().map(|live| (live.region.clone(), live.leader)).collect()
    }
}

/// The rule in its simplest form: what overlaps and is not later is dropped as a whole, and holes stay.
#[derive(Default)]
struct Naive(Vec<RegionReport>);

impl Naive {
    fn take(&mut self, new: &RegionReport) {
        let (epoch, range) = (new.region.epoch, &new.region.range);
        let is_stale = |old: &RegionReport| {
            let known = old.region.epoch;
            if old.region.id == new.region.id {
                epoch.version < known.version
                    || epoch.conf_ver < known.conf_ver
                    || (epoch == known && new.term < old.term)
            } else {
                old.region.range.overlaps(range) && known.version > epoch.version
            }
        };
        if !self.0.iter().any(is_stale) {
            self.0
                .retain(|old| old.region.id != new.region.id && !old.region.range.overlaps(range));
            self.0.push(new.clone());
        }
    }

    fn regions(&self) -> Vec<(Region, Peer)> {
        let mut regions: Vec<_> =
            self.0.iter().map(|report| (report.region.clone(), report.leader)).collect();
        regions.sort_by(|one, other| one.0.range.start.cmp(&other.0.range.start));
        regions
    }
}

fn shown(map: &RegionMap) -> Vec<(Region, Peer)> {
    let whole = map.scan(&KeyRange::all(), usize::MAX);
    whole.iter().map(|info| (info.region.clone(), info.leader.unwrap_or_default())).collect()
}

fn versions(map: &RegionMap) -> Vec<Option<u64>> {
    let version = |key: u8| map.by_key(&[key]).map(|info| info.region.epoch.version.get());
    (0..=u8::MAX).map(version).collect()
}

prop_compose! {
    /// Whatever a store may say: ids, ranges and versions of few values, so that they meet.
    fn any_reports()(
        (id, version, conf_ver, term) in (0..6_u64, 0..5_u64, 0..5_u64, 0..4_u64),
        keys in prop::array::uniform2(prop::collection::vec(0..4_u8, 0..2)),
        peers in prop::sample::subsequence(vec![1, 2, 3, 4, 4, 0], 1..4),
        leader: prop::sample::Index,
        size_bytes in prop::sample::select(vec![0, 1, u64::MAX >> 1, u64::MAX]),
    ) -> RegionReport {
        let [start, end] = keys;
        let region = Region {
            id: RegionId(id),
            range: KeyRange::new(start, end),
            epoch: Epoch { version: Version(version), conf_ver: ConfVer(conf_ver) },
            peers: peers.iter().map(|peer| Peer::voter(PeerId(*peer), StoreId(*peer))).collect(),
        };
        let stranger = Peer::voter(PeerId(7), StoreId(7));
        let leader = leader.index(region.peers.len() + 1);
        let leader = region.peers.get(leader).copied().unwrap_or(stranger);
        let stats = RegionStats { size_bytes, keys: size_bytes, ..RegionStats::default() };
        let pending_peers = region.peers.clone();
        RegionReport { region, leader, term: Term(term), stats, pending_peers, ..<_>::default() }
    }
}

/// What is kept by store is what would be counted.
fn assert_index(map: &RegionMap) -> Result<(), TestCaseError> {
    let mut counted = BTreeMap::<StoreId, StoreLoad>::new();
    for info in map.iter() {
        for peer in &info.region.peers {
            let load = counted.entry(peer.store).or_default();
            load.regions += 1;
            load.region_bytes = load.region_bytes.saturating_add(info.stats.size_bytes);
            load.pending_peers += u64::from(info.pending_peers.contains(peer));
            if info.leader.is_some_and(|leader| leader.id == peer.id) {
                load.leaders += 1;
                load.leader_bytes = load.leader_bytes.saturating_add(info.stats.size_bytes);
            }
        }
    }
    for (store, load) in &counted {
        prop_assert_eq!(map.of_store(*store, RegionId(0)).count() as u64, load.regions);
    }
    prop_assert_eq!(map.loads(), counted);
    Ok(())
}

/// Lists do not overlap, lookups answer with who holds the key, and all of it was reported word for word.
fn assert_sound(map: &RegionMap, history: &History) -> Result<(), TestCaseError> {
    let whole = map.scan(&KeyRange::all(), usize::MAX);
    for (left, right) in whole.iter().zip(whole.iter().skip(1)) {
        let (left, right) = (&left.region.range, &right.region.range);
        prop_assert!(!left.overlaps(right) && left.start < right.start, "{} and {}", left, right);
    }
    for key in 0..=u8::MAX {
        if let Some(info) = map.by_key(&[key]) {
            prop_assert!(info.region.range.contains(&[key]), "{} for {}", &info.region.range, key);
        }
    }
    let pieces: Vec<&Region> = history.splits.iter().flatten().collect();
    for info in map.iter() {
        let is_verbatim = history.sent.iter().any(|sent| sent.region == info.region)
            || pieces.contains(&&info.region);
        prop_assert!(is_verbatim, "made up: {:?}", info);
    }
    Ok(())
}

fn any_history() -> impl Strategy<Value = History> {
    let step = (0..5_u8, 0..8_usize, any::<[u8; 2]>());
    prop::collection::vec(step, 0..24).prop_map(|steps| {
        let mut history = History::new();
        steps.into_iter().for_each(|(action, pick, keys)| history.step(action, pick, keys));
        history
    })
}

proptest! {
    /// All reports of a history, in any order: one map, that of the rule in its simplest form.
    #[test]
    fn all_reports_in_any_order_make_one_map(
        (history, order) in any_history().prop_flat_map(|history| {
            let reports = 0..history.sent.len() + history.splits.len();
            (Just(history), Just(reports.collect::<Vec<_>>()).prop_shuffle())
        }),
    ) {
        let (mut map, mut naive) = (RegionMap::default(), Naive::default());
        for number in order {
            if let Some(report) = history.sent.get(number) {
                let _stale_is_refused = take(&mut map, report.clone());
                naive.take(report);
            } else {
                let pieces = &history.splits[number - history.sent.len()];
                for piece in pieces {
                    let _stale_is_refused = map.piece(Moment(1), piece.clone());
                }
            }
            assert_sound(&map, &history)?;
        }
        prop_assert_eq!(shown(&map), history.truth());
        prop_assert_eq!(naive.regions(), history.truth());
        prop_assert_eq!(map.len(), history.live.len());
        prop_assert!(map.holes().is_empty());
        assert_index(&map)?;
    }

    /// The map stays a map: tiles in order that do not overlap, each of a region that was reported.
    #[test]
    fn whatever_is_reported_no_key_has_two_owners(
        reports in prop::collection::vec(any_reports(), 0..40),
        asked in prop::array::uniform2(prop::collection::vec(0..4_u8, 0..3)),
    ) {
        let mut view = ClusterView::new(Moment(1));
        for report in reports {
            let _refused_where_it_is_stale = view.on_region_report(Moment(2), report);
        }
        let map = view.regions();
        let mut behind = Some(Key::new());
        for (start, tile) in &map.tiles {
            prop_assert!(behind.is_some_and(|behind| behind <= *start), "{:?}", map);
            prop_assert!(tile.end.is_empty() || *start < tile.end, "{:?}", map);
            prop_assert_eq!(tile.info.region.validate(), Ok(()));
            behind = (!tile.end.is_empty()).then(|| tile.end.clone());
        }
        let [start, end] = asked;
        let _any_answer = (map.previous(&start), map.by_key(&end), map.covers_everything());
        prop_assert!(map.scan(&KeyRange::new(start, end), 3).len() <= 3);
        assert_index(map)?;
    }

    /// Reports in any order, repeated and late: no key is lost or goes back in time, nothing is made
    /// up, and once each live region has reported last, the map is the truth.
    #[test]
    fn any_order_of_reports_leads_to_the_truth(
        history in any_history(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        let mut map = RegionMap::default();
        let mut before = versions(&map);
        for index in order {
            let _outcome = take(&mut map, history.sent[index.index(history.sent.len())].clone());
            let after = versions(&map);
            let is_kept = before.iter().zip(&after).all(|(old, new)| new >= old);
            prop_assert!(is_kept, "lost or older: {:?} -> {:?}", before, after);
            assert_sound(&map, &history)?;
            before = after;
        }
        for latest in &history.live {
            let outcome = take(&mut map, latest.clone());
            prop_assert!(outcome.is_ok(), "{:?}", outcome);
        }
        prop_assert!(map.covers_everything());
        prop_assert_eq!(shown(&map), history.truth());
        prop_assert_eq!(map.len(), history.live.len());
    }
}
