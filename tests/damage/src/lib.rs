//! Valid bytes, spoilt: what the tests of all decoders have in common.
//!
//! Random bytes seldom get past the first check of a decoder. Valid ones with a flipped bit, a part that is
//! missing, doubled or taken from another value, or with a length that lies, get further. A record ends with
//! its checksum; [`damaged_records`] makes a new one, so that what stands behind the checksum is tested too.
//!
//! **Knows nothing of** what is encoded, and how.
//!
//! Entry types: [`damaged`], [`damaged_records`], and [`assert_canonical`] for what a decoder owes.
//! Reading order: this file.
#![warn(missing_docs)]

use std::fmt::Debug;

use proptest::prelude::*;
use proptest::sample::Index;

/// Bytes of a record's checksum, behind everything else.
const CHECKSUM_BYTES: usize = 4;

/// What lengths lie about: as a varint of 32 and of 64 bits, and as fixed numbers.
const LIES: [&[u8]; 4] = [
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
];

/// One thing that is done to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Overwrite(Index, u8),
    Cut(Index),
    Remove(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat {
        from: Index,
        count: u8,
        to: Index,
    },
    Lie(Index, u8),
    /// The rest comes from another value.
    Splice(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Overwrite(at, byte)),
        place().prop_map(Damage::Cut),
        (place(), 1..9_u8).prop_map(|(at, count)| Damage::Remove(at, count)),
        (place(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (place(), 1..17_u8, place()).prop_map(|(from, count, to)| Damage::Repeat {
            from,
            count,
            to
        }),
        (place(), 0..4_u8).prop_map(|(at, lie)| Damage::Lie(at, lie)),
        (place(), place()).prop_map(|(at, from)| Damage::Splice(at, from)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>, other: &[u8]) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        let behind =
            |at: usize, count: u8, bytes: &[u8]| (at + usize::from(count)).min(bytes.len());
        match self {
            Self::Flip(at, bit) => {
                let at = place(at, bytes);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            Self::Overwrite(at, new) => {
                let at = place(at, bytes);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = *new);
            }
            Self::Cut(at) => bytes.truncate(place(at, bytes)),
            Self::Remove(at, count) => {
                let at = place(at, bytes);
                bytes.drain(at..behind(at, *count, bytes));
            }
            Self::Insert(at, new) => {
                let at = place(at, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Repeat { from, count, to } => {
                let (from, to) = (place(from, bytes), place(to, bytes));
                let part = bytes[from..behind(from, *count, bytes)].to_vec();
                bytes.splice(to..to, part);
            }
            Self::Lie(at, lie) => {
                let at = place(at, bytes);
                let lie = LIES[usize::from(*lie)];
                bytes.splice(at..behind(at, 1, bytes), lie.iter().copied());
            }
            Self::Splice(at, from) => {
                bytes.truncate(place(at, bytes));
                bytes.extend_from_slice(&other[place(from, other)..]);
            }
        }
    }
}

/// Encodings of `valid` with up to three damages; some stay whole.
pub fn damaged(valid: impl Strategy<Value = Vec<u8>> + 'static) -> impl Strategy<Value = Vec<u8>> {
    let (valid, damages) = (valid.boxed(), prop::collection::vec(damage(), 0..4));
    (valid.clone(), valid, damages).prop_map(|(mut bytes, other, damages)| {
        damages.iter().for_each(|damage| damage.apply(&mut bytes, &other));
        bytes
    })
}

/// Records of `valid` with up to three damages in front of a checksum that fits; or no records at all.
pub fn damaged_records(
    valid: impl Strategy<Value = Vec<u8>> + 'static,
) -> impl Strategy<Value = Vec<u8>> {
    let bodies = valid.prop_map(|mut record| {
        record.truncate(record.len().saturating_sub(CHECKSUM_BYTES));
        record
    });
    let noise = prop::collection::vec(any::<u8>(), 0..64);
    prop_oneof![
        8 => damaged(bodies).prop_map(|body| sealed(&body)),
        1 => noise.clone().prop_map(|body| sealed(&body)),
        1 => noise,
    ]
}

/// `body` with its checksum behind it, as `flotilla_base::codec` asks for.
#[must_use]
pub fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &crc32c::crc32c(body).to_le_bytes()].concat()
}

/// What a decoder owes whatever the bytes are: an error, or a value that is decoded again from its own
/// encoding.
///
/// # Panics
/// Where the value is another one the second time, or its encoding is refused.
#[track_caller]
pub fn assert_canonical<T: PartialEq + Debug, E: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = decode(bytes) {
        match decode(&encode(&value)) {
            Ok(again) => assert_eq!(again, value, "decoded from {bytes:02x?}"),
            Err(error) => panic!("{value:?} is refused in its own form: {error:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_that_of_the_codec() {
        // RFC 3720, B.4.
        let zeros = [0; 32];
        assert_eq!(sealed(&zeros)[32..], [0xaa, 0x36, 0x91, 0x8a]);
    }

    #[test]
    #[should_panic(expected = "decoded from")]
    fn a_value_that_changes_on_the_way_is_noticed() {
        assert_canonical(&[3], |bytes| Ok::<_, ()>(bytes.len()), |_| Vec::new());
    }

    proptest! {
        #[test]
        fn every_damage_fits_every_length(
            bytes in prop::collection::vec(any::<u8>(), 0..20),
            other in prop::collection::vec(any::<u8>(), 0..20),
            damages in prop::collection::vec(damage(), 1..9),
        ) {
            let mut spoilt = bytes;
            damages.iter().for_each(|damage| damage.apply(&mut spoilt, &other));
        }

        #[test]
        fn spoilt_records_have_a_checksum_that_fits(
            record in damaged_records(Just(sealed(b"a record"))),
        ) {
            let body = record.len().saturating_sub(CHECKSUM_BYTES);
            prop_assert!(record.len() < 64 + CHECKSUM_BYTES || record == sealed(&record[..body]));
        }
    }
}
