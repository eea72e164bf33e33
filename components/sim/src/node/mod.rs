//! One store: production replicas, appliers and region table, on a simulated disk. How it starts and how it
//! serves clients stand in the files below this one.

mod ends;
mod liveness;
mod serve;
mod snapshots;
mod start;

pub use liveness::Pulse;
pub use snapshots::PartFate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use flotilla_base::{
    Bug, Incarnation, KvRead, Moment, Peer, PeerId, Region, RegionId, Rng, Seeded, Span, StoreId,
};
use flotilla_multiraft::{
    Admission, Allowance, ApplyEffects, Claims, Effects, Held, Input, LogFetch, MemoryBudget,
    Notice, PeerMessage, RegionTable, Replica, ReplicaConfig, Reply, RequestError, Round,
    SharedLiveness, Slot, SplitClaim, SplitRequest,
};
use flotilla_raftgroup::{Fetched, GroupLimits, Timing};

use crate::clock::{LocalClock, WallClock};
use crate::disk::{BatchNumber, Loss, SimDisk};
use crate::event::{Run, Ticket};
use crate::hands::{Bench, Lane, LaneId, Out, Step, Works, complete};
use crate::judge::queues::Backlog;
use crate::judge::{Judges, Place, Verdict, require};
use crate::lookout::TurnWatch;
use crate::marks::{self, Marks};

/// A replica with its inbox.
#[derive(Debug)]
pub struct Cell {
    /// The replica.
    pub replica: Replica<Ticket>,
    inbox: VecDeque<Input<Ticket>>,
}

/// What is lost in a crash.
#[derive(Debug)]
pub struct Process {
    table: RegionTable,
    /// The replicas.
    pub cells: BTreeMap<RegionId, Cell>,
    works: Works,
    lanes: Lanes,
    clock: LocalClock,
    started_at: Moment,
    config: StoreConfig,
    /// When each region wants to be woken, in the world's time.
    alarms: BTreeMap<RegionId, Moment>,
    /// Regions that were not collected since too much waits for a sync.
    wants_room: BTreeSet<RegionId>,
    /// Which other stores live.
    liveness: SharedLiveness,
    pulse: Pulse,
    /// The first campaigns of its regions are spread over so much time.
    start_spread: Span,
}

/// What a store is configured with.
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// Seed of the store's draws.
    pub seed: u64,
    /// Times.
    pub timing: Timing,
    /// Bounds of its groups.
    pub limits: GroupLimits,
    /// What they may keep in memory together.
    pub memory: MemoryBudget,
    /// What is wrong on purpose.
    pub seeded: Seeded,
    /// Written rounds that may wait for a sync.
    pub rounds_max: usize,
    /// Views for snapshots that may be open.
    pub views_max: usize,
    /// Snapshots that are received at once.
    pub streams_max: usize,
    /// Threads that run replicas.
    pub workers: usize,
    /// Stores of the cluster.
    pub stores: u64,
    /// Whether time passes between two effects.
    pub is_stepped: bool,
}

/// The threads of a store.
#[derive(Debug, Default)]
struct Lanes {
    workers: Vec<Lane>,
    sync: Lane,
    apply: Lane,
}

fn note_shortage(held: Held, allowance: Allowance, marks: &mut Marks) {
    marks.reach_if(held.cached_bytes > allowance.cached_bytes, marks::CACHE_SHRUNK);
    marks.reach_if(held.backlog_bytes >= allowance.backlog_bytes, marks::APPLY_BEHIND);
}

/// What a store gets to see of the world.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The world's time.
    pub now: Moment,
    /// The judges.
    pub judges: &'a mut Judges,
    /// What the store gives back.
    pub out: &'a mut Vec<Out>,
    /// Draws of schedules.
    pub rng: &'a mut Rng,
}

/// One store.
#[derive(Debug)]
pub struct StoreNode {
    id: StoreId,
    disk: SimDisk,
    /// Its wall clock; restarts change nothing about it.
    pub wall: WallClock,
    run: Run,
    process: Option<Process>,
    doom: Option<u64>,
}

impl StoreNode {
    /// A store with an empty disk that was never started.
    #[must_use]
    pub fn new(id: StoreId, wall: WallClock) -> Self {
        Self { id, disk: SimDisk::default(), wall, run: Run(0), process: None, doom: None }
    }

