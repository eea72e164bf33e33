//! What a user is told when a call fails.

use std::{fmt, time::Duration};

use flotilla_routing::{Applied, Ended, Ending, Failure, NoRoute, Refusal};

/// A failed call: one pointer in size, so that results stay small.
pub struct Error(Box<Report>);

#[derive(Clone, Debug)]
struct Report {
    kind: ErrorKind,
    applied: Applied,
    what: String,
    why: String,
    attempts: u32,
    elapsed: Duration,
}

/// The classes of failure that a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The placement driver could not be reached; certainly nothing was applied.
    Unreachable,
    /// The deadline passed while the cluster was not ready, as without a majority of a region's stores; certainly
    /// nothing was applied.
    Timeout,
    /// The write was sent, and whether it took effect is not known.
    OutcomeUnknown,
    /// The store was overloaded, or its disk full, until the deadline; nothing was applied.
    Busy,
    /// A key, value, batch or answer is larger than allowed.
    TooLarge,
    /// The cluster refused the call; a repetition would be refused as well.
    Refused,
    /// The server belongs to another cluster.
    WrongCluster,
    /// An argument makes no sense.
    InvalidArgument,
    /// The value that was to be added to is no integer, or the sum would not be one of 64 bits; nothing was applied.
    NotAnInteger,
}

impl ErrorKind {
    /// The stable code of the class.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "FLT-2101",
            Self::Timeout => "FLT-2102",
            Self::OutcomeUnknown => "FLT-2103",
            Self::Busy => "FLT-2104",
            Self::TooLarge => "FLT-2105",
            Self::Refused => "FLT-2106",
            Self::WrongCluster => "FLT-2107",
            Self::InvalidArgument => "FLT-2108",
            Self::NotAnInteger => "FLT-2109",
        }
    }

    /// The name in machine-readable output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Busy => "busy",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::WrongCluster => "wrong_cluster",
            Self::InvalidArgument => "invalid_argument",
            Self::NotAnInteger => "not_an_integer",
        }
    }

    const fn hints(self) -> &'static [&'static str] {
        match self {
            Self::Unreachable => &[
                "check that the cluster runs, and that the address of its placement driver is right",
            ],
            Self::Timeout => &[
                "check that a majority of the stores is up: flotilla ctl status",
                "allow the call more time",
            ],
            Self::OutcomeUnknown => {
                &["read the key to see whether the write took effect, then repeat it if it may be"]
            }
            Self::Busy => &["send less, or allow the call more time"],
            Self::TooLarge => {
                &["a key may have 8 KiB: shorten it; a value 6 MiB: split it over several keys"]
            }
            Self::Refused => &["change the request as the reason says"],
            Self::WrongCluster => &["check the address: it belongs to another cluster"],
            Self::InvalidArgument => &["correct the argument as the reason says"],
            Self::NotAnInteger => {
                &["read the value; then put an integer in its place, or add to another key"]
            }
        }
    }
}

impl Error {
    /// A call that was refused here, before anything was sent.
    pub(crate) fn unsent(kind: ErrorKind, what: String, why: String) -> Self {
        let (applied, attempts, elapsed) = (Applied::No, 0, Duration::ZERO);
        Self(Box::new(Report { kind, applied, what, why, attempts, elapsed }))
    }

    /// A call that ended after its last failure.
    pub(crate) fn ended(what: String, ending: Ending, last: &Failure, effort: Effort) -> Self {
        let kind = classify(ending, last);
        let Effort { attempts, elapsed } = effort;
        let applied = ending.applied;
        Self(Box::new(Report { kind, applied, what, why: last.to_string(), attempts, elapsed }))
    }

    /// The same error of a call of several parts, of which others were, or may be, applied.
    pub(crate) fn partly_applied(mut self) -> Self {
        self.0.applied = Applied::Unknown;
        self.0.kind = ErrorKind::OutcomeUnknown;
        self.0.why.push_str("; other parts of the call may have been applied");
        self
    }

