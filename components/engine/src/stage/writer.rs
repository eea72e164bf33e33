//! Writes one stage: pairs in order, then everything is made durable at once.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange};
use rocksdb::SstFileWriter;

use super::{
    MANIFEST, Stage, StageError, StageTotals, Stages, file_name, io_error, look_at,
    manifest::{Manifest, StagedFamily, encode_block},
    room::Share,
};
use crate::data_dir::sync_directory;

/// From so many bytes of keys and values on, a family is written as tables.
const BLOCK_BYTES_MAX: u64 = 2 << 20;
/// A table ends behind the pair that makes it so large.
const TABLE_BYTES: u64 = 64 << 20;

/// A stage that is being written. Removes what it wrote unless it comes to [`StageWriter::finish`].
pub struct StageWriter<'a> {
    stages: &'a Stages,
    number: u64,
    range: KeyRange,
    /// Where the files are until they are whole.
    dir: PathBuf,
    open: Option<OpenFamily<'a>>,
    families: Vec<StagedFamily>,
    /// What is set aside for the rest of it.
    share: Share<'a>,
    is_finished: bool,
}

/// The family whose pairs come now.
struct OpenFamily<'a> {
    family: Family,
    last: Key,
    pairs: u64,
    bytes: u64,
    body: Body<'a>,
    tables: usize,
    /// Bytes of the tables that are closed.
    closed_bytes: u64,
}

enum Body<'a> {
    /// What came so far is small.
    Block(Vec<(Key, Bytes)>),
    /// Between two tables.
    Closed,
    Table(SstFileWriter<'a>),
}

impl<'a> StageWriter<'a> {
    pub(super) fn begin(
        (stages, share): (&'a Stages, Share<'a>),
        number: u64,
        range: KeyRange,
    ) -> Result<Self, StageError> {
        let dir = stages.unfinished_path(number);
        fs::create_dir(&dir).map_err(|cause| io_error("create", &dir, cause))?;
        let (open, families) = (None, Vec::new());
        Ok(Self { stages, number, range, dir, open, families, share, is_finished: false })
    }

    /// Appends a pair: families in the order of [`Family::DATA`], the keys of each upwards.
    ///
    /// # Errors
    /// [`StageError::Refused`] for a pair out of order or out of range; [`StageError::NoSpace`] or
    /// [`StageError::TooLarge`] where it grows too large; [`StageError::Table`] or [`StageError::Io`] where the disk fails
    /// or is full. The stage is to be dropped then.
    pub fn put(&mut self, family: Family, key: Key, value: Bytes) -> Result<(), StageError> {
        let place = |family| Family::DATA.iter().position(|it| *it == family);
        if place(family).is_none() {
            return Err(StageError::Refused("data of this family"));
        }
        if !self.range.contains(&key) {
            return Err(StageError::Refused("a key outside of its range"));
        }
        match &self.open {
            Some(open) if open.family == family => {
                if key <= open.last {
                    return Err(StageError::Refused("keys out of order"));
                }
            }
            Some(open) if place(open.family) > place(family) => {
                return Err(StageError::Refused("families out of order"));
            }
            _ => {
                self.close_family()?;
                self.open = Some(OpenFamily::new(family));
            }
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.put(key, value, (&self.dir, self.stages))?;
        self.share.grow(self.disk_bytes())
    }

    /// What the files take, about.
    fn disk_bytes(&self) -> u64 {
        let files = self.families.iter().flat_map(|family| &family.files);
        let closed: u64 = files.map(|file| file.length).sum();
        closed + self.open.as_ref().map_or(0, OpenFamily::disk_bytes)
    }

    /// What was put so far.
    #[must_use]
    pub fn totals(&self) -> StageTotals {
        let open = self.open.iter().map(|it| (it.pairs, it.bytes));
        let closed = self.families.iter().map(|it| (it.pairs, it.bytes));
        let add = |all: StageTotals, (pairs, bytes)| StageTotals {
            pairs: all.pairs + pairs,
            bytes: all.bytes + bytes,
        };
        closed.chain(open).fold(StageTotals::default(), add)
    }

    /// Makes the stage whole and durable.
    ///
    /// # Errors
    /// [`StageError::Table`] or [`StageError::Io`]; nothing is left of it then, or nothing that counts.
    pub fn finish(mut self) -> Result<Stage, StageError> {
        self.close_family()?;
        let (number, range) = (self.number, self.range.clone());
        let families = std::mem::take(&mut self.families);
        let manifest = Manifest { number, range, families };
        write_durably(&self.dir.join(MANIFEST), &manifest.encode())?;
        let sync = |dir: &Path| sync_directory(dir).map_err(|cause| io_error("sync", dir, cause));
        sync(&self.dir)?;
        let path = self.stages.path(number);
        fs::rename(&self.dir, &path).map_err(|cause| io_error("rename", &self.dir, cause))?;
        self.is_finished = true;
        if let Err(error) = sync(&self.stages.dir) {
            // It may be there after a power cut, and nobody is told so.
            let _next_start_finds_it = self.stages.remove(number);
            return Err(error);
        }
        let Manifest { range, families, .. } = manifest;
        Ok(Stage { number, dir: path, range, families })
    }

    fn close_family(&mut self) -> Result<(), StageError> {
        if let Some(open) = self.open.take() {
            self.families.push(open.close(&self.dir)?);
        }
        Ok(())
    }
}

impl Drop for StageWriter<'_> {
    fn drop(&mut self) {
        // Open tables first.
        self.open = None;
        if !self.is_finished {
            // What cannot be removed now goes at the next start.
            let _next_start_tries_again = fs::remove_dir_all(&self.dir);
        }
    }
}

