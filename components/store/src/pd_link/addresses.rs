//! Where other stores are. The transport asks before each attempt to connect, so a question about a
//! store that is known means that its address may be wrong by now; and for each store that calls for the first time.
//!
//! An answer may be that the store is a tombstone. Replicas that wait for a word of that store hear of it, since none will
//! come: whoever sends to it connects again and again, so it is asked for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use flotilla_base::StoreId;
use flotilla_multiraft::SharedLiveness;
use flotilla_proto::{
    metapb,
    pdpb::{self, pd_client::PdClient},
};
use flotilla_transport::{ResolveStore, Resolved};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::leader::{Leader, PdLinkError, check_header};

/// An address that is no older is taken as it is.
const FRESH: Duration = Duration::from_millis(500);

/// How long a connection to another store may wait for a newer address than the one that is known.
const REFRESH_TIME: Duration = Duration::from_millis(300);

/// How long it may wait where none is known.
const FIRST_TIME: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
struct Known {
    address: Resolved,
    asked: Instant,
}

/// Addresses as the placement driver last told them; bounded by the stores there are.
#[derive(Debug)]
pub(super) struct StoreAddresses {
    leader: Arc<Leader>,
    known: Mutex<HashMap<StoreId, Known>>,
    /// Tombstones, each by an answer of the placement driver. That is final: none is ever registered again.
    gone: watch::Sender<BTreeSet<StoreId>>,
}

impl StoreAddresses {
    pub(super) fn new(leader: Arc<Leader>) -> Self {
        Self { leader, known: Mutex::default(), gone: watch::Sender::default() }
    }

    /// Stores that the placement driver has said to be gone for good, as they become known.
    pub(super) fn gone(&self) -> watch::Receiver<BTreeSet<StoreId>> {
        self.gone.subscribe()
    }

    /// Makes every address old.
    #[cfg(test)]
    pub(super) fn expire(&self) {
        self.known.lock().values_mut().for_each(|known| known.asked -= FRESH);
    }

    /// `None` where the placement driver does not answer.
    async fn ask(&self, store: StoreId) -> Option<Resolved> {
        let ask = |channel, header: pdpb::RequestHeader| async move {
            let request = pdpb::GetStoreRequest { header: Some(header), store_id: store.get() };
            let answer = PdClient::new(channel).get_store(request).await?.into_inner();
            check_header(answer.header)?;
            Ok(answer.store)
        };
        let told = self.leader.ask_long(FIRST_TIME, ask).await.ok()?;
        Some(told.map_or(Resolved::Unknown, address))
    }

    /// Learns where all stores are. A store that has just started can then reach them without the placement
    /// driver, which may be the next to fail.
    pub(super) async fn learn_all(&self) {
        let ask = |channel, header: pdpb::RequestHeader| async move {
            let request = pdpb::GetAllStoresRequest {
                header: Some(header),
                ..pdpb::GetAllStoresRequest::default()
            };
            let answer = PdClient::new(channel).get_all_stores(request).await?.into_inner();
            check_header(answer.header)?;
            Ok(answer.stores)
        };
        match self.leader.ask_long(FIRST_TIME, ask).await {
            Ok(stores) => stores.into_iter().for_each(|store| {
                let id = StoreId(store.id);
                self.note(id, address(store));
            }),
            // Every first start; there is nobody to talk to yet.
            Err(PdLinkError::NotBootstrapped) => tracing::debug!("the cluster has no regions yet"),
            Err(error) => tracing::warn!(%error, "other stores are looked up one by one"),
        }
    }

    fn note(&self, store: StoreId, address: Resolved) {
        let asked = Instant::now();
        if address == Resolved::Gone {
            self.gone.send_if_modified(|gone| gone.insert(store));
        }
        if address != Resolved::Unknown {
            self.known.lock().insert(store, Known { address, asked });
        }
    }
}

/// Tells the replicas which stores are gone for good, for ever.
pub(super) async fn bury_stores(
    mut gone: watch::Receiver<BTreeSet<StoreId>>,
    liveness: SharedLiveness,
) {
    loop {
        let stores = gone.borrow_and_update().clone();
        liveness.change(|liveness| stores.iter().for_each(|store| liveness.bury(*store)));
        if gone.changed().await.is_err() {
            return;
        }
    }
}

/// Where a store is that the placement driver has told of.
fn address(store: metapb::Store) -> Resolved {
    match store {
        store if store.state() == metapb::StoreState::Tombstone => Resolved::Gone,
        store if !store.peer_address.is_empty() => Resolved::At(store.peer_address),
        store if !store.address.is_empty() => Resolved::At(store.address),
        _ => Resolved::Unknown,
    }
}

#[tonic::async_trait]
impl ResolveStore for StoreAddresses {
    async fn resolve(&self, store: StoreId) -> Resolved {
        let known = self.known.lock().get(&store).cloned();
        if let Some(known) = &known
            && known.asked.elapsed() < FRESH
        {
            return known.address.clone();
        }
        let patience = if known.is_some() { REFRESH_TIME } else { FIRST_TIME };
        let told = timeout(patience, self.ask(store)).await.ok().flatten();
        match (told, known) {
            (Some(address), _) => {
                self.note(store, address.clone());
                address
            }
            // Away, not wrong: what was true is the best guess.
            (None, Some(known)) => known.address,
            (None, None) => Resolved::Unknown,
        }
    }
}
