//! All data of a range at one instant, piece by piece, for a reader that comes once.

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange, ReadError};

use crate::Snapshot;

/// Some pairs of one family, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChunk {
    /// Which family.
    pub family: Family,
    /// Keys and values; never empty.
    pub pairs: Vec<(Key, Bytes)>,
    /// Bytes of all keys and values.
    pub bytes: usize,
}

/// Reads the data families of a range in the order of [`Family::DATA`], each upwards. Between two chunks it holds
/// nothing but the snapshot and a place. What it reads takes the place of nothing in the cache.
#[derive(Debug)]
pub struct RangeReader {
    snapshot: Snapshot,
    end: Key,
    /// Where to go on in the first of `families`.
    next: Key,
    start: Key,
    families: std::slice::Iter<'static, Family>,
    family: Option<Family>,
}

impl RangeReader {
    /// A reader that stands at the begin of `range`.
    #[must_use]
    pub fn new(snapshot: Snapshot, range: &KeyRange) -> Self {
        let mut families = Family::DATA.iter();
        let family = families.next().copied();
        let KeyRange { start, end } = range.clone();
        Self { snapshot, end, next: start.clone(), start, families, family }
    }

    /// The next pairs: at least one, and no more once there are `bytes_max` bytes of them. `None` at the end.
    ///
    /// # Errors
    /// The disk fails, or its data is damaged.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<DataChunk>, ReadError> {
        while let Some(family) = self.family {
            let range = KeyRange { start: self.next.clone(), end: self.end.clone() };
            let (mut pairs, mut bytes) = (Vec::new(), 0);
            self.snapshot.scan_once(family, &range, &mut |key, value| {
                bytes += key.len() + value.len();
                pairs.push((Key::copy_from_slice(key), Bytes::copy_from_slice(value)));
                bytes < bytes_max
            })?;
            let Some((last, _)) = pairs.last() else {
                self.family = self.families.next().copied();
                self.next = self.start.clone();
                continue;
            };
            self.next = behind(last);
            return Ok(Some(DataChunk { family, pairs, bytes }));
        }
        Ok(None)
    }
}

/// The first key behind `key`.
pub(crate) fn behind(key: &[u8]) -> Key {
    [key, &[0]].concat().into()
}
