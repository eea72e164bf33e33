//! The settings, each with its name, its range and what it does.
//!
//! A setting has one place: the table at the end of this file, by which it is listed, read, changed and recorded. Only
//! what differs from the usual value is recorded, so that a usual value may change with the program.

use flotilla_base::Span;

use super::{
    Policy,
    store::check_label,
    text::{duration_text, parse_duration, scaled},
};

/// What is common to all stores and regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much may be under way at once.
    pub limits: Limits,
    /// Which faults of regions are mended.
    pub repairs: Repairs,
    /// How labels say where a store is.
    pub locations: Locations,
    /// A store that has been silent for longer is not waited for: its replicas are made elsewhere.
    pub max_store_down: Span,
    /// A store of whose disk more than this is used takes no more replicas, thousandths.
    pub low_space_permille: u32,
    /// Whether nothing is decided: neither repair nor balance. What people order is done all the same.
    pub is_halted: bool,
}

/// How much may be under way at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transfers of leads for balance.
    pub leader: u32,
    /// Moves of replicas for balance.
    pub region: u32,
    /// Repairs.
    pub replica: u32,
    /// Moves of load.
    pub hot_region: u32,
    /// Copies on their way to one store.
    pub copies_per_store: u32,
    /// Peers that may come to one store, or leave it, in a minute.
    pub store_peers_per_minute: u32,
}

/// Which faults of regions are mended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of the public protocol, each by itself"
)]
pub struct Repairs {
    /// A region with too few replicas gets another one.
    pub makes_up: bool,
    /// A region with too many loses one.
    pub removes_extra: bool,
    /// A replica on a store that is down is made anew elsewhere.
    pub replaces_down: bool,
    /// A replica on a store that leaves is made anew elsewhere.
    pub replaces_offline: bool,
    /// A replica moves where labels or rules want it.
    pub relocates: bool,
}

/// How labels say where a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    /// Keys of labels, the widest place first: region, zone, host.
    pub labels: Vec<String>,
    /// No two replicas of a region are in one place of this kind, even if there is nowhere else; empty for "as far apart
    /// as can be". One of `labels`.
    pub isolation: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits {
                leader: 8,
                region: 16,
                replica: 16,
                hot_region: 4,
                copies_per_store: 4,
                store_peers_per_minute: 1_000,
            },
            repairs: Repairs {
                makes_up: true,
                removes_extra: true,
                replaces_down: true,
                replaces_offline: true,
                relocates: true,
            },
            locations: Locations::default(),
            max_store_down: Span::from_millis(30 * 60_000),
            low_space_permille: 800,
            is_halted: false,
        }
    }
}

/// A store that is started again is back within less.
const MAX_STORE_DOWN_MIN: Span = Span::from_millis(10_000);

/// Why a setting is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingRefusal {
    /// There is none of that name.
    #[error("there is no setting {name:?}{}", hint.as_ref().map_or_else(String::new, |hint| format!(": did you mean {hint:?}?")))]
    Unknown {
        /// The name.
        name: String,
        /// A name that is near.
        hint: Option<&'static str>,
    },
    /// Its value cannot be that.
    #[error("{name} cannot be {value:?}: {possible}")]
    Value {
        /// The setting.
        name: &'static str,
        /// The value.
        value: String,
        /// What is possible.
        possible: String,
    },
}

/// One setting.
struct Entry {
    /// With its section, as tools of the public protocol know it.
    name: &'static str,
    value: Value,
}

/// What a setting is.
enum Value {
    /// A number.
    Count(fn(&mut Settings) -> &mut u32),
    /// On or off.
    Flag(fn(&mut Settings) -> &mut bool),
    /// Something else: what is possible, for people; what it is; and how it is set, `None` where that is not possible.
    Other(&'static str, fn(&Policy) -> String, fn(&mut Policy, &str) -> Option<()>),
}

impl Entry {
    const fn possible(&self) -> &'static str {
        match &self.value {
            Value::Count(_) => "a number from 0 to 100000 is possible; 0 allows none",
            Value::Flag(_) => "true and false are possible",
            Value::Other(possible, _, _) => possible,
        }
    }

    fn get(&self, policy: &Policy) -> String {
        match &self.value {
            Value::Count(field) => field(&mut policy.settings.clone()).to_string(),
            Value::Flag(field) => field(&mut policy.settings.clone()).to_string(),
            Value::Other(_, get, _) => get(policy),
        }
    }

    fn set(&self, policy: &mut Policy, text: &str) -> Option<()> {
        match &self.value {
            Value::Count(field) => *field(&mut policy.settings) = count(text, COUNT_MAX)?,
            Value::Flag(field) => *field(&mut policy.settings) = flag(text)?,
            Value::Other(_, _, set) => set(policy, text)?,
        }
        debug_assert!(policy.max_replicas > 0, "a region has a replica");
        Some(())
    }
}

