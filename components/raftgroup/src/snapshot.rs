//! Snapshots that a leader has sent: who needs one, of what, and what became of it.
//!
//! The crate asks its storage for a snapshot while it makes a message. Nothing can be made in that moment, so the
//! answer is "not now", and the wish is handed out. Whoever serves the wish takes a view of the database and says
//! where the state machine stands in it ([`Group::snapshot_taken`]); then the crate is told to ask again, and gets that
//! position and no data. What it wants to send is a [`SnapshotOrder`]: data and message go to the receiver together.
//! Exactly one word about it comes back ([`Group::snapshot_sent`]), since the crate sends the receiver nothing else
//! before.
//!
//! An attempt ends early when its lead or its term does, when the receiver leaves the group, and when it no longer
//! needs the snapshot. That is no failure: the crate asks again with the receiver's next answer to a heartbeat. Where a
//! receiver did not take what was sent, the next wish for it waits for a gate, then for two, and so on: whoever refuses a
//! snapshot has a reason that lasts, and a view of the database is not taken for nothing.

use std::collections::BTreeMap;

use flotilla_base::{Index, Moment, PeerId, Span, Term};
use raft::SnapshotStatus;
use raft::eraftpb::{Message as RaftMessage, MessageType, Snapshot};

use crate::group::{Group, GroupReady, Role};
use crate::guard::{self, StepError};
use crate::message::{HardState, LogPosition, Message, MessageKind, message_from_raft};

/// Names one attempt of one peer to send a snapshot. A peer leads once in a term, so no number comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotNumber {
    /// The term of the lead.
    pub term: Term,
    /// Counts attempts.
    pub count: u64,
}

/// Somebody needs a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotWish {
    /// Which attempt.
    pub number: SnapshotNumber,
    /// For whom.
    pub to: PeerId,
}

/// The snapshot of an attempt is to be sent, behind this message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOrder {
    /// Which attempt.
    pub number: SnapshotNumber,
    /// Its `index` and `log_term` are where the state machine stands in the data.
    pub message: Message,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// The receiver's store has all of it, durably, and has room for it.
    Arrived,
    /// Refused, broken off, or not known.
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    number: SnapshotNumber,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The crate has asked.
    Wished,
    /// The wish was handed out.
    Asked,
    /// There is a view at this position.
    Offered(LogPosition),
    /// The crate was given it, and has made its message.
    Sending(LogPosition),
    /// The receiver's store has it, and is to install it before this moment.
    Arrived(LogPosition, Moment),
}

impl Phase {
    /// From where on the log is needed.
    const fn position(self) -> Option<LogPosition> {
        match self {
            Self::Wished | Self::Asked => None,
            Self::Offered(at) | Self::Sending(at) | Self::Arrived(at, _) => Some(at),
        }
    }
}

/// The wait behind failures does not grow beyond so many gates.
const WAIT_GATES_MAX: u64 = 16;

/// What a receiver did not take.
#[derive(Clone, Copy, Debug)]
struct Failed {
    /// No wish is handed out for it before.
    until: Moment,
    gates: u64,
}

/// The attempts of a lead: one for each receiver.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// The term of the lead; none without one.
    term: Term,
    started: u64,
    under_way: BTreeMap<PeerId, Attempt>,
    /// Receivers that have taken nothing since.
    failed: BTreeMap<PeerId, Failed>,
    /// Given up, and nobody was told yet.
    given_up: Vec<SnapshotNumber>,
}

impl Attempts {
    /// The crate asks for a snapshot for `to`, which must not be older than `least`.
    pub(crate) fn ask(&mut self, to: PeerId, least: Index) -> Option<LogPosition> {
        match self.under_way.get(&to).map(|attempt| attempt.phase) {
            // A peer that is being given a snapshot says nothing; one that lacks it still is not given it.
            None | Some(Phase::Arrived(..)) => self.begin(to),
            Some(Phase::Offered(position)) if position.index >= least => {
                self.set(to, Phase::Sending(position));
                return Some(position);
            }
            Some(Phase::Offered(_)) => self.give_up(to),
            Some(Phase::Wished | Phase::Asked | Phase::Sending(_)) => {}
        }
        None
    }

    fn begin(&mut self, to: PeerId) {
        self.started += 1;
        let number = SnapshotNumber { term: self.term, count: self.started };
        self.under_way.insert(to, Attempt { number, phase: Phase::Wished });
    }

