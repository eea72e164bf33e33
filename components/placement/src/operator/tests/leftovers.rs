//! Learners that nobody makes anything of.

use super::{
    leftover::{ASKED_BY, GRACE, PAUSE, RUNNING_MAX},
    *,
};
use crate::StoreState;

impl Scene {
    /// The region reports, and what is due by then is planned: the steps.
    fn tidied(&mut self, leftovers: &mut Leftovers) -> Vec<String> {
        self.report();
        leftovers.on_report(&self.sight(), &self.controller, REGION);
        let plans = leftovers.look(&self.sight(), &self.controller);
        plans.iter().flat_map(|plan| plan.steps.iter().map(ToString::to_string)).collect()
    }

    /// The same where it is as it is for as long as nobody may come back to it.
    fn tidied_in_time(&mut self, leftovers: &mut Leftovers) -> Vec<String> {
        assert_eq!(self.tidied(leftovers), [""; 0], "not at once");
        self.pass(GRACE);
        self.tidied(leftovers)
    }

    /// The region has one peer more.
    fn meet(&mut self, peer: Peer) {
        self.region.peers.push(peer);
        self.region.epoch.conf_ver.0 += 1;
    }

    fn pass(&mut self, span: Span) {
        self.now = self.now + span;
    }
}

#[test]
fn a_learner_that_nobody_works_on_goes() {
    let mut scene = Scene::new("1v 2v 3v 4l");
    let mut leftovers = Leftovers::default();
    assert_eq!(leftovers.next_look(), Moment::NEVER);
    assert_eq!(scene.tidied(&mut leftovers), [""; 0], "not at once");
    assert_eq!(leftovers.next_look(), scene.now + GRACE);
    scene.pass(Span(GRACE.0 - 1));
    assert_eq!(scene.tidied(&mut leftovers), [""; 0], "a report does not put it off");
    scene.pass(Span(1));
    assert_eq!(scene.tidied(&mut leftovers), ["remove peer on store 4"]);
    assert_eq!(leftovers.next_look(), Moment::NEVER);
}

#[test]
fn what_an_operator_works_on_stays() {
    let mut scene = Scene::new("1v 2v 3v 4l");
    let mut leftovers = Leftovers::default();
    scene.tidied(&mut leftovers);
    scene.begin(&Change::AddPeer(StoreId(4))).expect("begun");
    scene.pass(GRACE);
    assert_eq!(scene.tidied(&mut leftovers), [""; 0]);
    assert_eq!(leftovers.next_look(), Moment::NEVER);
    let at = scene.stamp();
    scene.controller.cancel(REGION, at).expect("it runs");
    assert_eq!(scene.tidied(&mut leftovers), [""; 0], "its time begins");
    assert_eq!(leftovers.next_look(), scene.now + GRACE);
}

#[test]
fn other_regions_have_no_leftover() {
    for members in ["1v 2v 3v", "1v 2v 3v 4v", "1v 2v 3d 4i", "1v 2v 3d 4i 5l"] {
        let mut scene = Scene::new(members);
        let mut leftovers = Leftovers::default();
        scene.tidied(&mut leftovers);
        assert_eq!(leftovers.next_look(), Moment::NEVER, "{members}");
    }
    // A drain uses the learner.
    let mut scene = Scene::new("1v 2v 3v 4l");
    scene.stores.get_mut(&StoreId(3)).expect("there").state = StoreState::Offline;
    let mut leftovers = Leftovers::default();
    scene.tidied(&mut leftovers);
    assert_eq!(leftovers.next_look(), Moment::NEVER);
}

