//! Stages: whole or nothing, checked, and gone when they fail. And the reader that fills them.

mod common;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use common::{pairs, scratch_engine};
use flotilla_base::{ByteSize, Family, Key, KeyRange, Rng, ScanDirection};
use flotilla_engine::{DataChunk, RangeReader, StageError, StageTotals, Stages, WriteBatch};
use tempfile::TempDir;

fn scratch() -> (TempDir, Stages) {
    let scratch = tempfile::tempdir().expect("scratch directory");
    let stages = Stages::open(&scratch.path().join("snap"), ByteSize(0)).expect("stages");
    (scratch, stages)
}

fn key(number: u64) -> Key {
    format!("k{number:06}").into()
}

/// A large family and two small ones.
fn write(stages: &Stages, number: u64) -> StageTotals {
    let mut writer = stages.begin(number, KeyRange::new("k", "l"), ByteSize(0)).expect("begin");
    for count in 0..50 {
        writer.put(Family::Raw, key(count), vec![7; 64 << 10].into()).expect("put");
    }
    for family in [Family::Default, Family::Write] {
        writer.put(family, key(1), "small".into()).expect("put");
    }
    let totals = writer.totals();
    let stage = writer.finish().expect("finish");
    assert_eq!((stage.totals(), stage.number()), (totals, number));
    totals
}

#[test]
fn a_finished_stage_is_found_again() {
    let (scratch, stages) = scratch();
    let totals = write(&stages, 12);
    write(&stages, 9);
    drop(stages);
    let stages = Stages::open(&scratch.path().join("snap"), ByteSize(0)).expect("again");
    assert_eq!(stages.numbers().expect("listed"), [9, 12]);
    let stage = stages.load(12).expect("whole");
    assert_eq!((stage.totals(), stage.range()), (totals, &KeyRange::new("k", "l")));
    assert_eq!(totals, StageTotals { pairs: 52, bytes: 50 * (7 + (64 << 10)) + 2 * 12 });
    stages.remove(9).expect("removed");
    stages.remove(9).expect("there is none");
    assert_eq!(stages.numbers().expect("listed"), [12]);
    assert!(matches!(stages.load(9), Err(StageError::Damaged { number: 9, .. })));
}

#[test]
fn what_was_not_finished_counts_for_nothing() {
    let (scratch, stages) = scratch();
    let dir = scratch.path().join("snap");
    let mut writer = stages.begin(1, KeyRange::all(), ByteSize(0)).expect("begin");
    writer.put(Family::Raw, key(1), "value".into()).expect("put");
    assert_eq!(stages.numbers().expect("listed"), [] as [u64; 0]);
    // As a power cut would leave it.
    fs::create_dir(dir.join("2.new")).expect("create");
    fs::write(dir.join("2.new/manifest"), "half").expect("write");
    drop(writer);
    assert!(!dir.join("1.new").exists(), "a stage that is given up removes itself");
    let stages = Stages::open(&dir, ByteSize(0)).expect("again");
    assert!(!dir.join("2.new").exists() && stages.numbers().expect("listed").is_empty());
}

