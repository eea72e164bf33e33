//! Snapshots: their own instant, any thread, and any order of dropping.

mod common;

use std::sync::mpsc;

use common::{options, pairs, scratch_engine};
use flotilla_base::{Family, KeyRange, KvRead as _, ScanDirection};
use flotilla_engine::{Engine, LogDeletion, MemEngine, WriteBatch};

fn put(value: &'static str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Family::Raw, "key", value);
    batch.put(Family::Lock, "key", value);
    batch
}

#[test]
fn a_snapshot_shows_one_instant_of_all_families() {
    let (_scratch, engine) = scratch_engine();
    engine.write(&put("old")).expect("write");
    let snapshot = engine.snapshot();
    engine.write(&put("new")).expect("write");
    let mut batch = WriteBatch::new();
    batch.delete_range(Family::Raw, KeyRange::new("a", "z"));
    engine.write(&batch).expect("write");
    engine.flush().expect("flush");
    engine.compact(Family::Raw);
    for family in [Family::Raw, Family::Lock] {
        assert_eq!(snapshot.get(family, b"key"), Ok(Some("old".into())));
        let all = pairs(&snapshot, family, &KeyRange::all(), ScanDirection::Reverse);
        assert_eq!(all, [(b"key".to_vec(), b"old".to_vec())]);
    }
    assert_eq!(engine.get(Family::Raw, b"key"), Ok(None));
    assert_eq!(engine.get(Family::Lock, b"key"), Ok(Some("new".into())));
    assert!(engine.snapshot().sequence() > snapshot.sequence());
}

#[test]
fn a_snapshot_outlives_every_engine() {
    let (scratch, engine) = scratch_engine();
    engine.write(&put("value")).expect("write");
    let snapshot = engine.snapshot();
    let clone = snapshot.clone();
    drop(engine);
    drop(snapshot);
    let reader = std::thread::spawn(move || clone.get(Family::Raw, b"key"));
    assert_eq!(reader.join().expect("reader"), Ok(Some("value".into())));
    // The last snapshot closed the database: it can be opened again.
    let path = scratch.path().join("db");
    let again = Engine::open(&path, &options(LogDeletion::SingleDelete)).expect("open again");
    assert_eq!(again.get(Family::Raw, b"key"), Ok(Some("value".into())));
    assert_eq!(again.stats().snapshots, 0);
}

#[test]
fn snapshots_of_concurrent_writes_are_never_torn() {
    let (_scratch, engine) = scratch_engine();
    engine.write(&put("0")).expect("write");
    let (done, is_done) = mpsc::channel::<()>();
    let engine = &engine;
    // Moved in, so that a failed assertion ends the writer too.
    std::thread::scope(move |scope| {
        scope.spawn(move || {
            let mut number = 0_u64;
            while let Err(mpsc::TryRecvError::Empty) = is_done.try_recv() {
                number += 1;
                let mut batch = WriteBatch::new();
                batch.put(Family::Raw, "key", number.to_string());
                batch.put(Family::Lock, "key", number.to_string());
                engine.write(&batch).expect("write");
            }
        });
        for _read in 0..2_000 {
            let snapshot = engine.snapshot();
            let raw = snapshot.get(Family::Raw, b"key");
            assert_eq!(raw, snapshot.get(Family::Lock, b"key"));
        }
        drop(done);
    });
}

#[test]
fn the_twin_has_snapshots_too() {
    let engine = MemEngine::new();
    engine.write(&put("old")).expect("write");
    let snapshot = engine.snapshot();
    engine.write(&put("new")).expect("write");
    assert_eq!(snapshot.get(Family::Raw, b"key"), Ok(Some("old".into())));
    assert_eq!(engine.get(Family::Raw, b"key"), Ok(Some("new".into())));
}
