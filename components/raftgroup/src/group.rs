//! The group itself: inputs go in, [`GroupReady`]s come out.
//!
//! Order of work that the caller owes (the crate's contract, for its asynchronous form):
//! 1. call [`Group::collect`] until it gives nothing; between two calls nothing else;
//! 2. send [`GroupReady::send_now`] at any time; write `append` and `hard_state` in order of `number`;
//! 3. once that is durable, call [`Group::on_persisted`] **and only then** send `send_after_persist`:
//!    a vote answer that overtakes the notice would elect a peer with an unpersisted log;
//! 4. apply `committed` in order, then call [`Group::on_applied`].

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{Bug, Index, KvRead, Moment, PeerId, Rng, Term};
use raft::eraftpb::{Message as RaftMessage, MessageType};
use raft::{RawNode, StateRole, eraftpb};

use crate::config::{GroupConfig, Timing};
use crate::duties::Duties;
use crate::election::{ElectionClock, ElectionWake};
use crate::guard::{self, Damage, GuardView, StepError};
use crate::lease::LeaseClock;
use crate::log::{LogStart, LogView};
use crate::message::{
    Entry, HardState, LogPosition, Message, MessageKind, Voters, entry_from_raft,
    message_from_raft, message_to_raft,
};
use crate::quiescence::as_heartbeat;
use crate::read_index::ReadRounds;
use crate::retention::Retention;
use crate::snapshot::SnapshotOrder;
use crate::transfer::Transfer;

/// Number of a [`GroupReady`]; grows by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadyNumber(pub u64);

/// A round of read-index, unique over all runs of all peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadToken(pub u64);

/// A confirmed round: every read that was registered before it sees all that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadGrant {
    /// Which round.
    pub token: ReadToken,
    /// Apply must have reached this index before the read.
    pub index: Index,
}

/// What a peer is in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows, perhaps without knowing whom.
    #[default]
    Follower,
    /// Asks whether it could win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// A change of role, term or known leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleChange {
    /// The role now.
    pub role: Role,
    /// The term now.
    pub term: Term,
    /// The leader of that term, where known.
    pub leader: Option<PeerId>,
}

/// How a peer came to be, which decides what it may have promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Created in this run: it has promised nothing, and its gate is open.
    Created,
    /// Created in this run and named by the bootstrap: campaigns at once.
    CreatedToLead,
    /// Read back from disk: it may have promised its gate to a leader.
    Restarted,
}

/// What a group starts from.
#[derive(Clone, Debug)]
pub struct Initial {
    /// Promises.
    pub hard_state: HardState,
    /// Members.
    pub voters: Voters,
    /// Last applied entry.
    pub applied: Index,
    /// Last entry that is not in the log.
    pub truncated: LogPosition,
    /// Last entry of the log.
    pub last: LogPosition,
    /// How the peer came to be.
    pub origin: Origin,
}

/// Why a group cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("raft refuses to start: {0}")]
pub struct GroupError(String);

/// Why a proposal was not appended. It certainly has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Only the leader proposes.
    #[error("this peer does not lead")]
    NotLeader(Option<PeerId>),
    /// Too much is uncommitted, or the leader is about to hand over.
    #[error("too much is waiting to be committed")]
    Busy,
}

/// Why a round of read-index did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Only the leader starts one.
    #[error("this peer does not lead")]
    NotLeader(Option<PeerId>),
    /// The leader has not committed an entry of its own term; it will within a moment.
    #[error("the leader has not committed in its term yet")]
    NotYet,
}

