//! Keys of the raft log: region and index, big-endian, so that a region's log is one range in order.

use flotilla_base::{Index, KeyRange, RegionId};

const NUMBER_BYTES: usize = 8;
const KEY_BYTES: usize = 2 * NUMBER_BYTES;

/// The key of one entry in family `raftlog`.
#[must_use]
pub fn raft_log_key(region: RegionId, index: Index) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..NUMBER_BYTES].copy_from_slice(&region.get().to_be_bytes());
    key[NUMBER_BYTES..].copy_from_slice(&index.get().to_be_bytes());
    key
}

/// Region and index of a key of family `raftlog`; `None` where `key` is not 16 bytes long.
#[must_use]
pub fn parse_raft_log_key(key: &[u8]) -> Option<(RegionId, Index)> {
    let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
    let (region, index) = key.split_at(NUMBER_BYTES);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte));
    Some((RegionId(number(region)), Index(number(index))))
}

/// The keys of the entries `[from, to)` of a region.
#[must_use]
pub fn log_range(region: RegionId, from: Index, to: Index) -> KeyRange {
    KeyRange::new(raft_log_key(region, from).to_vec(), raft_log_key(region, to).to_vec())
}

/// The keys of all entries of a region.
#[must_use]
pub fn region_log_range(region: RegionId) -> KeyRange {
    // The last region id has no successor; its range then has no upper bound, which is right as well.
    let end = region.get().checked_add(1);
    let end = end.map(|next| raft_log_key(RegionId(next), Index(0)).to_vec());
    KeyRange::new(raft_log_key(region, Index(0)).to_vec(), end.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = u64> {
        prop_oneof![0..3_u64, u64::MAX - 2..=u64::MAX, any::<u64>()]
    }

    proptest! {
        #[test]
        fn keys_are_read_back_and_sort_as_their_positions(
            a in (numbers(), numbers()),
            b in (numbers(), numbers()),
        ) {
            let key = |(region, index)| raft_log_key(RegionId(region), Index(index));
            prop_assert_eq!(parse_raft_log_key(&key(a)), Some((RegionId(a.0), Index(a.1))));
            prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
            prop_assert_eq!(region_log_range(RegionId(a.0)).contains(&key(b)), a.0 == b.0);
        }

        #[test]
        fn damaged_keys_are_keys_of_their_length(
            bytes in damaged((numbers(), numbers()).prop_map(|(region, index)| {
                raft_log_key(RegionId(region), Index(index)).to_vec()
            })),
        ) {
            let read = parse_raft_log_key(&bytes);
            prop_assert_eq!(read.is_some(), bytes.len() == KEY_BYTES);
            let again = read.map(|(region, index)| raft_log_key(region, index).to_vec());
            prop_assert!(again.is_none_or(|again| again == bytes), "{:?}", read);
        }
    }

    #[test]
    fn keys_sort_as_region_and_index() {
        let key = raft_log_key(RegionId(1), Index(0x102));
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(parse_raft_log_key(&key), Some((RegionId(1), Index(0x102))));
        assert_eq!(parse_raft_log_key(b"short"), None);
        assert!(raft_log_key(RegionId(1), Index(u64::MAX)) < raft_log_key(RegionId(2), Index(0)));
        let range = region_log_range(RegionId(1));
        assert!(
            range.contains(&key) && range.contains(&raft_log_key(RegionId(1), Index(u64::MAX)))
        );
        assert!(!range.contains(&raft_log_key(RegionId(2), Index(0))));
        assert!(region_log_range(RegionId(u64::MAX)).end.is_empty());
        assert!(!log_range(RegionId(1), Index(1), Index(0x102)).contains(&key));
    }
}
