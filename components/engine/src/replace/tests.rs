use std::{fs, path::Path};

use bytes::Bytes;
use flotilla_base::{ByteSize, Key, Rng};
use tempfile::TempDir;

use super::*;
use crate::{EngineOptions, MemtableOptions, RangeReader, Stages};

/// Enough for tables.
const LARGE: u64 = 40;
const VALUE_BYTES: usize = 64 << 10;

fn open(root: &Path) -> (Engine, Stages) {
    let memtables = |count| MemtableOptions { size: ByteSize::mib(4), count };
    let options = EngineOptions {
        data_memtables: memtables(4),
        log_memtables: memtables(4),
        meta_memtables: memtables(2),
        ..EngineOptions::default()
    };
    let engine = Engine::open(&root.join("db"), &options).expect("open");
    let stages = Stages::open(&root.join("snap"), ByteSize(0)).expect("stages");
    (engine, stages)
}

fn key(number: u64) -> Key {
    format!("m{number:06}").into()
}

fn value(seed: u64, number: u64) -> Bytes {
    vec![(seed * 31 + number) as u8; VALUE_BYTES].into()
}

/// Old data in the range and beside it, the new data of the range in a stage, and what is to be there in the end.
struct Scene {
    root: TempDir,
    engine: Engine,
    stages: Stages,
    range: KeyRange,
    expected: Vec<(Family, Key, Bytes)>,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("scratch directory");
        let (engine, stages) = open(root.path());
        let range = KeyRange::new("m", "n");
        let beside: Vec<(Family, Key, Bytes)> = Family::DATA
            .into_iter()
            .flat_map(|family| ["l", "lz", "n", "o"].map(|it| (family, it.into(), "kept".into())))
            .collect();
        let mut batch = WriteBatch::new();
        for (family, key, value) in beside.clone() {
            batch.put(family, key, value);
        }
        engine.write(&batch).expect("write");
        for number in 0..LARGE {
            let mut batch = WriteBatch::new();
            for family in Family::DATA {
                batch.put(family, key(2 * number), value(1, number));
            }
            engine.write(&batch).expect("write");
        }
        // A part of it in tables of the lowest level, and a part in memory.
        engine.flush().expect("flush");
        Family::DATA.into_iter().for_each(|family| engine.compact(family));
        let mut batch = WriteBatch::new();
        batch.put(Family::Raw, "m", "old");
        batch.delete(Family::Raw, key(2));
        engine.write(&batch).expect("write");
        engine.sync().expect("sync");
        let mut staged = Vec::new();
        for number in 0..LARGE {
            staged.push((Family::Raw, key(3 * number), value(2, number)));
        }
        staged.push((Family::Lock, key(1), "new lock".into()));
        let mut writer = stages.begin(7, range.clone(), ByteSize(0)).expect("begin");
        for (family, key, value) in staged.clone() {
            writer.put(family, key, value).expect("in order");
        }
        let stage = writer.finish().expect("finish");
        assert_eq!(stage.tables().count(), 1, "raw is large");
        let mut expected = [beside, staged].concat();
        expected.sort();
        Self { root, engine, stages, range, expected }
    }

    fn replace(&self, after: &mut dyn FnMut(Step)) {
        let stage = self.stages.load(7).expect("whole");
        self.engine.replace_step_by_step(&self.range, &stage, after).expect("replaced");
    }
}

fn all(engine: &Engine) -> Vec<(Family, Key, Bytes)> {
    let mut found = Vec::new();
    for family in Family::DATA {
        let visit = &mut |key: &[u8], value: &[u8]| {
            found.push((family, Key::copy_from_slice(key), Bytes::copy_from_slice(value)));
            true
        };
        engine.scan(family, &KeyRange::all(), ScanDirection::Forward, visit).expect("scan");
    }
    found.sort();
    found
}

/// The files as they are on disk: all that was written, or with the log cut to what was synced.
fn copy(from: &Path, to: &Path, synced: Option<&(PathBuf, u64)>) {
    fs::create_dir(to).expect("create");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied, synced);
            continue;
        }
        fs::copy(&path, &copied).expect("copy");
        if let Some((_, length)) = synced.filter(|(log, _)| *log == path) {
            let file = fs::OpenOptions::new().write(true).open(&copied).expect("open");
            file.set_len(*length).expect("cut");
        }
    }
}

