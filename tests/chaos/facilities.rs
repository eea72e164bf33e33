//! What this machine allows, asked before anything is tried: one line for each facility, and never silence
//! about what is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    cage::{CAGE, MARK},
    common::say,
    network,
    shim::Tools,
    throttle,
    volume::{Kind, Volume},
};

/// Namespaces that a run can have for itself: with their end all processes, mounts, loop devices and interfaces
/// in them are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cage {
    /// Made by root.
    Root,
    /// Made by anybody, with a namespace of users around it: no loop devices.
    User,
    None,
}

/// Namespaces of mounts, networks and processes; the first process in them ends with whoever made them.
const NAMESPACES: [&str; 6] =
    ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
const USERS: [&str; 2] = ["--user", "--map-root-user"];

/// What faults can be made of.
#[derive(Clone, Debug)]
pub(crate) struct Facilities {
    /// Whether the network of each node is its own.
    pub(crate) namespaces: bool,
    /// Disks that can be full, and lose their power.
    pub(crate) disk: Option<Kind>,
    pub(crate) tools: Option<Tools>,
    /// Whether disks can be slowed down for a process.
    pub(crate) throttle: bool,
    /// The name of what namespaces do not remove.
    pub(crate) mark: String,
}

impl Cage {
    /// What a program inside is told.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::None => "none",
        }
    }

    /// The cage of this name.
    pub(crate) fn named(name: &str) -> Self {
        [Self::Root, Self::User].into_iter().find(|cage| cage.name() == name).unwrap_or(Self::None)
    }

    /// The best that can be had; `FLOTILLA_CHAOS_CAGE` asks for less.
    pub(crate) fn find() -> Self {
        let works = |cage: &Self| {
            // A network of its own is of use only where its loopback can be opened.
            let mut command = cage.command(&["ip", "link", "set", "lo", "up"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let all = [Self::Root, Self::User];
        let wanted = env::var(CAGE).map_or(Self::Root, |name| Self::named(&name));
        let less = all.into_iter().skip_while(|cage| *cage != wanted);
        less.into_iter().find(works).unwrap_or(Self::None)
    }

    /// A command that runs inside, and ends with the thread that starts it.
    pub(crate) fn command(self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if self != Self::None {
            command.arg("unshare").args(NAMESPACES);
        }
        if self == Self::User {
            command.args(USERS);
        }
        command.args(words);
        command
    }
}

impl Facilities {
    /// Asks the machine; `directory` is for trials.
    pub(crate) fn probe(cage: Cage, directory: &Path) -> Self {
        let mark = env::var(MARK).expect("whoever starts a run marks it");
        let tools = Tools::compile(directory);
        Self {
            namespaces: cage != Cage::None,
            disk: if cage == Cage::None { None } else { disk(directory, tools.as_ref()) },
            throttle: throttle::is_possible(&mark),
            tools,
            mark,
        }
    }

    /// One line for each facility.
    pub(crate) fn show(&self, cage: Cage) {
        let is_root = rustix::process::getuid().is_root();
        let power = self.disk == Some(Kind::Loop);
        let rows = [
            ("root", is_root && cage == Cage::Root, "namespaces of users, if there are any"),
            ("namespaces", cage != Cage::None, "nodes share the network; proxies cut it"),
            (
                "network: veth, routing rules",
                cage != Cage::None && lines(),
                "proxies cut the network",
            ),
            ("loop device, ext4, power switch", power, "SKIP: no disk loses its power"),
            ("disk that can be full", self.disk.is_some(), "SKIP: no disk is ever full"),
            ("C compiler, preloaded library", self.tools.is_some(), "SKIP: no sync fails"),
            ("blkio control group (version 1)", self.throttle, "the library makes syncs late"),
            ("SIGSTOP", true, ""),
        ];
        for (name, is_there, otherwise) in rows {
            let answer = if is_there { "yes" } else { "no" };
            let otherwise = if is_there { "" } else { otherwise };
            say(format!("chaos: facility {name:<34} {answer:<4} {otherwise}").trim_end());
        }
        say("chaos: SKIP: counters: there is no compare-and-swap to build them from");
    }
}

/// Whether lines between namespaces can be laid: tried in a cage of its own, which takes them away again.
fn lines() -> bool {
    network::is_possible().inspect_err(|error| say(&format!("chaos: {error}"))).is_ok()
}

/// The best kind of disk that works, tried on a small one.
fn disk(directory: &Path, tools: Option<&Tools>) -> Option<Kind> {
    let place = |name: &str| -> PathBuf { directory.join(name) };
    let is_killed = |volume: &Volume| {
        let was_alive = !volume.is_dead();
        let cut = tools.is_some_and(|tools| tools.cut_power(&[volume.directory().to_owned()]));
        was_alive && cut && volume.is_dead()
    };
    let attempt = |kind: Kind, name: &str| {
        let volume = Volume::create(kind, &place(name)).ok()?;
        let works = kind == Kind::Memory || is_killed(&volume);
        let unmounted = volume.unmount().is_ok();
        let _trial = fs::remove_dir_all(place(name));
        (works && unmounted).then_some(kind)
    };
    attempt(Kind::Loop, "trial-loop").or_else(|| attempt(Kind::Memory, "trial-memory"))
}
