//! Which store gets a replica.
//!
//! Best is the place that is furthest from the replicas that stay, whatever keeps its stores from taking one for a moment;
//! where something does, it is waited for, since a worse place would only be left again. Where rules know no places, any
//! store that can take it at once will do. Among equals the one that carries least gets it.
//!
//! A store that the region has waited for in vain comes behind all others; one that holds a learner already comes first
//! among those of one place.

use std::cmp::Reverse;

use flotilla_base::{Moment, StoreId};

use super::Checker;
use crate::{
    decision::{ALTERNATIVES_MAX, Alternative},
    fleet::{Obstacle, Seat},
    operator::OperatorRefusal,
    rule::{Demand, Isolation, MemberSet},
};

/// What a store is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The rule.
    pub demand: &'a Demand<'a>,
    /// Replicas from which it is to be far.
    pub staying: MemberSet,
    /// Learners that could do it.
    pub adoptable: MemberSet,
}

/// A store that could get it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub store: StoreId,
    /// How far it is from those that stay.
    pub isolation: Isolation,
    /// When the region has last waited for it in vain.
    pub failed: Moment,
    /// Whether another region has, lately.
    is_doubted: bool,
    /// Whether it holds no learner of the region.
    is_new: bool,
    /// What it carries, for its share.
    pub weight_bytes: u64,
    pub obstacle: Option<Obstacle>,
}

/// The store that gets it.
pub(super) struct Choice {
    pub store: StoreId,
    /// What it carries, for its share.
    pub weight_bytes: u64,
    pub alternatives: Vec<Alternative>,
}

type Rank = (Moment, Reverse<Isolation>, bool, bool, u64, StoreId);

impl Candidate {
    /// The least is the best.
    fn rank(&self) -> Rank {
        let place = Reverse(self.isolation);
        (self.failed, place, self.is_doubted, self.is_new, self.weight_bytes, self.store)
    }

    fn is_at_place_of(&self, other: &Self) -> bool {
        (self.failed, self.isolation) == (other.failed, other.isolation)
    }

    /// Whether nothing stands in its way that lasts.
    pub(super) fn is_lasting(&self) -> bool {
        self.obstacle.as_ref().is_none_or(Obstacle::is_passing)
    }

    /// What it is waited for, as a sentence.
    pub(super) fn waiting(&self) -> String {
        let obstacle = self.obstacle.as_ref().map_or_else(String::new, ToString::to_string);
        format!("waits for store {}: {obstacle}", self.store)
    }

    /// Why it is not taken, and `chosen` is.
    fn shortfall(&self, chosen: &Self) -> String {
        const MIB: u64 = 1 << 20;
        if let Some(obstacle) = &self.obstacle {
            return obstacle.to_string();
        }
        if self.failed > chosen.failed {
            return "the region has waited for it in vain".to_owned();
        }
        if self.isolation != chosen.isolation {
            let (own, best) = (self.isolation.score(), chosen.isolation.score());
            return format!("it is less far from the other replicas: {own} instead of {best}");
        }
        if self.is_doubted != chosen.is_doubted {
            return "another region has waited for it in vain".to_owned();
        }
        if self.is_new != chosen.is_new {
            return format!("it has no learner of the region, which store {} has", chosen.store);
        }
        let (own, best) = (self.weight_bytes / MIB, chosen.weight_bytes / MIB);
        format!("it carries {own} MiB for its share, store {} carries {best} MiB", chosen.store)
    }
}

