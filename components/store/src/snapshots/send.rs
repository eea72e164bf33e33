//! The sending side: a view of the database, and its data on the way to another store.

use std::time::Instant;

use flotilla_base::{Family, RegionId, StoreId};
use flotilla_engine::{DataChunk, RangeReader, Snapshot, stage};
use flotilla_multiraft::{PeerMessage, SnapshotInput, SnapshotMeta};
use flotilla_proto::raft::{SnapshotData, SnapshotFamily, SnapshotHead};
use flotilla_raftgroup::SnapshotOutcome;
use flotilla_telemetry::spawn_or_abort;
use flotilla_transport::{SnapshotPart, SnapshotSlot};
use tokio::sync::oneshot;

use super::working::Busy;
use super::{Snapshots, ViewKey};
use crate::envelope::encode;

/// About so many bytes of keys and values travel together.
const CHUNK_BYTES: usize = 1 << 20;

/// An attempt that has not ended.
pub(super) struct View {
    pub(super) since: Instant,
    state: ViewState,
}

enum ViewState {
    /// The database is being asked.
    Taking,
    /// It was taken, and waits for the word to be sent.
    Open(Box<OpenView>),
    /// Its data is on the way; ends when this is dropped.
    Sending { _ends: oneshot::Sender<()> },
}

struct OpenView {
    snapshot: Snapshot,
    meta: SnapshotMeta,
    slot: SnapshotSlot,
    bytes: u64,
}

impl Snapshots {
    /// Takes a view for a peer on `to`, where the store has room for one more.
    pub(super) fn take_view(&self, key: ViewKey, to: StoreId) {
        let refused = || self.tell(key.region, key.peer, SnapshotInput::Refused(key.number));
        let Some(slot) = self.shared.parts.peers.reserve_snapshot(to) else { return refused() };
        let view = View { since: Instant::now(), state: ViewState::Taking };
        let before = self.shared.views.lock().insert(key, view);
        debug_assert!(before.is_none(), "{key:?} is asked for twice");
        self.run("take a view for a snapshot", move |snapshots| snapshots.open_view(key, slot));
    }

    fn open_view(&self, key: ViewKey, slot: SnapshotSlot) {
        // Both records and all data from one instant.
        let snapshot = self.shared.parts.engine.snapshot();
        let Some((meta, bytes)) = measured(&snapshot, key.region) else {
            if self.take_out(&key).is_some() {
                self.tell(key.region, key.peer, SnapshotInput::Refused(key.number));
            }
            return;
        };
        let taken = SnapshotInput::Taken(key.number, Box::new(meta.clone()));
        {
            let mut views = self.shared.views.lock();
            // Where it is gone, it was cancelled meanwhile.
            let Some(view) = views.get_mut(&key) else { return };
            view.state = ViewState::Open(Box::new(OpenView { snapshot, meta, slot, bytes }));
        }
        self.tell(key.region, key.peer, taken);
        let snapshots = self.clone();
        let expire = async move {
            tokio::time::sleep(snapshots.shared.parts.view_time).await;
            snapshots.expire(key);
        };
        let _lives_for_a_minute =
            spawn_or_abort(&self.shared.parts.runtime, "snapshot-view", expire);
    }

    /// Gives up a view that nobody has come to send.
    fn expire(&self, key: ViewKey) {
        let expired = {
            let mut views = self.shared.views.lock();
            let is_idle =
                views.get(&key).is_some_and(|view| matches!(view.state, ViewState::Open(_)));
            if is_idle { views.remove(&key) } else { None }
        };
        if expired.is_some() {
            tracing::warn!(region = key.region.get(), "a view for a snapshot was given up");
            self.tell(
                key.region,
                key.peer,
                SnapshotInput::Sent(key.number, SnapshotOutcome::Failed),
            );
        }
    }

