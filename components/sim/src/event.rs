//! What happens in the world, each at its moment. Events of one moment happen in the order in which
//! they were scheduled.

use std::fmt;

use flotilla_base::{Incarnation, Index, Key, Moment, PeerId, RegionId, Span, StoreId, Version};
use flotilla_multiraft::{LogFetch, PeerMessage, Reply};
use flotilla_raftgroup::SnapshotOutcome;

use crate::fault::{Fault, Order};
use crate::hands::LaneId;
use crate::pd::PdEvent;
use crate::reads::ReadKind;
use crate::snapshots::ViewKey;

/// A reply ticket: the number of a client's attempt, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A run of a store, from its start to its crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run(pub u64);

/// Something that a store does by itself. It is forgotten when that run has ended.
#[derive(Clone, Debug)]
pub enum Task {
    /// Replicas take their inputs.
    Turn,
    /// Appliers take their entries.
    Apply,
    /// A sync ends.
    Synced,
    /// A thread carries out its next effect.
    Step(LaneId),
    /// A replica asked to be woken at this moment.
    Alarm(RegionId, Moment),
    /// A confirmed read looks at the data.
    Read(Ticket, Index),
    /// A read in place takes its view of the data.
    View(Ticket),
    /// A read in place looks at the clock and at its permit.
    Serve(Ticket),
    /// The transport reports a lost message.
    Unreachable(RegionId, PeerId),
    /// The sender of a snapshot hears what became of it.
    SnapshotOver(ViewKey, SnapshotOutcome),
    /// All of a snapshot is durable on its receiver's store.
    Staged(u64),
    /// A step of putting a snapshot in place.
    Replace(RegionId),
    /// A step of deleting what destroyed peers left.
    Clean,
    /// Old log entries are read.
    Fetch(Box<LogFetch>),
    /// The store gives a sign of life, and looks for those of others.
    Pulse,
    /// A sign of life of another store's run arrives.
    Hear(StoreId, Incarnation),
}

/// A client's request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Answers carry it.
    pub ticket: Ticket,
    /// The region that the client has in mind.
    pub region: RegionId,
    /// Its version, as the client knows it.
    pub version: Version,
    /// The key.
    pub key: Key,
    /// What to write; `None` reads.
    pub value: Option<bytes::Bytes>,
    /// What the key must have for the write, if that matters.
    pub over: Option<Option<bytes::Bytes>>,
    /// How it reads.
    pub kind: ReadKind,
}

/// What a client hears.
#[derive(Clone, Debug)]
pub enum Answer {
    /// From the core.
    Reply(Reply),
    /// What a confirmed read found.
    Value(Option<bytes::Bytes>),
    /// Nobody listens there.
    Refused,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message reaches its store.
    Message(Box<PeerMessage>),
    /// A store works.
    Task(StoreId, Run, Task),
    /// The placement driver's order to make a region reaches a store.
    Bootstrap(StoreId, RegionId),
    /// A request reaches a store.
    Request(StoreId, Box<Request>),
    /// A part of a snapshot reaches its store.
    Part(StoreId, u64, u64),
    /// A store finds that nothing more of a snapshot comes.
    Broken(StoreId, u64),
    /// An answer reaches its client.
    Answer(Ticket, Answer),
    /// A client begins its next operation.
    Begin(usize),
    /// A client has waited long enough.
    Impatient(usize, Ticket),
    /// A fault is due.
    NextFault,
    /// Something breaks, for so long.
    Strike(Order, Span),
    /// A lead is to be handed over.
    Transfer,
    /// A region is to be split.
    Split,
    /// The members of a region are to change.
    Change,
    /// A fault ends.
    Mend(Fault),
    /// At or around the placement driver.
    Pd(PdEvent),
}

impl Event {
    /// The store at which it happens; one that stands still sees it later.
    #[must_use]
    pub const fn store(&self) -> Option<StoreId> {
        match self {
            Self::Message(message) => Some(message.to.store),
            Self::Task(store, ..)
            | Self::Bootstrap(store, _)
            | Self::Request(store, _)
            | Self::Part(store, ..)
            | Self::Broken(store, _) => Some(*store),
            Self::Pd(event) => event.store(),
            Self::Answer(..)
            | Self::Begin(_)
            | Self::Impatient(..)
            | Self::NextFault
            | Self::Strike(..)
            | Self::Transfer
            | Self::Split
            | Self::Change
            | Self::Mend(_) => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write_message(message, f),
            Self::Task(store, run, task) => write!(f, "store {store}.{} {task:?}", run.0),
            Self::Bootstrap(store, region) => write!(f, "store {store} bootstrap region {region}"),
            Self::Request(store, request) => {
                let Request { ticket, region, key, value, over, kind, .. } = request.as_ref();
                let verb = match (value, kind) {
                    (Some(_), _) if over.is_some() => "swap",
                    (Some(_), _) => "put",
                    (None, ReadKind::Led) => "get",
                    (None, ReadKind::InPlace) => "get in place",
                    (None, ReadKind::Replica) => "get here",
                };
                let key = flotilla_base::key::display(key);
                write!(f, "store {store} request {} {verb} {key} in region {region}", ticket.0)
            }
            Self::Part(store, stream, part) => {
                write!(f, "stream {stream}: part {part} reaches store {store}")
            }
            Self::Broken(store, stream) => write!(f, "stream {stream} ends at store {store}"),
            Self::Answer(ticket, answer) => write_answer(*ticket, answer, f),
            Self::Begin(client) => write!(f, "client {client} begins"),
            Self::Impatient(client, ticket) => write!(f, "client {client} gives up {}", ticket.0),
            Self::NextFault => write!(f, "fault is due"),
            Self::Strike(order, length) => write!(f, "strike {order:?} for {length}"),
            Self::Transfer => write!(f, "hand-over is due"),
            Self::Split => write!(f, "split is due"),
            Self::Change => write!(f, "change of members is due"),
            Self::Mend(fault) => write!(f, "mend {fault:?}"),
            Self::Pd(event) => event.fmt(f),
        }
    }
}

/// A message on one line, as traces show it.
pub(crate) struct Shown<'a>(pub(crate) &'a PeerMessage);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_message(self.0, f)
    }
}

fn write_message(message: &PeerMessage, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let PeerMessage { region, from, to, message, .. } = message;
    write!(f, "store {} -> {} region {region} {:?}", from.store, to.store, message.kind)?;
    write!(f, " term {} at {}/{}", message.term, message.log_term, message.index)?;
    write!(f, " commit {}", message.commit)?;
    if let (Some(first), Some(last)) = (message.entries.first(), message.entries.last()) {
        write!(f, " entries {}..={}", first.index, last.index)?;
    }
    if let Some(hint) = message.reject {
        write!(f, " rejected, hint {hint}")?;
    }
    Ok(())
}

fn write_answer(ticket: Ticket, answer: &Answer, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match answer {
        Answer::Reply(reply) => write!(f, "answer {} {reply:?}", ticket.0),
        Answer::Value(None) => write!(f, "answer {} nothing found", ticket.0),
        Answer::Value(Some(value)) => {
            let shown = &value[..value.len().min(12)];
            write!(f, "answer {} value {}", ticket.0, flotilla_base::key::display(shown))
        }
        Answer::Refused => write!(f, "answer {} nobody listens", ticket.0),
    }
}
