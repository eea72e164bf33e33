//! Rare situations of placement that runs must reach.

use flotilla_placement::{Ending, operator::CancelReason};

use crate::marks::Mark;

const fn mark(name: &'static str, what: &'static str) -> Mark {
    Mark { name, what }
}

/// A message is lost.
pub const LOST: Mark =
    mark("message-lost", "a message between a store and the placement driver is lost");
/// A message comes twice.
pub const DOUBLED: Mark = mark("message-doubled", "a message comes twice");
/// A message is late.
pub const LATE: Mark = mark("message-late", "a message comes seconds late");
/// A report is not taken.
pub const STALE_REPORT: Mark =
    mark("report-stale", "a report is not taken, since something newer is known");
/// A lead moves.
pub const TRANSFER: Mark = mark("transfer", "an operator that moves a lead begins");
/// Members change.
pub const MEMBERS: Mark = mark("members", "an operator that changes members begins");
/// An operator is finished.
pub const FINISHED: Mark = mark("operator-finished", "an operator has done all of its steps");
/// An operator takes too long.
pub const TIMED_OUT: Mark = mark("operator-timed-out", "the time of an operator is over");
/// An operator is given up.
pub const GIVEN_UP: Mark =
    mark("operator-given-up", "an operator ends since somebody else changed its region");
/// An operator waits in vain.
pub const STORE_LOST: Mark =
    mark("operator-store-lost", "an operator ends since a store will not come back");
/// An order finds no leader.
pub const ORDER_TO_NOBODY: Mark =
    mark("order-to-nobody", "an order comes to a store that does not lead any more");
/// An order is of an old epoch.
pub const ORDER_OF_OLD_EPOCH: Mark =
    mark("order-of-old-epoch", "an order is for another shape of its region");
/// An order comes too early.
pub const ORDER_WHILE_BUSY: Mark =
    mark("order-while-busy", "an order comes while another one is carried out");
/// An order is refused.
pub const ORDER_REFUSED: Mark =
    mark("order-refused", "a leader knows better than the placement driver");
/// A proposal is lost.
pub const PROPOSAL_LOST: Mark = mark("proposal-lost", "what a leader was told is not committed");
/// A joint configuration is left.
pub const JOINT_LEFT_BY_OTHER: Mark =
    mark("joint-left-by-other", "a new leader leaves a joint configuration that it finds");
/// A leader is elected.
pub const ELECTED: Mark = mark("elected", "a region that lost its leader has another one");
/// Nobody can lead.
pub const NO_QUORUM: Mark = mark("no-quorum", "a region has too few voters to elect a leader");
/// A leader is alone.
pub const STEPPED_DOWN: Mark =
    mark("stepped-down", "a leader that hears too few voters leads no more");
/// A region is split.
pub const SPLIT: Mark = mark("split", "a region is split");
/// Somebody asks.
pub const WISH: Mark = mark("wish", "somebody asks for a change of a region");
/// Somebody else acts.
pub const MEDDLED: Mark =
    mark("meddled", "somebody else changes the members of a region that has an operator");
/// A store is to leave.
pub const REMOVED: Mark = mark("store-removed", "a store that is gone is to be removed");
/// A store has left.
pub const BURIED: Mark = mark("store-buried", "nothing is left of a store");
/// Operators are lost.
pub const PD_STOPPED_BUSY: Mark =
    mark("pd-stopped-busy", "the placement driver stops while operators go on");
/// Nobody does anything any more.
pub const SETTLED: Mark = mark("settled", "nothing is decided for an hour");

/// All of them.
pub const ALL: &[Mark] = &[
    LOST,
    DOUBLED,
    LATE,
    STALE_REPORT,
    TRANSFER,
    MEMBERS,
    FINISHED,
    TIMED_OUT,
    GIVEN_UP,
    STORE_LOST,
    ORDER_TO_NOBODY,
    ORDER_OF_OLD_EPOCH,
    ORDER_WHILE_BUSY,
    ORDER_REFUSED,
    PROPOSAL_LOST,
    JOINT_LEFT_BY_OTHER,
    ELECTED,
    NO_QUORUM,
    STEPPED_DOWN,
    SPLIT,
    WISH,
    MEDDLED,
    REMOVED,
    BURIED,
    PD_STOPPED_BUSY,
    SETTLED,
];

/// The mark of the end of an operator.
#[must_use]
pub const fn of_ending(ending: Ending) -> Mark {
    match ending {
        Ending::Finished => FINISHED,
        Ending::TimedOut => TIMED_OUT,
        Ending::Cancelled(CancelReason::StoreLost(_)) => STORE_LOST,
        Ending::Cancelled(_) => GIVEN_UP,
    }
}
