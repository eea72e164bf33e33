use std::{
    fs,
    path::{Path, PathBuf},
};

use flotilla_damage::damaged;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::{
    CutTail, cut_rubbish,
    records::{
        BLOCK_BYTES, Ending,
        tests::{batches, ending_of, record, rubbish},
    },
};

const FULL: u8 = 1;
const FIRST: u8 = 2;
/// Length of a record of [`batches`], but for the last one of a block.
const RECORD_BYTES: usize = 507;

/// A directory with logs, and nothing else that RocksDB would need.
struct Directory(TempDir);

impl Directory {
    fn with(logs: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::tempdir().expect("scratch directory");
        for (name, bytes) in logs {
            fs::write(directory.path().join(name), bytes).expect("write");
        }
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.log(name)).expect("read")
    }

    /// Asserts that nothing is cut, and returns why.
    fn refusal(&self, name: &str) -> String {
        let before = self.bytes(name);
        let refusal = cut_rubbish(self.path()).expect_err("damaged");
        assert_eq!(self.bytes(name), before);
        refusal
    }
}

#[test]
fn rubbish_is_cut_off_at_the_last_whole_record() {
    let whole = [batches(40_000), record(FIRST, b"the begin of a batch")].concat();
    let torn = [whole.clone(), rubbish(FULL, 20_000), vec![6; 50_000]].concat();
    let facts = record(130, b"facts about the log before");
    let directory = Directory::with(&[("000004.log", &torn), ("000009.log", &facts)]);
    let expected = CutTail {
        log: directory.log("000004.log"),
        length: whole.len() as u64,
        removed_bytes: (torn.len() - whole.len()) as u64,
    };
    assert_eq!(cut_rubbish(directory.path()), Ok(Some(expected)));
    assert_eq!(directory.bytes("000004.log"), whole);
    assert_eq!(cut_rubbish(directory.path()), Ok(None), "there is nothing left to cut");
}

#[test]
fn rubbish_that_rocksdb_drops_is_left_to_it() {
    let torn = [batches(40_000), rubbish(FULL, 20_000), vec![0; 50_000]].concat();
    let directory = Directory::with(&[("000004.log", &torn)]);
    assert_eq!(cut_rubbish(directory.path()), Ok(None));
    assert_eq!(directory.bytes("000004.log"), torn);
}

#[test]
fn nothing_is_cut_before_a_whole_record() {
    let mut log = batches(100_000);
    // One bit makes a batch of a recycled log out of a batch.
    log[507 + 6] ^= 4;
    let refusal = Directory::with(&[("000004.log", &log)]).refusal("000004.log");
    assert!(refusal.contains("damaged at byte 507, and a whole record stands"), "{refusal}");
    assert!(refusal.ends_with("at byte 1014"), "{refusal}");
}

#[test]
fn a_log_with_a_hole_is_refused() {
    let mut log = batches(100_000);
    log[BLOCK_BYTES..][..4096].fill(0);
    let refusal = Directory::with(&[("000004.log", &log)]).refusal("000004.log");
    assert!(refusal.ends_with("zeros at byte 32768, and goes on at byte 65536"), "{refusal}");
}

#[test]
fn nothing_is_cut_before_a_later_log() {
    let torn = [batches(1_000), rubbish(5, 0)].concat();
    let later = [record(130, b"facts"), record(FULL, b"batch")].concat();
    let directory = Directory::with(&[("000999.log", &torn), ("001000.log", &later)]);
    let refusal = directory.refusal("000999.log");
    assert!(refusal.contains("and a later log goes on"), "{refusal}");
    assert!(refusal.ends_with("001000.log"), "{refusal}");
}

#[test]
fn logs_are_ordered_by_number() {
    let torn = [batches(1_000), rubbish(5, 0)].concat();
    let directory = Directory::with(&[("1000000.log", &torn), ("999999.log", &batches(900))]);
    let cut = cut_rubbish(directory.path()).expect("the newest log");
    assert_eq!(cut.map(|tail| tail.removed_bytes), Some(7));
}

#[test]
fn a_damaged_manifest_is_refused() {
    let manifest = [batches(1_000), rubbish(5, 0)].concat();
    let files = [("CURRENT", b"MANIFEST-000005\n".as_slice()), ("MANIFEST-000005", &manifest)];
    let refusal = Directory::with(&files).refusal("MANIFEST-000005");
    assert!(refusal.ends_with(&format!("MANIFEST-000005 is damaged at byte {}", 507)), "{refusal}");
}