fn newest_log(database: &Path) -> (PathBuf, u64) {
    let paths = fs::read_dir(database).expect("list").map(|entry| entry.expect("entry").path());
    let newest = paths.filter(|path| path.extension().is_some_and(|it| it == "log")).max();
    let newest = newest.expect("there is always a log");
    let length = fs::metadata(&newest).expect("metadata").len();
    (newest, length)
}

#[test]
fn the_range_is_replaced_and_its_neighbours_are_not() {
    let scene = Scene::new();
    let (mut steps, mut written) = (Vec::new(), u64::MAX);
    scene.replace(&mut |step| {
        if step == Written {
            written = scene.engine.snapshot().sequence();
        }
        steps.push(step);
    });
    use Step::{Dropped, Flushed, Ingested, Linked, Synced, Written};
    let [Dropped, Written, Synced(durable), Flushed, Linked, Ingested] = steps[..] else {
        panic!("{steps:?}")
    };
    assert!(durable.covers(written), "the deletion is durable before anything is ingested");
    assert!(all(&scene.engine) == scene.expected, "the new data, and nothing else in the range");
    // As often as one likes, also over itself.
    scene.replace(&mut |_step| {});
    assert!(all(&scene.engine) == scene.expected, "the same again");
    scene.stages.remove(7).expect("removed");
    scene.engine.compact(Family::Raw);
    assert!(all(&scene.engine) == scene.expected, "the stage's files are needed no more");
}

#[test]
fn a_crash_at_any_step_is_made_good_by_doing_it_again() {
    let scene = Scene::new();
    let database = scene.root.path().join("db");
    let copies = tempfile::tempdir().expect("scratch directory");
    let mut synced = newest_log(&database);
    let mut count = 0;
    scene.replace(&mut |step| {
        if matches!(step, Step::Synced(_) | Step::Flushed) {
            synced = newest_log(&database);
        }
        for is_cut in [false, true] {
            let to = copies.path().join(format!("{count}-{is_cut}"));
            copy(scene.root.path(), &to, is_cut.then_some(&synced));
        }
        count += 1;
    });
    assert_eq!(count, 6);
    for entry in fs::read_dir(copies.path()).expect("list") {
        let path = entry.expect("entry").path();
        let (engine, stages) = open(&path);
        let stage = stages.load(7).expect("a crash spoils no stage");
        engine.replace_range(&scene.range, &stage).expect("replaced");
        assert!(all(&engine) == scene.expected, "{}", path.display());
    }
}

/// Whatever is written later is behind all of it, also where a power cut takes what was never synced.
#[test]
fn nothing_that_is_written_later_survives_without_it() {
    let scene = Scene::new();
    let database = scene.root.path().join("db");
    let mut synced = newest_log(&database);
    scene.replace(&mut |step| {
        if matches!(step, Step::Synced(_)) {
            synced = newest_log(&database);
        }
    });
    let to = scene.root.path().join("after");
    fs::create_dir(&to).expect("create");
    let log = newest_log(&database);
    let cut = if log.0 == synced.0 { synced } else { (log.0, 0) };
    copy(&database, &to.join("db"), Some(&cut));
    let (engine, _stages) = open(&to);
    assert!(all(&engine) == scene.expected, "a power cut right behind the call");
}

/// Bytes that nothing compresses: they stand in a table as they are.
fn noise(seed: u64) -> Bytes {
    let mut rng = Rng::new(seed);
    (0..VALUE_BYTES / 8).flat_map(|_| rng.next().to_le_bytes()).collect()
}

/// Flips bytes of `value` in the table that holds it.
fn damage(database: &Path, value: &Bytes) {
    let tables = fs::read_dir(database).expect("list").map(|entry| entry.expect("entry").path());
    for path in tables.filter(|path| path.extension().is_some_and(|it| it == "sst")) {
        let mut bytes = fs::read(&path).expect("read");
        let found = bytes.windows(64).position(|window| window == &value[1_000..1_064]);
        let Some(place) = found else { continue };
        bytes[place] ^= 1;
        return fs::write(&path, bytes).expect("damaged");
    }
    panic!("no table holds the value");
}

