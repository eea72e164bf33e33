//! Regions of any shape on stores of any state: step by step each becomes as it is to be, or the checker says why not.

use proptest::prelude::*;

use super::*;
use crate::{
    Step,
    ids::IdBatch,
    operator::shape::Shape,
    rule::{Isolation, Labels},
};

/// Changes that a region needs at most.
const CHANGES_MAX: usize = 40;

fn any_store() -> impl Strategy<Value = String> {
    let zone = prop::sample::select(vec!["", "zone=a", "zone=b", "zone=c"]);
    let host = prop::sample::select(vec!["host=x", "host=y", ""]);
    let states = vec!["", "", "", "", "", "down", "cut", "leaving", "busy", "full", "down leaving"];
    let holds = prop::sample::select(vec!["", "holds=5", "holds=90"]);
    (zone, host, prop::sample::select(states), holds)
        .prop_map(|(zone, host, state, holds)| format!("{zone} {host} {state} {holds}"))
}

fn any_stores() -> impl Strategy<Value = String> {
    prop::collection::vec(any_store(), 3..9).prop_map(|stores| {
        let stores = (1..).zip(stores).map(|(id, store): (u64, _)| format!("{id} {store}"));
        stores.collect::<Vec<_>>().join(";")
    })
}

fn any_members() -> impl Strategy<Value = String> {
    let roles = vec!["", "v", "v", "v", "v", "l", "i", "d", "v?"];
    prop::collection::vec(prop::sample::select(roles), 8).prop_map(|roles| {
        let there = (1..).zip(roles).filter(|(_, role)| !role.is_empty());
        there.map(|(store, role): (u64, _)| format!("{store}{role}")).collect::<Vec<_>>().join(" ")
    })
}

fn any_rules() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "",
        "a/a voter 1",
        "a/a voter 5 spread=zone,host",
        "a/a voter 3 spread=zone,host level=zone",
        "a/a voter 3 spread=zone,host level=host",
        "a/a voter 2 zone:in=a; a/b voter 1 zone:notIn=a",
        "a/a leader 1 zone:in=a; a/b follower 2 spread=zone",
        "a/a voter 3 spread=zone; a/b learner 1 host:in=x",
        "a/a learner 1; a/b voter 3; a/c learner 1 zone:in=b",
        "a/a follower 2 zone:in=b; a/b voter 1",
    ])
}

impl Scene {
    /// A region whose leader is up, and that can decide; `None` where the draw has none.
    fn draw(stores: &str, members: &str, rules: &str) -> Option<Self> {
        let there = stores.split(';').count();
        let members: Vec<&str> = members.split_whitespace().take(there).collect();
        if members.is_empty() {
            return None;
        }
        let mut scene = Self::new(stores, &members.join(" ")).rules(rules);
        scene.region.peers.retain(|peer| scene.stores.contains_key(&peer.store));
        let shape = Shape::of(&scene.region);
        let is_voter = |peer: &Peer| peer.role != PeerRole::Learner;
        scene.leader = shape.peers().find(|it| is_voter(it) && scene.is_healthy(*it))?;
        scene.region.epoch.conf_ver.0 += 1;
        scene.report();
        shape.has_majority(|peer| scene.is_healthy(peer)).then_some(scene)
    }

    fn is_healthy(&self, peer: Peer) -> bool {
        self.sight().is_up(peer.store) && !self.lagging.contains(&peer.store)
    }

    /// Voters that are well, in the half of a joint change that has fewer of them.
    fn healthy_voters(&self, shape: &Shape) -> usize {
        let of = |other: PeerRole| {
            let half = shape.peers().filter(|it| it.role == PeerRole::Voter || it.role == other);
            half.filter(|it| self.is_healthy(*it)).count()
        };
        of(PeerRole::IncomingVoter).min(of(PeerRole::DemotingVoter))
    }

    fn wanted_voters(&self) -> usize {
        let demands = self.policy.demands(&self.region).expect("no border");
        demands.iter().filter(|it| it.role.votes()).map(|it| it.count).sum()
    }

    /// The steps to be taken, with ids for new peers.
    fn steps(&self, intent: Intent) -> Vec<Step> {
        let count = u64::from(intent.plan.new_peers());
        let first = 100 * self.region.epoch.conf_ver.get();
        let has_new = count > 0;
        let ids = IdBatch { first, last: first + count.saturating_sub(1) };
        let plan = if has_new { intent.plan.with_ids(ids) } else { intent.plan };
        plan.steps
    }

