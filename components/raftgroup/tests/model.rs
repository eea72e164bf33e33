//! Groups under random interleavings of step, collect, write, sync, apply and crash, beside a model of
//! what must hold: one leader a term, no committed entry lost, nothing promised that is not durable,
//! nothing forgotten, a disk that every crash leaves whole; one lease at a time, and no read, by lease or
//! by a granted round, that misses what was committed before it.

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use common::Disk;
use flotilla_base::{Index, KvRead, Moment, PeerId, RegionId, Rng, RoundName, Seeded, Span, Term};
use flotilla_raftgroup::{
    ApplyState, Entry, FetchOrder, Fetched, Group, GroupConfig, GroupLimits, HardState, Initial,
    LogPosition, Message, MessageKind, Origin, RaftState, ReadToken, ReadyNumber, Role, StepError,
    Timing, Voters, disk, single,
};

const GROUP: RegionId = RegionId(1);
const FIRST: LogPosition = LogPosition { term: Term(5), index: Index(5) };

/// A written Ready: what waits for it to be durable.
type Waiting = (ReadyNumber, Vec<Message>);

struct Node {
    peer: PeerId,
    disk: Disk,
    group: Group,
    hard_state: HardState,
    /// Per unsynced batch, in order; `None` for a batch of the state machine.
    waiting: VecDeque<Option<Waiting>>,
    committed: VecDeque<Entry>,
    apply: ApplyState,
    /// What was committed anywhere when each read began.
    reads: BTreeMap<ReadToken, Index>,
    /// Entries that are being read for its followers. Its crash does not end that.
    fetch: Option<FetchOrder>,
}

#[derive(Default)]
struct Model {
    leaders: BTreeMap<Term, PeerId>,
    /// Committed entries behind the first position.
    committed: Vec<Entry>,
    promises: BTreeMap<PeerId, (Term, PeerId)>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    elections: u64,
    commits: u64,
    crashes: u64,
    lost_batches: u64,
    overwritten: u64,
    leases: u64,
    transfers: u64,
    granted: u64,
    unwritten: u64,
    fetched: u64,
}

