//! Clusters on paper: what is decided is done at once, and looked at again, until nothing is decided any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use flotilla_base::{ConfVer, Epoch, Key, KeyRange, Peer, PeerId, PeerRole, Region, Version};
use proptest::prelude::*;

use super::*;
use crate::{
    Bounds, Change, CutOff, Forecast, Move, Policy, Premises, RegionInfo, RegionReport,
    RegionStats, SchedulerPolicy, StoreRecord, StoreStats, StoreStatus,
    scatter::{ScatterWish, Scattered, scatter},
};

#[path = "tests/hot.rs"]
mod hot;
#[path = "tests/prospect.rs"]
mod prospect;

const MIB: u64 = 1 << 20;

/// A cluster whose regions obey.
struct Paper(Forecast);

fn region(at: usize, of: usize, size_mib: u64) -> Arc<RegionInfo> {
    let border = |at: usize| match at {
        0 => Key::new(),
        at if at == of => Key::new(),
        at => Key::from(format!("{at:08}").into_bytes()),
    };
    let id = RegionId(10 * (at as u64 + 1));
    let peer = |store| Peer::voter(PeerId(id.get() + store), StoreId(store));
    let peers: Vec<Peer> = (1..=3).map(peer).collect();
    let epoch = Epoch { version: Version(1), conf_ver: ConfVer(1) };
    let range = KeyRange::new(border(at), border(at + 1));
    let leader = peers[0];
    let stats = RegionStats { size_bytes: size_mib * MIB, ..RegionStats::default() };
    let region = Region { id, range, epoch, peers };
    let report = RegionReport { region, leader, stats, ..RegionReport::default() };
    Arc::new(RegionInfo::new(Moment(0), report, None))
}

/// Regions of these sizes, with three voters each on the first three of so many stores.
fn premises(stores: u64, sizes_mib: &[u64]) -> Premises {
    let record = |id| StoreRecord { id: StoreId(id), ..StoreRecord::default() };
    let stats =
        StoreStats { capacity_bytes: 1 << 50, available_bytes: 1 << 50, ..StoreStats::default() };
    let status = StoreStatus { stats, ..StoreStatus::default() };
    let all = sizes_mib.len();
    let regions = sizes_mib.iter().enumerate();
    Premises {
        policy: Policy::default(),
        stores: (1..=stores).map(|id| (StoreId(id), record(id))).collect(),
        statuses: (1..=stores).map(|id| (StoreId(id), status)).collect(),
        regions: regions.map(|(at, size)| region(at, all, *size)).collect(),
        copy_bytes_per_second: 100 * MIB,
        unix_ms: 0,
    }
}

impl Paper {
    fn new(stores: u64, sizes_mib: &[u64]) -> Self {
        Self(Forecast::new(premises(stores, sizes_mib)))
    }

    /// Goes on until nothing is decided for 21 virtual minutes, which is more than the cool-down.
    fn settle(&mut self) {
        let (quiet, most) = (Span::from_millis(1_260_000), Span::from_millis(10 * 86_400_000));
        assert!(self.0.run(quiet, Bounds::of(most)).is_settled, "no end: {:?}", self.carried());
        for region in self.regions() {
            assert_eq!(region.peers.len(), 3, "{region:?}");
            assert!(region.peers.iter().all(|peer| peer.role == PeerRole::Voter), "{region:?}");
        }
        self.check_moves();
    }

    fn spread(&self, regions: &BTreeSet<RegionId>, among: &BTreeSet<RegionId>) -> Scattered {
        let (sight, operators) = (self.0.sight(), self.0.operators());
        let wish = ScatterWish { regions: regions.clone(), among: among.clone() };
        scatter(Fleet::of(sight, operators), operators, &wish)
    }

    fn run(&mut self, millis: u64) {
        let most = Span::from_millis(millis);
        self.0.run(most, Bounds::of(most));
    }

    fn regions(&self) -> Vec<Region> {
        self.0.sight().view.regions().iter().map(|info| info.region.clone()).collect()
    }

    fn moves(&self) -> &[Move] {
        &self.0.outlook().moves
    }

