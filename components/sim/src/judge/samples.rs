//! What the tests of judges are made of.

use bytes::Bytes;
use flotilla_base::{
    Epoch, Family, Index, Key, KeyRange, Mutation, Peer, PeerId, Region, RegionId, StoreId, Term,
    Version,
};
use flotilla_multiraft::{ApplyTask, Guard, PeerMessage, WriteCommand};
use flotilla_raftgroup::{
    ApplyState, Entry, EntryKind, HardState, LogPosition, Message, MessageKind, RaftState, disk,
};

use super::{Place, Verdict};
use crate::disk::SimDisk;
use crate::event::Ticket;

pub(crate) const REGION: RegionId = RegionId(2);
pub(crate) const ONE: Place = Place(StoreId(1), REGION);
pub(crate) const OTHER: Place = Place(StoreId(2), REGION);

/// The rule that a verdict says is broken.
#[track_caller]
pub(crate) fn broken(verdict: Verdict) -> &'static str {
    verdict.expect_err("the judge sees it").rule
}

pub(crate) fn peer(store: u64) -> Peer {
    Peer::voter(PeerId(200 + store), StoreId(store))
}

pub(crate) fn region() -> Region {
    let peers = (1..=3).map(peer).collect();
    Region { id: REGION, range: KeyRange::default(), epoch: Epoch::FIRST, peers }
}

/// A message of store 1 to store 2.
pub(crate) fn message(kind: MessageKind, term: u64) -> PeerMessage {
    let (from, to) = (peer(1), peer(2));
    PeerMessage {
        region: REGION,
        from,
        to,
        epoch: Epoch::FIRST,
        matched_by_all: Index(0),
        message: Message::new(kind, from.id, to.id, Term(term)),
    }
}

pub(crate) fn position(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

pub(crate) fn raft_state(term: u64, vote: u64, last: LogPosition) -> Mutation {
    let (term, vote) = (Term(term), PeerId(vote));
    let hard_state = HardState { term, vote, commit: Index(0) };
    disk::put_raft_state(REGION, &RaftState { hard_state, last })
}

pub(crate) fn apply_state(applied: LogPosition, clock_millis: u64) -> Mutation {
    let state = ApplyState::starting_at(position(5, 5));
    let commit = applied.index;
    disk::put_apply_state(REGION, &ApplyState { applied, commit, clock_millis, ..state })
}

/// An entry that writes `value` to a key.
pub(crate) fn entry(term: u64, index: u64, key: &'static str, value: &'static str) -> Entry {
    write_entry(term, index, (key, value), None)
}

/// An entry that writes a pair where the key has what is `stored`.
pub(crate) fn guarded_entry(
    term: u64,
    index: u64,
    pair: (&'static str, &'static str),
    stored: Option<Bytes>,
) -> Entry {
    write_entry(term, index, pair, Some(Guard { family: Family::Raw, key: pair.0.into(), stored }))
}

fn write_entry(
    term: u64,
    index: u64,
    (key, value): (&'static str, &'static str),
    guard: Option<Guard>,
) -> Entry {
    let mutations = vec![Mutation::Put(Family::Raw, Key::from(key), Bytes::from(value))];
    let command = WriteCommand { version: Version(1), clock_millis: index, guard, mutations };
    let (term, index, data) = (Term(term), Index(index), command.encode());
    Entry { kind: EntryKind::Normal, term, index, data, context: Bytes::new() }
}

pub(crate) fn append(old_last: u64, entries: &[Entry]) -> Vec<Mutation> {
    let mut batch = Vec::new();
    disk::append_entries(REGION, Index(old_last), entries, &mut batch);
    batch
}

pub(crate) fn task(entries: Vec<Entry>) -> ApplyTask<Ticket> {
    let commit = entries.last().map_or(Index(0), |entry| entry.index);
    let entries = entries.into_iter().map(|entry| (entry, None)).collect();
    ApplyTask { region: REGION, peer: PeerId(201), entries, commit, truncate: None }
}

/// A disk on which these batches are written and synced.
pub(crate) fn disk(batches: impl IntoIterator<Item = Vec<Mutation>>) -> SimDisk {
    let mut disk = SimDisk::default();
    for batch in batches {
        let number = disk.write(batch).expect("a sound disk");
        disk.sync(number).expect("a sound disk");
    }
    disk
}
