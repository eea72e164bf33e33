//! A store: the threads, sockets and disk around the replicas of [`flotilla_multiraft`].
//!
//! A request travels: service (decode, admit) → [`Router`] (ticket, inbox) → raft pool (propose, one
//! write a round) → syncer (one sync for many rounds) → apply pool (write, answer). Reads look at the
//! delegates and read the engine themselves; where there is no lease they ask the raft pool for a barrier first.
//!
//! **Knows nothing of** scheduling policy, raft rules, lock rules, or where regions should be.
//!
//! Entry types: [`Store`], [`StoreConfig`], [`Router`].
//! Reading order: [`config`], [`node`], [`router`], [`delegates`], [`memory`], [`raft_pool`], [`host`], [`log_readers`], [`apply_pool`],
//! [`network`], [`envelope`], [`silence`], [`boot`], [`split`], [`snapshots`], [`brake`], [`service`], [`pd_link`],
//! [`metrics`], [`status`].
#![warn(missing_docs)]

mod apply_pool;
mod boot;
mod brake;
pub mod config;
mod delegates;
mod envelope;
mod host;
mod log_readers;
mod memory;
pub mod metrics;
mod network;
pub mod node;
pub mod pd_link;
mod pulse;
mod raft_pool;
pub mod router;
pub mod service;
mod shared_table;
mod silence;
mod slowness;
mod snapshots;
mod split;
mod status;
pub mod value;

pub use config::StoreConfig;
pub use delegates::InPlace;
pub use flotilla_multiraft::{NotInPlace, RequestHeader};
pub use node::{Store, StoreError};
pub use router::{Router, WriteOutcome};
