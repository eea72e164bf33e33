//! What happens at and around the placement driver.

use std::fmt;
use std::sync::Arc;

use flotilla_base::{Key, Moment, PeerId, Region, StoreId};
use flotilla_pdcore::{Decided, Denied};
use flotilla_placement::{
    BootstrapPlan, IdBatch, Order, RegionInfo, RegionReport, StoreRecord, StoreStats, Timestamp,
    operator::Leave,
};
use flotilla_raftgroup::Message;

use super::faults::PdFault;
use crate::event::Run;

/// A request's number, never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PdTicket(pub u64);

/// What is asked.
#[derive(Clone, Debug)]
pub enum PdAsk {
    /// So many timestamps.
    Timestamps(u32),
    /// So many ids.
    Ids(u32),
    /// Who leads.
    Members,
    /// The region that owns a key.
    Region(Key),
    /// All regions.
    Regions,
    /// A store's run registers.
    Register(Box<StoreRecord>),
    /// The first regions.
    Plan(StoreId),
    /// A store lives.
    StoreBeat(StoreId, Box<StoreStats>),
    /// A region's leader reports.
    RegionBeat(Box<RegionReport>),
    /// The ids of a split of a region into itself and so many more.
    SplitIds(Box<Region>, u32),
    /// A split was carried out.
    SplitDone(Vec<Region>),
    /// Somebody decides something.
    Decide(Box<Decided>),
    /// A store is to leave.
    Leave(StoreId, Leave),
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct PdRequest {
    /// Its number; answers carry it.
    pub ticket: PdTicket,
    /// What is asked.
    pub ask: PdAsk,
}

/// What an asker hears.
#[derive(Clone, Debug)]
pub enum PdAnswer {
    /// The largest of so many timestamps.
    Timestamps(Timestamp, u32),
    /// Ids.
    Ids(IdBatch),
    /// Whether the member says that it leads.
    Members(bool),
    /// A region, with the view in which it was found.
    Region(Option<Arc<RegionInfo>>),
    /// Regions, ascending.
    Regions(Vec<Arc<RegionInfo>>),
    /// It is done.
    Done,
    /// The first regions, once they are planned.
    Plan(Option<BootstrapPlan>),
    /// It is not served.
    Denied(Denied),
    /// Nobody listens there.
    Down,
}

/// Something that a member does by itself. It is forgotten when that run has ended.
#[derive(Clone, Debug)]
pub enum PdTask {
    /// The core takes what has come.
    Turn,
    /// A sync ends.
    Synced,
    /// The core asked to be woken at this moment.
    Alarm(Moment),
    /// Threads that wait for timestamps look again.
    Retry,
    /// A thread with a timestamp in hand looks at the lease.
    Release(PdTicket),
}

/// What somebody wants of the cluster. Stores by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A setting has a value.
    Setting(&'static str, String),
    /// A store leaves.
    Leave(StoreId, Leave),
}

impl Wish {
    /// The store that it is about.
    #[must_use]
    pub const fn store(&self) -> Option<StoreId> {
        match self {
            Self::Setting(..) => None,
            Self::Leave(store, _) => Some(*store),
        }
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum PdEvent {
    /// A message of another member arrives.
    Message(PeerId, Box<Message>),
    /// A member works.
    Task(PeerId, Run, PdTask),
    /// A request reaches a member.
    Request(PeerId, Box<PdRequest>),
    /// An answer reaches its asker.
    Answer(PdTicket, Box<PdAnswer>),
    /// A client begins its next operation.
    Begin(usize),
    /// An asker has waited long enough.
    Impatient(PdTicket),
    /// A store goes on with its registration.
    Store(StoreId, Run),
    /// A store is to report what it leads.
    Beat(StoreId, Run),
    /// An order reaches a store.
    Order(StoreId, Box<Order>),
    /// Somebody wants something of the cluster, and asks until it is recorded.
    Wish(Wish),
    /// The history on paper goes on.
    Paper,
    /// A fault is due.
    NextFault,
    /// A fault ends.
    Mend(PdFault),
}

impl PdEvent {
    /// The store at which it happens; one that stands still sees it later.
    #[must_use]
    pub const fn store(&self) -> Option<StoreId> {
        match self {
            Self::Store(store, _) | Self::Beat(store, _) | Self::Order(store, _) => Some(*store),
            _ => None,
        }
    }

    /// The member at which it happens; one that stands still sees it later.
    #[must_use]
    pub const fn member(&self) -> Option<PeerId> {
        match self {
            Self::Message(member, _) | Self::Task(member, ..) | Self::Request(member, _) => {
                Some(*member)
            }
            _ => None,
        }
    }
}

impl fmt::Display for PdEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(to, message) => {
                let Message { kind, from, term, index, commit, .. } = message.as_ref();
                write!(f, "pd {from} -> {to} {kind:?} term {term} at {index} commit {commit}")
            }
            Self::Task(member, run, task) => write!(f, "pd {member}.{} {task:?}", run.0),
            Self::Request(member, request) => {
                write!(f, "pd {member} request {} ", request.ticket.0)?;
                write_ask(&request.ask, f)
            }
            Self::Answer(ticket, answer) => write_answer(*ticket, answer, f),
            Self::Begin(client) => write!(f, "pd client {client} begins"),
            Self::Impatient(ticket) => write!(f, "pd request {} is given up", ticket.0),
            Self::Store(store, run) => write!(f, "store {store}.{} asks pd", run.0),
            Self::Beat(store, run) => write!(f, "store {store}.{} reports to pd", run.0),
            Self::Order(store, order) => {
                let Order { region, epoch, command, .. } = order.as_ref();
                write!(f, "store {store} is ordered in region {region} at {epoch}: {command:?}")
            }
            Self::Wish(wish) => write!(f, "{wish:?} is wished for"),
            Self::Paper => write!(f, "regions change on paper"),
            Self::NextFault => write!(f, "fault of pd is due"),
            Self::Mend(fault) => write!(f, "mend {fault:?}"),
        }
    }
}

