//! The store under attack: table, replicas, appliers, a disk and a host. It is store 1; the peers of region R
//! on the stores 1 to 3 are 10 × R + store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{
    Epoch, Family, Index, KeyRange, KvRead, Moment, Mutation, Peer, PeerId, PeerRole, Region,
    RegionId, Seeded, Span, StoreId, Term, Version,
};
use flotilla_multiraft::{
    Admission, AfterPersist, Applied, Applier, ApplyEffects, ApplyFault, ApplyHost, ApplyTask,
    Arrival, ChangeKind, ChangePeers, ChangeRequest, Claims, Cleanup, Delivery, Effects, Host,
    Input, InstallEffect, Lifecycle, Liveness, LogFetch, LogWrite, MembersChanged, MembershipInput,
    NewRegion, PeerChange, PeerMessage, Proposal, ReadRequest, RecoveredPeer, RegionTable, Replica,
    ReplicaConfig, Reply, Report, RequestError, RequestHeader, Round, SharedLiveness,
    SnapshotEffect, SnapshotInput, SplitClaim, SplitCommand, SplitDone, SplitRequest, WriteCommand,
    recover_remains, recover_store, ruin::clear,
};
use flotilla_raftgroup::{GroupLimits, Message, MessageKind, ReadyNumber, Timing};

use super::Tally;
use crate::disk::Disk;
use crate::message::{self, Known};

/// So many lives a store can have had.
pub(crate) const STATES: u8 = 7;

const STORE: StoreId = StoreId(1);
const DATA: RegionId = RegionId(2);
const CONTEXTS_MAX: usize = 32;
/// What a split of region 2 makes.
const CHILD: RegionId = RegionId(5);

type Ticket = u64;

pub(crate) struct Store {
    pub(crate) tally: Tally,
    /// It met an entry that it does not know.
    pub(crate) is_stopped: bool,
    now: Moment,
    run: u64,
    table: RegionTable,
    disk: Disk,
    replicas: BTreeMap<RegionId, Replica<Ticket>>,
    appliers: BTreeMap<RegionId, Applier>,
    /// Whose data is here; also what a damaged peer still applies.
    ranges: Vec<KeyRange>,
    inputs: Vec<(RegionId, Input<Ticket>)>,
    tasks: Vec<ApplyTask<Ticket>>,
    unsynced: Vec<AfterPersist>,
    contexts: BTreeMap<RegionId, Vec<Bytes>>,
    commands: Vec<Bytes>,
    cleanups: Vec<Cleanup>,
    last_ticket: Ticket,
    waiting: BTreeSet<Ticket>,
}

impl Store {
    /// A store that has lived through the life of this number.
    pub(crate) fn met_in(state: u8) -> Self {
        let mut store = Self::empty();
        match state {
            0 => {}
            1 => store.bootstrap(PeerRole::Voter, 3),
            2 => {
                store.bootstrap(PeerRole::Voter, 1);
                store.wake();
                store.settle();
            }
            3 => {
                store.bootstrap(PeerRole::Learner, 3);
                store.settle();
            }
            4 => store = Self::following(5),
            5 => {
                store.bootstrap(PeerRole::Voter, 3);
                store.lead();
            }
            _ => {
                store.bootstrap(PeerRole::Voter, 3);
                store.lead();
                store.put(1);
                store.settle();
                store.crash(usize::MAX);
            }
        }
        store
    }

    /// A store that follows store 2 in term 6 and has taken so many entries, all but two of them committed.
    pub(crate) fn following(entries: u64) -> Self {
        let mut store = Self::empty();
        store.bootstrap(PeerRole::Voter, 3);
        store.settle();
        store.follow(entries);
        store
    }

