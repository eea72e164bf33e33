//! The simulator's executors of effects. [`Host`], [`Delivery`] and [`ApplyHost`] take them apart into steps; a
//! lane carries its steps out one by one, and between two of them anything else may happen at the store, its
//! death included.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flotilla_base::limit::FIRST_INDEX;
use flotilla_base::{
    Bug, Family, Index, Moment, Mutation, Peer, PeerId, Region, RegionId, Seeded, Span, StoreId,
    Term,
};
use flotilla_multiraft::{
    AfterPersist, Applied, Applier, ApplyHost, ApplyTask, Birth, Cleanup, Delegate, Delivery, Host,
    Input, LogFetch, LogWrite, MembersChanged, MembershipInput, PeerMessage, Reply, Report,
    RequestError, SnapshotEffect, SplitDone, Tombstone,
};
use flotilla_raftgroup::{ReadyNumber, Role, RoleChange, disk};

use crate::clock::LocalClock;
use crate::disk::{BatchNumber, DiskError, SimDisk};
use crate::event::Ticket;
use crate::judge::deliveries::DeliveryJudge;
use crate::judge::retention::Shortening;
use crate::judge::rounds::RoundJudge;
use crate::judge::tickets::{Outcome, TicketJudge};
use crate::judge::{
    Judges, Place, Verdict, acknowledgements, answers, completeness, installs, require, state,
    terms,
};
use crate::marks;
use crate::reads::Readers;
use crate::snapshots::{SnapshotWorks, View, ViewKey};

/// What a store gives to the world.
#[derive(Debug)]
pub enum Out {
    /// To the network.
    Send(Box<PeerMessage>),
    /// To a client.
    Answer(Ticket, Reply),
    /// A read in place has begun.
    Begun(Ticket),
    /// A replica wants to be woken, by the store's clock.
    Alarm(RegionId, Moment),
    /// What a peer is now.
    Role(RegionId, RoleChange),
    /// Entries of a region are handed to their applier.
    Applies(RegionId),
    /// A view for a snapshot is open.
    View(ViewKey),
    /// A view is to be sent.
    Stream(ViewKey, Box<PeerMessage>, Box<View>),
    /// A snapshot is to be put in place.
    Replace(RegionId),
    /// Old log entries are to be read.
    Fetch(Box<LogFetch>),
    /// A region has other members.
    Members(RegionId),
    /// These members are far behind their leader here.
    Lagging(RegionId, Vec<Peer>),
    /// A sign of life, to this store.
    Sign(StoreId),
}

/// What a store has in the works, besides its replicas.
#[derive(Debug, Default)]
pub struct Works {
    /// One applier per region with data.
    pub appliers: BTreeMap<RegionId, Applier>,
    /// Entries that wait for their applier.
    pub tasks: VecDeque<ApplyTask<Ticket>>,
    /// Written batches in order, with what waits for each.
    pub unsynced: VecDeque<(BatchNumber, Vec<AfterPersist>)>,
    /// Threads that read in place.
    pub readers: Readers,
    /// Reads that wait here for another store's word.
    pub follower_reads: BTreeSet<Ticket>,
    /// Regions whose peer here is damaged.
    pub quarantined: Vec<RegionId>,
    /// How long a gate is.
    pub gate: Span,
    /// Entries that are kept for a slow member.
    pub slow_entries: u64,
    /// Snapshots.
    pub snapshots: SnapshotWorks,
    /// What is wrong on purpose.
    pub seeded: Seeded,
    /// What the region table is to hear.
    pub news: TableNews,
    /// Inputs for replicas, not yet in their inboxes.
    pub inputs: Vec<(RegionId, PeerId, Input<Ticket>)>,
}

/// What the region table of a store has not heard yet.
#[derive(Debug, Default)]
pub struct TableNews {
    /// Regions that were split, and the peers that are born.
    pub splits: Vec<(Region, Vec<Birth>)>,
    /// What is new of members and of peers that end.
    pub ends: Vec<End>,
    /// Keys that are to be cleaned.
    pub cleanups: Vec<Cleanup>,
}

