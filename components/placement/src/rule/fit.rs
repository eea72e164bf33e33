//! Which member of a region counts for which rule.
//!
//! Rule by rule, the best of the members that are left. Better is, in this order: more of those that are asked for; fewer
//! that have to change what they count for; fewer on stores that will not come back or are to leave; fewer pairs that are in
//! one place where that is not allowed; further apart; and else those that come first. Who is left over at the end is an
//! orphan: nothing asks for it.
//!
//! The rule that asks for the leader chooses first, since it has the fewest to choose from; then those that ask for other
//! voters, since a voter can become a learner, and a region without voters is none.
//!
//! This runs for each report of each region. Where a rule asks for all that are left, which is the usual case, nothing is
//! compared at all.

use std::collections::BTreeMap;

use flotilla_base::Peer;

use super::{Demand, Labels, Role};
use crate::operator::step::votes_on;

/// Members that are looked at: a region has far fewer.
pub const MEMBERS_MAX: usize = 64;
/// Members among which the best are searched for one rule, of those that come first.
const SEARCHED_MAX: usize = 12;

/// A member of a region, as far as rules care.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The peer; a joint change that is under way counts as ended.
    pub peer: Peer,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether its store will not come back, or is to leave.
    pub is_lost: bool,
    /// Whether its store is up, and it has caught up.
    pub is_healthy: bool,
    /// The labels of its store.
    pub labels: Labels<'a>,
}

impl Member<'_> {
    /// Whether it votes.
    #[must_use]
    pub const fn votes(&self) -> bool {
        votes_on(self.peer)
    }

    /// Whether it counts for what the role asks.
    #[must_use]
    pub const fn has(&self, role: Role) -> bool {
        match role {
            Role::Leader => self.is_leader,
            Role::Voter => self.votes(),
            Role::Follower => self.votes() && !self.is_leader,
            Role::Learner => !self.votes(),
        }
    }
}

/// Some of the members of a region, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberSet(u64);

impl MemberSet {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// The first `count`, at most [`MEMBERS_MAX`].
    #[must_use]
    pub const fn first(count: usize) -> Self {
        Self(if count >= MEMBERS_MAX { u64::MAX } else { (1 << count) - 1 })
    }

    /// How many.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, at: usize) -> bool {
        at < MEMBERS_MAX && self.0 >> at & 1 == 1
    }

    /// With this one.
    #[must_use]
    pub const fn with(self, at: usize) -> Self {
        debug_assert!(at < MEMBERS_MAX, "a member that is looked at");
        Self(self.0 | 1 << at)
    }

    /// Without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of which `is_it` holds.
    #[must_use]
    pub fn filter(self, is_it: impl Fn(usize) -> bool) -> Self {
        self.iter().filter(|at| is_it(*at)).fold(Self::NONE, Self::with)
    }

    /// Their numbers, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let at = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            (at < MEMBERS_MAX).then_some(at)
        })
    }
}

/// How far apart stores are. The larger one is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isolation {
    /// Minus the number of pairs in one place of which no two may be: 0 keeps the isolation level.
    kept: i32,
    /// The sum over all pairs of 100 to the power of the number of kinds of places in which both may be apart, below the
    /// widest one in which they are.
    score: u64,
}

impl Isolation {
    /// What so many stores have that are all apart in the widest kind of place.
    pub(crate) fn best(demand: &Demand<'_>, stores: usize) -> Self {
        (0..stores)
            .flat_map(|at| 0..at)
            .fold(Self::default(), |sum, _pair| sum.plus(Self::of_pair(demand, 0)))
    }

    /// How far apart replicas are at best, by their number: none, one, and so on up to what `demand` asks for, or to all of
    /// `stores`.
    pub(crate) fn best_of(demand: &Demand<'_>, stores: Vec<Labels<'_>>) -> Vec<Self> {
        Self::best_within(demand, stores, 0)
    }

    /// The same of stores that are in one place of all kinds wider than this one. Of each place of this kind some are
    /// taken: the best of so many there, and between two places each pair is apart.
    fn best_within(demand: &Demand<'_>, stores: Vec<Labels<'_>>, kind: usize) -> Vec<Self> {
        let most = demand.count.min(stores.len());
        let Some(label) = demand.location_labels.get(kind) else {
            let near = Self::of_pair(demand, kind);
            let pairs = |count: usize| count * count.saturating_sub(1) / 2;
            return (0..=most).map(|count| near.times(pairs(count))).collect();
        };
        let mut places: BTreeMap<&str, Vec<Labels<'_>>> = BTreeMap::new();
        for store in stores {
            places.entry(store.get(label)).or_default().push(store);
        }
        let apart = Self::of_pair(demand, kind);
        let mut best = vec![Self::default()];
        for place in places.into_values() {
            let inside = Self::best_within(demand, place, kind + 1);
            let counts = 0..=most.min(best.len() + inside.len() - 2);
            let with = |count: usize| {
                let splits = (0..=count).filter_map(|here| {
                    let (there, here_best) = (best.get(count - here)?, inside.get(here)?);
                    Some(there.plus(*here_best).plus(apart.times(here * (count - here))))
                });
                splits.max().unwrap_or_default()
            };
            best = counts.map(with).collect();
        }
        debug_assert_eq!(best.len(), most + 1, "each number of replicas up to the most");
        best
    }

