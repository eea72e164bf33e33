//! The replicated state follows from the log alone: for one position of the log there is one state, on all
//! members and in all their lives, also where it is read back from disk.

use std::collections::BTreeMap;

use flotilla_base::{ClusterId, Index, PeerId};
use flotilla_placement::MetaState;

use crate::judge::{Verdict, require};

const ONE_STATE: &str = "one state for one position of the log";
const ONE_CLUSTER: &str = "all members belong to one cluster, for ever";

/// What was seen.
#[derive(Debug, Default)]
pub struct StateJudge {
    states: BTreeMap<Index, MetaState>,
    cluster: Option<ClusterId>,
}

impl StateJudge {
    /// A member has applied everything up to `applied`, or says so after a start.
    ///
    /// # Errors
    /// Another one came to another state.
    pub fn on_state(&mut self, member: PeerId, applied: Index, state: &MetaState) -> Verdict {
        let known = self.states.entry(applied).or_insert_with(|| state.clone());
        require(known == state, ONE_STATE, || {
            format!("member {member} at {applied}: {state:?}, known is {known:?}")
        })
    }

    /// A member's directory becomes one of a cluster.
    ///
    /// # Errors
    /// It was one of another, or another member's is.
    pub fn on_claim(&mut self, member: PeerId, cluster: ClusterId) -> Verdict {
        let known = *self.cluster.get_or_insert(cluster);
        require(known == cluster && !cluster.is_none(), ONE_CLUSTER, || {
            format!("member {member}: {cluster}, known is {known}")
        })
    }

    /// The newest position that any member has applied.
    #[must_use]
    pub fn newest(&self) -> Option<(Index, &MetaState)> {
        self.states.last_key_value().map(|(index, state)| (*index, state))
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::Term;
    use flotilla_placement::{Cluster, EntryPosition, MetaChange, MetaCommand};

    use super::*;

    fn state(id: u64) -> MetaState {
        let mut state = MetaState::default();
        let change = MetaChange::InitCluster(Cluster { id: ClusterId(id), max_replicas: 3 });
        let command = MetaCommand { term: Term(6), change };
        let at = EntryPosition { index: Index(7), term: Term(6) };
        state.apply(at, &command.encode()).expect("a command");
        state
    }

    #[test]
    fn a_member_that_differs_is_found() {
        let mut judge = StateJudge::default();
        assert_eq!(judge.on_state(PeerId(1), Index(7), &state(1)), Ok(()));
        assert_eq!(judge.on_state(PeerId(2), Index(7), &state(1)), Ok(()));
        assert_eq!(judge.on_state(PeerId(2), Index(8), &state(2)), Ok(()));
        let verdict = judge.on_state(PeerId(1), Index(7), &state(2));
        assert_eq!(verdict.map_err(|violation| violation.rule), Err(ONE_STATE));
    }

    #[test]
    fn another_cluster_is_found() {
        let mut judge = StateJudge::default();
        assert_eq!(judge.on_claim(PeerId(1), ClusterId(3)), Ok(()));
        let verdict = judge.on_claim(PeerId(2), ClusterId(4));
        assert_eq!(verdict.map_err(|violation| violation.rule), Err(ONE_CLUSTER));
    }
}