    fn done(&self) -> (usize, u64) {
        (self.moves().len(), self.0.outlook().transfers)
    }

    /// Leaders, replicas and MiB of each store.
    fn carried(&self) -> Vec<(u64, u64, u64)> {
        let sight = self.0.sight();
        let of = |store: &StoreId| {
            let load = sight.view.regions().load(*store);
            (load.leaders, load.regions, load.region_bytes / MIB)
        };
        sight.stores.keys().map(of).collect()
    }

    fn leads(&self) -> Vec<u64> {
        self.carried().iter().map(|it| it.0).collect()
    }

    /// What would have to move at least, in replicas of equal size.
    fn excess(before: &[(u64, u64, u64)]) -> u64 {
        let sum: u64 = before.iter().map(|(_, replicas, _)| replicas).sum();
        let mean = sum.div_ceil(before.len() as u64);
        before.iter().map(|(_, replicas, _)| replicas.saturating_sub(mean)).sum()
    }

    fn check_moves(&self) {
        let mut came = BTreeMap::new();
        for Move { after, region, from, to, .. } in self.moves() {
            let from = from.expect("balance moves");
            let last: Option<&Span> = came.get(&(*region, from));
            let is_early = last.is_some_and(|last| after.0 - last.0 < schedule::COOL_DOWN.0);
            assert!(
                !is_early,
                "a replica of region {region} that came to store {from} moves again"
            );
            came.insert((*region, *to), *after);
        }
    }
}

#[test]
fn two_stores_more_take_their_share_and_no_replica_moves_twice() {
    let mut paper = Paper::new(5, &[4; 200]);
    let before = paper.carried();
    paper.settle();
    let after = paper.carried();
    for (leaders, replicas, _) in &after {
        assert!(leaders.abs_diff(40) <= 2, "{after:?}");
        assert!(replicas.abs_diff(120) <= 3, "{after:?}");
    }
    let least = Paper::excess(&before);
    let moves = paper.moves().len() as u64;
    assert!(moves <= least, "{moves} moves, {least} are enough");
}

#[test]
fn a_cluster_that_is_even_stays_as_it_is() {
    let mut paper = Paper::new(3, &[4; 30]);
    paper.settle();
    assert_eq!(paper.moves(), []);
    assert_eq!(paper.leads(), [10, 10, 10]);
    let done = paper.done();
    paper.settle();
    assert_eq!(paper.done(), done);
    let idle = |by| paper.0.mind().decisions().idle(by).expect("says why").why.clone();
    assert_eq!(
        idle("balance-leader"),
        "3 of 3 stores take leads; they have 10 (store 1) to 10 (store 3): no transfer would make them more even"
    );
}

#[test]
fn one_fat_region_stays_where_it_is() {
    let mut sizes = vec![1; 40];
    sizes[7] = 10_000;
    let mut paper = Paper::new(5, &sizes);
    paper.settle();
    let fat: Vec<_> = paper.moves().iter().filter(|it| it.region.get() == 80).collect();
    // It goes where it hurts least at most once for each replica, and then rests.
    assert!(fat.len() <= 2, "{fat:?}");
}

#[test]
fn weights_say_what_a_share_is() {
    let mut paper = Paper::new(4, &[64; 120]);
    let twice = StorePolicy {
        leader_weight_permille: 2_000,
        region_weight_permille: 2_000,
        ..StorePolicy::USUAL
    };
    let none = StorePolicy { leader_weight_permille: 0, ..StorePolicy::USUAL };
    paper.0.policy.stores.insert(StoreId(4), twice);
    paper.0.policy.stores.insert(StoreId(1), none);
    paper.settle();
    let after = paper.carried();
    // 360 replicas: every region has one of its three on store 4 at most.
    assert!(after[3].1 >= 117, "{after:?}");
    assert!(after[3].0 >= 55, "{after:?}");
    assert_eq!(after[0].0, 0, "{after:?}");
}

