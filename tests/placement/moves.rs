//! Changes of regions that have ended, each counted once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use flotilla_client::operators::OperatorInfo;

/// The placement driver remembers some of them only, and another leader none: whoever counts looks often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moves {
    /// When each was made, and its number then.
    seen: BTreeSet<(u64, u64)>,
    by_kind: BTreeMap<String, u64>,
}

impl Moves {
    /// Counts those that are new. What was given up is counted as well: it has moved something, perhaps.
    pub(crate) fn take(&mut self, ended: &[OperatorInfo]) {
        for operator in ended {
            if self.seen.insert((operator.created_unix_ms, operator.id)) {
                let outcome = operator.ending.as_ref().map_or("", |ending| ending.outcome);
                let kind = match outcome {
                    "finished" => operator.kind.clone(),
                    other => format!("{} {other}", operator.kind),
                };
                *self.by_kind.entry(kind).or_default() += 1;
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.len()
    }
}

impl fmt::Display for Moves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} moves", self.count())?;
        for (kind, count) in &self.by_kind {
            write!(f, ", {count} {kind}")?;
        }
        Ok(())
    }
}
