//! Clusters on paper: what is decided is done at once, and looked at again, until nothing is decided any more.

use std::collections::BTreeSet;

use flotilla_base::{ConfVer, Epoch, Key, KeyRange, Peer, PeerId, PeerRole, Region, Term, Version};
use proptest::prelude::*;

use super::*;
use crate::{
    ClusterView, Policy, RegionReport, RegionStats, SchedulerPolicy, StorePolicy, StoreRecord,
    StoreStats, StoreStatus,
    ids::IdBatch,
    operator::{Change, OperatorKind, shape::Shape},
    scatter::scatter,
};

const MIB: u64 = 1 << 20;

/// A cluster whose regions obey at once.
struct Paper {
    policy: Policy,
    stores: BTreeMap<StoreId, StoreRecord>,
    view: ClusterView,
    regions: BTreeMap<RegionId, (Region, Peer, u64)>,
    operators: OperatorController,
    mind: Mind,
    now: Moment,
    last_id: u64,
    /// Each move of a replica: when, region, from, to.
    moves: Vec<(Moment, RegionId, StoreId, StoreId)>,
    transfers: usize,
}

impl Paper {
    /// Regions of these sizes, with three voters each on the first three of so many stores.
    fn new(stores: u64, sizes_mib: &[u64]) -> Self {
        let record = |id| StoreRecord { id: StoreId(id), ..StoreRecord::default() };
        let now = Moment(0) + Span::from_millis(100_000);
        let mut paper = Self {
            policy: Policy::default(),
            stores: (1..=stores).map(|id| (StoreId(id), record(id))).collect(),
            view: ClusterView::new(Moment(0)),
            regions: BTreeMap::new(),
            operators: OperatorController::default(),
            mind: Mind::default(),
            now,
            last_id: 1_000_000,
            moves: Vec::new(),
            transfers: 0,
        };
        let border = |at: usize| match at {
            0 => Key::new(),
            at if at == sizes_mib.len() => Key::new(),
            at => Key::from(format!("{at:08}").into_bytes()),
        };
        for (at, size) in sizes_mib.iter().enumerate() {
            let id = RegionId(10 * (at as u64 + 1));
            let peer = |store| Peer::voter(PeerId(id.get() + store), StoreId(store));
            let peers: Vec<Peer> = (1..=3).map(peer).collect();
            let epoch = Epoch { version: Version(1), conf_ver: ConfVer(1) };
            let range = KeyRange::new(border(at), border(at + 1));
            let leader = peers[0];
            paper.regions.insert(id, (Region { id, range, epoch, peers }, leader, size * MIB));
        }
        paper.report_all();
        paper
    }

