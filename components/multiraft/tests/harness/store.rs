//! One store: replicas, appliers, a disk, and a host that writes down what it is asked to do.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{
    Family, Index, Key, Moment, Mutation, PeerId, Region, RegionId, Seeded, Span, StoreId, Version,
};
use flotilla_multiraft::{
    Admission, AfterPersist, Allowance, Applied, Applier, ApplyEffects, ApplyHost, ApplyTask,
    ChangePeers, ChangeRequest, Claims, Cleaning, Cleanup, Delegate, Delivery, Effects, Guard,
    Held, Host, Input, InstallEffect, Liveness, LocalRead, LogFetch, LogWrite, MembersChanged,
    MembershipInput, Notice, PeerChange, PeerMessage, Proposal, ReadRequest, RecoveredPeer,
    RegionTable, Replica, ReplicaConfig, Reply, Report, RequestError, RequestHeader, Round,
    SharedLiveness, SnapshotEffect, SplitClaim, SplitCommand, SplitDone, SplitRequest,
    WriteCommand, recover_remains, recover_store,
};
use flotilla_raftgroup::{GroupLimits, LogLimits, ReadyNumber, Timing, disk::entry_key};

use super::{disk::Disk, show, snapshots::Snapshots};

pub(crate) type Ticket = String;

/// A write of one key.
pub(crate) struct Put {
    pub(crate) key: String,
    pub(crate) value: String,
    /// What the key must have for it: a value or nothing.
    pub(crate) over: Option<Option<String>>,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) id: StoreId,
    run: u64,
    /// Their slots stay taken, as in the region table: no message makes a new peer in them.
    damaged: BTreeSet<RegionId>,
    /// It has crashed, and hears nothing.
    pub(crate) is_down: bool,
    cleanups: Vec<Cleanup>,
    cleanings: Vec<Cleaning>,
    pub(crate) disk: Disk,
    pub(crate) replicas: BTreeMap<RegionId, Replica<Ticket>>,
    appliers: BTreeMap<RegionId, Applier>,
    inputs: Vec<(RegionId, Input<Ticket>)>,
    tasks: Vec<ApplyTask<Ticket>>,
    /// What readers see: permits, and how far the data is.
    delegates: BTreeMap<RegionId, Delegate>,
    visible: BTreeMap<RegionId, Index>,
    reading: Option<LocalRead>,
    unsynced: Vec<AfterPersist>,
    pub(crate) table: RegionTable,
    pub(crate) snapshots: Snapshots,
    /// What its groups keep, and when they sleep.
    pub(crate) limits: Limits,
    liveness: View,
}

/// Bounds of the groups of a store.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How much of a log is kept.
    pub(crate) log: LogLimits,
    /// Heartbeats without a request before a region sleeps.
    pub(crate) idle_beats: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { log: LogLimits::default(), idle_beats: GroupLimits::NEVER_SLEEPS }
    }
}

/// Which other stores live.
struct View(SharedLiveness);

impl Default for View {
    fn default() -> Self {
        Self(SharedLiveness::new(Liveness::new(Timing::default(), Seeded::NONE, Moment(0))))
    }
}

/// Writes down each call, in the order of the calls.
struct Recorder<'a> {
    store: &'a mut Store,
    lines: &'a mut Vec<String>,
    sent: Vec<PeerMessage>,
}

impl Store {
    pub(crate) fn new(id: StoreId, limits: Limits) -> Self {
        Self { id, limits, table: RegionTable::new(id), ..Self::default() }
    }

    /// The run of this store that gives signs of life, if it runs.
    pub(crate) fn living_run(&self) -> Option<u64> {
        (!self.is_down).then_some(self.run)
    }

    /// A sign of life of another store arrives.
    pub(crate) fn hear(&mut self, from: StoreId, run: u64, now: Moment) {
        if !self.is_down && self.liveness.0.change(|liveness| liveness.hear(from, run, now)) {
            self.tell_of(from);
        }
    }

