//! Connections: how they are set up, shared, and given up.

use std::{
    collections::BTreeMap,
    error::Error as _,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flotilla_base::address::authority;
use parking_lot::RwLock;
use tonic::transport::{Channel, Endpoint};

use crate::{
    commands::Commands,
    flight::{Flight, Landed},
};

/// A connection that is silent for so long while calls wait on it is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// It is given up when none comes for so long: a half-open connection costs at most the sum.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Flow-control windows; the protocol's own 64 KiB would make large values wait for round trips.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// One of the connections to a store.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) channel: Channel,
    pub(crate) commands: Commands,
    slot: Arc<Slot>,
    number: u64,
}

type Slot = Flight<(Channel, Commands)>;

impl Link {
    /// Gives the connection up, so that the next call makes a new one.
    pub(crate) fn discard(&self) {
        self.slot.discard(self.number);
    }
}

#[derive(Debug)]
struct Lane {
    slots: Vec<Arc<Slot>>,
    turn: AtomicUsize,
}

/// The connections to all stores, by address. Bounded by the addresses that stores ever had.
#[derive(Debug)]
pub(crate) struct Links {
    lanes: RwLock<BTreeMap<Arc<str>, Arc<Lane>>>,
    connections_per_store: usize,
    connect_timeout: Duration,
}

impl Links {
    pub(crate) fn new(connections_per_store: usize, connect_timeout: Duration) -> Self {
        Self {
            lanes: RwLock::default(),
            connections_per_store: connections_per_store.max(1),
            connect_timeout,
        }
    }

    /// A connection to `address`; the error says in plain words why there is none.
    pub(crate) async fn connect(&self, address: &Arc<str>) -> Result<Link, Arc<str>> {
        let lane = self.lane(address);
        let turn = lane.turn.fetch_add(1, Ordering::Relaxed) % lane.slots.len();
        let slot = Arc::clone(&lane.slots[turn]);
        let timeout = self.connect_timeout;
        let connect = || {
            let address = Arc::clone(address);
            async move {
                let channel = open(&address, timeout).await?;
                let commands = Commands::open(channel.clone());
                Ok((channel, commands))
            }
        };
        let mut landed = slot.get(connect).await?;
        if landed.value.1.is_over() {
            // It was lost while nobody used it.
            slot.discard(landed.number);
            landed = slot.get(connect).await?;
        }
        let Landed { value: (channel, commands), number } = landed;
        Ok(Link { channel, commands, slot, number })
    }

    fn lane(&self, address: &Arc<str>) -> Arc<Lane> {
        if let Some(lane) = self.lanes.read().get(address) {
            return Arc::clone(lane);
        }
        let slots = || (0..self.connections_per_store).map(|_slot| Arc::default()).collect();
        let lane = || Arc::new(Lane { slots: slots(), turn: AtomicUsize::new(0) });
        Arc::clone(self.lanes.write().entry(Arc::clone(address)).or_insert_with(lane))
    }
}

/// Whether `address` (`host:port`, perhaps with `http://`) can be connected to at all.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, String> {
    if address.starts_with("https://") {
        return Err(format!("{address} asks for TLS, which this client does not speak yet"));
    }
    let authority = authority(address);
    let port = authority.rsplit_once(':').map(|(_host, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        return Err(format!(
            "{address:?} is no address: host and port are needed, e.g. 127.0.0.1:2379"
        ));
    }
    Endpoint::from_shared(format!("http://{authority}")).map_err(|_why| {
        format!("{address:?} is no address: host and port are needed, e.g. 127.0.0.1:2379")
    })
}

/// Makes a connection now, so that a failure here proves that no request was sent.
pub(crate) async fn open(address: &str, timeout: Duration) -> Result<Channel, String> {
    let endpoint = endpoint(address)?
        .connect_timeout(timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    match tokio::time::timeout(timeout, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(why)) => Err(explain_connect(address, &why)),
        Err(_elapsed) => Err(format!("{address} did not answer within {timeout:?}")),
    }
}

fn explain_connect(address: &str, why: &tonic::transport::Error) -> String {
    match find_io(why.source()).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => format!("nothing listens at {address}"),
        Some(io::ErrorKind::TimedOut) => format!("{address} did not answer in time"),
        _ => format!("{address}: {}", innermost(why)),
    }
}

fn find_io<'a>(mut cause: Option<&'a (dyn std::error::Error + 'static)>) -> Option<&'a io::Error> {
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}

/// The innermost cause of an error: the only one that says what happened rather than to whom.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
