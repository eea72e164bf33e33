//! One raft group: the `raft` crate behind plain structs, driven by deadlines instead of ticks.
//!
//! A [`Group`] takes messages, proposals and moments, and gives [`GroupReady`]s: what to write, what
//! may leave at once, what may leave once the write is durable, and what is committed. It also owns
//! the rules that the crate cannot keep by itself:
//!
//! * **the gate**: real time, not ticks, decides when a peer may vote or campaign ([`election`]);
//! * **terms before messages**: nothing of a term leaves before (term, vote) is durable ([`group`]);
//! * **sleep**: a group with nothing to do has no deadlines ([`quiescence`]);
//! * **the lease**: how long a leader may trust one round of heartbeats, and what takes that from it
//!   ([`lease`], [`transfer`]).
//!
//! **Knows nothing of** regions, keys, commands, networks, threads, the wall clock, or what a state
//! machine does with an entry. It reads old log entries through [`flotilla_base::KvRead`] only, and has others read those
//! that followers lack.
//!
//! Entry types: [`Group`], and [`Single`] for a process that is one group with one state machine.
//! Reading order: [`message`], [`config`], [`election`], [`log`], [`fetch`], [`disk`], [`guard`], [`group`], `duties`,
//! [`quiescence`], [`read_index`], [`lease`], [`transfer`], [`membership`], [`retention`], [`snapshot`], `haste`, `unwritten`,
//! [`proposals`], [`single`].
#![warn(missing_docs)]

pub mod config;
pub mod disk;
mod duties;
pub mod election;
pub mod fetch;
pub mod group;
pub mod guard;
mod haste;
pub mod lease;
pub mod log;
pub mod membership;
pub mod message;
pub mod proposals;
pub mod quiescence;
pub mod read_index;
pub mod retention;
pub mod single;
pub mod snapshot;
pub mod transfer;
mod unwritten;

pub use config::{GroupConfig, GroupLimits, LogBound, LogLimits, Timing};
pub use disk::{ApplyState, RaftState};
pub use fetch::{FetchNumber, FetchOrder, Fetched};
pub use group::{
    Group, GroupError, GroupReady, Initial, Origin, ProposeError, ReadError, ReadGrant,
};
pub use group::{ReadToken, ReadyNumber, Role, RoleChange};
pub use guard::{Damage, StepError};
pub use lease::Lease;
pub use message::{Entry, EntryKind, HardState, LogPosition, Message, MessageKind, Voters};
pub use proposals::Proposals;
pub use quiescence::Question;
pub use single::{Single, SingleRound};
pub use snapshot::{SnapshotNumber, SnapshotOrder, SnapshotOutcome, SnapshotWish};
pub use transfer::TransferError;
