//! What a store answers its clients: the public service, health, and the server both run in.
//!
//! A request is checked against its context ([`context`]), then
//! - a **write** is admitted ([`admission`]), replicated, and answered when it is applied;
//! - a **read** finds a view of the engine that is new enough ([`view`]), and looks at the region's shape *after*
//!   that: whatever was split or moved away before the view was taken is noticed.
//!
//! Nothing here knows raft; all it asks of the rest of the store is [`Regions`].
//!
//! Reading order: [`context`], [`error`], [`raw`], [`commands`], `write`, `read`, `view`, `together`, [`admission`],
//! [`answers`], [`read_pool`], [`health`], [`listener`], [`server`].

mod admission;
mod answers;
mod commands;
mod context;
mod error;
mod health;
mod listener;
mod raw;
mod read;
mod read_pool;
mod rpc_metrics;
mod server;
mod split;
mod together;
mod view;
mod write;

#[cfg(test)]
mod tests;

use std::future::Future;

use flotilla_base::{Region, RegionId, Version};
use flotilla_multiraft::{NotInPlace, Reply, RequestHeader, WriteCommand};

use crate::{
    delegates::InPlace,
    router::{Router, WriteOutcome},
};

pub(crate) use server::{SplitParts, routes, serve};

/// What services ask of the replicas of this store: the one seam between requests and raft.
pub(crate) trait Regions: Clone + Send + Sync + 'static {
    /// A read in place that has begun.
    type InPlace: Send + 'static;

    /// Replicates a write and waits until it is applied here.
    fn write(
        &self,
        region: RegionId,
        header: RequestHeader,
        command: WriteCommand,
    ) -> impl Future<Output = WriteOutcome> + Send;

    /// Waits until the data on this store, which leads the region, holds everything that was acknowledged
    /// before the call.
    fn read_barrier(
        &self,
        region: RegionId,
        header: RequestHeader,
    ) -> impl Future<Output = Reply> + Send;

    /// The same for a store that need not lead the region.
    fn replica_barrier(
        &self,
        region: RegionId,
        header: RequestHeader,
    ) -> impl Future<Output = Reply> + Send;

    /// Begins a read without any barrier, before its view of the data is taken.
    fn begin_in_place(
        &self,
        region: RegionId,
        header: &RequestHeader,
    ) -> Result<Self::InPlace, NotInPlace>;

    /// Whether the view that was taken since `read` began may be served.
    fn finish_in_place(&self, read: Self::InPlace) -> Result<(), NotInPlace>;

    /// The largest clock of all entries of the region that are applied here, in milliseconds since 1970.
    fn applied_clock_millis(&self, region: RegionId) -> u64;

    /// Whether the region lives on this store in this shape and owns `key`: where not, [`Self::region`] tells why.
    fn owns(&self, region: RegionId, version: Version, key: &[u8]) -> bool;

    /// The region as it lives on this store.
    fn region(&self, region: RegionId) -> Option<Region>;

    /// Names the last time that the region's data here was about to be replaced by a snapshot: whoever finds the same before
    /// a barrier and behind its view has no view of the middle.
    fn last_install(&self, region: RegionId) -> u64;

    /// Every region that lives on this store, by start key.
    fn regions(&self) -> Vec<Region>;
}

impl Regions for Router {
    type InPlace = InPlace;

    fn write(
        &self,
        region: RegionId,
        header: RequestHeader,
        command: WriteCommand,
    ) -> impl Future<Output = WriteOutcome> + Send {
        Self::write(self, region, header, command)
    }

    fn read_barrier(
        &self,
        region: RegionId,
        header: RequestHeader,
    ) -> impl Future<Output = Reply> + Send {
        Self::read_barrier(self, region, header)
    }

    fn replica_barrier(
        &self,
        region: RegionId,
        header: RequestHeader,
    ) -> impl Future<Output = Reply> + Send {
        Self::replica_barrier(self, region, header)
    }

    fn begin_in_place(
        &self,
        region: RegionId,
        header: &RequestHeader,
    ) -> Result<InPlace, NotInPlace> {
        Self::begin_in_place(self, region, header)
    }

    fn finish_in_place(&self, read: InPlace) -> Result<(), NotInPlace> {
        Self::finish_in_place(self, read)
    }

    fn applied_clock_millis(&self, region: RegionId) -> u64 {
        Self::applied_clock_millis(self, region)
    }

    fn owns(&self, region: RegionId, version: Version, key: &[u8]) -> bool {
        Self::owns(self, region, version, key)
    }

    fn region(&self, region: RegionId) -> Option<Region> {
        Self::region(self, region)
    }

    fn last_install(&self, region: RegionId) -> u64 {
        Self::last_install(self, region)
    }

    fn regions(&self) -> Vec<Region> {
        Self::regions(self)
    }
}
