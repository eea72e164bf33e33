//! What a file and flags say: keys that exist, values of the right form. Nothing is interpreted yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
};

use flotilla_base::ByteSize;
use toml::de::{DeTable, DeValue};

use super::{
    StoreConfig,
    problem::{BAD_CONFIG, ConfigError, EXPOSED, Place, Problem},
};

/// The form of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count,
    /// A number and a unit, as text.
    Size,
    /// IP and port, as text.
    Address,
    /// A list of texts; one text with commas on a command line.
    List,
    /// Names with texts; `name=text,…` on a command line.
    Table,
}

/// Every key there is.
pub const KEYS: [(&str, Form); 24] = [
    ("data-dir", Form::Text),
    ("pd", Form::List),
    ("labels", Form::Table),
    ("advertise", Form::Text),
    ("insecure", Form::Flag),
    ("listen.client", Form::Address),
    ("listen.status", Form::Address),
    ("storage.block-cache", Form::Size),
    ("storage.memtable", Form::Size),
    ("storage.log-memtable", Form::Size),
    ("storage.open-files", Form::Count),
    ("storage.background-jobs", Form::Count),
    ("storage.min-free-disk", Form::Size),
    ("server.runtime-threads", Form::Count),
    ("server.raft-threads", Form::Count),
    ("server.apply-threads", Form::Count),
    ("server.read-threads", Form::Count),
    ("server.write-memory", Form::Size),
    ("server.answer-memory", Form::Size),
    ("region.split-size", Form::Size),
    ("region.split-keys", Form::Count),
    ("region.snapshot-rate", Form::Size),
    ("log.level", Form::Text),
    ("log.file", Form::Text),
];

/// First words of settings that belong to the cluster as a whole.
const CLUSTER_SETTINGS: [&str; 3] = ["schedule", "replication", "max-replicas"];

/// A value of the right form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Text(String),
    Flag(bool),
    Count(u64),
    Size(ByteSize),
    Address(SocketAddr),
    List(Vec<String>),
    Table(BTreeMap<String, String>),
}

#[derive(Clone, Debug)]
struct Located {
    setting: Setting,
    place: Option<Place>,
}

/// Settings that were said, and what was wrong with saying them.
#[derive(Clone, Debug)]
pub struct RawConfig {
    source: String,
    settings: BTreeMap<&'static str, Located>,
    /// Keys whose value was refused: they are not missing.
    refused: BTreeSet<&'static str>,
    problems: Vec<Problem>,
}

