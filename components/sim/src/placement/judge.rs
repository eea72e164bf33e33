//! The judges of placement: second witnesses of what the placement driver may decide and order, and of what becomes of
//! regions by it. They know what it was told ([`Knowledge`]) and what is true, and ask it for nothing but what people have
//! decided.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{ConfVer, Epoch, Moment, Peer, Region, RegionId, Span, StoreId};
use flotilla_placement::{
    MetaState, Operator, OperatorEvent, OperatorKind, Order, Plan, Policy, Step, StoreState,
    fleet::REPLICA_OVERHEAD_BYTES,
    operator::{Command, PeerChangeKind},
};

use super::knowledge::{Knowledge, has_all};
use super::region::{ModelRegion, Origin, UnderWay};
use crate::judge::{Verdict, require};

/// A replica that was moved stays for so long, as far as balance goes.
const COOL_DOWN: Span = Span::from_millis(600_000);
const BALANCE_REGION: &str = "balance-region";
const BALANCE_LEADER: &str = "balance-leader";

/// What an operator may count with.
#[derive(Clone, Debug)]
struct Track {
    origin: Origin,
    began_at: Epoch,
}

/// The judges.
#[derive(Debug, Default)]
pub struct Judges {
    /// What the running placement driver was told.
    pub knowledge: Knowledge,
    run: u64,
    tracks: BTreeMap<RegionId, Track>,
    /// Who brought the members of each region to each of their versions.
    causes: BTreeMap<(RegionId, ConfVer), Option<Origin>>,
    /// The shapes that were reported.
    shapes: BTreeMap<(RegionId, Epoch), Region>,
    /// Ids of peers, with region and store; of regions and splits.
    ids: BTreeMap<u64, (RegionId, StoreId)>,
    /// When somebody moved a replica of a region onto or off a store, in this run.
    moved: BTreeMap<(RegionId, StoreId), Moment>,
}

impl Judges {
    /// Another run of the placement driver begins, which knows nothing.
    pub fn on_run(&mut self, run: u64) {
        self.run = run;
        self.knowledge = Knowledge::default();
        self.tracks.clear();
        self.moved.clear();
    }

    /// An id is taken into use.
    ///
    /// # Errors
    /// Something else has it.
    pub fn on_id(&mut self, id: u64, user: (RegionId, StoreId)) -> Verdict {
        let before = self.ids.insert(id, user);
        require(before.is_none_or(|before| before == user), "an id is handed out once", || {
            format!("{id} is of {before:?} and of {user:?}")
        })
    }

    /// A region is reported.
    ///
    /// # Errors
    /// The world itself makes two shapes of one epoch.
    pub fn on_shape(&mut self, region: &Region) -> Verdict {
        let known = self.shapes.entry((region.id, region.epoch)).or_insert_with(|| region.clone());
        require(known == region, "an epoch names one shape", || format!("{known:?} and {region:?}"))
    }

    /// What the placement driver shows of a region.
    ///
    /// # Errors
    /// Nobody has reported it so.
    pub fn check_shown(&self, region: &Region) -> Verdict {
        let reported = self.shapes.get(&(region.id, region.epoch));
        require(reported == Some(region), "the view shows what was reported", || {
            format!("{region:?} is shown, {reported:?} was reported")
        })
    }

    /// Something becomes of an operator.
    ///
    /// # Errors
    /// It must not.
    pub fn on_event(&mut self, now: Moment, state: &MetaState, event: &OperatorEvent) -> Verdict {
        match event {
            OperatorEvent::Begun(operator) => self.on_begun(now, state, operator),
            OperatorEvent::Ordered(order) => self.on_ordered(order),
            OperatorEvent::Ended(ended) => {
                let region = ended.operator.plan.region;
                self.tracks.remove(&region);
                self.knowledge.on_ended(region);
                Ok(())
            }
        }
    }

    fn on_begun(&mut self, now: Moment, state: &MetaState, operator: &Operator) -> Verdict {
        let plan = &operator.plan;
        let region = plan.region;
        for step in &plan.steps {
            if let Step::AddLearner(peer) = step {
                self.on_id(peer.id.get(), (region, peer.store))?;
                self.check_target(now, state, operator, peer.store)?;
            }
        }
        if operator.asked_by == BALANCE_REGION {
            self.check_move(now, state.policy(), operator)?;
        }
        self.note_moved(now, operator);
        if operator.asked_by == BALANCE_LEADER {
            self.check_transfer(now, state, operator)?;
        }
        let origin = Origin { run: self.run, operator: operator.id.0 };
        self.tracks.insert(region, Track { origin, began_at: plan.epoch });
        let before = self.knowledge.on_begun(operator.clone());
        require(before.is_none(), "a region has one operator at a time", || {
            format!("{operator:?} beside {before:?}")
        })
    }

