//! What the owner publishes for everyone: who leads, which cluster this is, whether it has regions.

use std::sync::Arc;

use flotilla_placement::{BootstrapPlan, Cluster, MetaState};

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

    /// Takes over what is applied now; whether anything is new.
    pub(crate) fn update(&mut self, state: &MetaState, is_leading: bool) -> bool {
        let (cluster, stores) = (state.cluster(), state.stores().len());
        let has_regions = state.bootstrap().is_some();
        let is_same = (self.cluster, self.is_leading, self.stores, self.bootstrap.is_some())
            == (cluster, is_leading, stores, has_regions);
        if is_same {
            return false;
        }
        // A plan is made once and never changes.
        let bootstrap = self.bootstrap.take().or_else(|| state.bootstrap().cloned().map(Arc::new));
        *self = Self { cluster, is_leading, bootstrap, stores };
        true
    }
}
