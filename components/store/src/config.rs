//! What a store is started with: [`StoreConfig`] is what the store uses, made of what a file and flags say
//! ([`RawConfig`]) and checked for meaning. All problems are told at once.
//!
//! Settings of the cluster as a whole (replicas, election times) are no business of a store's file.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use flotilla_base::{ByteSize, Label};
use flotilla_engine::{EngineOptions, MemtableOptions};
use flotilla_multiraft::MemoryBudget;
use flotilla_raftgroup::{LogLimits, Timing};
use flotilla_telemetry::{
    LogConfig,
    settings::{ConfigError, Form, RawConfig, Schema},
};
use serde_json::{Value, json};

pub use crate::split::{load::watch::LoadLimits, sizes::SplitLimits};
/// Port of a store for clients and other stores.
pub const SERVICE_PORT: u16 = 20160;
/// Port of a store for metrics, health and configuration.
pub const STATUS_PORT: u16 = 20180;
/// Port of a placement driver.
const PD_PORT: u16 = 2379;

/// The settings that a store has.
pub static SCHEMA: Schema = Schema {
    keys: &[
        ("data-dir", Form::Text),
        ("pd", Form::List),
        ("labels", Form::Table),
        ("advertise", Form::Text),
        ("insecure", Form::Flag),
        ("listen.client", Form::Address),
        ("listen.status", Form::Address),
        ("storage.api-version", Form::Count),
        ("storage.enable-ttl", Form::Flag),
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
        ("region.split-load-requests", Form::Count),
        ("region.split-load-bytes", Form::Size),
        ("region.snapshot-rate", Form::Size),
        ("memory.entry-cache", Form::Size),
        ("memory.apply-backlog", Form::Size),
        ("log.level", Form::Text),
        ("log.file", Form::Text),
    ],
    elsewhere: &[
        ("schedule", OF_THE_CLUSTER),
        ("replication", OF_THE_CLUSTER),
        ("max-replicas", OF_THE_CLUSTER),
    ],
};

const OF_THE_CLUSTER: &str =
    "a setting of the cluster, not of a store: it is given to the placement driver";

/// The version of TiKV's interface that is served: raw keys as they are.
const API_VERSION: u32 = 1;

/// Settings of one store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Directory that belongs to it alone.
    pub data_dir: PathBuf,
    /// Where clients and other stores connect.
    pub listen: SocketAddr,
    /// `host:port` under which they reach it; `None` for `listen`.
    pub advertise: Option<String>,
    /// Where metrics, health and configuration are served over HTTP.
    pub status_listen: SocketAddr,
    /// Whether addresses may be served that others can reach, though nothing is encrypted.
    pub is_insecure: bool,
    /// Members of the placement driver, each `host:port`; at least one.
    pub pd_endpoints: Vec<String>,
    /// Location and other properties, for placement.
    pub labels: BTreeMap<String, String>,
    /// Sizes of the database.
    pub engine: EngineOptions,
    /// Times that decide elections; equal on all stores of a cluster.
    pub timing: Timing,
    /// How many threads do what.
    pub threads: Threads,
    /// What bounds how much it takes on.
    pub limits: Limits,
    /// Where the process's log goes. For the binary: a store itself sets no logging up.
    pub log: LogConfig,
}

/// Sizes beyond which a store takes nothing on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Free space that must be there at the start.
    pub free_min: ByteSize,
    /// Bytes of writes in flight, over all regions, before new ones have to wait.
    pub write_memory: ByteSize,
    /// Bytes of what was read, over all clients, before new reads have to wait.
    pub answer_memory: ByteSize,
    /// How large a region grows before it is split.
    pub splits: SplitLimits,
    /// How much a region is asked for before it is split.
    pub load: LoadLimits,
    /// How much of its log a region keeps for members that lack it, before they need a snapshot.
    pub log: LogLimits,
    /// Bytes a second that leave this store as snapshots.
    pub snapshot_rate: ByteSize,
    /// What all of its regions keep in memory together.
    pub memory: MemoryBudget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            free_min: ByteSize::mib(256),
            write_memory: ByteSize::mib(256),
            answer_memory: ByteSize::mib(256),
            splits: SplitLimits::default(),
            load: LoadLimits::default(),
            log: LogLimits::default(),
            snapshot_rate: ByteSize::mib(100),
            memory: MemoryBudget::default(),
        }
    }
}

