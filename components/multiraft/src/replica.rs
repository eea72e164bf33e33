//! One peer of one region on this store.

use std::sync::Arc;

use flotilla_base::{
    Bug, Epoch, Index, KvRead, Moment, Peer, PeerId, Region, RegionId, Seeded, Span, StoreId, Term,
};
use flotilla_raftgroup::{
    ApplyState, Damage, Group, GroupConfig, GroupError, GroupLimits, GroupReady, HardState,
    Initial, LogPosition, Message, MessageKind, Origin, RaftState, Role, RoleChange, StepError,
    Timing, single,
};

use crate::apply::{Applied, ApplyTask};
use crate::birth::{self, Awaited};
use crate::command::Command;
use crate::destroy::Leaving;
use crate::effects::{AfterPersist, Effects, LogFetch, Report};
use crate::input::{Input, PeerMessage, RequestError, RequestHeader};
use crate::install::Installing;
use crate::lagging::Lagging;
use crate::liveness::SharedLiveness;
use crate::log_gc::LogGc;
use crate::membership::voters_of;
use crate::memory::Allowance;
use crate::permit::Delegate;
use crate::persist::{RegionState, put_region_state};
use crate::propose::Writes;
use crate::quiescence::question_of;
use crate::read::Reads;
use crate::recover::RecoveredPeer;
use crate::removal::Removals;
use crate::split::Birth;

/// A peer without data waits so many gates for a bootstrap or a split before it lets its leader know what it lacks: a
/// split is applied everywhere within a heartbeat or two where nothing is broken, and a snapshot costs more than that.
const EMBRYO_GATES: u64 = 2;

/// What the replicas of one store share.
#[derive(Clone)]
pub struct ReplicaConfig {
    /// This store.
    pub store: StoreId,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Differs between two runs of this store.
    pub run: u64,
    /// Times.
    pub timing: Timing,
    /// Bounds.
    pub limits: GroupLimits,
    /// What is wrong on purpose.
    pub seeded: Seeded,
    /// Which other stores live.
    pub liveness: SharedLiveness,
    /// The campaigns of the regions that start with this store are spread over so much time.
    pub start_spread: Span,
    /// Reads what the group itself needs of the log.
    pub disk: Arc<dyn KvRead + Send + Sync>,
}

/// What a peer may take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Votes and remembers its votes, has no data.
    Uninitialised,
    /// Takes part in everything.
    Active,
    /// Found its log damaged; takes part in nothing.
    Quarantined,
    /// Is given the data of a snapshot; takes part in nothing meanwhile.
    Installing,
    /// Is no member any more; takes part in nothing, and ends.
    Leaving,
}

/// One peer: its group, and what waits for it.
///
/// Invariants: `applied ≤ group.committed()`; an uninitialised peer has no region but an id, and its
/// commit index is zero.
pub struct Replica<T> {
    pub(crate) config: ReplicaConfig,
    pub(crate) peer: PeerId,
    pub(crate) region: Region,
    pub(crate) life: Lifecycle,
    pub(crate) group: Group,
    pub(crate) writes: Writes<T>,
    pub(crate) reads: Reads<T>,
    pub(crate) apply: ApplyProgress,
    pub(crate) log_gc: LogGc,
    /// What only matters where the peer waits for its data.
    pub(crate) embryo: Embryo,
    pub(crate) told: Told,
    /// How its region's members come and go, this peer included.
    pub(crate) members: Members,
}

/// How members come and go.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// Who was removed, and does not know it yet.
    pub(crate) removals: Removals,
    /// This peer is none any more.
    pub(crate) leaving: Option<Leaving>,
    /// The last term in which this peer began a change.
    pub(crate) began_in: Term,
    /// Who is far behind this leader.
    pub(crate) lagging: Lagging,
}

/// What the host was told last.
#[derive(Debug)]
pub(crate) struct Told {
    /// When to wake this replica.
    alarm_at: Moment,
    /// What is to be durable of (term, vote, commit).
    pub(crate) hard_state: HardState,
    /// What readers may do.
    pub(crate) delegate: Delegate,
}

