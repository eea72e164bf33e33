//! Commands inside log entries, in our own codec: no protobuf is parsed while applying.
//!
//! ```text
//! record(version 1): kind u8, then
//! 1 write          region version | wall clock ms | count | operation*
//! 2 guarded write  guard | region version | wall clock ms | count | operation*
//! guard      family u8 | key bytes | 0                absent
//!            family u8 | key bytes | 1 | value bytes  this value
//! operation  1 put    | family u8 | key bytes | value bytes
//!            2 delete | family u8 | key bytes
//!            3 range  | family u8 | start bytes | end bytes
//! 3 split          region version | conf version | count | child*
//! child      end key bytes | region id | count | peer id*
//! 4 forget         count | peer id*
//! ```
//! Kind 5 stands in entries of raft's own kind for changes of the membership: see [`crate::membership`].
//! A kind, version or tag that this program does not know stops the store before any effect of the
//! entry: guessing would make its replicas differ.

use bytes::Bytes;
use flotilla_base::codec::{CodecError, RecordReader, RecordWriter};
use flotilla_base::{ConfVer, Epoch, Family, Key, KeyRange, Mutation, PeerId, RegionId, Version};

const VERSION: u8 = 1;
const KIND_WRITE: u8 = 1;
const KIND_GUARDED_WRITE: u8 = 2;
const KIND_SPLIT: u8 = 3;
const KIND_FORGET: u8 = 4;
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

/// A region becomes several. It keeps its id and the last part of its range; the parts in front of it
/// become regions of their own, on the same stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitCommand {
    /// Shape of the region under which it was proposed; checked again at apply.
    pub epoch: Epoch,
    /// The new regions, by their keys.
    pub children: Vec<NewRegion>,
}

/// One region that a split makes. It begins where the one before it ends, the first one where the old region
/// does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRegion {
    /// First key behind it.
    pub end: Key,
    /// Its id, never used before.
    pub region: RegionId,
    /// Ids of its peers, never used before, in the order of the old region's peers.
    pub peers: Vec<PeerId>,
}

/// Removed members are gone: nobody tells them any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgetCommand {
    /// Who.
    pub peers: Vec<PeerId>,
}

/// What a log entry asks the state machine to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Change data.
    Write(WriteCommand),
    /// Change the range of the region.
    Split(SplitCommand),
    /// Forget removed members whose stores have confirmed that nothing is left of them.
    Forget(ForgetCommand),
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

impl SplitCommand {
    /// The command as the data of an entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut record = RecordWriter::new(VERSION);
        record.byte(KIND_SPLIT);
        record.number(self.epoch.version.get()).number(self.epoch.conf_ver.get());
        record.number(self.children.len() as u64);
        for NewRegion { end, region, peers } in &self.children {
            record.bytes(end).number(region.get()).number(peers.len() as u64);
            for peer in peers {
                record.number(peer.get());
            }
        }
        record.finish()
    }
}

impl ForgetCommand {
    /// The command as the data of an entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut record = RecordWriter::new(VERSION);
        record.byte(KIND_FORGET).number(self.peers.len() as u64);
        for peer in &self.peers {
            record.number(peer.get());
        }
        record.finish()
    }
}

impl Command {
    /// Whether the data of an entry changes the range of its region. Looks at the kind alone.
    #[must_use]
    pub fn is_split(data: &[u8]) -> bool {
        data.get(1) == Some(&KIND_SPLIT)
    }

    /// The command in the data of an entry.
    ///
    /// # Errors
    /// [`CodecError`] where this program does not know the command; the store must stop.
    pub fn decode(data: &Bytes) -> Result<Self, CodecError> {
        let mut fields = RecordReader::open(data, VERSION)?;
        let command = match fields.byte()? {
            KIND_WRITE => Self::Write(decode_write(None, &mut fields)?),
            KIND_GUARDED_WRITE => {
                let guard = decode_guard(&mut fields)?;
                Self::Write(decode_write(Some(guard), &mut fields)?)
            }
            KIND_SPLIT => Self::Split(decode_split(&mut fields)?),
            KIND_FORGET => Self::Forget(decode_forget(&mut fields)?),
            _ => return Err(CodecError::Meaningless("command kind")),
        };
        fields.finish()?;
        Ok(command)
    }
}