    /// Looks for signs of other stores.
    pub(crate) fn judge(&mut self, now: Moment, lines: &mut Vec<String>) {
        for store in self.liveness.0.change(|liveness| liveness.judge(now)) {
            lines.push(format!("store {store} is silent"));
            self.tell_of(store);
        }
    }

    /// It learns that another store never runs again.
    pub(crate) fn bury(&mut self, store: StoreId) {
        self.liveness.0.change(|liveness| liveness.bury(store));
    }

    fn tell_of(&mut self, store: StoreId) {
        self.post_all(|| Input::Notice(Notice::StoreChanged { store, spread: Span::ZERO }));
    }

    /// An entry of a log on the disk is no entry any more.
    pub(crate) fn spoil(&mut self, region: RegionId, index: Index) {
        let key = entry_key(region, index);
        self.disk.write(vec![Mutation::Put(Family::RaftLog, key, "damaged".into())]);
    }

    /// The regions whose replicas here sleep.
    pub(crate) fn asleep(&self) -> String {
        let asleep = self.replicas.iter().filter(|(_, replica)| replica.is_asleep());
        let shown = asleep.map(|(region, replica)| match replica.sleeps_on() {
            None => format!("region {region} sleeps and leads"),
            Some((store, run)) => format!("region {region} sleeps on store {store}, run {run}"),
        });
        let shown: Vec<String> = shown.collect();
        if shown.is_empty() { "all are awake".to_owned() } else { shown.join("\n") }
    }

    pub(crate) fn bootstrap(&mut self, region: &Region, now: Moment) -> Result<(), Box<dyn Error>> {
        let peer = region.peer_on(self.id).ok_or("not a member")?.id;
        self.create(region.id, peer, now)?;
        self.table.initialise(peer, region)?;
        let leads = region.peers.first().is_some_and(|first| first.id == peer);
        self.post(region.id, Input::Bootstrap { region: Box::new(region.clone()), leads });
        Ok(())
    }

    pub(crate) fn receive(
        &mut self,
        message: PeerMessage,
        now: Moment,
    ) -> Result<Option<PeerMessage>, Box<dyn Error>> {
        if self.is_down || self.damaged.contains(&message.region) {
            return Ok(None);
        }
        match self.table.admit(&message) {
            Admission::Confirm => return Ok(Some(self.table.confirm(&message))),
            Admission::Drop(reason) if self.table.tombstone(message.region).is_some() => {
                return Err(format!("dropped: {reason:?}").into());
            }
            _ => {}
        }
        self.create(message.region, message.to.id, now)?;
        self.post(message.region, Input::Message(Box::new(message)));
        Ok(None)
    }

    pub(crate) fn post_all(&mut self, input: impl Fn() -> Input<Ticket>) {
        self.inputs.extend(self.replicas.keys().map(|region| (*region, input())));
    }

    pub(crate) fn put(&mut self, region: RegionId, put: Put, version: u64, ticket: Ticket) {
        let version = Version(version);
        let header = RequestHeader { version, ..RequestHeader::default() };
        let Put { key, value, over } = put;
        let key = Key::from(key);
        let guard = over.map(|stored| Guard {
            family: Family::Raw,
            key: key.clone(),
            stored: stored.map(Bytes::from),
        });
        let mutations = vec![Mutation::Put(Family::Raw, key, value.into())];
        let command = WriteCommand { version, clock_millis: 1, guard, mutations };
        self.post(region, Input::Propose(Box::new(Proposal { header, command, ticket })));
    }

    pub(crate) fn get(&mut self, region: RegionId, ticket: Ticket) {
        let header = RequestHeader { version: Version(1), ..RequestHeader::default() };
        self.post(region, Input::Read(ReadRequest { header, ticket }));
    }

    pub(crate) fn replica_get(&mut self, region: RegionId, ticket: Ticket) {
        let header = RequestHeader { version: Version(1), ..RequestHeader::default() };
        self.post(region, Input::ReplicaRead(ReadRequest { header, ticket }));
    }

