//! The data of one snapshot in files of its own, until it takes the place of what a range holds.
//!
//! ```text
//! DIR/snap/<number>.new/      being written, or being removed: counts for nothing, and goes first at the next start
//! DIR/snap/<number>/          whole and durable
//!     manifest                what belongs to it, with lengths and checksums; written last
//!     <family>.block          a family of less than 2 MiB: one record
//!     <family>-<n>.sst        a larger one: tables of about 64 MiB, counted from 1
//! ```
//! Every file is synced before the directory is, and that before it gets its final name; the name is synced before
//! [`StageWriter::finish`] returns. So a power cut leaves a whole stage, or none that counts. What the disk spoils later
//! is noticed by [`Stages::load`], which reads all of it.

mod manifest;
mod room;
mod writer;

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use flotilla_base::{ByteSize, Family, Key, KeyRange};
use rocksdb::Options;

use self::{
    manifest::{Manifest, StagedFamily, StagedFile},
    room::Room,
};
pub use self::{
    manifest::{decode_block, encode_block},
    room::FreeBytes,
    writer::StageWriter,
};
use crate::{
    data_dir::{create_durably, sync_directory},
    tuning,
};

const UNFINISHED: &str = "new";
const MANIFEST: &str = "manifest";
/// Bytes that are read at once where a file is checked.
const READ_BYTES: usize = 256 << 10;

