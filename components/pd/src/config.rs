//! What a placement driver is started with.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use flotilla_base::ByteSize;
use flotilla_engine::{EngineOptions, MemtableOptions};
use flotilla_raftgroup::Timing;
use flotilla_telemetry::{
    LogConfig,
    settings::{ConfigError, Form, RawConfig, Schema},
};

/// Port of a placement driver for clients and stores.
pub const PORT: u16 = 2379;

/// The settings that a placement driver has.
pub static SCHEMA: Schema = Schema {
    keys: &[
        ("name", Form::Text),
        ("data-dir", Form::Text),
        ("advertise", Form::Text),
        ("insecure", Form::Flag),
        ("max-replicas", Form::Count),
        ("min-free-disk", Form::Size),
        ("listen.client", Form::Address),
        ("log.level", Form::Text),
        ("log.file", Form::Text),
    ],
    elsewhere: &[
        ("pd", "a setting of a store: a placement driver has nobody above it"),
        ("storage", "a setting of a store, not of a placement driver"),
        ("server", "a setting of a store, not of a placement driver"),
    ],
};

/// Settings of one placement driver.
#[derive(Clone, Debug)]
pub struct PdConfig {
    /// Name of this member, for people.
    pub name: String,
    /// Directory that belongs to it alone.
    pub data_dir: PathBuf,
    /// Where clients and stores connect: gRPC and HTTP on one port.
    pub client_address: SocketAddr,
    /// URL under which they reach it, with scheme; `None` for `client_address`.
    pub advertise_client_url: Option<String>,
    /// Voters of each region. Chosen when the cluster is made; later starts take what was chosen.
    pub max_replicas: u32,
    /// Free space that must be there at the start.
    pub free_min: ByteSize,
    /// Times that decide elections; equal on all members of a cluster.
    pub timing: Timing,
    /// Sizes of the database.
    pub engine: EngineOptions,
    /// Where the process's log goes. For the binary: a placement driver itself sets no logging up.
    pub log: LogConfig,
}

impl PdConfig {
    /// The usual settings for one member.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        data_dir: impl Into<PathBuf>,
        client_address: SocketAddr,
    ) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into(),
            client_address,
            advertise_client_url: None,
            max_replicas: 3,
            free_min: ByteSize::mib(256),
            timing: Timing::default(),
            engine: engine_options(),
            log: LogConfig::default(),
        }
    }

    /// Checks what the settings of `raw`, which has [`SCHEMA`], mean together, and fills in what they leave out.
    ///
    /// # Errors
    /// Every problem of form and of meaning.
    pub fn resolve(mut raw: RawConfig) -> Result<Self, ConfigError> {
        let why = "a placement driver needs a directory of its own, e.g. --data /var/lib/flotilla/pd, or data-dir in the file";
        raw.need("data-dir", why);
        let usual = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
        let listen = raw.address("listen.client").unwrap_or(usual);
        let name = raw.text("name").unwrap_or_else(|| "pd-1".to_owned());
        let mut config = Self::new(name, raw.text("data-dir").unwrap_or_default(), listen);
        let is_insecure = raw.flag("insecure").unwrap_or(false);
        raw.check_exposed("listen.client", listen, is_insecure);
        let advertise = raw.advertise("advertise", ("listen.client", listen));
        config.advertise_client_url = advertise.map(|address| format!("http://{address}"));
        config.max_replicas = raw.count("max-replicas", 1..=7).unwrap_or(config.max_replicas);
        config.free_min = raw.size("min-free-disk").unwrap_or(config.free_min);
        config.log.level = raw.text("log.level").unwrap_or(config.log.level);
        config.log.file = raw.text("log.file").map(PathBuf::from);
        raw.into_result(config)
    }

    /// The URL that is told to clients.
    #[must_use]
    pub fn client_url(&self) -> String {
        let listening = || format!("http://{}", self.client_address);
        self.advertise_client_url.clone().unwrap_or_else(listening)
    }
}

/// A database for a state of a few megabytes.
fn engine_options() -> EngineOptions {
    let memtables = MemtableOptions { size: ByteSize::mib(2), count: 2 };
    EngineOptions {
        data_memtables: memtables,
        log_memtables: memtables,
        meta_memtables: memtables,
        block_cache: ByteSize::mib(4),
        wal_total_max: ByteSize::mib(32),
        ..EngineOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "name = \"pd-1\"\nmax-replicas = 5\nmin-free-disk = \"8MiB\"\ninsecure = true\n\
        [listen]\nclient = \"127.0.0.1:2379\"\n[log]\nlevel = \"info\"\n";

    fn settings(text: &str) -> Result<PdConfig, ConfigError> {
        let mut raw = RawConfig::parse(&SCHEMA, "pd.toml", text);
        raw.set("data-dir", "d");
        PdConfig::resolve(raw)
    }

    proptest! {
        #[test]
        fn damaged_files_are_used_or_explained(
            bytes in damaged(Just(GOOD.as_bytes().to_vec())),
        ) {
            if let Err(error) = settings(&String::from_utf8_lossy(&bytes)) {
                prop_assert!(!error.problems.is_empty());
                prop_assert!(error.problems.iter().all(|it| !it.what.is_empty() && !it.why.is_empty()));
            }
        }
    }

    #[test]
    fn a_file_says_only_what_differs_and_flags_win() {
        let config = settings("max-replicas = 5\ndata-dir = \"other\"\n").expect("fine");
        assert_eq!((config.max_replicas, config.data_dir.to_str()), (5, Some("d")));
        assert_eq!((config.client_address.port(), config.log), (PORT, LogConfig::default()));
        let text = "insecure = true\nadvertise = \"db7\"\n[listen]\nclient = \"0.0.0.0:7\"\n";
        assert_eq!(settings(text).expect("fine").client_url(), "http://db7:7");
        let local = settings("[listen]\nclient = \"localhost:7\"\n").expect("fine");
        assert_eq!(local.client_address.to_string(), "127.0.0.1:7");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = "max-replics = 5\nmax-replicas = 9\nmin-free-disk = \"8\"\n\
            [listen]\nclient = \"0.0.0.0:1\"\n[storage]\nmemtable = \"8MiB\"\n";
        let expected = "pd.toml has 6 problems; nothing was started
  1:1    unknown key \"max-replics\"                did you mean \"max-replicas\"?
  2:16   max-replicas = 9                         between 1 and 7 are possible, e.g. 7
  3:17   min-free-disk = \"8\"                      a size needs a unit, e.g. \"8MiB\"
  5:10   listen.client = \"0.0.0.0:1\"              not a loopback address, and connections are not encrypted: listen on loopback, or set insecure = true
  5:10   listen.client = \"0.0.0.0:1\"              others cannot connect to this address: say with \"advertise\" how they reach it
  6:2    unknown key \"storage\"                    a setting of a store, not of a placement driver";
        assert_eq!(settings(text).expect_err("problems").to_string(), expected);
        let nothing = PdConfig::resolve(RawConfig::new(&SCHEMA, "the command line"));
        assert!(nothing.expect_err("no directory").to_string().contains("data-dir"));
    }
}