    pub(crate) fn position(&self, to: PeerId) -> Option<LogPosition> {
        self.under_way.get(&to)?.phase.position()
    }

    /// A lead begins in `term`; zero where one ends.
    pub(crate) fn start_anew(&mut self, term: Term) {
        self.given_up.extend(self.under_way.values().filter_map(Attempt::open_number));
        self.under_way.clear();
        self.failed.clear();
        (self.term, self.started) = (term, 0);
    }

    fn give_up(&mut self, to: PeerId) {
        let attempt = self.under_way.remove(&to);
        self.given_up.extend(attempt.as_ref().and_then(Attempt::open_number));
    }

    /// `to` has not taken what was sent.
    fn fail(&mut self, to: PeerId, now: Moment, gate: Span) {
        self.under_way.remove(&to);
        let before = self.failed.get(&to).map_or(0, |failed| failed.gates);
        let gates = (2 * before).clamp(1, WAIT_GATES_MAX);
        self.failed.insert(to, Failed { until: now + gate * gates, gates });
    }

    /// Hands out the wishes that need not wait.
    fn take_wishes(&mut self, now: Moment) -> Vec<SnapshotWish> {
        let failed = &self.failed;
        let waits = |to: &PeerId| failed.get(to).is_some_and(|failed| now < failed.until);
        let mut wishes = Vec::new();
        for (to, attempt) in &mut self.under_way {
            if matches!(attempt.phase, Phase::Wished) && !waits(to) {
                attempt.phase = Phase::Asked;
                wishes.push(SnapshotWish { number: attempt.number, to: *to });
            }
        }
        wishes
    }

    fn receiver(&self, number: SnapshotNumber) -> Option<(PeerId, Phase)> {
        let mut all = self.under_way.iter();
        all.find(|(_, it)| it.number == number).map(|(to, it)| (*to, it.phase))
    }

    fn set(&mut self, to: PeerId, phase: Phase) {
        if let Some(attempt) = self.under_way.get_mut(&to) {
            attempt.phase = phase;
        }
    }
}

impl Attempt {
    /// Its number, where somebody was told of it and has not said how it ended.
    const fn open_number(&self) -> Option<SnapshotNumber> {
        match self.phase {
            Phase::Wished | Phase::Arrived(..) => None,
            Phase::Asked | Phase::Offered(_) | Phase::Sending(_) => Some(self.number),
        }
    }
}

/// What the crate is given: where the state machine stands. The data is elsewhere, and so are the members.
pub(crate) fn without_data(position: LogPosition) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (position.index.get(), position.term.get());
    snapshot
}

impl Group {
    /// New wishes, and attempts that are given up: their views are needed by nobody. To be called whenever all work
    /// is collected.
    pub fn take_snapshot_wishes(&mut self) -> (Vec<SnapshotWish>, Vec<SnapshotNumber>) {
        self.give_up_needless();
        let now = self.seen_at();
        let attempts = self.raw.mut_store().attempts();
        (attempts.take_wishes(now), std::mem::take(&mut attempts.given_up))
    }

    /// Gives up all attempts: this peer sends nothing more.
    pub fn give_up_snapshots(&mut self) {
        let attempts = self.raw.mut_store().attempts();
        let term = attempts.term;
        attempts.start_anew(term);
    }

    /// A view was taken for a wish; the state machine stands at `position` in it.
    pub fn snapshot_taken(&mut self, number: SnapshotNumber, position: LogPosition) {
        let is_term_durable = self.is_promise_durable();
        let truncated = self.truncated();
        let attempts = self.raw.mut_store().attempts();
        let Some((to, Phase::Asked)) = attempts.receiver(number) else {
            // Given up meanwhile, and told so.
            return;
        };
        // Its message must not overtake what makes its term durable, and behind it there must be a log.
        if !is_term_durable || position.index < truncated.index {
            attempts.give_up(to);
            return;
        }
        attempts.set(to, Phase::Offered(position));
        if self.raw.raft.prs().get(to.get()).is_some() {
            self.raw.raft.send_append(to.get());
        }
    }

    /// No view could be taken for a wish.
    pub fn snapshot_refused(&mut self, number: SnapshotNumber) {
        let attempts = self.raw.mut_store().attempts();
        if let Some((to, Phase::Asked)) = attempts.receiver(number) {
            attempts.under_way.remove(&to);
        }
    }

