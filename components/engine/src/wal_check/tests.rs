use std::{
    fs,
    path::{Path, PathBuf},
};

use flotilla_damage::damaged;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::{
    CutTail, cut_rubbish, find_trap,
    records::{
        BLOCK_BYTES, HEADER_BYTES, RECYCLED_HEADER_BYTES, RECYCLED_KINDS, ReaderTwin, Trap,
        find_whole_record, masked_checksum,
    },
};

const FULL: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// Length of a record of [`whole_records`], but for the last one of a block.
const RECORD_BYTES: usize = 507;

/// A record as RocksDB writes it; of a recycled log, the payload begins with the log's number.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let number_bytes =
        if RECYCLED_KINDS.contains(&kind) { RECYCLED_HEADER_BYTES - HEADER_BYTES } else { 0 };
    let length = u16::try_from(payload.len() - number_bytes).expect("shorter than a block");
    let mut covered = vec![kind];
    covered.extend(payload);
    let mut bytes = masked_checksum(&covered).to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(covered);
    bytes
}

/// A header with this kind, of a record that is nowhere.
fn rubbish(kind: u8, length: u16) -> Vec<u8> {
    let [low, high] = length.to_le_bytes();
    vec![0xde, 0xad, 0xbe, 0xef, low, high, kind]
}

/// Whole records up to `length`, and nothing behind the last one that fits.
fn whole_records(length: usize) -> Vec<u8> {
    let mut log = Vec::new();
    loop {
        let room = BLOCK_BYTES - log.len() % BLOCK_BYTES;
        let next =
            record(FULL, &vec![b'v'; (room - HEADER_BYTES).min(RECORD_BYTES - HEADER_BYTES)]);
        if log.len() + next.len() > length {
            return log;
        }
        log.extend(next);
        if BLOCK_BYTES - log.len() % BLOCK_BYTES < HEADER_BYTES {
            log.resize(log.len().next_multiple_of(BLOCK_BYTES), 0);
        }
    }
}

fn trap_in(log: &[u8]) -> Option<Trap> {
    let mut twin = ReaderTwin::default();
    log.chunks(BLOCK_BYTES).find_map(|block| twin.read(block))
}

#[test]
fn rubbish_with_a_kind_of_recycled_logs_is_a_trap_and_no_other() {
    for kind in 0..=u8::MAX {
        for length in [0, 5, 30_000, u16::MAX] {
            let mut log = whole_records(3_000);
            let at = log.len() as u64;
            log.extend(rubbish(kind, length));
            log.extend([7; 40]);
            let expected = RECYCLED_KINDS.contains(&kind).then_some(Trap { at, whole_until: at });
            assert_eq!(trap_in(&log), expected, "kind {kind}, length {length}");
        }
    }
}

#[test]
fn a_whole_record_of_a_recycled_log_is_a_trap_behind_plain_ones_only() {
    let recycled = record(5, b"\x04\0\0\0batch");
    assert_eq!(trap_in(&[recycled.clone(), recycled.clone()].concat()), None);
    let begun_by_a_plain_one = [record(FULL, b"batch"), recycled].concat();
    assert_eq!(trap_in(&begun_by_a_plain_one), Some(Trap { at: 12, whole_until: 12 }));
}

#[test]
fn behind_damage_the_reader_goes_on_with_the_next_block() {
    let mut log = whole_records(1_000);
    let whole_until = log.len() as u64;
    log.extend(rubbish(FULL, 20));
    // Not looked at: it stands behind damage in the same block.
    log.extend(rubbish(5, 0));
    log.resize(BLOCK_BYTES, 0);
    assert_eq!(trap_in(&log), None);
    log.extend(rubbish(6, 0));
    assert_eq!(trap_in(&log), Some(Trap { at: BLOCK_BYTES as u64, whole_until }));
}

#[test]
fn a_header_that_is_not_whole_is_no_trap() {
    let mut log = whole_records(1_000);
    log.extend(&rubbish(5, 0)[..HEADER_BYTES - 1]);
    assert_eq!(trap_in(&log), None);
}

#[test]
fn zeros_to_the_end_are_no_trap() {
    let mut log = whole_records(1_000);
    log.resize(3 * BLOCK_BYTES, 0);
    assert_eq!(trap_in(&log), None);
}