    /// How far apart a store is from others, for what `demand` asks.
    pub(crate) fn between<'a>(
        demand: &Demand<'_>,
        one: Labels<'_>,
        others: impl Iterator<Item = Labels<'a>>,
    ) -> Self {
        others.fold(Self::default(), |sum, other| {
            let parting = one.parting(other, demand.location_labels);
            sum.plus(Self::of_pair(demand, parting))
        })
    }

    fn of_pair(demand: &Demand<'_>, parting: usize) -> Self {
        let kinds = demand.location_labels.len();
        let is_conflict = demand.isolation.is_some_and(|level| parting > level);
        // More kinds than a number has room for count like the narrowest of those that it has.
        let power = |below: usize| 100_u64.pow(u32::try_from(below.min(7)).unwrap_or(0));
        let score = if parting < kinds { power(kinds - 1 - parting) } else { 0 };
        Self { kept: -i32::from(is_conflict), score }
    }

    /// So many pairs that are as far apart.
    fn times(self, pairs: usize) -> Self {
        let kept = self.kept.saturating_mul(i32::try_from(pairs).unwrap_or(i32::MAX));
        Self { kept, score: self.score.saturating_mul(pairs as u64) }
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self { kept: self.kept + other.kept, score: self.score.saturating_add(other.score) }
    }

    /// Whether no two are in one place of which no two may be.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        self.kept == 0
    }

    /// The sum over all pairs.
    #[must_use]
    pub const fn score(self) -> u64 {
        self.score
    }
}

/// Who counts for one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleFit {
    /// The members.
    pub members: MemberSet,
    /// Those of them that have to change what they count for.
    pub mismatched: MemberSet,
    /// How far they are apart.
    pub isolation: Isolation,
}

/// Who counts for which rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// In the order of the rules.
    pub rules: Vec<RuleFit>,
    /// Members for which no rule asks.
    pub orphans: MemberSet,
}

/// What makes one choice better than another; the larger one is.
type Rank = (usize, usize, Isolation);

/// Says who counts for which rule. `members` stand in the order in which they are preferred where all else is equal.
#[must_use]
pub fn fit(members: &[Member<'_>], demands: &[Demand<'_>]) -> Fit {
    let mut free = MemberSet::first(members.len());
    let mut rules = vec![RuleFit::default(); demands.len()];
    for turn in [&[Role::Leader][..], &[Role::Voter, Role::Follower], &[Role::Learner]] {
        for (demand, chosen) in demands.iter().zip(&mut rules) {
            if turn.contains(&demand.role) {
                *chosen = choose(members, demand, free);
                free = free.without(chosen.members);
            }
        }
    }
    debug_assert!(
        rules.iter().fold(free.len(), |sum, rule| sum + rule.members.len())
            == members.len().min(MEMBERS_MAX),
        "each counts once"
    );
    Fit { rules, orphans: free }
}

fn choose(members: &[Member<'_>], demand: &Demand<'_>, free: MemberSet) -> RuleFit {
    let is_match = |at: usize| members[at].labels.satisfy(demand.constraints);
    let matching = free.filter(is_match);
    let chosen =
        if matching.len() <= demand.count { matching } else { best(members, demand, matching) };
    RuleFit {
        members: chosen,
        mismatched: chosen.filter(|at| !members[at].has(demand.role)),
        isolation: isolation(members, demand, chosen),
    }
}

/// The best of more than are asked for.
fn best(members: &[Member<'_>], demand: &Demand<'_>, matching: MemberSet) -> MemberSet {
    let candidates: Vec<usize> = matching.iter().take(SEARCHED_MAX).collect();
    let count = demand.count.min(candidates.len());
    let end = 1_u32 << candidates.len();
    let mut best: Option<(Rank, MemberSet)> = None;
    let mut bits = (1_u32 << count) - 1;
    while bits < end {
        let chosen = (0..candidates.len()).filter(|at| bits >> at & 1 == 1);
        let chosen = chosen.fold(MemberSet::NONE, |set, at| set.with(candidates[at]));
        let rank = rank(members, demand, chosen);
        if best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, chosen));
        }
        if bits == 0 {
            break;
        }
        // The next larger number with as many bits.
        let lowest = bits & bits.wrapping_neg();
        let carried = bits + lowest;
        bits = carried | (((bits ^ carried) >> 2) / lowest);
    }
    let best = best.map_or(MemberSet::NONE, |(_, chosen)| chosen);
    debug_assert_eq!(best.len(), count, "as many as are asked for");
    best
}

fn rank(members: &[Member<'_>], demand: &Demand<'_>, chosen: MemberSet) -> Rank {
    let count = |is_it: &dyn Fn(&Member<'_>) -> bool| chosen.filter(|at| is_it(&members[at])).len();
    let matched = count(&|member| member.has(demand.role));
    let staying = count(&|member| !member.is_lost);
    (matched, staying, isolation(members, demand, chosen))
}

/// How far these are apart.
pub(crate) fn isolation(
    members: &[Member<'_>],
    demand: &Demand<'_>,
    chosen: MemberSet,
) -> Isolation {
    if demand.location_labels.is_empty() {
        return Isolation::default();
    }
    chosen.iter().fold(Isolation::default(), |sum, at| {
        let before = chosen.iter().take_while(|other| *other < at);
        let others = before.map(|other| members[other].labels);
        sum.plus(Isolation::between(demand, members[at].labels, others))
    })
}