    /// Sends the data of a view behind `message`.
    pub(super) fn send_view(&self, key: ViewKey, message: PeerMessage) {
        let (ends, ended) = oneshot::channel();
        let open = {
            let mut views = self.shared.views.lock();
            // Where it is gone, it was open for too long, and the replica hears of that.
            let Some(view) = views.get_mut(&key) else { return };
            let sending = ViewState::Sending { _ends: ends };
            match std::mem::replace(&mut view.state, sending) {
                ViewState::Open(open) => Some(open),
                ViewState::Taking | ViewState::Sending { .. } => {
                    views.remove(&key);
                    None
                }
            }
        };
        let Some(open) = open else {
            // A fault of the replica's; it waits for a word, and asks for another view then.
            tracing::error!(?key, "a view is to be sent before it is taken, or twice");
            let failed = SnapshotInput::Sent(key.number, SnapshotOutcome::Failed);
            return self.tell(key.region, key.peer, failed);
        };
        let snapshots = self.clone();
        let send = async move {
            tokio::select! {
                outcome = snapshots.send(*open, message) => {
                    if snapshots.take_out(&key).is_some() {
                        let sent = SnapshotInput::Sent(key.number, outcome);
                        snapshots.tell(key.region, key.peer, sent);
                    }
                }
                // Cancelled.
                _dropped = ended => {}
            }
        };
        let _ends_by_itself = spawn_or_abort(&self.shared.parts.runtime, "snapshot-send", send);
    }

    async fn send(&self, open: OpenView, message: PeerMessage) -> SnapshotOutcome {
        let OpenView { snapshot, meta, slot, bytes } = open;
        let (region, to) = (message.region, message.to.store);
        debug_assert_eq!(meta.apply.applied.index, message.message.index, "message and data");
        let range = meta.region.range.clone();
        let head = SnapshotHead {
            envelope: Some(encode(message)),
            region: Some(meta.region.into()),
            clock_millis: meta.apply.clock_millis,
            expected_bytes: bytes,
            removed: meta.removed.into_iter().map(Into::into).collect(),
        };
        let started = Instant::now();
        let busy = self.shared.working.begin();
        let parts = Parts { region, reader: RangeReader::new(snapshot, &range), _busy: busy };
        let parts = Box::new(parts);
        match self.shared.parts.peers.send_snapshot(slot, head, parts).await {
            Ok(()) => {
                let took = started.elapsed();
                tracing::info!(region = region.get(), to = to.get(), ?took, "a snapshot was sent");
                SnapshotOutcome::Arrived
            }
            Err(failure) => {
                tracing::warn!(region = region.get(), %failure, "a snapshot was not sent");
                SnapshotOutcome::Failed
            }
        }
    }
}

/// What stands in a view, and how much a receiver has to set aside for it; `None` where it holds nothing to send, or cannot
/// be read.
fn measured(snapshot: &Snapshot, region: RegionId) -> Option<(SnapshotMeta, u64)> {
    let fails = |error: &dyn std::fmt::Display| {
        tracing::error!(region = region.get(), %error, "no snapshot can be taken");
    };
    let meta = SnapshotMeta::read(snapshot, region).map_err(|error| fails(&error)).ok()??;
    let bytes = snapshot.size_as_tables(&meta.region.range).map_err(|error| fails(&error)).ok()?;
    Some((meta, bytes))
}

/// The data of a view in the form in which it travels.
struct Parts {
    region: RegionId,
    reader: RangeReader,
    /// Dropped last: the store waits for it.
    _busy: Busy,
}

impl Iterator for Parts {
    type Item = Result<SnapshotPart, String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.next_chunk(CHUNK_BYTES) {
            Ok(chunk) => chunk.map(|chunk| Ok(part(&chunk))),
            Err(error) => {
                tracing::error!(region = self.region.get(), %error, "a region cannot be read");
                Some(Err(error.to_string()))
            }
        }
    }
}

fn part(chunk: &DataChunk) -> SnapshotPart {
    let family = match chunk.family {
        Family::Raw => SnapshotFamily::Raw,
        Family::Default => SnapshotFamily::Default,
        Family::Lock => SnapshotFamily::Lock,
        Family::Write => SnapshotFamily::Write,
        Family::RaftLog | Family::RaftMeta => SnapshotFamily::Unspecified,
    };
    let data = SnapshotData { family: family.into(), block: stage::encode_block(&chunk.pairs) };
    SnapshotPart { data, pairs: chunk.pairs.len() as u64, bytes: chunk.bytes as u64 }
}
