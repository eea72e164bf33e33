//! Raft messages between this store and the others. Nothing here reads or writes the disk.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{
    ConfVer, Epoch, Incarnation, Index, Peer, PeerId, RegionId, StoreId, Term, Version,
};
use flotilla_multiraft::{Admission, Input, PeerMessage, Replica, ReplicaConfig};
use flotilla_poller::ReadyQueue;
use flotilla_proto::raft::{RaftEntry, RaftEntryKind, RaftEnvelope, RaftMessage, RaftMessageKind};
use flotilla_raftgroup::{Entry, EntryKind, Message, MessageKind};
use flotilla_telemetry::MonotonicClock;
use flotilla_transport::{Lane, Peers, Target, TransportEvents};

use crate::metrics::StoreMetrics;
use crate::router::{PeerMail, PeerState, Router};
use crate::silence::Silence;

/// The longest context of a message or an entry. No peer sends a longer one, and only entries are charged for the room
/// that they take in an inbox.
const CONTEXT_BYTES_MAX: usize = 64;

/// Brings messages of other stores to their replicas.
pub(crate) struct Inbound {
    pub(crate) router: Router,
    pub(crate) queue: ReadyQueue<PeerState, PeerMail>,
    pub(crate) replicas: ReplicaConfig,
    pub(crate) clock: MonotonicClock,
    pub(crate) metrics: Arc<StoreMetrics>,
    pub(crate) silence: Arc<Silence>,
}

impl TransportEvents for Inbound {
    fn deliver(&self, from: StoreId, _run: Incarnation, envelopes: Vec<RaftEnvelope>) {
        self.silence.heard(from);
        for envelope in envelopes {
            match decode(envelope) {
                Some(message) => self.accept(message),
                None => self.metrics.message_dropped("malformed"),
            }
        }
    }

    fn unreachable(&self, store: StoreId, targets: Vec<Target>) {
        self.silence.broke(store, tokio::time::Instant::now());
        for Target { region, peer } in targets {
            if let Some(cell) = self.router.cells().get(region.get()) {
                let _closed_means_gone = cell.send(Input::Unreachable(peer)).is_err();
            }
        }
    }
}

impl Inbound {
    fn accept(&self, message: PeerMessage) {
        let admission = self.router.table().read().admit(&message);
        match admission {
            Admission::Deliver => {}
            Admission::Create(peer) => self.create(message.region, peer),
            Admission::Drop(_) => return self.metrics.message_dropped("not admitted"),
        }
        let (region, bytes) = (message.region, message.message.size_bytes());
        let is_bulk = message.message.kind == MessageKind::Append;
        let input = Input::Message(Box::new(message));
        // Only entries are refused for lack of room: the leader sends them again. Heartbeats, votes and
        // answers are small, and losing them costs elections.
        let is_lost = if is_bulk {
            self.router.cells().try_send(region.get(), input, bytes).is_err()
        } else {
            self.router.cells().send(region.get(), input).is_err()
        };
        if is_lost {
            self.metrics.message_dropped("inbox");
        }
    }

    /// A peer that the bootstrap has not reached yet: it must be able to vote.
    pub(crate) fn create(&self, region: RegionId, peer: PeerId) {
        // Slot and cell appear together: whoever sees the slot may send to the cell. Making a replica
        // without data touches no disk.
        let mut table = self.router.table().write();
        if table.create_uninitialised(region, peer).is_err() {
            return;
        }
        let now = self.clock.now();
        match Replica::uninitialised(self.replicas.clone(), region, peer, now) {
            Ok(replica) => {
                let cell = self.queue.cell(region.get(), peer.get(), Box::new(replica));
                let is_first = self.router.cells().register(cell).is_ok();
                debug_assert!(is_first, "the table gave the slot to this peer alone");
            }
            Err(error) => tracing::error!(region = region.get(), %error, "peer not created"),
        }
    }
}

