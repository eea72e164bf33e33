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

/// RocksDB reads a log in blocks of this size, and begins every block with a record.
pub(crate) const BLOCK_BYTES: usize = 32 << 10;

pub(crate) const HEADER_BYTES: usize = 7;
/// Where the kind stands in a header; the checksum begins with it.
const KIND: usize = 6;
/// Bytes of a header of the second form.
pub(crate) const RECYCLED_HEADER_BYTES: usize = 11;
/// Kinds of records of the first form: a batch in one to many pieces (1 to 4), compression (9), sizes of
/// timestamps (10), facts about the log before (130). We write 1 to 4.
const PLAIN_KINDS: [u8; 7] = [1, 2, 3, 4, 9, 10, 130];
/// Kinds of records of the second form.
pub(crate) const RECYCLED_KINDS: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// A record at which RocksDB's reader turns for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trap {
    /// Where it begins.
    pub(crate) at: u64,
    /// End of the last whole record before the first damaged one. Not above `at`: RocksDB takes nothing
    /// from behind it, trap or not.
    pub(crate) whole_until: u64,
}

/// Follows RocksDB's reader through one log, and finds the trap in it.
///
/// The reader (`Reader::ReadPhysicalRecord`) looks at one header after the other. Whatever it finds, it
/// consumes bytes or ends the log; with one exception: a record of a recycled log behind a plain one. That
/// one is reported as bad *without being consumed*, and met again for ever, whatever its length and
/// checksum. This type looks at the same headers: behind a damaged record, at the next block.
///
/// The reader decides at the first whole batch which form the log has, this type at the first whole record.
/// A log in which that makes a difference holds no whole batch before the trap.
#[derive(Debug, Default)]
pub(crate) struct ReaderTwin {
    /// Where the next block begins.
    position: u64,
    damaged_at: Option<u64>,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// No whole record was met. The first one decides which form the log has.
    #[default]
    Undecided,
    /// Records of recycled logs are traps from here on.
    Plain,
    /// The log is a recycled one: it has no traps.
    Recycled,
}

impl ReaderTwin {
    /// Reads the next block; all but the last have [`BLOCK_BYTES`]. Nothing may be read behind a trap.
    pub(crate) fn read(&mut self, block: &[u8]) -> Option<Trap> {
        let begin = self.position;
        self.position += block.len() as u64;
        let mut offset = 0;
        while let Some(kind) = block.get(offset + KIND) {
            let at = begin + offset as u64;
            if RECYCLED_KINDS.contains(kind) {
                match self.progress {
                    Progress::Plain => {
                        return Some(Trap { at, whole_until: self.damaged_at.unwrap_or(at) });
                    }
                    Progress::Undecided | Progress::Recycled => self.progress = Progress::Recycled,
                }
            }
            let Some(length) = readable_record(&block[offset..]) else {
                self.damaged_at.get_or_insert(at);
                return None;
            };
            if self.progress == Progress::Undecided {
                self.progress = Progress::Plain;
            }
            offset += length;
        }
        None
    }
}

/// Where in the block a whole record of a known kind begins, at `from` or behind it, at any byte: behind
/// damage nobody knows where records begin.
pub(crate) fn find_whole_record(block: &[u8], from: usize) -> Option<usize> {
    let is_known = |kind: &u8| PLAIN_KINDS.contains(kind) || RECYCLED_KINDS.contains(kind);
    (from..block.len()).find(|offset| {
        let known = block.get(offset + KIND).is_some_and(is_known);
        known && readable_record(&block[*offset..]).is_some()
    })
}

/// Length with its header of the record that `bytes` begin with. None where the reader drops it together
/// with the rest of its block: it does not end within `bytes`, its checksum does not fit, or it is empty
/// and of kind 0, as in a file that was made larger before it is written.
fn readable_record(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let [c0, c1, c2, c3, l0, l1, kind] = *header;
    let payload_bytes = usize::from(u16::from_le_bytes([l0, l1]));
    if kind == 0 && payload_bytes == 0 {
        return None;
    }
    let is_recycled = RECYCLED_KINDS.contains(&kind);
    let header_bytes = if is_recycled { RECYCLED_HEADER_BYTES } else { HEADER_BYTES };
    let length = header_bytes + payload_bytes;
    let stored = u32::from_le_bytes([c0, c1, c2, c3]);
    (masked_checksum(bytes.get(KIND..length)?) == stored).then_some(length)
}

/// RocksDB stores checksums rotated and shifted, so that a checksum over bytes with checksums stays strong.
pub(crate) fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
