//! Why a placement driver does not start, or stops.

use std::{io, net::SocketAddr, path::PathBuf};

use flotilla_base::ClusterId;
use flotilla_engine::{DataDirError, EngineError};
use flotilla_pdcore::CoreError;

/// A placement driver that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum PdError {
    /// A setting makes no sense.
    #[error("placement driver: {0}")]
    Config(String),
    /// Somebody else listens on the address.
    #[error(
        "address {0} is in use: another program listens there; stop it, or choose another client address"
    )]
    AddressInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database failed; what is on disk is unknown.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Group or state cannot go on.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The directory and the state in it belong to different clusters.
    #[error(
        "data directory {} belongs to cluster {directory}, the state in it to cluster {state}: its files \
         were mixed up; nothing was changed. Put the files where they belong, and do not start with an \
         empty directory: that would be a new cluster", path.display()
    )]
    MixedUp {
        /// The directory.
        path: PathBuf,
        /// Cluster of the directory.
        directory: ClusterId,
        /// Cluster of the state.
        state: ClusterId,
    },
    /// A thread could not be started or has died.
    #[error("placement driver thread: {0}")]
    Thread(io::Error),
    /// The cluster got no identity in time.
    #[error("the placement driver did not become leader in time; see its log")]
    NotReady,
}
