//! What a placement driver is started with.

use std::{net::SocketAddr, path::PathBuf};

use flotilla_base::ByteSize;
use flotilla_engine::{EngineOptions, MemtableOptions};
use flotilla_raftgroup::Timing;

/// Version of the public protocol that is spoken, with our own behind it. Clients parse the front.
pub const SERVED_VERSION: &str = concat!("8.5.0-flotilla-", env!("CARGO_PKG_VERSION"));

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
        }
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
