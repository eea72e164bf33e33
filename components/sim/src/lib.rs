//! The deterministic simulator: a cluster of stores in virtual time, made of the production code of
//! replicas, appliers, recovery and rounds over a simulated network, disk and clock.
//!
//! One seed fixes everything: topology, load, delays, faults. Two runs of a seed give the same trace,
//! byte for byte. While it runs, judges compare what stores do with the rules that must hold; a broken
//! rule ends the run with a line that repeats it.
//!
//! **Knows nothing of** RocksDB, tokio, sockets, threads, or the time and randomness of the system.
//!
//! Entry types: [`World`], [`Plan`].
//! Reading order: [`plan`], [`event`], [`world`], [`node`], [`hands`], [`disk`], [`net`], [`clock`],
//! [`client`], [`reads`], [`splits`], [`snapshots`], [`stages`], [`ident`], [`fetches`], [`fault`], [`ambush`], [`partition`], [`judge`],
//! [`marks`], [`lookout`], [`minimize`](mod@minimize), [`trial`], [`summary`], [`digest`], [`pd`],
//! [`placement`], [`replicas`].
#![warn(missing_docs)]

pub mod ambush;
pub mod changes;
pub mod client;
pub mod clock;
pub mod digest;
pub mod disk;
pub mod event;
pub mod fault;
pub mod fetches;
pub mod hands;
pub mod ident;
pub mod judge;
pub mod lookout;
pub mod marks;
pub mod minimize;
pub mod net;
pub mod node;
pub mod partition;
pub mod pd;
pub mod placement;
pub mod plan;
pub mod reads;
pub mod replicas;
pub mod snapshots;
pub mod splits;
pub mod stages;
pub mod summary;
pub mod trial;
pub mod world;

pub use judge::Violation;
pub use plan::Plan;
pub use summary::Summary;
pub use world::World;

/// The seeds that every change of the program has to pass, and that reach every mark together.
pub const COMMITTED_SEEDS: std::ops::RangeInclusive<u64> = 1..=2_000;