    /// The first steps happen, or all of them.
    fn take(&mut self, steps: &[Step]) {
        let mut shape = Shape::of(&self.region);
        let (before, wanted) = (self.healthy_voters(&shape.left()), self.wanted_voters());
        let before = before.min(self.healthy_voters(&shape));
        for step in steps {
            if let Step::TransferLeader { to, .. } = step {
                self.leader = shape.on(to[0].store).expect("a member");
                assert!(self.leader.role != PeerRole::Learner, "a learner leads");
            }
            if let Step::RemovePeer(peer) = step {
                let role = shape.on(peer.store).expect("a member").role;
                assert_eq!(role, PeerRole::Learner, "a voter is never removed at once");
            }
            shape = shape.after(step);
            let after = self.healthy_voters(&shape);
            assert!(
                after >= before.min(wanted),
                "{after} are well of {before} behind {step}: {shape:?}"
            );
            assert!(
                shape.has_majority(|peer| self.is_healthy(peer)),
                "stuck behind {step}: {shape:?}"
            );
            self.leader = shape.on(self.leader.store).expect("whoever leads stays");
        }
        self.region.peers = shape.peers().collect();
        self.region.epoch.conf_ver.0 += 1;
        // New peers catch up.
        self.lagging.retain(|store| self.region.peer_on(*store).is_some());
        self.report();
    }

    /// What a region has to be like on which nothing is to be done, found in another way than the checker does.
    fn assert_sound(&self, context: &str) {
        let shape = Shape::of(&self.region);
        assert!(!shape.is_joint(), "{context}");
        let sight = self.sight();
        let voters: Vec<Peer> = shape.peers().filter(|it| it.role == PeerRole::Voter).collect();
        assert_eq!(voters.len(), self.wanted_voters(), "voters {context}");
        assert!(voters.iter().all(|peer| !sight.is_lost(peer.store)), "on lost stores {context}");
        let demands = self.policy.demands(&self.region).expect("no border");
        for demand in demands {
            let counts = |peer: &Peer| {
                let labels = Labels { by_hand: &[], registered: &self.stores[&peer.store].labels };
                labels.satisfy(demand.constraints)
                    && match demand.role {
                        Role::Leader => peer.store == self.leader.store,
                        Role::Voter => peer.role == PeerRole::Voter,
                        Role::Follower => {
                            peer.role == PeerRole::Voter && peer.store != self.leader.store
                        }
                        Role::Learner => peer.role == PeerRole::Learner,
                    }
            };
            let count = shape.peers().filter(counts).count();
            assert!(
                count >= demand.count,
                "{count} for {}/{} {context}",
                demand.group_id,
                demand.id
            );
            if demand.isolation.is_some() {
                let places: Vec<_> =
                    voters.iter().map(|it| self.stores[&it.store].labels.clone()).collect();
                let labels = |at: usize| Labels { by_hand: &[], registered: &places[at] };
                let is_kept = (0..places.len()).all(|at| {
                    let others = (0..at).map(labels);
                    Isolation::between(&demand, labels(at), others).is_kept()
                });
                assert!(is_kept, "two in one place {context}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    /// Each of the first operators may be lost behind some of its steps, with all that the placement driver knows.
    #[test]
    fn a_region_becomes_as_it_is_to_be_or_it_is_said_why_not(
        stores in any_stores(),
        members in any_members(),
        rules in any_rules(),
        cuts in prop::collection::vec(1..7_usize, 0..8),
    ) {
        let Some(mut scene) = Scene::draw(&stores, &members, rules) else { return Ok(()) };
        let mut said = Vec::new();
        for number in 0..=CHANGES_MAX {
            let context = format!("after {said:?} from {members:?} on {stores:?} by {rules:?}");
            prop_assert!(number < CHANGES_MAX, "it never ends {}", context);
            match scene.find() {
                Finding::Sound => {
                    scene.assert_sound(&context);
                    break;
                }
                Finding::Stuck(why) => {
                    prop_assert!(!why.is_empty());
                    let again = scene.found();
                    prop_assert_eq!(again, format!("stuck: {}", why), "it stays so");
                    break;
                }
                Finding::Do(intent) => {
                    said.push(format!("{}: {}", intent.decision.by, intent.plan.brief));
                    let steps = scene.steps(*intent);
                    let cut = cuts.get(number).copied().unwrap_or(usize::MAX);
                    scene.take(&steps[..steps.len().min(cut)]);
                }
            }
        }
    }

    /// Where there is room and all is well, nothing is stuck.
    #[test]
    fn where_there_is_room_a_region_becomes_sound(members in any_members(), count in 1..6_u32) {
        let stores = "1 zone=a; 2 zone=b; 3 zone=c; 4 zone=d; 5 zone=e; 6 zone=a; 7 zone=b; 8 zone=c";
        let members = members.replace('?', "");
        let rules = format!("a/a voter {count} spread=zone level=zone");
        let Some(mut scene) = Scene::draw(stores, &members, &rules) else { return Ok(()) };
        for number in 0..=CHANGES_MAX {
            prop_assert!(number < CHANGES_MAX, "it never ends");
            match scene.find() {
                Finding::Sound => break,
                Finding::Stuck(why) => prop_assert!(false, "stuck: {} {:?}", why, scene.region),
                Finding::Do(intent) => {
                    let steps = scene.steps(*intent);
                    scene.take(&steps);
                }
            }
        }
        scene.assert_sound(&members);
    }
}