/// What is replaced may be replaced because the disk has spoilt it.
#[test]
fn old_data_that_cannot_be_read_is_replaced_like_any_other() {
    for end in ["n", ""] {
        let root = tempfile::tempdir().expect("scratch directory");
        let (engine, stages) = open(root.path());
        // Neighbours in the same table: it is not dropped as a whole.
        let beside = if end.is_empty() { vec!["a"] } else { vec!["a", "z"] };
        let mut batch = WriteBatch::new();
        beside.iter().for_each(|key| batch.put(Family::Raw, *key, "kept"));
        (0..10).for_each(|number| batch.put(Family::Raw, key(number), noise(number)));
        engine.write(&batch).expect("write");
        engine.flush().expect("flush");
        engine.compact(Family::Raw);
        // Not the first ones: they share a block with a neighbour.
        (5..10).for_each(|number| damage(&root.path().join("db"), &noise(number)));
        let range = KeyRange::new("m", end);
        let looked = engine.scan(Family::Raw, &range, ScanDirection::Reverse, &mut |_, _| true);
        looked.expect_err("a damaged block");
        let mut writer = stages.begin(1, range.clone(), ByteSize(0)).expect("begin");
        writer.put(Family::Raw, key(3), "new".into()).expect("put");
        engine.replace_range(&range, &writer.finish().expect("finish")).expect("replaced");
        for kept in beside {
            assert_eq!(engine.get(Family::Raw, kept.as_bytes()), Ok(Some("kept".into())));
        }
        assert_eq!(engine.get(Family::Raw, &key(3)), Ok(Some("new".into())));
        assert_eq!(engine.get(Family::Raw, b"mm"), Ok(None));
    }
}

/// With tables that lie inside of the range as a whole, and would be dropped.
#[test]
fn a_view_from_before_keeps_what_it_saw() {
    for is_held in [true, false] {
        let root = tempfile::tempdir().expect("scratch directory");
        let (engine, stages) = open(root.path());
        let mut batch = WriteBatch::new();
        (0..10).for_each(|number| batch.put(Family::Raw, key(number), value(1, number)));
        engine.write(&batch).expect("write");
        engine.flush().expect("flush");
        engine.compact(Family::Raw);
        let view = is_held.then(|| engine.snapshot());
        let range = KeyRange::new("m", "n");
        let stage = stages.begin(1, range.clone(), ByteSize(0)).expect("begin").finish();
        let stage = stage.expect("an empty one");
        let mut tables = None;
        let look = &mut |step| {
            if step == Step::Dropped {
                tables = Some(engine.stats().family(Family::Raw).table_bytes);
            }
        };
        engine.replace_step_by_step(&range, &stage, look).expect("replaced");
        assert_eq!(tables == Some(0), !is_held, "dropped unless somebody may read them");
        assert_eq!(all(&engine), []);
        if let Some(view) = view {
            assert_eq!(view.get(Family::Raw, &key(4)), Ok(Some(value(1, 4))));
        }
    }
}

/// As a sender reads it, who holds nothing between two pieces but its view.
#[test]
fn a_sender_that_is_half_way_finds_the_rest_of_what_was_replaced() {
    let root = tempfile::tempdir().expect("scratch directory");
    let (engine, stages) = open(root.path());
    let mut batch = WriteBatch::new();
    (0..10).for_each(|number| batch.put(Family::Raw, key(number), value(1, number)));
    engine.write(&batch).expect("write");
    engine.flush().expect("flush");
    engine.compact(Family::Raw);
    let range = KeyRange::new("m", "n");
    let mut reader = RangeReader::new(engine.snapshot(), &range);
    let mut found = Vec::new();
    let mut read = |reader: &mut RangeReader| {
        let chunk = reader.next_chunk(3 * VALUE_BYTES).expect("read");
        let is_more = chunk.is_some();
        found.extend(chunk.into_iter().flat_map(|chunk| chunk.pairs));
        is_more
    };
    assert!(read(&mut reader));
    let mut writer = stages.begin(1, range.clone(), ByteSize(0)).expect("begin");
    writer.put(Family::Raw, key(5), "new".into()).expect("put");
    engine.replace_range(&range, &writer.finish().expect("finish")).expect("replaced");
    // What nobody needs any more is gone from the disk now, and from the cache.
    engine.compact(Family::Raw);
    while read(&mut reader) {}
    let expected: Vec<_> = (0..10).map(|number| (key(number), value(1, number))).collect();
    assert!(found == expected, "{} of {} keys", found.len(), expected.len());
    assert_eq!(engine.get(Family::Raw, &key(5)), Ok(Some("new".into())));
}

