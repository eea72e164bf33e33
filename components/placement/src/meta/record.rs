//! Where the replicated state lies in `raftmeta`: one kind byte, a readable name, one record each.
//! The kinds below 0x80 of that family belong to the raft group; how far entries are applied stands there.
//!
//! | key behind the kind byte 0x80 | record |
//! |---|---|
//! | `cluster` | cluster id, replica count |
//! | `alloc_id` | last id of the last window |
//! | `timestamp` | end of the timestamp window, milliseconds |
//! | `bootstrap` | time and the first regions |
//! | `store/{id, 8 bytes big-endian}` | a store |
//! | `forgotten/{id, 8 bytes big-endian}` | nothing: a store that is gone for good and listed no more |
//! | `policy/settings` | settings that are not the usual ones |
//! | `policy/store/{id, 8 bytes big-endian}` | how a store is to be treated |
//! | `policy/schedulers` | the schedulers that run |
//! | `policy/rules` | placement rules: revision, groups, rules |

use bytes::Bytes;
use flotilla_base::{
    Family, Mutation, StoreId,
    codec::{CodecError, RecordReader, RecordWriter},
};

/// Every key of the replicated state starts with this.
pub const META_PREFIX: &[u8] = b"\x80";

pub(super) const CLUSTER: &[u8] = b"\x80cluster";
pub(super) const ALLOC_ID: &[u8] = b"\x80alloc_id";
pub(super) const TIMESTAMP: &[u8] = b"\x80timestamp";
pub(super) const BOOTSTRAP: &[u8] = b"\x80bootstrap";
pub(super) const STORE_PREFIX: &[u8] = b"\x80store/";
pub(super) const FORGOTTEN_PREFIX: &[u8] = b"\x80forgotten/";
pub(super) const SETTINGS: &[u8] = b"\x80policy/settings";
pub(super) const SCHEDULERS: &[u8] = b"\x80policy/schedulers";
pub(super) const RULES: &[u8] = b"\x80policy/rules";
pub(super) const STORE_POLICY_PREFIX: &[u8] = b"\x80policy/store/";

const RECORD_VERSION: u8 = 1;

pub(super) fn store_key(id: StoreId) -> Bytes {
    [STORE_PREFIX, &id.get().to_be_bytes()].concat().into()
}

pub(super) fn store_policy_key(id: StoreId) -> Bytes {
    [STORE_POLICY_PREFIX, &id.get().to_be_bytes()].concat().into()
}

pub(super) fn forgotten_key(id: StoreId) -> Bytes {
    [FORGOTTEN_PREFIX, &id.get().to_be_bytes()].concat().into()
}

/// The store that a key is of which begins so.
pub(super) fn store_of(prefix: &[u8], key: &[u8]) -> Result<StoreId, CodecError> {
    let id = key.strip_prefix(prefix).and_then(|id| id.try_into().ok());
    let id = id.ok_or(CodecError::Meaningless("key of a store"))?;
    Ok(StoreId(u64::from_be_bytes(id)))
}

pub(super) fn delete(key: Bytes) -> Mutation {
    Mutation::Delete(Family::RaftMeta, key)
}

pub(super) fn put(key: impl Into<Bytes>, fill: impl FnOnce(&mut RecordWriter)) -> Mutation {
    let mut writer = RecordWriter::new(RECORD_VERSION);
    fill(&mut writer);
    Mutation::Put(Family::RaftMeta, key.into(), writer.finish())
}

pub(super) fn read<R>(
    record: &Bytes,
    fields: impl FnOnce(&mut RecordReader) -> Result<R, CodecError>,
) -> Result<R, CodecError> {
    let mut reader = RecordReader::open(record, RECORD_VERSION)?;
    let value = fields(&mut reader)?;
    reader.finish()?;
    Ok(value)
}
