//! Claims: a peer that is given a snapshot has its range in the [`RegionTable`] before anything is destroyed, and
//! while it is. What it owned stays its own, and what it is to own must be nobody else's: not a live region's that has
//! not applied its split yet, not that of a peer out of service whose applier is still at work, and nothing that is being
//! deleted ([`crate::cleaning`]). Such a snapshot is refused, and its sender tries again later.

use flotilla_base::{KeyRange, PeerId, PeerRole, Region, RegionId};

use crate::input::PeerMessage;
use crate::install::Arrival;
use crate::persist::Applying;
use crate::region_table::{ClaimError, RegionTable, Slot};
use crate::snapshot::SnapshotMeta;

/// What a peer holds while it is being given a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Nobody else owns a key of it.
    range: KeyRange,
    /// What the peer was before; `None` without data.
    before: Option<Region>,
}

impl RegionTable {
    /// Claims the range of a snapshot that has arrived, for the peer that it is for.
    ///
    /// # Errors
    /// [`ClaimError`]; nothing changed then. The sender may try again later.
    pub fn claim_install(&mut self, arrival: &Arrival) -> Result<(), ClaimError> {
        let claim = self.check_install(&arrival.message, &arrival.meta)?;
        self.hold(arrival.message.to.id, arrival.meta.region.id, claim);
        Ok(())
    }

    /// What [`Self::claim_install`] would claim: to be asked when a snapshot begins to arrive, too. What is refused then
    /// need not be sent.
    ///
    /// # Errors
    /// As there.
    pub fn check_install(
        &self,
        message: &PeerMessage,
        meta: &SnapshotMeta,
    ) -> Result<Claim, ClaimError> {
        let (peer, region) = (message.to.id, &meta.region);
        let is_sane = region.id == message.region
            && region.validate().is_ok()
            && region.peers.iter().filter(|it| it.store == self.store()).count() == 1
            && region.peer_on(self.store()).is_some_and(|it| it.id == peer)
            && region.peer(message.from.id).is_some()
            // Raft starts no group that nobody could lead.
            && region.peers.iter().any(|it| it.role != PeerRole::Learner);
        if !is_sane {
            return Err(ClaimError::Senseless(message.region));
        }
        self.check_door(region.id, peer)?;
        if self.doors.is_claimed(region.id) {
            return Err(ClaimError::Unborn(region.id));
        }
        let before = match self.slots.get(&region.id) {
            Some(Slot::Uninitialised(found)) if *found == peer => None,
            Some(Slot::Live(found, before)) if *found == peer => Some(before.clone()),
            slot => {
                let found = slot.map_or(PeerId(0), Slot::peer);
                return Err(ClaimError::OtherPeer { region: region.id, found, wanted: peer });
            }
        };
        let range = match &before {
            Some(before) if before.range.covers(&region.range) => before.range.clone(),
            Some(_) => return Err(ClaimError::Senseless(region.id)),
            None => self.check_free(region)?,
        };
        Ok(Claim { range, before })
    }

    /// Claims the range of an install that a crash interrupted.
    ///
    /// # Errors
    /// [`ClaimError`]; nothing changed then.
    pub fn claim_again(&mut self, applying: &Applying) -> Result<(), ClaimError> {
        let Applying { peer, region, clean, .. } = applying;
        self.check_door(region.id, *peer)?;
        if let Some(slot) = self.slots.get(&region.id) {
            let (found, wanted) = (slot.peer(), *peer);
            return Err(ClaimError::OtherPeer { region: region.id, found, wanted });
        }
        self.check_unowned(region.id, clean)?;
        self.hold(*peer, region.id, Claim { range: clean.clone(), before: None });
        Ok(())
    }

    /// Names the last install that has begun here, zero for none; changes before anything of the region's data is deleted.
    /// A reader that finds the same number before it asks for leave to read, and behind its view, has no view of an
    /// install's middle: none began in between, and while one was under way nobody gave leave. It is forgotten with the
    /// region's peer, and no other install has the same, of a later peer neither.
    #[must_use]
    pub fn last_install(&self, region: RegionId) -> u64 {
        self.last_installs.get(&region).copied().unwrap_or(0)
    }

    /// The peer is as it was.
    pub fn release_claim(&mut self, region: RegionId, peer: PeerId) {
        let Some(Slot::Installing(found, claim)) = self.slots.get(&region) else { return };
        if *found != peer {
            return;
        }
        let Claim { range, before } = claim.clone();
        let slot = match before {
            Some(before) => Slot::Live(peer, before),
            None => {
                self.ranges.remove(&range.start);
                Slot::Uninitialised(peer)
            }
        };
        self.slots.insert(region, slot);
        self.debug_assert_sound();
    }

