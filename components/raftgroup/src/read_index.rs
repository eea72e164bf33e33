//! Rounds of heartbeats that prove a lead: for reads that wait here, for reads of followers, and for the
//! lease. Each round has a context of its own, which is never used again: a late answer to an earlier use
//! would confirm a later one.
//!
//! A follower's reads travel as [`MessageKind::ReadIndex`] with a context of the follower's own, and come
//! back as [`MessageKind::ReadIndexResponse`]. The crate takes no part in that: the leader answers from its
//! lease, or with its next round.

use std::collections::VecDeque;

use bytes::Bytes;
use flotilla_base::{Bug, Index, Moment, PeerId, RoundName};

use crate::group::{Group, GroupReady, ReadError, ReadGrant, ReadToken};
use crate::message::{Message, MessageKind};

/// Requests of followers that wait for one round; more are dropped, and their followers ask again.
const REQUESTS_MAX: usize = 1024;

/// A follower's request.
#[derive(Debug)]
struct Request {
    from: PeerId,
    context: Bytes,
}

/// A round that no majority has answered yet.
#[derive(Debug)]
struct Round {
    token: ReadToken,
    /// Not after its first heartbeat left.
    sent_at: Moment,
    /// The caller waits for it.
    is_asked_for: bool,
    requests: Vec<Request>,
}

/// Reads on their way through this group.
#[derive(Debug, Default)]
pub(crate) struct ReadRounds {
    started: u64,
    /// Of a leader, oldest first.
    rounds: VecDeque<Round>,
    /// Requests that wait for a round to begin.
    requests: Vec<Request>,
    /// What a follower was granted by its leader.
    granted: Vec<ReadGrant>,
    /// Messages that the crate does not know of.
    outbox: Vec<Message>,
}

impl ReadRounds {
    /// Nobody confirms these any more.
    pub(crate) fn lose_lead(&mut self) {
        self.rounds.clear();
        self.requests.clear();
        self.outbox.clear();
    }

    pub(crate) const fn has_work(&self) -> bool {
        !self.outbox.is_empty() || !self.granted.is_empty()
    }

    /// Nobody waits for a round.
    pub(crate) fn is_idle(&self) -> bool {
        let is_waited_for = |round: &Round| round.is_asked_for || !round.requests.is_empty();
        !self.has_work() && self.requests.is_empty() && !self.rounds.iter().any(is_waited_for)
    }

    pub(crate) fn take_outbox(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.outbox)
    }

    pub(crate) fn post(&mut self, message: Message) {
        self.outbox.push(message);
    }

    fn next_token(&mut self) -> ReadToken {
        self.started += 1;
        ReadToken(self.started)
    }
}

impl Group {
    /// Starts a round that proves this leader's lead to all reads that wait for it.
    ///
    /// # Errors
    /// [`ReadError`]; no round was started.
    pub fn read_index(&mut self) -> Result<ReadToken, ReadError> {
        if !self.is_leader() {
            return Err(ReadError::NotLeader(self.leader()));
        }
        if !self.can_read() {
            return Err(ReadError::NotYet);
        }
        if self.has_bug(Bug::READ_INDEX_WITHOUT_QUORUM) {
            let (token, index) = (self.reading.next_token(), self.committed());
            self.reading.granted.push(ReadGrant { token, index });
            return Ok(token);
        }
        Ok(self.begin_round(true))
    }

    /// Asks the leader on behalf of reads at this follower. The request or its answer may be lost: ask
    /// again, and whichever answer comes grants this one and all before it.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] where no other peer is known to lead.
    pub fn ask_leader(&mut self) -> Result<ReadToken, ReadError> {
        let leader = self.leader().filter(|leader| *leader != self.peer());
        let leader = leader.ok_or(ReadError::NotLeader(None))?;
        let token = self.reading.next_token();
        let message = Message::new(MessageKind::ReadIndex, self.peer(), leader, self.role().term);
        let context = self.read_context(token).into();
        self.reading.post(Message { context, ..message });
        Ok(token)
    }

    /// A follower asks, behind the guard.
    pub(crate) fn take_request(&mut self, now: Moment, message: Message) {
        let Message { from, context, .. } = message;
        if let Some(index) = self.leased_index(now) {
            self.answer(Request { from, context }, index);
        } else if self.reading.requests.len() < REQUESTS_MAX {
            self.reading.requests.push(Request { from, context });
        }
    }

    /// The leader answers, behind the guard.
    pub(crate) fn take_answer(&mut self, message: &Message) {
        if let Some(token) = self.own_token(&message.context) {
            self.reading.granted.push(ReadGrant { token, index: message.index });
        }
    }

    /// The leader lives; where a lease is possible, the same round asks for one.
    pub(crate) fn beat(&mut self) {
        let can_read = self.can_read();
        if can_read {
            self.begin_round(false);
        }
        // The crate confirms an only voter's round at once and sends nothing, also not to learners.
        if !can_read || self.is_sole_voter() {
            self.raw.ping();
        }
    }

    /// One round for all followers that asked since the last one.
    pub(crate) fn serve_requests(&mut self) {
        if !self.reading.requests.is_empty() && self.can_read() {
            self.begin_round(false);
        }
    }

    pub(crate) fn grant_reads(&mut self, states: Vec<raft::ReadState>, work: &mut GroupReady) {
        work.reads = std::mem::take(&mut self.reading.granted);
        for raft::ReadState { request_ctx, index } in states {
            let Some(token) = self.own_token(&request_ctx) else { continue };
            // A confirmed round also proves every earlier one.
            while self.reading.rounds.front().is_some_and(|round| round.token <= token) {
                let Some(round) = self.reading.rounds.pop_front() else { break };
                self.confirm(round, Index(index), work);
            }
        }
    }

    fn confirm(&mut self, round: Round, index: Index, work: &mut GroupReady) {
        let is_late = self.has_bug(Bug::LEASE_FROM_RECEIVE_TIME);
        self.lease.note_confirmed(if is_late { self.seen_at() } else { round.sent_at });
        if round.is_asked_for {
            work.reads.push(ReadGrant { token: round.token, index });
        }
        for request in round.requests {
            self.answer(request, index);
        }
    }

    fn answer(&mut self, request: Request, index: Index) {
        let Request { from, context } = request;
        let term = self.role().term;
        let answer = Message::new(MessageKind::ReadIndexResponse, self.peer(), from, term);
        self.reading.post(Message { index, context, ..answer });
    }

    fn begin_round(&mut self, is_asked_for: bool) -> ReadToken {
        let token = self.reading.next_token();
        let requests = std::mem::take(&mut self.reading.requests);
        let sent_at = self.seen_at();
        self.reading.rounds.push_back(Round { token, sent_at, is_asked_for, requests });
        self.raw.read_index(self.read_context(token));
        token
    }

    fn own_token(&self, context: &[u8]) -> Option<ReadToken> {
        let token = ReadToken(RoundName::read(context)?.number);
        // What was never asked is answered by nobody: such an answer would grant all reads that wait.
        let is_asked = (1..=self.reading.started).contains(&token.0);
        let is_reused = self.has_bug(Bug::READ_INDEX_CONTEXT_REUSED);
        let newest = if is_reused { ReadToken(self.reading.started) } else { token };
        (is_asked && context == self.read_context(token)).then_some(newest)
    }

    fn read_context(&self, token: ReadToken) -> Vec<u8> {
        let number = if self.has_bug(Bug::READ_INDEX_CONTEXT_REUSED) { 1 } else { token.0 };
        let (peer, term, run) = (self.peer(), self.role().term, self.run());
        RoundName { peer, term, run, number }.to_bytes()
    }
}