/// How far the applier is, as the replica knows it.
#[derive(Debug)]
pub(crate) struct ApplyProgress {
    /// Last applied entry.
    pub(crate) applied: Index,
    /// Bytes of entries that were handed over and are not applied yet.
    pub(crate) backlog_bytes: usize,
    /// No entries are taken while it is as many or more.
    pub(crate) backlog_max: usize,
    /// What was handed over and is not reported back.
    pub(crate) open_tasks: usize,
    /// The last split that was handed over.
    pub(crate) split_handed: Index,
}

/// What a peer keeps that waits for its data.
#[derive(Debug, Default)]
pub(crate) struct Embryo {
    /// Whom it answers: it knows no members.
    pub(crate) last_sender: Peer,
    /// What it is given, until its earlier promises are durable.
    pub(crate) awaited: Option<Box<Awaited>>,
    /// Its mark is on disk, or on its way there.
    pub(crate) is_marked: bool,
    /// What recovery made up, until it is written.
    pub(crate) recovered: Option<RaftState>,
    /// The snapshot that it is given, in place of what it had; there is one exactly while it is installing.
    pub(crate) install: Option<Box<Installing>>,
    /// Since when the peer is there.
    since: Moment,
}

impl<T> std::fmt::Debug for Replica<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} applied {}", self.group, self.life, self.apply.applied)
    }
}

impl<T> Replica<T> {
    /// A peer that a message made: it has no data, and has promised nothing. Nothing is read from the disk.
    ///
    /// # Errors
    /// [`GroupError`] where raft refuses to start.
    pub fn uninitialised(
        config: ReplicaConfig,
        region: RegionId,
        peer: PeerId,
        now: Moment,
    ) -> Result<Self, GroupError> {
        let start = Start::empty(region, peer, RaftState::default(), Origin::Created);
        Self::start(config, start, now)
    }

    /// A peer that was found on disk; `None` for a damaged one, which must not be started.
    ///
    /// # Errors
    /// [`GroupError`] where raft refuses to start.
    pub fn restart(
        config: ReplicaConfig,
        found: RecoveredPeer,
        now: Moment,
    ) -> Result<Option<Self>, GroupError> {
        let (is_marked, recovered) = match &found {
            RecoveredPeer::Uninitialised { .. } => (true, None),
            RecoveredPeer::Normal { raft, is_fresh: true, .. } => (true, Some(*raft)),
            RecoveredPeer::Installing { is_marked, .. } => (*is_marked, None),
            _ => (false, None),
        };
        let (mut install, mut known) = (None, Vec::new());
        let start = match found {
            RecoveredPeer::Damaged { .. } => return Ok(None),
            RecoveredPeer::Uninitialised { region, peer, raft } => {
                Start::empty(region, peer, raft, Origin::Restarted)
            }
            RecoveredPeer::Normal { peer, region, raft, apply, removed, is_fresh: _ } => {
                known = removed;
                let (life, origin) = (Lifecycle::Active, Origin::Restarted);
                Start { region, peer, raft, apply, life, origin }
            }
            RecoveredPeer::Installing { applying, raft, apply, removed, is_marked: _ } => {
                known = removed;
                let (region, peer) = (applying.region.clone(), applying.peer);
                install = Some(Box::new(Installing::recovered(applying, raft, apply)));
                let (life, origin) = (Lifecycle::Installing, Origin::Restarted);
                Start { region, peer, raft, apply, life, origin }
            }
        };
        let mut replica = Self::start(config, start, now)?;
        let spread = replica.config.start_spread;
        if spread > Span::ZERO {
            let turn = replica.turn_within(spread);
            replica.group.queue_campaign(now + replica.timing().gate + turn);
        }
        replica.members.removals = Removals::new(known);
        replica.embryo.install = install;
        replica.embryo.is_marked = is_marked;
        replica.embryo.recovered = recovered;
        Ok(Some(replica))
    }

