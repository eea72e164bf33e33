//! An operator under way: when what is ordered, when a step is over, and how the operator ends.

use super::*;

fn moving() -> (Scene, Vec<OperatorEvent>) {
    let mut scene = Scene::new("1v 2v 3v");
    let change = Change::MovePeer { from: StoreId(3), to: StoreId(4) };
    let events = scene.begin(&change).expect("begins");
    (scene, events)
}

fn set(scene: &mut Scene, members: &str) {
    let new = |peer: Peer| match peer.store {
        StoreId(4) => Peer { id: PeerId(101), ..peer },
        _ => peer,
    };
    scene.region.peers = peers(members).into_iter().map(new).collect();
    scene.region.epoch.conf_ver.0 += 1;
}

fn change(kind: PeerChangeKind, id: u64, store: u64, role: PeerRole) -> PeerChange {
    PeerChange { kind, peer: Peer { id: PeerId(id), store: StoreId(store), role } }
}

#[test]
fn each_report_brings_the_next_order() {
    let (mut scene, begun) = moving();
    let first = order(&begun).expect("at once");
    let learner = change(PeerChangeKind::Learner, 101, 4, PeerRole::Learner);
    assert_eq!(first.command, Command::ChangePeer(learner));
    assert_eq!((first.epoch, first.leader), (scene.region.epoch, scene.leader));

    set(&mut scene, "1v 2v 3v 4l");
    scene.pending = vec![scene.peer_on(4)];
    assert_eq!(scene.after(100), [], "it is there, and has not caught up");
    scene.pending.clear();
    let events = scene.after(100);
    let voter = change(PeerChangeKind::Voter, 101, 4, PeerRole::Voter);
    let demoted = change(PeerChangeKind::Learner, 30, 3, PeerRole::Learner);
    let joint = order(&events).expect("the next one");
    assert_eq!(joint.command, Command::ChangePeers(vec![voter, demoted]));
    assert_eq!(joint.epoch, scene.region.epoch, "on the epoch that was looked at");

    set(&mut scene, "1v 2v 3d 4i");
    let events = scene.after(100);
    assert_eq!(order(&events).map(|order| &order.command), Some(&Command::LeaveJoint));
    set(&mut scene, "1v 2v 3l 4v");
    let events = scene.after(100);
    let removed = change(PeerChangeKind::Remove, 30, 3, PeerRole::Learner);
    assert_eq!(order(&events).map(|it| &it.command), Some(&Command::ChangePeer(removed)));
    set(&mut scene, "1v 2v 4v");
    assert_eq!(ending(&scene.after(100)), Some(Ending::Finished));
    assert!(scene.controller.is_empty());
    let last = scene.controller.last_ended(REGION).expect("remembered");
    assert_eq!((last.operator.done(), last.ending), (4, Ending::Finished));
}

#[test]
fn a_store_may_leave_the_joint_change_by_itself() {
    let (mut scene, _) = moving();
    set(&mut scene, "1v 2v 3v 4l");
    scene.after(100);
    set(&mut scene, "1v 2v 3l 4v");
    let events = scene.after(100);
    assert!(matches!(order(&events).expect("removed").command, Command::ChangePeer(_)));
}

#[test]
fn an_order_without_effect_is_repeated_in_time() {
    let mut scene = Scene::new("1v 2v 3v");
    let begun = scene.begin(&Change::TransferLeader(StoreId(2))).expect("begins");
    assert!(order(&begun).is_some());
    assert_eq!(scene.after(399), [], "it was told");
    assert!(order(&scene.after(1)).is_some(), "and may not have heard");
    // Somebody else was elected: there is something new to be said, to somebody new.
    scene.leader = scene.peer_on(3);
    let events = scene.after(100);
    assert_eq!(order(&events).expect("at once").leader, scene.leader);
    scene.leader = scene.peer_on(2);
    assert_eq!(ending(&scene.after(100)), Some(Ending::Finished));
}

#[test]
fn the_lead_that_came_back_is_handed_over_again() {
    let mut scene = Scene::new("1v 2v 3v");
    scene.begin(&Change::RemovePeer(StoreId(1))).expect("begins");
    scene.leader = scene.peer_on(2);
    let events = scene.after(100);
    let demoted = change(PeerChangeKind::Learner, 10, 1, PeerRole::Learner);
    assert_eq!(order(&events).map(|it| &it.command), Some(&Command::ChangePeers(vec![demoted])));
    scene.leader = scene.peer_on(1);
    scene.down = vec![scene.peer_on(3)];
    let events = scene.after(100);
    let fit = vec![scene.peer_on(2)];
    assert_eq!(order(&events).map(|it| &it.command), Some(&Command::TransferLeader(fit)));
}