    /// The current run, if the store runs.
    #[must_use]
    pub fn run(&self) -> Option<Run> {
        self.process.is_some().then_some(self.run)
    }

    /// By which number others know the current run, if the store runs.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.process.is_some().then(|| self.disk.ident.last())
    }

    /// Since when it runs, if it does.
    #[must_use]
    pub fn started_at(&self) -> Option<Moment> {
        self.process.as_ref().map(|process| process.started_at)
    }

    /// Its disk.
    #[must_use]
    pub const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Its disk, to break it.
    pub const fn disk_mut(&mut self) -> &mut SimDisk {
        &mut self.disk
    }

    /// The replica of a region, if the store runs and has it.
    #[must_use]
    pub fn replica(&self, region: RegionId) -> Option<&Replica<Ticket>> {
        self.process.as_ref()?.cells.get(&region).map(|cell| &cell.replica)
    }

    /// The regions whose damaged peers it keeps out of everything.
    #[must_use]
    pub fn quarantined(&self) -> Vec<RegionId> {
        let regions = self.process.as_ref().map(|process| &process.works.quarantined);
        regions.into_iter().flatten().copied().collect()
    }

    /// Lets the store die after so many further steps.
    pub fn doom(&mut self, steps: u64) {
        if self.process.is_some() {
            self.doom = Some(steps);
        }
    }

    /// Whether its last step was taken.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.doom == Some(0)
    }

    /// Its process or its machine is gone.
    pub fn crash(&mut self, now: Moment, rng: &mut Rng, judges: &mut Judges) -> Loss {
        if let Some(process) = &self.process {
            let has_spoken = judges.records.runs.has_spoken(self.id, self.disk.ident.last());
            let marks = &mut judges.lookout.marks;
            marks.reach_if(has_spoken && self.disk.ident.is_fresh(now), marks::SPOKEN_AND_GONE);
            let workers = &process.lanes.workers;
            marks.reach_if(!process.lanes.busy().is_empty(), marks::MID_ROUND_CRASH);
            let is_between = workers.iter().any(Lane::is_between_send_and_write);
            marks.reach_if(is_between, marks::SENT_NOT_WRITTEN);
        }
        self.process = None;
        self.doom = None;
        self.disk.ident.crash(now, rng);
        self.disk.crash(rng)
    }

    /// A message arrives.
    pub fn receive(&mut self, message: Box<PeerMessage>, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        let region = message.region;
        match process.table.admit(&message) {
            Admission::Drop(_) => return,
            Admission::Confirm => return process.confirm(&message, desk),
            Admission::Clear => return self.clear(&message),
            Admission::Deliver => {}
            Admission::Create(peer) => {
                let config = process.replica_config(self.id, &self.disk);
                process.create(region, peer, config, desk.now);
            }
        }
        process.post(region, Input::Message(message));
    }

    /// The placement driver's order arrives: again after each restart until the disk has the region.
    pub fn bootstrap(&mut self, region: &Region, leads: bool, desk: &Desk<'_>) {
        let (Some(process), Some(Peer { id: peer, .. })) =
            (&mut self.process, region.peer_on(self.id))
        else {
            return;
        };
        if process.table.slot(region.id).is_none() {
            let config = process.replica_config(self.id, &self.disk);
            process.create(region.id, peer, config, desk.now);
        }
        if process.table.initialise(peer, region).is_ok() {
            let region_id = region.id;
            process.post(region_id, Input::Bootstrap { region: Box::new(region.clone()), leads });
        }
    }

    /// Sets a region's alarm, in place of an earlier one. Returns the moment of the world at which it
    /// rings.
    pub fn set_alarm(&mut self, region: RegionId, local: Moment) -> Option<Moment> {
        let process = self.process.as_mut()?;
        let at = process.clock.world_moment(local);
        process.alarms.insert(region, at);
        Some(at)
    }

    /// An alarm rings, unless another has taken its place.
    pub fn ring(&mut self, region: RegionId, set_for: Moment) {
        let Some(process) = &mut self.process else { return };
        if process.alarms.get(&region) == Some(&set_for) {
            process.alarms.remove(&region);
            process.post(region, Input::Wake);
        }
    }

    /// Is not to die any more, and its disk is sound.
    pub fn spare(&mut self) {
        self.doom = None;
        self.disk.spare();
        self.disk.set_full(false);
    }

    /// The transport lost a message for sure.
    pub fn unreachable(&mut self, region: RegionId, peer: PeerId) {
        self.post(region, Input::Notice(Notice::Unreachable(peer)));
    }

    /// The placement driver wants another leader.
    pub fn transfer(&mut self, region: RegionId, to: PeerId) {
        self.post(region, Input::Transfer(Some(to)));
    }

    /// Somebody wants a region to be split.
    pub fn split(&mut self, region: RegionId, request: SplitRequest<Ticket>, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        let ticket = request.ticket;
        if !process.cells.contains_key(&region) {
            let reply = Reply::Failed(RequestError::RegionNotFound(region));
            complete(desk.judges, ticket, &reply);
            desk.out.push(Out::Answer(ticket, reply));
            return;
        }
        desk.judges.calls.on_arrival(ticket, self.id);
        process.post(region, Input::Split(Box::new(request)));
    }

    /// The process is asked to stop, and gives up this lead first.
    pub fn step_aside(&mut self, region: RegionId) {
        self.post(region, Input::Transfer(None));
    }

    /// Replicas take their inputs: all of them, or a random part. While too much waits for a sync nothing
    /// is collected.
    pub fn turn(&mut self, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        let Some(worker) = process.lanes.idle_worker() else { return };
        let now = process.clock.read(desk.now);
        let mut effects = Effects::default();
        let (mut committed, mut regions) = (BTreeMap::new(), BTreeSet::new());
        let takes_all = desk.rng.chance(700);
        let has_room = process.works.unsynced.len() < process.config.rounds_max;
        let mut held = process.held();
        for (region, cell) in &mut process.cells {
            let is_free = !cell.inbox.is_empty() && !process.lanes.is_busy(*region);
            if !is_free || !(takes_all || desk.rng.chance(500)) {
                continue;
            }
            regions.insert(*region);
            let count = if takes_all { u64::MAX } else { 1 + desk.rng.below(4) };
            let (place, gate) = (Place(self.id, *region), process.config.timing.gate);
            let mut watch = TurnWatch::begin(place, &cell.replica, now, gate);
            let before = cell.replica.held();
            let allowance = process.config.memory.allowance(held);
            note_shortage(before, allowance, &mut desk.judges.lookout.marks);
            cell.replica.allow(allowance);
            for _ in 0..count {
                let Some(input) = cell.inbox.pop_front() else { break };
                watch.before_input(&input, &cell.replica, desk.judges);
                let header = message_header(&input);
                cell.replica.handle(now, input, &mut effects);
                if let Some(header) = header {
                    watch.after_message(header, &cell.replica, desk.judges);
                }
            }
            if has_room {
                cell.replica.drain(now, &mut effects);
                let term = cell.replica.role().term;
                committed.insert(*region, (cell.replica.group().committed(), term));
            } else {
                process.wants_room.insert(*region);
                desk.judges.lookout.reach(marks::SYNCER_FULL);
            }
            watch.end(&cell.replica, &mut desk.judges.lookout);
            held = held.changed(before, cell.replica.held());
        }
        let mut lane = Lane::new(process.config.seeded);
        (lane.committed, lane.regions) = (committed, regions);
        Round::finish(&mut effects, &mut lane);
        lane.close();
        self.begin(LaneId::Raft(worker), lane, desk);
    }

    /// Appliers take their entries: all of them, or a random part.
    ///
    /// # Errors
    /// An applier cannot go on.
    pub fn apply(&mut self, desk: &mut Desk<'_>) -> Verdict {
        let Some(process) = &mut self.process else { return Ok(()) };
        let mut effects = ApplyEffects::default();
        let count = if desk.rng.chance(700) { usize::MAX } else { 1 };
        for _ in 0..count {
            let Some(task) = process.works.tasks.pop_front() else { break };
            let config = process.replica_config(self.id, &self.disk);
            let image = self.disk.image();
            let Process { table, cells, works, clock, .. } = process;
            let Some(applier) = works.appliers.get_mut(&task.region) else { continue };
            let marks = &mut desk.judges.lookout.marks;
            let mut slots = Slots { table, cells, marks, config, now: clock.read(desk.now) };
            let outcome = applier.apply(task, image.as_ref(), &mut effects, &mut slots);
            require(outcome.is_ok(), "I9: every committed entry can be applied", || {
                format!("{outcome:?}")
            })?;
        }
        let mut lane = Lane::new(process.config.seeded);
        effects.finish(&mut lane);
        lane.close();
        self.begin(LaneId::Apply, lane, desk);
        Ok(())
    }

    /// A sync ends: everything that was written when it began is durable. Where it failed the store dies.
    ///
    /// # Errors
    /// What is durable contradicts what was.
    pub fn synced(&mut self, number: BatchNumber, desk: &mut Desk<'_>) -> Verdict {
        let Some(process) = &mut self.process else { return Ok(()) };
        if self.disk.sync(number).is_err() {
            desk.judges.lookout.reach(marks::SYNC_FAILED);
            if !process.config.seeded.has(Bug::FSYNC_ERROR_RETRIED) {
                self.doom = Some(0);
                return Ok(());
            }
            self.disk.retry();
        }
        let regions: Vec<RegionId> = process.cells.keys().copied().collect();
        desk.judges.records.on_synced(self.id, &regions, self.disk.synced())?;
        desk.judges.votes.members.on_synced(self.id, &regions, self.disk.synced());
        let durable = process.works.unsynced.iter().take_while(|(batch, _)| *batch <= number);
        let durable: Vec<_> = process.works.unsynced.drain(..durable.count()).collect();
        let mut lane = Lane::new(process.config.seeded);
        for after in durable.into_iter().flat_map(|(_, after)| after) {
            lane.steps.push_back(Step::Deliver);
            after.deliver(&mut lane);
            lane.close();
        }
        process.make_room();
        self.begin(LaneId::Sync, lane, desk);
        Ok(())
    }

    /// Old log entries are read, unless there is no room for them.
    ///
    /// # Errors
    /// The disk has lost some of a sound log.
    pub fn fetch(&mut self, fetch: &LogFetch, is_refused: bool, desk: &mut Desk<'_>) -> Verdict {
        let Some(process) = &mut self.process else { return Ok(()) };
        let LogFetch { region, peer, order } = fetch;
        let fetched = if is_refused {
            Fetched::Refused
        } else {
            order.read(self.disk.image().as_ref()).expect("images are readable")
        };
        let marks = &mut desk.judges.lookout.marks;
        let group = process.cells.get(region).map(|cell| cell.replica.group());
        let is_for_lead =
            group.is_some_and(|it| it.is_leader() && it.role().term == order.number.term);
        let is_shortened = group.is_some_and(|it| it.truncated().index >= order.range.start);
        marks.reach_if(is_refused, marks::FETCH_REFUSED);
        marks.reach_if(!is_for_lead, marks::FETCH_LATE);
        marks.reach_if(is_for_lead && is_shortened, marks::FETCH_SHORTENED);
        marks.reach_if(is_for_lead && !is_refused && !is_shortened, marks::FETCHED);
        let is_lost = matches!(fetched, Fetched::Damaged(_)) && is_for_lead && !is_shortened;
        process.works.inputs.push((*region, *peer, Input::Fetched(order.number, fetched)));
        process.take_inputs();
        require(!is_lost || desk.judges.records.is_pardoned(self.id), "a log has no hole", || {
            format!("{}: {order:?}", Place(self.id, *region))
        })
    }

    /// A thread has something to do. Where steps take no time it does all of it now.
    fn begin(&mut self, id: LaneId, lane: Lane, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        *process.lanes.lane(id) = lane;
        if !process.config.is_stepped {
            while self.step(id, desk) {}
        }
    }

    /// A thread carries out its next step. Returns whether there is another one.
    pub fn step(&mut self, id: LaneId, desk: &mut Desk<'_>) -> bool {
        let Some(process) = &mut self.process else { return false };
        let body = (self.id, &mut self.disk, &mut self.doom);
        let mut bench = bench(body, (&mut process.works, process.clock), desk);
        let lane = process.lanes.lane(id);
        let lives = bench.step(lane);
        let has_more = !lane.is_idle();
        desk.judges.note(process.take_splits());
        process.take_claims();
        process.take_ends(&mut self.disk.stages, desk);
        process.take_inputs();
        process.close_quarantined();
        lives && has_more
    }

    /// Threads that have something to do.
    #[must_use]
    pub fn busy_lanes(&self) -> Vec<LaneId> {
        self.process.as_ref().map(|process| process.lanes.busy()).unwrap_or_default()
    }

    /// Whether replicas have inputs.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        let Some(Process { cells, lanes, .. }) = &self.process else { return false };
        let has_input =
            |(region, cell): (&RegionId, &Cell)| !cell.inbox.is_empty() && !lanes.is_busy(*region);
        lanes.idle_worker().is_some() && cells.iter().any(has_input)
    }

    /// Whether appliers have entries, and time for them.
    #[must_use]
    pub fn wants_apply(&self) -> bool {
        let Some(Process { works, lanes, .. }) = &self.process else { return false };
        !works.tasks.is_empty() && lanes.apply.is_idle()
    }

    /// Whether something is to be deleted that destroyed peers left.
    #[must_use]
    pub fn wants_clean(&self) -> bool {
        let Some(Process { works, .. }) = &self.process else { return false };
        !works.news.cleanups.is_empty() || !works.snapshots.cleaning.is_empty()
    }

    /// Whether something waits for a sync, and the syncer for something.
    #[must_use]
    pub fn wants_sync(&self) -> bool {
        let Some(Process { works, lanes, .. }) = &self.process else { return false };
        !works.unsynced.is_empty() && lanes.sync.is_idle()
    }

    /// What waits.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let Some(Process { cells, works, lanes, .. }) = &self.process else {
            return Backlog::default();
        };
        Backlog {
            steps: lanes.busy().len(),
            inputs: cells.values().map(|cell| cell.inbox.len()).sum(),
            tasks: works.tasks.len(),
            rounds: works.unsynced.len(),
            readys: cells.values().map(|cell| cell.replica.group().outstanding()).sum(),
            readings: works.readers.readings.len(),
            notices: works.inputs.len(),
            views: works.snapshots.views.len(),
            stages: self.disk.stages.count(),
        }
    }

    /// Every ticket of a write that still waits.
    pub fn close(&mut self) -> Vec<Ticket> {
        let cells = self.process.iter_mut().flat_map(|process| process.cells.values_mut());
        cells.flat_map(|cell| cell.replica.close()).collect()
    }

    fn post(&mut self, region: RegionId, input: Input<Ticket>) {
        if let Some(process) = &mut self.process {
            process.post(region, input);
        }
    }
}

