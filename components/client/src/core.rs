//! What all clones of a client share.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_base::{Moment, StoreId};
use flotilla_proto::health::{HealthCheckRequest, health_client::HealthClient};
use flotilla_routing::{Failure, NoRoute, RegionCache, Route};
use parking_lot::RwLock;
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::{
    error::Error,
    links::{Link, Links},
    options::ClientOptions,
    pd::PdLink,
    stats::ClientStats,
};

/// How long a call that has a doubted answer in the cache waits for a better one.
const RELOAD_PATIENCE: Duration = Duration::from_millis(300);

/// Which region a call is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// The one that owns the key.
    At(&'a [u8]),
    /// The one that owns the keys right below the key; empty for the end of all keys.
    Below(&'a [u8]),
}

/// Connections, map, counters and clock. The lock on the map is held for single steps only.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: ClientOptions,
    pub(crate) pd: PdLink,
    pub(crate) cache: RwLock<RegionCache>,
    pub(crate) stats: ClientStats,
    links: Links,
    born: Instant,
    seed: u64,
    calls: AtomicU64,
    /// Reads that were sent to a replica by turns.
    replica_turns: AtomicU64,
}

impl Core {
    pub(crate) fn new(endpoints: &[&str], options: ClientOptions) -> Result<Self, Error> {
        Ok(Self {
            pd: PdLink::new(endpoints, options.connect_timeout)?,
            cache: RwLock::default(),
            stats: ClientStats::default(),
            links: Links::new(options.connections_per_store, options.connect_timeout),
            born: Instant::now(),
            seed: RandomState::new().hash_one("flotilla-client"),
            calls: AtomicU64::new(0),
            replica_turns: AtomicU64::new(0),
            options,
        })
    }

    /// The client's own clock.
    pub(crate) fn now(&self) -> Moment {
        Moment::default() + self.born.elapsed().into()
    }

    /// The instant of a moment of that clock.
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.born + Duration::from(moment.since(Moment::default()))
    }

    /// A seed for the pauses of one call.
    pub(crate) fn next_seed(&self) -> u64 {
        self.seed ^ self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Another way to the region of `route`: to one of its replicas, each in turn.
    pub(crate) fn replica(&self, route: &Route) -> Route {
        let turn = self.replica_turns.fetch_add(1, Ordering::Relaxed);
        self.cache.read().replica(self.now(), route, turn)
    }

    /// The way to `place`: from the map, or, where the map has none, from the placement driver.
    /// A doubted region is asked for again by one call; that one goes on with what there is when
    /// the answer is slow, so that a dead placement driver does not stop a living region.
    pub(crate) async fn route(&self, place: Place<'_>) -> Result<Route, Failure> {
        let Some((route, is_doubted)) = self.cached(place) else {
            self.pd.look_up(place, &self.cache).await?;
            let found = self.cached(place).map(|(route, _doubted)| route);
            // Nothing found: the placement driver is behind what stores have told.
            return found.ok_or(Failure::NoRoute(NoRoute::Region));
        };
        if !is_doubted || !self.cache.write().claim_reload(route.region.id) {
            return Ok(route);
        }
        let answer = self.pd.look_up(place, &self.cache);
        if let Ok(Err(Failure::Rejected(text))) = timeout(RELOAD_PATIENCE, answer).await {
            return Err(Failure::Rejected(text));
        }
        Ok(self.cached(place).map_or(route, |(route, _doubted)| route))
    }

    /// A connection to a store.
    pub(crate) async fn link(&self, store: StoreId) -> Result<(Arc<str>, Link), Failure> {
        let address = self.address(store).await?;
        match self.links.connect(&address).await {
            Ok(link) => Ok((address, link)),
            Err(why) => Err(Failure::Unsent(why.to_string())),
        }
    }

    /// Whether the server at `address` says anything at all within `patience`. That it does not know the question is
    /// an answer, too.
    pub(crate) async fn is_answering(&self, address: &Arc<str>, patience: Duration) -> bool {
        let question = async {
            let link = self.links.connect(address).await.ok()?;
            let mut server = HealthClient::new(link.channel.clone());
            let answer = server.check(HealthCheckRequest::default()).await;
            let is_answer = |status: &tonic::Status| {
                matches!(status.code(), Code::Unimplemented | Code::NotFound)
            };
            if !answer.as_ref().err().is_none_or(is_answer) {
                link.discard();
                return None;
            }
            Some(())
        };
        // A connection that stays silent gives itself up.
        timeout(patience, question).await.is_ok_and(|answer| answer.is_some())
    }

    fn cached(&self, place: Place<'_>) -> Option<(Route, bool)> {
        let cache = self.cache.read();
        let route = match place {
            Place::At(key) => cache.locate(key),
            Place::Below(key) => cache.locate_below(key),
        }?;
        let is_doubted = cache.is_doubted(route.region.id);
        Some((route, is_doubted))
    }

    async fn address(&self, store: StoreId) -> Result<Arc<str>, Failure> {
        let (known, is_doubted) = {
            let cache = self.cache.read();
            (cache.address(store), cache.is_address_doubted(store))
        };
        let Some(known) = known else {
            let address = self.pd.store_address(store).await?;
            self.cache.write().learn_address(store, &address);
            return Ok(address.into());
        };
        if is_doubted && self.cache.write().claim_address_reload(store) {
            let answer = timeout(RELOAD_PATIENCE, self.pd.store_address(store)).await;
            if let Ok(Ok(address)) = answer {
                self.cache.write().learn_address(store, &address);
                return Ok(address.into());
            }
        }
        Ok(known)
    }
}