/// A leader begins no joint change that takes its own vote, and who goes as well takes nothing over.
#[test]
fn the_lead_that_came_back_is_handed_over_in_front_of_a_joint_change() {
    let mut scene = Scene::new("1v 2v 3v 4l 5l");
    let stores = [3, 4, 5].into_iter().map(StoreId).collect();
    scene.begin(&Change::MoveRegion(stores)).expect("begins");
    scene.leader = scene.peer_on(3);
    let events = scene.after(100);
    assert!(matches!(order(&events).expect("joint").command, Command::ChangePeers(_)));
    scene.leader = scene.peer_on(1);
    let events = scene.after(100);
    let fit = vec![scene.peer_on(3)];
    assert_eq!(order(&events).map(|it| &it.command), Some(&Command::TransferLeader(fit)));
}

#[test]
fn what_somebody_else_does_ends_it() {
    for members in ["1v 2v", "1v 2v 3v 5l", "1v 2v 3l 4v"] {
        let (mut scene, _) = moving();
        set(&mut scene, members);
        let ended = Some(Ending::Cancelled(CancelReason::MembersChanged));
        assert_eq!(ending(&scene.after(100)), ended, "{members}");
    }
    let (mut scene, _) = moving();
    scene.region.epoch.conf_ver.0 += 2;
    let ended = Some(Ending::Cancelled(CancelReason::MembersChanged));
    assert_eq!(ending(&scene.after(100)), ended, "changed, and changed back");
    let (mut scene, _) = moving();
    set(&mut scene, "1v 2v 3v 4l");
    scene.pending = vec![scene.peer_on(4)];
    assert_eq!(scene.after(100), []);
    set(&mut scene, "1v 2v 3v");
    scene.pending.clear();
    let events = scene.after(100);
    assert_eq!(ending(&events), ended, "what it had added is gone: {events:?}");

    let (mut scene, _) = moving();
    scene.region.epoch.version.0 += 1;
    scene.region.range = KeyRange::new("d", "m");
    let events = scene.after(100);
    let epoch = scene.region.epoch;
    assert_eq!(order(&events).expect("a split harms nobody").epoch, epoch);
    // Its keys belong to another region.
    let other = Region { id: RegionId(8), range: KeyRange::new("a", "z"), ..scene.region.clone() };
    let epoch = Epoch { version: Version(9), ..other.epoch };
    let report =
        RegionReport { region: Region { epoch, ..other }, leader: scene.leader, ..<_>::default() };
    scene.view.on_region_report(scene.now, report).expect("taken");
    let at = scene.stamp();
    let events = scene.controller.on_borders_moved(&scene.view, at);
    assert_eq!(ending(&events), Some(Ending::Cancelled(CancelReason::RegionGone)));
}

#[test]
fn one_at_a_time_and_only_on_what_was_decided() {
    let (mut scene, _) = moving();
    let busy = scene.begin(&Change::TransferLeader(StoreId(2))).expect_err("busy").to_string();
    assert!(busy.contains("being changed already (mv peer: store [3] to [4])"), "{busy}");
    let at = scene.stamp();
    let events: Vec<_> = scene.controller.cancel(REGION, at).into_iter().collect();
    assert_eq!(ending(&events), Some(Ending::Cancelled(CancelReason::Stopped)));
    assert_eq!(scene.controller.cancel(REGION, at), None);

    let plan = scene.plan(&Change::TransferLeader(StoreId(2))).expect("planned");
    scene.region.epoch.version.0 += 1;
    scene.after(100);
    let sight =
        Sight { stores: &scene.stores, policy: &scene.policy, view: &scene.view, now: scene.now };
    let stale = scene.controller.begin(&sight, plan, ("test", at));
    assert!(matches!(stale, Err(OperatorRefusal::StaleEpoch { .. })), "{stale:?}");
}

#[test]
fn time_runs_out_and_success_comes_first() {
    let mut scene = Scene::new("1v 2v 3v");
    scene.begin(&Change::TransferLeader(StoreId(2))).expect("begins");
    let deadline = scene.now + Span::from_millis(60_000);
    assert_eq!(scene.controller.next_deadline(), deadline);
    scene.now = deadline;
    scene.leader = scene.peer_on(2);
    assert_eq!(ending(&scene.report()), Some(Ending::Finished), "late, and done");
    assert_eq!(scene.controller.next_deadline(), Moment::NEVER);

    scene.begin(&Change::TransferLeader(StoreId(1))).expect("begins");
    scene.now = scene.now + Span::from_millis(59_999);
    let at = scene.stamp();
    assert_eq!(scene.controller.on_time(at), []);
    let at = Stamp { now: at.now + Span::from_millis(1), ..at };
    let events = scene.controller.on_time(at);
    assert_eq!(ending(&events), Some(Ending::TimedOut));
    let gib = Span::from_millis(6_000) * 1024;
    let learner = Step::AddLearner(scene.peer_on(3));
    assert_eq!((learner.timeout(0), learner.timeout(1 << 30)), (Span::from_millis(600_000), gib));
}

#[test]
fn a_store_that_will_not_come_back_ends_it() {
    let (mut scene, _) = moving();
    scene.stores.get_mut(&StoreId(4)).expect("there").state = crate::StoreState::Tombstone;
    let ended = Some(Ending::Cancelled(CancelReason::StoreLost(StoreId(4))));
    assert_eq!(ending(&scene.after(5_000)), ended);
}

