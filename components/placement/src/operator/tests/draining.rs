//! Stores that leave: what may leave, which operators that takes, and that it comes to an end whatever happens between.

use proptest::prelude::*;

use super::{
    drain::{ASKED_BY, PAUSE, RUNNING_MAX},
    model::{Turn, any_members, any_turn, begin_with, placed, step_shape},
    *,
};
use crate::StoreState;

const REPLICAS: u32 = 3;
const GONE: StoreId = StoreId(3);

impl Scene {
    /// Owner of all keys.
    fn of_everything(members: &str) -> Self {
        let mut scene = Self::new(members);
        scene.own_everything();
        scene
    }

    fn own_everything(&mut self) {
        self.region.range = KeyRange::all();
        self.region.epoch.version.0 += 1;
        self.report();
    }

    /// A store is dead, and known to be.
    fn lose(&mut self, store: StoreId) {
        self.dead.push(store);
        self.down = self.region.peer_on(store).into_iter().collect();
        self.after(30_000);
    }

    fn set_state(&mut self, store: StoreId, state: StoreState) {
        self.stores.get_mut(&store).expect("there").state = state;
    }

    fn look(&self, drain: &mut Drain) -> DrainLook {
        drain.look(&self.sight(), &self.controller)
    }

    /// The steps that the next look begins with.
    fn relief(&self) -> Vec<String> {
        let plans = self.look(&mut Drain::default()).plans;
        assert!(plans.len() <= 1, "{plans:?}");
        plans.iter().flat_map(|plan| plan.steps.iter().map(ToString::to_string)).collect()
    }
}

/// A scene whose store 3 is dead and leaves.
fn leaving(members: &str) -> Scene {
    let mut scene = Scene::of_everything(members);
    scene.lose(GONE);
    scene.set_state(GONE, StoreState::Offline);
    scene
}

#[test]
fn a_store_is_removed_only_where_that_comes_to_an_end() {
    let refused = |scene: &Scene, part: &str| {
        let text = scene.sight().check_removal(GONE, Leave::Lost).expect_err(part).to_string();
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    };
    let mut scene = Scene::of_everything("1v 2v 3v");
    refused(&scene, "store 3 is up");
    scene.view = ClusterView::new(scene.now);
    refused(&scene, "may be about to report");
    scene.report();
    scene.lose(GONE);
    assert_eq!(scene.sight().check_removal(GONE, Leave::Lost), Ok(()));
    // Three of three: the new one comes first.
    for store in [4, 5, 6] {
        scene.set_state(StoreId(store), StoreState::Tombstone);
    }
    refused(&scene, "Start a new store first, at another address, then remove store 3");
    for store in [4, 5, 6] {
        scene.set_state(StoreId(store), StoreState::Up);
    }
    scene.dead.push(StoreId(2));
    scene.after(30_000);
    refused(&scene, "without it region 2 has no majority");
    scene.dead.retain(|store| *store == GONE);
    scene.after(1_000);
    scene.region.range = KeyRange::new("b", "");
    scene.region.epoch.version.0 += 1;
    scene.view = ClusterView::new(Moment(0));
    scene.report();
    refused(&scene, "not all regions have reported");
    let drained = scene.sight().check_removal(GONE, Leave::Drain);
    assert!(matches!(drained, Err(RemovalRefusal::RegionsUnknown(GONE))), "{drained:?}");
    scene.set_state(GONE, StoreState::Offline);
    assert_eq!(scene.sight().check_removal(GONE, Leave::Lost), Ok(()), "told again");
}

#[test]
fn a_store_that_serves_is_emptied_where_others_can_hold_all() {
    let mut scene = Scene::of_everything("1v 2v 3v");
    let drained = |scene: &Scene| scene.sight().check_removal(GONE, Leave::Drain);
    assert_eq!(drained(&scene), Ok(()));
    // Its own vote counts as long as it serves.
    scene.dead.push(StoreId(2));
    scene.after(30_000);
    assert_eq!(drained(&scene), Ok(()));
    scene.dead.push(GONE);
    scene.after(30_000);
    let refused = drained(&scene).expect_err("nobody could decide");
    assert_eq!(refused, RemovalRefusal::NoMajority { store: GONE, region: REGION });
    scene.dead.clear();
    scene.after(30_000);
    for store in [4, 5, 6] {
        scene.set_state(StoreId(store), StoreState::Offline);
    }
    let refused = drained(&scene).expect_err("three are needed").to_string();
    let parts = ["2 other stores are up", "Start one more store", "each region have 2 replicas"];
    assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
}

