//! Write-ahead logs of RocksDB, as the check before a start reads them. Each piece of the input is a part of the log:
//! its first byte says whether it becomes a whole record, stands as it is, or fills the block up to its end. Oracles:
//! traps and holes lie in the log; the cut in front of a trap leaves none, and takes no record of the whole ones that
//! the log begins with; zeros are passed over only behind these.

use crate::log_records::{
    BLOCK_BYTES, Ending, HEADER_BYTES, RECYCLED_HEADER_BYTES, RECYCLED_KINDS, ReaderTwin,
    find_batch, masked_checksum,
};
use crate::pieces;

/// Whole blocks at most.
const BLOCKS_MAX: usize = 8;
/// What we write ourselves.
const OUR_KINDS: std::ops::RangeInclusive<u8> = 1..=4;
const RAW: u8 = 0xff;
const FILL: u8 = 0xfe;

/// See the module.
pub fn run(bytes: &[u8]) {
    let Log { bytes: log, whole_until } = log(bytes);
    let ending = ending_of(&log);
    let (at, cut) = match ending {
        Some(Ending::Trap { at, whole_until }) => (at, whole_until),
        Some(Ending::Hole { at, next }) => (next, at),
        Some(Ending::Stop) | None => return,
    };
    let length = log.len() as u64;
    assert!(cut <= at && at < length, "{ending:?} in a log of {length}");
    assert!(cut >= whole_until as u64, "{ending:?} within what is whole until {whole_until}");
    let cut = usize::try_from(cut).expect("it is short");
    let before = ending_of(&log[..cut]);
    assert!(matches!(before, None | Some(Ending::Stop)), "{before:?} in front of {ending:?}");
    for block in log.chunks(BLOCK_BYTES) {
        let found = find_batch(block, cut % BLOCK_BYTES);
        assert!(found.is_none_or(|at| (cut % BLOCK_BYTES..block.len()).contains(&at)));
    }
}

fn ending_of(log: &[u8]) -> Option<Ending> {
    let mut twin = ReaderTwin::default();
    log.chunks(BLOCK_BYTES).find_map(|block| twin.read(block))
}

struct Log {
    bytes: Vec<u8>,
    /// It begins with so many bytes of whole records of ours.
    whole_until: usize,
}

fn log(input: &[u8]) -> Log {
    let (mut bytes, mut is_whole, mut whole_until) = (Vec::new(), true, 0);
    for piece in pieces::split(input) {
        let Some((kind, body)) = piece.split_first() else { continue };
        let room = BLOCK_BYTES - bytes.len() % BLOCK_BYTES;
        if bytes.len() / BLOCK_BYTES >= BLOCKS_MAX {
            break;
        }
        match *kind {
            RAW => bytes.extend_from_slice(body),
            FILL => bytes.resize(bytes.len() + room.saturating_sub(body.len()), 0),
            kind => bytes.extend(record(kind, body)),
        }
        is_whole &= OUR_KINDS.contains(kind) && HEADER_BYTES + body.len() <= room;
        whole_until = if is_whole { bytes.len() } else { whole_until };
    }
    Log { bytes, whole_until }
}

/// A record as RocksDB writes it.
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let number: &[u8] = match RECYCLED_KINDS.contains(&kind) {
        true => &[4; RECYCLED_HEADER_BYTES - HEADER_BYTES],
        false => &[],
    };
    let covered = [&[kind], number, body].concat();
    let length = u16::try_from(body.len()).expect("a piece is short");
    [&masked_checksum(&covered).to_le_bytes()[..], &length.to_le_bytes(), &covered].concat()
}

/// A log that is whole, and logs with each kind of damage behind that.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let piece = |kind: u8, body: &[u8]| [&[kind], body].concat();
    let batches = || vec![piece(1, b"batch"), piece(2, b"the begin of one"), piece(4, b"its end")];
    let behind = [
        piece(5, b"recycled"),
        piece(RAW, &[0xde, 0xad, 0xbe, 0xef, 5, 0, 5]),
        piece(RAW, &[0xde, 0xad, 0xbe, 0xef, 5, 0, 1]),
        piece(FILL, &[0; 9]),
        piece(RAW, &[0; 40]),
    ];
    let torn = behind.into_iter().map(|tail| {
        let mut parts = batches();
        parts.extend([tail, piece(FILL, &[]), piece(131, b"facts"), piece(1, b"batch")]);
        pieces::join(parts)
    });
    torn.chain([pieces::join(batches())]).collect()
}