/// What the table is told of members and of peers that end.
#[derive(Debug)]
pub enum End {
    /// The region has other members.
    Members(PeerId, Region),
    /// A peer has its data.
    Born(RegionId),
    /// A peer wants to be let go.
    Leaving(RegionId, PeerId),
    /// It is destroyed.
    Destroyed(RegionId, PeerId, Tombstone),
}

/// One effect of a round, of a delivery or of a turn of appliers.
#[derive(Debug)]
pub enum Step {
    /// Readers see another delegate.
    Permit(RegionId, PeerId, Delegate),
    /// Messages leave that need not wait.
    Send(Vec<PeerMessage>),
    /// The round's batch is written.
    Persist(LogWrite),
    /// Entries go to their applier.
    Apply(ApplyTask<Ticket>),
    /// A round completes a ticket.
    Reply(Ticket, Reply),
    /// The store hears of a change.
    Report(Report),
    /// Something is to be done that takes time.
    Work(Work),
    /// A region wants to be woken.
    Alarm(RegionId, Moment),
    /// The delivery of one replica's durable write begins.
    Deliver,
    /// The replica hears that its write is durable.
    Persisted(RegionId, PeerId, ReadyNumber),
    /// Messages leave that waited for it.
    SendPromised(Vec<PeerMessage>),
    /// The batch of appliers is written.
    Write(Vec<Mutation>),
    /// The replica hears what became of a split.
    Split(RegionId, PeerId, Box<SplitDone>),
    /// The replica hears what became of its region's members.
    Members(RegionId, PeerId, Box<MembersChanged>),
    /// Readers and the replica hear how far the data is.
    Applied(RegionId, PeerId, Applied),
    /// An applier completes a ticket.
    Answer(Ticket, Reply),
}

/// What other threads do for replicas.
#[derive(Debug)]
pub enum Work {
    /// Something about a snapshot.
    Snapshot(SnapshotEffect),
    /// Old log entries are read.
    Fetch(LogFetch),
}

/// A thread of a store that carries out effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneId {
    /// A worker that runs rounds of replicas.
    Raft(usize),
    /// The syncer.
    Sync,
    /// The appliers.
    Apply,
}

/// What a thread has still to do, and what its judges know.
#[derive(Debug, Default)]
pub struct Lane {
    /// In order.
    pub steps: VecDeque<Step>,
    /// Regions whose replicas are in this round: no other worker may run them.
    pub regions: BTreeSet<RegionId>,
    /// Commit index and term of each region of the round.
    pub committed: BTreeMap<RegionId, (Index, Term)>,
    round: RoundJudge,
    delivery: DeliveryJudge,
    /// The batch of this turn of appliers is written.
    is_written: bool,
    /// What is wrong on purpose, and what comes too late for that.
    seeded: Seeded,
    late: Vec<Step>,
}

impl Lane {
    /// A thread that has nothing to do yet.
    #[must_use]
    pub fn new(seeded: Seeded) -> Self {
        Self { seeded, ..Self::default() }
    }

    /// All effects are there, or all of one delivery.
    pub fn close(&mut self) {
        self.steps.extend(self.late.drain(..));
    }

    /// Takes a step, which `bug` puts behind the others.
    fn push(&mut self, step: Step, bug: Bug) {
        if self.seeded.has(bug) {
            self.late.push(step);
        } else {
            self.steps.push_back(step);
        }
    }

    /// Whether everything is done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether messages of the round have left, and its batch is not written.
    #[must_use]
    pub fn is_between_send_and_write(&self) -> bool {
        self.round.has_sent() && self.steps.iter().any(|step| matches!(step, Step::Persist(_)))
    }
}

impl Host<Ticket> for Lane {
    fn permit(&mut self, region: RegionId, peer: PeerId, delegate: Delegate) {
        self.push(Step::Permit(region, peer, delegate), Bug::PERMIT_AFTER_MESSAGES);
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.steps.push_back(Step::Send(messages));
    }

    fn persist(&mut self, write: LogWrite) {
        self.steps.push_back(Step::Persist(write));
    }