/// What others took beyond their share while it waits would have to move on.
#[test]
fn the_share_of_a_store_that_takes_few_at_a_time_is_left_to_it() {
    let mut paper = Paper::new(5, &[4; 60]);
    let patient = StorePolicy { add_peers_per_minute: Some(2), ..StorePolicy::USUAL };
    paper.0.policy.stores.insert(StoreId(4), patient);
    let least = Paper::excess(&paper.carried());
    paper.settle();
    let moves = paper.moves().len() as u64;
    assert!(moves <= least + 1, "{moves} moves, {least} are enough: {:?}", paper.carried());
}

/// What others gave below their share while its replicas rest would have to come back.
#[test]
fn a_store_whose_replicas_have_just_come_gives_them_later_itself() {
    let mut paper = Paper::new(4, &[4; 60]);
    let weighs = |permille| StorePolicy { region_weight_permille: permille, ..StorePolicy::USUAL };
    paper.0.policy.set("store-limit", "1000").expect("possible");
    paper.0.policy.stores.insert(StoreId(4), weighs(3_000));
    paper.run(60_000);
    let replicas = |paper: &Paper| paper.carried().iter().map(|it| it.1).collect::<Vec<_>>();
    assert_eq!(replicas(&paper), [40, 40, 40, 60]);
    let before = paper.moves().len();
    paper.0.policy.stores = [(StoreId(3), weighs(1_500))].into();
    paper.settle();
    let even = [40, 40, 60, 40];
    let is_even = replicas(&paper).iter().zip(even).all(|(has, share)| has.abs_diff(share) <= 1);
    let moves = paper.moves().len() - before;
    assert!(is_even && moves <= 21, "{moves} moves, 20 are enough: {:?}", replicas(&paper));
}

/// Each region has one store left where it has no replica: whatever balance moves there meanwhile has to come back.
#[test]
fn what_waits_to_leave_a_store_is_not_moved_for_balance() {
    let mut premises = premises(4, &[4; 60]);
    premises.stores.get_mut(&StoreId(2)).expect("known").state = crate::StoreState::Offline;
    premises.policy.set("replica-schedule-limit", "0").expect("possible");
    let mut paper = Paper(Forecast::new(premises));
    paper.run(600_000);
    assert_eq!(paper.moves().len(), 0, "the empty store is left to the repair");
    paper.0.policy.set("replica-schedule-limit", "64").expect("possible");
    let leaving = paper.carried()[1].1;
    paper.settle();
    assert_eq!(paper.moves().len() as u64, leaving, "{:?}", paper.carried());
    assert_eq!((leaving, paper.carried()[1].1), (60, 0));
}

/// Those that come to it first are those of which the store that is to have them has a replica already: they would go to a
/// third one, which would have to give others on.
#[test]
fn what_a_store_has_too_much_goes_straight_to_the_one_that_lacks_it() {
    let mut paper = Paper::new(5, &[64; 60]);
    let weighs = |permille| StorePolicy { region_weight_permille: permille, ..StorePolicy::USUAL };
    paper.0.policy.set("store-limit", "1000").expect("possible");
    paper.0.policy.stores = [(StoreId(4), weighs(3_000)), (StoreId(5), weighs(0))].into();
    paper.run(60_000);
    let replicas = |paper: &Paper| paper.carried().iter().map(|it| it.1).collect::<Vec<_>>();
    assert_eq!(replicas(&paper), [40, 40, 40, 60, 0]);
    let before = paper.moves().len();
    paper.0.policy.stores.clear();
    paper.settle();
    let is_even = replicas(&paper).iter().all(|has| has.abs_diff(36) <= 1);
    let moves = paper.moves().len() - before;
    assert!(is_even && moves <= 38, "{moves} moves, 36 are enough: {:?}", replicas(&paper));
}

/// The one that carries least takes no lead, since one alone is more than its share; another one does.
#[test]
fn leads_go_to_a_store_of_weight_past_one_that_has_little() {
    let mut paper = Paper::new(3, &[4; 3]);
    let weighs = |permille| StorePolicy { leader_weight_permille: permille, ..StorePolicy::USUAL };
    paper.0.policy.stores = [(StoreId(2), weighs(3_000)), (StoreId(3), weighs(500))].into();
    paper.settle();
    assert_eq!(paper.leads(), [1, 2, 0]);
}

