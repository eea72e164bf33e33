//! A number under which a store has spoken to others is that of one run: others tell a run by it from the one that led,
//! or promised, before.

use std::collections::BTreeMap;

use flotilla_base::{Incarnation, StoreId};

use super::{Verdict, require};

const ONCE: &str = "a number under which a store has spoken never comes back";

/// The numbers that others have heard of.
#[derive(Debug, Default)]
pub struct RunJudge {
    spoken: BTreeMap<StoreId, Incarnation>,
}

impl RunJudge {
    /// A store begins a run.
    ///
    /// # Errors
    /// Others have heard of its number before, or of a later one.
    pub fn on_start(&self, store: StoreId, run: Incarnation) -> Verdict {
        let last = self.spoken.get(&store).copied().unwrap_or_default();
        require(run > last, ONCE, || {
            format!("store {store}: run {run} begins, run {last} has spoken")
        })
    }

    /// A store says something to another one.
    pub fn on_said(&mut self, store: StoreId, run: Incarnation) {
        self.spoken.insert(store, run);
    }

    /// Whether this run has said something.
    #[must_use]
    pub fn has_spoken(&self, store: StoreId, run: Incarnation) -> bool {
        self.spoken.get(&store) == Some(&run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{ONE, OTHER, broken};

    #[test]
    fn a_number_that_comes_back_is_found() {
        let mut judge = RunJudge::default();
        let (store, run) = (ONE.0, Incarnation);
        assert_eq!(judge.on_start(store, run(1)), Ok(()));
        assert_eq!(judge.on_start(store, run(1)), Ok(()), "nobody has heard of it");
        judge.on_said(store, run(1));
        assert!(judge.has_spoken(store, run(1)) && !judge.has_spoken(store, run(2)));
        assert_eq!(broken(judge.on_start(store, run(1))), ONCE);
        assert_eq!(judge.on_start(OTHER.0, run(1)), Ok(()), "each store counts its own");
        assert_eq!(judge.on_start(store, run(2)), Ok(()));
    }
}
