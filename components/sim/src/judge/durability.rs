//! Rules F0 and F4: what a message promises is durable when it leaves.

use flotilla_base::{Index, KvRead, Term, limit};
use flotilla_multiraft::PeerMessage;
use flotilla_raftgroup::{Message, MessageKind, RaftState, disk};

use super::{Place, Verdict, Violation, require};
use crate::disk::SimDisk;

const F0: &str = "F0: no message of a term before its (term, vote) is durable";
const F4: &str = "F4: a promise is durable before it leaves";

/// Judges a message that leaves a store now, by what the store's disk would keep in a crash.
///
/// # Errors
/// It promises more.
pub fn check(message: &PeerMessage, disk: &SimDisk) -> Verdict {
    let place = Place(message.from.store, message.region);
    let synced = raft_state(disk.synced(), message)?;
    let Message { kind, term, .. } = message.message;
    let entered = match (kind, message.message.reject) {
        // A granted pre-vote echoes a term that its sender has not entered.
        (MessageKind::RequestPreVoteResponse, None) => return Ok(()),
        // A pre-vote speaks of the term that would be next.
        (MessageKind::RequestPreVote, _) => Term(term.get() - 1),
        _ => term,
    };
    // The first term is that of the bootstrap: all members begin in it, and nobody votes in it.
    let is_promise = entered.get() > limit::FIRST_TERM;
    require(!is_promise || synced.hard_state.term >= entered, F0, || {
        format!("{place}: {kind:?} of term {term}, durable is {}", synced.hard_state.term)
    })?;
    match kind {
        MessageKind::RequestVote => check_vote(message, &synced, message.from.id),
        MessageKind::RequestVoteResponse if message.message.reject.is_none() => {
            check_vote(message, &synced, message.to.id)
        }
        MessageKind::Append | MessageKind::Heartbeat => {
            check_vote(message, &synced, message.from.id)
        }
        MessageKind::AppendResponse if message.message.reject.is_none() => {
            check_acknowledged(message, disk, &synced)
        }
        _ => Ok(()),
    }
}

fn raft_state(reader: &dyn KvRead, message: &PeerMessage) -> Result<RaftState, Violation> {
    disk::read_raft_state(reader, message.region)
        .map(Option::unwrap_or_default)
        .map_err(|error| Violation { rule: "records are intact", what: error.to_string() })
}

fn check_vote(message: &PeerMessage, synced: &RaftState, vote: flotilla_base::PeerId) -> Verdict {
    let term = message.message.term;
    let is_later = synced.hard_state.term > term;
    require(is_later || synced.hard_state.vote == vote, F0, || {
        let place = Place(message.from.store, message.region);
        let (kind, durable) = (message.message.kind, synced.hard_state.vote);
        format!("{place}: {kind:?} of term {term} needs a vote for {vote}, durable is {durable}")
    })
}

/// An acknowledged entry is durable in the form in which it was written last, unless a later term has
/// written something else since.
fn check_acknowledged(message: &PeerMessage, disk: &SimDisk, synced: &RaftState) -> Verdict {
    if synced.hard_state.term > message.message.term {
        // It held the entry when it said so, and has durably left that term since: whoever it votes
        // for now has the entry, or never needed it.
        return Ok(());
    }
    let index = message.message.index;
    let place = Place(message.from.store, message.region);
    require(synced.last.index >= index, F4, || {
        format!("{place}: acknowledges {index}, durable is {}", synced.last.index)
    })?;
    let written = raft_state(disk.image().as_ref(), message)?;
    if written.hard_state.term > message.message.term {
        return Ok(());
    }
    let term_of = |reader: &dyn KvRead, index: Index| {
        disk::read_entry(reader, message.region, index).ok().map(|entry| entry.term)
    };
    let written = term_of(disk.image().as_ref(), index);
    let durable = term_of(disk.synced(), index);
    require(written.is_none() || written == durable, F4, || {
        format!("{place}: acknowledges {index} of {written:?}, durable is {durable:?}")
    })
}
