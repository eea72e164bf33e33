//! Reading a store's peers back after a start.

use flotilla_base::{Family, KeyRange, KvRead, PeerId, ReadError, Region, RegionId, ScanDirection};
use flotilla_raftgroup::disk::{self, DiskError, Recovered};
use flotilla_raftgroup::{ApplyState, RaftState};

use crate::persist::{REGION_STATE_KIND, RegionState, decode_region_state};

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
    let range = KeyRange::new(vec![REGION_STATE_KIND], vec![REGION_STATE_KIND + 1]);
    let mut records = Vec::new();
    reader.scan(Family::RaftMeta, &range, ScanDirection::Forward, &mut |key, record| {
        let region = key.get(1..).and_then(|id| id.try_into().ok()).map_or(0, u64::from_be_bytes);
        records.push((RegionId(region), bytes::Bytes::copy_from_slice(record)));
        true
    })?;
    records.into_iter().map(|(region, record)| recover_peer(reader, region, &record)).collect()
}

fn recover_peer(
    reader: &dyn KvRead,
    region: RegionId,
    record: &bytes::Bytes,
) -> Result<RecoveredPeer, ReadError> {
    let damaged = |peer, cause: String| Ok(RecoveredPeer::Damaged { region, peer, cause });
    match decode_region_state(region, record) {
        Err(cause) => damaged(PeerId(0), cause.to_string()),
        Ok(RegionState::Uninitialised(peer)) => match disk::read_raft_state(reader, region) {
            Ok(raft) => {
                Ok(RecoveredPeer::Uninitialised { region, peer, raft: raft.unwrap_or_default() })
            }
            Err(DiskError::Read(error)) => Err(error),
            Err(cause) => damaged(peer, cause.to_string()),
        },
        Ok(RegionState::Quarantined(peer)) => {
            damaged(peer, "it was found damaged in an earlier run".to_owned())
        }
        Ok(RegionState::Normal(peer, shape)) => match disk::recover(reader, region) {
            Ok(Some(Recovered { raft, apply })) => {
                Ok(RecoveredPeer::Normal { peer, region: shape, raft, apply })
            }
            Ok(None) => damaged(peer, "its apply state is missing".to_owned()),
            Err(DiskError::Read(error)) => Err(error),
            Err(cause) => damaged(peer, cause.to_string()),
        },
    }
}