#[test]
fn every_file_of_a_stage_is_checked() {
    let (scratch, stages) = scratch();
    write(&stages, 1);
    let dir = scratch.path().join("snap/1");
    let names = fs::read_dir(&dir).expect("list").map(|entry| entry.expect("entry").file_name());
    let names: Vec<_> = names.map(|name| name.into_string().expect("text")).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in &names {
        let path = dir.join(name);
        let whole = fs::read(&path).expect("read");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for spoilt in [flipped, whole[..whole.len() - 1].to_vec()] {
            fs::write(&path, spoilt).expect("write");
            let refused = stages.load(1).expect_err("spoilt");
            assert!(matches!(refused, StageError::Damaged { number: 1, .. }), "{name}: {refused}");
        }
        fs::remove_file(&path).expect("remove");
        let refused = stages.load(1).expect_err("gone");
        assert!(matches!(refused, StageError::Damaged { number: 1, .. }), "{name}: {refused}");
        fs::write(&path, whole).expect("write");
    }
    stages.load(1).expect("as it was");
    // Two stages that were mixed up.
    fs::rename(&dir, scratch.path().join("snap/2")).expect("rename");
    assert!(matches!(stages.load(2), Err(StageError::Damaged { .. })));
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let (_scratch, stages) = scratch();
    let refused = |pairs: &[(Family, &'static str)]| {
        let mut writer = stages.begin(1, KeyRange::new("k", "l"), ByteSize(0)).expect("begin");
        let put = |(family, key): &(Family, &'static str)| {
            writer.put(*family, Key::from(*key), "value".into())
        };
        pairs.iter().try_for_each(put).is_err_and(|error| matches!(error, StageError::Refused(_)))
    };
    use Family::{Lock, RaftLog, Raw};
    assert!(!refused(&[(Raw, "k1"), (Raw, "k2"), (Lock, "k1")]));
    assert!(refused(&[(Raw, "k2"), (Raw, "k1")]) && refused(&[(Raw, "k1"), (Raw, "k1")]));
    assert!(refused(&[(Lock, "k1"), (Raw, "k1")]) && refused(&[(RaftLog, "k1")]));
    assert!(refused(&[(Raw, "j")]) && refused(&[(Raw, "l")]));
    assert!(stages.numbers().expect("listed").is_empty());
}

#[test]
fn room_is_asked_for_first() {
    let (scratch, stages) = scratch();
    let refused = stages.begin(1, KeyRange::all(), ByteSize(1 << 60));
    assert!(matches!(refused.err(), Some(StageError::NoSpace { .. })));
    let greedy = Stages::open(&scratch.path().join("snap"), ByteSize(u64::MAX)).expect("stages");
    let refused = greedy.begin(1, KeyRange::all(), ByteSize(1));
    assert!(matches!(refused.err(), Some(StageError::NoSpace { .. })));
    assert_eq!(fs::read_dir(scratch.path().join("snap")).expect("list").count(), 0);
}

/// What the volume of the next test has left.
static FREE: AtomicU64 = AtomicU64::new(0);

#[test]
fn a_stage_that_others_leave_no_room_ends_and_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("scratch directory");
    let dir = scratch.path().join("snap");
    let free = |_: &Path| Ok(ByteSize(FREE.load(Ordering::Relaxed)));
    let stages = Stages::open_on(&dir, ByteSize::mib(10), free).expect("stages");
    FREE.store(50 << 20, Ordering::Relaxed);
    let mut writer = stages.begin(1, KeyRange::all(), ByteSize::mib(30)).expect("room");
    let both = stages.begin(2, KeyRange::all(), ByteSize::mib(30));
    assert!(matches!(both.err(), Some(StageError::NoSpace { .. })), "each alone would have room");
    let mut rng = Rng::new(7);
    let mut noise = || (0..8 << 10).flat_map(|_| rng.next().to_le_bytes()).collect::<Bytes>();
    let mut put = |count| writer.put(Family::Raw, key(count), noise());
    (0..100).for_each(|count| put(count).expect("its own room"));
    FREE.store(20 << 20, Ordering::Relaxed);
    let refused = (100..300).find_map(|count| put(count).err());
    assert!(matches!(refused, Some(StageError::NoSpace { .. })), "{refused:?}");
    drop(writer);
    assert_eq!(fs::read_dir(&dir).expect("list").count(), 0);
    FREE.store(50 << 20, Ordering::Relaxed);
    stages.begin(3, KeyRange::all(), ByteSize::mib(40)).expect("all of it is given back");
}

/// What a store says about a region before it sends it must not leave out what no table holds yet.
#[test]
fn memtables_count_for_what_is_announced() {
    let (_scratch, engine) = scratch_engine();
    let mut batch = WriteBatch::new();
    for (family, key) in [(Family::Raw, "k1"), (Family::Lock, "k2"), (Family::Raw, "l")] {
        batch.put(family, key, vec![7; 10_000]);
    }
    engine.write(&batch).expect("write");
    let range = KeyRange::new("k", "l");
    assert_eq!(engine.approximate_size(&range), 0, "nothing is in a table");
    let view = engine.snapshot();
    engine.write(&batch).expect("write");
    assert_eq!(view.size_as_tables(&range), Ok(2 * 10_002), "what the view shows, once");
    engine.flush().expect("flush");
    let flushed = engine.snapshot().size_as_tables(&range).expect("read");
    assert!((10_000..100_000).contains(&flushed), "{flushed}");
}

#[test]
fn a_reader_sees_all_of_one_instant_in_pieces() {
    let (_scratch, engine) = scratch_engine();
    let mut batch = WriteBatch::new();
    for family in [Family::Raw, Family::Lock, Family::Write] {
        for number in 0..100 {
            batch.put(family, key(number), vec![b'v'; 100]);
        }
    }
    batch.put(Family::Raw, "j", "beside");
    batch.put(Family::Raw, "l", "beside");
    engine.write(&batch).expect("write");
    let (range, view) = (KeyRange::new("k", "l"), engine.snapshot());
    let mut reader = RangeReader::new(view.clone(), &range);
    engine
        .write(&{
            let mut batch = WriteBatch::new();
            batch.delete_range(Family::Raw, KeyRange::new("k", "l"));
            batch
        })
        .expect("write");
    let mut found = Vec::new();
    let mut chunks = 0;
    while let Some(chunk) = reader.next_chunk(1_000).expect("read") {
        let DataChunk { family, pairs, bytes } = chunk;
        assert!(bytes < 1_000 + 107 && !pairs.is_empty());
        assert_eq!(bytes, pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>());
        found.extend(pairs.into_iter().map(|(key, value)| (family, key.to_vec(), value.to_vec())));
        chunks += 1;
    }
    assert!(chunks >= 30, "{chunks}");
    let expected = Family::DATA.into_iter().flat_map(|family| {
        let all = pairs(&view, family, &range, ScanDirection::Forward);
        all.into_iter().map(move |(key, value)| (family, key, value))
    });
    assert!(found == expected.collect::<Vec<_>>(), "in the order of families and keys");
    assert_eq!(reader.next_chunk(1_000).expect("read"), None);
}