    /// Takes one input. The clock must be read after the input was taken out of the inbox: gates that are
    /// closed and leases that are judged by an earlier moment would promise less, and allow more, than they
    /// say.
    pub fn handle(&mut self, now: Moment, input: Input<T>, effects: &mut Effects<T>) {
        self.group.note_time(now);
        self.leave_if_removed(effects);
        self.mind_sleep(now, &input);
        match input {
            Input::Message(message) => self.handle_message(now, *message, effects),
            Input::Propose(proposal) => self.handle_proposal(*proposal, effects),
            Input::Split(request) => self.handle_split(*request, effects),
            Input::Read(request) => self.handle_read(request, effects),
            Input::ReplicaRead(request) => self.handle_replica_read(request, effects),
            Input::Transfer(to) => {
                if self.life == Lifecycle::Active
                    && let Some(to) = to.or_else(|| self.group.successor())
                {
                    let _refused_where_it_cannot_be = self.group.transfer(to);
                }
            }
            Input::Fetched(number, fetched) => {
                if self.life == Lifecycle::Active {
                    self.group.on_fetched(number, fetched);
                }
            }
            Input::Persisted(number) => {
                if !self.is_last_write(number) && !self.on_install_persisted(now, number, effects) {
                    self.group.on_persisted(number);
                }
            }
            Input::Snapshot(input) => self.handle_snapshot(*input, effects),
            Input::SplitDone(done) => self.handle_split_done(*done, effects),
            Input::Applied(applied) => self.handle_applied(applied, effects),
            Input::Notice(notice) => self.handle_notice(now, notice),
            Input::Bootstrap { region, leads } => {
                let apply = birth::first_apply_state(0);
                let birth = Birth { region: *region, peer: self.peer, apply, leads };
                self.await_bootstrap(birth);
            }
            Input::Born(birth) => {
                self.stay();
                self.embryo.awaited = Some(Box::new(Awaited { birth: *birth, is_written: true }));
            }
            Input::Wake => {
                self.told.alarm_at = Moment::NEVER;
                if self.life == Lifecycle::Active {
                    self.mind_idleness(now);
                    self.group.wake(now);
                }
                self.ask_whether_gone(now, effects);
            }
            Input::Membership(input) => self.handle_membership(*input, effects),
        }
    }

    /// Collects what raft wants done after the inputs of a turn.
    pub fn drain(&mut self, now: Moment, effects: &mut Effects<T>) {
        self.group.note_time(now);
        self.be_born(now, effects);
        self.finish_recovery(effects);
        self.go_on_installing(now, effects);
        self.leave(effects);
        self.mind_damage(effects);
        if self.takes_part() {
            self.mind_membership(now, effects);
            self.propose_waiting(effects);
            self.ask_for_replica_reads(now, effects);
            self.start_reads(now, effects);
            while let Some(ready) = self.group.collect() {
                self.take_ready(ready, effects);
            }
            self.shorten_log(effects);
            self.fetch_log(effects);
            self.mind_damage(effects);
        }
        self.want_snapshots(effects);
        self.publish_permit(effects);
        self.set_alarm(effects);
        self.assert_sound();
    }

    /// The invariants of the struct, wherever a turn ends.
    fn assert_sound(&self) {
        let (applied, committed) = (self.apply.applied, self.group.committed());
        assert!(applied <= committed, "{self:?}: applied beyond the commit index {committed}");
        if self.life == Lifecycle::Uninitialised {
            assert!(self.region.peers.is_empty(), "{self:?}: a peer without data knows members");
            assert!(committed.is_none(), "{self:?}: a peer without data knows a commit");
        }
        let (written, term) = (self.told.hard_state.term, self.group.role().term);
        assert!(written <= term, "{self:?}: term {written} was written before it was reached");
    }

    /// What of [`Self::drain`] needs no write: for a store whose disk has enough to do. The lead is kept alive,
    /// reads are confirmed and refused, readers elsewhere are told; nothing is proposed.
    pub fn drain_unwritten(&mut self, now: Moment, effects: &mut Effects<T>) {
        self.group.note_time(now);
        self.mind_damage(effects);
        if self.takes_part() {
            if !self.group.is_leader() {
                // Refused: no room will make them welcome.
                self.propose_waiting(effects);
            }
            self.ask_for_replica_reads(now, effects);
            self.start_reads(now, effects);
            while let Some(ready) = self.group.collect_unwritten() {
                self.take_ready(ready, effects);
            }
        }
        self.publish_permit(effects);
        self.set_alarm(effects);
    }

