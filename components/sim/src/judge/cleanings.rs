//! What destroyed peers left is deleted around what others have by then, as their own records on the disk say.

use flotilla_base::{Family, KeyRange, KvRead, Mutation, RegionId, StoreId};
use flotilla_multiraft::persist::{RegionState, read_region_state};

use super::{Place, Verdict, require};

const NOBODY: &str = "what is being deleted is nobody's";

/// Judges a batch that cleans, before it is written: `image` does not show it, and `regions` have peers on the store.
///
/// # Errors
/// It deletes keys that one of them owns, or is being given.
pub fn check(
    store: StoreId,
    batch: &[Mutation],
    mut regions: impl Iterator<Item = RegionId>,
    image: &dyn KvRead,
) -> Verdict {
    let deleted = || {
        batch.iter().filter_map(|mutation| match mutation {
            Mutation::DeleteRange(Family::Raw, range) => Some(range),
            _ => None,
        })
    };
    regions.try_for_each(|region| {
        let Some(held) = held(region, image) else { return Ok(()) };
        let hit = deleted().find(|range| range.overlaps(&held));
        require(hit.is_none(), NOBODY, || {
            format!("{}: has {held:?}, and {hit:?} is deleted", Place(store, region))
        })
    })
}

fn held(region: RegionId, image: &dyn KvRead) -> Option<KeyRange> {
    match read_region_state(image, region).ok().flatten()? {
        RegionState::Normal(_, region) => Some(region.range),
        RegionState::Applying(applying) => Some(applying.clean),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{PeerId, Region};
    use flotilla_multiraft::StageNumber;
    use flotilla_multiraft::persist::{Applying, put_region_state};

    use super::*;
    use crate::judge::samples::{ONE, broken, disk, region};

    #[test]
    fn a_deletion_of_what_somebody_has_is_found() {
        let own = Region { range: KeyRange::new("c", "f"), ..region() };
        let clean = own.range.clone();
        let applying =
            Applying { peer: PeerId(201), region: own.clone(), clean, stage: StageNumber(1) };
        let deletes =
            |start, end| vec![Mutation::DeleteRange(Family::Raw, KeyRange::new(start, end))];
        for state in [RegionState::Normal(PeerId(201), own), RegionState::Applying(applying)] {
            let disk = disk([vec![put_region_state(ONE.1, &state)]]);
            let judge =
                |start, end| check(ONE.0, &deletes(start, end), [ONE.1].into_iter(), disk.synced());
            assert_eq!(broken(judge("a", "d")), NOBODY);
            assert_eq!(broken(judge("a", "z")), NOBODY);
            assert_eq!((judge("a", "c"), judge("f", "z")), (Ok(()), Ok(())));
            let others = check(ONE.0, &deletes("a", "z"), std::iter::empty(), disk.synced());
            assert_eq!(others, Ok(()), "it has no peer here");
        }
    }
}
