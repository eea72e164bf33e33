//! What happened at the placement driver, in numbers: a sweep checks that nothing is missing.

use std::fmt;
use std::ops::AddAssign;

/// Names and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PdMark {
    /// Answers with timestamps that left.
    TimestampsReleased,
    /// Timestamps that were taken and may not leave: the lease had ended, or the reign.
    TimestampsWithheld,
    /// A window of timestamps was widened.
    WindowExtended,
    /// A window was to be widened while the disk stood still.
    WindowStalled,
    /// A member crashed while a window was written and not durable.
    CrashInWindow,
    /// A member was started with a clock behind what it had shown before.
    ClockSetBack,
    /// Reigns that were opened.
    Reigns,
    /// Members that crashed.
    Crashes,
    /// Batches of ids that were handed out.
    Ids,
    /// A cluster was bootstrapped by the placement driver.
    Bootstraps,
    /// A registration of an earlier run of a store was refused.
    StaleRun,
    /// A region's heartbeat was refused for its epoch, or for the version of another region.
    StaleEpoch,
    /// A region's heartbeat was refused for its term.
    StaleTerm,
    /// Answers about regions.
    RegionAnswers,
    /// Entries of the log that a restart had to apply again.
    Replayed,
    /// Leads that ended in a hand-over because a disk stood still.
    LeadsLost,
}

const COUNT: usize = 16;

const NAMES: [(PdMark, &str); COUNT] = [
    (PdMark::TimestampsReleased, "timestamps released"),
    (PdMark::TimestampsWithheld, "withheld"),
    (PdMark::WindowExtended, "windows"),
    (PdMark::WindowStalled, "windows while the disk stands still"),
    (PdMark::CrashInWindow, "crashes before the sync of a window"),
    (PdMark::ClockSetBack, "starts with a clock set back"),
    (PdMark::Reigns, "reigns"),
    (PdMark::Crashes, "crashes"),
    (PdMark::Ids, "batches of ids"),
    (PdMark::Bootstraps, "bootstraps"),
    (PdMark::StaleRun, "earlier runs refused"),
    (PdMark::StaleEpoch, "earlier epochs refused"),
    (PdMark::StaleTerm, "earlier terms refused"),
    (PdMark::RegionAnswers, "answers about regions"),
    (PdMark::Replayed, "entries applied again"),
    (PdMark::LeadsLost, "leads lost"),
];

/// Counts of all marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PdMarks([u64; COUNT]);

impl PdMarks {
    /// It happened once more.
    pub fn note(&mut self, mark: PdMark) {
        self.add(mark, 1);
    }

    /// It happened so many times more.
    pub fn add(&mut self, mark: PdMark, times: u64) {
        self.0[mark as usize] += times;
    }

    /// How often it happened.
    #[must_use]
    pub const fn count(&self, mark: PdMark) -> u64 {
        self.0[mark as usize]
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let is_missing = |(mark, _): &&(PdMark, &str)| self.count(*mark) == 0;
        NAMES.iter().filter(is_missing).map(|(_, name)| *name).collect()
    }
}

impl AddAssign for PdMarks {
    fn add_assign(&mut self, other: Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own += more;
        }
    }
}

impl fmt::Display for PdMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            NAMES.iter().map(|(mark, name)| format!("{} {name}", self.count(*mark))).collect();
        write!(f, "pd: {}", parts.join(", "))
    }
}
