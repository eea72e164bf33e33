//! What a member wants done, and the only place where that becomes actions.
//!
//! | rule | order | why |
//! |---|---|---|
//! | P1 | timestamps stop before anything else of the round | whoever leads next hands out larger ones, and may be told to lead by a message of this round |
//! | P2 | a leader's messages may leave before its own write | leader and followers write in parallel; `raftgroup` says which may |
//! | P3 | the log is written before the records of what it commits, by one writer | a crash leaves a prefix of what was written |
//! | P4 | records are written before a window is used and before anybody is answered | what was answered is read back after a crash |
//! | P5 | votes and acknowledgements leave behind the sync of their log | a promise must survive a crash; [`PdCore::handle`] keeps them until [`Input::Persisted`] |
//!
//! Records need no sync of their own: the entry that they come from is durable on a majority, and is
//! applied again where they are lost.
//!
//! [`PdCore::handle`]: crate::PdCore::handle
//! [`Input::Persisted`]: crate::Input::Persisted

use flotilla_base::{Incarnation, Mutation, RegionId, StoreId, Term};
use flotilla_placement::{
    Cluster, IdBatch, OperatorEvent, Refusal, StaleReport, StoreHealth, TsoChange,
    view::ReportEffect,
};
use flotilla_raftgroup::{Message, ProposeError, ReadyNumber, RoleChange};

use crate::input::Outcome;

/// A part of the log that is to be made durable.
#[derive(Debug)]
pub struct LogWrite {
    /// Given back in [`Input::Persisted`](crate::Input::Persisted), once this write and all before it are
    /// durable.
    pub number: ReadyNumber,
    /// What to write; empty where only earlier writes are waited for.
    pub batch: Vec<Mutation>,
}

/// What became of a region's heartbeat, or of a piece of a split.
pub type HeartbeatOutcome = Result<ReportEffect, StaleReport>;

/// Something that a person or a metric may want to know.
#[derive(Debug)]
pub enum Report {
    /// Role, term or leader changed.
    Role(RoleChange),
    /// Serves from now on.
    Opened(Term),
    /// Serves no more.
    Ended(Term),
    /// There is an id window.
    IdWindow(IdBatch),
    /// There are regions.
    Bootstrapped,
    /// A command of this member's own was refused when it was applied.
    Refused(Refusal),
    /// A command was not proposed.
    NotProposed(ProposeError),
    /// Somebody wants a store to leave, and it may.
    StoreLeaves(StoreId),
    /// Nothing is left of a store.
    StoreBuried(StoreId),
    /// This store is slow, and leads leave it; `None` where none is any more.
    StoreSlow(Option<StoreId>),
    /// A store's line was opened or broken.
    Line {
        /// The store.
        store: StoreId,
        /// Its run.
        run: Incarnation,
        /// How it is now.
        health: StoreHealth,
    },
    /// A region's heartbeat was judged.
    Heartbeat {
        /// The region.
        region: RegionId,
        /// The store of the leader that sent it.
        leader: StoreId,
        /// What became of it.
        outcome: HeartbeatOutcome,
    },
    /// A piece of a split was judged.
    Piece {
        /// The region.
        region: RegionId,
        /// What became of it.
        outcome: HeartbeatOutcome,
    },
}

/// Executes effects. The server's threads are one implementation, the simulator the other.
pub trait PdHost<T> {
    /// Why nothing may be done any more.
    type Error;

    /// Changes what timestamps are handed out, before it returns.
    fn tso(&mut self, change: TsoChange);
    /// Hands messages to the network; may lose them.
    fn send(&mut self, messages: Vec<Message>);
    /// Writes a part of the log behind all earlier writes; once it is durable, the member is to be told
    /// so with [`Input::Persisted`](crate::Input::Persisted).
    ///
    /// # Errors
    /// What is on disk is unknown.
    fn persist(&mut self, write: LogWrite) -> Result<(), Self::Error>;
    /// Writes records behind all earlier writes, as one batch.
    ///
    /// # Errors
    /// What is on disk is unknown.
    fn write(&mut self, batch: Vec<Mutation>) -> Result<(), Self::Error>;
    /// Makes the data directory one of this cluster, for ever. Asked again after each start.
    ///
    /// # Errors
    /// It is one of another cluster, or the disk failed.
    fn claim(&mut self, cluster: Cluster) -> Result<(), Self::Error>;
    /// Completes a ticket.
    fn reply(&mut self, ticket: T, outcome: Outcome);
    /// Tells what changed.
    fn report(&mut self, report: Report);
    /// Hands an order to a region's leader, and tells what became of operators. Orders may be lost: a host that
    /// reaches no leaders loses all of them.
    fn operator(&mut self, event: OperatorEvent) {
        drop(event);
    }
}

/// What is to be done.
#[derive(Debug)]
pub struct Effects<T> {
    /// Timestamps stop: the lease is gone, or even the reign.
    pub stop: Option<TsoChange>,
    /// To other members.
    pub send: Vec<Message>,
    /// To be made durable.
    pub log: Option<LogWrite>,
    /// Records of what was applied.
    pub records: Vec<Mutation>,
    /// The cluster has got, or has, its identity.
    pub claim: Option<Cluster>,
    /// Timestamps go on.
    pub tso: Vec<TsoChange>,
    /// Answers.
    pub replies: Vec<(T, Outcome)>,
    /// What may be of interest.
    pub reports: Vec<Report>,
    /// Orders for leaders, and what became of operators. Last of all: the ids in them are from windows that were
    /// applied.
    pub operators: Vec<OperatorEvent>,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self {
            stop: None,
            send: Vec::new(),
            log: None,
            records: Vec::new(),
            claim: None,
            tso: Vec::new(),
            replies: Vec::new(),
            reports: Vec::new(),
            operators: Vec::new(),
        }
    }
}

impl<T> Effects<T> {
    /// Executes them, and leaves them empty.
    ///
    /// # Errors
    /// Those of the host; what follows is not done then, and the member must not go on.
    pub fn finish<H: PdHost<T>>(&mut self, host: &mut H) -> Result<(), H::Error> {
        let Self { stop, send, log, records, claim, tso, replies, reports, operators } =
            std::mem::take(self);
        // P1.
        let is_over = matches!(stop, Some(TsoChange::Close));
        assert!(!is_over || tso.is_empty(), "timestamps would go on behind the end of their reign");
        if let Some(stop) = stop {
            host.tso(stop);
        }
        // P2.
        if !send.is_empty() {
            host.send(send);
        }
        // P3, P5.
        if let Some(write) = log {
            host.persist(write)?;
        }
        // P4.
        if !records.is_empty() {
            host.write(records)?;
        }
        if let Some(cluster) = claim {
            host.claim(cluster)?;
        }
        for change in tso {
            host.tso(change);
        }
        for (ticket, outcome) in replies {
            host.reply(ticket, outcome);
        }
        for report in reports {
            host.report(report);
        }
        for event in operators {
            host.operator(event);
        }
        Ok(())
    }
}
