//! What a group keeps on disk: keys, records, and how they are read back after a crash.
//!
//! ```text
//! family raftlog    group u64 BE | index u64 BE            -> entry record
//! family raftmeta   0x20 | group u64 BE                    -> raft state record
//!                   0x30 | group u64 BE                    -> apply state record
//! ```
//! Kinds below 0x80 belong to raft groups and their peers; a state machine that shares the family
//! (a placement driver) uses kinds from 0x80 on.
//!
//! Entries and raft state are written in one batch, so after a crash the last entry found is the one
//! that the raft state names, or the disk is damaged.

use bytes::Bytes;
use flotilla_base::codec::{CodecError, RecordReader, RecordWriter};
use flotilla_base::{
    Family, Index, Key, KeyRange, KvRead, Mutation, PeerId, ReadError, RegionId, ScanDirection,
    Term,
};

use crate::message::{Entry, EntryKind, HardState, LogPosition};

const RAFT_STATE_KIND: u8 = 0x20;
const APPLY_STATE_KIND: u8 = 0x30;
const ENTRY_VERSION: u8 = 1;
const STATE_VERSION: u8 = 1;

/// No term and no index of a state gets here, and every one below has room for the numbers that follow it.
const NUMBER_END: u64 = 1 << 63;

/// What a group promised and how long its log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftState {
    /// Term, vote and a hint of the commit index.
    pub hard_state: HardState,
    /// Position of the last entry; equals the truncated position where the log is empty.
    pub last: LogPosition,
}

/// How far the state machine is. Written in the batch that holds the effects it speaks of.
///
/// Invariant: `truncated.index ≤ applied.index ≤ commit ≤ last.index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyState {
    /// Last applied entry.
    pub applied: LogPosition,
    /// Commit index that was known when it was applied.
    pub commit: Index,
    /// Last entry that is no longer in the log.
    pub truncated: LogPosition,
    /// Largest wall clock that an applied entry carried, in milliseconds: state machines judge expiry
    /// by it and never by a clock of their own.
    pub clock_millis: u64,
}

impl ApplyState {
    /// The state of a group that starts at `first` with nothing behind it.
    #[must_use]
    pub const fn starting_at(first: LogPosition) -> Self {
        Self { applied: first, commit: first.index, truncated: first, clock_millis: 0 }
    }
}

/// What was found on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Promises and end of the log.
    pub raft: RaftState,
    /// Progress of the state machine.
    pub apply: ApplyState,
}

/// Why a group cannot be read back. The group must not take part in anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The storage engine failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record cannot be understood.
    #[error("group {group}: {what}: {cause}")]
    Record {
        /// The group.
        group: RegionId,
        /// Which record.
        what: &'static str,
        /// Why.
        cause: CodecError,
    },
    /// An entry cannot be understood.
    #[error("group {group}: entry {index} of the log: {cause}")]
    Entry {
        /// The group.
        group: RegionId,
        /// Which entry.
        index: Index,
        /// Why.
        cause: CodecError,
    },
    /// The records contradict each other.
    #[error("group {group}: log on disk is damaged: {what}")]
    Contradiction {
        /// The group.
        group: RegionId,
        /// Which rule is broken.
        what: String,
    },
}

/// Key of an entry.
#[must_use]
pub fn entry_key(group: RegionId, index: Index) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&group.get().to_be_bytes());
    key[8..].copy_from_slice(&index.get().to_be_bytes());
    Bytes::copy_from_slice(&key)
}

/// Key of a record of `kind` about `group` in the family `raftmeta`.
#[must_use]
pub fn meta_key(kind: u8, group: RegionId) -> Key {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&group.get().to_be_bytes());
    Bytes::copy_from_slice(&key)
}

/// The entry as a record; its index is in the key.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Bytes {
    let payload_bytes = entry.data.len() + entry.context.len();
    let mut record = RecordWriter::with_capacity(ENTRY_VERSION, payload_bytes + 24);
    let kind = match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::ConfChange => 1,
        EntryKind::ConfChangeV2 => 2,
    };
    record.byte(kind).number(entry.term.get()).bytes(&entry.context).bytes(&entry.data);
    record.finish()
}

