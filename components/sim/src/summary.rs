//! What a run did, in numbers.

use std::fmt;
use std::ops::AddAssign;

use flotilla_base::Moment;

use crate::{digest::Digest, pd::PdMarks};

/// What a run did: a sweep checks that nothing is missing in all of its runs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that happened.
    pub events: u64,
    /// Operations that clients finished.
    pub operations: u64,
    /// Attempts that failed or were given up.
    pub failures: u64,
    /// Terms that had a leader.
    pub elections: u64,
    /// Stores that lost power.
    pub crashes: u64,
    /// Written batches that crashes lost.
    pub lost_batches: u64,
    /// Entries that left logs, counted at the end.
    pub truncated: u64,
    /// Reads that were served in place.
    pub in_place: u64,
    /// Attempts to read at any replica.
    pub replica_reads: u64,
    /// Leads that were to be handed over.
    pub transfers: u64,
    /// What happened at the placement driver.
    pub pd: PdMarks,
    /// Of all that happened.
    pub digest: Digest,
}

impl Summary {
    /// Something happened; so much had been scheduled by then.
    pub fn on_event(&mut self, at: Moment, scheduled: u64) {
        self.events += 1;
        self.digest.on_event(at, scheduled);
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.operations += other.operations;
        self.failures += other.failures;
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.lost_batches += other.lost_batches;
        self.truncated += other.truncated;
        self.in_place += other.in_place;
        self.replica_reads += other.replica_reads;
        self.transfers += other.transfers;
        self.digest += other.digest;
        self.pd += other.pd;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, operations, failures, elections, crashes, lost_batches, .. } = self;
        let Self { truncated, in_place, replica_reads, transfers, pd, digest, .. } = self;
        write!(f, "{events} events, {operations} operations, {failures} failed attempts, ")?;
        write!(f, "{elections} elections, {crashes} crashes, {lost_batches} lost batches, ")?;
        write!(f, "{truncated} truncated entries, {in_place} reads in place, ")?;
        write!(f, "{replica_reads} replica reads, {transfers} hand-overs; {pd}, digest {digest}")
    }
}