/// Hands messages to the transport.
pub(crate) fn send_all(peers: &Peers, messages: Vec<PeerMessage>) {
    for message in messages {
        let to = message.to_store();
        let envelope = encode(message);
        let lane = envelope.message.as_ref().map_or(Lane::Urgent, |body| Lane::of(body.kind()));
        peers.send(to, lane, envelope);
    }
}

fn encode(message: PeerMessage) -> RaftEnvelope {
    let body = message.message;
    RaftEnvelope {
        region_id: message.region.get(),
        from_peer: message.from.id.get(),
        from_store: message.from.store.get(),
        to_peer: message.to.id.get(),
        to_store: message.to.store.get(),
        version: message.epoch.version.get(),
        conf_ver: message.epoch.conf_ver.get(),
        start_key: Bytes::new(),
        end_key: Bytes::new(),
        matched_by_all: message.matched_by_all.get(),
        message: Some(RaftMessage {
            kind: encode_kind(body.kind).into(),
            term: body.term.get(),
            log_term: body.log_term.get(),
            index: body.index.get(),
            entries: body.entries.into_iter().map(encode_entry).collect(),
            commit: body.commit.get(),
            commit_term: body.commit_term.get(),
            reject: body.reject.is_some(),
            reject_hint: body.reject.map_or(0, Index::get),
            request_snapshot: 0,
            priority: 0,
            context: body.context,
        }),
    }
}

/// `None` where the message is none: it came from the network.
fn decode(envelope: RaftEnvelope) -> Option<PeerMessage> {
    let body = envelope.message?;
    let kind = decode_kind(body.kind())?;
    let is_long = |context: &Bytes| context.len() > CONTEXT_BYTES_MAX;
    if is_long(&body.context) || body.entries.iter().any(|entry| is_long(&entry.context)) {
        return None;
    }
    if kind != MessageKind::Append && !body.entries.is_empty() {
        return None;
    }
    let from = Peer::voter(PeerId(envelope.from_peer), StoreId(envelope.from_store));
    let to = Peer::voter(PeerId(envelope.to_peer), StoreId(envelope.to_store));
    Some(PeerMessage {
        region: RegionId(envelope.region_id),
        from,
        to,
        epoch: Epoch { version: Version(envelope.version), conf_ver: ConfVer(envelope.conf_ver) },
        matched_by_all: Index(envelope.matched_by_all),
        message: Message {
            kind,
            from: from.id,
            to: to.id,
            term: Term(body.term),
            log_term: Term(body.log_term),
            index: Index(body.index),
            commit: Index(body.commit),
            commit_term: Term(body.commit_term),
            entries: body.entries.into_iter().map(decode_entry).collect::<Option<_>>()?,
            reject: body.reject.then_some(Index(body.reject_hint)),
            context: body.context,
        },
    })
}

fn encode_entry(entry: Entry) -> RaftEntry {
    let kind = match entry.kind {
        EntryKind::Normal => RaftEntryKind::Normal,
        EntryKind::ConfChange => RaftEntryKind::ConfChange,
        EntryKind::ConfChangeV2 => RaftEntryKind::ConfChangeV2,
    };
    RaftEntry {
        kind: kind.into(),
        term: entry.term.get(),
        index: entry.index.get(),
        data: entry.data,
        context: entry.context,
    }
}

fn decode_entry(entry: RaftEntry) -> Option<Entry> {
    let kind = match RaftEntryKind::try_from(entry.kind).ok()? {
        RaftEntryKind::Normal => EntryKind::Normal,
        RaftEntryKind::ConfChange => EntryKind::ConfChange,
        RaftEntryKind::ConfChangeV2 => EntryKind::ConfChangeV2,
    };
    Some(Entry {
        kind,
        term: Term(entry.term),
        index: Index(entry.index),
        data: entry.data,
        context: entry.context,
    })
}

