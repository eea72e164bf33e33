//! Cleaning: what a destroyed peer left is deleted, where nobody owns it by then.
//!
//! 1. [`RegionTable::begin_cleaning`] sets the parts aside that nobody owns: nobody can own or claim a key of them now;
//! 2. the host writes [`Cleaning::batch`]. That may take long, and nobody waits for it at the table;
//! 3. [`RegionTable::end_cleaning`] gives the parts back.
//!
//! A snapshot for such a part is refused meanwhile, and its sender tries again later. A split never meets one: what its
//! children get is held by their parent until then, and still counts as held where that one is out of service, since its
//! applier may be about to give it away.
//!
//! A crash in front of the write leaves the order on the disk; the write takes it back together with the keys.

use flotilla_base::limit::KEY_BYTES_MAX;
use flotilla_base::{Bug, Family, KeyRange, Mutation, PeerId, RegionId, key};

use crate::destroy::{Cleanup, delete_cleanup};
use crate::region_table::{ClaimError, RegionTable};

/// Keys that are about to be deleted, and are nobody's until [`RegionTable::end_cleaning`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its keys are nobody's until it ends"]
pub struct Cleaning {
    cleanup: Cleanup,
    parts: Vec<KeyRange>,
}

impl Cleaning {
    /// The batch that deletes the keys and takes the order back. It needs no sync.
    #[must_use]
    pub fn batch(&self) -> Vec<Mutation> {
        let mut batch = Vec::new();
        for part in &self.parts {
            let range = bounded(part.clone());
            batch.extend(Family::DATA.map(|family| Mutation::DeleteRange(family, range.clone())));
        }
        batch.push(delete_cleanup(&self.cleanup));
        batch
    }
}

impl RegionTable {
    /// Begins to carry out `cleanup`: what nobody owns of it is set aside.
    ///
    /// `None` while keys of it are being given to a peer without data, which will replace all that stands there, or will
    /// not; or while the same order is being carried out. To be asked again when a claim or a cleaning has ended, or
    /// after a restart; the order stays.
    pub fn begin_cleaning(&mut self, cleanup: &Cleanup) -> Option<Cleaning> {
        let name = name_of(cleanup);
        if self.is_promised(&cleanup.range) || self.cleaned.contains_key(&name) {
            return None;
        }
        // The guard region is always empty.
        let is_filled = |part: &KeyRange| part.start < key::guard_border();
        let parts = if self.seeded.has(Bug::DESTROY_RANGE_AFTER_REUSE) {
            vec![cleanup.range.clone()]
        } else {
            self.unowned_parts(&cleanup.range)
        };
        let parts: Vec<KeyRange> = parts.into_iter().filter(is_filled).collect();
        self.cleaned.insert(name, parts.clone());
        self.debug_assert_sound();
        Some(Cleaning { cleanup: cleanup.clone(), parts })
    }

    /// The batch is written: others may have the keys.
    pub fn end_cleaning(&mut self, cleaning: Cleaning) {
        let parts = self.cleaned.remove(&name_of(&cleaning.cleanup));
        assert_eq!(parts, Some(cleaning.parts), "a cleaning ends once, in the table that began it");
    }

    /// Refuses `region` what is being deleted.
    pub(crate) fn check_not_cleaned(
        &self,
        region: RegionId,
        range: &KeyRange,
    ) -> Result<(), ClaimError> {
        let overlaps = |parts: &Vec<KeyRange>| parts.iter().any(|part| part.overlaps(range));
        match self.cleaned.iter().find(|(_, parts)| overlaps(parts)) {
            Some(((left_by, _), _)) => Err(ClaimError::Cleaning { region, left_by: *left_by }),
            None => Ok(()),
        }
    }
}

/// Each destroyed peer leaves one order.
const fn name_of(cleanup: &Cleanup) -> (RegionId, PeerId) {
    (cleanup.region, cleanup.peer)
}

