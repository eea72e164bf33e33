//! What the owner publishes for everyone: who leads, which cluster this is, whether it has regions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use flotilla_base::Moment;
use flotilla_placement::{BootstrapPlan, Cluster};

/// The state of this member, as last published by the owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// The cluster, once it has an identity.
    pub cluster: Option<Cluster>,
    /// Whether this member leads and has everything it needs to answer.
    pub is_leading: bool,
    /// The first regions, once they were decided.
    pub bootstrap: Option<Arc<BootstrapPlan>>,
    /// How many stores are registered.
    pub stores: usize,
}

impl Status {
    /// The cluster id as the wire has it: zero before there is one.
    pub(crate) fn cluster_id(&self) -> u64 {
        self.cluster.map_or(0, |cluster| cluster.id.get())
    }
}

/// Until when this member may say that it leads. Asked at the moment of each answer.
///
/// A group with one voter is its own majority, so its lease does not end; it is withdrawn when the
/// member steps down or its disk stalls.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    end: AtomicU64,
}

impl Lease {
    pub(crate) fn grant_until(&self, end: Moment) {
        self.end.store(end.0, Ordering::Release);
    }

    pub(crate) fn withdraw(&self) {
        self.end.store(0, Ordering::Release);
    }

    pub(crate) fn holds(&self, now: Moment) -> bool {
        now.0 < self.end.load(Ordering::Acquire)
    }
}
