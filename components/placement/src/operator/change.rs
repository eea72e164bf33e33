//! What somebody wants of a region, and why it is not done.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Epoch, Key, Moment, Peer, RegionId, StoreId};

use super::{plan::Plan, step::SplitAt};
use crate::{
    meta::{MetaState, StoreRecord, StoreState},
    policy::Policy,
    view::{ClusterView, StoreHealth},
};

/// What is to become of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its leader is on this store.
    TransferLeader(StoreId),
    /// It has a voter on this store, where it has none; a learner there becomes one.
    AddPeer(StoreId),
    /// It has a learner on this store, where it has no peer.
    AddLearner(StoreId),
    /// It has no peer on this store.
    RemovePeer(StoreId),
    /// It has a peer on `to` that counts for what the one on `from` counts now, and that one is gone.
    MovePeer {
        /// Where the peer is.
        from: StoreId,
        /// Where none is yet, or a learner that is to vote instead.
        to: StoreId,
    },
    /// The same of a peer that leads: the one on `to` leads then.
    MoveLeader {
        /// Where the leader is.
        from: StoreId,
        /// Where none is yet.
        to: StoreId,
    },
    /// Its voters are on these stores, and it has no other peers.
    MoveRegion(BTreeSet<StoreId>),
    /// It has peers on these stores, and no others. Those with `true` vote.
    SetPeers(BTreeMap<StoreId, bool>),
    /// No joint change is under way.
    LeaveJoint,
    /// It is several.
    SplitRegion(SplitAt),
}

/// The kinds of changes; few, so that they can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperatorKind {
    /// [`Change::TransferLeader`].
    TransferLeader,
    /// [`Change::AddPeer`].
    AddPeer,
    /// [`Change::AddLearner`].
    AddLearner,
    /// [`Change::RemovePeer`].
    RemovePeer,
    /// [`Change::MovePeer`] and [`Change::MoveLeader`].
    MovePeer,
    /// [`Change::MoveRegion`].
    MoveRegion,
    /// [`Change::SetPeers`].
    SetPeers,
    /// [`Change::LeaveJoint`].
    LeaveJoint,
    /// [`Change::SplitRegion`].
    SplitRegion,
}

impl OperatorKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TransferLeader,
        Self::AddPeer,
        Self::AddLearner,
        Self::RemovePeer,
        Self::MovePeer,
        Self::MoveRegion,
        Self::SetPeers,
        Self::LeaveJoint,
        Self::SplitRegion,
    ];

    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TransferLeader => "transfer-leader",
            Self::AddPeer => "add-peer",
            Self::AddLearner => "add-learner",
            Self::RemovePeer => "remove-peer",
            Self::MovePeer => "move-peer",
            Self::MoveRegion => "move-region",
            Self::SetPeers => "set-peers",
            Self::LeaveJoint => "leave-joint-state",
            Self::SplitRegion => "split-region",
        }
    }
}

impl Change {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> OperatorKind {
        match self {
            Self::TransferLeader(_) => OperatorKind::TransferLeader,
            Self::AddPeer(_) => OperatorKind::AddPeer,
            Self::AddLearner(_) => OperatorKind::AddLearner,
            Self::RemovePeer(_) => OperatorKind::RemovePeer,
            Self::MovePeer { .. } | Self::MoveLeader { .. } => OperatorKind::MovePeer,
            Self::MoveRegion(_) => OperatorKind::MoveRegion,
            Self::SetPeers(_) => OperatorKind::SetPeers,
            Self::LeaveJoint => OperatorKind::LeaveJoint,
            Self::SplitRegion(_) => OperatorKind::SplitRegion,
        }
    }

    /// The same with the stores meant, in the words that tools of the public protocol know.
    pub(super) fn brief(&self, leader: Peer) -> String {
        match self {
            Self::TransferLeader(to) => format!("transfer leader: store {} to {to}", leader.store),
            Self::AddPeer(store) => format!("add peer: store [{store}]"),
            Self::AddLearner(store) => format!("add learner: store [{store}]"),
            Self::RemovePeer(store) => format!("rm peer: store [{store}]"),
            Self::MovePeer { from, to } => format!("mv peer: store [{from}] to [{to}]"),
            Self::MoveLeader { from, to } => format!("mv leader: store [{from}] to [{to}]"),
            Self::MoveRegion(stores) => {
                let stores: Vec<String> = stores.iter().map(ToString::to_string).collect();
                format!("mv region: to [{}]", stores.join(" "))
            }
            Self::SetPeers(peers) => {
                let of = |votes: bool| {
                    let stores = peers.iter().filter(|(_, it)| **it == votes);
                    stores.map(|(store, _)| store.to_string()).collect::<Vec<_>>().join(" ")
                };
                format!("set peers: voters on [{}], learners on [{}]", of(true), of(false))
            }
            Self::LeaveJoint => "leave joint state".to_owned(),
            Self::SplitRegion(at) => format!("split region: policy {}", at.policy()),
        }
    }
}

