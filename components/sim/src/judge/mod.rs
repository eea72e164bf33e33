//! The judges: second witnesses of the rules that must hold, each on its own evidence.
//!
//! A judge sees what stores write, send, apply and answer, and what clients hear; it never asks a
//! replica whether it is right.

pub mod applied;
pub mod durability;
pub mod election;
pub mod lease;
pub mod log_matching;
pub mod register;
pub mod rounds;
pub mod tickets;

use std::fmt;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {what}")]
pub struct Violation {
    /// Which rule.
    pub rule: &'static str,
    /// The evidence.
    pub what: String,
}

/// What a judge says.
pub type Verdict = Result<(), Violation>;

/// Accuses unless `holds`.
///
/// # Errors
/// The violation.
pub fn require(holds: bool, rule: &'static str, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { rule, what: what() }) }
}

/// All judges of a run. They see every event; the first violation ends the run.
#[derive(Debug, Default)]
pub struct Judges {
    /// One leader a term.
    pub election: election::ElectionJudge,
    /// Logs and promises as written.
    pub logs: log_matching::LogJudge,
    /// One sequence of applied entries.
    pub applied: applied::AppliedJudge,
    /// Reads and writes in an order that real time allows.
    pub register: register::RegisterJudge,
    /// One permit at a time.
    pub lease: lease::LeaseJudge,
    /// One answer a ticket.
    pub tickets: tickets::TicketJudge,
    first: Option<Violation>,
}

impl Judges {
    /// Keeps the first violation.
    pub fn note(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.first.get_or_insert(violation);
        }
    }

    /// The first violation, if there is one.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.first.as_ref()
    }
}

/// Names a peer of a region on a store in evidence.
#[derive(Clone, Copy, Debug)]
pub struct Place(pub flotilla_base::StoreId, pub flotilla_base::RegionId);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {} region {}", self.0, self.1)
    }
}
