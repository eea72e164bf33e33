//! Histories of operations and the checkers that judge them: one format for the simulator and for real
//! clusters, one verdict for both.
//!
//! A history says what clients asked, what they were told, and when. A key is sound if its operations can
//! be put into one order that real time allows and that explains every answer (it is linearizable). No
//! read is then older than any read or write that had ended before it began. A verdict against a key comes
//! with the operations that contradict each other, drawn for people.
//!
//! **Knows nothing of** how stores work, of files, threads, the clock, or where a history comes from.
//!
//! Entry types: [`Recorder`], [`History`], [`check()`], [`Report`].
//! Reading order: [`operation`], [`history`], [`recorder`], [`json`], [`check`](mod@check), `register`,
//! `zones`, `model`, `search`, `shrink`, `set`, [`witness`], `timeline`.
#![warn(missing_docs)]

pub mod check;
pub mod history;
pub mod json;
pub mod operation;
pub mod recorder;
pub mod witness;

mod model;
mod register;
mod search;
mod set;
mod shrink;
mod timeline;
mod zones;

#[cfg(test)]
mod tests;

pub use check::{Limits, Method, Report, Verdict, check};
pub use history::History;
pub use operation::{Note, Operation, Outcome, Request, Response, Value};
pub use recorder::{OperationId, Recorder};
pub use witness::{Anomaly, Start, Witness};
