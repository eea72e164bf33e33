use super::*;

/// A record as RocksDB writes it; of a recycled log, the payload begins with the log's number.
pub(crate) fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let is_recycled = RECYCLED_KINDS.contains(&kind);
    let number_bytes = if is_recycled { RECYCLED_HEADER_BYTES - HEADER_BYTES } else { 0 };
    let length = u16::try_from(payload.len() - number_bytes).expect("shorter than a block");
    let covered = [&[kind], payload].concat();
    [&masked_checksum(&covered).to_le_bytes()[..], &length.to_le_bytes(), &covered].concat()
}

/// A header with this kind, of a record that is nowhere.
pub(crate) fn rubbish(kind: u8, length: u16) -> Vec<u8> {
    let [low, high] = length.to_le_bytes();
    vec![0xde, 0xad, 0xbe, 0xef, low, high, kind]
}

/// Batches of 507 bytes with their headers, up to `length` and no further; the last one of a block ends
/// with it.
pub(crate) fn batches(length: usize) -> Vec<u8> {
    let mut log = Vec::new();
    loop {
        let room = BLOCK_BYTES - log.len() % BLOCK_BYTES - HEADER_BYTES;
        let next = record(FULL, &vec![b'v'; room.min(500)]);
        if log.len() + next.len() > length {
            return log;
        }
        log.extend(next);
        if BLOCK_BYTES - log.len() % BLOCK_BYTES < HEADER_BYTES {
            fill_block(&mut log);
        }
    }
}