    /// The region as this peer knows it.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// This peer's id.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// What the peer takes part in.
    #[must_use]
    pub const fn life(&self) -> Lifecycle {
        self.life
    }

    /// Role, term and leader.
    #[must_use]
    pub fn role(&self) -> RoleChange {
        self.group.role()
    }

    /// Applied index.
    #[must_use]
    pub const fn applied(&self) -> Index {
        self.apply.applied
    }

    /// The group, for judges and metrics.
    #[must_use]
    pub const fn group(&self) -> &Group {
        &self.group
    }

    /// Every ticket of a write that still waits, when the store stops: their fate is not known.
    pub fn close(&mut self) -> Vec<T> {
        self.writes.drain()
    }

    const fn takes_part(&self) -> bool {
        matches!(self.life, Lifecycle::Active | Lifecycle::Uninitialised)
    }

    pub(crate) const fn timing(&self) -> Timing {
        self.config.timing
    }

    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.config.seeded.has(bug)
    }

    fn start(config: ReplicaConfig, start: Start, now: Moment) -> Result<Self, GroupError> {
        let group = new_group(&config, &start, now)?;
        let Start { region, peer, raft, apply, life, origin: _ } = start;
        Ok(Self {
            peer,
            region,
            life,
            group,
            writes: Writes::with_bugs(config.seeded),
            config,
            reads: Reads::default(),
            apply: ApplyProgress::new(apply.applied.index),
            log_gc: LogGc::default(),
            embryo: Embryo { since: now, ..Embryo::default() },
            told: Told {
                alarm_at: Moment::NEVER,
                hard_state: raft.hard_state,
                delegate: Delegate::default(),
            },
            members: Members::default(),
        })
    }

    fn handle_message(&mut self, now: Moment, message: PeerMessage, effects: &mut Effects<T>) {
        let is_for_this = message.to.id == self.peer && message.region == self.region.id;
        if !is_for_this || self.take_aside(&message, effects) {
            return;
        }
        if !self.takes(now, &message.message) {
            return;
        }
        self.embryo.last_sender = message.from;
        self.note_contact(now, &message);
        let is_of_leader = matches!(
            message.message.kind,
            MessageKind::Append | MessageKind::Heartbeat | MessageKind::Quiesce
        );
        let question = question_of(&message);
        match self.group.step(now, message.message) {
            // What was refused says nothing about the log either, nor does a peer that does not lead.
            Ok(()) if is_of_leader => {
                self.log_gc.note_needless(message.matched_by_all);
                if let Some((question, store)) = question {
                    self.answer_question(&question, store);
                }
            }
            Ok(()) => {}
            Err(StepError::Damaged(damage)) => self.quarantine(damage, effects),
            // Dropped, as a network may; the sender's own clock repeats what matters.
            Err(_dropped) => {}
        }
    }

    /// Before anything of a group is used that has met damage: it has gone on with something made up.
    fn mind_damage(&mut self, effects: &mut Effects<T>) {
        if self.takes_part()
            && let Some(damage) = self.group.damage()
        {
            self.quarantine(damage, effects);
        }
    }

    fn quarantine(&mut self, damage: Damage, effects: &mut Effects<T>) {
        self.life = Lifecycle::Quarantined;
        // Its records may agree with each other: nothing else keeps it from voting after a restart.
        let state = RegionState::Quarantined(self.peer);
        effects.log.extend([put_region_state(self.region.id, &state)]);
        effects.reports.push(Report::Quarantined { region: self.region.id, damage });
        self.fail_reads(effects);
        self.give_up(effects);
    }

    /// An uninitialised peer votes and hears its leader. It has no use for entries, but must say so, or it would
    /// never be sent a snapshot; unless it is so young that a bootstrap or a split may be about to fill it.
    fn takes(&self, now: Moment, message: &Message) -> bool {
        match self.life {
            // The leader sends them again; a slow disk must not pile them up in memory.
            Lifecycle::Active => message.kind != MessageKind::Append || self.has_room_to_apply(),
            Lifecycle::Quarantined | Lifecycle::Installing | Lifecycle::Leaving => false,
            Lifecycle::Uninitialised => match message.kind {
                MessageKind::RequestVote | MessageKind::RequestPreVote => true,
                // One that asks whether to sleep is a heartbeat as well; such a peer never agrees.
                MessageKind::Heartbeat | MessageKind::Quiesce => message.commit.is_none(),
                MessageKind::Append => {
                    let is_grown =
                        now.since(self.embryo.since) >= self.timing().gate * EMBRYO_GATES;
                    // What begins a log would be taken, and there is no region to apply it to.
                    is_grown && !message.index.is_none() && self.embryo.awaited.is_none()
                }
                _ => false,
            },
        }
    }

    /// The checks that every request for the leader passes, in the order of the wire contract.
    pub(crate) fn check_leads(&self, header: &RequestHeader) -> Result<(), RequestError> {
        self.check_lives(header)?;
        if !self.group.is_leader() {
            return Err(self.not_leader());
        }
        self.check_shape(header)
    }

    /// The checks that every request passes which any replica may serve.
    pub(crate) fn check_serves(&self, header: &RequestHeader) -> Result<(), RequestError> {
        self.check_lives(header)?;
        self.check_shape(header)
    }

    pub(crate) fn check_lives(&self, header: &RequestHeader) -> Result<(), RequestError> {
        let region = self.region.id;
        if !header.peer.is_none() && header.peer != self.peer {
            return Err(RequestError::PeerMismatch {
                region,
                requested: header.peer,
                actual: self.peer,
            });
        }
        match self.life {
            Lifecycle::Quarantined => Err(RequestError::Quarantined(region)),
            Lifecycle::Uninitialised | Lifecycle::Installing => {
                Err(RequestError::NotInitialised(region))
            }
            Lifecycle::Leaving => Err(RequestError::RegionNotFound(region)),
            Lifecycle::Active => Ok(()),
        }
    }

    fn check_shape(&self, header: &RequestHeader) -> Result<(), RequestError> {
        if !header.term.is_none() && self.group.role().term > header.term.next() {
            return Err(RequestError::StaleCommand(self.region.id));
        }
        if header.version != self.region.epoch.version {
            return Err(RequestError::EpochNotMatch { current: Box::new(self.region.clone()) });
        }
        Ok(())
    }

    fn handle_applied(&mut self, applied: Applied, effects: &mut Effects<T>) {
        self.apply.applied = self.apply.applied.max(applied.index);
        self.apply.backlog_bytes = self.apply.backlog_bytes.saturating_sub(applied.bytes);
        self.apply.open_tasks = self.apply.open_tasks.saturating_sub(1);
        self.group.on_applied(applied.index);
        self.group.broadcast_commits(self.is_split_proposed());
        self.answer_reads(effects);
    }

    fn take_ready(&mut self, ready: GroupReady, effects: &mut Effects<T>) {
        if let Some(change) = ready.role_change {
            self.take_role_change(change, effects);
        }
        if ready.needs_write() {
            if self.life == Lifecycle::Uninitialised
                && !self.has_bug(Bug::UNINITIALISED_VOTE_FORGOTTEN)
            {
                // A vote that a crash forgets could be given twice in one term.
                let state = RegionState::Uninitialised(self.peer);
                effects.log.extend([put_region_state(self.region.id, &state)]);
                self.embryo.is_marked = true;
            }
            effects.log.entries += ready.append.as_ref().map_or(0, |append| append.entries.len());
            let batch = single::write_log(&self.group, &mut self.told.hard_state, &ready);
            effects.log.extend(batch);
        }
        let send_now = ready.send_now.into_iter().filter_map(|message| self.address(message));
        effects.send_now.extend(send_now);
        if !ready.is_complete {
            let messages = ready.send_after_persist.into_iter();
            let messages = messages.filter_map(|message| self.address(message)).collect();
            let (region, peer, number) = (self.region.id, self.peer, ready.number);
            effects.log.after.push(AfterPersist { region, peer, number, messages });
        }
        self.send_snapshots(ready.snapshots, effects);
        self.grant_reads(ready.reads);
        self.answer_reads(effects);
        self.hand_to_apply(ready.committed, effects);
    }

    /// Finds the receiver's store: among the members, or the last sender where none are known.
    pub(crate) fn address(&self, message: Message) -> Option<PeerMessage> {
        let known = self.region.peer(message.to);
        let sender = Some(self.embryo.last_sender).filter(|sender| sender.id == message.to);
        let own = self.region.peer(self.peer);
        Some(PeerMessage {
            region: self.region.id,
            from: own.unwrap_or(Peer::voter(self.peer, self.config.store)),
            to: known.or(sender)?,
            epoch: self.region.epoch,
            matched_by_all: self.group.needless_log().unwrap_or(Index(0)),
            message,
        })
    }

    fn take_role_change(&mut self, change: RoleChange, effects: &mut Effects<T>) {
        let (region, peer) = (self.region.clone(), self.peer);
        effects.reports.push(Report::Role { region, peer, change });
        if change.role == Role::Leader {
            self.lead_replica_reads();
        } else {
            self.fail_reads(effects);
            if self.has_bug(Bug::ERROR_AFTER_PROPOSE_AS_FAILURE) {
                for ticket in self.writes.drain() {
                    effects.refuse(ticket, self.not_leader());
                }
            }
        }
    }

    fn hand_to_apply(
        &mut self,
        committed: Vec<flotilla_raftgroup::Entry>,
        effects: &mut Effects<T>,
    ) {
        if committed.is_empty() {
            return;
        }
        let mut entries = Vec::with_capacity(committed.len());
        let mut last: Option<LogPosition> = None;
        for entry in committed {
            let position = entry.position();
            if let Some(last) = last.replace(position) {
                assert_eq!(
                    position.index,
                    last.index.next(),
                    "{self:?}: a hole in what is committed"
                );
                assert!(position.term >= last.term, "{self:?}: terms fall along the log");
            }
            self.log_gc.note_applied_bytes(entry.data.len());
            self.apply.backlog_bytes += entry.data.len();
            if Command::is_split(&entry.data) {
                self.apply.split_handed = entry.index;
            }
            let (ticket, lost) = self.writes.committed(&entry);
            for lost in lost {
                effects.refuse(lost, RequestError::StaleCommand(self.region.id));
            }
            entries.push((entry, ticket));
        }
        // Every entry that is committed by now was in this Ready or an earlier one.
        let task = self.apply_task(self.group.committed());
        self.apply.open_tasks += 1;
        effects.apply.push(ApplyTask { entries, ..task });
    }

    fn shorten_log(&mut self, effects: &mut Effects<T>) {
        if self.life == Lifecycle::Active
            && let Some(position) = self.take_truncation()
        {
            // Not the group's commit index: that may speak of entries which no Ready has brought to disk
            // yet, and a restart would take older ones in their places for committed.
            let task = self.apply_task(self.apply.applied);
            self.apply.open_tasks += 1;
            effects.apply.push(ApplyTask { truncate: Some(position), ..task });
        }
    }

    /// Behind the collecting, which is where followers are found to lack what is not in memory.
    fn fetch_log(&mut self, effects: &mut Effects<T>) {
        if let Some(order) = self.group.take_fetch() {
            let (region, peer) = (self.region.id, self.peer);
            effects.fetches.push(LogFetch { region, peer, order });
        }
    }

    fn apply_task(&self, commit: Index) -> ApplyTask<T> {
        let (region, peer) = (self.region.id, self.peer);
        ApplyTask { region, peer, entries: Vec::new(), commit, truncate: None }
    }

    /// Alarms only ever move earlier: one that rings too soon finds nothing due and is set again, which
    /// is cheaper than moving it with every message of the leader.
    fn set_alarm(&mut self, effects: &mut Effects<T>) {
        let deadline = match self.life {
            Lifecycle::Active => {
                self.group.next_deadline().min(self.reads.remote.deadline(&self.timing()))
            }
            Lifecycle::Uninitialised => self.silence_deadline(),
            Lifecycle::Quarantined | Lifecycle::Installing | Lifecycle::Leaving => return,
        };
        if deadline < self.told.alarm_at {
            self.told.alarm_at = deadline;
            effects.alarms.push((self.region.id, deadline));
        }
    }
}