impl Lanes {
    fn new(workers: usize) -> Self {
        Self { workers: (0..workers.max(1)).map(|_| Lane::default()).collect(), ..Self::default() }
    }

    fn lane(&mut self, id: LaneId) -> &mut Lane {
        match id {
            LaneId::Raft(worker) => &mut self.workers[worker],
            LaneId::Sync => &mut self.sync,
            LaneId::Apply => &mut self.apply,
        }
    }

    fn idle_worker(&self) -> Option<usize> {
        self.workers.iter().position(Lane::is_idle)
    }

    /// Whether a worker runs the replica of a region.
    fn is_busy(&self, region: RegionId) -> bool {
        self.workers.iter().any(|lane| !lane.is_idle() && lane.regions.contains(&region))
    }

    fn busy(&self) -> Vec<LaneId> {
        let workers = self.workers.iter().enumerate().map(|(at, lane)| (LaneId::Raft(at), lane));
        let others = [(LaneId::Sync, &self.sync), (LaneId::Apply, &self.apply)];
        let busy = workers.chain(others).filter(|(_, lane)| !lane.is_idle());
        busy.map(|(id, _)| id).collect()
    }
}

impl Process {
    /// What all replicas hold in memory.
    fn held(&self) -> Held {
        let replicas = self.cells.values().map(|cell| cell.replica.held());
        replicas.fold(Held::default(), |sum, held| sum.changed(Held::default(), held))
    }

