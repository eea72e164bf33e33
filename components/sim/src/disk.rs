//! A store's disk: what is written, and which part of it a crash would leave.
//!
//! All batches go through one write-ahead log. So a crash keeps what was synced and a prefix of what was
//! written behind it, each batch whole or not at all: a batch that was torn is found by its checksum, and is
//! not read. Where only the process died nothing is lost, and the next start makes it durable.
//!
//! A disk also refuses writes where it is full, and fails: after that nobody knows what is on it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flotilla_base::{Family, KeyRange, KvRead, Mutation, ReadError, Rng, ScanDirection, Tables};

use crate::ident::Ident;
use crate::stages::Stages;

/// What reads see: everything that was written, synced or not. Shared with the groups of a store, which
/// ask for old log entries.
#[derive(Debug, Default)]
pub struct Image {
    layer: Mutex<Tables>,
}

impl Image {
    /// Calls `look` with the content.
    pub fn look<R>(&self, look: impl FnOnce(&Tables) -> R) -> R {
        look(&self.layer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Tables)) {
        change(&mut self.layer.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl KvRead for Image {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.layer.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.layer.scan(family, range, direction, visit)
    }
}

/// Number of a written batch; grows by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchNumber(pub u64);

/// Why a disk does not do what it is asked for. The store has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// A write does not fit.
    #[error("no space is left on the disk")]
    Full,
    /// A sync failed: what is durable is not known until the store starts again.
    #[error("the disk failed")]
    Failed,
}

/// What a crash took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Written batches that are gone.
    pub lost: usize,
    /// Written batches that were not synced and are there.
    pub kept: usize,
    /// The first of those that are gone was on the disk in part.
    pub is_torn: bool,
}

/// The disk of one store.
///
/// Invariant: `image` is `synced` with all of `pending` applied in order.
#[derive(Debug, Default)]
pub struct SimDisk {
    image: Arc<Image>,
    synced: Tables,
    pending: VecDeque<Vec<Mutation>>,
    written: BatchNumber,
    is_full: bool,
    health: Health,
    /// What the disk held durably when it was copied.
    copy: Option<(Tables, Stages)>,
    /// Snapshots that arrive; files of their own.
    pub stages: Stages,
    /// The number of the run. The copy of a disk has none: judges have to tell its runs from others.
    pub ident: Ident,
}

/// Whether syncs work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Health {
    #[default]
    Sound,
    /// The next sync fails.
    Doomed,
    /// A sync failed in this run.
    Failed,
    /// A sync failed, and was tried again: syncs succeed, and nothing reaches the disk any more.
    Holed,
}

impl SimDisk {
    /// What reads see.
    #[must_use]
    pub const fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// What surely survives a crash.
    #[must_use]
    pub const fn synced(&self) -> &Tables {
        &self.synced
    }

    /// The last written batch.
    #[must_use]
    pub const fn written(&self) -> BatchNumber {
        self.written
    }

    /// Writes a batch behind the others. Reads see it at once; a crash may lose it.
    ///
    /// # Errors
    /// [`DiskError`]; nothing was written.
    pub fn write(&mut self, batch: Vec<Mutation>) -> Result<BatchNumber, DiskError> {
        self.check_sound()?;
        if self.is_full {
            return Err(DiskError::Full);
        }
        self.image.change(|layer| layer.apply(&batch));
        self.pending.push_back(batch);
        self.written = BatchNumber(self.written.0 + 1);
        Ok(self.written)
    }

    /// Makes everything up to `number` durable.
    ///
    /// # Errors
    /// [`DiskError::Failed`], now and for every later sync and write of this run.
    pub fn sync(&mut self, number: BatchNumber) -> Result<(), DiskError> {
        if self.health == Health::Doomed {
            self.health = Health::Failed;
        }
        self.check_sound()?;
        if self.health == Health::Holed {
            return Ok(());
        }
        let behind = usize::try_from(self.written.0 - number.0).unwrap_or(usize::MAX);
        let count = self.pending.len().saturating_sub(behind);
        self.make_durable(count);
        Ok(())
    }

    /// The store stops, and its process or its machine is gone: of what was not synced everything, nothing
    /// or a random prefix survives. Readers of the old image keep a view that no longer changes.
    pub fn crash(&mut self, rng: &mut Rng) -> Loss {
        let has_hole = self.health == Health::Holed;
        let count = if has_hole { 0 } else { self.pending.len() };
        let kept = match rng.below(4) {
            0 => count,
            1 => 0,
            _ => usize::try_from(rng.below(count as u64 + 1)).unwrap_or(0),
        };
        self.make_durable(kept);
        let lost = self.pending.len();
        self.pending.clear();
        self.stages.crash();
        self.health = Health::Sound;
        self.show_synced();
        Loss { lost, kept, is_torn: lost > 0 && rng.chance(500) }
    }

