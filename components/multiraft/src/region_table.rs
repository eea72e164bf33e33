//! Which peers live on a store, which keys they own, and who may be created: the arbiter between
//! messages, bootstrap and recovery.
//!
//! Invariants: the ranges of initialised peers are pairwise disjoint; no key of them is being deleted; per region at most
//! one peer lives here, and its id only grows.

use std::collections::BTreeMap;
use std::ops::Bound;

use flotilla_base::{Key, KeyRange, PeerId, Region, RegionId, Seeded, StoreId};
use flotilla_raftgroup::MessageKind;

use crate::claim::Claim;
use crate::input::PeerMessage;
use crate::slots::Doors;

/// What a store knows of one region's peer here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A peer without data: it owns no keys, but remembers votes.
    Uninitialised(PeerId),
    /// A peer with data, or entitled to it.
    Live(PeerId, Region),
    /// A peer whose records are damaged: it takes part in nothing, and nothing takes its place until
    /// it is replaced on purpose.
    Quarantined(PeerId),
    /// A peer that is given the data of a snapshot: its keys are nobody else's, and nobody reads them.
    Installing(PeerId, Claim),
}

/// What to do with a message that arrived at the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The peer lives here: into its inbox.
    Deliver,
    /// Create this uninitialised peer, then deliver.
    Create(PeerId),
    /// It says that a peer is gone, and so it is: the answer is [`RegionTable::confirm`].
    Confirm,
    /// It says that a peer is gone which was found damaged, and has no replica to end it: [`crate::ruin`] says how.
    Clear,
    /// Forget it.
    Drop(DropReason),
}

/// Why a message is forgotten; each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// It names another store, or an id of zero.
    Misaddressed,
    /// It is for a peer that is not the one here.
    OtherPeer,
    /// It cannot create a peer.
    CannotCreate,
    /// The peer here is damaged.
    Quarantined,
    /// The peer was destroyed.
    Buried,
}

/// Why a region cannot be initialised here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Its keys are owned by another region.
    #[error("region {region} overlaps region {owner}, which lives on this store")]
    Overlap {
        /// Who wants the keys.
        region: RegionId,
        /// Who owns them.
        owner: RegionId,
    },
    /// What came makes no sense for the peer here.
    #[error("region {0}: a snapshot that is not for the peer here")]
    Senseless(RegionId),
    /// Another peer of the region lives here.
    #[error("region {region}: peer {found} lives on this store, {wanted} cannot")]
    OtherPeer {
        /// The region.
        region: RegionId,
        /// Who lives here.
        found: PeerId,
        /// Who wanted to.
        wanted: PeerId,
    },
    /// What a destroyed peer left there is being deleted.
    #[error("region {region}: what region {left_by} left in its range is being deleted")]
    Cleaning {
        /// Who wants the keys.
        region: RegionId,
        /// Whose they were.
        left_by: RegionId,
    },
    /// A split has given the peer its data, and it does not live with it yet.
    #[error("region {0}: a split gives the peer here its data at this moment")]
    Unborn(RegionId),
    /// The peer was destroyed here, or is about to be.
    #[error("region {region}: peer {peer} is gone from this store, or about to go")]
    Gone {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
    },
}

/// Slots and ranges of one store.
#[derive(Debug, Default)]
pub struct RegionTable {
    store: StoreId,
    pub(crate) slots: BTreeMap<RegionId, Slot>,
    /// Start key → region, live regions and those that are being installed.
    pub(crate) ranges: BTreeMap<Key, RegionId>,
    /// What damaged peers owned when this run took them out of service: their appliers may still be at work.
    pub(crate) shadows: BTreeMap<RegionId, KeyRange>,
    /// Who may begin and end.
    pub(crate) doors: Doors,
    /// The last install that has begun of each region whose data was about to be replaced here:
    /// [`RegionTable::last_install`].
    pub(crate) last_installs: BTreeMap<RegionId, u64>,
    /// How many have begun, of any region.
    pub(crate) installs_begun: u64,
    /// What is being deleted of what these peers left: [`crate::cleaning`].
    pub(crate) cleaned: BTreeMap<(RegionId, PeerId), Vec<KeyRange>>,
    /// What is wrong on purpose.
    pub(crate) seeded: Seeded,
}