fn write_ask(ask: &PdAsk, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match ask {
        PdAsk::Timestamps(count) => write!(f, "{count} timestamps"),
        PdAsk::Ids(count) => write!(f, "{count} ids"),
        PdAsk::Members => write!(f, "members"),
        PdAsk::Region(key) => write!(f, "region of {}", flotilla_base::key::display(key)),
        PdAsk::Regions => write!(f, "all regions"),
        PdAsk::Register(store) => write!(f, "register store {}.{}", store.id, store.incarnation),
        PdAsk::Plan(store) => write!(f, "plan for store {store}"),
        PdAsk::StoreBeat(store, _) => write!(f, "store {store} lives"),
        PdAsk::RegionBeat(report) => {
            let RegionReport { region, leader, term, .. } = report.as_ref();
            write!(f, "region {} at {} led by {} in {term}", region.id, region.epoch, leader.store)
        }
        PdAsk::SplitIds(region, children) => {
            write!(f, "split of region {} at {} into {children} more", region.id, region.epoch)
        }
        PdAsk::SplitDone(pieces) => {
            let pieces: Vec<_> = pieces.iter().map(|piece| (piece.id, piece.epoch)).collect();
            write!(f, "split was done: {pieces:?}")
        }
        PdAsk::Decide(decided) => write!(f, "{decided:?}"),
        PdAsk::Leave(store, leave) => write!(f, "store {store} is to leave: {leave:?}"),
    }
}

fn write_answer(ticket: PdTicket, answer: &PdAnswer, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "pd answer {} ", ticket.0)?;
    match answer {
        PdAnswer::Region(found) => {
            let shown = found.as_ref().map(|info| (info.region.id, info.region.epoch));
            write!(f, "region {shown:?}")
        }
        PdAnswer::Regions(found) => write!(f, "{} regions", found.len()),
        PdAnswer::Timestamps(last, count) => {
            write!(f, "{count} timestamps up to {}+{}", last.physical_ms, last.logical)
        }
        other => write!(f, "{other:?}"),
    }
}
