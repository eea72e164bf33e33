//! What decoders owe whatever the bytes are, as functions of bytes: one module for each family, each with `run`
//! and `seeds`. libFuzzer calls `run` guided by coverage (`guided.rs`), the program of this crate without.
//! Tests of the crates do the same in small; `docs/testing.md` lists all decoders.
//!
//! Broken rules panic. Nothing may take more than 64 MiB at once; the drivers watch over that.

pub mod commands;
pub mod envelopes;
pub mod group;
pub mod histories;
pub mod logs;
pub mod messages;
pub mod records;
pub mod regions;
pub mod store;
pub mod text;

mod pieces;

// What belongs to tests of other crates, or to crates that link RocksDB.
#[path = "../../../components/raftgroup/tests/adversary/mod.rs"]
#[allow(dead_code, reason = "some of it serves unit tests")]
mod adversary;
#[path = "../../../components/multiraft/tests/attacked/mod.rs"]
#[allow(dead_code, reason = "some of it serves unit tests")]
mod attacked;
#[path = "../../../components/transport/src/beats.rs"]
mod beats;
#[path = "../../../components/raftgroup/tests/common/mod.rs"]
mod common;
#[path = "../../../components/multiraft/tests/harness/disk.rs"]
mod disk;
#[path = "../../../components/store/src/envelope.rs"]
#[allow(dead_code, reason = "signs of life carry nothing to decode")]
mod envelope;
#[path = "../../../components/flotilla/src/kv/lines.rs"]
#[allow(dead_code, reason = "results are no decoders")]
mod lines;
#[path = "../../../components/engine/src/wal_check/records.rs"]
#[allow(dead_code, reason = "some of it serves unit tests")]
mod log_records;
#[path = "../../../components/store/src/value.rs"]
#[allow(dead_code, unreachable_pub, reason = "only the decoder is wanted")]
mod value;

// Where `attacked` looks for them.
use adversary::{message, script};

/// A family of decoders.
pub struct Target {
    /// The name of its module.
    pub name: &'static str,
    /// Takes any bytes; panics where a rule is broken.
    pub run: fn(&[u8]),
    /// Valid inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        /// All families.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }),*
        ];
    };
}

targets!(commands, envelopes, group, histories, logs, messages, records, regions, store, text);

/// The family of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
