//! Which keys there are, and what form their values have: on a command line, and in TOML.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use flotilla_base::ByteSize;
use toml::de::DeValue;

/// The settings of one kind of node.
#[derive(Debug)]
pub struct Schema {
    /// Every key there is. A dot stands between a section and its key.
    pub keys: &'static [(&'static str, Form)],
    /// First words of keys that people look for here, and where they belong instead.
    pub elsewhere: &'static [(&'static str, &'static str)],
}

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

impl Schema {
    pub(super) fn known(&self, key: &str) -> Option<(&'static str, Form)> {
        self.keys.iter().copied().find(|(known, _)| *known == key)
    }

    /// Whether keys lie below this one.
    pub(super) fn is_section(&self, key: &str) -> bool {
        let is_below =
            |known: &str| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        self.keys.iter().any(|(known, _)| is_below(known))
    }

    /// Why there is no such key, and what may have been meant.
    pub(super) fn why_unknown(&self, key: &str) -> String {
        let first = key.split('.').next().unwrap_or(key);
        let elsewhere = self.elsewhere.iter().find(|(word, _)| *word == first);
        if let Some((_, place)) = elsewhere {
            (*place).to_owned()
        } else if let Some(similar) = self.most_similar(key) {
            format!("did you mean \"{similar}\"?")
        } else {
            format!("possible are {}", self.neighbours(first).join(", "))
        }
    }

    /// The keys of a section; where there is none of this name, those of none, and the sections.
    fn neighbours(&self, section: &str) -> Vec<String> {
        let names = self.keys.iter().map(|(key, _form)| *key);
        if self.is_section(section) {
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
    fn most_similar(&self, key: &str) -> Option<&'static str> {
        const TYPOS_MAX: usize = 3;
        let keys = self.keys.iter().map(|(known, _)| *known);
        let sections = keys.clone().filter_map(|known| known.split_once('.').map(|pair| pair.0));
        let nearest = keys.chain(sections).map(|known| (distance(key, known), known)).min()?;
        (nearest.0 <= TYPOS_MAX.min(key.len() / 2)).then_some(nearest.1)
    }
}

impl Form {
    /// What a refused value should have been.
    pub(super) const fn demand(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes is needed, e.g. \"info\"",
            Self::Flag => "true or false is needed, without quotes",
            Self::Count => "a whole number is needed, e.g. 4",
            Self::Size => "a size needs a unit, e.g. \"8MiB\"",
            Self::Address => "an address needs an IP and a port, e.g. \"127.0.0.1:20160\"",
            Self::List => "a list of texts is needed, e.g. [\"127.0.0.1:2379\"]",
            Self::Table => {
                "names with texts are needed, e.g. { zone = \"z1\" }, or --label zone=z1"
            }
        }
    }

    pub(super) fn read(self, value: &DeValue<'_>) -> Option<Setting> {
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
    pub(super) fn read_flag(self, text: &str) -> Option<Setting> {
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
fn read_address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?));
    }
    text.parse().ok()
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