    /// The peer has the data of the snapshot, and owns what that says.
    pub fn installed(&mut self, region: &Region, peer: PeerId) {
        let Some(Slot::Installing(found, Claim { range, .. })) = self.slots.get(&region.id) else {
            return;
        };
        if *found != peer {
            return;
        }
        assert!(range.covers(&region.range), "an install takes keys that it did not claim");
        let start = range.start.clone();
        self.ranges.remove(&start);
        self.ranges.insert(region.range.start.clone(), region.id);
        self.slots.insert(region.id, Slot::Live(peer, region.clone()));
        self.debug_assert_sound();
    }

    /// What a region owns or has claimed.
    pub(crate) fn held(&self, region: RegionId) -> Option<&KeyRange> {
        match self.slots.get(&region) {
            Some(Slot::Live(_, live)) => Some(&live.range),
            Some(Slot::Installing(_, claim)) => Some(&claim.range),
            _ => None,
        }
    }

    /// Whether keys of `range` are claimed for a peer that has no data yet: it may get none, and own nothing.
    pub(crate) fn is_promised(&self, range: &KeyRange) -> bool {
        self.holders(range).any(|(region, _)| {
            matches!(self.slots.get(&region), Some(Slot::Installing(_, claim)) if claim.before.is_none())
        })
    }

    /// A region was split whose peer is about to be given a snapshot, or is out of service: its children have the
    /// rest.
    pub(crate) fn split_claim(&mut self, parent: &Region) {
        if let Some(shadow) = self.shadows.get_mut(&parent.id) {
            *shadow = parent.range.clone();
        }
        let Some(Slot::Installing(peer, claim)) = self.slots.get(&parent.id).cloned() else {
            return;
        };
        self.ranges.remove(&claim.range.start);
        let claim = Claim { range: parent.range.clone(), before: Some(parent.clone()) };
        self.hold(peer, parent.id, claim);
    }

    /// A region has other members whose peer is about to be given a snapshot: that is what it goes back to.
    pub(crate) fn change_claim(&mut self, peer: PeerId, region: &Region) {
        if let Some(Slot::Installing(found, claim)) = self.slots.get_mut(&region.id)
            && *found == peer
            && let Some(before) = &mut claim.before
        {
            debug_assert_eq!(before.range, region.range, "a change of members moves no border");
            *before = region.clone();
        }
    }

    fn check_free(&self, region: &Region) -> Result<KeyRange, ClaimError> {
        self.check_unowned(region.id, &region.range)?;
        match self.shadows.iter().find(|(_, range)| range.overlaps(&region.range)) {
            Some((owner, _)) => Err(ClaimError::Overlap { region: region.id, owner: *owner }),
            None => Ok(region.range.clone()),
        }
    }

