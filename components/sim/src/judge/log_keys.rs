//! Keys of the log: put only where they are absent, deleted only where they are present. The engine uses
//! single deletes there, which are sound for nothing else.

use std::collections::BTreeMap;

use flotilla_base::{Family, Key, KvRead, Mutation, StoreId};

use super::log_matching::position_of;
use super::{Place, Verdict, require};

const ONCE: &str = "between two puts of a log key stands exactly one delete";

/// Judges a batch that is about to be written to `store`; `image` does not show it yet.
///
/// # Errors
/// It puts a key that is there, or deletes one that is not.
pub fn check(store: StoreId, batch: &[Mutation], image: &dyn KvRead) -> Verdict {
    let mut changed: BTreeMap<&Key, bool> = BTreeMap::new();
    for mutation in batch {
        let (key, is_put) = match mutation {
            Mutation::Put(Family::RaftLog, key, _) => (key, true),
            Mutation::Delete(Family::RaftLog, key) => (key, false),
            _ => continue,
        };
        let is_there = || image.get(Family::RaftLog, key).is_ok_and(|found| found.is_some());
        let is_present = changed.insert(key, is_put).unwrap_or_else(is_there);
        require(is_present != is_put, ONCE, || {
            let (region, index) = position_of(key);
            let what = if is_put { "puts what is there" } else { "deletes what is not there" };
            format!("{}: {what}: entry {index}", Place(store, region))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flotilla_base::Index;
    use flotilla_raftgroup::disk::delete_entries;

    use super::*;
    use crate::judge::samples::{ONE, REGION, append, broken, disk, entry};

    #[test]
    fn a_second_put_and_a_second_delete_are_found() {
        let disk = disk([append(5, &[entry(6, 6, "k", "1:"), entry(6, 7, "k", "2:")])]);
        let judge = |batch: &[Mutation]| check(ONE.0, batch, disk.image().as_ref());
        let replaced = append(7, &[entry(7, 6, "k", "3:")]);
        assert_eq!(judge(&replaced), Ok(()));
        assert_eq!(judge(&append(7, &[entry(6, 8, "k", "3:")])), Ok(()));
        // The old end of the log is not where it is taken to be.
        assert_eq!(broken(judge(&append(6, &[entry(7, 7, "k", "3:")]))), ONCE);
        assert_eq!(broken(judge(&append(8, &[entry(7, 6, "k", "3:")]))), ONCE);
        let mut twice = replaced.clone();
        twice.extend(replaced);
        assert_eq!(broken(judge(&twice)), ONCE);
        let mut deleted = Vec::new();
        delete_entries(REGION, Index(5), Index(6), &mut deleted);
        assert_eq!(broken(judge(&deleted)), ONCE);
    }
}
