//! Every ticket is answered at most once, and the answer tells the truth about its effect.

use std::collections::BTreeMap;

use super::{Verdict, require};
use crate::event::Ticket;

const ONCE: &str = "I13: a ticket is answered once";
const NO_EFFECT: &str = "a refused write has no effect";

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
        require(before == Some(Outcome::Open), ONCE, || {
            format!("attempt {} was {before:?}, is now {outcome:?}", ticket.0)
        })
    }

    /// An attempt is refused; `is_applied` says whether its write is part of the applied sequence.
    ///
    /// # Errors
    /// It is.
    pub fn on_refusal(ticket: Ticket, is_applied: bool) -> Verdict {
        require(!is_applied, NO_EFFECT, || {
            format!("attempt {} is applied and is refused", ticket.0)
        })
    }

    /// An attempt's write became part of the applied sequence.
    ///
    /// # Errors
    /// Its client was told that it had no effect.
    pub fn on_effect(&self, ticket: Ticket) -> Verdict {
        let is_refused = self.outcomes.get(&ticket) == Some(&Outcome::Refused);
        require(!is_refused, NO_EFFECT, || {
            format!("attempt {} was refused and is applied", ticket.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::broken;

    #[test]
    fn a_second_answer_is_found() {
        let mut judge = TicketJudge::default();
        assert_eq!(broken(judge.on_answer(Ticket(1), Outcome::Done)), ONCE, "never asked");
        judge.on_attempt(Ticket(2));
        assert_eq!(judge.on_answer(Ticket(2), Outcome::Unknown), Ok(()));
        assert_eq!(broken(judge.on_answer(Ticket(2), Outcome::Done)), ONCE);
    }

    #[test]
    fn an_effect_of_what_was_refused_is_found() {
        let mut judge = TicketJudge::default();
        for ticket in [1, 2].map(Ticket) {
            judge.on_attempt(ticket);
        }
        assert_eq!(judge.on_answer(Ticket(1), Outcome::Unknown), Ok(()));
        assert_eq!(judge.on_effect(Ticket(1)), Ok(()), "nobody knew");
        assert_eq!(judge.on_answer(Ticket(2), Outcome::Refused), Ok(()));
        assert_eq!(broken(judge.on_effect(Ticket(2))), NO_EFFECT);
        assert_eq!(TicketJudge::on_refusal(Ticket(3), false), Ok(()));
        assert_eq!(broken(TicketJudge::on_refusal(Ticket(3), true)), NO_EFFECT);
    }
}
