//! The records of a stage.
//!
//! ```text
//! manifest  = stage as number | start as bytes | end as bytes | families as number | family*
//! family    = tag u8 | is it a block u8 | pairs as number | bytes as number | files as number | file*
//! file      = length as number | crc32c as number
//! block     = pairs as number | (key as bytes | value as bytes)*
//! tag       = 1 raw, 2 default, 3 lock, 4 write
//! ```

use bytes::Bytes;
use flotilla_base::{
    Family, Key, KeyRange,
    codec::{CodecError, RecordReader, RecordWriter},
};

const VERSION: u8 = 1;

/// One file of a stage, as it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StagedFile {
    pub(crate) length: u64,
    pub(crate) checksum: u32,
}

/// One family of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StagedFamily {
    pub(crate) family: Family,
    /// One block, or tables.
    pub(crate) is_block: bool,
    pub(crate) pairs: u64,
    pub(crate) bytes: u64,
    pub(crate) files: Vec<StagedFile>,
}

/// What belongs to a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) number: u64,
    pub(crate) range: KeyRange,
    /// Those that hold something, in the order of [`Family::DATA`].
    pub(crate) families: Vec<StagedFamily>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Bytes {
        let mut record = RecordWriter::new(VERSION);
        record.number(self.number).bytes(&self.range.start).bytes(&self.range.end);
        record.number(self.families.len() as u64);
        for family in &self.families {
            record.byte(tag(family.family)).byte(u8::from(family.is_block));
            record.number(family.pairs).number(family.bytes).number(family.files.len() as u64);
            for file in &family.files {
                record.number(file.length).number(u64::from(file.checksum));
            }
        }
        record.finish()
    }

    pub(crate) fn decode(record: &Bytes) -> Result<Self, CodecError> {
        let mut reader = RecordReader::open(record, VERSION)?;
        let number = reader.number()?;
        let range = KeyRange { start: reader.bytes()?, end: reader.bytes()? };
        let mut families: Vec<StagedFamily> = Vec::new();
        for _family in 0..reader.number()? {
            let family = decode_family(&mut reader)?;
            if families.last().is_some_and(|last| tag(last.family) >= tag(family.family)) {
                return Err(CodecError::Meaningless("order of families"));
            }
            families.push(family);
        }
        reader.finish()?;
        Ok(Self { number, range, families })
    }
}

fn decode_family(reader: &mut RecordReader) -> Result<StagedFamily, CodecError> {
    let wanted = reader.byte()?;
    let found = Family::DATA.into_iter().find(|family| tag(*family) == wanted);
    let family = found.ok_or(CodecError::Meaningless("family"))?;
    let is_block = match reader.byte()? {
        0 => false,
        1 => true,
        _ => return Err(CodecError::Meaningless("form of a family")),
    };
    let (pairs, bytes) = (reader.number()?, reader.number()?);
    let mut files = Vec::new();
    for _file in 0..reader.number()? {
        let length = reader.number()?;
        let checksum = u32::try_from(reader.number()?);
        let checksum = checksum.map_err(|_too_large| CodecError::Meaningless("checksum"))?;
        files.push(StagedFile { length, checksum });
    }
    Ok(StagedFamily { family, is_block, pairs, bytes, files })
}

/// Pairs of one family as one record: a small family of a stage, or a part of one that travels.
#[must_use]
pub fn encode_block(pairs: &[(Key, Bytes)]) -> Bytes {
    let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
    let mut record = RecordWriter::with_capacity(VERSION, bytes);
    record.number(pairs.len() as u64);
    for (key, value) in pairs {
        record.bytes(key).bytes(value);
    }
    record.finish()
}

/// The pairs of a block; they share its memory.
///
/// # Errors
/// [`CodecError`] where the bytes are no intact block.
pub fn decode_block(record: &Bytes) -> Result<Vec<(Key, Bytes)>, CodecError> {
    let mut reader = RecordReader::open(record, VERSION)?;
    let mut pairs = Vec::new();
    for _pair in 0..reader.number()? {
        pairs.push((reader.bytes()?, reader.bytes()?));
    }
    reader.finish()?;
    Ok(pairs)
}

/// What stands for a data family on disk.
pub(crate) fn tag(family: Family) -> u8 {
    match family {
        Family::Raw => 1,
        Family::Default => 2,
        Family::Lock => 3,
        Family::Write => 4,
        Family::RaftLog | Family::RaftMeta => unreachable!("no data of a region"),
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::{assert_canonical, damaged_records};
    use proptest::prelude::*;

    use super::*;

    fn manifest() -> impl Strategy<Value = Manifest> {
        let file = (any::<u64>(), any::<u32>())
            .prop_map(|(length, checksum)| StagedFile { length, checksum });
        let files = prop::collection::vec(file, 0..4);
        let family = (any::<bool>(), any::<u64>(), any::<u64>(), files);
        let families = prop::collection::vec(family, 0..=4).prop_map(|families| {
            let named = Family::DATA.into_iter().zip(families);
            let whole = named.map(|(family, (is_block, pairs, bytes, files))| StagedFamily {
                family,
                is_block,
                pairs,
                bytes,
                files,
            });
            whole.collect()
        });
        let key = || prop::collection::vec(any::<u8>(), 0..6);
        (any::<u64>(), key(), key(), families).prop_map(|(number, start, end, families)| Manifest {
            number,
            range: KeyRange::new(start, end),
            families,
        })
    }

    proptest! {
        #[test]
        fn damaged_manifests_are_refused_or_mean_themselves(
            record in damaged_records(manifest().prop_map(|it| it.encode().to_vec())),
        ) {
            assert_canonical(
                &record,
                |record| Manifest::decode(&Bytes::copy_from_slice(record)),
                |read| read.encode().to_vec(),
            );
        }

        #[test]
        fn damaged_blocks_are_refused_or_mean_themselves(
            record in damaged_records(
                prop::collection::vec((any::<[u8; 3]>(), any::<Vec<u8>>()), 0..5).prop_map(|pairs| {
                    let owned = pairs.into_iter().map(|(key, value)| {
                        (Key::copy_from_slice(&key), Bytes::from(value))
                    });
                    encode_block(&owned.collect::<Vec<_>>()).to_vec()
                }),
            ),
        ) {
            assert_canonical(
                &record,
                |record| decode_block(&Bytes::copy_from_slice(record)),
                |read| encode_block(read).to_vec(),
            );
        }

        #[test]
        fn what_is_written_is_read(manifest in manifest()) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
    }
}
