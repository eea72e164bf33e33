//! A group that has nothing to do sleeps: its members have no deadlines, and its leader sends nothing.
//!
//! The leader asks, in place of a heartbeat, once nobody has wanted anything of it for a while and every member is known
//! to hold and to have applied all there is. A member for which all of that is true as well answers and sleeps. When all
//! have answered, the leader sleeps. Where one does not answer before the next heartbeat is due, nobody sleeps: that
//! heartbeat wakes whoever did. So a question or an answer that is lost costs nothing, and a late one means nothing,
//! since each question has a number of its own.
//!
//! What keeps a sleeping member from campaigning is not the leader's word but the life of its leader's *store*, of which
//! this crate knows nothing: whoever drives the group must call [`Group::rouse`] when that ends, and does so before
//! everything else that concerns the group. A member that is roused while the store is heard closes its gate as if the
//! leader had sent a heartbeat at that moment, so a candidate is refused while the leader's store lives.
//!
//! The lease is no part of this: it runs out in a sleep, and the first read behind it takes a round. Nor is the log in
//! memory: whoever falls asleep drops it. All of it is applied, and who still lacks something of it is served from the disk.
//!
//! Some members may be left out, since their stores are silent; the others must be a majority. They are asked all the
//! same.

use std::collections::BTreeSet;

use bytes::Bytes;
use flotilla_base::{Bug, Index, Moment, PeerId, Term};
use raft::{ProgressState, StateRole};

use crate::group::Group;
use crate::message::{LogPosition, Message, MessageKind};

/// So many heartbeats lie between a question that somebody did not answer and the next one.
const BEATS_BETWEEN_QUESTIONS: u32 = 2;

/// Whether a leader sleeps.
#[derive(Debug)]
enum Rest {
    Awake,
    /// These have not answered the question of this number.
    Asking(BTreeSet<PeerId>),
    Asleep,
}

/// What a leader knows of how idle its group is.
#[derive(Debug)]
pub(crate) struct Idleness {
    /// Heartbeats since somebody wanted something.
    beats: u32,
    /// The next heartbeat may be a question; these members need not answer it.
    permitted: Option<BTreeSet<PeerId>>,
    /// Questions of this lead.
    asked: u64,
    rest: Rest,
}

impl Idleness {
    /// Of a lead that begins in a group that may sleep after so many heartbeats: nobody has wanted anything of it. One of
    /// them it has to send, by which members learn what is committed.
    pub(crate) const fn of_new_lead(idle_beats: u32) -> Self {
        let beats = idle_beats.saturating_sub(1);
        Self { beats, permitted: None, asked: 0, rest: Rest::Awake }
    }
}

/// A leader asks whether a member agrees to sleep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    from: PeerId,
    term: Term,
    /// The end of the leader's log, all of which is applied there.
    last: LogPosition,
    /// Names the question; the run of the leader's store stands in front.
    context: Bytes,
}

impl Question {
    /// What `message` asks; `None` where it is no question.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        let Message { kind, from, term, log_term, index, ref context, .. } = *message;
        let last = LogPosition { term: log_term, index };
        (kind == MessageKind::Quiesce).then(|| Self { from, term, last, context: context.clone() })
    }

    /// The run of the leader's store; `None` where the question makes no sense.
    #[must_use]
    pub fn run(&self) -> Option<u64> {
        let run = self.context.get(..8)?.try_into().ok()?;
        Some(u64::from_be_bytes(run))
    }
}

/// A question is a heartbeat to raft.
pub(crate) fn as_heartbeat(question: Message) -> Message {
    let Message { from, to, term, commit, .. } = question;
    Message { commit, ..Message::new(MessageKind::Heartbeat, from, to, term) }
}