impl RegionTable {
    /// The table of an empty store.
    #[must_use]
    pub fn new(store: StoreId) -> Self {
        Self { store, ..Self::default() }
    }

    /// The same table with what is wrong on purpose.
    #[must_use]
    pub fn with_bugs(self, seeded: Seeded) -> Self {
        Self { seeded, ..self }
    }

    /// Whose table it is.
    #[must_use]
    pub const fn store(&self) -> StoreId {
        self.store
    }

    /// What to do with a message.
    #[must_use]
    pub fn admit(&self, message: &PeerMessage) -> Admission {
        let is_addressed = message.to.store == self.store
            && !message.region.is_none()
            && !message.to.id.is_none()
            && !message.from.id.is_none();
        if !is_addressed {
            return Admission::Drop(DropReason::Misaddressed);
        }
        if let Some(admission) = self.doors.admit(message) {
            return admission;
        }
        match self.slots.get(&message.region) {
            Some(Slot::Quarantined(peer)) if *peer != message.to.id || !is_of_end(message) => {
                Admission::Drop(DropReason::Quarantined)
            }
            Some(Slot::Quarantined(_)) if self.doors.is_to_be_cleared(message.region) => {
                Admission::Clear
            }
            Some(Slot::Quarantined(_)) if self.doors.is_ruin(message.region) => {
                Admission::Drop(DropReason::Quarantined)
            }
            Some(Slot::Quarantined(_)) => Admission::Deliver,
            Some(Slot::Live(peer, _) | Slot::Uninitialised(peer) | Slot::Installing(peer, _))
                if *peer == message.to.id =>
            {
                Admission::Deliver
            }
            // Ids only grow: its place is taken, and what is on disk keeps it so. It may never have been here. A newer peer
            // without data may be forgotten by a crash, behind which a split could make the older one.
            Some(Slot::Live(newer, _)) if is_of_end(message) && *newer > message.to.id => {
                Admission::Confirm
            }
            Some(_) => Admission::Drop(DropReason::OtherPeer),
            None if can_create(message.message.kind) => Admission::Create(message.to.id),
            None => Admission::Drop(DropReason::CannotCreate),
        }
    }

    /// Takes the slot of an absent region for a peer without data.
    ///
    /// # Errors
    /// [`ClaimError::OtherPeer`] where the slot is taken.
    pub fn create_uninitialised(
        &mut self,
        region: RegionId,
        peer: PeerId,
    ) -> Result<(), ClaimError> {
        self.check_door(region, peer)?;
        match self.slots.get(&region) {
            None => {
                self.slots.insert(region, Slot::Uninitialised(peer));
                Ok(())
            }
            Some(slot) => Err(ClaimError::OtherPeer { region, found: slot.peer(), wanted: peer }),
        }
    }

    /// Makes `peer` the owner of the region's keys on this store.
    ///
    /// # Errors
    /// [`ClaimError`]; nothing changed then.
    pub fn initialise(&mut self, peer: PeerId, region: &Region) -> Result<(), ClaimError> {
        self.check_door(region.id, peer)?;
        match self.slots.get(&region.id) {
            None => {}
            Some(Slot::Uninitialised(found)) if *found == peer => {}
            Some(slot) => {
                let (found, wanted) = (slot.peer(), peer);
                return Err(ClaimError::OtherPeer { region: region.id, found, wanted });
            }
        }
        self.check_unowned(region.id, &region.range)?;
        self.ranges.insert(region.range.start.clone(), region.id);
        self.slots.insert(region.id, Slot::Live(peer, region.clone()));
        self.debug_assert_sound();
        Ok(())
    }

