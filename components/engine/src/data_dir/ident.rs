//! The file `ident`: what a data directory is, as text for people, with a checksum for us.
//!
//! ```text
//! flotilla data directory
//! format = 1
//! role = store
//! cluster = 7365293847562983745
//! store = 4
//! log-deletion = single-delete
//! incarnation = 12
//! checksum = 8d3f0a12          (CRC-32C of everything above, hexadecimal)
//! ```

use std::{
    fmt::{self, Write as _},
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    str::FromStr,
};

use flotilla_base::{ClusterId, Incarnation, StoreId};

use super::{DataDirError, Expect, create::sync_directory, error::io_error};
use crate::LogDeletion;

const IDENT_FILE: &str = "ident";
/// Written in full and synced, then renamed over the old one.
pub(super) const IDENT_FILE_NEW: &str = "ident.new";
const HEADING: &str = "flotilla data directory";
const CHECKSUM: &str = "checksum = ";
/// Far above any ident: a foreign file of this name is not read into memory.
const IDENT_BYTES_MAX: u64 = 4096;

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A store.
    Store,
    /// A member of the placement driver.
    Pd,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Pd => "pd",
        })
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "store" => Ok(Self::Store),
            "pd" => Ok(Self::Pd),
            _ => Err(()),
        }
    }
}

/// What a data directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// Format of everything in the directory.
    pub format_version: u32,
    /// Whose it is.
    pub role: Role,
    /// Its cluster; zero until it is known.
    pub cluster: ClusterId,
    /// Its store; zero until it is known, and for ever for a placement driver.
    pub store: StoreId,
    /// How log entries are removed.
    pub log_deletion: LogDeletion,
    /// How often the directory was opened.
    pub incarnation: Incarnation,
}

impl Ident {
    pub(super) fn new(expect: &Expect) -> Self {
        Self {
            format_version: expect.format_version,
            role: expect.role,
            cluster: ClusterId(0),
            store: StoreId(0),
            log_deletion: expect.log_deletion,
            incarnation: Incarnation(0),
        }
    }

    /// Reads the ident of `dir`; `None` where there is none.
    pub(super) fn load(dir: &Path, newest_known: u32) -> Result<Option<Self>, DataDirError> {
        let path = dir.join(IDENT_FILE);
        let bytes = match fs::metadata(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > IDENT_BYTES_MAX => Vec::new(),
            _ => fs::read(&path).map_err(|cause| io_error("read", &path, cause))?,
        };
        Self::from_bytes(dir, &bytes, newest_known).map(Some)
    }

    /// The ident of `dir` in the bytes of its file.
    fn from_bytes(dir: &Path, bytes: &[u8], newest_known: u32) -> Result<Self, DataDirError> {
        let damaged = |reason| DataDirError::DamagedIdent { path: dir.to_owned(), reason };
        let text = std::str::from_utf8(bytes).map_err(|_not_utf8| damaged("it is no text"))?;
        let body = checked_body(text).map_err(damaged)?;
        // The format comes before all other fields: a newer one may have other fields.
        let found = format_version(body).ok_or_else(|| damaged("its format is missing"))?;
        if found > newest_known {
            return Err(DataDirError::NewerFormat { path: dir.to_owned(), found, newest_known });
        }
        Self::parse(body, found).ok_or_else(|| damaged("a field is missing or makes no sense"))
    }

    /// Replaces the ident of `dir`, durable when it returns: after a crash the old one or the new one
    /// is there, whole.
    pub(super) fn save(&self, dir: &Path) -> Result<(), DataDirError> {
        let (path, new) = (dir.join(IDENT_FILE), dir.join(IDENT_FILE_NEW));
        let mut file = File::create(&new).map_err(|cause| io_error("create", &new, cause))?;
        let written = file.write_all(self.to_text().as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|cause| io_error("write", &new, cause))?;
        fs::rename(&new, &path).map_err(|cause| io_error("replace", &path, cause))?;
        // The rename itself is an entry of the directory, and is durable only with it.
        sync_directory(dir).map_err(|cause| io_error("sync", dir, cause))
    }

