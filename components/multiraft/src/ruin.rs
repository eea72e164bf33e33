//! Peers whose records were found damaged when their store started: they have no replica, and take part in nothing.
//!
//! Such a peer ends as others do, when its region's leader says that it is no member any more: somebody has put another
//! one in its place. Its id says enough, since ids are used once; so nothing of what is damaged needs to be believed.
//! [`RegionTable::admit`] tells the host to clear it:
//!
//! 1. the table lets it go ([`RegionTable::let_go`]);
//! 2. the batch of [`clear`] is written and made durable;
//! 3. the table releases the slot ([`RegionTable::release`]), and the keys are cleaned ([`crate::cleaning`]).
//!
//! The leader asks again, and is answered by the tombstone.
//!
//! Before its store takes part in anything, each of them has a mark ([`marks_of_ruins`]): a later start may find less of
//! the damage, a record that a disk gives back or somebody restores, and must not believe the rest. What a peer has
//! promised may stand in the very record that was lost.

use flotilla_base::ScanDirection;
use flotilla_base::{Epoch, Family, Index, KvRead, Mutation, PeerId, ReadError, RegionId};
use flotilla_raftgroup::disk::{self, DiskError};

use crate::destroy::{Cleanup, Tombstone, put_cleanup, put_tombstone};
use crate::persist::{
    PEER_MARK_KIND, REGION_STATE_KIND, RegionState, put_region_state, read_region_state,
    region_state_key,
};
use crate::recover::RecoveredPeer;
use crate::region_table::RegionTable;
use crate::removal::put_removed;

/// What ends a peer that has no replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearance {
    /// To be written in one batch, and to be durable before the slot is released.
    pub batch: Vec<Mutation>,
    /// What is left of it.
    pub tombstone: Tombstone,
    /// What is to be cleaned then; `None` where it is not known whether the peer owned anything.
    pub cleanup: Option<Cleanup>,
}

/// Ends `peer` of `region`, which `epoch` knows to be a member no more. Where its range cannot be read, its data stays: what
/// nobody owns may be what another damaged peer has, or what an applier is about to give to a split's child.
///
/// # Errors
/// The engine fails.
pub fn clear(
    reader: &dyn KvRead,
    region: RegionId,
    peer: PeerId,
    epoch: Epoch,
) -> Result<Clearance, ReadError> {
    let range = match read_region_state(reader, region) {
        Ok(Some(RegionState::Normal(_, shape))) => Some(shape.range),
        Ok(Some(RegionState::Applying(applying))) => Some(applying.clean),
        Ok(_)
        | Err(
            DiskError::Record { .. } | DiskError::Entry { .. } | DiskError::Contradiction { .. },
        ) => None,
        Err(DiskError::Read(error)) => return Err(error),
    };
    let tombstone = Tombstone { min_next: peer.next(), epoch };
    let cleanup = range.map(|range| Cleanup { region, peer, range });
    let mut batch = vec![put_tombstone(region, &tombstone)];
    // The log is whatever is there: what its records say of it is not to be trusted.
    reader.scan(
        Family::RaftLog,
        &disk::log_range(region),
        ScanDirection::Forward,
        &mut |key, _| {
            batch.push(Mutation::Delete(Family::RaftLog, key.to_vec().into()));
            true
        },
    )?;
    disk::delete_group(region, Index(0), Index(0), &mut batch);
    let records = [REGION_STATE_KIND, PEER_MARK_KIND].map(|kind| disk::meta_key(kind, region));
    batch.extend(records.map(|key| Mutation::Delete(Family::RaftMeta, key)));
    batch.push(put_removed(region, &[]));
    batch.extend(cleanup.as_ref().map(put_cleanup));
    Ok(Clearance { batch, tombstone, cleanup })
}

