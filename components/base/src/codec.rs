//! The codec of everything that is kept on disk or in a log entry: a version byte, fixed and
//! variable fields, and a CRC-32C over all of it at the end.
//!
//! ```text
//! record = version u8 | field* | crc32c u32 LE (over version and fields)
//! number = u64 as LEB128 (1 to 10 bytes)          bytes = length as number | the bytes
//! ```

use bytes::Bytes;

/// Why bytes are no record. None of these may panic: records come from disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Fewer bytes than the fields need.
    #[error("record is cut short")]
    Short,
    /// The checksum does not fit.
    #[error("record is damaged: its checksum does not fit")]
    Checksum,
    /// A version that this program does not know.
    #[error(
        "record has format version {0}, which this program does not know; upgrade before starting it here"
    )]
    UnknownVersion(u8),
    /// A field holds a value that has no meaning.
    #[error("record holds a meaningless {0}")]
    Meaningless(&'static str),
    /// Bytes are left behind the last field.
    #[error("record has {0} bytes too many")]
    TooLong(usize),
}

/// Builds one record.
#[derive(Debug)]
pub struct RecordWriter {
    bytes: Vec<u8>,
}

impl RecordWriter {
    /// Starts a record of the given format version.
    #[must_use]
    pub fn new(version: u8) -> Self {
        Self::with_capacity(version, 64)
    }

    /// Starts a record that will hold about `capacity` bytes.
    #[must_use]
    pub fn with_capacity(version: u8, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity + 5);
        bytes.push(version);
        Self { bytes }
    }

    /// Appends one byte: a tag or flags.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        self.bytes.push(byte);
        self
    }

    /// Appends a number.
    pub fn number(&mut self, mut number: u64) -> &mut Self {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.byte((number & 0x7f) as u8)
    }

    /// Appends bytes behind their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Closes the record with its checksum.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        let checksum = crc32c::crc32c(&self.bytes);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.bytes.into()
    }
}

/// Reads one record, field by field, without copying byte fields.
#[derive(Debug)]
pub struct RecordReader {
    version: u8,
    rest: Bytes,
}

impl RecordReader {
    /// Checks checksum and version.
    ///
    /// # Errors
    /// [`CodecError`] where the bytes are no intact record of version 1 to `newest`.
    pub fn open(record: &Bytes, newest: u8) -> Result<Self, CodecError> {
        let body_len =
            record.len().checked_sub(4).filter(|len| *len > 0).ok_or(CodecError::Short)?;
        let stored: [u8; 4] = record[body_len..]
            .try_into()
            .map_err(|_four_bytes_by_construction| CodecError::Short)?;
        if crc32c::crc32c(&record[..body_len]) != u32::from_le_bytes(stored) {
            return Err(CodecError::Checksum);
        }
        let version = record[0];
        if version == 0 || version > newest {
            return Err(CodecError::UnknownVersion(version));
        }
        Ok(Self { version, rest: record.slice(1..body_len) })
    }

    /// The record's format version.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`CodecError::Short`] at the end of the record.
    pub fn byte(&mut self) -> Result<u8, CodecError> {
        let byte = *self.rest.first().ok_or(CodecError::Short)?;
        self.rest = self.rest.slice(1..);
        Ok(byte)
    }

    /// Takes a number.
    ///
    /// # Errors
    /// [`CodecError::Short`] at the end, [`CodecError::Meaningless`] for more than 64 bits.
    pub fn number(&mut self) -> Result<u64, CodecError> {
        let mut number = 0_u64;
        for position in 0..10 {
            let byte = *self.rest.get(position).ok_or(CodecError::Short)?;
            let bits = u64::from(byte & 0x7f);
            if position == 9 && bits > 1 {
                break;
            }
            number |= bits << (7 * position);
            if byte & 0x80 == 0 {
                self.rest = self.rest.slice(position + 1..);
                return Ok(number);
            }
        }
        Err(CodecError::Meaningless("number"))
    }

