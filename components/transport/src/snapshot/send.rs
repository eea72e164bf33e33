//! The sending end: one call, one connection, one outcome.

use std::pin::pin;

use flotilla_base::StoreId;
use flotilla_proto::raft::{
    SnapshotChunk, SnapshotHead, SnapshotTail, raft_client::RaftClient, snapshot_chunk::Part,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::{SnapshotFailure, SnapshotPart, SnapshotSlot, deadline::Deadline};
use crate::{
    hello::Hello,
    link::Resolved,
    peers::{Peers, Shared},
    sender::{causes, endpoint},
};

/// Chunks that are read ahead while the connection has no room.
const READ_AHEAD: usize = 1;

/// The parts of a snapshot, or why the next one cannot be read. Pulled on a thread that may wait.
type Parts = Box<dyn Iterator<Item = Result<SnapshotPart, String>> + Send>;

impl Peers {
    /// The right to send a snapshot to `store`; `None` while too many are sent.
    #[must_use]
    pub fn reserve_snapshot(&self, store: StoreId) -> Option<SnapshotSlot> {
        self.shared().snapshots.send_to(store)
    }

    /// Sends a snapshot and waits until the receiver keeps it. Must be called on a thread of a runtime.
    ///
    /// # Errors
    /// [`SnapshotFailure`]; what the receiver has is not known then.
    pub async fn send_snapshot(
        &self,
        slot: SnapshotSlot,
        head: SnapshotHead,
        parts: Parts,
    ) -> Result<(), SnapshotFailure> {
        let shared = self.shared();
        let deadline = Deadline::new(shared.limits.snapshots, head.expected_bytes);
        let sent = tokio::select! {
            sent = send((shared, &deadline), slot.to, head, parts) => sent,
            time_max = deadline.over() => Err(SnapshotFailure::TooSlow(time_max)),
            () = shared.until_closed() => Err(SnapshotFailure::Closed),
        };
        let stats = &shared.snapshots.stats;
        let count = if sent.is_ok() { &stats.sent } else { &stats.send_failed };
        count.add(1);
        // Held to the end: nobody else has its place meanwhile.
        drop(slot);
        sent
    }
}

async fn send(
    (shared, deadline): (&Shared, &Deadline),
    to: StoreId,
    head: SnapshotHead,
    parts: Parts,
) -> Result<(), SnapshotFailure> {
    let unreachable = |why| SnapshotFailure::Unreachable(to, why);
    let address = match shared.resolver.resolve(to).await {
        Resolved::At(address) => address,
        Resolved::Unknown => return Err(unreachable("its address is not known".to_owned())),
        Resolved::Gone => return Err(unreachable("it is gone for good".to_owned())),
    };
    let endpoint = endpoint(&address, &shared.limits);
    let endpoint = endpoint.map_err(|error| unreachable(format!("address {address}: {error}")))?;
    let channel = endpoint.connect().await.map_err(|error| unreachable(causes(&error)))?;
    let (chunks, stream) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(stream));
    Hello::new(shared.identity, to).write(request.metadata_mut());
    let mut client = RaftClient::new(channel);
    let mut call = pin!(client.snapshot(request));
    let answer = tokio::select! {
        answer = &mut call => answer,
        fed = feed((shared, deadline), to, head, parts, chunks) => {
            fed?;
            call.await
        }
    };
    answer.map(drop).map_err(|status| SnapshotFailure::NotTaken(to, Box::new(status)))
}

/// Hands all parts to the connection. Ends early where that is gone: the call says why.
async fn feed(
    (shared, deadline): (&Shared, &Deadline),
    to: StoreId,
    head: SnapshotHead,
    parts: Parts,
    chunks: mpsc::Sender<SnapshotChunk>,
) -> Result<(), SnapshotFailure> {
    let envelope = head.envelope.clone().unwrap_or_default();
    let cut = || SnapshotFailure::Unreachable(to, "the network lets nothing pass".to_owned());
    let chunk = |part| SnapshotChunk { part: Some(part) };
    if chunks.send(chunk(Part::Head(head))).await.is_err() {
        return Ok(());
    }
    let mut parts = read_ahead(parts);
    let mut tail = SnapshotTail::default();
    while let Some(part) = parts.recv().await {
        let SnapshotPart { data, pairs, bytes } = part.map_err(SnapshotFailure::Source)?;
        if !shared.passes(shared.identity.store_id, to, &envelope) {
            return Err(cut());
        }
        shared.snapshots.pace.pass(bytes).await;
        tail.chunks += 1;
        tail.pairs += pairs;
        tail.bytes += bytes;
        if chunks.send(chunk(Part::Data(data))).await.is_err() {
            return Ok(());
        }
        deadline.passed(bytes);
        shared.snapshots.stats.sent_bytes.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if !shared.passes(shared.identity.store_id, to, &envelope) {
        return Err(cut());
    }
    let _the_call_says_why = chunks.send(chunk(Part::Tail(tail))).await.is_err();
    Ok(())
}

/// Pulls the parts on another thread, as long as somebody takes them.
fn read_ahead(parts: Parts) -> mpsc::Receiver<Result<SnapshotPart, String>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        for part in parts {
            if sender.blocking_send(part).is_err() {
                return;
            }
        }
    });
    receiver
}
