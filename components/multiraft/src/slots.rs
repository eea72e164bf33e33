//! Who may begin and who may end on a store: what the region table knows besides its live peers.
//!
//! A slot that a split has claimed for its child cannot be let go, and one that was let go cannot be claimed: the
//! two decisions are made on different threads, and this table is the only judge between them. A tombstone closes a
//! slot for every peer that can have lived there before; ids of peers only grow.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{KeyRange, PeerId, Region, RegionId};
use flotilla_raftgroup::MessageKind;

use crate::destroy::{Tombstone, confirmation};
use crate::input::PeerMessage;
use crate::region_table::{Admission, ClaimError, DropReason, RegionTable, Slot};

/// Slots at the begin and at the end of their peers' lives.
///
/// Invariant: no region is claimed and let go at once.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// A split gives its child this slot: the batch that says so is on its way, or the peer has not begun to live with it.
    claimed: BTreeSet<RegionId>,
    /// The peer is being destroyed.
    leaving: BTreeSet<RegionId>,
    tombstones: BTreeMap<RegionId, Tombstone>,
    /// Their peers were damaged when the store started, and have no replica.
    ruins: BTreeSet<RegionId>,
}

/// What a split finds in the slot of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitClaim {
    /// Nobody was there. The slot is taken; the peer is to be made.
    Create,
    /// The very peer is there, without data.
    Held,
    /// Another peer has the slot, or this one is gone already: the store takes no part in the child.
    Skip,
}

impl Doors {
    /// Whether the peer may not begin here.
    pub(crate) fn refuses(&self, region: RegionId, peer: PeerId) -> bool {
        self.is_buried(region, peer) || self.leaving.contains(&region)
    }

    fn is_buried(&self, region: RegionId, peer: PeerId) -> bool {
        self.tombstones.get(&region).is_some_and(|tombstone| peer < tombstone.min_next)
    }

    /// Whether the peer has not begun to live with what a split gives it.
    pub(crate) fn is_claimed(&self, region: RegionId) -> bool {
        self.claimed.contains(&region)
    }

    pub(crate) fn find_ruin(&mut self, region: RegionId) {
        self.ruins.insert(region);
    }

    /// Whether somebody has to end the peer that has no replica to do it.
    pub(crate) fn is_to_be_cleared(&self, region: RegionId) -> bool {
        self.ruins.contains(&region) && !self.leaving.contains(&region)
    }

    pub(crate) fn is_ruin(&self, region: RegionId) -> bool {
        self.ruins.contains(&region)
    }

    /// What a message to a peer finds that is gone.
    pub(crate) fn admit(&self, message: &PeerMessage) -> Option<Admission> {
        if !self.is_buried(message.region, message.to.id) {
            return None;
        }
        // Only whoever says so can be told so: nothing here proves that anybody else should know.
        Some(match message.message.kind {
            MessageKind::PeerGone => Admission::Confirm,
            _ => Admission::Drop(DropReason::Buried),
        })
    }
}

impl RegionTable {
    /// Takes the slot of a split's child, unless it belongs to somebody else or its peer is gone. Nothing is written
    /// for the child before this.
    pub fn claim_split(&mut self, region: RegionId, peer: PeerId) -> SplitClaim {
        if self.doors.refuses(region, peer) {
            return SplitClaim::Skip;
        }
        let claim = match self.slots.get(&region) {
            None => SplitClaim::Create,
            Some(Slot::Uninitialised(found)) if *found == peer => SplitClaim::Held,
            Some(_) => return SplitClaim::Skip,
        };
        self.slots.insert(region, Slot::Uninitialised(peer));
        self.doors.claimed.insert(region);
        claim
    }

    /// The peer has its data: [`crate::Report::Initialised`]. From now on a peer that is a split's child can be let go, and
    /// be given a snapshot. Before that it would be a peer without data which does either, and knows nothing of the keys
    /// that are its own already.
    pub fn born(&mut self, region: RegionId) {
        self.doors.claimed.remove(&region);
    }

    /// Lets a peer go; `false` where it is not the one here, or a split gives it its data at this moment. From now on
    /// its slot is nobody else's until [`Self::release`].
    #[must_use]
    pub fn let_go(&mut self, region: RegionId, peer: PeerId) -> bool {
        let is_here = self.slots.get(&region).is_some_and(|slot| slot.peer() == peer);
        let may_go = is_here && !self.doors.is_claimed(region);
        if may_go {
            // What has arrived for it since is refused when the peer sees it.
            self.release_claim(region, peer);
            self.doors.leaving.insert(region);
        }
        may_go
    }

