//! One table for each thing that is looked at.

use super::*;
use crate::{
    Ending, OperatorEvent, Stamp,
    ids::IdBatch,
    operator::{CancelReason, Step, controller::ENDED_MAX, drain},
};

const SIX: &str = "1; 2; 3; 4; 5; 6";
const ZONES: &str =
    "1 zone=a host=x; 2 zone=b host=x; 3 zone=c host=x; 4 zone=a host=y; 5 zone=b host=y";

/// Stores, members, what is found.
type Row = (&'static str, &'static str, &'static str);

fn all(rows: &[Row]) {
    for (stores, members, expected) in rows {
        assert_eq!(Scene::new(stores, members).found(), *expected, "{members} on {stores}");
    }
}

#[test]
fn what_is_whole_is_left_alone() {
    all(&[
        (SIX, "1v 2v 3v", "sound"),
        ("1; 2 cut; 3 busy; 4", "1v 2v 3v", "sound"),
        (SIX, "1v 2v? 3v", "sound"),
        // Somebody's wish, or nobody's: not the checker's.
        (SIX, "1v 2v 3v 4l", "sound"),
    ]);
}

#[test]
fn what_is_missing_comes_where_least_is_carried() {
    all(&[
        (SIX, "1v 2v", "add-rule-peer: add peer: store [3]"),
        ("1; 2; 3 holds=9; 4 holds=3; 5 holds=5", "1v 2v", "add-rule-peer: add peer: store [4]"),
        ("1; 2; 3 holds=9 weight=9000; 4 holds=3", "1v 2v", "add-rule-peer: add peer: store [3]"),
        ("1; 2; 3 weight=0; 4 holds=99", "1v 2v", "add-rule-peer: add peer: store [4]"),
        // A learner that is there already is used, whoever carries less.
        ("1; 2; 3; 4 holds=99", "1v 2v 4l", "fix-peer-role: add peer: store [4]"),
        (
            "1; 2; 3; 4 down",
            "1v 2v 4l",
            "add-rule-peer: set peers: voters on [1 2 3], learners on []",
        ),
        ("1; 2; 3; 4 full", "1v 2v 4l", "fix-peer-role: add peer: store [4]"),
        // What passes keeps one store out, where there are no places; what lasts is no place.
        ("1; 2; 3 busy; 4 holds=9", "1v 2v", "add-rule-peer: add peer: store [4]"),
        (
            "1; 2; 3 full; 4 cut; 5 down; 6 leaving",
            "1v 2v",
            "stuck: no store can take a voter for placement rule \
          pd/default: not to store 3: only 10 MiB of its 1000 MiB are free; not to store 4: it is disconnected; not to \
          store 5: it is down; not to store 6: it is being emptied. Start another store, or ask for fewer",
        ),
        ("1; 2; 3 busy", "1v 2v", "stuck: waits for store 3: it is busy"),
        (
            "1; 2",
            "1v 2v",
            "stuck: no store can take a voter for placement rule pd/default: each store that could have one \
          has one already. Start another store, or ask for fewer",
        ),
    ]);
}

#[test]
fn what_is_lost_is_made_anew_before_it_goes() {
    all(&[
        ("1; 2; 3 down; 4", "1v 2v 3v", "replace-rule-down-peer: mv peer: store [3] to [4]"),
        ("1; 2; 3 cut; 4", "1v 2v 3v", "sound"),
        ("1; 2; 3 leaving; 4", "1v 2v 3v", "replace-rule-offline-peer: mv peer: store [3] to [4]"),
        ("1; 2; 3 gone; 4", "1v 2v 3v", "replace-rule-offline-peer: mv peer: store [3] to [4]"),
        ("1; 2; 4", "1v 2v 3v", "replace-rule-down-peer: mv peer: store [3] to [4]"),
        // What is down goes before what leaves, and what is missing before both.
        (
            "1 leaving; 2; 3 down; 4",
            "2v 1v 3v",
            "replace-rule-down-peer: mv peer: store [3] to [4]",
        ),
        ("1; 2 leaving; 4", "1v 2v", "add-rule-peer: add peer: store [4]"),
        // A learner is used; an extra voter as well, and then the one that is down goes.
        ("1; 2; 3 down; 4; 5", "1v 2v 3v 5l", "replace-rule-down-peer: mv peer: store [3] to [5]"),
        ("1; 2; 3 down; 4; 5", "1v 2v 3v 5v", "remove-orphan-peer: rm peer: store [3]"),
        // pd#3904: the one that is well is never the one that goes.
        ("1; 2; 3; 4 down", "1v 2v 3v 4v", "remove-orphan-peer: rm peer: store [4]"),
        (
            "1; 2; 3 down",
            "1v 2v 3v",
            "stuck: no store can take a voter for placement rule pd/default: each store that could \
          have one has one already. Start another store, or ask for fewer",
        ),
        // A learner in place of a voter is of no use to anybody where its store leaves.
        ("1; 2; 3 leaving", "1v 2v 3l", "remove-orphan-peer: rm peer: store [3]"),
        (
            "1; 2; 3 leaving; 4",
            "1v 2v 3l",
            "add-rule-peer: set peers: voters on [1 2 4], learners on []",
        ),
        ("1; 2; 3; 4 leaving", "1v 2v 3v 4l", "remove-orphan-peer: rm peer: store [4]"),
        // The leader's own store leaves.
        ("1 leaving; 2; 3; 4", "1v 2v 3v", "replace-rule-offline-peer: mv peer: store [1] to [4]"),
    ]);
}

#[test]
fn what_is_left_over_goes_when_all_others_are_well() {
    all(&[
        (SIX, "1v 2v 3v 4v", "remove-orphan-peer: rm peer: store [4]"),
        (SIX, "1v 2v 3v? 4v", "remove-orphan-peer: rm peer: store [3]"),
        ("1; 2; 3 cut; 4", "1v 2v 3v 4v", "remove-orphan-peer: rm peer: store [3]"),
        ("1; 2; 3 cut; 4; 5 cut", "1v 2v 3v 5v 4v", "remove-orphan-peer: rm peer: store [3]"),
        (
            SIX,
            "1v 2v 3v? 4v?",
            "stuck: the replica on store 4, for which no rule asks, stays until all that rules ask for are healthy",
        ),
        // The one whose store carries most, of those that are as far apart.
        (
            "1; 2; 3; 4 holds=1; 5 holds=9; 6",
            "1v 2v 3v 4v 5v",
            "remove-orphan-peer: rm peer: store [5]",
        ),
        (
            "1; 2; 3; 4 leaving; 5 down; 6",
            "1v 2v 3v 4v 5v",
            "remove-orphan-peer: rm peer: store [5]",
        ),
        ("1; 2; 3; 4 leaving; 5; 6", "1v 2v 3v 4v 5v", "remove-orphan-peer: rm peer: store [4]"),
    ]);
    let scene =
        Scene::new("1 zone=a; 2 zone=b; 3 zone=c; 4 zone=c; 5 zone=d holds=9", "1v 2v 3v 4v 5v");
    let scene = scene.set("location-labels", "zone");
    assert_eq!(
        scene.found(),
        "remove-orphan-peer: rm peer: store [4]",
        "who stands in the way of others"
    );
}

/// pd#4045, pd#7584: a region moves from one zone to another, and has all its replicas there before it loses one here.
#[test]
fn a_move_of_all_replicas_never_lacks_one() {
    let rule = "a/a voter 3 zone:in=b";
    let stores = "1 zone=a; 2 zone=a; 3 zone=a; 4 zone=b; 5 zone=b; 6 zone=b";
    let found = |members: &str| Scene::new(stores, members).rules(rule).found();
    assert_eq!(found("1v 2v 3v"), "add-rule-peer: add peer: store [4]");
    assert_eq!(found("1v 2v 3v 4v"), "add-rule-peer: add peer: store [5]");
    assert_eq!(found("1v 2v 3v 4v 5v"), "add-rule-peer: add peer: store [6]");
    assert_eq!(found("1v 2v 3v 4v 5v 6v"), "remove-orphan-peer: rm peer: store [1]");
    assert_eq!(
        found("2v 3v 4v 5v 6v?"),
        "stuck: the replica on store 2, for which no rule asks, stays until all that \
        rules ask for are healthy"
    );
    assert_eq!(found("2v 4v 5v 6v"), "remove-orphan-peer: rm peer: store [2]");
    assert_eq!(found("4v 5v 6v"), "sound");
    let few =
        Scene::new("1 zone=a; 2 zone=a; 3 zone=a; 4 zone=b; 5 zone=b", "1v 2v 4v 5v").rules(rule);
    assert_eq!(
        few.found(),
        "stuck: no store can take a voter for placement rule a/a: each store that could have one has \
        one already. Start another store, or ask for fewer"
    );
    let none = Scene::new(SIX, "1v 2v 3v").rules(rule);
    assert_eq!(
        none.found(),
        "stuck: no store is as placement rule a/a asks (zone in [b]): start one with such labels, or \
        change the rule"
    );
}

#[test]
fn a_joint_change_is_left() {
    all(&[
        (SIX, "1v 2v 3d 4i", "leave-joint-state: leave joint state"),
        (SIX, "1d 2v 3v 4i", "leave-joint-state: leave joint state"),
        // With what is to be done anyway.
        ("1; 2; 3 leaving; 4", "1v 2v 3d 4i", "remove-orphan-peer: rm peer: store [3]"),
        (SIX, "1v 2i", "add-rule-peer: add peer: store [3]"),
        ("1; 2", "1v 2i", "leave-joint-state: leave joint state"),
    ]);
    let Finding::Do(intent) = Scene::new(SIX, "1d 2v 3v 4i").find() else { panic!("it is done") };
    let steps: Vec<String> = intent.plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["transfer leader from store 1 to store 2", "leave joint state"], "pd#3499");
}