    /// What became of an attempt, its view being gone.
    pub fn snapshot_sent(&mut self, number: SnapshotNumber, outcome: SnapshotOutcome) {
        let (now, gate) = (self.seen_at(), self.timing().gate);
        let until = now + gate * self.config.limits.log.install_gates;
        let attempts = self.raw.mut_store().attempts();
        let Some((to, phase)) = attempts.receiver(number) else { return };
        let status = match (phase, outcome) {
            (Phase::Sending(position), SnapshotOutcome::Arrived) => {
                attempts.set(to, Phase::Arrived(position, until));
                attempts.failed.remove(&to);
                SnapshotStatus::Finish
            }
            (Phase::Arrived(..), _) => return,
            _ => {
                attempts.fail(to, now, gate);
                SnapshotStatus::Failure
            }
        };
        self.raw.report_snapshot(to.get(), status);
    }

    /// Attempts that serve nobody any more.
    fn give_up_needless(&mut self) {
        let (now, truncated) = (self.seen_at(), self.truncated());
        let needless: Vec<PeerId> = {
            let progress = self.raw.raft.prs();
            let attempts = self.raw.store().attempts_now();
            let is_needless = |(to, attempt): (&PeerId, &Attempt)| {
                let Some(matched) = progress.get(to.get()).map(|it| Index(it.matched)) else {
                    return true;
                };
                match attempt.phase {
                    Phase::Wished | Phase::Asked | Phase::Offered(_) => matched >= truncated.index,
                    Phase::Sending(position) => matched >= position.index,
                    Phase::Arrived(position, until) => matched >= position.index || now >= until,
                }
            };
            attempts.under_way.iter().filter(|it| is_needless(*it)).map(|(to, _)| *to).collect()
        };
        let attempts = self.raw.mut_store().attempts();
        needless.into_iter().for_each(|to| attempts.give_up(to));
    }

    /// Takes what the crate wants to send with a snapshot out of `messages`.
    pub(crate) fn take_snapshot_orders(
        &self,
        messages: &mut Vec<RaftMessage>,
        work: &mut GroupReady,
    ) {
        let is_snapshot = |it: &RaftMessage| it.msg_type == MessageType::MsgSnapshot;
        if !messages.iter().any(is_snapshot) {
            return;
        }
        let (snapshots, others) = std::mem::take(messages).into_iter().partition(is_snapshot);
        *messages = others;
        let snapshots: Vec<RaftMessage> = snapshots;
        for mut message in snapshots {
            let metadata = message.take_snapshot().take_metadata();
            let attempts = self.raw.store().attempts_now();
            let attempt = attempts.under_way.get(&PeerId(message.to)).copied();
            // Where the lead has ended since, so has the attempt.
            let Some(Attempt { number, phase: Phase::Sending(position) }) = attempt else {
                continue;
            };
            let is_same =
                position.index.get() == metadata.index && number.term.get() == message.term;
            // Of an attempt that has failed since, while nothing was collected: this one has a message of its own.
            let is_again = work.snapshots.iter().any(|order| order.number == number);
            if is_again {
                continue;
            }
            let Some(message) = message_from_raft(message).filter(|_| is_same) else { continue };
            let LogPosition { term: log_term, index } = position;
            debug_assert!(
                self.is_promise_durable(),
                "{self:?}: a view is offered in a durable term"
            );
            let message = Message { index, log_term, ..message };
            work.snapshots.push(SnapshotOrder { number, message });
        }
    }

    /// Whether the data behind `message` would bring this peer on. The crate is never asked: what it does with a
    /// snapshot it does before the data is there, and much of it is fatal where the message lies.
    ///
    /// # Errors
    /// [`StepError`]: the message makes no sense here, or what it brings is known here.
    pub fn check_snapshot(&self, message: &Message) -> Result<(), StepError> {
        let view = self.guard_view(message);
        guard::check_snapshot(message, &view)?;
        if self.role().role != Role::Follower {
            return Err(StepError::Senseless("a snapshot for a peer that does not follow"));
        }
        // Its log holds that entry: nothing that it has acknowledged may be lost behind it.
        let position = LogPosition { index: message.index, term: message.log_term };
        if position.index <= self.last().index && self.position(position.index) == Some(position) {
            return Err(StepError::Senseless("a snapshot of what this peer holds"));
        }
        Ok(())
    }

