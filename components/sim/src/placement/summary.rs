//! What a run of placement did, in numbers.

use std::{fmt, ops::AddAssign};

use flotilla_base::Moment;
use flotilla_placement::{Operator, OperatorKind, SchedulerName, check::is_repair};

use crate::digest::Digest;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that happened.
    pub events: u64,
    /// Operators that began.
    pub operators: u64,
    /// Operators that mend regions.
    pub repairs: u64,
    /// Replicas that balance moved.
    pub moves: u64,
    /// Data in these, and what each costs beside it.
    pub moved_bytes: u64,
    /// Leads that balance moved.
    pub transfers: u64,
    /// Data that was copied.
    pub copied_bytes: u64,
    /// Virtual time, milliseconds.
    pub millis: u64,
    /// Of all that happened.
    pub digest: Digest,
}

impl Summary {
    /// Something happened; so much had been scheduled by then.
    pub fn on_event(&mut self, at: Moment, scheduled: u64) {
        self.events += 1;
        self.digest.on_event(at, scheduled);
    }

    /// An operator begins.
    pub fn on_begun(&mut self, operator: &Operator) {
        self.operators += 1;
        let overhead = flotilla_placement::fleet::REPLICA_OVERHEAD_BYTES;
        if operator.asked_by == SchedulerName::BalanceRegion.name() {
            self.moves += 1;
            self.moved_bytes += operator.plan.size_bytes + overhead;
        } else if operator.plan.kind == OperatorKind::TransferLeader {
            self.transfers += 1;
        } else if is_repair(operator.asked_by) {
            self.repairs += 1;
        }
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.operators += other.operators;
        self.repairs += other.repairs;
        self.moves += other.moves;
        self.moved_bytes += other.moved_bytes;
        self.transfers += other.transfers;
        self.copied_bytes += other.copied_bytes;
        self.millis += other.millis;
        self.digest += other.digest;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, operators, moves, transfers, copied_bytes, millis, digest, .. } = self;
        let (hours, mib) = (millis / 3_600_000, copied_bytes / (1 << 20));
        write!(f, "{events} events in {hours} h, {operators} operators, {moves} moves, ")?;
        write!(f, "{transfers} transfers, {mib} MiB copied, digest {digest}")
    }
}