#[test]
fn replicas_count_for_what_rules_ask() {
    for (members, rules, expected) in [
        ("1v 2v 3l", "a/a voter 3", "fix-peer-role: add peer: store [3]"),
        (
            "1v 2v 3v 4v",
            "a/a voter 3; a/b learner 1",
            "fix-peer-role: set peers: voters on [1 2 3], learners on [4]",
        ),
        (
            "1v 2v 3v? 4v?",
            "a/a voter 3; a/b learner 1",
            "stuck: store 4 keeps its vote until the other voters are healthy",
        ),
        ("1v 2v 3v", "a/a voter 3; a/b learner 1", "add-rule-peer: add learner: store [4]"),
        ("1v 2v 3v 4l", "a/a voter 3; a/b learner 1", "sound"),
        ("1v 2v 4l", "a/a voter 3; a/b learner 1", "fix-peer-role: add peer: store [4]"),
        (
            "1v 2v 3v",
            "a/a leader 1 host:in=h2; a/b voter 2",
            "fix-leader-role: transfer leader: store 1 to 2",
        ),
        ("2v 1v 3v", "a/a leader 1 host:in=h2; a/b voter 2", "sound"),
        (
            "1v 2v 3v",
            "a/a follower 2 host:in=h1,h3; a/b voter 1",
            "fix-leader-role: transfer leader: store 1 to 2",
        ),
        (
            "1v 2v? 3v",
            "a/a leader 1 host:in=h2; a/b voter 2",
            "stuck: the peer of region 2 on store 2 cannot lead: it does not \
          answer, or lags behind",
        ),
        (
            "1v 2v 3v",
            "a/a voter 3 b..f; a/b voter 3 f..",
            "rule-split-region: split region: policy USEKEY",
        ),
    ] {
        let stores = "1 host=h1; 2 host=h2; 3 host=h3; 4 host=h4; 5 host=h5";
        let scene = Scene::new(stores, members).rules(rules);
        assert_eq!(scene.found(), expected, "{members} by {rules}");
    }
    let scene =
        Scene::new("1; 2 host=h2; 3", "1v 2v 3v").rules("a/a leader 1 host:in=h2; a/b voter 2");
    let mut fleet = Fleet::of(scene.sight(), &scene.operators);
    fleet.evict(StoreId(2));
    let info = scene.view.region(REGION).expect("there");
    let stuck = Finding::Stuck("the lead waits for store 2: it is kept free of leads".to_owned());
    assert_eq!(
        check(&fleet, info, &Setbacks::of(&scene.operators, scene.now)),
        stuck,
        "who evicts has the last word"
    );
}