impl Policy {
    /// Every setting with its value, by name.
    #[must_use]
    pub fn list(&self) -> Vec<(&'static str, String)> {
        ENTRIES.iter().map(|entry| (entry.name, entry.get(self))).collect()
    }

    /// The settings whose value is not the usual one, by name.
    #[must_use]
    pub fn changed(&self) -> Vec<(&'static str, String)> {
        let usual = Self::default();
        let is_changed = |entry: &&Entry| entry.get(self) != entry.get(&usual);
        ENTRIES.iter().filter(is_changed).map(|entry| (entry.name, entry.get(self))).collect()
    }

    /// What may be said of a setting, by name: what is possible, and the usual value.
    #[must_use]
    pub fn describe() -> Vec<(&'static str, &'static str, String)> {
        let usual = Self::default();
        let describe = |entry: &Entry| (entry.name, entry.possible(), entry.get(&usual));
        ENTRIES.iter().map(describe).collect()
    }

    /// Changes one setting. Its name may leave the section out.
    ///
    /// # Errors
    /// [`SettingRefusal`]; nothing has changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingRefusal> {
        let entry = entry(name)?;
        let mut changed = self.clone();
        let refuse = |possible: String| SettingRefusal::Value {
            name: entry.name,
            value: value.to_owned(),
            possible,
        };
        let set = entry.set(&mut changed, value.trim());
        set.ok_or_else(|| refuse(entry.possible().to_owned()))?;
        let Locations { labels, isolation } = &changed.settings.locations;
        if !isolation.is_empty() && !labels.contains(isolation) {
            let labels =
                if labels.is_empty() { "none is set".to_owned() } else { labels.join(",") };
            return Err(refuse(format!(
                "isolation-level is {isolation:?} then, which must be one of location-labels ({labels})"
            )));
        }
        *self = changed;
        Ok(())
    }
}

fn entry(name: &str) -> Result<&'static Entry, SettingRefusal> {
    let is_it = |entry: &&Entry| {
        let bare = entry.name.split_once('.').map_or(entry.name, |(_, bare)| bare);
        entry.name == name || bare == name
    };
    let found = ENTRIES.iter().find(is_it);
    found.ok_or_else(|| SettingRefusal::Unknown { name: name.to_owned(), hint: near(name) })
}

/// A setting that shares its beginning or its end with `name`.
fn near(name: &str) -> Option<&'static str> {
    let bare = name.rsplit('.').next().unwrap_or(name);
    let shared = |entry: &Entry| {
        let own = entry.name.rsplit('.').next().unwrap_or(entry.name);
        let front = own.bytes().zip(bare.bytes()).take_while(|(a, b)| a == b).count();
        let back = own.bytes().rev().zip(bare.bytes().rev()).take_while(|(a, b)| a == b).count();
        front + back
    };
    let best = ENTRIES.iter().max_by_key(|entry| shared(entry))?;
    (2 * shared(best) > bare.len()).then_some(best.name)
}

