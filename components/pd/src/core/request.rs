//! What the services ask the owner, and what it answers.

use std::{fmt, sync::Arc};

use flotilla_base::{Incarnation, Key, KeyRange, Region, RegionId, StoreId};
use flotilla_pdcore::{AskedChange, ClusterHealth, Decided, Denied, Leading, Outcome, StoreEntry};
use flotilla_placement::{
    Answer, EndedOperator, IdBatch, Leave, Operator, OperatorController, OperatorList, Order,
    RegionInfo, RegionReport, ScanRefusal, StoreRecord, StoreStats,
    scatter::{ScatterOutcome, ScatterWish},
    view::RegionMap,
};
use tokio::sync::{mpsc, oneshot};

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

/// What the owner is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Ids that follow each other.
    AllocIds { count: u32, reply: Reply<IdBatch> },
    /// Registers a store.
    PutStore { store: Box<StoreRecord>, reply: Reply<()> },
    /// A store is to leave.
    RemoveStore { id: StoreId, leave: Leave, reply: Reply<()> },
    /// Statistics of a store.
    StoreHeartbeat { id: StoreId, stats: Box<StoreStats>, reply: Reply<()> },
    /// A line of a store's run is open.
    OpenLine { id: StoreId, run: Incarnation, reply: Reply<()> },
    /// A line that was opened is broken. Taken whether this member leads or not.
    BreakLine { id: StoreId, run: Incarnation },
    /// A region as its leader sees it. Nobody waits for the answer; orders for regions that this store leads go to
    /// `orders` from now on.
    RegionHeartbeat { report: Box<RegionReport>, orders: mpsc::Sender<Order> },
    /// The ids of a split.
    AskSplit { region: Box<Region>, children: u32, reply: Reply<IdBatch> },
    /// A split was carried out.
    ReportSplit { pieces: Vec<Region>, reply: Reply<()> },
    /// A region is to be changed.
    AddOperator { asked: Box<AskedChange>, reply: Reply<()> },
    /// What is being done to a region is to be given up.
    CancelOperator { region: RegionId, reply: Reply<()> },
    /// Regions are to be spread over the stores.
    Scatter { wish: ScatterWish, reply: Reply<ScatterOutcome> },
    /// What people decide.
    Administer { change: Box<Decided>, reply: Reply<()> },
    /// Nothing is changed by it.
    Look(Look),
}

/// What is only looked up.
#[derive(Debug)]
pub(crate) enum Look {
    /// How all are.
    Health { reply: Reply<ClusterHealth> },
    /// One store.
    Store { id: StoreId, reply: Reply<StoreEntry> },
    /// All stores, tombstones included.
    Stores { reply: Reply<Vec<StoreEntry>> },
    /// One region.
    Region { lookup: RegionLookup, reply: Reply<Option<Arc<RegionInfo>>> },
    /// Several regions.
    Regions { selection: Selection, reply: Reply<Listed> },
    /// Keys whose region is not known.
    Holes { reply: Reply<Vec<KeyRange>> },
    /// What is being done to a region, or was last.
    LastOperator { region: RegionId, reply: Reply<Option<LastOperator>> },
    /// All that is being done to regions, and was done.
    Operators { reply: Reply<OperatorList> },
    /// Anything that a leader sees.
    Glance(Glance),
}

type Question = dyn FnOnce(Result<Leading<'_>, Denied>) + Send;

/// A question to which only what the leader sees at that moment is an answer. It is quick: the owner does nothing else
/// meanwhile.
pub(crate) struct Glance(Box<Question>);

impl Glance {
    pub(crate) fn new<T: Send + 'static>(
        question: impl FnOnce(&Leading<'_>) -> T + Send + 'static,
        reply: Reply<T>,
    ) -> Self {
        Self(Box::new(move |sight| answer(reply, sight.map(|sight| question(&sight)))))
    }

    pub(super) fn at(self, sight: Result<Leading<'_>, Denied>) {
        (self.0)(sight);
    }
}

impl fmt::Debug for Glance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Glance")
    }
}

impl From<Look> for Request {
    fn from(look: Look) -> Self {
        Self::Look(look)
    }
}

