//! Which steps lead from what a region is to what it is to be, and what is refused.

use flotilla_base::key::guard_border;

use super::*;

fn store(id: u64) -> StoreId {
    StoreId(id)
}

fn region_on(stores: &[u64]) -> Change {
    Change::MoveRegion(stores.iter().copied().map(StoreId).collect())
}

fn steps(members: &str, change: &Change) -> Vec<String> {
    let plan = Scene::new(members).plan(change).expect("planned");
    let count = u64::from(plan.new_peers());
    let plan =
        if count == 0 { plan } else { plan.with_ids(IdBatch { first: 101, last: 100 + count }) };
    plan.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_peer_comes_as_a_learner_and_goes_as_one() {
    assert_eq!(
        steps("1v 2v 3v", &Change::AddPeer(store(4))),
        ["add learner peer 101 on store 4", "promote learner peer 101 on store 4 to voter"]
    );
    assert_eq!(
        steps("1v 2v 3v", &Change::AddLearner(store(4))),
        ["add learner peer 101 on store 4"]
    );
    assert_eq!(
        steps("1v 2v 3l", &Change::AddPeer(store(3))),
        ["promote learner peer 30 on store 3 to voter"],
        "one that is there already"
    );
    assert_eq!(
        steps("1v 2v 3v", &Change::RemovePeer(store(3))),
        ["demote voter peer 30 on store 3 to learner", "remove peer on store 3"]
    );
    assert_eq!(steps("1v 2v 3l", &Change::RemovePeer(store(3))), ["remove peer on store 3"]);
}

#[test]
fn two_voters_change_at_once() {
    assert_eq!(
        steps("1v 2v 3v", &Change::MovePeer { from: store(3), to: store(4) }),
        [
            "add learner peer 101 on store 4",
            "use joint consensus, promote learner peer 101 on store 4 to voter, \
             demote voter peer 30 on store 3 to learner",
            "leave joint state",
            "remove peer on store 3",
        ]
    );
    assert_eq!(
        steps("1v 2v 3l", &Change::MovePeer { from: store(3), to: store(4) }),
        ["add learner peer 101 on store 4", "remove peer on store 3"],
        "a learner stays one"
    );
    assert_eq!(
        steps("1v 2v 3v 4l", &Change::MovePeer { from: store(3), to: store(4) }),
        [
            "use joint consensus, promote learner peer 40 on store 4 to voter, \
             demote voter peer 30 on store 3 to learner",
            "leave joint state",
            "remove peer on store 3",
        ],
        "a learner that is there already votes instead"
    );
}

#[test]
fn the_leader_hands_over_before_it_stops_voting() {
    assert_eq!(
        steps("2v 1v 3v", &Change::RemovePeer(store(2))),
        [
            "transfer leader from store 2 to store 1",
            "demote voter peer 20 on store 2 to learner",
            "remove peer on store 2",
        ]
    );
    let moved = steps("1v 2v 3v", &Change::MovePeer { from: store(1), to: store(4) });
    assert_eq!(moved[1], "transfer leader from store 1 to store 2");
    let move_leader = |from, to| Change::MoveLeader { from: store(from), to: store(to) };
    assert_eq!(
        steps("1v 2v 3v", &move_leader(1, 4)),
        [
            "add learner peer 101 on store 4",
            "promote learner peer 101 on store 4 to voter",
            "transfer leader from store 1 to store 4",
            "demote voter peer 10 on store 1 to learner",
            "remove peer on store 1",
        ]
    );
    assert_eq!(
        steps("1v 2v 3v 4l", &move_leader(3, 4))[..2],
        ["promote learner peer 40 on store 4 to voter", "transfer leader from store 1 to store 4",],
        "whoever leads"
    );
    assert_eq!(
        steps("1v", &Change::MovePeer { from: store(1), to: store(4) }),
        [
            "add learner peer 101 on store 4",
            "promote learner peer 101 on store 4 to voter",
            "transfer leader from store 1 to store 4",
            "demote voter peer 10 on store 1 to learner",
            "remove peer on store 1",
        ],
        "to a new voter, where no old one stays"
    );
    let moved = steps("1v 2v 3v", &region_on(&[4, 5, 6]));
    assert_eq!(
        moved[3..7],
        [
            "promote learner peer 101 on store 4 to voter",
            "transfer leader from store 1 to store 4",
            "use joint consensus, promote learner peer 102 on store 5 to voter, \
             promote learner peer 103 on store 6 to voter, \
             demote voter peer 10 on store 1 to learner, demote voter peer 20 on store 2 to learner, \
             demote voter peer 30 on store 3 to learner",
            "leave joint state",
        ],
        "behind three learners, in front of three that go"
    );
    assert_eq!(moved.len(), 3 + 4 + 3);
}

#[test]
fn a_joint_change_that_was_left_over_ends_first() {
    assert_eq!(
        steps("1v 2d 3i", &Change::RemovePeer(store(2))),
        ["leave joint state", "remove peer on store 2"]
    );
    assert_eq!(
        steps("2d 1v 3i", &Change::AddLearner(store(4)))[..2],
        ["transfer leader from store 2 to store 1", "leave joint state"],
    );
    assert_eq!(steps("1v 2d 3i", &region_on(&[1, 3]))[0], "leave joint state");
}

#[test]
fn lead_and_borders() {
    assert_eq!(
        steps("1v 2v 3v", &Change::TransferLeader(store(3))),
        ["transfer leader from store 1 to store 3"]
    );
    let keys = |keys: &[&'static str]| {
        Change::SplitRegion(SplitAt::Keys(keys.iter().map(|key| (*key).into()).collect()))
    };
    assert_eq!(steps("1v", &keys(&["d", "c", "d"])), ["split region with policy USEKEY"]);
    assert_eq!(
        steps("1v", &Change::SplitRegion(SplitAt::Middle)),
        ["split region with policy SCAN"]
    );
    let refused = |change| Scene::new("1v").plan(&change).expect_err("refused").to_string();
    for outside in ["a", "b", "m", "z"] {
        assert!(refused(keys(&["c", outside])).contains(outside), "{outside}");
    }
    assert!(refused(keys(&[])).contains("none is given"));
    let mut guard = Scene::new("1v");
    guard.region.range = KeyRange { start: guard_border(), end: flotilla_base::Key::new() };
    guard.report();
    let change = Change::SplitRegion(SplitAt::Middle);
    assert_eq!(guard.plan(&change), Err(OperatorRefusal::Guard(REGION)));
    assert!(guard.plan(&Change::AddPeer(store(4))).is_ok(), "it moves like any other");
}

#[test]
fn whoever_cannot_be_obeyed_is_told_why() {
    let refused = |members: &str, change: &Change, part: &str| {
        let text = Scene::new(members).plan(change).expect_err(part).to_string();
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    };
    refused("1v 2v", &Change::AddPeer(store(2)), "has a peer on store 2 already");
    refused("1v 2l", &Change::AddLearner(store(2)), "has a peer on store 2 already");
    refused("1v 2v", &Change::AddPeer(store(9)), "there is no store 9");
    refused("1v 2v", &Change::RemovePeer(store(3)), "has no peer on store 3");
    refused("1v", &Change::RemovePeer(store(1)), "no other voter");
    refused("1v 2l", &Change::RemovePeer(store(1)), "no other voter");
    refused("1v 2v", &region_on(&[]), "no other voter");
    refused("1v 2v", &region_on(&[1, 2]), "as it is to be already");
    refused("1v 2v", &Change::TransferLeader(store(1)), "as it is to be already");
    refused("1v 2l", &Change::TransferLeader(store(2)), "does not vote");
    refused("1v 2v", &Change::TransferLeader(store(3)), "has no peer on store 3");
    let move_peer = |from, to| Change::MovePeer { from: store(from), to: store(to) };
    refused("1v 2v", &move_peer(1, 2), "has a peer on store 2 already");
    refused("1v 2v", &move_peer(3, 4), "has no peer on store 3");
    refused("1v 2l 3l", &move_peer(2, 3), "has a peer on store 3 already");
    refused("1v 2l", &move_peer(2, 2), "has a peer on store 2 already");

    let unknown = Scene::new("1v").sight().plan(RegionId(99), &Change::AddPeer(store(2)));
    assert_eq!(unknown, Err(OperatorRefusal::UnknownRegion(RegionId(99))));
}

#[test]
fn only_stores_that_are_up_get_anything() {
    let mut scene = Scene::new("1v 2v 3v");
    scene.dead = vec![store(4)];
    scene.after(30_000);
    let silent = scene.plan(&Change::AddPeer(store(4)));
    assert_eq!(silent, Err(OperatorRefusal::NotUp { store: store(4), state: "disconnected" }));
    for (state, word) in [
        (crate::StoreState::Offline, "being emptied"),
        (crate::StoreState::Tombstone, "gone for good"),
    ] {
        scene.stores.get_mut(&store(5)).expect("there").state = state;
        let refused = scene.plan(&Change::AddPeer(store(5)));
        assert_eq!(refused, Err(OperatorRefusal::NotUp { store: store(5), state: word }));
    }
    scene.stores.get_mut(&store(2)).expect("there").state = crate::StoreState::Offline;
    let plan = scene.plan(&Change::RemovePeer(store(1))).expect("planned");
    let heirs = Step::TransferLeader { from: store(1), to: vec![scene.peer_on(3)] };
    assert_eq!(plan.steps[0], heirs, "no lead goes to a store that leaves");
    scene.stores.get_mut(&store(2)).expect("there").state = crate::StoreState::Up;
    scene.down = vec![scene.peer_on(2)];
    scene.report();
    let lagging = scene.plan(&Change::TransferLeader(store(2)));
    assert!(matches!(lagging, Err(OperatorRefusal::CannotLead { .. })), "{lagging:?}");
    // Nobody reports for the region any more.
    scene.now = scene.now + Span::from_millis(25_001);
    for id in 1..=3 {
        let status = StoreStatus { heard: scene.now, ..StoreStatus::default() };
        scene.view.on_store_report(store(id), status);
    }
    let unheard = scene.plan(&Change::TransferLeader(store(3)));
    assert_eq!(unheard, Err(OperatorRefusal::NoLeader(REGION)));
}

#[test]
fn no_step_takes_the_majority() {
    let mut scene = Scene::new("1v 2v 3v");
    scene.dead = vec![store(3)];
    scene.down = vec![scene.peer_on(3)];
    scene.after(30_000);
    let refused = scene.plan(&Change::RemovePeer(store(2))).expect_err("one of two is dead");
    let text = refused.to_string();
    assert!(text.contains("without a majority of living voters after \"demote"), "{text}");
    let dead = scene.plan(&Change::RemovePeer(store(3))).expect("the dead one may go");
    assert_eq!(dead.steps.len(), 2);
    let moved = scene.plan(&Change::MovePeer { from: store(3), to: store(4) });
    assert_eq!(moved.expect("it is replaced").steps.len(), 4);
    scene.pending = vec![scene.peer_on(2)];
    scene.report();
    assert!(scene.plan(&Change::RemovePeer(store(3))).is_err(), "the other one lags behind");
}

#[test]
fn the_peers_are_those_that_are_wanted_and_no_others() {
    let peers = |text: &str| {
        let words = text.split_whitespace();
        let peer = |word: &str| {
            let (id, role) = word.split_at(word.len() - 1);
            (store(id.parse().expect("a store")), role == "v")
        };
        Change::SetPeers(words.map(peer).collect())
    };
    assert_eq!(
        steps("1v 2v 3v 4l", &peers("1v 2v 3l 5v")),
        [
            "add learner peer 101 on store 5",
            "use joint consensus, promote learner peer 101 on store 5 to voter, \
             demote voter peer 30 on store 3 to learner",
            "leave joint state",
            "remove peer on store 4",
        ]
    );
    assert_eq!(
        steps("1v 2v 3v 4v", &peers("1v 2v 3v 4l")),
        ["demote voter peer 40 on store 4 to learner"]
    );
    let scene = Scene::new("1v 2v 3v");
    let plan = scene.plan(&peers("1v 2v 3v 5l")).expect("planned");
    assert_eq!(plan.brief, "set peers: voters on [1 2 3], learners on [5]");
    let refused = |text: &str| scene.plan(&peers(text)).expect_err(text).to_string();
    assert_eq!(refused("1v 2v 3v"), "region 2 is as it is to be already");
    assert_eq!(refused("1v 2v 9l"), "there is no store 9");
    assert!(refused("1l 2l").contains("no other voter"));
    assert!(refused("").contains("no other voter"));
}

#[test]
fn a_joint_change_is_ended_by_itself() {
    assert_eq!(steps("1v 2v 3d 4i", &Change::LeaveJoint), ["leave joint state"]);
    assert_eq!(
        steps("1d 2v 3v 4i", &Change::LeaveJoint),
        ["transfer leader from store 1 to store 2", "leave joint state"],
        "whoever leads votes on"
    );
    let refused = Scene::new("1v 2v 3v").plan(&Change::LeaveJoint);
    assert_eq!(refused, Err(OperatorRefusal::NothingToDo(REGION)));
}
