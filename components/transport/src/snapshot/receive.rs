//! The receiving end: checks what a stream consists of, and hands it on part by part.

use flotilla_base::{StoreId, codec::RecordReader};
use flotilla_proto::raft::{
    RaftEnvelope, RaftMessageKind, SnapshotChunk, SnapshotData, snapshot_chunk::Part,
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::{BLOCK_VERSION, ReceiveSnapshot, SnapshotSink, deadline::Deadline};
use crate::{link::SnapshotLimits, peers::Shared, queue::kind_of};

/// # Errors
/// Whatever is wrong with the stream or refused by `receiver`.
pub(crate) async fn receive(
    shared: &Shared,
    from: StoreId,
    mut chunks: Streaming<SnapshotChunk>,
    receiver: &dyn ReceiveSnapshot,
) -> Result<(), Status> {
    let full = || Status::resource_exhausted("busy: too many snapshots arrive at this store");
    let _place = shared.snapshots.receive_from(from).ok_or_else(full)?;
    let limits = &shared.limits.snapshots;
    let Some(Part::Head(head)) = next(&mut chunks, limits).await? else {
        return Err(Status::invalid_argument("a snapshot begins with its head"));
    };
    let envelope = head.envelope.clone().unwrap_or_default();
    if !leads_here(&envelope, from, shared.identity.store_id) {
        return Err(Status::invalid_argument("a snapshot for somebody else"));
    }
    let passes = || {
        let is_cut = !shared.passes(from, shared.identity.store_id, &envelope);
        if is_cut { Err(Status::unavailable("the network lets nothing pass")) } else { Ok(()) }
    };
    passes()?;
    let deadline = Deadline::new(*limits, head.expected_bytes);
    let sink = receiver.begin(from, head).await?;
    tokio::select! {
        received = hand_on((shared, &deadline), chunks, sink, &passes) => received,
        // Or whoever sends a little now and then would keep its place for ever.
        time_max = deadline.over() => {
            Err(Status::deadline_exceeded(format!("a snapshot took longer than {time_max:?}")))
        }
    }
}

/// Hands the parts to `sink`, up to the last one.
async fn hand_on(
    (shared, deadline): (&Shared, &Deadline),
    mut chunks: Streaming<SnapshotChunk>,
    mut sink: Box<dyn SnapshotSink>,
    passes: &(dyn Fn() -> Result<(), Status> + Sync),
) -> Result<(), Status> {
    let limits = &shared.limits.snapshots;
    let mut count = 0;
    loop {
        let part = next(&mut chunks, limits).await?;
        passes()?;
        match part {
            Some(Part::Data(data)) => {
                check(&data)?;
                count += 1;
                deadline.passed(data.block.len() as u64);
                shared.snapshots.stats.received_bytes.add(data.block.len());
                sink.take(data).await?;
            }
            Some(Part::Tail(tail)) => {
                if tail.chunks != count || next(&mut chunks, limits).await?.is_some() {
                    return Err(Status::data_loss("a snapshot has more or less than it should"));
                }
                return sink.finish(tail).await;
            }
            Some(Part::Head(_)) => {
                return Err(Status::invalid_argument("a snapshot has one head"));
            }
            None => return Err(Status::cancelled("a snapshot was broken off")),
        }
    }
}

async fn next(
    chunks: &mut Streaming<SnapshotChunk>,
    limits: &SnapshotLimits,
) -> Result<Option<Part>, Status> {
    let silent = |_elapsed| Status::deadline_exceeded("the sender of a snapshot is silent");
    let Some(chunk) = timeout(limits.silence_max, chunks.message()).await.map_err(silent)?? else {
        return Ok(None);
    };
    // A later version may have parts that this one does not know: what they mean must not be left out.
    chunk.part.map(Some).ok_or_else(|| Status::invalid_argument("an unknown part of a snapshot"))
}

fn leads_here(envelope: &RaftEnvelope, from: StoreId, me: StoreId) -> bool {
    envelope.from_store == from.get()
        && envelope.to_store == me.get()
        && envelope.region_id != 0
        && kind_of(envelope) == RaftMessageKind::Snapshot
}

fn check(data: &SnapshotData) -> Result<(), Status> {
    let opened = RecordReader::open(&data.block, BLOCK_VERSION);
    opened.map(drop).map_err(|cause| Status::data_loss(format!("data of a snapshot: {cause}")))
}
