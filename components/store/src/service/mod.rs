//! What a store answers its clients: the public service, health, and the server both run in.
//!
//! A request is checked against its context ([`context`]), then
//! - a **write** is admitted ([`admission`]), replicated, and answered when it is applied;
//! - a **read** waits for a barrier, takes its view of the engine *after* it, and looks at the region's
//!   shape *after* that: whatever was split or moved away before the view was taken is noticed.
//!
//! Nothing here knows raft; all it asks of the rest of the store is [`Regions`].
//!
//! Reading order: [`context`], [`error`], [`raw`], [`commands`], `write`, `read`, [`admission`], [`read_pool`],
//! [`health`], [`listener`], [`server`].

mod admission;
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
mod write;

#[cfg(test)]
mod tests;

use std::future::Future;

use flotilla_base::{Region, RegionId};
use flotilla_multiraft::{Reply, RequestHeader, WriteCommand};

use crate::router::{Router, WriteOutcome};

pub(crate) use server::{routes, serve};

/// What services ask of the replicas of this store: the one seam between requests and raft.
pub(crate) trait Regions: Clone + Send + Sync + 'static {
    /// Replicates a write and waits until it is applied here.
    fn write(
        &self,
        region: RegionId,
        header: RequestHeader,
        command: WriteCommand,
    ) -> impl Future<Output = WriteOutcome> + Send;

    /// Waits until the data on this store holds everything that was acknowledged before the call.
    fn read_barrier(
        &self,
        region: RegionId,
        header: RequestHeader,
    ) -> impl Future<Output = Reply> + Send;

    /// The region as it lives on this store.
    fn region(&self, region: RegionId) -> Option<Region>;

    /// Every region that lives on this store, by start key.
    fn regions(&self) -> Vec<Region>;
}

impl Regions for Router {
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

    fn region(&self, region: RegionId) -> Option<Region> {
        Self::region(self, region)
    }

    fn regions(&self) -> Vec<Region> {
        Self::regions(self)
    }
}
