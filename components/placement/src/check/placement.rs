//! A region's members against the rules that apply to it.

use flotilla_base::{Peer, StoreId};

use super::{Standing, Terrain};
use crate::{
    meta::{StoreRecord, StoreState},
    operator::{
        Sight,
        shape::Shape,
        step::{has_caught_up, votes_on},
    },
    rule::{Border, Demand, Fit, Isolation, Labels, Member, MemberSet, Role, RuleFit, fit},
    view::{RegionInfo, StoreHealth},
};

/// A region's members, and which of them counts for which rule.
#[derive(Debug)]
pub struct Placement<'a> {
    /// The region.
    pub info: &'a RegionInfo,
    /// The rules, in their order; never none.
    pub demands: Vec<Demand<'a>>,
    /// The members; a joint change that is under way counts as ended.
    pub members: Vec<Member<'a>>,
    /// Who counts for what.
    pub fit: Fit,
    /// Whether a joint change is under way.
    pub is_joint: bool,
}

impl<'a> Placement<'a> {
    /// The members as they are.
    ///
    /// # Errors
    /// Where other rules begin to apply inside of the region.
    pub fn of(sight: &Sight<'a>, info: &'a RegionInfo) -> Result<Self, Border> {
        let demands = sight.policy.demands(&info.region)?;
        debug_assert!(!demands.is_empty(), "some rule applies, or the settings do");
        let shape = Shape::of(&info.region);
        let is_joint = shape.is_joint();
        let left = if is_joint { shape.left() } else { shape };
        let mut members: Vec<Member<'a>> =
            left.peers().map(|peer| member(sight, info, peer)).collect();
        members.sort_by_key(|member| (!member.is_healthy, !member.votes(), member.peer.id));
        let fit = fit(&members, &demands);
        Ok(Self { info, demands, members, fit, is_joint })
    }

    /// The rules with those who count for them.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&Demand<'a>, RuleFit)> {
        self.demands.iter().zip(self.fit.rules.iter().copied())
    }

    /// The store of a member.
    pub(super) fn store(&self, at: usize) -> StoreId {
        self.members[at].peer.store
    }

    /// Those of some that vote.
    pub(super) fn voters(&self, among: MemberSet) -> MemberSet {
        among.filter(|at| self.members[at].votes())
    }

    /// Those of some whose stores stay.
    pub(super) fn staying(&self, among: MemberSet) -> MemberSet {
        among.filter(|at| !self.members[at].is_lost)
    }

    /// Whether a rule asks for the learner on this store.
    pub(crate) fn asks_for_learner(&self, store: StoreId) -> bool {
        let is_it = |(demand, fit): (&Demand<'_>, RuleFit)| {
            demand.role == Role::Learner && fit.members.iter().any(|at| self.store(at) == store)
        };
        self.rules().any(is_it)
    }

    /// Whether every rule that asks for voters has them all, each of them healthy and on a store that stays.
    pub(super) fn has_healthy_voters(&self) -> bool {
        self.rules().filter(|(demand, _)| demand.role.votes()).all(|(demand, fit)| {
            let is_good = |at: usize| {
                let member = &self.members[at];
                member.votes() && member.is_healthy && !member.is_lost
            };
            fit.members.len() >= demand.count && fit.members.iter().all(is_good)
        })
    }

    /// Whether every rule that asks for voters has them all, on stores that stay.
    pub(super) fn has_all_voters(&self) -> bool {
        self.rules()
            .filter(|(demand, _)| demand.role.votes())
            .all(|(demand, fit)| self.staying(self.voters(fit.members)).len() >= demand.count)
    }

    /// How the region stands, as far as its own stores tell. Where replicas are as far apart as they can be on this
    /// `terrain`, none is looked for a better place.
    pub(super) fn standing(&self, relocates: bool, terrain: &mut Terrain) -> Standing {
        let mut is_apart = |demand: &Demand<'_>, fit: RuleFit| {
            let (isolation, count) = (fit.isolation, fit.members.len());
            demand.location_labels.is_empty()
                || isolation == Isolation::best(demand, count)
                || isolation.is_kept() && (!relocates || isolation >= terrain.best(demand, count))
        };
        let is_in_place = |(demand, fit): (&Demand<'_>, RuleFit)| {
            fit.members.len() >= demand.count
                && fit.mismatched.is_empty()
                && self.staying(fit.members) == fit.members
                && is_apart(demand, fit)
        };
        if !self.is_joint && self.surplus().is_empty() && self.rules().all(is_in_place) {
            Standing::Sound
        } else if self.has_healthy_voters() {
            Standing::Wanting
        } else {
            Standing::AtRisk
        }
    }

    /// Members that are to go: orphans that vote, and learners on stores that do not stay, unless a rule asks for learners.
    /// Other learners are somebody's wish, or go when nobody has come back to them.
    pub(super) fn surplus(&self) -> MemberSet {
        let voting = self.rules().filter(|(demand, _)| demand.role.votes());
        let instead = voting.flat_map(|(_, fit)| fit.mismatched.iter());
        let idle = instead.fold(self.fit.orphans, MemberSet::with);
        let is_surplus = |at: usize| {
            let is_orphan = self.fit.orphans.contains(at);
            let member = &self.members[at];
            if member.votes() { is_orphan } else { member.is_lost }
        };
        idle.filter(is_surplus)
    }
}

fn member<'a>(sight: &Sight<'a>, info: &RegionInfo, peer: Peer) -> Member<'a> {
    let record = sight.stores.get(&peer.store);
    let is_there = |record: &&StoreRecord| record.state == StoreState::Up;
    let health = sight.view.health(peer.store, sight.now);
    let registered = record.map_or(&[][..], |record| &record.labels);
    Member {
        peer,
        is_leader: votes_on(peer) && info.leader.is_some_and(|leader| leader.id == peer.id),
        is_lost: !record.as_ref().is_some_and(is_there) || health == StoreHealth::Down,
        is_healthy: health == StoreHealth::Up && has_caught_up(info, peer),
        labels: Labels { by_hand: &sight.policy.store(peer.store).labels, registered },
    }
}