    fn hold(&mut self, peer: PeerId, region: RegionId, claim: Claim) {
        self.installs_begun += 1;
        self.last_installs.insert(region, self.installs_begun);
        self.ranges.insert(claim.range.start.clone(), region);
        self.slots.insert(region, Slot::Installing(peer, claim));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flotilla_base::{Epoch, Index, Peer, StoreId, Term};
    use flotilla_raftgroup::{ApplyState, LogPosition, Message, MessageKind};

    use super::*;
    use crate::destroy::Tombstone;
    use crate::install::StageNumber;

    pub(crate) fn region(id: u64, start: &'static str, end: &'static str) -> Region {
        let peer = |store| Peer::voter(PeerId(id * 10 + store), StoreId(store));
        let (id, peers) = (RegionId(id), (1..=3).map(peer).collect());
        Region { id, range: KeyRange::new(start, end), epoch: Epoch::FIRST, peers }
    }

    /// From the peer on store 2 to that on store 1.
    pub(crate) fn arrival(region: Region) -> Arrival {
        let (to, from) = (region.peers[0], region.peers[1]);
        let message = PeerMessage {
            region: region.id,
            from,
            to,
            epoch: region.epoch,
            matched_by_all: Index(0),
            message: Message::new(MessageKind::Snapshot, from.id, to.id, Term(6)),
        };
        let apply = ApplyState::starting_at(LogPosition { term: Term(6), index: Index(9) });
        let meta = SnapshotMeta { region, apply, removed: Vec::new() };
        Arrival { message, meta, stage: StageNumber(1) }
    }

    fn table() -> RegionTable {
        let mut table = RegionTable::new(StoreId(1));
        table.initialise(PeerId(21), &region(2, "b", "p")).expect("free");
        table
    }

    #[test]
    fn a_live_region_keeps_its_range_until_it_has_less() {
        let mut table = table();
        table.claim_install(&arrival(region(2, "g", "p"))).expect("a part of its own");
        assert_eq!(table.region_of(b"h"), None, "nobody reads it");
        assert!(table.initialise(PeerId(31), &region(3, "c", "d")).is_err(), "it is held");
        table.release_claim(RegionId(2), PeerId(21));
        assert_eq!(table.region_of(b"c").map(|it| it.id), Some(RegionId(2)));
        table.claim_install(&arrival(region(2, "g", "p"))).expect("again");
        let again = table.claim_install(&arrival(region(2, "g", "p")));
        assert!(matches!(again, Err(ClaimError::OtherPeer { .. })), "one at a time");
        table.installed(&region(2, "g", "p"), PeerId(21));
        assert_eq!(table.region_of(b"c"), None);
        table.initialise(PeerId(31), &region(3, "c", "d")).expect("free now");
    }

    /// By hand: a reader looks, is preempted over a whole install, takes its view somewhere in the middle, and looks again.
    #[test]
    fn a_reader_that_slept_through_an_install_is_told() {
        let mut table = table();
        let (region_2, peer) = (region(2, "b", "p"), PeerId(21));
        let shape = |table: &RegionTable| table.slot(RegionId(2)).cloned();
        let before = (table.last_install(RegionId(2)), shape(&table));
        table.claim_install(&arrival(region_2.clone())).expect("its own");
        table.installed(&region_2, peer);
        assert_eq!(shape(&table), before.1, "the shape says nothing");
        assert_ne!(table.last_install(RegionId(2)), before.0);
        // One that came to nothing counts as well: nobody can tell, and the reader asks again.
        let before = table.last_install(RegionId(2));
        table.claim_install(&arrival(region_2)).expect("its own");
        table.release_claim(RegionId(2), peer);
        assert_ne!(table.last_install(RegionId(2)), before);
        assert_eq!(table.last_install(RegionId(3)), 0, "others are not held up");
    }

    /// A store that regions come to and leave again for years remembers none of them, and a reader that slept through an
    /// end and a new begin is told all the same.
    #[test]
    fn an_install_is_forgotten_with_its_peer_and_is_no_later_one() {
        let mut table = table();
        let install = |table: &mut RegionTable| {
            let arrival = arrival(region(2, "b", "p"));
            let peer = arrival.message.to.id;
            table.claim_install(&arrival).expect("its own");
            table.installed(&region(2, "b", "p"), peer);
            table.last_install(RegionId(2))
        };
        let before = install(&mut table);
        assert!(table.let_go(RegionId(2), PeerId(21)));
        table.release(
            RegionId(2),
            PeerId(21),
            Tombstone { min_next: PeerId(0), epoch: Epoch::FIRST },
        );
        assert!(table.last_installs.is_empty());
        table.initialise(PeerId(21), &region(2, "b", "p")).expect("free");
        assert_ne!(install(&mut table), before);
    }

    #[test]
    fn what_others_own_or_owned_is_refused() {
        let mut table = table();
        table.create_uninitialised(RegionId(3), PeerId(31)).expect("absent");
        let child = || arrival(region(3, "b", "g"));
        let refused = table.claim_install(&child());
        assert!(matches!(refused, Err(ClaimError::Overlap { owner: RegionId(2), .. })));
        table.quarantine(RegionId(2), PeerId(21));
        let refused = table.claim_install(&child());
        assert!(matches!(refused, Err(ClaimError::Overlap { owner: RegionId(2), .. })));
        table.split(&region(2, "g", "p"), &[]).expect("its applier goes on");
        table.claim_install(&child()).expect("nobody writes there any more");
        table.release_claim(RegionId(3), PeerId(31));
        assert_eq!(table.slot(RegionId(3)), Some(&Slot::Uninitialised(PeerId(31))));
        table.initialise(PeerId(41), &region(4, "b", "g")).expect("released");
    }

    #[test]
    fn a_snapshot_that_is_not_for_the_peer_here_is_refused() {
        let senseless = |change: fn(&mut Arrival)| {
            let mut arrival = arrival(region(2, "b", "p"));
            change(&mut arrival);
            let refused = table().claim_install(&arrival);
            assert!(matches!(refused, Err(ClaimError::Senseless(_))), "{refused:?}");
        };
        senseless(|it| {
            it.meta.region.peers.iter_mut().for_each(|peer| peer.role = PeerRole::Learner);
        });
        senseless(|it| it.meta.region.id = RegionId(3));
        senseless(|it| it.meta.region.peers[0].id = PeerId(24));
        senseless(|it| it.meta.region.peers[0].store = StoreId(4));
        senseless(|it| it.meta.region.peers[1].id = PeerId(24));
        senseless(|it| it.meta.region.range = KeyRange::new("p", "b"));
        senseless(|it| it.meta.region.range = KeyRange::new("a", "p"));
        senseless(|it| it.message.to.id = PeerId(22));
    }

    /// Whoever says that the peer may go gave it up, whatever is still on its way to it.
    #[test]
    fn a_peer_that_goes_gives_up_its_claim_and_gets_no_other() {
        let mut table = table();
        table.claim_install(&arrival(region(2, "g", "p"))).expect("its own");
        assert!(table.let_go(RegionId(2), PeerId(21)));
        assert_eq!(table.region_of(b"c").map(|it| it.id), Some(RegionId(2)), "as it was");
        let refused = table.claim_install(&arrival(region(2, "g", "p")));
        assert!(matches!(refused, Err(ClaimError::Gone { .. })), "{refused:?}");
        table.release_claim(RegionId(2), PeerId(21));
        let tombstone = Tombstone { min_next: PeerId(22), epoch: Epoch::FIRST };
        table.release(RegionId(2), PeerId(21), tombstone);
        assert_eq!((table.slot(RegionId(2)), table.region_of(b"c")), (None, None));
        let refused = table.claim_install(&arrival(region(2, "g", "p")));
        assert!(matches!(refused, Err(ClaimError::Gone { .. })), "{refused:?}");
        assert!(table.ranges.is_empty());
    }

    #[test]
    fn a_damaged_peer_that_ends_leaves_room() {
        let mut table = table();
        table.quarantine(RegionId(2), PeerId(21));
        table.create_uninitialised(RegionId(3), PeerId(31)).expect("absent");
        assert!(table.claim_install(&arrival(region(3, "b", "g"))).is_err(), "it may still write");
        assert!(table.let_go(RegionId(2), PeerId(21)));
        let tombstone = Tombstone { min_next: PeerId(22), epoch: Epoch::FIRST };
        table.release(RegionId(2), PeerId(21), tombstone);
        table.claim_install(&arrival(region(3, "b", "g"))).expect("nobody else is there");
    }

    /// What a destroyed peer left is cleaned around what somebody else has been given since, or is being given.
    #[test]
    fn a_claim_is_not_cleaned() {
        let mut table = table();
        table.create_uninitialised(RegionId(3), PeerId(31)).expect("absent");
        table.claim_install(&arrival(region(3, "r", "t"))).expect("free");
        let parts = |table: &RegionTable| {
            let parts = table.unowned_parts(&KeyRange::new("a", "z")).into_iter();
            parts.map(|part| part.to_string()).collect::<Vec<_>>()
        };
        let expected = ["[a, b)", "[p, r)", "[t, z)"];
        assert_eq!(parts(&table), expected);
        // Where it is given up nobody else would clean it.
        assert!(table.is_promised(&KeyRange::new("s", "z")));
        assert!(!table.is_promised(&KeyRange::new("t", "z")));
        table.installed(&region(3, "r", "t"), PeerId(31));
        assert_eq!(parts(&table), expected);
        assert!(!table.is_promised(&KeyRange::new("a", "z")));
        table.claim_install(&arrival(region(2, "g", "p"))).expect("its own");
        assert!(!table.is_promised(&KeyRange::new("a", "z")), "it has had data");
    }

    #[test]
    fn members_that_change_under_a_claim_are_kept() {
        let mut table = table();
        table.claim_install(&arrival(region(2, "b", "p"))).expect("its own");
        let mut changed = region(2, "b", "p");
        changed.epoch.conf_ver = changed.epoch.conf_ver.next();
        changed.peers.pop();
        table.change_members(PeerId(21), &changed);
        table.release_claim(RegionId(2), PeerId(21));
        assert_eq!(table.region_of(b"c"), Some(&changed));
    }

    #[test]
    fn a_split_leaves_a_claim_what_the_parent_keeps() {
        let mut table = table();
        table.claim_install(&arrival(region(2, "g", "p"))).expect("its own");
        table.create_uninitialised(RegionId(3), PeerId(31)).expect("absent");
        table.split(&region(2, "g", "p"), &[(PeerId(31), &region(3, "b", "g"))]).expect("sound");
        assert_eq!(table.region_of(b"c").map(|it| it.id), Some(RegionId(3)));
        table.installed(&region(2, "g", "p"), PeerId(21));
        assert_eq!(table.regions().count(), 2);
    }
}