    pub(crate) fn split(&mut self, region: RegionId, command: SplitCommand, ticket: Ticket) {
        let request = SplitRequest { peer: PeerId(0), command, ticket };
        self.post(region, Input::Split(Box::new(request)));
    }

    /// Somebody wants other members; without a version that of the replica here is meant.
    pub(crate) fn change(
        &mut self,
        region: RegionId,
        changes: Vec<PeerChange>,
        conf_ver: Option<u64>,
        ticket: Ticket,
    ) {
        let mut epoch = self.epoch(region);
        epoch.conf_ver = conf_ver.map_or(epoch.conf_ver, Into::into);
        let command = ChangePeers { epoch, changes };
        let request = ChangeRequest { peer: PeerId(0), command, ticket };
        self.tell(region, MembershipInput::ChangePeers(request));
    }

    fn tell(&mut self, region: RegionId, input: MembershipInput<Ticket>) {
        self.post(region, Input::Membership(Box::new(input)));
    }

    /// Sets aside what nobody owns of what is to be cleaned.
    pub(crate) fn begin_cleaning(&mut self, lines: &mut Vec<String>) {
        for cleanup in std::mem::take(&mut self.cleanups) {
            match self.table.begin_cleaning(&cleanup) {
                Some(cleaning) => self.cleanings.push(cleaning),
                None => {
                    lines.push(format!("clean later {}", cleanup.range));
                    self.cleanups.push(cleanup);
                }
            }
        }
    }

    /// Deletes it.
    pub(crate) fn end_cleaning(&mut self, lines: &mut Vec<String>) {
        for cleaning in std::mem::take(&mut self.cleanings) {
            let shown = self.write(cleaning.batch());
            lines.push(format!("clean {shown}"));
            self.table.end_cleaning(cleaning);
        }
    }

    /// Members as the replicas here know them, and what is left of destroyed ones.
    pub(crate) fn members(&self) -> String {
        let mut shown: Vec<String> =
            self.replicas.values().map(|it| show::members(it.region())).collect();
        let view = self.disk.view.as_ref();
        for region in self.replicas.keys() {
            let removed = flotilla_multiraft::read_removed(view, *region).expect("sound");
            let removed = removed.iter().map(|peer| peer.id.to_string());
            let removed: Vec<String> = removed.collect();
            if !removed.is_empty() {
                shown.push(format!("region {region} removed: {}", removed.join(", ")));
            }
        }
        let remains = recover_remains(view).expect("sound");
        for (region, tombstone) in &remains.tombstones {
            let (next, epoch) = (tombstone.min_next, tombstone.epoch);
            shown.push(format!("region {region} is buried up to {epoch}, next is {next} or later"));
        }
        let cleanups = remains.cleanups.iter();
        shown.extend(cleanups.map(|it| format!("to clean: {} of region {}", it.range, it.region)));
        shown.join("\n")
    }

    /// What a key has here, in whichever region.
    pub(crate) fn value(&self, key: &str) -> String {
        use flotilla_base::KvRead;
        let found = self.disk.view.get(Family::Raw, key.as_bytes()).expect("readable");
        found.map_or_else(|| "nothing".to_owned(), |it| flotilla_base::key::display(&it))
    }

    /// The shape of a region as the replica here sees it.
    pub(crate) fn epoch(&self, region: RegionId) -> flotilla_base::Epoch {
        self.replicas.get(&region).map(|it| it.region().epoch).unwrap_or_default()
    }

    /// Where the replica here sees members.
    pub(crate) fn stores_of(&self, region: RegionId) -> Vec<StoreId> {
        let replica = self.replicas.get(&region);
        let peers = replica.map(|it| it.region().peers.clone()).unwrap_or_default();
        peers.into_iter().map(|peer| peer.store).collect()
    }