#[test]
fn leads_leave_a_store_that_is_being_worked_on_and_come_back() {
    let mut paper = Paper::new(3, &[4; 30]);
    paper.settle();
    let worked_on = StorePolicy { maintained_until_unix_ms: u64::MAX, ..StorePolicy::USUAL };
    paper.0.policy.stores.insert(StoreId(2), worked_on);
    paper.settle();
    assert_eq!(paper.leads(), [15, 0, 15]);
    paper.0.policy.stores.clear();
    paper.settle();
    assert_eq!(paper.leads(), [10, 10, 10]);
}

/// Work on a store has nothing to do with the scheduler whose name its evictions have.
#[test]
fn a_store_that_is_being_worked_on_leads_nothing_whatever_schedulers_run() {
    let paused = SchedulerPolicy { paused_until_unix_ms: u64::MAX, ..SchedulerPolicy::default() };
    let named = SchedulerPolicy { stores: [StoreId(1)].into(), ..paused };
    for schedulers in [BTreeMap::new(), [(SchedulerName::EvictLeader, named)].into()] {
        let mut paper = Paper::new(3, &[4; 30]);
        paper.settle();
        paper.0.policy.schedulers = schedulers;
        let worked_on = StorePolicy { maintained_until_unix_ms: u64::MAX, ..StorePolicy::USUAL };
        paper.0.policy.stores.insert(StoreId(2), worked_on);
        paper.settle();
        assert_eq!(paper.leads(), [15, 0, 15]);
    }
}

/// It is one limit, however many stores are to lead nothing, and whoever else transfers leads.
#[test]
fn all_transfers_of_schedulers_share_one_limit() {
    let mut paper = Paper::new(4, &[4; 90]);
    paper.settle();
    paper.0.policy.set("leader-schedule-limit", "2").expect("possible");
    let evict =
        SchedulerPolicy { stores: [StoreId(1), StoreId(2)].into(), ..SchedulerPolicy::default() };
    let slow = SchedulerPolicy { stores: [StoreId(3)].into(), ..SchedulerPolicy::default() };
    paper.0.policy.schedulers.insert(SchedulerName::EvictLeader, evict);
    paper.0.policy.schedulers.insert(SchedulerName::EvictSlowStore, slow);
    let mut most = 0;
    for _look in 0..20 {
        // As long as until the next look, and shorter than until its transfers end.
        paper.run(101);
        most = most.max(paper.0.operators().len());
    }
    assert_eq!(most, 2);
}

/// Where three replicas stand in one zone they could stand better, which can wait.
#[test]
fn regions_without_healthy_voters_are_mended_first() {
    let mut premises = premises(6, &[4; 100]);
    for (store, zone) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c"), (6, "b")] {
        let record = premises.stores.get_mut(&StoreId(store)).expect("it is there");
        record.labels = vec![("zone".to_owned(), zone.to_owned())];
    }
    premises.policy.set("location-labels", "zone").expect("possible");
    premises.policy.set("replica-schedule-limit", "1").expect("possible");
    premises.policy.schedulers.clear();
    premises.statuses.remove(&StoreId(6));
    let mut info = RegionInfo::clone(&premises.regions[99]);
    info.region.peers[2].store = StoreId(6);
    premises.regions[99] = Arc::new(info);
    let mut paper = Paper(Forecast::new(premises));
    paper.run(1_000);
    let decisions: Vec<_> = paper.0.mind().decisions().iter().map(|it| &it.decision).collect();
    let [.., second, first] = decisions.as_slice() else { panic!("{decisions:?}") };
    assert_eq!((first.by, first.region), ("replace-rule-down-peer", RegionId(1_000)));
    assert_eq!(second.by, "move-to-better-location");
}

