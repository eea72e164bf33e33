//! Slow disks: a control group (version 1) that lets a process do only some operations a second.
//!
//! Groups are no part of a namespace. They carry the mark of the run, by which whoever started it removes them.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Where groups are.
pub(crate) const ROOT: &str = "/sys/fs/cgroup/blkio";

/// A process that is held back until this is dropped.
#[derive(Debug)]
pub(crate) struct Throttle {
    group: PathBuf,
    process: u32,
    /// Where the process was before.
    home: PathBuf,
}

/// The group of a process now.
fn home(process: u32) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.split_once(":blkio:")).map(|(_, path)| path)?;
    Some(Path::new(ROOT).join(path.trim_start_matches('/')))
}

fn group(mark: &str) -> PathBuf {
    Path::new(ROOT).join(mark)
}

/// Whether groups can be made.
pub(crate) fn is_possible(mark: &str) -> bool {
    let group = group(mark);
    let _may_exist = fs::create_dir(&group);
    group.join("blkio.throttle.write_iops_device").exists()
}

/// Removes the group with this mark.
pub(crate) fn remove(mark: &str) {
    let (group, deadline) = (group(mark), Instant::now() + Duration::from_secs(5));
    while group.exists() && fs::remove_dir(&group).is_err() && Instant::now() < deadline {
        // Processes that were killed leave it a moment later.
        thread::sleep(Duration::from_millis(20));
    }
}

impl Throttle {
    /// Lets `process` write so many times a second to `device`.
    pub(crate) fn new(mark: &str, process: u32, device: &str, writes: u32) -> Result<Self, String> {
        let group = group(mark);
        let home = home(process).ok_or("the process is in no group")?;
        let _may_exist = fs::create_dir(&group);
        let write = |file: &str, text: String| {
            fs::write(group.join(file), text).map_err(|error| format!("{file}: {error}"))
        };
        write("blkio.throttle.write_iops_device", format!("{device} {writes}"))?;
        write("cgroup.procs", process.to_string())?;
        Ok(Self { group, process, home })
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // What already waits goes on at once only in a group without a limit.
        let limits = fs::read_to_string(self.group.join("blkio.throttle.write_iops_device"));
        for line in limits.unwrap_or_default().lines() {
            let device = line.split(' ').next().unwrap_or_default();
            let lifted = format!("{device} 0");
            let _gone = fs::write(self.group.join("blkio.throttle.write_iops_device"), lifted);
        }
        let _ended = fs::write(self.home.join("cgroup.procs"), self.process.to_string());
    }
}