#[test]
fn a_region_is_made_whole_on_the_store_that_holds_least() {
    let moved = [
        "add learner peer 0 on store 4",
        "use joint consensus, promote learner peer 0 on store 4 to voter, \
         demote voter peer 30 on store 3 to learner",
        "leave joint state",
        "remove peer on store 3",
    ];
    assert_eq!(leaving("1v 2v 3v").relief(), moved);
    let mut scene = leaving("1v 2v 3v");
    let other = Region {
        id: RegionId(9),
        range: KeyRange::new("b", "c"),
        epoch: Epoch { version: Version(9), conf_ver: ConfVer(1) },
        peers: peers("4v"),
    };
    let leader = other.peers[0];
    let report = RegionReport { region: other, leader, ..RegionReport::default() };
    scene.view.on_region_report(scene.now, report).expect("taken");
    assert_eq!(scene.relief()[0], "add learner peer 0 on store 5");
    scene.set_state(StoreId(5), StoreState::Offline);
    assert_eq!(scene.relief()[0], "add learner peer 0 on store 6", "one that leaves takes nothing");
}

/// Whoever led before may have come as far as any of these.
#[test]
fn what_was_begun_is_gone_on_with() {
    for (members, steps) in [
        (
            "1v 2v 3v 5l",
            &[
                "use joint consensus, promote learner peer 50 on store 5 to voter, \
                 demote voter peer 30 on store 3 to learner",
                "leave joint state",
                "remove peer on store 3",
            ][..],
        ),
        ("1v 2v 3d 5i", &["leave joint state", "remove peer on store 3"]),
        ("1v 2v 3l 5v", &["remove peer on store 3"]),
        ("1v 2v 3v 5v", &["demote voter peer 30 on store 3 to learner", "remove peer on store 3"]),
        (
            "1v 2v 3l",
            &[
                "add learner peer 0 on store 4",
                "promote learner peer 0 on store 4 to voter",
                "remove peer on store 3",
            ],
        ),
        ("1v 2v 5v", &[]),
    ] {
        assert_eq!(leaving(members).relief(), steps, "{members}");
    }
    let mut scene = leaving("1v 2v 3v");
    for store in [4, 5, 6] {
        scene.set_state(StoreId(store), StoreState::Tombstone);
    }
    assert_eq!(scene.relief(), Vec::<String>::new(), "no store takes it: it is waited for");
    let mut idle = leaving("1v 2v 3l");
    for store in [4, 5, 6] {
        idle.set_state(StoreId(store), StoreState::Tombstone);
    }
    assert_eq!(idle.relief(), ["remove peer on store 3"], "a learner helps nobody");
}

#[test]
fn a_store_is_empty_only_when_every_key_has_an_owner_elsewhere() {
    let emptied = |scene: &Scene| scene.look(&mut Drain::default()).emptied;
    let mut scene = leaving("1v 2v 4v");
    assert_eq!(emptied(&scene), [GONE]);
    assert_eq!(emptied(&leaving("1v 2v 3l")), [], "a learner is a peer");
    scene.set_state(GONE, StoreState::Up);
    assert_eq!(emptied(&scene), []);
    scene.set_state(GONE, StoreState::Tombstone);
    assert_eq!(emptied(&scene), [], "once");
    assert_eq!(Drain::default().next_look(&scene.sight()), Moment::NEVER);
    scene.set_state(GONE, StoreState::Offline);
    // Another leader has taken over, and knows a part only.
    scene.region.range = KeyRange::new("b", "");
    scene.view = ClusterView::new(Moment(0));
    scene.report();
    assert_eq!(emptied(&scene), []);
    // An order that was late has put a peer on a tombstone.
    let mut late = leaving("1v 2v 3l 4v");
    late.set_state(GONE, StoreState::Tombstone);
    assert_eq!(late.relief(), ["remove peer on store 3"]);
}

