//! What a member is told, and what it answers.

use flotilla_base::{Incarnation, Moment, Region, RegionId, StoreId};
use flotilla_placement::{
    Answer, Leave, MetaChange, MetaState, OperatorRefusal, Refusal, RegionReport, RemovalRefusal,
    RuleBook, SchedulerName, SchedulerPolicy, SplitRefusal, StorePolicy, StoreRecord, StoreStats,
    scatter::ScatterWish,
};
use flotilla_raftgroup::{Message, ReadyNumber};

use crate::operators::AskedChange;

/// The time, by both clocks of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// The monotonic clock, read after whatever is handled by it was taken.
    pub now: Moment,
    /// The wall clock, milliseconds since 1970. It may be wrong, and it may be set.
    pub unix_ms: u64,
}

/// Something that a member is told. `T` is the ticket with which an answer finds its asker.
#[derive(Debug)]
pub enum Input<T> {
    /// A deadline has come.
    Wake,
    /// Everything up to this number is durable.
    Persisted(ReadyNumber),
    /// From another member.
    Message(Message),
    /// A larger window of timestamps is wanted, up to this end.
    WidenTso {
        /// First physical time, in milliseconds, that is not wanted.
        end_ms: u64,
    },
    /// Ids that follow each other; answered with [`Answer::Ids`].
    AllocIds {
        /// How many; 0 counts as 1.
        count: u32,
        /// Who asks.
        ticket: T,
    },
    /// Registers a run of a store; answered with [`Answer::Done`].
    PutStore {
        /// The store.
        store: Box<StoreRecord>,
        /// Who asks.
        ticket: T,
    },
    /// A store is to leave, and its regions are to be made whole elsewhere; answered with [`Answer::Done`] when that is
    /// recorded.
    RemoveStore {
        /// Which store.
        id: StoreId,
        /// Whether it is gone already.
        leave: Leave,
        /// Who asks.
        ticket: T,
    },
    /// Statistics of a store; answered with [`Answer::Done`].
    StoreHeartbeat {
        /// Which store.
        id: StoreId,
        /// What it says.
        stats: Box<StoreStats>,
        /// Who asks.
        ticket: T,
    },
    /// A line of a store's run is open; answered with [`Answer::Done`].
    OpenLine {
        /// Which store.
        id: StoreId,
        /// Which of its runs.
        run: Incarnation,
        /// Who asks.
        ticket: T,
    },
    /// A line that was opened is broken. Taken whether this member leads or not: its opening was counted,
    /// and nobody tells of the end again.
    BreakLine {
        /// Which store.
        id: StoreId,
        /// Which of its runs.
        run: Incarnation,
    },
    /// A region as its leader sees it. Nobody waits for the answer.
    RegionHeartbeat(Box<RegionReport>),
    /// The ids of a split; answered with [`Answer::Ids`], to be dealt by
    /// [`deal_split_ids`](flotilla_placement::deal_split_ids).
    AskSplit {
        /// The region as its leader sees it.
        region: Box<Region>,
        /// How many regions come to it.
        children: u32,
        /// Who asks.
        ticket: T,
    },
    /// A split was carried out; answered with [`Answer::Done`].
    ReportSplit {
        /// What came out of it, in the order of the keys.
        pieces: Vec<Region>,
        /// Who reports.
        ticket: T,
    },
    /// Something that people decide: settings, rules, how a store is treated, which schedulers run. Answered with
    /// [`Answer::Done`] when it is recorded.
    Administer {
        /// What is decided.
        change: Box<Decided>,
        /// Who asks.
        ticket: T,
    },
    /// Something is to be done to regions, or not any more.
    Operate {
        /// What.
        wish: Wish,
        /// Who asks.
        ticket: T,
    },
}

/// What is wanted of regions.
#[derive(Clone, Debug)]
pub enum Wish {
    /// A region is to be changed; answered with [`Answer::Done`] when the first step is about to be ordered.
    Change(Box<AskedChange>),
    /// Regions are to be spread over the stores; answered with [`Answer::Scattered`] when it has begun. One alone has to be
    /// known.
    Scatter(ScatterWish),
    /// What is being done to a region is given up; answered with [`Answer::Done`].
    Cancel(RegionId),
}

/// What people decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Settings, all or none: names and values.
    Settings(Vec<(String, String)>),
    /// How a store is to be treated.
    Store(StoreId, StorePolicy),
    /// A store that was to leave stays.
    StoreStays(StoreId),
    /// Stores that are gone for good are listed no more.
    StoresForgotten(Vec<StoreId>),
    /// How a scheduler runs; `None` where it is not to run.
    Scheduler(SchedulerName, Option<SchedulerPolicy>),
    /// All placement rules, made of those of the same revision.
    Rules(Box<RuleBook>),
}

impl Decided {
    /// Whether the state allows it: what is decided again when it is applied. Asking first keeps refused commands out of
    /// the log.
    pub(crate) fn check(&self, state: &MetaState) -> Result<(), Refusal> {
        match self {
            Self::Settings(settings) => state.check_new_settings(settings),
            Self::Store(store, policy) => state.check_treatment(*store, policy),
            Self::StoreStays(_) => Ok(()),
            Self::StoresForgotten(stores) => state.check_forgetting(stores),
            Self::Scheduler(name, policy) => state.check_scheduler(*name, policy.as_ref()),
            Self::Rules(book) => state.check_new_rules(book),
        }
    }
}

impl From<Decided> for MetaChange {
    fn from(decided: Decided) -> Self {
        match decided {
            Decided::Settings(settings) => Self::Set(settings),
            Decided::Store(store, policy) => Self::TreatStore(store, policy),
            Decided::StoreStays(store) => Self::KeepStore(store),
            Decided::StoresForgotten(stores) => Self::ForgetStores(stores),
            Decided::Scheduler(name, policy) => Self::Schedule(name, policy),
            Decided::Rules(book) => Self::PutRules { revision: book.revision(), book: *book },
        }
    }
}

/// What an asker is told.
pub type Outcome = Result<Answer, Denied>;

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// This member does not lead.
    #[error("not leader")]
    NotLeader,
    /// The member has ended.
    #[error("server stopped")]
    Stopped,
    /// The state machine refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No split is to be, or was.
    #[error(transparent)]
    Split(#[from] SplitRefusal),
    /// A region is not changed.
    #[error(transparent)]
    Operator(#[from] OperatorRefusal),
    /// Nothing is being done to the region.
    #[error("nothing is being done to region {0}")]
    NoOperator(RegionId),
    /// A store is not removed.
    #[error(transparent)]
    Removal(#[from] RemovalRefusal),
    /// No such region.
    #[error("no leader has reported a region {0}")]
    UnknownRegion(RegionId),
    /// No such store.
    #[error("invalid store ID {0}, not found")]
    UnknownStore(StoreId),
    /// The store is gone for good.
    #[error("store {0} is a tombstone: it was removed for good and must stop")]
    Tombstone(StoreId),
}
