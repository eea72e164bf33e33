//! A raft message on the wire and in the words of its replicas. Towards us everything is checked; what a
//! message means is not known here.

use bytes::Bytes;
use flotilla_base::{ConfVer, Epoch, Index, Peer, PeerId, RegionId, StoreId, Term, Version};
use flotilla_multiraft::PeerMessage;
use flotilla_proto::raft::{RaftEntry, RaftEntryKind, RaftEnvelope, RaftMessage, RaftMessageKind};
use flotilla_raftgroup::{Entry, EntryKind, Message, MessageKind};

/// The longest context of a message or an entry. No peer sends a longer one, and only entries are charged for the room
/// that they take in an inbox.
const CONTEXT_BYTES_MAX: usize = 64;

/// The form on the wire.
pub(crate) fn encode(message: PeerMessage) -> RaftEnvelope {
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

/// A sign of life of store `from`, to store `to`.
pub(crate) fn sign_of_life(from: StoreId, to: StoreId) -> RaftEnvelope {
    let message =
        RaftMessage { kind: RaftMessageKind::SignOfLife.into(), ..RaftMessage::default() };
    RaftEnvelope {
        from_store: from.get(),
        to_store: to.get(),
        message: Some(message),
        ..RaftEnvelope::default()
    }
}

/// Whether it is a sign of life of the sending store, and of nothing else.
pub(crate) fn is_sign_of_life(envelope: &RaftEnvelope) -> bool {
    let kind = envelope.message.as_ref().map(RaftMessage::kind);
    kind == Some(RaftMessageKind::SignOfLife)
}

/// `None` where the message is none: it came from the network.
pub(crate) fn decode(envelope: RaftEnvelope) -> Option<PeerMessage> {
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
const KINDS: [(MessageKind, RaftMessageKind); 17] = [
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
    (MessageKind::PeerGone, RaftMessageKind::PeerGone),
    (MessageKind::GoneConfirmed, RaftMessageKind::GoneConfirmed),
    (MessageKind::AmIGone, RaftMessageKind::AmIGone),
    (MessageKind::Quiesce, RaftMessageKind::Quiesce),
    (MessageKind::QuiesceResponse, RaftMessageKind::QuiesceResponse),
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
    use flotilla_damage::{assert_canonical, damaged};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_kind_has_its_twin() {
        for number in (1..=12).chain(20..=24) {
            let kind = MessageKind::from_number(number).expect("seventeen kinds");
            assert_eq!(decode_kind(encode_kind(kind)), Some(kind));
        }
        assert_eq!(decode_kind(RaftMessageKind::Unspecified), None);
    }

    fn message() -> PeerMessage {
        let entry = Entry {
            kind: EntryKind::Normal,
            term: Term(6),
            index: Index(8),
            data: "command".into(),
            context: Bytes::new(),
        };
        let mut body = Message::new(MessageKind::Append, PeerId(4), PeerId(5), Term(6));
        body.entries = vec![entry.clone(), Entry { kind: EntryKind::ConfChangeV2, ..entry }];
        body.reject = Some(Index(0));
        PeerMessage {
            region: RegionId(2),
            from: Peer::voter(PeerId(4), StoreId(1)),
            to: Peer::voter(PeerId(5), StoreId(2)),
            epoch: Epoch::FIRST,
            matched_by_all: Index(7),
            message: body,
        }
    }

    /// Whatever has no entries enters an inbox without being charged for it.
    #[test]
    fn long_contexts_are_refused_for_every_kind() {
        let of = |bytes: usize| Bytes::from(vec![b'c'; bytes]);
        for (kind, _) in KINDS {
            let mut sent = message();
            sent.message.kind = kind;
            sent.message.entries.clear();
            sent.message.context = of(CONTEXT_BYTES_MAX);
            assert_eq!(decode(encode(sent.clone())), Some(sent.clone()), "{kind:?}");
            sent.message.context = of(CONTEXT_BYTES_MAX + 1);
            assert_eq!(decode(encode(sent)), None, "{kind:?}");
        }
        let mut append = message();
        append.message.entries[1].context = of(CONTEXT_BYTES_MAX + 1);
        assert_eq!(decode(encode(append)), None);
    }

    #[test]
    fn a_message_survives_the_wire() {
        let message = message();
        assert_eq!(decode(encode(message.clone())), Some(message.clone()));
        let empty = RaftEnvelope { message: None, ..encode(message) };
        assert_eq!(decode(empty), None);
    }

    proptest! {
        #[test]
        fn damaged_envelopes_are_refused_or_canonical(
            bytes in damaged((1..=12_u32).prop_map(|number| {
                let kind = MessageKind::from_number(number).expect("twelve kinds");
                let mut message = message();
                message.message.kind = kind;
                if kind != MessageKind::Append {
                    message.message.entries.clear();
                }
                encode(message).encode_to_vec()
            })),
        ) {
            let read = |bytes: &[u8]| {
                let envelope = RaftEnvelope::decode(bytes).map_err(drop)?;
                decode(envelope).ok_or(())
            };
            assert_canonical(&bytes, read, |message| encode(message.clone()).encode_to_vec());
        }
    }
}