impl Checker<'_> {
    /// All stores that could have it as far as the rule goes, the best one first.
    pub(super) fn candidates(&self, wanted: &Wanted<'_>) -> Vec<Candidate> {
        self.candidates_apart(wanted, |_isolation| true)
    }

    /// The same of those that are so far from the replicas that stay.
    pub(super) fn candidates_apart(
        &self,
        wanted: &Wanted<'_>,
        is_far: impl Fn(Isolation) -> bool,
    ) -> Vec<Candidate> {
        let members = &self.placement.members;
        let fits = |seat: &&Seat<'_>| seat.labels().satisfy(wanted.demand.constraints);
        let mut candidates: Vec<Candidate> = Vec::new();
        for seat in self.fleet.seats().filter(fits) {
            let member = members.iter().position(|member| member.peer.store == seat.record.id);
            if !member.is_none_or(|at| wanted.adoptable.contains(at)) {
                continue;
            }
            let others = wanted.staying.iter().map(|at| members[at].labels);
            let isolation = Isolation::between(wanted.demand, seat.labels(), others);
            if is_far(isolation) {
                candidates.push(self.candidate(seat, isolation, member.is_none()));
            }
        }
        candidates.sort_by_key(Candidate::rank);
        candidates
    }

    fn candidate(&self, seat: &Seat<'_>, isolation: Isolation, is_new: bool) -> Candidate {
        let (store, info) = (seat.record.id, self.placement.info);
        let obstacle = if is_new {
            self.fleet.check_peer(store, info.stats.size_bytes).err()
        } else {
            // It has the data, or is about to have it.
            match self.fleet.sight.check_target(store) {
                Err(OperatorRefusal::NotUp { state, .. }) => Some(Obstacle::NotUp(state)),
                Err(_) => Some(Obstacle::NotUp("unknown")),
                Ok(()) => None,
            }
        };
        let (failed, is_doubted) = self.setbacks.rank(info.region.id, store);
        Candidate {
            store,
            isolation,
            failed,
            is_doubted,
            is_new,
            weight_bytes: share_bytes(seat),
            obstacle,
        }
    }

    /// The store that gets it.
    ///
    /// # Errors
    /// Why none does at the moment, in a sentence.
    pub(super) fn choose(&self, wanted: &Wanted<'_>) -> Result<Choice, String> {
        let candidates = self.candidates(wanted);
        let is_kept = |it: &&Candidate| it.isolation.is_kept();
        let lasting = || candidates.iter().filter(|it| it.is_lasting()).filter(is_kept);
        let Some(best) = lasting().next() else { return Err(self.nowhere(wanted, &candidates)) };
        let is_bound = !wanted.demand.location_labels.is_empty();
        let mut ready = lasting().filter(|it| it.obstacle.is_none());
        let chosen = ready.find(|it| !is_bound || it.is_at_place_of(best));
        let chosen = chosen.ok_or_else(|| best.waiting())?;
        debug_assert!(chosen.obstacle.is_none() && chosen.isolation.is_kept(), "it can take it");
        let others = candidates.iter().filter(|it| it.store != chosen.store);
        let alternative =
            |it: &Candidate| Alternative { store: it.store, why: it.shortfall(chosen) };
        Ok(Choice {
            store: chosen.store,
            weight_bytes: chosen.weight_bytes,
            alternatives: others.take(ALTERNATIVES_MAX).map(alternative).collect(),
        })
    }

    /// Why no store can have it, and what would help.
    fn nowhere(&self, wanted: &Wanted<'_>, candidates: &[Candidate]) -> String {
        let Wanted { demand, staying, .. } = wanted;
        let rule = format!("{}/{}", demand.group_id, demand.id);
        let is_like = |seat: &Seat<'_>| seat.labels().satisfy(demand.constraints);
        if !self.fleet.seats().any(is_like) {
            let asked: Vec<String> = demand.constraints.iter().map(ToString::to_string).collect();
            let asked =
                if asked.is_empty() { "no reserved label".to_owned() } else { asked.join(", ") };
            return format!(
                "no store is as placement rule {rule} asks ({asked}): start one with such labels, or change the rule"
            );
        }
        if let Some(level) = demand.isolation.filter(|_| !staying.is_empty()) {
            let (kind, level) = (&demand.location_labels[level], level);
            return self.nowhere_apart(*staying, kind, &demand.location_labels[..=level]);
        }
        let hindered = candidates.iter().take(ALTERNATIVES_MAX).filter_map(|it| {
            it.obstacle.as_ref().map(|obstacle| format!("not to store {}: {obstacle}", it.store))
        });
        let hindered: Vec<String> = hindered.collect();
        let hindered = if hindered.is_empty() {
            "each store that could have one has one already".to_owned()
        } else {
            hindered.join("; ")
        };
        format!(
            "no store can take a {} for placement rule {rule}: {hindered}. Start another store, or ask for fewer",
            demand.role.name()
        )
    }

    /// The same where no two may be in one place of a kind.
    pub(super) fn nowhere_apart(&self, taken: MemberSet, kind: &str, kinds: &[String]) -> String {
        let place = |at: usize| {
            let of_kind = |label: &String| self.placement.members[at].labels.get(label);
            kinds.iter().map(of_kind).collect::<Vec<_>>().join("/")
        };
        let mut places: Vec<String> = taken.iter().map(place).collect();
        places.sort();
        places.dedup();
        format!(
            "no store in another {kind} than {} is up with room: start one there, or lower isolation-level",
            places.join(", ")
        )
    }
}

/// What a store carries for its share. One that is to have no share carries more than all others.
fn share_bytes(seat: &Seat<'_>) -> u64 {
    let weight = u128::from(seat.weight_bytes()) * 1_000;
    let share = weight.checked_div(u128::from(seat.policy.region_weight_permille));
    share.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(u64::MAX)
}

/// [`share_bytes`] of a store, whatever is known of it.
impl Checker<'_> {
    pub(super) fn share_bytes(&self, store: StoreId) -> u64 {
        self.fleet.seat(store).map_or(0, share_bytes)
    }
}
