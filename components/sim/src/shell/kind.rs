//! Kinds of runs that are worlds: what makes them, and what repeats them.

use flotilla_sim::plan::Change;
use flotilla_sim::trial::Trial;
use flotilla_sim::{replicas, trial};

/// A kind of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole clusters, in all that can happen to them.
    Clusters,
    /// Clusters that do what the placement driver orders.
    Replicas,
}

impl Kind {
    /// One run.
    pub(crate) fn attempt(self, seed: u64, changes: &[Change], is_traced: bool) -> Trial {
        match self {
            Self::Clusters => trial::attempt(seed, changes, is_traced),
            Self::Replicas => replicas::trial::attempt(seed, changes, is_traced),
        }
    }

    /// The command line that repeats it.
    pub(crate) fn repeat(self, seed: u64, changes: &[Change]) -> String {
        match self {
            Self::Clusters => trial::repeat(seed, changes),
            Self::Replicas => replicas::trial::repeat(seed, changes),
        }
    }

    /// In front of the words of a command.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Clusters => "",
            Self::Replicas => "replicas ",
        }
    }
}
