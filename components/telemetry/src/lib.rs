//! What a node shows of itself: metrics, logs, the status server; what it is told: settings; and the node's clock and
//! named threads.
//!
//! Everything belongs to one node: several nodes of one process each have their own [`Registry`] and
//! [`StatusServer`]. Only logging is the process's, and only the binary sets it up.
//!
//! **Knows nothing of** what any component measures, when it is healthy, or what its settings mean: they bring their own
//! [`metrics::Metric`] tables, [`status::Check`]s and [`settings::Schema`]s.
//!
//! Entry types: [`Registry`], [`StatusServer`] with [`StatusRoutes`], [`MonotonicClock`], [`init_logging`], [`settings::RawConfig`],
//! [`thread::spawn`], [`spawn_or_abort`], [`off_thread`], [`Unfinished`].
//!
//! Reading order: [`metrics`], [`process`], [`status`], [`unfinished`], [`logging`], [`settings`], [`clock`], [`thread`], [`task`].
#![warn(missing_docs)]

pub mod clock;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod settings;
pub mod status;
pub mod task;
pub mod thread;
pub mod unfinished;

pub use clock::MonotonicClock;
pub use logging::{LogConfig, LoggingError, init_logging};
pub use metrics::{Buckets, Metric, Registry, render};
pub use status::{Check, StatusError, StatusRoutes, StatusServer};
pub use task::{off_thread, spawn_or_abort};
pub use unfinished::{Unfinished, WorkMark};
