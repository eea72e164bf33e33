//! What the C compiler adds: the library between a node and its syncs, and the power switch of a file system.
//!
//! The library is steered, and asked what it did, through a file that both sides see.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Size of the control file, and the places in it: the struct of `shim.c`.
const SIZE: u64 = 128;
const MODE: u64 = 0;
const DELAY_MILLIS: u64 = 4;
const PROCESS: u64 = 8;
const HITS: u64 = 12;
const PART: u64 = 16;
const PART_SIZE: usize = 112;

/// Programs that were compiled for this run.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    library: PathBuf,
    power: PathBuf,
}

/// What becomes of a sync.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sync {
    /// It is done.
    Honest,
    /// It is not done, and fails.
    Fails,
    /// It is done later.
    Late(Duration),
    /// It is not done, and nobody is told.
    Lies,
}

/// The library of one node.
#[derive(Debug)]
pub(crate) struct Shim {
    path: PathBuf,
    control: File,
}

impl Tools {
    /// Compiles them into `directory`. `None` where there is no compiler.
    pub(crate) fn compile(directory: &Path) -> Option<Self> {
        let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/chaos"));
        let compile = |source: &str, output: &str, flags: &[&str]| {
            let output = directory.join(output);
            let mut command = Command::new("cc");
            command.args(["-O1", "-Wall"]).args(flags).arg("-o").arg(&output);
            let done = command.arg(sources.join(source)).arg("-ldl").status();
            done.is_ok_and(|status| status.success()).then_some(output)
        };
        let library = compile("shim.c", "shim.so", &["-shared", "-fPIC"])?;
        Some(Self { library, power: compile("power.c", "power", &[])? })
    }

    /// Cuts the power of the file systems that are mounted at `directories`, one right after the other.
    pub(crate) fn cut_power(&self, directories: &[PathBuf]) -> bool {
        Command::new(&self.power).args(directories).status().is_ok_and(|status| status.success())
    }
}

impl Shim {
    /// A library that does nothing yet, steered by a new file at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        let mut options = OpenOptions::new();
        let control = options.read(true).write(true).create(true).truncate(true).open(&path);
        let control = control.expect("a file");
        control.set_len(SIZE).expect("a small file");
        Self { path, control }
    }

    /// What a node needs around it to load the library of `tools`.
    pub(crate) fn environment(&self, tools: &Tools) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD".to_owned(), text(&tools.library)),
            ("CHAOS_SHIM".to_owned(), text(&self.path)),
        ]
    }

    /// From now on this becomes of syncs of files whose paths contain `part`; the count starts anew.
    pub(crate) fn set(&self, sync: Sync, part: &str) {
        let (mode, delay) = match sync {
            Sync::Honest => (0, Duration::ZERO),
            Sync::Fails => (1, Duration::ZERO),
            Sync::Late(delay) => (2, delay),
            Sync::Lies => (3, Duration::ZERO),
        };
        let mut selector = [0; PART_SIZE];
        selector[..part.len()].copy_from_slice(part.as_bytes());
        self.write(MODE, &0_u32.to_ne_bytes());
        self.write(PART, &selector);
        self.write(HITS, &0_u32.to_ne_bytes());
        let millis = u32::try_from(delay.as_millis()).expect("short");
        self.write(DELAY_MILLIS, &millis.to_ne_bytes());
        self.write(MODE, &u32::to_ne_bytes(mode));
    }

    /// How many syncs were changed since [`Shim::set`].
    pub(crate) fn hits(&self) -> u32 {
        self.read(HITS)
    }

    /// The process that has loaded it last.
    pub(crate) fn process(&self) -> u32 {
        self.read(PROCESS)
    }

    fn write(&self, place: u64, bytes: &[u8]) {
        self.control.write_all_at(bytes, place).expect("a small file");
    }

    fn read(&self, place: u64) -> u32 {
        let mut bytes = [0; 4];
        self.control.read_exact_at(&mut bytes, place).expect("a small file");
        u32::from_ne_bytes(bytes)
    }
}