    fn to_text(&self) -> String {
        let mut text = format!("{HEADING}\n");
        let mut field = |name: &str, value: &dyn fmt::Display| {
            writeln!(text, "{name} = {value}").expect("writing to a string does not fail");
        };
        field("format", &self.format_version);
        field("role", &self.role);
        field("cluster", &self.cluster);
        field("store", &self.store);
        field("log-deletion", &self.log_deletion);
        field("incarnation", &self.incarnation);
        let checksum = crc32c::crc32c(text.as_bytes());
        writeln!(text, "{CHECKSUM}{checksum:08x}").expect("writing to a string does not fail");
        text
    }

    fn parse(body: &str, format_version: u32) -> Option<Self> {
        Some(Self {
            format_version,
            role: field(body, "role")?,
            cluster: ClusterId(field(body, "cluster")?),
            store: StoreId(field(body, "store")?),
            log_deletion: field(body, "log-deletion")?,
            // There is a run behind this one.
            incarnation: field(body, "incarnation")
                .filter(|run| *run < u64::MAX)
                .map(Incarnation)?,
        })
    }
}

fn checked_body(text: &str) -> Result<&str, &'static str> {
    let split = text.rfind(CHECKSUM).ok_or("its checksum is missing")?;
    let (body, last_line) = text.split_at(split);
    let stored = u32::from_str_radix(last_line[CHECKSUM.len()..].trim_end(), 16);
    if stored != Ok(crc32c::crc32c(body.as_bytes())) {
        return Err("its checksum does not fit");
    }
    if body.lines().next() != Some(HEADING) {
        return Err("its heading is wrong");
    }
    Ok(body)
}

fn format_version(body: &str) -> Option<u32> {
    field(body, "format").filter(|version| *version > 0)
}

fn field<T: FromStr>(body: &str, name: &str) -> Option<T> {
    let mut lines = body.lines().filter_map(|line| line.split_once(" = "));
    lines.find(|(found, _)| *found == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use flotilla_damage::{assert_canonical, damaged};
    use proptest::prelude::*;

    use super::*;

    /// What people could make of an ident.
    const TEXTS: &str = "flotilla data directory\nformat = [012]\nrole = (pd|store)\ncluster = [0-9]{1,19}\n\
        store = [0-9]{1,20}\nlog-deletion = (single-)?delete\nincarnation = [+]?[0-9]{1,20}\n";

    fn read(bytes: &[u8]) -> Result<Ident, DataDirError> {
        Ident::from_bytes(Path::new("d"), bytes, 1)
    }

    /// The text with a checksum that fits.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let checksum = format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(body));
        [body, checksum.as_bytes()].concat()
    }

    fn body(ident: &Ident) -> Vec<u8> {
        let text = ident.to_text();
        let (body, _checksum) = text.rsplit_once(CHECKSUM).expect("it ends with its checksum");
        body.as_bytes().to_vec()
    }

    prop_compose! {
        fn idents()(
            numbers: [u64; 2],
            incarnation in 0..u64::MAX,
            is_pd: bool,
            is_single_delete: bool,
        ) -> Ident {
            let [cluster, store] = numbers;
            Ident {
                format_version: 1,
                role: if is_pd { Role::Pd } else { Role::Store },
                cluster: ClusterId(cluster),
                store: StoreId(store),
                log_deletion: match is_single_delete {
                    true => LogDeletion::SingleDelete,
                    false => LogDeletion::Delete,
                },
                incarnation: Incarnation(incarnation),
            }
        }
    }

    #[test]
    fn the_last_number_of_a_run_is_never_reached() {
        let expect = Expect::of(Role::Store);
        let ident = Ident { incarnation: Incarnation(u64::MAX), ..Ident::new(&expect) };
        let refused = read(ident.to_text().as_bytes()).expect_err("no run could follow");
        assert!(matches!(refused, DataDirError::DamagedIdent { .. }), "{refused}");
    }

    proptest! {
        #[test]
        fn round_trip(ident in idents()) {
            prop_assert_eq!(read(ident.to_text().as_bytes()).expect("intact"), ident);
        }

        #[test]
        fn damaged_idents_are_refused_or_canonical(
            body in damaged(prop_oneof![
                idents().prop_map(|ident| body(&ident)),
                TEXTS.prop_map(String::into_bytes),
            ]),
            is_sealed: bool,
        ) {
            let bytes = if is_sealed { sealed(&body) } else { body };
            assert_canonical(&bytes, read, |ident| ident.to_text().into_bytes());
        }
    }
}
