//! A store's replicas: propose, replicate, read, apply. A region is one raft group; all regions of a
//! store are driven in rounds, so that one write makes the progress of many groups durable.
//!
//! The core is a value with two calls: [`Replica::handle`] takes an input, [`Replica::drain`] collects
//! what raft wants done. Both only fill [`Effects`]; [`Round::finish`] is the one function that turns
//! effects into actions, in the order that safety asks for. A [`Host`] executes them: the store's
//! threads in production, virtual time in the simulator.
//!
//! **Knows nothing of** RocksDB, threads, locks, sockets, clocks, the placement driver's address,
//! transactions, metrics, or who sent a request.
//!
//! Entry types: [`Replica`], [`Applier`], [`Effects`], [`Round`], [`Host`], [`RegionTable`].
//! Reading order: [`input`], [`command`], [`effects`], [`round`], [`replica`], [`propose`], [`read`], [`replica_read`],
//! [`permit`], [`log_gc`], [`memory`], [`apply`], [`split`], [`birth`], [`snapshot`], [`install`], [`membership`], [`reconfigure`],
//! `apply_members`, [`removal`], [`destroy`], [`persist`], [`region_table`], [`claim`], [`cleaning`], [`slots`],
//! [`recover`].
#![warn(missing_docs)]

pub mod apply;
mod apply_members;
pub mod birth;
pub mod claim;
pub mod cleaning;
pub mod command;
pub mod destroy;
pub mod effects;
pub mod input;
pub mod install;
mod lagging;
pub mod liveness;
pub mod log_gc;
pub mod membership;
pub mod memory;
pub mod permit;
pub mod persist;
pub mod propose;
pub mod quiescence;
pub mod read;
pub mod reconfigure;
pub mod recover;
pub mod region_table;
pub mod removal;
pub mod replica;
pub mod replica_read;
pub mod round;
pub mod ruin;
pub mod slots;
pub mod snapshot;
pub mod split;

pub use apply::{Applied, Applier, ApplyEffects, ApplyFault, ApplyHost, ApplyTask};
pub use claim::Claim;
pub use cleaning::Cleaning;
pub use command::{Command, ForgetCommand, Guard, NewRegion, SplitCommand, WriteCommand};
pub use destroy::{Cleanup, Remains, RemainsError, Tombstone, recover_remains};
pub use effects::{AfterPersist, Effects, LogFetch, LogWrite, Report};
pub use input::{
    Input, MembersChanged, MembershipInput, Notice, PeerMessage, Proposal, ReadRequest, Reply,
    RequestError, RequestHeader, SplitRequest,
};
pub use install::{Arrival, InstallEffect, StageNumber};
pub use liveness::{Liveness, SharedLiveness, Sign};
pub use membership::{ChangeError, ChangeKind, ChangePeers, PeerChange};
pub use memory::{Allowance, Held, MemoryBudget};
pub use permit::{Delegate, LocalRead, NotInPlace, Permit};
pub use quiescence::{spread_at_start, spread_of};
pub use reconfigure::ChangeRequest;
pub use recover::{RecoveredPeer, recover_store};
pub use region_table::{Admission, DropReason, RegionTable, Slot};
pub use removal::read_removed;
pub use replica::{Lifecycle, Replica, ReplicaConfig};
pub use round::{Delivery, Host, Round};
pub use slots::SplitClaim;
pub use snapshot::{SnapshotEffect, SnapshotInput, SnapshotMeta};
pub use split::{Birth, Claims, Division, SplitDone, SplitError, divide};
