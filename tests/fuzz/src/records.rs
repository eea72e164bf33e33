//! Records on disk and in log entries: the first byte chooses the kind, its upper bit whether the checksum is made
//! to fit. Oracle: refused, or canonical.

use bytes::Bytes;
use flotilla_base::codec::{RecordReader, RecordWriter};
use flotilla_base::{
    Epoch, Family, Index, KeyRange, KvRead, Mutation, Peer, PeerId, Region, RegionId, StoreId,
    Tables, Term, Version, key,
};
use flotilla_damage::{assert_canonical, sealed};
use flotilla_multiraft::persist::{RegionState, decode_region_state, put_region_state};
use flotilla_multiraft::{ChangeKind, ChangePeers, Command, Guard, PeerChange, WriteCommand};
use flotilla_placement::{EntryPosition, MetaCommand, MetaState};
use flotilla_raftgroup::{ApplyState, Entry, LogPosition, RaftState, disk};

use crate::common::Disk;
use crate::value::RawValue;

const REGION: RegionId = RegionId(7);
const CHECKSUM_BYTES: usize = 4;

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let record = if choice & 0x80 == 0 { sealed(body) } else { body.to_vec() };
    match choice & 0x7f {
        0 => fields(body, &record),
        1 => assert_canonical(
            &record,
            |record| disk::decode_entry(Index(9), &Bytes::copy_from_slice(record)),
            |entry| disk::encode_entry(entry).to_vec(),
        ),
        2 => {
            assert_canonical(&record, raft_state, |it| put_bytes(disk::put_raft_state(REGION, it)))
        }
        3 => assert_canonical(&record, apply_state, |it| {
            put_bytes(disk::put_apply_state(REGION, it))
        }),
        4 => assert_canonical(
            &record,
            |record| Command::decode(&Bytes::copy_from_slice(record)),
            |command| match command {
                Command::Write(write) => write.encode().to_vec(),
                Command::Split(split) => split.encode().to_vec(),
                Command::Forget(forget) => forget.encode().to_vec(),
            },
        ),
        5 => assert_canonical(
            &record,
            |record| decode_region_state(REGION, &Bytes::copy_from_slice(record)),
            |state| put_bytes(put_region_state(REGION, state)),
        ),
        6 => assert_canonical(
            &record,
            |record| MetaCommand::decode(&Bytes::copy_from_slice(record)),
            |command| command.encode().to_vec(),
        ),
        7 => assert_canonical(
            body,
            |stored| RawValue::decode(&Bytes::copy_from_slice(stored)),
            |value| value.encode().to_vec(),
        ),
        8 => meta_record(body, record),
        9 => assert_canonical(
            &record,
            |record| ChangePeers::decode(&Bytes::copy_from_slice(record)),
            |change| change.encode().to_vec(),
        ),
        _ => {
            if let Some(decoded) = key::decode_memcomparable(body) {
                assert_eq!(key::encode_memcomparable(&decoded), body, "one form for each key");
            }
            let (left, right) = body.split_at(body.len() / 2);
            let forms = [left, right].map(key::encode_memcomparable);
            assert_eq!(left.cmp(right), forms[0].cmp(&forms[1]), "forms sort as keys");
        }
    }
}

/// The bytes themselves say which fields are read.
fn fields(body: &[u8], record: &[u8]) {
    let Ok(mut reader) = RecordReader::open(&Bytes::copy_from_slice(record), 1) else { return };
    let mut again = RecordWriter::new(1);
    for kind in body {
        let read = match kind % 3 {
            0 => reader.number().map(|number| again.number(number)).map(drop),
            1 => reader.byte().map(|byte| again.byte(byte)).map(drop),
            _ => reader.bytes().map(|bytes| again.bytes(&bytes)).map(drop),
        };
        if read.is_err() {
            break;
        }
    }
    let again = again.finish();
    RecordReader::open(&again, 1).expect("what was read can be written");
}

