//! The Rust client of Flotilla: raw keys, scans, and a view of the placement driver, which changes regions as well.
//!
//! ```no_run
//! # async fn example() -> Result<(), flotilla_client::Error> {
//! use flotilla_client::{Client, ClientOptions, KeyRange};
//!
//! let client = Client::connect(&["127.0.0.1:2379"], ClientOptions::default()).await?;
//! let raw = client.raw();
//! raw.put("user:1", "ada").await?;
//! assert_eq!(raw.get("user:1").await?.as_deref(), Some(b"ada".as_slice()));
//! let mut users = raw.scan(KeyRange::new("user:", "user;"));
//! while let Some(pair) = users.next().await? {
//!     let _shown = (pair.key, pair.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Every call is repeated, along the way that `flotilla-routing` decides, until it succeeds, until
//! repetition is pointless, or until its deadline (10 s unless told otherwise). An [`Error`] says
//! what was tried, why it failed, what to do, and whether a write may have taken effect
//! ([`Error::applied`]).
//!
//! **Knows nothing of** stores' insides, raft, or how decisions about repetition are made; it is
//! the shell that owns connections, clock and lock of `flotilla-routing`.
//!
//! Entry types: [`Client`], [`RawKv`], [`Scan`], [`Admin`], [`Error`].
//! Reading order: [`raw`], `call`, `core`, `pd`, `links`, `flight`, `wire`, `batch`, [`scan`],
//! [`admin`], [`health`], [`operators`], [`placement`], `split`, [`error`], [`stats`].
#![warn(missing_docs)]

pub mod admin;
mod batch;
mod call;
mod commands;
mod core;
pub mod error;
mod flight;
pub mod health;
mod links;
pub mod operators;
mod options;
mod pd;
pub mod placement;
pub mod plan;
pub mod raw;
pub mod regions;
pub mod scan;
mod split;
pub mod stats;
mod wire;

use std::sync::Arc;

pub use bytes::Bytes;
pub use flotilla_base::{ClusterId, KeyRange};
pub use flotilla_routing::{Applied, Cause};

pub use crate::{
    admin::{Admin, Member, Members, RegionInfo, StoreInfo, StoreState, Timestamp},
    error::{Error, ErrorKind},
    health::{ClusterHealth, Contact},
    operators::{OperatorEnding, OperatorInfo, Operators, RegionChange},
    options::{ClientOptions, ReadFrom},
    placement::{Explanation, Placement, Subject},
    raw::{KeyValue, RawKv, Swap},
    scan::Scan,
    split::Cut,
    stats::ClientStats,
};
use crate::{core::Core, options::CallOptions};

/// A connection to one cluster. Cheap to clone; all clones share connections and the region cache.
#[derive(Clone, Debug)]
pub struct Client {
    core: Arc<Core>,
}

impl Client {
    /// Connects to the cluster behind the placement driver at one of `endpoints` (`host:port`, with
    /// or without `http://`). Endpoints that do not answer are passed over as long as one does.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] where no endpoint answers, [`ErrorKind::WrongCluster`] where the
    /// endpoints belong to different clusters, [`ErrorKind::InvalidArgument`] where one is no
    /// address, [`ErrorKind::Timeout`] where none knows a leader before the deadline.
    pub async fn connect<E: AsRef<str> + Sync>(
        endpoints: &[E],
        options: ClientOptions,
    ) -> Result<Self, Error> {
        let endpoints: Vec<&str> = endpoints.iter().map(AsRef::as_ref).collect();
        let core = Arc::new(Core::new(&endpoints, options)?);
        call::connect(&core).await?;
        Ok(Self { core })
    }

    /// The raw keys: no transactions, single-key operations are linearizable.
    #[must_use]
    pub fn raw(&self) -> RawKv {
        RawKv::new(Arc::clone(&self.core), CallOptions::from(&self.core.options))
    }

    /// Members, stores, regions and time, and changes of regions.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.core))
    }

    /// The cluster that this client is connected to.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.core.pd.cluster()
    }

    /// Counters of calls, failures and repetitions since the client was made.
    #[must_use]
    pub fn stats(&self) -> &ClientStats {
        &self.core.stats
    }
}