    fn empty() -> Self {
        let put = |key: &'static str| Mutation::Put(Family::Raw, key.into(), "v".into());
        let command = |version, mutation| {
            let (version, mutations) = (Version(version), vec![mutation]);
            WriteCommand { version, clock_millis: u64::MAX, guard: None, mutations }.encode()
        };
        let backwards = Mutation::DeleteRange(Family::Raw, KeyRange::new("y", "b"));
        Self {
            tally: Tally::default(),
            is_stopped: false,
            now: Moment(1),
            run: 1,
            table: RegionTable::new(STORE),
            disk: Disk::default(),
            replicas: BTreeMap::new(),
            appliers: BTreeMap::new(),
            ranges: Vec::new(),
            inputs: Vec::new(),
            tasks: Vec::new(),
            unsynced: Vec::new(),
            contexts: BTreeMap::new(),
            // Of this shape, of another, outside, from the end to the start, and none at all; a split, and one whose
            // child would be a region that lives here.
            commands: vec![
                command(1, put("k")),
                command(9, put("k")),
                command(1, put("z")),
                command(1, backwards),
                Bytes::new(),
                split(CHILD, "g").encode(),
                split(RegionId(3), "h").encode(),
                change(2, &[(ChangeKind::Demote, 3)]).encode(),
                change(1, &[(ChangeKind::Remove, 1)]).encode(),
                change(1, &[(ChangeKind::Demote, 2), (ChangeKind::Demote, 3)]).encode(),
                change(3, &[]).encode(),
                flotilla_multiraft::ForgetCommand { peers: vec![PeerId(21), PeerId(22)] }.encode(),
            ],
            cleanups: Vec::new(),
            last_ticket: 0,
            waiting: BTreeSet::new(),
        }
    }

    /// One of the regions that live here, or another one.
    pub(crate) fn some_region(&self, choice: u8) -> RegionId {
        let choice = usize::from(choice) % (self.replicas.len() + 1);
        self.replicas.keys().nth(choice).copied().unwrap_or(RegionId(4))
    }

