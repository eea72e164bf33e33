//! Steps: what they ask of a region's leader, how long they may take, and how they are called.

use std::fmt;

use flotilla_base::{Key, KeyRange, Peer, PeerRole, Span, StoreId};

use super::{change::Sight, shape::Shape};
use crate::view::RegionInfo;

/// Where a region is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitAt {
    /// In the middle, as a look at its data finds it.
    Middle,
    /// About in the middle.
    AboutMiddle,
    /// A new region begins at each of these keys; ascending, never empty.
    Keys(Vec<Key>),
}

impl SplitAt {
    /// The word of the public protocol.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        match self {
            Self::Middle => "SCAN",
            Self::AboutMiddle => "APPROXIMATE",
            Self::Keys(_) => "USEKEY",
        }
    }
}

/// One change of a region that cannot be divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its leader is one of these peers.
    TransferLeader {
        /// Where it is when the step is planned.
        from: StoreId,
        /// The preferred one first; never empty.
        to: Vec<Peer>,
    },
    /// It has a learner more, which has caught up.
    AddLearner(Peer),
    /// A learner votes.
    PromoteLearner(Peer),
    /// A voter is a learner.
    DemoteVoter(Peer),
    /// A joint change of several peers has begun.
    EnterJoint {
        /// Learners that are to vote.
        promote: Vec<Peer>,
        /// Voters that are to be learners.
        demote: Vec<Peer>,
    },
    /// The joint change has ended.
    LeaveJoint,
    /// It has a learner less. A voter is never removed at once: one that did not hear of it could still be
    /// asked for its vote.
    RemovePeer(Peer),
    /// It is several.
    SplitRegion {
        /// What it owns when the step is planned.
        range: KeyRange,
        /// Where.
        at: SplitAt,
    },
}

/// What becomes of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChangeKind {
    /// It votes.
    Voter,
    /// It is a learner.
    Learner,
    /// It is no member.
    Remove,
}

/// A change of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// What becomes of it.
    pub kind: PeerChangeKind,
    /// The peer as it is to be; one that is removed, as it is.
    pub peer: Peer,
}

/// What a region's leader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A simple change of members.
    ChangePeer(PeerChange),
    /// A demotion, which is a change of one, or the begin of a joint change, which is one of several.
    ChangePeers(Vec<PeerChange>),
    /// The end of a joint change.
    LeaveJoint,
    /// Hand over to one of these; the preferred one first.
    TransferLeader(Vec<Peer>),
    /// Split.
    Split(SplitAt),
}

const MIB: u64 = 1 << 20;
/// A step that moves no data ends within a few reports of the region.
const FAST_MIN: Span = Span::from_millis(60_000);
const FAST_PER_MIB: Span = Span::from_millis(600);
/// A step that copies the region's data: slow disks, and other copies in front of it.
const SLOW_MIN: Span = Span::from_millis(10 * 60_000);
const SLOW_PER_MIB: Span = Span::from_millis(6_000);
/// How soon an order is repeated that shows no effect. A store whose leader is busy reports the region again after 500 ms,
/// for that. One that has an order under way leaves others out.
pub(super) const PAUSE: Span = Span::from_millis(400);

impl Step {
    /// How long it may take in a region of this size.
    #[must_use]
    pub fn timeout(&self, size_bytes: u64) -> Span {
        let mib = size_bytes / MIB;
        let fast = FAST_MIN.max(Span(FAST_PER_MIB.0.saturating_mul(mib)));
        let times = match self {
            Self::AddLearner(_) => return SLOW_MIN.max(Span(SLOW_PER_MIB.0.saturating_mul(mib))),
            Self::EnterJoint { promote, demote } => promote.len() + demote.len() + 1,
            _ => 1,
        };
        Span(fast.0.saturating_mul(times as u64))
    }

    /// Peers whose data and answers it waits for.
    pub(super) fn receivers(&self) -> &[Peer] {
        match self {
            Self::AddLearner(peer) | Self::PromoteLearner(peer) => std::slice::from_ref(peer),
            Self::EnterJoint { promote, .. } => promote,
            _ => &[],
        }
    }

    /// A store for which it waits in vain: one that is to get data, or all that could lead, and will not come back. One
    /// whose line is cut for a moment may.
    pub(super) fn lost(&self, sight: &Sight<'_>) -> Option<StoreId> {
        let lost = match self {
            Self::TransferLeader { to, .. } => {
                let is_out = |peer: &Peer| sight.is_lost(peer.store);
                to.first().filter(|_| to.iter().all(is_out))
            }
            _ => self.receivers().iter().find(|peer| sight.is_lost(peer.store)),
        };
        lost.map(|peer| peer.store)
    }

    /// Whether the report shows it done; `before` is what the members were in front of it.
    pub(super) fn is_done(&self, info: &RegionInfo, before: &Shape) -> bool {
        let members = Shape::of(&info.region);
        let after = before.after(self);
        match self {
            Self::TransferLeader { to, .. } => {
                info.leader.is_some_and(|leader| to.iter().any(|peer| peer.id == leader.id))
            }
            Self::AddLearner(peer) => members == after && has_caught_up(info, *peer),
            // A store may leave it by itself, and between two reports.
            Self::EnterJoint { .. } => members == after || members == after.left(),
            Self::SplitRegion { range, .. } => info.region.range != *range,
            Self::PromoteLearner(_)
            | Self::DemoteVoter(_)
            | Self::LeaveJoint
            | Self::RemovePeer(_) => members == after,
        }
    }

