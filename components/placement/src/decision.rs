//! Why something was decided, or not: what was chosen, what else could have been and why it was not, with the numbers.
//!
//! Every change that the placement driver begins by itself has a record here; of what it does not do, the last word of
//! each checker and scheduler. Records belong to one reign, and the oldest are forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flotilla_base::{RegionId, StoreId};

use crate::operator::{Plan, Stamp};

/// Records that are kept.
pub const KEPT_MAX: usize = 10_000;
/// Regions that cannot be mended of which the reason is kept.
pub const STUCK_MAX: usize = 10_000;
/// What else could have been is told of so many stores at most.
pub const ALTERNATIVES_MAX: usize = 4;

/// A store that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The store.
    pub store: StoreId,
    /// Why not, as the end of the sentence "not to store 4: ...".
    pub why: String,
}

/// Why a change began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The checker or scheduler, in the words of the public protocol: `balance-region`, `replace-rule-down-peer`.
    pub by: &'static str,
    /// The region.
    pub region: RegionId,
    /// What was chosen, in short.
    pub brief: String,
    /// The reason, in a sentence with numbers.
    pub why: String,
    /// Other stores that were looked at.
    pub alternatives: Vec<Alternative>,
}

/// A change that is to begin, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// What is to be done. New peers have no ids yet.
    pub plan: Plan,
    /// Why.
    pub decision: Decision,
}

/// A decision with its number and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Its number within the reign, from 1.
    pub id: u64,
    /// When.
    pub at: Stamp,
    /// What was decided.
    pub decision: Decision,
}

/// Why somebody does nothing at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// When it last looked.
    pub at: Stamp,
    /// Why it does nothing, in a sentence.
    pub why: String,
}

/// The decisions of a reign.
#[derive(Debug, Default)]
pub struct DecisionLog {
    /// The last one at the end; at most [`KEPT_MAX`].
    kept: VecDeque<DecisionRecord>,
    last_id: u64,
    /// By scheduler.
    idle: BTreeMap<&'static str, Idle>,
    /// Regions that cannot be mended at the moment, with the reason; at most [`STUCK_MAX`].
    stuck: BTreeMap<RegionId, Idle>,
    /// The others of them.
    stuck_besides: BTreeSet<RegionId>,
}

impl DecisionLog {
    /// Something was decided.
    pub fn note(&mut self, at: Stamp, decision: Decision) {
        self.idle.remove(decision.by);
        self.forget_stuck(decision.region);
        self.last_id += 1;
        self.kept.push_back(DecisionRecord { id: self.last_id, at, decision });
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    /// A scheduler has found nothing to do.
    pub fn note_idle(&mut self, at: Stamp, by: &'static str, why: String) {
        self.idle.insert(by, Idle { at, why });
    }

    /// A region is not as it is to be, and cannot be mended at the moment.
    pub fn note_stuck(&mut self, at: Stamp, region: RegionId, why: String) {
        if self.stuck.len() < STUCK_MAX || self.stuck.contains_key(&region) {
            self.stuck_besides.remove(&region);
            self.stuck.insert(region, Idle { at, why });
        } else {
            self.stuck_besides.insert(region);
        }
        debug_assert!(self.stuck.len() <= STUCK_MAX, "reasons are long");
    }

    /// A region is as it is to be, or is no more.
    pub fn forget_stuck(&mut self, region: RegionId) {
        self.stuck.remove(&region);
        self.stuck_besides.remove(&region);
    }

    /// The decisions, the last one first.
    pub fn iter(&self) -> impl Iterator<Item = &DecisionRecord> {
        self.kept.iter().rev()
    }

    /// Why a scheduler does nothing; `None` where it has not looked, or did something when it last did.
    #[must_use]
    pub fn idle(&self, by: &str) -> Option<&Idle> {
        self.idle.get(by)
    }

    /// Why a region is not mended.
    #[must_use]
    pub fn stuck(&self, region: RegionId) -> Option<&Idle> {
        self.stuck.get(&region)
    }

    /// How many regions cannot be mended at the moment, with those of which the reason is not kept.
    #[must_use]
    pub fn stuck_count(&self) -> usize {
        self.stuck.len() + self.stuck_besides.len()
    }

    /// The regions that cannot be mended at the moment of which the reason is kept.
    pub fn all_stuck(&self) -> impl Iterator<Item = (RegionId, &Idle)> {
        self.stuck.iter().map(|(region, idle)| (*region, idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_that_are_stuck_the_reason_is_left_out_and_they_are_counted() {
        let (mut log, at) = (DecisionLog::default(), Stamp::default());
        let all = STUCK_MAX as u64 + 7;
        for region in (0..all).chain(0..all) {
            log.note_stuck(at, RegionId(region), "no room".to_owned());
        }
        assert_eq!((log.all_stuck().count(), log.stuck_count()), (STUCK_MAX, STUCK_MAX + 7));
        log.forget_stuck(RegionId(all - 1));
        log.forget_stuck(RegionId(3));
        assert_eq!((log.all_stuck().count(), log.stuck_count()), (STUCK_MAX - 1, STUCK_MAX + 5));
        log.note_stuck(at, RegionId(all - 2), "no room".to_owned());
        assert_eq!((log.all_stuck().count(), log.stuck_count()), (STUCK_MAX, STUCK_MAX + 5));
        assert!(log.stuck(RegionId(all - 2)).is_some() && log.stuck(RegionId(all - 3)).is_none());
    }
}