    fn destroy(&mut self, region: RegionId) {
        self.replicas.remove(&region);
        self.appliers.remove(&region);
        self.delegates.remove(&region);
        self.visible.remove(&region);
    }

    pub(crate) fn transfer(&mut self, region: RegionId, to: PeerId) {
        self.post(region, Input::Transfer(Some(to)));
    }

    pub(crate) fn step_aside(&mut self, region: RegionId) {
        self.post(region, Input::Transfer(None));
    }

    /// The first half of a read in place.
    pub(crate) fn begin_read(&mut self, region: RegionId) -> String {
        let header = RequestHeader { version: Version(1), ..RequestHeader::default() };
        let delegate = self.delegates.get(&region).copied().unwrap_or_default();
        let applied = self.visible.get(&region).copied().unwrap_or_default();
        match LocalRead::begin(&delegate, &header, applied) {
            Ok(read) => {
                self.reading = Some(read);
                "a view of the data is taken".to_owned()
            }
            Err(error) => error.to_string(),
        }
    }

    /// The second half.
    pub(crate) fn finish_read(&mut self, region: RegionId, now: Moment) -> String {
        let delegate = self.delegates.get(&region).copied().unwrap_or_default();
        let read = self.reading.take().expect("a read was begun");
        read.finish(now, &delegate).map_or_else(|error| error.to_string(), |()| "served".to_owned())
    }

    pub(crate) fn turn(&mut self, now: Moment, lines: &mut Vec<String>) -> Vec<PeerMessage> {
        self.turn_with(Replica::drain, now, lines)
    }

    pub(crate) fn turn_unwritten(
        &mut self,
        now: Moment,
        lines: &mut Vec<String>,
    ) -> Vec<PeerMessage> {
        self.turn_with(Replica::drain_unwritten, now, lines)
    }

    fn turn_with(
        &mut self,
        drain: fn(&mut Replica<Ticket>, Moment, &mut Effects<Ticket>),
        now: Moment,
        lines: &mut Vec<String>,
    ) -> Vec<PeerMessage> {
        let mut effects = Effects::default();
        let mut woken = Vec::new();
        for (region, input) in std::mem::take(&mut self.inputs) {
            if let Some(replica) = self.replicas.get_mut(&region) {
                replica.handle(now, input, &mut effects);
                woken.push(region);
            }
        }
        for (region, replica) in &mut self.replicas {
            if woken.contains(region) {
                drain(replica, now, &mut effects);
            }
        }
        let mut recorder = Recorder { store: self, lines, sent: Vec::new() };
        Round::finish(&mut effects, &mut recorder);
        recorder.sent
    }

    pub(crate) fn sync(&mut self, lines: &mut Vec<String>) -> Vec<PeerMessage> {
        self.disk.sync();
        let after = std::mem::take(&mut self.unsynced);
        let mut recorder = Recorder { store: self, lines, sent: Vec::new() };
        for waiting in after {
            waiting.deliver(&mut recorder);
        }
        recorder.sent
    }

    pub(crate) fn apply(&mut self, lines: &mut Vec<String>) {
        let mut effects = ApplyEffects::default();
        for task in std::mem::take(&mut self.tasks) {
            let region = task.region;
            let mut applier = self.appliers.remove(&region).expect("an applier");
            let data = Arc::clone(&self.disk.view);
            applier.apply(task, data.as_ref(), &mut effects, self).expect("sound entries");
            self.appliers.insert(region, applier);
        }
        effects.finish(&mut Recorder { store: self, lines, sent: Vec::new() });
    }

    pub(crate) fn crash(&mut self, kept: usize, lines: &mut Vec<String>) {
        let lost = self.disk.crash(kept);
        lines.push(format!("store {} lost {lost} batches", self.id));
        *self = Self {
            id: self.id,
            run: self.run,
            disk: std::mem::take(&mut self.disk),
            snapshots: std::mem::take(&mut self.snapshots).crashed(),
            is_down: true,
            ..Self::new(self.id, self.limits)
        };
    }