/// The entry at `index` from its record.
///
/// # Errors
/// [`CodecError`] where the bytes are no intact entry.
pub fn decode_entry(index: Index, record: &Bytes) -> Result<Entry, CodecError> {
    let mut fields = RecordReader::open(record, ENTRY_VERSION)?;
    let kind = match fields.byte()? {
        0 => EntryKind::Normal,
        1 => EntryKind::ConfChange,
        2 => EntryKind::ConfChangeV2,
        _ => return Err(CodecError::Meaningless("entry kind")),
    };
    let term = Term(fields.number()?);
    let (context, data) = (fields.bytes()?, fields.bytes()?);
    fields.finish()?;
    Ok(Entry { kind, term, index, data, context })
}

/// The mutation that writes `state`.
#[must_use]
pub fn put_raft_state(group: RegionId, state: &RaftState) -> Mutation {
    let HardState { term, vote, commit } = state.hard_state;
    let mut record = RecordWriter::new(STATE_VERSION);
    record.number(term.get()).number(vote.get()).number(commit.get());
    record.number(state.last.index.get()).number(state.last.term.get());
    Mutation::Put(Family::RaftMeta, meta_key(RAFT_STATE_KIND, group), record.finish())
}

/// The mutation that writes `state`.
#[must_use]
pub fn put_apply_state(group: RegionId, state: &ApplyState) -> Mutation {
    let mut record = RecordWriter::new(STATE_VERSION);
    record.number(state.applied.index.get()).number(state.applied.term.get());
    record.number(state.commit.get());
    record.number(state.truncated.index.get()).number(state.truncated.term.get());
    record.number(state.clock_millis);
    Mutation::Put(Family::RaftMeta, meta_key(APPLY_STATE_KIND, group), record.finish())
}

/// The mutations that make `entries` the end of a log whose last entry was at `old_last`.
///
/// Entries that are overwritten are deleted first and in the same batch: between two puts of a log key
/// stands exactly one delete, which is what lets the engine use single deletes in this family.
pub fn append_entries(
    group: RegionId,
    old_last: Index,
    entries: &[Entry],
    batch: &mut Vec<Mutation>,
) {
    let Some(first) = entries.first() else { return };
    delete_entries(group, first.index, old_last, batch);
    batch.extend(entries.iter().map(|entry| {
        Mutation::Put(Family::RaftLog, entry_key(group, entry.index), encode_entry(entry))
    }));
}

/// The mutations that remove the entries from `first` to `last`, both included.
pub fn delete_entries(group: RegionId, first: Index, last: Index, batch: &mut Vec<Mutation>) {
    batch.extend(
        (first.get()..=last.get())
            .map(|index| Mutation::Delete(Family::RaftLog, entry_key(group, Index(index)))),
    );
}

/// The mutations that remove everything about a group whose log holds the entries between these two, the first one
/// excluded.
pub fn delete_group(group: RegionId, truncated: Index, last: Index, batch: &mut Vec<Mutation>) {
    assert!(truncated <= last, "the log ends behind its truncation");
    delete_entries(group, truncated.next(), last, batch);
    let states = [RAFT_STATE_KIND, APPLY_STATE_KIND];
    batch.extend(states.map(|kind| Mutation::Delete(Family::RaftMeta, meta_key(kind, group))));
}

/// Reads the raft state alone: what an uninitialised peer has.
///
/// # Errors
/// [`DiskError`] where the engine fails or the record is damaged.
pub fn read_raft_state(
    reader: &dyn KvRead,
    group: RegionId,
) -> Result<Option<RaftState>, DiskError> {
    let Some(record) = reader.get(Family::RaftMeta, &meta_key(RAFT_STATE_KIND, group))? else {
        return Ok(None);
    };
    let parse = || -> Result<RaftState, CodecError> {
        let mut fields = RecordReader::open(&record, STATE_VERSION)?;
        let hard_state = HardState {
            term: Term(read_counted(&mut fields)?),
            vote: PeerId(fields.number()?),
            commit: Index(read_counted(&mut fields)?),
        };
        let last = read_position(&mut fields)?;
        fields.finish()?;
        Ok(RaftState { hard_state, last })
    };
    parse().map(Some).map_err(|cause| DiskError::Record { group, what: "raft state", cause })
}

