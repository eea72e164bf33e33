//! One store: production replicas, appliers, region table and recovery, on a simulated disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flotilla_base::{Index, KvRead, Moment, Peer, PeerId, Region, RegionId, Rng, StoreId};
use flotilla_multiraft::{
    Admission, Applier, ApplyEffects, Effects, Input, PeerMessage, Proposal, ReadRequest,
    RecoveredPeer, RegionTable, Replica, ReplicaConfig, Reply, RequestError, RequestHeader, Round,
    WriteCommand, recover_store,
};
use flotilla_raftgroup::{GroupLimits, Timing, disk};

use crate::clock::LocalClock;
use crate::disk::SimDisk;
use crate::event::{Request, Run, Ticket};
use crate::hands::{ApplyHands, Bench, DeliveryHands, Out, RoundHands, Works, complete};
use crate::judge::rounds::{DeliveryJudge, RoundJudge};
use crate::judge::{Judges, Verdict, require};
use crate::reads::{ReadKind, Reading};

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
    clock: LocalClock,
    config: ReplicaConfigSeed,
    /// When each region wants to be woken, in the world's time.
    alarms: BTreeMap<RegionId, Moment>,
}

/// What a replica's configuration is made of.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaConfigSeed {
    /// Seed of the store's draws.
    pub seed: u64,
    /// Times.
    pub timing: Timing,
    /// Bounds.
    pub limits: GroupLimits,
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
    run: Run,
    process: Option<Process>,
    doom: Option<u64>,
}

impl StoreNode {
    /// A store with an empty disk that was never started.
    #[must_use]
    pub fn new(id: StoreId) -> Self {
        Self { id, disk: SimDisk::default(), run: Run(0), process: None, doom: None }
    }

    /// The current run, if the store runs.
    #[must_use]
    pub fn run(&self) -> Option<Run> {
        self.process.is_some().then_some(self.run)
    }