/// Why a stage cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The volume has too little room. Nothing was begun, or what was begun is to be dropped.
    #[error("snapshots need {needed} of free space, {available} are left; nothing of it is kept")]
    NoSpace {
        /// Free space.
        available: ByteSize,
        /// What all snapshots that are being staged may still take, and what must be left behind them.
        needed: ByteSize,
    },
    /// More comes than was announced: a fault of whoever sent it.
    #[error("a snapshot that was announced with {announced} takes more than {limit}")]
    TooLarge {
        /// The sender's word.
        announced: ByteSize,
        /// What it may take at most.
        limit: ByteSize,
    },
    /// What was to be staged can be no snapshot: a fault of whoever sent it.
    #[error("no snapshot holds {0}")]
    Refused(&'static str),
    /// Files are missing, or hold something else than they did.
    #[error("stage {number} is damaged: {reason}")]
    Damaged {
        /// Which one.
        number: u64,
        /// What was found.
        reason: String,
    },
    /// RocksDB could not write a table.
    #[error("cannot write a table of a snapshot: {0}")]
    Table(String),
    /// The operating system refused.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// What a stage holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTotals {
    /// Pairs of all families.
    pub pairs: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// All stages of a data directory.
pub struct Stages {
    dir: PathBuf,
    tables: Options,
    room: Room,
}

/// A whole stage, whose files were checked.
#[derive(Debug)]
pub struct Stage {
    number: u64,
    dir: PathBuf,
    range: KeyRange,
    families: Vec<StagedFamily>,
}

impl Stages {
    /// Takes `dir`, creating it where it is missing, and removes what was not finished in it.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn open(dir: &Path, free_min: ByteSize) -> Result<Self, StageError> {
        Self::open_on(dir, free_min, free_bytes)
    }

    /// As [`Self::open`], on a volume of which another one says how much is free: for tests of full disks.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn open_on(dir: &Path, free_min: ByteSize, free: FreeBytes) -> Result<Self, StageError> {
        create_durably(dir, &mut sync_directory).map_err(|cause| io_error("create", dir, cause))?;
        remove_unfinished(dir).map_err(|(path, cause)| io_error("remove", &path, cause))?;
        let path = dir.to_owned();
        let asked = move || match free(&path) {
            Ok(free) => Ok(free.bytes()),
            Err(cause) => Err(io_error("ask for the free space of", &path, cause)),
        };
        let room = Room::new(free_min, asked);
        Ok(Self { dir: dir.to_owned(), tables: tuning::staged_tables(), room })
    }

    /// The stages that count, by number.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn numbers(&self) -> Result<Vec<u64>, StageError> {
        let paths = self.paths()?;
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
        let mut numbers: Vec<u64> = paths.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Begins a stage for data of `range`, which is announced to take about `expected` bytes of the disk. `number` was
    /// never used before in this directory.
    ///
    /// # Errors
    /// [`StageError::NoSpace`], or [`StageError::Io`].
    pub fn begin(
        &self,
        number: u64,
        range: KeyRange,
        expected: ByteSize,
    ) -> Result<StageWriter<'_>, StageError> {
        let share = self.room.begin(expected.bytes())?;
        StageWriter::begin((self, share), number, range)
    }

    /// A stage that was finished, after reading all of it.
    ///
    /// # Errors
    /// [`StageError::Damaged`] where it is not what it was, gone, or given back by the disk no more; [`StageError::Io`]
    /// where it may be whole.
    pub fn load(&self, number: u64) -> Result<Stage, StageError> {
        let dir = self.path(number);
        let damaged = |reason: String| StageError::Damaged { number, reason };
        let path = dir.join(MANIFEST);
        let record = match fs::read(&path) {
            Ok(record) => Bytes::from(record),
            Err(cause) => return Err(unreadable(number, &path, cause)),
        };
        let manifest = Manifest::decode(&record).map_err(|cause| damaged(cause.to_string()))?;
        if manifest.number != number {
            return Err(damaged(format!("its manifest is that of stage {}", manifest.number)));
        }
        let Manifest { range, families, .. } = manifest;
        let stage = Stage { number, dir, range, families };
        for family in &stage.families {
            for (path, file) in stage.files(family) {
                match look_at(&path) {
                    Ok(found) if found == *file => {}
                    Ok(_) => return Err(damaged(format!("{} has changed", path.display()))),
                    Err(cause) => return Err(unreadable(number, &path, cause)),
                }
            }
        }
        Ok(stage)
    }

    /// Forgets a stage; nothing happens where there is none.
    ///
    /// # Errors
    /// [`StageError::Io`]; the next start goes on with it.
    pub fn remove(&self, number: u64) -> Result<(), StageError> {
        let (path, gone) = (self.path(number), self.unfinished_path(number));
        // With that it counts for nothing, however far the rest gets.
        match fs::rename(&path, &gone) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(io_error("rename", &path, cause)),
        }
        fs::remove_dir_all(&gone).map_err(|cause| io_error("remove", &gone, cause))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(number.to_string())
    }

    fn unfinished_path(&self, number: u64) -> PathBuf {
        self.path(number).with_extension(UNFINISHED)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, StageError> {
        paths_in(&self.dir).map_err(|cause| io_error("list", &self.dir, cause))
    }
}

/// Removes what was not finished in `dir`, which need not be there. A store does so before it asks whether it has room to
/// start: stages may be what has filled its disk.
///
/// # Errors
/// Which path, and why.
pub(crate) fn remove_unfinished(dir: &Path) -> Result<(), (PathBuf, io::Error)> {
    let paths = match paths_in(dir) {
        Ok(paths) => paths,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err((dir.to_owned(), cause)),
    };
    let is_unfinished = |path: &PathBuf| path.extension().is_some_and(|it| it == UNFINISHED);
    for path in paths.into_iter().filter(is_unfinished) {
        fs::remove_dir_all(&path).map_err(|cause| (path, cause))?;
    }
    Ok(())
}

fn paths_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

impl Stage {
    /// Names it.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// All its keys lie in here.
    #[must_use]
    pub const fn range(&self) -> &KeyRange {
        &self.range
    }

    /// How much it holds.
    #[must_use]
    pub fn totals(&self) -> StageTotals {
        let add = |all: StageTotals, family: &StagedFamily| StageTotals {
            pairs: all.pairs + family.pairs,
            bytes: all.bytes + family.bytes,
        };
        self.families.iter().fold(StageTotals::default(), add)
    }

