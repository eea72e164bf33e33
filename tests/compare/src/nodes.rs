//! Processes and directories that vanish with the value that stands for them.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How long a cluster may take to start or to stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often, and how far apart, the removal of a directory is tried.
const REMOVALS_MAX: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A directory that is removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(base: &Path) -> Result<Self> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("flotilla-compare-{}-{number}", process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The processes were killed, but those that they started follow a moment later, and may
        // write until then: one removal can meet a file that has just come.
        for _attempt in 0..REMOVALS_MAX {
            if fs::remove_dir_all(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(REMOVAL_PAUSE);
        }
    }
}

/// A loopback address of our own, so that comparisons and playgrounds do not meet.
pub(crate) fn own_host() -> Ipv4Addr {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed) % 250 + 2;
    let [.., high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, high.clamp(1, 254), low, u8::try_from(number).unwrap_or(2))
}

/// A process that is killed at the end, whatever the end is.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    log: PathBuf,
}

impl Node {
    /// Starts `command` with its output in a file.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let output = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let program = command.as_std().get_program().display().to_string();
        let spawned = command.kill_on_drop(true).spawn();
        Ok(Self { child: spawned.with_context(|| format!("cannot start {program}"))?, log })
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Fails with the end of the log where the process is no more.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("a process ended early with {status}:\n{}", tail.join("\n"))
    }

    /// Waits for the process to end by itself, then kills it.
    pub(crate) async fn end(mut self) -> Result<()> {
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }

    /// Kills the process and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill a process")
    }
}

/// Asks `question` until it has an answer; another program's start sends us no event.
pub(crate) async fn until<T>(
    what: &str,
    nodes: &mut [Node],
    mut question: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for node in nodes.iter_mut() {
            node.check()?;
        }
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(why) if Instant::now() > deadline => {
                return Err(why.context(format!("{what} took longer than {PATIENCE:?}")));
            }
            Err(_not_yet) => sleep(Duration::from_millis(50)).await,
        }
    }
}