    fn sight(&self) -> Sight<'_> {
        Sight { stores: &self.stores, policy: &self.policy, view: &self.view, now: self.now }
    }

    fn stamp(&self) -> Stamp {
        Stamp { now: self.now, unix_ms: self.now.0 / 1_000_000 }
    }

    fn report_all(&mut self) {
        for store in self.stores.keys() {
            let stats = StoreStats {
                capacity_bytes: 1 << 50,
                available_bytes: 1 << 50,
                ..StoreStats::default()
            };
            let status = StoreStatus { heard: self.now, stats, ..StoreStatus::default() };
            self.view.on_store_report(*store, status);
        }
        let ids: Vec<RegionId> = self.regions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.report(id));
    }

    fn report(&mut self, id: RegionId) {
        let (region, leader, size_bytes) = self.regions[&id].clone();
        let stats = RegionStats { size_bytes, ..RegionStats::default() };
        let report =
            RegionReport { region, leader, term: Term(6), stats, ..RegionReport::default() };
        self.view.on_region_report(self.now, report).expect("newest");
        let sight =
            Sight { stores: &self.stores, policy: &self.policy, view: &self.view, now: self.now };
        let at = Stamp { now: self.now, unix_ms: 0 };
        let events = self.operators.on_report(&sight, id, at);
        events.iter().for_each(|event| self.mind.on_event(self.now, event));
        self.mind.on_report(&sight, &self.operators, id);
    }

    /// Begins what is decided; whether anything was.
    fn think(&mut self) -> bool {
        let (operators, at) = (&self.operators, self.stamp());
        let sight =
            Sight { stores: &self.stores, policy: &self.policy, view: &self.view, now: self.now };
        let intents = self.mind.look(sight, operators, at);
        let has_decided = !intents.is_empty();
        self.begin(intents);
        has_decided
    }

    fn begin(&mut self, intents: Vec<Intent>) {
        let at = self.stamp();
        for Intent { plan, decision } in intents {
            self.note(&plan);
            let count = u64::from(plan.new_peers());
            let ids = IdBatch { first: self.last_id + 1, last: self.last_id + count };
            self.last_id += count;
            let plan = if count > 0 { plan.with_ids(ids) } else { plan };
            let sight = Sight {
                stores: &self.stores,
                policy: &self.policy,
                view: &self.view,
                now: self.now,
            };
            let begun = self.operators.begin(&sight, plan, (decision.by, at)).expect("free");
            begun.iter().for_each(|event| self.mind.on_event(self.now, event));
        }
    }

    fn note(&mut self, plan: &crate::Plan) {
        let mut to = None;
        for step in &plan.steps {
            match step {
                crate::Step::AddLearner(peer) => to = Some(peer.store),
                crate::Step::RemovePeer(peer) => {
                    let to = to.expect("a move");
                    self.moves.push((self.now, plan.region, peer.store, to));
                }
                _ => {}
            }
        }
        self.transfers += usize::from(plan.kind == OperatorKind::TransferLeader);
    }

    /// Every operator takes its next step.
    fn obey(&mut self) {
        let steps: Vec<(RegionId, crate::Step)> = self
            .operators
            .iter()
            .filter_map(|it| Some((it.plan.region, it.plan.steps.get(it.done())?.clone())))
            .collect();
        for (id, step) in steps {
            let (region, leader, _) = self.regions.get_mut(&id).expect("known");
            match &step {
                crate::Step::TransferLeader { to, .. } => *leader = to[0],
                step => {
                    region.peers = Shape::of(region).after(step).peers().collect();
                    region.epoch.conf_ver = ConfVer(region.epoch.conf_ver.get() + 1);
                }
            }
            self.report(id);
        }
    }

    /// Goes on until nothing is decided for 21 virtual minutes, which is more than the cool-down; how many looks it took.
    fn settle(&mut self) -> usize {
        let (mut looks, mut quiet_since) = (0, self.now);
        while self.now.since(quiet_since) < Span::from_millis(1_260_000) {
            looks += 1;
            assert!(looks < 200_000, "no end: {:?}", self.carried());
            self.now = self.now + Span::from_millis(100);
            if looks % 100 == 0 {
                self.report_all();
            }
            if self.think() || !self.operators.is_empty() {
                quiet_since = self.now;
            }
            self.obey();
        }
        looks
    }

    /// Leaders, replicas and MiB of each store.
    fn carried(&self) -> Vec<(u64, u64, u64)> {
        let of = |store: &StoreId| {
            let load = self.view.regions().load(*store);
            (load.leaders, load.regions, load.region_bytes / MIB)
        };
        self.stores.keys().map(of).collect()
    }

    /// What would have to move at least, in replicas of equal size.
    fn excess(before: &[(u64, u64, u64)]) -> u64 {
        let sum: u64 = before.iter().map(|(_, replicas, _)| replicas).sum();
        let mean = sum.div_ceil(before.len() as u64);
        before.iter().map(|(_, replicas, _)| replicas.saturating_sub(mean)).sum()
    }

    fn check_moves(&self) {
        let mut came = BTreeMap::new();
        for (now, region, from, to) in &self.moves {
            let last: Option<&Moment> = came.get(&(*region, *from));
            let is_early = last.is_some_and(|last| now.since(*last) < schedule::COOL_DOWN);
            assert!(
                !is_early,
                "a replica of region {region} that came to store {from} moves again"
            );
            came.insert((*region, *to), *now);
        }
        let all = self.regions.values();
        for (region, leader, _) in all {
            assert_eq!(region.peers.len(), 3, "{region:?}");
            assert!(region.peers.iter().all(|peer| peer.role == PeerRole::Voter), "{region:?}");
            assert!(region.peers.contains(leader), "{region:?}");
        }
    }
}

