//! What stands in front of the crate's `step`: it panics on messages that contradict its log, and a
//! message comes from the network.

use std::cmp::Ordering;

use flotilla_base::{Index, PeerId, Term};

use crate::disk::DiskError;
use crate::message::{LogPosition, Message, MessageKind};

/// A term grows by one with an election and an index with an entry: no group gets here in the life of a
/// cluster. The crate adds to both without looking, and behind the largest number comes zero.
const NUMBER_END: u64 = 1 << 62;

/// The context of a read is four numbers. Until a round confirms it, it is kept.
const READ_CONTEXT_BYTES_MAX: usize = 64;

/// The log of this peer is not what it was. The peer must leave the group's traffic until it is replaced; it may not
/// crash the store, whose other groups are sound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It contradicts what its leader proves.
    #[error(
        "log is damaged: the leader says that entry {committed} is committed here, but the log ends at {last}"
    )]
    Short {
        /// What the leader knows committed at this peer.
        committed: Index,
        /// Where the log ends.
        last: Index,
    },
    /// An entry that it must hold is missing, or is no entry.
    #[error("log is damaged: {0}")]
    Entry(DiskError),
}

/// Why a message was not stepped. Except for damage the message is just dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Not for this peer, or from nobody.
    #[error("message is not addressed to this peer")]
    Misaddressed,
    /// The gate is closed: this peer heard its leader a moment ago.
    #[error("votes are not given while the leader was heard a moment ago")]
    GateClosed,
    /// The kind is not for the crate.
    #[error("{0:?} is not stepped")]
    Unsupported(MessageKind),
    /// The message contradicts itself or the state of this peer.
    #[error("message makes no sense: {0}")]
    Senseless(&'static str),
    /// This peer's own log is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// What the guard needs to know of the peer.
pub(crate) struct GuardView {
    pub(crate) peer: PeerId,
    pub(crate) last: Index,
    /// Where the log ends, if all of it is durable.
    pub(crate) durable_end: Option<LogPosition>,
    pub(crate) committed: Index,
    /// The message's term, compared with this peer's.
    pub(crate) term: Ordering,
    pub(crate) is_leader: bool,
    /// The sender leads, as far as this peer knows.
    pub(crate) is_from_leader: bool,
    /// What a leader knows durable at the sender; `None` where the sender is no member.
    pub(crate) matched: Option<Index>,
    /// A change of the membership is committed, and not applied here.
    pub(crate) has_unapplied_change: bool,
}

/// Checks what the crate takes for granted.
pub(crate) fn check(message: &Message, view: &GuardView) -> Result<(), StepError> {
    if message.to != view.peer || message.from.is_none() || message.from == view.peer {
        return Err(StepError::Misaddressed);
    }
    if message.term.is_none() {
        return Err(StepError::Senseless("its term is 0"));
    }
    if !numbers(message).all(|number| number < NUMBER_END) {
        return Err(StepError::Senseless("a term or an index in it is beyond all that occur"));
    }
    let is_about_sleep =
        matches!(message.kind, MessageKind::Quiesce | MessageKind::QuiesceResponse);
    if !message.kind.is_of_raft() && !is_about_sleep {
        return Err(StepError::Unsupported(message.kind));
    }
    match message.kind {
        MessageKind::QuiesceResponse
            if !(view.is_leader && view.term.is_eq() && view.matched.is_some()) =>
        {
            Err(StepError::Senseless("consent to the sleep of another term or of no leader"))
        }
        // They come with their data, and are installed around the crate.
        MessageKind::Snapshot => Err(StepError::Unsupported(message.kind)),
        MessageKind::TimeoutNow => check_handover(message, view),
        MessageKind::ReadIndex
            if !(view.is_leader && view.term.is_eq() && view.matched.is_some()) =>
        {
            Err(StepError::Senseless("a read is asked for in another term, or where nobody leads"))
        }
        MessageKind::ReadIndex if message.context.len() > READ_CONTEXT_BYTES_MAX => {
            Err(StepError::Senseless("the context of a read is too long"))
        }
        MessageKind::ReadIndexResponse if !(view.is_from_leader && view.term.is_eq()) => {
            Err(StepError::Senseless("a read is granted by another than the leader"))
        }
        MessageKind::Append => check_append(message, view),
        MessageKind::Heartbeat if message.commit > view.last => {
            // Only a leader of this group can prove that this peer lost what it had acknowledged, and
            // nobody leads beside this peer in its own term.
            let is_rival = view.is_leader && view.term.is_eq();
            if view.matched.is_some() && view.term.is_ge() && !is_rival {
                return Err(Damage::Short { committed: message.commit, last: view.last }.into());
            }
            Err(StepError::Senseless("a commit index beyond the log, from no leader of this group"))
        }
        MessageKind::AppendResponse if message.reject.is_some_and(|hint| hint > message.index) => {
            Err(StepError::Senseless("a refusal hints at more than it refuses"))
        }
        MessageKind::AppendResponse if claims_too_much(message, view) => {
            Err(StepError::Senseless("a follower acknowledges more than this leader's log"))
        }
        MessageKind::AppendResponse if refuses_what_it_holds(message, view) => {
            Err(StepError::Senseless("a follower refuses entries that it acknowledged before"))
        }
        _ => Ok(()),
    }
}

/// Every term and index of a message; those of entries follow from these where they are in order.
fn numbers(message: &Message) -> impl Iterator<Item = u64> {
    let Message { term, log_term, index, commit, commit_term, reject, .. } = message;
    let hint = reject.unwrap_or_default();
    [term.get(), log_term.get(), index.get(), commit.get(), commit_term.get(), hint.get()]
        .into_iter()
}

/// A refusal that was overtaken by the acknowledgement. The crate would probe from there on: in front of
/// a shortened log, where there is nothing left to send, and so for ever.
fn refuses_what_it_holds(message: &Message, view: &GuardView) -> bool {
    let is_own_term = view.is_leader && view.term.is_eq();
    is_own_term && message.reject.is_some() && message.index <= view.matched.unwrap_or_default()
}

fn claims_too_much(message: &Message, view: &GuardView) -> bool {
    let is_own_term = view.is_leader && view.term.is_eq();
    is_own_term && message.reject.is_none() && message.index > view.last
}

/// A hand-over is for the moment at which it was sent. The successor skips the gates of all others, so one
/// that was told late must not campaign: the leader may trust its lease again.
fn check_handover(message: &Message, view: &GuardView) -> Result<(), StepError> {
    if view.is_leader || !view.term.is_eq() || !view.is_from_leader {
        return Err(StepError::Senseless("a hand-over by another than the leader"));
    }
    let end = LogPosition { term: message.log_term, index: message.index };
    if Some(end) != view.durable_end {
        return Err(StepError::Senseless("a hand-over that speaks of another end of the log"));
    }
    // It would campaign by the rules of a membership that is over.
    if view.has_unapplied_change {
        return Err(StepError::Senseless("a hand-over while a change of the membership waits"));
    }
    Ok(())
}

/// A snapshot must be of something that this peer does not know committed, and come from a leader of its term or a
/// newer one.
pub(crate) fn check_snapshot(message: &Message, view: &GuardView) -> Result<(), StepError> {
    if message.to != view.peer || message.from.is_none() || message.from == view.peer {
        return Err(StepError::Misaddressed);
    }
    if message.kind != MessageKind::Snapshot || view.term.is_lt() {
        return Err(StepError::Senseless("no snapshot of a leader in this term"));
    }
    if !numbers(message).all(|number| number < NUMBER_END) {
        return Err(StepError::Senseless("a term or an index in it is beyond all that occur"));
    }
    if message.log_term.is_none() || message.log_term > message.term || !message.entries.is_empty()
    {
        return Err(StepError::Senseless("a snapshot that contradicts itself"));
    }
    if message.index <= view.committed {
        return Err(StepError::Senseless("a snapshot of what is committed here"));
    }
    Ok(())
}

/// Entries must follow `index` one by one with terms that never fall.
///
/// That none of them replaces what this peer knows committed, which would be a second truth, is the crate's
/// business: it takes nothing of an append that begins in front of its commit index, and answers with that.
fn check_append(message: &Message, view: &GuardView) -> Result<(), StepError> {
    // Every entry has a term, and the crate takes none for that of an entry it does not know.
    if message.log_term.is_none() && !message.index.is_none() {
        return Err(StepError::Senseless("it follows an entry without a term"));
    }
    // Neither does an entry itself: one without would count as known here, and be committed unseen.
    let mut previous = (message.index, message.log_term.max(Term(1)));
    for entry in &message.entries {
        if entry.index != previous.0.next() || entry.term < previous.1 || entry.term > message.term
        {
            return Err(StepError::Senseless("its entries are not in order"));
        }
        previous = (entry.index, entry.term);
    }
    if view.is_leader && view.term.is_eq() {
        return Err(StepError::Senseless("two leaders in one term"));
    }
    debug_assert!(view.committed <= view.last, "committed beyond the log");
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Entry;

    const PEER: PeerId = PeerId(1);

    /// A follower of peer 2 in term 6 whose log of five entries is committed.
    fn follower() -> GuardView {
        let last = LogPosition { term: Term(6), index: Index(5) };
        GuardView {
            peer: PEER,
            last: last.index,
            durable_end: Some(last),
            committed: last.index,
            term: Ordering::Equal,
            is_leader: false,
            is_from_leader: true,
            matched: Some(Index(0)),
            has_unapplied_change: false,
        }
    }

    fn leader() -> GuardView {
        GuardView { is_leader: true, is_from_leader: false, ..follower() }
    }

    fn message(kind: MessageKind) -> Message {
        Message { kind, ..Message::new(kind, PeerId(2), PEER, Term(6)) }
    }

    fn is_senseless(message: &Message, view: &GuardView) -> bool {
        matches!(check(message, view), Err(StepError::Senseless(_)))
    }

    /// The crate adds one to its term for the next campaign: it must not be the largest number.
    #[test]
    fn numbers_that_never_occur_are_refused_in_every_kind() {
        for kind in (1..=12).filter_map(MessageKind::from_number) {
            let view = follower();
            let sound = Message { log_term: Term(1), ..message(kind) };
            let never = [NUMBER_END, u64::MAX - 1, u64::MAX];
            for number in never {
                let (term, index) = (Term(number), Index(number));
                let bad = [
                    Message { term, ..sound.clone() },
                    Message { log_term: term, ..sound.clone() },
                    Message { index, ..sound.clone() },
                    Message { commit: index, ..sound.clone() },
                    Message { commit_term: term, ..sound.clone() },
                    Message { reject: Some(index), ..sound.clone() },
                ];
                for message in bad {
                    assert!(is_senseless(&message, &view), "{message:?}");
                }
            }
        }
    }

    #[test]
    fn a_snapshot_brings_something_new_and_comes_from_a_leader_of_now() {
        let index = Index(6);
        let sound = Message { index, log_term: Term(6), ..message(MessageKind::Snapshot) };
        assert_eq!(check_snapshot(&sound, &follower()), Ok(()));
        let newer = GuardView { term: Ordering::Greater, ..follower() };
        assert_eq!(check_snapshot(&sound, &newer), Ok(()));
        let older = GuardView { term: Ordering::Less, ..follower() };
        let entries = vec![Entry { index: Index(7), term: Term(6), ..Entry::default() }];
        let bad = [
            Message { index: Index(5), ..sound.clone() },
            Message { index: Index(NUMBER_END), ..sound.clone() },
            Message { log_term: Term(0), ..sound.clone() },
            Message { log_term: Term(7), ..sound.clone() },
            Message { term: Term(NUMBER_END), ..sound.clone() },
            Message { kind: MessageKind::Append, ..sound.clone() },
            Message { entries, ..sound.clone() },
            Message { to: PeerId(3), ..sound.clone() },
        ];
        for message in &bad {
            assert!(check_snapshot(message, &follower()).is_err(), "{message:?}");
        }
        assert!(check_snapshot(&sound, &older).is_err());
        assert_eq!(check(&sound, &follower()), Err(StepError::Unsupported(sound.kind)));
    }

    /// To the crate an entry of term 0 behind the log is one that is there, and it would commit it.
    #[test]
    fn an_entry_without_a_term_is_refused() {
        let entry = Entry { index: Index(1), ..Entry::default() };
        let append =
            Message { entries: vec![entry], commit: Index(1), ..message(MessageKind::Append) };
        let empty = GuardView { last: Index(0), committed: Index(0), ..follower() };
        assert!(is_senseless(&append, &empty));
    }

    #[test]
    fn a_read_is_asked_for_with_a_short_context() {
        let ask = |bytes| Message {
            context: Bytes::from(vec![0; bytes]),
            ..message(MessageKind::ReadIndex)
        };
        assert_eq!(check(&ask(READ_CONTEXT_BYTES_MAX), &leader()), Ok(()));
        assert!(is_senseless(&ask(READ_CONTEXT_BYTES_MAX + 1), &leader()));
    }

    #[test]
    fn a_second_leader_of_a_term_proves_no_damage() {
        let heartbeat = Message { commit: Index(6), ..message(MessageKind::Heartbeat) };
        assert!(matches!(check(&heartbeat, &follower()), Err(StepError::Damaged(_))));
        assert!(is_senseless(&heartbeat, &leader()));
        let newer = GuardView { term: Ordering::Greater, ..leader() };
        assert!(matches!(check(&heartbeat, &newer), Err(StepError::Damaged(_))));
    }
}