/// Tables that are ingested come on top of level 0, through all of which each read looks.
#[test]
fn a_full_level0_is_waited_for_until_it_is_not() {
    let scene = Scene::new();
    let Scene { engine, .. } = &scene;
    let files = || stats::level0_files(engine.rocks(), Family::Raw);
    let handle = handle(engine.rocks(), Family::Raw);
    let options = [("disable_auto_compactions", "true")];
    engine.rocks().set_options_cf(handle, &options).expect("set");
    for _ in 0..LEVEL0_FILES_MAX {
        // On both sides of the range: no table lies inside of it.
        let mut batch = WriteBatch::new();
        ["l", "o"].iter().for_each(|key| batch.put(Family::Raw, *key, "kept"));
        engine.write(&batch).expect("write");
        engine.flush().expect("flush");
    }
    assert!(files() >= LEVEL0_FILES_MAX);
    let mut steps = Vec::new();
    scene.replace(&mut |step| {
        steps.push(step);
        match step {
            Step::Waited => engine.compact(Family::Raw),
            Step::Linked => assert!(files() < LEVEL0_FILES_MAX, "{} files", files()),
            _ => {}
        }
    });
    let behind_flush = steps.iter().skip_while(|step| **step != Step::Flushed);
    let expected = [Step::Flushed, Step::Waited, Step::Linked, Step::Ingested];
    assert!(behind_flush.eq(&expected), "{steps:?}");
    assert!(all(engine) == scene.expected);
}

#[test]
fn a_range_without_an_end_is_replaced_too() {
    let root = tempfile::tempdir().expect("scratch directory");
    let (engine, stages) = open(root.path());
    let mut batch = WriteBatch::new();
    for key in ["a", "m", "zz"] {
        batch.put(Family::Raw, key, "old");
    }
    engine.write(&batch).expect("write");
    let range = KeyRange::new("m", "");
    let mut writer = stages.begin(1, range.clone(), ByteSize(0)).expect("begin");
    writer.put(Family::Raw, "x".into(), "new".into()).expect("put");
    let stage = writer.finish().expect("finish");
    engine.replace_range(&range, &stage).expect("replaced");
    let expected = [("a", "old"), ("x", "new")];
    let expected = expected.map(|(key, value)| (Family::Raw, key.into(), value.into()));
    assert_eq!(all(&engine), expected);
}

#[test]
fn what_ends_with_a_neighbours_first_key_is_not_dropped() {
    for (end, expected) in [("n", Some("m")), ("a\0", Some("a")), ("\0", Some("")), ("", None)] {
        let below = below(end.as_bytes());
        let found = below.as_ref().map(|it| it.as_slice() < end.as_bytes());
        assert_eq!(found, expected.map(|_| true), "{end:?}");
        let begins =
            |front: &str| below.as_ref().is_some_and(|it| it.starts_with(front.as_bytes()));
        assert!(expected.is_none_or(begins), "{end:?}: {below:?}");
    }
    let root = tempfile::tempdir().expect("scratch directory");
    let (engine, stages) = open(root.path());
    let mut batch = WriteBatch::new();
    for key in ["m", "n"] {
        batch.put(Family::Raw, key, "old");
    }
    engine.write(&batch).expect("write");
    engine.flush().expect("flush");
    engine.compact(Family::Raw);
    let range = KeyRange::new("m", "n");
    let stage = stages.begin(1, range.clone(), ByteSize(0)).expect("begin").finish();
    engine.replace_range(&range, &stage.expect("an empty one")).expect("replaced");
    assert_eq!(all(&engine), [(Family::Raw, "n".into(), "old".into())]);
}
