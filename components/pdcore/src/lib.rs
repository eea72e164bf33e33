//! One member of a placement driver: the state of `flotilla-placement` on one group of
//! `flotilla-raftgroup`.
//!
//! The core is a value. [`PdCore::handle`] takes an input, [`PdCore::drain`] collects what the group wants
//! done; both only fill [`Effects`], and [`Effects::finish`] is the one function that turns effects into
//! actions, in the order that safety asks for. A [`PdHost`] executes them: the threads of a server in
//! production, virtual time in the simulator. [`PdCore::turn`] is all of that in one call.
//!
//! A *reign* is the time in which a member leads in one term. It begins when an entry of the term was
//! applied here: from then on the state holds everything that any earlier leader can have committed. It is
//! open to requests once its first window of timestamps was applied.
//!
//! **Knows nothing of** databases, threads, sockets, clocks, randomness, protobuf, or who sent a request.
//!
//! Entry types: [`PdCore`], [`Input`], [`Effects`], [`PdHost`].
//! Reading order: [`input`], [`effects`], [`open`], [`core`], [`round`], [`reign`], [`serve`],
//! [`operators`].
#![warn(missing_docs)]

pub mod core;
pub mod effects;
pub mod input;
pub mod open;
pub mod operators;
pub mod reign;
pub mod round;
pub mod serve;

pub use crate::core::PdCore;
pub use effects::{Effects, LogWrite, PdHost, Report};
pub use input::{Clocks, Decided, Denied, Input, Outcome, Wish};
pub use open::{CoreConfig, CoreError, GROUP, birth};
pub use operators::AskedChange;
pub use serve::{ClusterHealth, Leading, StoreEntry};