/// The batch that says of the damaged peers of `found` what they are, where the disk does not say so yet. It is to be
/// durable before the store takes part in anything. Nobody can mark a peer whose name is unreadable.
///
/// # Errors
/// The engine fails.
pub fn marks_of_ruins(
    reader: &dyn KvRead,
    found: &[RecoveredPeer],
) -> Result<Vec<Mutation>, ReadError> {
    let mut marks = Vec::new();
    for found in found {
        let RecoveredPeer::Damaged { region, peer, .. } = found else { continue };
        let state = RegionState::Quarantined(*peer);
        let mark = put_region_state(*region, &state);
        let Mutation::Put(_, _, record) = &mark else { continue };
        let known = reader.get(Family::RaftMeta, &region_state_key(*region, &state))?;
        if !peer.is_none() && known.as_ref() != Some(record) {
            marks.push(mark);
        }
    }
    Ok(marks)
}

impl RegionTable {
    /// A peer was found damaged when the store started. Nothing takes its place here until it is removed.
    pub fn find_ruin(&mut self, region: RegionId, peer: PeerId) {
        self.quarantine(region, peer);
        self.doors.find_ruin(region);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use flotilla_base::{KeyRange, Peer, Region, StoreId, Tables, Term};
    use flotilla_raftgroup::{ApplyState, HardState, LogPosition, Message, MessageKind, RaftState};

    use super::*;
    use crate::destroy::recover_remains;
    use crate::input::PeerMessage;
    use crate::recover::recover_store;
    use crate::region_table::{Admission, DropReason};

    const REGION: RegionId = RegionId(2);
    const PEER: PeerId = PeerId(21);

    fn epoch() -> Epoch {
        Epoch { conf_ver: flotilla_base::ConfVer(7), ..Epoch::FIRST }
    }

    fn gone(to: PeerId) -> PeerMessage {
        PeerMessage {
            region: REGION,
            from: Peer::voter(PeerId(22), StoreId(2)),
            to: Peer::voter(to, StoreId(1)),
            epoch: epoch(),
            matched_by_all: Index(0),
            message: Message::new(MessageKind::PeerGone, PeerId(22), to, Term(0)),
        }
    }

    fn table() -> RegionTable {
        let mut table = RegionTable::new(StoreId(1));
        table.find_ruin(REGION, PEER);
        table
    }

    #[test]
    fn a_ruin_is_cleared_when_its_very_peer_is_gone() {
        let mut table = table();
        let refused = Admission::Drop(DropReason::Quarantined);
        assert_eq!(table.admit(&gone(PeerId(20))), refused, "another peer");
        let vote = Message::new(MessageKind::RequestVote, PeerId(22), PEER, Term(9));
        assert_eq!(table.admit(&PeerMessage { message: vote, ..gone(PEER) }), refused);
        assert_eq!(table.admit(&gone(PEER)), Admission::Clear);
        assert!(table.let_go(REGION, PEER));
        assert_eq!(table.admit(&gone(PEER)), refused, "it is under way");
        table.release(REGION, PEER, Tombstone { min_next: PEER.next(), epoch: epoch() });
        assert_eq!(table.admit(&gone(PEER)), Admission::Confirm);
        assert_eq!(table.slot(REGION), None, "another peer may live here");
    }

    /// Whatever becomes of its records afterwards.
    #[test]
    fn damage_that_was_found_once_stays() {
        let peers = vec![Peer::voter(PEER, StoreId(1))];
        let region = Region { id: REGION, range: KeyRange::all(), epoch: Epoch::FIRST, peers };
        let position = LogPosition { term: Term(5), index: Index(5) };
        let vote = HardState { term: Term(7), vote: PeerId(22), commit: Index(5) };
        let raft = disk::put_raft_state(REGION, &RaftState { hard_state: vote, last: position });
        let apply = disk::put_apply_state(REGION, &ApplyState::starting_at(position));
        let normal = put_region_state(REGION, &RegionState::Normal(PEER, region));
        let mark = put_region_state(REGION, &RegionState::Uninitialised(PEER));
        let spoilt = |sound: &Mutation| {
            let Mutation::Put(family, key, _) = sound else { panic!("a put") };
            Mutation::Put(*family, key.clone(), "damaged".into())
        };
        let sound = [normal.clone(), raft.clone(), apply.clone()];
        let gone = put_removed(REGION, &[Peer::voter(PeerId(29), StoreId(9))]);
        let young = [mark.clone(), raft.clone()];
        let cases = [
            (&sound[..], &raft),
            (&sound[..], &apply),
            (&[&sound[..], std::slice::from_ref(&gone)].concat()[..], &gone),
            (&young[..], &raft),
            // The other record says whose it is.
            (&[normal.clone(), mark.clone()], &mark),
            (&[mark.clone(), normal.clone()], &normal),
        ];
        for (records, record) in cases {
            let disk = Mutex::new(Tables::default());
            let write = |batch: &[Mutation]| disk.lock().expect("nobody else").apply(batch);
            let damaged = || {
                let found = recover_store(&disk).expect("readable");
                let peer = |it: &RecoveredPeer| match it {
                    RecoveredPeer::Damaged { peer, .. } => Some(*peer),
                    _ => None,
                };
                found.iter().find_map(peer)
            };
            write(records);
            write(&[spoilt(record)]);
            assert_eq!(damaged(), Some(PEER), "{record:?}");
            let marks = |disk| {
                let found = recover_store(disk).expect("readable");
                marks_of_ruins(disk, &found).expect("readable")
            };
            write(&marks(&disk));
            assert_eq!(marks(&disk), [], "once is enough");
            let is_of_mark = matches!(record, Mutation::Put(_, key, _) if key[0] == PEER_MARK_KIND);
            if !is_of_mark {
                write(std::slice::from_ref(record));
            }
            assert_eq!(damaged(), Some(PEER), "{record:?} is whole again");
        }
        let disk = Mutex::new(Tables::default());
        disk.lock().expect("nobody else").apply(&[spoilt(&normal)]);
        let found = recover_store(&disk).expect("readable");
        assert_eq!(marks_of_ruins(&disk, &found), Ok(vec![]), "nobody knows its name");
        let sound = [RecoveredPeer::Uninitialised {
            region: REGION,
            peer: PEER,
            raft: RaftState::default(),
        }];
        assert_eq!(marks_of_ruins(&disk, &sound), Ok(vec![]));
    }

    #[test]
    fn nothing_but_a_tombstone_is_left() {
        let peers = vec![Peer::voter(PEER, StoreId(1))];
        let range = KeyRange::new("b", "p");
        let region = Region { id: REGION, range: range.clone(), epoch: Epoch::FIRST, peers };
        let normal = put_region_state(REGION, &RegionState::Normal(PEER, region));
        let spoilt =
            |kind| Mutation::Put(Family::RaftMeta, disk::meta_key(kind, REGION), "damaged".into());
        let entry =
            |index| Mutation::Put(Family::RaftLog, disk::entry_key(REGION, index), "x".into());
        let log = [entry(Index(6)), entry(Index(9))];
        let marked = put_region_state(REGION, &RegionState::Quarantined(PEER));
        let cases = [
            (vec![normal.clone(), marked], Some(range.clone())),
            (vec![normal, spoilt(PEER_MARK_KIND)], Some(range)),
            (vec![spoilt(REGION_STATE_KIND)], None),
            (vec![], None),
        ];
        for (records, range) in cases {
            let disk = Mutex::new(Tables::default());
            disk.lock().expect("nobody else").apply(&records);
            disk.lock().expect("nobody else").apply(&log);
            let clearance = clear(&disk, REGION, PEER, epoch()).expect("readable");
            assert_eq!(clearance.cleanup.as_ref().map(|it| it.range.clone()), range);
            disk.lock().expect("nobody else").apply(&clearance.batch);
            assert_eq!(recover_store(&disk), Ok(vec![]));
            let remains = recover_remains(&disk).expect("sound");
            assert_eq!(remains.tombstones[&REGION].min_next, PEER.next());
            assert_eq!(remains.cleanups, clearance.cleanup.into_iter().collect::<Vec<_>>());
            assert_eq!(disk.lock().expect("nobody else").family(Family::RaftLog).len(), 0);
        }
    }
}
