//! All data of a range gives way to what is staged.
//!
//! The order, and why:
//!
//! 1. **Whole tables inside of the range are dropped**, which takes no tombstones and gives their room back at once.
//!    Readers with a snapshot would miss what was in them; so this is left out while a snapshot is open that is older
//!    than the call. Nobody who takes one later reads the range: its owner has shut readers out before.
//! 2. **One batch** deletes what is left of the range and writes the small families. It is in the log, and atomic.
//! 3. **The log is synced.** Ingestion is not in the log: RocksDB notes it in its manifest, durably, when it is done.
//!    Without the sync a power cut could keep the ingestion and lose the deletion in front of it, and with that show new
//!    data on top of old. The caller would begin again, and does so after each crash on the way; but "what is found is a
//!    prefix of the writes" is what the rest of the house builds on, and it holds for ingestion only so.
//! 4. **Memtables are flushed** that hold the deletion, since ingestion would do it while all writers wait.
//! 5. **Tables are ingested** by a link to the staged file, which itself stays until the stage is removed. RocksDB gives
//!    them a sequence number above that of the deletion, in memory and in its manifest, not in the file.
//!
//! A crash anywhere leaves a part of the old data, or of the new; the call does all of it again, and what was ingested
//! before is deleted in step 2. When it returns, the data can be read, the deletion is durable, and so is the ingestion.
//! What is not yet durable are small families of step 2 if and only if the sync of step 3 had failed, which ends the
//! process. So nothing that is written later survives a crash without them.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use flotilla_base::{Family, KeyRange, KvRead as _, ScanDirection};
use rocksdb::{IngestExternalFileOptions, properties};

use crate::{
    Engine, EngineError, Stage, StageError, WriteBatch,
    engine::Durable,
    range_reader::behind,
    read::{ABOVE_EVERY_KEY, handle},
    stats,
};

/// No table is ingested while a family has so many files in level 0, all of which a read looks through.
const LEVEL0_FILES_MAX: u64 = 16;
/// How long level 0 is waited for at most: a reader that is slow is better than a replica that is not there.
const LEVEL0_PATIENCE: Duration = Duration::from_secs(5);
/// RocksDB tells nobody when a compaction ends; so often it is asked.
const LEVEL0_PACE: Duration = Duration::from_millis(20);

/// Why a range was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The stage is damaged ([`StageError::Damaged`]), and will be; or something else failed that is no fault of it, and may
    /// not fail the next time. The old data may be gone.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The database failed: the process is to end.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// How far a replacement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Dropped,
    Written,
    Synced(Durable),
    Flushed,
    /// Level 0 was too full, and was looked at again a moment later.
    Waited,
    Linked,
    Ingested,
}

impl Engine {
    /// Deletes all data of `range` and brings in what `stage` holds, whose keys all lie in there. Nobody reads or writes
    /// the range meanwhile. It takes as long as the disk needs: not for threads that others wait for.
    ///
    /// May be called again after a crash, or after a call that returned, unless the database has failed. When it returns, reads see the new data, and
    /// nothing that is written later survives a crash without it.
    ///
    /// # Errors
    /// [`ReplaceError`]; the range may hold anything then.
    pub fn replace_range(&self, range: &KeyRange, stage: &Stage) -> Result<(), ReplaceError> {
        self.replace_step_by_step(range, stage, &mut |_step| {})
    }

    fn replace_step_by_step(
        &self,
        range: &KeyRange,
        stage: &Stage,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), ReplaceError> {
        assert!(range.covers(stage.range()), "staged keys belong to somebody else");
        // Before anything is deleted: what cannot be read now will not be readable then.
        let mut batch = WriteBatch::new();
        let small = stage.small_pairs()?;
        if !self.has_older_snapshot() {
            self.drop_tables_inside(range)?;
        }
        after(Step::Dropped);
        for family in Family::DATA {
            if let Some(range) = self.bounded(family, range) {
                batch.delete_range(family, range);
            }
        }
        for (family, key, value) in small {
            batch.put(family, key, value);
        }
        self.write(&batch)?;
        after(Step::Written);
        let written = self.rocks().latest_sequence_number();
        let durable = self.make_durable()?;
        after(Step::Synced(durable));
        assert!(durable.covers(written), "tables are ingested in front of the deletion");
        for (family, tables) in stage.tables() {
            let rocks = self.rocks();
            rocks
                .flush_cf(handle(rocks, family))
                .map_err(|cause| EngineError::fatal("flush", &cause))?;
            after(Step::Flushed);
            self.wait_for_level0(family, after);
            let links = tables.iter().map(|table| stage.link(table)).collect::<Result<_, _>>()?;
            after(Step::Linked);
            self.ingest(family, links)?;
            after(Step::Ingested);
        }
        Ok(())
    }

    /// Whether a snapshot is open that was taken before this moment.
    fn has_older_snapshot(&self) -> bool {
        stats::property(self.rocks(), properties::NUM_SNAPSHOTS) != 0
    }

    fn drop_tables_inside(&self, range: &KeyRange) -> Result<(), EngineError> {
        let rocks = self.rocks();
        // RocksDB counts the end in: whatever ends with it belongs to a neighbour, too.
        let Some(last) = below(&range.end).filter(|last| last.as_slice() >= range.start.as_ref())
        else {
            return Ok(());
        };
        for family in Family::DATA {
            rocks
                .delete_file_in_range_cf(handle(rocks, family), range.start.as_ref(), &last)
                .map_err(|cause| EngineError::fatal("drop tables", &cause))?;
        }
        Ok(())
    }

    /// What is to be deleted of a family, with an upper bound: nothing where it holds nothing. Old data that cannot be
    /// read is deleted like any other: what is damaged goes, and need not be looked at.
    fn bounded(&self, family: Family, range: &KeyRange) -> Option<KeyRange> {
        let mut found = None;
        let looked = self.scan(family, range, ScanDirection::Reverse, &mut |key, _value| {
            found = Some(behind(key));
            false
        });
        let last = match looked {
            Ok(()) => found?,
            Err(_unreadable) => ABOVE_EVERY_KEY.as_slice().into(),
        };
        let end = if range.end.is_empty() { last } else { range.end.clone() };
        Some(KeyRange { start: range.start.clone(), end })
    }

    fn wait_for_level0(&self, family: Family, after: &mut dyn FnMut(Step)) {
        let begin = Instant::now();
        while stats::level0_files(self.rocks(), family) >= LEVEL0_FILES_MAX
            && begin.elapsed() < LEVEL0_PATIENCE
        {
            thread::sleep(LEVEL0_PACE);
            after(Step::Waited);
        }
    }

    fn ingest(&self, family: Family, links: Vec<PathBuf>) -> Result<(), EngineError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        options.set_snapshot_consistency(true);
        options.set_allow_global_seqno(true);
        options.set_allow_blocking_flush(false);
        let rocks = self.rocks();
        let ingested = rocks.ingest_external_file_cf_opts(handle(rocks, family), &options, links);
        ingested.map_err(|cause| EngineError::fatal("ingest tables", &cause))
    }
}

/// A key below `end`, with few keys between them; `None` where there is no end, or no such key.
fn below(end: &[u8]) -> Option<Vec<u8>> {
    let (last, front) = end.split_last()?;
    let mut below = front.to_vec();
    if let Some(smaller) = last.checked_sub(1) {
        below.push(smaller);
        below.extend([0xff; 16]);
    }
    Some(below)
}

#[cfg(test)]
mod tests;
