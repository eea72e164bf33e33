//! What a user may choose.

use std::time::Duration;

/// Settings of a client. Made by [`ClientOptions::default`] and changed field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long one call may last, repetitions included. Default 10 s.
    pub deadline: Duration,
    /// How long one connection may take to come about. Default 1 s.
    pub connect_timeout: Duration,
    /// Connections to each store, used in turn. One carries any number of calls at once; more help
    /// only where one core cannot keep up with it. Default 1.
    pub connections_per_store: usize,
    /// Whether a write goes on after an attempt whose outcome is not known. It is safe for a
    /// writer that is alone on its keys: the same write twice is the same as once. It is not for a
    /// checker of histories: the repetition may undo what another client wrote in between.
    /// Default true.
    pub repeat_unknown_writes: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(1),
            connections_per_store: 1,
            repeat_unknown_writes: true,
        }
    }
}

/// The part of the settings that may differ from call to call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallOptions {
    pub(crate) deadline: Duration,
    pub(crate) repeat_unknown_writes: bool,
}

impl From<&ClientOptions> for CallOptions {
    fn from(options: &ClientOptions) -> Self {
        Self { deadline: options.deadline, repeat_unknown_writes: options.repeat_unknown_writes }
    }
}