#[test]
fn a_learner_that_somebody_has_asked_for_stays() {
    let mut scene = Scene::new("1v 2v 3v");
    let mut leftovers = Leftovers::default();
    let plan = scene.plan(&Change::AddLearner(StoreId(4))).expect("planned");
    let begun = scene.begin_plan(plan, "test").expect("begun");
    leftovers.on_begun(&scene.controller.running(REGION).expect("it runs").plan);
    scene.tidied(&mut leftovers);
    let added = order(&begun).expect("an order").clone();
    scene.obey(&added, false);
    assert_eq!(shown(&scene.region), "1v 2v 3v 4l");
    scene.pending.clear();
    scene.tidied(&mut leftovers);
    assert!(scene.controller.is_empty(), "it is done");
    scene.pass(GRACE);
    scene.tidied(&mut leftovers);
    assert_eq!(leftovers.next_look(), Moment::NEVER);
    // Another one beside it is nobody's.
    scene.meet(Peer { id: PeerId(501), store: StoreId(5), role: PeerRole::Learner });
    assert_eq!(scene.tidied_in_time(&mut leftovers), ["remove peer on store 5"]);
    // Who comes when it has gone is another peer.
    scene.region.peers.retain(|peer| peer.store.get() < 4);
    scene.region.epoch.conf_ver.0 += 2;
    assert_eq!(scene.tidied_in_time(&mut leftovers), [""; 0]);
    let nothing = format!("{:?}", Leftovers::default());
    assert_eq!(format!("{leftovers:?}"), nothing, "nothing is remembered of it");
    scene.meet(Peer { id: PeerId(502), store: StoreId(4), role: PeerRole::Learner });
    assert_eq!(scene.tidied_in_time(&mut leftovers), ["remove peer on store 4"]);
}

#[test]
fn a_region_that_has_changed_meanwhile_is_left_alone() {
    let mut scene = Scene::new("1v 2v 3v 4l");
    let mut leftovers = Leftovers::default();
    scene.tidied(&mut leftovers);
    scene.region.peers = peers("1v 2v 3v 4v");
    scene.region.epoch.conf_ver.0 += 1;
    scene.pass(GRACE);
    // Its report comes, and nobody has told the leftovers yet.
    scene.report();
    assert_eq!(leftovers.look(&scene.sight(), &scene.controller), []);
    assert_eq!(leftovers.next_look(), Moment::NEVER);
}

/// Many regions are split with a learner at once: a few are changed at a time, and all in the end.
#[test]
fn a_few_at_a_time() {
    let mut scene = Scene::new("1v 2v 3v 4l");
    let mut leftovers = Leftovers::default();
    let regions: Vec<RegionId> = (0..2 * RUNNING_MAX as u64).map(|it| RegionId(100 + it)).collect();
    let whole = scene.region.clone();
    for (position, region) in regions.iter().enumerate() {
        let range = KeyRange::new(vec![b'n', position as u8], vec![b'n', position as u8 + 1]);
        scene.region = Region { id: *region, range, ..whole.clone() };
        scene.report();
        leftovers.on_report(&scene.sight(), &scene.controller, *region);
    }
    scene.pass(GRACE);
    let plans = leftovers.look(&scene.sight(), &scene.controller);
    assert_eq!(plans.len(), RUNNING_MAX);
    for plan in plans {
        scene.begin_plan(plan, ASKED_BY).expect("begun");
    }
    assert_eq!(leftovers.next_look(), scene.now + PAUSE, "not in vain at once");
    scene.pass(PAUSE);
    assert_eq!(leftovers.look(&scene.sight(), &scene.controller), [], "all hands are full");
    for region in &regions {
        let at = scene.stamp();
        scene.controller.cancel(*region, at);
    }
    scene.pass(PAUSE);
    assert_eq!(leftovers.look(&scene.sight(), &scene.controller).len(), RUNNING_MAX);
    assert_eq!(leftovers.next_look(), Moment::NEVER);
}

#[test]
fn a_learner_that_a_rule_asks_for_stays() {
    let rules = "a/a voter 3; a/b learner 1 disk:in=ssd";
    let mut scene = Scene::new("1v 2v 3v 4l 5l");
    scene.policy.rules = crate::rule::tests::book(rules);
    let record = scene.stores.get_mut(&StoreId(4)).expect("there");
    record.labels.push(("disk".to_owned(), "ssd".to_owned()));
    let mut leftovers = Leftovers::default();
    assert_eq!(
        scene.tidied_in_time(&mut leftovers),
        ["remove peer on store 5"],
        "of the other none"
    );
    scene.region.peers.retain(|peer| peer.store != StoreId(5));
    scene.region.epoch.conf_ver.0 += 1;
    assert_eq!(scene.tidied(&mut leftovers), [""; 0]);
    assert_eq!(leftovers.next_look(), Moment::NEVER);
}
