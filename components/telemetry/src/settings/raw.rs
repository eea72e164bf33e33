//! What a file and flags say: keys that exist, values of the right form. Nothing is interpreted yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::RangeInclusive,
};

use flotilla_base::{ByteSize, address::with_port};
use toml::de::{DeTable, DeValue};

use super::{
    problem::{BAD_CONFIG, ConfigError, EXPOSED, Place, Problem},
    schema::{Form, Schema, Setting},
};

#[derive(Clone, Debug)]
struct Located {
    setting: Setting,
    place: Option<Place>,
}

/// Settings that were said, and what was wrong with saying them.
#[derive(Clone, Debug)]
pub struct RawConfig {
    schema: &'static Schema,
    source: String,
    settings: BTreeMap<&'static str, Located>,
    /// Keys whose value was refused: they are not missing.
    refused: BTreeSet<&'static str>,
    problems: Vec<Problem>,
}

impl RawConfig {
    /// Nothing said yet; `source` names where the settings come from.
    #[must_use]
    pub fn new(schema: &'static Schema, source: &str) -> Self {
        Self {
            schema,
            source: source.to_owned(),
            settings: BTreeMap::new(),
            refused: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Reads TOML. What is wrong with it is kept for [`RawConfig::into_result`].
    #[must_use]
    pub fn parse(schema: &'static Schema, source: &str, text: &str) -> Self {
        let mut raw = Self::new(schema, source);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = error.span().map(|span| Place::of(text, span.start));
            let why = format!("{}; a line looks like key = \"value\"", error.message());
            raw.problem(place, "no TOML".to_owned(), why);
        }
        raw.read_table("", table.get_ref(), text);
        raw
    }

    /// Says a setting by a flag; wins over the file.
    pub fn set(&mut self, key: &str, text: &str) {
        let Some((key, form)) = self.schema.known(key) else {
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
            match (self.schema.known(&key), value.get_ref()) {
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
                (None, DeValue::Table(inner)) if self.schema.is_section(&key) => {
                    self.read_table(&format!("{key}."), inner, text);
                }
                (None, _) => self.unknown(&key, at(name.span())),
            }
        }
    }

    fn unknown(&mut self, key: &str, place: Option<Place>) {
        let why = self.schema.why_unknown(key);
        self.problem(place, format!("unknown key \"{key}\""), why);
    }

    fn refuse(&mut self, key: &'static str, form: Form, place: Option<Place>, shown: &str) {
        self.refused.insert(key);
        self.problem(place, format!("{key} = {shown}"), form.demand().to_owned());
    }

    fn problem(&mut self, place: Option<Place>, what: String, why: String) {
        self.problems.push(Problem { place, what, why, code: BAD_CONFIG });
    }

    /// The text or list of this key is needed: a problem where it was not said at all.
    pub fn need(&mut self, key: &str, why: &str) {
        let is_empty = self.text(key).unwrap_or_default().is_empty() && self.list(key).is_empty();
        if is_empty && !self.is_refused(key) {
            self.problem(None, key.to_owned(), why.to_owned());
        }
    }

    /// The value of this key makes no sense together with the others; `shown` is how it was written.
    pub fn wrong(&mut self, key: &str, shown: &str, why: &str) {
        let place = self.place(key);
        self.problem(place, format!("{key} = {shown}"), why.to_owned());
    }

    /// The address to serve at, of which anybody in the network could make use unless that `is_insecure` is accepted.
    pub fn check_exposed(&mut self, key: &str, address: SocketAddr, is_insecure: bool) {
        if address.ip().is_loopback() || is_insecure {
            return;
        }
        let why = "not a loopback address, and connections are not encrypted: listen on loopback, \
                   or set insecure = true";
        let (place, what) = (self.place(key), format!("{key} = \"{address}\""));
        self.problems.push(Problem { place, what, why: why.to_owned(), code: EXPOSED });
    }

    /// `host:port` under which others reach the address that `listen` names. Where nothing is said, that is the
    /// address itself, unless it stands for all addresses of the machine.
    pub fn advertise(&mut self, key: &str, listen: (&str, SocketAddr)) -> Option<String> {
        let (listen_key, address) = listen;
        let said = self.text(key);
        if said.is_none() && !self.is_refused(key) && address.ip().is_unspecified() {
            let why = format!(
                "others cannot connect to this address: say with \"{key}\" how they reach it"
            );
            self.wrong(listen_key, &format!("\"{address}\""), &why);
        }
        said.and_then(|text| self.endpoint(key, &text, address.port()))
    }

    /// Whether a value was given and refused.
    fn is_refused(&self, key: &str) -> bool {
        self.refused.contains(key)
    }

    fn place(&self, key: &str) -> Option<Place> {
        self.settings.get(key).and_then(|located| located.place)
    }

    fn setting(&self, key: &str) -> Option<&Setting> {
        debug_assert!(self.schema.known(key).is_some(), "{key} is no key");
        self.settings.get(key).map(|located| &located.setting)
    }

    /// The text of a key; `None` where it was not said, or refused.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        match self.setting(key)? {
            Setting::Text(text) => Some(text.clone()),
            _other_form => None,
        }
    }

    /// The same for a flag.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.setting(key)? {
            Setting::Flag(flag) => Some(*flag),
            _other_form => None,
        }
    }

    /// The same for a size.
    #[must_use]
    pub fn size(&self, key: &str) -> Option<ByteSize> {
        match self.setting(key)? {
            Setting::Size(size) => Some(*size),
            _other_form => None,
        }
    }

    /// The same for an address.
    #[must_use]
    pub fn address(&self, key: &str) -> Option<SocketAddr> {
        match self.setting(key)? {
            Setting::Address(address) => Some(*address),
            _other_form => None,
        }
    }

    /// The same for a list, which is empty where it was not said.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.setting(key) {
            Some(Setting::List(list)) => list.clone(),
            _other_form => Vec::new(),
        }
    }

    /// The same for a table.
    #[must_use]
    pub fn table(&self, key: &str) -> BTreeMap<String, String> {
        match self.setting(key) {
            Some(Setting::Table(table)) => table.clone(),
            _other_form => BTreeMap::new(),
        }
    }

    /// The same for a whole number, which has to be one of `allowed`.
    pub fn count(&mut self, key: &str, allowed: RangeInclusive<u32>) -> Option<u32> {
        let Some(Setting::Count(count)) = self.setting(key) else { return None };
        let count = *count;
        let fitting = u32::try_from(count).ok().filter(|count| allowed.contains(count));
        if fitting.is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            let why = match least == most {
                true => format!("only {least} is possible"),
                false => format!("between {least} and {most} are possible, e.g. {most}"),
            };
            let place = self.place(key);
            self.problem(place, format!("{key} = {count}"), why);
        }
        fitting
    }

    /// `host:port` from `host`, `host:port` or `http://host:port`.
    pub fn endpoint(&mut self, key: &str, text: &str, port: u16) -> Option<String> {
        let endpoint = with_port(text, port);
        if endpoint.is_none() {
            let shown = format!("{text:?}");
            self.wrong(key, &shown, "host and port are needed, e.g. \"127.0.0.1:2379\"");
        }
        endpoint
    }

    /// The end of resolving: `config`, if nothing was wrong.
    ///
    /// # Errors
    /// Every problem, in the order of their places.
    pub fn into_result<T>(mut self, config: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() {
            return Ok(config);
        }
        // What is missing has no place and comes last.
        self.problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
        Err(ConfigError { source: self.source, problems: self.problems })
    }
}
