//! What becomes of each event at the placement driver. What is asked, what is reported and what breaks
//! stand in the files below this one.

mod faults;
mod orders;
mod reports;
mod requests;

use std::collections::BTreeMap;

use flotilla_base::{Moment, PeerId, Region, RegionId, Rng, Seeded, Span, StoreId};
use flotilla_placement::IdBatch;
use flotilla_raftgroup::{GroupLimits, Message, Timing};

use super::clients::PdClient;
use super::event::{PdEvent, PdTask, PdTicket};
use super::faults::{PdFault, PdNemesis};
use super::hands::Out;
use super::judge::PdJudges;
use super::marks::PdMarks;
use super::node::{PdNode, Sight};
use super::paper::Paper;
use super::plan::{Origin, PdPlan};
use super::stores::Agent;
use crate::disk::BatchNumber;
use crate::event::Run;
use crate::judge::Verdict;
use crate::net::{Fate, SimNet};
use crate::plan::{DiskPlan, Fates, Plan};

/// What the placement driver's side gives to the world.
#[derive(Debug)]
pub enum ToWorld {
    /// This happens later.
    Later(Span, PdEvent),
    /// A store has heard which the first regions are.
    Plan(StoreId, Vec<Region>),
    /// The ids of a split.
    SplitIds(PdTicket, IdBatch),
    /// For the trace.
    Note(String),
}

/// A member, and what is under way at it.
#[derive(Debug)]
struct Slot {
    node: PdNode,
    is_turn_due: bool,
    sync: Option<BatchNumber>,
    paused_until: Moment,
    is_hung: bool,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Client(usize),
    Store(StoreId, Run),
    /// A leader that wants its region split.
    Split,
    /// Nobody who would act on it.
    Nobody,
}

/// A request that was made.
#[derive(Clone, Copy, Debug)]
struct Asked {
    who: Asker,
    /// How many ids.
    ids: u32,
    is_registration: bool,
}

/// Everything outside of the members.
#[derive(Debug)]
struct Around {
    clients: Vec<PdClient>,
    agents: Vec<Agent>,
    paper: Paper,
    asked: Vec<Asked>,
    /// Which plan was heard of.
    plan: Option<Vec<Region>>,
}

/// Draws.
#[derive(Debug)]
struct Chance {
    schedule: Rng,
    disk: Rng,
    nemesis: PdNemesis,
}

/// What members are made with.
#[derive(Debug)]
struct Settings {
    plan: PdPlan,
    fates: Fates,
    disk: DiskPlan,
    timing: Timing,
    limits: GroupLimits,
    max_replicas: u32,
    seeded: Seeded,
}

/// The placement driver with everything around it.
#[derive(Debug)]
pub struct PdSide {
    settings: Settings,
    now: Moment,
    slots: BTreeMap<PeerId, Slot>,
    net: SimNet,
    around: Around,
    chance: Chance,
    judges: PdJudges,
    marks: PdMarks,
    out: Vec<ToWorld>,
    is_healed: bool,
}