impl Embryo {
    /// Whether the peer waits for nothing.
    pub(crate) const fn is_over(&self) -> bool {
        self.awaited.is_none() && self.recovered.is_none() && self.install.is_none()
    }
}

impl ApplyProgress {
    const fn new(applied: Index) -> Self {
        let backlog_max = Allowance::UNSHARED.backlog_bytes;
        Self { applied, backlog_bytes: 0, backlog_max, open_tasks: 0, split_handed: Index(0) }
    }

    /// Nothing is on its way to an applier that begins here.
    pub(crate) const fn begin_at(&mut self, applied: Index) {
        *self = Self { backlog_max: self.backlog_max, ..Self::new(applied) };
    }
}

/// What a replica begins with.
pub(crate) struct Start {
    pub(crate) region: Region,
    pub(crate) peer: PeerId,
    pub(crate) raft: RaftState,
    pub(crate) apply: ApplyState,
    pub(crate) life: Lifecycle,
    pub(crate) origin: Origin,
}

impl Start {
    fn empty(region: RegionId, peer: PeerId, raft: RaftState, origin: Origin) -> Self {
        let region = Region { id: region, epoch: Epoch::default(), ..Region::default() };
        // No log, no data: the hint of a commit index must not survive.
        let hard_state = HardState { commit: Index(0), ..raft.hard_state };
        let raft = RaftState { hard_state, last: LogPosition::default() };
        let apply = ApplyState::default();
        Self { region, peer, raft, apply, life: Lifecycle::Uninitialised, origin }
    }
}

