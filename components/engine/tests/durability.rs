//! What a crash leaves: a prefix of the writes, with every batch whole and every synced batch there.

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use common::{options, pairs, scratch_engine};
use flotilla_base::{Family, KeyRange, KvRead as _, ScanDirection};
use flotilla_engine::{CutTail, Engine, LogDeletion, WriteBatch};
use proptest::prelude::*;

/// Set in the process that is going to be killed.
const CRASH_DIR: &str = "FLOTILLA_ENGINE_CRASH_DIR";

/// Families that each batch writes to.
const FAMILIES: [Family; 4] = [Family::Raw, Family::Write, Family::RaftLog, Family::RaftMeta];

fn open(path: &Path) -> Engine {
    Engine::open(path, &options(LogDeletion::SingleDelete)).expect("open")
}

/// One key for each number in each family, and one key that is overwritten by every batch.
fn numbered_batch(number: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for family in FAMILIES {
        let value = vec![b'v'; 100 + (number % 400) as usize];
        batch.put(family, number.to_be_bytes().to_vec(), value);
    }
    batch.put(Family::Default, "newest", number.to_be_bytes().to_vec());
    batch
}

/// The newest batch that is there, after checking that all before it are there and no half of one is.
fn newest_of_prefix(engine: &Engine) -> u64 {
    let newest = engine.get(Family::Default, b"newest").expect("get");
    let newest = newest.map_or(0, |bytes| {
        u64::from_be_bytes(bytes.as_ref().try_into().expect("eight bytes were written"))
    });
    for family in FAMILIES {
        let found = pairs(engine, family, &KeyRange::all(), ScanDirection::Forward);
        let expected = (1..=newest).map(|number| number.to_be_bytes().to_vec());
        assert!(found.into_iter().map(|(key, _)| key).eq(expected), "{family:?} up to {newest}");
    }
    newest
}

/// Not a test by itself: the body of the process that the next test kills.
#[test]
fn crash_writer() {
    let Ok(dir) = std::env::var(CRASH_DIR) else { return };
    let engine = open(Path::new(&dir));
    let mut stdout = io::stdout();
    for number in newest_of_prefix(&engine) + 1.. {
        engine.write(&numbered_batch(number)).expect("write");
        let word = if number % 5 == 0 {
            engine.sync().expect("sync");
            "synced"
        } else {
            "written"
        };
        // The killer closes its end: that is the other way for this process to end.
        if writeln!(stdout, "\n{word} {number}").is_err() {
            return;
        }
    }
}

#[test]
fn a_killed_process_leaves_every_written_batch_whole() {
    let scratch = tempfile::tempdir().expect("scratch directory");
    let path = scratch.path().join("db");
    let mut survived = 0;
    for round in 1..=5_u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "crash_writer", "--nocapture"])
            .env(CRASH_DIR, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the writer");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut reported = lines.filter_map(|line| {
            let line = line.expect("the writer's report");
            let (word, number) = line.split_once(' ')?;
            ["synced", "written"].contains(&word).then(|| number.parse::<u64>().expect("a number"))
        });
        let enough = survived + 37 * round;
        let last = reported.find(|number| *number >= enough).expect("the writer goes on");
        child.kill().expect("kill");
        // It may have gone on between its report and its death; what it reported must be there.
        let last = reported.last().unwrap_or(last);
        child.wait().expect("wait");
        survived = newest_of_prefix(&open(&path));
        assert!(
            survived >= last,
            "batch {last} was written, {survived} is the newest that is left"
        );
    }
}

/// Name and length of the WAL file that is being written.
fn newest_wal(path: &Path) -> (PathBuf, u64) {
    let entries = fs::read_dir(path).expect("list").map(|entry| entry.expect("entry").path());
    let wals = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let newest = wals.max().expect("there is always a WAL");
    let length = fs::metadata(&newest).expect("metadata").len();
    (newest, length)
}

/// Copies what is in `from` at one moment. RocksDB removes files in its own time: a copy in which one came or went says
/// nothing, and is made anew.
fn copy_dir(from: &Path, to: &Path) {
    let names = || {
        let entries = fs::read_dir(from).expect("list").map(|entry| entry.expect("entry"));
        entries.map(|entry| entry.file_name()).collect::<BTreeSet<_>>()
    };
    loop {
        fs::create_dir(to).expect("create");
        let before = names();
        let is_copied = |name| match fs::copy(from.join(name), to.join(name)) {
            Ok(_bytes) => true,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => false,
            Err(cause) => panic!("copy: {cause}"),
        };
        if before.iter().all(is_copied) && names() == before {
            return;
        }
        fs::remove_dir_all(to).expect("remove");
    }
}

