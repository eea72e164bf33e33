//! The placement driver in the simulated world: members made of the production core, clients that ask for
//! timestamps, ids and regions, stores that register and report, and judges of its own.
//!
//! Everything is drawn from lanes of its own, so that a seed's stores do what they would do without it.
//!
//! Entry type: [`PdSide`].
//! Reading order: [`plan`], [`event`], [`side`], [`node`], [`hands`], [`clients`], [`stores`], [`paper`],
//! [`faults`], [`judge`], [`marks`].

pub mod clients;
pub mod event;
pub mod faults;
pub mod hands;
pub mod judge;
pub mod marks;
pub mod node;
pub mod paper;
pub mod plan;
pub mod side;
pub mod stores;

pub use event::PdEvent;
pub use marks::{PdMark, PdMarks};
pub use plan::{Origin, PdFamily, PdPlan};
pub use side::{PdSide, ToWorld};