struct World {
    rng: Rng,
    now: Moment,
    voters: Voters,
    nodes: Vec<Node>,
    network: Vec<Message>,
    model: Model,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 1);
        let (voters, learners) = match rng.below(4) {
            0 => (1, 2),
            1 => (3, 1),
            2 => (5, 0),
            _ => (3, 0),
        };
        let peers = |from: u64, count: u64| (from..from + count).map(PeerId).collect();
        let voters = Voters {
            voters: peers(1, voters),
            learners: peers(voters + 1, learners),
            ..Voters::default()
        };
        let now = Moment(1);
        let members = voters.voters.iter().chain(&voters.learners);
        let nodes = members.map(|peer| Node::create(*peer, &voters, seed, now)).collect();
        Self { rng, now, voters, nodes, network: Vec::new(), model: Model::default() }
    }

    fn step(&mut self, seed: u64) {
        let node = usize::try_from(self.rng.below(self.nodes.len() as u64)).expect("small");
        match self.rng.below(100) {
            0..30 => self.deliver(),
            30..45 => self.collect(node),
            45..60 => self.sync(node),
            60..68 => self.apply(node),
            68..80 => self.wake(node),
            80..88 => {
                let count = self.rng.below(1000);
                let data = Bytes::from(format!("{seed} {count}"));
                let _only_leaders_take_it = self.nodes[node].group.propose(data);
            }
            88..95 => self.now = self.now + Span::from_millis(self.rng.below(60)),
            95..98 => self.read_or_transfer(node),
            98 => self.crash(node, seed),
            _ => self.network.retain(|_| self.rng.chance(500)),
        }
        self.model.check_leases(&self.nodes, self.now);
    }

    /// A read begins at a leader or a follower; now and then a leader is to hand over instead.
    fn read_or_transfer(&mut self, node: usize) {
        let count = self.nodes.len() as u64;
        let group = &mut self.nodes[node].group;
        group.note_time(self.now);
        if self.rng.chance(150) {
            let to = PeerId(1 + self.rng.below(count));
            self.model.counts.transfers += u64::from(group.transfer(to).is_ok());
            return;
        }
        let begun = if group.is_leader() { group.read_index() } else { group.ask_leader() };
        if let Ok(token) = begun {
            self.nodes[node].reads.insert(token, self.model.last_committed());
        }
    }

    /// A random message under way arrives; some arrive again later.
    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.rng.below(self.network.len() as u64)).expect("small");
        let message = self.network[chosen].clone();
        if self.rng.chance(900) {
            self.network.swap_remove(chosen);
        }
        let to = usize::try_from(message.to.get() - 1).expect("small");
        let refused = self.nodes[to].group.step(self.now, message);
        assert!(!matches!(refused, Err(StepError::Damaged(_))), "{refused:?}");
    }

    fn wake(&mut self, node: usize) {
        self.nodes[node].group.wake(self.now);
    }

    /// Collects one Ready, writes it, and sends what need not wait. Now and then the disk takes nothing.
    fn collect(&mut self, node: usize) {
        let is_disk_full = self.rng.chance(200);
        self.fetch(node);
        let node = &mut self.nodes[node];
        let group = &mut node.group;
        let ready = if is_disk_full { group.collect_unwritten() } else { group.collect() };
        let Some(mut ready) = ready else { return };
        assert!(!is_disk_full || !ready.needs_write(), "{ready:?}");
        self.model.counts.unwritten += u64::from(is_disk_full);
        self.model.note_role(node);
        for grant in &ready.reads {
            // An answer may come twice.
            let floor = node.reads[&grant.token];
            assert!(grant.index >= floor, "granted at {}, {floor} was committed", grant.index);
            self.model.counts.granted += 1;
        }
        for message in std::mem::take(&mut ready.send_now) {
            node.check_promise(&message);
            check_round(&message);
            self.network.push(message);
        }
        if let Some(append) = &ready.append {
            let first = append.entries[0].index;
            self.model.counts.overwritten += u64::from(first <= append.old_last);
        }
        let batch = single::write_log(&node.group, &mut node.hard_state, &ready);
        if !ready.is_complete {
            node.disk.write(batch);
            node.waiting.push_back(Some((ready.number, ready.send_after_persist)));
        }
        for entry in &ready.committed {
            assert_eq!(
                disk::read_entry(&node.disk.synced, GROUP, entry.index).as_ref(),
                Ok(entry),
                "committed entries are durable before they are handed out"
            );
            self.model.note_committed(entry);
        }
        node.committed.extend(ready.committed);
    }

    /// Somebody reads what followers lack: after a while, and now and then not at all.
    fn fetch(&mut self, node: usize) {
        let (is_now, is_refused) = (self.rng.chance(500), self.rng.chance(100));
        let node = &mut self.nodes[node];
        if let Some(order) = node.fetch.take_if(|_| is_now) {
            let read = order.read(node.disk.view.as_ref()).expect("memory");
            self.model.counts.fetched += u64::from(!is_refused);
            node.group.on_fetched(order.number, if is_refused { Fetched::Refused } else { read });
        }
        node.fetch = node.fetch.take().or_else(|| node.group.take_fetch());
    }

    /// The oldest batch becomes durable.
    fn sync(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.disk.sync_one();
        self.model.note_durable(node);
        if let Some(Some((number, messages))) = node.waiting.pop_front() {
            node.group.on_persisted(number);
            for message in messages {
                node.check_promise(&message);
                check_round(&message);
                self.network.push(message);
            }
        }
    }

    /// The state machine takes one entry; its batch needs no sync.
    fn apply(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let Some(entry) = node.committed.pop_front() else { return };
        assert_eq!(entry.index, node.apply.applied.index.next(), "no gap");
        node.apply.applied = entry.position();
        node.apply.commit = node.group.committed();
        node.disk.write(vec![disk::put_apply_state(GROUP, &node.apply)]);
        node.waiting.push_back(None);
        node.group.on_applied(entry.index);
    }

    fn crash(&mut self, node: usize, seed: u64) {
        // Runs are told apart by the moment at which they begin.
        self.now = self.now + Span::from_millis(1);
        let node = &mut self.nodes[node];
        let unsynced = node.disk.unsynced() as u64;
        let kept = self.rng.below(unsynced + 1);
        self.model.counts.crashes += 1;
        self.model.counts.lost_batches += unsynced - kept;
        node.disk.crash(usize::try_from(kept).expect("small"));
        node.restart(&self.voters, seed, self.now);
        self.model.note_durable(node);
    }
}