    /// A region became several: it gives up what its children have now, in one step. The children's peers had
    /// their slots claimed before, and are to be told; each is [`Self::born`] when it says that it has its data.
    ///
    /// # Errors
    /// [`ClaimError`] where a child cannot have its keys; nothing changed then.
    pub fn split(
        &mut self,
        parent: &Region,
        children: &[(PeerId, &Region)],
    ) -> Result<(), ClaimError> {
        for (peer, child) in children {
            match self.slots.get(&child.id) {
                Some(Slot::Uninitialised(found)) if found == peer => {}
                slot => {
                    let found = slot.map_or(PeerId(0), Slot::peer);
                    return Err(ClaimError::OtherPeer { region: child.id, found, wanted: *peer });
                }
            }
            let owner = self.owner_of_any(&child.range).filter(|owner| *owner != parent.id);
            if let Some(owner) = owner {
                return Err(ClaimError::Overlap { region: child.id, owner });
            }
            self.check_not_cleaned(child.id, &child.range)?;
        }
        // A parent that is out of service owns no keys.
        if let Some(Slot::Live(peer, old)) = self.slots.get(&parent.id).cloned() {
            assert!(old.range.covers(&parent.range), "a split takes keys and gives none");
            self.ranges.remove(&old.range.start);
            self.ranges.insert(parent.range.start.clone(), parent.id);
            self.slots.insert(parent.id, Slot::Live(peer, parent.clone()));
        }
        self.split_claim(parent);
        for (peer, child) in children {
            self.ranges.insert(child.range.start.clone(), child.id);
            self.slots.insert(child.id, Slot::Live(*peer, (*child).clone()));
        }
        self.debug_assert_sound();
        Ok(())
    }

    /// Takes the peer of a region out of service.
    pub fn quarantine(&mut self, region: RegionId, peer: PeerId) {
        let held = self.held(region).cloned();
        self.slots.insert(region, Slot::Quarantined(peer));
        if let Some(range) = held {
            let owner = self.ranges.remove(&range.start);
            assert_eq!(owner, Some(region), "a region owns its start key");
            self.shadows.insert(region, range);
        }
    }

    /// Costs a look at every region: for tests and simulations.
    pub(crate) fn debug_assert_sound(&self) {
        let holders = self.slots.keys().filter(|region| self.held(**region).is_some());
        debug_assert_eq!(self.ranges.len(), holders.count(), "one range for each that holds one");
        let is_own = |(start, id): (&Key, &RegionId)| {
            self.held(*id).is_some_and(|range| range.start == *start)
        };
        debug_assert!(self.ranges.iter().all(is_own), "a range starts where its region does");
        let held = self.slots.keys().filter_map(|region| self.held(*region));
        let is_deleted =
            |held: &KeyRange| self.cleaned.values().flatten().any(|part| part.overlaps(held));
        debug_assert!(!held.into_iter().any(is_deleted), "what is being deleted is nobody's");
    }

    /// What is known of a region.
    #[must_use]
    pub fn slot(&self, region: RegionId) -> Option<&Slot> {
        self.slots.get(&region)
    }

    /// The region that owns `key` here.
    #[must_use]
    pub fn region_of(&self, key: &[u8]) -> Option<&Region> {
        let (_, region) =
            self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        self.live(*region).filter(|region| region.range.contains(key))
    }

