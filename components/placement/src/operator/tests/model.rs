//! A region that obeys orders, delays them or ignores them, whose leader changes, which is split and changed by others:
//! in the end it is as it was to be, or the operator says why not. Nothing that is ordered harms it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What happens between two reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// The orders that came are carried out, late ones first.
    Obey,
    /// They are kept for later.
    Delay,
    /// They are lost.
    Lose,
    /// Somebody else leads.
    Elect(usize),
    /// Somebody else adds a learner, or removes one.
    Meddle(usize),
    /// It has fewer keys.
    Split,
}

pub(super) fn any_turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        6 => Just(Turn::Obey),
        1 => Just(Turn::Delay),
        1 => Just(Turn::Lose),
        2 => (0..6_usize).prop_map(Turn::Elect),
        1 => Just(Turn::Split),
    ]
}

fn any_turn_of_strangers() -> impl Strategy<Value = Turn> {
    prop_oneof![12 => any_turn(), 1 => (0..6_usize).prop_map(Turn::Meddle)]
}

pub(super) fn any_members() -> impl Strategy<Value = String> {
    let roles =
        prop::collection::vec(prop::sample::select(vec!["v", "v", "v", "l", "i", "d"]), 1..6);
    roles.prop_map(|roles| {
        let words = (1..).zip(roles).map(|(store, role)| format!("{store}{role}"));
        words.collect::<Vec<_>>().join(" ")
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    let store = || (1..7_u64).prop_map(StoreId);
    prop_oneof![
        store().prop_map(Change::TransferLeader),
        store().prop_map(Change::AddPeer),
        store().prop_map(Change::AddLearner),
        store().prop_map(Change::RemovePeer),
        (store(), store()).prop_map(|(from, to)| Change::MovePeer { from, to }),
        (store(), store()).prop_map(|(from, to)| Change::MoveLeader { from, to }),
        prop::collection::btree_set(store(), 1..5).prop_map(Change::MoveRegion),
        prop::collection::btree_map(store(), any::<bool>(), 0..5).prop_map(Change::SetPeers),
        Just(Change::LeaveJoint),
        Just(Change::SplitRegion(SplitAt::Keys(vec!["k".into()]))),
    ]
}

impl Scene {
    pub(super) fn is_alive(&self, peer: Peer) -> bool {
        !self.dead.contains(&peer.store) && !self.pending.iter().any(|it| it.id == peer.id)
    }

    /// Carries an order out as a store would: not where it is meant for another leader or epoch.
    pub(super) fn obey(&mut self, order: &Order, is_counted_each: bool) {
        if order.epoch != self.region.epoch || order.leader.id != self.leader.id {
            return;
        }
        let shape = step_shape(&self.region);
        match &order.command {
            Command::ChangePeer(change) => {
                assert!(!shape.is_joint(), "a simple change in a joint one");
                self.change(&[*change], is_counted_each);
            }
            Command::ChangePeers(changes) => {
                assert!(!shape.is_joint(), "two joint changes");
                self.change(changes, is_counted_each);
            }
            Command::LeaveJoint => {
                assert!(shape.is_joint(), "no joint change to leave");
                self.region.peers = shape.left().peers().collect();
                self.region.epoch.conf_ver.0 += 1 + u64::from(is_counted_each);
            }
            Command::TransferLeader(to) => {
                let fit = to.iter().find(|peer| self.is_alive(**peer));
                self.leader = fit.and_then(|peer| self.region.peer(peer.id)).unwrap_or(self.leader);
            }
            Command::Split(_) => self.split(),
        }
        self.check();
    }

    fn change(&mut self, changes: &[PeerChange], is_counted_each: bool) {
        let is_joint = changes.len() > 1;
        let takes_lead = |change: &PeerChange| {
            change.peer.id == self.leader.id && change.kind != PeerChangeKind::Voter
        };
        if changes.iter().any(takes_lead) {
            // A leader begins no change that takes its own vote.
            return;
        }
        for PeerChange { kind, peer } in changes {
            let known = self.region.peer_on(peer.store);
            assert!(known.is_none_or(|known| known.id == peer.id), "two peers on one store");
            self.region.peers.retain(|it| it.store != peer.store);
            let was_voter = known.is_some_and(|known| known.role == PeerRole::Voter);
            let role = match (kind, was_voter, is_joint) {
                (PeerChangeKind::Remove, false, false) => continue,
                (PeerChangeKind::Voter, false, true) => PeerRole::IncomingVoter,
                (PeerChangeKind::Learner, true, true) => PeerRole::DemotingVoter,
                (PeerChangeKind::Voter, false, false) => PeerRole::Voter,
                (PeerChangeKind::Learner, _, false) => PeerRole::Learner,
                other => panic!("{other:?}"),
            };
            let new = Peer { role, ..*peer };
            self.region.peers.push(new);
            if known.is_none() {
                self.pending.push(new);
            }
        }
        let counted = if is_counted_each { changes.len() as u64 } else { 1 };
        self.region.epoch.conf_ver.0 += counted;
    }

    fn split(&mut self) {
        if self.region.range.start.as_ref() < b"k".as_slice() {
            self.region.range.start = format!("k{}", self.region.epoch.version).into();
            self.region.epoch.version.0 += 1;
        }
    }

    fn check(&self) {
        let shape = step_shape(&self.region);
        assert!(shape.has_majority(|peer| self.is_alive(peer)), "stuck: {}", shown(&self.region));
        let leader = self.region.peer(self.leader.id).expect("a leader that is no member");
        assert!(leader.role != PeerRole::Learner, "a learner leads: {}", shown(&self.region));
    }

    pub(super) fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Elect(pick) => {
                let voters = self.region.peers.iter().filter(|it| it.role != PeerRole::Learner);
                let fit: Vec<Peer> = voters.copied().filter(|it| self.is_alive(*it)).collect();
                self.leader = fit[pick % fit.len()];
            }
            Turn::Split => self.split(),
            Turn::Meddle(pick) if !step_shape(&self.region).is_joint() => {
                let store = StoreId(1 + pick as u64);
                match self.region.peer_on(store) {
                    Some(peer) if peer.role == PeerRole::Learner => {
                        self.region.peers.retain(|it| it.store != store);
                    }
                    Some(_) => return,
                    None => {
                        let id = PeerId(900 + self.region.epoch.conf_ver.get());
                        let peer = Peer { id, store, role: PeerRole::Learner };
                        self.region.peers.push(peer);
                    }
                }
                self.region.epoch.conf_ver.0 += 1;
            }
            Turn::Meddle(_) | Turn::Obey | Turn::Delay | Turn::Lose => {}
        }
        // The leader's own word for what it counts for.
        self.leader = self.region.peer(self.leader.id).unwrap_or(self.leader);
    }
}

