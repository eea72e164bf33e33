//! A store as the cluster remembers it.

use flotilla_base::{
    Incarnation, StoreId,
    codec::{CodecError, RecordReader, RecordWriter},
};

/// Where a store is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StoreState {
    /// Serves and takes replicas.
    #[default]
    Up,
    /// Serves, but its replicas are being moved away.
    Offline,
    /// Gone for good: it must stop itself when it calls.
    Tombstone,
}

impl StoreState {
    const fn tag(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Offline => 1,
            Self::Tombstone => 2,
        }
    }

    const fn from_tag(tag: u8) -> Result<Self, CodecError> {
        match tag {
            0 => Ok(Self::Up),
            1 => Ok(Self::Offline),
            2 => Ok(Self::Tombstone),
            _ => Err(CodecError::Meaningless("store state")),
        }
    }
}

/// A registered store. Its statistics are soft state and live in the view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreRecord {
    /// Identity, from the placement driver's own id space.
    pub id: StoreId,
    /// `host:port` that clients and other stores call.
    pub address: String,
    /// `host:port` for replication, where it is another one; else empty.
    pub peer_address: String,
    /// `host:port` of the HTTP status server; may be empty.
    pub status_address: String,
    /// Version that clients parse, for example `8.5.0-flotilla-0.1.0`.
    pub version: String,
    /// Source revision of the program; may be empty.
    pub git_hash: String,
    /// Where the program lies; informative.
    pub deploy_path: String,
    /// Labels, in the order of the store.
    pub labels: Vec<(String, String)>,
    /// Wall clock of the process start, seconds since 1970.
    pub start_unix_s: i64,
    /// Which run of the store registered last; zero in a request that does not name one.
    pub incarnation: Incarnation,
    /// Where it is in its life. Stores do not set this: registering keeps what is recorded.
    pub state: StoreState,
}

impl StoreRecord {
    /// Whether `other` would be reached at an address of this store.
    pub(super) fn shares_address_with(&self, other: &Self) -> bool {
        let mine = [&self.address, &self.peer_address];
        let theirs = [&other.address, &other.peer_address];
        mine.iter().any(|address| !address.is_empty() && theirs.contains(address))
    }

    pub(super) fn write(&self, writer: &mut RecordWriter) {
        writer.number(self.id.get());
        for text in [
            &self.address,
            &self.peer_address,
            &self.status_address,
            &self.version,
            &self.git_hash,
            &self.deploy_path,
        ] {
            writer.bytes(text.as_bytes());
        }
        write_pairs(&self.labels, writer);
        writer.number(self.start_unix_s.cast_unsigned()).number(self.incarnation.get());
        writer.byte(self.state.tag());
    }

    pub(super) fn read(reader: &mut RecordReader) -> Result<Self, CodecError> {
        Ok(Self {
            id: StoreId(reader.number()?),
            address: read_text(reader)?,
            peer_address: read_text(reader)?,
            status_address: read_text(reader)?,
            version: read_text(reader)?,
            git_hash: read_text(reader)?,
            deploy_path: read_text(reader)?,
            labels: read_pairs(reader)?,
            start_unix_s: reader.number()?.cast_signed(),
            incarnation: Incarnation(reader.number()?),
            state: StoreState::from_tag(reader.byte()?)?,
        })
    }
}

/// Pairs of texts: labels, settings.
pub(crate) fn write_pairs<K: AsRef<str>>(pairs: &[(K, String)], writer: &mut RecordWriter) {
    writer.number(pairs.len() as u64);
    for (key, value) in pairs {
        writer.bytes(key.as_ref().as_bytes()).bytes(value.as_bytes());
    }
}

pub(crate) fn read_pairs(reader: &mut RecordReader) -> Result<Vec<(String, String)>, CodecError> {
    // No capacity from the count: it comes from outside and may be nonsense.
    let count = reader.number()?;
    let mut pairs = Vec::new();
    for _pair in 0..count {
        pairs.push((read_text(reader)?, read_text(reader)?));
    }
    Ok(pairs)
}

pub(crate) fn read_text(reader: &mut RecordReader) -> Result<String, CodecError> {
    String::from_utf8(reader.bytes()?.to_vec())
        .map_err(|_not_text| CodecError::Meaningless("text field"))
}
