//! The sequential model of one key: what an operation does to its content, and when it can not be true.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::Moment;

use crate::operation::{Operation, Outcome, Request, Response, Value};

/// Content of a key, small enough to be copied into every state of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Absent,
    /// A text by its number in [`Names`].
    Text(u32),
    Number(i64),
}

/// What an operation does, with what its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    Read(State),
    Write(State),
    Cas {
        expected: State,
        new: State,
        /// Swapped or not, and what was found; `None` where the client was not told.
        told: Option<(bool, State)>,
    },
    Add {
        amount: i64,
        told: Option<i64>,
    },
}

impl Effect {
    /// The content behind the operation; `None` where it can not happen at `state`.
    pub(crate) fn apply(self, state: State) -> Option<State> {
        match self {
            Self::Read(found) => (found == state).then_some(state),
            Self::Write(new) => Some(new),
            Self::Cas { expected, new, told } => {
                let swapped = state == expected;
                let is_told_truly = told.is_none_or(|told| told == (swapped, state));
                is_told_truly.then_some(if swapped { new } else { state })
            }
            Self::Add { amount, told } => {
                let before = match state {
                    State::Absent => 0,
                    State::Number(number) => number,
                    State::Text(_) => return None,
                };
                let sum = before.checked_add(amount)?;
                told.is_none_or(|told| told == sum).then_some(State::Number(sum))
            }
        }
    }

    /// Whether it changes nothing wherever it can happen.
    pub(crate) const fn is_observer(self) -> bool {
        matches!(self, Self::Read(_) | Self::Cas { told: Some((false, _)), .. })
    }

    /// The content that it may leave behind, where that does not depend on what was there.
    pub(crate) const fn produces(self) -> Option<State> {
        match self {
            Self::Write(new) | Self::Cas { new, told: None | Some((true, _)), .. } => Some(new),
            _ => None,
        }
    }

    /// What its client found in the key.
    pub(crate) const fn found(self) -> Option<State> {
        match self {
            Self::Read(found) | Self::Cas { told: Some((_, found)), .. } => Some(found),
            _ => None,
        }
    }
}

/// An operation as the search sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Its place in the list that it was made of.
    pub(crate) place: usize,
    pub(crate) effect: Effect,
    pub(crate) invoked: Moment,
    pub(crate) returned: Moment,
    /// Whether it must be in every order; otherwise it may happen or not.
    pub(crate) is_required: bool,
}

/// The texts of a key by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    numbers: BTreeMap<&'a str, u32>,
    texts: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn state(&mut self, value: Option<&'a Value>) -> State {
        match value {
            None => State::Absent,
            Some(Value::Number(number)) => State::Number(*number),
            Some(Value::Text(text)) => {
                let next = u32::try_from(self.texts.len()).expect("fewer texts than 2^32");
                let number = *self.numbers.entry(text).or_insert(next);
                if number == next {
                    self.texts.push(text);
                }
                State::Text(number)
            }
        }
    }

    /// The value that `state` stands for.
    pub(crate) fn value(&self, state: State) -> Option<Value> {
        match state {
            State::Absent => None,
            State::Number(number) => Some(Value::Number(number)),
            State::Text(number) => Some(Value::from(self.texts[number as usize])),
        }
    }

    /// The calls of `operations`. What failed and reads without an answer say nothing and are left out.
    pub(crate) fn calls(&mut self, operations: &'a [Operation]) -> Vec<Call> {
        let told = operations.iter().enumerate();
        told.filter_map(|(place, operation)| {
            let effect = self.effect(operation)?;
            let Operation { invoked, returned, .. } = *operation;
            Some(Call { place, effect, invoked, returned, is_required: operation.is_ok() })
        })
        .collect()
    }

    fn effect(&mut self, operation: &'a Operation) -> Option<Effect> {
        if operation.outcome == Outcome::Fail {
            return None;
        }
        let response = operation.response();
        Some(match &operation.request {
            Request::Read => match response {
                Some(Response::Found(found)) => Effect::Read(self.state(found.as_ref())),
                _ => return None,
            },
            Request::Write(value) => Effect::Write(self.state(value.as_ref())),
            Request::Cas { expected, new } => {
                let told = match response {
                    Some(Response::Compared { swapped, found }) => {
                        Some((*swapped, self.state(found.as_ref())))
                    }
                    _ => None,
                };
                let (expected, new) = (self.state(expected.as_ref()), self.state(new.as_ref()));
                Effect::Cas { expected, new, told }
            }
            Request::Add(amount) => {
                let told = match response {
                    Some(Response::Added(sum)) => *sum,
                    _ => None,
                };
                Effect::Add { amount: *amount, told }
            }
            Request::SetAdd(_) | Request::SetRead => return None,
        })
    }
}

/// What some call of a list depends on: a call whose content nobody depends on can be left out.
#[derive(Debug)]
pub(crate) struct Observed {
    states: BTreeSet<State>,
    /// A sum depends on whatever was there.
    has_additions: bool,
}

impl Observed {
    pub(crate) fn by(calls: &[Call]) -> Self {
        let mut states = BTreeSet::new();
        for call in calls {
            states.extend(call.effect.found());
            if let Effect::Cas { expected, .. } = call.effect {
                states.insert(expected);
            }
        }
        let has_additions = calls.iter().any(|call| matches!(call.effect, Effect::Add { .. }));
        Self { states, has_additions }
    }

    /// Whether an order with `call` is still an order without it.
    ///
    /// Nothing between it and the next change depends on what it left behind, so all of it happens just
    /// as well with what was there before.
    pub(crate) fn can_spare(&self, call: &Call) -> bool {
        let is_seen = |state: &State| self.has_additions || self.states.contains(state);
        let observes_only = call.effect.is_observer();
        observes_only || call.effect.produces().is_some_and(|state| !is_seen(&state))
    }
}
