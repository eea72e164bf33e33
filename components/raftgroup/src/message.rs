//! Plain forms of what the `raft` crate keeps in protobuf 2 types. Only this file converts.
//!
//! Nothing that came from a network is ever parsed by that runtime: other crates decode their own
//! wire form into these structs, and these are moved field by field, payloads by reference count.

use bytes::Bytes;
use flotilla_base::{Index, PeerId, Term};
use raft::eraftpb;

/// A position in a log: index, and the term of the entry there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Term of the entry at `index`. First in order: a longer log of an older term is behind.
    pub term: Term,
    /// The position.
    pub index: Index,
}

/// What must survive a crash besides the log. `commit` is a hint only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Newest term this peer has seen.
    pub term: Term,
    /// Whom it voted for in that term; zero for nobody.
    pub vote: PeerId,
    /// Largest index known committed.
    pub commit: Index,
}

/// Members of a group. While a joint configuration lasts, majorities of both halves are needed for everything.
///
/// Invariants: no peer is in `voters` and `learners`; `learners_next` is a part of `outgoing` and of nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// Peers that vote, ascending; of a joint configuration the half that stays.
    pub voters: Vec<PeerId>,
    /// Peers that only receive the log, ascending.
    pub learners: Vec<PeerId>,
    /// The half of a joint configuration that goes, ascending; else empty.
    pub outgoing: Vec<PeerId>,
    /// Voters of `outgoing` that become learners when the joint configuration is left, ascending.
    pub learners_next: Vec<PeerId>,
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A command of the state machine; empty data marks the first entry of a term.
    #[default]
    Normal,
    /// A membership change in the older form; decoded by nobody here.
    ConfChange,
    /// A membership change in the joint form; decoded by nobody here.
    ConfChangeV2,
}

/// One log entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is for.
    pub kind: EntryKind,
    /// Term of the leader that appended it.
    pub term: Term,
    /// Position in the log.
    pub index: Index,
    /// The command.
    pub data: Bytes,
    /// Free for the proposer; travels with the entry.
    pub context: Bytes,
}

impl Entry {
    /// Where the entry stands.
    #[must_use]
    pub const fn position(&self) -> LogPosition {
        LogPosition { term: self.term, index: self.index }
    }
}

macro_rules! message_kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal $(<-> $raft:ident)?),* $(,)?) => {
        /// What a message between two peers says. Kinds that are local to a peer are not among them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum MessageKind { $($(#[$doc])* $kind),* }

        impl MessageKind {
            /// The stable number of the kind, for wire forms.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$kind => $number),* }
            }

            /// The kind with this number; `None` where there is none.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$kind),)* _ => None }
            }

            /// `None` for what peers tell each other beside raft.
            fn to_raft(self) -> Option<eraftpb::MessageType> {
                match self { $(Self::$kind => None$(.or(Some(eraftpb::MessageType::$raft)))?),* }
            }

            const fn from_raft(kind: eraftpb::MessageType) -> Option<Self> {
                match kind { $($(eraftpb::MessageType::$raft => Some(Self::$kind),)?)* _ => None }
            }

            /// Whether raft knows this kind. A group has no part in the others.
            #[must_use]
            pub fn is_of_raft(self) -> bool {
                self.to_raft().is_some()
            }
        }
    };
}

message_kinds! {
    /// Entries from the leader.
    Append = 1 <-> MsgAppend,
    /// Answer to `Append`.
    AppendResponse = 2 <-> MsgAppendResponse,
    /// A candidate asks for a vote.
    RequestVote = 3 <-> MsgRequestVote,
    /// Answer to `RequestVote`.
    RequestVoteResponse = 4 <-> MsgRequestVoteResponse,
    /// The leader lives; carries the context of reads.
    Heartbeat = 5 <-> MsgHeartbeat,
    /// Answer to `Heartbeat`.
    HeartbeatResponse = 6 <-> MsgHeartbeatResponse,
    /// Would a vote be granted? Changes nothing at the asked peer.
    RequestPreVote = 7 <-> MsgRequestPreVote,
    /// Answer to `RequestPreVote`.
    RequestPreVoteResponse = 8 <-> MsgRequestPreVoteResponse,
    /// The leader asks its chosen successor to campaign.
    TimeoutNow = 9 <-> MsgTimeoutNow,
    /// The state machine at `index`, an entry of `log_term`; travels with its data.
    Snapshot = 10 <-> MsgSnapshot,
    /// A follower asks the leader for a read index.
    ReadIndex = 11 <-> MsgReadIndex,
    /// Answer to `ReadIndex`.
    ReadIndexResponse = 12 <-> MsgReadIndexResp,
    /// The receiver is no member any more: the epoch that travels with it proves that.
    PeerGone = 20,
    /// The peer that the receiver asked about has left its store for good, and cannot come back.
    GoneConfirmed = 21,
    /// A peer that hears nothing asks whether it is still a member. `index` is the largest version of the
    /// membership that it heard of.
    AmIGone = 22,
    /// The leader has nothing to do and asks whether the receiver agrees to sleep. A heartbeat as well. `index` and
    /// `log_term` are the end of the log, the context names the question and the run of the leader's store.
    Quiesce = 23,
    /// The sender sleeps, as the question with this context proposed.
    QuiesceResponse = 24,
}

