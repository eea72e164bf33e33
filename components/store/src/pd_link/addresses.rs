//! Where other stores are. The transport asks before each attempt to connect, so a question about a
//! store that is known means that its address may be wrong by now.

use std::{collections::HashMap, sync::Arc, time::Duration};

use flotilla_base::StoreId;
use flotilla_proto::{
    metapb,
    pdpb::{self, pd_client::PdClient},
};
use flotilla_transport::{ResolveStore, Resolved};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::leader::{Leader, check_header};

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
}

impl StoreAddresses {
    pub(super) fn new(leader: Arc<Leader>) -> Self {
        Self { leader, known: Mutex::default() }
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
            Err(error) => tracing::warn!(%error, "other stores are looked up one by one"),
        }
    }

    fn note(&self, store: StoreId, address: Resolved) {
        let asked = Instant::now();
        if address != Resolved::Unknown {
            self.known.lock().insert(store, Known { address, asked });
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
