//! The judges of the placement driver: second witnesses, each on its own evidence. They see what members
//! write, release and answer, and what stores report.

pub mod epochs;
pub mod ids;
pub mod incarnations;
pub mod leads;
pub mod orders;
pub mod region_map;
pub mod state;
pub mod timestamps;

use flotilla_base::Span;

use crate::judge::election::ElectionJudge;
use crate::judge::log_matching::LogMatchingJudge;
use crate::judge::promises::PromiseJudge;
use crate::judge::{Verdict, Violation};

/// All of them. The first violation ends the run.
#[derive(Debug)]
pub struct PdJudges {
    /// One leader a term.
    pub election: ElectionJudge,
    /// Logs as written.
    pub logs: LogMatchingJudge,
    /// Terms and votes.
    pub promises: PromiseJudge,
    /// One state for one position of the log.
    pub state: state::StateJudge,
    /// Timestamps grow.
    pub timestamps: timestamps::TimestampJudge,
    /// No id twice.
    pub ids: ids::IdJudge,
    /// Who says that it leads.
    pub leads: leads::LeadJudge,
    /// Runs of stores.
    pub incarnations: incarnations::IncarnationJudge,
    /// What is answered about regions.
    pub regions: region_map::RegionMapJudge,
    /// Epochs of each region.
    pub epochs: epochs::EpochJudge,
    /// What is ordered.
    pub orders: orders::OrderJudge,
    first: Option<Violation>,
}

impl PdJudges {
    /// Judges before the first event; see [`leads::LeadJudge::new`] for `oldest_write_max`.
    #[must_use]
    pub fn new(oldest_write_max: Span) -> Self {
        Self {
            election: ElectionJudge::default(),
            logs: LogMatchingJudge::default(),
            promises: PromiseJudge::default(),
            state: state::StateJudge::default(),
            timestamps: timestamps::TimestampJudge::default(),
            ids: ids::IdJudge::default(),
            leads: leads::LeadJudge::new(oldest_write_max),
            incarnations: incarnations::IncarnationJudge::default(),
            regions: region_map::RegionMapJudge::default(),
            epochs: epochs::EpochJudge::default(),
            orders: orders::OrderJudge::default(),
            first: None,
        }
    }

    /// Keeps the first violation.
    pub fn note(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.first.get_or_insert(violation);
        }
    }

    /// The first violation, if there is one.
    ///
    /// # Errors
    /// That one.
    pub fn verdict(&self) -> Verdict {
        self.first.clone().map_or(Ok(()), Err)
    }
}