/// The kinds that exist on both sides, once.
const KINDS: [(MessageKind, RaftMessageKind); 12] = [
    (MessageKind::Append, RaftMessageKind::Append),
    (MessageKind::AppendResponse, RaftMessageKind::AppendResponse),
    (MessageKind::RequestVote, RaftMessageKind::RequestVote),
    (MessageKind::RequestVoteResponse, RaftMessageKind::RequestVoteResponse),
    (MessageKind::Heartbeat, RaftMessageKind::Heartbeat),
    (MessageKind::HeartbeatResponse, RaftMessageKind::HeartbeatResponse),
    (MessageKind::RequestPreVote, RaftMessageKind::RequestPreVote),
    (MessageKind::RequestPreVoteResponse, RaftMessageKind::RequestPreVoteResponse),
    (MessageKind::TimeoutNow, RaftMessageKind::TimeoutNow),
    (MessageKind::Snapshot, RaftMessageKind::Snapshot),
    (MessageKind::ReadIndex, RaftMessageKind::ReadIndex),
    (MessageKind::ReadIndexResponse, RaftMessageKind::ReadIndexResponse),
];

fn encode_kind(kind: MessageKind) -> RaftMessageKind {
    let found = KINDS.iter().find(|(ours, _)| *ours == kind);
    found.map_or(RaftMessageKind::Unspecified, |(_, wire)| *wire)
}

fn decode_kind(kind: RaftMessageKind) -> Option<MessageKind> {
    KINDS.iter().find(|(_, wire)| *wire == kind).map(|(ours, _)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_twin() {
        for number in 1..=12 {
            let kind = MessageKind::from_number(number).expect("twelve kinds");
            assert_eq!(decode_kind(encode_kind(kind)), Some(kind));
        }
        assert_eq!(decode_kind(RaftMessageKind::Unspecified), None);
    }

    /// Whatever has no entries enters an inbox without being charged for it.
    #[test]
    fn long_contexts_are_refused_for_every_kind() {
        let message = |kind| PeerMessage {
            region: RegionId(2),
            from: Peer::voter(PeerId(4), StoreId(1)),
            to: Peer::voter(PeerId(5), StoreId(2)),
            epoch: Epoch::FIRST,
            matched_by_all: Index(7),
            message: Message::new(kind, PeerId(4), PeerId(5), Term(6)),
        };
        let of = |bytes: usize| Bytes::from(vec![b'c'; bytes]);
        for (kind, _) in KINDS {
            let mut sent = message(kind);
            sent.message.context = of(CONTEXT_BYTES_MAX);
            assert_eq!(decode(encode(sent.clone())), Some(sent.clone()), "{kind:?}");
            sent.message.context = of(CONTEXT_BYTES_MAX + 1);
            assert_eq!(decode(encode(sent)), None, "{kind:?}");
        }
        let mut append = message(MessageKind::Append);
        let (index, data, context) = (Index(8), Bytes::new(), of(CONTEXT_BYTES_MAX + 1));
        append.message.entries =
            vec![Entry { kind: EntryKind::Normal, term: Term(6), index, data, context }];
        assert_eq!(decode(encode(append)), None);
    }

    #[test]
    fn a_message_survives_the_wire() {
        let entry = Entry {
            kind: EntryKind::Normal,
            term: Term(6),
            index: Index(8),
            data: "command".into(),
            context: Bytes::new(),
        };
        let mut body = Message::new(MessageKind::Append, PeerId(4), PeerId(5), Term(6));
        body.entries = vec![entry];
        body.reject = Some(Index(0));
        let message = PeerMessage {
            region: RegionId(2),
            from: Peer::voter(PeerId(4), StoreId(1)),
            to: Peer::voter(PeerId(5), StoreId(2)),
            epoch: Epoch::FIRST,
            matched_by_all: Index(7),
            message: body,
        };
        assert_eq!(decode(encode(message.clone())), Some(message.clone()));
        let empty = RaftEnvelope { message: None, ..encode(message) };
        assert_eq!(decode(empty), None);
    }
}