/// Work for the caller; see the module's order of work.
#[derive(Debug, Default)]
pub struct GroupReady {
    /// To be given to [`Group::on_persisted`].
    pub number: ReadyNumber,
    /// Role, term or leader changed.
    pub role_change: Option<RoleChange>,
    /// To be written, if term or vote changed.
    pub hard_state: Option<HardState>,
    /// To be written: the new end of the log.
    pub append: Option<Append>,
    /// May leave at once.
    pub send_now: Vec<Message>,
    /// May leave once everything up to `number` is durable.
    pub send_after_persist: Vec<Message>,
    /// To be sent with their data, at any time.
    pub snapshots: Vec<SnapshotOrder>,
    /// Committed and durable here: to be applied.
    pub committed: Vec<Entry>,
    /// Confirmed reads.
    pub reads: Vec<ReadGrant>,
    /// Nothing is to be written and nothing is outstanding: `number` counts as persisted already.
    pub is_complete: bool,
}

/// Entries that become the end of the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Append {
    /// Where the log ended before; entries from the first new index to it are replaced.
    pub old_last: Index,
    /// The entries, at least one.
    pub entries: Vec<Entry>,
}

impl GroupReady {
    /// Whether something must be written and made durable before `send_after_persist` may leave.
    #[must_use]
    pub const fn needs_write(&self) -> bool {
        self.hard_state.is_some() || self.append.is_some()
    }
}

/// A Ready that is not yet known durable.
#[derive(Debug)]
struct Outstanding {
    number: ReadyNumber,
    /// Not after it was handed out to be written.
    since: Moment,
    /// (term, vote) that become durable with it.
    promise: Option<(Term, PeerId)>,
}

/// One member of one raft group.
pub struct Group {
    pub(crate) config: GroupConfig,
    pub(crate) raw: RawNode<LogView>,
    pub(crate) clock: ElectionClock,
    pub(crate) duties: Duties,
    /// The newest moment that this group was told: spans that begin here are never too short.
    seen_at: Moment,
    /// (term, vote) that would survive a crash now. Nothing of a newer term leaves this peer.
    durable: (Term, PeerId),
    outstanding: VecDeque<Outstanding>,
    pub(crate) reading: ReadRounds,
    pub(crate) lease: LeaseClock,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) retention: Retention,
    last_change: RoleChange,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RoleChange { role, term, .. } = self.role();
        write!(f, "group {} peer {} {role:?} term {term}", self.config.group, self.config.peer)
    }
}

impl Group {
    /// A group that continues from `initial`; `disk` reads entries that left the cache.
    ///
    /// # Errors
    /// [`GroupError`] where the crate refuses the state.
    pub fn new(
        config: GroupConfig,
        initial: Initial,
        disk: Arc<dyn KvRead + Send + Sync>,
        now: Moment,
    ) -> Result<Self, GroupError> {
        let Initial { mut hard_state, voters, applied, truncated, last, origin } = initial;
        // An applied entry is committed, whatever the lazily written hint says.
        hard_state.commit = hard_state.commit.max(applied).min(last.index);
        let voters = voters.with_bugs(config.seeded);
        let is_sole_voter = voters.is_sole(config.peer);
        let start = LogStart { hard_state, voters, truncated, last };
        let mut log = LogView::new(config.group, disk, start).keeping(&config.limits.log);
        log.find_changes(applied).map_err(|error| GroupError(error.to_string()))?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut raw = RawNode::new(&raft_config(&config, applied), log, &logger)
            .map_err(|error| GroupError(error.to_string()))?;
        raw.raft.skip_bcast_commit(true);
        let seed =
            Rng::lane(config.seed, config.group.get() ^ config.peer.get().rotate_left(32)).next();
        // The only voter can have promised nothing: there is nobody else to lead.
        let is_fenced = origin == Origin::Restarted
            && !is_sole_voter
            && !config.seeded.has(Bug::VOTE_RIGHT_AFTER_RESTART);
        let clock = ElectionClock::new(config.timing, seed, now, is_fenced);
        let mut clock = clock.with_bugs(config.seeded);
        if origin == Origin::CreatedToLead || is_sole_voter {
            clock.campaign_at_once(now);
        }
        Ok(Self {
            clock,
            duties: Duties::NONE,
            seen_at: now,
            durable: (hard_state.term, hard_state.vote),
            outstanding: VecDeque::new(),
            reading: ReadRounds::default(),
            lease: LeaseClock::new(config.timing.lease),
            transfer: None,
            retention: Retention::default(),
            last_change: RoleChange { term: hard_state.term, ..RoleChange::default() },
            config,
            raw,
        })
    }

