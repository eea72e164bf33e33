//! Attempts to send a snapshot: each is wished for once, and ends once. Its view is taken between the two, and sent
//! only then.

use std::collections::BTreeMap;

use flotilla_base::StoreId;

use super::{Verdict, require};
use crate::snapshots::ViewKey;

const ONCE: &str = "an attempt to send a snapshot begins once and ends once";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Wished,
    Sending,
    Over,
}

/// The attempts of all stores, since each started.
#[derive(Debug, Default)]
pub struct ViewJudge {
    attempts: BTreeMap<(StoreId, ViewKey), Phase>,
}

impl ViewJudge {
    /// A peer wishes for a view.
    ///
    /// # Errors
    /// It used that number before.
    pub fn on_wish(&mut self, store: StoreId, key: ViewKey) -> Verdict {
        let before = self.attempts.insert((store, key), Phase::Wished);
        require(before.is_none(), ONCE, || format!("store {store}: {key:?} was {before:?}"))
    }

    /// A peer wants a view to be sent.
    ///
    /// # Errors
    /// There is none, or it was sent.
    pub fn on_send(&mut self, store: StoreId, key: ViewKey) -> Verdict {
        self.pass(store, key, Phase::Sending, |before| before == Phase::Wished)
    }

    /// An attempt ends: refused, given up, or with a word of what became of it.
    ///
    /// # Errors
    /// It has ended before, or never began.
    pub fn on_over(&mut self, store: StoreId, key: ViewKey) -> Verdict {
        self.pass(store, key, Phase::Over, |before| before != Phase::Over)
    }

    /// A store is gone.
    pub fn on_crash(&mut self, store: StoreId) {
        self.attempts.retain(|(other, _), _| *other != store);
    }

    fn pass(
        &mut self,
        store: StoreId,
        key: ViewKey,
        phase: Phase,
        may_follow: impl Fn(Phase) -> bool,
    ) -> Verdict {
        let before = self.attempts.insert((store, key), phase);
        require(before.is_some_and(may_follow), ONCE, || {
            format!("store {store}: {key:?} is {phase:?}, was {before:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::PeerId;

    use super::*;
    use crate::judge::samples::{ONE, OTHER, broken};

    #[test]
    fn an_attempt_that_begins_or_ends_twice_is_found() {
        let key = ViewKey { region: ONE.1, peer: PeerId(201), number: Default::default() };
        let mut judge = ViewJudge::default();
        assert_eq!(broken(judge.on_send(ONE.0, key)), ONCE);
        let mut judge = ViewJudge::default();
        assert_eq!(judge.on_wish(ONE.0, key), Ok(()));
        assert_eq!(judge.on_wish(OTHER.0, key), Ok(()), "another store's");
        assert_eq!(judge.on_send(ONE.0, key), Ok(()));
        assert_eq!(judge.on_over(ONE.0, key), Ok(()));
        assert_eq!(broken(judge.on_over(ONE.0, key)), ONCE);
        assert_eq!(broken(judge.on_wish(ONE.0, key)), ONCE);
        judge.on_crash(ONE.0);
        assert_eq!(judge.on_wish(ONE.0, key), Ok(()));
    }
}
