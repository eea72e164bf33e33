//! What a replica is told, and what its clients are answered. `T` is a reply ticket: data that is moved
//! and completed in one place, never called.

use bytes::Bytes;
use flotilla_base::{
    Epoch, Index, KeyRange, Peer, PeerId, Region, RegionId, Span, StoreId, Term, Version,
};
use flotilla_raftgroup::{FetchNumber, Fetched, Message, ReadyNumber};

use crate::apply::Applied;
use crate::command::{SplitCommand, WriteCommand};
use crate::membership::ChangeError;
use crate::reconfigure::ChangeRequest;
use crate::snapshot::SnapshotInput;
use crate::split::{Birth, Division, SplitDone, SplitError};

/// A raft message with the address that leads it to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMessage {
    /// The region.
    pub region: RegionId,
    /// Sending peer and its store.
    pub from: Peer,
    /// Receiving peer and its store.
    pub to: Peer,
    /// Shape of the region as the sender knows it.
    pub epoch: Epoch,
    /// Nobody whom the sender, a leader, cares for lacks the log up to there: the receiver may shorten its own as
    /// far as it has applied it. Zero from others.
    pub matched_by_all: Index,
    /// What raft says.
    pub message: Message,
}

/// What a request says about the region that its client has in mind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// The peer that the client means; zero is not checked.
    pub peer: PeerId,
    /// Version of the range that the client knows. Membership is not compared: a request does not
    /// become wrong because a replica moved.
    pub version: Version,
    /// Newest term that the client knows; zero is not checked.
    pub term: Term,
}

/// A write to be replicated.
#[derive(Clone, Debug)]
pub struct Proposal<T> {
    /// Which region the client has in mind.
    pub header: RequestHeader,
    /// What to do.
    pub command: WriteCommand,
    /// Answered once, by the applier or with the loss of the term.
    pub ticket: T,
}

/// A split to be replicated.
#[derive(Clone, Debug)]
pub struct SplitRequest<T> {
    /// The peer that the requester means; zero is not checked.
    pub peer: PeerId,
    /// What to do.
    pub command: SplitCommand,
    /// Answered once, with [`Reply::Split`] by the applier, or with the loss of the term.
    pub ticket: T,
}

/// A read that wants to see everything that was acknowledged before it.
#[derive(Clone, Debug)]
pub struct ReadRequest<T> {
    /// Which region the client has in mind.
    pub header: RequestHeader,
    /// Answered with [`Reply::ReadAt`] when the data on this store is new enough.
    pub ticket: T,
}

/// What an applier made of a change of the members, or of the end of their removals: the batch that says so is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersChanged {
    /// The region with its members.
    pub region: Region,
    /// Who was removed, and is not confirmed.
    pub removed: Vec<Peer>,
}

/// What happens to the membership of a replica's region.
#[derive(Clone, Debug)]
pub enum MembershipInput<T> {
    /// Somebody wants other members.
    ChangePeers(ChangeRequest<T>),
    /// The applier carried out a change; comes in front of the progress that covers it, in the order of the log.
    Changed(MembersChanged),
    /// The region table lets this peer go: the answer to [`crate::Report::Leaving`].
    MayLeave,
}

/// What changes around a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A message to this peer was lost for sure.
    Unreachable(PeerId),
    /// Another store began or ceased to live, or runs anew; the replicas' view of it shows that already.
    StoreChanged {
        /// Which.
        store: StoreId,
        /// Regions that lose their leader by it campaign within that time.
        spread: Span,
    },
    /// A read was served in place.
    InUse,
}

/// Everything that can happen to a replica.
#[derive(Debug)]
pub enum Input<T> {
    /// A message of another peer.
    Message(Box<PeerMessage>),
    /// A client's write.
    Propose(Box<Proposal<T>>),
    /// Somebody wants the region to become several.
    Split(Box<SplitRequest<T>>),
    /// A client's read, for the leader.
    Read(ReadRequest<T>),
    /// A client's read that any replica may serve.
    ReplicaRead(ReadRequest<T>),
    /// The lead shall go to this peer. Where none is named, this store stops: it shall go to whoever answers and holds the
    /// most. Where that cannot be, nothing happens: the placement driver sees who leads, and asks again.
    Transfer(Option<PeerId>),
    /// Everything up to this number is durable.
    Persisted(ReadyNumber),
    /// The applier carried out a split; comes in front of the progress that covers it.
    SplitDone(Box<SplitDone>),
    /// The applier made progress.
    Applied(Applied),
    /// What became of a fetch of old entries.
    Fetched(FetchNumber, Fetched),
    /// Something changed around the replica.
    Notice(Notice),
    /// The placement driver made this region; `leads` names the one peer that campaigns at once.
    Bootstrap {
        /// The region with all its peers.
        region: Box<Region>,
        /// Whether this peer campaigns at once.
        leads: bool,
    },
    /// A split made this peer's region, and its data is here.
    Born(Box<Birth>),
    /// Something about a snapshot that this peer sends or is given.
    Snapshot(Box<SnapshotInput>),
    /// Members come and go.
    Membership(Box<MembershipInput<T>>),
    /// A deadline passed.
    Wake,
}

