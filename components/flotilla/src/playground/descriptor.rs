//! The note that a running playground leaves for the other commands of the same user.

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Where a playground is reached, and who it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    /// What the user called it.
    pub name: Option<String>,
    /// Its process.
    pub pid: u32,
    /// When that process was started, in ticks since the machine's start: process ids are used again.
    pub start_ticks: u64,
    /// Where it takes commands.
    pub socket: PathBuf,
    /// Addresses of its placement driver.
    pub pd: Vec<String>,
    /// Its stores.
    pub stores: Vec<StoreAddresses>,
    /// Its data.
    pub data: PathBuf,
    /// Its logs.
    pub log: PathBuf,
}

/// Where one store is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoreAddresses {
    /// `store-1`, and so on.
    pub name: String,
    /// For clients and other stores.
    pub address: String,
    /// For metrics and health.
    pub status: String,
}

/// A note that is there until this is dropped.
#[derive(Debug)]
pub(crate) struct Published {
    path: PathBuf,
    socket: PathBuf,
}

impl Drop for Published {
    fn drop(&mut self) {
        // A note that stays is recognised as stale by the next reader.
        let _stays = fs::remove_file(&self.path);
        let _stays = fs::remove_file(&self.socket);
    }
}

impl Descriptor {
    /// The name for people.
    pub(crate) fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("playground \"{name}\""),
            None => format!("playground at {}", self.pd.join(",")),
        }
    }

    /// The directory of all notes of this user; made where it is missing.
    pub(crate) fn directory() -> io::Result<PathBuf> {
        let path = match env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => Path::new(&dir).join("flotilla"),
            None => {
                let user = rustix::process::getuid().as_raw();
                env::temp_dir().join(format!("flotilla-of-user-{user}"))
            }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        // In a directory that all may write to, somebody else may have been there first.
        if fs::metadata(&path)?.uid() != rustix::process::getuid().as_raw() {
            let text = format!("{} belongs to another user", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(path)
    }

    /// Leaves the note; whoever reads it sees it whole.
    pub(crate) fn publish(&self) -> io::Result<Published> {
        Ok(Published { path: self.write()?, socket: self.socket.clone() })
    }

    /// Writes the note, in place of an earlier one of this process.
    pub(super) fn write(&self) -> io::Result<PathBuf> {
        let path = Self::directory()?.join(format!("{}.json", self.pid));
        write_whole(&path, &self.to_json())?;
        Ok(path)
    }

    /// The note as text.
    pub(crate) fn to_json(&self) -> String {
        let value = serde_json::json!({"schema": "flotilla.playground/0", "playground": self});
        format!("{value}\n")
    }

    fn from_json(text: &str) -> Option<Self> {
        let mut value: serde_json::Value = serde_json::from_str(text).ok()?;
        serde_json::from_value(value["playground"].take()).ok()
    }

    /// The playgrounds of this user that are alive. Notes of dead ones are removed.
    pub(crate) fn living() -> Vec<Self> {
        let Ok(entries) = Self::directory().and_then(fs::read_dir) else { return Vec::new() };
        let mut living = Vec::new();
        for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let note = fs::read_to_string(&path).ok().and_then(|text| Self::from_json(&text));
            match note {
                Some(note) if start_ticks(note.pid) == Some(note.start_ticks) => living.push(note),
                Some(note) => drop(Published { path, socket: note.socket }),
                // Not ours, or being written by a newer program: left alone.
                None => {}
            }
        }
        living.sort_by_key(|note| note.pid);
        living
    }
}

/// Writes a file so that no reader ever sees a part of it.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(&new, path)
}

/// When a process was started; `None` where there is none.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in parentheses and may hold anything.
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    fn note() -> Descriptor {
        let text = String::from;
        let store = StoreAddresses {
            name: text("store-1"),
            address: text("127.0.0.1:20160"),
            status: text("127.0.0.1:20180"),
        };
        Descriptor {
            name: Some(text("two \"words\"")),
            pid: 1,
            start_ticks: u64::MAX,
            socket: "s".into(),
            pd: vec![text("127.0.0.1:2379")],
            stores: vec![store],
            data: "d".into(),
            log: "l".into(),
        }
    }

    proptest! {
        /// Another program of the same user may have written it.
        #[test]
        fn damaged_notes_are_left_alone_or_understood(
            bytes in damaged(Just(note().to_json().into_bytes())),
        ) {
            if let Some(note) = Descriptor::from_json(&String::from_utf8_lossy(&bytes)) {
                let again = Descriptor::from_json(&note.to_json()).expect("our own form");
                prop_assert_eq!(again.to_json(), note.to_json());
                prop_assert!(note.title().starts_with("playground"));
            }
        }
    }

    #[test]
    fn a_note_is_read_back_and_a_process_is_recognised() {
        let pid = std::process::id();
        let note = Descriptor {
            name: None,
            pid,
            start_ticks: start_ticks(pid).expect("this process lives"),
            socket: "s".into(),
            pd: vec!["127.0.0.1:2379".to_owned()],
            stores: Vec::new(),
            data: "d".into(),
            log: "l".into(),
        };
        let read = Descriptor::from_json(&note.to_json()).expect("our own form");
        assert_eq!((read.pid, read.start_ticks), (pid, note.start_ticks));
        assert!(Descriptor::from_json("{}").is_none() && Descriptor::from_json("x").is_none());
        assert_eq!(start_ticks(u32::MAX), None);
    }
}