    /// The class of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code of the class, `FLT-2nnn`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Whether a write took effect. Always [`Applied::No`] for reads.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.0.applied
    }

    /// Whether the same call may be made again as it is, without a doubt about the first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let passes =
            matches!(self.0.kind, ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Busy);
        passes && self.0.applied == Applied::No
    }

    /// What could not be done, with its object.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What the last attempt met.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.0.why
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hints(&self) -> &'static [&'static str] {
        self.0.kind.hints()
    }

    /// How many attempts were made.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// How long the call lasted.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }
}

/// How much a call tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) attempts: u32,
    pub(crate) elapsed: Duration,
}

fn classify(ending: Ending, last: &Failure) -> ErrorKind {
    if ending.applied == Applied::Unknown {
        return ErrorKind::OutcomeUnknown;
    }
    match ending.ended {
        Ended::Undetermined => ErrorKind::OutcomeUnknown,
        Ended::TooLarge => ErrorKind::TooLarge,
        Ended::Rejected => match last {
            Failure::Rejected(text) if text.contains("mismatch cluster id") => {
                ErrorKind::WrongCluster
            }
            _ => ErrorKind::Refused,
        },
        Ended::Late => match last {
            Failure::Refused(Refusal::DiskFull | Refusal::ServerIsBusy { .. }) => ErrorKind::Busy,
            Failure::NoRoute(NoRoute::PlacementDriver(_)) => ErrorKind::Unreachable,
            // The client is in contact with the cluster. Which of its stores the last attempt met, a dead one or one
            // that has no leader to name, is chance: what is missing is a majority, or time.
            _ => ErrorKind::Timeout,
        },
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { kind, applied, what, why, attempts, elapsed } = self.0.as_ref();
        write!(f, "{what}: {why}")?;
        if *attempts > 0 {
            write!(f, " (attempt {attempts}, after {:.1} s", elapsed.as_secs_f64())?;
            match applied {
                Applied::No => f.write_str(")")?,
                Applied::Yes => f.write_str("; the write took effect)")?,
                Applied::Unknown => f.write_str("; the write may have taken effect)")?,
            }
        }
        write!(f, " [{}]", kind.code())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(size_of::<Error>(), 8);
        assert_eq!(size_of::<Result<(), Error>>(), 8);
    }

    #[test]
    fn the_last_failure_names_the_class_unless_the_outcome_is_open() {
        let end = |applied| Ending { ended: Ended::Late, applied };
        let refused = Failure::Unsent("nothing listens at 127.0.0.1:1".to_owned());
        assert_eq!(classify(end(Applied::Unknown), &refused), ErrorKind::OutcomeUnknown);
        // Whatever store is met last where too few are left.
        for waiting in [
            refused.clone(),
            Failure::Lost("reset".to_owned()),
            Failure::Silent,
            Failure::Refused(Refusal::NotLeader { leader: None }),
            Failure::NoRoute(NoRoute::NotBootstrapped),
            Failure::NoRoute(NoRoute::Region),
            Failure::NoRoute(NoRoute::Store(flotilla_base::StoreId(1))),
        ] {
            assert_eq!(classify(end(Applied::No), &waiting), ErrorKind::Timeout, "{waiting}");
        }
        let nobody = Failure::NoRoute(NoRoute::PlacementDriver("silence".to_owned()));
        assert_eq!(classify(end(Applied::No), &nobody), ErrorKind::Unreachable);
        assert_eq!(
            classify(end(Applied::No), &Failure::Refused(Refusal::DiskFull)),
            ErrorKind::Busy
        );
        let effort = Effort { attempts: 3, elapsed: Duration::from_millis(1500) };
        let error = Error::ended("cannot put k".to_owned(), end(Applied::No), &refused, effort);
        assert_eq!(
            error.to_string(),
            "cannot put k: no connection: nothing listens at 127.0.0.1:1 (attempt 3, after 1.5 s) \
             [FLT-2102]"
        );
    }
}