    /// Every live region, by start key.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.ranges.values().filter_map(|region| self.live(*region))
    }

    fn live(&self, region: RegionId) -> Option<&Region> {
        match self.slots.get(&region) {
            Some(Slot::Live(_, region)) => Some(region),
            _ => None,
        }
    }

    /// Refuses `region` what another one owns or has claimed, and what is being deleted.
    pub(crate) fn check_unowned(
        &self,
        region: RegionId,
        range: &KeyRange,
    ) -> Result<(), ClaimError> {
        match self.owner_of_any(range) {
            Some(owner) => Err(ClaimError::Overlap { region, owner }),
            None => self.check_not_cleaned(region, range),
        }
    }

    fn owner_of_any(&self, range: &KeyRange) -> Option<RegionId> {
        self.holders(range).next().map(|(region, _)| region)
    }

    /// The regions that own or have claimed keys of `range`, and what each of them holds, by their keys. It costs a look at
    /// those and no others: there are thousands of regions, and orders to clean come by the thousand as well.
    pub(crate) fn holders<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> impl Iterator<Item = (RegionId, &'a KeyRange)> {
        let until = (Bound::Unbounded, Bound::Excluded(&range.start[..]));
        // Ranges are disjoint: of those that begin in front of it one may reach into it.
        let before = self.ranges.range::<[u8], _>(until).next_back();
        let from = self.ranges.range(range.start.clone()..);
        let within = from.take_while(|(start, _)| range.end.is_empty() || **start < range.end);
        let near = before.into_iter().chain(within);
        let near = near.filter_map(|(_, region)| Some((*region, self.held(*region)?)));
        near.filter(|(_, held)| held.overlaps(range))
    }
}

impl Slot {
    /// The peer that holds the slot.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        match self {
            Self::Uninitialised(peer)
            | Self::Live(peer, _)
            | Self::Quarantined(peer)
            | Self::Installing(peer, _) => *peer,
        }
    }
}

/// A peer owns no keys before it is initialised, so creating one is always safe; but only messages that
/// a new peer must answer are worth it.
const fn can_create(kind: MessageKind) -> bool {
    matches!(
        kind,
        MessageKind::RequestVote
            | MessageKind::RequestPreVote
            | MessageKind::Heartbeat
            | MessageKind::Append
            | MessageKind::Snapshot
            // It leaves a tombstone, so that nothing that is under way makes the peer later.
            | MessageKind::PeerGone
    )
}

