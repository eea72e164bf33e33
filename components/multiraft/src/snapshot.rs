//! Snapshots as a replica sends them. Nothing is kept for them: a view of the database is taken when a follower needs
//! one, its data streams to the follower's store, and the view is gone.
//!
//! The host does what takes time, and says what came of it with one [`SnapshotInput`] each:
//!
//! ```text
//! Take    -> Taken or Refused          a view of the database, and what stands in it
//! Send    -> Sent                      message and data of that view to the receiver's store, which stages them
//! Cancel                               the view is needed by nobody; nothing more is said about it
//! ```
//! A host that gives up a view by itself, since it was open for too long, says `Sent` with a failure, whether it was
//! told to send or not. A view that is kept for ever keeps the database from giving up old data.
//!
//! What stands in the data and what is said about it must come from one view: [`SnapshotMeta::read`] reads both
//! records there.

use flotilla_base::{Index, KvRead, Peer, PeerId, Region, RegionId};
use flotilla_raftgroup::disk::{self, DiskError};
use flotilla_raftgroup::{ApplyState, SnapshotNumber, SnapshotOutcome, SnapshotWish};

use crate::effects::Effects;
use crate::input::PeerMessage;
use crate::install::{Arrival, InstallEffect, StageNumber};
use crate::persist::{self, RegionState};
use crate::removal::removed_on_disk;
use crate::replica::{Lifecycle, Replica};

/// What the data of a view is: enough to go on from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The region, with its members.
    pub region: Region,
    /// How far its state machine is.
    pub apply: ApplyState,
    /// Who was removed from the region, and is not confirmed to be gone: a part of what its log decides.
    pub removed: Vec<Peer>,
}

impl SnapshotMeta {
    /// What `view` holds of `region`; `None` where the region has no data there, or is being given some.
    ///
    /// # Errors
    /// [`DiskError`] where the view cannot be read, or holds damaged records.
    pub fn read(view: &dyn KvRead, region: RegionId) -> Result<Option<Self>, DiskError> {
        let Some(RegionState::Normal(_, shape)) = persist::read_region_state(view, region)? else {
            return Ok(None);
        };
        let Some(apply) = disk::read_apply_state(view, region)? else { return Ok(None) };
        let removed = removed_on_disk(view, region)?;
        Ok(Some(Self { region: shape, apply, removed }))
    }
}

/// What hosts say about snapshots.
#[derive(Debug)]
pub enum SnapshotInput {
    /// A view was taken, and this stands in it.
    Taken(SnapshotNumber, Box<SnapshotMeta>),
    /// No view is taken: too many are open, or the region's data is not there.
    Refused(SnapshotNumber),
    /// What became of an attempt; its view is gone. Said once for each that was taken and not cancelled.
    Sent(SnapshotNumber, SnapshotOutcome),
    /// All of a snapshot is staged on this store, whole and durable, and its range is claimed for this peer.
    Arrived(Box<Arrival>),
    /// The staged data stands in place of the old.
    Installed(StageNumber),
    /// What was staged is gone, or damaged, and the old data is gone as well.
    StageLost(StageNumber),
}

/// What replicas want done about snapshots.
#[derive(Debug)]
pub enum SnapshotEffect {
    /// A view of the database is to be taken.
    Take {
        /// The region.
        region: RegionId,
        /// Whose wish it is.
        peer: PeerId,
        /// Which attempt.
        number: SnapshotNumber,
        /// For whom.
        to: Peer,
    },
    /// The data of a view is to be sent behind this message.
    Send {
        /// Which attempt of the sending peer.
        number: SnapshotNumber,
        /// Leads to the receiver; a term that is durable here.
        message: Box<PeerMessage>,
    },
    /// A view is needed by nobody any more, nor is what is left to be sent of it.
    Cancel {
        /// The region.
        region: RegionId,
        /// Whose view.
        peer: PeerId,
        /// Which attempt.
        number: SnapshotNumber,
    },
    /// A peer is given the data of a snapshot.
    Install(InstallEffect),
}

impl<T> Replica<T> {
    pub(crate) fn handle_snapshot(&mut self, input: SnapshotInput, effects: &mut Effects<T>) {
        match input {
            SnapshotInput::Taken(number, meta) => self.offer_snapshot(number, &meta),
            SnapshotInput::Refused(number) => self.group.snapshot_refused(number),
            SnapshotInput::Sent(number, outcome) => self.group.snapshot_sent(number, outcome),
            SnapshotInput::Arrived(arrival) => self.handle_arrival(arrival, effects),
            SnapshotInput::Installed(stage) => self.handle_installed(stage, effects),
            SnapshotInput::StageLost(stage) => self.handle_stage_lost(stage, effects),
        }
    }

    fn offer_snapshot(&mut self, number: SnapshotNumber, meta: &SnapshotMeta) {
        debug_assert_eq!(meta.region.id, self.region.id, "{self:?}: a view of another region");
        self.group.snapshot_taken(number, meta.apply.applied);
    }

    /// Hands out wishes, and views that nobody needs.
    pub(crate) fn want_snapshots(&mut self, effects: &mut Effects<T>) {
        if self.life != Lifecycle::Active {
            self.group.give_up_snapshots();
        }
        let (wishes, given_up) = self.group.take_snapshot_wishes();
        let (region, peer) = (self.region.id, self.peer);
        let cancel = |number| SnapshotEffect::Cancel { region, peer, number };
        effects.snapshots.extend(given_up.into_iter().map(cancel));
        for SnapshotWish { number, to } in wishes {
            match self.region.peer(to) {
                Some(to) => {
                    effects.snapshots.push(SnapshotEffect::Take { region, peer, number, to });
                }
                None => self.group.snapshot_refused(number),
            }
        }
    }

    pub(crate) fn send_snapshots(
        &self,
        orders: Vec<flotilla_raftgroup::SnapshotOrder>,
        effects: &mut Effects<T>,
    ) {
        for flotilla_raftgroup::SnapshotOrder { number, message } in orders {
            // Members are addressed by the shape that has them; a wish was handed out for a member only.
            let Some(message) = self.address(message) else { continue };
            let message = Box::new(PeerMessage { matched_by_all: Index(0), ..message });
            effects.snapshots.push(SnapshotEffect::Send { number, message });
        }
    }
}
