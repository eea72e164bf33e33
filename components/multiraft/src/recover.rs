//! Reading a store's peers back after a start.

use std::collections::BTreeMap;

use flotilla_base::{
    Family, KeyRange, KvRead, Peer, PeerId, ReadError, Region, RegionId, ScanDirection,
};
use flotilla_raftgroup::disk::{self, DiskError, Recovered};
use flotilla_raftgroup::{ApplyState, LogPosition, RaftState};

use crate::birth::{self, first_raft_state};
use crate::persist::{
    Applying, PEER_MARK_KIND, REGION_STATE_KIND, RegionState, decode_region_state,
};
use crate::removal::removed_on_disk;

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
        /// Whom the region has removed, and does not know to be gone.
        removed: Vec<Peer>,
        /// A split made the region, and the store stopped before the peer wrote anything about it: `raft` is
        /// made up of what it had promised before.
        is_fresh: bool,
    },
    /// A peer that was being given the data of a snapshot when its store stopped.
    Installing {
        /// What it is to be, and from where.
        applying: Applying,
        /// Promises and end of the log behind it; there is no entry.
        raft: RaftState,
        /// Where the state machine stands in the new data.
        apply: ApplyState,
        /// Whom the region had removed by then, and did not know to be gone.
        removed: Vec<Peer>,
        /// The mark of a peer without data is there.
        is_marked: bool,
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
    let mut applying = None;
    let mut uninitialised = PeerId(0);
    for record in records {
        match decode_region_state(region, record) {
            // The other record may say whose it is.
            Err(cause) => {
                let known = records.iter().find_map(|it| decode_region_state(region, it).ok());
                let peer = known.as_ref().map_or(PeerId(0), RegionState::peer);
                return damaged(peer, cause.to_string());
            }
            Ok(RegionState::Quarantined(peer)) => {
                return damaged(peer, "it was found damaged in an earlier run".to_owned());
            }
            Ok(RegionState::Uninitialised(peer)) => uninitialised = peer,
            Ok(RegionState::Normal(peer, shape)) => normal = Some((peer, shape)),
            Ok(RegionState::Applying(found)) => applying = Some(found),
        }
    }
    if let Some(applying) = applying {
        return recover_installing(reader, applying, !uninitialised.is_none());
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
    let failed = |error| match error {
        DiskError::Read(error) => Err(error),
        cause => damaged(cause.to_string()),
    };
    // Nobody else writes the record, and the first change of the members that is applied reads it.
    let removed = match removed_on_disk(reader, region.id) {
        Ok(removed) => removed,
        Err(error) => return failed(error),
    };
    let promised = match disk::read_raft_state(reader, region.id) {
        Ok(promised) => promised.unwrap_or_default(),
        Err(error) => return failed(error),
    };
    // A raft state without a log is what a peer without data leaves.
    if promised.last == LogPosition::default() {
        let apply = match disk::read_apply_state(reader, region.id) {
            Ok(apply) => apply,
            Err(error) => return failed(error),
        };
        let first = apply.filter(|apply| apply.applied == birth::FIRST);
        let entry = disk::read_entry(reader, region.id, birth::FIRST.index.next());
        let has_no_log = matches!(entry, Err(DiskError::Contradiction { .. }));
        return match first {
            Some(apply) if has_no_log => {
                let raft = first_raft_state(promised.hard_state);
                Ok(RecoveredPeer::Normal { peer, region, raft, apply, removed, is_fresh: true })
            }
            _ => damaged("its raft state is missing".to_owned()),
        };
    }
    let (raft, apply) = match disk::recover(reader, region.id) {
        Ok(Some(Recovered { raft, apply })) => (raft, apply),
        Ok(None) => return damaged("its apply state is missing".to_owned()),
        Err(error) => return failed(error),
    };
    // What is not applied will be needed, whatever comes. What is applied may be sent; who lacks it can be given a
    // snapshot instead.
    let behind = apply.applied.index.next()..raft.last.index.next();
    match disk::read_entries(reader, region.id, behind, &mut |_sound| true) {
        Ok(()) => Ok(RecoveredPeer::Normal { peer, region, raft, apply, removed, is_fresh: false }),
        Err(error) => failed(error),
    }
}

fn recover_installing(
    reader: &dyn KvRead,
    applying: Applying,
    is_marked: bool,
) -> Result<RecoveredPeer, ReadError> {
    let (region, peer) = (applying.region.id, applying.peer);
    let damaged = |cause: String| Ok(RecoveredPeer::Damaged { region, peer, cause });
    let found = disk::recover(reader, region)
        .and_then(|found| removed_on_disk(reader, region).map(|removed| (found, removed)));
    match found {
        Ok((Some(Recovered { raft, apply }), removed)) if raft.last == apply.truncated => {
            Ok(RecoveredPeer::Installing { applying, raft, apply, removed, is_marked })
        }
        Ok(_) => damaged("it has a log in front of its data".to_owned()),
        Err(DiskError::Read(error)) => Err(error),
        Err(cause) => damaged(cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use flotilla_base::{Epoch, Index, Mutation, StoreId, Tables, Term};
    use flotilla_raftgroup::HardState;

    use super::*;
    use crate::persist::put_region_state;
    use crate::removal::put_removed;

    const PEER: PeerId = PeerId(21);

    fn region() -> Region {
        let peers = vec![Peer::voter(PEER, StoreId(1))];
        Region { id: RegionId(2), range: KeyRange::all(), epoch: Epoch::FIRST, peers }
    }

    fn recovered(batch: &[Mutation]) -> RecoveredPeer {
        let disk = Mutex::new(Tables::default());
        disk.lock().expect("nobody else").apply(batch);
        let mut found = recover_store(&disk).expect("readable");
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn state(state: &RegionState) -> Mutation {
        put_region_state(RegionId(2), state)
    }

    fn normal() -> Mutation {
        state(&RegionState::Normal(PEER, region()))
    }

    fn mark() -> Mutation {
        state(&RegionState::Uninitialised(PEER))
    }

    fn apply_at(index: u64) -> Mutation {
        let position = LogPosition { term: Term(5), index: Index(index) };
        disk::put_apply_state(RegionId(2), &ApplyState::starting_at(position))
    }

    /// What a peer without data writes when it votes.
    fn vote(term: u64) -> Mutation {
        let hard_state = HardState { term: Term(term), vote: PeerId(22), commit: Index(0) };
        disk::put_raft_state(RegionId(2), &RaftState { hard_state, last: LogPosition::default() })
    }

    #[test]
    fn a_child_that_never_began_keeps_its_vote() {
        for batch in [vec![mark(), vote(7), normal(), apply_at(5)], vec![normal(), apply_at(5)]] {
            let has_voted = batch.len() > 2;
            let RecoveredPeer::Normal { raft, is_fresh, .. } = recovered(&batch) else {
                panic!("it has its region")
            };
            assert!(is_fresh);
            let RaftState { hard_state, last } = raft;
            let promised = if has_voted { (Term(7), PeerId(22)) } else { (Term(5), PeerId(0)) };
            assert_eq!((hard_state.term, hard_state.vote), promised);
            assert_eq!((hard_state.commit, last), (Index(5), birth::FIRST));
        }
    }

    #[test]
    fn the_mark_of_a_damaged_peer_wins() {
        let batch = [normal(), apply_at(5), state(&RegionState::Quarantined(PEER))];
        assert!(matches!(recovered(&batch), RecoveredPeer::Damaged { peer: PEER, .. }));
    }

    #[test]
    fn promises_that_are_gone_are_damage() {
        let entry = flotilla_raftgroup::Entry { index: Index(6), ..Default::default() };
        let key = disk::entry_key(RegionId(2), Index(6));
        let entry = Mutation::Put(Family::RaftLog, key, disk::encode_entry(&entry));
        let batch = [normal(), apply_at(5), entry];
        assert!(matches!(recovered(&batch), RecoveredPeer::Damaged { .. }), "a log without them");
        assert!(matches!(recovered(&[normal(), apply_at(9)]), RecoveredPeer::Damaged { .. }));
        assert!(matches!(recovered(&[normal(), vote(7)]), RecoveredPeer::Damaged { .. }));
    }

    /// Whose record is spoilt is found in the other one: so it can be removed.
    #[test]
    fn a_spoilt_record_leaves_the_peer_its_name() {
        let spoilt = |kind| {
            let key = disk::meta_key(kind, RegionId(2));
            Mutation::Put(Family::RaftMeta, key, "damaged".into())
        };
        let batches = [[normal(), spoilt(PEER_MARK_KIND)], [mark(), spoilt(REGION_STATE_KIND)]];
        for batch in batches {
            assert!(matches!(recovered(&batch), RecoveredPeer::Damaged { peer: PEER, .. }));
        }
        let nothing = recovered(&[spoilt(REGION_STATE_KIND)]);
        assert!(matches!(nothing, RecoveredPeer::Damaged { peer: PeerId(0), .. }));
    }

    /// One record of a log costs its own peer, wherever it stands.
    #[test]
    fn what_is_not_applied_is_whole() {
        let entry = |index| {
            let (term, index) = (Term(5), Index(index));
            let entry = flotilla_raftgroup::Entry { term, index, ..Default::default() };
            let key = disk::entry_key(RegionId(2), index);
            Mutation::Put(Family::RaftLog, key, disk::encode_entry(&entry))
        };
        let last = LogPosition { term: Term(5), index: Index(8) };
        let raft = RaftState { hard_state: HardState::default(), last };
        let sound = [normal(), apply_at(5), disk::put_raft_state(RegionId(2), &raft)];
        let with = |log: [Mutation; 3]| recovered(&[&sound[..], &log[..]].concat());
        assert!(matches!(with([6, 7, 8].map(entry)), RecoveredPeer::Normal { .. }));
        let Mutation::Put(family, key, _) = entry(7) else { panic!("a put") };
        let spoilt = Mutation::Put(family, key.clone(), "damaged".into());
        let missing = Mutation::Delete(family, key);
        for seventh in [spoilt, missing] {
            let found = with([entry(6), seventh, entry(8)]);
            assert!(matches!(found, RecoveredPeer::Damaged { peer: PEER, .. }), "{found:?}");
        }
    }

    /// The applier reads it with the first change of members, and could only end its store.
    #[test]
    fn a_spoilt_record_of_removed_members_costs_its_peer_alone() {
        let gone = vec![Peer::voter(PeerId(29), StoreId(9))];
        let sound = put_removed(RegionId(2), &gone);
        let Mutation::Put(family, key, _) = &sound else { panic!("a put") };
        let spoilt = Mutation::Put(*family, key.clone(), "damaged".into());
        let position = LogPosition { term: Term(6), index: Index(9) };
        let stage = crate::install::StageNumber(4);
        let applying = Applying { peer: PEER, region: region(), clean: KeyRange::all(), stage };
        let raft = RaftState { hard_state: HardState::default(), last: position };
        let behind = vec![
            disk::put_raft_state(RegionId(2), &raft),
            disk::put_apply_state(RegionId(2), &ApplyState::starting_at(position)),
        ];
        let cases = [
            vec![normal(), apply_at(5)],
            [vec![normal()], behind.clone()].concat(),
            [vec![state(&RegionState::Applying(applying))], behind].concat(),
        ];
        for records in cases {
            let with = |record: &Mutation| {
                recovered(&[&records[..], std::slice::from_ref(record)].concat())
            };
            let found = with(&sound);
            let (RecoveredPeer::Normal { removed, .. } | RecoveredPeer::Installing { removed, .. }) =
                &found
            else {
                panic!("{found:?}")
            };
            assert_eq!(*removed, gone);
            let found = with(&spoilt);
            assert!(matches!(found, RecoveredPeer::Damaged { peer: PEER, .. }), "{found:?}");
        }
    }

    /// The batch that says `Applying` holds all of it, and no log.
    #[test]
    fn an_install_that_a_crash_interrupted_is_found() {
        let position = LogPosition { term: Term(6), index: Index(9) };
        let hard_state = HardState { term: Term(7), vote: PeerId(22), commit: Index(9) };
        let stage = crate::install::StageNumber(4);
        let applying = Applying { peer: PEER, region: region(), clean: KeyRange::all(), stage };
        let batch = vec![
            state(&RegionState::Applying(applying.clone())),
            disk::put_raft_state(RegionId(2), &RaftState { hard_state, last: position }),
            disk::put_apply_state(RegionId(2), &ApplyState::starting_at(position)),
        ];
        let found = recovered(&[vec![mark()], batch.clone()].concat());
        let RecoveredPeer::Installing { applying: same, raft, apply, is_marked, .. } = found else {
            panic!("{found:?}")
        };
        assert_eq!((same, is_marked), (applying, true));
        assert_eq!((raft.last, raft.hard_state, apply.applied), (position, hard_state, position));
        let entry = flotilla_raftgroup::Entry { index: Index(8), ..Default::default() };
        let key = disk::entry_key(RegionId(2), Index(8));
        let stale = Mutation::Put(Family::RaftLog, key, disk::encode_entry(&entry));
        let found = recovered(&[batch.clone(), vec![stale]].concat());
        assert!(matches!(found, RecoveredPeer::Damaged { .. }), "a log in front of it");
        assert!(matches!(recovered(&batch[..2]), RecoveredPeer::Damaged { .. }));
    }

    /// Marks stood under the key of region states before regions could be split.
    #[test]
    fn an_older_mark_is_read() {
        let Mutation::Put(family, _, record) = mark() else { panic!("a put") };
        let key = disk::meta_key(REGION_STATE_KIND, RegionId(2));
        let found = recovered(&[Mutation::Put(family, key, record), vote(7)]);
        let RecoveredPeer::Uninitialised { peer, raft, .. } = found else { panic!("{found:?}") };
        assert_eq!((peer, raft.hard_state.term), (PEER, Term(7)));
    }
}
