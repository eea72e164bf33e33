//! What a round of replicas wants done, as plain data.

use flotilla_base::{Moment, Mutation, Peer, PeerId, Region, RegionId};
use flotilla_raftgroup::{ApplyState, Damage, FetchOrder, ReadyNumber, RoleChange};

use crate::apply::ApplyTask;
use crate::destroy::{Cleanup, Tombstone};
use crate::input::{PeerMessage, Reply};
use crate::permit::Delegate;
use crate::snapshot::SnapshotEffect;
use crate::split::Birth;

/// What waits for a round to be durable: one replica's notice, and the messages behind it.
#[derive(Debug)]
pub struct AfterPersist {
    /// Whose.
    pub region: RegionId,
    /// Which peer of it: a notice must not reach a successor of the same region.
    pub peer: PeerId,
    /// What becomes durable.
    pub number: ReadyNumber,
    /// What may leave then, and only after the notice is in the replica's inbox.
    pub messages: Vec<PeerMessage>,
}

/// One round's write.
#[derive(Debug, Default)]
pub struct LogWrite {
    /// One atomic batch for all regions of the round.
    pub batch: Vec<Mutation>,
    /// What waits for it.
    pub after: Vec<AfterPersist>,
    /// Log entries in it, for the statistics.
    pub entries: usize,
    /// Bytes of the batch, counted as it grows.
    pub bytes: usize,
}

impl LogWrite {
    pub(crate) fn extend(&mut self, mutations: impl IntoIterator<Item = Mutation>) {
        for mutation in mutations {
            self.bytes += mutation.size_bytes();
            self.batch.push(mutation);
        }
    }
}

/// What the rest of the store and the placement driver should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Role, term or leader of a peer changed.
    Role {
        /// The region.
        region: Region,
        /// The peer.
        peer: PeerId,
        /// What it is now.
        change: RoleChange,
    },
    /// The peer found its log damaged and serves nothing any more.
    Quarantined {
        /// The region.
        region: RegionId,
        /// The evidence.
        damage: Damage,
    },
    /// The region became several: this peer has the last part now, and others begin.
    Split {
        /// What the region is now.
        parent: Region,
        /// Its peer here.
        peer: PeerId,
        /// The peers that begin here. Each is to be told with [`crate::Input::Born`].
        births: Vec<Birth>,
    },
    /// The region has other members.
    Members {
        /// The region.
        region: Region,
        /// Its peer here.
        peer: PeerId,
    },
    /// Other members than before are far behind this leader's log. Nobody is, where nothing was said in its term.
    Lagging {
        /// The region.
        region: RegionId,
        /// They.
        peers: Vec<Peer>,
    },
    /// The peer is no member any more, and has nothing under way. The region table is to let it go; where it does, the
    /// peer is to be told with [`crate::MembershipInput::MayLeave`].
    Leaving {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
    },
    /// The peer is destroyed, durably. Nothing is to be given to its replica and its applier any more, what waits in
    /// their inboxes is to be refused, stages and views included, and the region table is to release the slot.
    Destroyed {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
        /// What is left of it.
        tombstone: Tombstone,
        /// What is to be cleaned then.
        cleanup: Option<Cleanup>,
    },
    /// A split left keys here whose region has no peer on this store: they are to be cleaned.
    Orphaned(Cleanup),
    /// The peer got its data, from the bootstrap, by a split or with a snapshot.
    Initialised {
        /// The region.
        region: Region,
        /// The peer.
        peer: PeerId,
        /// Where its state machine starts.
        apply: ApplyState,
    },
}

/// Log entries that a leader wants read from the disk for a follower. To be answered with [`crate::Input::Fetched`] for this
/// peer, whatever becomes of it, and to be read by no thread that runs replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFetch {
    /// The region.
    pub region: RegionId,
    /// Its peer here.
    pub peer: PeerId,
    /// What to read.
    pub order: FetchOrder,
}

/// Everything that the replicas of one round want done. Filled by replicas, executed by
/// [`crate::Round::finish`] and by nothing else.
#[derive(Debug)]
pub struct Effects<T> {
    /// Rule F1: what readers on other threads may do from now on, before anything of this round is seen.
    pub(crate) permits: Vec<(RegionId, PeerId, Delegate)>,
    /// Rule F2: a leader's messages may leave before `log` is durable.
    pub(crate) send_now: Vec<PeerMessage>,
    /// Rule F3: one batch, one sync.
    pub(crate) log: LogWrite,
    /// Rule F6: only committed and durable entries, in order of their index.
    pub(crate) apply: Vec<ApplyTask<T>>,
    /// Rule F8: refusals and read grants; a write is answered by its applier.
    pub(crate) replies: Vec<(T, Reply)>,
    /// For the store and the placement driver.
    pub(crate) reports: Vec<Report>,
    /// Rule F7: peers that got their data: told once `log`, which holds it, is written, and behind `permits`.
    pub(crate) births: Vec<Report>,
    /// Snapshots to be sent and installed: behind `permits`, and behind what `log` says of them.
    pub(crate) snapshots: Vec<SnapshotEffect>,
    /// Old entries to be read.
    pub(crate) fetches: Vec<LogFetch>,
    /// When replicas want to be woken.
    pub(crate) alarms: Vec<(RegionId, Moment)>,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self {
            permits: Vec::new(),
            send_now: Vec::new(),
            log: LogWrite::default(),
            apply: Vec::new(),
            replies: Vec::new(),
            reports: Vec::new(),
            births: Vec::new(),
            snapshots: Vec::new(),
            fetches: Vec::new(),
            alarms: Vec::new(),
        }
    }
}

impl<T> Effects<T> {
    /// Bytes that the round's batch holds so far: a host may close a round early.
    #[must_use]
    pub const fn log_bytes(&self) -> usize {
        self.log.bytes
    }

    /// Refuses a request of which nothing was proposed.
    pub(crate) fn refuse(&mut self, ticket: T, error: crate::RequestError) {
        self.replies.push((ticket, Reply::Failed(error)));
    }
}
