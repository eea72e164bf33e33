//! What contradicts what: the evidence of a violation, for people.

use std::fmt;

use flotilla_base::Moment;

use crate::operation::{Note, Operation, Value};

/// What kind of contradiction was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// A value that nobody wrote was read.
    NeverWritten,
    /// A write failed for certain, and its value was read.
    FailedWriteRead,
    /// A value was read before anybody asked to write it.
    FutureRead,
    /// A value was read that had been written over before the read began.
    StaleRead,
    /// A key was found absent after a value was there.
    LostWrite,
    /// Reads saw two values in an order that real time does not allow.
    ContradictingReads,
    /// An element that was in the set for certain is missing from a read.
    LostElement,
    /// A read lists an element more than once.
    DuplicateElement,
    /// No order of the operations explains what clients were told.
    NoOrder,
}

/// A violation of one key, with the operations that contradict each other.
#[derive(Clone, Debug)]
pub struct Witness {
    /// The key, counter or set.
    pub key: String,
    /// What kind of contradiction it is.
    pub anomaly: Anomaly,
    /// Why it is one, in sentences.
    pub explanation: Vec<String>,
    /// The operations that contradict each other, by invocation; as few as could be found.
    pub operations: Vec<Operation>,
    /// Where operations at the beginning were replaced by what they can have led to.
    pub start: Option<Start>,
    /// What happened beside them at the time.
    pub notes: Vec<Note>,
}

/// A moment at which nothing was under way but what may happen at any later time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The moment.
    pub at: Moment,
    /// What the key can have held then, by all that clients were told until then.
    pub contents: Vec<Option<Value>>,
}

/// A violation before its operations are looked up.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) anomaly: Anomaly,
    /// Places in the list of operations that was judged.
    pub(crate) places: Vec<usize>,
    pub(crate) explanation: Vec<String>,
    pub(crate) start: Option<Start>,
}

impl Finding {
    pub(crate) fn new(
        anomaly: Anomaly,
        places: impl IntoIterator<Item = usize>,
        explanation: Vec<String>,
    ) -> Self {
        let mut places: Vec<usize> = places.into_iter().collect();
        places.sort_unstable();
        places.dedup();
        Self { anomaly, places, explanation, start: None }
    }

    pub(crate) fn into_witness(self, key: &str, all: &[Operation], notes: &[Note]) -> Witness {
        let mut operations: Vec<Operation> =
            self.places.into_iter().map(|place| all[place].clone()).collect();
        operations.sort_by_key(|operation| (operation.invoked, operation.returned));
        let begin = operations.first().map_or(Moment(0), |operation| operation.invoked);
        let moments = operations.iter().flat_map(|it| [it.invoked, it.returned]);
        let end = moments.filter(|moment| *moment != Moment::NEVER).max().unwrap_or(begin);
        let is_beside = |note: &&Note| (begin..=end).contains(&note.at);
        Witness {
            key: key.to_owned(),
            anomaly: self.anomaly,
            explanation: self.explanation,
            operations,
            start: self.start,
            notes: notes.iter().filter(is_beside).cloned().collect(),
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverWritten => "a value that nobody wrote",
            Self::FailedWriteRead => "a read of a write that failed",
            Self::FutureRead => "a read of the future",
            Self::StaleRead => "a stale read",
            Self::LostWrite => "a lost write",
            Self::ContradictingReads => "reads in contradicting order",
            Self::LostElement => "a lost element",
            Self::DuplicateElement => "a duplicate element",
            Self::NoOrder => "no order explains the answers",
        })
    }
}