/// A region that is taken up where there is no room for its change waits, since nobody reports it for that.
#[test]
fn no_region_is_forgotten_where_as_many_as_may_are_being_changed() {
    const REGIONS: usize = crate::operator::controller::RUNNING_MAX + 80;
    let mut premises = premises(3, &[4; REGIONS]);
    premises.policy.schedulers.clear();
    for name in ["replica-schedule-limit", "copies-per-store-limit", "store-limit"] {
        premises.policy.set(name, "4000").expect("possible");
    }
    for info in &mut premises.regions {
        let mut lacking = RegionInfo::clone(info);
        lacking.region.peers.pop();
        *info = Arc::new(lacking);
    }
    let mut paper = Paper(Forecast::new(premises));
    paper.run(3_600_000);
    let lacking = paper.regions().iter().filter(|region| region.peers.len() < 3).count();
    assert_eq!(lacking, 0);
}

/// Somebody wants them there, though others carry less.
#[test]
fn what_people_move_is_not_taken_back_at_once() {
    let mut paper = Paper::new(4, &[4; 60]);
    paper.settle();
    let holds = |region: &Region, store| region.peer_on(StoreId(store)).is_some();
    let regions = paper.regions();
    let could_move = |region: &&Region| holds(region, 1) && !holds(region, 4);
    for region in regions.iter().filter(could_move).take(12) {
        let sight = paper.0.sight();
        let change = Change::MovePeer { from: StoreId(1), to: StoreId(4) };
        let plan = sight.plan(region.id, &change).expect("possible");
        let (brief, why) = (plan.brief.clone(), "somebody asked".to_owned());
        let alternatives = Vec::new();
        let decision = Decision { by: "test", region: region.id, brief, why, alternatives };
        paper.0.begin(vec![Intent { plan, decision }]);
    }
    let before = paper.moves().len();
    paper.run(900_000);
    assert!(paper.moves().len() > before, "balance does something about it");
    paper.check_moves();
}

#[test]
fn nothing_is_decided_while_people_want_so_or_the_picture_has_holes() {
    let mut paper = Paper::new(5, &[4; 30]);
    paper.0.policy.settings.is_halted = true;
    paper.settle();
    assert_eq!(paper.done(), (0, 0));
    paper.0.policy.settings.is_halted = false;
    paper.settle();
    assert!(paper.done().0 > 0);
    let mut premises = premises(5, &[4; 30]);
    premises.regions.remove(5);
    let mut paper = Paper(Forecast::new(premises));
    paper.settle();
    assert_eq!(paper.done(), (0, 0));
}

