//! All families in memory: what models, simulated disks and test harnesses keep in place of a database.
//!
//! **Knows nothing of** durability: whoever models a disk keeps one of these for each state that counts.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::{Family, Key, KeyRange, KvRead, Mutation, ReadError, ScanDirection};

/// The content of all families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    families: [BTreeMap<Key, Bytes>; Family::ALL.len()],
}

impl Tables {
    /// The pairs of a family.
    #[must_use]
    pub fn family(&self, family: Family) -> &BTreeMap<Key, Bytes> {
        &self.families[family as usize]
    }

    /// Carries out `batch` in order.
    pub fn apply(&mut self, batch: &[Mutation]) {
        for mutation in batch {
            match mutation {
                Mutation::Put(family, key, value) => {
                    self.families[*family as usize].insert(key.clone(), value.clone());
                }
                Mutation::Delete(family, key) => {
                    self.families[*family as usize].remove(key);
                }
                Mutation::DeleteRange(family, range) => {
                    self.families[*family as usize].retain(|key, _| !range.contains(key));
                }
            }
        }
    }
}

impl KvRead for Tables {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.family(family).get(key).cloned())
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        // `BTreeMap::range` panics on an inverted range.
        if range.is_empty() {
            return Ok(());
        }
        let end = match range.end.as_ref() {
            [] => Bound::Unbounded,
            end => Bound::Excluded(end),
        };
        let from = Bound::Included(range.start.as_ref());
        let mut pairs = self.family(family).range::<[u8], _>((from, end));
        loop {
            let next = match direction {
                ScanDirection::Forward => pairs.next(),
                ScanDirection::Reverse => pairs.next_back(),
            };
            match next {
                Some((key, value)) if visit(key, value) => {}
                _ => return Ok(()),
            }
        }
    }
}

/// For views that are shared while they change; a scan sees one state.
impl<T: KvRead> KvRead for Mutex<T> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).scan(family, range, direction, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_keeps_to_family_range_and_direction() {
        let put = |family, key: &'static str| {
            Mutation::Put(family, Key::from(key), Bytes::from_static(b"v"))
        };
        let mut tables = Tables::default();
        let keys = ["a", "b", "c", "d"].map(|key| put(Family::Raw, key));
        tables.apply(&keys);
        tables.apply(&[put(Family::RaftLog, "b"), Mutation::Delete(Family::Raw, Key::from("c"))]);
        let found = |range, direction, most: usize| {
            let mut found = Vec::new();
            let mut visit = |key: &[u8], _: &[u8]| {
                found.push(String::from_utf8_lossy(key).into_owned());
                found.len() < most
            };
            tables.scan(Family::Raw, &range, direction, &mut visit).expect("memory");
            found.concat()
        };
        assert_eq!(found(KeyRange::all(), ScanDirection::Forward, 9), "abd");
        assert_eq!(found(KeyRange::new("a", "d"), ScanDirection::Reverse, 9), "ba");
        assert_eq!(found(KeyRange::all(), ScanDirection::Reverse, 1), "d");
        assert_eq!(found(KeyRange::new("d", "a"), ScanDirection::Forward, 9), "");
        tables.apply(&[Mutation::DeleteRange(Family::Raw, KeyRange::new("a", "b"))]);
        assert_eq!(found_keys(&tables), ["b", "d"]);
    }

    fn found_keys(tables: &Tables) -> Vec<&str> {
        let keys = tables.family(Family::Raw).keys();
        keys.map(|key| std::str::from_utf8(key).expect("text")).collect()
    }
}