/// A store that takes nothing, for whatever reason, is not asked first again, neither for this region nor for others.
#[test]
fn who_was_waited_for_in_vain_is_not_preferred() {
    let mut scene = leaving("1v 2v 3v");
    let first_step = |scene: &Scene| scene.relief().first().cloned().expect("it is planned");
    let fail = |scene: &mut Scene, expected: u64, obeys: bool| {
        let plan = scene.look(&mut Drain::default()).plans.remove(0);
        let begun = scene.begin_plan(plan, ASKED_BY).expect("begun");
        if obeys {
            scene.obey(order(&begun).expect("an order"), false);
        }
        scene.after(1_000);
        let running = scene.controller.running(REGION).expect("the learner never catches up");
        let mut receivers = running.plan.steps.iter().flat_map(|step| step.receivers());
        assert!(receivers.all(|peer| peer.store == StoreId(expected)), "{running:?}");
        scene.now = running.deadline;
        let at = scene.stamp();
        let ended = scene.controller.on_time(at);
        assert_eq!(ending(&ended), Some(Ending::TimedOut));
        scene.report();
    };
    fail(&mut scene, 4, true);
    assert_eq!(shown(&scene.region), "1v 2v 3v 4l");
    assert_eq!(first_step(&scene), "add learner peer 0 on store 5", "its learner notwithstanding");
    // Another region has not waited for it, and is told all the same.
    let other = Scene::of_everything("1v 2v 3v");
    let (own, mut other) = (scene.region.clone(), other.region);
    other.id = RegionId(9);
    other.epoch.version.0 += 20;
    let report = |scene: &mut Scene, region: Region| {
        let report = RegionReport { region, leader: scene.leader, ..RegionReport::default() };
        scene.view.on_region_report(scene.now, report).expect("taken");
    };
    report(&mut scene, other.clone());
    assert_eq!(first_step(&scene), "add learner peer 0 on store 5");
    scene.region.epoch.version.0 = other.epoch.version.0 + 1;
    scene.report();
    assert_eq!(own.peers, scene.region.peers);
    fail(&mut scene, 5, false);
    fail(&mut scene, 6, false);
    // All have failed: the one whose failure is the longest ago, and that has the data perhaps.
    assert!(first_step(&scene).contains("promote learner peer 101 on store 4"));
    // An hour later it is all the same.
    fail(&mut scene, 4, false);
    assert_eq!(first_step(&scene), "add learner peer 0 on store 5");
    scene.after(setbacks::REMEMBERED.0 / 1_000_000);
    assert!(first_step(&scene).contains("promote learner peer 101 on store 4"));
}

/// A learner that a drain has added and waited for in vain goes when another store takes its place. One that somebody else
/// may want stays.
#[test]
fn what_an_attempt_has_left_behind_goes_with_the_next_one() {
    let removed_by = |asked_by, strangers: &[usize]| {
        let mut scene = leaving("1v 2v 3v");
        let plan = scene.look(&mut Drain::default()).plans.remove(0);
        let begun = scene.begin_plan(plan, asked_by).expect("begun");
        scene.obey(order(&begun).expect("an order"), false);
        scene.after(1_000);
        scene.now = scene.controller.next_deadline();
        let at = scene.stamp();
        assert_eq!(ending(&scene.controller.on_time(at)), Some(Ending::TimedOut));
        strangers.iter().for_each(|learner| scene.turn(Turn::Meddle(*learner)));
        scene.report();
        let steps = scene.relief();
        assert!(steps.len() > 2 && steps[0].contains("store 5"), "{steps:?}");
        steps.into_iter().filter(|step| step.starts_with("remove")).collect::<Vec<_>>()
    };
    let both = ["remove peer on store 3", "remove peer on store 4"];
    assert_eq!(removed_by(ASKED_BY, &[]), both);
    assert_eq!(removed_by(ASKED_BY, &[4]), both, "one of a stranger is used");
    assert_eq!(removed_by(ASKED_BY, &[4, 5]), both, "and one is not, which stays");
    assert_eq!(removed_by("a person", &[]), both[..1]);
}