    /// The peer that was let go is destroyed, durably: its slot and its keys are free.
    pub fn release(&mut self, region: RegionId, peer: PeerId, tombstone: Tombstone) {
        debug_assert!(self.doors.leaving.contains(&region), "it was let go before");
        self.doors.leaving.remove(&region);
        self.doors.ruins.remove(&region);
        if self.slots.get(&region).is_some_and(|slot| slot.peer() == peer) {
            if let Some(Slot::Live(_, live)) = self.slots.remove(&region) {
                self.ranges.remove(&live.range.start);
            }
            // It was drained: its applier is not at work any more.
            self.shadows.remove(&region);
            self.last_installs.remove(&region);
        }
        self.bury(region, tombstone);
        self.debug_assert_sound();
    }

    /// A tombstone was found, or is durable now.
    pub fn bury(&mut self, region: RegionId, tombstone: Tombstone) {
        let known = self.doors.tombstones.entry(region).or_insert(tombstone);
        if known.min_next < tombstone.min_next {
            *known = tombstone;
        }
    }

    /// What is left of the region's last peer here, where one was destroyed.
    #[must_use]
    pub fn tombstone(&self, region: RegionId) -> Option<&Tombstone> {
        self.doors.tombstones.get(&region)
    }

    /// The answer to a message that [`Self::admit`] wants confirmed.
    #[must_use]
    pub fn confirm(&self, asked: &PeerMessage) -> PeerMessage {
        let known = self.tombstone(asked.region).map_or(asked.epoch, |it| it.epoch);
        confirmation(asked, known)
    }

    /// A live region has other members.
    pub fn change_members(&mut self, peer: PeerId, region: &Region) {
        if let Some(Slot::Live(found, live)) = self.slots.get_mut(&region.id)
            && *found == peer
        {
            debug_assert_eq!(live.range, region.range, "a change of members moves no border");
            live.peers.clone_from(&region.peers);
            live.epoch = region.epoch;
        }
        self.change_claim(peer, region);
    }

    /// The parts of `range` that no region owns or has claimed, by their keys, nor owned when this run took it out of
    /// service.
    #[must_use]
    pub fn unowned_parts(&self, range: &KeyRange) -> Vec<KeyRange> {
        let held = self.holders(range).map(|(_, held)| held);
        let shadows = self.shadows.values().filter(|shadow| shadow.overlaps(range));
        let mut held: Vec<&KeyRange> = held.chain(shadows).collect();
        held.sort_unstable_by_key(|held| &held.start);
        let mut parts = Vec::new();
        let mut start = range.start.clone();
        for held in held {
            if start < held.start {
                parts.push(KeyRange { start: start.clone(), end: held.start.clone() });
            }
            if held.end.is_empty() {
                return parts;
            }
            start = start.max(held.end.clone());
        }
        let rest = KeyRange { start, end: range.end.clone() };
        if !rest.is_empty() {
            parts.push(rest);
        }
        parts
    }

