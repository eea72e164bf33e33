//! The engine against its twin in memory: the same writes must read the same, everywhere.

mod common;

use bytes::Bytes;
use common::{pairs, scratch_engine};
use flotilla_base::{Family, KeyRange, KvRead, Mutation, ScanDirection};
use flotilla_engine::{BatchError, EngineError, MemEngine, WriteBatch};
use proptest::prelude::*;

/// Few short keys, so that writes meet; the empty key is one of them.
fn key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(prop::sample::select(vec![0_u8, b'a', 0xff]), 0..4).prop_map(Bytes::from)
}

fn range() -> impl Strategy<Value = KeyRange> {
    (key(), key()).prop_map(|(start, end)| KeyRange::new(start, end))
}

fn data_family() -> impl Strategy<Value = Family> {
    prop::sample::select(Family::DATA.to_vec())
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (data_family(), key(), any::<u8>())
            .prop_map(|(family, key, value)| Mutation::Put(family, key, vec![value].into())),
        2 => (data_family(), key()).prop_map(|(family, key)| Mutation::Delete(family, key)),
        1 => (data_family(), range())
            .prop_filter("needs an upper bound", |(_, range)| !range.end.is_empty())
            .prop_map(|(family, range)| Mutation::DeleteRange(family, range)),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Mutation>),
    Flush,
    Compact(Family),
    Get(Family, Bytes),
    Scan(Family, KeyRange, bool),
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(mutation(), 0..6).prop_map(Step::Write),
        1 => Just(Step::Flush),
        1 => data_family().prop_map(Step::Compact),
        3 => (data_family(), key()).prop_map(|(family, key)| Step::Get(family, key)),
        4 => (data_family(), range(), any::<bool>())
            .prop_map(|(family, range, reverse)| Step::Scan(family, range, reverse)),
        1 => Just(Step::Snapshot),
    ]
}

fn direction(reverse: bool) -> ScanDirection {
    if reverse { ScanDirection::Reverse } else { ScanDirection::Forward }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn engine_reads_as_its_model(steps in prop::collection::vec(step(), 1..40)) {
        let (_scratch, engine) = scratch_engine();
        let model = MemEngine::new();
        let mut snapshots = Vec::new();
        for step in steps {
            match step {
                Step::Write(mutations) => {
                    let batch = WriteBatch::from(mutations);
                    engine.write(&batch).expect("write");
                    model.write(&batch).expect("write");
                }
                Step::Flush => engine.flush().expect("flush"),
                Step::Compact(family) => engine.compact(family),
                Step::Get(family, key) => {
                    prop_assert_eq!(engine.get(family, &key), model.get(family, &key));
                }
                Step::Scan(family, range, reverse) => {
                    let direction = direction(reverse);
                    let (ours, theirs) =
                        (pairs(&engine, family, &range, direction), pairs(&model, family, &range, direction));
                    prop_assert_eq!(ours, theirs);
                }
                Step::Snapshot => snapshots.push((engine.snapshot(), model.snapshot())),
            }
        }
        // Snapshots still show their own instant, whatever was written and compacted since.
        for (ours, theirs) in &snapshots {
            for family in Family::ALL {
                let all = KeyRange::all();
                prop_assert_eq!(
                    pairs(ours, family, &all, ScanDirection::Forward),
                    pairs(theirs, family, &all, ScanDirection::Forward)
                );
            }
        }
    }
}

#[test]
fn a_scan_stops_where_its_visitor_says() {
    let (_scratch, engine) = scratch_engine();
    let mut batch = WriteBatch::new();
    for key in ["a", "b", "c"] {
        batch.put(Family::Raw, key, "value");
    }
    engine.write(&batch).expect("write");
    let mut seen = Vec::new();
    let mut visit = |key: &[u8], _value: &[u8]| {
        seen.push(key.to_vec());
        seen.len() < 2
    };
    engine.scan(Family::Raw, &KeyRange::all(), ScanDirection::Reverse, &mut visit).expect("scan");
    assert_eq!(seen, [b"c", b"b"]);
}

#[test]
fn a_refused_batch_writes_nothing() {
    let (_scratch, engine) = scratch_engine();
    let model = MemEngine::new();
    let mut batch = WriteBatch::new();
    batch.put(Family::Raw, "key", "value");
    batch.delete_range(Family::Raw, KeyRange::all());
    let refused = |result: Result<(), EngineError>| match result {
        Err(EngineError::RefusedBatch(reason)) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    };
    assert_eq!(refused(engine.write(&batch)), BatchError::UnboundedRange(Family::Raw));
    assert_eq!(refused(model.write(&batch)), BatchError::UnboundedRange(Family::Raw));
    assert_eq!(engine.get(Family::Raw, b"key"), Ok(None));
    assert_eq!(model.get(Family::Raw, b"key"), Ok(None));
}

#[test]
fn stats_tell_what_was_written() {
    let (_scratch, engine) = scratch_engine();
    let mut batch = WriteBatch::new();
    for number in 0..2_000_u32 {
        // No two blocks alike, or compression would hide the size.
        let noise: Vec<u8> = (0..512).map(|at| (number.wrapping_mul(at + 7) >> 3) as u8).collect();
        batch.put(Family::Raw, format!("key{number:05}"), noise);
    }
    engine.write(&batch).expect("write");
    let before = engine.stats();
    assert!(before.wal_bytes >= 1 << 20, "{before:?}");
    assert!(before.family(Family::Raw).memtable_bytes >= 1 << 20);
    assert_eq!((before.is_write_stopped, engine.is_write_stopped()), (false, false));
    engine.flush().expect("flush");
    let snapshot = engine.snapshot();
    let after = engine.stats();
    assert_eq!(after.family(Family::Raw).level0_files, 1);
    assert_eq!(after.family(Family::Raw).keys, 2_000);
    assert_eq!((after.snapshots, after.background_errors), (1, 0));
    assert!(after.oldest_snapshot_unix_seconds > 0);
    drop(snapshot);
    let (all, half) = (KeyRange::all(), KeyRange::new("key00000", "key01000"));
    let (all, half) = (engine.approximate_size(&all), engine.approximate_size(&half));
    assert!(half > 0 && all > half && all < half * 3, "all {all}, half {half}");
    assert_eq!(engine.approximate_size(&KeyRange::new("z", "a")), 0);
}
