//! Tombstones: the batch that buries a peer takes away everything else of it, and orders its keys to be cleaned. What it
//! forgets stays for ever: nobody looks for it, and no later peer of the region may begin here.

use flotilla_base::{Family, KvRead, Mutation, RegionId, ScanDirection, StoreId};
use flotilla_multiraft::Cleanup;
use flotilla_multiraft::destroy::put_cleanup;
use flotilla_multiraft::persist::{Applying, RegionState, read_region_state};
use flotilla_raftgroup::disk;

use super::log_matching::position_of;
use super::membership::TOMBSTONE_KIND;
use super::{Place, Verdict, require};

const NOTHING_LEFT: &str = "nothing but its tombstone is left of a destroyed peer";
const CLEANED: &str = "the keys of a destroyed peer are to be cleaned";

/// First bytes of the keys of what else a peer has: its region, its mark, and whom the region has removed.
const OTHER_KINDS: [u8; 3] = [0x10, 0x11, 0x14];

/// A batch is about to be written to a store; `image` does not show it yet.
///
/// # Errors
/// It buries a peer that owns keys, and does not order them to be cleaned.
pub fn check_orders(store: StoreId, batch: &[Mutation], image: &dyn KvRead) -> Verdict {
    for region in buried(batch) {
        let (peer, range) = match read_region_state(image, region) {
            Ok(Some(RegionState::Normal(peer, shape))) => (peer, shape.range),
            Ok(Some(RegionState::Applying(Applying { peer, clean, .. }))) => (peer, clean),
            // Nobody can tell what a damaged record has said.
            Ok(_) | Err(_) => continue,
        };
        let order = put_cleanup(&Cleanup { region, peer, range: range.clone() });
        require(batch.contains(&order), CLEANED, || {
            format!("{}: {range} of peer {peer}", Place(store, region))
        })?;
    }
    Ok(())
}

/// A batch was written to a store; `image` shows it.
///
/// # Errors
/// It buries a peer, and something of it is still there.
pub fn check_rest(store: StoreId, batch: &[Mutation], image: &dyn KvRead) -> Verdict {
    for region in buried(batch) {
        let mut entry = None;
        let log = disk::log_range(region);
        let forward = ScanDirection::Forward;
        let _readable = image.scan(Family::RaftLog, &log, forward, &mut |key, _| {
            entry = Some(position_of(key).1);
            false
        });
        let is_there = |kind: u8| {
            let found = image.get(Family::RaftMeta, &disk::meta_key(kind, region));
            !matches!(found, Ok(None))
        };
        let other = OTHER_KINDS.into_iter().find(|kind| is_there(*kind));
        let raft = disk::read_raft_state(image, region).ok().flatten();
        let apply = disk::read_apply_state(image, region).ok().flatten();
        let is_empty = entry.is_none() && other.is_none() && raft.is_none() && apply.is_none();
        require(is_empty, NOTHING_LEFT, || {
            let place = Place(store, region);
            format!("{place}: entry {entry:?}, record {other:?}, {raft:?}, {apply:?}")
        })?;
    }
    Ok(())
}

/// The regions whose peers are buried with a batch.
fn buried(batch: &[Mutation]) -> impl Iterator<Item = RegionId> {
    batch.iter().filter_map(|mutation| match mutation {
        Mutation::Put(Family::RaftMeta, key, _) if key.first() == Some(&TOMBSTONE_KIND) => {
            Some(position_of(&key[1..]).0)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, KeyRange, PeerId};
    use flotilla_multiraft::Tombstone;
    use flotilla_multiraft::destroy::put_tombstone;
    use flotilla_multiraft::persist::put_region_state;

    use super::*;
    use crate::judge::membership::is_buried;
    use crate::judge::samples::{
        ONE, REGION, append, apply_state, broken, disk, entry, position, raft_state, region,
    };

    const PEER: PeerId = PeerId(201);

    fn tombstone() -> Mutation {
        put_tombstone(REGION, &Tombstone { min_next: PEER.next(), epoch: Epoch::FIRST })
    }

    fn normal() -> Mutation {
        put_region_state(REGION, &RegionState::Normal(PEER, region()))
    }

    #[test]
    fn what_is_left_beside_a_tombstone_is_found() {
        let judge = |left: Vec<Mutation>| {
            let batch = [tombstone()];
            let disk = disk([left, batch.to_vec()]);
            check_rest(ONE.0, &batch, disk.image().as_ref())
        };
        assert_eq!(judge(Vec::new()), Ok(()));
        let mark = put_region_state(REGION, &RegionState::Uninitialised(PEER));
        let removed = flotilla_multiraft::removal::put_removed(REGION, &[region().peers[1]]);
        let apply = apply_state(position(5, 5), 0);
        for left in [normal(), mark, removed, apply, raft_state(6, 0, position(5, 5))] {
            assert_eq!(broken(judge(vec![left])), NOTHING_LEFT);
        }
        assert_eq!(broken(judge(append(5, &[entry(6, 6, "k", "1:")]))), NOTHING_LEFT);
        assert!(is_buried(REGION, disk([vec![tombstone()]]).synced()));
    }

    #[test]
    fn keys_that_nobody_is_to_clean_are_found() {
        let judge = |known: Vec<Mutation>, batch: &[Mutation]| {
            check_orders(ONE.0, batch, disk([known]).image().as_ref())
        };
        assert_eq!(judge(Vec::new(), &[tombstone()]), Ok(()), "it owned no keys");
        assert_eq!(broken(judge(vec![normal()], &[tombstone()])), CLEANED);
        let order = |range| put_cleanup(&Cleanup { region: REGION, peer: PEER, range });
        let sound = [tombstone(), order(region().range)];
        assert_eq!(judge(vec![normal()], &sound), Ok(()));
        let half = [tombstone(), order(KeyRange::new("a", "b"))];
        assert_eq!(broken(judge(vec![normal()], &half)), CLEANED);
    }
}
