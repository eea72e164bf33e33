//! Stores without anything but a transport, each on its own loopback address.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::{
    collections::HashMap,
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use flotilla_base::{ClusterId, Incarnation, StoreId};
use flotilla_proto::raft::{
    RaftEntry, RaftEnvelope, RaftMessage, RaftMessageKind, SnapshotData, SnapshotHead, SnapshotTail,
};
use flotilla_transport::{
    Identity, Lane, Limits, Peers, RaftService, ReceiveSnapshot, ResolveStore, Resolved,
    SnapshotSink, Target, TransportEvents,
};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;

/// Whatever must happen happens within this time, or the test fails.
const LIVENESS: Duration = Duration::from_secs(30);

const PORT: u16 = 20160;

pub(crate) const CLUSTER: ClusterId = ClusterId(77);

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIVENESS, future).await.unwrap_or_else(|_late| panic!("{what}: not within 30 s"))
}

/// An address that no other test of this machine listens on.
pub(crate) fn own_address() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed) + 1;
    let id = process::id();
    format!("127.{}.{}.{number}:{PORT}", 1 + (id >> 8) % 254, id % 256)
}

/// Addresses that a test may change.
#[derive(Default)]
pub(crate) struct Book(Mutex<HashMap<StoreId, Resolved>>);

impl Book {
    pub(crate) fn set(&self, store: StoreId, address: &str) {
        self.0.lock().insert(store, Resolved::At(address.to_owned()));
    }

    #[allow(dead_code, reason = "not every test forgets")]
    pub(crate) fn forget(&self, store: StoreId) {
        self.0.lock().remove(&store);
    }
}

#[tonic::async_trait]
impl ResolveStore for Book {
    async fn resolve(&self, store: StoreId) -> Resolved {
        self.0.lock().get(&store).cloned().unwrap_or(Resolved::Unknown)
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) from: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) envelopes: Vec<RaftEnvelope>,
}

struct Recorder {
    deliveries: mpsc::UnboundedSender<Delivery>,
    unreachable: mpsc::UnboundedSender<(StoreId, Vec<Target>)>,
}

impl TransportEvents for Recorder {
    fn deliver(&self, from: StoreId, incarnation: Incarnation, envelopes: Vec<RaftEnvelope>) {
        // The test may have ended, and its receivers with it.
        drop(self.deliveries.send(Delivery { from, incarnation, envelopes }));
    }

    fn unreachable(&self, store: StoreId, targets: Vec<Target>) {
        drop(self.unreachable.send((store, targets)));
    }
}

/// What a store hears of snapshots.
#[derive(Debug, PartialEq)]
pub(crate) enum Shelved {
    Began(Box<SnapshotHead>),
    Took(SnapshotData),
    Finished(SnapshotTail),
    BrokenOff,
}

/// Takes snapshots, as fast as it is allowed to.
pub(crate) struct Shelf {
    events: mpsc::UnboundedSender<Shelved>,
    /// One for each part that is taken.
    pub(crate) permits: Arc<Semaphore>,
    /// What the next snapshot is refused with.
    pub(crate) refusal: Mutex<Option<Status>>,
}

struct Sink {
    events: mpsc::UnboundedSender<Shelved>,
    permits: Arc<Semaphore>,
    is_finished: bool,
}

#[tonic::async_trait]
impl ReceiveSnapshot for Shelf {
    async fn begin(
        &self,
        _from: StoreId,
        head: SnapshotHead,
    ) -> Result<Box<dyn SnapshotSink>, Status> {
        if let Some(refusal) = self.refusal.lock().take() {
            return Err(refusal);
        }
        drop(self.events.send(Shelved::Began(Box::new(head))));
        let (events, permits) = (self.events.clone(), Arc::clone(&self.permits));
        Ok(Box::new(Sink { events, permits, is_finished: false }))
    }
}

#[tonic::async_trait]
impl SnapshotSink for Sink {
    async fn take(&mut self, data: SnapshotData) -> Result<(), Status> {
        self.permits.acquire().await.expect("never closed").forget();
        drop(self.events.send(Shelved::Took(data)));
        Ok(())
    }

    async fn finish(mut self: Box<Self>, tail: SnapshotTail) -> Result<(), Status> {
        self.is_finished = true;
        drop(self.events.send(Shelved::Finished(tail)));
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.is_finished {
            drop(self.events.send(Shelved::BrokenOff));
        }
    }
}

pub(crate) struct Node {
    pub(crate) peers: Arc<Peers>,
    pub(crate) shelf: Arc<Shelf>,
    shelved: mpsc::UnboundedReceiver<Shelved>,
    pub(crate) address: String,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    unreachable: mpsc::UnboundedReceiver<(StoreId, Vec<Target>)>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

pub(crate) fn identity(store: u64, incarnation: u64) -> Identity {
    Identity {
        cluster_id: CLUSTER,
        store_id: StoreId(store),
        incarnation: Incarnation(incarnation),
    }
}

/// Short waits: tests need not wait for the usual ones.
pub(crate) fn limits() -> Limits {
    Limits {
        keep_alive_interval: Duration::from_millis(200),
        keep_alive_timeout: Duration::from_millis(300),
        longest_backoff: Duration::from_millis(200),
        ..Limits::default()
    }
}

impl Node {
    pub(crate) async fn start(identity: Identity, address: String, book: &Arc<Book>) -> Self {
        Self::with_limits(identity, address, book, limits()).await
    }