    fn apply(&mut self, task: ApplyTask<Ticket>) {
        self.steps.push_back(Step::Apply(task));
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.steps.push_back(Step::Reply(ticket, reply));
    }

    fn report(&mut self, report: Report) {
        self.steps.push_back(Step::Report(report));
    }

    fn snapshot(&mut self, effect: SnapshotEffect) {
        self.steps.push_back(Step::Work(Work::Snapshot(effect)));
    }

    fn fetch(&mut self, fetch: LogFetch) {
        self.steps.push_back(Step::Work(Work::Fetch(fetch)));
    }

    fn alarm(&mut self, region: RegionId, at: Moment) {
        self.steps.push_back(Step::Alarm(region, at));
    }
}

impl Delivery for Lane {
    fn persisted(&mut self, region: RegionId, peer: PeerId, number: ReadyNumber) {
        self.push(Step::Persisted(region, peer, number), Bug::PERSISTED_AFTER_SEND);
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.steps.push_back(Step::SendPromised(messages));
    }
}

impl ApplyHost<Ticket> for Lane {
    fn write(&mut self, batch: Vec<Mutation>) {
        if self.seeded.has(Bug::APPLY_INDEX_NOT_ATOMIC) {
            let is_state = |it: &Mutation| matches!(it, Mutation::Put(Family::RaftMeta, ..));
            let (states, effects) = batch.into_iter().partition(is_state);
            self.steps.extend([Step::Write(states), Step::Write(effects)]);
        } else {
            self.push(Step::Write(batch), Bug::REPLY_BEFORE_APPLY_WRITE);
        }
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.steps.push_back(Step::Answer(ticket, reply));
    }

    fn split(&mut self, region: RegionId, peer: PeerId, done: SplitDone) {
        self.steps.push_back(Step::Split(region, peer, Box::new(done)));
    }

    fn members(&mut self, region: RegionId, peer: PeerId, changed: MembersChanged) {
        self.steps.push_back(Step::Members(region, peer, Box::new(changed)));
    }

    fn applied(&mut self, region: RegionId, peer: PeerId, applied: Applied) {
        self.steps.push_back(Step::Applied(region, peer, applied));
    }
}

/// What every step of a store may touch.
#[derive(Debug)]
pub struct Bench<'a> {
    /// Which store.
    pub store: StoreId,
    /// Its disk.
    pub disk: &'a mut SimDisk,
    /// What it has in the works.
    pub works: &'a mut Works,
    /// Steps that are left before it dies, if it is to die.
    pub doom: &'a mut Option<u64>,
    /// The judges.
    pub judges: &'a mut Judges,
    /// What it gives to the world.
    pub out: &'a mut Vec<Out>,
    /// The world's time, and what the store makes of it.
    pub time: (Moment, LocalClock),
}