    pub(crate) fn known(&self, region: RegionId) -> Option<Known<'_>> {
        let replica = self.replicas.get(&region)?;
        Some(Known {
            peer: replica.peer(),
            group: replica.group(),
            applied: replica.applied(),
            contexts: self.contexts.get(&region).map_or(&[], Vec::as_slice),
            commands: &self.commands,
        })
    }

    pub(crate) fn known_data(&self) -> Known<'_> {
        self.known(DATA).expect("it was bootstrapped")
    }

    /// A message of this kind for a peer that is not here.
    pub(crate) fn stray(&self, kind: u8) -> PeerMessage {
        let kind = message::kind(kind);
        let (from, to) = (Peer::voter(PeerId(42), StoreId(2)), Peer::voter(PeerId(41), STORE));
        PeerMessage {
            region: RegionId(4),
            from,
            to,
            epoch: Epoch::FIRST,
            matched_by_all: Index(0),
            message: Message::new(kind, from.id, to.id, Term(6)),
        }
    }

    pub(crate) fn receive(&mut self, message: PeerMessage) {
        match self.table.admit(&message) {
            Admission::Deliver => self.tally.delivered += 1,
            Admission::Create(peer) => {
                self.tally.created += 1;
                self.create(message.region, peer);
            }
            Admission::Confirm => {
                let answer = self.table.confirm(&message);
                self.note_contexts(&[answer]);
                self.tally.confirmed += 1;
                return;
            }
            Admission::Drop(_) => {
                self.tally.dropped += 1;
                return;
            }
            Admission::Clear => return self.clear(&message),
        }
        self.inputs.push((message.region, Input::Message(Box::new(message))));
    }

    /// A peer that was found damaged is gone, they say.
    fn clear(&mut self, message: &PeerMessage) {
        let (region, peer) = (message.region, message.to.id);
        assert!(self.table.let_go(region, peer), "nobody else ends it");
        let view = self.disk.view.clone();
        let cleared = clear(view.as_ref(), region, peer, message.epoch).expect("readable");
        self.disk.write(cleared.batch);
        self.disk.sync();
        self.table.release(region, peer, cleared.tombstone);
        self.cleanups.extend(cleared.cleanup);
        self.tally.destroyed += 1;
    }

    /// What a region looks like to its peer here, or could.
    pub(crate) fn shape(&self, id: RegionId) -> Region {
        let known = self.replicas.get(&id).map(Replica::region);
        if let Some(region) = known.filter(|region| !region.peers.is_empty()) {
            return region.clone();
        }
        let peer = |store| Peer::voter(PeerId(id.get() * 10 + store), StoreId(store));
        let (range, peers) = (KeyRange::new("", "g"), (1..=3).map(peer).collect());
        Region { id, range, epoch: Epoch::FIRST, peers }
    }

    /// A snapshot is staged here, whatever it is of.
    pub(crate) fn bring(&mut self, arrival: Arrival) {
        match self.table.admit(&arrival.message) {
            Admission::Deliver => {}
            Admission::Create(peer) => self.create(arrival.message.region, peer),
            Admission::Drop(_) | Admission::Confirm | Admission::Clear => return,
        }
        if self.table.claim_install(&arrival).is_err() {
            self.tally.turned_away += 1;
            return;
        }
        let region = arrival.message.region;
        let arrived = SnapshotInput::Arrived(Box::new(arrival));
        self.inputs.push((region, Input::Snapshot(Box::new(arrived))));
    }

    /// All replicas with inputs take them, and the round ends.
    pub(crate) fn turn(&mut self) {
        let mut effects = Effects::default();
        let mut woken = BTreeSet::new();
        for (region, input) in std::mem::take(&mut self.inputs) {
            if let Some(replica) = self.replicas.get_mut(&region) {
                replica.handle(self.now, input, &mut effects);
                woken.insert(region);
            }
        }
        for region in woken {
            let replica = self.replicas.get_mut(&region).expect("it took an input");
            replica.drain(self.now, &mut effects);
        }
        Round::finish(&mut effects, self);
    }

    pub(crate) fn sync(&mut self) {
        self.disk.sync();
        for waiting in std::mem::take(&mut self.unsynced) {
            waiting.deliver(self);
        }
    }

    pub(crate) fn apply(&mut self) {
        let mut effects = ApplyEffects::default();
        for task in std::mem::take(&mut self.tasks) {
            let region = task.region;
            let Some(mut applier) = self.appliers.remove(&region) else { continue };
            self.tally.applied += task.entries.len() as u64;
            let data = Arc::clone(&self.disk.view);
            let outcome = applier.apply(task, data.as_ref(), &mut effects, self);
            self.appliers.insert(region, applier);
            match outcome {
                Ok(()) => {}
                Err(ApplyFault::OutOfOrder { .. } | ApplyFault::Read { .. }) => {
                    panic!("appliers get entries in order")
                }
                Err(ApplyFault::UnknownCommand { .. } | ApplyFault::Membership { .. }) => {
                    // As in production: the process ends before anything of the entry has an effect.
                    self.tally.stopped += 1;
                    self.is_stopped = true;
                    return;
                }
            }
        }
        effects.finish(self);
        for cleanup in std::mem::take(&mut self.cleanups) {
            match self.table.begin_cleaning(&cleanup) {
                Some(cleaning) => {
                    self.disk.write(cleaning.batch());
                    self.table.end_cleaning(cleaning);
                }
                None => self.cleanups.push(cleanup),
            }
        }
    }

    /// The earliest deadline of a replica passes.
    pub(crate) fn wake(&mut self) {
        let deadlines = self.replicas.values().map(|replica| replica.group().next_deadline());
        let deadline = deadlines.min().filter(|deadline| *deadline != Moment::NEVER);
        self.now = self.now.max(deadline.unwrap_or(self.now));
        self.inputs.extend(self.replicas.keys().map(|region| (*region, Input::Wake)));
        self.turn();
    }

    pub(crate) fn pass_time(&mut self, millis: u64) {
        self.now = self.now + Span::from_millis(millis);
    }

    pub(crate) fn put(&mut self, choice: u8) {
        let version = Version(1);
        let header = RequestHeader { version, ..RequestHeader::default() };
        let key = if choice < 200 { "k" } else { "z" };
        let mutations = vec![Mutation::Put(Family::Raw, key.into(), vec![choice].into())];
        let command = WriteCommand { version, clock_millis: 1, guard: None, mutations };
        let Some(ticket) = self.ticket() else { return };
        let proposal = Proposal { header, command, ticket };
        self.inputs.push((DATA, Input::Propose(Box::new(proposal))));
    }

    pub(crate) fn ask(&mut self, choice: u8) {
        let header = RequestHeader { version: Version(1), ..RequestHeader::default() };
        let Some(ticket) = self.ticket() else { return };
        let request = ReadRequest { header, ticket };
        let input = if choice.is_multiple_of(2) {
            Input::Read(request)
        } else {
            Input::ReplicaRead(request)
        };
        self.inputs.push((DATA, input));
    }

    pub(crate) fn split(&mut self, choice: u8) {
        let child = RegionId(u64::from(choice % 3) + 3);
        let command = split(child, if choice < 128 { "c" } else { "k" });
        let Some(ticket) = self.ticket() else { return };
        let request = SplitRequest { peer: PeerId(0), command, ticket };
        self.inputs.push((DATA, Input::Split(Box::new(request))));
    }

    pub(crate) fn change(&mut self, choice: u8) {
        let kinds =
            [ChangeKind::AddLearner, ChangeKind::Promote, ChangeKind::Demote, ChangeKind::Remove];
        let step = |choice: u8| (kinds[usize::from(choice % 4)], u64::from(choice / 4 % 5));
        let steps = [step(choice), step(choice.wrapping_mul(7))];
        let count = 1 + usize::from(choice > 128);
        let conf_ver = self.replicas.get(&DATA).map_or(1, |it| it.region().epoch.conf_ver.get());
        let command = change(conf_ver, &steps[..count]);
        let Some(ticket) = self.ticket() else { return };
        let request = ChangeRequest { peer: PeerId(0), command, ticket };
        self.tell(DATA, MembershipInput::ChangePeers(request));
    }

    fn tell(&mut self, region: RegionId, input: MembershipInput<Ticket>) {
        self.inputs.push((region, Input::Membership(Box::new(input))));
    }

    pub(crate) fn transfer(&mut self, to: PeerId) {
        self.inputs.push((DATA, Input::Transfer(Some(to))));
    }

    /// Everything happens until nothing is left.
    pub(crate) fn settle(&mut self) {
        for _ in 0..8 {
            self.turn();
            self.sync();
            if !self.is_stopped {
                self.apply();
            }
        }
    }

    /// Loses all but the oldest `kept` unsynced batches, and starts again.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.tally.crashes += 1;
        let mut disk = std::mem::take(&mut self.disk);
        disk.crash(kept);
        let (tally, now, run) = (self.tally, self.now + Span::from_millis(1), self.run + 1);
        *self = Self { tally, now, run, disk, ..Self::empty() };
        let remains = recover_remains(self.disk.view.as_ref()).expect("the disk is readable");
        for (region, tombstone) in remains.tombstones {
            self.table.bury(region, tombstone);
        }
        self.cleanups = remains.cleanups;
        let found = recover_store(self.disk.view.as_ref()).expect("the disk is readable");
        for found in found {
            let region = match &found {
                RecoveredPeer::Normal { peer, region, apply, .. } => {
                    self.table.initialise(*peer, region).expect("regions do not overlap");
                    self.table.born(region.id);
                    self.ranges.push(region.range.clone());
                    self.appliers.insert(region.id, Applier::new(region.clone(), *peer, *apply));
                    region.id
                }
                RecoveredPeer::Uninitialised { region, peer, .. } => {
                    self.table.create_uninitialised(*region, *peer).expect("one peer a region");
                    *region
                }
                RecoveredPeer::Installing { applying, .. } => {
                    self.table.claim_again(applying).expect("ranges do not overlap");
                    applying.region.id
                }
                RecoveredPeer::Damaged { region, peer, cause } => {
                    assert!(cause.contains("in an earlier run"), "region {region}: {cause}");
                    self.table.find_ruin(*region, *peer);
                    *region
                }
            };
            let replica = Replica::restart(self.config(), found, self.now).expect("it starts");
            self.replicas.extend(replica.map(|replica| (region, replica)));
        }
    }

    /// What holds at any time.
    pub(crate) fn check(&self) {
        for (region, replica) in &self.replicas {
            let (group, applied) = (replica.group(), replica.applied());
            assert!(applied <= group.committed(), "region {region}: {applied} is applied");
            assert!(group.committed() <= group.last().index, "region {region}: {replica:?}");
            // The applier of a peer that is given a snapshot ends with its data.
            let is_old = replica.life() == Lifecycle::Installing;
            let applier = self.appliers.get(region).filter(|_| !is_old);
            assert!(
                applier.is_none_or(|applier| applied <= applier.state().applied.index),
                "region {region}: the replica is ahead of its applier"
            );
        }
    }

    fn config(&self) -> ReplicaConfig {
        ReplicaConfig {
            store: STORE,
            seed: 1,
            run: self.run,
            timing: Timing::default(),
            limits: GroupLimits::default(),
            seeded: Seeded::NONE,
            liveness: SharedLiveness::new(Liveness::new(Timing::default(), Seeded::NONE, self.now)),
            start_spread: Span::ZERO,
            disk: Arc::clone(&self.disk.view) as Arc<dyn KvRead + Send + Sync>,
        }
    }

    fn create(&mut self, region: RegionId, peer: PeerId) {
        self.table.create_uninitialised(region, peer).expect("the table has room for it");
        self.make(region, peer);
    }

    fn make(&mut self, region: RegionId, peer: PeerId) {
        let replica = Replica::uninitialised(self.config(), region, peer, self.now);
        self.replicas.insert(region, replica.expect("it starts"));
    }

    fn bootstrap(&mut self, role: PeerRole, stores: u64) {
        for (id, start, end) in [(2, "", "m"), (3, "m", "")] {
            let peer = |store| Peer::voter(PeerId(id * 10 + store), StoreId(store));
            let mut peers: Vec<Peer> = (1..=stores).map(peer).collect();
            peers[0].role = role;
            let range = KeyRange::new(start, end);
            let region = Region { id: RegionId(id), range, epoch: Epoch::FIRST, peers };
            let own = region.peers[0].id;
            self.create(region.id, own);
            self.table.initialise(own, &region).expect("nothing else lives here");
            let (id, leads) = (region.id, role == PeerRole::Voter);
            self.inputs.push((id, Input::Bootstrap { region: Box::new(region), leads }));
        }
        self.turn();
    }

    /// What peer 22 says, which leads region 2 in term 6.
    pub(crate) fn hear(
        &mut self,
        kind: MessageKind,
        term: u64,
        matched_by_all: Index,
        change: impl FnOnce(&mut Message),
    ) {
        let (from, to) = (Peer::voter(PeerId(22), StoreId(2)), Peer::voter(PeerId(21), STORE));
        let mut message = Message::new(kind, from.id, to.id, Term(term));
        change(&mut message);
        let epoch = Epoch::FIRST;
        self.receive(PeerMessage { region: DATA, from, to, epoch, matched_by_all, message });
        self.settle();
    }

    fn follow(&mut self, entries: u64) {
        let data = self.commands[0].clone();
        self.hear(MessageKind::Append, 6, Index(0), |append| {
            (append.index, append.log_term) = (Index(5), Term(5));
            append.commit = Index(5 + entries - 2);
            let entry = |index| flotilla_raftgroup::Entry {
                term: Term(6),
                index: Index(index),
                data: data.clone(),
                ..Default::default()
            };
            append.entries = (6..6 + entries).map(entry).collect();
        });
    }

    fn lead(&mut self) {
        self.wake();
        self.settle();
        self.hear(MessageKind::RequestPreVoteResponse, 6, Index(0), |_| {});
        self.hear(MessageKind::RequestVoteResponse, 6, Index(0), |_| {});
        self.hear(MessageKind::AppendResponse, 6, Index(0), |answer| answer.index = Index(6));
    }

    /// A new ticket; none where no replica would answer it.
    fn ticket(&mut self) -> Option<Ticket> {
        self.replicas.contains_key(&DATA).then(|| {
            self.last_ticket += 1;
            self.waiting.insert(self.last_ticket);
            self.last_ticket
        })
    }

    fn answer(&mut self, ticket: Ticket, reply: &Reply) {
        assert!(self.waiting.remove(&ticket), "ticket {ticket} is answered twice: {reply:?}");
        match reply {
            Reply::Written => self.tally.written += 1,
            Reply::ReadAt(index) => {
                let applied = self.appliers[&DATA].state().applied.index;
                assert!(*index <= applied, "a read at {index}, {applied} is applied");
                self.tally.read += 1;
            }
            Reply::Split(_) => self.tally.split += 1,
            Reply::Changed(_) => self.tally.changed += 1,
            Reply::Unknown | Reply::GuardFailed | Reply::Failed(_) => self.tally.refused += 1,
        }
    }

    fn note_contexts(&mut self, messages: &[PeerMessage]) {
        for message in messages {
            assert_eq!(message.from.store, STORE, "{message:?}");
            let contexts = self.contexts.entry(message.region).or_default();
            if !message.message.context.is_empty() && contexts.len() < CONTEXTS_MAX {
                contexts.push(message.message.context.clone());
            }
        }
    }
}