    /// Takes a message of another member.
    ///
    /// # Errors
    /// [`StepError`] where it was not stepped; only damage is a fault of this peer.
    pub fn step(&mut self, now: Moment, message: Message) -> Result<(), StepError> {
        self.note_time(now);
        guard::check(&message, &self.guard_view(&message))?;
        let (kind, from, term) = (message.kind, message.from, message.term);
        self.note_heard(now, from, term);
        match kind {
            MessageKind::RequestVote | MessageKind::RequestPreVote => {
                self.open_or_refuse(now, &message)?;
            }
            MessageKind::ReadIndex => {
                self.take_request(now, message);
                return Ok(());
            }
            MessageKind::ReadIndexResponse => {
                self.take_answer(&message);
                return Ok(());
            }
            MessageKind::Quiesce => return self.step(now, as_heartbeat(message)),
            MessageKind::QuiesceResponse => {
                self.take_consent(&message);
                return Ok(());
            }
            // Its campaign is this peer's own, and counts as such.
            MessageKind::TimeoutNow => self.clock.campaign_started(now),
            _ => {}
        }
        let vote_before = (self.raw.raft.term, self.raw.raft.vote);
        // The crate's own errors say that a message has no place here (an unknown peer): dropped.
        let _unknown_peer_is_dropped = self.raw.step(message_to_raft(message));
        if self.has_bug(Bug::COMMIT_OLD_TERM_BY_COUNT) && self.is_leader() {
            let (counted, _) = self.raw.raft.mut_prs().maximal_committed_index();
            self.raw.raft.raft_log.commit_to(counted);
        }
        let raft = &self.raw.raft;
        let is_from_leader = matches!(kind, MessageKind::Append | MessageKind::Heartbeat)
            && raft.leader_id == from.get()
            && raft.term == term.get();
        if is_from_leader {
            self.clock.heard_leader(now, self.rank(from));
        } else if (raft.term, raft.vote) != vote_before && raft.vote == from.get() {
            self.clock.granted_vote(now);
        }
        self.follow_role(now);
        Ok(())
    }

    /// Does what is due at `now`: heartbeats and quorum checks of a leader, campaigns of the others.
    pub fn wake(&mut self, now: Moment) {
        self.note_time(now);
        if self.is_asleep() {
            return;
        }
        if self.is_leader() {
            self.wake_leader(now);
        } else {
            self.wake_follower(now);
        }
        self.follow_role(now);
    }

    /// Time passes. Whatever this peer sends from now on leaves later than `now`; and what it is told from
    /// now on must have been taken before the clock was read.
    pub fn note_time(&mut self, now: Moment) {
        self.seen_at = self.seen_at.max(now);
    }

