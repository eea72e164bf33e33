//! Keys, key ranges, and the memcomparable encoding that TiKV's clients use for region borders.

use std::fmt;

use bytes::Bytes;

/// A key in region space: plain bytes, ordered lexicographically. The empty key is a legal key.
pub type Key = Bytes;

/// A half-open range `[start, end)` of keys; an empty `end` means "no upper bound".
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First key that belongs to the range.
    pub start: Key,
    /// First key behind the range; empty for none.
    pub end: Key,
}

impl KeyRange {
    /// The range `[start, end)`.
    pub fn new(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        Self { start: start.into(), end: end.into() }
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && self.is_below_end(key)
    }

    /// Whether `key` lies in the range or is its end: legal for the exclusive bound of a scan.
    #[must_use]
    pub fn contains_or_ends_at(&self, key: &[u8]) -> bool {
        self.contains(key) || (!self.end.is_empty() && key == self.end.as_ref())
    }

    /// Whether `inner` lies wholly in this range.
    #[must_use]
    pub fn covers(&self, inner: &Self) -> bool {
        inner.start >= self.start
            && (self.end.is_empty() || (!inner.end.is_empty() && inner.end <= self.end))
    }

    /// Whether the two ranges share a key.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_below_end(&other.start) && other.is_below_end(&self.start)
    }

    /// The keys that lie in both ranges; `None` where there are none.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if !self.overlaps(other) {
            return None;
        }
        let start = self.start.clone().max(other.start.clone());
        let end = match (self.end.is_empty(), other.end.is_empty()) {
            (true, _) => other.end.clone(),
            (_, true) => self.end.clone(),
            _ => self.end.clone().min(other.end.clone()),
        };
        let shared = Self { start, end };
        debug_assert!(self.covers(&shared) && other.covers(&shared), "what both hold");
        Some(shared)
    }

    /// Whether the range holds no key at all (`start ≥ end`).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.start >= self.end
    }

    fn is_below_end(&self, key: &[u8]) -> bool {
        self.end.is_empty() || key < self.end.as_ref()
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", display(&self.start), display(&self.end))
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A key as text: printable ASCII as it is, everything else as `\xNN`; the empty key as `""`.
#[must_use]
pub fn display(key: &[u8]) -> String {
    if key.is_empty() {
        return "\"\"".to_owned();
    }
    key.iter().fold(String::with_capacity(key.len()), |mut text, &byte| {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
        text
    })
}

const GROUP_BYTES: usize = 8;
const FULL_GROUP_MARKER: u8 = 0xff;

/// Encodes `key` so that the encoded forms sort as the keys do and no form is a prefix of another:
/// groups of eight bytes, the last padded with zeros, each followed by `0xFF - padding`.
///
/// This is TiKV's "memcomparable" form; region borders of transactional data use it.
#[must_use]
pub fn encode_memcomparable(key: &[u8]) -> Bytes {
    let groups = key.len() / GROUP_BYTES + 1;
    let mut encoded = Vec::with_capacity(groups * (GROUP_BYTES + 1));
    for group in 0..groups {
        let rest = &key[group * GROUP_BYTES..];
        let taken = rest.len().min(GROUP_BYTES);
        encoded.extend_from_slice(&rest[..taken]);
        encoded.resize(encoded.len() + GROUP_BYTES - taken, 0);
        let padding = u8::try_from(GROUP_BYTES - taken).unwrap_or(u8::MAX);
        encoded.push(FULL_GROUP_MARKER - padding);
    }
    debug_assert_eq!(encoded.len(), groups * (GROUP_BYTES + 1), "every group has its marker");
    encoded.into()
}

/// Decodes a memcomparable form; `None` where `encoded` is not exactly one such form.
#[must_use]
pub fn decode_memcomparable(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(encoded.len());
    let mut groups = encoded.chunks(GROUP_BYTES + 1).peekable();
    while let Some(group) = groups.next() {
        let (bytes, marker) = (group.get(..GROUP_BYTES)?, *group.get(GROUP_BYTES)?);
        let padding = usize::from(FULL_GROUP_MARKER - marker);
        let used = GROUP_BYTES.checked_sub(padding)?;
        key.extend_from_slice(&bytes[..used]);
        if padding > 0 {
            let is_last = groups.peek().is_none() && bytes[used..].iter().all(|&byte| byte == 0);
            return is_last.then_some(key);
        }
    }
    None
}

/// The border `G` between the ordinary key space and the guard region `[G, "")`, which stays empty
/// for ever: the memcomparable form of 64 bytes of `0xFF`.
///
/// Without it the bounded scans of a published client wrap around at the last region (its scan
/// stops only when it meets a region with a non-empty end).
#[must_use]
pub fn guard_border() -> Key {
    encode_memcomparable(&[0xff; 64])
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memcomparable_vectors() {
        assert_eq!(encode_memcomparable(b"").as_ref(), [0, 0, 0, 0, 0, 0, 0, 0, 0xf7]);
        assert_eq!(encode_memcomparable(b"abc").as_ref(), b"abc\0\0\0\0\0\xfa");
        assert_eq!(encode_memcomparable(b"12345678").as_ref(), b"12345678\xff\0\0\0\0\0\0\0\0\xf7");
        assert_eq!(decode_memcomparable(b""), None, "empty input is an unbounded border");
        assert_eq!(decode_memcomparable(b"abc\0\0\0\0\x01\xfa"), None, "padding must be zero");
        assert_eq!(decode_memcomparable(b"12345678\xff"), None, "the closing group is missing");
    }

    #[test]
    fn ranges() {
        let left = KeyRange::new("b", "d");
        assert!(left.contains(b"b") && !left.contains(b"d") && left.contains_or_ends_at(b"d"));
        assert!(left.overlaps(&KeyRange::new("c", "")) && !left.overlaps(&KeyRange::new("d", "")));
        assert!(KeyRange::all().covers(&left) && !left.covers(&KeyRange::all()));
        assert_eq!(left.intersection(&KeyRange::new("c", "z")), Some(KeyRange::new("c", "d")));
        assert!(KeyRange::new("d", "b").is_empty());
        assert_eq!(format!("{}", KeyRange::new("a\x01", "")), "[a\\x01, \"\")");
    }

    proptest! {
        #[test]
        fn memcomparable_round_trip_and_order(a: Vec<u8>, b: Vec<u8>) {
            let (x, y) = (encode_memcomparable(&a), encode_memcomparable(&b));
            prop_assert_eq!(decode_memcomparable(&x), Some(a.clone()));
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
        }

        #[test]
        fn memcomparable_decoder_accepts_only_its_own_forms(
            bytes in damaged(any::<Vec<u8>>().prop_map(|key| encode_memcomparable(&key).to_vec())),
        ) {
            if let Some(key) = decode_memcomparable(&bytes) {
                prop_assert_eq!(encode_memcomparable(&key), bytes);
            }
        }
    }
}