fn count(text: &str, most: u32) -> Option<u32> {
    text.parse().ok().filter(|count| *count <= most)
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A share as a decimal number from 0 to 1 with at most three digits behind its point, in thousandths.
fn share(text: &str) -> Option<u32> {
    let permille = scaled(text, 1_000)?;
    u32::try_from(permille).ok().filter(|share| *share <= 1_000)
}

fn share_text(permille: u32) -> String {
    format!("{}", f64::from(permille) / 1_000.0)
}

fn labels(text: &str) -> Option<Vec<String>> {
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
    let keys: Vec<String> = keys.map(str::to_owned).collect();
    let is_new = |(at, key): (usize, &String)| !keys.iter().take(at).any(|other| other == key);
    let are_fine = keys.iter().all(|key| check_label(key, "any").is_ok())
        && keys.iter().enumerate().all(is_new);
    are_fine.then_some(keys)
}

const COUNT_MAX: u32 = 100_000;

const fn number(name: &'static str, field: fn(&mut Settings) -> &mut u32) -> Entry {
    Entry { name, value: Value::Count(field) }
}

const fn switch(name: &'static str, field: fn(&mut Settings) -> &mut bool) -> Entry {
    Entry { name, value: Value::Flag(field) }
}

/// All of them, by name.
static ENTRIES: [Entry; 17] = [
    Entry {
        name: "replication.isolation-level",
        value: Value::Other(
            "one of location-labels is possible, or nothing",
            |policy| policy.settings.locations.isolation.clone(),
            |policy, text| {
                text.clone_into(&mut policy.settings.locations.isolation);
                Some(())
            },
        ),
    },
    Entry {
        name: "replication.location-labels",
        value: Value::Other(
            "keys of labels are possible, the widest place first, with commas between: region,zone,host",
            |policy| policy.settings.locations.labels.join(","),
            |policy, text| labels(text).map(|labels| policy.settings.locations.labels = labels),
        ),
    },
    Entry {
        name: "replication.max-replicas",
        value: Value::Other(
            "a number from 1 to 7 is possible",
            |policy| policy.max_replicas.to_string(),
            |policy, text| {
                count(text, 7).filter(|count| *count > 0).map(|count| policy.max_replicas = count)
            },
        ),
    },
    number("schedule.copies-per-store-limit", |settings| &mut settings.limits.copies_per_store),
    switch("schedule.enable-location-replacement", |settings| &mut settings.repairs.relocates),
    switch("schedule.enable-make-up-replica", |settings| &mut settings.repairs.makes_up),
    switch("schedule.enable-remove-down-replica", |settings| &mut settings.repairs.replaces_down),
    switch("schedule.enable-remove-extra-replica", |settings| &mut settings.repairs.removes_extra),
    switch("schedule.enable-replace-offline-replica", |settings| {
        &mut settings.repairs.replaces_offline
    }),
    switch("schedule.halt-scheduling", |settings| &mut settings.is_halted),
    number("schedule.hot-region-schedule-limit", |settings| &mut settings.limits.hot_region),
    number("schedule.leader-schedule-limit", |settings| &mut settings.limits.leader),
    Entry {
        name: "schedule.low-space-ratio",
        value: Value::Other(
            "a number from 0 to 1 is possible",
            |policy| share_text(policy.settings.low_space_permille),
            |policy, text| share(text).map(|share| policy.settings.low_space_permille = share),
        ),
    },
    Entry {
        name: "schedule.max-store-down-time",
        value: Value::Other(
            "a duration of at least 10s is possible, such as 30m or 1h30m",
            |policy| duration_text(policy.settings.max_store_down),
            |policy, text| {
                let span = parse_duration(text).filter(|span| *span >= MAX_STORE_DOWN_MIN)?;
                policy.settings.max_store_down = span;
                Some(())
            },
        ),
    },
    number("schedule.region-schedule-limit", |settings| &mut settings.limits.region),
    number("schedule.replica-schedule-limit", |settings| &mut settings.limits.replica),
    number("schedule.store-limit", |settings| &mut settings.limits.store_peers_per_minute),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_listed_by_name_and_set_as_they_are_listed() {
        let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        let mut policy = Policy::default();
        for (name, value) in Policy::default().list() {
            assert_eq!(policy.set(name, &value), Ok(()), "{name}");
        }
        assert_eq!(policy, Policy::default());
        assert_eq!(policy.changed(), []);
    }

    #[test]
    fn what_differs_is_what_was_changed() {
        let mut policy = Policy::default();
        policy.set("max-store-down-time", "10s").expect("possible");
        policy.set("schedule.low-space-ratio", "0.85").expect("possible");
        policy.set("location-labels", "zone, host").expect("possible");
        policy.set("isolation-level", "zone").expect("possible");
        policy.set("halt-scheduling", "true").expect("possible");
        let changed = policy.changed();
        let shown: Vec<String> = changed.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            shown,
            [
                "replication.isolation-level=zone",
                "replication.location-labels=zone,host",
                "schedule.halt-scheduling=true",
                "schedule.low-space-ratio=0.85",
                "schedule.max-store-down-time=10s",
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let mut policy = Policy::default();
        let refusals = [
            ("leader-schedule-limit", "-1"),
            ("leader-schedule-limit", "100001"),
            ("max-replicas", "0"),
            ("max-replicas", "8"),
            ("halt-scheduling", "yes"),
            ("low-space-ratio", "1.1"),
            ("low-space-ratio", "NaN"),
            ("max-store-down-time", "10"),
            ("max-store-down-time", "9s"),
            ("location-labels", "zone,zone"),
            ("location-labels", "zone,a b"),
            ("isolation-level", "rack"),
        ];
        for (name, value) in refusals {
            let refusal = policy.set(name, value).expect_err(name);
            assert!(matches!(refusal, SettingRefusal::Value { .. }), "{refusal}");
        }
        assert_eq!(policy, Policy::default());
        let text = |name| policy.clone().set(name, "1").expect_err("unknown").to_string();
        assert_eq!(
            text("leader-schedule-limits"),
            "there is no setting \"leader-schedule-limits\": did you mean \"schedule.leader-schedule-limit\"?"
        );
        assert_eq!(text("xyz"), "there is no setting \"xyz\"");
        policy.set("location-labels", "zone").expect("possible");
        policy.set("isolation-level", "zone").expect("possible");
        let refusal = policy.set("location-labels", "host").expect_err("zone is needed");
        assert_eq!(
            refusal.to_string(),
            "replication.location-labels cannot be \"host\": isolation-level is \"zone\" then, which must be one of \
             location-labels (host)"
        );
    }
}
