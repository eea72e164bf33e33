//! Makes a contradiction small enough to be read: what can be left out of it is left out.
//!
//! Leaving an operation out must never make a contradiction of what was none. So only these go: what began
//! behind the moment where every order gets stuck; what only observes; what nobody observed; and what
//! led to the only possible content of a moment at which nothing was under way.

use std::collections::BTreeSet;

use flotilla_base::Moment;

use crate::check::Limits;
use crate::model::{Call, Observed, State};
use crate::search::{Found, Search};

/// A contradiction of more calls than this is told from a later moment on, if that is possible.
const CALLS_AIM: usize = 8;

/// A contradiction of few operations.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) calls: Vec<Call>,
    /// The content at the moment from which on the calls are told; the beginning if there is none.
    pub(crate) start: Option<(Moment, State)>,
}

/// `calls` have no order; every attempt ends at `stuck` or before.
pub(crate) fn shrink(calls: &[Call], stuck: Moment, limits: Limits) -> Core {
    // All attempts together visit a small multiple of the positions that one search may visit.
    let mut budget = Budget { left: limits.positions_max.saturating_mul(4) };
    let mut core = Core { calls: until(calls, stuck), start: None };
    if !budget.is_contradiction(&core.calls, State::Absent) {
        return Core { calls: calls.to_vec(), start: None };
    }
    core.thin_out(&mut budget);
    if core.calls.len() > CALLS_AIM {
        core.start_late(&mut budget);
        core.thin_out(&mut budget);
    }
    core
}

/// What began until `stuck`; what had not ended by then may or may not have happened.
fn until(calls: &[Call], stuck: Moment) -> Vec<Call> {
    let begun = calls.iter().filter(|call| call.invoked <= stuck);
    let weaken =
        |call: &Call| Call { is_required: call.is_required && call.returned <= stuck, ..*call };
    let mut calls: Vec<Call> = begun.map(weaken).collect();
    calls.sort_by_key(|call| (call.invoked, call.returned));
    calls
}

#[derive(Debug)]
struct Budget {
    left: usize,
}

impl Budget {
    fn is_contradiction(&mut self, calls: &[Call], start: State) -> bool {
        let mut search = Search::new(calls, self.left);
        let found = search.run(start);
        self.left = self.left.saturating_sub(search.positions());
        matches!(found, Found::NoOrder { .. })
    }

    fn final_states(&mut self, calls: &[Call], start: State) -> Option<BTreeSet<State>> {
        let mut search = Search::new(calls, self.left);
        let states = search.final_states(start);
        self.left = self.left.saturating_sub(search.positions());
        states
    }
}

impl Core {
    fn start_state(&self) -> State {
        self.start.map_or(State::Absent, |(_, state)| state)
    }

    /// Leaves out what can be spared while the rest stays a contradiction: first many at once, in the
    /// end one by one.
    fn thin_out(&mut self, budget: &mut Budget) {
        let mut chunk = self.calls.len().div_ceil(2).max(1);
        loop {
            let is_thinner = self.thin_out_by(chunk, budget);
            // What goes may have been the last to observe something else, so the end is only where a
            // pass of single steps changes nothing.
            if chunk == 1 && !is_thinner {
                return;
            }
            chunk = (chunk / 2).max(1);
        }
    }

    fn thin_out_by(&mut self, chunk: usize, budget: &mut Budget) -> bool {
        let observed = Observed::by(&self.calls);
        let spare = self.calls.iter().filter(|call| observed.can_spare(call));
        let spare: Vec<usize> = spare.map(|call| call.place).collect();
        let mut is_thinner = false;
        for places in spare.chunks(chunk) {
            let is_kept = |call: &&Call| !places.contains(&call.place);
            let rest: Vec<Call> = self.calls.iter().filter(is_kept).copied().collect();
            if budget.is_contradiction(&rest, self.start_state()) {
                self.calls = rest;
                is_thinner = true;
            }
        }
        is_thinner
    }

    /// Goes from one moment at which nothing was under way to the next, and starts at the last one whose
    /// content does not depend on the order before it.
    fn start_late(&mut self, budget: &mut Budget) {
        let mut states = BTreeSet::from([self.start_state()]);
        let (mut from, mut last_end) = (0, Moment(0));
        let mut start = None;
        for at in 0..self.calls.len() {
            let call = self.calls[at];
            if at > 0 && last_end < call.invoked {
                let segment = &self.calls[from..at];
                let ends = states.iter().map(|state| budget.final_states(segment, *state));
                let Some(ends) = ends.collect::<Option<Vec<_>>>() else { break };
                states = ends.into_iter().flatten().collect();
                from = at;
                if let (1, Some(only)) = (states.len(), states.first()) {
                    start = Some((at, call.invoked, *only));
                }
            }
            if !call.is_required {
                // It may happen at any later time.
                break;
            }
            last_end = last_end.max(call.returned);
        }
        if let Some((at, moment, state)) = start {
            self.start = Some((moment, state));
            self.calls.drain(..at);
        }
    }
}
