//! The records of a RocksDB log (write-ahead log or manifest), as far as it takes to know what its reader
//! does with damaged bytes. Pure: knows nothing of files, nor of what stands in a record.
//!
//! ```text
//! log    = block*                            32 KiB each, the last one shorter
//! block  = record* | fewer than 7 bytes      a record never crosses the end of its block
//! record = checksum u32 LE | length u16 LE | kind u8 | length bytes
//! record = checksum u32 LE | length u16 LE | kind u8 | number of the log u32 LE | length bytes
//! ```
//!
//! The second form is that of recycled logs, which we never write. The checksum is a masked CRC-32C of
//! everything from the kind on. Source: `db/log_format.h` and `db/log_reader.cc` of RocksDB 11.8.1.

#[cfg(test)]
pub(crate) mod tests;

use std::ops::RangeInclusive;

/// RocksDB reads a log in blocks of this size, and begins every block with a record.
pub(crate) const BLOCK_BYTES: usize = 32 << 10;

pub(crate) const HEADER_BYTES: usize = 7;
/// Where the length stands in a header.
const LENGTH: usize = 4;
/// Where the kind stands in a header; the checksum begins with it.
const KIND: usize = 6;
/// Bytes of a header of the second form.
pub(crate) const RECYCLED_HEADER_BYTES: usize = 11;
/// A whole batch.
const FULL: u8 = 1;
/// The pieces of a batch that does not fit into the rest of its block.
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// Kinds of records of the first form: batches, compression (9), sizes of timestamps (10), facts about the
/// log before (130). We write batches, and facts at the begin of a log.
const PLAIN_KINDS: [u8; 7] = [1, 2, 3, 4, 9, 10, 130];
/// Kinds of records of the second form; the first four are batches.
pub(crate) const RECYCLED_KINDS: [u8; 6] = [5, 6, 7, 8, 11, 131];
/// Kinds of batches and pieces of them, in both forms.
const BATCH_KINDS: RangeInclusive<u8> = 1..=8;

/// Unknown kinds from here on are passed over, all others are reported.
const KINDS_PASSED_OVER: u8 = 128;

/// How RocksDB's reader leaves a log before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It reports damage and takes nothing from behind it: what is asked of it.
    Stop,
    /// It turns for ever.
    Trap {
        /// The record at which it does.
        at: u64,
        /// End of the last whole record before the first damaged one; not above `at`. From behind it the
        /// reader takes nothing, trap or not.
        whole_until: u64,
    },
    /// It passes over zeros as over nothing, and takes the batches behind them.
    Hole {
        /// Where the zeros begin.
        at: u64,
        /// Where the next batch begins or goes on.
        next: u64,
    },
}

/// Follows RocksDB's reader through one log (`Reader::ReadRecord` in the mode point-in-time).
///
/// The reader looks at one header after the other. Whatever it finds, it consumes bytes or ends the log;
/// with one exception: a record of a recycled log behind a batch of a plain one. That one is reported as
/// bad *without being consumed*, and met again for ever, whatever its length and checksum. Behind a damaged
/// record the reader goes on with the next block, up to the end of the next whole batch, and drops that
/// batch; unless the damage is an empty record of kind 0 between two batches, which it does not report.
///
/// Of records whose checksum fits and which we never write, this type knows less than the reader. It may
/// then find an ending at which the reader does not arrive, never miss one.
#[derive(Debug, Default)]
pub(crate) struct ReaderTwin {
    /// Where the next block begins.
    position: u64,
    /// A whole batch was met: the log is a plain one.
    has_batch: bool,
    /// Bytes of the batch that has begun and not ended.
    begun_bytes: Option<usize>,
    /// Damage was reported: the next whole batch ends the reading.
    is_reported: bool,
    damaged_at: Option<u64>,
}

