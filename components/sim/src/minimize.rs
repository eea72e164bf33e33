//! Makes a failing seed small: tries one change of its plan after the other, and keeps each under which the
//! same rule is still broken.

use std::collections::BTreeSet;

use crate::partition::Shape;
use crate::plan::{Change, FaultFamily, Number, Plan, SWITCHES};

/// After so many rounds over all changes it is small enough.
const ROUNDS_MAX: usize = 5;

/// What a run with a broken rule shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which rule: another one is another failure.
    pub rule: String,
    /// When, and the evidence.
    pub what: String,
    /// Faults that had been due by then.
    pub faults: u64,
}

/// A failing seed made small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimal {
    /// What was changed.
    pub changes: Vec<Change>,
    /// What the run with these changes shows.
    pub failure: Failure,
    /// Runs that it took.
    pub runs: u64,
}

/// Makes the failure of a seed small. `run` carries a seed out with changes, and says how it failed, if it did.
/// Begins with `changes`; `None` where nothing fails with them.
pub fn minimize(
    seed: u64,
    changes: &[Change],
    run: &mut dyn FnMut(&[Change]) -> Option<Failure>,
) -> Option<Minimal> {
    let failure = run(changes)?;
    let kept = Minimal { changes: changes.to_vec(), failure, runs: 1 };
    let mut search = Search { seed, kept, run };
    for _ in 0..ROUNDS_MAX {
        let before = search.kept.changes.clone();
        search.turn_off();
        search.leave_out_faults();
        search.lower_numbers();
        if search.kept.changes == before {
            break;
        }
    }
    Some(search.kept)
}

struct Search<'a> {
    seed: u64,
    kept: Minimal,
    run: &'a mut dyn FnMut(&[Change]) -> Option<Failure>,
}

impl Search<'_> {
    fn plan(&self, changes: &[Change]) -> Plan {
        Plan::changed(self.seed, changes)
    }

    /// Keeps `change` if the same rule is broken with it.
    fn holds_with(&mut self, change: Change) -> bool {
        let is_replaced = |old: &Change| match (old, &change) {
            (Change::Off(old), Change::Off(new)) => old == new,
            (Change::Set(old, _), Change::Set(new, _)) => old == new,
            (Change::Only(_), Change::Only(_)) => true,
            _ => false,
        };
        let mut changes = self.kept.changes.clone();
        changes.retain(|old| !is_replaced(old));
        changes.push(change);
        let shown = |plan: &Plan| format!("{plan:?}");
        if shown(&self.plan(&changes)) == shown(&self.plan(&self.kept.changes)) {
            return false;
        }
        self.kept.runs += 1;
        let failure = (self.run)(&changes).filter(|it| it.rule == self.kept.failure.rule);
        let holds = failure.is_some();
        if let Some(failure) = failure {
            (self.kept.changes, self.kept.failure) = (changes, failure);
        }
        holds
    }

    fn turn_off(&mut self) {
        let names = FaultFamily::ALL.iter().map(|it| it.name());
        let names = names.chain(SWITCHES.iter().map(|it| it.name));
        for name in names.chain(Shape::ALL.iter().map(|it| it.name())) {
            self.holds_with(Change::Off(name.to_owned()));
        }
    }

    fn leave_out_faults(&mut self) {
        let only = self.plan(&self.kept.changes).faults.only;
        let mut left: Vec<u64> = only.map_or_else(
            || (1..=self.kept.failure.faults).collect(),
            |only| only.into_iter().collect(),
        );
        if left.is_empty() || self.holds_with(Change::Only(BTreeSet::new())) {
            return;
        }
        let mut size = left.len().div_ceil(2);
        loop {
            let mut at = 0;
            while at < left.len() {
                let end = left.len().min(at + size);
                let others = left[..at].iter().chain(&left[end..]);
                let others: BTreeSet<u64> = others.copied().collect();
                if self.holds_with(Change::Only(others)) {
                    left.drain(at..end);
                } else {
                    at = end;
                }
            }
            if size == 1 {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    fn lower_numbers(&mut self) {
        for number in Number::ALL {
            let mut low = 1;
            // The smallest that still fails, if smaller ones fail less.
            while low < number.of(&self.plan(&self.kept.changes)) {
                let now = number.of(&self.plan(&self.kept.changes));
                let tried = if low == 1 { 1 } else { low.midpoint(now) };
                if !self.holds_with(Change::Set(number, tried)) {
                    low = if low == 1 { 2 } else { tried + 1 };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 3;

    fn failure(rule: &str) -> Failure {
        Failure { rule: rule.to_owned(), what: String::new(), faults: 20 }
    }

    fn planned(changes: &[Change]) -> Plan {
        Plan::changed(SEED, changes)
    }

    #[test]
    fn what_a_failure_does_not_need_goes() {
        // It needs two faults, three clients and operations enough, and nothing else.
        let mut run = |changes: &[Change]| {
            let plan = planned(changes);
            let only = plan.faults.only.as_ref();
            let has_faults = only.is_none_or(|only| only.contains(&4) && only.contains(&17));
            let fails = has_faults && plan.load.clients >= 2 && plan.load.operations >= 7;
            fails.then(|| failure("a rule"))
        };
        let minimal = minimize(SEED, &[], &mut run).expect("it fails");
        let plan = planned(&minimal.changes);
        assert_eq!(plan.faults.only, Some([4, 17].into()));
        assert_eq!((plan.load.clients, plan.load.operations), (2, 7));
        assert_eq!((plan.topology.stores, plan.phases.safety.as_millis()), (1, 1));
        assert!(plan.faults.families.is_empty() && plan.net.loss_permille == 0);
    }

    #[test]
    fn another_broken_rule_is_another_failure() {
        let mut run = |changes: &[Change]| {
            let is_calm = changes.contains(&Change::Off("crash".to_owned()));
            Some(failure(if is_calm { "another rule" } else { "a rule" }))
        };
        let minimal = minimize(SEED, &[], &mut run).expect("it fails");
        assert_eq!(minimal.failure.rule, "a rule");
        assert!(!minimal.changes.contains(&Change::Off("crash".to_owned())));
    }

    #[test]
    fn a_seed_that_does_not_fail_is_not_made_small() {
        assert_eq!(minimize(SEED, &[], &mut |_| None), None);
    }
}
