//! Disks that can be filled, slowed down and cut from their power: file systems of their own, in namespaces
//! whose end unmounts them.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What a disk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ext4 on a loop device: it can lose its power.
    Loop,
    /// Memory: it can only be full.
    Memory,
}

const LOOP_BYTES: u64 = 768 << 20;
const MEMORY_BYTES: u64 = 192 << 20;
/// The journal commits only where somebody syncs: nothing may become durable by waiting.
const LOOP_OPTIONS: &str = "loop,noatime,commit=3600";
const BALLAST: &str = "ballast";

/// A mounted disk.
#[derive(Debug)]
pub(crate) struct Volume {
    kind: Kind,
    image: PathBuf,
    directory: PathBuf,
}

/// Runs a command of the system; what went wrong otherwise.
pub(crate) fn system(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    let errors = || format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or_else(errors)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

impl Volume {
    /// A new disk at `directory`.
    pub(crate) fn create(kind: Kind, directory: &Path) -> Result<Self, String> {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let (directory, image) = (directory.to_owned(), directory.with_extension("image"));
        if kind == Kind::Loop {
            let file = File::create(&image).map_err(|error| error.to_string())?;
            file.set_len(LOOP_BYTES).map_err(|error| error.to_string())?;
            // Nothing may be reserved for root, and nothing written later in the background.
            let options = "lazy_itable_init=0,lazy_journal_init=0";
            system(&["mkfs.ext4", "-q", "-F", "-m", "0", "-E", options, text(&image)])?;
        }
        let volume = Self { kind, image, directory };
        volume.mount()?;
        Ok(volume)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn mount(&self) -> Result<(), String> {
        let directory = text(&self.directory);
        match self.kind {
            Kind::Loop => system(&["mount", "-o", LOOP_OPTIONS, text(&self.image), directory]),
            Kind::Memory => {
                let size = format!("size={MEMORY_BYTES}");
                system(&["mount", "-t", "tmpfs", "-o", &size, "none", directory])
            }
        }
    }

    /// Whoever uses it must be gone.
    pub(crate) fn unmount(&self) -> Result<(), String> {
        system(&["umount", text(&self.directory)])
    }

    /// Whether nothing can be written to it any more.
    pub(crate) fn is_dead(&self) -> bool {
        let probe = self.directory.join("probe");
        let written = File::create(&probe).and_then(|mut file| {
            file.write_all(b"x")?;
            file.sync_all()
        });
        let _cannot_be_there = fs::remove_file(probe);
        written.is_err()
    }

    /// Free bytes.
    pub(crate) fn available(&self) -> u64 {
        let volume = statvfs(&self.directory).expect("it is mounted");
        volume.f_bavail * volume.f_frsize
    }

    /// Fills it but for `left` bytes.
    pub(crate) fn fill(&self, left: u64) -> Result<(), String> {
        let ballast =
            File::create(self.directory.join(BALLAST)).map_err(|error| error.to_string())?;
        let bytes = self.available().saturating_sub(left);
        let filled = fallocate(&ballast, FallocateFlags::empty(), 0, bytes);
        filled.map_err(|error| error.to_string())
    }

    /// Takes the ballast away.
    pub(crate) fn free(&self) {
        let _is_there = fs::remove_file(self.directory.join(BALLAST));
    }

    /// The numbers of its device, `major:minor`.
    pub(crate) fn device(&self) -> Option<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let place = text(&self.directory);
        let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some(place))?;
        line.split(' ').nth(2).map(str::to_owned)
    }

    /// Bytes of all files of write-ahead logs on it.
    pub(crate) fn log_bytes(&self) -> u64 {
        log_bytes(&self.directory)
    }
}

fn log_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let bytes = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => log_bytes(&path),
        Some(extension) if extension == "log" => fs::metadata(&path).map_or(0, |it| it.len()),
        _ => 0,
    };
    entries.filter_map(|entry| Some(bytes(entry.ok()?.path()))).sum()
}
