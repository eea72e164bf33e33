//! Rule F0: no message of a term leaves before that (term, vote) is durable.

use flotilla_base::{PeerId, Term, limit};
use flotilla_multiraft::PeerMessage;
use flotilla_raftgroup::{Message, MessageKind, RaftState};

use super::{Place, Verdict, require};

const F0: &str = "F0: no message of a term before its (term, vote) is durable";

/// Judges a message that leaves a store now, by what that store's disk would keep in a crash.
///
/// # Errors
/// It speaks of a term or a vote that a crash would take back.
pub fn check(message: &PeerMessage, synced: &RaftState) -> Verdict {
    let place = Place(message.from.store, message.region);
    let Message { kind, term, .. } = message.message;
    let is_refused = message.message.reject.is_some();
    let entered = match kind {
        // A granted pre-vote echoes a term that its sender has not entered.
        MessageKind::RequestPreVoteResponse if !is_refused => return Ok(()),
        // A pre-vote speaks of the term that would be next.
        MessageKind::RequestPreVote => Term(term.get() - 1),
        _ => term,
    };
    // The first term is that of the bootstrap: all members begin in it, and nobody votes in it.
    let is_promise = entered.get() > limit::FIRST_TERM;
    require(!is_promise || synced.hard_state.term >= entered, F0, || {
        format!("{place}: {kind:?} of term {term}, durable is {}", synced.hard_state.term)
    })?;
    match kind {
        MessageKind::RequestVote | MessageKind::Append | MessageKind::Heartbeat => {
            check_vote(message, synced, message.from.id)
        }
        MessageKind::RequestVoteResponse if !is_refused => {
            check_vote(message, synced, message.to.id)
        }
        _ => Ok(()),
    }
}

fn check_vote(message: &PeerMessage, synced: &RaftState, vote: PeerId) -> Verdict {
    let term = message.message.term;
    let is_later = synced.hard_state.term > term;
    require(is_later || synced.hard_state.vote == vote, F0, || {
        let place = Place(message.from.store, message.region);
        let (kind, durable) = (message.message.kind, synced.hard_state.vote);
        format!("{place}: {kind:?} of term {term} needs a vote for {vote}, durable is {durable}")
    })
}

#[cfg(test)]
mod tests {
    use flotilla_raftgroup::{HardState, LogPosition};

    use super::*;
    use crate::judge::samples::{broken, message};

    fn durable(term: u64, vote: u64) -> RaftState {
        let (term, vote) = (Term(term), PeerId(vote));
        let commit = flotilla_base::Index(0);
        RaftState { hard_state: HardState { term, vote, commit }, last: LogPosition::default() }
    }

    #[test]
    fn a_term_that_is_not_durable_is_found() {
        for kind in [MessageKind::HeartbeatResponse, MessageKind::AppendResponse] {
            assert_eq!(broken(check(&message(kind, 7), &durable(6, 0))), F0);
            assert_eq!(check(&message(kind, 7), &durable(7, 0)), Ok(()));
        }
        assert_eq!(check(&message(MessageKind::RequestPreVote, 7), &durable(6, 0)), Ok(()));
        assert_eq!(broken(check(&message(MessageKind::RequestPreVote, 8), &durable(6, 0))), F0);
    }

    #[test]
    fn a_vote_that_is_not_durable_is_found() {
        for kind in [MessageKind::RequestVote, MessageKind::Append, MessageKind::Heartbeat] {
            assert_eq!(check(&message(kind, 7), &durable(7, 201)), Ok(()));
            assert_eq!(broken(check(&message(kind, 7), &durable(7, 0))), F0);
            assert_eq!(check(&message(kind, 7), &durable(8, 0)), Ok(()), "left durably since");
        }
        let answer = message(MessageKind::RequestVoteResponse, 7);
        assert_eq!(check(&answer, &durable(7, 202)), Ok(()));
        assert_eq!(broken(check(&answer, &durable(7, 201))), F0);
    }
}
