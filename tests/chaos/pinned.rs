//! Readers that ask one store, whether it leads or not: a leader that was replaced and does not know it, and a
//! follower that is behind, must refuse or be right.

use std::time::{Duration, Instant};

use flotilla_client::{Bytes, Client, KeyRange, RegionInfo, StoreInfo};
use flotilla_histcheck::Response;
use flotilla_proto::{
    kvrpcpb::{Context, RawGetRequest},
    tikvpb::tikv_client::TikvClient,
};
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::{
    clients::{Hand, content},
    common::LIVENESS,
};

const PERIOD: Duration = Duration::from_millis(20);
const CONNECT: Duration = Duration::from_millis(500);
/// Longer than any pause: what waits in a store that stands still is answered when it goes on.
const PATIENCE: Duration = Duration::from_secs(6);

/// One peer of the region of a key.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    channel: Channel,
    context: Context,
    key: Bytes,
    leads: bool,
}

/// All peers of the region of `key`.
pub(crate) async fn targets(client: &Client, key: &str) -> Vec<Target> {
    let range = KeyRange::new(key.to_owned(), format!("{key}0"));
    let admin = client.admin().with_deadline(LIVENESS);
    let stores = admin.stores().await.expect("stores are known");
    let regions = admin.regions(range, 1).await.expect("regions are known");
    peers(&stores, regions.first().expect("each key has a region"), key.to_owned().into())
}

/// All peers of a region, each to be asked for `key`.
pub(crate) fn peers(stores: &[StoreInfo], info: &RegionInfo, key: Bytes) -> Vec<Target> {
    let target = |peer: &flotilla_base::Peer| {
        let store = stores.iter().find(|store| store.id == peer.store).expect("it is registered");
        let endpoint = Endpoint::from_shared(format!("http://{}", store.address));
        let context = Context {
            region_id: info.region.id.get(),
            region_epoch: Some(info.region.epoch.into()),
            peer: Some((*peer).into()),
            ..Context::default()
        };
        Target {
            channel: endpoint.expect("an address").connect_timeout(CONNECT).connect_lazy(),
            context,
            key: key.clone(),
            leads: info.leader.is_some_and(|leader| leader.id == peer.id),
        }
    };
    info.region.peers.iter().map(target).collect()
}

impl Target {
    /// What the store says; `None` where it refuses or does not answer.
    async fn get(&self, key: &str, replica_read: bool) -> Option<Response> {
        let found = self.ask(key.to_owned().into(), replica_read).await?;
        Some(content(found.as_deref()))
    }

    /// Whether it serves a read, which it does once it has applied all that was committed before.
    pub(crate) async fn serves(&self) -> bool {
        self.ask(self.key.clone(), true).await.is_some()
    }

    async fn ask(&self, key: Bytes, replica_read: bool) -> Option<Option<Bytes>> {
        let context = Context { replica_read, ..self.context.clone() };
        let request = RawGetRequest { context: Some(context), key, ..Default::default() };
        let mut client = TikvClient::new(self.channel.clone());
        let answer = timeout(PATIENCE, client.raw_get(request)).await.ok()?.ok()?.into_inner();
        let is_refused = answer.region_error.is_some() || !answer.error.is_empty();
        let value = (!answer.not_found).then_some(answer.value);
        (!is_refused).then_some(value)
    }
}

/// Whether every follower serves a read that allows it, in time.
pub(crate) async fn serve_followers(targets: &[Target]) -> bool {
    let deadline = Instant::now() + LIVENESS;
    for follower in targets.iter().filter(|target| !target.leads) {
        while !follower.serves().await {
            if Instant::now() > deadline {
                return false;
            }
            sleep(PERIOD).await;
        }
    }
    true
}

/// Reads at `target` until the run is over.
pub(crate) async fn read(
    mut hand: Hand,
    target: Target,
    at_followers: bool,
    key: impl Fn(&mut Hand) -> String,
) {
    while !hand.ledger.is_over() {
        sleep(PERIOD).await;
        let key = key(&mut hand);
        let replica_read = at_followers && hand.rng.chance(700);
        let invoked = hand.ledger.now();
        if let Some(found) = target.get(&key, replica_read).await {
            hand.ledger.found(hand.number, key, invoked, found);
        }
    }
}