    pub(crate) async fn with_limits(
        identity: Identity,
        address: String,
        book: &Arc<Book>,
        limits: Limits,
    ) -> Self {
        let (deliveries, delivered) = mpsc::unbounded_channel();
        let (unreachable, reported) = mpsc::unbounded_channel();
        let events = Arc::new(Recorder { deliveries, unreachable });
        let resolver = Arc::<Book>::clone(book);
        let peers = Peers::new(identity, resolver, events, limits, Handle::current());
        let listener = TcpListener::bind(&address).await.expect("an address of its own");
        let (shelf_events, shelved) = mpsc::unbounded_channel();
        let shelf = Arc::new(Shelf {
            events: shelf_events,
            permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            refusal: Mutex::default(),
        });
        let receiver = Arc::<Shelf>::clone(&shelf);
        let service = RaftService::server(Arc::clone(&peers), receiver);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                    drop(stopped.await);
                })
                .await
                .expect("server");
        });
        book.set(identity.store_id, &address);
        let (deliveries, unreachable) = (delivered, reported);
        Self { peers, shelf, shelved, address, deliveries, unreachable, stop, server }
    }

    /// Ends transport and server; open streams must not hold it up.
    pub(crate) async fn stop(self) {
        self.peers.close();
        self.stop.send(()).expect("the server waits for it");
        within("the server ends", self.server).await.expect("server task");
    }

    pub(crate) async fn delivery(&mut self) -> Delivery {
        within("a delivery", self.deliveries.recv()).await.expect("the recorder lives")
    }

    pub(crate) async fn reported(&mut self) -> (StoreId, Vec<Target>) {
        within("a report", self.unreachable.recv()).await.expect("the recorder lives")
    }

    pub(crate) async fn shelved(&mut self) -> Shelved {
        within("a word about a snapshot", self.shelved.recv()).await.expect("the shelf lives")
    }

    pub(crate) fn has_shelved(&self) -> bool {
        !self.shelved.is_empty()
    }

    pub(crate) fn has_delivery(&self) -> bool {
        !self.deliveries.is_empty()
    }

    pub(crate) fn send(&self, to: u64, envelope: RaftEnvelope) {
        let kind =
            envelope.message.as_ref().map_or(RaftMessageKind::Unspecified, RaftMessage::kind);
        self.peers.send(StoreId(to), Lane::of(kind), envelope);
    }

    /// Sends heartbeats to store `to` until it has one.
    pub(crate) async fn send_until_delivered(&self, to: &mut Self) -> Delivery {
        let id = to.peers.identity().store_id.get();
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        within("a heartbeat gets through", async {
            loop {
                tokio::select! {
                    delivery = to.deliveries.recv() => return delivery.expect("the recorder lives"),
                    _tick = pace.tick() => {
                        self.send(id, self.heartbeat(id, 1));
                        self.peers.flush();
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn heartbeat(&self, to: u64, region_id: u64) -> RaftEnvelope {
        self.envelope(to, region_id, RaftMessageKind::Heartbeat)
    }

    /// About no region, and from no peer to another.
    pub(crate) fn sign_of_life(&self, to: u64) -> RaftEnvelope {
        let kind = RaftMessageKind::SignOfLife.into();
        RaftEnvelope {
            from_store: self.peers.identity().store_id.get(),
            to_store: to,
            message: Some(RaftMessage { kind, ..RaftMessage::default() }),
            ..RaftEnvelope::default()
        }
    }

    pub(crate) fn append(
        &self,
        to: u64,
        region_id: u64,
        index: u64,
        data_bytes: usize,
    ) -> RaftEnvelope {
        let mut envelope = self.envelope(to, region_id, RaftMessageKind::Append);
        let message = envelope.message.as_mut().expect("made above");
        message.index = index;
        message
            .entries
            .push(RaftEntry { data: vec![7; data_bytes].into(), ..RaftEntry::default() });
        envelope
    }

    pub(crate) fn envelope(&self, to: u64, region_id: u64, kind: RaftMessageKind) -> RaftEnvelope {
        let from = self.peers.identity().store_id.get();
        RaftEnvelope {
            region_id,
            from_peer: region_id * 10 + from,
            from_store: from,
            to_peer: region_id * 10 + to,
            to_store: to,
            version: 1,
            conf_ver: 1,
            message: Some(RaftMessage { kind: kind.into(), term: 5, ..RaftMessage::default() }),
            ..RaftEnvelope::default()
        }
    }
}