/// pd#2419: a learner that no rule asks for does not keep its store from leaving, whatever else is not possible.
#[test]
fn what_is_stuck_holds_up_nothing_else() {
    let rules = "a/a voter 3; a/b learner 1 disk:in=ssd";
    let scene = Scene::new("1; 2; 3; 4 leaving", "1v 2v 3v 4v").rules(rules);
    assert_eq!(scene.found(), "remove-orphan-peer: rm peer: store [4]");
    let scene = Scene::new("1; 2; 3; 4 leaving", "1v 2v 3v 4l").rules(rules);
    assert_eq!(scene.found(), "remove-orphan-peer: rm peer: store [4]");
    let scene = Scene::new("1; 2; 3; 4 leaving", "1v 2v 3v").rules(rules);
    assert!(scene.found().starts_with("stuck: no store is as placement rule a/b asks"));
}

#[test]
fn replicas_are_as_far_apart_as_can_be() {
    for (stores, members, level, expected) in [
        (ZONES, "1v 2v 3v", "", "sound"),
        (ZONES, "1v 2v", "", "add-rule-peer: add peer: store [3]"),
        (ZONES, "1v 4v 2v", "", "move-to-better-location: mv peer: store [4] to [3]"),
        (ZONES, "4v 1v 2v", "", "move-to-better-location: mv peer: store [1] to [3]"),
        // A better place that is not to be had for a moment is waited for, and no worse one is taken.
        (
            "1 zone=a; 2 zone=b; 3 zone=c busy; 4 zone=a",
            "1v 2v",
            "",
            "stuck: waits for store 3: it is busy",
        ),
        (
            "1 zone=a; 2 zone=b; 3 zone=c busy; 4 zone=a",
            "1v 2v 4v",
            "",
            "stuck: waits for store 3: it is busy",
        ),
        (
            "1 zone=a; 2 zone=b; 3 zone=c full; 4 zone=a",
            "1v 2v",
            "",
            "add-rule-peer: add peer: store [4]",
        ),
        ("1 zone=a; 2 zone=b; 3 zone=c full; 4 zone=a", "1v 2v 4v", "", "sound"),
        // Nothing moves for nothing.
        ("1 zone=a; 2 zone=b; 3 zone=b; 4 zone=a", "1v 2v 3v", "", "sound"),
        ("1 zone=a; 2 zone=b; 3 zone=c; 4 zone=c; 5 zone=c", "1v 2v 3v", "", "sound"),
        // No two in one zone, even if there is nowhere else.
        (
            "1 zone=a; 2 zone=b; 4 zone=a",
            "1v 2v",
            "zone",
            "stuck: no store in another zone than a, b is up with room: start one \
          there, or lower isolation-level",
        ),
        (
            "1 zone=a; 2 zone=b; 3 zone=c full; 4 zone=a",
            "1v 2v 4v",
            "zone",
            "stuck: no store in another zone than a, b is up with \
          room: start one there, or lower isolation-level",
        ),
        (
            "1 zone=a; 2 zone=b; 3 zone=c; 4 zone=a",
            "1v 2v 4v",
            "zone",
            "move-to-better-location: mv peer: store [4] to [3]",
        ),
        (
            "1 zone=a; 2 zone=b; 3 zone=c down; 4 zone=a",
            "1v 2v 3v",
            "zone",
            "stuck: no store in another zone than a, b is up with \
          room: start one there, or lower isolation-level",
        ),
        // All in one zone: one after the other.
        (
            "1 zone=a; 4 zone=a; 5 zone=a; 2 zone=b; 3 zone=c",
            "1v 4v 5v",
            "zone",
            "move-to-better-location: mv peer: store [4] to [2]",
        ),
    ] {
        let scene = Scene::new(stores, members).set("location-labels", "zone,host");
        let scene = if level.is_empty() { scene } else { scene.set("isolation-level", level) };
        assert_eq!(scene.found(), expected, "{members} on {stores}");
    }
}