    /// Refuses a peer that may not begin here.
    pub(crate) fn check_door(&self, region: RegionId, peer: PeerId) -> Result<(), ClaimError> {
        if self.doors.refuses(region, peer) {
            return Err(ClaimError::Gone { region, peer });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, Index, Peer, StoreId, Term};
    use flotilla_raftgroup::Message;

    use super::*;
    use crate::claim::tests::{self as claim, arrival};

    const REGION: RegionId = RegionId(2);

    fn table() -> RegionTable {
        RegionTable::new(StoreId(1))
    }

    fn tombstone(min_next: u64) -> Tombstone {
        Tombstone { min_next: PeerId(min_next), epoch: Epoch::FIRST }
    }

    fn region(start: &'static str, end: &'static str) -> Region {
        let peers = vec![Peer::voter(PeerId(20), StoreId(1))];
        Region { id: REGION, range: KeyRange::new(start, end), epoch: Epoch::FIRST, peers }
    }

    fn message(kind: MessageKind, to: u64) -> PeerMessage {
        PeerMessage {
            region: REGION,
            from: Peer::voter(PeerId(99), StoreId(2)),
            to: Peer::voter(PeerId(to), StoreId(1)),
            epoch: Epoch::FIRST,
            matched_by_all: Index(0),
            message: Message::new(kind, PeerId(99), PeerId(to), Term(6)),
        }
    }

    #[test]
    fn a_slot_is_claimed_or_let_go() {
        let mut table = table();
        assert!(!table.let_go(REGION, PeerId(20)), "nobody is there");
        assert_eq!(table.claim_split(REGION, PeerId(20)), SplitClaim::Create);
        assert_eq!(table.claim_split(REGION, PeerId(20)), SplitClaim::Held);
        assert!(!table.let_go(REGION, PeerId(20)), "its data is on its way");
        table.born(REGION);
        assert!(!table.let_go(REGION, PeerId(21)), "another peer");
        assert!(table.let_go(REGION, PeerId(20)));
        assert_eq!(table.claim_split(REGION, PeerId(20)), SplitClaim::Skip);
        assert!(table.initialise(PeerId(20), &region("", "")).is_err());
    }

    /// The host tells it so behind the table's lock, and its replica may be at work meanwhile.
    #[test]
    fn a_child_that_does_not_know_its_data_yet_neither_goes_nor_is_given_any() {
        let mut table = table();
        let parent = |start| Region { id: RegionId(3), ..region(start, "d") };
        table.initialise(PeerId(30), &parent("b")).expect("free");
        assert_eq!(table.claim_split(REGION, PeerId(21)), SplitClaim::Create);
        let child = arrival(claim::region(2, "b", "c"));
        table.split(&parent("c"), &[(PeerId(21), &child.meta.region)]).expect("claimed");
        assert!(!table.let_go(REGION, PeerId(21)), "it would not know what it leaves");
        let refused = table.claim_install(&child);
        assert_eq!(refused, Err(ClaimError::Unborn(REGION)));
        table.born(REGION);
        table.claim_install(&child).expect("its own");
        assert!(table.let_go(REGION, PeerId(21)));
    }

    #[test]
    fn a_tombstone_keeps_its_peers_out() {
        let mut table = table();
        table.initialise(PeerId(20), &region("b", "d")).expect("free");
        assert!(table.let_go(REGION, PeerId(20)));
        assert_eq!(table.region_of(b"c").map(|it| it.id), Some(REGION), "until it is durable");
        table.release(REGION, PeerId(20), tombstone(21));
        assert_eq!((table.region_of(b"c"), table.slot(REGION)), (None, None));
        let admit = |table: &RegionTable, kind, to| table.admit(&message(kind, to));
        let buried = Admission::Drop(DropReason::Buried);
        assert_eq!(admit(&table, MessageKind::RequestVote, 20), buried);
        assert_eq!(admit(&table, MessageKind::PeerGone, 20), Admission::Confirm);
        let answer = table.confirm(&message(MessageKind::PeerGone, 20));
        assert_eq!(answer.message.kind, MessageKind::GoneConfirmed);
        assert_eq!((answer.from.id, answer.to.id), (PeerId(20), PeerId(99)));
        let created = Admission::Create(PeerId(21));
        assert_eq!(admit(&table, MessageKind::RequestVote, 21), created);
        assert_eq!(table.claim_split(REGION, PeerId(20)), SplitClaim::Skip);
        assert!(table.create_uninitialised(REGION, PeerId(20)).is_err());
        assert!(table.initialise(PeerId(20), &region("b", "d")).is_err());
        table.bury(REGION, tombstone(15));
        assert_eq!(admit(&table, MessageKind::RequestVote, 20), buried, "the newer one counts");
        assert_eq!(table.claim_split(REGION, PeerId(21)), SplitClaim::Create);
    }

    #[test]
    fn a_region_keeps_its_keys_when_its_members_change() {
        let mut table = table();
        table.initialise(PeerId(20), &region("b", "d")).expect("free");
        let mut changed = region("b", "d");
        changed.epoch.conf_ver = changed.epoch.conf_ver.next();
        changed.peers.push(Peer::voter(PeerId(23), StoreId(3)));
        table.change_members(PeerId(21), &changed);
        assert_eq!(table.region_of(b"c"), Some(&region("b", "d")), "another peer");
        table.change_members(PeerId(20), &changed);
        assert_eq!(table.region_of(b"c"), Some(&changed));
    }
}