    fn replica_config(&self, store: StoreId, disk: &SimDisk) -> ReplicaConfig {
        ReplicaConfig {
            store,
            seed: self.config.seed,
            run: disk.ident.last().get(),
            timing: self.config.timing,
            limits: self.config.limits,
            seeded: self.config.seeded,
            liveness: self.liveness.clone(),
            start_spread: self.start_spread,
            disk: Arc::clone(disk.image()) as Arc<dyn KvRead + Send + Sync>,
        }
    }

    fn create(&mut self, region: RegionId, peer: PeerId, config: ReplicaConfig, now: Moment) {
        let now = self.clock.read(now);
        if let Ok(replica) = Replica::uninitialised(config, region, peer, now)
            && self.table.create_uninitialised(region, peer).is_ok()
        {
            self.add(region, replica);
        }
    }

    fn add(&mut self, region: RegionId, replica: Replica<Ticket>) {
        // The first turn sets the first alarm.
        let inbox = VecDeque::from([Input::Wake]);
        self.cells.insert(region, Cell { replica, inbox });
    }

    fn post(&mut self, region: RegionId, input: Input<Ticket>) {
        if let Some(cell) = self.cells.get_mut(&region) {
            cell.inbox.push_back(input);
        }
    }

    /// All ranges change in one step; then the children hear that they live.
    fn take_splits(&mut self) -> Verdict {
        for (parent, births) in std::mem::take(&mut self.works.news.splits) {
            let children: Vec<_> = births.iter().map(|it| (it.peer, &it.region)).collect();
            let outcome = self.table.split(&parent, &children);
            require(outcome.is_ok(), "I5: ranges are disjoint", || format!("{outcome:?}"))?;
            for birth in births {
                self.post(birth.region.id, Input::Born(Box::new(birth)));
            }
        }
        Ok(())
    }

