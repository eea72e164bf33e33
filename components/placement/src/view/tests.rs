//! Tests of the region map, alone and against a model of splits, merges and elections.

use flotilla_base::{ConfVer, PeerId, StoreId, Version, key::guard_border};
use proptest::prelude::*;

use super::*;
use crate::view::ClusterView;

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
    assert_eq!(map.by_key(b"any").map(|info| info.leader), Some(elected.leader));
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

#[test]
fn the_parent_shows_until_its_children_are_known() {
    let mut map = RegionMap::default();
    take(&mut map, report(2, ("", ""), 5, 6)).expect("parent");
    take(&mut map, report(2, ("m", ""), 6, 6)).expect("right half keeps the id");
    assert_eq!(owner(&map, "a"), Some((2, 5)), "the left half is not known yet");
    assert_eq!(owner(&map, "z"), Some((2, 6)));
    assert!(map.covers_everything());
    take(&mut map, report(3, ("", "m"), 6, 6)).expect("left half");
    assert_eq!(owner(&map, "a"), Some((3, 6)));
    assert_eq!(map.len(), 2);
    let late = take(&mut map, report(2, ("", ""), 5, 9)).expect_err("the parent is history");
    assert!(matches!(late, StaleReport::Epoch { .. }), "{late}");
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

/// A history of regions as the stores make it; every report a leader could send is collected.
struct History {
    live: Vec<RegionReport>,
    sent: Vec<RegionReport>,
    next_id: u64,
}

impl History {
    fn new() -> Self {
        let first = report(1, ("", ""), 1, 6);
        Self { live: vec![first.clone()], sent: vec![first], next_id: 2 }
    }

    fn step(&mut self, action: u8, pick: usize, key: u8) {
        let at = pick % self.live.len();
        match action % 4 {
            0 => self.split(at, key),
            1 if at + 1 < self.live.len() => self.merge(at),
            2 => self.live[at].region.epoch.conf_ver.0 += 1,
            _ => {
                let changed = &mut self.live[at];
                changed.term.0 += 1;
                changed.leader = changed.region.peers[key as usize % 3];
            }
        }
        self.sent.extend(self.live.iter().cloned());
    }

    fn split(&mut self, at: usize, key: u8) {
        let border = Key::from(vec![key]);
        let parent = &mut self.live[at];
        if !parent.region.range.contains(&border) || border == parent.region.range.start {
            return;
        }
        parent.region.epoch.version.0 += 1;
        let mut child = report(self.next_id, ("", ""), parent.region.epoch.version.get(), 6);
        child.region.range = KeyRange::new(parent.region.range.start.clone(), border.clone());
        parent.region.range.start = border;
        self.next_id += 1;
        self.live.insert(at, child);
    }

    fn merge(&mut self, at: usize) {
        let source = self.live.remove(at).region;
        let target = &mut self.live[at].region;
        target.epoch.version.0 = target.epoch.version.0.max(source.epoch.version.0) + 1;
        target.range.start = source.range.start;
    }
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

proptest! {
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
        let leaders: u64 = view.loads().values().map(|load| load.leaders).sum();
        prop_assert_eq!(leaders, map.len() as u64);
    }

    /// Reports in any order, repeated and late: no key is lost or goes back in time, nothing is made
    /// up, and once each live region has reported last, the map is the truth.
    #[test]
    fn any_order_of_reports_leads_to_the_truth(
        actions in prop::collection::vec((0..4_u8, 0..8_usize, 0..=u8::MAX), 0..24),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        let mut history = History::new();
        for (action, pick, key) in actions {
            history.step(action, pick, key);
        }
        let mut map = RegionMap::default();
        let mut before = versions(&map);
        for index in order {
            let _outcome = take(&mut map, history.sent[index.index(history.sent.len())].clone());
            let after = versions(&map);
            let is_kept = before.iter().zip(&after).all(|(old, new)| new >= old);
            prop_assert!(is_kept, "lost or older: {:?} -> {:?}", before, after);
            for info in map.iter() {
                let is_verbatim = history.sent.iter().any(|sent| sent.region == info.region);
                prop_assert!(is_verbatim, "made up: {:?}", info);
            }
            before = after;
        }
        for latest in &history.live {
            let outcome = take(&mut map, latest.clone());
            prop_assert!(outcome.is_ok(), "{:?}", outcome);
        }
        prop_assert!(map.covers_everything());
        let shown: Vec<_> = map.scan(&KeyRange::all(), usize::MAX);
        let shown: Vec<_> = shown.iter().map(|info| (&info.region, info.leader)).collect();
        let truth: Vec<_> = history.live.iter().map(|live| (&live.region, live.leader)).collect();
        prop_assert_eq!(shown, truth);
        prop_assert_eq!(map.len(), history.live.len());
    }
}