/// Zeros to the end of the block.
fn fill_block(log: &mut Vec<u8>) {
    log.resize(log.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Behind `batches`, a block with these bytes at its begin and zeros behind them.
fn with_block(mut log: Vec<u8>, begin: &[u8]) -> Vec<u8> {
    fill_block(&mut log);
    log.extend(begin);
    fill_block(&mut log);
    log
}

pub(crate) fn ending_of(log: &[u8]) -> Option<Ending> {
    let mut twin = ReaderTwin::default();
    log.chunks(BLOCK_BYTES).find_map(|block| twin.read(block))
}

fn trap(at: usize, whole_until: usize) -> Option<Ending> {
    Some(Ending::Trap { at: at as u64, whole_until: whole_until as u64 })
}

fn hole(at: usize, next: usize) -> Option<Ending> {
    Some(Ending::Hole { at: at as u64, next: next as u64 })
}

#[test]
fn rubbish_with_a_kind_of_recycled_logs_is_a_trap_and_no_other() {
    let batches = batches(3_000);
    for kind in 0..=u8::MAX {
        for length in [0, 5, 30_000, u16::MAX] {
            let log = [batches.as_slice(), &rubbish(kind, length), &[7; 40]].concat();
            let at = batches.len();
            let expected = RECYCLED_KINDS.contains(&kind).then(|| trap(at, at)).flatten();
            assert_eq!(ending_of(&log), expected, "kind {kind}, length {length}");
        }
    }
}

#[test]
fn a_recycled_log_has_no_traps() {
    let recycled = record(5, b"\x04\0\0\0batch");
    assert_eq!(ending_of(&recycled.repeat(2)), Some(Ending::Stop));
    // Nor has one that begins with a piece of a batch: the form is decided by the first whole one.
    let begun = record(FIRST, b"begin");
    assert_eq!(ending_of(&[begun, recycled.clone()].concat()), Some(Ending::Stop));
    assert_eq!(ending_of(&[record(FULL, b"batch"), recycled].concat()), trap(12, 12));
}

#[test]
fn behind_damage_the_reader_goes_on_with_the_next_block() {
    let batches = batches(1_000);
    // The first trap stands behind damage in the same block, and is not looked at.
    let damaged = [batches.clone(), rubbish(FULL, 20), rubbish(5, 0)].concat();
    assert_eq!(ending_of(&damaged), None);
    let log = with_block(damaged, &rubbish(6, 0));
    assert_eq!(ending_of(&log), trap(BLOCK_BYTES, batches.len()));
}

#[test]
fn behind_damage_the_next_whole_batch_ends_the_reading() {
    let damaged = [batches(1_000), rubbish(FULL, 20)].concat();
    let log = with_block(damaged.clone(), &[record(FULL, b"batch"), rubbish(5, 0)].concat());
    assert_eq!(ending_of(&log), Some(Ending::Stop));
    let pieces = [record(FIRST, b"begin"), record(MIDDLE, b"middle"), record(LAST, b"end")];
    let log = with_block(damaged.clone(), &[pieces.concat(), rubbish(5, 0)].concat());
    assert_eq!(ending_of(&log), Some(Ending::Stop));
    // An end without its begin is no batch.
    let log = with_block(damaged, &[record(LAST, b"end"), rubbish(5, 0)].concat());
    assert_eq!(ending_of(&log), trap(BLOCK_BYTES + 10, 507));
}

#[test]
fn a_header_that_is_not_whole_is_no_trap() {
    let log = [batches(1_000), rubbish(5, 0)].concat();
    assert_eq!(ending_of(&log[..log.len() - 1]), None);
    assert_ne!(ending_of(&log), None);
}

#[test]
fn zeros_between_batches_are_a_hole() {
    let log = with_block(batches(1_000), &record(FULL, b"batch"));
    assert_eq!(ending_of(&log), hole(507, BLOCK_BYTES));
    let pieces = [record(FIRST, b"begin"), record(LAST, b"end")].concat();
    assert_eq!(ending_of(&with_block(batches(1_000), &pieces)), hole(507, BLOCK_BYTES + 12));
    // A batch may begin with an empty piece, where just a header fits into its block.
    let empty_piece = [record(FIRST, b""), record(FULL, b"batch")].concat();
    assert_eq!(ending_of(&with_block(batches(1_000), &empty_piece)), hole(507, BLOCK_BYTES + 7));
}

#[test]
fn zeros_that_rocksdb_reports_or_that_nothing_follows_are_no_hole() {
    let to_the_end = with_block(batches(1_000), &[]);
    assert_eq!(ending_of(&with_block(to_the_end, &[0; 9])), None);
    let in_a_batch = [batches(1_000), record(FIRST, b"begin")].concat();
    let log = with_block(in_a_batch, &record(FULL, b"batch"));
    assert_eq!(ending_of(&log), Some(Ending::Stop));
    let next_is_no_begin = [record(LAST, b"end"), record(FULL, b"batch")].concat();
    assert_eq!(ending_of(&with_block(batches(1_000), &next_is_no_begin)), Some(Ending::Stop));
    // With a length, a record of kind 0 is damage like any other.
    let log = with_block([batches(1_000), rubbish(0, 9)].concat(), &record(FULL, b"batch"));
    assert_eq!(ending_of(&log), Some(Ending::Stop));
}

#[test]
fn whole_logs_are_read_to_their_end() {
    let pieces = [record(FIRST, b"begin"), record(MIDDLE, b"middle"), record(LAST, b"end")];
    for length in [0, 507, BLOCK_BYTES, 2 * BLOCK_BYTES + 600] {
        let batches = batches(length);
        assert_eq!(ending_of(&[batches.clone(), pieces.concat(), batches].concat()), None);
    }
    // What others may write, and what reading passes over.
    let facts = [record(130, b"facts"), record(200, b"of the future"), record(FULL, b"batch")];
    assert_eq!(ending_of(&facts.concat()), None);
}

#[test]
fn batches_are_found_at_any_byte() {
    let block = [vec![5; 1_001], record(LAST, b"the end of a batch"), vec![1; 500]].concat();
    assert_eq!(find_batch(&block, 0), Some(1_001));
    assert_eq!(find_batch(&block, 1_001), Some(1_001));
    assert_eq!(find_batch(&block, 1_002), None);
    assert_eq!(find_batch(&block, usize::MAX), None);
    let recycled = [vec![0; 9], record(5, b"\x04\0\0\0batch")].concat();
    assert_eq!(find_batch(&recycled, 0), Some(9));
    assert_eq!(find_batch(&record(130, b"facts"), 0), None);
}