/// How many threads of each kind a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Network and requests.
    pub runtime: usize,
    /// Replicas: propose, append, vote.
    pub raft: usize,
    /// Committed entries.
    pub apply: usize,
    /// All reads.
    pub read: usize,
}

impl Threads {
    /// What fits a machine: replicas and appliers do little besides waiting for the log, and every thread
    /// more than needed costs switches.
    #[must_use]
    pub fn for_cores(cores: usize) -> Self {
        Self {
            runtime: (cores / 2).max(1),
            raft: (cores / 4).clamp(1, 4),
            apply: (cores / 4).clamp(1, 4),
            read: cores.max(2),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl StoreConfig {
    /// The usual settings of a store on loopback.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, pd_endpoints: Vec<String>) -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::new(loopback, SERVICE_PORT),
            advertise: None,
            status_listen: SocketAddr::new(loopback, STATUS_PORT),
            is_insecure: false,
            pd_endpoints,
            labels: BTreeMap::new(),
            engine: EngineOptions::default(),
            timing: Timing::default(),
            threads: Threads::for_cores(cores()),
            limits: Limits::default(),
            log: LogConfig::default(),
        }
    }

    /// `host:port` that is told to others.
    #[must_use]
    pub fn advertised(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }

    /// The settings in use, as the status server shows them: said in a file, they would make the same store. Tools read
    /// `storage.api-version` and `storage.enable-ttl`, which have one value each.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let memtable = |options: MemtableOptions| options.size.to_string();
        json!({
            "data-dir": self.data_dir,
            "pd": self.pd_endpoints,
            "labels": self.labels,
            "advertise": self.advertised(),
            "insecure": self.is_insecure,
            "listen": { "client": self.listen, "status": self.status_listen },
            "storage": {
                "api-version": API_VERSION,
                "enable-ttl": true,
                "block-cache": self.engine.block_cache.to_string(),
                "memtable": memtable(self.engine.data_memtables),
                "log-memtable": memtable(self.engine.log_memtables),
                "open-files": self.engine.open_files_max,
                "background-jobs": self.engine.background_jobs,
                "min-free-disk": self.limits.free_min.to_string(),
            },
            "server": {
                "runtime-threads": self.threads.runtime,
                "raft-threads": self.threads.raft,
                "apply-threads": self.threads.apply,
                "read-threads": self.threads.read,
                "write-memory": self.limits.write_memory.to_string(),
                "answer-memory": self.limits.answer_memory.to_string(),
            },
            "region": {
                "split-size": self.limits.splits.size.to_string(),
                "split-keys": self.limits.splits.keys,
                "split-load-requests": self.limits.load.requests,
                "split-load-bytes": self.limits.load.bytes.to_string(),
                "snapshot-rate": self.limits.snapshot_rate.to_string(),
            },
            "memory": {
                "entry-cache": size(self.limits.memory.cached_bytes).to_string(),
                "apply-backlog": size(self.limits.memory.backlog_bytes).to_string(),
            },
            "log": { "level": self.log.level, "file": self.log.file },
        })
    }

    /// Checks what the settings of `raw`, which has [`SCHEMA`], mean together, and fills in what they leave out.
    ///
    /// # Errors
    /// Every problem of form and of meaning.
    pub fn resolve(mut raw: RawConfig) -> Result<Self, ConfigError> {
        raw.need("data-dir", "a store needs a directory of its own, e.g. --data /var/lib/flotilla/store, or data-dir in the file");
        raw.need(
            "pd",
            "a store needs a placement driver, e.g. --pd 127.0.0.1:2379, or pd in the file",
        );
        let pd = raw.list("pd");
        let pd = pd.iter().filter_map(|text| raw.endpoint("pd", text, PD_PORT)).collect();
        let mut config = Self::new(raw.text("data-dir").unwrap_or_default(), pd);
        config.resolve_addresses(&mut raw);
        config.resolve_sizes(&mut raw);
        config.resolve_labels(&mut raw);
        set(&mut config.log.level, raw.text("log.level"));
        config.log.file = raw.text("log.file").map(PathBuf::from);
        let _only_one_is_possible = raw.count("storage.api-version", API_VERSION..=API_VERSION);
        if raw.flag("storage.enable-ttl") == Some(false) {
            raw.wrong(
                "storage.enable-ttl",
                "false",
                "only true is possible: every key may have a time to live",
            );
        }
        raw.into_result(config)
    }

