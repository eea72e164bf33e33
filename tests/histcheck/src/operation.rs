//! What a client asked, what it was told, and when: the words of a history.

use std::fmt;

use flotilla_base::Moment;

/// Content of a key: a text, or a number where the key is a counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Text that is compared as a whole.
    Text(String),
    /// A number that `add` can change.
    Number(i64),
}

/// What was asked. `None` for a value means that the key is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read a key.
    Read,
    /// Put a value, or delete the key.
    Write(Option<Value>),
    /// Put `new` if the key holds `expected`.
    Cas {
        /// What the key must hold.
        expected: Option<Value>,
        /// What it holds afterwards.
        new: Option<Value>,
    },
    /// Add to a number; an absent key counts as zero.
    Add(i64),
    /// Put an element into a set.
    SetAdd(Value),
    /// Read all elements of a set.
    SetRead,
}

/// What a client was told about a request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// A read's content.
    Found(Option<Value>),
    /// A write or an addition of an element took effect.
    Written,
    /// What became of a compare-and-swap.
    Compared {
        /// Whether the new value was put.
        swapped: bool,
        /// What the key held before.
        found: Option<Value>,
    },
    /// An addition took effect; the sum behind it, if the client was told.
    Added(Option<i64>),
    /// The elements of a set.
    Elements(Vec<Value>),
}

/// What a client knows of its request in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out once, between invocation and return.
    Ok(Response),
    /// It certainly was not and will not be carried out.
    Fail,
    /// It may be carried out at any time after its invocation, or never.
    Unknown,
}

/// One request of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked; for people only, no checker uses it.
    pub client: u64,
    /// The key, counter or set.
    pub key: String,
    /// What was asked.
    pub request: Request,
    /// Not after the request left the client.
    pub invoked: Moment,
    /// Not before the answer reached the client; [`Moment::NEVER`] where none did.
    pub returned: Moment,
    /// What the client knows in the end.
    pub outcome: Outcome,
}

/// Something that happened beside the operations, such as a fault: it helps people who read a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, by the clock of the operations.
    pub at: Moment,
    /// What.
    pub text: String,
}

impl Operation {
    /// Whether real time puts this operation in front of `other`. Moments that are equal decide nothing.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        self.returned < other.invoked
    }

    /// The answer, if there was one.
    #[must_use]
    pub const fn response(&self) -> Option<&Response> {
        match &self.outcome {
            Outcome::Ok(response) => Some(response),
            Outcome::Fail | Outcome::Unknown => None,
        }
    }

    /// Whether it certainly was carried out.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok(_))
    }

    /// Whether it certainly was not carried out.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Fail)
    }
}

impl Request {
    /// Whether `response` is an answer to a request of this kind.
    #[must_use]
    pub const fn takes(&self, response: &Response) -> bool {
        matches!(
            (self, response),
            (Self::Read, Response::Found(_))
                | (Self::Write(_) | Self::SetAdd(_), Response::Written)
                | (Self::Cas { .. }, Response::Compared { .. })
                | (Self::Add(_), Response::Added(_))
                | (Self::SetRead, Response::Elements(_))
        )
    }

    /// Whether the request belongs to a set, and not to a register or counter.
    #[must_use]
    pub const fn is_of_set(&self) -> bool {
        matches!(self, Self::SetAdd(_) | Self::SetRead)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Content of a key for people: nothing, or a value.
pub(crate) fn content(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.request {
            Request::Read => f.write_str("read")?,
            Request::Write(Some(value)) => write!(f, "write {value}")?,
            Request::Write(None) => f.write_str("delete")?,
            Request::Cas { expected, new } => {
                write!(f, "cas {} to {}", content(expected.as_ref()), content(new.as_ref()))?;
            }
            Request::Add(amount) => write!(f, "add {amount}")?,
            Request::SetAdd(value) => write!(f, "set-add {value}")?,
            Request::SetRead => f.write_str("set-read")?,
        }
        match &self.outcome {
            Outcome::Ok(Response::Written | Response::Added(None)) => f.write_str(": ok"),
            Outcome::Ok(Response::Found(found)) => write!(f, ": {}", content(found.as_ref())),
            Outcome::Ok(Response::Compared { swapped, found }) => {
                let verdict = if *swapped { "swapped" } else { "refused" };
                write!(f, ": {verdict}, found {}", content(found.as_ref()))
            }
            Outcome::Ok(Response::Added(Some(sum))) => write!(f, ": {sum}"),
            Outcome::Ok(Response::Elements(values)) => write!(f, ": {} elements", values.len()),
            Outcome::Fail => f.write_str(": failed"),
            Outcome::Unknown => f.write_str(": unknown"),
        }
    }
}
