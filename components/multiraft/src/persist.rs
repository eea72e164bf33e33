//! What a peer keeps on disk besides its group's own records.
//!
//! ```text
//! family raftmeta   0x10 | region u64 BE -> region state record: 2 or 4
//!                   0x11 | region u64 BE -> region state record: 1 or 3
//! record(version 1): state u8 (1 uninitialised, 2 normal, 3 quarantined) | peer id
//!                    normal only: version | conf_ver | start bytes | end bytes | count | (peer id, store id, role u8)*
//!                    4 (being given a snapshot), in the place of 2: stage number | start bytes | end bytes of what is
//!                    deleted for it | as for normal
//! ```
//! Each record has one writer. What a region looks like is written where its log is applied; what a peer
//! remembers besides, by the peer itself. A split may give a region its state while a peer without data, on
//! another thread, makes its first note: neither may overwrite the other.

use flotilla_base::codec::{CodecError, RecordReader, RecordWriter};
use flotilla_base::{
    ConfVer, Epoch, Family, Key, KeyRange, KvRead, Mutation, Peer, PeerId, PeerRole, Region,
    RegionId, StoreId, Version,
};
use flotilla_raftgroup::disk::{self, DiskError};

use crate::install::StageNumber;

/// First byte of the keys of region states.
pub const REGION_STATE_KIND: u8 = 0x10;
/// First byte of the keys of what peers remember besides: one scan from the kind before finds all peers.
pub const PEER_MARK_KIND: u8 = 0x11;
const VERSION: u8 = 1;
const STATE_UNINITIALISED: u8 = 1;
const STATE_NORMAL: u8 = 2;
const STATE_QUARANTINED: u8 = 3;
const STATE_APPLYING: u8 = 4;

/// What a store remembers of one of its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionState {
    /// A message created the peer; it has votes to remember, but no data.
    Uninitialised(PeerId),
    /// The peer has data, or is to receive it by log.
    Normal(PeerId, Region),
    /// The peer lacks what it once promised to keep. After a restart its records agree with each other again, and
    /// it would vote with a log that is too short.
    Quarantined(PeerId),
    /// The peer is given the data of a snapshot, and has no other.
    Applying(Applying),
}

impl RegionState {
    /// Whose state it is.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        match self {
            Self::Uninitialised(peer) | Self::Normal(peer, _) | Self::Quarantined(peer) => *peer,
            Self::Applying(applying) => applying.peer,
        }
    }
}

/// A peer whose data is being replaced by what is staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applying {
    /// The peer.
    pub peer: PeerId,
    /// The region as it is with the new data.
    pub region: Region,
    /// What the peer owned, and what it is to own: nobody else has data there.
    pub clean: KeyRange,
    /// Where the new data is.
    pub stage: StageNumber,
}

/// The state of `region` as `reader` shows it, without what its peer remembers besides.
///
/// # Errors
/// [`DiskError`] where the engine fails or the record is damaged.
pub fn read_region_state(
    reader: &dyn KvRead,
    region: RegionId,
) -> Result<Option<RegionState>, DiskError> {
    let key = disk::meta_key(REGION_STATE_KIND, region);
    let Some(record) = reader.get(Family::RaftMeta, &key)? else { return Ok(None) };
    let what = "region state";
    let state = decode_region_state(region, &record);
    state.map(Some).map_err(|cause| DiskError::Record { group: region, what, cause })
}

/// Key of `state` of `region`.
#[must_use]
pub fn region_state_key(region: RegionId, state: &RegionState) -> Key {
    let kind = match state {
        RegionState::Normal(..) | RegionState::Applying(_) => REGION_STATE_KIND,
        RegionState::Uninitialised(_) | RegionState::Quarantined(_) => PEER_MARK_KIND,
    };
    disk::meta_key(kind, region)
}

/// The mutation that takes back the mark of a peer without data: it has its region now.
#[must_use]
pub fn delete_peer_mark(region: RegionId) -> Mutation {
    Mutation::Delete(Family::RaftMeta, disk::meta_key(PEER_MARK_KIND, region))
}

/// The mutation that writes `state` of `region`.
#[must_use]
pub fn put_region_state(region: RegionId, state: &RegionState) -> Mutation {
    let mut record = RecordWriter::new(VERSION);
    match state {
        RegionState::Uninitialised(peer) => {
            record.byte(STATE_UNINITIALISED).number(peer.get());
        }
        RegionState::Normal(peer, region) => {
            record.byte(STATE_NORMAL).number(peer.get());
            encode_region(region, &mut record);
        }
        RegionState::Quarantined(peer) => {
            record.byte(STATE_QUARANTINED).number(peer.get());
        }
        RegionState::Applying(Applying { peer, region, clean, stage }) => {
            record.byte(STATE_APPLYING).number(peer.get()).number(stage.0);
            record.bytes(&clean.start).bytes(&clean.end);
            encode_region(region, &mut record);
        }
    }
    Mutation::Put(Family::RaftMeta, region_state_key(region, state), record.finish())
}