    pub(crate) fn restart(
        &mut self,
        now: Moment,
        lines: &mut Vec<String>,
    ) -> Result<(), Box<dyn Error>> {
        self.run += 1;
        self.is_down = false;
        let mut named = Vec::new();
        let remains = recover_remains(self.disk.view.as_ref())?;
        for (region, tombstone) in remains.tombstones {
            self.table.bury(region, tombstone);
        }
        self.cleanups = remains.cleanups;
        for found in recover_store(self.disk.view.as_ref())? {
            let region = match &found {
                RecoveredPeer::Normal { peer, region, apply, .. } => {
                    self.table.initialise(*peer, region)?;
                    let applier = Applier::new(region.clone(), *peer, *apply);
                    self.appliers.insert(region.id, applier);
                    self.visible.insert(region.id, apply.applied.index);
                    region.id
                }
                RecoveredPeer::Damaged { region, .. } => {
                    self.damaged.insert(*region);
                    self.table.quarantine(*region, PeerId(0));
                    *region
                }
                RecoveredPeer::Uninitialised { region, peer, .. } => {
                    self.table.create_uninitialised(*region, *peer)?;
                    *region
                }
                RecoveredPeer::Installing { applying, .. } => {
                    self.table.claim_again(applying)?;
                    named.push(applying.stage);
                    applying.region.id
                }
            };
            lines.push(match &found {
                RecoveredPeer::Normal { region, raft, apply, is_fresh, .. } => format!(
                    "region {}: term {} vote {} last {} applied {}{}",
                    show::shape(region),
                    raft.hard_state.term,
                    raft.hard_state.vote,
                    raft.last.index,
                    apply.applied.index,
                    if *is_fresh { ", made up" } else { "" }
                ),
                RecoveredPeer::Installing { applying, raft, apply, .. } => format!(
                    "region {}: term {} vote {} last {} applied {}, with the data of stage {} in place of {}",
                    show::shape(&applying.region),
                    raft.hard_state.term,
                    raft.hard_state.vote,
                    raft.last.index,
                    apply.applied.index,
                    applying.stage.0,
                    applying.clean,
                ),
                other => format!("{other:?}"),
            });
            if let Some(replica) = Replica::restart(self.config(), found, now)? {
                self.replicas.insert(region, replica);
            }
        }
        self.snapshots.keep(&named);
        Ok(())
    }