/// The engine deletes no range without an upper bound. No key is as large as this one.
fn bounded(range: KeyRange) -> KeyRange {
    if !range.end.is_empty() {
        return range;
    }
    KeyRange { end: vec![0xff; 2 * KEY_BYTES_MAX].into(), ..range }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Region, StoreId};
    use proptest::prelude::*;

    use super::*;
    use crate::claim::tests::{arrival, region};
    use crate::install::StageNumber;
    use crate::persist::Applying;

    fn cleanup(start: &'static str, end: &'static str) -> Cleanup {
        Cleanup { region: RegionId(9), peer: PeerId(91), range: KeyRange::new(start, end) }
    }

    /// Regions 2 and 3 live on store 1.
    fn table() -> RegionTable {
        let mut table = RegionTable::new(StoreId(1));
        table.initialise(PeerId(21), &region(2, "c", "f")).expect("free");
        table.initialise(PeerId(31), &region(3, "m", "p")).expect("free");
        table
    }

    fn deleted(cleaning: &Cleaning) -> Vec<String> {
        let ranges = cleaning.batch().into_iter().filter_map(|mutation| match mutation {
            Mutation::DeleteRange(Family::Raw, range) => Some(range.to_string()),
            _ => None,
        });
        ranges.collect()
    }

    #[test]
    fn only_what_nobody_owns_is_cleaned() {
        let mut table = table();
        let mut cleaned = |start, end| {
            let cleaning = table.begin_cleaning(&cleanup(start, end)).expect("nothing is claimed");
            let ranges = deleted(&cleaning);
            table.end_cleaning(cleaning);
            ranges
        };
        assert_eq!(cleaned("a", "z"), ["[a, c)", "[f, m)", "[p, z)"]);
        assert_eq!(cleaned("d", "n"), ["[f, m)"]);
        assert_eq!(cleaned("d", "e"), [""; 0]);
        assert_eq!(cleaned("g", "h"), ["[g, h)"]);
        let owned = table.begin_cleaning(&cleanup("d", "e")).expect("nothing is claimed");
        assert_eq!(owned.batch().len(), 1, "the order is taken back");
        table.end_cleaning(owned);
        let last = table.begin_cleaning(&cleanup("x", "")).expect("nothing is claimed");
        let batch = last.batch();
        assert!(matches!(&batch[0], Mutation::DeleteRange(_, range) if !range.end.is_empty()));
    }

    #[test]
    fn what_is_being_deleted_can_be_nobodys() {
        let mut table = table();
        let cleaning = table.begin_cleaning(&cleanup("a", "z")).expect("nothing is claimed");
        let child = || region(4, "g", "h");
        table.create_uninitialised(RegionId(4), PeerId(41)).expect("it owns no keys");
        let is_refused =
            |refused: &Result<(), ClaimError>| matches!(refused, Err(ClaimError::Cleaning { .. }));
        let refused = table.claim_install(&arrival(child()));
        assert!(is_refused(&refused), "a snapshot: {refused:?}");
        let refused = table.initialise(PeerId(41), &child());
        assert!(is_refused(&refused), "the bootstrap: {refused:?}");
        let applying = Applying {
            peer: PeerId(51),
            region: region(5, "g", "h"),
            clean: KeyRange::new("g", "i"),
            stage: StageNumber(1),
        };
        let refused = table.claim_again(&applying);
        assert!(is_refused(&refused), "a snapshot of an earlier run: {refused:?}");
        // What others own is not held up.
        table.claim_install(&arrival(region(2, "d", "f"))).expect("its own");
        table.end_cleaning(cleaning);
        table.claim_install(&arrival(child())).expect("free now");
    }

    /// Each part is set aside as often as it is being deleted.
    #[test]
    fn one_cleaning_does_not_end_another() {
        let mut table = table();
        table.create_uninitialised(RegionId(4), PeerId(41)).expect("absent");
        let first = table.begin_cleaning(&cleanup("g", "k")).expect("nothing is claimed");
        assert_eq!(table.begin_cleaning(&cleanup("g", "k")), None, "it is under way");
        let other = Cleanup { peer: PeerId(92), ..cleanup("h", "l") };
        let second = table.begin_cleaning(&other).expect("another order");
        table.end_cleaning(first);
        assert!(table.claim_install(&arrival(region(4, "g", "i"))).is_err(), "[h, i) is deleted");
        table.claim_install(&arrival(region(4, "g", "h"))).expect("free");
        table.end_cleaning(second);
    }

    /// Its applier may be about to give a part to a split's child, which finds its data there.
    #[test]
    fn what_a_damaged_peer_held_is_left_to_its_own_end() {
        let mut table = table();
        table.quarantine(RegionId(2), PeerId(21));
        let cleaning = table.begin_cleaning(&cleanup("a", "z")).expect("nothing is claimed");
        assert_eq!(deleted(&cleaning), ["[a, c)", "[f, m)", "[p, z)"]);
        table.create_uninitialised(RegionId(4), PeerId(41)).expect("absent");
        let children = region(4, "c", "d");
        table.split(&region(2, "d", "f"), &[(PeerId(41), &children)]).expect("not set aside");
        table.end_cleaning(cleaning);
    }

    /// What becomes of a piece of the keys.
    #[derive(Clone, Copy, Debug)]
    enum Piece {
        Nobodys,
        Live,
        /// Claimed for a peer that has data.
        Replaced,
        /// Claimed for a peer without data.
        Promised,
        /// Its peer was taken out of service.
        Damaged,
    }

    prop_compose! {
        fn pieces()(
            borders in prop::collection::btree_set(prop::collection::vec(0..4_u8, 0..3), 2..12),
            kinds in prop::collection::vec(
                prop::sample::select(vec![
                    Piece::Nobodys, Piece::Live, Piece::Replaced, Piece::Promised, Piece::Damaged,
                ]),
                12,
            ),
            is_last_open in any::<bool>(),
        ) -> Vec<(KeyRange, Piece)> {
            let borders: Vec<Vec<u8>> = borders.into_iter().collect();
            let mut ranges: Vec<KeyRange> = borders
                .windows(2)
                .map(|pair| KeyRange::new(pair[0].clone(), pair[1].clone()))
                .collect();
            if is_last_open {
                ranges.extend(borders.last().map(|last| KeyRange::new(last.clone(), "")));
            }
            ranges.into_iter().zip(kinds).collect()
        }
    }

    fn table_of(pieces: &[(KeyRange, Piece)]) -> RegionTable {
        let mut table = RegionTable::new(StoreId(1));
        for (id, (range, piece)) in (2..).zip(pieces) {
            let shape = Region { range: range.clone(), ..region(id, "", "") };
            let peer = shape.peers[0].id;
            match piece {
                Piece::Nobodys => continue,
                Piece::Promised => table.create_uninitialised(shape.id, peer).expect("absent"),
                Piece::Live | Piece::Replaced | Piece::Damaged => {
                    table.initialise(peer, &shape).expect("pieces are disjoint");
                }
            }
            match piece {
                Piece::Damaged => table.quarantine(shape.id, peer),
                Piece::Replaced | Piece::Promised => {
                    table.claim_install(&arrival(shape)).expect("its own");
                }
                Piece::Nobodys | Piece::Live => {}
            }
        }
        table
    }

    proptest! {
        /// What is looked up by keys is what a look at everything finds.
        #[test]
        fn only_what_is_near_is_looked_at_and_nothing_is_missed(
            pieces in pieces(),
            start in prop::collection::vec(0..4_u8, 0..3),
            end in prop::option::of(prop::collection::vec(0..4_u8, 1..3)),
        ) {
            let range = KeyRange::new(start, end.unwrap_or_default());
            prop_assume!(!range.is_empty());
            let table = table_of(&pieces);
            let near = || pieces.iter().filter(|(piece, _)| piece.overlaps(&range));
            let is_promised = near().any(|(_, piece)| matches!(piece, Piece::Promised));
            prop_assert_eq!(table.is_promised(&range), is_promised);
            let holds = |it: &&(KeyRange, Piece)| !matches!(it.1, Piece::Nobodys | Piece::Damaged);
            let held: Vec<&KeyRange> = near().filter(holds).map(|(piece, _)| piece).collect();
            let found: Vec<&KeyRange> = table.holders(&range).map(|(_, held)| held).collect();
            prop_assert_eq!(found, held);
            let parts = table.unowned_parts(&range);
            let owned = |key: &[u8]| {
                let owner = pieces.iter().find(|(piece, _)| piece.contains(key));
                owner.is_some_and(|(_, piece)| !matches!(piece, Piece::Nobodys))
            };
            // Every border, and a key behind each: nothing changes in between.
            let borders = pieces.iter().flat_map(|(piece, _)| [&piece.start, &piece.end]);
            for border in borders.chain([&range.start, &range.end]) {
                for key in [&border[..], &[&border[..], b"\0"].concat()] {
                    let is_free = range.contains(key) && !owned(key);
                    prop_assert_eq!(parts.iter().any(|part| part.contains(key)), is_free);
                }
            }
            prop_assert!(parts.windows(2).all(|two| two[0].end <= two[1].start));
        }
    }
}