impl Node {
    fn create(peer: PeerId, voters: &Voters, seed: u64, now: Moment) -> Self {
        let hard_state = HardState { term: FIRST.term, vote: PeerId(0), commit: FIRST.index };
        let apply = ApplyState::starting_at(FIRST);
        let mut disk = Disk::default();
        let raft = RaftState { hard_state, last: FIRST };
        disk.write(vec![disk::put_raft_state(GROUP, &raft), disk::put_apply_state(GROUP, &apply)]);
        disk.sync_one();
        let group = start(peer, voters, (raft, apply), (seed, Origin::Created), now, &disk);
        let (waiting, committed) = (VecDeque::new(), VecDeque::new());
        let reads = BTreeMap::new();
        Self { peer, disk, group, hard_state, waiting, committed, apply, reads, fetch: None }
    }

    fn restart(&mut self, voters: &Voters, seed: u64, now: Moment) {
        let found = disk::recover(self.disk.view.as_ref(), GROUP).expect("a crash damages nothing");
        let found = found.expect("the group was made");
        let (raft, apply) = (found.raft, found.apply);
        for index in apply.truncated.index.get() + 1..=raft.last.index.get() {
            disk::read_entry(self.disk.view.as_ref(), GROUP, Index(index)).expect("no hole");
        }
        let origin = Origin::Restarted;
        self.group = start(self.peer, voters, (raft, apply), (seed, origin), now, &self.disk);
        self.hard_state = raft.hard_state;
        self.waiting.clear();
        self.committed.clear();
        self.reads.clear();
        self.apply = apply;
    }

    /// What a message promises would survive a crash now.
    fn check_promise(&self, message: &Message) {
        let durable = disk::read_raft_state(&self.disk.synced, GROUP).expect("sound");
        let RaftState { hard_state, last } = durable.expect("written at the start");
        let is_granted = message.reject.is_none();
        let term = match message.kind {
            MessageKind::RequestPreVoteResponse if is_granted => return,
            MessageKind::RequestPreVote => Term(message.term.get() - 1),
            _ => message.term,
        };
        assert!(hard_state.term >= term, "{message:?} leaves at durable term {}", hard_state.term);
        let vote = match message.kind {
            MessageKind::RequestVoteResponse if is_granted => Some(message.to),
            MessageKind::RequestVote | MessageKind::Append | MessageKind::Heartbeat => {
                Some(self.peer)
            }
            _ => None,
        };
        if hard_state.term == term && vote.is_some() {
            assert_eq!(Some(hard_state.vote), vote, "{message:?} leaves");
        }
        if message.kind == MessageKind::AppendResponse && is_granted && hard_state.term == term {
            assert!(last.index >= message.index, "{message:?} leaves, durable is {last:?}");
        }
    }

    fn log_term(&self, index: Index) -> Option<Term> {
        self.group.position(index).map(|position| position.term)
    }
}

impl Model {
    /// One leader a term, and each knows everything that was committed before.
    fn note_role(&mut self, node: &Node) {
        let role = node.group.role();
        if role.role != Role::Leader {
            return;
        }
        let counts = &mut self.counts;
        let leader = *self.leaders.entry(role.term).or_insert_with(|| {
            counts.elections += 1;
            node.peer
        });
        assert_eq!(leader, node.peer, "two leaders in term {}", role.term);
        for entry in &self.committed {
            if entry.term < role.term {
                let found = node.log_term(entry.index);
                assert_eq!(found, Some(entry.term), "the leader of {} lacks {entry:?}", role.term);
            }
        }
    }

    fn last_committed(&self) -> Index {
        Index(FIRST.index.get() + self.committed.len() as u64)
    }

