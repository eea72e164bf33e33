//! Why the replicated state stays as it is, and why it cannot be read.

use flotilla_base::{ClusterId, Incarnation, Index, ReadError, StoreId, Term, codec::CodecError};

use crate::{PolicyRefusal, SettingRefusal};

/// Why a command that was applied changed nothing. Every member refuses alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its proposer was no longer leader.
    #[error(
        "not leader: the command was proposed in term {proposed} and applied in term {applied}"
    )]
    StaleTerm {
        /// Term of the proposer.
        proposed: Term,
        /// Term of the entry.
        applied: Term,
    },
    /// The cluster has an identity.
    #[error("cluster {0} is initialised already")]
    AlreadyInitialized(ClusterId),
    /// The cluster has no identity yet.
    #[error("the cluster is not initialised yet")]
    NotInitialized,
    /// The id space ends here.
    #[error("the id space is used up")]
    IdsUsedUp,
    /// A window of timestamps must grow.
    #[error("timestamp window must grow: it ends at {current_ms} ms, asked was {asked_ms} ms")]
    TsoWindowBehind {
        /// End of the window in force.
        current_ms: u64,
        /// End that was asked for.
        asked_ms: u64,
    },
    /// A store needs an id and an address.
    #[error("store {0} cannot be registered: it needs a non-zero id and an address")]
    IncompleteStore(StoreId),
    /// Another live store has this address.
    #[error(
        "duplicated store address {address}: store {asking} calls, but store {registered} is registered \
         there; start the store with the data directory of store {registered}. Where that is lost, start the \
         new store at another address, then remove the lost one: flotilla ctl store remove {registered}. Its \
         address is free once it is a tombstone"
    )]
    DuplicateAddress {
        /// The address.
        address: String,
        /// The store that calls.
        asking: StoreId,
        /// The store that has the address.
        registered: StoreId,
    },
    /// A newer run of the same store has registered.
    #[error(
        "store {store}: run {asking} calls, but run {registered} is registered; two processes use copies \
         of one data directory, stop one of them"
    )]
    StaleIncarnation {
        /// The store.
        store: StoreId,
        /// The run that calls.
        asking: Incarnation,
        /// The run that is registered.
        registered: Incarnation,
    },
    /// The store was removed for good.
    #[error("store {0} is a tombstone: it was removed for good and must stop")]
    Tombstone(StoreId),
    /// No store with this id is registered.
    #[error("there is no store {0}")]
    UnknownStore(StoreId),
    /// The stores that would stay are too few for the replicas.
    #[error(
        "store {store} cannot be removed: {left} others would stay, and each region has {replicas} \
         replicas, one to a store"
    )]
    TooFewStores {
        /// The store that was to go.
        store: StoreId,
        /// Stores that would stay.
        left: usize,
        /// Stores that a region needs.
        replicas: u32,
    },
    /// Its regions are not being moved away, so they cannot all be gone.
    #[error("store {0} is no tombstone: nobody has asked for its removal")]
    NotOffline(StoreId),
    /// A setting cannot be so.
    #[error(transparent)]
    Setting(#[from] SettingRefusal),
    /// A store or a scheduler cannot be treated so.
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// The first regions exist.
    #[error("the cluster is bootstrapped already")]
    AlreadyBootstrapped,
    /// The first regions cannot be as planned.
    #[error("bootstrap refused: {0}")]
    BadBootstrap(String),
}

/// What the replicated state is damaged by, or cannot be read for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// A record is damaged, or from a newer program.
    #[error("placement driver record {key}: {cause}")]
    Record {
        /// The key of the record.
        key: String,
        /// What is wrong with it.
        cause: CodecError,
    },
    /// A log entry is damaged, or from a newer program.
    #[error("placement driver log entry {index}: {cause}")]
    Entry {
        /// Its index.
        index: Index,
        /// What is wrong with it.
        cause: CodecError,
    },
    /// The engine failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}
