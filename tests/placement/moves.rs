//! Changes of regions that have ended, each counted once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use flotilla_base::RegionId;
use flotilla_client::operators::OperatorInfo;

/// What gives a region a replica where it has none.
const COPIES: [&str; 4] = ["add-peer", "add-learner", "move-peer", "move-region"];

/// The placement driver remembers some of them only, and another leader none: whoever counts looks often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moves {
    /// When each was made, and its number then.
    seen: BTreeSet<(u64, u64)>,
    by_kind: BTreeMap<String, usize>,
    /// Those that made a replica, in words.
    copies: BTreeMap<RegionId, Vec<String>>,
}

impl Moves {
    /// Counts those that are new. What was given up is counted as well: it has moved something, perhaps.
    pub(crate) fn take(&mut self, ended: &[OperatorInfo]) {
        for operator in ended {
            if !self.seen.insert((operator.created_unix_ms, operator.id)) {
                continue;
            }
            let outcome = operator.ending.as_ref().map_or("", |ending| ending.outcome);
            let is_whole = outcome == "finished";
            if is_whole && COPIES.contains(&operator.kind.as_str()) {
                let OperatorInfo { brief, asked_by, created_unix_ms, .. } = operator;
                let told = format!("{brief} by {asked_by} at {created_unix_ms}");
                self.copies.entry(operator.region).or_default().push(told);
            }
            let kind = &operator.kind;
            let kind = if is_whole { kind.clone() } else { format!("{kind} {outcome}") };
            *self.by_kind.entry(kind).or_default() += 1;
        }
    }

    /// Counts from here on only.
    pub(crate) fn begin_anew(&mut self) {
        self.by_kind.clear();
        self.copies.clear();
    }

    pub(crate) fn count(&self) -> usize {
        self.by_kind.values().sum()
    }

    /// Replicas that were made.
    pub(crate) fn copies(&self) -> usize {
        self.copies.values().map(Vec::len).sum()
    }

    /// What made replicas of a region, in words.
    pub(crate) fn copies_of(&self, region: RegionId) -> &[String] {
        self.copies.get(&region).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for Moves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replicas made; {} operators", self.copies(), self.count())?;
        for (kind, count) in &self.by_kind {
            write!(f, ", {count} {kind}")?;
        }
        Ok(())
    }
}
