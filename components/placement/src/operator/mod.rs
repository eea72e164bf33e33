//! Operators: how anybody changes a region's members, leader or borders.
//!
//! An operator is a list of steps, each of which one order to the region's leader brings about. Orders answer the
//! region's reports, so a step is over when the region says so, and never because an order was sent: orders may
//! be lost, late or repeated. Each carries the epoch on which it was decided, and the store drops it where that
//! is no longer the region's.
//!
//! A wish ([`Change`]) becomes a [`Plan`], which is where it is refused; a plan becomes an [`Operator`], of which
//! a region has one at a time. Operators belong to one reign of one leader. When they are gone, each region is in a
//! state that is sound by itself, and the next leader sees it as it is.
//!
//! A store that leaves is emptied by operators that nobody has to ask for one by one ([`drain`]).
//!
//! What an operator leaves behind that ends early is taken away when nobody has come back to it ([`leftover`]).
//!
//! Reading order: [`shape`], [`step`], [`change`], [`plan`], [`controller`], [`removal`], [`setbacks`], [`drain`],
//! [`leftover`].

mod arrivals;
pub mod change;
pub mod controller;
pub mod drain;
pub mod leftover;
pub mod plan;
pub mod removal;
pub mod setbacks;
pub mod shape;
pub mod step;

pub use change::{Change, OperatorKind, OperatorRefusal, Sight};
pub use controller::{
    CancelReason, EndedOperator, Ending, Operator, OperatorController, OperatorEvent, OperatorId,
    OperatorList, Order, Stamp,
};
pub use drain::{Drain, DrainLook};
pub use leftover::Leftovers;
pub use plan::Plan;
pub use removal::{Leave, RemovalRefusal};
pub use setbacks::Setbacks;
pub use step::{Command, PeerChange, PeerChangeKind, SplitAt, Step};

#[cfg(test)]
pub(crate) mod tests;
