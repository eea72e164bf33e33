//! The simulator's executors of effects. [`Host`], [`Delivery`] and [`ApplyHost`] take them apart into steps; a
//! lane carries its steps out one by one, and between two of them anything else may happen at the store, its
//! death included.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flotilla_base::{Family, Index, Moment, Mutation, PeerId, Region, RegionId, StoreId};
use flotilla_multiraft::{
    AfterPersist, Applied, Applier, ApplyHost, ApplyTask, Delegate, Delivery, Host, Input,
    LogWrite, PeerMessage, Reply, Report, RequestError,
};
use flotilla_raftgroup::{ReadyNumber, Role, RoleChange, disk};

use crate::clock::LocalClock;
use crate::disk::{BatchNumber, DiskError, SimDisk};
use crate::event::Ticket;
use crate::judge::deliveries::DeliveryJudge;
use crate::judge::rounds::RoundJudge;
use crate::judge::tickets::{Outcome, TicketJudge};
use crate::judge::{
    Judges, Place, Verdict, acknowledgements, answers, completeness, require, terms,
};
use crate::marks;
use crate::reads::Readers;

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
    /// For the trace: what a peer is now.
    Role(RegionId, RoleChange),
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
    /// Inputs for replicas, not yet in their inboxes.
    pub inputs: Vec<(RegionId, PeerId, Input<Ticket>)>,
}

/// One effect of a round, of a delivery or of a turn of appliers.
#[derive(Debug)]
pub enum Step {
    /// Readers see another delegate.
    Permit(RegionId, Delegate),
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
    /// Readers and the replica hear how far the data is.
    Applied(RegionId, PeerId, Applied),
    /// An applier completes a ticket.
    Answer(Ticket, Reply),
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
    /// Commit index of each region of the round.
    committed: BTreeMap<RegionId, Index>,
    round: RoundJudge,
    delivery: DeliveryJudge,
    /// Messages of this round have left.
    has_sent: bool,
    /// The batch of this turn of appliers is written.
    is_written: bool,
}

impl Lane {
    /// A round of these regions, each with its commit index.
    #[must_use]
    pub fn round(committed: BTreeMap<RegionId, Index>, regions: BTreeSet<RegionId>) -> Self {
        Self { committed, regions, ..Self::default() }
    }

    /// Whether everything is done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether messages of the round have left, and its batch is not written.
    #[must_use]
    pub fn is_between_send_and_write(&self) -> bool {
        self.has_sent && self.steps.iter().any(|step| matches!(step, Step::Persist(_)))
    }
}

impl Host<Ticket> for Lane {
    fn permit(&mut self, region: RegionId, _peer: PeerId, delegate: Delegate) {
        self.steps.push_back(Step::Permit(region, delegate));
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

    fn alarm(&mut self, region: RegionId, at: Moment) {
        self.steps.push_back(Step::Alarm(region, at));
    }
}

impl Delivery for Lane {
    fn persisted(&mut self, region: RegionId, peer: PeerId, number: ReadyNumber) {
        self.steps.push_back(Step::Persisted(region, peer, number));
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.steps.push_back(Step::SendPromised(messages));
    }
}

impl ApplyHost<Ticket> for Lane {
    fn write(&mut self, batch: Vec<Mutation>) {
        self.steps.push_back(Step::Write(batch));
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.steps.push_back(Step::Answer(ticket, reply));
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
            Step::Permit(region, delegate) => return self.permit(region, delegate),
            Step::Send(messages) => {
                lane.has_sent = true;
                let verdict = self.judge_made(&messages);
                self.send(messages);
                return verdict;
            }
            Step::Persist(write) => return self.persist(write, lane),
            Step::Apply(task) => {
                let verdict = self.judge_task(&task, lane);
                self.works.tasks.push_back(task);
                return verdict;
            }
            Step::Reply(ticket, reply) => {
                let verdict = answers::check_round(&reply);
                self.answer(ticket, reply);
                return verdict;
            }
            Step::Report(report) => return self.report(report),
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

    fn permit(&mut self, region: RegionId, delegate: Delegate) -> Verdict {
        let (now, clock) = self.time;
        let ends = delegate.permit.map_or(now, |permit| clock.world_moment(permit.until));
        let place = Place(self.store, region);
        self.works.readers.delegates.insert(region, delegate);
        let reads = &mut self.judges.reads;
        reads.permits.on_permit(place, delegate)?;
        reads.lease.on_permit(place, delegate, now, ends)
    }

    fn persist(&mut self, write: LogWrite, lane: &mut Lane) -> Verdict {
        lane.round.on_persist()?;
        for after in &write.after {
            self.judge_made(&after.messages)?;
        }
        let is_conflict = deletes_entries(&write.batch);
        self.judges.lookout.marks.reach_if(is_conflict, marks::CONFLICT);
        if let Some(number) = self.write(write.batch) {
            self.works.unsynced.push_back((number, write.after));
        }
        Ok(())
    }

    fn report(&mut self, report: Report) -> Verdict {
        match report {
            Report::Role { region, peer, change } => self.on_role(&region, peer, change),
            Report::Initialised { region, peer, apply } => {
                let place = Place(self.store, region.id);
                let verdict = self.judges.epochs.on_region(self.store, &region);
                self.judges.apply_order.on_start(place, apply.applied.index);
                self.works.readers.visible.insert(region.id, apply.applied.index);
                self.works.appliers.insert(region.id, Applier::new(region, peer, apply));
                verdict
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

    /// Judges what holds when a message is made: it may leave after the gate has closed, and behind messages
    /// that were made later.
    fn judge_made(&mut self, messages: &[PeerMessage]) -> Verdict {
        for message in messages {
            self.judges.votes.gate.on_message(message)?;
            let place = Place(message.from.store, message.region);
            self.judges.epochs.on_epoch(place, message.epoch)?;
        }
        Ok(())
    }

    fn judge_task(&mut self, task: &ApplyTask<Ticket>, lane: &Lane) -> Verdict {
        let Bench { store, judges, disk, .. } = self;
        let place = Place(*store, task.region);
        let committed = lane.committed.get(&task.region).copied().unwrap_or_default();
        judges.apply_order.on_hand_over(place, task, committed, disk.synced())?;
        for ticket in judges.applied.on_hand_over(place, task)? {
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

    fn judge_message(&mut self, message: &PeerMessage) -> Verdict {
        let synced = acknowledgements::raft_state(self.disk.synced(), message)?;
        terms::check(message, &synced)?;
        acknowledgements::check(message, self.disk, &synced)?;
        self.judges.records.matching.on_message(message);
        self.judges.votes.election.on_message(message)
    }

    /// Writes a batch; where the disk refuses it the store dies on the spot.
    fn write(&mut self, batch: Vec<Mutation>) -> Option<BatchNumber> {
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
        self.judges.epochs.on_region(self.store, region)?;
        if change.role != Role::Leader {
            return Ok(());
        }
        let committed = self.judges.applied.entries(region.id);
        completeness::check(place, change.term, committed, self.disk.image().as_ref())
    }
}

/// Records what a client is told.
pub fn complete(judges: &mut Judges, ticket: Ticket, reply: &Reply) {
    let outcome = match reply {
        Reply::Written | Reply::ReadAt(_) => Outcome::Done,
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