/// Opens a database whose log ends in rubbish, and returns its newest batch. That RocksDB comes to the end
/// of the log is for `wal_check` to ensure; where it does not, this says at which bytes.
fn newest_behind_rubbish(path: &Path, rubbish: &[u8]) -> (u64, Option<CutTail>) {
    let (send, opened) = std::sync::mpsc::channel();
    let dir = path.to_owned();
    // Not joined: it may turn for ever, and the failed test ends the process.
    thread::spawn(move || {
        let engine = open(&dir);
        let _gone_if_too_late = send.send((newest_of_prefix(&engine), engine.cut_tail().cloned()));
    });
    let opened = opened.recv_timeout(Duration::from_secs(30));
    opened.unwrap_or_else(|cause| {
        let bytes: String = rubbish.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("not opened ({cause}) with these bytes behind a cut in {}: {bytes}", path.display())
    })
}

/// What a power cut may leave behind the last record: anything, and what looks like headers of records.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..100_u16, any::<u16>()];
    let header = (any::<[u8; 4]>(), length, prop_oneof![0..12_u8, any::<u8>()]);
    let header = header.prop_map(|(checksum, length, kind)| {
        [checksum.as_slice(), &length.to_le_bytes(), &[kind]].concat()
    });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        (header, 1..10_000_usize).prop_map(|(header, times)| header.repeat(times)),
    ]
}

proptest! {
    // Each step of a search for smaller bytes may wait for as long as the failure did.
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 8, ..ProptestConfig::default() })]

    /// A power cut takes any part of the WAL behind the last sync with it, torn in the middle of a
    /// record or followed by rubbish.
    #[test]
    fn a_power_cut_leaves_a_prefix_with_all_that_was_synced(
        batches in 1..60_u64,
        sync_every in 1..20_u64,
        cut in any::<prop::sample::Index>(),
        rubbish in rubbish(),
        flush_at in prop::option::of(1..60_u64),
    ) {
        let (scratch, engine) = scratch_engine();
        let path = scratch.path().join("db");
        engine.sync().expect("sync");
        let mut synced = (0, newest_wal(&path));
        for number in 1..=batches {
            engine.write(&numbered_batch(number)).expect("write");
            if flush_at == Some(number) {
                engine.flush().expect("flush");
                engine.sync().expect("sync");
                synced = (number, newest_wal(&path));
            }
            if number % sync_every == 0 {
                engine.sync().expect("sync");
                synced = (number, newest_wal(&path));
            }
        }
        let after = scratch.path().join("after");
        copy_dir(&path, &after);
        let (wal, length) = newest_wal(&path);
        let (synced_number, (synced_wal, synced_length)) = synced;
        prop_assert_eq!(&wal, &synced_wal);
        let kept = synced_length + cut.index((length - synced_length) as usize + 1) as u64;
        let torn = after.join(wal.file_name().expect("a file"));
        let mut file = fs::OpenOptions::new().write(true).open(&torn).expect("open");
        file.set_len(kept).expect("cut");
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).expect("seek");
        file.write_all(&rubbish).expect("rubbish");
        let (newest, _) = newest_behind_rubbish(&after, &rubbish);
        prop_assert!((synced_number..=batches).contains(&newest), "{synced_number} ≤ {newest}");
        if kept == length {
            prop_assert_eq!(newest, batches);
        }
    }
}

/// A power cut may take the end of one log with it, and leave a part of the next one.
#[test]
fn a_power_cut_between_two_logs_leaves_a_prefix() {
    let (scratch, engine) = scratch_engine();
    let path = scratch.path().join("db");
    let (first_log, _) = newest_wal(&path);
    let mut ends = Vec::new();
    // A full memtable begins a new log, and one of the raft log is not flushed by itself.
    for number in 1.. {
        let mut batch = numbered_batch(number);
        batch.put(Family::RaftLog, number.to_be_bytes().to_vec(), vec![b'v'; 30_000]);
        engine.write(&batch).expect("write");
        let (log, length) = newest_wal(&path);
        if log != first_log {
            break;
        }
        ends.push(length);
    }
    let after = scratch.path().join("after");
    copy_dir(&path, &after);
    let log = after.join(first_log.file_name().expect("a file"));
    let log = fs::OpenOptions::new().write(true).open(log).expect("open");
    let kept = ends.len() as u64 - 3;
    log.set_len(ends[ends.len() - 4]).expect("cut");
    assert_eq!(newest_of_prefix(&open(&after)), kept);
    assert_eq!(newest_of_prefix(&open(&after)), kept, "what was dropped does not come back");
}

