//! What the services ask the owner, and what it answers.

use std::sync::Arc;

use flotilla_base::{Incarnation, Key, KeyRange, RegionId, StoreId};
use flotilla_placement::{
    IdBatch, Refusal, RegionInfo, RegionReport, StoreHealth, StoreLoad, StoreRecord, StoreStats,
    StoreStatus,
};
use tokio::sync::oneshot;

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// This member does not lead.
    #[error("not leader")]
    NotLeader,
    /// The owner has ended.
    #[error("server stopped")]
    Stopped,
    /// The state machine refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No such store.
    #[error("invalid store ID {0}, not found")]
    UnknownStore(StoreId),
    /// The store is gone for good.
    #[error("store {0} is a tombstone: it was removed for good and must stop")]
    Tombstone(StoreId),
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Denied>>;

/// Which region is asked for.
#[derive(Clone, Debug)]
pub(crate) enum RegionLookup {
    /// The one that owns the key.
    Key(Key),
    /// The one before that.
    Previous(Key),
    /// The one with this id.
    Id(RegionId),
}

/// Everything that is known of a store.
#[derive(Clone, Debug)]
pub(crate) struct StoreEntry {
    pub record: StoreRecord,
    pub status: Option<StoreStatus>,
    pub health: StoreHealth,
    pub load: StoreLoad,
}

/// How stores and regions are now.
#[derive(Clone, Debug)]
pub(crate) struct ClusterHealth {
    /// All stores that have not left, by id.
    pub stores: Vec<(StoreId, StoreHealth)>,
    /// Regions that may have no leader, since it does not report.
    pub silent_regions: Vec<RegionId>,
}

/// What the owner is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Ids that follow each other.
    AllocIds { count: u32, reply: Reply<IdBatch> },
    /// Registers a store.
    PutStore { store: Box<StoreRecord>, reply: Reply<()> },
    /// One store.
    Store { id: StoreId, reply: Reply<StoreEntry> },
    /// All stores, tombstones included.
    Stores { reply: Reply<Vec<StoreEntry>> },
    /// Statistics of a store.
    StoreHeartbeat { id: StoreId, stats: Box<StoreStats>, reply: Reply<()> },
    /// A line of a store's run is open.
    OpenLine { id: StoreId, run: Incarnation, reply: Reply<()> },
    /// A line that was opened is broken. Taken whether this member leads or not.
    BreakLine { id: StoreId, run: Incarnation },
    /// How all are.
    Health { reply: Reply<ClusterHealth> },
    /// A region as its leader sees it. Nobody waits for the answer.
    RegionHeartbeat { report: Box<RegionReport> },
    /// One region.
    Region { lookup: RegionLookup, reply: Reply<Option<Arc<RegionInfo>>> },
    /// Regions of a range, ascending.
    Regions { range: KeyRange, limit: usize, reply: Reply<Vec<Arc<RegionInfo>>> },
}

/// Completes a request. The asker may have given up waiting, which is its own business.
pub(super) fn answer<T>(reply: Reply<T>, outcome: Result<T, Denied>) {
    let _asker_may_be_gone = reply.send(outcome);
}

impl Request {
    /// Answers with a refusal.
    pub(super) fn deny(self, why: &Denied) {
        match self {
            Self::AllocIds { reply, .. } => answer(reply, Err(why.clone())),
            Self::PutStore { reply, .. }
            | Self::StoreHeartbeat { reply, .. }
            | Self::OpenLine { reply, .. } => answer(reply, Err(why.clone())),
            Self::Store { reply, .. } => answer(reply, Err(why.clone())),
            Self::Stores { reply } => answer(reply, Err(why.clone())),
            Self::Health { reply } => answer(reply, Err(why.clone())),
            // The leader's next heartbeat follows soon, to whoever leads here then.
            Self::RegionHeartbeat { .. } | Self::BreakLine { .. } => {}
            Self::Region { reply, .. } => answer(reply, Err(why.clone())),
            Self::Regions { reply, .. } => answer(reply, Err(why.clone())),
        }
    }
}