impl Host<Ticket> for Store {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.note_contexts(&messages);
    }

    fn persist(&mut self, write: LogWrite) {
        self.disk.write(write.batch);
        self.unsynced.extend(write.after);
    }

    fn apply(&mut self, task: ApplyTask<Ticket>) {
        self.tasks.push(task);
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.answer(ticket, &reply);
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Split { parent, births, .. } => {
                let children: Vec<_> = births.iter().map(|it| (it.peer, &it.region)).collect();
                self.table.split(&parent, &children).expect("the slots were claimed");
                self.tally.born += births.len() as u64;
                for birth in births {
                    self.inputs.push((birth.region.id, Input::Born(Box::new(birth))));
                }
            }
            Report::Initialised { region, peer, apply } => {
                self.ranges.push(region.range.clone());
                self.appliers.insert(region.id, Applier::new(region, peer, apply));
            }
            Report::Quarantined { region, .. } => {
                self.tally.quarantined += 1;
                self.table.quarantine(region, self.replicas[&region].peer());
            }
            Report::Members { region, peer } => self.table.change_members(peer, &region),
            Report::Leaving { region, peer } => {
                if self.table.let_go(region, peer) {
                    self.tell(region, MembershipInput::MayLeave);
                }
            }
            Report::Destroyed { region, peer, tombstone, cleanup } => {
                self.tally.destroyed += 1;
                self.table.release(region, peer, tombstone);
                self.replicas.remove(&region);
                self.appliers.remove(&region);
                self.cleanups.extend(cleanup);
                let inputs = std::mem::take(&mut self.inputs).into_iter();
                let (lost, kept) = inputs.partition(|(other, _)| *other == region);
                self.inputs = kept;
                let lost: Vec<(RegionId, Input<Ticket>)> = lost;
                for ticket in lost.into_iter().filter_map(|(_, input)| input.into_ticket()) {
                    self.answer(ticket, &Reply::Failed(RequestError::RegionNotFound(region)));
                }
            }
            Report::Orphaned(cleanup) => self.cleanups.push(cleanup),
            Report::Role { .. } | Report::Lagging { .. } => {}
        }
    }

    fn snapshot(&mut self, effect: SnapshotEffect) {
        match effect {
            SnapshotEffect::Take { region, number, .. } => {
                let refused = SnapshotInput::Refused(number);
                self.inputs.push((region, Input::Snapshot(Box::new(refused))));
            }
            SnapshotEffect::Send { .. } => panic!("no view was taken"),
            SnapshotEffect::Cancel { .. } => {}
            SnapshotEffect::Install(InstallEffect::Replace { region, clean, stage, .. }) => {
                self.appliers.remove(&region);
                self.disk.write(vec![Mutation::DeleteRange(Family::Raw, clean)]);
                let is_lost = stage.0.is_multiple_of(5);
                let end = match is_lost {
                    true => SnapshotInput::StageLost(stage),
                    false => SnapshotInput::Installed(stage),
                };
                self.tally.lost += u64::from(is_lost);
                self.inputs.push((region, Input::Snapshot(Box::new(end))));
            }
            SnapshotEffect::Install(InstallEffect::Refused { region, peer, .. }) => {
                self.tally.turned_away += 1;
                self.table.release_claim(region, peer);
            }
            SnapshotEffect::Install(InstallEffect::Done { region, peer, .. }) => {
                self.tally.installed += 1;
                self.table.installed(&region, peer);
            }
        }
    }

    fn fetch(&mut self, fetch: LogFetch) {
        let LogFetch { region, order, .. } = fetch;
        let fetched = order.read(self.disk.view.as_ref()).expect("memory");
        self.inputs.push((region, Input::Fetched(order.number, fetched)));
    }

    fn alarm(&mut self, _region: RegionId, _at: Moment) {}
}

