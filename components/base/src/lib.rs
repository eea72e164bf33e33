//! The words of Flotilla: ids, keys, regions, moments, sizes, mutations and the record codec.
//!
//! **Knows nothing of** protobuf, raft, disks, networks, threads, the wall clock or the environment.
//! Everything here is plain data that any floor above may use.
//!
//! Entry types: [`Region`], [`KeyRange`], [`Moment`], [`Mutation`].
//! Reading order: [`id`], [`key`], [`region`], [`time`], [`storage`], [`tables`], [`codec`], [`rng`], [`round`], [`size`],
//! [`limit`], [`address`], [`label`], [`seeded`].
#![warn(missing_docs)]

pub mod address;
pub mod codec;
pub mod id;
pub mod key;
pub mod label;
pub mod limit;
pub mod region;
pub mod rng;
pub mod round;
pub mod seeded;
pub mod size;
pub mod storage;
pub mod tables;
pub mod time;

pub use id::{ClusterId, ConfVer, Incarnation, Index, PeerId, RegionId, StoreId, Term, Version};
pub use key::{Key, KeyRange};
pub use label::{Label, LabelError};
pub use region::{Epoch, Peer, PeerRole, Region, RegionError};
pub use rng::Rng;
pub use round::RoundName;
pub use seeded::{Bug, Seeded};
pub use size::ByteSize;
pub use storage::{Family, KvRead, Mutation, ReadError, ScanDirection};
pub use tables::Tables;
pub use time::{Moment, Span};