#[test]
fn two_stores_more_take_their_share_and_no_replica_moves_twice() {
    let mut paper = Paper::new(5, &[4; 200]);
    let before = paper.carried();
    paper.settle();
    paper.check_moves();
    let after = paper.carried();
    for (leaders, replicas, _) in &after {
        assert!(leaders.abs_diff(40) <= 2, "{after:?}");
        assert!(replicas.abs_diff(120) <= 3, "{after:?}");
    }
    let least = Paper::excess(&before);
    let moves = paper.moves.len() as u64;
    assert!(moves <= least, "{moves} moves, {least} are enough");
}

#[test]
fn a_cluster_that_is_even_stays_as_it_is() {
    let mut paper = Paper::new(3, &[4; 30]);
    paper.settle();
    assert_eq!(paper.moves, []);
    let leads: Vec<u64> = paper.carried().iter().map(|(leaders, _, _)| *leaders).collect();
    assert_eq!(leads, [10, 10, 10]);
    let transfers = paper.transfers;
    paper.settle();
    assert_eq!((paper.moves.len(), paper.transfers), (0, transfers));
    let idle = |by| paper.mind.decisions().idle(by).expect("says why").why.clone();
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
    paper.check_moves();
    let fat: Vec<_> = paper.moves.iter().filter(|(_, region, _, _)| region.get() == 80).collect();
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
    paper.policy.stores.insert(StoreId(4), twice);
    paper.policy.stores.insert(StoreId(1), none);
    paper.settle();
    paper.check_moves();
    let after = paper.carried();
    // 360 replicas: every region has one of its three on store 4 at most.
    assert!(after[3].1 >= 117, "{after:?}");
    assert!(after[3].0 >= 55, "{after:?}");
    assert_eq!(after[0].0, 0, "{after:?}");
}

#[test]
fn leads_leave_a_store_that_is_being_worked_on_and_come_back() {
    let mut paper = Paper::new(3, &[4; 30]);
    paper.settle();
    let worked_on = StorePolicy { maintained_until_unix_ms: u64::MAX, ..StorePolicy::USUAL };
    paper.policy.stores.insert(StoreId(2), worked_on);
    let evict = SchedulerPolicy { stores: [StoreId(2)].into(), ..SchedulerPolicy::default() };
    paper.policy.schedulers.insert(SchedulerName::EvictLeader, evict);
    paper.mind.hurry(paper.now);
    paper.settle();
    let leads = |paper: &Paper| paper.carried().iter().map(|it| it.0).collect::<Vec<u64>>();
    assert_eq!(leads(&paper), [15, 0, 15]);
    paper.policy.stores.clear();
    paper.policy.schedulers.remove(&SchedulerName::EvictLeader);
    paper.mind.hurry(paper.now);
    paper.settle();
    assert_eq!(leads(&paper), [10, 10, 10]);
}

#[test]
fn nothing_is_decided_while_people_want_so_or_the_picture_has_holes() {
    let mut paper = Paper::new(5, &[4; 30]);
    paper.policy.settings.is_halted = true;
    paper.settle();
    assert_eq!((paper.moves.len(), paper.transfers), (0, 0));
    let mut paper = Paper::new(5, &[4; 30]);
    paper.view = ClusterView::new(paper.now);
    let missing = RegionId(50);
    let lost = paper.regions.remove(&missing).expect("there");
    paper.report_all();
    paper.settle();
    assert_eq!((paper.moves.len(), paper.transfers), (0, 0));
    paper.regions.insert(missing, lost);
    paper.settle();
    assert!(!paper.moves.is_empty());
}

#[test]
fn limits_are_kept() {
    let mut paper = Paper::new(4, &[4; 60]);
    paper.policy.set("copies-per-store-limit", "2").expect("possible");
    paper.policy.set("leader-schedule-limit", "0").expect("possible");
    for _look in 0..50 {
        paper.now = paper.now + Span::from_millis(100);
        paper.think();
        assert!(paper.operators.len() <= 2);
    }
    assert_eq!(paper.transfers, 0);
    let why = &paper.mind.decisions().idle("balance-region").expect("says why").why;
    assert!(why.starts_with("no store takes replicas") || why.contains("no move would"), "{why}");
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
            paper.policy.stores.insert(StoreId(store), policy);
        }
        paper.settle();
        paper.check_moves();
        let (moves, transfers) = (paper.moves.len(), paper.transfers);
        paper.settle();
        prop_assert_eq!((paper.moves.len(), paper.transfers), (moves, transfers));
    }
}