pub(super) fn step_shape(region: &Region) -> shape::Shape {
    shape::Shape::of(region)
}

/// The stores of those that vote, and of the others, when no joint change is under way.
pub(super) fn placed(region: &Region) -> (BTreeSet<StoreId>, BTreeSet<StoreId>) {
    let left = step_shape(region).left();
    let of = |role| left.peers().filter(move |it| it.role == role).map(|it| it.store).collect();
    (of(PeerRole::Voter), of(PeerRole::Learner))
}

/// What the change asks for, whichever way leads there.
fn assert_fulfilled(change: &Change, before: &Region, scene: &Scene) {
    let (mut voters, mut learners) = placed(before);
    match change {
        Change::TransferLeader(store) => assert_eq!(scene.leader.store, *store),
        Change::SplitRegion(_) => assert_ne!(scene.region.range, before.range),
        Change::AddPeer(store) => {
            learners.remove(store);
            voters.insert(*store);
        }
        Change::AddLearner(store) => _ = learners.insert(*store),
        Change::RemovePeer(store) => _ = (voters.remove(store), learners.remove(store)),
        Change::MovePeer { from, to } => {
            let half = if voters.remove(from) { &mut voters } else { &mut learners };
            half.remove(from);
            half.insert(*to);
            // A learner that was there already is the one that votes.
            learners = &learners - &voters;
        }
        Change::MoveLeader { from, to } => {
            // Who leads is for voters to say, also meanwhile.
            (_, _) = (voters.remove(from), learners.remove(from));
            voters.insert(*to);
            learners = &learners - &voters;
        }
        Change::MoveRegion(stores) => (voters, learners) = (stores.clone(), BTreeSet::new()),
        Change::SetPeers(peers) => {
            let of = |votes| peers.iter().filter(move |it| *it.1 == votes).map(|it| *it.0);
            (voters, learners) = (of(true).collect(), of(false).collect());
        }
        Change::LeaveJoint => {}
    }
    assert_eq!(placed(&scene.region), (voters, learners), "{change:?} of {}", shown(before));
    let may_be_joint = matches!(change, Change::TransferLeader(_) | Change::SplitRegion(_));
    assert!(may_be_joint || !step_shape(&scene.region).is_joint(), "{}", shown(&scene.region));
}