    pub(crate) fn show(&self) -> String {
        let shown = self.replicas.values().map(|replica| {
            let role = replica.role();
            let (region, life, applied) = (replica.region().id, replica.life(), replica.applied());
            let committed = replica.group().committed();
            format!(
                "region {region}: {:?} {life:?} in term {}, committed {committed}, applied {applied}",
                role.role, role.term
            )
        });
        shown.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn is_leader(&self, region: RegionId) -> bool {
        self.replicas.get(&region).is_some_and(|replica| replica.group().is_leader())
    }

    pub(crate) fn is_busy(&self) -> bool {
        let is_idle = self.inputs.is_empty() && self.tasks.is_empty() && self.unsynced.is_empty();
        !is_idle || self.snapshots.is_busy()
    }

    pub(crate) fn create(
        &mut self,
        region: RegionId,
        peer: PeerId,
        now: Moment,
    ) -> Result<(), Box<dyn Error>> {
        if !self.replicas.contains_key(&region) {
            if self.table.slot(region).is_none() {
                self.table.create_uninitialised(region, peer)?;
            }
            let replica = Replica::uninitialised(self.config(), region, peer, now)?;
            self.replicas.insert(region, replica);
        }
        Ok(())
    }

    fn config(&self) -> ReplicaConfig {
        ReplicaConfig {
            store: self.id,
            seed: self.id.get(),
            run: self.run,
            timing: Timing::default(),
            limits: GroupLimits {
                log: self.limits.log,
                idle_beats: self.limits.idle_beats,
                promotion_lag_max: 2,
                ..GroupLimits::default()
            },
            seeded: Seeded::NONE,
            liveness: self.liveness.0.clone(),
            start_spread: Span::ZERO,
            disk: Arc::clone(&self.disk.view) as _,
        }
    }

    /// Its replicas may hold so much from now on.
    pub(crate) fn allow(&mut self, allowance: Allowance) {
        for replica in self.replicas.values_mut() {
            replica.allow(allowance);
        }
    }

    /// What its replicas hold.
    pub(crate) fn held(&self) -> String {
        let held = self.replicas.iter().map(|(region, replica)| {
            let Held { cached_bytes, backlog_bytes } = replica.held();
            format!(
                "region {region}: {cached_bytes} bytes in memory, {backlog_bytes} to be applied"
            )
        });
        held.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn post(&mut self, region: RegionId, input: Input<Ticket>) {
        self.inputs.push((region, input));
    }

    /// What came of work in the background, as hosts deliver it: to the very peer whose work it was, or to nobody.
    pub(crate) fn post_to(
        &mut self,
        (region, peer): (RegionId, PeerId),
        input: Input<Ticket>,
        lines: &mut Vec<String>,
    ) {
        match self.replicas.get(&region) {
            Some(replica) if replica.peer() == peer => self.post(region, input),
            _ => lines.push(format!("peer {peer} of region {region} is not here")),
        }
    }

    /// Reads what a leader lacks of its log in memory.
    pub(crate) fn read_log(&mut self, fetch: &LogFetch, lines: &mut Vec<String>) {
        let LogFetch { region, peer, order } = fetch;
        let fetched = order.read(self.disk.view.as_ref()).expect("memory");
        self.post_to((*region, *peer), Input::Fetched(order.number, fetched), lines);
    }

    pub(crate) fn write(&mut self, batch: Vec<Mutation>) -> String {
        let copy = batch.clone();
        self.disk.write(batch);
        show::batch(&copy, self.disk.view.as_ref())
    }
}

impl Claims for Store {
    fn claim(&mut self, region: RegionId, peer: PeerId) -> bool {
        if self.damaged.contains(&region) {
            return false;
        }
        if self.table.claim_split(region, peer) == SplitClaim::Skip {
            return false;
        }
        // Peers promise nothing about time here that a script could see.
        self.create(region, peer, Moment(1)).expect("it starts");
        self.replicas[&region].peer() == peer
    }
}

impl Recorder<'_> {
    fn transmit(&mut self, messages: Vec<PeerMessage>) {
        for message in &messages {
            self.lines.push(format!("send {}", show::message(message)));
        }
        self.sent.extend(messages);
    }
}

impl Host<Ticket> for Recorder<'_> {
    fn permit(&mut self, region: RegionId, _peer: PeerId, delegate: Delegate) {
        self.lines.push(show::delegate(region, &delegate));
        self.store.delegates.insert(region, delegate);
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.transmit(messages);
    }

    fn persist(&mut self, write: LogWrite) {
        let shown = self.store.write(write.batch);
        self.lines.push(format!("persist {shown}"));
        self.store.unsynced.extend(write.after);
    }

    fn apply(&mut self, task: ApplyTask<Ticket>) {
        let entries: Vec<String> =
            task.entries.iter().map(|(entry, _)| entry.index.to_string()).collect();
        self.lines.push(format!("apply region {}: {}", task.region, entries.join(" ")));
        self.store.tasks.push(task);
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.lines.push(show::reply(&ticket, &reply));
    }