impl Bench<'_> {
    /// Carries out the next step of a lane. Returns whether the store lives on.
    pub fn step(&mut self, lane: &mut Lane) -> bool {
        if *self.doom == Some(0) {
            return false;
        }
        if let Some(step) = lane.steps.pop_front() {
            let verdict = self.carry_out(step, lane);
            self.judges.note(verdict);
        }
        if let Some(left) = self.doom {
            *left = left.saturating_sub(1);
        }
        *self.doom != Some(0)
    }

    fn carry_out(&mut self, step: Step, lane: &mut Lane) -> Verdict {
        match step {
            Step::Permit(region, peer, delegate) => {
                lane.round.on_permit()?;
                return self.permit(region, peer, delegate);
            }
            Step::Send(messages) => {
                lane.round.on_send();
                let verdict = self.judge_made(&messages);
                self.send(messages);
                return verdict;
            }
            Step::Persist(write) => return self.persist(write, lane),
            Step::Apply(task) => {
                let verdict = self.judge_task(&task, lane);
                self.out.push(Out::Applies(task.region));
                self.works.tasks.push_back(task);
                return verdict;
            }
            Step::Reply(ticket, reply) => {
                let verdict = answers::check_round(&reply);
                self.answer(ticket, reply);
                return verdict;
            }
            Step::Report(report) => return self.report(report),
            Step::Work(Work::Snapshot(effect)) => return self.snapshot(effect),
            Step::Work(Work::Fetch(fetch)) => self.out.push(Out::Fetch(Box::new(fetch))),
            Step::Alarm(region, at) => self.out.push(Out::Alarm(region, at)),
            Step::Deliver => lane.delivery = DeliveryJudge::default(),
            Step::Persisted(region, peer, number) => {
                lane.delivery.on_persisted();
                self.works.inputs.push((region, peer, Input::Persisted(number)));
            }
            Step::SendPromised(messages) => {
                let verdict = lane.delivery.on_send();
                self.send(messages);
                return verdict;
            }
            Step::Write(batch) => {
                let is_shortened = deletes_entries(&batch);
                self.judges.lookout.marks.reach_if(is_shortened, marks::LOG_TRUNCATED);
                lane.is_written = self.write(batch).is_some();
            }
            Step::Split(region, peer, done) => {
                self.works.inputs.push((region, peer, Input::SplitDone(done)));
            }
            Step::Members(region, peer, changed) => {
                let changed = Box::new(MembershipInput::Changed(*changed));
                self.works.inputs.push((region, peer, Input::Membership(changed)));
            }
            Step::Applied(region, peer, applied) => {
                self.works.readers.visible.insert(region, applied.index);
                self.works.inputs.push((region, peer, Input::Applied(applied)));
            }
            Step::Answer(ticket, reply) => {
                let verdict = answers::check_applier(&reply, lane.is_written);
                self.answer(ticket, reply);
                return verdict;
            }
        }
        Ok(())
    }

    fn permit(&mut self, region: RegionId, peer: PeerId, delegate: Delegate) -> Verdict {
        let (now, clock) = self.time;
        let ends = delegate.permit.map_or(now, |permit| clock.world_moment(permit.until));
        let place = Place(self.store, region);
        self.works.readers.delegates.insert(region, (peer, delegate));
        let lineage = &self.judges.applied.lineage;
        let range = delegate.permit.and_then(|permit| lineage.range_of(region, permit.version));
        let reads = &mut self.judges.reads;
        reads.permits.on_permit(place, peer, delegate)?;
        reads.lease.on_permit(place, (delegate, range), now, ends)
    }

    fn persist(&mut self, write: LogWrite, lane: &mut Lane) -> Verdict {
        lane.round.on_persist()?;
        for after in &write.after {
            self.judge_made(&after.messages)?;
        }
        let puts = |it: &Mutation| matches!(it, Mutation::Put(Family::RaftLog, ..));
        let is_conflict = deletes_entries(&write.batch) && write.batch.iter().any(puts);
        self.judges.lookout.marks.reach_if(is_conflict, marks::CONFLICT);
        let Judges { votes, applied, .. } = &mut *self.judges;
        votes.members.on_write(
            &write.batch,
            |region| lane.committed.get(&region).map_or(Index(0), |(committed, _)| *committed),
            |region| applied.lineage.shape(region),
        )?;
        if let Some(number) = self.write(write.batch) {
            self.works.unsynced.push_back((number, write.after));
        }
        Ok(())
    }

    fn report(&mut self, report: Report) -> Verdict {
        match report {
            Report::Role { region, peer, change } => self.on_role(&region, peer, change),
            Report::Split { parent, births, .. } => self.on_split(parent, births),
            Report::Members { region, peer } => {
                let verdict = self.judges.epochs.on_shape(self.store, &region);
                self.out.push(Out::Members(region.id));
                self.works.news.ends.push(End::Members(peer, region));
                verdict
            }
            Report::Leaving { region, peer } => {
                self.works.news.ends.push(End::Leaving(region, peer));
                Ok(())
            }
            Report::Destroyed { region, peer, tombstone, cleanup } => {
                self.works.news.ends.push(End::Destroyed(region, peer, tombstone));
                self.works.news.cleanups.extend(cleanup);
                self.judges.lookout.reach(marks::TOMBSTONED);
                Ok(())
            }
            Report::Orphaned(cleanup) => {
                self.works.news.cleanups.push(cleanup);
                Ok(())
            }
            // For whoever places replicas.
            Report::Lagging { region, peers } => {
                self.out.push(Out::Lagging(region, peers));
                Ok(())
            }
            Report::Initialised { region, peer, apply } => {
                let place = Place(self.store, region.id);
                let verdict = self.judges.epochs.on_region(self.store, &region);
                self.judges.apply_order.on_start(place, apply.applied.index);
                self.works.readers.visible.insert(region.id, apply.applied.index);
                let judge = &self.judges.applied;
                let is_begun = apply.applied.index > Index(FIRST_INDEX);
                let data = |layer: &_| state::check(place, &region, layer, judge);
                let data = if is_begun { self.disk.image().look(data) } else { Ok(()) };
                self.works.news.ends.push(End::Born(region.id));
                let applier = Applier::new(region.clone(), peer, apply);
                let applier = applier.with_bugs(self.works.readers.seeded);
                self.works.appliers.insert(region.id, applier);
                verdict.and(data)
            }
            Report::Quarantined { region, damage } => {
                self.works.quarantined.push(region);
                let is_pardoned = self.judges.records.is_pardoned(self.store);
                require(is_pardoned, "no sound peer is quarantined", || {
                    format!("{}: {damage}", Place(self.store, region))
                })
            }
        }
    }

    fn on_split(&mut self, parent: Region, births: Vec<Birth>) -> Verdict {
        let (now, clock) = self.time;
        let mut verdict = self.judges.epochs.on_shape(self.store, &parent);
        for birth in &births {
            let place = Place(self.store, birth.region.id);
            self.judges.lookout.on_birth(place, birth.leads);
            let shape = self.judges.epochs.on_shape(self.store, &birth.region);
            verdict = verdict.and(shape);
            if !birth.leads {
                let gate = self.works.gate;
                self.judges.votes.births.on_birth(place, clock.read(now) + gate);
            }
        }
        self.works.news.splits.push((parent, births));
        verdict
    }

    /// Judges what holds when a message is made: it may leave after the gate has closed, and behind messages
    /// that were made later.
    fn judge_made(&mut self, messages: &[PeerMessage]) -> Verdict {
        for message in messages {
            self.judges.votes.gate.on_message(message)?;
            self.judges.votes.members.on_message(message)?;
            let (now, clock) = self.time;
            self.judges.votes.births.on_message(message, clock.read(now))?;
            let place = Place(message.from.store, message.region);
            self.judges.epochs.on_epoch(place, message.epoch)?;
        }
        Ok(())
    }

    fn judge_task(&mut self, task: &ApplyTask<Ticket>, lane: &Lane) -> Verdict {
        let Bench { store, judges, disk, works, .. } = self;
        let place = Place(*store, task.region);
        let (committed, term) = lane.committed.get(&task.region).copied().unwrap_or_default();
        judges.apply_order.on_hand_over(place, task, committed, disk.synced())?;
        if let Some(position) = task.truncate {
            let (now, clock) = self.time;
            judges.records.retention.on_shorten(&Shortening {
                place,
                shape: judges.applied.lineage.shape(place.1),
                to: position.index,
                applied: task.commit,
                slow_entries: works.slow_entries,
                now: clock.read(now),
                heard_within: Span(works.gate.0 / 2),
            })?;
        }
        let before = judges.applied.lineage.changes();
        let fresh = judges.applied.on_hand_over(place, task, term)?;
        let after = judges.applied.lineage.changes();
        let marks = &mut judges.lookout.marks;
        marks.reach_if(after.changed > before.changed, marks::CONF_CHANGED);
        let is_left_by_other = after.left_by_other > before.left_by_other;
        marks.reach_if(is_left_by_other, marks::JOINT_LEFT_BY_OTHER);
        marks.reach_if(after.confirmed > before.confirmed, marks::GONE_CONFIRMED);
        for ticket in fresh {
            let position = judges.applied.position(ticket).unwrap_or_default();
            judges.tickets.on_effect(ticket)?;
            judges.reads.register.on_effect(ticket, position)?;
        }
        Ok(())
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        for message in messages {
            let verdict = self.judge_message(&message);
            self.judges.note(verdict);
            self.out.push(Out::Send(Box::new(message)));
        }
    }

    pub(crate) fn judge_message(&mut self, message: &PeerMessage) -> Verdict {
        let synced = acknowledgements::raft_state(self.disk.synced(), message)?;
        terms::check(message, &synced)?;
        installs::check(message, self.disk.synced())?;
        acknowledgements::check(message, self.disk, &synced)?;
        self.judges.records.matching.on_message(message);
        self.judges.votes.election.on_message(message)
    }

    /// Writes a batch; where the disk refuses it the store dies on the spot.
    pub(crate) fn write(&mut self, batch: Vec<Mutation>) -> Option<BatchNumber> {
        let image = self.disk.image();
        let verdict = self.judges.records.before_write(self.store, &batch, image.as_ref());
        self.judges.note(verdict);
        let copy = batch.clone();
        let written = self.disk.write(batch);
        self.judges.lookout.marks.reach_if(written == Err(DiskError::Full), marks::DISK_FULL);
        let Ok(number) = written else {
            *self.doom = Some(0);
            return None;
        };
        let image = self.disk.image();
        let verdict = self.judges.records.after_write(self.store, &copy, image.as_ref());
        self.judges.note(verdict);
        Some(number)
    }

    fn answer(&mut self, ticket: Ticket, reply: Reply) {
        if !matches!(reply, Reply::ReadAt(_)) {
            complete(self.judges, ticket, &reply);
        }
        if self.works.follower_reads.remove(&ticket) {
            let is_served = matches!(reply, Reply::ReadAt(_));
            let mark = if is_served { marks::FOLLOWER_READ } else { marks::FOLLOWER_REFUSED };
            self.judges.lookout.reach(mark);
        }
        let is_lost = matches!(reply, Reply::Failed(RequestError::StaleCommand(_)));
        self.judges.lookout.marks.reach_if(is_lost, marks::WRITE_LOST);
        self.judges.calls.on_answer(ticket);
        self.out.push(Out::Answer(ticket, reply));
    }

    fn on_role(&mut self, region: &Region, peer: PeerId, change: RoleChange) -> Verdict {
        let place = Place(self.store, region.id);
        let image = self.disk.image();
        let state = disk::read_raft_state(image.as_ref(), region.id).ok().flatten();
        let log = (state.unwrap_or_default().last.index, self.judges.applied.last(region.id));
        self.judges.lookout.on_role(place, peer, change, log);
        self.out.push(Out::Role(region.id, change));
        self.judges.records.retention.on_role(place);
        self.judge_role(place, region, peer, change)
    }

    fn judge_role(
        &mut self,
        place: Place,
        region: &Region,
        peer: PeerId,
        change: RoleChange,
    ) -> Verdict {
        self.judges.votes.election.on_role(region.id, peer, change)?;
        self.judges.costs.on_role(region.id, peer, change)?;
        self.judges.epochs.on_region(self.store, region)?;
        if change.role != Role::Leader {
            return Ok(());
        }
        let committed = self.judges.applied.committed_before(region.id, change.term);
        completeness::check(place, change.term, committed, self.disk.image().as_ref())
    }
}

/// Records what a client is told.
pub fn complete(judges: &mut Judges, ticket: Ticket, reply: &Reply) {
    let outcome = match reply {
        Reply::Written | Reply::Split(_) | Reply::Changed(_) | Reply::ReadAt(_) => Outcome::Done,
        Reply::Failed(_) | Reply::GuardFailed => Outcome::Refused,
        Reply::Unknown => Outcome::Unknown,
    };
    let verdict = judges.tickets.on_answer(ticket, outcome);
    judges.note(verdict);
    if outcome == Outcome::Refused {
        let is_applied = judges.applied.position(ticket).is_some();
        judges.note(TicketJudge::on_refusal(ticket, is_applied));
    }
}

/// Whether entries leave a log with this batch.
fn deletes_entries(batch: &[Mutation]) -> bool {
    batch.iter().any(|mutation| matches!(mutation, Mutation::Delete(Family::RaftLog, _)))
}
