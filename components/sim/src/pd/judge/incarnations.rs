//! Once a run of a store is registered, no earlier run of it can register any more: two processes on
//! copies of one data directory are told apart.

use std::collections::BTreeMap;

use flotilla_base::{Incarnation, StoreId};

use crate::judge::{Verdict, require};
use crate::pd::event::PdTicket;

const STALE: &str = "an earlier run of a store is refused";

/// Registrations.
#[derive(Debug, Default)]
pub struct IncarnationJudge {
    newest: BTreeMap<StoreId, Incarnation>,
    /// What was registered when each request came.
    floors: BTreeMap<PdTicket, (StoreId, Incarnation, Incarnation)>,
}

impl IncarnationJudge {
    /// A registration reaches a member.
    pub fn on_begin(&mut self, ticket: PdTicket, store: StoreId, run: Incarnation) {
        let floor = self.newest.get(&store).copied().unwrap_or_default();
        self.floors.insert(ticket, (store, run, floor));
    }

    /// It is done.
    ///
    /// # Errors
    /// A later run was registered when it came.
    pub fn on_registered(&mut self, ticket: PdTicket) -> Verdict {
        let Some((store, run, floor)) = self.floors.remove(&ticket) else { return Ok(()) };
        require(run >= floor, STALE, || {
            format!("store {store}: run {run} registered, run {floor} had been")
        })?;
        let newest = self.newest.entry(store).or_default();
        *newest = run.max(*newest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_run_that_registers_late_is_found() {
        let mut judge = IncarnationJudge::default();
        let run = Incarnation;
        judge.on_begin(PdTicket(1), StoreId(1), run(1));
        judge.on_begin(PdTicket(2), StoreId(1), run(2));
        assert_eq!(judge.on_registered(PdTicket(2)), Ok(()));
        assert_eq!(judge.on_registered(PdTicket(1)), Ok(()), "it came before");
        judge.on_begin(PdTicket(3), StoreId(1), run(2));
        judge.on_begin(PdTicket(4), StoreId(1), run(1));
        assert_eq!(judge.on_registered(PdTicket(3)), Ok(()), "the same run may ask again");
        let verdict = judge.on_registered(PdTicket(4));
        assert_eq!(verdict.map_err(|violation| violation.rule), Err(STALE));
    }
}