impl Claims for Store {
    fn claim(&mut self, region: RegionId, peer: PeerId) -> bool {
        match self.table.claim_split(region, peer) {
            SplitClaim::Create => {
                self.make(region, peer);
                true
            }
            SplitClaim::Held => true,
            SplitClaim::Skip => false,
        }
    }
}

impl Delivery for Store {
    fn persisted(&mut self, region: RegionId, peer: PeerId, number: ReadyNumber) {
        assert_eq!(self.replicas[&region].peer(), peer);
        self.inputs.push((region, Input::Persisted(number)));
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.note_contexts(&messages);
    }
}

impl ApplyHost<Ticket> for Store {
    fn write(&mut self, batch: Vec<Mutation>) {
        for mutation in &batch {
            let is_own = match mutation {
                Mutation::Put(Family::Raw, key, _) | Mutation::Delete(Family::Raw, key) => {
                    self.ranges.iter().any(|range| range.contains(key))
                }
                Mutation::DeleteRange(Family::Raw, range) => {
                    self.ranges.iter().any(|own| own.covers(range))
                }
                Mutation::Put(family, ..) | Mutation::Delete(family, _) => {
                    matches!(family, Family::RaftMeta | Family::RaftLog)
                }
                Mutation::DeleteRange(..) => false,
            };
            assert!(is_own, "{mutation:?} is outside of this store's regions");
        }
        self.disk.write(batch);
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.answer(ticket, &reply);
    }