pub(crate) fn new_group(
    config: &ReplicaConfig,
    start: &Start,
    now: Moment,
) -> Result<Group, GroupError> {
    let Start { region, peer, raft, apply, origin, .. } = start;
    let voters = voters_of(region);
    let commit = raft.hard_state.commit.max(apply.commit);
    let is_forgetful = config.seeded.has(Bug::DUPLICATE_APPLY_AFTER_RESTART);
    let applied = if is_forgetful { apply.truncated } else { apply.applied };
    let initial = Initial {
        hard_state: HardState { commit, ..raft.hard_state },
        voters,
        applied: applied.index,
        truncated: apply.truncated,
        last: raft.last,
        origin: *origin,
    };
    let group = GroupConfig {
        group: region.id,
        peer: *peer,
        seed: config.seed,
        run: config.run,
        timing: config.timing,
        limits: config.limits,
        seeded: config.seeded,
    };
    Group::new(group, initial, Arc::clone(&config.disk), now)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use flotilla_base::{Family, KeyRange, ReadError, ScanDirection};

    use super::*;
    use crate::liveness::Liveness;

    /// Whoever asks it waits for it.
    struct SlowDisk;

    impl KvRead for SlowDisk {
        fn get(&self, _family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
            panic!("{key:?} is read")
        }

        fn scan(
            &self,
            _family: Family,
            range: &KeyRange,
            _direction: ScanDirection,
            _visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
        ) -> Result<(), ReadError> {
            panic!("{range} is read")
        }
    }

    /// A host makes it under the lock of its region table.
    #[test]
    fn a_peer_without_data_is_made_without_the_disk() {
        let (timing, seeded) = (Timing::default(), Seeded::NONE);
        let config = ReplicaConfig {
            store: StoreId(1),
            seed: 1,
            run: 1,
            timing,
            limits: GroupLimits::default(),
            seeded,
            liveness: SharedLiveness::new(Liveness::new(timing, seeded, Moment(0))),
            start_spread: Span::ZERO,
            disk: Arc::new(SlowDisk),
        };
        let made = Replica::<u64>::uninitialised(config, RegionId(2), PeerId(21), Moment(0));
        assert_eq!(made.expect("it starts").life(), Lifecycle::Uninitialised);
    }
}