/// One of the placement driver's records is another one: it is named, or the state is loaded.
fn meta_record(body: &[u8], record: Vec<u8>) {
    let (mut state, mut records) = (MetaState::default(), Tables::default());
    for (index, command) in (1..).zip(crate::commands::samples()) {
        let at = EntryPosition { index: Index(index), term: Term(6) };
        let applied = state.apply(at, &command.encode()).expect("a command of ours");
        records.apply(&applied.records);
    }
    let keys: Vec<Bytes> = records.family(Family::RaftMeta).keys().cloned().collect();
    let choice = body.len() % keys.len();
    records.apply(&[Mutation::Put(Family::RaftMeta, keys[choice].clone(), record.into())]);
    let _named_or_loaded = MetaState::load(&records);
}

fn raft_state(record: &[u8]) -> Result<RaftState, disk::DiskError> {
    let disk = disk_with(disk::meta_key(0x20, REGION), record);
    Ok(disk::read_raft_state(disk.view.as_ref() as &dyn KvRead, REGION)?.expect("it was written"))
}

fn apply_state(record: &[u8]) -> Result<ApplyState, disk::DiskError> {
    let disk = disk_with(disk::meta_key(0x30, REGION), record);
    Ok(disk::read_apply_state(disk.view.as_ref() as &dyn KvRead, REGION)?.expect("it was written"))
}

fn disk_with(key: Bytes, record: &[u8]) -> Disk {
    let mut disk = Disk::default();
    disk.write(vec![Mutation::Put(Family::RaftMeta, key, Bytes::copy_from_slice(record))]);
    disk
}

fn put_bytes(put: Mutation) -> Vec<u8> {
    let Mutation::Put(_, _, record) = put else { panic!("a put") };
    record.to_vec()
}

/// See the module.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let position = LogPosition { term: Term(6), index: Index(300) };
    let entry = Entry { term: Term(6), index: Index(9), data: "data".into(), ..Entry::default() };
    let raft = RaftState { last: position, ..RaftState::default() };
    let (key, value) = ("k".into(), "v".into());
    let mutations = vec![
        Mutation::Put(Family::Raw, key, value),
        Mutation::DeleteRange(Family::Lock, KeyRange::new("a", "b")),
    ];
    let guard = Guard { family: Family::Raw, key: "b".into(), stored: Some("v".into()) };
    let guard = Some(guard);
    let write = WriteCommand { version: Version(1), clock_millis: 5, guard, mutations };
    let region = Region {
        id: REGION,
        range: KeyRange::new("a", ""),
        epoch: Epoch::FIRST,
        peers: vec![Peer::voter(PeerId(71), StoreId(1)), Peer::voter(PeerId(72), StoreId(2))],
    };
    let records = [
        RecordWriter::new(1).finish().to_vec(),
        disk::encode_entry(&entry).to_vec(),
        put_bytes(disk::put_raft_state(REGION, &raft)),
        put_bytes(disk::put_apply_state(REGION, &ApplyState::starting_at(position))),
        write.encode().to_vec(),
        put_bytes(put_region_state(REGION, &RegionState::Normal(PeerId(71), region))),
    ];
    let mut seeds: Vec<Vec<u8>> =
        (0..).zip(records).map(|(kind, record)| seed(kind, &record)).collect();
    seeds.extend(crate::commands::samples().iter().map(|command| seed(6, &command.encode())));
    seeds.push([7, 0x11, 0, 0, 0, 0, 0, 0, 0, 9, b'v'].to_vec());
    seeds.extend(crate::commands::samples().iter().map(|command| seed(8, &command.encode())));
    let step = PeerChange { kind: ChangeKind::Demote, peer: PeerId(71), store: StoreId(1) };
    let change = ChangePeers { epoch: Epoch::FIRST, changes: vec![step] };
    seeds.push(seed(9, &change.encode()));
    seeds.push([&[10], key::encode_memcomparable(b"a key of two groups").as_ref()].concat());
    seeds
}

fn seed(kind: u8, record: &[u8]) -> Vec<u8> {
    let body = &record[..record.len() - CHECKSUM_BYTES];
    [&[kind], body].concat()
}
