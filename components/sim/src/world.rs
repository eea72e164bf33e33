//! The world: a heap of events, and what becomes of each. What clients do, what breaks, how stores start and
//! stop, and how a run ends stand in the files below this one.

mod balance;
mod changes;
mod clients;
mod ending;
mod faults;
mod liveness;
mod pd;
mod placement;
mod reads;
mod snapshots;
mod splits;
mod stores;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;

use flotilla_base::{
    Epoch, Incarnation, Index, Key, KeyRange, Moment, Peer, PeerId, PeerRole, Region, RegionId,
    Rng, Span, StoreId, Term, Version, key::guard_border,
};
use flotilla_multiraft::{PeerMessage, Reply};
use flotilla_raftgroup::MessageKind;

use crate::ambush::Ambusher;
use crate::changes::{ChangeChance, is_change};
use crate::client::{SimClient, key_name};
use crate::clock::WallClock;
use crate::disk::BatchNumber;
use crate::event::{Answer, Event, Run, Shown, Task, Ticket};
use crate::fault::Nemesis;
use crate::fetches::FetchChance;
use crate::hands::{LaneId, Out};
use crate::judge::{Judges, Verdict, require};
use crate::marks::{self, Marks};
use crate::net::{Fate, SimNet};
use crate::node::{Desk, StoreNode};
use crate::pd::PdSide;
use crate::plan::Plan;
use crate::reads::ReadChance;
use crate::splits::{SplitChance, is_split};
use crate::summary::Summary;
use snapshots::Streams;

/// The regions that the world makes by itself are numbered from here; the guard region is the last one.
const FIRST_REGION: RegionId = RegionId(2);

/// Far more than all stores and clients can have to do in one moment.
const AT_ONCE_MAX: u64 = 1_000_000;

/// What a store does beside its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// Its appliers take what is committed.
    Apply,
    /// What destroyed peers left is deleted.
    Clean,
}

/// What is under way at a store.
#[derive(Debug, Default)]
struct Due {
    turn: bool,
    /// Works beside the turns that are due.
    works: BTreeSet<Work>,
    /// Threads whose next step is due.
    steps: Vec<LaneId>,
    /// The batch up to which a sync is under way.
    sync: Option<BatchNumber>,
    paused_until: Moment,
    /// No further sync begins.
    is_disk_hung: bool,
}

/// A cluster and its clients in virtual time.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    now: Moment,
    agenda: Agenda,
    stores: Vec<(StoreNode, Due)>,
    /// The regions as they are, by the logs of all stores.
    regions: Vec<Region>,
    net: SimNet,
    pd: PdSide,
    clients: Vec<SimClient>,
    /// What clients asked for.
    attempts: Vec<Attempt>,
    judges: Judges,
    chance: Chance,
    record: Record,
}

/// What a client asked for: whose it is, of which key, and which region it had in mind.
#[derive(Clone, Debug)]
struct Attempt {
    client: usize,
    key: Key,
    region: RegionId,
    version: Version,
}

/// Draws of the world itself, and what follows from them.
#[derive(Debug)]
struct Chance {
    schedule: Rng,
    disk: Rng,
    nemesis: Nemesis,
    ambush: Ambusher,
    reads: ReadChance,
    splits: SplitChance,
    streams: Streams,
    fetches: FetchChance,
    changes: ChangeChance,
}

/// What is kept of a run.
#[derive(Debug, Default)]
struct Record {
    summary: Summary,
    trace: Option<String>,
    is_healed: bool,
    /// The regions as the bootstrap makes them.
    planned: Vec<Region>,
    /// Who is missing in the second phase.
    missing: Option<StoreId>,
    /// When the last run of a store ended.
    ended: BTreeMap<StoreId, Moment>,
    /// Since when a peer sleeps on a run of a store.
    sleeping: BTreeMap<crate::judge::Place, (StoreId, Incarnation, Moment)>,
    /// Since when a leader sleeps while somebody is there to be told of its removal.
    owing: BTreeMap<crate::judge::Place, Moment>,
    /// How many shapes of regions are known.
    shapes: usize,
    /// Requests for each region.
    requests: BTreeMap<RegionId, u64>,
    /// What the placement driver is about.
    placed: placement::Placed,
}

/// What is to happen.
#[derive(Debug, Default)]
struct Agenda {
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    /// Events since time went on.
    at_once: u64,
}

