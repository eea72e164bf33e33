//! Judges a whole history, key by key.

use std::fmt;

use crate::history::History;
use crate::operation::{Operation, Outcome};
use crate::witness::{Finding, Witness};
use crate::{register, set};

/// What bounds the work for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Positions that a search may visit, and remember, before it gives up. It counts positions and not
    /// time, so that a history has the same verdict on every machine.
    pub positions_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { positions_max: 1_000_000 }
    }
}

/// What decided about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Zones: reads and writes of different values.
    Zones,
    /// The search for an order.
    Search,
    /// Elements of a set, each on its own.
    Set,
}

/// What was found out about a key; `W` is the evidence of a violation.
#[derive(Clone, Debug)]
pub enum Verdict<W = Witness> {
    /// There is an order that explains everything.
    Sound,
    /// There is none.
    Violated(W),
    /// Nobody knows: the search was given up.
    Undecided {
        /// How many positions it visited.
        positions: usize,
    },
}

/// What was found out about one key.
#[derive(Clone, Debug)]
pub struct KeyReport {
    /// The key.
    pub key: String,
    /// What decided.
    pub method: Method,
    /// The verdict.
    pub verdict: Verdict,
}

/// What was found out about a history.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every key, in their order.
    pub keys: Vec<KeyReport>,
    /// Operations that were carried out.
    pub ok: usize,
    /// Operations that certainly were not carried out.
    pub failed: usize,
    /// Operations of which nobody knows.
    pub unknown: usize,
    /// Acknowledged additions to sets that no later read could confirm: nothing was proved about them.
    pub unread_additions: usize,
}

/// Judges every key of `history`.
#[must_use]
pub fn check(history: &History, limits: Limits) -> Report {
    let mut report = Report::default();
    for (key, operations) in history.keys() {
        report.count(operations);
        let (method, verdict) = if operations[0].request.is_of_set() {
            report.unread_additions += set::count_unread(operations);
            let verdict =
                set::check(operations).map_or_else(Verdict::Violated, |()| Verdict::Sound);
            (Method::Set, verdict)
        } else {
            register::check(operations, limits)
        };
        let witness = |finding: Finding| finding.into_witness(key, operations, history.notes());
        let verdict = verdict.map(witness);
        report.keys.push(KeyReport { key: key.to_owned(), method, verdict });
    }
    report
}

impl<W> Verdict<W> {
    fn map<V>(self, convert: impl FnOnce(W) -> V) -> Verdict<V> {
        match self {
            Self::Sound => Verdict::Sound,
            Self::Violated(evidence) => Verdict::Violated(convert(evidence)),
            Self::Undecided { positions } => Verdict::Undecided { positions },
        }
    }
}

impl Report {
    /// The evidence against every key that is violated.
    pub fn witnesses(&self) -> impl Iterator<Item = &Witness> {
        self.keys.iter().filter_map(|report| match &report.verdict {
            Verdict::Violated(witness) => Some(witness),
            Verdict::Sound | Verdict::Undecided { .. } => None,
        })
    }

    /// The keys of which nobody knows whether they are sound.
    pub fn undecided(&self) -> impl Iterator<Item = &KeyReport> {
        let is_undecided = |it: &&KeyReport| matches!(it.verdict, Verdict::Undecided { .. });
        self.keys.iter().filter(is_undecided)
    }

    /// Whether every key is sound.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.keys.iter().all(|report| matches!(report.verdict, Verdict::Sound))
    }

    fn count(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation.outcome {
                Outcome::Ok(_) => self.ok += 1,
                Outcome::Fail => self.failed += 1,
                Outcome::Unknown => self.unknown += 1,
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for witness in self.witnesses() {
            writeln!(f, "{witness}")?;
        }
        for report in self.undecided() {
            if let Verdict::Undecided { positions } = report.verdict {
                writeln!(f, "key {}: undecided after {positions} positions", report.key)?;
            }
        }
        if self.unread_additions > 0 {
            writeln!(f, "{} acknowledged additions were never read back", self.unread_additions)?;
        }
        let verdict = match (self.witnesses().count(), self.undecided().count()) {
            (0, 0) => "all sound".to_owned(),
            (violated, undecided) => format!("{violated} violated, {undecided} undecided"),
        };
        let Self { keys, ok, failed, unknown, .. } = self;
        let keys = keys.len();
        writeln!(
            f,
            "keys: {keys}, {verdict}; operations: {ok} ok, {failed} failed, {unknown} unknown"
        )
    }
}
