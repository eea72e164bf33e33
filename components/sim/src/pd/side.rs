//! What becomes of each event at the placement driver.

use std::collections::BTreeMap;

use flotilla_base::{Moment, Peer, PeerId, Region, Rng, Span, StoreId};
use flotilla_pdcore::CoreConfig;
use flotilla_placement::RegionReport;
use flotilla_raftgroup::{GroupLimits, Message, Timing};

use super::clients::PdClient;
use super::event::{PdAnswer, PdAsk, PdEvent, PdRequest, PdTask, PdTicket};
use super::faults::{PdFault, PdNemesis, PdOrder};
use super::hands::Out;
use super::judge::PdJudges;
use super::marks::PdMarks;
use super::node::{PdNode, Sight, fresh_cluster};
use super::paper::Paper;
use super::plan::{Origin, PdPlan};
use super::stores::{Agent, Phase, from_world, to_world};
use crate::clock::LocalClock;
use crate::disk::BatchNumber;
use crate::event::Run;
use crate::judge::{Verdict, require};
use crate::net::{Fate, SimNet};
use crate::plan::{DiskPlan, Plan};

/// Whom a client talks to, for the network: no cut between clients and stores is for a member.
const ANY_MEMBER: StoreId = StoreId(0);
/// What a client waits for at least when nothing is broken.
const LAST_PATIENCE: Span = Span::from_millis(10_000);
/// Longest time between two changes of the regions on paper.
const PAPER_INTERVAL: Span = Span::from_millis(600);