    /// Its disk.
    #[must_use]
    pub const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// What runs, if the store runs.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// The replica of a region, if the store runs and has it.
    #[must_use]
    pub fn replica(&self, region: RegionId) -> Option<&Replica<Ticket>> {
        self.process.as_ref()?.cells.get(&region).map(|cell| &cell.replica)
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

    /// Loses power. Returns how many written batches are gone.
    pub fn crash(&mut self, rng: &mut Rng) -> usize {
        self.process = None;
        self.doom = None;
        self.disk.crash(rng)
    }

    /// Starts from what the disk holds.
    ///
    /// # Errors
    /// What is on disk is not what a crash may leave.
    pub fn start(
        &mut self,
        clock: LocalClock,
        config: ReplicaConfigSeed,
        desk: &mut Desk<'_>,
    ) -> Verdict {
        self.run = Run(self.run.0 + 1);
        let mut process = Process {
            table: RegionTable::new(self.id),
            cells: BTreeMap::new(),
            works: Works::default(),
            clock,
            config,
            alarms: BTreeMap::new(),
        };
        let now = clock.read(desk.now);
        let image = Arc::clone(self.disk.image());
        let found = recover_store(image.as_ref()).unwrap_or_default();
        let regions: Vec<RegionId> = found.iter().map(region_of).collect();
        desk.judges.logs.on_synced(self.id, &regions, image.as_ref())?;
        for peer in found {
            let region = region_of(&peer);
            match &peer {
                RecoveredPeer::Normal { peer, region, apply, .. } => {
                    image.look(|layer| desk.judges.applied.check_data(self.id, region, layer))?;
                    desk.judges.applied.on_start(self.id, region.id, apply.applied.index);
                    let claim = process.table.initialise(*peer, region);
                    require(claim.is_ok(), "I5: ranges are disjoint", || format!("{claim:?}"))?;
                    let applied = apply.applied.index;
                    process.works.readers.visible.insert(region.id, applied);
                    let applier = Applier::new(region.clone(), *peer, *apply);
                    process.works.appliers.insert(region.id, applier);
                }
                RecoveredPeer::Uninitialised { region, peer, .. } => {
                    let claim = process.table.create_uninitialised(*region, *peer);
                    require(claim.is_ok(), "I6: one peer per region", || format!("{claim:?}"))?;
                }
                RecoveredPeer::Damaged { cause, .. } => {
                    require(false, "I4: a crash damages nothing", || cause.clone())?;
                }
            }
            let config = process.replica_config(self.id, self.run, &self.disk);
            let replica = Replica::restart(config, peer, now).ok().flatten();
            if let Some(replica) = replica {
                process.add(region, replica);
            }
        }
        self.process = Some(process);
        Ok(())
    }

    /// A message arrives.
    pub fn receive(&mut self, message: Box<PeerMessage>, desk: &Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        let region = message.region;
        match process.table.admit(&message) {
            Admission::Drop(_) => return,
            Admission::Deliver => {}
            Admission::Create(peer) => {
                let config = process.replica_config(self.id, self.run, &self.disk);
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
            let config = process.replica_config(self.id, self.run, &self.disk);
            process.create(region.id, peer, config, desk.now);
        }
        if process.table.initialise(peer, region).is_ok() {
            let region_id = region.id;
            process.post(region_id, Input::Bootstrap { region: Box::new(region.clone()), leads });
        }
    }

    /// A request arrives; `None` where nobody listens.
    pub fn request(&mut self, request: Request, desk: &mut Desk<'_>) -> Option<()> {
        let process = self.process.as_mut()?;
        let Request { ticket, region, key, value, kind } = request;
        let Some(shape) = process.table.regions().find(|live| live.id == region).cloned() else {
            let reply = Reply::Failed(RequestError::RegionNotFound(region));
            complete(desk.judges, ticket, &reply);
            desk.out.push(Out::Answer(ticket, reply));
            return Some(());
        };
        let header = RequestHeader { version: shape.epoch.version, ..RequestHeader::default() };
        if kind == ReadKind::InPlace
            && value.is_none()
            && let Some(read) = process.works.readers.begin(region, &header)
        {
            let floor = desk.judges.register.floor(&key);
            let reading = Reading { read, region, key, header, floor, view: None };
            process.works.readers.readings.insert(ticket, reading);
            desk.out.push(Out::Begun(ticket));
            return Some(());
        }
        let input = match value {
            None if kind == ReadKind::Replica => Input::ReplicaRead(ReadRequest { header, ticket }),
            None => Input::Read(ReadRequest { header, ticket }),
            Some(value) => {
                let mutation = flotilla_base::Mutation::Put(flotilla_base::Family::Raw, key, value);
                let command = WriteCommand {
                    version: header.version,
                    clock_millis: desk.now.0 / 1_000_000,
                    mutations: vec![mutation],
                };
                Input::Propose(Box::new(Proposal { header, command, ticket }))
            }
        };
        process.post(region, input);
        Some(())
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

    /// Is not to die any more.
    pub fn spare(&mut self) {
        self.doom = None;
    }

    /// The transport lost a message for sure.
    pub fn unreachable(&mut self, region: RegionId, peer: PeerId) {
        self.post(region, Input::Unreachable(peer));
    }

    /// Replicas take their inputs: all of them, or a random part.
    pub fn turn(&mut self, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        let now = process.clock.read(desk.now);
        let mut effects = Effects::default();
        let mut committed = BTreeMap::new();
        let takes_all = desk.rng.chance(700);
        for (region, cell) in &mut process.cells {
            if cell.inbox.is_empty() || !(takes_all || desk.rng.chance(500)) {
                continue;
            }
            let count = if takes_all { u64::MAX } else { 1 + desk.rng.below(4) };
            for _ in 0..count {
                let Some(input) = cell.inbox.pop_front() else { break };
                cell.replica.handle(now, input, &mut effects);
            }
            cell.replica.drain(now, &mut effects);
            committed.insert(*region, cell.replica.group().committed());
        }
        let bench = Bench {
            store: self.id,
            disk: &mut self.disk,
            works: &mut process.works,
            doom: &mut self.doom,
            judges: desk.judges,
            out: desk.out,
        };
        let time = (desk.now, process.clock);
        let mut hands = RoundHands { bench, committed, round: RoundJudge::default(), time };
        Round::finish(&mut effects, &mut hands);
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
            let Some(applier) = process.works.appliers.get_mut(&task.region) else { continue };
            let outcome = applier.apply(task, &mut effects);
            require(outcome.is_ok(), "I9: every committed entry can be applied", || {
                format!("{outcome:?}")
            })?;
        }
        let bench = Bench {
            store: self.id,
            disk: &mut self.disk,
            works: &mut process.works,
            doom: &mut self.doom,
            judges: desk.judges,
            out: desk.out,
        };
        effects.finish(&mut ApplyHands { bench, is_written: false });
        process.take_inputs();
        Ok(())
    }

    /// A sync ends: everything that was written when it began is durable.
    pub fn synced(&mut self, number: crate::disk::BatchNumber, desk: &mut Desk<'_>) -> Verdict {
        let Some(process) = &mut self.process else { return Ok(()) };
        self.disk.sync(number);
        let regions: Vec<RegionId> = process.cells.keys().copied().collect();
        desk.judges.logs.on_synced(self.id, &regions, self.disk.synced())?;
        let durable = process.works.unsynced.iter().take_while(|(batch, _)| *batch <= number);
        let durable: Vec<_> = process.works.unsynced.drain(..durable.count()).collect();
        let mut bench = Bench {
            store: self.id,
            disk: &mut self.disk,
            works: &mut process.works,
            doom: &mut self.doom,
            judges: desk.judges,
            out: desk.out,
        };
        for after in durable.into_iter().flat_map(|(_, after)| after) {
            let delivery = DeliveryJudge::default();
            after.deliver(&mut DeliveryHands { bench: &mut bench, delivery });
        }
        process.take_inputs();
        Ok(())
    }

    /// Reads a key as of now; also where the data stands.
    ///
    /// # Errors
    /// The data is older than a confirmed read may see.
    pub fn read(
        &self,
        region: RegionId,
        key: &[u8],
        at: Index,
    ) -> Result<(Option<bytes::Bytes>, Index), crate::Violation> {
        let image = self.disk.image();
        let applied = disk::read_apply_state(image.as_ref(), region)
            .ok()
            .flatten()
            .map(|state| state.applied.index)
            .unwrap_or_default();
        require(applied >= at, "a confirmed read finds its data", || {
            format!("store {} region {region}: {applied} is applied, {at} was promised", self.id)
        })?;
        let value = image.get(flotilla_base::Family::Raw, key).unwrap_or_default();
        Ok((value, applied))
    }

    /// A read in place takes its view.
    ///
    /// # Errors
    /// The data is older than the reading thread was told.
    pub fn take_view(&mut self, ticket: Ticket) -> Verdict {
        let readings = self.process.as_ref().map(|process| &process.works.readers.readings);
        let Some(reading) = readings.and_then(|readings| readings.get(&ticket)) else {
            return Ok(());
        };
        let (region, key) = (reading.region, reading.key.clone());
        let view = self.read(region, &key, Index(0))?;
        if let Some(process) = &mut self.process
            && let Some(reading) = process.works.readers.readings.get_mut(&ticket)
        {
            reading.view = Some(view);
        }
        Ok(())
    }

    /// A read in place comes to its end; where it may not be served the replica is asked instead.
    pub fn finish_reading(&mut self, ticket: Ticket, now: Moment) -> Option<Reading> {
        let process = self.process.as_mut()?;
        let reading = process.works.readers.readings.remove(&ticket)?;
        let now = process.clock.read(now);
        let delegate = process.works.readers.delegates.get(&reading.region)?;
        if reading.read.finish(now, delegate).is_ok() {
            return Some(reading);
        }
        let header = reading.header;
        process.post(reading.region, Input::Read(ReadRequest { header, ticket }));
        None
    }

    /// The placement driver wants another leader.
    pub fn transfer(&mut self, region: RegionId, to: PeerId) {
        self.post(region, Input::Transfer(to));
    }

    /// Whether replicas have inputs.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.cells.values().any(|cell| !cell.inbox.is_empty()))
    }

    /// Whether appliers have entries.
    #[must_use]
    pub fn wants_apply(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.works.tasks.is_empty())
    }

    /// Whether something waits for a sync.
    #[must_use]
    pub fn wants_sync(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.works.unsynced.is_empty())
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

impl Process {
    fn replica_config(&self, store: StoreId, run: Run, disk: &SimDisk) -> ReplicaConfig {
        ReplicaConfig {
            store,
            seed: self.config.seed,
            run: run.0,
            timing: self.config.timing,
            limits: self.config.limits,
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

    fn take_inputs(&mut self) {
        for (region, peer, input) in std::mem::take(&mut self.works.inputs) {
            if self.cells.get(&region).is_some_and(|cell| cell.replica.peer() == peer) {
                self.post(region, input);
            }
        }
    }
}

fn region_of(peer: &RecoveredPeer) -> RegionId {
    match peer {
        RecoveredPeer::Uninitialised { region, .. } | RecoveredPeer::Damaged { region, .. } => {
            *region
        }
        RecoveredPeer::Normal { region, .. } => region.id,
    }
}