impl<'a> OpenFamily<'a> {
    const fn new(family: Family) -> Self {
        let body = Body::Block(Vec::new());
        Self { family, last: Key::new(), pairs: 0, bytes: 0, body, tables: 0, closed_bytes: 0 }
    }

    fn put(
        &mut self,
        key: Key,
        value: Bytes,
        (dir, stages): (&Path, &'a Stages),
    ) -> Result<(), StageError> {
        self.last = key.clone();
        self.pairs += 1;
        self.bytes += (key.len() + value.len()) as u64;
        if let Body::Block(pairs) = &mut self.body {
            pairs.push((key, value));
            if self.bytes < BLOCK_BYTES_MAX {
                return Ok(());
            }
            let pairs = std::mem::take(pairs);
            self.body = Body::Closed;
            return pairs
                .iter()
                .try_for_each(|(key, value)| self.put_into_table(key, value, (dir, stages)));
        }
        self.put_into_table(&key, &value, (dir, stages))
    }

    fn put_into_table(
        &mut self,
        key: &[u8],
        value: &[u8],
        (dir, stages): (&Path, &'a Stages),
    ) -> Result<(), StageError> {
        if !matches!(self.body, Body::Table(_)) {
            self.tables += 1;
            let table = SstFileWriter::create(&stages.tables);
            table.open(dir.join(file_name(self.family, Some(self.tables)))).map_err(table_error)?;
            self.body = Body::Table(table);
        }
        let Body::Table(table) = &mut self.body else { return Ok(()) };
        table.put(key, value).map_err(table_error)?;
        if table.file_size() >= TABLE_BYTES {
            table.finish().map_err(table_error)?;
            self.closed_bytes += table.file_size();
            self.body = Body::Closed;
        }
        Ok(())
    }

    /// What it takes on disk, or will once it is closed.
    fn disk_bytes(&self) -> u64 {
        match &self.body {
            Body::Block(_) => self.bytes,
            Body::Closed => self.closed_bytes,
            Body::Table(table) => self.closed_bytes + table.file_size(),
        }
    }

    fn close(mut self, dir: &Path) -> Result<StagedFamily, StageError> {
        let mut names = Vec::new();
        let is_block = match &mut self.body {
            Body::Block(pairs) => {
                names.push(file_name(self.family, None));
                write_durably(&dir.join(&names[0]), &encode_block(pairs))?;
                true
            }
            Body::Closed => false,
            Body::Table(table) => {
                table.finish().map_err(table_error)?;
                false
            }
        };
        names.extend((1..=self.tables).map(|number| file_name(self.family, Some(number))));
        let mut files = Vec::new();
        for name in names {
            let path = dir.join(name);
            // RocksDB has synced its tables; the name says nothing about that, so it is done here, too.
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|cause| io_error("sync", &path, cause))?;
            files.push(look_at(&path).map_err(|cause| io_error("read", &path, cause))?);
        }
        let Self { family, pairs, bytes, .. } = self;
        Ok(StagedFamily { family, is_block, pairs, bytes, files })
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StageError> {
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|cause| io_error("write", path, cause))
}

fn table_error(cause: rocksdb::Error) -> StageError {
    StageError::Table(cause.to_string())
}
