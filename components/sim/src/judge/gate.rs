//! The gate: a peer that heard its leader, or that may have promised so before a restart, gives no vote
//! before a gate has passed by its own clock. Leases rest on it. To a peer that sleeps a sign of life of its leader's store
//! is a word of its leader, unless that store runs anew.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, PeerId, Span, StoreId, Term};
use flotilla_multiraft::PeerMessage;
use flotilla_raftgroup::MessageKind;

use super::{Place, Verdict, require};

const GATE: &str = "no vote is given while the gate is closed";

/// A vote that may be given: by whom, to whom, in which term, and whether it is a vote at all.
type Leave = (Place, PeerId, Term, bool);

/// What peers have promised, by their own clocks.
#[derive(Debug, Default)]
pub struct GateJudge {
    closed_until: BTreeMap<Place, Moment>,
    /// Closed since a store gave a sign of life in this run.
    by_sign: BTreeMap<Place, (StoreId, u64, Moment)>,
    /// Asked for while the gate was open.
    may_be_given: BTreeSet<Leave>,
}

impl GateJudge {
    /// A peer starts that may have promised something before, or hears its leader at `now`.
    pub fn close(&mut self, place: Place, now: Moment, gate: Span) {
        let until = self.closed_until.entry(place).or_default();
        *until = (*until).max(now + gate);
    }

    /// A sign of life of a run of a store is heard at `now`, on which a peer sleeps that has its leader there.
    pub fn close_by_sign(&mut self, place: Place, (store, run): (StoreId, u64), until: Moment) {
        self.by_sign.insert(place, (store, run, until));
    }

    /// `observer` hears that `store` runs anew: whatever led there does not any more.
    pub fn on_new_run(&mut self, observer: StoreId, (store, run): (StoreId, u64)) {
        self.by_sign.retain(|Place(at, _), (other, earlier, _)| {
            *at != observer || *other != store || *earlier >= run
        });
    }

    fn until(&self, place: Place) -> Moment {
        let by_leader = self.closed_until.get(&place).copied().unwrap_or_default();
        let by_sign = self.by_sign.get(&place).map(|(_, _, until)| *until).unwrap_or_default();
        by_leader.max(by_sign)
    }

    /// A candidate asks for a vote at `now`. Returns whether the gate keeps the peer from giving it.
    pub fn on_request(&mut self, place: Place, message: &PeerMessage, now: Moment) -> bool {
        let message = &message.message;
        // Whoever was told by the leader itself skips all gates: the leader has given up its lease.
        let is_chosen = !message.context.is_empty();
        let is_open = now >= self.until(place);
        if is_open || is_chosen {
            let is_vote = message.kind == MessageKind::RequestVote;
            self.may_be_given.insert((place, message.from, message.term, is_vote));
        }
        !is_open && !is_chosen
    }

    /// A message was made.
    ///
    /// # Errors
    /// It gives a vote for which nobody asked while the gate was open.
    pub fn on_message(&self, message: &PeerMessage) -> Verdict {
        let is_vote = match message.message.kind {
            MessageKind::RequestVoteResponse => true,
            MessageKind::RequestPreVoteResponse => false,
            _ => return Ok(()),
        };
        if message.message.reject.is_some() {
            return Ok(());
        }
        let place = Place(message.from.store, message.region);
        let (candidate, term) = (message.to.id, message.message.term);
        let is_open = self.may_be_given.contains(&(place, candidate, term, is_vote));
        require(is_open, GATE, || {
            let until = self.until(place);
            format!("{place}: a vote for {candidate} in term {term}, closed until {until}")
        })
    }

    /// A store is gone; its next run counts its own time.
    pub fn on_crash(&mut self, store: StoreId) {
        self.closed_until.retain(|Place(other, _), _| *other != store);
        self.by_sign.retain(|Place(other, _), _| *other != store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{OTHER, broken, message};

    const GATE_SPAN: Span = Span(100);

    /// A request of store 1 to store 2, and the answer.
    fn exchange(judge: &mut GateJudge, is_vote: bool, context: &'static str, now: u64) -> Verdict {
        let (asked, told) = if is_vote {
            (MessageKind::RequestVote, MessageKind::RequestVoteResponse)
        } else {
            (MessageKind::RequestPreVote, MessageKind::RequestPreVoteResponse)
        };
        let mut request = message(asked, 7);
        request.message.context = context.into();
        judge.on_request(OTHER, &request, Moment(now));
        let mut answer = message(told, 7);
        std::mem::swap(&mut answer.from, &mut answer.to);
        judge.on_message(&answer)
    }

    #[test]
    fn a_vote_behind_a_closed_gate_is_found() {
        for is_vote in [false, true] {
            let mut judge = GateJudge::default();
            judge.close(OTHER, Moment(50), GATE_SPAN);
            judge.close(OTHER, Moment(10), GATE_SPAN);
            assert_eq!(broken(exchange(&mut judge, is_vote, "", 149)), GATE);
            assert_eq!(exchange(&mut judge, is_vote, "", 150), Ok(()));
        }
    }

    #[test]
    fn a_sign_of_life_closes_the_gate_of_a_sleeper_until_that_store_runs_anew() {
        let (mut judge, leader) = (GateJudge::default(), StoreId(1));
        judge.close_by_sign(OTHER, (leader, 4), Moment(150));
        assert_eq!(broken(exchange(&mut judge, true, "", 149)), GATE);
        judge.on_new_run(leader, (leader, 5));
        judge.on_new_run(OTHER.0, (leader, 4));
        assert_eq!(broken(exchange(&mut judge, true, "", 149)), GATE, "nobody runs anew there");
        judge.on_new_run(OTHER.0, (leader, 5));
        assert_eq!(exchange(&mut judge, true, "", 149), Ok(()));
    }

    #[test]
    fn the_chosen_successor_a_refusal_and_another_run_are_no_crime() {
        let mut judge = GateJudge::default();
        judge.close(OTHER, Moment(50), GATE_SPAN);
        assert_eq!(exchange(&mut judge, true, "chosen", 60), Ok(()));
        let mut refusal = message(MessageKind::RequestPreVoteResponse, 9);
        refusal.message.reject = Some(flotilla_base::Index(0));
        assert_eq!(judge.on_message(&refusal), Ok(()));
        judge.on_crash(OTHER.0);
        assert_eq!(exchange(&mut judge, false, "", 60), Ok(()));
    }
}
