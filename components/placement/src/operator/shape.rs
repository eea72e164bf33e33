//! The members of a region, and what a step makes of them.

use std::collections::BTreeMap;

use flotilla_base::{Peer, PeerRole, Region, StoreId};

use super::step::Step;

/// Who the members of a region are and what each counts for. A region has no two peers on one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape(BTreeMap<StoreId, Peer>);

impl Shape {
    /// The members of a region, whatever their order.
    #[must_use]
    pub fn of(region: &Region) -> Self {
        Self(region.peers.iter().map(|peer| (peer.store, *peer)).collect())
    }

    /// The members, by store.
    pub fn peers(&self) -> impl Iterator<Item = Peer> + '_ {
        self.0.values().copied()
    }

    /// The member on a store.
    #[must_use]
    pub fn on(&self, store: StoreId) -> Option<Peer> {
        self.0.get(&store).copied()
    }

    /// Whether a joint change has begun and not ended.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        let is_half =
            |peer: Peer| matches!(peer.role, PeerRole::IncomingVoter | PeerRole::DemotingVoter);
        self.peers().any(is_half)
    }

    /// What is left of a joint change when it has ended.
    #[must_use]
    pub fn left(&self) -> Self {
        let settle = |mut peer: Peer| {
            peer.role = match peer.role {
                PeerRole::Voter | PeerRole::IncomingVoter => PeerRole::Voter,
                PeerRole::Learner | PeerRole::DemotingVoter => PeerRole::Learner,
            };
            (peer.store, peer)
        };
        Self(self.peers().map(settle).collect())
    }

    /// What the step makes of the members.
    #[must_use]
    pub fn after(&self, step: &Step) -> Self {
        let mut after = self.clone();
        match step {
            Step::TransferLeader { .. } | Step::SplitRegion { .. } => {}
            Step::AddLearner(peer) => {
                debug_assert!(self.on(peer.store).is_none(), "{peer:?} is there already");
                after.put(*peer, PeerRole::Learner);
            }
            Step::PromoteLearner(peer) => after.put(*peer, PeerRole::Voter),
            Step::DemoteVoter(peer) => after.put(*peer, PeerRole::Learner),
            Step::EnterJoint { promote, demote } => {
                debug_assert!(!self.is_joint(), "one joint change at a time");
                promote.iter().for_each(|peer| after.put(*peer, PeerRole::IncomingVoter));
                demote.iter().for_each(|peer| after.put(*peer, PeerRole::DemotingVoter));
            }
            Step::LeaveJoint => after = self.left(),
            Step::RemovePeer(peer) => _ = after.0.remove(&peer.store),
        }
        after
    }

    /// Whether what is committed can be committed: a majority of the voters is alive, in both halves of a joint
    /// change. Without voters it is not.
    #[must_use]
    pub fn has_majority(&self, is_alive: impl Fn(Peer) -> bool) -> bool {
        let is_enough = |other_half: PeerRole| {
            let half =
                || self.peers().filter(|p| p.role == PeerRole::Voter || p.role == other_half);
            2 * half().filter(|peer| is_alive(*peer)).count() > half().count()
        };
        is_enough(PeerRole::IncomingVoter) && is_enough(PeerRole::DemotingVoter)
    }

    fn put(&mut self, peer: Peer, role: PeerRole) {
        self.0.insert(peer.store, Peer { role, ..peer });
    }
}