    /// Whether writes are refused.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether what is synced is durable.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.health == Health::Sound
    }

    /// Refuses writes from now on, or takes them again.
    pub const fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// The next sync fails, unless the store stops before.
    pub fn doom(&mut self) {
        self.health = Health::Doomed;
    }

    /// After a sync that failed another one is tried: the system has forgotten what the first one was to
    /// write, so the log has a hole, and ends there.
    pub const fn retry(&mut self) {
        self.health = Health::Holed;
    }

    /// The next sync does not fail.
    pub fn spare(&mut self) {
        if self.health == Health::Doomed {
            self.health = Health::Sound;
        }
    }

    /// Copies what is durable, as a backup of a data directory does.
    pub fn copy(&mut self) {
        self.copy = Some((self.synced.clone(), self.stages.clone()));
    }

    /// Puts the last copy in place of what is on the disk, where there is one. The store must not run.
    pub fn put_back(&mut self) {
        if let Some((synced, stages)) = &self.copy {
            self.synced.clone_from(synced);
            self.stages.clone_from(stages);
            self.stages.crash();
            self.pending.clear();
            self.show_synced();
        }
    }

    fn check_sound(&self) -> Result<(), DiskError> {
        if self.health == Health::Failed { Err(DiskError::Failed) } else { Ok(()) }
    }

    fn make_durable(&mut self, count: usize) {
        for batch in self.pending.drain(..count) {
            self.synced.apply(&batch);
        }
    }

    fn show_synced(&mut self) {
        let image = Image::default();
        image.change(|layer| layer.clone_from(&self.synced));
        self.image = Arc::new(image);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flotilla_base::Key;

    use super::*;

    fn put(key: &'static str) -> Vec<Mutation> {
        vec![Mutation::Put(Family::Raw, key.into(), "v".into())]
    }

    fn write(disk: &mut SimDisk, key: &'static str) -> BatchNumber {
        disk.write(put(key)).expect("a sound disk")
    }

    fn keys(layer: &Tables) -> Vec<Key> {
        layer.family(Family::Raw).keys().cloned().collect()
    }

    #[test]
    fn a_crash_keeps_a_prefix_of_what_was_not_synced() {
        let mut outcomes = BTreeMap::new();
        for seed in 0..80 {
            let mut disk = SimDisk::default();
            let first = write(&mut disk, "a");
            for key in ["b", "c"] {
                write(&mut disk, key);
            }
            disk.sync(first).expect("a sound disk");
            assert_eq!(disk.synced().family(Family::Raw).len(), 1);
            let Loss { lost, kept, is_torn } = disk.crash(&mut Rng::new(seed));
            assert_eq!(lost + kept, 2);
            assert_eq!(disk.image().look(keys), ["a", "b", "c"][..3 - lost], "seed {seed}");
            assert_eq!(keys(disk.synced()), disk.image().look(keys));
            *outcomes.entry((lost, is_torn)).or_insert(0) += 1;
        }
        let outcomes: Vec<_> = outcomes.into_keys().collect();
        let all = [(0, false), (1, false), (1, true), (2, false), (2, true)];
        assert_eq!(outcomes, all, "every prefix occurs, torn or not");
    }

    #[test]
    fn a_full_disk_refuses_writes_and_loses_nothing() {
        let mut disk = SimDisk::default();
        let first = write(&mut disk, "a");
        disk.set_full(true);
        assert_eq!(disk.write(put("b")), Err(DiskError::Full));
        disk.sync(first).expect("what is written can be synced");
        assert_eq!(keys(disk.synced()), ["a"]);
        disk.set_full(false);
        write(&mut disk, "b");
    }

    #[test]
    fn a_sync_that_failed_is_never_tried_again() {
        let mut disk = SimDisk::default();
        disk.doom();
        let first = write(&mut disk, "a");
        for _ in 0..2 {
            assert_eq!(disk.sync(first), Err(DiskError::Failed));
            assert_eq!(disk.write(put("b")), Err(DiskError::Failed));
        }
        assert_eq!(keys(disk.synced()), [""; 0]);
        disk.crash(&mut Rng::new(1));
        let second = write(&mut disk, "b");
        disk.sync(second).expect("the next run finds a sound disk");
        disk.doom();
        disk.spare();
        disk.sync(second).expect("spared");
    }

    #[test]
    fn a_sync_that_failed_and_is_tried_again_leaves_a_hole() {
        let mut disk = SimDisk::default();
        disk.doom();
        let first = write(&mut disk, "a");
        assert_eq!(disk.sync(first), Err(DiskError::Failed));
        disk.retry();
        let second = write(&mut disk, "b");
        disk.sync(second).expect("the system has forgotten");
        assert_eq!(disk.image().look(keys), ["a", "b"]);
        let loss = disk.crash(&mut Rng::new(1));
        assert_eq!((loss.lost, loss.kept), (2, 0));
    }

    #[test]
    fn an_old_image_forgets_what_was_durable() {
        let mut disk = SimDisk::default();
        disk.put_back();
        let first = write(&mut disk, "a");
        disk.sync(first).expect("a sound disk");
        write(&mut disk, "b");
        disk.copy();
        let second = disk.written();
        disk.sync(second).expect("a sound disk");
        disk.put_back();
        assert_eq!(
            (keys(disk.synced()), disk.image().look(keys)),
            (vec!["a".into()], vec!["a".into()])
        );
    }
}