#[test]
fn a_database_without_logs_is_opened_only_where_nothing_was_written() {
    let remove_logs = |path: &Path| {
        let logs = fs::read_dir(path).expect("list").map(|entry| entry.expect("entry").path());
        for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        {
            fs::remove_file(log).expect("remove");
        }
    };
    let names = |path: &Path| {
        let entries = fs::read_dir(path).expect("list").map(|entry| entry.expect("entry"));
        entries.map(|entry| entry.file_name()).collect::<BTreeSet<_>>()
    };
    let (scratch, engine) = scratch_engine();
    let path = scratch.path().join("db");
    drop(engine);
    // As where the creation was interrupted before its end.
    remove_logs(&path);
    fs::remove_file(path.join("HAS-LOG")).expect("remove");
    let engine = open(&path);
    // Nothing is flushed, so that the log alone has it.
    engine.write(&numbered_batch(1)).expect("write");
    drop(engine);
    remove_logs(&path);
    let before = names(&path);
    for _start in 0..2 {
        let refusal = Engine::open(&path, &options(LogDeletion::SingleDelete));
        let refusal = refusal.expect_err("refused").to_string();
        assert!(refusal.contains("its write-ahead log (*.log) is missing"), "{refusal}");
        assert_eq!(names(&path), before, "nothing is changed");
    }
}

/// Kinds of records at which RocksDB's reader turns for ever where they stand behind those that we write.
const KINDS_OF_TRAPS: [u8; 6] = [5, 6, 7, 8, 11, 131];

#[test]
fn rubbish_that_rocksdb_never_finishes_reading_is_cut_off() {
    const BLOCK_BYTES: u64 = 32 << 10;
    let (scratch, engine) = scratch_engine();
    let path = scratch.path().join("db");
    (1..=60).for_each(|number| engine.write(&numbered_batch(number)).expect("write"));
    let (wal, length) = newest_wal(&path);
    let next_block = (length.next_multiple_of(BLOCK_BYTES) - length) as usize;
    for kind in KINDS_OF_TRAPS {
        let header = [0xde, 0xad, 0xbe, 0xef, 9, 0, kind];
        // At once, and at the begin of the next block behind a record that is damaged.
        for skipped in [0, next_block] {
            let rubbish = [vec![b'r'; skipped], header.to_vec()].concat();
            let after = scratch.path().join(format!("kind-{kind}-behind-{skipped}"));
            copy_dir(&path, &after);
            let log = after.join(wal.file_name().expect("a file"));
            let mut file = fs::OpenOptions::new().append(true).open(&log).expect("open");
            file.write_all(&rubbish).expect("rubbish");
            let opened = newest_behind_rubbish(&after, &rubbish);
            let removed_bytes = rubbish.len() as u64;
            assert_eq!(opened, (60, Some(CutTail { log, length, removed_bytes })));
        }
    }
}

#[test]
fn a_log_that_is_damaged_before_its_last_record_is_refused_where_rocksdb_would_never_finish() {
    let (scratch, engine) = scratch_engine();
    let path = scratch.path().join("db");
    engine.write(&numbered_batch(1)).expect("write");
    let (wal, second_batch) = newest_wal(&path);
    (2..=3).for_each(|number| engine.write(&numbered_batch(number)).expect("write"));
    let after = scratch.path().join("after");
    copy_dir(&path, &after);
    let damaged = after.join(wal.file_name().expect("a file"));
    let mut bytes = fs::read(&damaged).expect("read");
    // One bit makes a whole batch (kind 1) a whole batch of a recycled log (kind 5).
    let kind = second_batch as usize + 6;
    assert_eq!(bytes[kind], 1);
    bytes[kind] ^= 4;
    fs::write(&damaged, &bytes).expect("damage");
    let error = Engine::open(&after, &options(LogDeletion::SingleDelete)).expect_err("damaged");
    assert!(error.to_string().contains("a whole record stands behind that"), "{error}");
    assert_eq!(fs::read(&damaged).expect("read"), bytes, "nothing is cut");
}

#[test]
fn a_damaged_database_is_refused_with_advice() {
    let (scratch, engine) = scratch_engine();
    engine.write(&numbered_batch(1)).expect("write");
    engine.flush().expect("flush");
    drop(engine);
    let path = scratch.path().join("db");
    let manifest = fs::read_dir(&path).expect("list").map(|entry| entry.expect("entry").path());
    let manifest = manifest.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST"))
    });
    for file in manifest {
        fs::write(file, "rubbish").expect("damage");
    }
    let error = Engine::open(&path, &options(LogDeletion::SingleDelete)).expect_err("damaged");
    assert!(error.to_string().contains("Leave its files as they are"), "{error}");
}

#[test]
fn a_database_is_opened_once() {
    let (scratch, _engine) = scratch_engine();
    let again = Engine::open(&scratch.path().join("db"), &options(LogDeletion::SingleDelete));
    assert!(again.is_err());
}