/// What the placement driver's side gives to the world.
#[derive(Debug)]
pub enum ToWorld {
    /// This happens later.
    Later(Span, PdEvent),
    /// A store has heard which the first regions are.
    Plan(StoreId, Vec<Region>),
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
    disk: DiskPlan,
    timing: Timing,
    limits: GroupLimits,
    max_replicas: u32,
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
        let agent = |place| Agent::new(StoreId(place), Rng::lane(seed, 3_000 + place));
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
                disk: plan.disk.clone(),
                timing: plan.groups.timing,
                limits: plan.groups.limits,
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
        if !self.settings.plan.families.is_empty() {
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
            PdEvent::Beat(..) => {}
            PdEvent::Paper => self.paper(),
            PdEvent::NextFault => self.next_fault(),
            PdEvent::Mend(fault) => self.mend(fault),
        }
        self.judges.verdict()
    }

    /// A run of a store begins.
    pub fn on_store_start(&mut self, now: Moment, place: StoreId, run: Run) {
        self.now = now;
        if self.slots.is_empty() {
            return;
        }
        if let Some(agent) = self.around.agents.iter_mut().find(|agent| agent.place == place) {
            agent.start(run);
            self.later(Span::from_micros(100), PdEvent::Store(place, run));
        }
    }

    /// A run of a store reports what it leads.
    ///
    /// # Errors
    /// It contradicts what the run reported before.
    pub fn report(
        &mut self,
        now: Moment,
        place: StoreId,
        run: Run,
        led: Vec<RegionReport>,
    ) -> Verdict {
        self.now = now;
        let beat_max = self.settings.plan.beat_max;
        let index = usize::try_from(place.get() - 1).unwrap_or(0);
        let agent = &mut self.around.agents[index];
        let (id, target, pause) = (agent.id, agent.target, agent.pause(beat_max));
        let ghost = agent.ghost();
        self.later(pause, PdEvent::Beat(place, run));
        if let Some(ask) = ghost {
            self.post(Asker::Nobody, target, ask);
        }
        if let Some(id) = id {
            self.post(Asker::Nobody, target, PdAsk::StoreBeat(id));
        }
        for mut report in led {
            report.region = self.in_words_of_pd(report.region);
            let leader = report.region.peer(report.leader.id);
            report.leader = leader.unwrap_or(report.leader);
            self.judges.epochs.on_report(place, run, &report.region)?;
            self.tell_all(report);
        }
        Ok(())
    }

    /// Ends all faults and starts every member that is down.
    pub fn heal(&mut self, now: Moment) {
        self.now = now;
        self.is_healed = true;
        self.net.heal();
        self.settings.disk.stall_permille = 0;
        self.settings.plan.patience = self.settings.plan.patience.max(LAST_PATIENCE);
        self.around.clients.iter_mut().for_each(PdClient::wind_down);
        for member in self.members() {
            if let Some(slot) = self.slots.get_mut(&member) {
                slot.paused_until = Moment(0);
                slot.node.spare();
            }
            self.mend(PdFault::Hung(member));
            self.mend(PdFault::Down(member));
        }
    }

    /// Whether all clients are done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.around.clients.iter().all(PdClient::is_finished)
    }

    /// Whether a member leads and knows of all regions; `world` are those of the stores.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_end(&self, world: &[Region]) -> Verdict {
        if self.slots.is_empty() {
            return Ok(());
        }
        let led = self.slots.values().find_map(|slot| slot.node.leading(self.now));
        let found =
            led.map(|sight| sight.regions().scan(&flotilla_base::KeyRange::all(), usize::MAX));
        require(led.is_some(), "liveness: a member of the placement driver leads", String::new)?;
        let truth: Vec<Region> = match self.settings.plan.origin {
            Origin::Paper => {
                self.around.paper.reports().iter().map(|report| report.region.clone()).collect()
            }
            Origin::Plan | Origin::World => {
                let regions = world.iter().cloned();
                regions.map(|region| self.in_words_of_pd(region)).collect()
            }
        };
        let found = found.unwrap_or_default();
        self.judges.regions.on_end(&truth, found.iter().map(AsRef::as_ref))
    }

    /// Sets the clock by which [`Self::check_end`] asks who leads.
    pub const fn note_time(&mut self, now: Moment) {
        self.now = now;
    }

    fn in_words_of_pd(&self, region: Region) -> Region {
        match self.settings.plan.origin {
            Origin::Plan => from_world(region, &self.around.agents),
            Origin::World | Origin::Paper => region,
        }
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

    /// An answer leaves a member.
    fn reply(&mut self, ticket: PdTicket, answer: PdAnswer) {
        let Some(asked) = self.around.asked.get(index(ticket)).copied() else { return };
        let verdict = match &answer {
            PdAnswer::Ids(batch) => {
                self.marks.note(super::marks::PdMark::Ids);
                self.judges.ids.on_batch(*batch, asked.ids)
            }
            PdAnswer::Done if asked.is_registration => {
                self.judges.incarnations.on_registered(ticket)
            }
            _ => Ok(()),
        };
        self.judges.note(verdict);
        if asked.who == Asker::Nobody {
            return;
        }
        if let Fate::Arrives(delays) = self.net.carry_client(ANY_MEMBER) {
            for delay in delays {
                self.later(delay, PdEvent::Answer(ticket, Box::new(answer.clone())));
            }
        }
    }

    fn request(&mut self, member: PeerId, request: PdRequest) {
        let ticket = request.ticket;
        let mut is_heard = false;
        self.at_member(member, |node, sight| {
            is_heard = node.request(request, sight).is_some();
            Ok(())
        });
        if !is_heard {
            self.reply(ticket, PdAnswer::Down);
        }
    }

    /// A request leaves whoever asks.
    fn post(&mut self, who: Asker, target: PeerId, ask: PdAsk) -> PdTicket {
        let ticket = PdTicket(self.around.asked.len() as u64);
        let ids = if let PdAsk::Ids(count) = &ask { *count } else { 0 };
        let is_registration = matches!(ask, PdAsk::Register(_));
        self.around.asked.push(Asked { who, ids, is_registration });
        let request = Box::new(PdRequest { ticket, ask });
        if let Fate::Arrives(delays) = self.net.carry_client(ANY_MEMBER) {
            for delay in delays {
                self.later(delay, PdEvent::Request(target, request.clone()));
            }
        }
        if who != Asker::Nobody {
            self.later(self.settings.plan.patience, PdEvent::Impatient(ticket));
        }
        ticket
    }

    fn answer(&mut self, ticket: PdTicket, answer: PdAnswer) -> Verdict {
        let Some(asked) = self.around.asked.get(index(ticket)).copied() else { return Ok(()) };
        match asked.who {
            Asker::Nobody => {}
            Asker::Client(number) => {
                let client = &mut self.around.clients[number];
                if client.ticket == Some(ticket) {
                    let pause = client.on_answer(&self.settings.plan, &answer);
                    self.later(pause, PdEvent::Begin(number));
                }
            }
            Asker::Store(place, run) => self.tell_store(ticket, place, run, answer)?,
        }
        Ok(())
    }

    fn tell_store(
        &mut self,
        ticket: PdTicket,
        place: StoreId,
        run: Run,
        answer: PdAnswer,
    ) -> Verdict {
        let Some(agent) = self.agent(place).filter(|it| it.run == run && it.ticket == Some(ticket))
        else {
            return Ok(());
        };
        agent.ticket = None;
        let is_lost = agent.phase == Phase::WaitsForPlan
            && matches!(&answer, PdAnswer::Denied(flotilla_pdcore::Denied::UnknownStore(_)));
        require(!is_lost, "a registration that was confirmed is never lost", || {
            format!("store {place}, run {}", run.0)
        })?;
        if matches!(answer, PdAnswer::Denied(_) | PdAnswer::Down) {
            let target = PeerId(1 + agent.target.get() % (self.slots.len() as u64));
            if let Some(agent) = self.agent(place) {
                agent.target = target;
            }
        }
        let origin = self.settings.plan.origin;
        let Some(agent) = self.agent(place) else { return Ok(()) };
        let planned = agent.on_answer(answer, origin);
        let pause = agent.pause(Span::from_millis(100));
        let next = match agent.phase {
            Phase::Reports => PdEvent::Beat(place, run),
            Phase::Registers | Phase::WaitsForPlan => PdEvent::Store(place, run),
        };
        self.later(pause, next);
        let Some(planned) = planned else { return Ok(()) };
        let regions = to_world(&planned, &self.around.agents);
        let known = self.around.plan.get_or_insert_with(|| regions.clone());
        require(*known == regions, "the first regions are planned once", || {
            format!("{known:?}, then {regions:?}")
        })?;
        self.out.push(ToWorld::Plan(place, regions));
        Ok(())
    }

    fn agent(&mut self, place: StoreId) -> Option<&mut Agent> {
        self.around.agents.iter_mut().find(|agent| agent.place == place)
    }

    /// A store goes on with its registration.
    fn go_on(&mut self, place: StoreId, run: Run) {
        let Some(agent) = self.agent(place).filter(|it| it.run == run && it.ticket.is_none())
        else {
            return;
        };
        let target = agent.target;
        if let Some(ask) = agent.ask() {
            let ticket = self.post(Asker::Store(place, run), target, ask);
            if let Some(agent) = self.agent(place) {
                agent.ticket = Some(ticket);
            }
        }
    }

    fn ask(&mut self, number: usize) {
        let key = match self.settings.plan.origin {
            Origin::Paper => self.around.paper.key(),
            Origin::Plan | Origin::World => crate::client::key_name(self.chance.schedule.below(40)),
        };
        let client = &mut self.around.clients[number];
        let target = client.target;
        if client.ticket.is_none()
            && let Some(ask) = client.ask(&self.settings.plan, key)
        {
            let ticket = self.post(Asker::Client(number), target, ask);
            self.around.clients[number].ticket = Some(ticket);
        }
    }

    fn lose_patience(&mut self, ticket: PdTicket) {
        let Some(asked) = self.around.asked.get(index(ticket)).copied() else { return };
        let members = self.slots.len() as u64;
        match asked.who {
            Asker::Nobody => {}
            Asker::Client(number) => {
                let client = &mut self.around.clients[number];
                if client.ticket == Some(ticket) {
                    let pause = client.turn_elsewhere(&self.settings.plan);
                    self.later(pause, PdEvent::Begin(number));
                }
            }
            Asker::Store(place, run) => {
                let agent = self.agent(place);
                if let Some(agent) = agent.filter(|it| it.ticket == Some(ticket)) {
                    agent.ticket = None;
                    agent.target = PeerId(1 + agent.target.get() % members);
                    self.later(Span::from_millis(1), PdEvent::Store(place, run));
                }
            }
        }
    }

    /// Regions change on paper, and their leaders report; sometimes all of them do.
    fn paper(&mut self) {
        let mut reports = if self.is_healed { Vec::new() } else { self.around.paper.step() };
        if self.is_healed || self.chance.schedule.chance(200) {
            reports.extend(self.around.paper.reports().iter().cloned());
        }
        for report in reports {
            self.tell_all(report);
        }
        let pause = Span(1 + self.chance.schedule.below(PAPER_INTERVAL.0));
        self.later(pause, PdEvent::Paper);
    }

    /// A region's leader reports to all members: those that do not lead drop it.
    fn tell_all(&mut self, report: RegionReport) {
        self.judges.regions.on_report(&report);
        for member in self.members() {
            self.post(Asker::Nobody, member, PdAsk::RegionBeat(Box::new(report.clone())));
        }
    }

    fn next_fault(&mut self) {
        if self.is_healed {
            return;
        }
        if let Some((order, length)) = self.chance.nemesis.draw() {
            self.note(|| format!("pd: {order:?} for {length}"));
            match order {
                PdOrder::Crash(members, 0) => {
                    for member in members {
                        self.crash(member);
                        self.later(length, PdEvent::Mend(PdFault::Down(member)));
                    }
                }
                PdOrder::Crash(members, steps) => {
                    for member in members {
                        self.slots.entry(member).and_modify(|slot| slot.node.doom(steps));
                    }
                }
                PdOrder::Pause(member) => {
                    let until = self.now + length;
                    self.slots.entry(member).and_modify(|slot| slot.paused_until = until);
                }
                PdOrder::Hang(member) => {
                    self.slots.entry(member).and_modify(|slot| slot.is_hung = true);
                    self.later(length, PdEvent::Mend(PdFault::Hung(member)));
                }
                PdOrder::Cut(directions) => {
                    for (from, to) in &directions {
                        self.net.cut(*from, *to);
                    }
                    self.later(length, PdEvent::Mend(PdFault::Cut(directions)));
                }
                PdOrder::Clock(member, by_ms, crashes) => {
                    if crashes {
                        self.crash(member);
                        self.later(length, PdEvent::Mend(PdFault::Down(member)));
                    }
                    let set = |slot: &mut Slot| slot.node.wall_error_ms += by_ms;
                    self.slots.entry(member).and_modify(set);
                }
            }
        }
        let interval = self.chance.nemesis.interval();
        self.later(interval, PdEvent::NextFault);
    }

    fn mend(&mut self, fault: PdFault) {
        match fault {
            PdFault::Down(member) => {
                if self.slots.get(&member).is_some_and(|slot| slot.node.run().is_none()) {
                    self.start(member);
                }
            }
            PdFault::Hung(member) => {
                self.slots.entry(member).and_modify(|slot| slot.is_hung = false);
                self.set_to_work(member);
            }
            PdFault::Cut(directions) => {
                for (from, to) in directions {
                    self.net.open(from, to);
                }
            }
        }
    }

    /// Crashes a member now.
    pub fn crash(&mut self, member: PeerId) {
        let Some(slot) = self.slots.get_mut(&member) else { return };
        if slot.node.run().is_none() {
            return;
        }
        let lost = slot.node.crash(&mut self.chance.disk, &mut self.marks);
        self.judges.logs.on_crash(StoreId(member.get()), slot.node.image());
        slot.is_turn_due = false;
        slot.sync = None;
        self.judges.leads.on_crash(member);
        self.note(|| format!("pd {member} crashes, {lost} batches are gone"));
    }

    fn start(&mut self, member: PeerId) {
        let Settings { plan, timing, limits, max_replicas, .. } = &self.settings;
        let rng = &mut self.chance.schedule;
        let drift = plan.drift_permille;
        let rate = 1000 - drift + rng.below(2 * drift + 1);
        let clock = LocalClock::new(self.now, Moment(rng.below(1 << 40)), rate);
        let config = CoreConfig {
            members: self.slots.keys().copied().collect(),
            member,
            max_replicas: *max_replicas,
            fresh_cluster: fresh_cluster(rng),
            run: 0,
            timing: *timing,
            limits: *limits,
            log_entries_kept: plan.log_entries_kept,
        };
        self.note(|| format!("pd {member} starts"));
        self.at_member(member, |node, sight| node.start(clock, config, sight));
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

/// The peer of a region at a store, as the leader of a report.
#[must_use]
pub fn leader_of(region: &Region, place: StoreId) -> Peer {
    region.peer_on(place).unwrap_or_default()
}