/// Why a region is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorRefusal {
    /// No leader has reported it.
    #[error("region {0} is not known")]
    UnknownRegion(RegionId),
    /// There is nobody to give an order to.
    #[error("region {0} has no leader that is heard: nobody could carry it out")]
    NoLeader(RegionId),
    /// One at a time.
    #[error("region {region} is being changed already ({brief}): wait for its end, or cancel it")]
    Busy {
        /// The region.
        region: RegionId,
        /// What is being done.
        brief: String,
    },
    /// Too many regions are being changed.
    #[error("{0} regions are being changed already, which is the limit: wait for some of them")]
    Full(usize),
    /// The region is no longer what was decided on.
    #[error("region {region} has changed meanwhile: decided on epoch {decided}, {known} is known")]
    StaleEpoch {
        /// The region.
        region: RegionId,
        /// Epoch of the decision.
        decided: Epoch,
        /// Epoch in the view.
        known: Epoch,
    },
    /// No store with this id is registered.
    #[error("there is no store {0}")]
    UnknownStore(StoreId),
    /// The store cannot take anything.
    #[error("store {store} is {state}, and only a store that is up takes peers and leaders")]
    NotUp {
        /// The store.
        store: StoreId,
        /// How it is.
        state: &'static str,
    },
    /// The store holds a peer already.
    #[error("region {region} has a peer on store {store} already")]
    IsMember {
        /// The region.
        region: RegionId,
        /// The store.
        store: StoreId,
    },
    /// The store holds no peer.
    #[error("region {region} has no peer on store {store}")]
    NotMember {
        /// The region.
        region: RegionId,
        /// The store.
        store: StoreId,
    },
    /// It is so already.
    #[error("region {0} is as it is to be already")]
    NothingToDo(RegionId),
    /// The peer may not lead.
    #[error("the peer of region {region} on store {store} cannot lead: {why}")]
    CannotLead {
        /// The region.
        region: RegionId,
        /// The store.
        store: StoreId,
        /// Why.
        why: &'static str,
    },
    /// The leader has to go, and there is nobody in its place.
    #[error("region {0} has no other voter that is up and has caught up, to lead it instead")]
    NoSuccessor(RegionId),
    /// Nothing could be committed any more.
    #[error("region {region} would be without a majority of living voters after \"{step}\"")]
    NoMajority {
        /// The region.
        region: RegionId,
        /// The step behind which that is so.
        step: String,
    },
    /// The guard region stays one, and empty.
    #[error("region {0} is the guard region, which holds no key and is never split")]
    Guard(RegionId),
    /// A region cannot be cut there.
    #[error(
        "region {region} cannot be split at key {key}: it lies outside, or begins the region already"
    )]
    SplitKey {
        /// The region.
        region: RegionId,
        /// The key, as people read it.
        key: String,
    },
    /// A split at keys needs some.
    #[error("region {0}: a split at keys, and none is given")]
    NoSplitKeys(RegionId),
}

impl OperatorRefusal {
    /// [`Self::SplitKey`].
    pub(super) fn split_key(region: RegionId, key: &Key) -> Self {
        Self::SplitKey { region, key: flotilla_base::key::display(key) }
    }
}

/// What is known when a decision is taken.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The registered stores.
    pub stores: &'a BTreeMap<StoreId, StoreRecord>,
    /// What people have decided.
    pub policy: &'a Policy,
    /// What heartbeats have shown.
    pub view: &'a ClusterView,
    /// The moment.
    pub now: Moment,
}

impl<'a> Sight<'a> {
    /// What is recorded, and what heartbeats have shown besides.
    #[must_use]
    pub const fn of(state: &'a MetaState, view: &'a ClusterView, now: Moment) -> Self {
        Self { stores: state.stores(), policy: state.policy(), view, now }
    }
}

impl Sight<'_> {
    /// What the region has to go through to become so. New peers have no ids yet.
    ///
    /// # Errors
    /// [`OperatorRefusal`]
    pub fn plan(&self, region: RegionId, change: &Change) -> Result<Plan, OperatorRefusal> {
        Plan::of(self, None, region, change)
    }

    /// Whether the store is up: registered, heard, and not gone.
    pub(crate) fn is_up(&self, store: StoreId) -> bool {
        let is_gone = |record: &StoreRecord| record.state == StoreState::Tombstone;
        self.stores.get(&store).is_some_and(|record| !is_gone(record))
            && self.view.health(store, self.now) == StoreHealth::Up
    }

    /// Whether the store will not come back, or is to leave: what waits for it waits in vain.
    pub(crate) fn is_lost(&self, store: StoreId) -> bool {
        let is_there = |record: &StoreRecord| record.state == StoreState::Up;
        !self.stores.get(&store).is_some_and(is_there)
            || self.view.health(store, self.now) == StoreHealth::Down
    }

    /// Whether the store may take a peer or a leader.
    pub(crate) fn check_target(&self, store: StoreId) -> Result<(), OperatorRefusal> {
        let record = self.stores.get(&store).ok_or(OperatorRefusal::UnknownStore(store))?;
        let state = refuses(record.state, self.view.health(store, self.now));
        state.map_or(Ok(()), |state| Err(OperatorRefusal::NotUp { store, state }))
    }
}

/// Why a store takes neither peers nor leaders, as the end of "it is ..."; `None` where it does.
pub(crate) const fn refuses(state: StoreState, health: StoreHealth) -> Option<&'static str> {
    match (state, health) {
        (StoreState::Up, StoreHealth::Up) => None,
        (StoreState::Tombstone, _) => Some("gone for good"),
        (StoreState::Offline, _) => Some("being emptied"),
        (StoreState::Up, StoreHealth::Unheard) => {
            Some("not heard of yet by this placement driver, which has just taken over")
        }
        (StoreState::Up, StoreHealth::Disconnected) => Some("disconnected"),
        (StoreState::Up, StoreHealth::Down) => Some("down"),
    }
}
