//! Logging of the process, set up once by the binary: to standard error, or to a file that stays small.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// A log file is put aside when it would grow beyond this.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Number of files kept, the one being written included.
const FILES: usize = 3;

/// Level and place of a process's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or levels by target: `info,flotilla_store=debug`.
    pub level: String,
    /// The file; standard error where there is none.
    pub file: Option<PathBuf>,
}

impl Default for LogConfig {
    /// What every node tells, to standard error.
    fn default() -> Self {
        Self { level: "info".to_owned(), file: None }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is neither a level nor a filter such as `info,flotilla_store=debug`.
    #[error("log level {level:?} is not understood: {reason}")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log file cannot be opened.
    #[error("log file {path} cannot be opened", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Logging has been set up in this process before.
    #[error("logging is set up already")]
    Already,
}

/// Sends the events of this process from `level` on to `file`, or to standard error where there is none.
///
/// A file is rotated at 64 MiB (`log`, `log.1`, `log.2`), and opened anew when somebody moved it away.
///
/// # Errors
/// See [`LoggingError`].
pub fn init_logging(level: &str, file: Option<&Path>) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(level).map_err(|error| LoggingError::Level {
        level: level.to_owned(),
        reason: error.to_string(),
    })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let set = match file {
        None => subscriber.with_writer(io::stderr).finish().try_init(),
        Some(path) => {
            let file = RotatingFile::open(path, FILE_BYTES_MAX)
                .map_err(|source| LoggingError::File { path: path.to_owned(), source })?;
            subscriber.with_writer(Mutex::new(file)).finish().try_init()
        }
    };
    // The error says no more than that there is a subscriber already.
    set.map_err(|_already| LoggingError::Already)
}

/// Appends to a file and puts it aside when it is full.
struct RotatingFile {
    path: PathBuf,
    bytes_max: u64,
    file: File,
    bytes: u64,
}

impl RotatingFile {
    fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let (file, bytes) = open_to_append(path)?;
        Ok(Self { path: path.to_owned(), bytes_max, file, bytes })
    }

    /// Goes on in a fresh file if this one is full, and in a new one of the same name if it was moved away.
    fn prepare(&mut self, more: u64) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + more > self.bytes_max {
            for number in (1..FILES).rev() {
                let from = if number == 1 { self.path.clone() } else { self.aside(number - 1) };
                match fs::rename(from, self.aside(number)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        } else if self.is_in_place() {
            return Ok(());
        }
        (self.file, self.bytes) = open_to_append(&self.path)?;
        Ok(())
    }

    fn is_in_place(&self) -> bool {
        match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            _ => false,
        }
    }

    fn aside(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for RotatingFile {
    /// Appends one event. Where rotation fails, the event goes to the file that is open: a line too many in an old
    /// file is better than a lost one.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(event.len()).unwrap_or(u64::MAX);
        let prepared = self.prepare(length);
        self.file.write_all(event)?;
        self.bytes += length;
        prepared.map(|()| event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open_to_append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).expect("readable")
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("logs/store.log");
        let mut file = RotatingFile::open(&path, 10).expect("opens");
        for line in ["1234\n", "5678\n", "a\n", "bbbbbbbbbbbbbbbbb\n", "c\n", "d\n"] {
            file.write_all(line.as_bytes()).expect("written");
        }
        assert_eq!(read(&path), "c\nd\n");
        assert_eq!(read(&path.with_extension("log.1")), "bbbbbbbbbbbbbbbbb\n");
        assert_eq!(read(&path.with_extension("log.2")), "a\n");
        assert_eq!(fs::read_dir(path.parent().expect("a parent")).expect("listed").count(), 3);
    }

    #[test]
    fn a_file_is_continued_after_a_restart_and_reopened_when_moved_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        fs::write(&path, "old\n").expect("written");
        let mut file = RotatingFile::open(&path, 1000).expect("opens");
        file.write_all(b"new\n").expect("written");
        assert_eq!(read(&path), "old\nnew\n");
        fs::rename(&path, directory.path().join("taken")).expect("renamed");
        file.write_all(b"here\n").expect("written");
        fs::remove_file(&path).expect("removed");
        file.write_all(b"again\n").expect("written");
        assert_eq!((read(&path).as_str(), file.bytes), ("again\n", 6));
        assert_eq!(read(&directory.path().join("taken")), "old\nnew\n");
    }

    #[test]
    fn a_level_that_is_none_and_a_file_that_cannot_be_are_refused() {
        assert!(matches!(init_logging("flotilla=loud", None), Err(LoggingError::Level { .. })));
        let directory = tempfile::tempdir().expect("a directory");
        let refused = init_logging("info", Some(directory.path()));
        assert!(matches!(refused, Err(LoggingError::File { .. })));
    }
}
