//! Regions, their peers and their epochs.

use std::fmt;

use crate::{ConfVer, KeyRange, PeerId, RegionId, StoreId, Version};

/// Version of a region's shape. Requests carry it, so that none is served by a region of another shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// Grows with each change of the range (split, merge).
    pub version: Version,
    /// Grows with each change of the membership.
    pub conf_ver: ConfVer,
}

impl Epoch {
    /// The epoch of a region that the bootstrap made.
    pub const FIRST: Self = Self { version: Version(1), conf_ver: ConfVer(1) };
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.version, self.conf_ver)
    }
}

/// What a peer counts for in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PeerRole {
    /// Votes and counts for the quorum.
    #[default]
    Voter,
    /// Receives the log, does not count.
    Learner,
    /// Voter of the incoming half of a joint configuration only.
    IncomingVoter,
    /// Voter of the outgoing half of a joint configuration only.
    DemotingVoter,
}

/// One replica of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The peer's own id.
    pub id: PeerId,
    /// Where it lives.
    pub store: StoreId,
    /// What it counts for.
    pub role: PeerRole,
}

impl Peer {
    /// A voting peer.
    #[must_use]
    pub const fn voter(id: PeerId, store: StoreId) -> Self {
        Self { id, store, role: PeerRole::Voter }
    }
}

/// A range of keys, the epoch of its shape, and the peers that hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Identity; survives changes of range and membership.
    pub id: RegionId,
    /// The keys it owns.
    pub range: KeyRange,
    /// Version of its shape.
    pub epoch: Epoch,
    /// Its replicas; no two on one store. Empty only for an uninitialised peer's view.
    pub peers: Vec<Peer>,
}

/// Why a region from outside is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// The id is zero.
    #[error("region id is 0")]
    NoId,
    /// The range holds no key.
    #[error("region {0}: range {1} is empty or inverted")]
    EmptyRange(RegionId, KeyRange),
    /// An id of a peer or store is zero, or appears twice.
    #[error("region {0}: peer {1} on store {2} is zero or listed twice")]
    BadPeer(RegionId, PeerId, StoreId),
    /// The region has no epoch.
    #[error("region {0}: epoch {1} has a zero half")]
    NoEpoch(RegionId, Epoch),
}

impl Region {
    /// Checks what every region that came from outside must satisfy.
    ///
    /// # Errors
    /// The first violated rule.
    pub fn validate(&self) -> Result<(), RegionError> {
        if self.id.is_none() {
            return Err(RegionError::NoId);
        }
        if self.range.is_empty() {
            return Err(RegionError::EmptyRange(self.id, self.range.clone()));
        }
        if self.epoch.version.is_none() || self.epoch.conf_ver.is_none() {
            return Err(RegionError::NoEpoch(self.id, self.epoch));
        }
        for (position, peer) in self.peers.iter().enumerate() {
            let twin = |other: &Peer| other.id == peer.id || other.store == peer.store;
            let is_zero = peer.id.is_none() || peer.store.is_none();
            if is_zero || self.peers[..position].iter().any(twin) {
                return Err(RegionError::BadPeer(self.id, peer.id, peer.store));
            }
        }
        Ok(())
    }

    /// The peer on `store`.
    #[must_use]
    pub fn peer_on(&self, store: StoreId) -> Option<Peer> {
        self.peers.iter().find(|peer| peer.store == store).copied()
    }

    /// The peer with this id.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<Peer> {
        self.peers.iter().find(|peer| peer.id == id).copied()
    }

    /// Whether this is the guard region `[G, "")`, which stays empty for ever.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        self.range.end.is_empty() && self.range.start == crate::key::guard_border()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Region {
        Region {
            id: RegionId(2),
            range: KeyRange::all(),
            epoch: Epoch::FIRST,
            peers: vec![Peer::voter(PeerId(4), StoreId(1)), Peer::voter(PeerId(5), StoreId(2))],
        }
    }

    #[test]
    fn validate_names_the_broken_rule() {
        assert_eq!(region().validate(), Ok(()));
        let twin = Region { peers: vec![Peer::voter(PeerId(4), StoreId(1)); 2], ..region() };
        assert_eq!(twin.validate(), Err(RegionError::BadPeer(RegionId(2), PeerId(4), StoreId(1))));
        let inverted = Region { range: KeyRange::new("b", "a"), ..region() };
        assert!(matches!(inverted.validate(), Err(RegionError::EmptyRange(..))));
        assert!(matches!(
            Region { epoch: Epoch::default(), ..region() }.validate(),
            Err(RegionError::NoEpoch(..))
        ));
    }
}