impl PdSide {
    /// Before its first event.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let (seed, pd) = (plan.seed, plan.pd.clone());
        let slot = |id: u64| Slot {
            node: PdNode::new(PeerId(id)),
            is_turn_due: false,
            sync: None,
            paused_until: Moment(0),
            is_hung: false,
        };
        let client = |number| PdClient::new(pd.operations, Rng::lane(seed, 2_000 + number));
        let agent = |place| {
            let labels = plan.topology.fates.labels_of(StoreId(place));
            Agent::new(StoreId(place), labels, Rng::lane(seed, 3_000 + place))
        };
        let clients = if pd.members == 0 { 0 } else { pd.clients };
        // A lease ends one gate after the oldest write by the member's own clock, which may be slow.
        let gate = plan.groups.timing.gate.0 * 1000 / (1000 - pd.drift_permille);
        let mut side = Self {
            now: Moment(1),
            slots: (1..=pd.members).map(|id| (PeerId(id), slot(id))).collect(),
            net: SimNet::new(plan.net.clone(), Rng::lane(seed, 21)),
            around: Around {
                clients: (0..clients).map(client).collect(),
                agents: (1..=plan.topology.stores).map(agent).collect(),
                paper: Paper::new(Rng::lane(seed, 26)),
                asked: Vec::new(),
                plan: None,
            },
            chance: Chance {
                schedule: Rng::lane(seed, 22),
                disk: Rng::lane(seed, 23),
                nemesis: PdNemesis::new(pd.clone(), Rng::lane(seed, 24)),
            },
            judges: PdJudges::new(Span(gate) + Span::from_millis(1)),
            marks: PdMarks::default(),
            out: Vec::new(),
            is_healed: false,
            settings: Settings {
                fates: plan.topology.fates.clone(),
                disk: plan.disk.clone(),
                timing: plan.groups.timing,
                limits: plan.groups.limits,
                seeded: plan.groups.seeded,
                max_replicas: u32::try_from(plan.topology.replicas).unwrap_or(3),
                plan: pd,
            },
        };
        side.begin();
        side
    }

    fn begin(&mut self) {
        for member in self.members() {
            self.later(Span::from_micros(10), PdEvent::Mend(PdFault::Down(member)));
        }
        for client in 0..self.around.clients.len() {
            self.later(Span::from_millis(1), PdEvent::Begin(client));
        }
        if !self.slots.is_empty() && self.settings.plan.origin == Origin::Paper {
            self.later(Span::from_millis(1), PdEvent::Paper);
        }
        for (after, wish) in self.settings.fates.wishes.clone() {
            self.later(after, PdEvent::Wish(wish));
        }
        if !self.settings.plan.faults.families.is_empty() {
            let first = self.chance.nemesis.interval();
            self.later(first, PdEvent::NextFault);
        }
    }

    /// Whether stores wait for its plan.
    #[must_use]
    pub fn drives(&self) -> bool {
        !self.slots.is_empty() && self.settings.plan.origin == Origin::Plan
    }

    /// Whether real regions are reported to it.
    #[must_use]
    pub fn hears_of_stores(&self) -> bool {
        !self.slots.is_empty() && self.settings.plan.origin != Origin::Paper
    }

    /// What it gives to the world.
    pub fn take_out(&mut self) -> Vec<ToWorld> {
        std::mem::take(&mut self.out)
    }

    /// What happened so far.
    #[must_use]
    pub const fn marks(&self) -> PdMarks {
        self.marks
    }

    /// Something happens.
    ///
    /// # Errors
    /// The first violation.
    pub fn happen(&mut self, now: Moment, event: PdEvent) -> Verdict {
        self.now = now;
        if let Some(member) = event.member() {
            let until = self.slots.get(&member).map_or(Moment(0), |slot| slot.paused_until);
            if until > now {
                self.later(until.since(now), event);
                return Ok(());
            }
        }
        match event {
            PdEvent::Message(to, message) => self.at_member(to, |node, _| {
                node.receive(*message);
                Ok(())
            }),
            PdEvent::Task(member, run, task) => {
                let is_of_this_run =
                    self.slots.get(&member).is_some_and(|slot| slot.node.run() == Some(run));
                if is_of_this_run {
                    self.work(member, task);
                }
            }
            PdEvent::Request(member, request) => self.request(member, *request),
            PdEvent::Answer(ticket, answer) => self.answer(ticket, *answer)?,
            PdEvent::Begin(client) => self.ask(client),
            PdEvent::Impatient(ticket) => self.lose_patience(ticket),
            PdEvent::Store(place, run) => self.go_on(place, run),
            PdEvent::Wish(wish) => self.wish(wish),
            PdEvent::Beat(..) | PdEvent::Order(..) => {}
            PdEvent::Paper => self.paper(),
            PdEvent::NextFault => self.next_fault(),
            PdEvent::Mend(fault) => self.mend(fault),
        }
        self.judges.verdict()
    }

    /// Who says that it leads.
    #[must_use]
    pub fn leader(&self, now: Moment) -> Option<PeerId> {
        self.slots.iter().find(|(_, slot)| slot.node.leading(now).is_some()).map(|(id, _)| *id)
    }

    /// The store that a member which leads takes for the leader of a region.
    #[must_use]
    pub fn reported_leader(&self, now: Moment, region: RegionId) -> Option<StoreId> {
        let mut sights = self.slots.values().filter_map(|slot| slot.node.leading(now));
        Some(sights.next()?.regions().by_id(region)?.leader?.store)
    }

    /// Whether all clients are done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.around.clients.iter().all(PdClient::is_finished)
    }

    fn members(&self) -> Vec<PeerId> {
        self.slots.keys().copied().collect()
    }

    fn work(&mut self, member: PeerId, task: PdTask) {
        let Some(slot) = self.slots.get_mut(&member) else { return };
        match task {
            PdTask::Turn => {
                slot.is_turn_due = false;
                self.at_member(member, PdNode::turn);
            }
            PdTask::Synced => {
                let number = slot.sync.take().unwrap_or_default();
                self.at_member(member, |node, sight| node.synced(number, sight));
            }
            PdTask::Alarm(at) => self.at_member(member, |node, _| {
                node.ring(at);
                Ok(())
            }),
            PdTask::Retry => self.at_member(member, |node, sight| {
                node.serve_waiting(sight);
                Ok(())
            }),
            PdTask::Release(ticket) => self.at_member(member, |node, sight| {
                node.release(ticket, sight);
                Ok(())
            }),
        }
    }

    /// Lets a member do something, then carries out what came of it.
    fn at_member(
        &mut self,
        member: PeerId,
        act: impl FnOnce(&mut PdNode, &mut Sight<'_>) -> Verdict,
    ) {
        let Some(slot) = self.slots.get_mut(&member) else { return };
        let mut out = Vec::new();
        let mut sight = Sight {
            now: self.now,
            judges: &mut self.judges,
            marks: &mut self.marks,
            out: &mut out,
            rng: &mut self.chance.schedule,
        };
        let verdict = act(&mut slot.node, &mut sight);
        self.judges.note(verdict);
        for given in out {
            self.carry_out(member, given);
        }
        if self.slots.get(&member).is_some_and(|slot| slot.node.is_dead()) {
            self.crash(member);
            let length = self.chance.nemesis.length();
            self.later(length, PdEvent::Mend(PdFault::Down(member)));
        } else {
            self.set_to_work(member);
        }
    }

    fn carry_out(&mut self, member: PeerId, given: Out) {
        let Some(run) = self.slots.get(&member).and_then(|slot| slot.node.run()) else { return };
        let task = |task| PdEvent::Task(member, run, task);
        match given {
            Out::Send(message) => self.send(message),
            Out::Answer(ticket, answer) => self.reply(ticket, answer),
            Out::Taken(ticket) => {
                // Most threads do not stand still at all.
                let is_slow = self.chance.schedule.chance(200);
                let most = if is_slow { self.settings.plan.pause_max } else { Span::ZERO };
                let pause = Span(self.chance.schedule.below(most.0 + 1));
                self.later(pause, task(PdTask::Release(ticket)));
            }
            Out::Operator(event) => self.follow(*event),
            Out::RetryIn(millis) => self.later(Span::from_millis(millis), task(PdTask::Retry)),
            Out::Alarm(at) if at == Moment::NEVER => {}
            Out::Alarm(at) => self.later(at.since(self.now), task(PdTask::Alarm(at))),
        }
    }

    fn set_to_work(&mut self, member: PeerId) {
        let Some(slot) = self.slots.get_mut(&member) else { return };
        let Some(run) = slot.node.run() else { return };
        let (rng, disk) = (&mut self.chance.schedule, &self.settings.disk);
        let mut begun = Vec::new();
        if slot.node.wants_turn() && !std::mem::replace(&mut slot.is_turn_due, true) {
            begun.push((Span(rng.below(disk.turn_spread.0 + 1)), PdTask::Turn));
        }
        if slot.node.wants_sync() && slot.sync.is_none() && !slot.is_hung {
            slot.sync = Some(slot.node.disk().written());
            let mut latency = disk.sync_min + Span(rng.below(disk.sync_spread.0 + 1));
            if rng.chance(disk.stall_permille) {
                latency = latency + Span(rng.below(disk.stall_max.0 + 1));
            }
            begun.push((latency, PdTask::Synced));
        }
        for (delay, task) in begun {
            self.later(delay, PdEvent::Task(member, run, task));
        }
    }

    fn send(&mut self, message: Box<Message>) {
        let (from, to) = (StoreId(message.from.get()), StoreId(message.to.get()));
        if let Fate::Arrives(delays) = self.net.carry(from, to, self.now) {
            for delay in delays {
                self.later(delay, PdEvent::Message(message.to, message.clone()));
            }
        }
    }

    fn later(&mut self, delay: Span, event: PdEvent) {
        self.out.push(ToWorld::Later(delay, event));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        self.out.push(ToWorld::Note(line()));
    }
}

fn index(ticket: PdTicket) -> usize {
    usize::try_from(ticket.0).unwrap_or(usize::MAX)
}
