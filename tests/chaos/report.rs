//! What came of a run: one row for people, and the evidence where something is wrong.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use comfy_table::{Table, presets};
use flotilla_histcheck::{History, json};
use serde::{Deserialize, Serialize};

use crate::common::say;

/// A run that is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) ok: usize,
    pub(crate) failed: usize,
    pub(crate) unknown: usize,
    /// How often each kind of fault was injected.
    pub(crate) faults: BTreeMap<String, u32>,
    pub(crate) verdict: Verdict,
}

/// What is known after a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// Everything that was promised held.
    Passed,
    /// It did not, and why.
    Violated(String),
    /// Nothing was proved, and why.
    Invalid(String),
    /// The machine does not allow it, and what is missing.
    Skipped(String),
}

impl Row {
    /// What the line begins with that tells a row to the program outside.
    pub(crate) const PREFIX: &str = "chaos-row: ";

    pub(crate) fn skipped(scenario: &str, why: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            seed: 0,
            seconds: 0,
            ok: 0,
            failed: 0,
            unknown: 0,
            faults: BTreeMap::new(),
            verdict: Verdict::Skipped(why.to_owned()),
        }
    }

    /// Tells the program outside.
    pub(crate) fn send(&self) {
        say(&format!("{}{}", Self::PREFIX, serde_json::to_string(self).expect("a row is plain")));
    }

    /// Passes where the run did; a run that was skipped says so.
    #[track_caller]
    pub(crate) fn judge(&self) {
        say(&format!("chaos: {}", self.line()));
        match &self.verdict {
            Verdict::Passed | Verdict::Skipped(_) => {}
            Verdict::Violated(why) => panic!("{}: a promise is broken\n{why}", self.scenario),
            Verdict::Invalid(why) => panic!("{}: the run proves nothing: {why}", self.scenario),
        }
    }

    fn faults(&self) -> String {
        let faults = self.faults.iter().map(|(name, count)| format!("{count} {name}"));
        faults.collect::<Vec<_>>().join(", ")
    }

    fn line(&self) -> String {
        let Self { scenario, seed, seconds, ok, failed, unknown, verdict, .. } = self;
        if let Verdict::Skipped(why) = verdict {
            return format!("{scenario}: SKIP: {why}");
        }
        format!(
            "{scenario} (seed {seed}): {}; {seconds} s, {} operations: {ok} ok, {failed} failed, {unknown} \
             unknown; {}",
            verdict.word(),
            ok + failed + unknown,
            self.faults()
        )
    }
}

impl Verdict {
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Violated(_) => "VIOLATED",
            Self::Invalid(_) => "INVALID",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// All rows as a table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "scenario",
        "seed",
        "s",
        "operations",
        "ok",
        "failed",
        "unknown",
        "faults",
        "verdict",
    ]);
    for row in rows {
        table.add_row([
            row.scenario.clone(),
            row.seed.to_string(),
            row.seconds.to_string(),
            (row.ok + row.failed + row.unknown).to_string(),
            row.ok.to_string(),
            row.failed.to_string(),
            row.unknown.to_string(),
            row.faults(),
            row.verdict.word().to_owned(),
        ]);
    }
    table.to_string()
}

/// Where the evidence of a scenario is kept; what was there is gone.
fn new_place(scenario: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos").join(scenario);
    let _may_not_exist = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).expect("a directory");
    place
}

/// Keeps a history and the logs of the nodes, and says where.
pub(crate) fn keep(scenario: &str, history: &History, logs: impl Iterator<Item = PathBuf>) {
    let place = new_place(scenario);
    let file = File::create(place.join("history.jsonl")).expect("a file");
    json::write(history, BufWriter::new(file)).expect("written");
    for log in logs {
        let name = log.file_name().expect("a log is a file").to_owned();
        let _may_not_exist = fs::copy(&log, place.join(name));
    }
    say(&format!("chaos: {scenario}: history and logs are kept in {}", place.display()));
}
