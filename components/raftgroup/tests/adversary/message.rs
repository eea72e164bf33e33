//! Messages that a sound peer could send, and those that none would.

use bytes::Bytes;
use flotilla_base::{Index, PeerId, Term};
use flotilla_raftgroup::{Entry, EntryKind, Group, Message, MessageKind};

use super::script::Script;

/// What the crate `raft` puts into the requests of a chosen successor.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

/// What the sender of a message knows of its receiver.
pub(crate) struct Known<'a> {
    pub(crate) peer: PeerId,
    pub(crate) group: &'a Group,
    pub(crate) applied: Index,
    /// Contexts that the receiver has sent, the newest last: what a reader of the network could repeat.
    pub(crate) contexts: &'a [Bytes],
    /// Commands that the receiver's state machine understands.
    pub(crate) commands: &'a [Bytes],
}

/// The kind of this number: twelve of raft, five beside it.
pub(crate) fn kind(number: u8) -> MessageKind {
    let number = if number < 12 { 1 + u32::from(number) } else { 8 + u32::from(number) };
    MessageKind::from_number(number).expect("seventeen kinds")
}

/// Some message for the receiver.
pub(crate) fn any(known: &Known<'_>, script: &mut Script<'_>) -> Message {
    let kind = kind(script.choose(17));
    let from = sender(known, script);
    let to = if script.is_rare(4) { PeerId(script.near(known.peer.get())) } else { known.peer };
    let term = Term(script.near(known.group.role().term.get()));
    let mut message = Message::new(kind, from, to, term);
    message.index = place(known, script);
    message.log_term = term_at(known, message.index, script);
    if matches!(kind, MessageKind::RequestVote | MessageKind::RequestPreVote) && script.is_rare(128)
    {
        // A log that is worth a vote.
        (message.index, message.log_term) = (known.group.last().index, known.group.last().term);
    }
    if script.is_rare(160) {
        message.commit = place(known, script);
        message.commit_term = term_at(known, message.commit, script);
    }
    if script.is_rare(80) {
        message.reject = Some(place(known, script));
    }
    if kind == MessageKind::Append || script.is_rare(16) {
        message.entries = entries(&message, known.commands, script);
    }
    message.context = context(known, script);
    message
}

fn sender(known: &Known<'_>, script: &mut Script<'_>) -> PeerId {
    // Peers of a group differ in the last digit.
    let member = |digit| PeerId(known.peer.get() / 10 * 10 + digit);
    match script.choose(32) {
        28 => PeerId(0),
        29 => known.peer,
        30 => PeerId(77),
        31 => PeerId(u64::MAX),
        // The leader that the peer knows is who it listens to.
        choice if choice < 12 => known.group.leader().unwrap_or(member(2)),
        choice => member(1 + u64::from(choice % 5)),
    }
}

/// An index that means something to the peer, or nearly.
fn place(known: &Known<'_>, script: &mut Script<'_>) -> Index {
    let group = known.group;
    let base = match script.choose(6) {
        0 | 1 => group.last().index,
        2 => group.committed(),
        3 => group.truncated().index,
        4 => group.written_last().index,
        _ => known.applied,
    };
    Index(script.near(base.get()))
}

fn term_at(known: &Known<'_>, index: Index, script: &mut Script<'_>) -> Term {
    let term = known.group.position(index).map_or(Term(0), |position| position.term);
    if script.is_rare(200) { term } else { Term(script.near(term.get())) }
}

/// Entries behind the message's position: most often in order, now and then not.
fn entries(message: &Message, commands: &[Bytes], script: &mut Script<'_>) -> Vec<Entry> {
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
        let kind = match script.byte() {
            0..4 => EntryKind::ConfChange,
            4..8 => EntryKind::ConfChangeV2,
            _ => EntryKind::Normal,
        };
        let data = match script.byte() {
            choice @ 0..200 if !commands.is_empty() => {
                commands[usize::from(choice) % commands.len()].clone()
            }
            choice @ 0..250 => vec![choice; usize::from(choice % 9)].into(),
            _ => Bytes::new(),
        };
        entries.push(Entry {
            kind,
            term: Term(term),
            index: Index(index),
            data,
            context: Bytes::new(),
        });
    }
    entries
}

fn context(known: &Known<'_>, script: &mut Script<'_>) -> Bytes {
    match script.choose(8) {
        0..3 => Bytes::new(),
        3 => Bytes::from_static(CAMPAIGN_TRANSFER),
        4 => {
            let count = usize::from(script.choose(80));
            script.bytes(count).into()
        }
        5 => some_context(known, script),
        6 => {
            // A question that was never asked: the number at the end is another one.
            let mut forged = some_context(known, script).to_vec();
            let number = script.near(1).to_be_bytes();
            let end = forged.len();
            if let Some(place) = forged.get_mut(end.saturating_sub(8)..) {
                place.copy_from_slice(&number[8 - place.len()..]);
            }
            forged.into()
        }
        _ => known.contexts.last().cloned().unwrap_or_default(),
    }
}

fn some_context(known: &Known<'_>, script: &mut Script<'_>) -> Bytes {
    let choice = usize::from(script.byte());
    match known.contexts.len() {
        0 => Bytes::new(),
        count => known.contexts[choice % count].clone(),
    }
}