    /// Nothing is sent to a store that cannot take it. Whoever asks by hand is trusted.
    fn check_target(
        &self,
        now: Moment,
        state: &MetaState,
        operator: &Operator,
        store: StoreId,
    ) -> Verdict {
        if !operator.asked_by.starts_with("balance") {
            return Ok(());
        }
        let settings = &state.policy().settings;
        let say = |what: &str| format!("{what} store {store}: {operator:?}");
        let is_member = state.stores().get(&store).is_some_and(|it| it.state == StoreState::Up);
        require(is_member, "nothing goes to a store that leaves", || say("leaving"))?;
        let known = self.knowledge.store(store);
        let is_up = known.is_some_and(|known| known.is_up(now));
        require(is_up, "nothing goes to a store that is not up", || say("silent"))?;
        let loads = self.knowledge.loads(operator.plan.region);
        let copies = loads.get(&store).map_or(0, |load| load.copies);
        let limit = settings.limits.copies_per_store;
        require(copies < limit, "no store takes more copies than it may", || {
            say(&format!("{copies} copies are on their way to"))
        })?;
        let Some((_, stats)) = known.and_then(|known| known.status) else { return Ok(()) };
        let left = stats.available_bytes.saturating_sub(operator.plan.size_bytes);
        let kept = u128::from(stats.capacity_bytes)
            * u128::from(1_000 - settings.low_space_permille.min(1_000));
        require(u128::from(left) * 1_000 >= kept, "nothing goes to a full store", || {
            say(&format!("{left} bytes would be left on"))
        })
    }

    /// Notes where replicas come and go, where any come.
    fn note_moved(&mut self, now: Moment, operator: &Operator) {
        let Plan { region, steps, .. } = &operator.plan;
        if operator.plan.new_peers() == 0 {
            return;
        }
        for step in steps {
            if let Step::AddLearner(peer) | Step::RemovePeer(peer) = step {
                self.moved.insert((*region, peer.store), now);
            }
        }
    }

    /// Behind a move the source carries no less than the target, for their weights, by what is in the region; and the
    /// replica was not moved a short time ago by anybody, in this run.
    fn check_move(&self, now: Moment, policy: &Policy, operator: &Operator) -> Verdict {
        let Some((from, to)) = ends(operator) else { return Ok(()) };
        let region = operator.plan.region;
        for store in [from, to] {
            let last = self.moved.get(&(region, store)).copied();
            let is_calm = last.is_none_or(|last| now.since(last) >= COOL_DOWN);
            require(is_calm, "balance leaves alone for a while what was moved", || {
                format!("region {region} and store {store} again after {last:?}: {operator:?}")
            })?;
        }
        let loads = self.knowledge.loads(region);
        let of = |store| loads.get(&store).copied().unwrap_or_default();
        let (source, target) = (of(from).weight_bytes(), of(to).weight_bytes());
        let moved = self.knowledge.region(region).map_or(0, |it| it.stats.size_bytes)
            + REPLICA_OVERHEAD_BYTES;
        let weight = |store| policy.store(store).region_weight_permille;
        let pair = [(source.saturating_sub(moved), weight(from)), (target + moved, weight(to))];
        require(is_no_less(pair), "a move makes two stores more even", || {
            format!("of {source} and {target} bytes {moved} move: {operator:?}")
        })
    }

    /// The same for leads.
    fn check_transfer(&self, now: Moment, state: &MetaState, operator: &Operator) -> Verdict {
        let lead = operator.plan.steps.iter().find_map(|step| match step {
            Step::TransferLeader { from, to } => to.first().map(|to| (*from, to.store)),
            _ => None,
        });
        let Some((from, to)) = lead else { return Ok(()) };
        let is_up = self.knowledge.store(to).is_some_and(|known| known.is_up(now));
        require(is_up, "no lead goes to a store that is not up", || format!("{operator:?}"))?;
        let loads = self.knowledge.loads(operator.plan.region);
        let of = |store| loads.get(&store).map_or(0, |load| load.leaders);
        let weight = |store| state.policy().store(store).leader_weight_permille;
        let pair = [(of(from).saturating_sub(1), weight(from)), (of(to) + 1, weight(to))];
        require(is_no_less(pair), "a transfer makes two stores more even", || {
            format!("of {} and {} leads: {operator:?}", of(from), of(to))
        })
    }

