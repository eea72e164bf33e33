//! Every ticket is answered at most once, and the answer tells the truth about its effect.

use std::collections::BTreeMap;

use super::{Verdict, require};
use crate::event::Ticket;

/// What was said about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Open,
    /// It is done.
    Done,
    /// It certainly has no effect.
    Refused,
    /// Its store does not know.
    Unknown,
}

/// All tickets ever given.
#[derive(Debug, Default)]
pub struct TicketJudge {
    outcomes: BTreeMap<Ticket, Outcome>,
}

impl TicketJudge {
    /// A client makes an attempt.
    pub fn on_attempt(&mut self, ticket: Ticket) {
        self.outcomes.insert(ticket, Outcome::Open);
    }

    /// A store completes a ticket.
    ///
    /// # Errors
    /// It was completed before, or never given.
    pub fn on_answer(&mut self, ticket: Ticket, outcome: Outcome) -> Verdict {
        let before = self.outcomes.insert(ticket, outcome);
        require(before == Some(Outcome::Open), "I13: a ticket is answered once", || {
            format!("attempt {} was {before:?}, is now {outcome:?}", ticket.0)
        })
    }

    /// An attempt's write became part of the applied sequence.
    ///
    /// # Errors
    /// Its client was told that it had no effect.
    pub fn on_effect(&self, ticket: Ticket) -> Verdict {
        let is_refused = self.outcomes.get(&ticket) == Some(&Outcome::Refused);
        require(!is_refused, "a refused write has no effect", || {
            format!("attempt {} was refused and is applied", ticket.0)
        })
    }
}
