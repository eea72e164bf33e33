//! Queues return to zero once nobody asks for anything.

use flotilla_base::StoreId;

use super::{Verdict, require};

const ZERO: &str = "liveness: queues return to zero";

/// What waits at a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Inputs of replicas.
    pub inputs: usize,
    /// Tasks of appliers.
    pub tasks: usize,
    /// Threads between two effects.
    pub steps: usize,
    /// Written rounds that no sync has covered.
    pub rounds: usize,
    /// Readys that their replicas do not know durable.
    pub readys: usize,
    /// Reads in place between two steps.
    pub readings: usize,
    /// Inputs that are not in their inboxes yet.
    pub notices: usize,
    /// Views that are kept for snapshots.
    pub views: usize,
    /// Snapshots that are staged.
    pub stages: usize,
}

impl Backlog {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Judges what the stores of a cluster at rest have left; there was time for all of it.
///
/// # Errors
/// Something waits for ever.
pub fn check(backlogs: &[(StoreId, Backlog)]) -> Verdict {
    let mut waiting = backlogs.iter().filter(|(_, backlog)| !backlog.is_empty()).peekable();
    let is_empty = waiting.peek().is_none();
    require(is_empty, ZERO, || format!("{:?}", waiting.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::broken;

    #[test]
    fn whatever_waits_for_ever_is_found() {
        let empty = Backlog::default();
        assert_eq!(check(&[(StoreId(1), empty), (StoreId(2), empty)]), Ok(()));
        for backlog in [
            Backlog { inputs: 1, ..empty },
            Backlog { tasks: 1, ..empty },
            Backlog { steps: 1, ..empty },
            Backlog { rounds: 1, ..empty },
            Backlog { readys: 1, ..empty },
            Backlog { readings: 1, ..empty },
            Backlog { notices: 1, ..empty },
        ] {
            assert_eq!(broken(check(&[(StoreId(1), empty), (StoreId(2), backlog)])), ZERO);
        }
    }
}
