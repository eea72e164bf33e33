//! Looks for an order of the operations of one key that real time allows and the model explains: the
//! search of Wing and Gong with the memory of Lowe.
//!
//! A position is the set of operations that are in the order so far, and the content of the key behind
//! them. From a position every operation may come next that no other one precedes in real time. A
//! position that was visited once is never visited again, and a content that somebody still has to find
//! is not given up for good.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::Moment;

use crate::model::{Call, Effect, State};

/// What came out of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is an order.
    Order,
    /// There is none.
    NoOrder,
    /// The budget of positions was used up.
    Budget,
}

/// One operation that may come next.
#[derive(Clone, Copy, Debug)]
struct Step {
    number: usize,
    is_required: bool,
    after: State,
}

/// A position on the way to the current one, and what is still to be tried from there.
#[derive(Debug)]
struct Branch {
    /// The step that led here; none at the root.
    step: Option<Step>,
    position: Position,
    /// The most pressing one last.
    steps: Vec<Step>,
}

/// What a step changes, apart from the two sets.
#[derive(Clone, Copy, Debug)]
struct Position {
    state: State,
    /// All required calls in front of this one are in the order.
    first: usize,
    /// No required call from this one on is in the order.
    end: usize,
    /// How many required calls are in the order.
    count: usize,
}

/// A search over the calls of one key.
#[derive(Debug)]
pub(crate) struct Search {
    required: Vec<Call>,
    optional: Vec<Call>,
    /// For each optional call an earlier one that does the same. The earlier one goes first: its
    /// interval holds the other's, so nothing is lost, and n equal calls have n + 1 states, not 2^n.
    twins: Vec<Option<usize>>,
    placed: Bits,
    placed_optional: Bits,
    supplies: Supplies,
    visited: BTreeSet<Box<[u64]>>,
    positions_max: usize,
}

impl Search {
    pub(crate) fn new(calls: &[Call], positions_max: usize) -> Self {
        let mut calls = calls.to_vec();
        calls.sort_by_key(|call| (call.invoked, call.returned, call.place));
        let supplies = Supplies::of(&calls);
        let (required, optional): (Vec<Call>, Vec<Call>) =
            calls.into_iter().partition(|call| call.is_required);
        let is_twin = |call: &Call, other: &Call| call.effect == other.effect;
        let twins = optional.iter().enumerate().map(|(number, call)| {
            optional[..number].iter().rposition(|earlier| is_twin(call, earlier))
        });
        Self {
            twins: twins.collect(),
            placed: Bits::new(required.len()),
            placed_optional: Bits::new(optional.len()),
            required,
            optional,
            supplies,
            visited: BTreeSet::new(),
            positions_max,
        }
    }

    /// Looks for one order.
    pub(crate) fn run(&mut self, start: State) -> Found {
        self.walk(start, |_| true)
    }

    /// The contents behind all orders, with and without what may have happened by then; `None` where the
    /// budget was used up.
    pub(crate) fn final_states(&mut self, start: State) -> Option<BTreeSet<State>> {
        let mut states = BTreeSet::new();
        let mut collect = |state| {
            states.insert(state);
            false
        };
        (self.walk(start, &mut collect) != Found::Budget).then_some(states)
    }

    /// How many positions were visited.
    pub(crate) fn positions(&self) -> usize {
        self.visited.len()
    }

    /// Depth first, on a stack of its own: a history may be longer than the thread's stack is deep.
    fn walk(&mut self, start: State, mut is_enough: impl FnMut(State) -> bool) -> Found {
        let root = Position { state: start, first: 0, end: 0, count: 0 };
        if self.required.is_empty() && is_enough(start) {
            return Found::Order;
        }
        let mut branches = vec![Branch { step: None, position: root, steps: self.steps(root) }];
        while let Some(branch) = branches.last_mut() {
            let Some(step) = branch.steps.pop() else {
                let left = branches.pop().and_then(|branch| branch.step);
                if let Some(step) = left {
                    self.mark(step, false);
                }
                continue;
            };
            let before = branch.position;
            self.mark(step, true);
            let position = self.behind(before, step);
            if !self.visited.insert(self.key(position)) {
                self.mark(step, false);
                continue;
            }
            if position.count == self.required.len() && is_enough(position.state) {
                return Found::Order;
            }
            if self.visited.len() >= self.positions_max {
                return Found::Budget;
            }
            let steps = self.steps(position);
            branches.push(Branch { step: Some(step), position, steps });
        }
        Found::NoOrder
    }

    fn mark(&mut self, step: Step, is_placed: bool) {
        let (set, calls) = if step.is_required {
            (&mut self.placed, &self.required)
        } else {
            (&mut self.placed_optional, &self.optional)
        };
        set.set(step.number, is_placed);
        self.supplies.mark(&calls[step.number], is_placed);
    }

    fn behind(&self, before: Position, step: Step) -> Position {
        let mut position = Position { state: step.after, ..before };
        if step.is_required {
            position.count += 1;
            position.end = position.end.max(step.number + 1);
            while position.first < position.end && self.placed.has(position.first) {
                position.first += 1;
            }
        }
        position
    }

