//! Commands inside log entries, in our own codec: no protobuf is parsed while applying.
//!
//! ```text
//! record(version 1): kind u8 | guard (only with kind 2) | region version | wall clock ms | count | operation*
//! kind       1 write, 2 guarded write
//! guard      family u8 | key bytes | 0                absent
//!            family u8 | key bytes | 1 | value bytes  this value
//! operation  1 put    | family u8 | key bytes | value bytes
//!            2 delete | family u8 | key bytes
//!            3 range  | family u8 | start bytes | end bytes
//! ```
//! A kind, version or tag that this program does not know stops the store before any effect of the
//! entry: guessing would make its replicas differ.

use bytes::Bytes;
use flotilla_base::codec::{CodecError, RecordReader, RecordWriter};
use flotilla_base::{Family, Key, KeyRange, Mutation, Version};

const VERSION: u8 = 1;
const KIND_WRITE: u8 = 1;
const KIND_GUARDED_WRITE: u8 = 2;
const TAG_PUT: u8 = 1;
const TAG_DELETE: u8 = 2;
const TAG_DELETE_RANGE: u8 = 3;

/// What must stand under a key for a write to have an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Where to look.
    pub family: Family,
    /// The key; it lies in the region, as those of the changes do.
    pub key: Key,
    /// The stored value to the byte; `None` where there is to be none.
    pub stored: Option<Bytes>,
}

/// Changes of a region's data, applied all or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteCommand {
    /// Version of the range under which it was proposed; checked again at apply.
    pub version: Version,
    /// The proposer's wall clock in milliseconds since 1970: apply itself reads no clock.
    pub clock_millis: u64,
    /// Without it the changes are made whatever stands there.
    pub guard: Option<Guard>,
    /// The changes, in order.
    pub mutations: Vec<Mutation>,
}

/// What a log entry asks the state machine to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Change data.
    Write(WriteCommand),
}

impl Guard {
    /// Bytes of the key and the value.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.key.len() + self.stored.as_ref().map_or(0, Bytes::len)
    }
}

impl WriteCommand {
    /// Bytes of keys and values: what a write is metered by.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let guard = self.guard.as_ref().map_or(0, Guard::size_bytes);
        guard + self.mutations.iter().map(Mutation::size_bytes).sum::<usize>()
    }

    /// The command as the data of an entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let changes: usize = self.mutations.iter().map(|change| change.size_bytes() + 16).sum();
        let guard = self.guard.as_ref().map_or(0, |guard| guard.size_bytes() + 16);
        let mut record = RecordWriter::with_capacity(VERSION, guard + changes + 32);
        match &self.guard {
            None => _ = record.byte(KIND_WRITE),
            Some(guard) => encode_guard(guard, record.byte(KIND_GUARDED_WRITE)),
        }
        record.number(self.version.get()).number(self.clock_millis);
        record.number(self.mutations.len() as u64);
        for mutation in &self.mutations {
            encode_mutation(mutation, &mut record);
        }
        record.finish()
    }
}

impl Command {
    /// The command in the data of an entry.
    ///
    /// # Errors
    /// [`CodecError`] where this program does not know the command; the store must stop.
    pub fn decode(data: &Bytes) -> Result<Self, CodecError> {
        let mut fields = RecordReader::open(data, VERSION)?;
        let guard = match fields.byte()? {
            KIND_WRITE => None,
            KIND_GUARDED_WRITE => Some(decode_guard(&mut fields)?),
            _ => return Err(CodecError::Meaningless("command kind")),
        };
        let version = Version(fields.number()?);
        let clock_millis = fields.number()?;
        let count = fields.number()?;
        let mut mutations = Vec::new();
        for _ in 0..count {
            mutations.push(decode_mutation(&mut fields)?);
        }
        fields.finish()?;
        Ok(Self::Write(WriteCommand { version, clock_millis, guard, mutations }))
    }
}

fn encode_guard(guard: &Guard, record: &mut RecordWriter) {
    record.byte(family_number(guard.family)).bytes(&guard.key);
    match &guard.stored {
        None => _ = record.byte(0),
        Some(value) => _ = record.byte(1).bytes(value),
    }
}

fn decode_guard(fields: &mut RecordReader) -> Result<Guard, CodecError> {
    let family = family_from_number(fields.byte()?)?;
    let key = fields.bytes()?;
    let stored = match fields.byte()? {
        0 => None,
        1 => Some(fields.bytes()?),
        _ => return Err(CodecError::Meaningless("guard")),
    };
    Ok(Guard { family, key, stored })
}