    /// All share one clock here, so at most one lease is good, and whoever holds it knows of everything
    /// that was committed anywhere.
    fn check_leases(&mut self, nodes: &[Node], now: Moment) {
        let good = nodes.iter().filter_map(|node| Some((node.peer, node.group.leased_index(now)?)));
        let good: Vec<_> = good.collect();
        assert!(good.len() <= 1, "two leases at once: {good:?}");
        for (peer, index) in good {
            let last = self.last_committed();
            assert!(index >= last, "peer {peer} reads at {index}, {last} is committed");
            self.counts.leases += 1;
        }
    }

    fn note_committed(&mut self, entry: &Entry) {
        let offset = usize::try_from(entry.index.get() - FIRST.index.get() - 1).expect("small");
        match self.committed.get(offset) {
            Some(known) => assert_eq!(known, entry, "two truths"),
            None => {
                assert_eq!(offset, self.committed.len(), "a hole");
                self.counts.commits += 1;
                self.committed.push(entry.clone());
            }
        }
    }

    /// A promise that was durable once is never taken back.
    fn note_durable(&mut self, node: &Node) {
        let state = disk::read_raft_state(&node.disk.synced, GROUP).expect("sound");
        let HardState { term, vote, .. } = state.expect("written at the start").hard_state;
        let (old_term, old_vote) =
            self.promises.insert(node.peer, (term, vote)).unwrap_or_default();
        let is_kept =
            term > old_term || (term == old_term && (old_vote.is_none() || vote == old_vote));
        assert!(is_kept, "peer {}: {old_vote} in {old_term} became {vote} in {term}", node.peer);
    }
}

/// What a heartbeat carries names a round of its leader's, in the words that the message itself says: whoever packs heartbeats
/// leaves those out.
fn check_round(message: &Message) {
    let leader = match message.kind {
        MessageKind::Heartbeat => message.from,
        MessageKind::HeartbeatResponse => message.to,
        _ => return,
    };
    if !message.context.is_empty() {
        let name = RoundName::read(&message.context).map(|it| (it.peer, it.term));
        assert_eq!(name, Some((leader, message.term)), "{message:?}");
    }
}

fn start(
    peer: PeerId,
    voters: &Voters,
    (raft, apply): (RaftState, ApplyState),
    (seed, origin): (u64, Origin),
    now: Moment,
    disk: &Disk,
) -> Group {
    let limits = GroupLimits { outstanding_max: 4, cache_bytes_max: 64, ..GroupLimits::default() };
    let timing = Timing::default();
    let run = now.0;
    let seeded = Seeded::NONE;
    let config = GroupConfig { group: GROUP, peer, seed, run, timing, limits, seeded };
    let initial = Initial {
        hard_state: raft.hard_state,
        voters: voters.clone(),
        applied: apply.applied.index,
        truncated: apply.truncated,
        last: raft.last,
        origin,
    };
    let reader: Arc<dyn KvRead + Send + Sync> = Arc::clone(&disk.view) as _;
    Group::new(config, initial, reader, now).expect("sound state")
}

#[test]
fn groups_agree_through_crashes() {
    let mut total = Counts::default();
    for seed in 1..=150 {
        let mut world = World::new(seed);
        for step in 0..4_000 {
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.step(seed)));
            assert!(outcome.is_ok(), "seed {seed}, step {step}");
        }
        let counts = world.model.counts;
        total.elections += counts.elections;
        total.commits += counts.commits;
        total.crashes += counts.crashes;
        total.lost_batches += counts.lost_batches;
        total.overwritten += counts.overwritten;
        total.leases += counts.leases;
        total.transfers += counts.transfers;
        total.granted += counts.granted;
        total.unwritten += counts.unwritten;
        total.fetched += counts.fetched;
    }
    println!("{total:?}");
    let Counts { elections, commits, crashes, lost_batches, overwritten, .. } = total;
    let Counts { leases, transfers, granted, unwritten, fetched, .. } = total;
    let seen = [elections, commits, crashes, lost_batches, overwritten];
    let seen = [seen.as_slice(), &[leases, transfers, granted, unwritten, fetched]].concat();
    assert!(!seen.contains(&0), "the interleavings are blind: {total:?}");
}