#[test]
fn whole_records_are_found_at_any_byte() {
    let block = [vec![5; 1_001], record(LAST, b"the end of a batch"), vec![1; 500]].concat();
    assert_eq!(find_whole_record(&block, 0), Some(1_001));
    assert_eq!(find_whole_record(&block, 1_001), Some(1_001));
    assert_eq!(find_whole_record(&block, 1_002), None);
    assert_eq!(find_whole_record(&block, usize::MAX), None);
    let recycled = [vec![0; 9], record(131, b"\x04\0\0\0facts")].concat();
    assert_eq!(find_whole_record(&recycled, 0), Some(9));
}

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
    let whole = [whole_records(40_000), record(FIRST, b"the begin of a batch")].concat();
    let torn = [whole.clone(), rubbish(FULL, 20_000), vec![6; 50_000]].concat();
    let directory = Directory::with(&[("000004.log", &torn), ("000009.log", b"")]);
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
    let torn = [whole_records(40_000), rubbish(FULL, 20_000), vec![0; 50_000]].concat();
    let directory = Directory::with(&[("000004.log", &torn)]);
    assert_eq!(cut_rubbish(directory.path()), Ok(None));
    assert_eq!(directory.bytes("000004.log"), torn);
}

#[test]
fn nothing_is_cut_before_a_whole_record() {
    // One bit makes a record of a recycled log out of a plain one.
    let mut log = whole_records(100_000);
    log[6] ^= 4;
    assert_eq!(
        trap_in(&log),
        None,
        "no record before it: RocksDB takes the log for a recycled one"
    );
    log[6] ^= 4;
    log[507 + 6] ^= 4;
    let directory = Directory::with(&[("000004.log", &log)]);
    let refusal = directory.refusal("000004.log");
    assert!(refusal.contains("damaged at byte 507, and a whole record stands"), "{refusal}");
    assert!(refusal.ends_with("at byte 1014"), "{refusal}");
}

#[test]
fn nothing_is_cut_before_a_later_log() {
    let torn = [whole_records(1_000), rubbish(5, 0)].concat();
    let directory = Directory::with(&[("000999.log", &torn), ("001000.log", b"x")]);
    let refusal = directory.refusal("000999.log");
    assert!(refusal.contains("and a later log follows"), "{refusal}");
    assert!(refusal.ends_with("001000.log"), "{refusal}");
}

#[test]
fn logs_are_ordered_by_number() {
    let torn = [whole_records(1_000), rubbish(5, 0)].concat();
    let directory = Directory::with(&[("1000000.log", &torn), ("999999.log", &whole_records(900))]);
    let cut = cut_rubbish(directory.path()).expect("the newest log");
    assert_eq!(cut.map(|tail| tail.removed_bytes), Some(7));
}

#[test]
fn a_damaged_manifest_is_refused() {
    let manifest = [whole_records(1_000), rubbish(5, 0)].concat();
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
        let mut log = whole_records(length);
        let records = log.len() / RECORD_BYTES;
        for (record, kind) in kinds.iter().filter(|_| records > 0) {
            log[record.index(records) * RECORD_BYTES + 6] = *kind;
        }
        log
    })
}

/// Whether a record as [`whole_records`] makes them stands in these bytes at the end of a log.
fn has_whole_record(log: &[u8], from: usize) -> bool {
    let whole = record(FULL, &[b'v'; RECORD_BYTES - HEADER_BYTES]);
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
        later in prop_oneof![4 => Just(b"".as_slice()), 1 => Just(b"x".as_slice())],
    ) {
        let directory = Directory::with(&[("000004.log", &log), ("000005.log", later)]);
        let cut = cut_rubbish(directory.path());
        let after = directory.bytes("000004.log");
        if let Ok(Some(CutTail { length, removed_bytes, .. })) = cut {
            prop_assert_eq!((after.len() as u64, length + removed_bytes), (length, log.len() as u64));
            prop_assert!(log.starts_with(&after) && later.is_empty());
            prop_assert!(!has_whole_record(&log, after.len()), "cut at {}", length);
        } else {
            prop_assert_eq!(&after, &log);
            prop_assert_eq!(cut.is_err(), trap_in(&log).is_some());
        }
        if cut.is_ok() {
            prop_assert_eq!(trap_in(&after), None);
        }
    }

    /// With the twin's word for RocksDB's reader, this is why no rubbish keeps a database from opening.
    #[test]
    fn no_log_has_a_trap_afterwards_and_none_loses_a_whole_record(
        whole in (0..100_000_usize).prop_map(whole_records),
        tail in tails(),
    ) {
        let log = [whole.as_slice(), &tail].concat();
        let directory = Directory::with(&[("000004.log", &log)]);
        let cut = cut_rubbish(directory.path()).expect("no whole record in the tail");
        prop_assert_eq!(cut.is_some(), trap_in(&log).is_some());
        let after = directory.bytes("000004.log");
        prop_assert_eq!(find_trap(&directory.log("000004.log")).expect("read"), None);
        prop_assert_eq!(&after[..whole.len()], whole);
    }
}
