//! The receiving end: admits streams of this cluster and delivers their batches.

use std::{collections::HashMap, pin::pin, sync::Arc};

use flotilla_base::{Incarnation, StoreId};
use flotilla_proto::raft::{
    RaftBatch, RaftEnvelope, RaftMessageKind, SnapshotChunk, SnapshotDone, StreamDone,
    raft_server::{Raft, RaftServer},
};
use parking_lot::Mutex;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    beats::unpack,
    hello::Hello,
    link::{Identity, Resolved},
    peers::Peers,
    queue::kind_of,
    snapshot::{ReceiveSnapshot, receive},
};

/// Largest batch that is decoded, in bytes.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// The service `flotilla.raft.Raft` of a store.
pub struct RaftService {
    peers: Arc<Peers>,
    /// The latest run of each store that called. Bounded by the stores of the cluster: see [`Self::look_up`].
    incarnations: Mutex<HashMap<StoreId, Incarnation>>,
    snapshots: Arc<dyn ReceiveSnapshot>,
}

impl RaftService {
    /// The service, ready to be added to a gRPC server. Its streams end with [`Peers::close`].
    #[must_use]
    pub fn server(peers: Arc<Peers>, snapshots: Arc<dyn ReceiveSnapshot>) -> RaftServer<Self> {
        RaftServer::new(Self { peers, incarnations: Mutex::default(), snapshots })
            .max_decoding_message_size(MAX_BATCH_BYTES)
    }

    async fn receive(&self, request: Request<Streaming<RaftBatch>>) -> Result<(), Status> {
        let shared = self.peers.shared();
        let hello = Hello::read(request.metadata())?;
        hello.check(shared.identity)?;
        self.look_up(hello.from.store_id).await?;
        self.admit(hello.from)?;
        // A store that calls is there: no need to wait for the next attempt to reach it.
        self.peers.retry_now(hello.from.store_id);
        let mut batches = request.into_inner();
        let mut closed = pin!(shared.until_closed());
        loop {
            let batch = tokio::select! {
                batch = batches.message() => batch?,
                () = &mut closed => return Err(Status::unavailable("store is closing")),
            };
            let Some(batch) = batch else { return Ok(()) };
            // Once a later run of that store has called, what is left of the earlier one is void.
            self.admit(hello.from)?;
            self.deliver(hello.from, batch)?;
        }
    }

    async fn receive_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<(), Status> {
        let shared = self.peers.shared();
        let hello = Hello::read(request.metadata())?;
        hello.check(shared.identity)?;
        self.look_up(hello.from.store_id).await?;
        self.admit(hello.from)?;
        let chunks = request.into_inner();
        tokio::select! {
            received = receive(shared, hello.from.store_id, chunks, self.snapshots.as_ref()) => {
                received
            }
            () = shared.until_closed() => Err(Status::unavailable("store is closing")),
        }
    }

    /// Who calls for the first time has to be a store of the cluster, one that is gone included. What is kept of callers,
    /// here and behind this, is bounded by those, whatever ids a caller makes up.
    ///
    /// # Errors
    /// UNAVAILABLE where nobody knows the store, or nobody who knows answers: a store tries again.
    async fn look_up(&self, store: StoreId) -> Result<(), Status> {
        let has_called = self.incarnations.lock().contains_key(&store);
        if has_called || self.peers.shared().resolver.resolve(store).await != Resolved::Unknown {
            return Ok(());
        }
        Err(Status::unavailable(format!("store {store} is not known in this cluster")))
    }

    /// Notes a run of a store. Nobody but the store's own directory knows its runs. So a caller that names a store and a run
    /// far beyond its own locks that store out, from this process and until it ends. Whoever reaches this port can do worse
    /// in that name.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for an earlier run than the latest one.
    fn admit(&self, from: Identity) -> Result<(), Status> {
        let mut incarnations = self.incarnations.lock();
        let latest = incarnations.entry(from.store_id).or_default();
        if from.incarnation < *latest {
            return Err(Status::failed_precondition(format!(
                "mismatch incarnation: store {} called as run {}, its run {latest} has called",
                from.store_id, from.incarnation
            )));
        }
        *latest = from.incarnation;
        Ok(())
    }

    /// # Errors
    /// INVALID_ARGUMENT for a batch that no store sends.
    fn deliver(&self, from: Identity, batch: RaftBatch) -> Result<(), Status> {
        let shared = self.peers.shared();
        let me = shared.identity.store_id;
        let unpacked = unpack(batch, from.store_id, me);
        let mut envelopes = unpacked.map_err(|why| Status::invalid_argument(why.to_string()))?;
        let all = envelopes.len();
        envelopes.retain(|envelope| is_sound(envelope, from.store_id, me));
        shared.stats.dropped_refused.add(all - envelopes.len());
        envelopes.retain(|envelope| shared.passes(from.store_id, me, envelope));
        if envelopes.is_empty() {
            return Ok(());
        }
        // Stable: the envelopes of one region keep their order.
        envelopes.sort_by_key(|envelope| envelope.region_id);
        shared.stats.received_messages.add(envelopes.len());
        shared.stats.received_batches.add(1);
        shared.events.deliver(from.store_id, from.incarnation, envelopes);
        Ok(())
    }
}

/// A later version may send kinds that this one does not know: they are left out, the stream goes on.
fn is_sound(envelope: &RaftEnvelope, from: StoreId, me: StoreId) -> bool {
    let kind = kind_of(envelope);
    // A store's sign of life is about no region, and nothing else is.
    let is_about_none = kind == RaftMessageKind::SignOfLife;
    envelope.from_store == from.get()
        && envelope.to_store == me.get()
        && (envelope.region_id == 0) == is_about_none
        && kind != RaftMessageKind::Unspecified
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn stream(
        &self,
        request: Request<Streaming<RaftBatch>>,
    ) -> Result<Response<StreamDone>, Status> {
        let caller = request.remote_addr();
        match self.receive(request).await {
            Ok(()) => Ok(Response::new(StreamDone {})),
            Err(status) => {
                let (code, reason) = (status.code(), status.message());
                tracing::debug!(?caller, %code, reason, "ended a raft stream");
                self.peers.stats().broken_streams.add(1);
                Err(status)
            }
        }
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotDone>, Status> {
        let caller = request.remote_addr();
        let stats = &self.peers.snapshot_stats();
        match self.receive_snapshot(request).await {
            Ok(()) => {
                stats.received.add(1);
                Ok(Response::new(SnapshotDone {}))
            }
            Err(status) => {
                let (code, reason) = (status.code(), status.message());
                tracing::info!(?caller, %code, reason, "a snapshot was not taken");
                stats.receive_failed.add(1);
                Err(status)
            }
        }
    }
}