#[test]
fn limits_are_kept() {
    let mut paper = Paper::new(4, &[4; 60]);
    paper.0.policy.set("copies-per-store-limit", "2").expect("possible");
    paper.0.policy.set("leader-schedule-limit", "0").expect("possible");
    let mut most = 0;
    for _look in 0..50 {
        paper.run(30);
        let copies = |operator: &&Operator| operator.done() == 0;
        most = most.max(paper.0.operators().iter().filter(copies).count());
    }
    assert_eq!(most, 2);
    assert_eq!(paper.done().1, 0);
    paper.0.policy.set("store-limit", "0").expect("possible");
    paper.run(10_000);
    let why = &paper.0.mind().decisions().idle("balance-region").expect("says why").why;
    assert!(why.contains("no move would") || why.contains("no store takes"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// At constant load there is an end, and no replica that was moved moves again, whatever the sizes and weights.
    #[test]
    fn there_is_an_end(
        sizes in prop::collection::vec(prop_oneof![0..4_u64, 4..300_u64, 300..5_000_u64], 1..60),
        stores in 3..9_u64,
        weights in prop::collection::vec((0..4_u32, 0..4_u32), 9),
    ) {
        let mut paper = Paper::new(stores, &sizes);
        for (store, (leader, region)) in (1..=stores).zip(weights) {
            let policy = StorePolicy {
                leader_weight_permille: leader * 500,
                region_weight_permille: region * 500,
                ..StorePolicy::USUAL
            };
            paper.0.policy.stores.insert(StoreId(store), policy);
        }
        paper.settle();
            let done = paper.done();
        paper.settle();
        prop_assert_eq!(paper.done(), done);
    }
}

#[test]
fn a_change_that_was_asked_for_is_let_be() {
    let mut paper = Paper::new(5, &[4; 10]);
    let region = RegionId(30);
    let sight = paper.0.sight();
    let plan = sight.plan(region, &Change::TransferLeader(StoreId(2))).expect("possible");
    let brief = plan.brief.clone();
    let why = "somebody asked".to_owned();
    let decision = Decision { by: "test", region, brief, why, alternatives: Vec::new() };
    paper.0.begin(vec![Intent { plan, decision }]);
    paper.run(10);
    let of_region = paper.0.operators().iter().filter(|it| it.plan.region == region).count();
    assert_eq!(of_region, 1);
    assert!(paper.0.operators().len() > 1, "others are moved");
}

#[test]
fn leads_come_to_a_store_that_is_named_and_stay_there() {
    let mut paper = Paper::new(3, &[4; 30]);
    paper.settle();
    let grant = SchedulerPolicy { stores: [StoreId(2)].into(), ..SchedulerPolicy::default() };
    paper.0.policy.schedulers.insert(SchedulerName::GrantLeader, grant);
    paper.settle();
    let leads: Vec<u64> = paper.carried().iter().map(|it| it.0).collect();
    assert_eq!(leads, [0, 30, 0]);
}

#[test]
fn shuffling_never_ends_and_harms_nothing() {
    let mut paper = Paper::new(5, &[4; 20]);
    paper.0.policy.schedulers.clear();
    for name in [SchedulerName::ShuffleLeader, SchedulerName::ShuffleRegion] {
        paper.0.policy.schedulers.insert(name, SchedulerPolicy::default());
    }
    paper.run(300_000);
    let (moves, transfers) = paper.done();
    assert!(moves > 500 && transfers > 500, "{moves} {transfers}");
}

#[test]
fn regions_are_spread_at_once_and_only_where_it_helps() {
    let mut paper = Paper::new(6, &[1; 60]);
    paper.0.policy.schedulers.clear();
    // That is for changes that nobody waits for.
    paper.0.policy.set("copies-per-store-limit", "1").expect("possible");
    let regions: BTreeSet<RegionId> = (1..=30).map(|at| RegionId(10 * at)).collect();
    for round in 0..3 {
        let scattered = paper.spread(&regions, &BTreeSet::new());
        assert_eq!(scattered.failed, []);
        assert!(round == 0 || scattered.intents.iter().all(|it| !it.plan.changes_members()));
        paper.0.begin(scattered.intents);
        paper.settle();
    }
    // Ninety replicas of the thirty on six stores; the others stay where they were.
    let sight = paper.0.sight();
    let of = |store: u64| {
        let held = sight.view.regions().of_store(StoreId(store), RegionId(0));
        held.filter(|info| regions.contains(&info.region.id)).count()
    };
    let held: Vec<usize> = (1..=6).map(of).collect();
    assert!(held.iter().all(|held| (14..=16).contains(held)), "{held:?}");
    let leads = paper.leads();
    let others = leads[0] - 30;
    assert!(others <= 6 && leads[1..].iter().all(|leads| (4..=6).contains(leads)), "{leads:?}");
    let unknown = paper.spread(&[RegionId(5)].into(), &BTreeSet::new()).outcome();
    assert_eq!(unknown.failed, [(RegionId(5), "it is not known".to_owned())]);
    assert_eq!(unknown.finished_percentage(), 0);
}

/// As clients ask that cut a range and spread the pieces one by one, before any of them has moved.
#[test]
fn regions_that_come_one_after_the_other_are_spread_together() {
    let mut paper = Paper::new(4, &[1; 40]);
    paper.0.policy.schedulers.clear();
    let mut asked = BTreeSet::new();
    for region in (1..=40).map(|at| RegionId(10 * at)) {
        let scattered = paper.spread(&[region].into(), &asked);
        assert_eq!(scattered.outcome().finished_percentage(), 100);
        paper.0.begin(scattered.intents);
        asked.insert(region);
    }
    paper.settle();
    let held: Vec<u64> = paper.carried().iter().map(|it| it.1).collect();
    assert!(held.iter().all(|held| (29..=31).contains(held)), "{held:?}");
    // Each for itself is spread whatever it does.
    let alone = paper.spread(&[RegionId(10)].into(), &BTreeSet::new()).outcome();
    assert_eq!((alone.settled, alone.moving), (vec![RegionId(10)], Vec::new()));
}