/// What was right when it was planned is judged again with each report.
#[test]
fn a_lead_goes_to_nobody_who_could_not_take_it() {
    let handing_over = || {
        let mut scene = Scene::new("1v 2v 3v");
        scene.begin(&Change::TransferLeader(StoreId(2))).expect("begins");
        scene
    };
    // Its leader does not hear it: it is waited for, without an order that would only make writes wait.
    let mut scene = handing_over();
    scene.down = vec![scene.peer_on(2)];
    assert_eq!(scene.after(10_000), []);
    scene.down.clear();
    let to = vec![scene.peer_on(2)];
    let events = scene.after(10_000);
    assert_eq!(order(&events).map(|it| &it.command), Some(&Command::TransferLeader(to)));
    // Its store is away, and may be back: the same.
    let mut scene = handing_over();
    scene.dead = vec![StoreId(2)];
    scene.after(10_000);
    assert_eq!(scene.after(15_000), []);
    // It leaves.
    let lost = Some(Ending::Cancelled(CancelReason::StoreLost(StoreId(2))));
    let mut scene = handing_over();
    scene.stores.get_mut(&StoreId(2)).expect("there").state = crate::StoreState::Offline;
    assert_eq!(ending(&scene.after(100)), lost);
    // It votes no more.
    let mut scene = handing_over();
    set(&mut scene, "1v 2l 3v");
    let changed = Some(Ending::Cancelled(CancelReason::MembersChanged));
    assert_eq!(ending(&scene.after(100)), changed);
    // One of several heirs is enough.
    let mut scene = Scene::new("1v 2v 3v");
    scene.begin(&Change::MovePeer { from: StoreId(1), to: StoreId(4) }).expect("begins");
    set(&mut scene, "1v 2v 3v 4l");
    scene.dead = vec![StoreId(2)];
    scene.after(21_000);
    let to = vec![scene.peer_on(3)];
    let events = scene.after(10_000);
    assert_eq!(order(&events).map(|it| &it.command), Some(&Command::TransferLeader(to)));
}

#[test]
fn a_new_voter_whose_store_is_lost_is_not_waited_for() {
    for (change, members) in [
        (Change::AddPeer(StoreId(4)), "1v 2v 3v 4l"),
        (Change::MovePeer { from: StoreId(3), to: StoreId(4) }, "1v 2v 3v 4l"),
    ] {
        let mut scene = Scene::new("1v 2v 3v");
        scene.begin(&change).expect("begins");
        set(&mut scene, members);
        assert!(order(&scene.after(100)).is_some(), "{change:?}");
        scene.stores.get_mut(&StoreId(4)).expect("there").state = crate::StoreState::Offline;
        let lost = Some(Ending::Cancelled(CancelReason::StoreLost(StoreId(4))));
        assert_eq!(ending(&scene.after(100)), lost, "{change:?}");
    }
}

#[test]
fn what_has_ended_is_forgotten_some_time() {
    let mut scene = Scene::new("1v 2v 3v");
    for round in 0..=controller::ENDED_MAX {
        let to = StoreId(2 + (round as u64 % 2));
        scene.begin(&Change::TransferLeader(to)).expect("begins");
        let at = scene.stamp();
        scene.controller.cancel(REGION, at).expect("runs");
    }
    let list = scene.controller.list();
    assert_eq!((list.running.len(), list.ended.len()), (0, controller::ENDED_MAX));
    assert!(list.ended[0].operator.id > list.ended[1].operator.id, "the last one first");
}

/// A vote of somebody who lacks the data costs what the region stands.
#[test]
fn only_who_has_caught_up_counts() {
    let mut scene = Scene::new("1v 2v 3v");
    scene.begin(&Change::AddLearner(StoreId(4))).expect("begins");
    set(&mut scene, "1v 2v 3v 4l");
    scene.pending = vec![scene.peer_on(4)];
    assert_eq!(scene.after(10_000), [], "it lacks the data");
    scene.pending.clear();
    scene.down = vec![scene.peer_on(4)];
    assert_eq!(scene.after(10_000), [], "it does not answer");
    scene.down.clear();
    assert_eq!(ending(&scene.after(10_000)), Some(Ending::Finished));

    for change in [
        Change::AddPeer(StoreId(4)),
        Change::MoveRegion([1, 2, 4].into_iter().map(StoreId).collect()),
    ] {
        let begun = scene.begin(&change).expect("begins");
        assert!(order(&begun).is_some(), "{change:?}");
        // The order was lost, and the learner has fallen behind since.
        scene.pending = vec![scene.peer_on(4)];
        assert_eq!(scene.after(10_000), [], "{change:?}");
        scene.pending.clear();
        assert!(order(&scene.after(10_000)).is_some(), "{change:?}");
        let at = scene.stamp();
        scene.controller.cancel(REGION, at).expect("runs");
    }
}
