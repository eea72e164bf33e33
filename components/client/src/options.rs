//! What a user may choose.

use std::time::Duration;

/// Whom a read asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The leader of the region, which answers from its own data.
    #[default]
    Leader,
    /// Every replica of the region in turn; where one cannot serve, the leader. A replica asks its leader how
    /// new its data has to be, so reads stay linearizable with all writes and with all other reads, whoever
    /// serves them. It costs a message each way between two stores, and spreads what reading costs the disks.
    AnyReplica,
}

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
    /// Whom reads ask. Default [`ReadFrom::Leader`].
    pub read_from: ReadFrom,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(1),
            connections_per_store: 1,
            repeat_unknown_writes: true,
            read_from: ReadFrom::Leader,
        }
    }
}

/// The part of the settings that may differ from call to call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallOptions {
    pub(crate) deadline: Duration,
    pub(crate) repeat_unknown_writes: bool,
    pub(crate) read_from: ReadFrom,
}

impl From<&ClientOptions> for CallOptions {
    fn from(options: &ClientOptions) -> Self {
        let ClientOptions { deadline, repeat_unknown_writes, read_from, .. } = *options;
        Self { deadline, repeat_unknown_writes, read_from }
    }
}
