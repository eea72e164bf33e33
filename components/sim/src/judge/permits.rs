//! Permits: one that is withdrawn never comes back under its generation, and within a generation a permit
//! only grows.

use std::collections::BTreeMap;

use flotilla_base::StoreId;
use flotilla_multiraft::Delegate;

use super::{Place, Verdict, require};

const GENERATION: &str = "a permit that is withdrawn never comes back under its generation";
const GROWS: &str = "within a generation a permit only grows";

/// What stores show their readers.
#[derive(Debug, Default)]
pub struct PermitJudge {
    shown: BTreeMap<Place, Delegate>,
}

impl PermitJudge {
    /// A store shows its readers a delegate in place of an earlier one.
    ///
    /// # Errors
    /// Its generation does not tell of a withdrawal, or it takes something back.
    pub fn on_permit(&mut self, place: Place, delegate: Delegate) -> Verdict {
        let Some(earlier) = self.shown.insert(place, delegate) else { return Ok(()) };
        let evidence = || format!("{place}: {earlier:?}, then {delegate:?}");
        let is_withdrawn = earlier.permit.is_some() && delegate.permit.is_none();
        let is_told = delegate.generation > earlier.generation;
        let grows = delegate.generation >= earlier.generation;
        require(grows && (is_told || !is_withdrawn), GENERATION, evidence)?;
        let (Some(before), Some(after)) = (earlier.permit, delegate.permit) else { return Ok(()) };
        let is_same_lead = (before.peer, before.term) == (after.peer, after.term);
        let is_more = after.commit >= before.commit && after.until >= before.until;
        require(is_told || (is_same_lead && is_more), GROWS, evidence)
    }

    /// A peer is destroyed: its readers find none of a later peer's permits.
    pub fn on_destroyed(&mut self, place: Place) {
        self.shown.remove(&place);
    }

    /// A store is gone, and its readers with it.
    pub fn on_crash(&mut self, store: StoreId) {
        self.shown.retain(|Place(other, _), _| *other != store);
    }
}

/// What the tests of this judge and of its neighbour are made of.
#[cfg(test)]
pub(crate) mod samples {
    use flotilla_base::{Index, Moment, PeerId, Term, Version};
    use flotilla_multiraft::{Delegate, Permit};

    pub(crate) fn permitted(generation: u64, term: u64) -> Delegate {
        let (term, version) = (Term(term), Version(1));
        let (peer, commit, until) = (PeerId(201), Index(7), Moment(100));
        Delegate { generation, permit: Some(Permit { peer, term, version, commit, until }) }
    }

    pub(crate) fn withdrawn(generation: u64) -> Delegate {
        Delegate { generation, permit: None }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Index, Moment};
    use flotilla_multiraft::Permit;

    use super::samples::{permitted, withdrawn};
    use super::*;
    use crate::judge::samples::{ONE, OTHER, broken};

    #[test]
    fn a_withdrawal_without_a_new_generation_is_found() {
        for generation in [0, 1] {
            let mut judge = PermitJudge::default();
            assert_eq!(judge.on_permit(ONE, permitted(1, 6)), Ok(()));
            assert_eq!(judge.on_permit(OTHER, permitted(0, 6)), Ok(()));
            assert_eq!(broken(judge.on_permit(ONE, withdrawn(generation))), GENERATION);
        }
        let mut judge = PermitJudge::default();
        assert_eq!(judge.on_permit(ONE, permitted(1, 6)), Ok(()));
        assert_eq!(judge.on_permit(ONE, withdrawn(2)), Ok(()));
        assert_eq!(judge.on_permit(ONE, permitted(2, 6)), Ok(()));
        judge.on_crash(ONE.0);
        assert_eq!(judge.on_permit(ONE, withdrawn(0)), Ok(()), "another run counts anew");
        judge.on_destroyed(ONE);
        assert_eq!(judge.on_permit(ONE, permitted(0, 9)), Ok(()), "another peer counts anew");
    }

    #[test]
    fn a_permit_that_takes_something_back_is_found() {
        let permit = permitted(0, 6).permit.expect("a permit");
        for smaller in [
            Permit { commit: Index(6), ..permit },
            Permit { until: Moment(99), ..permit },
            Permit { term: permit.term.next(), ..permit },
        ] {
            let mut judge = PermitJudge::default();
            assert_eq!(judge.on_permit(ONE, permitted(0, 6)), Ok(()));
            let delegate = Delegate { generation: 0, permit: Some(smaller) };
            assert_eq!(broken(judge.on_permit(ONE, delegate)), GROWS);
        }
        let mut judge = PermitJudge::default();
        assert_eq!(judge.on_permit(ONE, permitted(0, 6)), Ok(()));
        let grown = Permit { commit: Index(8), until: Moment(200), ..permit };
        assert_eq!(judge.on_permit(ONE, Delegate { generation: 0, permit: Some(grown) }), Ok(()));
    }
}
