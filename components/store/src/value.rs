//! Raw values as they are stored: a header, perhaps an expiry, and the client's bytes.
//!
//! ```text
//! value  = head u8 | expiry u64 BE (only with flag 1) | bytes
//! head   = version (upper four bits, 1) | flags (lower four bits)
//! flag 1 = the value expires: expiry is the first second since 1970 in which it is gone
//! ```
//! No checksum: the engine keeps one for each block, and the log one for each entry.

use bytes::{BufMut, Bytes, BytesMut};

const VERSION: u8 = 1 << 4;
const VERSION_MASK: u8 = 0xf0;
const FLAG_EXPIRES: u8 = 1;
const EXPIRY_BYTES: usize = 8;

/// A raw value and when it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawValue {
    /// What the client wrote; may be empty.
    pub bytes: Bytes,
    /// The first second since 1970 in which the value is gone; zero for never.
    pub expiry_seconds: u64,
}

/// Bytes on disk that no version of this program up to this one wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Fewer bytes than the header asks for.
    #[error("a stored value is cut short")]
    Short,
    /// A version or flag that this program does not know.
    #[error("a stored value has the unknown header {0:#04x}; a newer Flotilla may have written it")]
    UnknownHeader(u8),
}

impl RawValue {
    /// A value that ends `ttl_seconds` after the second of `now_seconds`; never where that is zero.
    #[must_use]
    pub const fn new(bytes: Bytes, ttl_seconds: u64, now_seconds: u64) -> Self {
        let expiry_seconds =
            if ttl_seconds == 0 { 0 } else { now_seconds.saturating_add(ttl_seconds) };
        Self { bytes, expiry_seconds }
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut stored = BytesMut::with_capacity(1 + EXPIRY_BYTES + self.bytes.len());
        if self.expiry_seconds == 0 {
            stored.put_u8(VERSION);
        } else {
            stored.put_u8(VERSION | FLAG_EXPIRES);
            stored.put_u64(self.expiry_seconds);
        }
        stored.put_slice(&self.bytes);
        stored.freeze()
    }

    /// The value of a stored form; shares its memory.
    ///
    /// # Errors
    /// [`ValueError`] where the bytes are no stored form.
    pub fn decode(stored: &Bytes) -> Result<Self, ValueError> {
        let (expiry_seconds, start) = decode_header(stored)?;
        Ok(Self { bytes: stored.slice(start..), expiry_seconds })
    }

    /// Seconds that it has left; zero where it never ends.
    #[must_use]
    pub const fn ttl_seconds(&self, now_seconds: u64) -> u64 {
        self.expiry_seconds.saturating_sub(now_seconds)
    }
}

/// The expiry and the client's bytes within a borrowed stored form.
///
/// # Errors
/// As [`RawValue::decode`].
pub fn borrowed(stored: &[u8]) -> Result<(u64, &[u8]), ValueError> {
    let (expiry_seconds, start) = decode_header(stored)?;
    Ok((expiry_seconds, &stored[start..]))
}

/// Whether a value of this expiry is gone in the second of `now_seconds`.
#[must_use]
pub const fn is_expired(expiry_seconds: u64, now_seconds: u64) -> bool {
    expiry_seconds != 0 && expiry_seconds <= now_seconds
}

/// The expiry and where the client's bytes start.
fn decode_header(stored: &[u8]) -> Result<(u64, usize), ValueError> {
    let head = *stored.first().ok_or(ValueError::Short)?;
    if head & VERSION_MASK != VERSION || head & !VERSION_MASK & !FLAG_EXPIRES != 0 {
        return Err(ValueError::UnknownHeader(head));
    }
    if head & FLAG_EXPIRES == 0 {
        return Ok((0, 1));
    }
    let expiry = stored.get(1..1 + EXPIRY_BYTES).ok_or(ValueError::Short)?;
    let expiry = expiry.try_into().map_err(|_eight_by_construction| ValueError::Short)?;
    Ok((u64::from_be_bytes(expiry), 1 + EXPIRY_BYTES))
}

#[cfg(test)]
mod tests {
    use flotilla_damage::{assert_canonical, damaged};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_forms() {
        let plain = RawValue::new("v".into(), 0, 100);
        assert_eq!(plain.encode().as_ref(), b"\x10v");
        let ending = RawValue::new(Bytes::new(), 5, 100);
        assert_eq!(ending.encode().as_ref(), b"\x11\0\0\0\0\0\0\0\x69");
        assert_eq!(RawValue::decode(&Bytes::new()), Err(ValueError::Short));
        assert_eq!(RawValue::decode(&"\x11\0".into()), Err(ValueError::Short));
        assert_eq!(RawValue::decode(&"\x20v".into()), Err(ValueError::UnknownHeader(0x20)));
        assert_eq!(RawValue::decode(&"\x12v".into()), Err(ValueError::UnknownHeader(0x12)));
    }

    #[test]
    fn a_value_is_gone_in_its_expiry_second() {
        let value = RawValue::new("v".into(), 2, 100);
        assert!(!is_expired(value.expiry_seconds, 101) && is_expired(value.expiry_seconds, 102));
        assert_eq!((value.ttl_seconds(100), value.ttl_seconds(101)), (2, 1));
        assert_eq!(borrowed(&value.encode()), Ok((102, b"v".as_slice())));
        let endless = RawValue::new("v".into(), u64::MAX, 100);
        assert!(!is_expired(endless.expiry_seconds, u64::MAX - 1) && !is_expired(0, u64::MAX));
    }

    proptest! {
        #[test]
        fn round_trip(bytes: Vec<u8>, expiry_seconds: u64) {
            let value = RawValue { bytes: bytes.into(), expiry_seconds };
            prop_assert_eq!(RawValue::decode(&value.encode()), Ok(value));
        }

        #[test]
        fn damaged_values_are_refused_or_canonical(
            stored in damaged((any::<Vec<u8>>(), any::<u64>()).prop_map(|(bytes, expiry_seconds)| {
                RawValue { bytes: bytes.into(), expiry_seconds }.encode().to_vec()
            })),
        ) {
            let decode = |stored: &[u8]| RawValue::decode(&Bytes::copy_from_slice(stored));
            assert_canonical(&stored, decode, |value| value.encode().to_vec());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let seen = borrowed(&bytes).map(|(expiry, live)| (expiry, live.to_vec()));
            let owned = RawValue::decode(&Bytes::copy_from_slice(&bytes));
            prop_assert_eq!(seen, owned.map(|value| (value.expiry_seconds, value.bytes.to_vec())));
        }
    }
}
