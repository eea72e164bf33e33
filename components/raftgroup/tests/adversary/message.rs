//! Messages that a sound peer could send, and those that none would.

use bytes::Bytes;
use flotilla_base::{Index, PeerId, Term};
use flotilla_raftgroup::{Entry, EntryKind, Message, MessageKind};

use super::peer::Peer;
use super::script::Script;

/// What the crate `raft` puts into the requests of a chosen successor.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

/// Some message for `peer`.
pub(crate) fn any(peer: &Peer, script: &mut Script<'_>) -> Message {
    let kind = MessageKind::from_number(1 + u32::from(script.choose(12))).expect("twelve kinds");
    let from = sender(peer, script);
    let to = if script.is_rare(4) { PeerId(script.near(peer.id.get())) } else { peer.id };
    let term = Term(script.near(peer.group.role().term.get()));
    let mut message = Message::new(kind, from, to, term);
    message.index = place(peer, script);
    message.log_term = term_at(peer, message.index, script);
    if matches!(kind, MessageKind::RequestVote | MessageKind::RequestPreVote) && script.is_rare(128)
    {
        // A log that is worth a vote.
        (message.index, message.log_term) = (peer.group.last().index, peer.group.last().term);
    }
    if script.is_rare(160) {
        message.commit = place(peer, script);
        message.commit_term = term_at(peer, message.commit, script);
    }
    if script.is_rare(80) {
        message.reject = Some(place(peer, script));
    }
    if kind == MessageKind::Append || script.is_rare(16) {
        message.entries = entries(&message, script);
    }
    message.context = context(peer, script);
    message
}

fn sender(peer: &Peer, script: &mut Script<'_>) -> PeerId {
    match script.choose(32) {
        28 => PeerId(0),
        29 => peer.id,
        30 => PeerId(77),
        31 => PeerId(u64::MAX),
        // The leader that the peer knows is who it listens to.
        choice if choice < 12 => peer.group.leader().unwrap_or(PeerId(2)),
        choice => PeerId(1 + u64::from(choice % 5)),
    }
}

/// An index that means something to the peer, or nearly.
fn place(peer: &Peer, script: &mut Script<'_>) -> Index {
    let group = &peer.group;
    let base = match script.choose(6) {
        0 | 1 => group.last().index,
        2 => group.committed(),
        3 => group.truncated().index,
        4 => group.written_last().index,
        _ => peer.apply.applied.index,
    };
    Index(script.near(base.get()))
}

fn term_at(peer: &Peer, index: Index, script: &mut Script<'_>) -> Term {
    let known = peer.group.position(index).map_or(Term(0), |position| position.term);
    if script.is_rare(200) { known } else { Term(script.near(known.get())) }
}

/// Entries behind the message's position: most often in order, now and then not.
fn entries(message: &Message, script: &mut Script<'_>) -> Vec<Entry> {
    let (mut index, mut term) = (message.index.get(), message.log_term.get());
    let is_sound = script.is_rare(200);
    let mut entries = Vec::new();
    for _ in 0..script.choose(5) {
        index = index.wrapping_add(1);
        if is_sound {
            term = if script.is_rare(64) { message.term.get() } else { term.max(1) };
        } else {
            (index, term) = (script.near(index), script.near(term));
        }
        let kind = match script.choose(16) {
            0 => EntryKind::ConfChange,
            1 => EntryKind::ConfChangeV2,
            _ => EntryKind::Normal,
        };
        let (data, context) = (vec![script.byte(); usize::from(script.choose(9))], Vec::new());
        entries.push(Entry {
            kind,
            term: Term(term),
            index: Index(index),
            data: data.into(),
            context: context.into(),
        });
    }
    entries
}

fn context(peer: &Peer, script: &mut Script<'_>) -> Bytes {
    match script.choose(8) {
        0..3 => Bytes::new(),
        3 => Bytes::from_static(CAMPAIGN_TRANSFER),
        4 => {
            let count = usize::from(script.choose(80));
            script.bytes(count).into()
        }
        5 => peer.some_context(script.byte()),
        6 => {
            // A question that was never asked: the number at the end is another one.
            let mut forged = peer.some_context(script.byte()).to_vec();
            let number = script.near(1).to_be_bytes();
            let end = forged.len();
            if let Some(place) = forged.get_mut(end.saturating_sub(8)..) {
                place.copy_from_slice(&number[8 - place.len()..]);
            }
            forged.into()
        }
        _ => peer.last_context(),
    }
}