fn encode_guard(guard: &Guard, record: &mut RecordWriter) {
    record.byte(family_number(guard.family)).bytes(&guard.key);
    match &guard.stored {
        None => _ = record.byte(0),
        Some(value) => _ = record.byte(1).bytes(value),
    }
}

fn decode_write(
    guard: Option<Guard>,
    fields: &mut RecordReader,
) -> Result<WriteCommand, CodecError> {
    let version = Version(fields.number()?);
    let clock_millis = fields.number()?;
    let count = fields.number()?;
    let mut mutations = Vec::new();
    for _ in 0..count {
        mutations.push(decode_mutation(fields)?);
    }
    Ok(WriteCommand { version, clock_millis, guard, mutations })
}

fn decode_split(fields: &mut RecordReader) -> Result<SplitCommand, CodecError> {
    let epoch = Epoch { version: Version(fields.number()?), conf_ver: ConfVer(fields.number()?) };
    let mut children = Vec::new();
    for _ in 0..fields.number()? {
        let (end, region) = (fields.bytes()?, RegionId(fields.number()?));
        let mut peers = Vec::new();
        for _ in 0..fields.number()? {
            peers.push(PeerId(fields.number()?));
        }
        children.push(NewRegion { end, region, peers });
    }
    Ok(SplitCommand { epoch, children })
}

fn decode_forget(fields: &mut RecordReader) -> Result<ForgetCommand, CodecError> {
    let mut peers = Vec::new();
    for _ in 0..fields.number()? {
        peers.push(PeerId(fields.number()?));
    }
    Ok(ForgetCommand { peers })
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

    prop_compose! {
        fn children()(
            end: Vec<u8>,
            region: u64,
            peers in prop::collection::vec(any::<u64>(), 0..6),
        ) -> NewRegion {
            let peers = peers.into_iter().map(PeerId).collect();
            NewRegion { end: end.into(), region: RegionId(region), peers }
        }
    }

    prop_compose! {
        fn splits()(
            version: u64,
            conf_ver: u64,
            children in prop::collection::vec(children(), 0..5),
        ) -> SplitCommand {
            let epoch = Epoch { version: Version(version), conf_ver: ConfVer(conf_ver) };
            SplitCommand { epoch, children }
        }
    }

    fn commands() -> impl Strategy<Value = Command> {
        let forgets = prop::collection::vec(any::<u64>(), 0..5).prop_map(|peers| {
            Command::Forget(ForgetCommand { peers: peers.into_iter().map(PeerId).collect() })
        });
        prop_oneof![writes().prop_map(Command::Write), splits().prop_map(Command::Split), forgets,]
    }

    fn encode(command: &Command) -> Bytes {
        match command {
            Command::Write(write) => write.encode(),
            Command::Split(split) => split.encode(),
            Command::Forget(forget) => forget.encode(),
        }
    }

    #[test]
    fn a_count_that_lies_takes_no_memory() {
        for count in [1, u64::from(u32::MAX), u64::MAX] {
            let mut record = RecordWriter::new(VERSION);
            record.byte(KIND_WRITE).number(1).number(5).number(count);
            assert_eq!(Command::decode(&record.finish()), Err(CodecError::Short), "{count}");
            let mut record = RecordWriter::new(VERSION);
            record.byte(KIND_SPLIT).number(1).number(1).number(count);
            assert_eq!(Command::decode(&record.finish()), Err(CodecError::Short), "{count}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(command in commands()) {
            let data = encode(&command);
            prop_assert_eq!(Command::is_split(&data), matches!(command, Command::Split(_)));
            prop_assert_eq!(Command::decode(&data), Ok(command));
        }

        #[test]
        fn damaged_commands_are_refused_or_canonical(
            record in damaged_records(commands().prop_map(|command| encode(&command).to_vec())),
        ) {
            let decode = |record: &[u8]| Command::decode(&Bytes::copy_from_slice(record));
            assert_canonical(&record, decode, |command| encode(command).to_vec());
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
        let child = NewRegion { end: "m".into(), region: RegionId(9), peers: vec![PeerId(11)] };
        let epoch = Epoch { version: Version(3), conf_ver: ConfVer(2) };
        let bytes = SplitCommand { epoch, children: vec![child] }.encode();
        assert_eq!(bytes[..10], [1, 3, 3, 2, 1, 1, b'm', 9, 1, 11]);
        assert_eq!(bytes.len(), 14);
    }
}
