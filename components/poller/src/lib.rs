//! Many state machines on few threads: cells, their run queue, the worker pool, deadlines and the syncer.
//!
//! A *cell* is a state and an inbox. Mail makes a cell ready; a worker takes many ready cells in one turn, lets
//! the [`Handler`] run each, calls [`Handler::end`] once (where the turn's one write happens), and only then
//! releases the cells. So no cell is ever run by two workers, and no cell runs again before the effects of its
//! last run were written.
//!
//! **Knows nothing of** what a cell is, raft, regions, disks, networks, async runtimes and the wall clock: keys
//! are plain `u64`, time comes from the [`Clock`] it is given.
//!
//! Entry types: [`ReadyQueue`] (makes cells), [`Mailbox`] (sends to one), [`Pool`] (runs them), [`Router`] (key
//! to mailbox), [`Alarm`] (wakes keys at deadlines), [`Syncer`] (one sync for many turns). [`Manual`] runs the
//! same queue without threads.
//!
//! Reading order: [`mod@cell`], [`mailbox`], [`queue`], [`turn`], [`pool`], [`router`], [`deadlines`], [`alarm`],
//! [`syncer`].
#![warn(missing_docs)]

pub mod alarm;
mod cell;
pub mod deadlines;
mod guard;
pub mod mailbox;
pub mod pool;
pub mod queue;
pub mod router;
mod sync;
pub mod syncer;
pub mod turn;

pub use alarm::{Alarm, Clock};
pub use deadlines::Deadlines;
pub use mailbox::{Closed, Mailbox, SendError};
pub use pool::{Manual, Pool, PoolOptions};
pub use queue::{Quota, Ready, ReadyQueue};
pub use router::Router;
pub use syncer::{SyncHost, Syncer, SyncerOptions};
pub use turn::{After, Handler, TurnLimits};