    /// An order is for the members that the operator has made, and leaves the region as able as it was.
    fn on_ordered(&mut self, order: &Order) -> Verdict {
        let Some(track) = self.tracks.get(&order.region) else {
            return require(false, "an order is of an operator", || format!("{order:?}"));
        };
        let first = (order.region, ConfVer(track.began_at.conf_ver.get() + 1));
        let last = (order.region, order.epoch.conf_ver);
        let made = (first <= last).then(|| self.causes.range(first..=last));
        let foreign = made.into_iter().flatten().find(|(_, it)| **it != Some(track.origin));
        require(
            foreign.is_none(),
            "an operator ends when somebody else changes its region",
            || format!("{order:?} of {track:?} behind {foreign:?}"),
        )?;
        let Some(report) = self.knowledge.region(order.region) else { return Ok(()) };
        let changes = match &order.command {
            Command::ChangePeer(change) => std::slice::from_ref(change),
            Command::ChangePeers(changes) => changes.as_slice(),
            Command::LeaveJoint | Command::TransferLeader(_) | Command::Split(_) => &[],
        };
        let early = changes
            .iter()
            .find(|change| change.kind == PeerChangeKind::Voter && !has_all(report, &change.peer));
        require(early.is_none(), "a learner votes when it has all data", || {
            format!("{early:?} in {order:?}, {report:?}")
        })
    }

    /// Somebody who is no operator has changed members.
    pub fn on_foreign_change(&mut self, region: RegionId, conf_ver: ConfVer) {
        self.causes.insert((region, conf_ver), None);
    }

    /// A leader has carried something out.
    ///
    /// # Errors
    /// It was ordered for another shape, or the region lost a healthy voter by it.
    pub fn on_effect(
        &mut self,
        done: &UnderWay,
        (before, after): (&ModelRegion, &ModelRegion),
        (wanted, is_running): (usize, impl Fn(Peer) -> bool),
    ) -> Verdict {
        let (id, was) = (before.region.id, before.region.epoch);
        require(done.epoch == was, "no order of an old epoch has an effect", || {
            format!("{done:?} at {was}")
        })?;
        let conf_ver = after.region.epoch.conf_ver;
        // A leader that leaves a joint configuration by itself does what any operator would have to.
        let is_natural = done.origin.is_none() && done.command == Command::LeaveJoint;
        if conf_ver != was.conf_ver && !is_natural {
            self.causes.insert((id, conf_ver), done.origin);
        }
        let healthy = |region: &ModelRegion| region.healthy_voters(&is_running);
        let (had, has) = (healthy(before), healthy(after));
        require(has >= had.min(wanted), "no change takes a healthy voter", || {
            format!("{had} were, {has} are: {done:?} on {:?}", before.region)
        })
    }
}

/// The store that a move takes a replica from, and the one that it goes to.
#[must_use]
pub fn ends(operator: &Operator) -> Option<(StoreId, StoreId)> {
    if operator.plan.kind != OperatorKind::MovePeer {
        return None;
    }
    let steps = || operator.plan.steps.iter();
    let to = steps().find_map(|step| match step {
        Step::AddLearner(peer) | Step::PromoteLearner(peer) => Some(peer.store),
        _ => None,
    })?;
    let from = steps().find_map(|step| match step {
        Step::RemovePeer(peer) => Some(peer.store),
        _ => None,
    })?;
    Some((from, to))
}

/// Whether the first carries for its weight no less than the second.
fn is_no_less([first, second]: [(u64, u32); 2]) -> bool {
    let cross = |load: u64, weight: u32| u128::from(load) * u128::from(weight);
    first.1 == 0 || cross(first.0, second.1) >= cross(second.0, first.1)
}

/// The ids of a region and its peers.
#[must_use]
pub fn ids_of(region: &Region) -> BTreeSet<(u64, StoreId)> {
    let peers = region.peers.iter().map(|peer| (peer.id.get(), peer.store));
    peers.chain([(region.id.get(), StoreId(0))]).collect()
}
