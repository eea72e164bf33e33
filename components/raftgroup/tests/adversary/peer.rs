//! The group under attack, its disk and its host.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{Index, KvRead, Moment, PeerId, RegionId, Seeded, Span, Term};
use flotilla_raftgroup::{
    ApplyState, Entry, Group, GroupConfig, GroupLimits, GroupReady, HardState, Initial,
    LogPosition, Message, MessageKind, Origin, RaftState, ReadyNumber, SnapshotOrder,
    SnapshotOutcome, SnapshotWish, Timing, Voters, disk, single,
};

use super::Tally;
use super::message::Known;
use crate::common::Disk;

/// In so many states a peer can be met.
pub(crate) const STATES: u8 = 14;

const FIRST: LogPosition = LogPosition { term: Term(5), index: Index(5) };
/// Contexts that are remembered: what a reader of the network could repeat.
const CONTEXTS_MAX: usize = 32;

/// A written Ready: what waits for it to be durable.
type Waiting = (ReadyNumber, Vec<Message>);

pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) group: Group,
    pub(crate) now: Moment,
    pub(crate) apply: ApplyState,
    pub(crate) tally: Tally,
    number: RegionId,
    voters: Voters,
    disk: Disk,
    hard_state: HardState,
    /// Per unsynced batch, in order; `None` for a batch of the state machine.
    waiting: VecDeque<Option<Waiting>>,
    /// Handed out, not applied.
    committed: VecDeque<Entry>,
    /// The largest (term, vote) that was ever durable.
    promised: (Term, PeerId),
    /// Term and commit index never fall while the process lives.
    floor: (Term, Index),
    contexts: Vec<Bytes>,
    /// This run has begun no more rounds of reads than this.
    rounds_max: u64,
}

impl Peer {
    /// A peer in the state of this number; `detail` varies it.
    pub(crate) fn met_in(state: u8, detail: u8) -> Self {
        let (id, voters, learners): (u64, u64, u64) = match state {
            0 => (1, 0, 0),
            1 => (4, 3, 1),
            2 | 3 => (1, 1, 2),
            4 => (1, 5, 0),
            _ => (1, 3, u64::from(detail & 1)),
        };
        let number = RegionId(if detail & 2 == 0 { 1 } else { u64::MAX });
        let mut peer = Self::create(number, PeerId(id), (voters, learners));
        match state {
            // Without data; a learner; just bootstrapped.
            0 | 1 | 5 => {}
            // An only voter with learners: before and after its election.
            2 | 4 => peer.wake(),
            3 => {
                peer.wake();
                peer.settle();
            }
            // A follower: what its leader sent is in memory, on disk, applied, gone from the log.
            6 => peer.follow(),
            7 => {
                peer.follow();
                peer.settle();
            }
            8 => {
                peer.follow();
                peer.settle();
                peer.shorten();
            }
            9 => {
                peer.follow();
                peer.settle();
                peer.crash(usize::MAX);
            }
            // On its way to the lead.
            10 => {
                peer.follow();
                peer.settle();
                peer.campaign();
            }
            11 => peer.lead(),
            12 => {
                peer.follow();
                peer.settle();
                peer.lead();
                peer.settle();
                peer.acknowledge();
            }
            _ => {
                peer.follow();
                peer.settle();
                peer.shorten();
                peer.lead();
                peer.settle();
                peer.acknowledge();
                peer.shorten();
                let _refused_where_it_does_not_lead = peer.group.transfer(PeerId(2));
            }
        }
        peer.check();
        peer
    }

    /// A follower that has done all its work: peer 2 leads in term 6.
    pub(crate) fn following() -> Self {
        Self::met_in(7, 0)
    }

    pub(crate) fn is_member(&self, id: PeerId) -> bool {
        self.voters.voters.contains(&id) || self.voters.learners.contains(&id)
    }

