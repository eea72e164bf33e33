//! The checker: what is to be done so that a region is as the rules want it.
//!
//! It works in two stages. [`standing`] looks at a region's own stores alone and runs for each of its reports. [`check`]
//! looks at all stores and finds the next change, one at a time: each leaves the region in a state that is sound by itself,
//! and the next look begins with the region as it is then, so that it does not matter who had begun what.
//!
//! The first of these that applies is done: a region with a border of rules inside is split; voters that are missing are
//! added; replicas on stores that are down, then those on stores that leave, are made anew elsewhere; learners that are
//! missing are added; replicas change what they count for, and the lead its place; a replica moves to where it is further
//! from the others; what is left over goes. What cannot be done at the moment holds up nothing that stands behind it.
//! A joint change that nobody has ended is ended in front of any other change, or by itself where there is none.
//!
//! **Nothing healthy goes before what takes its place has come**: a replica that is replaced goes in one change with the
//! promotion of the new one, and one that is left over goes only when all that the rules ask for is there and healthy.

mod choice;
mod placement;
mod stage;
mod terrain;

use std::collections::BTreeMap;

use flotilla_base::{Key, Peer, RegionId, StoreId};

pub use placement::Placement;
pub use terrain::Terrain;

use crate::{
    decision::{Alternative, Decision, Intent},
    fleet::Fleet,
    operator::{Change, Setbacks, Sight, SplitAt, step::has_caught_up},
    rule::{MemberSet, Role, RuleFit, fit},
    view::RegionInfo,
};

/// Pieces that one split for the borders of rules makes at most.
const SPLIT_KEYS_MAX: usize = 64;

/// What the checker says of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it is to be.
    Sound,
    /// This is to be done.
    Do(Box<Intent>),
    /// It is not as it is to be, and cannot be changed at the moment; the reason, in a sentence.
    Stuck(String),
}

/// How a region stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is to be done.
    Sound,
    /// It has all voters, each of them well; something else may be to be done.
    Wanting,
    /// It has not all voters that it is to have, or one of them is not well: it goes before all others.
    AtRisk,
}

/// How a region stands. Looks at its own stores alone, so it may call it wanting where [`check`] finds nothing better; it
/// never calls it sound where that finds something.
#[must_use]
pub fn standing(sight: &Sight<'_>, info: &RegionInfo, terrain: &mut Terrain) -> Standing {
    let relocates = sight.policy.settings.repairs.relocates;
    match Placement::of(sight, info) {
        Ok(placement) => placement.standing(relocates, terrain),
        Err(_border) => {
            let is_well = |peer: &Peer| has_caught_up(info, *peer) && sight.is_up(peer.store);
            let all = info.region.peers.iter().all(is_well);
            if all { Standing::Wanting } else { Standing::AtRisk }
        }
    }
}

/// What the changes are called that the checker finds, in the words of the public protocol.
const REPAIRS: [&str; 9] = [
    "add-rule-peer",
    "fix-leader-role",
    "fix-peer-role",
    "leave-joint-state",
    "move-to-better-location",
    "remove-orphan-peer",
    "replace-rule-down-peer",
    "replace-rule-offline-peer",
    "rule-split-region",
];

/// Whether an operator that was begun by this name is of the checker.
#[must_use]
pub fn is_repair(by: &str) -> bool {
    debug_assert!(REPAIRS.is_sorted(), "they are searched");
    REPAIRS.binary_search(&by).is_ok()
}

/// Whether a region is placed no worse if the replica on `from` goes to `to`: what a move for the sake of balance must not
/// spoil.
#[must_use]
pub fn keeps_place(fleet: &Fleet<'_>, info: &RegionInfo, from: StoreId, to: StoreId) -> bool {
    let (Ok(placement), Some(seat)) = (Placement::of(&fleet.sight, info), fleet.seat(to)) else {
        return false;
    };
    let Placement { demands, mut members, fit: before, .. } = placement;
    for member in members.iter_mut().filter(|member| member.peer.store == from) {
        member.peer.store = to;
        member.labels = seat.labels();
    }
    let after = fit(&members, &demands);
    let is_kept = |(before, after): (&RuleFit, &RuleFit)| {
        after.members.len() >= before.members.len()
            && after.mismatched.len() <= before.mismatched.len()
            && after.isolation >= before.isolation
    };
    after.orphans.len() <= before.orphans.len()
        && before.rules.iter().zip(&after.rules).all(is_kept)
}

