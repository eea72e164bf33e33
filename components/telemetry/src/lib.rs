//! What a node shows of itself: metrics, logs, the status server; and the node's clock and named threads.
//!
//! Everything belongs to one node: several nodes of one process each have their own [`Registry`] and
//! [`StatusServer`]. Only logging is the process's, and only the binary sets it up.
//!
//! **Knows nothing of** what any component measures or when it is healthy: they bring their own
//! [`metrics::Metric`] tables, [`status::Check`]s and configuration.
//!
//! Entry types: [`Registry`], [`StatusServer`] with [`StatusRoutes`], [`MonotonicClock`], [`init_logging`],
//! [`thread::spawn`], [`spawn_or_abort`], [`Unfinished`].
//!
//! Reading order: [`metrics`], [`process`], [`status`], [`unfinished`], [`logging`], [`clock`], [`thread`], [`task`].
#![warn(missing_docs)]

pub mod clock;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod status;
pub mod task;
pub mod thread;
pub mod unfinished;

pub use clock::MonotonicClock;
pub use logging::{LoggingError, init_logging};
pub use metrics::{Buckets, Metric, Registry, render};
pub use status::{Check, StatusError, StatusRoutes, StatusServer};
pub use task::spawn_or_abort;
pub use unfinished::{Unfinished, WorkMark};
