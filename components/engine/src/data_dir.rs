//! The directory of a store or placement driver: `DIR/{db,snap,LOCK,ident}`.
//!
//! [`DataDir::open`] answers one question before anything is touched: may this process, in this
//! role, with this format, use this directory now? It then counts one more run of it.
//!
//! Knows nothing of what is in the database. Identities are claimed once ([`DataDir::claim`]) and
//! never change.

mod create;
mod error;
mod ident;
mod lock;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use flotilla_base::{ByteSize, ClusterId, Incarnation, StoreId};

pub(crate) use create::{create_durably, sync_directory};
pub use error::DataDirError;
pub use ident::{Ident, Role};

use self::{create::parent, error::io_error, lock::Lock};
use crate::{
    LogDeletion,
    stage::{free_bytes, remove_unfinished},
};

/// The newest format of data that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const DATABASE: &str = "db";
const STAGES: &str = "snap";

/// What the caller is, and what it demands of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Who wants to use the directory.
    pub role: Role,
    /// The newest format that the caller knows; a new directory is created with it.
    pub format_version: u32,
    /// How a new directory removes log entries; an existing one keeps what it has.
    pub log_deletion: LogDeletion,
    /// Free space that must be there at the start.
    pub free_min: ByteSize,
}

impl Expect {
    /// The usual demands of a role: this program's format, and 256 MiB of free space.
    #[must_use]
    pub fn of(role: Role) -> Self {
        Self {
            role,
            format_version: FORMAT_VERSION,
            log_deletion: LogDeletion::default(),
            free_min: ByteSize::mib(256),
        }
    }
}

/// A directory that this process holds alone, until it is dropped or dies.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    ident: Ident,
    _lock: Lock,
}

impl DataDir {
    /// Takes the directory at `path`, creating it where it is missing, and makes the new incarnation
    /// durable. Without effect on an existing directory where it fails, but that stages which were not finished may be
    /// gone.
    ///
    /// # Errors
    /// [`DataDirError`] says what is wrong, why it matters, and what to do.
    pub fn open(path: &Path, expect: &Expect) -> Result<Self, DataDirError> {
        create_durably(path, &mut sync_directory)
            .map_err(|cause| io_error("create", path, cause))?;
        // The lock comes first: everything read before it could change under our eyes.
        let lock = Lock::acquire(path)?;
        let known = Ident::load(path, expect.format_version)?;
        if known.is_none() {
            if !is_empty_but_for_ours(path)? {
                return Err(DataDirError::NotEmptyWithoutIdent { path: path.to_owned() });
            }
            // A start that died early may have made the directory, and not have come to its sync.
            let above = parent(path);
            sync_directory(above).map_err(|cause| io_error("sync", above, cause))?;
        }
        let mut ident = known.unwrap_or_else(|| Ident::new(expect));
        if ident.role != expect.role {
            let (expected, found) = (expect.role, ident.role);
            return Err(DataDirError::OtherRole { path: path.to_owned(), expected, found });
        }
        // Before the space is asked for: a store that filled its disk with them is to start again.
        remove_unfinished(&path.join(STAGES))
            .map_err(|(path, cause)| io_error("remove", &path, cause))?;
        check_free_space(path, expect.free_min)?;
        ident.incarnation = ident.incarnation.next();
        ident.save(path)?;
        Ok(Self { path: path.to_owned(), ident, _lock: lock })
    }

    /// Makes the directory one of `cluster`, and of `store` where that is not zero, for ever; durable
    /// when it returns, and with it the database's own directory, which was made since [`DataDir::open`]. Does
    /// nothing where it already is.
    ///
    /// # Errors
    /// [`DataDirError::DirectoryOfAnotherCluster`], [`DataDirError::DirectoryOfAnotherStore`], or an
    /// error of the disk.
    pub fn claim(&mut self, cluster: ClusterId, store: StoreId) -> Result<(), DataDirError> {
        let mut claimed = self.ident.clone();
        if claimed.cluster.is_none() {
            claimed.cluster = cluster;
        } else if claimed.cluster != cluster {
            let (expected, found) = (cluster, claimed.cluster);
            let path = self.path.clone();
            return Err(DataDirError::DirectoryOfAnotherCluster { path, expected, found });
        }
        if claimed.store.is_none() {
            claimed.store = store;
        } else if !store.is_none() && claimed.store != store {
            let (expected, found) = (store, claimed.store);
            let path = self.path.clone();
            return Err(DataDirError::DirectoryOfAnotherStore { path, expected, found });
        }
        if claimed != self.ident {
            claimed.save(&self.path)?;
            self.ident = claimed;
        }
        Ok(())
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database belongs: what [`Engine::open`](crate::Engine::open) takes.
    #[must_use]
    pub fn database_path(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Where the data of snapshots is staged: what [`Stages::open`](crate::Stages::open) takes.
    #[must_use]
    pub fn stages_path(&self) -> PathBuf {
        self.path.join(STAGES)
    }

    /// Everything the ident says.
    #[must_use]
    pub const fn ident(&self) -> &Ident {
        &self.ident
    }

    /// The cluster it belongs to; zero before [`DataDir::claim`].
    #[must_use]
    pub const fn cluster_id(&self) -> ClusterId {
        self.ident.cluster
    }

    /// The store it belongs to; zero before [`DataDir::claim`].
    #[must_use]
    pub const fn store_id(&self) -> StoreId {
        self.ident.store
    }

    /// This run: greater than that of every run before.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.ident.incarnation
    }

    /// How log entries are removed here.
    #[must_use]
    pub const fn log_deletion(&self) -> LogDeletion {
        self.ident.log_deletion
    }
}

/// What a start that died early leaves behind does not make a directory somebody else's.
fn is_empty_but_for_ours(path: &Path) -> Result<bool, DataDirError> {
    let listing = fs::read_dir(path).map_err(|cause| io_error("list", path, cause))?;
    let names: io::Result<Vec<_>> =
        listing.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let names = names.map_err(|cause| io_error("list", path, cause))?;
    Ok(names.iter().all(|name| name == lock::LOCK_FILE || name == ident::IDENT_FILE_NEW))
}

fn check_free_space(path: &Path, needed: ByteSize) -> Result<(), DataDirError> {
    let available =
        free_bytes(path).map_err(|cause| io_error("ask for the free space of", path, cause))?;
    if available < needed {
        return Err(DataDirError::TooLittleDisk { path: path.to_owned(), available, needed });
    }
    Ok(())
}
