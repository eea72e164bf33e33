//! Runs a scenario inside namespaces of its own, and cleans up what outlives namespaces.
//!
//! The test starts this very program again, inside, and forwards what it says. Whatever ends the test, SIGKILL
//! included, ends the run with all its nodes, mounts, loop devices and interfaces.

use std::{
    env, fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    common::{Process, say},
    facilities::Cage,
    report::Row,
    throttle,
};

/// Tells the program inside what to run, how it is caged, and the mark of what it leaves outside.
pub(crate) const SCENARIO: &str = "FLOTILLA_CHAOS_SCENARIO";
pub(crate) const CAGE: &str = "FLOTILLA_CHAOS_CAGE";
pub(crate) const MARK: &str = "FLOTILLA_CHAOS_MARK";

/// The test that is the program inside.
const INSIDE: &str = "inside";
const PREFIX: &str = "flotilla-chaos-";
/// No run says nothing for so long.
const SILENCE: Duration = Duration::from_secs(600);

/// What a run leaves outside of its namespaces: a directory and a control group, named by a mark.
struct Remains {
    mark: String,
    directory: PathBuf,
}

impl Remains {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{PREFIX}{}-{count}", std::process::id());
        let directory = env::temp_dir().join(&mark);
        fs::create_dir_all(&directory).expect("a directory");
        Self { mark, directory }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let _nobody_uses_it = fs::remove_dir_all(&self.directory);
        throttle::remove(&self.mark);
    }
}

/// Removes what dead programs have left.
fn remove_leftovers() {
    let is_dead = |mark: &str| {
        let process = mark.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !PathBuf::from(format!("/proc/{process}")).exists())
    };
    let names = |directory: PathBuf| {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
    };
    for mark in names(env::temp_dir()).filter(|mark| is_dead(mark)) {
        let _somebody_elses = fs::remove_dir_all(env::temp_dir().join(mark));
    }
    for mark in names(throttle::ROOT.into()).filter(|mark| is_dead(mark)) {
        throttle::remove(&mark);
    }
}

/// Runs a scenario, and returns what came of it.
pub(crate) fn run(scenario: &str) -> Row {
    remove_leftovers();
    let (cage, remains) = (Cage::find(), Remains::new());
    let program = env::current_exe().expect("this program has a path").display().to_string();
    let mut command = cage.command(&[&program, "--exact", INSIDE, "--ignored", "--nocapture"]);
    command.env(SCENARIO, scenario).env(CAGE, cage.name()).env(MARK, &remains.mark);
    command.env("TMPDIR", &remains.directory);
    let mut process = Process::spawn(&mut command);
    let (mut row, mut unexplained) = (None, String::new());
    while let Some(line) = process.line(SILENCE) {
        if let Some(text) = line.strip_prefix(Row::PREFIX) {
            row = Some(serde_json::from_str(text).expect("a row"));
        } else if line.starts_with("chaos: ") {
            say(line.trim_end());
        } else {
            unexplained.push_str(&line);
        }
    }
    let finished = process.finish();
    row.unwrap_or_else(|| {
        panic!(
            "{scenario} broke off with code {}:\n{unexplained}\n{}",
            finished.code, finished.stderr
        )
    })
}