    fn take_inputs(&mut self) {
        for (region, peer, input) in std::mem::take(&mut self.works.inputs) {
            if self.cells.get(&region).is_some_and(|cell| cell.replica.peer() == peer) {
                self.post(region, input);
            }
        }
    }

    /// Wakes those which were refused, once there is room.
    fn make_room(&mut self) {
        if self.works.unsynced.len() < self.config.rounds_max {
            for region in std::mem::take(&mut self.wants_room) {
                self.post(region, Input::Wake);
            }
        }
    }

    fn close_quarantined(&mut self) {
        for region in &self.works.quarantined {
            if let Some(cell) = self.cells.get(region) {
                if matches!(self.table.slot(*region), Some(Slot::Installing(..))) {
                    self.works.news.cleanups.append(&mut self.works.snapshots.postponed);
                }
                self.table.quarantine(*region, cell.replica.peer());
            }
        }
    }
}

/// Slots and cells as an applier sees them.
struct Slots<'a> {
    table: &'a mut RegionTable,
    cells: &'a mut BTreeMap<RegionId, Cell>,
    marks: &'a mut Marks,
    config: ReplicaConfig,
    now: Moment,
}

impl Claims for Slots<'_> {
    fn claim(&mut self, region: RegionId, peer: PeerId) -> bool {
        match self.table.claim_split(region, peer) {
            SplitClaim::Create => {}
            SplitClaim::Held => {
                let cell = self.cells.get(&region);
                let has_promised = cell.is_some_and(|it| it.replica.role().term.get() > 0);
                self.marks.reach_if(has_promised, marks::SPLIT_AFTER_VOTE);
                return true;
            }
            SplitClaim::Skip => {
                let is_buried = self.table.tombstone(region).is_some();
                self.marks.reach_if(is_buried, marks::SPLIT_ONTO_TOMBSTONE);
                return false;
            }
        }
        let Ok(replica) = Replica::uninitialised(self.config.clone(), region, peer, self.now)
        else {
            return false;
        };
        self.cells.insert(region, Cell { replica, inbox: VecDeque::new() });
        true
    }
}

/// Kind, sender and term of a message.
fn message_header(
    input: &Input<Ticket>,
) -> Option<(flotilla_raftgroup::MessageKind, PeerId, flotilla_base::Term)> {
    let Input::Message(message) = input else { return None };
    Some((message.message.kind, message.message.from, message.message.term))
}

/// What a step of a store may touch: the store, what its process has in the works, and the world's desk.
fn bench<'a>(
    (store, disk, doom): (StoreId, &'a mut SimDisk, &'a mut Option<u64>),
    (works, clock): (&'a mut Works, LocalClock),
    desk: &'a mut Desk<'_>,
) -> Bench<'a> {
    let time = (desk.now, clock);
    Bench { store, disk, works, doom, judges: desk.judges, out: desk.out, time }
}
