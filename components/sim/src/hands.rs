//! The simulator's executors of effects: [`Host`] for rounds of replicas, [`Delivery`] for durable
//! writes, [`ApplyHost`] for appliers. Each call is one step; a doomed store dies between two of them.

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
}

impl Bench<'_> {
    /// Counts one step; a dead store takes none.
    fn step(&mut self) -> bool {
        match self.doom {
            None => true,
            Some(0) => {
                self.judges.lookout.reach(marks::MID_ROUND_CRASH);
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
        }
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
        self.judges.votes.election.on_message(message)?;
        self.judges.records.matching.on_message(message);
        self.judges.epochs.on_epoch(Place(message.from.store, message.region), message.epoch)
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

    fn on_role(&mut self, region: &Region, peer: PeerId, change: RoleChange) {
        let place = Place(self.store, region.id);
        let verdict = self.judge_role(place, region, peer, change);
        self.judges.note(verdict);
        let image = self.disk.image();
        let state = disk::read_raft_state(image.as_ref(), region.id).ok().flatten();
        let log = (state.unwrap_or_default().last.index, self.judges.applied.last(region.id));
        self.judges.lookout.on_role(place, peer, change, log);
        self.out.push(Out::Role(region.id, change));
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
        Reply::Failed(_) => Outcome::Refused,
        Reply::Unknown => Outcome::Unknown,
    };
    let verdict = judges.tickets.on_answer(ticket, outcome);
    judges.note(verdict);
    if outcome == Outcome::Refused {
        let is_applied = judges.applied.position(ticket).is_some();
        judges.note(TicketJudge::on_refusal(ticket, is_applied));
    }
}

/// Executes rounds of replicas.
#[derive(Debug)]
pub struct RoundHands<'a> {
    /// What it works with.
    pub bench: Bench<'a>,
    /// Commit index of each region of the round.
    pub committed: BTreeMap<RegionId, Index>,
    /// The judge of this round.
    pub round: RoundJudge,
    /// The world's time, and what the store makes of it.
    pub time: (Moment, LocalClock),
    /// Messages of this round have left.
    pub has_sent: bool,
}

impl Host<Ticket> for RoundHands<'_> {
    fn permit(&mut self, region: RegionId, _peer: PeerId, delegate: Delegate) {
        if self.bench.step() {
            let (now, clock) = self.time;
            let ends = delegate.permit.map_or(now, |permit| clock.world_moment(permit.until));
            let place = Place(self.bench.store, region);
            let reads = &mut self.bench.judges.reads;
            let verdict = reads.permits.on_permit(place, delegate);
            let verdict = verdict.and(reads.lease.on_permit(place, delegate, now, ends));
            self.bench.judges.note(verdict);
            self.bench.works.readers.delegates.insert(region, delegate);
        }
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        if self.bench.step() {
            self.has_sent = true;
            self.judge_votes(&messages);
            self.bench.send(messages);
        }
    }

    fn persist(&mut self, write: LogWrite) {
        let is_alive = self.bench.step();
        self.bench
            .judges
            .lookout
            .marks
            .reach_if(!is_alive && self.has_sent, marks::SENT_NOT_WRITTEN);
        if !is_alive {
            return;
        }
        self.bench.judges.note(self.round.on_persist());
        for after in &write.after {
            self.judge_votes(&after.messages);
        }
        let is_conflict = deletes_entries(&write.batch);
        self.bench.judges.lookout.marks.reach_if(is_conflict, marks::CONFLICT);
        if let Some(number) = self.bench.write(write.batch) {
            self.bench.works.unsynced.push_back((number, write.after));
        }
    }

    fn apply(&mut self, task: ApplyTask<Ticket>) {
        if !self.bench.step() {
            return;
        }
        let verdict = self.judge_task(&task);
        self.bench.judges.note(verdict);
        self.bench.works.tasks.push_back(task);
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if self.bench.step() {
            self.bench.judges.note(answers::check_round(&reply));
            self.bench.answer(ticket, reply);
        }
    }

    fn report(&mut self, report: Report) {
        if !self.bench.step() {
            return;
        }
        match report {
            Report::Role { region, peer, change } => self.bench.on_role(&region, peer, change),
            Report::Initialised { region, peer, apply } => {
                let Bench { store, judges, works, .. } = &mut self.bench;
                let place = Place(*store, region.id);
                let verdict = judges.epochs.on_region(*store, &region);
                judges.note(verdict);
                judges.apply_order.on_start(place, apply.applied.index);
                works.readers.visible.insert(region.id, apply.applied.index);
                works.appliers.insert(region.id, Applier::new(region, peer, apply));
            }
            Report::Quarantined { region, damage } => {
                let Bench { store, judges, works, .. } = &mut self.bench;
                works.quarantined.push(region);
                let is_pardoned = judges.records.is_pardoned(*store);
                judges.note(require(is_pardoned, "no sound peer is quarantined", || {
                    format!("{}: {damage}", Place(*store, region))
                }));
            }
        }
    }

    fn alarm(&mut self, region: RegionId, at: Moment) {
        if self.bench.step() {
            self.bench.out.push(Out::Alarm(region, at));
        }
    }
}