#[test]
fn a_change_that_was_asked_for_is_let_be() {
    let mut paper = Paper::new(5, &[4; 10]);
    let region = RegionId(30);
    let plan = paper.sight().plan(region, &Change::TransferLeader(StoreId(2))).expect("possible");
    let at = paper.stamp();
    let sight =
        Sight { stores: &paper.stores, policy: &paper.policy, view: &paper.view, now: paper.now };
    paper.operators.begin(&sight, plan, ("test", at)).expect("free");
    paper.think();
    let of_region = paper.operators.iter().filter(|it| it.plan.region == region).count();
    assert_eq!(of_region, 1);
    assert!(paper.operators.len() > 1, "others are moved");
}

#[test]
fn leads_come_to_a_store_that_is_named_and_stay_there() {
    let mut paper = Paper::new(3, &[4; 30]);
    paper.settle();
    let grant = SchedulerPolicy { stores: [StoreId(2)].into(), ..SchedulerPolicy::default() };
    paper.policy.schedulers.insert(SchedulerName::GrantLeader, grant);
    paper.mind.hurry(paper.now);
    paper.settle();
    let leads: Vec<u64> = paper.carried().iter().map(|it| it.0).collect();
    assert_eq!(leads, [0, 30, 0]);
}

#[test]
fn shuffling_never_ends_and_harms_nothing() {
    let mut paper = Paper::new(5, &[4; 20]);
    paper.policy.schedulers.clear();
    for name in [SchedulerName::ShuffleLeader, SchedulerName::ShuffleRegion] {
        paper.policy.schedulers.insert(name, SchedulerPolicy::default());
    }
    for _look in 0..3_000 {
        paper.now = paper.now + Span::from_millis(100);
        paper.report_all();
        paper.think();
        paper.obey();
    }
    assert!(
        paper.moves.len() > 200 && paper.transfers > 30,
        "{} {}",
        paper.moves.len(),
        paper.transfers
    );
    let held: u64 = paper.carried().iter().map(|it| it.1).sum();
    assert!((60..=80).contains(&held), "{held}");
}

#[test]
fn regions_are_spread_at_once_and_only_where_it_helps() {
    let mut paper = Paper::new(6, &[1; 60]);
    paper.policy.schedulers.clear();
    paper.policy.set("copies-per-store-limit", "1000").expect("possible");
    let regions = || (1..=30).map(|at| RegionId(10 * at)).collect();
    let spread = |paper: &Paper, regions: &BTreeSet<RegionId>| {
        let fleet = Fleet::of(paper.sight(), &paper.operators);
        scatter(fleet, &paper.operators, regions)
    };
    for round in 0..3 {
        let scattered = spread(&paper, &regions());
        assert_eq!(scattered.failed, []);
        assert!(round == 0 || scattered.intents.iter().all(|it| !it.plan.changes_members()));
        paper.begin(scattered.intents);
        paper.settle();
    }
    // Ninety replicas of the thirty on six stores; the others stay where they were.
    let of = |store: u64| {
        let held = paper.view.regions().of_store(StoreId(store), RegionId(0));
        held.filter(|info| info.region.id.get() <= 300).count()
    };
    let held: Vec<usize> = (1..=6).map(of).collect();
    assert!(held.iter().all(|held| (14..=16).contains(held)), "{held:?}");
    let leads: Vec<u64> = paper.carried().iter().map(|it| it.0).collect();
    let others = leads[0] - 30;
    assert!(others <= 6 && leads[1..].iter().all(|leads| (4..=6).contains(leads)), "{leads:?}");
    let unknown = spread(&paper, &[RegionId(5)].into());
    assert_eq!(unknown.failed, [(RegionId(5), "it is not known".to_owned())]);
}
