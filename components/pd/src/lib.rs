//! The placement driver as a server: one raft group that keeps `flotilla-placement`'s state, the
//! services that clients and stores call, and the HTTP interface for people and tools.
//!
//! **Knows nothing of** how a store is built, or what a client does with a region. Which command has
//! which effect is decided in `flotilla-placement`, who leads in `flotilla-raftgroup`.
//!
//! One owner ([`core`], a thread of its own) changes the group, the replicated state and the view; the
//! services send it a closed set of requests. Timestamps are the exception: they are handed out
//! beside the owner ([`tso`]), so that no disk is between a client and its timestamp.
//!
//! Entry types: [`Pd`], [`PdConfig`], [`PdError`].
//! Reading order: [`config`], [`server`], [`core`], [`status`], [`tso`], [`handle`], [`admin`], [`grpc`],
//! [`http`], [`listener`].
#![warn(missing_docs)]

mod admin;
pub mod config;
mod core;
mod error;
mod grpc;
mod handle;
mod http;
mod listener;
mod metrics;
mod server;
mod status;
mod tso;

pub use config::PdConfig;
pub use error::PdError;
pub use flotilla_pdcore::CoreError;
pub use flotilla_proto::SERVED_VERSION;
pub use server::Pd;