/// So many regions are moved at once, and the next ones when these are done.
#[test]
fn a_few_regions_at_a_time() {
    let mut scene = Scene::new("1v 2v 3v");
    scene.lose(GONE);
    scene.set_state(GONE, StoreState::Offline);
    let count = 20;
    let key = |number: u64| {
        if number == 0 { String::new() } else { format!("{number:02}") }
    };
    for number in 0..count {
        let start = key(number);
        let end = if number + 1 == count { String::new() } else { key(number + 1) };
        let peers = peers("1v 2v 3v").into_iter();
        let peers: Vec<Peer> = peers
            .map(|peer| Peer { id: PeerId(1_000 * (number + 1) + peer.id.get()), ..peer })
            .collect();
        let region = Region {
            id: RegionId(100 + number),
            range: KeyRange::new(start, end),
            epoch: Epoch { version: Version(9), conf_ver: ConfVer(1) },
            peers,
        };
        let (leader, down) = (region.peers[0], vec![(region.peers[2], 9)]);
        let report = RegionReport { region, leader, down_peers: down, ..RegionReport::default() };
        scene.view.on_region_report(scene.now, report).expect("taken");
    }
    let mut drain = Drain::default();
    let sight = scene.sight();
    assert!(drain.is_due(&sight) && !drain.is_due(&sight), "once, and then after a pause");
    assert_eq!(drain.next_look(&sight), scene.now + PAUSE);
    let mut seen = Vec::new();
    for _turn in 0..3 {
        let look = scene.look(&mut drain);
        let regions: Vec<RegionId> = look.plans.iter().map(|plan| plan.region).collect();
        let targets: std::collections::BTreeSet<String> =
            look.plans.iter().map(|plan| plan.steps[0].to_string()).collect();
        assert!(regions.len() <= RUNNING_MAX && targets.len() == 3, "spread: {targets:?}");
        for plan in look.plans {
            scene.begin_plan(plan, ASKED_BY).expect("begun");
        }
        let is_full = regions.len() == RUNNING_MAX;
        let more = scene.look(&mut Drain::default()).plans.len();
        assert!(!is_full || more == 0, "{more} more than may go on at once");
        for region in &regions {
            let at = scene.stamp();
            scene.controller.cancel(*region, at).expect("it went on");
        }
        seen.extend(regions);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), usize::try_from(count).expect("small"), "each has had its turn");
}

/// What happens between two reports, and that the placement driver starts anew.
#[derive(Clone, Copy, Debug)]
enum Event {
    Turn(Turn),
    Restart,
}

fn any_event() -> impl Strategy<Value = Event> {
    let turn = any_turn().prop_filter("it keeps its keys", |turn| !matches!(turn, Turn::Split));
    prop_oneof![9 => turn.prop_map(Event::Turn), 1 => Just(Event::Restart)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever the region was, and whatever happens meanwhile: it ends with as many voters as are wanted, or as it
    /// had, none of them on the store that leaves, which is empty then and not before. The region asserts that it keeps
    /// a majority throughout.
    #[test]
    fn a_dead_store_is_emptied(
        members in any_members(),
        events in prop::collection::vec(any_event(), 0..40),
        is_counted_each: bool,
    ) {
        let Some(mut scene) = begin_with(&members, Some(GONE.get())) else { return Ok(()) };
        scene.own_everything();
        scene.set_state(GONE, StoreState::Offline);
        if scene.region.peer_on(GONE).is_none() {
            prop_assert_eq!(scene.look(&mut Drain::default()).emptied, [GONE]);
            return Ok(());
        }
        let (before, _) = placed(&scene.region);
        let wanted = before.len().min(REPLICAS as usize);
        let (mut drain, mut orders) = (Drain::default(), Vec::<Order>::new());
        let mut turns = 0;
        loop {
            let look = scene.look(&mut drain);
            let is_gone = scene.region.peer_on(GONE).is_none();
            prop_assert_eq!(look.emptied.contains(&GONE), is_gone);
            if is_gone {
                break;
            }
            prop_assert!(turns < 400, "it never ends: {} {:?}", shown(&scene.region), scene.controller.list());
            let mut happened = Vec::new();
            for plan in look.plans {
                happened.extend(scene.begin_plan(plan, ASKED_BY).expect("nothing has changed since"));
            }
            happened.extend(scene.after(10_000));
            let at = scene.stamp();
            happened.extend(scene.controller.on_time(at));
            orders.extend(happened.iter().filter_map(|event| match event {
                OperatorEvent::Ordered(order) => Some(order.clone()),
                OperatorEvent::Begun(_) | OperatorEvent::Ended(_) => None,
            }));
            match events.get(turns).copied().unwrap_or(Event::Turn(Turn::Obey)) {
                Event::Turn(Turn::Obey) => {
                    scene.pending.retain(|peer| scene.dead.contains(&peer.store));
                    for order in std::mem::take(&mut orders) {
                        scene.obey(&order, is_counted_each);
                    }
                }
                Event::Turn(Turn::Lose) => orders.clear(),
                Event::Turn(other) => scene.turn(other),
                Event::Restart => {
                    scene.controller = OperatorController::default();
                    drain = Drain::default();
                }
            }
            scene.turn(Turn::Delay);
            scene.report();
            turns += 1;
        }
        let (voters, _) = placed(&scene.region);
        prop_assert!(voters.len() >= wanted, "{:?} of {:?}", voters, before);
        prop_assert!(!voters.contains(&GONE) && !step_shape(&scene.region).is_joint());
    }
}