    /// What may come next, the most pressing one last.
    fn steps(&self, position: Position) -> Vec<Step> {
        // An operation may come next if none that is not placed ended before it began. Calls stand in
        // the order of their invocations, so the first one behind the earliest end closes the list.
        let mut earliest_end = Moment::NEVER;
        let mut steps = Vec::new();
        for number in position.first..self.required.len() {
            let call = &self.required[number];
            if call.invoked > earliest_end {
                break;
            }
            if self.placed.has(number) {
                continue;
            }
            earliest_end = earliest_end.min(call.returned);
            if let Some(after) = call.effect.apply(position.state) {
                let step = Step { number, is_required: true, after };
                if call.effect.is_observer() {
                    // What changes nothing and is true here can as well happen here: whatever order
                    // there is, it stays one when this operation is moved to the front of it.
                    return vec![step];
                }
                steps.push(step);
            }
        }
        steps.reverse();
        steps.sort_by_key(|step| std::cmp::Reverse(self.required[step.number].returned));
        let mut last_resorts = self.optional_steps(position, earliest_end);
        last_resorts.append(&mut steps);
        last_resorts.retain(|step| !self.gives_up_for_good(position.state, *step));
        last_resorts
    }

    /// Whether `step` leaves a content that others still have to find and nobody can bring back.
    fn gives_up_for_good(&self, state: State, step: Step) -> bool {
        let is_own = step.is_required && self.required[step.number].effect.found() == Some(state);
        step.after != state && self.supplies.is_last_chance(state, usize::from(is_own))
    }

    fn optional_steps(&self, position: Position, earliest_end: Moment) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, call) in self.optional.iter().enumerate() {
            if call.invoked > earliest_end {
                break;
            }
            let is_behind_twin = self.twins[number].is_some_and(|it| !self.placed_optional.has(it));
            if is_behind_twin || self.placed_optional.has(number) {
                continue;
            }
            let after = call.effect.apply(position.state);
            // One that changes nothing can as well not happen.
            let after = after.filter(|after| *after != position.state);
            steps.extend(after.map(|after| Step { number, is_required: false, after }));
        }
        steps
    }

    /// A position as words. The sets are cut to what differs between positions.
    fn key(&self, position: Position) -> Box<[u64]> {
        let (tag, content) = match position.state {
            State::Absent => (0, 0),
            State::Text(number) => (1, u64::from(number)),
            State::Number(number) => (2, number.cast_unsigned()),
        };
        let window = self.placed.words(position.first, position.end);
        let mut words = Vec::with_capacity(4 + window.len() + self.placed_optional.0.len());
        words.extend([tag, content, position.first as u64, position.end as u64]);
        words.extend_from_slice(window);
        words.extend_from_slice(&self.placed_optional.0);
        words.into_boxed_slice()
    }
}

/// For each content how many calls still have to find it, and how many could still leave it behind.
#[derive(Debug, Default)]
struct Supplies {
    /// Empty where sums are made: those can leave any number behind.
    by_state: BTreeMap<State, Supply>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Supply {
    finders: usize,
    makers: usize,
}

impl Supplies {
    fn of(calls: &[Call]) -> Self {
        let mut supplies = Self::default();
        if calls.iter().any(|call| matches!(call.effect, Effect::Add { .. })) {
            return supplies;
        }
        let states = calls.iter().flat_map(|call| [call.effect.found(), call.effect.produces()]);
        supplies.by_state = states.flatten().map(|state| (state, Supply::default())).collect();
        for call in calls {
            supplies.mark(call, false);
        }
        supplies
    }

    fn mark(&mut self, call: &Call, is_placed: bool) {
        let change = |count: &mut usize| {
            *count = if is_placed { *count - 1 } else { *count + 1 };
        };
        let found = call.effect.found().filter(|_| call.is_required);
        if let Some(supply) = found.and_then(|state| self.by_state.get_mut(&state)) {
            change(&mut supply.finders);
        }
        if let Some(supply) = call.effect.produces().and_then(|it| self.by_state.get_mut(&it)) {
            change(&mut supply.makers);
        }
    }

    /// Whether more calls than `own` have to find `state`, and none is left that could make it.
    fn is_last_chance(&self, state: State, own: usize) -> bool {
        self.by_state.get(&state).is_some_and(|supply| supply.makers == 0 && supply.finders > own)
    }
}

/// A set of small numbers.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn has(&self, number: usize) -> bool {
        self.0[number / 64] & (1 << (number % 64)) != 0
    }

    fn set(&mut self, number: usize, is_in: bool) {
        let bit = 1 << (number % 64);
        if is_in {
            self.0[number / 64] |= bit;
        } else {
            self.0[number / 64] &= !bit;
        }
    }

    /// The words that hold the numbers from `first` to in front of `end`.
    fn words(&self, first: usize, end: usize) -> &[u64] {
        if first >= end { &[] } else { &self.0[first / 64..end.div_ceil(64)] }
    }
}
