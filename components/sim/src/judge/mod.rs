//! The judges: second witnesses of the rules that must hold, each on its own evidence.
//!
//! A judge sees what stores write, send, apply and answer, and what clients hear; it never asks a
//! replica whether it is right.

pub mod acknowledgements;
pub mod answers;
pub mod applied;
pub mod apply_order;
pub mod births;
pub mod calls;
pub mod cleanings;
pub mod completeness;
pub mod costs;
pub mod deliveries;
pub mod election;
pub mod epochs;
pub mod gate;
pub mod history;
pub mod installs;
pub mod lease;
pub mod lineage;
pub mod log_keys;
pub mod log_matching;
pub mod membership;
pub mod permits;
pub mod promises;
pub mod queues;
pub mod register;
pub mod retention;
pub mod rounds;
pub mod runs;
pub mod sleep;
pub mod state;
pub mod terms;
pub mod tickets;
pub mod tombstones;
pub mod views;

#[cfg(test)]
pub(crate) mod samples;

use std::collections::BTreeSet;
use std::fmt;

use flotilla_base::{KvRead, Mutation, RegionId, StoreId};

use crate::lookout::Lookout;
use crate::plan::Costs;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {what}")]
pub struct Violation {
    /// Which rule.
    pub rule: &'static str,
    /// The evidence.
    pub what: String,
}

/// What a judge says.
pub type Verdict = Result<(), Violation>;

/// Accuses unless `holds`.
///
/// # Errors
/// The violation.
pub fn require(holds: bool, rule: &'static str, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { rule, what: what() }) }
}

/// All judges of a run. They see every event; the first violation ends the run.
#[derive(Debug, Default)]
pub struct Judges {
    /// Votes and leaders.
    pub votes: VoteJudges,
    /// A region's shapes.
    pub epochs: epochs::EpochJudge,
    /// What stores write.
    pub records: RecordJudges,
    /// One sequence of applied entries.
    pub applied: applied::AppliedJudge,
    /// What reaches appliers.
    pub apply_order: apply_order::ApplyOrderJudge,
    /// Reads.
    pub reads: ReadJudges,
    /// One answer a ticket.
    pub tickets: tickets::TicketJudge,
    /// An end for every call.
    pub calls: calls::CallJudge,
    /// What harmless faults may not cost.
    pub costs: costs::CostJudge,
    /// What clients saw.
    pub history: history::HistoryJudge,
    /// Rare situations that were reached.
    pub lookout: Lookout,
    first: Option<Violation>,
}

/// Judges of votes and leaders.
#[derive(Debug, Default)]
pub struct VoteJudges {
    /// One leader a term.
    pub election: election::ElectionJudge,
    /// Votes that are not given.
    pub gate: gate::GateJudge,
    /// Children that wait.
    pub births: births::BirthJudge,
    /// Members that come and go.
    pub members: membership::MembershipJudge,
}

/// Judges of what stores write, and keep for others.
#[derive(Debug, Default)]
pub struct RecordJudges {
    /// Logs of all stores.
    pub matching: log_matching::LogMatchingJudge,
    /// Terms and votes.
    pub promises: promises::PromiseJudge,
    /// Logs that are kept for others.
    pub retention: retention::RetentionJudge,
    /// Attempts to send a snapshot.
    pub views: views::ViewJudge,
    /// Numbers of runs.
    pub runs: runs::RunJudge,
    /// Stores that were given an older disk: what they forgot is not their fault.
    pardoned: BTreeSet<StoreId>,
}

/// Judges of reads.
#[derive(Debug, Default)]
pub struct ReadJudges {
    /// Reads and writes in an order that real time allows.
    pub register: register::RegisterJudge,
    /// One permit at a time.
    pub lease: lease::LeaseJudge,
    /// Permits that do not come back.
    pub permits: permits::PermitJudge,
}

impl Judges {
    /// Judges of a run whose faults may not cost more than this.
    #[must_use]
    pub fn new(costs: Costs) -> Self {
        Self { costs: costs::CostJudge::new(costs), ..Self::default() }
    }

    /// Keeps the first violation.
    pub fn note(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.first.get_or_insert(violation);
        }
    }

    /// The first violation, if there is one.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.first.as_ref()
    }

    /// A store lost everything that it had in memory; `image` is what its disk kept.
    pub fn on_crash(&mut self, store: StoreId, image: &dyn KvRead) {
        self.records.matching.on_crash(store, image);
        self.votes.gate.on_crash(store);
        self.votes.births.on_crash(store);
        self.lookout.on_crash(store);
        self.reads.lease.on_crash(store);
        self.reads.permits.on_crash(store);
        self.epochs.on_crash(store);
        self.calls.on_crash(store);
        self.records.views.on_crash(store);
        self.records.retention.on_crash(store);
    }
}

impl RecordJudges {
    /// A batch is about to be written to a store; `image` does not show it yet.
    ///
    /// # Errors
    /// It does not fit what stands there.
    pub fn before_write(&self, store: StoreId, batch: &[Mutation], image: &dyn KvRead) -> Verdict {
        tombstones::check_orders(store, batch, image)?;
        log_keys::check(store, batch, image)
    }

    /// A batch was written to a store; `image` shows it.
    ///
    /// # Errors
    /// It contradicts an earlier one of any store.
    pub fn after_write(
        &mut self,
        store: StoreId,
        batch: &[Mutation],
        image: &dyn KvRead,
    ) -> Verdict {
        tombstones::check_rest(store, batch, image)?;
        self.matching.on_write(store, batch, image)
    }

    /// A store made everything up to a point durable, or came back from a crash.
    ///
    /// # Errors
    /// An earlier promise is gone.
    pub fn on_synced(
        &mut self,
        store: StoreId,
        regions: &[RegionId],
        synced: &dyn KvRead,
    ) -> Verdict {
        self.retention.on_synced(store, regions, synced);
        if self.is_pardoned(store) {
            return Ok(());
        }
        self.promises.on_synced(store, regions, synced)
    }

    /// A store was given an older disk: from now on it may forget, and be taken out of service.
    pub fn pardon(&mut self, store: StoreId) {
        self.pardoned.insert(store);
    }

    /// Whether a store may have forgotten something.
    #[must_use]
    pub fn is_pardoned(&self, store: StoreId) -> bool {
        self.pardoned.contains(&store)
    }
}

/// Names a peer of a region on a store in evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub StoreId, pub RegionId);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {} region {}", self.0, self.1)
    }
}
