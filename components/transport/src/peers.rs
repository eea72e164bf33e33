//! The sending end: a queue and a task for each lane of each store that was ever sent to.

use std::{collections::HashMap, sync::Arc};

use flotilla_base::StoreId;
use flotilla_proto::raft::RaftEnvelope;
use parking_lot::RwLock;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    link::{Identity, Lane, Limits, LinkFilter, ResolveStore, TransportEvents},
    sender::LaneSender,
    snapshot::Traffic,
    stats::{SnapshotStats, TransportStats},
};

/// What every task of a store's transport shares.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) resolver: Arc<dyn ResolveStore>,
    pub(crate) events: Arc<dyn TransportEvents>,
    pub(crate) stats: TransportStats,
    pub(crate) filter: RwLock<Option<LinkFilter>>,
    pub(crate) snapshots: Traffic,
    /// True once the transport is closed; every task ends with it.
    pub(crate) closed: watch::Sender<bool>,
}

impl Shared {
    /// Whether the filter lets an envelope pass; it does where there is none.
    pub(crate) fn passes(&self, from: StoreId, to: StoreId, envelope: &RaftEnvelope) -> bool {
        let filter = self.filter.read().clone();
        filter.is_none_or(|filter| filter(from, to, envelope))
    }

    /// Ends once the transport is closed.
    pub(crate) async fn until_closed(&self) {
        let mut receiver = self.closed.subscribe();
        let is_closed = receiver.wait_for(|closed| *closed).await.is_ok();
        debug_assert!(is_closed, "`self` holds the sender");
    }
}

type Lanes = [Arc<LaneSender>; Lane::ALL.len()];

/// The other stores, as one store sees them.
pub struct Peers {
    shared: Arc<Shared>,
    runtime: Handle,
    stores: RwLock<HashMap<StoreId, Lanes>>,
}

impl Peers {
    /// A transport without connections; they come about when there is something to send. Its tasks run
    /// on `runtime` until [`Self::close`] or until it is dropped.
    #[must_use]
    pub fn new(
        identity: Identity,
        resolver: Arc<dyn ResolveStore>,
        events: Arc<dyn TransportEvents>,
        limits: Limits,
        runtime: Handle,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            identity,
            limits,
            resolver,
            events,
            stats: TransportStats::default(),
            filter: RwLock::new(None),
            snapshots: Traffic::new(limits.snapshots),
            closed: watch::Sender::new(false),
        });
        Arc::new(Self { shared, runtime, stores: RwLock::default() })
    }

    /// Appends an envelope to the queue of a lane. Never blocks, never calls out: what finds no room is
    /// reported by the next [`Self::flush`]. It leaves with the next flush, or earlier.
    pub fn send(&self, to: StoreId, lane: Lane, envelope: RaftEnvelope) {
        if *self.shared.closed.borrow()
            || !self.shared.passes(self.shared.identity.store_id, to, &envelope)
        {
            return;
        }
        let known = self.stores.read().get(&to).map(|lanes| Arc::clone(&lanes[lane.number()]));
        known.unwrap_or_else(|| self.add_store(to, lane)).push(envelope);
    }

    /// Wakes the tasks that have something to send and reports what found no room. To be called once
    /// after a round of sends, outside every lock that [`TransportEvents::unreachable`] may need.
    pub fn flush(&self) {
        let lanes: Vec<_> = {
            let stores = self.stores.read();
            let dirty = stores.values().flatten().filter(|lane| lane.take_dirty());
            dirty.cloned().collect()
        };
        for lane in lanes {
            lane.flush();
        }
    }

    /// Ends a wait between two attempts to reach `store`: its address changed, or it was heard of.
    pub fn retry_now(&self, store: StoreId) {
        if let Some(lanes) = self.stores.read().get(&store) {
            lanes.iter().for_each(|lane| lane.retry_now());
        }
    }

    /// The stores that something was sent to so far.
    #[must_use]
    pub fn known_stores(&self) -> Vec<StoreId> {
        self.stores.read().keys().copied().collect()
    }

    /// Loses every envelope, in both directions, that `filter` refuses. Silently, as a network would.
    pub fn set_filter(&self, filter: Option<LinkFilter>) {
        *self.shared.filter.write() = filter;
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &TransportStats {
        &self.shared.stats
    }

    /// What has become of snapshots.
    #[must_use]
    pub fn snapshot_stats(&self) -> &SnapshotStats {
        &self.shared.snapshots.stats
    }

    /// This store.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// Ends every task and refuses every incoming stream from now on.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn add_store(&self, store: StoreId, lane: Lane) -> Arc<LaneSender> {
        let mut stores = self.stores.write();
        let lanes = stores.entry(store).or_insert_with(|| {
            Lane::ALL.map(|lane| LaneSender::spawn(store, lane, &self.shared, &self.runtime))
        });
        Arc::clone(&lanes[lane.number()])
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.close();
    }
}
