//! Rare situations of placement with real replicas that runs must reach.

use crate::marks::{self, Mark};

const fn mark(name: &'static str, what: &'static str) -> Mark {
    Mark { name, what }
}

/// An order is carried out.
pub const ORDER_DONE: Mark = mark("order-done", "members change as they are ordered to");
/// An order finds nobody.
pub const ORDER_TO_NOBODY: Mark =
    mark("order-to-no-replica", "an order comes to a store without a replica of its region");
/// An order is of old members.
pub const ORDER_OF_OLD_MEMBERS: Mark =
    mark("order-of-old-members", "an order is for other members, or for another leader");
/// A promotion is refused.
pub const PROMOTION_REFUSED: Mark =
    mark("promotion-refused", "a learner is to vote that lacks too much of the log");
/// Balance moves replicas.
pub const MOVED: Mark = mark("replica-moved", "a run in which balance moves replicas");
/// Leads are moved.
pub const LEADS_MOVED: Mark = mark("lead-moved", "a run in which leads are moved");
/// A store stops since it has left.
pub const STOPPED: Mark = mark("store-stopped", "a store that runs hears that it is buried");

/// The placement driver begins anew.
pub const REIGNS: Mark = mark("reigns", "a run in which the placement driver began to reign twice");

/// All marks of these runs: their own, and some of all runs.
pub const ALL: &[Mark] = &[
    ORDER_DONE,
    ORDER_TO_NOBODY,
    ORDER_OF_OLD_MEMBERS,
    PROMOTION_REFUSED,
    MOVED,
    LEADS_MOVED,
    STOPPED,
    REIGNS,
    marks::TRANSFERRED,
    marks::SPLIT,
    marks::TOMBSTONED,
    marks::LEADER_CRASHED,
];
