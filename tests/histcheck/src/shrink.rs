//! Makes a contradiction small enough to be read: what can be left out of it is left out.
//!
//! Leaving an operation out must never make a contradiction of what was none. So only these go: what began
//! behind the first moment by which there is no order any more; what only observes; what nobody observed; and what
//! led to the few possible contents of a moment at which nothing was under way.

use std::collections::BTreeSet;

use flotilla_base::Moment;

use crate::check::Limits;
use crate::model::{Call, Observed, State};
use crate::search::{Found, Search};

/// A contradiction of more calls than this is told from a later moment on, if that is possible.
const CALLS_AIM: usize = 8;

/// Such a moment has at most this many possible contents.
const STATES_MAX: usize = 8;

/// A contradiction of few operations.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) calls: Vec<Call>,
    /// The moment from which on the calls are told; the beginning if there is none.
    pub(crate) start: Option<Moment>,
    /// Every content that was possible at that moment.
    pub(crate) states: BTreeSet<State>,
}

/// Makes `calls`, which have no order, fewer.
pub(crate) fn shrink(calls: &[Call], limits: Limits) -> Core {
    // All attempts together visit a small multiple of the positions that one search may visit.
    let mut budget = Budget { left: limits.positions_max.saturating_mul(4) };
    let mut ends: Vec<Moment> =
        calls.iter().filter(|call| call.is_required).map(|call| call.returned).collect();
    ends.sort_unstable();
    // What has no order by one moment has none by any later one.
    let states = BTreeSet::from([State::Absent]);
    let has_order = |end: &Moment| !budget.is_contradiction(&until(calls, *end), &states);
    let first = ends.partition_point(has_order);
    let calls = ends.get(first).map_or_else(|| calls.to_vec(), |end| until(calls, *end));
    let mut core = Core { calls, start: None, states };
    core.thin_out(&mut budget);
    if core.calls.len() > CALLS_AIM {
        core.start_late(&mut budget);
        core.thin_out(&mut budget);
    }
    core
}

/// What began until `end`; what had not ended by then may or may not have happened.
fn until(calls: &[Call], end: Moment) -> Vec<Call> {
    let begun = calls.iter().filter(|call| call.invoked <= end);
    let weaken =
        |call: &Call| Call { is_required: call.is_required && call.returned <= end, ..*call };
    let mut calls: Vec<Call> = begun.map(weaken).collect();
    calls.sort_by_key(|call| (call.invoked, call.returned));
    calls
}

#[derive(Debug)]
struct Budget {
    left: usize,
}

impl Budget {
    /// Whether `calls` have no order, whichever of `states` was there before them.
    fn is_contradiction(&mut self, calls: &[Call], states: &BTreeSet<State>) -> bool {
        states.iter().all(|state| {
            let mut search = Search::new(calls, self.left);
            let found = search.run(*state);
            self.left = self.left.saturating_sub(search.positions());
            found == Found::NoOrder
        })
    }

    fn final_states(&mut self, calls: &[Call]) -> Option<BTreeSet<State>> {
        let mut search = Search::new(calls, self.left);
        let states = search.final_states(State::Absent);
        self.left = self.left.saturating_sub(search.positions());
        states
    }
}

impl Core {
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
            if budget.is_contradiction(&rest, &self.states) {
                self.calls = rest;
                is_thinner = true;
            }
        }
        is_thinner
    }

    /// Starts at a late moment at which nothing was under way but what may still happen. The last such
    /// moment is tried first, then earlier ones in growing strides.
    fn start_late(&mut self, budget: &mut Budget) {
        let quiet = self.quiet_places();
        let strides = std::iter::successors(Some(1), |stride| Some(stride * 2));
        let tried = strides.map_while(|stride| quiet.len().checked_sub(stride).map(|it| quiet[it]));
        for at in tried {
            let (before, behind) = self.calls.split_at(at);
            let Some(states) = budget.final_states(before) else { return };
            // What may have happened before may have been late as well.
            let open = before.iter().filter(|call| !call.is_required);
            let rest: Vec<Call> = open.chain(behind).copied().collect();
            if states.len() <= STATES_MAX && budget.is_contradiction(&rest, &states) {
                let start = Some(behind[0].invoked);
                *self = Self { calls: rest, start, states };
                return;
            }
        }
    }

    /// Where a call begins when all required ones in front of it have ended.
    fn quiet_places(&self) -> Vec<usize> {
        let mut last_end = Moment(0);
        let mut places = Vec::new();
        for (place, call) in self.calls.iter().enumerate() {
            if place > 0 && last_end < call.invoked {
                places.push(place);
            }
            if call.is_required {
                last_end = last_end.max(call.returned);
            }
        }
        places
    }
}