/// pd#11284: a move that makes the sum larger and puts two on one host is none.
#[test]
fn no_two_on_one_host_counts_more_than_a_larger_sum() {
    let stores = "1 zone=a host=x; 2 zone=a host=y; 3 zone=b host=z; 4 zone=b host=z";
    let scene = Scene::new(stores, "1v 2v 3v").set("location-labels", "zone,host");
    let scene = scene.set("isolation-level", "host");
    assert_eq!(scene.found(), "sound");
    let four = Scene::new(stores, "1v 2v 3v").rules("a/a voter 4 spread=zone,host level=host");
    assert!(
        four.found().starts_with("stuck: no store in another host than a/x, a/y, b/z is up"),
        "{}",
        four.found()
    );
}

#[test]
fn what_is_switched_off_says_so() {
    for (stores, members, switch, expected) in [
        (
            SIX,
            "1v 2v",
            "enable-make-up-replica",
            "placement rule pd/default asks for 3 voters and 2 are there",
        ),
        (
            "1; 2; 3 down; 4",
            "1v 2v 3v",
            "enable-remove-down-replica",
            "store 3 is down, and placement rule pd/default asks for 3 voters",
        ),
        (
            "1; 2; 3 leaving; 4",
            "1v 2v 3v",
            "enable-replace-offline-replica",
            "store 3 is leaving, and placement rule pd/default asks for 3 voters",
        ),
        (
            SIX,
            "1v 2v 3v 4v",
            "enable-remove-extra-replica",
            "no rule asks for the replica on store 4",
        ),
    ] {
        let scene = Scene::new(stores, members).set(switch, "false");
        assert_eq!(
            scene.found(),
            format!("stuck: {expected}: nothing is done, since {switch} is false")
        );
    }
    let scene = Scene::new(ZONES, "1v 4v 2v").set("location-labels", "zone");
    assert_eq!(scene.set("enable-location-replacement", "false").found(), "sound");
    let scene =
        Scene::new("1; 2; 3; 4 leaving", "1v 2v 3v 4v").set("enable-remove-extra-replica", "false");
    assert_eq!(scene.found(), "remove-orphan-peer: rm peer: store [4]", "it has to be emptied");
}

