//! Every call ends: what reached a store that runs on is answered in the end.

use std::collections::BTreeMap;

use flotilla_base::StoreId;

use super::{Verdict, require};
use crate::event::Ticket;

const ENDS: &str = "liveness: every client call ends";

/// Calls that stores have taken and not answered.
#[derive(Debug, Default)]
pub struct CallJudge {
    open: BTreeMap<Ticket, StoreId>,
}

impl CallJudge {
    /// A call reaches a store that runs.
    pub fn on_arrival(&mut self, ticket: Ticket, store: StoreId) {
        self.open.insert(ticket, store);
    }

    /// A store answers.
    pub fn on_answer(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }

    /// A store is gone, with all that it was asked; clients notice by their own patience.
    pub fn on_crash(&mut self, store: StoreId) {
        self.open.retain(|_, at| *at != store);
    }

    /// Calls that are still open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Everything has come to rest.
    ///
    /// # Errors
    /// A call was never answered.
    pub fn on_end(&self) -> Verdict {
        let waiting = || self.open.iter().map(|(ticket, store)| (ticket.0, store.get()));
        require(self.open.is_empty(), ENDS, || {
            format!("attempts and their stores: {:?}", waiting().take(10).collect::<Vec<_>>())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::broken;

    #[test]
    fn a_call_that_nobody_answers_is_found() {
        let mut judge = CallJudge::default();
        judge.on_arrival(Ticket(1), StoreId(1));
        judge.on_arrival(Ticket(2), StoreId(1));
        judge.on_arrival(Ticket(3), StoreId(2));
        judge.on_answer(Ticket(1));
        judge.on_crash(StoreId(2));
        assert_eq!((judge.open(), broken(judge.on_end())), (1, ENDS));
        judge.on_answer(Ticket(2));
        assert_eq!(judge.on_end(), Ok(()));
    }
}