fn encode_mutation(mutation: &Mutation, record: &mut RecordWriter) {
    match mutation {
        Mutation::Put(family, key, value) => {
            record.byte(TAG_PUT).byte(family_number(*family)).bytes(key).bytes(value);
        }
        Mutation::Delete(family, key) => {
            record.byte(TAG_DELETE).byte(family_number(*family)).bytes(key);
        }
        Mutation::DeleteRange(family, range) => {
            record.byte(TAG_DELETE_RANGE).byte(family_number(*family));
            record.bytes(&range.start).bytes(&range.end);
        }
    }
}

fn decode_mutation(fields: &mut RecordReader) -> Result<Mutation, CodecError> {
    let tag = fields.byte()?;
    let family = family_from_number(fields.byte()?)?;
    match tag {
        TAG_PUT => Ok(Mutation::Put(family, fields.bytes()?, fields.bytes()?)),
        TAG_DELETE => Ok(Mutation::Delete(family, fields.bytes()?)),
        TAG_DELETE_RANGE => {
            let start = fields.bytes()?;
            Ok(Mutation::DeleteRange(family, KeyRange { start, end: fields.bytes()? }))
        }
        _ => Err(CodecError::Meaningless("operation")),
    }
}

/// Data families only: a command can never reach the log or the states of groups.
fn family_number(family: Family) -> u8 {
    match family {
        Family::Raw => 1,
        Family::Default => 2,
        Family::Lock => 3,
        Family::Write => 4,
        Family::RaftLog | Family::RaftMeta => unreachable!("commands change data families only"),
    }
}

const fn family_from_number(number: u8) -> Result<Family, CodecError> {
    match number {
        1 => Ok(Family::Raw),
        2 => Ok(Family::Default),
        3 => Ok(Family::Lock),
        4 => Ok(Family::Write),
        _ => Err(CodecError::Meaningless("family")),
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::{assert_canonical, damaged_records};
    use proptest::prelude::*;

    use super::*;

    fn mutation() -> impl Strategy<Value = Mutation> {
        let family = prop::sample::select(Family::DATA.to_vec());
        (family, any::<Vec<u8>>(), any::<Vec<u8>>(), 0..3_u8).prop_map(|(family, a, b, kind)| {
            match kind {
                0 => Mutation::Put(family, a.into(), b.into()),
                1 => Mutation::Delete(family, a.into()),
                _ => Mutation::DeleteRange(family, KeyRange::new(a, b)),
            }
        })
    }

    fn guard() -> impl Strategy<Value = Guard> {
        let family = prop::sample::select(Family::DATA.to_vec());
        let guard = (family, any::<Vec<u8>>(), any::<Option<Vec<u8>>>());
        guard.prop_map(|(family, key, stored)| Guard {
            family,
            key: key.into(),
            stored: stored.map(Bytes::from),
        })
    }

    prop_compose! {
        fn writes()(
            version: u64,
            clock_millis: u64,
            guard in prop::option::of(guard()),
            mutations in prop::collection::vec(mutation(), 0..9),
        ) -> WriteCommand {
            WriteCommand { version: Version(version), clock_millis, guard, mutations }
        }
    }

    #[test]
    fn a_count_that_lies_takes_no_memory() {
        for count in [1, u64::from(u32::MAX), u64::MAX] {
            let mut record = RecordWriter::new(VERSION);
            record.byte(KIND_WRITE).number(1).number(5).number(count);
            assert_eq!(Command::decode(&record.finish()), Err(CodecError::Short), "{count}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(command in writes()) {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(Command::Write(command)));
        }

        #[test]
        fn damaged_commands_are_refused_or_canonical(
            record in damaged_records(writes().prop_map(|command| command.encode().to_vec())),
        ) {
            let decode = |record: &[u8]| Command::decode(&Bytes::copy_from_slice(record));
            assert_canonical(&record, decode, |Command::Write(write)| write.encode().to_vec());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut record = RecordWriter::new(VERSION);
            for byte in &bytes { record.byte(*byte); }
            let _decoded = Command::decode(&record.finish());
            prop_assert!(Command::decode(&bytes.into()).is_err());
        }
    }

    #[test]
    fn golden_bytes() {
        let mutations = vec![Mutation::Put(Family::Raw, "k".into(), "v".into())];
        let command = WriteCommand { version: Version(1), clock_millis: 5, guard: None, mutations };
        let bytes = command.encode();
        assert_eq!(bytes[..12], [1, 1, 1, 5, 1, 1, 1, 1, b'k', 1, b'v', bytes[11]]);
        assert_eq!(bytes.len(), 15);
        let guard = |stored| Some(Guard { family: Family::Raw, key: "k".into(), stored });
        let bytes = WriteCommand { guard: guard(Some("u".into())), ..command.clone() }.encode();
        assert_eq!(bytes[..10], [1, 2, 1, 1, b'k', 1, 1, b'u', 1, 5]);
        let bytes = WriteCommand { guard: guard(None), ..command }.encode();
        assert_eq!(bytes[..8], [1, 2, 1, 1, b'k', 0, 1, 5]);
    }
}
