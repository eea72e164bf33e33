//! One RocksDB database behind about ten calls, and the directory it lives in.
//!
//! **Knows nothing of** raft, regions, transactions, protobuf, networks, or which thread calls it.
//! It is the only crate that names `rocksdb`, and the only one that may hold `unsafe` code.
//!
//! What the callers build on:
//! - a [`WriteBatch`] over several families is atomic, also across a crash;
//! - the state found after a crash is a prefix of the order of writes (one log for all families);
//! - [`Engine::sync`] makes every write that returned before it durable, without stopping writers;
//! - a write or sync that fails leaves the outcome unknown: the caller ends the process.
//!
//! Entry types: [`Engine`], [`WriteBatch`], [`Snapshot`], [`DataDir`], [`Stages`].
//! Reading order: [`mod@data_dir`], `options`, `batch`, `engine`, `read`, `snapshot`, `range_reader`, [`mod@stage`] and
//! `replace` (the data of a range from elsewhere), `stats`, `tuning` (what RocksDB is told, and why), `wal_check` and
//! `log_mark` (before RocksDB reads its logs), `memory` (the twin for tests).
#![warn(missing_docs)]

pub mod data_dir;

mod batch;
mod engine;
mod error;
mod log_mark;
mod memory;
mod options;
mod range_reader;
mod read;
mod replace;
mod snapshot;
pub mod stage;
mod stats;
mod tuning;
mod wal_check;

pub use batch::WriteBatch;
pub use data_dir::{DataDir, DataDirError};
pub use engine::Engine;
pub use error::{BatchError, EngineError};
pub use memory::{MemEngine, MemSnapshot};
pub use options::{EngineOptions, LogDeletion, MemtableOptions};
pub use range_reader::{DataChunk, RangeReader};
pub use replace::ReplaceError;
pub use snapshot::Snapshot;
pub use stage::{Stage, StageError, StageTotals, StageWriter, Stages};
pub use stats::{CompactionDebt, EngineStats, FamilyStats};
pub use wal_check::CutTail;