/// The state of `region` from its record.
///
/// # Errors
/// [`CodecError`] where the bytes are no intact state.
pub fn decode_region_state(
    region: RegionId,
    record: &bytes::Bytes,
) -> Result<RegionState, CodecError> {
    let mut fields = RecordReader::open(record, VERSION)?;
    let state = fields.byte()?;
    let peer = PeerId(fields.number()?);
    let state = match state {
        STATE_UNINITIALISED => RegionState::Uninitialised(peer),
        STATE_NORMAL => RegionState::Normal(peer, decode_region(region, &mut fields)?),
        STATE_QUARANTINED => RegionState::Quarantined(peer),
        STATE_APPLYING => {
            let stage = StageNumber(fields.number()?);
            let clean = KeyRange { start: fields.bytes()?, end: fields.bytes()? };
            let region = decode_region(region, &mut fields)?;
            if !clean.covers(&region.range) {
                return Err(CodecError::Meaningless("a range to clean"));
            }
            RegionState::Applying(Applying { peer, region, clean, stage })
        }
        _ => return Err(CodecError::Meaningless("region state")),
    };
    fields.finish()?;
    Ok(state)
}

fn encode_region(region: &Region, record: &mut RecordWriter) {
    record.number(region.epoch.version.get()).number(region.epoch.conf_ver.get());
    record.bytes(&region.range.start).bytes(&region.range.end);
    record.number(region.peers.len() as u64);
    for peer in &region.peers {
        let role = match peer.role {
            PeerRole::Voter => 0,
            PeerRole::Learner => 1,
            PeerRole::IncomingVoter => 2,
            PeerRole::DemotingVoter => 3,
        };
        record.number(peer.id.get()).number(peer.store.get()).byte(role);
    }
}

fn decode_region(id: RegionId, fields: &mut RecordReader) -> Result<Region, CodecError> {
    let epoch = Epoch { version: Version(fields.number()?), conf_ver: ConfVer(fields.number()?) };
    let range = KeyRange { start: fields.bytes()?, end: fields.bytes()? };
    let mut peers = Vec::new();
    for _ in 0..fields.number()? {
        let (peer, store) = (PeerId(fields.number()?), StoreId(fields.number()?));
        let role = match fields.byte()? {
            0 => PeerRole::Voter,
            1 => PeerRole::Learner,
            2 => PeerRole::IncomingVoter,
            3 => PeerRole::DemotingVoter,
            _ => return Err(CodecError::Meaningless("peer role")),
        };
        peers.push(Peer { id: peer, store, role });
    }
    let region = Region { id, range, epoch, peers };
    region.validate().map_err(|_rule| CodecError::Meaningless("region"))?;
    Ok(region)
}

#[cfg(test)]
mod tests {
    use flotilla_damage::{assert_canonical, damaged_records};
    use proptest::prelude::*;

    use super::*;

    const REGION: RegionId = RegionId(2);

    prop_compose! {
        fn regions()(
            start: Vec<u8>,
            tail in prop::option::of(prop::collection::vec(any::<u8>(), 1..9)),
            epoch in (1..u64::MAX, 1..u64::MAX),
            roles in prop::collection::vec(
                prop::sample::select(vec![
                    PeerRole::Voter,
                    PeerRole::Learner,
                    PeerRole::IncomingVoter,
                    PeerRole::DemotingVoter,
                ]),
                0..6,
            ),
        ) -> Region {
            let end = tail.map_or_else(Vec::new, |tail| [start.clone(), tail].concat());
            let peers = (1..).zip(roles);
            let peers = peers.map(|(n, role)| Peer { id: PeerId(n + 10), store: StoreId(n), role });
            let epoch = Epoch { version: Version(epoch.0), conf_ver: ConfVer(epoch.1) };
            Region { id: REGION, range: KeyRange::new(start, end), epoch, peers: peers.collect() }
        }
    }

    fn states() -> impl Strategy<Value = RegionState> {
        prop_oneof![
            any::<u64>().prop_map(|peer| RegionState::Uninitialised(PeerId(peer))),
            any::<u64>().prop_map(|peer| RegionState::Quarantined(PeerId(peer))),
            (any::<u64>(), regions())
                .prop_map(|(peer, region)| RegionState::Normal(PeerId(peer), region)),
            (any::<u64>(), regions(), any::<u64>()).prop_map(|(peer, region, stage)| {
                let (peer, stage) = (PeerId(peer), StageNumber(stage));
                let clean = KeyRange::new("", region.range.end.clone());
                RegionState::Applying(Applying { peer, region, clean, stage })
            }),
        ]
    }

    fn encode(state: &RegionState) -> Vec<u8> {
        let Mutation::Put(_, key, record) = put_region_state(REGION, state) else {
            panic!("a put")
        };
        assert_eq!(key, region_state_key(REGION, state));
        record.to_vec()
    }

    proptest! {
        #[test]
        fn round_trip(state in states()) {
            prop_assert_eq!(decode_region_state(REGION, &encode(&state).into()), Ok(state));
        }

        #[test]
        fn damaged_states_are_refused_or_canonical(
            record in damaged_records(states().prop_map(|state| encode(&state))),
        ) {
            let decode =
                |record: &[u8]| decode_region_state(REGION, &bytes::Bytes::copy_from_slice(record));
            assert_canonical(&record, decode, encode);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut record = RecordWriter::new(VERSION);
            for byte in &bytes { record.byte(*byte); }
            let _decoded = decode_region_state(RegionId(1), &record.finish());
        }
    }
}
