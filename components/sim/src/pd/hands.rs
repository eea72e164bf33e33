//! The simulator's executor of what a member of the placement driver wants done. Each call is one step; a
//! doomed member dies between two of them.

use std::collections::VecDeque;

use flotilla_base::{Family, Index, Moment, Mutation, Peer, PeerId, Region, StoreId};
use flotilla_multiraft::PeerMessage;
use flotilla_pdcore::{CoreError, Denied, GROUP, LogWrite, Outcome, PdHost, Report};
use flotilla_placement::{
    Answer, Cluster, MetaChange, MetaCommand, OperatorEvent, Refusal, StaleReport, TsoChange,
    TsoDesk,
};
use flotilla_raftgroup::{Message, ReadyNumber, disk};

use super::event::{PdAnswer, PdTicket};
use super::judge::PdJudges;
use super::marks::{PdMark, PdMarks};
use crate::clock::LocalClock;
use crate::disk::{BatchNumber, SimDisk};
use crate::judge::{Verdict, acknowledgements, terms};

/// What a member gives to the world.
#[derive(Debug)]
pub enum Out {
    /// To another member.
    Send(Box<Message>),
    /// To whoever asked.
    Answer(PdTicket, PdAnswer),
    /// A thread has a timestamp in hand.
    Taken(PdTicket),
    /// Threads that wait are to look again, so many milliseconds later.
    RetryIn(u64),
    /// The core wants to be woken.
    Alarm(Moment),
    /// What becomes of operators, and orders for leaders.
    Operator(Box<OperatorEvent>),
}

/// A part of the log that is written and not durable.
#[derive(Clone, Copy, Debug)]
pub struct Unsynced {
    /// Where it stands on disk.
    pub batch: BatchNumber,
    /// Its number in the group.
    pub number: ReadyNumber,
    /// When it was written.
    pub written: Moment,
    /// Whether a window of timestamps is in it.
    pub has_window: bool,
}

/// What the hands of a member work on, besides its disk.
#[derive(Debug, Default)]
pub struct Works {
    /// Timestamps.
    pub desk: TsoDesk,
    /// Threads that wait for timestamps are to look again.
    pub is_desk_changed: bool,
    /// Writes that are not durable, in order.
    pub unsynced: VecDeque<Unsynced>,
}

/// Executes what a core wants done.
#[derive(Debug)]
pub struct Hands<'a> {
    /// Which member.
    pub member: PeerId,
    /// The world's time.
    pub now: Moment,
    /// What the member makes of it.
    pub clock: LocalClock,
    /// Its disk.
    pub disk: &'a mut SimDisk,
    /// What else it has.
    pub works: &'a mut Works,
    /// Steps that are left before it dies, if it is to die.
    pub doom: &'a mut Option<u64>,
    /// The judges.
    pub judges: &'a mut PdJudges,
    /// The counts.
    pub marks: &'a mut PdMarks,
    /// What it gives to the world.
    pub out: &'a mut Vec<Out>,
}

impl Hands<'_> {
    /// Counts one step; a dead member takes none.
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

    /// What a message promises is durable when it leaves.
    fn check_promises(&self, message: &PeerMessage) -> Verdict {
        let synced = acknowledgements::raft_state(self.disk.synced(), message)?;
        terms::check(message, &synced)?;
        acknowledgements::check(message, self.disk, &synced)
    }

    fn write_batch(&mut self, batch: Vec<Mutation>) -> BatchNumber {
        let copy = batch.clone();
        let number = self.disk.write(batch).expect("nothing fills the disk of a member");
        let store = StoreId(self.member.get());
        let verdict = self.judges.logs.on_write(store, &copy, self.disk.image().as_ref());
        self.judges.note(verdict);
        number
    }
}

/// The first index behind the group number in the key of a log entry.
const INDEX_AT: usize = 8;

fn has_window(batch: &[Mutation]) -> bool {
    batch.iter().any(|mutation| {
        let Mutation::Put(Family::RaftLog, key, record) = mutation else { return false };
        let index = key.get(INDEX_AT..).and_then(|index| index.try_into().ok());
        let index = Index(index.map_or(0, u64::from_be_bytes));
        let command =
            disk::decode_entry(index, record).and_then(|it| MetaCommand::decode(&it.data));
        command.is_ok_and(|it| matches!(it.change, MetaChange::TsoWindow { .. }))
    })
}