/// A damaged peer takes part in nothing but its end.
fn is_of_end(message: &PeerMessage) -> bool {
    message.message.kind == MessageKind::PeerGone
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, Index, Peer, Term};
    use flotilla_raftgroup::Message;

    use super::*;

    fn region(id: u64, start: &'static str, end: &'static str) -> Region {
        let peers = vec![Peer::voter(PeerId(id * 10), StoreId(1))];
        Region { id: RegionId(id), range: KeyRange::new(start, end), epoch: Epoch::FIRST, peers }
    }

    fn message(kind: MessageKind, region: u64, to: u64) -> PeerMessage {
        PeerMessage {
            region: RegionId(region),
            from: Peer::voter(PeerId(99), StoreId(2)),
            to: Peer::voter(PeerId(to), StoreId(1)),
            epoch: Epoch::FIRST,
            matched_by_all: Index(0),
            message: Message::new(kind, PeerId(99), PeerId(to), Term(6)),
        }
    }

    #[test]
    fn ranges_stay_disjoint() {
        let mut table = RegionTable::new(StoreId(1));
        table.initialise(PeerId(20), &region(2, "b", "d")).expect("free");
        for (start, end) in [("", ""), ("c", ""), ("a", "c"), ("b", "d"), ("c", "c\0")] {
            let refused = table.initialise(PeerId(30), &region(3, start, end));
            assert!(matches!(refused, Err(ClaimError::Overlap { .. })), "[{start}, {end})");
        }
        table.initialise(PeerId(30), &region(3, "d", "")).expect("starts where the other ends");
        assert_eq!(table.region_of(b"d").map(|region| region.id), Some(RegionId(3)));
        assert_eq!(table.region_of(b"a"), None);
        assert_eq!(table.regions().count(), 2);
    }

    #[test]
    fn a_split_moves_borders_in_one_step() {
        let mut table = RegionTable::new(StoreId(1));
        table.initialise(PeerId(20), &region(2, "b", "y")).expect("free");
        table.initialise(PeerId(90), &region(9, "", "b")).expect("free");
        let (parent, first, second) =
            (region(2, "p", "y"), region(3, "b", "f"), region(4, "f", "p"));
        let children = [(PeerId(30), &first), (PeerId(40), &second)];
        assert!(table.split(&parent, &children).is_err(), "no slot was claimed");
        table.create_uninitialised(RegionId(3), PeerId(30)).expect("absent");
        table.create_uninitialised(RegionId(4), PeerId(41)).expect("absent");
        let refused = table.split(&parent, &children);
        assert!(matches!(refused, Err(ClaimError::OtherPeer { .. })), "another peer's slot");
        assert_eq!(table.region_of(b"c").map(|it| it.id), Some(RegionId(2)), "nothing changed");
        let outside = region(3, "a", "f");
        let refused = table.split(&parent, &[(PeerId(30), &outside)]);
        assert!(matches!(refused, Err(ClaimError::Overlap { .. })), "a neighbour's keys");
        table.split(&parent, &children[..1]).expect("the second child begins elsewhere");
        let owner = |key: &[u8]| table.region_of(key).map(|it| it.id.get());
        assert_eq!([&b"a"[..], b"b", b"g", b"p"].map(owner), [Some(9), Some(3), None, Some(2)]);
        assert_eq!(table.regions().count(), 3);
    }

    #[test]
    fn a_damaged_parent_takes_nothing_from_its_children() {
        let mut table = RegionTable::new(StoreId(1));
        table.initialise(PeerId(20), &region(2, "", "")).expect("free");
        table.quarantine(RegionId(2), PeerId(20));
        table.create_uninitialised(RegionId(3), PeerId(30)).expect("absent");
        table.split(&region(2, "m", ""), &[(PeerId(30), &region(3, "", "m"))]).expect("free");
        assert_eq!(table.region_of(b"a").map(|it| it.id), Some(RegionId(3)));
        assert_eq!(table.slot(RegionId(2)), Some(&Slot::Quarantined(PeerId(20))));
    }

    #[test]
    fn messages_create_and_reach_only_the_right_peer() {
        let mut table = RegionTable::new(StoreId(1));
        let vote = message(MessageKind::RequestVote, 2, 20);
        assert_eq!(table.admit(&vote), Admission::Create(PeerId(20)));
        assert_eq!(
            table.admit(&message(MessageKind::AppendResponse, 2, 20)),
            Admission::Drop(DropReason::CannotCreate)
        );
        table.create_uninitialised(RegionId(2), PeerId(20)).expect("absent");
        assert_eq!(table.admit(&vote), Admission::Deliver);
        assert_eq!(
            table.admit(&message(MessageKind::RequestVote, 2, 21)),
            Admission::Drop(DropReason::OtherPeer)
        );
        assert!(table.initialise(PeerId(21), &region(2, "", "")).is_err(), "another peer's slot");
        let end = |peer| message(MessageKind::PeerGone, 2, peer);
        let other = Admission::Drop(DropReason::OtherPeer);
        assert_eq!(table.admit(&end(19)), other, "a crash may forget its successor");
        table.initialise(PeerId(20), &region(2, "", "")).expect("its own slot");
        assert_eq!(table.admit(&end(19)), Admission::Confirm, "its successor is here");
        assert_eq!(table.admit(&end(20)), Admission::Deliver);
        assert_eq!(table.admit(&end(21)), other, "it may be about to come");
        let confirmed = table.confirm(&end(19));
        assert_eq!(confirmed.message.kind, MessageKind::GoneConfirmed);
        assert_eq!(confirmed.from.id, PeerId(19));
        table.quarantine(RegionId(2), PeerId(20));
        assert_eq!(table.admit(&vote), Admission::Drop(DropReason::Quarantined));
        assert_eq!(table.region_of(b"x"), None);
    }
}
