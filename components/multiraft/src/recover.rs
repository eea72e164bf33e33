//! Reading a store's peers back after a start.

use std::collections::BTreeMap;

use flotilla_base::{Family, KeyRange, KvRead, PeerId, ReadError, Region, RegionId, ScanDirection};
use flotilla_raftgroup::disk::{self, DiskError, Recovered};
use flotilla_raftgroup::{ApplyState, LogPosition, RaftState};

use crate::birth::{self, first_raft_state};
use crate::persist::{PEER_MARK_KIND, REGION_STATE_KIND, RegionState, decode_region_state};

/// One peer as found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveredPeer {
    /// A peer without data, with the votes that it must not forget.
    Uninitialised {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
        /// Its promises.
        raft: RaftState,
    },
    /// A peer with data.
    Normal {
        /// The peer.
        peer: PeerId,
        /// The region.
        region: Region,
        /// Promises and end of the log.
        raft: RaftState,
        /// Progress of the state machine.
        apply: ApplyState,
        /// A split made the region, and the store stopped before the peer wrote anything about it: `raft` is
        /// made up of what it had promised before.
        is_fresh: bool,
    },
    /// A peer whose records are damaged or contradict each other. It must take part in nothing; the
    /// store's other peers are sound.
    Damaged {
        /// The region.
        region: RegionId,
        /// The peer, where its record could be read; else zero.
        peer: PeerId,
        /// The evidence.
        cause: String,
    },
}

/// Every peer that the disk knows, ascending by region.
///
/// # Errors
/// [`ReadError`] where the engine itself fails.
pub fn recover_store(reader: &dyn KvRead) -> Result<Vec<RecoveredPeer>, ReadError> {
    let range = KeyRange::new(vec![REGION_STATE_KIND], vec![PEER_MARK_KIND + 1]);
    let mut records: BTreeMap<RegionId, Records> = BTreeMap::new();
    reader.scan(Family::RaftMeta, &range, ScanDirection::Forward, &mut |key, record| {
        let region = key.get(1..).and_then(|id| id.try_into().ok()).map_or(0, u64::from_be_bytes);
        let records = records.entry(RegionId(region)).or_default();
        records.push(bytes::Bytes::copy_from_slice(record));
        true
    })?;
    records.into_iter().map(|(region, records)| recover_peer(reader, region, &records)).collect()
}

/// What was found of one region: its state, or the mark of its peer, or both.
type Records = Vec<bytes::Bytes>;

fn recover_peer(
    reader: &dyn KvRead,
    region: RegionId,
    records: &Records,
) -> Result<RecoveredPeer, ReadError> {
    let damaged = |peer, cause: String| Ok(RecoveredPeer::Damaged { region, peer, cause });
    let mut normal = None;
    let mut uninitialised = PeerId(0);
    for record in records {
        match decode_region_state(region, record) {
            Err(cause) => return damaged(PeerId(0), cause.to_string()),
            Ok(RegionState::Quarantined(peer)) => {
                return damaged(peer, "it was found damaged in an earlier run".to_owned());
            }
            Ok(RegionState::Uninitialised(peer)) => uninitialised = peer,
            Ok(RegionState::Normal(peer, shape)) => normal = Some((peer, shape)),
        }
    }
    match normal {
        Some((peer, shape)) => recover_normal(reader, peer, shape),
        None => match disk::read_raft_state(reader, region) {
            Ok(raft) => {
                let (peer, raft) = (uninitialised, raft.unwrap_or_default());
                Ok(RecoveredPeer::Uninitialised { region, peer, raft })
            }
            Err(DiskError::Read(error)) => Err(error),
            Err(cause) => damaged(uninitialised, cause.to_string()),
        },
    }
}

fn recover_normal(
    reader: &dyn KvRead,
    peer: PeerId,
    region: Region,
) -> Result<RecoveredPeer, ReadError> {
    let damaged = |cause: String| Ok(RecoveredPeer::Damaged { region: region.id, peer, cause });
    let found = disk::read_raft_state(reader, region.id)
        .and_then(|raft| Ok((raft.unwrap_or_default(), disk::recover(reader, region.id)?)));
    match found {
        Ok((_, None)) => damaged("its apply state is missing".to_owned()),
        Ok((promised, Some(Recovered { raft, apply }))) => {
            // A raft state without a log is what a peer without data leaves.
            let is_fresh = promised.last == LogPosition::default();
            if is_fresh && apply.applied != birth::FIRST {
                return damaged("its raft state is missing".to_owned());
            }
            let raft = if is_fresh { first_raft_state(promised.hard_state) } else { raft };
            Ok(RecoveredPeer::Normal { peer, region, raft, apply, is_fresh })
        }
        Err(DiskError::Read(error)) => Err(error),
        Err(cause) => damaged(cause.to_string()),
    }
}