    /// Takes bytes; they share the record's memory.
    ///
    /// # Errors
    /// [`CodecError::Short`] where the length points behind the end.
    pub fn bytes(&mut self) -> Result<Bytes, CodecError> {
        let len = usize::try_from(self.number()?).map_err(|_too_large| CodecError::Short)?;
        if len > self.rest.len() {
            return Err(CodecError::Short);
        }
        Ok(self.rest.split_to(len))
    }

    /// Whether all fields were taken.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`CodecError::TooLong`] where bytes remain.
    pub fn finish(self) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError::TooLong(self.rest.len())) }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::{assert_canonical, damaged_records};
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Field {
        Number(u64),
        Byte(u8),
        Bytes(Vec<u8>),
    }

    fn fields() -> impl Strategy<Value = Vec<Field>> {
        let field = prop_oneof![
            any::<u64>().prop_map(Field::Number),
            any::<u8>().prop_map(Field::Byte),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Field::Bytes),
        ];
        prop::collection::vec(field, 0..6)
    }

    fn write(fields: &[Field]) -> Vec<u8> {
        let mut record = RecordWriter::new(1);
        for field in fields {
            match field {
                Field::Number(number) => record.number(*number),
                Field::Byte(byte) => record.byte(*byte),
                Field::Bytes(bytes) => record.bytes(bytes),
            };
        }
        record.finish().to_vec()
    }

    /// Reads fields of the same kinds as those of `like`.
    fn read(record: &[u8], like: &[Field]) -> Result<Vec<Field>, CodecError> {
        let mut reader = RecordReader::open(&Bytes::copy_from_slice(record), 1)?;
        let fields = like.iter().map(|field| match field {
            Field::Number(_) => reader.number().map(Field::Number),
            Field::Byte(_) => reader.byte().map(Field::Byte),
            Field::Bytes(_) => reader.bytes().map(|bytes| Field::Bytes(bytes.to_vec())),
        });
        let fields = fields.collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(fields)
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        for length in [2, u64::from(u32::MAX), u64::MAX] {
            let mut writer = RecordWriter::new(1);
            writer.number(length).byte(7);
            let mut reader = RecordReader::open(&writer.finish(), 1).expect("intact");
            assert_eq!(reader.bytes(), Err(CodecError::Short), "{length}");
        }
    }

    #[test]
    fn golden_record() {
        let mut writer = RecordWriter::new(1);
        writer.byte(7).number(300).bytes(b"key");
        let record = writer.finish();
        assert_eq!(record[..8], [1, 7, 0xac, 2, 3, b'k', b'e', b'y']);
        assert_eq!(RecordReader::open(&record, 0).err(), Some(CodecError::UnknownVersion(1)));
    }

    proptest! {
        #[test]
        fn round_trip(number: u64, tag: u8, blob: Vec<u8>) {
            let mut writer = RecordWriter::new(1);
            writer.number(number).byte(tag).bytes(&blob);
            let mut reader = RecordReader::open(&writer.finish(), 1).expect("intact");
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.byte(), Ok(tag));
            prop_assert_eq!(reader.bytes(), Ok(blob.into()));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn a_flipped_bit_is_noticed(blob: Vec<u8>, position: prop::sample::Index, bit in 0..8_u8) {
            let mut writer = RecordWriter::new(1);
            writer.bytes(&blob);
            let mut damaged = writer.finish().to_vec();
            let position = position.index(damaged.len());
            damaged[position] ^= 1 << bit;
            prop_assert_eq!(
                RecordReader::open(&damaged.into(), u8::MAX).err(), Some(CodecError::Checksum));
        }

        #[test]
        fn damaged_records_are_refused_or_read_as_they_would_be_written(
            (fields, record) in fields().prop_flat_map(|fields| {
                let records = damaged_records(Just(write(&fields)));
                (Just(fields), records)
            }),
        ) {
            assert_canonical(&record, |record| read(record, &fields), |read| write(read));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut writer = RecordWriter::new(1);
            for byte in &bytes { writer.byte(*byte); }
            let mut reader = RecordReader::open(&writer.finish(), 1).expect("intact");
            let _taken = (reader.number(), reader.bytes(), reader.byte(), reader.number());
        }
    }
}