#[derive(Debug)]
struct Scheduled {
    at: Moment,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl World {
    /// A world before its first event. With `is_traced` every event leaves a line.
    #[must_use]
    pub fn new(plan: Plan, is_traced: bool) -> Self {
        let seed = plan.seed;
        let stores = plan.topology.stores;
        let client = |number| {
            let (rng, swaps) = (Rng::lane(seed, 100 + number), Rng::lane(seed, 10_000 + number));
            SimClient::new(plan.load.clone(), rng, swaps)
        };
        let clients: Vec<SimClient> = (0..plan.load.clients).map(client).collect();
        let mut world = Self {
            now: Moment(1),
            agenda: Agenda::default(),
            stores: stores_of(&plan),
            regions: Vec::new(),
            pd: PdSide::new(&plan),
            net: SimNet::new(plan.net.clone(), Rng::lane(seed, 2)),
            clients,
            attempts: Vec::new(),
            judges: Judges::new(plan.faults.costs),
            chance: Chance {
                schedule: Rng::lane(seed, 3),
                disk: Rng::lane(seed, 4),
                nemesis: Nemesis::new(plan.faults.clone(), stores, Rng::lane(seed, 5)),
                ambush: Ambusher::new(plan.faults.ambush, Rng::lane(seed, 9)),
                reads: ReadChance::new(plan.reads.clone(), seed),
                splits: SplitChance::new(plan.splits.clone(), plan.load.keys, seed),
                streams: Streams::new(seed),
                fetches: FetchChance::new(plan.disk.fetches.clone(), seed),
                changes: ChangeChance::new(plan.topology.changes.clone(), seed),
            },
            record: Record { trace: is_traced.then(String::new), ..Record::default() },
            plan,
        };
        world.judges.votes.members.promotion_lag_max = world.plan.groups.limits.promotion_lag_max;
        world.hear_from_pd();
        if !world.pd.drives() {
            let planned = regions(&world.plan);
            world.found(planned);
        }
        for id in 1..=stores {
            world.join(StoreId(id));
        }
        if !world.pd.drives() {
            world.begin();
        }
        if !world.plan.faults.families.is_empty() {
            let first = world.chance.nemesis.interval();
            world.schedule(first, Event::NextFault);
        }
        for strike in world.plan.faults.strikes.clone() {
            world.schedule(strike.after, Event::Strike(strike.order, strike.length));
        }
        world
    }

    /// Runs for a span of virtual time.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_for(&mut self, span: Span) -> Verdict {
        let end = self.now + span;
        while self.agenda.queue.peek().is_some_and(|Reverse(next)| next.at <= end) {
            self.step()?;
        }
        self.now = end;
        Ok(())
    }

    /// The next event happens.
    ///
    /// # Errors
    /// The first violation.
    pub fn step(&mut self) -> Verdict {
        let Some(Reverse(Scheduled { at, event, .. })) = self.agenda.queue.pop() else {
            return Ok(());
        };
        self.note_time(at)?;
        if let Some(store) = event.store() {
            let until = self.due(store).paused_until;
            if until > self.now {
                self.schedule(until.since(self.now), event);
                return Ok(());
            }
        }
        self.record.summary.on_event(at, self.agenda.sequence);
        self.trace(|| event.to_string());
        let verdict = self.happen(event);
        self.judges.note(verdict);
        self.judges.violation().cloned().map_or(Ok(()), Err)
    }

    /// Virtual time.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// The regions, the guard region last.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// A store.
    #[must_use]
    pub fn store(&self, store: StoreId) -> &StoreNode {
        &self.stores[position(store)].0
    }

    /// Who leads a region in the newest term that has a leader which runs.
    #[must_use]
    pub fn leader(&self, region: RegionId) -> Option<(StoreId, Term)> {
        let roles =
            self.regions.iter().find(|it| it.id == region)?.peers.iter().filter_map(|peer| {
                let group = self.store(peer.store).replica(region)?.group();
                group.is_leader().then(|| (group.role().term, peer.store))
            });
        roles.max().map(|(term, store)| (store, term))
    }

