//! Placement in virtual time: the production placement driver, whole, over stores and regions that are modelled.
//!
//! A modelled store has room, bandwidth and labels, and may stop, return and be slow. A modelled region has members, an
//! epoch, a lead and a size, and does what it is told as a store would: for the epoch that an order names, one at a time.
//! Nothing of raft is here, so hours and hundreds of regions cost milliseconds; what regions really do when they are
//! changed is judged where they are real, in [`crate::world`].
//!
//! Reading order: [`driver`], [`store`], [`region`], [`trouble`], [`world`], [`knowledge`], [`judge`], [`travels`], [`plan`],
//! [`trial`], [`curve`], [`large`].

pub mod curve;
pub mod driver;
pub mod judge;
pub mod knowledge;
pub mod large;
pub mod marks;
pub mod plan;
pub mod region;
pub mod store;
pub mod summary;
pub mod travels;
pub mod trial;
pub mod trouble;
pub mod world;

pub use plan::Plan;
pub use store::StorePlan;
pub use summary::Summary;
pub use trouble::Trouble;
pub use world::{Noise, RegionPlan, World};

/// The seeds that every change of the program has to pass, and that reach every mark together.
pub const COMMITTED_SEEDS: std::ops::RangeInclusive<u64> = 1..=400;
