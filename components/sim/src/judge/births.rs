//! A split's children: away from their parent's leader none campaigns before one gate has passed since it was
//! born, by its own clock: until then readers of that leader may not know the split. Once a child was asked for
//! its vote it need not wait: whoever asked was chosen, or has waited.

use std::collections::BTreeMap;

use flotilla_base::{Moment, StoreId};
use flotilla_multiraft::PeerMessage;
use flotilla_raftgroup::MessageKind;

use super::{Place, Verdict, require};

const PATIENT: &str = "a split's child does not campaign before its parent's leader could";

/// When children may campaign.
#[derive(Debug, Default)]
pub struct BirthJudge {
    may_from: BTreeMap<Place, Moment>,
}

impl BirthJudge {
    /// A peer is born whose parent's leader is elsewhere.
    pub fn on_birth(&mut self, place: Place, may_from: Moment) {
        self.may_from.insert(place, may_from);
    }

    /// A peer makes a message at `now`, by its own clock.
    ///
    /// # Errors
    /// It campaigns too early.
    pub fn on_message(&mut self, message: &PeerMessage, now: Moment) -> Verdict {
        let kind = message.message.kind;
        let place = Place(message.from.store, message.region);
        if kind == MessageKind::RequestVoteResponse && message.message.reject.is_none() {
            self.may_from.remove(&place);
        }
        // Whoever was told by a leader is not early.
        let is_chosen = !message.message.context.is_empty();
        if is_chosen || !matches!(kind, MessageKind::RequestVote | MessageKind::RequestPreVote) {
            return Ok(());
        }
        let may_from = self.may_from.get(&place).copied().unwrap_or_default();
        require(now >= may_from, PATIENT, || format!("{place}: {kind:?} at {now}, not {may_from}"))
    }

    /// A store is gone; its next run has a gate of its own.
    pub fn on_crash(&mut self, store: StoreId) {
        self.may_from.retain(|Place(other, _), _| *other != store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{ONE, OTHER, broken, message};

    #[test]
    fn a_child_in_a_hurry_is_found() {
        let mut judge = BirthJudge::default();
        judge.on_birth(ONE, Moment(100));
        for kind in [MessageKind::RequestVote, MessageKind::RequestPreVote] {
            assert_eq!(broken(judge.on_message(&message(kind, 6), Moment(99))), PATIENT);
            assert_eq!(judge.on_message(&message(kind, 6), Moment(100)), Ok(()));
        }
        let mut chosen = message(MessageKind::RequestVote, 6);
        chosen.message.context = "chosen".into();
        assert_eq!(judge.on_message(&chosen, Moment(99)), Ok(()));
        let answer = message(MessageKind::RequestPreVoteResponse, 6);
        assert_eq!(judge.on_message(&answer, Moment(99)), Ok(()));
        let request = message(MessageKind::RequestVote, 6);
        assert_eq!(broken(judge.on_message(&request, Moment(99))), PATIENT);
        let vote = message(MessageKind::RequestVoteResponse, 6);
        assert_eq!(judge.on_message(&vote, Moment(99)), Ok(()));
        assert_eq!(judge.on_message(&request, Moment(99)), Ok(()), "another one has waited");
        judge.on_birth(ONE, Moment(500));
        judge.on_birth(OTHER, Moment(500));
        judge.on_crash(ONE.0);
        assert_eq!(judge.on_message(&message(MessageKind::RequestVote, 6), Moment(99)), Ok(()));
    }
}