/// Reads the apply state alone.
///
/// # Errors
/// [`DiskError`] where the engine fails or the record is damaged.
pub fn read_apply_state(
    reader: &dyn KvRead,
    group: RegionId,
) -> Result<Option<ApplyState>, DiskError> {
    let Some(record) = reader.get(Family::RaftMeta, &meta_key(APPLY_STATE_KIND, group))? else {
        return Ok(None);
    };
    let parse = || -> Result<ApplyState, CodecError> {
        let mut fields = RecordReader::open(&record, STATE_VERSION)?;
        let applied = read_position(&mut fields)?;
        let commit = Index(read_counted(&mut fields)?);
        let truncated = read_position(&mut fields)?;
        let clock_millis = fields.number()?;
        fields.finish()?;
        Ok(ApplyState { applied, commit, truncated, clock_millis })
    };
    parse().map(Some).map_err(|cause| DiskError::Record { group, what: "apply state", cause })
}

fn read_position(fields: &mut RecordReader) -> Result<LogPosition, CodecError> {
    let index = Index(read_counted(fields)?);
    Ok(LogPosition { index, term: Term(read_counted(fields)?) })
}

fn read_counted(fields: &mut RecordReader) -> Result<u64, CodecError> {
    let number = fields.number()?;
    if number < NUMBER_END { Ok(number) } else { Err(CodecError::Meaningless("term or index")) }
}

/// Reads a group back and checks that its records agree; `None` where it was never initialised.
///
/// # Errors
/// [`DiskError`] where the engine fails, or the records are damaged or contradict each other.
pub fn recover(reader: &dyn KvRead, group: RegionId) -> Result<Option<Recovered>, DiskError> {
    let Some(apply) = read_apply_state(reader, group)? else { return Ok(None) };
    let raft = read_raft_state(reader, group)?
        .unwrap_or(RaftState { hard_state: HardState::default(), last: apply.truncated });
    let wrong = |what: String| Err(DiskError::Contradiction { group, what });
    let LogPosition { index: last, .. } = raft.last;
    if apply.truncated.index > apply.applied.index || apply.applied.index > last {
        return wrong(format!(
            "truncated {} ≤ applied {} ≤ last {last} does not hold",
            apply.truncated.index, apply.applied.index
        ));
    }
    let found = last_entry(reader, group)?;
    let expected = (last > apply.truncated.index).then_some(raft.last);
    if found != expected {
        return wrong(format!("last entry is {found:?}, the raft state says {expected:?}"));
    }
    if expected.is_some() {
        read_entry(reader, group, apply.truncated.index.next())?;
    }
    Ok(Some(Recovered { raft, apply }))
}

/// The keys that a group's log can have.
#[must_use]
pub fn log_range(group: RegionId) -> KeyRange {
    // Behind the last group there is no other; its range has no upper bound then, which is right as well.
    let next = group.get().checked_add(1).map(|next| entry_key(RegionId(next), Index(0)));
    KeyRange::new(entry_key(group, Index(0)), next.unwrap_or_default())
}

fn last_entry(reader: &dyn KvRead, group: RegionId) -> Result<Option<LogPosition>, DiskError> {
    let mut found = None;
    reader.scan(
        Family::RaftLog,
        &log_range(group),
        ScanDirection::Reverse,
        &mut |key, record| {
            let index = key[8..].try_into().map_or(0, u64::from_be_bytes);
            found = Some(decode_entry(Index(index), &Bytes::copy_from_slice(record)));
            false
        },
    )?;
    found
        .transpose()
        .map(|entry| entry.map(|entry| entry.position()))
        .map_err(|cause| DiskError::Record { group, what: "last log entry", cause })
}