    fn split(&mut self, region: RegionId, _peer: PeerId, done: SplitDone) {
        self.inputs.push((region, Input::SplitDone(Box::new(done))));
    }

    fn members(&mut self, region: RegionId, _peer: PeerId, changed: MembersChanged) {
        self.tell(region, MembershipInput::Changed(changed));
    }

    fn applied(&mut self, region: RegionId, _peer: PeerId, applied: Applied) {
        self.inputs.push((region, Input::Applied(applied)));
    }
}

/// A change of the region of data under this version of its membership.
fn change(conf_ver: u64, steps: &[(ChangeKind, u64)]) -> ChangePeers {
    let epoch = Epoch { conf_ver: conf_ver.into(), ..Epoch::FIRST };
    let step = |(kind, store): &(ChangeKind, u64)| PeerChange {
        kind: *kind,
        peer: PeerId(20 + store),
        store: StoreId(*store),
    };
    ChangePeers { epoch, changes: steps.iter().map(step).collect() }
}

/// A split of the region of data in its first shape.
fn split(child: RegionId, end: &'static str) -> SplitCommand {
    let peers = (1..=3).map(|store| PeerId(child.get() * 10 + store)).collect();
    let children = vec![NewRegion { end: end.into(), region: child, peers }];
    SplitCommand { epoch: Epoch::FIRST, children }
}
