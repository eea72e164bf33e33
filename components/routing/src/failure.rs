//! What can go wrong with one attempt, in words of our own: the shell translates from the wire.

use std::fmt;

use flotilla_base::{Peer, Region, Span, StoreId};

/// Why one attempt did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No request could be made: the way to a store is not known.
    NoRoute(NoRoute),
    /// No connection to the store came about: the request was certainly not sent.
    Unsent(String),
    /// The connection broke, or the call was cut off, when the request may have been sent.
    Lost(String),
    /// No answer came before the call's deadline.
    Late,
    /// A replica that a read asked instead of the leader did not answer in time.
    Silent,
    /// The store answered with an error of routing or state.
    Refused(Refusal),
    /// The store looked at the request and will not do it: a repetition would be refused as well.
    Rejected(String),
    /// The answer to a read is larger than the client takes in.
    AnswerTooLarge(String),
}

/// What is missing on the way from a key to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// The placement driver did not answer.
    PlacementDriver(String),
    /// The placement driver answers, and the cluster has no regions yet: too few stores have registered.
    NotBootstrapped,
    /// The placement driver knows no region for the key at the moment.
    Region,
    /// The placement driver does not know the store, or the store has no address.
    Store(StoreId),
}

/// An answer that says "not here" or "not now". One variant for each way of reacting; the
/// variants of the wire that call for the same reaction share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The peer does not lead its region.
    NotLeader {
        /// Who leads it, as far as that peer knows.
        leader: Option<Peer>,
    },
    /// The store has no peer of the region.
    RegionNotFound,
    /// The key does not lie in the region.
    KeyNotInRegion,
    /// The region has another shape than the request says.
    EpochNotMatch {
        /// The regions that the store knows there.
        current: Vec<Region>,
    },
    /// The store has too much to do.
    ServerIsBusy {
        /// In the store's words.
        reason: String,
        /// How long the store asks to be left alone; zero where it does not say.
        wait: Span,
    },
    /// The request was overtaken by a change of leadership and was dropped.
    StaleCommand,
    /// Another store listens at this address.
    StoreNotMatch,
    /// The write is larger than a log entry may be.
    EntryTooLarge {
        /// Its size.
        entry_bytes: u64,
    },
    /// The store has another peer of the region than the request names.
    MismatchPeer,
    /// The peer cannot serve yet; it will without any doing of the client.
    NotReady(Unready),
    /// The store has no room for writes.
    DiskFull,
    /// The region is being set back to an earlier state.
    Flashback,
    /// The store itself does not know whether the write took effect.
    Undetermined(String),
    /// A text without a kind.
    Other(String),
}

/// What a peer that is not ready waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// A timestamp of the placement driver.
    Timestamp,
    /// A confirmed read position.
    ReadIndex,
    /// The end of a merge.
    Merge,
    /// Data up to the timestamp asked for.
    Data,
    /// Its first snapshot.
    Snapshot,
    /// The end of a recovery by hand.
    Recovery,
    /// The role: it holds no data.
    Witness,
    /// The version of the region's buckets.
    Buckets,
}

/// Causes of repetition, for counters and for the length of the pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The leader is not known, or not the one that was asked.
    Leader,
    /// The cached region is out of date.
    Region,
    /// A store could not be reached.
    Unreachable,
    /// A connection broke under a request.
    Lost,
    /// A store is overloaded or full.
    Busy,
    /// A peer is not ready.
    NotReady,
    /// The placement driver did not help.
    PlacementDriver,
}

impl Cause {
    /// Every cause, in the order of the counters.
    pub const ALL: [Self; 7] = [
        Self::Leader,
        Self::Region,
        Self::Unreachable,
        Self::Lost,
        Self::Busy,
        Self::NotReady,
        Self::PlacementDriver,
    ];

    /// The name in metrics and goldens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Region => "region",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Busy => "busy",
            Self::NotReady => "not_ready",
            Self::PlacementDriver => "placement_driver",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute(missing) => missing.fmt(f),
            Self::Unsent(text) => write!(f, "no connection: {text}"),
            Self::Lost(text) => write!(f, "the connection broke under the request: {text}"),
            Self::Late => f.write_str("no answer came before the deadline"),
            Self::Silent => f.write_str("the replica did not answer in time"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Rejected(text) => f.write_str(text),
            Self::AnswerTooLarge(text) => write!(f, "the answer is too large: {text}"),
        }
    }
}

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlacementDriver(text) => {
                write!(f, "the placement driver does not answer: {text}")
            }
            Self::NotBootstrapped => f.write_str(
                "the cluster has no regions yet: fewer stores have registered than it keeps replicas",
            ),
            Self::Region => f.write_str("the placement driver knows no region for the key yet"),
            Self::Store(store) => {
                write!(f, "the placement driver knows no address for store {store}")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => {
                write!(f, "not the leader; store {} is said to be", leader.store)
            }
            Self::NotLeader { leader: None } => f.write_str("the region has no leader yet"),
            Self::RegionNotFound => f.write_str("the region is not on this store"),
            Self::KeyNotInRegion => f.write_str("the key is not in the region"),
            Self::EpochNotMatch { .. } => f.write_str("the region changed its shape"),
            Self::ServerIsBusy { reason, .. } => write!(f, "the store is busy: {reason}"),
            Self::StaleCommand => {
                f.write_str("the leader changed before the request was carried out")
            }
            Self::StoreNotMatch => f.write_str("another store listens at this address"),
            Self::EntryTooLarge { entry_bytes } => {
                write!(f, "the write makes a log entry of {entry_bytes} bytes, which is too large")
            }
            Self::MismatchPeer => f.write_str("the store holds another peer of the region"),
            Self::NotReady(unready) => write!(f, "the peer is not ready ({unready:?})"),
            Self::DiskFull => f.write_str("the store's disk is full"),
            Self::Flashback => f.write_str("the region is being set back to an earlier state"),
            Self::Undetermined(text) => {
                write!(f, "the store does not know whether the write took effect: {text}")
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}