/// Visits the entries of `range` in order until `visit` returns `false`; all of them must be there.
///
/// # Errors
/// [`DiskError`] where one is missing or damaged, or the engine fails.
pub fn read_entries(
    reader: &dyn KvRead,
    group: RegionId,
    range: std::ops::Range<Index>,
    visit: &mut dyn FnMut(Entry) -> bool,
) -> Result<(), DiskError> {
    // A group that begins is made without the disk.
    if range.is_empty() {
        return Ok(());
    }
    let keys = KeyRange::new(entry_key(group, range.start), entry_key(group, range.end));
    let mut due = range.start;
    let mut stopped = false;
    let mut failed = None;
    reader.scan(Family::RaftLog, &keys, ScanDirection::Forward, &mut |key, record| {
        if *key != *entry_key(group, due) {
            return false;
        }
        match decode_entry(due, &Bytes::copy_from_slice(record)) {
            Ok(entry) => {
                due = due.next();
                stopped = !visit(entry);
            }
            Err(cause) => failed = Some(DiskError::Entry { group, index: due, cause }),
        }
        !stopped && failed.is_none()
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if !stopped && due < range.end {
        return Err(DiskError::Contradiction { group, what: format!("entry {due} is missing") });
    }
    Ok(())
}

/// Reads one entry that must be there.
///
/// # Errors
/// [`DiskError`] where it is missing or damaged, or the engine fails.
pub fn read_entry(reader: &dyn KvRead, group: RegionId, index: Index) -> Result<Entry, DiskError> {
    let record = reader.get(Family::RaftLog, &entry_key(group, index))?.ok_or_else(|| {
        DiskError::Contradiction { group, what: format!("entry {index} is missing") }
    })?;
    decode_entry(index, &record).map_err(|cause| DiskError::Entry { group, index, cause })
}

#[cfg(test)]
mod tests {
    use flotilla_damage::{assert_canonical, damaged_records};
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn entries()(
            kind in prop::sample::select(vec![
                EntryKind::Normal, EntryKind::ConfChange, EntryKind::ConfChangeV2,
            ]),
            term: u64,
            data: Vec<u8>,
            context: Vec<u8>,
        ) -> Entry {
            Entry {
                kind,
                term: Term(term),
                index: Index(9),
                data: data.into(),
                context: context.into(),
            }
        }
    }

    #[test]
    fn golden_keys() {
        let key = entry_key(RegionId(2), Index(258));
        assert_eq!(key.as_ref(), [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(meta_key(0x20, RegionId(2)).as_ref(), [0x20, 0, 0, 0, 0, 0, 0, 0, 2]);
    }

    proptest! {
        #[test]
        fn entry_round_trip(entry in entries()) {
            prop_assert_eq!(decode_entry(entry.index, &encode_entry(&entry)), Ok(entry));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(decode_entry(Index(1), &bytes.into()).is_err());
        }

        #[test]
        fn damaged_entries_are_refused_or_canonical(
            record in damaged_records(entries().prop_map(|entry| encode_entry(&entry).to_vec())),
        ) {
            assert_canonical(
                &record,
                |record| decode_entry(Index(9), &Bytes::copy_from_slice(record)),
                |entry| encode_entry(entry).to_vec(),
            );
        }

        #[test]
        fn keys_sort_as_groups_and_positions(groups: [u64; 2], indices: [u64; 2]) {
            let positions = [0, 1].map(|which| (groups[which], indices[which]));
            let [a, b] = positions.map(|(group, index)| entry_key(RegionId(group), Index(index)));
            prop_assert_eq!(positions[0].cmp(&positions[1]), a.cmp(&b));
            let [a, b] = groups.map(|group| meta_key(0x20, RegionId(group)));
            prop_assert_eq!(groups[0].cmp(&groups[1]), a.cmp(&b));
        }
    }
}