    /// Families that come as tables, with the files in the order of their keys.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (Family, Vec<PathBuf>)> {
        let large = self.families.iter().filter(|family| !family.is_block);
        large.map(|it| (it.family, self.files(it).map(|(path, _)| path).collect()))
    }

    /// All pairs of the families that come as blocks.
    pub(crate) fn small_pairs(&self) -> Result<Vec<(Family, Key, Bytes)>, StageError> {
        let mut all = Vec::new();
        for family in self.families.iter().filter(|family| family.is_block) {
            for (path, _) in self.files(family) {
                let block =
                    fs::read(&path).map_err(|cause| unreadable(self.number, &path, cause))?;
                let pairs = decode_block(&block.into()).map_err(|cause| {
                    let reason = format!("{}: {cause}", path.display());
                    StageError::Damaged { number: self.number, reason }
                })?;
                all.extend(pairs.into_iter().map(|(key, value)| (family.family, key, value)));
            }
        }
        Ok(all)
    }

    /// A second name of one of its tables, for RocksDB to take away.
    pub(crate) fn link(&self, table: &Path) -> Result<PathBuf, StageError> {
        let path = table.with_extension("ingest");
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(io_error("remove", &path, cause)),
        }
        match fs::hard_link(table, &path) {
            Ok(()) => Ok(path),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Err(unreadable(self.number, table, cause))
            }
            Err(cause) => Err(io_error("link", &path, cause)),
        }
    }

    fn files<'a>(
        &'a self,
        family: &'a StagedFamily,
    ) -> impl Iterator<Item = (PathBuf, &'a StagedFile)> {
        let name = |place| file_name(family.family, (!family.is_block).then_some(place + 1));
        let numbered = family.files.iter().enumerate();
        numbered.map(move |(place, file)| (self.dir.join(name(place)), file))
    }
}

impl std::fmt::Debug for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stages({})", self.dir.display())
    }
}

/// The name of the table with this number, or of the block.
fn file_name(family: Family, table: Option<usize>) -> String {
    match table {
        Some(number) => format!("{}-{number}.sst", family.name()),
        None => format!("{}.block", family.name()),
    }
}

/// What the volume of `dir` has left for this process.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<ByteSize> {
    let volume = rustix::fs::statvfs(dir)?;
    Ok(ByteSize(volume.f_bavail.saturating_mul(volume.f_frsize)))
}

/// Length and checksum of a file as it is.
fn look_at(path: &Path) -> io::Result<StagedFile> {
    let mut file = fs::File::open(path)?;
    let (mut found, mut buffer) = (StagedFile::default(), vec![0; READ_BYTES]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(found);
        }
        found.length += count as u64;
        found.checksum = crc32c::crc32c_append(found.checksum, &buffer[..count]);
    }
}

/// Why a file of stage `number` cannot be read. One that is gone, or that the disk gives back no more, stays so; whatever
/// else the operating system lacks, it may have a moment later.
fn unreadable(number: u64, path: &Path, cause: io::Error) -> StageError {
    let is_lost = cause.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    let damaged =
        |what| StageError::Damaged { number, reason: format!("{} {what}", path.display()) };
    match cause.kind() {
        io::ErrorKind::NotFound => damaged("is gone".to_owned()),
        _ if is_lost => damaged(format!("cannot be read: {cause}")),
        _ => io_error("read", path, cause),
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path, cause: io::Error) -> StageError {
    StageError::Io { action, path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// What is taken for damage costs a replica.
    #[test]
    fn only_what_the_disk_has_lost_is_damage() {
        let found = |errno: Errno| {
            let cause = io::Error::from_raw_os_error(errno.raw_os_error());
            unreadable(7, Path::new("snap/7/raw.block"), cause)
        };
        for errno in [Errno::NOENT, Errno::IO] {
            let error = found(errno);
            assert!(matches!(error, StageError::Damaged { number: 7, .. }), "{errno:?}: {error}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC, Errno::ACCESS] {
            let error = found(errno);
            assert!(matches!(error, StageError::Io { action: "read", .. }), "{errno:?}: {error}");
        }
    }
}
