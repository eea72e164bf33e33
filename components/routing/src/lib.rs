//! The mind of a client: where a key lives, what an error means, and whether to try again.
//!
//! **Knows nothing of** protobuf, gRPC, sockets, tasks, locks, timers or what a request does. Time
//! comes in as a [`Moment`](flotilla_base::Moment), chance as a seed; the shell around this crate
//! sends requests, waits until the moments it is told, and guards the cache with a lock of its own.
//!
//! The way of one call:
//!
//! ```text
//! RegionCache::locate ─► Route ─► (shell sends) ─► ok ─► RegionCache::confirm
//!         ▲                            │
//!         │                         Failure ─► decide ─► Decision { correction, next, may_have_happened }
//!         │                                                   │                  │
//!         └────────── RegionCache::correct ◄──────────────────┘                  ▼
//!         └────────────────────────────────── Retry | Wait ◄────────── Attempts::after ─► GiveUp
//! ```
//!
//! Entry types: [`RegionCache`], [`Failure`], [`Decision`], [`Attempts`].
//! Reading order: [`failure`], [`decision`], [`cache`], [`attempts`].
#![warn(missing_docs)]

pub mod attempts;
pub mod cache;
pub mod decision;
pub mod failure;

pub use attempts::{Access, Applied, Attempts, Ending, Step};
pub use cache::{Learned, RegionCache, Route};
pub use decision::{Correction, Decision, Ended, Next, decide};
pub use failure::{Cause, Failure, NoRoute, Refusal, Unready};