    pub(crate) fn known(&self) -> Known<'_> {
        let (peer, group, applied) = (self.id, &self.group, self.apply.applied.index);
        Known { peer, group, applied, contexts: &self.contexts, commands: &[] }
    }

    /// Collects one Ready, writes it, and sends what need not wait.
    pub(crate) fn collect(&mut self) {
        self.rounds_max += 1;
        let Some(mut ready) = self.group.collect() else { return };
        for grant in &ready.reads {
            assert!(grant.token.0 <= self.rounds_max, "{grant:?} was never asked for");
            self.tally.granted += 1;
        }
        self.send(&std::mem::take(&mut ready.send_now));
        self.send_snapshots(std::mem::take(&mut ready.snapshots));
        if let Some(append) = &ready.append {
            let first = append.entries[0].index;
            assert!(first > self.group.truncated().index, "{first} is in front of the log");
            assert!(first <= append.old_last.next(), "{first} leaves a hole in the log");
            self.tally.overwritten += u64::from(first <= append.old_last);
        }
        self.write(&mut ready);
        for entry in &ready.committed {
            let due = self.committed.back().map_or(self.apply.applied.index, |last| last.index);
            assert_eq!(entry.index, due.next(), "committed entries come in order");
            // Written, and with a sound leader durable: one that sends two logs in one term can make an
            // older sync count for the newer of them. One write-ahead log keeps even that whole.
            let written = disk::read_entry(self.disk.view.as_ref(), self.number, entry.index);
            assert_eq!(written.as_ref(), Ok(entry), "what is committed is written first");
            self.tally.committed += 1;
            self.committed.push_back(entry.clone());
        }
    }

    /// Snapshots leave, and end somehow; views are taken for most of the wishes.
    fn send_snapshots(&mut self, orders: Vec<SnapshotOrder>) {
        for SnapshotOrder { number, message } in orders {
            self.tally.snapshots += 1;
            assert_eq!(message.kind, MessageKind::Snapshot);
            let applied = self.apply.applied;
            assert!(message.index <= applied.index, "{message:?}, {applied:?} is applied");
            self.send(&[message]);
            match number.count % 3 {
                0 => {}
                1 => self.group.snapshot_sent(number, SnapshotOutcome::Arrived),
                _ => self.group.snapshot_sent(number, SnapshotOutcome::Failed),
            }
        }
        let (wishes, given_up) = self.group.take_snapshot_wishes();
        for SnapshotWish { number, .. } in wishes {
            match number.count % 4 {
                0 => self.group.snapshot_refused(number),
                _ => self.group.snapshot_taken(number, self.apply.applied),
            }
        }
        given_up.into_iter().for_each(|number| self.group.snapshot_refused(number));
    }

    fn write(&mut self, ready: &mut GroupReady) {
        let batch = single::write_log(&self.group, &mut self.hard_state, ready);
        let last = self.group.written_last().index;
        let commit = self.hard_state.commit;
        assert!(
            batch.is_empty() || commit <= last,
            "commit {commit} is written, the log ends at {last}"
        );
        if ready.is_complete {
            assert!(batch.is_empty(), "a complete Ready writes nothing");
            return;
        }
        self.disk.write(batch);
        let messages = std::mem::take(&mut ready.send_after_persist);
        self.waiting.push_back(Some((ready.number, messages)));
    }

    /// The oldest batch becomes durable.
    pub(crate) fn sync(&mut self) {
        self.disk.sync_one();
        self.note_durable();
        if let Some(Some((number, messages))) = self.waiting.pop_front() {
            self.group.on_persisted(number);
            self.send(&messages);
        }
    }

    /// The state machine takes one entry.
    pub(crate) fn apply(&mut self) {
        let Some(entry) = self.committed.pop_front() else { return };
        self.apply.applied = entry.position();
        self.apply.commit = self.apply.commit.max(entry.index);
        self.write_apply_state(Vec::new());
        self.group.on_applied(entry.index);
    }

    /// The next deadline passes.
    pub(crate) fn wake(&mut self) {
        self.rounds_max += 1;
        let deadline = self.group.next_deadline();
        if deadline != Moment::NEVER {
            self.now = self.now.max(deadline);
        }
        self.group.wake(self.now);
    }

    pub(crate) fn pass_time(&mut self, millis: u64) {
        self.rounds_max += 1;
        self.now = self.now + Span::from_millis(millis);
        self.group.wake(self.now);
    }

    pub(crate) fn propose(&mut self, choice: u8) {
        let _only_leaders_take_it =
            self.group.propose(vec![choice; usize::from(choice % 4)].into());
    }

    pub(crate) fn read_or_transfer(&mut self, choice: u8) {
        self.rounds_max += 1;
        self.group.note_time(self.now);
        match choice % 8 {
            0 => {
                let _refused = self.group.transfer(PeerId(u64::from(choice / 8 % 5)));
            }
            1 => self.group.report_unreachable(PeerId(u64::from(choice / 8 % 5))),
            2..5 => {
                let _refused = self.group.ask_leader();
            }
            _ => {
                let _refused = self.group.read_index();
            }
        }
    }

    pub(crate) fn truncate_or_crash(&mut self, choice: u8) {
        match choice % 4 {
            0 => self.crash(usize::from(choice / 4)),
            _ => self.shorten(),
        }
    }

    /// What holds at any time.
    pub(crate) fn check(&mut self) {
        let (role, committed, last) =
            (self.group.role(), self.group.committed(), self.group.last().index);
        assert!(committed <= last, "{committed} is committed, the log ends at {last}");
        let now = (role.term, committed);
        let (old_term, old_commit) = std::mem::replace(&mut self.floor, now);
        assert!(role.term >= old_term, "term {old_term} became {}", role.term);
        assert!(committed >= old_commit, "commit {old_commit} became {committed}");
        let _must_not_panic = (self.group.next_deadline(), self.group.lease());
    }

    fn create(number: RegionId, id: PeerId, (voters, learners): (u64, u64)) -> Self {
        let peers = |from: u64, count: u64| (from..from + count).map(PeerId).collect();
        let voters = Voters { voters: peers(1, voters), learners: peers(voters + 1, learners) };
        let is_empty = voters.voters.is_empty();
        let first = if is_empty { LogPosition::default() } else { FIRST };
        let hard_state = HardState { term: first.term, vote: PeerId(0), commit: first.index };
        let raft = RaftState { hard_state, last: first };
        let apply = ApplyState::starting_at(first);
        let mut disk = Disk::default();
        disk.write(vec![
            disk::put_raft_state(number, &raft),
            disk::put_apply_state(number, &apply),
        ]);
        disk.sync_one();
        let now = Moment(1);
        let group = start((number, id), &voters, (raft, apply), Origin::Created, now, &disk);
        Self {
            id,
            group,
            now,
            apply,
            tally: Tally::default(),
            number,
            voters,
            disk,
            hard_state,
            waiting: VecDeque::new(),
            committed: VecDeque::new(),
            promised: (first.term, PeerId(0)),
            floor: (Term(0), Index(0)),
            contexts: Vec::new(),
            rounds_max: 0,
        }
    }

    /// Loses all but the oldest `kept` unsynced batches and starts again.
    fn crash(&mut self, kept: usize) {
        self.tally.crashes += 1;
        self.disk.crash(kept);
        self.note_durable();
        let found = disk::recover(self.disk.view.as_ref(), self.number);
        let found = found.expect("no message damages the disk").expect("the group was made");
        let (raft, apply) = (found.raft, found.apply);
        // Runs are told apart by the moment at which they begin.
        self.now = self.now + Span::from_millis(1);
        let who = (self.number, self.id);
        let origin = Origin::Restarted;
        self.group = start(who, &self.voters, (raft, apply), origin, self.now, &self.disk);
        self.hard_state = raft.hard_state;
        self.apply = apply;
        self.waiting.clear();
        self.committed.clear();
        self.floor = (Term(0), Index(0));
        self.rounds_max = 0;
    }

    /// Forgets what is applied, as if every voter held it.
    fn shorten(&mut self) {
        let applied = self.apply.applied;
        if applied.index <= self.group.truncated().index {
            return;
        }
        let mut batch = Vec::new();
        let begin = self.group.truncated().index;
        disk::delete_entries(self.number, begin.next(), applied.index, &mut batch);
        self.group.on_truncated(applied);
        self.apply.truncated = applied;
        self.write_apply_state(batch);
    }

    fn write_apply_state(&mut self, mut batch: Vec<flotilla_base::Mutation>) {
        batch.push(disk::put_apply_state(self.number, &self.apply));
        self.disk.write(batch);
        self.waiting.push_back(None);
    }

    /// All work is done, all of it is durable, all of that is applied.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.collect();
            while self.disk.unsynced() > 0 {
                self.sync();
            }
            while !self.committed.is_empty() {
                self.apply();
            }
        }
    }

    /// Peer 2 leads in term 6 and has committed three of its five entries.
    fn follow(&mut self) {
        let mut append = Message::new(MessageKind::Append, PeerId(2), self.id, Term(6));
        (append.index, append.log_term) = (FIRST.index, FIRST.term);
        append.commit = Index(8);
        append.entries = (6..=10)
            .map(|index| Entry {
                term: Term(6),
                index: Index(index),
                data: vec![7; 16].into(),
                ..Entry::default()
            })
            .collect();
        self.group.step(self.now, append).expect("a sound message");
    }

    fn campaign(&mut self) {
        self.wake();
        self.collect();
        let (peer, term) = (self.id, self.group.role().term.next());
        let answer = Message::new(MessageKind::RequestPreVoteResponse, PeerId(2), peer, term);
        self.group.step(self.now, answer).expect("a sound message");
    }

    fn lead(&mut self) {
        self.campaign();
        self.settle();
        let (peer, term) = (self.id, self.group.role().term);
        let answer = Message::new(MessageKind::RequestVoteResponse, PeerId(3), peer, term);
        self.group.step(self.now, answer).expect("a sound message");
    }

    /// The others hold everything.
    fn acknowledge(&mut self) {
        for voter in self.voters.voters.clone().into_iter().filter(|voter| *voter != self.id) {
            let (peer, term) = (self.id, self.group.role().term);
            let mut answer = Message::new(MessageKind::AppendResponse, voter, peer, term);
            answer.index = self.group.last().index;
            self.group.step(self.now, answer).expect("a sound message");
        }
        self.settle();
    }

    /// Nothing of a term leaves before that term is durable.
    fn send(&mut self, messages: &[Message]) {
        let durable = disk::read_raft_state(&self.disk.synced, self.number).expect("sound");
        let HardState { term: durable, .. } = durable.expect("written at the start").hard_state;
        for message in messages {
            let is_pre_vote = message.kind == MessageKind::RequestPreVote
                || (message.kind == MessageKind::RequestPreVoteResponse
                    && message.reject.is_none());
            assert!(
                is_pre_vote || message.term <= durable,
                "{message:?}, durable is term {durable}"
            );
            if !message.context.is_empty() && self.contexts.len() < CONTEXTS_MAX {
                self.contexts.push(message.context.clone());
            }
        }
    }

    /// A promise that was durable once is never taken back.
    fn note_durable(&mut self) {
        let state = disk::read_raft_state(&self.disk.synced, self.number).expect("sound");
        let HardState { term, vote, .. } = state.expect("written at the start").hard_state;
        let (old_term, old_vote) = std::mem::replace(&mut self.promised, (term, vote));
        let is_kept =
            term > old_term || (term == old_term && (old_vote.is_none() || vote == old_vote));
        assert!(is_kept, "{old_vote} in {old_term} became {vote} in {term}");
    }
}

fn start(
    (group, peer): (RegionId, PeerId),
    voters: &Voters,
    (raft, apply): (RaftState, ApplyState),
    origin: Origin,
    now: Moment,
    disk: &Disk,
) -> Group {
    let limits = GroupLimits { outstanding_max: 4, cache_bytes_max: 64, ..GroupLimits::default() };
    let timing = Timing::default();
    let config =
        GroupConfig { group, peer, seed: 1, run: now.0, timing, limits, seeded: Seeded::NONE };
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