/// A message between two peers of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub kind: MessageKind,
    /// Sender.
    pub from: PeerId,
    /// Receiver.
    pub to: PeerId,
    /// Term of the sender; for pre-votes the term it would have.
    pub term: Term,
    /// Term of the entry at `index`.
    pub log_term: Term,
    /// Meaning depends on the kind: previous entry, matched index, last index.
    pub index: Index,
    /// Commit index, and in vote traffic the term of the entry there.
    pub commit: Index,
    /// Term of the entry at `commit` (vote traffic only).
    pub commit_term: Term,
    /// Entries behind `index`.
    pub entries: Vec<Entry>,
    /// `Some(hint)` refuses; the hint is the largest index worth trying next.
    pub reject: Option<Index>,
    /// Context of a read, or the kind of a campaign.
    pub context: Bytes,
}

impl Message {
    /// A message that says nothing yet but its kind, ends and term.
    #[must_use]
    pub fn new(kind: MessageKind, from: PeerId, to: PeerId, term: Term) -> Self {
        Self {
            kind,
            from,
            to,
            term,
            log_term: Term(0),
            index: Index(0),
            commit: Index(0),
            commit_term: Term(0),
            entries: Vec::new(),
            reject: None,
            context: Bytes::new(),
        }
    }

    /// Bytes of payload: what queues are metered by.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        const FIXED: usize = 96;
        let entries: usize = self.entries.iter().map(|entry| FIXED / 2 + entry.data.len()).sum();
        FIXED + entries + self.context.len()
    }
}

pub(crate) fn message_to_raft(message: Message) -> eraftpb::Message {
    let entries: Vec<_> = message.entries.into_iter().map(entry_to_raft).collect();
    let msg_type = message.kind.to_raft().expect("the guard lets only kinds of raft pass");
    eraftpb::Message {
        msg_type,
        from: message.from.get(),
        to: message.to.get(),
        term: message.term.get(),
        log_term: message.log_term.get(),
        index: message.index.get(),
        commit: message.commit.get(),
        commit_term: message.commit_term.get(),
        reject: message.reject.is_some(),
        reject_hint: message.reject.map_or(0, Index::get),
        context: message.context,
        entries: entries.into(),
        ..eraftpb::Message::default()
    }
}

/// `None` for kinds that never leave a peer.
pub(crate) fn message_from_raft(mut message: eraftpb::Message) -> Option<Message> {
    Some(Message {
        kind: MessageKind::from_raft(message.msg_type)?,
        from: PeerId(message.from),
        to: PeerId(message.to),
        term: Term(message.term),
        log_term: Term(message.log_term),
        index: Index(message.index),
        commit: Index(message.commit),
        commit_term: Term(message.commit_term),
        reject: message.reject.then_some(Index(message.reject_hint)),
        entries: message.take_entries().into_iter().map(entry_from_raft).collect(),
        context: message.context,
    })
}

pub(crate) fn entry_to_raft(entry: Entry) -> eraftpb::Entry {
    let entry_type = match entry.kind {
        EntryKind::Normal => eraftpb::EntryType::EntryNormal,
        EntryKind::ConfChange => eraftpb::EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
    };
    eraftpb::Entry {
        entry_type,
        term: entry.term.get(),
        index: entry.index.get(),
        data: entry.data,
        context: entry.context,
        ..eraftpb::Entry::default()
    }
}

pub(crate) fn entry_from_raft(entry: eraftpb::Entry) -> Entry {
    Entry {
        kind: match entry.entry_type {
            eraftpb::EntryType::EntryNormal => EntryKind::Normal,
            eraftpb::EntryType::EntryConfChange => EntryKind::ConfChange,
            eraftpb::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
        },
        term: Term(entry.term),
        index: Index(entry.index),
        data: entry.data,
        context: entry.context,
    }
}