impl RoundHands<'_> {
    /// Votes are judged when they are made: they may leave after the gate has closed.
    fn judge_votes(&mut self, messages: &[PeerMessage]) {
        for message in messages {
            let verdict = self.bench.judges.votes.gate.on_message(message);
            self.bench.judges.note(verdict);
        }
    }

    fn judge_task(&mut self, task: &ApplyTask<Ticket>) -> Verdict {
        let Bench { store, judges, disk, .. } = &mut self.bench;
        let place = Place(*store, task.region);
        let committed = self.committed.get(&task.region).copied().unwrap_or_default();
        judges.apply_order.on_hand_over(place, task, committed, disk.synced())?;
        for ticket in judges.applied.on_hand_over(place, task)? {
            let position = judges.applied.position(ticket).unwrap_or_default();
            judges.tickets.on_effect(ticket)?;
            judges.reads.register.on_effect(ticket, position)?;
        }
        Ok(())
    }
}

/// Whether entries leave a log with this batch.
fn deletes_entries(batch: &[Mutation]) -> bool {
    batch.iter().any(|mutation| matches!(mutation, Mutation::Delete(Family::RaftLog, _)))
}

/// Delivers durable writes.
#[derive(Debug)]
pub struct DeliveryHands<'a, 'b> {
    /// What it works with.
    pub bench: &'b mut Bench<'a>,
    /// The judge of this delivery.
    pub delivery: DeliveryJudge,
}

impl Delivery for DeliveryHands<'_, '_> {
    fn persisted(&mut self, region: RegionId, peer: PeerId, number: ReadyNumber) {
        if self.bench.step() {
            self.delivery.on_persisted();
            self.bench.works.inputs.push((region, peer, Input::Persisted(number)));
        }
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        if self.bench.step() {
            self.bench.judges.note(self.delivery.on_send());
            self.bench.send(messages);
        }
    }
}

/// Executes what appliers want done.
#[derive(Debug)]
pub struct ApplyHands<'a> {
    /// What it works with.
    pub bench: Bench<'a>,
    /// Whether the batch of this turn is written.
    pub is_written: bool,
}

impl ApplyHost<Ticket> for ApplyHands<'_> {
    fn write(&mut self, batch: Vec<Mutation>) {
        if self.bench.step() {
            let is_shortened = deletes_entries(&batch);
            self.bench.judges.lookout.marks.reach_if(is_shortened, marks::LOG_TRUNCATED);
            self.is_written = self.bench.write(batch).is_some();
        }
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if self.bench.step() {
            self.bench.judges.note(answers::check_applier(&reply, self.is_written));
            self.bench.answer(ticket, reply);
        }
    }

    fn applied(&mut self, region: RegionId, peer: PeerId, applied: Applied) {
        if self.bench.step() {
            self.bench.works.readers.visible.insert(region, applied.index);
            self.bench.works.inputs.push((region, peer, Input::Applied(applied)));
        }
    }
}
