//! The simulator's executors of effects: [`Host`] for rounds of replicas, [`Delivery`] for durable
//! writes, [`ApplyHost`] for appliers. Each call is one step; a doomed store dies between two of them.

use std::collections::{BTreeMap, VecDeque};

use flotilla_base::{Index, Moment, Mutation, PeerId, RegionId, StoreId};
use flotilla_multiraft::{
    AfterPersist, Applied, Applier, ApplyHost, ApplyTask, Delegate, Delivery, Host, Input,
    LogWrite, PeerMessage, Reply, Report,
};
use flotilla_raftgroup::ReadyNumber;

use crate::clock::LocalClock;
use crate::disk::{BatchNumber, SimDisk};
use crate::event::Ticket;
use crate::judge::rounds::{DeliveryJudge, RoundJudge, check_applier_reply, check_round_reply};
use crate::judge::tickets::Outcome;
use crate::judge::{Judges, Place, Violation, durability};
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
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        for message in messages {
            self.judges.note(durability::check(&message, self.disk));
            self.out.push(Out::Send(Box::new(message)));
        }
    }

    fn write(&mut self, batch: Vec<Mutation>) -> BatchNumber {
        let copy = batch.clone();
        let number = self.disk.write(batch);
        let verdict = self.judges.logs.on_write(self.store, &copy, self.disk.image().as_ref());
        self.judges.note(verdict);
        number
    }

    fn answer(&mut self, ticket: Ticket, reply: Reply) {
        if !matches!(reply, Reply::ReadAt(_)) {
            complete(self.judges, ticket, &reply);
        }
        self.out.push(Out::Answer(ticket, reply));
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
    if outcome == Outcome::Refused && judges.applied.position(ticket).is_some() {
        let what = format!("attempt {} is applied and is refused", ticket.0);
        judges.note(Err(Violation { rule: "a refused write has no effect", what }));
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
}

impl Host<Ticket> for RoundHands<'_> {
    fn permit(&mut self, region: RegionId, _peer: PeerId, delegate: Delegate) {
        if self.bench.step() {
            let (now, clock) = self.time;
            let ends = delegate.permit.map_or(now, |permit| clock.world_moment(permit.until));
            let place = Place(self.bench.store, region);
            let verdict = self.bench.judges.lease.on_permit(place, delegate, now, ends);
            self.bench.judges.note(verdict);
            self.bench.works.readers.delegates.insert(region, delegate);
        }
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        if self.bench.step() {
            self.bench.send(messages);
        }
    }

    fn persist(&mut self, write: LogWrite) {
        if self.bench.step() {
            self.bench.judges.note(self.round.on_persist());
            let number = self.bench.write(write.batch);
            self.bench.works.unsynced.push_back((number, write.after));
        }
    }

    fn apply(&mut self, task: ApplyTask<Ticket>) {
        if !self.bench.step() {
            return;
        }
        let Bench { store, judges, disk, .. } = &mut self.bench;
        let committed = self.committed.get(&task.region).copied().unwrap_or_default();
        match judges.applied.on_hand_over(*store, &task, committed, disk.synced()) {
            Ok(fresh) => {
                for ticket in fresh {
                    let position = judges.applied.position(ticket).unwrap_or_default();
                    judges.note(judges.tickets.on_effect(ticket));
                    judges.note(judges.register.on_effect(ticket, position));
                }
            }
            Err(violation) => judges.note(Err(violation)),
        }
        self.bench.works.tasks.push_back(task);
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if self.bench.step() {
            self.bench.judges.note(check_round_reply(&reply));
            self.bench.answer(ticket, reply);
        }
    }

    fn report(&mut self, report: Report) {
        if !self.bench.step() {
            return;
        }
        let Bench { store, judges, works, .. } = &mut self.bench;
        match report {
            Report::Role { region, peer, change } => {
                let verdict = judges.election.on_role(region.id, peer, change);
                judges.note(verdict);
            }
            Report::Initialised { region, peer, apply } => {
                judges.applied.on_start(*store, region.id, apply.applied.index);
                works.readers.visible.insert(region.id, apply.applied.index);
                works.appliers.insert(region.id, Applier::new(region, peer, apply));
            }
            Report::Quarantined { region, damage } => {
                let what = format!("store {store} region {region}: {damage}");
                judges.note(Err(Violation { rule: "no sound peer is quarantined", what }));
            }
        }
    }

    fn alarm(&mut self, region: RegionId, at: Moment) {
        if self.bench.step() {
            self.bench.out.push(Out::Alarm(region, at));
        }
    }
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
            self.is_written = true;
            self.bench.write(batch);
        }
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if self.bench.step() {
            self.bench.judges.note(check_applier_reply(&reply, self.is_written));
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
