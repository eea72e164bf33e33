//! Raft messages between stores: bounded queues, one long stream for each lane of a pair of stores. And snapshots, each
//! on a connection of its own.
//!
//! **Knows nothing of** replicas, raft's rules, storage, the placement driver, or what an envelope says beyond its kind,
//! its region and its two ends. It may lose envelopes; it never alters, repeats or blocks for them.
//!
//! [`Peers::send`] appends to a queue and returns; [`Peers::flush`] wakes the tasks that send. What cannot be
//! sent is dropped and reported to [`TransportEvents::unreachable`], so that raft probes instead of waiting.
//! [`RaftService`] is the receiving end: it admits streams of this cluster only and hands batches to
//! [`TransportEvents::deliver`].
//!
//! [`Peers::send_snapshot`] pulls from an iterator, as fast as the setting and the receiver allow, and says how it ended;
//! [`ReceiveSnapshot`] takes what arrives, part by part.
//!
//! Entry types: [`Peers`], [`RaftService`], [`TransportEvents`], [`ResolveStore`], [`ReceiveSnapshot`].
//! Reading order: [`link`], `queue`, `beats`, `hello`, `sender`, `peers`, `service`, [`mod@snapshot`], [`stats`].
#![warn(missing_docs)]

mod beats;
mod hello;
pub mod link;
mod peers;
mod queue;
mod sender;
mod service;
pub mod snapshot;
pub mod stats;

pub use link::{
    Identity, Lane, Limits, LinkFilter, ResolveStore, Resolved, SnapshotLimits, Target,
    TransportEvents,
};
pub use peers::Peers;
pub use service::RaftService;
pub use snapshot::{ReceiveSnapshot, SnapshotFailure, SnapshotPart, SnapshotSink, SnapshotSlot};
pub use stats::{SnapshotStats, TransportStats};