impl RawConfig {
    /// Nothing said yet; `source` names where the settings come from.
    #[must_use]
    pub fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            settings: BTreeMap::new(),
            refused: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Reads TOML. What is wrong with it is kept for [`RawConfig::resolve`].
    #[must_use]
    pub fn parse(source: &str, text: &str) -> Self {
        let mut raw = Self::new(source);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = error.span().map(|span| Place::of(text, span.start));
            raw.problem(place, "no TOML".to_owned(), error.message().to_owned());
        }
        raw.read_table("", table.get_ref(), text);
        raw
    }

    /// Says a setting by a flag; wins over the file.
    pub fn set(&mut self, key: &str, text: &str) {
        let Some((key, form)) = known(key) else {
            return self.unknown(key, None);
        };
        match form.read_flag(text) {
            Some(setting) => {
                self.settings.insert(key, Located { setting, place: None });
            }
            None => self.refuse(key, form, None, &format!("{text:?}")),
        }
    }

    fn read_table(&mut self, prefix: &str, table: &DeTable<'_>, text: &str) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let at = |span: std::ops::Range<usize>| Some(Place::of(text, span.start));
            match (known(&key), value.get_ref()) {
                (Some((key, form)), found) => match form.read(found) {
                    Some(setting) => {
                        let place = at(value.span());
                        self.settings.insert(key, Located { setting, place });
                    }
                    None => {
                        let shown = text.get(value.span()).unwrap_or_default();
                        self.refuse(key, form, at(value.span()), shown);
                    }
                },
                (None, DeValue::Table(inner)) if is_section(&key) => {
                    self.read_table(&format!("{key}."), inner, text);
                }
                (None, _) => self.unknown(&key, at(name.span())),
            }
        }
    }

    fn unknown(&mut self, key: &str, place: Option<Place>) {
        let first = key.split('.').next().unwrap_or(key);
        let why = if CLUSTER_SETTINGS.contains(&first) {
            "a setting of the cluster, not of a store: it is given to the placement driver".into()
        } else if let Some(similar) = most_similar(key) {
            format!("did you mean \"{similar}\"?")
        } else {
            format!("possible are {}", neighbours(first).join(", "))
        };
        self.problem(place, format!("unknown key \"{key}\""), why);
    }

    fn refuse(&mut self, key: &'static str, form: Form, place: Option<Place>, shown: &str) {
        self.refused.insert(key);
        self.problem(place, format!("{key} = {shown}"), form.demand().to_owned());
    }

    fn problem(&mut self, place: Option<Place>, what: String, why: String) {
        self.problems.push(Problem { place, what, why, code: BAD_CONFIG });
    }

    pub(super) fn missing(&mut self, key: &str, why: &str) {
        self.problem(None, key.to_owned(), why.to_owned());
    }

    pub(super) fn wrong(&mut self, key: &str, value: &str, why: &str) {
        let place = self.place(key);
        self.problem(place, format!("{key} = {value:?}"), why.to_owned());
    }

    pub(super) fn exposed(&mut self, key: &str, value: &str) {
        let why = "not a loopback address, and connections are not encrypted: listen on loopback, \
                   or set insecure = true";
        let (place, what) = (self.place(key), format!("{key} = {value:?}"));
        self.problems.push(Problem { place, what, why: why.to_owned(), code: EXPOSED });
    }

    /// Whether a value was given and refused.
    pub(super) fn is_refused(&self, key: &str) -> bool {
        self.refused.contains(key)
    }

    fn place(&self, key: &str) -> Option<Place> {
        self.settings.get(key).and_then(|located| located.place)
    }

    fn setting(&self, key: &str) -> Option<&Setting> {
        debug_assert!(known(key).is_some(), "{key} is no key");
        self.settings.get(key).map(|located| &located.setting)
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.setting(key)? {
            Setting::Text(text) => Some(text.clone()),
            _other_form => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.setting(key)? {
            Setting::Flag(flag) => Some(*flag),
            _other_form => None,
        }
    }

    pub(super) fn size(&self, key: &str) -> Option<ByteSize> {
        match self.setting(key)? {
            Setting::Size(size) => Some(*size),
            _other_form => None,
        }
    }

    pub(super) fn address(&self, key: &str) -> Option<SocketAddr> {
        match self.setting(key)? {
            Setting::Address(address) => Some(*address),
            _other_form => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        match self.setting(key) {
            Some(Setting::List(list)) => list.clone(),
            _other_form => Vec::new(),
        }
    }

    pub(super) fn table(&self, key: &str) -> BTreeMap<String, String> {
        match self.setting(key) {
            Some(Setting::Table(table)) => table.clone(),
            _other_form => BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, key: &str, allowed: RangeInclusive<u32>) -> Option<u32> {
        let Some(Setting::Count(count)) = self.setting(key) else { return None };
        let count = *count;
        let fitting = u32::try_from(count).ok().filter(|count| allowed.contains(count));
        if fitting.is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            let why = format!("between {least} and {most} are possible");
            let place = self.place(key);
            self.problem(place, format!("{key} = {count}"), why);
        }
        fitting
    }

    /// `host:port` from `host`, `host:port` or `http://host:port`.
    pub(super) fn endpoint(&mut self, key: &str, text: &str, port: u16) -> Option<String> {
        let plain = text.strip_prefix("http://").unwrap_or(text);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        let (host, has_port) = match plain.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host, true),
            Some(_no_port) => ("", false),
            None => (plain, false),
        };
        if host.is_empty() || host.contains(['/', ' ']) {
            self.wrong(key, text, "host and port are needed, e.g. \"127.0.0.1:2379\"");
            return None;
        }
        Some(if has_port { plain.to_owned() } else { format!("{plain}:{port}") })
    }

    /// The end of resolving: `config`, if nothing was wrong.
    pub(super) fn into_result(mut self, config: StoreConfig) -> Result<StoreConfig, ConfigError> {
        if self.problems.is_empty() {
            return Ok(config);
        }
        // What is missing has no place and comes last.
        self.problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
        Err(ConfigError { source: self.source, problems: self.problems })
    }
}

