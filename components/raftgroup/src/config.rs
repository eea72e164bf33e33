//! Settings of a group, each value with its reason.

use flotilla_base::{PeerId, RegionId, Seeded, Span};

/// The times that decide elections. Equal on all members of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a peer that heard its leader neither votes for another nor campaigns.
    ///
    /// 800 ms: a published client looks again 0.51 s, 1.01 s and 1.51 s after a failure and then gives
    /// up. A leader that is ready before 1.0 s costs it one second, a later one an error.
    pub gate: Span,
    /// How long a leader may trust one confirmed round of heartbeats; shorter than the gate by the
    /// clock drift and the latency that we allow for. Used by leases.
    pub lease: Span,
    /// A leader's heartbeat: five fit into one gate, so that one lost or late one means nothing.
    pub heartbeat: Span,
    /// Distance between the first campaigns of two peers: the time of one election, so that the
    /// second-ranked peer sees the first one's success before its own turn.
    pub rank_step: Span,
    /// Length of a campaign before it counts as failed; the next one starts up to this much later. Both
    /// double with each election that is lost for want of votes, up to eight times as long.
    pub round: Span,
    /// A wake-up that comes later than this after its deadline says that this process itself stood
    /// still; silence of others proves nothing then.
    pub stall: Span,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            gate: Span::from_millis(800),
            lease: Span::from_millis(600),
            heartbeat: Span::from_millis(150),
            rank_step: Span::from_millis(60),
            round: Span::from_millis(120),
            stall: Span::from_millis(100),
        }
    }
}

/// Bounds on what one group keeps in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// Bytes of entries in one append message (soft: one entry always fits).
    pub message_bytes_max: u64,
    /// Append messages in flight to one follower.
    pub inflight_messages_max: usize,
    /// Bytes of proposals that are not yet committed; more are refused.
    pub uncommitted_bytes_max: u64,
    /// Bytes of committed entries handed out at once.
    pub committed_bytes_max: u64,
    /// Readys that are written but not yet durable. A bound for the worst case only: at the bound not even
    /// heartbeats leave, and the host bounds rounds and bytes of all groups together long before.
    pub outstanding_max: usize,
    /// So many entries of what is committed a learner may lack that is made a voter: it has the rest before the change
    /// is committed.
    pub promotion_lag_max: u64,
    /// Bytes of applied entries that stay in memory for slow followers, until
    /// [`limit_cache`](crate::Group::limit_cache) says otherwise.
    pub cache_bytes_max: usize,
    /// How much of the log stays on disk, and for whom.
    pub log: LogLimits,
    /// A group sleeps after so many heartbeats without a request; [`Self::NEVER_SLEEPS`] for one that never does.
    ///
    /// Twenty, which are three seconds: the first request behind a sleep pays a round trip for the lease, so a group
    /// that is used now and then should not sleep in between.
    pub idle_beats: u32,
}

impl GroupLimits {
    /// For [`Self::idle_beats`].
    pub const NEVER_SLEEPS: u32 = u32::MAX;
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1 << 20,
            inflight_messages_max: 128,
            uncommitted_bytes_max: 64 << 20,
            committed_bytes_max: 4 << 20,
            outstanding_max: 128,
            promotion_lag_max: 1024,
            cache_bytes_max: 4 << 20,
            log: LogLimits::default(),
            idle_beats: 20,
        }
    }
}

/// How far a log reaches back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBound {
    /// Entries.
    pub entries: u64,
    /// Bytes of entries; those which an earlier run of this peer appended are not counted.
    pub bytes: u64,
}

impl LogBound {
    /// As far as anybody needs it.
    pub const NONE: Self = Self { entries: u64::MAX, bytes: u64::MAX };
}

/// How much of a log is kept for members that lack it, and when shortening it is worth a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// For a member that is heard. It is busy taking what it lacks, and a snapshot would only add to its work; but
    /// one that never gets on must not fill the disks of the others.
    pub slow: LogBound,
    /// For a member that has fallen silent: as much as is surely cheaper to send than a snapshot.
    pub silent: LogBound,
    /// A member counts as silent after so many gates. Ten, which are eight seconds: a process that is started anew,
    /// or a network that stutters, costs a few entries and not a snapshot of every region.
    pub silent_after_gates: u64,
    /// So many gates after its data has arrived, a receiver of a snapshot has installed it, or gets another one.
    pub install_gates: u64,
    /// So many entries are worth one batch of deletions, or so many bytes.
    pub worth_entries: u64,
    /// See above.
    pub worth_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            slow: LogBound { entries: 65_536, bytes: 64 << 20 },
            silent: LogBound { entries: 4_096, bytes: 16 << 20 },
            silent_after_gates: 10,
            install_gates: 75,
            worth_entries: 256,
            worth_bytes: 1 << 20,
        }
    }
}

/// What a group is made with.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Which group; prefixes its keys on disk.
    pub group: RegionId,
    /// Which member this is.
    pub peer: PeerId,
    /// Seed of everything that is drawn (spreads of campaigns).
    pub seed: u64,
    /// A number that differs between two runs of this process: part of each read's context, so that
    /// no late answer to an earlier run's read can confirm one of this run.
    pub run: u64,
    /// Times.
    pub timing: Timing,
    /// Bounds.
    pub limits: GroupLimits,
    /// What is wrong on purpose.
    pub seeded: Seeded,
}