#[test]
fn a_directory_without_a_database_is_left_alone() {
    let directory = Directory::with(&[("CURRENT", b"MANIFEST-000005\n"), ("notes.log", b"x")]);
    assert_eq!(cut_rubbish(directory.path()), Ok(None));
    assert_eq!(cut_rubbish(&directory.log("nowhere")), Ok(None));
}

fn is_trap(log: &[u8]) -> bool {
    matches!(ending_of(log), Some(Ending::Trap { .. }))
}

/// Bytes that are looked at as headers again and again, and bytes that are none.
fn tails() -> impl Strategy<Value = Vec<u8>> {
    let header = (any::<[u8; 4]>(), 0..400_u16, 0..12_u8);
    let header = header.prop_map(|(checksum, length, kind)| {
        [checksum.as_slice(), &length.to_le_bytes(), &[kind]].concat()
    });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (header, 1..20_000_usize).prop_map(|(header, times)| header.repeat(times)),
    ]
}

/// Logs in which some records have another kind, as one bit makes it.
fn logs_with_other_kinds() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![0..3_000_usize, 0..70_000_usize];
    let kinds = prop::collection::vec((any::<Index>(), 0..12_u8), 0..3);
    (lengths, kinds).prop_map(|(length, kinds)| {
        let mut log = batches(length);
        let records = log.len() / RECORD_BYTES;
        for (record, kind) in kinds.iter().filter(|_| records > 0) {
            log[record.index(records) * RECORD_BYTES + 6] = *kind;
        }
        log
    })
}

/// Whether a record as [`batches`] makes them stands in these bytes at the end of a log.
fn has_whole_record(log: &[u8], from: usize) -> bool {
    let whole = batches(RECORD_BYTES);
    let begins = (0..log.len()).step_by(BLOCK_BYTES);
    let mut blocks = log.chunks(BLOCK_BYTES).zip(begins);
    blocks.any(|(block, begin)| {
        let behind = block.get(from.saturating_sub(begin)..).unwrap_or_default();
        behind.windows(RECORD_BYTES).any(|bytes| bytes == whole)
    })
}

proptest! {
    /// Damage anywhere: the log is left as it is, or cut where nothing whole is lost, or refused.
    #[test]
    fn damaged_logs_are_left_or_refused_or_lose_nothing_whole(
        log in damaged(logs_with_other_kinds()),
        later in prop_oneof![4 => Just(Vec::new()), 1 => Just(record(FULL, b"batch"))],
    ) {
        let directory = Directory::with(&[("000004.log", &log), ("000005.log", &later)]);
        let cut = cut_rubbish(directory.path());
        let after = directory.bytes("000004.log");
        if let Ok(Some(CutTail { length, removed_bytes, .. })) = cut {
            prop_assert_eq!((after.len() as u64, length + removed_bytes), (length, log.len() as u64));
            prop_assert!(log.starts_with(&after) && later.is_empty());
            prop_assert!(!has_whole_record(&log, after.len()), "cut at {}", length);
        } else {
            prop_assert_eq!(&after, &log);
            let is_refused = matches!(ending_of(&log), Some(Ending::Trap { .. } | Ending::Hole { .. }));
            prop_assert_eq!(cut.is_err(), is_refused);
        }
        if cut.is_ok() {
            prop_assert!(!is_trap(&after));
        }
    }

    /// With the twin's word for RocksDB's reader, this is why no rubbish keeps a database from opening.
    #[test]
    fn no_log_has_a_trap_afterwards_and_none_loses_a_whole_record(
        whole in (0..100_000_usize).prop_map(batches),
        tail in tails(),
    ) {
        let log = [whole.as_slice(), &tail].concat();
        let directory = Directory::with(&[("000004.log", &log)]);
        let cut = cut_rubbish(directory.path()).expect("no whole record in the tail");
        prop_assert_eq!(cut.is_some(), is_trap(&log));
        let after = directory.bytes("000004.log");
        prop_assert!(!is_trap(&after));
        prop_assert_eq!(&after[..whole.len()], whole);
    }
}