    /// What the leader is to be told now that the step is not done; `None` where it is to be waited. Looked at
    /// anew with each report: nothing is sent again that was not found right again.
    pub(super) fn command(&self, sight: &Sight<'_>, info: &RegionInfo) -> Option<Command> {
        let leader = info.leader?;
        let stays_without = |going: &[Peer]| {
            let members = info.region.peers.iter().copied();
            members.filter(|peer| going.iter().all(|it| it.id != peer.id)).collect::<Vec<_>>()
        };
        let change = |kind, peer: &Peer, role| PeerChange { kind, peer: Peer { role, ..*peer } };
        let demotion = |peer| change(PeerChangeKind::Learner, peer, PeerRole::Learner);
        let promotion = |peer| change(PeerChangeKind::Voter, peer, PeerRole::Voter);
        match self {
            Self::TransferLeader { to, .. } => hand_over(sight, info, to),
            Self::AddLearner(peer) => {
                let is_there = info.region.peer_on(peer.store).is_some();
                (!is_there).then(|| Command::ChangePeer(demotion(peer)))
            }
            Self::PromoteLearner(peer) => {
                has_caught_up(info, *peer).then(|| Command::ChangePeer(promotion(peer)))
            }
            // An election may have brought the lead back to where it must not be.
            Self::DemoteVoter(peer) | Self::RemovePeer(peer) if peer.id == leader.id => {
                hand_over(sight, info, &stays_without(&[leader]))
            }
            Self::EnterJoint { demote, .. } if demote.iter().any(|it| it.id == leader.id) => {
                hand_over(sight, info, &stays_without(demote))
            }
            Self::DemoteVoter(peer) => Some(Command::ChangePeers(vec![demotion(peer)])),
            Self::EnterJoint { promote, demote } => {
                let is_ready = promote.iter().all(|peer| has_caught_up(info, *peer));
                let changes = promote.iter().map(promotion).chain(demote.iter().map(demotion));
                is_ready.then(|| Command::ChangePeers(changes.collect()))
            }
            Self::LeaveJoint => {
                let role = info.region.peer(leader.id).map(|peer| peer.role);
                match role {
                    Some(PeerRole::DemotingVoter) => {
                        hand_over(sight, info, &stays_without(&[leader]))
                    }
                    _ => Some(Command::LeaveJoint),
                }
            }
            Self::RemovePeer(peer) => {
                let peer = info.region.peer(peer.id)?;
                Some(Command::ChangePeer(PeerChange { kind: PeerChangeKind::Remove, peer }))
            }
            Self::SplitRegion { at, .. } => Some(Command::Split(at.clone())),
        }
    }
}

/// Whether its leader says that the peer answers and does not lag behind.
pub(crate) fn has_caught_up(info: &RegionInfo, peer: Peer) -> bool {
    let is_down = info.down_peers.iter().any(|(down, _)| down.id == peer.id);
    !is_down && info.pending_peers.iter().all(|pending| pending.id != peer.id)
}

/// The lead to those among `heirs` who vote on and could take it at once; `None` where nobody could. A leader whose
/// successor does not answer would only make writes wait.
fn hand_over(sight: &Sight<'_>, info: &RegionInfo, heirs: &[Peer]) -> Option<Command> {
    let votes = |peer: &Peer| info.region.peer(peer.id).is_some_and(votes_on);
    let can_lead = |peer: &&Peer| {
        votes(peer) && sight.check_target(peer.store).is_ok() && has_caught_up(info, **peer)
    };
    let fit: Vec<Peer> = heirs.iter().filter(can_lead).copied().collect();
    (!fit.is_empty()).then_some(Command::TransferLeader(fit))
}

/// Whether it votes now and goes on to when a joint change has ended.
pub(crate) const fn votes_on(peer: Peer) -> bool {
    matches!(peer.role, PeerRole::Voter | PeerRole::IncomingVoter)
}

/// Whether it votes.
pub(super) const fn is_voter(peer: Peer) -> bool {
    votes_on(peer) || matches!(peer.role, PeerRole::DemotingVoter)
}

/// The words that tools of the public protocol look for.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TransferLeader { from, to } => {
                let to = to.first().map_or(StoreId(0), |peer| peer.store);
                write!(f, "transfer leader from store {from} to store {to}")
            }
            Self::AddLearner(peer) => {
                write!(f, "add learner peer {} on store {}", peer.id, peer.store)
            }
            Self::PromoteLearner(peer) => promotes(f, peer),
            Self::DemoteVoter(peer) => demotes(f, peer),
            Self::EnterJoint { promote, demote } => {
                f.write_str("use joint consensus")?;
                for peer in promote {
                    f.write_str(", ")?;
                    promotes(f, peer)?;
                }
                for peer in demote {
                    f.write_str(", ")?;
                    demotes(f, peer)?;
                }
                Ok(())
            }
            Self::LeaveJoint => f.write_str("leave joint state"),
            Self::RemovePeer(peer) => write!(f, "remove peer on store {}", peer.store),
            Self::SplitRegion { at, .. } => write!(f, "split region with policy {}", at.policy()),
        }
    }
}

fn promotes(f: &mut fmt::Formatter<'_>, peer: &Peer) -> fmt::Result {
    write!(f, "promote learner peer {} on store {} to voter", peer.id, peer.store)
}

fn demotes(f: &mut fmt::Formatter<'_>, peer: &Peer) -> fmt::Result {
    write!(f, "demote voter peer {} on store {} to learner", peer.id, peer.store)
}