impl Form {
    /// What a refused value should have been.
    const fn demand(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes is needed",
            Self::Flag => "true or false is needed",
            Self::Count => "a whole number is needed",
            Self::Size => "a size needs a unit, e.g. \"8MiB\"",
            Self::Address => "an address needs an IP and a port, e.g. \"127.0.0.1:20180\"",
            Self::List => "a list of texts is needed, e.g. [\"127.0.0.1:2379\"]",
            Self::Table => {
                "names with texts are needed, e.g. { zone = \"z1\" }, or --label zone=z1"
            }
        }
    }

    fn read(self, value: &DeValue<'_>) -> Option<Setting> {
        match self {
            Self::Text => value.as_str().map(|text| Setting::Text(text.to_owned())),
            Self::Flag => value.as_bool().map(Setting::Flag),
            Self::Count => {
                let number = value.as_integer()?;
                u64::from_str_radix(number.as_str(), number.radix()).ok().map(Setting::Count)
            }
            Self::Size | Self::Address => self.read_flag(value.as_str()?),
            Self::List => {
                let texts = value.as_array()?.iter();
                let texts = texts.map(|text| text.get_ref().as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map(Setting::List)
            }
            Self::Table => {
                let pairs = value.as_table()?.iter().map(|(name, text)| {
                    let text = text.get_ref().as_str()?;
                    Some((name.get_ref().as_ref().to_owned(), text.to_owned()))
                });
                pairs.collect::<Option<_>>().map(Setting::Table)
            }
        }
    }

    /// The value in the form of a command line.
    fn read_flag(self, text: &str) -> Option<Setting> {
        match self {
            Self::Text => Some(Setting::Text(text.to_owned())),
            Self::Flag => text.parse().ok().map(Setting::Flag),
            Self::Count => text.parse().ok().map(Setting::Count),
            Self::Size => text.parse().ok().map(Setting::Size),
            Self::Address => read_address(text).map(Setting::Address),
            Self::List => {
                let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
                Some(Setting::List(texts.map(str::to_owned).collect()))
            }
            Self::Table => {
                let pairs = text.split(',').filter(|text| !text.trim().is_empty()).map(|pair| {
                    let (name, text) = pair.split_once('=')?;
                    Some((name.trim().to_owned(), text.trim().to_owned()))
                });
                pairs.collect::<Option<_>>().map(Setting::Table)
            }
        }
    }
}

/// IP and port. Names are not looked up, since what a name means may change between two starts; only `localhost` is
/// known.
#[must_use]
pub fn read_address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?));
    }
    text.parse().ok()
}

fn known(key: &str) -> Option<(&'static str, Form)> {
    KEYS.iter().copied().find(|(known, _)| *known == key)
}

/// Whether keys lie below this one.
fn is_section(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

/// The keys of a section; where there is none of this name, those of none, and the sections.
fn neighbours(section: &str) -> Vec<String> {
    let names = KEYS.iter().map(|(key, _form)| *key);
    if is_section(section) {
        let inside = |name: &&str| name.split_once('.').is_some_and(|pair| pair.0 == section);
        return names.filter(inside).map(str::to_owned).collect();
    }
    let mut found: Vec<String> = names
        .map(|name| match name.split_once('.') {
            Some((section, _key)) => format!("{section}.…"),
            None => name.to_owned(),
        })
        .collect();
    found.dedup();
    found
}

/// The key or section that was probably meant.
fn most_similar(key: &str) -> Option<&'static str> {
    const TYPOS_MAX: usize = 3;
    let sections = KEYS.iter().filter_map(|(known, _)| known.split_once('.').map(|pair| pair.0));
    let candidates = KEYS.iter().map(|(known, _)| *known).chain(sections);
    let nearest = candidates.map(|known| (distance(key, known), known)).min()?;
    (nearest.0 <= TYPOS_MAX.min(key.len() / 2)).then_some(nearest.1)
}

/// How many letters must be changed, put in or taken out to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}
