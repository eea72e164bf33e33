//! What a playground that keeps its data remembers beside it, so that the next start goes on with the same settings.

use std::{collections::BTreeMap, fs, io, ops::RangeInclusive, path::Path};

use flotilla_base::{ByteSize, Label};
use flotilla_store::config::SplitLimits;
use serde::{Deserialize, Serialize};

use super::{descriptor::write_whole, plan::STORES_MAX};
use crate::{catalogue, fault::Fault};

/// The file in the playground's directory. There is none where nothing was ever said.
const FILE: &str = "playground.json";
/// The form of its content.
const SCHEMA: &str = "flotilla.playground.kept/0";
/// How many zones there can be.
const ZONES: RangeInclusive<u16> = 1..=STORES_MAX;

/// Settings that were said once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Kept {
    /// Bytes that regions are split at; `None` for the usual size.
    pub region_size_bytes: Option<u64>,
    /// Zones that the stores are dealt out to; `None` for the usual number.
    pub zones: Option<u16>,
    /// Labels of stores beside their zone, by the names of the nodes.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    schema: String,
    playground: Kept,
}

impl Kept {
    /// What the playground in `data` remembers.
    ///
    /// # Errors
    /// The file cannot be read, or says what makes no sense. It is left as it is.
    pub(super) fn read(data: &Path) -> Result<Self, Fault> {
        let path = data.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(cause) => {
                return Err(Fault::io(format!("cannot read {}", path.display()), &cause));
            }
        };
        Self::from_json(&text).map_err(|why| {
            let text = format!("{} makes no sense; nothing was started", path.display());
            Fault::new(&catalogue::BAD_CONFIG, text).why(why).hint(
                "delete it: the stores have the usual size of regions, three zones and no other labels then",
            )
        })
    }

    /// Remembers this for the playground in `data`.
    pub(super) fn write(&self, data: &Path) -> Result<(), Fault> {
        let path = data.join(FILE);
        let written = write_whole(&path, &self.to_json());
        written.map_err(|cause| Fault::io(format!("cannot write {}", path.display()), &cause))
    }

    /// The size that regions are split at, where it is not the usual one.
    pub(super) fn region_size(&self) -> Option<ByteSize> {
        self.region_size_bytes.map(ByteSize)
    }

    fn to_json(&self) -> String {
        let value = serde_json::json!({"schema": SCHEMA, "playground": self});
        format!("{value}\n")
    }

    fn from_json(text: &str) -> Result<Self, String> {
        let content: Content = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if content.schema != SCHEMA {
            return Err(format!("it has the form {:?}, and {SCHEMA:?} is known", content.schema));
        }
        let kept = content.playground;
        kept.region_size().map_or(Ok(()), SplitLimits::check_size)?;
        if kept.zones.is_some_and(|zones| !ZONES.contains(&zones)) {
            return Err(format!("there can be from {} to {} zones", ZONES.start(), ZONES.end()));
        }
        for (name, value) in kept.labels.values().flatten() {
            Label::new(name, value).map_err(|error| error.to_string())?;
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    fn kept() -> Kept {
        let disk = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
        Kept {
            region_size_bytes: Some(4 << 20),
            zones: Some(2),
            labels: BTreeMap::from([("store-4".to_owned(), disk)]),
        }
    }

    #[test]
    fn what_is_remembered_is_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = || Kept::read(directory.path());
        assert_eq!(read().expect("there is none"), Kept::default());
        kept().write(directory.path()).expect("written");
        assert_eq!(read().expect("our own form"), kept());
    }

    #[test]
    fn what_makes_no_sense_is_told_with_a_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let good = kept().to_json();
        for (from, to, part) in [
            ("kept/0", "kept/1", "kept/0\\\" is known"),
            ("4194304", "4194", "at least 1MiB"),
            ("\"zones\":2", "\"zones\":0", "from 1 to 64"),
            ("ssd", "s d", "' ' is not allowed"),
            ("zones", "zone", "unknown field"),
        ] {
            assert!(good.contains(from), "{good}");
            fs::write(directory.path().join(FILE), good.replacen(from, to, 1)).expect("written");
            let fault = Kept::read(directory.path()).expect_err("it makes no sense").to_json();
            assert_eq!(fault["error"]["code"], "FLT-1006");
            let part = serde_json::from_str::<String>(&format!("\"{part}\"")).expect("a text");
            assert!(
                fault["error"]["why"].as_str().is_some_and(|why| why.contains(&part)),
                "{fault}"
            );
        }
    }

    proptest! {
        /// People may write into it.
        #[test]
        fn damaged_memories_are_refused_or_mean_themselves(
            bytes in damaged(Just(kept().to_json().into_bytes())),
        ) {
            match Kept::from_json(&String::from_utf8_lossy(&bytes)) {
                Ok(kept) => prop_assert_eq!(Kept::from_json(&kept.to_json()), Ok(kept)),
                Err(why) => prop_assert!(!why.is_empty()),
            }
        }
    }
}