    fn resolve_addresses(&mut self, raw: &mut RawConfig) {
        set(&mut self.listen, raw.address("listen.client"));
        set(&mut self.status_listen, raw.address("listen.status"));
        self.is_insecure = raw.flag("insecure").unwrap_or(false);
        for (key, address) in
            [("listen.client", self.listen), ("listen.status", self.status_listen)]
        {
            raw.check_exposed(key, address, self.is_insecure);
        }
        self.advertise = raw.advertise("advertise", ("listen.client", self.listen));
    }

    fn resolve_labels(&mut self, raw: &mut RawConfig) {
        self.labels = raw.table("labels");
        for (name, value) in &self.labels {
            if let Err(error) = Label::new(name, value) {
                raw.wrong("labels", &format!("{{ {name} = {value:?} }}"), &error.to_string());
            }
        }
    }

    fn resolve_sizes(&mut self, raw: &mut RawConfig) {
        let engine = &mut self.engine;
        set(&mut engine.block_cache, raw.size("storage.block-cache"));
        set(&mut engine.data_memtables.size, raw.size("storage.memtable"));
        set(&mut engine.log_memtables.size, raw.size("storage.log-memtable"));
        set(&mut engine.open_files_max, raw.count("storage.open-files", 16..=1 << 20));
        set(&mut engine.background_jobs, raw.count("storage.background-jobs", 1..=64));
        let limits = &mut self.limits;
        set(&mut limits.free_min, raw.size("storage.min-free-disk"));
        set(&mut limits.write_memory, raw.size("server.write-memory"));
        set(&mut limits.answer_memory, raw.size("server.answer-memory"));
        set(&mut limits.splits, raw.size("region.split-size").map(SplitLimits::of));
        let keys = raw.count("region.split-keys", 16..=u32::MAX).map(u64::from);
        set(&mut limits.splits.keys, keys);
        let requests = raw.count("region.split-load-requests", 0..=u32::MAX).map(u64::from);
        set(&mut limits.load.requests, requests);
        set(&mut limits.load.bytes, raw.size("region.split-load-bytes"));
        set(&mut limits.snapshot_rate, raw.size("region.snapshot-rate"));
        set(&mut limits.memory.cached_bytes, raw.size("memory.entry-cache").map(bytes));
        set(&mut limits.memory.backlog_bytes, raw.size("memory.apply-backlog").map(bytes));
        let threads = &mut self.threads;
        for (key, threads) in [
            ("server.runtime-threads", &mut threads.runtime),
            ("server.raft-threads", &mut threads.raft),
            ("server.apply-threads", &mut threads.apply),
            ("server.read-threads", &mut threads.read),
        ] {
            set(threads, raw.count(key, 1..=256).map(|count| count as usize));
        }
        for (key, size, least, what) in [
            ("server.write-memory", limits.write_memory, ByteSize::mib(16), "batch of writes"),
            ("server.answer-memory", limits.answer_memory, ByteSize::mib(64), "answer"),
            (
                "memory.apply-backlog",
                size(limits.memory.backlog_bytes),
                ByteSize::mib(16),
                "message",
            ),
        ] {
            if size < least {
                let why = format!("one {what} may take {least}, so there must be room for it");
                raw.wrong(key, &format!("\"{size}\""), &why);
            }
        }
        if let Err(why) = SplitLimits::check_size(limits.splits.size) {
            raw.wrong("region.split-size", &format!("\"{}\"", limits.splits.size), &why);
        }
        if limits.snapshot_rate < ByteSize::mib(1) {
            let why = "a store that comes back would wait for hours: at least 1MiB a second";
            raw.wrong("region.snapshot-rate", &format!("\"{}\"", limits.snapshot_rate), why);
        }
    }
}