impl ReaderTwin {
    /// Reads the next block; all but the last have [`BLOCK_BYTES`]. Nothing may be read behind an ending.
    pub(crate) fn read(&mut self, block: &[u8]) -> Option<Ending> {
        let begin = self.position;
        self.position += block.len() as u64;
        let mut offset = 0;
        while let Some(kind) = block.get(offset + KIND) {
            let (at, rest) = (begin + offset as u64, &block[offset..]);
            if RECYCLED_KINDS.contains(kind) {
                return Some(self.meet_recycled(at));
            }
            let Some(length) = readable_record(rest) else {
                self.meet_damage(at, is_empty_of_kind_zero(rest));
                return None;
            };
            let ending = self.meet_record(at, *kind, length - HEADER_BYTES);
            if ending.is_some() {
                return ending;
            }
            offset += length;
        }
        None
    }

    /// Without a batch before it, the log counts as a recycled one, which has no traps.
    fn meet_recycled(&self, at: u64) -> Ending {
        let whole_until = self.damaged_at.unwrap_or(at);
        if self.has_batch { Ending::Trap { at, whole_until } } else { Ending::Stop }
    }

    fn meet_damage(&mut self, at: u64, is_passed_over: bool) {
        self.is_reported |= self.begun_bytes.take().is_some() || !is_passed_over;
        self.damaged_at.get_or_insert(at);
    }

    fn meet_record(&mut self, at: u64, kind: u8, bytes: usize) -> Option<Ending> {
        match (kind, self.begun_bytes) {
            (FULL, begun) => {
                self.is_reported |= begun.is_some_and(|begun| begun > 0);
                return self.end_batch(at);
            }
            (FIRST, begun) => {
                self.is_reported |= begun.is_some_and(|begun| begun > 0);
                self.begun_bytes = Some(bytes);
            }
            (MIDDLE, Some(begun)) => self.begun_bytes = Some(begun + bytes),
            (LAST, Some(_)) => return self.end_batch(at),
            (MIDDLE | LAST, None) => self.is_reported = true,
            (kind, _) if PLAIN_KINDS.contains(&kind) => {}
            (kind, _) => {
                self.is_reported |= kind < KINDS_PASSED_OVER;
                self.begun_bytes = None;
            }
        }
        None
    }

    fn end_batch(&mut self, at: u64) -> Option<Ending> {
        self.begun_bytes = None;
        self.has_batch = true;
        if self.is_reported {
            return Some(Ending::Stop);
        }
        self.damaged_at.map(|damaged_at| Ending::Hole { at: damaged_at, next: at })
    }
}

/// Where in the block a whole record of a batch begins, at `from` or behind it, at any byte: behind damage
/// nobody knows where records begin.
pub(crate) fn find_batch(block: &[u8], from: usize) -> Option<usize> {
    (from..block.len()).find(|offset| {
        let of_batch = block.get(offset + KIND).is_some_and(|kind| BATCH_KINDS.contains(kind));
        of_batch && readable_record(&block[*offset..]).is_some()
    })
}

/// Length with its header of the record that `bytes` begin with. None where the reader drops it together
/// with the rest of its block: it does not end within `bytes`, its checksum does not fit, or it is an empty
/// one of kind 0.
fn readable_record(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    if is_empty_of_kind_zero(header) {
        return None;
    }
    let [c0, c1, c2, c3, l0, l1, kind] = *header;
    let is_recycled = RECYCLED_KINDS.contains(&kind);
    let header_bytes = if is_recycled { RECYCLED_HEADER_BYTES } else { HEADER_BYTES };
    let length = header_bytes + usize::from(u16::from_le_bytes([l0, l1]));
    let stored = u32::from_le_bytes([c0, c1, c2, c3]);
    (masked_checksum(bytes.get(KIND..length)?) == stored).then_some(length)
}

/// What stands in a file that was made longer before it is written, whatever the checksum.
fn is_empty_of_kind_zero(bytes: &[u8]) -> bool {
    bytes.get(LENGTH..=KIND) == Some(&[0, 0, 0])
}

/// RocksDB stores checksums rotated and shifted, so that a checksum over bytes with checksums stays strong.
pub(crate) fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