    /// What happened so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let replicas = self
            .stores
            .iter()
            .flat_map(|(node, _)| self.regions.iter().filter_map(|region| node.replica(region.id)));
        let truncated =
            |index: Index| index.get().saturating_sub(flotilla_base::limit::FIRST_INDEX);
        Summary {
            failures: self.clients.iter().map(SimClient::failures).sum(),
            elections: self.judges.votes.election.elections(),
            in_place: self.marks().count(marks::LEASE_READ),
            pd: self.pd.marks(),
            truncated: replicas.map(|it| truncated(it.group().truncated().index)).sum(),
            ..self.record.summary
        }
    }

    /// Rare situations that were reached so far.
    #[must_use]
    pub const fn marks(&self) -> &Marks {
        &self.judges.lookout.marks
    }

    /// What the judges know.
    #[must_use]
    pub const fn judges(&self) -> &Judges {
        &self.judges
    }

    /// The plan as it is carried out.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many faults were due so far.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.chance.nemesis.next_number() - 1
    }

    /// The trace, where one is kept.
    #[must_use]
    pub fn trace_text(&self) -> &str {
        self.record.trace.as_deref().unwrap_or_default()
    }

    /// Time goes on. Where it does not, something is done again and again.
    fn note_time(&mut self, now: Moment) -> Verdict {
        self.agenda.at_once = if now > self.now { 0 } else { self.agenda.at_once + 1 };
        self.now = now;
        require(self.agenda.at_once < AT_ONCE_MAX, "liveness: time goes on", || {
            format!("{AT_ONCE_MAX} events in one moment")
        })
    }

    fn happen(&mut self, event: Event) -> Verdict {
        match event {
            Event::Message(message) => {
                let store = message.to.store;
                self.at_store(store, |node, desk| {
                    node.receive(message, desk);
                    Ok(())
                });
            }
            Event::Task(store, run, task) => {
                if self.store(store).run() == Some(run) {
                    return self.work(store, task);
                }
            }
            Event::Bootstrap(store, region) => self.bootstrap(store, region),
            Event::Request(store, request) => self.request(store, *request),
            Event::Part(store, stream, part) => self.part(store, stream, part),
            Event::Broken(store, stream) => self.slot(store).0.break_off(stream),
            Event::Answer(ticket, answer) => return self.answer(ticket, answer),
            Event::Begin(client) => self.ask(client),
            Event::Impatient(client, ticket) => self.lose_patience(client, ticket),
            Event::NextFault => self.next_fault(),
            Event::Strike(order, length) => self.strike(order, length),
            Event::Transfer => self.transfer(),
            Event::Split => self.split(),
            Event::Change => self.change(),
            Event::Mend(fault) => self.mend(fault),
            Event::Pd(event) => return self.at_pd(event),
        }
        Ok(())
    }

    fn work(&mut self, store: StoreId, task: Task) -> Verdict {
        let due = self.due(store);
        match task {
            Task::Turn => due.turn = false,
            Task::Apply => _ = due.works.remove(&Work::Apply),
            Task::Clean => _ = due.works.remove(&Work::Clean),
            Task::Step(lane) => due.steps.retain(|due| *due != lane),
            Task::Synced => {
                let number = due.sync.take().unwrap_or_default();
                self.at_store(store, |node, desk| node.synced(number, desk));
                return Ok(());
            }
            Task::Read(ticket, index) => return self.read(store, ticket, index),
            Task::View(ticket) => return self.view(store, ticket),
            Task::Serve(ticket) => return self.serve(store, ticket),
            Task::Staged(stream) => {
                self.staged(store, stream);
                return Ok(());
            }
            Task::Replace(region) => {
                self.replace(store, region);
                return Ok(());
            }
            Task::Fetch(fetch) => {
                let is_refused = self.chance.fetches.is_refused();
                self.at_store(store, |node, desk| node.fetch(&fetch, is_refused, desk));
                return Ok(());
            }
            Task::Pulse => return self.pulse(store),
            Task::Hear(from, run) => {
                self.hear(store, from, run);
                return Ok(());
            }
            Task::Alarm(..) | Task::Unreachable(..) | Task::SnapshotOver(..) => {}
        }
        self.at_store(store, |node, desk| {
            match task {
                Task::Turn => node.turn(desk),
                Task::Apply => return node.apply(desk),
                Task::Clean => node.clean(desk),
                Task::Step(lane) => {
                    node.step(lane, desk);
                }
                Task::Alarm(region, at) => node.ring(region, at),
                Task::Unreachable(region, peer) => node.unreachable(region, peer),
                Task::SnapshotOver(key, outcome) => node.end_view(key, outcome, desk),
                Task::Synced
                | Task::Read(..)
                | Task::View(_)
                | Task::Serve(_)
                | Task::Staged(_)
                | Task::Fetch(_)
                | Task::Pulse
                | Task::Hear(..)
                | Task::Replace(_) => {}
            }
            Ok(())
        });
        Ok(())
    }

    /// Lets a store do something, then carries out what came of it.
    fn at_store(
        &mut self,
        store: StoreId,
        act: impl FnOnce(&mut StoreNode, &mut Desk<'_>) -> Verdict,
    ) {
        let mut out = Vec::new();
        let node = &mut self.stores[position(store)].0;
        let mut desk = Desk {
            now: self.now,
            judges: &mut self.judges,
            out: &mut out,
            rng: &mut self.chance.schedule,
        };
        let verdict = act(node, &mut desk);
        self.judges.note(verdict);
        self.follow_map();
        // What is waited for comes first: a fault may take the messages of the very round.
        for given in &out {
            self.spring(store, given);
        }
        for given in out {
            self.carry_out(store, given);
        }
        if self.store(store).is_dead() {
            self.crash(store);
            self.restart_later(store);
        } else {
            self.set_to_work(store);
        }
    }

    fn carry_out(&mut self, store: StoreId, given: Out) {
        let node = self.store(store);
        let (Some(run), Some(incarnation)) = (node.run(), node.incarnation()) else { return };
        if matches!(given, Out::Send(_) | Out::Sign(_)) {
            self.judges.records.runs.on_said(store, incarnation);
        }
        match given {
            Out::Send(message) => self.send(run, message),
            Out::Alarm(region, local) => {
                if let Some(at) = self.slot(store).0.set_alarm(region, local)
                    && at != Moment::NEVER
                {
                    let task = Task::Alarm(region, at);
                    self.schedule(at.since(self.now), Event::Task(store, run, task));
                }
            }
            Out::Answer(ticket, Reply::ReadAt(index)) => {
                let delay = Span(self.chance.schedule.below(1 + self.plan.disk.apply_spread.0));
                self.schedule(delay, Event::Task(store, run, Task::Read(ticket, index)));
            }
            Out::Answer(ticket, reply) if is_change(ticket) => {
                self.on_change_answer(ticket, &reply);
            }
            Out::Answer(ticket, reply) if is_split(ticket) => self.on_split_answer(ticket, &reply),
            Out::Answer(ticket, reply) => self.tell(store, ticket, Answer::Reply(reply)),
            Out::Applies(_) => {}
            Out::View(key) => self.view_opened(store, run, key),
            Out::Stream(key, message, view) => self.stream((store, run), key, *message, *view),
            Out::Replace(region) => self.replace_later(store, run, region),
            Out::Fetch(fetch) => {
                let delay = self.chance.fetches.delay();
                self.schedule(delay, Event::Task(store, run, Task::Fetch(fetch)));
            }
            Out::Members(region) => self.report_at_once(store, region),
            Out::Lagging(region, peers) => self.note_lagging(store, region, peers),
            Out::Sign(to) => self.send_sign(store, incarnation, to),
            Out::Begun(ticket) => self.read_on(store, run, Task::View(ticket)),
            Out::Role(region, change) => {
                self.forget_lagging(store, region);
                self.report_at_once(store, region);
                self.trace(|| {
                    let flotilla_raftgroup::RoleChange { role, term, leader } = change;
                    let leader = leader.map(|peer| format!(" of peer {peer}")).unwrap_or_default();
                    format!("  store {store} region {region} is {role:?}{leader} in term {term}")
                });
            }
        }
    }

    fn set_to_work(&mut self, store: StoreId) {
        let (node, due) = &mut self.stores[position(store)];
        let Some(run) = node.run() else { return };
        let rng = &mut self.chance.schedule;
        let plan = &self.plan.disk;
        let mut begun = Vec::new();
        if node.wants_turn() && !std::mem::replace(&mut due.turn, true) {
            begun.push((Span(rng.below(plan.turn_spread.0 + 1)), Task::Turn));
        }
        if node.wants_apply() && due.works.insert(Work::Apply) {
            begun.push((Span(rng.below(plan.apply_spread.0 + 1)), Task::Apply));
        }
        if node.wants_clean() && due.works.insert(Work::Clean) {
            let spread = plan.snapshots.clean_spread;
            begun.push((self.chance.streams.delay(spread), Task::Clean));
        }
        if node.wants_sync() && due.sync.is_none() && !due.is_disk_hung {
            due.sync = Some(node.disk().written());
            let mut latency = plan.sync_min + Span(rng.below(plan.sync_spread.0 + 1));
            if rng.chance(plan.stall_permille) {
                latency = latency + Span(rng.below(plan.stall_max.0 + 1));
            }
            begun.push((latency, Task::Synced));
        }
        for lane in node.busy_lanes() {
            if !due.steps.contains(&lane) {
                due.steps.push(lane);
                begun.push((Span(rng.below(plan.step_spread.0 + 1)), Task::Step(lane)));
            }
        }
        for (delay, task) in begun {
            self.schedule(delay, Event::Task(store, run, task));
        }
    }

    fn send(&mut self, run: Run, message: Box<PeerMessage>) {
        let (from, to) = (message.from.store, message.to.store);
        match self.net.carry(from, to, self.now) {
            Fate::Arrives(delays) => {
                if self.net.is_clogged(from, to, self.now) {
                    self.judges.lookout.reach(marks::HELD_BACK);
                }
                for mut delay in delays {
                    if message.message.kind == MessageKind::TimeoutNow {
                        delay = delay + self.chance.reads.lateness();
                    }
                    self.schedule(delay, Event::Message(message.clone()));
                }
            }
            Fate::Lost { is_noticed } => {
                self.trace(|| format!("  lost: {}", Shown(&message)));
                if is_noticed {
                    let task = Task::Unreachable(message.region, message.to.id);
                    self.schedule(Span::from_millis(5), Event::Task(from, run, task));
                }
            }
        }
    }

    /// The bootstrap knows what it makes.
    fn found(&mut self, planned: Vec<Region>) {
        for region in &planned {
            self.judges.applied.lineage.found(region);
        }
        self.regions.clone_from(&planned);
        self.record.planned = planned;
    }

    fn region_of(&self, key: &[u8]) -> Option<&Region> {
        self.regions.iter().find(|region| region.range.contains(key))
    }

    fn schedule(&mut self, delay: Span, event: Event) {
        self.agenda.sequence += 1;
        let sequence = self.agenda.sequence;
        let scheduled = Scheduled { at: self.now + delay, sequence, event };
        self.agenda.queue.push(Reverse(scheduled));
    }

    fn slot(&mut self, store: StoreId) -> &mut (StoreNode, Due) {
        &mut self.stores[position(store)]
    }

    fn due(&mut self, store: StoreId) -> &mut Due {
        &mut self.slot(store).1
    }

    /// Something that people should see beside what clients saw.
    fn announce(&mut self, what: String) {
        self.trace(|| what.clone());
        self.judges.history.note(what, self.now);
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.record.trace {
            let _never_fails = writeln!(trace, "{:>14} {}", self.now.to_string(), line());
        }
    }
}