/// The message as the judges of stores see messages.
pub fn envelope(message: Message) -> PeerMessage {
    let peer = |id: PeerId| Peer::voter(id, StoreId(id.get()));
    PeerMessage {
        region: GROUP,
        from: peer(message.from),
        to: peer(message.to),
        epoch: Region::default().epoch,
        matched_by_all: Index(0),
        message,
    }
}

impl PdHost<PdTicket> for Hands<'_> {
    type Error = CoreError;

    fn tso(&mut self, change: TsoChange) {
        if !self.step() {
            return;
        }
        match &change {
            TsoChange::Open(_) => self.judges.timestamps.on_reign(),
            TsoChange::Extend { .. } => self.marks.note(PdMark::WindowExtended),
            TsoChange::Lease(end) => {
                let ends = end.map(|end| self.clock.world_moment(end));
                let verdict = self.judges.leads.on_lease(self.member, self.now, ends);
                self.judges.note(verdict);
            }
            TsoChange::Close => {
                let verdict = self.judges.leads.on_lease(self.member, self.now, None);
                self.judges.note(verdict);
            }
        }
        let is_waited_for = matches!(change, TsoChange::Extend { .. } | TsoChange::Close);
        self.works.is_desk_changed |= is_waited_for;
        self.works.desk.change(change);
    }

    fn send(&mut self, messages: Vec<Message>) {
        if !self.step() {
            return;
        }
        for message in messages {
            let message = envelope(message);
            let verdict = self.check_promises(&message);
            self.judges.note(verdict);
            self.judges.logs.on_message(&message);
            self.out.push(Out::Send(Box::new(message.message)));
        }
    }

    fn persist(&mut self, write: LogWrite) -> Result<(), CoreError> {
        if self.step() {
            let has_window = has_window(&write.batch);
            let (number, written) = (write.number, self.now);
            let batch = match write.batch.is_empty() {
                true => self.disk.written(),
                false => self.write_batch(write.batch),
            };
            self.works.unsynced.push_back(Unsynced { batch, number, written, has_window });
        }
        Ok(())
    }

    fn write(&mut self, batch: Vec<Mutation>) -> Result<(), CoreError> {
        if self.step() {
            self.write_batch(batch);
        }
        Ok(())
    }

    fn claim(&mut self, cluster: Cluster) -> Result<(), CoreError> {
        if self.step() {
            let verdict = self.judges.state.on_claim(self.member, cluster.id);
            self.judges.note(verdict);
        }
        Ok(())
    }

    fn reply(&mut self, ticket: PdTicket, outcome: Outcome) {
        if !self.step() {
            return;
        }
        let answer = match outcome {
            Ok(Answer::Ids(batch)) => PdAnswer::Ids(batch),
            Ok(Answer::Done | Answer::TsoWindow { .. } | Answer::Scattered(_)) => PdAnswer::Done,
            Err(denied) => {
                if matches!(denied, Denied::Refused(Refusal::StaleIncarnation { .. })) {
                    self.marks.note(PdMark::StaleRun);
                }
                PdAnswer::Denied(denied)
            }
        };
        self.out.push(Out::Answer(ticket, answer));
    }

    fn report(&mut self, report: Report) {
        if !self.step() {
            return;
        }
        match report {
            Report::Role(change) => {
                let verdict = self.judges.election.on_role(GROUP, self.member, change);
                self.judges.note(verdict);
            }
            Report::Opened(_) => {
                self.marks.note(PdMark::Reigns);
                self.judges.orders.on_reign(self.member, self.now);
            }
            Report::Ended(_) => self.marks.note(PdMark::LeadsLost),
            Report::Bootstrapped => self.marks.note(PdMark::Bootstraps),
            Report::Heartbeat { outcome: Err(stale), .. } => match stale {
                StaleReport::Epoch { .. } | StaleReport::Overlap { .. } => {
                    self.marks.note(PdMark::StaleEpoch);
                }
                StaleReport::Leader { .. } => self.marks.note(PdMark::StaleTerm),
                StaleReport::Invalid(_) | StaleReport::ForeignLeader(_) => {}
            },
            Report::Heartbeat { .. }
            | Report::Piece { .. }
            | Report::IdWindow(_)
            | Report::Line { .. }
            | Report::StoreLeaves(_)
            | Report::StoreBuried(_)
            | Report::StoreSlow(_)
            | Report::Refused(_)
            | Report::NotProposed(_) => {}
        }
    }

    fn operator(&mut self, event: OperatorEvent) {
        if *self.doom == Some(0) {
            return;
        }
        let verdict = self.judges.orders.on_event(self.member, self.now, &event);
        self.judges.note(verdict);
        self.out.push(Out::Operator(Box::new(event)));
    }
}