#[test]
fn a_decision_tells_why_and_what_else_could_have_been() {
    let stores = "1 zone=a; 2 zone=b; 3 zone=c holds=9; 4 zone=c holds=20; 5 zone=b; 6 zone=c busy; 7 zone=d full; 8 zone=a";
    let scene = Scene::new(stores, "1v 2v").set("location-labels", "zone");
    let Finding::Do(intent) = scene.find() else { panic!("{}", scene.found()) };
    let Decision { by, region, brief, why, alternatives } = &intent.decision;
    assert_eq!((*by, *region, brief.as_str()), ("add-rule-peer", REGION, "add peer: store [3]"));
    assert_eq!(
        why,
        "placement rule pd/default asks for 3 voters and 2 are there; store 3 carries 17 MiB for its share"
    );
    let told: Vec<String> =
        alternatives.iter().map(|it| format!("{}: {}", it.store, it.why)).collect();
    assert_eq!(
        told,
        [
            "6: it is busy",
            "7: only 10 MiB of its 1000 MiB are free",
            "4: it carries 28 MiB for its share, store 3 carries 17 MiB",
            "5: it is less far from the other replicas: 1 instead of 2",
        ]
    );
}

impl Scene {
    /// Begins what is found, as its finder or somebody else, and lets its time pass.
    fn fail(&mut self, asked_by: Option<&'static str>) {
        let Finding::Do(intent) = self.find() else { panic!("{}", self.found()) };
        let count = u64::from(intent.plan.new_peers());
        let ids = IdBatch { first: 700, last: 699 + count };
        let plan = if count == 0 { intent.plan } else { intent.plan.with_ids(ids) };
        let sight =
            Sight { stores: &self.stores, policy: &self.policy, view: &self.view, now: self.now };
        let at = Stamp { now: self.now, unix_ms: 1 };
        let asked_by = asked_by.unwrap_or(intent.decision.by);
        self.operators.begin(&sight, plan, (asked_by, at)).expect("begun");
        let at = Stamp { now: self.operators.next_deadline(), unix_ms: 1 };
        let ended = self.operators.on_time(at);
        let is_late = |it: &OperatorEvent| matches!(it, OperatorEvent::Ended(ended) if ended.ending == Ending::TimedOut);
        assert!(ended.iter().any(is_late), "{:?}", CancelReason::Stopped);
    }
}

impl Scene {
    /// Many leads are transferred, so that no other operator that has ended is remembered.
    fn transfer_many(&mut self) {
        for _transfer in 0..=ENDED_MAX {
            let at = Stamp { now: self.now, unix_ms: 1 };
            let sight = Sight {
                stores: &self.stores,
                policy: &self.policy,
                view: &self.view,
                now: self.now,
            };
            let plan = sight.plan(REGION, &Change::TransferLeader(StoreId(2))).expect("possible");
            self.operators.begin(&sight, plan, ("balance-leader", at)).expect("begun");
            self.operators.cancel(REGION, at).expect("it runs");
        }
    }
}

#[test]
fn transfers_of_leads_push_out_nothing_of_what_came_and_what_failed() {
    let mut scene = Scene::new("1; 2; 3 down; 4; 5 holds=5", "1v 2v 3v");
    scene.fail(None);
    scene.transfer_many();
    assert_eq!(scene.found(), "replace-rule-down-peer: mv peer: store [3] to [5]");
    let fleet = Fleet::of(scene.sight(), &scene.operators);
    assert_eq!(fleet.seat(StoreId(4)).map(|seat| seat.arrivals), Some(1));
}

