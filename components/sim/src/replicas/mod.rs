//! Placement with real replicas: the production placement driver decides, and clusters of the production code of stores
//! carry it out, in the [world](crate::world) of all other clusters and before its judges.
//!
//! Stores join, leave, die and come back while clients write, and the placement driver is restarted meanwhile. Then there is
//! peace, and what is decided comes to an end: every region is whole, nothing is left on a store that left, replicas and
//! leads are even, and for a long time nothing moves any more. A region is small here and a run is some minutes long; what
//! hours and hundreds of regions show, [`crate::placement`] shows with modelled stores.
//!
//! What of it is where: how stores tell and obey in `world/placement.rs`, what must hold in the end in `world/balance.rs`, what
//! may be ordered in [`crate::pd::judge::orders`].
//!
//! Reading order: [`plan`], [`trial`], [`marks`].

pub mod marks;
pub mod plan;
pub mod trial;

pub use plan::Scenario;

/// The seeds that every change of the program has to pass, and that reach every mark together.
pub const COMMITTED_SEEDS: std::ops::RangeInclusive<u64> = 1..=500;