/// A scene whose region has a leader and a living majority; `None` where the draw has none.
pub(super) fn begin_with(members: &str, dead: Option<u64>) -> Option<Scene> {
    let is_voter = |peer: &Peer| peer.role != PeerRole::Learner;
    let leader = *peers(members).iter().find(|it| is_voter(it) && Some(it.store.get()) != dead)?;
    let mut scene = Scene::new(members);
    scene.leader = leader;
    scene.dead = dead.map(StoreId).into_iter().collect();
    scene.down =
        scene.region.peers.iter().copied().filter(|it| scene.dead.contains(&it.store)).collect();
    scene.after(30_000);
    step_shape(&scene.region).has_majority(|peer| scene.is_alive(peer)).then_some(scene)
}

/// Runs an operator to its end; how it ended.
fn run(
    scene: &mut Scene,
    begun: Vec<OperatorEvent>,
    turns: &[Turn],
    is_counted_each: bool,
) -> Ending {
    let mut events = begun;
    let mut orders: Vec<Order> = Vec::new();
    for number in 0..4_000 {
        if let Some(ended) = ending(&events) {
            return ended;
        }
        orders.extend(order(&events).cloned());
        let turn = turns.get(number).copied().unwrap_or(Turn::Obey);
        match turn {
            Turn::Obey => {
                // Learners that are alive catch up in between.
                scene.pending.retain(|peer| scene.dead.contains(&peer.store));
                for order in std::mem::take(&mut orders) {
                    scene.obey(&order, is_counted_each);
                }
            }
            Turn::Lose => orders.clear(),
            other => scene.turn(other),
        }
        scene.turn(Turn::Delay);
        events = scene.after(10_000);
        let at = scene.stamp();
        events.extend(scene.controller.on_time(at));
    }
    panic!("it never ends: {:?}", scene.controller.list());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_region_is_as_wanted_or_the_operator_says_why_not(
        members in any_members(),
        change in any_change(),
        dead in prop::option::weighted(0.3, 1..7_u64),
        turns in prop::collection::vec(any_turn_of_strangers(), 0..40),
        is_counted_each: bool,
    ) {
        let Some(mut scene) = begin_with(&members, dead) else { return Ok(()) };
        let before = scene.region.clone();
        let Ok(begun) = scene.begin(&change) else { return Ok(()) };
        let ended = run(&mut scene, begun, &turns, is_counted_each);
        let is_meddled = turns.iter().any(|turn| matches!(turn, Turn::Meddle(_)));
        match ended {
            Ending::Finished if !is_meddled => assert_fulfilled(&change, &before, &scene),
            Ending::Finished => {}
            Ending::Cancelled(CancelReason::MembersChanged) => {
                prop_assert!(is_meddled, "nobody else was there");
            }
            Ending::TimedOut => {}
            Ending::Cancelled(other) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_region_that_obeys_becomes_as_wanted(
        members in any_members(),
        change in any_change(),
        dead in prop::option::weighted(0.3, 1..7_u64),
        is_counted_each: bool,
    ) {
        let Some(mut scene) = begin_with(&members, dead) else { return Ok(()) };
        let before = scene.region.clone();
        let Ok(begun) = scene.begin(&change) else { return Ok(()) };
        prop_assert_eq!(run(&mut scene, begun, &[], is_counted_each), Ending::Finished);
        assert_fulfilled(&change, &before, &scene);
    }
}