fn position(store: StoreId) -> usize {
    usize::try_from(store.get() - 1).unwrap_or(0)
}

fn number(ticket: Ticket) -> usize {
    usize::try_from(ticket.0).unwrap_or(0)
}

fn stores_of(plan: &Plan) -> Vec<(StoreNode, Due)> {
    let mut rng = Rng::lane(plan.seed, 8);
    let most = plan.clocks.wall_error_max.as_millis();
    let mut store = |id| {
        let mut wall = WallClock::default();
        let error = i64::try_from(rng.below(2 * most + 1)).unwrap_or(0);
        wall.jump(error - i64::try_from(most).unwrap_or(0));
        (StoreNode::new(StoreId(id), wall), Due::default())
    };
    (1..=plan.topology.stores).map(&mut store).collect()
}

/// The regions with keys side by side, and the guard region behind them.
fn regions(plan: &Plan) -> Vec<Region> {
    let count = plan.topology.regions.min(plan.load.keys);
    let border = |number: u64| match number {
        0 => bytes::Bytes::new(),
        _ if number == count => guard_border(),
        _ if number > count => bytes::Bytes::new(),
        _ => key_name(number * plan.load.keys / count),
    };
    let region = |number: u64| {
        let id = RegionId(FIRST_REGION.get() + number);
        let stores = plan.topology.stores;
        let peer = |step: u64| {
            let store = StoreId(1 + (number + step) % stores);
            let voter = Peer::voter(PeerId(id.get() * 100 + store.get()), store);
            if step < plan.topology.replicas {
                voter
            } else {
                Peer { role: PeerRole::Learner, ..voter }
            }
        };
        Region {
            id,
            range: KeyRange::new(border(number), border(number + 1)),
            epoch: Epoch::FIRST,
            peers: (0..plan.topology.replicas + plan.topology.learners).map(peer).collect(),
        }
    };
    (0..=count).map(region).collect()
}