    /// What a peer that has durably promised `promised` promises with the snapshot of `message`, which was checked.
    #[must_use]
    pub fn promise_behind_snapshot(promised: HardState, message: &Message) -> HardState {
        let commit = message.index;
        if message.term > promised.term {
            return HardState { term: message.term, vote: PeerId(0), commit };
        }
        HardState { commit, ..promised }
    }

    /// Tells the leader that everything up to the end of this log is held here. It would find out by asking.
    pub fn acknowledge_to(&mut self, leader: PeerId) {
        let (term, index) = (self.role().term, self.last().index);
        let answer = Message::new(MessageKind::AppendResponse, self.peer(), leader, term);
        self.reading.post(Message { index, commit: index, ..answer });
    }
}

/// The answer of the storage that has no snapshot now. Any other one ends the process.
pub(crate) const fn not_now() -> raft::Error {
    raft::Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: PeerId = PeerId(3);

    fn at(index: u64) -> LogPosition {
        LogPosition { term: Term(6), index: Index(index) }
    }

    fn leading() -> Attempts {
        let mut attempts = Attempts::default();
        attempts.start_anew(Term(6));
        attempts
    }

    fn number(attempts: &Attempts) -> SnapshotNumber {
        attempts.under_way[&TO].number
    }

    #[test]
    fn a_snapshot_is_given_once_it_is_offered_and_is_new_enough() {
        let mut attempts = leading();
        assert_eq!(attempts.ask(TO, Index(0)), None);
        assert_eq!(attempts.ask(TO, Index(0)), None, "asked for already");
        let first = number(&attempts);
        attempts.set(TO, Phase::Offered(at(9)));
        assert_eq!(attempts.ask(TO, Index(10)), None, "too old");
        assert_eq!(attempts.given_up, [first]);
        assert_eq!(attempts.ask(TO, Index(10)), None);
        assert!(number(&attempts) > first);
        attempts.set(TO, Phase::Offered(at(12)));
        assert_eq!(attempts.ask(TO, Index(10)), Some(at(12)));
        assert_eq!(attempts.ask(TO, Index(10)), None, "it is on its way");
        assert_eq!(attempts.position(TO), Some(at(12)));
    }

    /// It would have nothing else to say while it is given what has arrived.
    #[test]
    fn whoever_lacks_what_has_arrived_is_sent_another_one() {
        let mut attempts = leading();
        attempts.ask(TO, Index(0));
        let first = number(&attempts);
        attempts.set(TO, Phase::Arrived(at(9), Moment(100)));
        assert_eq!(attempts.ask(TO, Index(0)), None);
        assert!(number(&attempts) > first);
        assert!(attempts.given_up.is_empty(), "its end was told");
    }

    #[test]
    fn whoever_takes_nothing_is_tried_ever_more_seldom() {
        let (mut attempts, gate) = (leading(), Span(10));
        let mut tried = Vec::new();
        for now in (0..1_000).map(Moment) {
            attempts.ask(TO, Index(0));
            if let [SnapshotWish { to: TO, .. }] = attempts.take_wishes(now)[..] {
                tried.push(now.0);
                attempts.fail(TO, now, gate);
            }
        }
        assert_eq!(tried, [0, 10, 30, 70, 150, 310, 470, 630, 790, 950]);
        attempts.ask(PeerId(4), Index(0));
        assert_eq!(attempts.take_wishes(Moment(951)).len(), 1, "others do not wait for it");
        attempts.start_anew(Term(7));
        attempts.ask(TO, Index(0));
        assert_eq!(attempts.take_wishes(Moment(952)).len(), 1, "a new lead asks at once");
    }

    #[test]
    fn the_end_of_a_lead_gives_up_what_is_open() {
        let mut attempts = leading();
        for (peer, phase) in [
            (2, Phase::Wished),
            (3, Phase::Asked),
            (4, Phase::Offered(at(9))),
            (5, Phase::Sending(at(9))),
            (6, Phase::Arrived(at(9), Moment(100))),
        ] {
            attempts.ask(PeerId(peer), Index(0));
            attempts.set(PeerId(peer), phase);
        }
        attempts.start_anew(Term(0));
        let counts: Vec<u64> = attempts.given_up.iter().map(|number| number.count).collect();
        assert_eq!(counts, [2, 3, 4]);
        assert!(attempts.under_way.is_empty());
    }
}