impl Group {
    /// Whether this peer has no deadlines until it is roused.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        if self.is_leader() {
            matches!(self.duties.idleness.rest, Rest::Asleep)
        } else {
            self.clock.asleep_on().is_some()
        }
    }

    /// The run of the leader's store that this sleeping follower relies on; `None` at others.
    #[must_use]
    pub fn asleep_on(&self) -> Option<u64> {
        self.clock.asleep_on().filter(|_| !self.is_leader())
    }

    /// Whether the next heartbeat could be a question: it is due, and nobody has wanted anything for long.
    #[must_use]
    pub fn is_sleep_due(&self, now: Moment) -> bool {
        let idleness = &self.duties.idleness;
        let is_idle = idleness.beats >= self.config.limits.idle_beats;
        let is_awake = matches!(idleness.rest, Rest::Awake);
        self.is_leader() && is_awake && is_idle && now >= self.duties.heartbeat_at
    }

    /// The state machine has nothing to do: the heartbeat that is due may be a question. `absent` need not answer it.
    pub fn permit_sleep(&mut self, absent: BTreeSet<PeerId>) {
        self.duties.idleness.permitted = Some(absent);
    }

    /// Somebody wants something of this group: it stays awake for a while.
    pub fn note_request(&mut self) {
        self.duties.idleness.beats = 0;
    }

    /// Whether this leader sleeps, or has asked the members to.
    #[must_use]
    pub fn is_going_to_sleep(&self) -> bool {
        self.is_leader() && !matches!(self.duties.idleness.rest, Rest::Awake)
    }

    /// Something concerns the group: it goes on at once. At a leader, `heard` says when each member's store was heard
    /// last; a question under way is void, and where it slept a heartbeat is due, or a new question.
    pub fn rouse_leader(&mut self, now: Moment, heard: impl IntoIterator<Item = (PeerId, Moment)>) {
        if !self.is_leader() {
            return;
        }
        let rest = std::mem::replace(&mut self.duties.idleness.rest, Rest::Awake);
        if matches!(rest, Rest::Asleep) {
            self.duties.go_on(now, &self.config, heard);
        }
    }

    /// Something concerns the group of this sleeping follower, whose leader's store lives and was heard at `heard_at`.
    pub fn rouse(&mut self, heard_at: Moment) {
        if self.asleep_on().is_some() {
            let rank = self.rank(self.leader().unwrap_or_default());
            self.clock.rouse(heard_at, rank);
        }
    }

    /// The store of this sleeping follower's leader is silent, or runs anew. The peer's turn to campaign comes at `turn`.
    pub fn rouse_into_silence(&mut self, turn: Moment) {
        if self.asleep_on().is_some() {
            let rank = self.rank(self.leader().unwrap_or_default());
            self.clock.rouse_into_silence(turn, rank);
        }
    }

    /// The peer was just started, with many others: its turn to campaign comes at `turn`, if it hears no leader.
    pub fn queue_campaign(&mut self, turn: Moment) {
        if !self.is_sole_voter() {
            let rank = self.rank(PeerId(0));
            self.clock.queue_campaign(turn, rank);
        }
    }

    /// Somebody wants something of a group without a leader: it does not wait for its turn.
    pub fn jump_queue(&mut self, now: Moment) {
        let rank = self.rank(self.leader().unwrap_or_default());
        self.clock.jump_queue(now, rank);
    }

    /// Agrees to sleep, where all is as the leader says. To be called behind [`Group::step`] of the question, and only
    /// if the leader's store lives in the run that the question names, and the state machine has nothing to do.
    pub fn agree_to_sleep(&mut self, question: &Question) -> bool {
        let Some(run) = question.run() else { return false };
        let raft = &self.raw.raft;
        let is_led = raft.state == StateRole::Follower
            && raft.leader_id == question.from.get()
            && raft.term == question.term.get();
        let holds_all = self.last() == question.last || self.has_bug(Bug::QUIESCE_WHILE_BEHIND);
        if !(is_led && holds_all && self.has_applied_all() && self.reading.is_idle()) {
            return false;
        }
        let (own, term) = (self.peer(), question.term);
        let answer = Message::new(MessageKind::QuiesceResponse, own, question.from, term);
        self.reading.post(Message { context: question.context.clone(), ..answer });
        self.clock.fall_asleep(run);
        self.shrink_cache(0);
        true
    }

    /// A heartbeat, or a question in its place.
    pub(crate) fn beat_or_ask(&mut self) {
        let permitted = self.duties.idleness.permitted.take();
        match permitted.filter(|absent| self.is_settled(absent)) {
            Some(absent) => self.ask(&absent),
            None => {
                let idleness = &mut self.duties.idleness;
                let was_asking = matches!(idleness.rest, Rest::Asking(_));
                idleness.rest = Rest::Awake;
                // Somebody does not answer: it is no use to ask again at once.
                idleness.beats = if was_asking {
                    self.config.limits.idle_beats.saturating_sub(BEATS_BETWEEN_QUESTIONS)
                } else {
                    idleness.beats.saturating_add(1)
                };
                self.beat();
            }
        }
    }

    /// A member answers, behind the guard.
    pub(crate) fn take_consent(&mut self, message: &Message) {
        if message.context != self.question_context() {
            return;
        }
        let rest = &mut self.duties.idleness.rest;
        if let Rest::Asking(waiting) = rest {
            waiting.remove(&message.from);
            if waiting.is_empty() {
                self.fall_asleep();
            }
        }
    }

    fn fall_asleep(&mut self) {
        self.duties.idleness.rest = Rest::Asleep;
        self.shrink_cache(0);
    }

    fn ask(&mut self, absent: &BTreeSet<PeerId>) {
        self.duties.idleness.asked += 1;
        let (own, term, last) = (self.peer(), self.role().term, self.last());
        let context = self.question_context();
        let members: BTreeSet<PeerId> = self.members().filter(|member| *member != own).collect();
        for member in &members {
            let question = Message::new(MessageKind::Quiesce, own, *member, term);
            let (index, log_term, context) = (last.index, last.term, context.clone());
            // As in each heartbeat: never more than the member is known to hold. One that is absent may lack much.
            let commit = self.committed().min(self.matched(*member));
            self.reading.post(Message { index, log_term, commit, context, ..question });
        }
        let waiting: BTreeSet<PeerId> = members.difference(absent).copied().collect();
        if waiting.is_empty() {
            self.fall_asleep();
        } else {
            self.duties.idleness.rest = Rest::Asking(waiting);
        }
    }

    fn question_context(&self) -> Bytes {
        let words = [self.run(), self.duties.idleness.asked];
        words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>().into()
    }

    fn members(&self) -> impl Iterator<Item = PeerId> {
        self.raw.raft.prs().iter().map(|(id, _)| PeerId(*id))
    }

    /// Nothing is under way at this leader, and every member but those that are absent holds all of the log.
    fn is_settled(&self, absent: &BTreeSet<PeerId>) -> bool {
        let last = self.last().index;
        let holds_all = |peer: PeerId, matched: u64, state| {
            matched == last.get()
                && state != ProgressState::Snapshot
                && self.raw.store().snapshot_under_way(peer).is_none()
        };
        let is_behind_allowed = self.has_bug(Bug::QUIESCE_WHILE_BEHIND);
        let members = self.raw.raft.prs().iter().map(|(id, it)| (PeerId(*id), it));
        let others = members.filter(|(peer, _)| *peer != self.peer() && !absent.contains(peer));
        let mut others = others.map(|(peer, it)| holds_all(peer, it.matched, it.state));
        let voters = self.voters();
        let present = voters.voters.iter().filter(|voter| !absent.contains(voter)).count();
        self.can_read()
            && !self.is_transferring()
            && !self.is_membership_pending()
            && !voters.is_joint()
            && present > voters.voters.len() / 2
            && self.has_applied_all()
            && self.reading.is_idle()
            && (is_behind_allowed || others.all(|holds_all| holds_all))
    }

    fn has_applied_all(&self) -> bool {
        let applied = Index(self.raw.raft.raft_log.applied);
        self.is_log_durable()
            && self.committed() == self.last().index
            && applied == self.committed()
    }
}