    fn report(&mut self, report: Report) {
        self.lines.push(show::report(&report));
        match report {
            Report::Initialised { region, peer, apply } => {
                self.store.table.born(region.id);
                self.store.visible.insert(region.id, apply.applied.index);
                self.store.appliers.insert(region.id, Applier::new(region, peer, apply));
            }
            Report::Split { parent, births, .. } => {
                let children: Vec<_> = births.iter().map(|it| (it.peer, &it.region)).collect();
                self.store.table.split(&parent, &children).expect("the slots were claimed");
                for birth in births {
                    self.store.post(birth.region.id, Input::Born(Box::new(birth)));
                }
            }
            Report::Members { region, peer } => self.store.table.change_members(peer, &region),
            Report::Leaving { region, peer } => {
                if self.store.table.let_go(region, peer) {
                    self.store.tell(region, MembershipInput::MayLeave);
                }
            }
            Report::Destroyed { region, peer, tombstone, cleanup } => {
                self.store.table.release(region, peer, tombstone);
                self.store.destroy(region);
                self.store.cleanups.extend(cleanup);
                let inputs = std::mem::take(&mut self.store.inputs).into_iter();
                let (lost, kept) = inputs.partition(|(other, _)| *other == region);
                self.store.inputs = kept;
                let lost: Vec<(RegionId, Input<Ticket>)> = lost;
                for (_, input) in &lost {
                    self.store.snapshots.forget(input);
                }
                for ticket in lost.into_iter().filter_map(|(_, input)| input.into_ticket()) {
                    let refusal = Reply::Failed(RequestError::RegionNotFound(region));
                    self.lines.push(show::reply(&ticket, &refusal));
                }
            }
            Report::Orphaned(cleanup) => self.store.cleanups.push(cleanup),
            Report::Quarantined { region, .. } => {
                let peer = self.store.replicas[&region].peer();
                self.store.table.quarantine(region, peer);
            }
            Report::Role { .. } | Report::Lagging { .. } => {}
        }
    }

    fn snapshot(&mut self, effect: SnapshotEffect) {
        self.lines.push(show::snapshot(&effect));
        match effect {
            SnapshotEffect::Install(InstallEffect::Refused { region, peer, .. }) => {
                self.store.table.release_claim(region, peer);
            }
            SnapshotEffect::Install(InstallEffect::Done { region, peer, stage }) => {
                self.store.table.installed(&region, peer);
                self.store.snapshots.stages.remove(&stage);
            }
            effect => self.store.snapshots.order(effect),
        }
    }

    fn fetch(&mut self, fetch: LogFetch) {
        let (region, range) = (fetch.region, &fetch.order.range);
        self.lines.push(format!("fetch region {region}: {}..{}", range.start, range.end));
        match &mut self.store.snapshots.held_reads {
            Some(held) => held.push(fetch),
            None => self.store.read_log(&fetch, self.lines),
        }
    }

    /// Deadlines depend on drawn spreads; scripts wake by hand.
    fn alarm(&mut self, _region: RegionId, _at: Moment) {}
}

impl Delivery for Recorder<'_> {
    fn persisted(&mut self, region: RegionId, peer: PeerId, number: ReadyNumber) {
        self.lines.push(format!("persisted region {region}"));
        self.store.post_to((region, peer), Input::Persisted(number), self.lines);
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.transmit(messages);
    }
}

impl ApplyHost<Ticket> for Recorder<'_> {
    fn write(&mut self, batch: Vec<Mutation>) {
        let shown = self.store.write(batch);
        self.lines.push(format!("write {shown}"));
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.lines.push(show::reply(&ticket, &reply));
    }

    fn split(&mut self, region: RegionId, _peer: PeerId, done: SplitDone) {
        self.lines.push(format!("split region {region}: {}", show::ranges(&done)));
        self.store.post(region, Input::SplitDone(Box::new(done)));
    }

    fn members(&mut self, region: RegionId, _peer: PeerId, changed: MembersChanged) {
        self.lines.push(format!("changed {}", show::members(&changed.region)));
        self.store.tell(region, MembershipInput::Changed(changed));
    }

    fn applied(&mut self, region: RegionId, _peer: PeerId, applied: Applied) {
        self.lines.push(format!("applied region {region}: {}", applied.index));
        self.store.visible.insert(region, applied.index);
        self.store.post(region, Input::Applied(applied));
    }
}