/// One that is busy would only hand on what it got, and one that leads much leads enough.
#[test]
fn the_lead_goes_where_it_can_stay() {
    let heirs = |stores: &str| {
        let Finding::Do(intent) = Scene::new(stores, "1v* 2v 3v 5v").find() else {
            panic!("it is emptied")
        };
        let to = intent.plan.steps.iter().find_map(|step| match step {
            Step::TransferLeader { to, .. } => Some(to.iter().map(|peer| peer.store.get())),
            _ => None,
        });
        to.expect("it leads").collect::<Vec<u64>>()
    };
    let heirs = |second: &str| heirs(&format!("1 leaving; 2 {second}; 3 busy; 4; 5"));
    assert_eq!(heirs(""), [2, 5]);
    assert_eq!(heirs("busy"), [5]);
    assert_eq!(heirs("holds=1"), [5, 2]);
}

#[test]
fn who_was_waited_for_in_vain_comes_last() {
    for asked_by in [None, Some(drain::ASKED_BY)] {
        let mut scene = Scene::new("1; 2; 3 down; 4; 5 holds=5", "1v 2v 3v");
        scene.fail(asked_by);
        assert_eq!(scene.found(), "replace-rule-down-peer: mv peer: store [3] to [5]");
        // What the attempt has left goes in the same turn.
        scene.region.peers.push(Peer {
            id: PeerId(700),
            store: StoreId(4),
            role: PeerRole::Learner,
        });
        scene.region.epoch.conf_ver.0 += 1;
        scene.report();
        let expected = "replace-rule-down-peer: set peers: voters on [1 2 5], learners on []";
        assert_eq!(scene.found(), expected);
    }
    // A worse place is better than one that does not come.
    let stores = "1 zone=a; 2 zone=b; 3 zone=c; 4 zone=a";
    let mut scene = Scene::new(stores, "1v 2v").set("location-labels", "zone");
    scene.fail(None);
    assert_eq!(scene.found(), "add-rule-peer: add peer: store [4]");
    // And is not left for it at once.
    scene.region.peers.push(peer("4v"));
    scene.region.epoch.conf_ver.0 += 1;
    scene.report();
    assert_eq!(scene.found(), "sound");
    scene.operators = OperatorController::default();
    assert_eq!(scene.found(), "move-to-better-location: mv peer: store [4] to [3]");
}

/// What is under way to a store counts for it, and keeps others out.
#[test]
fn copies_on_their_way_are_waited_for() {
    let scene = Scene::new("1 zone=a; 2 zone=b; 3 zone=c; 4 zone=a", "1v 2v");
    let scene = scene.set("location-labels", "zone").set("copies-per-store-limit", "0");
    assert_eq!(scene.found(), "stuck: waits for store 3: 0 copies are on their way to it");
}

#[test]
fn two_in_one_place_are_never_called_sound() {
    let near = "stuck: placement rule pd/default asks for 3 voters, no two of them in one zone, and two are: ";
    let scene = |members: &str| Scene::new(ZONES, members).set("location-labels", "zone");
    let found = scene("1v 4v 2v").set("isolation-level", "zone");
    assert_eq!(
        found.set("enable-location-replacement", "false").found(),
        format!("{near}nothing is done, since enable-location-replacement is false")
    );
    assert_eq!(scene("1v 4v? 2v").found(), "sound", "what lags is left in peace");
    let found = scene("1v 4v? 2v").set("isolation-level", "zone").found();
    assert_eq!(found, format!("{near}none moves until all of them are healthy"));
    // A learner that is in the better place is used.
    let found = scene("1v 4v 2v 3l").set("isolation-level", "zone").found();
    assert_eq!(found, "move-to-better-location: mv peer: store [4] to [3]");
}

/// A voter that counts for a learner is a voter all the same.
#[test]
fn a_vote_is_not_lost_while_another_voter_is_ill() {
    let rules = "a/a voter 3; a/b learner 1 host:in=x";
    let found = |first: &str, third: &str| {
        let stores = format!("1 {first}; 2 host=x; 3 host=x {third}; 4 host=y; 5; 6");
        Scene::new(&stores, "5v 1v 3v 6v").rules(rules).found()
    };
    let keeps = "stuck: store 3 keeps its vote until the other voters are healthy";
    assert_eq!(found("cut", "leaving"), keeps);
    let replaced = "set peers: voters on [1 5 6], learners on [2]";
    assert_eq!(found("", "leaving"), format!("replace-rule-offline-peer: {replaced}"));
    assert_eq!(found("", "down"), format!("replace-rule-down-peer: {replaced}"));
    assert_eq!(found("", ""), "add-rule-peer: add learner: store [2]", "any three vote");
}