    /// When [`Self::wake`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        if self.is_asleep() {
            Moment::NEVER
        } else if self.is_leader() {
            let abort_at = self.transfer.as_ref().map_or(Moment::NEVER, Transfer::until);
            self.duties.next().min(abort_at)
        } else if self.raw.raft.promotable() {
            self.clock.deadline()
        } else {
            Moment::NEVER
        }
    }

    /// Appends a command to the leader's log.
    ///
    /// # Errors
    /// [`ProposeError`]; the command certainly has no effect then.
    pub fn propose(&mut self, data: Bytes) -> Result<LogPosition, ProposeError> {
        let raft = &mut self.raw.raft;
        if raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader(self.leader()));
        }
        if self.transfer.is_some() {
            return Err(ProposeError::Busy);
        }
        let before = raft.raft_log.last_index();
        let entry = eraftpb::Entry { data, ..eraftpb::Entry::default() };
        let message = RaftMessage {
            msg_type: MessageType::MsgPropose,
            from: raft.id,
            entries: vec![entry].into(),
            ..RaftMessage::default()
        };
        let index = match raft.step(message) {
            Ok(()) => raft.raft_log.last_index(),
            Err(_dropped) => return Err(ProposeError::Busy),
        };
        if index != before + 1 {
            return Err(ProposeError::Busy);
        }
        Ok(LogPosition { term: Term(raft.term), index: Index(index) })
    }

    /// The next piece of work; `None` when there is none. While too much is not yet durable, only what
    /// [`Self::collect_unwritten`] gives.
    ///
    /// Nothing comes out of a group whose log is damaged ([`Self::damage`]): what the crate made of it is dropped here.
    pub fn collect(&mut self) -> Option<GroupReady> {
        if self.raw.store().is_damaged() {
            return None;
        }
        if self.outstanding.len() >= self.config.limits.outstanding_max {
            return self.collect_unwritten();
        }
        self.drop_fetched();
        self.serve_requests();
        self.tell_successor();
        if !self.raw.has_ready() && !self.reading.has_work() {
            return None;
        }
        let mut ready = self.raw.ready();
        // Entries to apply were read just now.
        if self.raw.store().is_damaged() {
            return None;
        }
        assert!(ready.snapshot().is_empty(), "the crate installs no snapshot");
        let entries = ready.take_entries();
        let old_last = self.raw.store().last().index;
        // The crate looks entries up in the log from the next line on.
        self.raw.mut_store().append(&entries);
        let hard_state = self.changed_hard_state(&ready);
        let mut messages = ready.take_messages();
        messages.append(&mut ready.take_persisted_messages());
        let mut work = GroupReady {
            number: ReadyNumber(ready.number()),
            hard_state,
            append: (!entries.is_empty()).then(|| Append {
                old_last,
                entries: entries.into_iter().map(entry_from_raft).collect(),
            }),
            committed: ready.take_committed_entries().into_iter().map(entry_from_raft).collect(),
            ..GroupReady::default()
        };
        self.grant_reads(ready.take_read_states(), &mut work);
        self.take_snapshot_orders(&mut messages, &mut work);
        let messages = messages.into_iter().filter_map(message_from_raft);
        let own = self.reading.take_outbox();
        self.sort_messages(messages.chain(own), &mut work);
        self.check_committed(&work.committed);
        self.raw.advance_append_async(ready);
        if self.has_bug(Bug::LOG_COUNTS_BEFORE_DURABLE) {
            self.raw.on_persist_ready(work.number.0);
        }
        self.note_outstanding(&mut work);
        work.role_change = self.take_role_change();
        Some(work)
    }

    /// What is wrong with the log, once an entry was found missing or damaged that it must hold. The group has gone on
    /// with something else in its place, so nothing that it says or does from then on may reach anybody or the disk.
    #[must_use]
    pub fn damage(&self) -> Option<Damage> {
        self.raw.store().damage().map(Damage::Entry)
    }

    /// Everything up to the Ready of this number is durable.
    pub fn on_persisted(&mut self, number: ReadyNumber) {
        let before = self.durable.0;
        while self.outstanding.front().is_some_and(|first| first.number <= number) {
            if let Some(Outstanding { promise: Some(promise), .. }) = self.outstanding.pop_front() {
                self.durable = promise;
            }
        }
        assert!(self.durable.0 >= before, "{self:?}: a promise was taken back");
        self.raw.on_persist_ready(number.0);
    }

    /// The state machine has applied everything up to `index`.
    pub fn on_applied(&mut self, index: Index) {
        if index.get() > self.raw.raft.raft_log.applied {
            self.raw.advance_apply_to(index.get());
            self.raw.mut_store().forget_changes(index);
            let needless = index.min(self.matched_by_all().unwrap_or(Index(0)));
            let bytes_max = self.config.limits.cache_bytes_max;
            self.raw.mut_store().trim(needless, index, bytes_max);
        }
    }

    /// So many bytes of applied entries may stay in memory from now on. What is not applied stays in any case: it may not
    /// be durable, and its applier waits for it.
    pub fn limit_cache(&mut self, bytes_max: usize) {
        self.config.limits.cache_bytes_max = bytes_max;
        self.shrink_cache(bytes_max);
    }

    /// Drops fetched and applied entries from memory while there are more bytes than that.
    pub(crate) fn shrink_cache(&mut self, bytes_max: usize) {
        if self.cached_bytes() > bytes_max {
            self.raw.mut_store().fetches_now().forget();
            let applied = Index(self.raw.raft.raft_log.applied);
            self.raw.mut_store().trim(Index(0), applied, bytes_max);
        }
    }

    /// Bytes of log entries in memory.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.raw.store().cached_bytes()
    }

    /// Nothing up to `position` will be read from the log any more. To be called before it is deleted:
    /// the group has no other way to know that an entry is gone.
    pub fn on_truncated(&mut self, position: LogPosition) {
        self.raw.mut_store().truncate(position);
    }

    /// A message to `peer` was lost for sure: probe before streaming entries to it again.
    pub fn report_unreachable(&mut self, peer: PeerId) {
        self.raw.report_unreachable(peer.get());
    }

    /// The peer is leader, and knows of a commit in its own term.
    #[must_use]
    pub fn can_read(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.raw.raft.commit_to_current_term()
    }

    /// Role, term and leader now.
    #[must_use]
    pub fn role(&self) -> RoleChange {
        let role = match self.raw.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        };
        RoleChange { role, term: Term(self.raw.raft.term), leader: self.leader() }
    }

    /// The leader of the current term, where known.
    #[must_use]
    pub fn leader(&self) -> Option<PeerId> {
        let leader = PeerId(self.raw.raft.leader_id);
        (!leader.is_none()).then_some(leader)
    }

    /// Whether this peer leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Commit index.
    #[must_use]
    pub fn committed(&self) -> Index {
        Index(self.raw.raft.raft_log.committed)
    }

    /// End of the log that is on disk or in the next Ready.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        LogPosition {
            index: Index(self.raw.raft.raft_log.last_index()),
            term: Term(self.raw.raft.raft_log.last_term()),
        }
    }

    /// Which group this is.
    #[must_use]
    pub const fn id(&self) -> flotilla_base::RegionId {
        self.config.group
    }

    /// End of the log as of the last collected Ready.
    #[must_use]
    pub fn written_last(&self) -> LogPosition {
        self.raw.store().last()
    }

    /// Last entry that is not in the log.
    #[must_use]
    pub fn truncated(&self) -> LogPosition {
        self.raw.store().truncated()
    }

    /// Position of the entry at `index`, where it is still known and not damaged.
    #[must_use]
    pub fn position(&self, index: Index) -> Option<LogPosition> {
        let term = self.raw.raft.raft_log.term(index.get()).ok()?;
        let is_sound = !self.raw.store().is_damaged();
        is_sound.then_some(LogPosition { term: Term(term), index })
    }

    /// Readys that are not yet durable.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub(crate) const fn timing(&self) -> Timing {
        self.config.timing
    }

    pub(crate) const fn peer(&self) -> PeerId {
        self.config.peer
    }

    pub(crate) const fn run(&self) -> u64 {
        self.config.run
    }

    /// Whether (term, vote) as they are now would survive a crash.
    pub(crate) fn is_promise_durable(&self) -> bool {
        (Term(self.raw.raft.term), PeerId(self.raw.raft.vote)) == self.durable
    }

    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.config.seeded.has(bug)
    }

    pub(crate) const fn seeded(&self) -> flotilla_base::Seeded {
        self.config.seeded
    }

    pub(crate) const fn seen_at(&self) -> Moment {
        self.seen_at
    }

    /// Since when the oldest write waits to be durable.
    pub(crate) fn oldest_write(&self) -> Option<Moment> {
        self.outstanding.front().map(|oldest| oldest.since)
    }

    /// Since when this process has not slept for longer than a gate; leaders only.
    pub(crate) const fn awake_since(&self) -> Moment {
        self.duties.awake_since()
    }

    pub(crate) fn guard_view(&self, message: &Message) -> GuardView {
        let raft = &self.raw.raft;
        GuardView {
            peer: self.config.peer,
            last: self.last().index,
            durable_end: if self.has_bug(Bug::HANDOVER_NEVER_VOID) {
                Some(LogPosition { term: message.log_term, index: message.index })
            } else {
                self.is_log_durable().then(|| self.last())
            },
            committed: Index(raft.raft_log.committed),
            term: message.term.get().cmp(&raft.term),
            is_leader: raft.state == StateRole::Leader,
            is_from_leader: raft.leader_id == message.from.get(),
            matched: raft.prs().get(message.from.get()).map(|it| Index(it.matched)),
            has_unapplied_change: self.has_unapplied_change(),
        }
    }

    /// The crate refuses votes while its tick counter says that the leader was heard. The counter
    /// never moves here, so this wrapper decides by real time and sets it to what was decided.
    fn open_or_refuse(&mut self, now: Moment, message: &Message) -> Result<(), StepError> {
        let is_newer = message.term.get() > self.raw.raft.term;
        // The leader itself has given up its gate, before it told its successor.
        let is_chosen = Self::is_chosen(message.kind, &message.context);
        if self.raw.raft.state == StateRole::Leader {
            // A leader is deposed by its own quorum check, by its chosen successor, or by a follower that
            // answers in a newer term; never by somebody who just asks.
            let is_heard = !is_newer || (is_chosen && self.is_successor(message.from));
            return if is_heard { Ok(()) } else { Err(StepError::GateClosed) };
        }
        if !is_chosen && !self.clock.is_open(now) {
            return Err(StepError::GateClosed);
        }
        self.raw.raft.election_elapsed = self.raw.raft.election_timeout();
        Ok(())
    }

    fn wake_follower(&mut self, now: Moment) {
        if !self.raw.raft.promotable() || self.clock.wake(now) != ElectionWake::Campaign {
            return;
        }
        if self.raw.raft.state == StateRole::Candidate {
            self.clock.election_lost();
        }
        self.clock.campaign_started(now);
        // The crate would look for an unapplied change itself, and load all that waits to be applied for it.
        if self.is_log_durable() && !self.has_unapplied_change() {
            self.raw.raft.campaign(raft::CAMPAIGN_PRE_ELECTION);
        }
    }

    /// A campaign over entries that are not yet durable could win with a log that a crash cuts.
    pub(crate) fn is_log_durable(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        log.persisted == log.last_index() && self.outstanding.is_empty()
    }

    /// Sets deadlines when the role has changed since they were set.
    pub(crate) fn follow_role(&mut self, now: Moment) {
        let is_leader = self.is_leader();
        let had_duties = self.duties.are_due();
        if is_leader != had_duties {
            self.reading.lose_lead();
            self.lease.start_anew();
            self.transfer = None;
            self.keep_log_anew(now);
        }
        if is_leader && !had_duties {
            self.duties = Duties::begin(now, &self.config);
        } else if !is_leader && had_duties {
            self.duties = Duties::NONE;
            // Where a new leader made this one step down, its silence is what the clock measures already.
            if self.leader().is_none() {
                let rank = self.rank(PeerId(0));
                self.clock.stepped_down(now, rank);
            }
        }
    }

    fn changed_hard_state(&self, ready: &raft::Ready) -> Option<HardState> {
        let state = ready.hs()?;
        let newest = self.outstanding.iter().rev().find_map(|earlier| earlier.promise);
        let (term, vote) = newest.unwrap_or(self.durable);
        let is_promise = state.term != term.get() || state.vote != vote.get();
        is_promise.then_some(HardState {
            term: Term(state.term),
            vote: PeerId(state.vote),
            commit: Index(state.commit),
        })
    }

    /// Decides for each message whether it may overtake the write. The crate says so only for leaders,
    /// and wrongly where a leader's own (term, vote) is not durable: a group with one voter and
    /// learners leads and sends in the call that elects it.
    pub(crate) fn sort_messages(
        &self,
        messages: impl Iterator<Item = Message>,
        work: &mut GroupReady,
    ) {
        let is_leader = self.is_leader();
        for message in messages {
            let is_term_durable = message.term <= self.durable.0
                && work.hard_state.is_none()
                && self.outstanding.iter().all(|earlier| earlier.promise.is_none());
            // A heartbeat's answer, a question and a consent promise nothing about the log.
            use MessageKind::{HeartbeatResponse, QuiesceResponse, ReadIndex};
            let promises_log_or_vote =
                !matches!(message.kind, HeartbeatResponse | ReadIndex | QuiesceResponse);
            let is_careless = match message.kind {
                MessageKind::AppendResponse => self.has_bug(Bug::ACK_BEFORE_PERSIST),
                MessageKind::RequestVoteResponse => self.has_bug(Bug::VOTE_BEFORE_PERSIST),
                _ => is_leader && self.has_bug(Bug::SINGLETON_SENDS_BEFORE_VOTE_DURABLE),
            };
            if is_careless || (is_term_durable && (is_leader || !promises_log_or_vote)) {
                work.send_now.push(message);
            } else {
                work.send_after_persist.push(message);
            }
        }
    }

    fn check_committed(&self, committed: &[Entry]) {
        let Some(last) = committed.last() else { return };
        let log = &self.raw.raft.raft_log;
        assert!(
            last.index.get() <= log.committed.min(log.persisted),
            "entry {} is to be applied before it is committed and durable",
            last.index
        );
    }

    fn note_outstanding(&mut self, work: &mut GroupReady) {
        if !work.needs_write() && self.outstanding.is_empty() {
            work.is_complete = true;
            work.send_now.append(&mut work.send_after_persist);
            self.raw.on_persist_ready(work.number.0);
            return;
        }
        if work.needs_write() || !work.send_after_persist.is_empty() {
            let promise = work.hard_state.map(|state| (state.term, state.vote));
            let (number, since) = (work.number, self.seen_at);
            let newest = self.outstanding.back().map(|earlier| earlier.number);
            assert!(newest < Some(number), "{self:?}: Readys are written in order");
            self.outstanding.push_back(Outstanding { number, since, promise });
        } else {
            // Nothing waits for it; the next persisted number covers it.
            work.is_complete = true;
        }
    }

    pub(crate) fn take_role_change(&mut self) -> Option<RoleChange> {
        let change = self.role();
        let is_new = change != self.last_change;
        self.last_change = change;
        is_new.then_some(change)
    }
}

fn raft_config(config: &GroupConfig, applied: Index) -> raft::Config {
    raft::Config {
        id: config.peer.get(),
        // Ticks never happen; the numbers only have to satisfy the crate's own checks.
        election_tick: 10,
        heartbeat_tick: 2,
        applied: applied.get(),
        max_size_per_msg: config.limits.message_bytes_max,
        max_inflight_msgs: config.limits.inflight_messages_max,
        check_quorum: true,
        pre_vote: true,
        max_uncommitted_size: config.limits.uncommitted_bytes_max,
        max_committed_size_per_ready: config.limits.committed_bytes_max,
        ..raft::Config::default()
    }
}