const fn size(bytes: usize) -> ByteSize {
    ByteSize(bytes as u64)
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

/// Replaces a default by what was said.
fn set<T>(place: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *place = said;
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"
data-dir = "/var/lib/flotilla"
pd       = ["127.0.0.1:2379", "http://127.0.0.2:2379"]
labels   = { zone = "z1", host = "h7" }
[listen]
client = "127.0.0.5:20160"
[storage]
block-cache = "128MiB"
[log]
level = "debug"
"#;

    fn settings(text: &str) -> Result<StoreConfig, ConfigError> {
        StoreConfig::resolve(RawConfig::parse(&SCHEMA, "store.toml", text))
    }

    #[test]
    fn a_file_says_only_what_differs() {
        let config = settings(GOOD).expect("no problem");
        assert_eq!(config.pd_endpoints, ["127.0.0.1:2379", "127.0.0.2:2379"]);
        assert_eq!(config.listen.to_string(), "127.0.0.5:20160");
        assert_eq!(config.status_listen.port(), STATUS_PORT);
        assert_eq!(config.engine.block_cache, ByteSize::mib(128));
        assert_eq!(config.labels["host"], "h7");
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.to_json()["storage"]["api-version"], 1);
    }

    #[test]
    fn flags_win_over_the_file() {
        let mut raw = RawConfig::parse(&SCHEMA, "store.toml", GOOD);
        raw.set("listen.client", "127.0.0.9:1");
        raw.set("pd", "127.0.0.3:2379,127.0.0.4:2379");
        raw.set("server.raft-threads", "7");
        raw.set("labels", "zone=z2");
        let config = StoreConfig::resolve(raw).expect("no problem");
        assert_eq!(config.listen.to_string(), "127.0.0.9:1");
        assert_eq!(config.pd_endpoints, ["127.0.0.3:2379", "127.0.0.4:2379"]);
        assert_eq!(config.threads.raft, 7);
        assert_eq!(config.labels, BTreeMap::from([("zone".to_owned(), "z2".to_owned())]));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = r#"data-dri = "/x"
[listen]
client = "0.0.0.0:20160"
status = "somewhere"
[storage]
block-cache = "8"
memtable = 32
open-files = "many"
[raft-store]
size = 1
[schedule]
max-replicas = 3
"#;
        let error = settings(text).expect_err("many problems");
        let expected = r#"store.toml has 11 problems; nothing was started
  1:1    unknown key "data-dri"                   did you mean "data-dir"?
  3:10   listen.client = "0.0.0.0:20160"          not a loopback address, and connections are not encrypted: listen on loopback, or set insecure = true
  3:10   listen.client = "0.0.0.0:20160"          others cannot connect to this address: say with "advertise" how they reach it
  4:10   listen.status = "somewhere"              an address needs an IP and a port, e.g. "127.0.0.1:20160"
  6:15   storage.block-cache = "8"                a size needs a unit, e.g. "8MiB"
  7:12   storage.memtable = 32                    a size needs a unit, e.g. "8MiB"
  8:14   storage.open-files = "many"              a whole number is needed, e.g. 4
  9:2    unknown key "raft-store"                 possible are data-dir, pd, labels, advertise, insecure, listen.…, storage.…, server.…, region.…, memory.…, log.…
  11:2   unknown key "schedule"                   a setting of the cluster, not of a store: it is given to the placement driver
  -      data-dir                                 a store needs a directory of its own, e.g. --data /var/lib/flotilla/store, or data-dir in the file
  -      pd                                       a store needs a placement driver, e.g. --pd 127.0.0.1:2379, or pd in the file"#;
        assert_eq!(error.to_string(), expected);
        assert!(error.problems.iter().any(|problem| problem.code == "FLT-1008"));
    }

    proptest! {
        /// Every problem has a place that is in the file, and a reason.
        #[test]
        fn damaged_files_are_used_or_explained(
            bytes in damaged(Just(GOOD.as_bytes().to_vec())),
            key in prop::sample::select(SCHEMA.keys.iter().map(|(key, _)| *key).collect::<Vec<_>>()),
            said in "[ -~]{0,12}|.*",
        ) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let mut raw = RawConfig::parse(&SCHEMA, "store.toml", &text);
            if let Err(error) = StoreConfig::resolve(raw.clone()) {
                prop_assert!(!error.problems.is_empty() && !error.to_string().is_empty());
                for flotilla_telemetry::settings::Problem { place, why, .. } in &error.problems {
                    prop_assert!(!why.is_empty());
                    let lines = text.matches('\n').count() + 1;
                    prop_assert!(place.is_none_or(|place| (1..=lines).contains(&place.line)));
                }
            }
            raw.set(key, &said);
            let _used_or_explained = StoreConfig::resolve(raw).map(|config| config.to_json());
        }
    }

    #[test]
    fn keys_of_a_region_follow_its_size_unless_they_are_said() {
        let splits = |region: &str| {
            let text = format!("data-dir = \"d\"\npd = [\"h:1\"]\n[region]\n{region}");
            settings(&text).map(|config| config.limits.splits)
        };
        let splits_of = |region: &str| splits(region).expect("no problem");
        assert_eq!(splits_of(""), SplitLimits::default());
        let small = splits_of("split-size = \"4MiB\"");
        assert_eq!((small.size, small.keys), (ByteSize::mib(4), 40_000));
        let both = splits_of("split-size = \"4MiB\"\nsplit-keys = 17");
        assert_eq!((both.size, both.keys), (ByteSize::mib(4), 17));
        for (size, part) in [("1023KiB", "at least 1MiB"), ("257GiB", "at most 256GiB")] {
            let error = splits(&format!("split-size = \"{size}\"")).expect_err("no such region");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn labels_have_the_form_that_tools_can_say() {
        let text =
            "data-dir = \"d\"\npd = [\"h:1\"]\nlabels = { zone = \"z 1\", disk = \"ssd\" }\n";
        let error = settings(text).expect_err("a space");
        for part in ["3:10   labels = { zone = \"z 1\" } ", " ' ' is not allowed in the value"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(error.problems.len(), 1, "{error}");
    }

    #[test]
    fn insecure_and_advertise_open_a_store_to_the_network() {
        let text = "data-dir = \"d\"\npd = [\"pd-1\"]\ninsecure = true\nadvertise = \"db7\"\n\
                    [listen]\nclient = \"0.0.0.0:20161\"\n";
        let config = settings(text).expect("no problem");
        assert_eq!(config.advertised(), "db7:20161");
        assert_eq!(config.pd_endpoints, ["pd-1:2379"]);
        assert_eq!(config.to_json()["insecure"], true);
    }

    /// What the status server shows may be put into a file as it is.
    #[test]
    fn the_settings_that_are_shown_are_those_of_a_file() {
        let shown = StoreConfig::new("d", vec!["127.0.0.1:2379".to_owned()]).to_json();
        for (key, _form) in SCHEMA.keys {
            let path = format!("/{}", key.replace('.', "/"));
            assert!(shown.pointer(&path).is_some(), "{key} is not shown");
        }
        let mut lines = String::new();
        let object = shown.as_object().expect("an object");
        let (sections, keys): (Vec<_>, Vec<_>) =
            object.iter().partition(|(name, value)| value.is_object() && *name != "labels");
        let mut say = |name: &str, value: &Value| match value {
            // A file says nothing where there is nothing.
            Value::Null => {}
            Value::Object(empty) if empty.is_empty() => {}
            value => lines.push_str(&format!("{name} = {value}\n")),
        };
        keys.into_iter().for_each(|(name, value)| say(name, value));
        for (section, inner) in sections {
            for (name, value) in inner.as_object().expect("a section") {
                say(&format!("{section}.{name}"), value);
            }
        }
        let read = settings(&lines).unwrap_or_else(|why| panic!("{why}\n{lines}"));
        assert_eq!(read.to_json(), shown);
    }

    #[test]
    fn what_has_one_value_takes_no_other() {
        let text =
            "data-dir = \"d\"\npd = [\"h:1\"]\n[storage]\napi-version = 2\nenable-ttl = false\n";
        let error = settings(text).expect_err("neither is possible").to_string();
        for part in
            ["api-version = 2 ", "only 1 is possible", "enable-ttl = false ", "only true is"]
        {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        let error = settings("data-dir = \npd = []\n");
        let error = error.expect_err("no TOML").to_string();
        assert!(error.contains("\n  1:12 "), "{error}");
    }
}
