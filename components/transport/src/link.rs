//! The words of the transport: lanes, limits, and what it asks of the store around it.

use std::{sync::Arc, time::Duration};

use flotilla_base::{ClusterId, Incarnation, PeerId, RegionId, StoreId};
use flotilla_proto::raft::{RaftEnvelope, RaftMessageKind};

/// Who sends: every stream says so before its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Cluster of this store.
    pub cluster_id: ClusterId,
    /// This store.
    pub store_id: StoreId,
    /// This run of the store.
    pub incarnation: Incarnation,
}

/// One of the connections between two stores. Order holds within a lane, not between lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Heartbeats, votes, small control messages: must not wait behind megabytes of entries.
    Urgent,
    /// Entries and the answers to them.
    Append,
}

impl Lane {
    /// Every lane, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Append];

    /// The name in logs and stream metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Append => "append",
        }
    }

    /// The lane on which messages of this kind travel.
    #[must_use]
    pub const fn of(kind: RaftMessageKind) -> Self {
        match kind {
            RaftMessageKind::Append
            | RaftMessageKind::AppendResponse
            | RaftMessageKind::Propose
            | RaftMessageKind::Snapshot => Self::Append,
            RaftMessageKind::Unspecified
            | RaftMessageKind::RequestVote
            | RaftMessageKind::RequestVoteResponse
            | RaftMessageKind::Heartbeat
            | RaftMessageKind::HeartbeatResponse
            | RaftMessageKind::TransferLeader
            | RaftMessageKind::TimeoutNow
            | RaftMessageKind::ReadIndex
            | RaftMessageKind::ReadIndexResponse
            | RaftMessageKind::PeerGone
            | RaftMessageKind::GoneConfirmed
            | RaftMessageKind::AmIGone
            | RaftMessageKind::Quiesce
            | RaftMessageKind::QuiesceResponse
            | RaftMessageKind::SignOfLife
            | RaftMessageKind::RequestPreVote
            | RaftMessageKind::RequestPreVoteResponse => Self::Urgent,
        }
    }

    pub(crate) const fn number(self) -> usize {
        match self {
            Self::Urgent => 0,
            Self::Append => 1,
        }
    }
}

/// A peer that envelopes are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its region.
    pub region: RegionId,
    /// The peer.
    pub peer: PeerId,
}

impl Target {
    pub(crate) const fn of(envelope: &RaftEnvelope) -> Self {
        Self { region: RegionId(envelope.region_id), peer: PeerId(envelope.to_peer) }
    }
}

/// What bounds queues, batches and waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes queued for one lane of one store before entries are dropped; everything else is dropped at twice that.
    pub queue_bytes: usize,
    /// The same for the number of messages.
    pub queue_messages: usize,
    /// Bytes of one batch; a larger envelope travels alone.
    pub batch_bytes: usize,
    /// Time for a TCP connection to come about.
    pub connect_timeout: Duration,
    /// Silence after which the other end is pinged.
    pub keep_alive_interval: Duration,
    /// Time for the answer to a ping, or the connection is given up.
    pub keep_alive_timeout: Duration,
    /// Wait after a first failure; doubles with each further one.
    pub first_backoff: Duration,
    /// The wait never grows beyond this.
    pub longest_backoff: Duration,
    /// The same for snapshots.
    pub snapshots: SnapshotLimits,
}

/// What bounds snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// Bytes that leave a second, of all snapshots together.
    pub rate: u64,
    /// Snapshots that are sent at once, and that are received at once.
    pub streams_max: usize,
    /// The same for one other store.
    pub streams_of_store_max: usize,
    /// How long a small snapshot may take; a larger one longer, see [`Self::deadline`].
    pub time_max: Duration,
    /// How long the receiver waits for the next part.
    pub silence_max: Duration,
}

impl SnapshotLimits {
    /// Slower than that all snapshots of a store need not be together, in bytes a second: networks and disks are faster.
    const SLOWEST_RATE: u64 = 1 << 20;

    /// How long a snapshot of about so many bytes may take: as long as it takes at the slowest of all rates, shared by as
    /// many as may be under way, and a while.
    #[must_use]
    pub fn deadline(&self, bytes: u64) -> Duration {
        let together = self.rate.clamp(1, Self::SLOWEST_RATE);
        let seconds = u128::from(bytes) * self.streams_max as u128 / u128::from(together);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.time_max.saturating_add(Duration::from_secs(seconds.into()))
    }
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self {
            rate: 100 << 20,
            streams_max: 8,
            streams_of_store_max: 2,
            time_max: Duration::from_secs(600),
            silence_max: Duration::from_secs(60),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            queue_messages: 16 << 10,
            batch_bytes: 1 << 20,
            connect_timeout: Duration::from_secs(1),
            keep_alive_interval: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(2),
            first_backoff: Duration::from_millis(50),
            longest_backoff: Duration::from_secs(1),
            snapshots: SnapshotLimits::default(),
        }
    }
}

/// What the transport tells its store. Both are called on the runtime's threads (`unreachable` also within
/// [`crate::Peers::flush`]) and must neither block nor call back into the transport's `flush`.
pub trait TransportEvents: Send + Sync {
    /// A batch arrived: never empty, envelopes of one region side by side and in the order of sending, but
    /// heartbeats and answers to them, which may come in front of others.
    fn deliver(&self, from: StoreId, incarnation: Incarnation, envelopes: Vec<RaftEnvelope>);

    /// Envelopes to these peers of `store` were dropped, or may be lost with their connection. No peer is named twice.
    fn unreachable(&self, store: StoreId, targets: Vec<Target>);
}

/// What is known of a store's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// `host:port`.
    At(String),
    /// Nothing at the moment.
    Unknown,
    /// The store is gone for good.
    Gone,
}

/// Finds stores. Asked before each attempt to connect; should answer from memory while the placement driver is away.
#[tonic::async_trait]
pub trait ResolveStore: Send + Sync {
    /// The address of a store.
    async fn resolve(&self, store: StoreId) -> Resolved;
}

/// Decides which envelopes pass from one store to another: a network with faults, for tests. Directional.
pub type LinkFilter = Arc<dyn Fn(StoreId, StoreId, &RaftEnvelope) -> bool + Send + Sync>;