/// Why a request was not served. Unless it says otherwise the request certainly had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Another peer leads, or nobody does.
    #[error("region {region}: this peer does not lead")]
    NotLeader {
        /// The region.
        region: RegionId,
        /// Who leads, where known.
        leader: Option<Peer>,
    },
    /// The client means another peer.
    #[error("region {region}: the peer here is {actual}, not {requested}")]
    PeerMismatch {
        /// The region.
        region: RegionId,
        /// Whom the client means.
        requested: PeerId,
        /// Who is here.
        actual: PeerId,
    },
    /// The client knows another shape of the region.
    #[error("region {}: its version is {}, not the request's", current.id, current.epoch.version)]
    EpochNotMatch {
        /// The shape now.
        current: Box<Region>,
    },
    /// There is no such region on this store.
    #[error("region {0} has no peer on this store")]
    RegionNotFound(RegionId),
    /// The peer here has no data yet.
    #[error("region {0}: the peer on this store is not initialised")]
    NotInitialised(RegionId),
    /// The term passed, and another entry stands where this write would: it has no effect.
    #[error("region {0}: leadership changed while the request waited")]
    StaleCommand(RegionId),
    /// Too much is waiting; nothing was proposed.
    #[error("region {0}: too much is waiting to be committed")]
    Busy(RegionId),
    /// Too much waits to be applied; nothing was proposed.
    #[error("region {0}: too much is waiting to be applied")]
    ApplyBehind(RegionId),
    /// A key lies outside.
    #[error("key {} is not in region {region} {range}", flotilla_base::key::display(key))]
    KeyNotInRegion {
        /// The region.
        region: RegionId,
        /// The key.
        key: Bytes,
        /// What the region owns.
        range: KeyRange,
    },
    /// The write makes a log entry over the limit.
    #[error("region {region}: the write takes {bytes} bytes, more than one entry may hold")]
    EntryTooLarge {
        /// The region.
        region: RegionId,
        /// Its size.
        bytes: usize,
    },
    /// The split makes no sense for the region.
    #[error("region {region} cannot be split so: {cause}")]
    Split {
        /// The region.
        region: RegionId,
        /// Why.
        cause: SplitError,
    },
    /// The change of the members is refused.
    #[error("the members of region {region} cannot be changed so: {cause}")]
    Change {
        /// The region.
        region: RegionId,
        /// Why.
        cause: ChangeError,
    },
    /// The peer here found its own log damaged and serves nothing.
    #[error("region {0}: the peer on this store is damaged and awaits replacement")]
    Quarantined(RegionId),
}

/// The answer to a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The write is applied here, and durable on a majority.
    Written,
    /// Something else than what the write's guard names stands under its key: the write has no effect.
    GuardFailed,
    /// The split is carried out here, and durable on a majority.
    Split(Box<Division>),
    /// The members are changed here, and durably on a majority: this is what the region looks like. A change of several
    /// voters is not over yet; the region's leader ends it by itself.
    Changed(Box<Region>),
    /// Data on this store, applied to at least this index, holds all that was acknowledged before the
    /// read began.
    ReadAt(Index),
    /// The peer left its group before the fate of the write was known here.
    Unknown,
    /// Not served.
    Failed(RequestError),
}

impl<T> Input<T> {
    /// The ticket of a request that was not taken: its peer is gone.
    #[must_use]
    pub fn into_ticket(self) -> Option<T> {
        match self {
            Self::Propose(proposal) => Some(proposal.ticket),
            Self::Split(request) => Some(request.ticket),
            Self::Read(request) | Self::ReplicaRead(request) => Some(request.ticket),
            Self::Membership(input) => match *input {
                MembershipInput::ChangePeers(request) => Some(request.ticket),
                MembershipInput::Changed(_) | MembershipInput::MayLeave => None,
            },
            _ => None,
        }
    }
}

impl PeerMessage {
    /// The store that the message goes to.
    #[must_use]
    pub const fn to_store(&self) -> StoreId {
        self.to.store
    }
}