/// What is to be done for a region that has no operator.
#[must_use]
pub fn check(fleet: &Fleet<'_>, info: &RegionInfo, setbacks: &Setbacks<'_>) -> Finding {
    let Ok(placement) = Placement::of(&fleet.sight, info) else { return split(fleet, info) };
    let checker = Checker { fleet, setbacks, placement };
    let mut stuck = None;
    for stage in Checker::STAGES {
        match stage(&checker) {
            Some(Finding::Do(intent)) => return Finding::Do(intent),
            Some(Finding::Stuck(why)) => stuck = stuck.or(Some(why)),
            Some(Finding::Sound) | None => {}
        }
    }
    if checker.placement.is_joint {
        let why = "a change of several members has begun, and nobody goes on with it".to_owned();
        return checker.intend(&Change::LeaveJoint, Reason::new("leave-joint-state", why));
    }
    stuck.map_or(Finding::Sound, Finding::Stuck)
}

/// Cuts a region where other rules begin to apply.
fn split(fleet: &Fleet<'_>, info: &RegionInfo) -> Finding {
    let borders = fleet.sight.policy.rules.borders(&info.region.range);
    let keys: Vec<Key> = borders.take(SPLIT_KEYS_MAX).cloned().collect();
    let why = format!("other placement rules begin to apply at {} keys inside of it", keys.len());
    let change = Change::SplitRegion(SplitAt::Keys(keys));
    intend(fleet, info.region.id, &change, Reason::new("rule-split-region", why))
}

/// Why something is to be done.
struct Reason {
    /// What it is, in the words of the public protocol.
    by: &'static str,
    why: String,
    alternatives: Vec<Alternative>,
}

impl Reason {
    const fn new(by: &'static str, why: String) -> Self {
        Self { by, why, alternatives: Vec::new() }
    }
}

fn intend(fleet: &Fleet<'_>, region: RegionId, change: &Change, reason: Reason) -> Finding {
    match fleet.plan(region, change) {
        Ok(plan) => {
            let Reason { by, why, alternatives } = reason;
            let brief = plan.brief.clone();
            let decision = Decision { by, region, brief, why, alternatives };
            Finding::Do(Box::new(Intent { plan, decision }))
        }
        Err(refusal) => Finding::Stuck(refusal.to_string()),
    }
}

/// A region that is looked at.
struct Checker<'a> {
    fleet: &'a Fleet<'a>,
    setbacks: &'a Setbacks<'a>,
    placement: Placement<'a>,
}

impl Checker<'_> {
    fn intend(&self, change: &Change, reason: Reason) -> Finding {
        intend(self.fleet, self.placement.info.region.id, change, reason)
    }

    /// The members with one more, or one that counts for something else, and without some.
    fn change(&self, added: Option<(StoreId, bool)>, gone: MemberSet) -> Change {
        debug_assert!(added.is_some() || !gone.is_empty(), "something changes");
        let members = &self.placement.members;
        let mut gone_members = gone.iter().map(|at| members[at]);
        match (added, gone_members.next(), gone_members.next()) {
            (Some((to, true)), None, _) => Change::AddPeer(to),
            (Some((to, votes)), Some(from), None) if from.votes() == votes => {
                Change::MovePeer { from: from.peer.store, to }
            }
            (None, Some(from), None) => Change::RemovePeer(from.peer.store),
            _ => {
                let staying = (0..members.len()).filter(|at| !gone.contains(*at));
                let peers = staying.map(|at| (members[at].peer.store, members[at].votes()));
                let mut peers: BTreeMap<StoreId, bool> = peers.collect();
                let is_new = added.is_some_and(|(to, _)| !peers.contains_key(&to));
                match added {
                    Some((to, false)) if is_new && gone.is_empty() => Change::AddLearner(to),
                    _ => {
                        peers.extend(added);
                        Change::SetPeers(peers)
                    }
                }
            }
        }
    }

    /// Learners that nobody wants and that go in one turn with another change: on stores that do not stay, and those of
    /// which an earlier repair has made nothing. The one on `to` is used.
    fn litter(&self, to: StoreId) -> MemberSet {
        let asked_for = self.placement.rules().filter(|(demand, _)| demand.role == Role::Learner);
        let asked_for = asked_for.flat_map(|(_, fit)| fit.members.iter());
        let asked_for = asked_for.fold(MemberSet::NONE, MemberSet::with);
        let all = MemberSet::first(self.placement.members.len());
        all.without(asked_for).filter(|at| {
            let member = &self.placement.members[at];
            let is_unwanted = member.is_lost || self.setbacks.is_left_over(member.peer);
            !member.votes() && is_unwanted && member.peer.store != to
        })
    }
}

#[cfg(test)]
mod tests;
