//! What is looked at, one thing after the other.

use std::cmp::Reverse;

use super::{
    Checker, Finding, Reason,
    choice::{Candidate, Wanted},
};
use crate::{
    meta::StoreState,
    operator::Change,
    rule::{Demand, Isolation, MemberSet, Role, RuleFit, isolation},
    view::StoreHealth,
};

const MIB: u64 = 1 << 20;

/// One thing to look at; `None` where there is nothing to do or to say.
type Stage = fn(&Checker<'_>) -> Option<Finding>;

/// Why a replica is made anew elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Down,
    Offline,
}

/// A possible move to a better place, the best one first.
struct Move {
    /// How far all would be apart.
    isolation: Isolation,
    from: usize,
    to: Candidate,
}

impl Checker<'_> {
    /// In their order; see the module above.
    pub(super) const STAGES: [Stage; 8] = [
        |checker| checker.add_missing(true),
        |checker| checker.replace(Loss::Down),
        |checker| checker.replace(Loss::Offline),
        |checker| checker.add_missing(false),
        |checker| checker.demote(),
        |checker| checker.move_lead(),
        |checker| checker.relocate(),
        |checker| checker.remove_surplus(),
    ];

    /// Replicas that rules ask for and that are not there.
    fn add_missing(&self, votes: bool) -> Option<Finding> {
        let placement = &self.placement;
        for (demand, fit) in placement.rules().filter(|(it, _)| it.role.votes() == votes) {
            let there = if votes { placement.voters(fit.members) } else { fit.members };
            if there.len() >= demand.count {
                continue;
            }
            let why = format!("{} and {} are there", asks(demand), there.len());
            if !self.fleet.sight.policy.settings.repairs.makes_up {
                return Some(off(&why, "enable-make-up-replica"));
            }
            let wanted = Wanted {
                demand,
                staying: placement.staying(there),
                adoptable: self.adoptable(demand, fit),
            };
            return Some(self.add(&wanted, why, MemberSet::NONE));
        }
        None
    }

    /// Learners that could vote for a rule: those that count for it already, and those that count for none.
    fn adoptable(&self, demand: &Demand<'_>, fit: RuleFit) -> MemberSet {
        if !demand.role.votes() {
            return MemberSet::NONE;
        }
        let orphans = self.placement.fit.orphans;
        let all = orphans.iter().fold(fit.members, MemberSet::with);
        all.without(self.placement.voters(all))
    }

    /// One more for a rule, in place of `gone`.
    fn add(&self, wanted: &Wanted<'_>, why: String, gone: MemberSet) -> Finding {
        debug_assert!(gone.len() <= 1, "one comes, one goes");
        let choice = match self.choose(wanted) {
            Ok(choice) => choice,
            Err(why_not) => return Finding::Stuck(why_not),
        };
        let is_counted = |at: usize| self.placement.store(at) == choice.store;
        let is_promoted =
            self.placement.fit.rules.iter().any(|it| it.members.iter().any(is_counted));
        let by = match gone.iter().next() {
            Some(at) if self.is_down(at) => "replace-rule-down-peer",
            Some(_) => "replace-rule-offline-peer",
            None if is_promoted => "fix-peer-role",
            None => "add-rule-peer",
        };
        let carried = choice.weight_bytes / MIB;
        let why = format!("{why}; store {} carries {carried} MiB for its share", choice.store);
        let gone = self.litter(choice.store).iter().fold(gone, MemberSet::with);
        let change = self.change(Some((choice.store, wanted.demand.role.votes())), gone);
        self.intend(&change, Reason { by, why, alternatives: choice.alternatives })
    }

    fn is_down(&self, at: usize) -> bool {
        let sight = &self.fleet.sight;
        sight.view.health(self.placement.store(at), sight.now) == StoreHealth::Down
    }

    /// Replicas on stores that will not come back, or are to leave.
    fn replace(&self, loss: Loss) -> Option<Finding> {
        let repairs = &self.fleet.sight.policy.settings.repairs;
        let (is_on, state, switch) = match loss {
            Loss::Down => (repairs.replaces_down, "down", "enable-remove-down-replica"),
            Loss::Offline => {
                (repairs.replaces_offline, "leaving", "enable-replace-offline-replica")
            }
        };
        let mut stuck = None;
        for (demand, fit) in self.placement.rules() {
            let lost = fit.members.without(self.placement.staying(fit.members));
            let of_kind = |at: &usize| self.is_down(*at) == (loss == Loss::Down);
            // A learner in place of a voter is no replica that is to be made anew.
            let is_counted =
                |at: &usize| !demand.role.votes() || self.placement.members[*at].votes();
            for at in lost.iter().filter(of_kind).filter(is_counted) {
                let why =
                    format!("store {} is {state}, and {}", self.placement.store(at), asks(demand));
                if !is_on {
                    return Some(off(&why, switch));
                }
                if !demand.role.votes() && !self.may_lose_vote(at) {
                    stuck = stuck.or_else(|| Some(self.keeps_vote(at)));
                    continue;
                }
                let wanted = Wanted {
                    demand,
                    staying: self.placement.staying(fit.members),
                    adoptable: self.adoptable(demand, fit),
                };
                match self.add(&wanted, why, MemberSet::NONE.with(at)) {
                    Finding::Stuck(why) => stuck = stuck.or(Some(Finding::Stuck(why))),
                    found => return Some(found),
                }
            }
        }
        stuck
    }

    /// Voters that are to be learners.
    fn demote(&self) -> Option<Finding> {
        let learners = self.placement.rules().filter(|(demand, _)| demand.role == Role::Learner);
        let mut mismatched = learners.flat_map(|(demand, fit)| {
            self.placement.staying(fit.mismatched).iter().map(move |at| (demand, at))
        });
        let (demand, at) = mismatched.next()?;
        debug_assert!(self.placement.members[at].votes(), "or it would be a learner already");
        let store = self.placement.store(at);
        if !self.may_lose_vote(at) {
            return Some(self.keeps_vote(at));
        }
        let why = format!("{}, and the replica on store {store} votes", asks(demand));
        let change = self.change(Some((store, false)), MemberSet::NONE);
        Some(self.intend(&change, Reason::new("fix-peer-role", why)))
    }

    /// The lead, where it is not where the rules want it.
    fn move_lead(&self) -> Option<Finding> {
        let placement = &self.placement;
        let leader = placement.members.iter().position(|member| member.is_leader)?;
        let is_misplaced = |(demand, fit): &(&Demand<'_>, RuleFit)| match demand.role {
            Role::Leader => !fit.members.is_empty() && !fit.members.contains(leader),
            Role::Follower => fit.members.contains(leader),
            Role::Voter | Role::Learner => false,
        };
        let (demand, _) = placement.rules().find(is_misplaced)?;
        let has_leader_rule = placement.rules().any(|(it, _)| it.role == Role::Leader);
        let leads = |it: Role| if has_leader_rule { it == Role::Leader } else { it.may_lead() };
        let heirs = placement.rules().filter(|(it, _)| leads(it.role));
        let mut stuck = format!("{}, and nobody else could lead", asks(demand));
        for at in heirs.flat_map(|(_, fit)| placement.voters(fit.members).iter()) {
            let store = placement.store(at);
            debug_assert!(at != leader, "whoever leads is not where the rules want the lead");
            match self.fleet.check_leader(store) {
                Err(obstacle) => stuck = format!("the lead waits for store {store}: {obstacle}"),
                Ok(()) => {
                    let why =
                        format!("{}, and store {} leads", asks(demand), placement.store(leader));
                    let reason = Reason::new("fix-leader-role", why);
                    match self.intend(&Change::TransferLeader(store), reason) {
                        Finding::Stuck(why) => stuck = why,
                        found => return Some(found),
                    }
                }
            }
        }
        Some(Finding::Stuck(stuck))
    }

    /// A replica that could be further from the others.
    fn relocate(&self) -> Option<Finding> {
        let is_on = self.fleet.sight.policy.settings.repairs.relocates;
        let is_good = |at: usize| {
            let member = &self.placement.members[at];
            member.is_healthy && !member.is_lost
        };
        let mut stuck = None;
        for (demand, fit) in self.placement.rules() {
            let is_complete = fit.members.len() >= demand.count && fit.mismatched.is_empty();
            let is_apart = fit.isolation == Isolation::best(demand, fit.members.len());
            if is_apart || !is_complete {
                continue;
            }
            let is_kept = fit.isolation.is_kept();
            let found = if is_on && fit.members.iter().all(is_good) {
                self.relocate_one(demand, fit)
            } else {
                (!is_kept).then(|| near(demand, is_on))
            };
            match found {
                Some(Finding::Stuck(why)) => stuck = stuck.or(Some(Finding::Stuck(why))),
                Some(found) => return Some(found),
                None => {}
            }
        }
        stuck
    }

    fn relocate_one(&self, demand: &Demand<'_>, fit: RuleFit) -> Option<Finding> {
        let moves = self.moves(demand, fit);
        let Some(best) = moves.first() else {
            let level = demand.isolation.filter(|_| !fit.isolation.is_kept())?;
            let kinds = &demand.location_labels[..=level];
            let why = self.nowhere_apart(fit.members, &demand.location_labels[level], kinds);
            return Some(Finding::Stuck(why));
        };
        let is_equal = |it: &&Move| it.isolation == best.isolation;
        let mut ready = moves.iter().take_while(is_equal).filter(|it| it.to.obstacle.is_none());
        let Some(chosen) = ready.next() else { return Some(Finding::Stuck(best.to.waiting())) };
        debug_assert!(chosen.isolation > fit.isolation, "nothing moves for nothing");
        let (from, to) = (self.placement.store(chosen.from), chosen.to.store);
        let (before, behind) = (fit.isolation.score(), chosen.isolation.score());
        let why = format!(
            "the replicas of placement rule {}/{} are less far apart than they could be: {before}, and {behind} with store \
             {to} in place of store {from}",
            demand.group_id, demand.id
        );
        let reason = Reason::new("move-to-better-location", why);
        Some(self.intend(&Change::MovePeer { from, to }, reason))
    }

    /// All moves that bring the replicas further apart. A store that was waited for in vain is none of the places: a replica
    /// that is there already serves as well.
    fn moves(&self, demand: &Demand<'_>, fit: RuleFit) -> Vec<Move> {
        let members = &self.placement.members;
        let mut moves = Vec::new();
        for from in fit.members.iter() {
            let staying = fit.members.without(MemberSet::NONE.with(from));
            let apart = isolation(members, demand, staying);
            let wanted = Wanted { demand, staying, adoptable: self.adoptable(demand, fit) };
            let better = self.candidates_apart(&wanted, |to| apart.plus(to) > fit.isolation);
            let usable =
                better.into_iter().filter(|to| to.is_lasting() && to.failed == Default::default());
            moves.extend(usable.map(|to| Move { isolation: apart.plus(to.isolation), from, to }));
        }
        moves.sort_by_key(|it| {
            let carried = self.share_bytes(self.placement.store(it.from));
            let source = (members[it.from].is_leader, Reverse(carried));
            (Reverse(it.isolation), source, it.to.weight_bytes, it.to.store)
        });
        moves
    }

    /// Replicas that no rule asks for.
    fn remove_surplus(&self) -> Option<Finding> {
        let placement = &self.placement;
        let mut surplus: Vec<usize> = placement.surplus().iter().collect();
        let chosen = MemberSet::first(placement.members.len()).without(placement.fit.orphans);
        surplus.sort_by_key(|at| {
            let alone = MemberSet::NONE.with(*at);
            let all = chosen.iter().fold(alone, MemberSet::with);
            let apart = isolation(&placement.members, &placement.demands[0], all);
            let is_staying = !placement.members[*at].is_lost;
            let carried = self.share_bytes(placement.store(*at));
            (!self.is_down(*at), is_staying, apart, Reverse(carried), *at)
        });
        let first = *surplus.first()?;
        match surplus.iter().find(|at| self.may_go(**at)) {
            Some(at) => {
                let (store, count) = (placement.store(*at), placement.members.len());
                let why =
                    format!("it has {count} replicas, and no rule asks for that on store {store}");
                let change = self.change(None, MemberSet::NONE.with(*at));
                Some(self.intend(&change, Reason::new("remove-orphan-peer", why)))
            }
            None if self.is_switched_off(first) => {
                let why =
                    format!("no rule asks for the replica on store {}", placement.store(first));
                Some(off(&why, "enable-remove-extra-replica"))
            }
            None => Some(Finding::Stuck(format!(
                "the replica on store {}, for which no rule asks, stays until all that rules ask for are healthy",
                placement.store(first)
            ))),
        }
    }

    /// Whether a replica that no rule asks for may go.
    fn may_go(&self, at: usize) -> bool {
        self.may_lose_vote(at) && !self.is_switched_off(at)
    }

    /// Whether a replica that no rule asks to vote may cease to. One that does not stay and lags, or is cut off, helps nobody:
    /// all that is needed is that all voters are on stores that stay.
    fn may_lose_vote(&self, at: usize) -> bool {
        let member = &self.placement.members[at];
        let is_useless = member.is_lost && !member.is_healthy && self.placement.has_all_voters();
        !member.votes() || is_useless || self.placement.has_healthy_voters()
    }

    fn keeps_vote(&self, at: usize) -> Finding {
        let store = self.placement.store(at);
        Finding::Stuck(format!("store {store} keeps its vote until the other voters are healthy"))
    }

    /// To empty a store that leaves is another matter than to have few replicas.
    fn is_switched_off(&self, at: usize) -> bool {
        let sight = &self.fleet.sight;
        let record = sight.stores.get(&self.placement.store(at));
        let is_leaving = record.is_none_or(|record| record.state != StoreState::Up);
        let repairs = &sight.policy.settings.repairs;
        !(repairs.removes_extra || is_leaving && repairs.replaces_offline)
    }
}

/// The begin of a reason.
fn asks(demand: &Demand<'_>) -> String {
    let Demand { group_id, id, role, count, .. } = demand;
    let plural = if *count == 1 { "" } else { "s" };
    format!("placement rule {group_id}/{id} asks for {count} {}{plural}", role.name())
}

/// What is to be done and is switched off.
fn off(why: &str, switch: &str) -> Finding {
    Finding::Stuck(format!("{why}: nothing is done, since {switch} is false"))
}

/// Why replicas stay in one place of which no two may be.
fn near(demand: &Demand<'_>, is_on: bool) -> Finding {
    let kind = demand.isolation.map_or("", |level| &demand.location_labels[level]);
    let why = format!("{}, no two of them in one {kind}, and two are", asks(demand));
    if is_on {
        Finding::Stuck(format!("{why}: none moves until all of them are healthy"))
    } else {
        off(&why, "enable-location-replacement")
    }
}