/// The last operator of a region.
#[derive(Clone, Debug)]
pub(crate) enum LastOperator {
    /// It goes on.
    Running(Box<Operator>),
    /// It has ended.
    Ended(Arc<EndedOperator>),
}

impl LastOperator {
    /// What is being done, or was.
    pub(crate) fn operator(&self) -> &Operator {
        match self {
            Self::Running(running) => running,
            Self::Ended(ended) => &ended.operator,
        }
    }

    pub(crate) fn of(operators: &OperatorController, region: RegionId) -> Option<Self> {
        let running = operators.running(region).cloned().map(|it| Self::Running(Box::new(it)));
        running.or_else(|| operators.last_ended(region).cloned().map(Self::Ended))
    }
}

/// Regions, or why they are not listed.
pub(crate) type Listed = Result<Vec<Arc<RegionInfo>>, ScanRefusal>;

/// Which regions are asked for.
#[derive(Debug)]
pub(crate) enum Selection {
    /// Those of a range, ascending, at most so many.
    Range(KeyRange, usize),
    /// Those of several ranges, at most so many; whether a hole is an error.
    Ranges(Vec<KeyRange>, usize, bool),
    /// Those with a replica on a store, by id.
    Store(StoreId),
    /// The neighbours of one, ascending.
    Siblings(RegionId),
}

impl Selection {
    /// Every region.
    pub(crate) fn all() -> Self {
        Self::Range(KeyRange::all(), usize::MAX)
    }

    pub(super) fn list(&self, regions: &RegionMap) -> Listed {
        match self {
            Self::Range(range, limit) => Ok(regions.scan(range, *limit)),
            Self::Ranges(ranges, limit, must_cover) => {
                regions.scan_ranges(ranges, *limit, *must_cover)
            }
            Self::Store(store) => Ok(regions.of_store(*store, RegionId(0)).cloned().collect()),
            Self::Siblings(id) => Ok(siblings(regions, *id)),
        }
    }
}

fn siblings(regions: &RegionMap, id: RegionId) -> Vec<Arc<RegionInfo>> {
    let Some(range) = regions.by_id(id).map(|info| &info.region.range) else { return Vec::new() };
    let before = regions.previous(&range.start);
    let behind = Some(&range.end).filter(|end| !end.is_empty()).and_then(|end| regions.by_key(end));
    before.into_iter().chain(behind).cloned().collect()
}

impl RegionLookup {
    pub(super) fn find(&self, regions: &RegionMap) -> Option<Arc<RegionInfo>> {
        match self {
            Self::Key(key) => regions.by_key(key),
            Self::Previous(key) => regions.previous(key),
            Self::Id(id) => regions.by_id(*id),
        }
        .cloned()
    }
}

/// Who waits for an answer of the core.
#[derive(Debug)]
pub(super) enum Asker {
    Ids(Reply<IdBatch>),
    Done(Reply<()>),
    Scattered(Reply<ScatterOutcome>),
}

impl Asker {
    pub(super) fn complete(self, outcome: Outcome) {
        match (self, outcome) {
            (Self::Ids(reply), Ok(Answer::Ids(batch))) => answer(reply, Ok(batch)),
            (Self::Done(reply), Ok(_done)) => answer(reply, Ok(())),
            (Self::Scattered(reply), Ok(Answer::Scattered(outcome))) => answer(reply, Ok(outcome)),
            (Self::Ids(reply), Ok(other)) => {
                debug_assert!(false, "ids were asked, not {other:?}");
                answer(reply, Err(Denied::NotLeader));
            }
            (Self::Scattered(reply), Ok(other)) => {
                debug_assert!(false, "regions were to be spread, not {other:?}");
                answer(reply, Err(Denied::NotLeader));
            }
            (Self::Ids(reply), Err(denied)) => answer(reply, Err(denied)),
            (Self::Done(reply), Err(denied)) => answer(reply, Err(denied)),
            (Self::Scattered(reply), Err(denied)) => answer(reply, Err(denied)),
        }
    }
}

/// Completes a request. The asker may have given up waiting, which is its own business.
pub(super) fn answer<T>(reply: Reply<T>, outcome: Result<T, Denied>) {
    let _asker_may_be_gone = reply.send(outcome);
}
