//! A leader whose disk takes nothing for a while: nothing is collected, and what is under way towards a learner fails and is
//! tried again meanwhile.

#[allow(dead_code, reason = "other tests crash disks")]
mod common;

use std::sync::Arc;

use common::Disk;
use flotilla_base::{Index, KvRead, Moment, PeerId, RegionId, Seeded, Term};
use flotilla_raftgroup::{
    ApplyState, Group, GroupConfig, GroupLimits, GroupReady, HardState, Initial, LogPosition,
    Message, MessageKind, Origin, RaftState, SnapshotNumber, SnapshotOutcome, Timing, Voters, disk,
    single,
};

const GROUP: RegionId = RegionId(1);
const LEADER: PeerId = PeerId(1);
const LEARNER: PeerId = PeerId(2);
/// Of everything before it there is no log.
const FIRST: LogPosition = LogPosition { term: Term(5), index: Index(20) };

/// The only voter of a group that has a learner without any log.
struct Node {
    group: Group,
    disk: Disk,
    hard_state: HardState,
    now: Moment,
}

impl Node {
    fn leading() -> Self {
        let hard_state = HardState { term: FIRST.term, vote: LEADER, commit: FIRST.index };
        let apply = ApplyState::starting_at(FIRST);
        let mut disk = Disk::default();
        let raft = RaftState { hard_state, last: FIRST };
        disk.write(vec![disk::put_raft_state(GROUP, &raft), disk::put_apply_state(GROUP, &apply)]);
        disk.sync_one();
        let (timing, limits) = (Timing::default(), GroupLimits::default());
        let (peer, seed, run, seeded) = (LEADER, 1, 1, Seeded::NONE);
        let config = GroupConfig { group: GROUP, peer, seed, run, timing, limits, seeded };
        let voters = Voters { voters: vec![LEADER], learners: vec![LEARNER], ..Voters::default() };
        let (applied, truncated, last) = (FIRST.index, FIRST, FIRST);
        let origin = Origin::Created;
        let initial = Initial { hard_state, voters, applied, truncated, last, origin };
        let reader: Arc<dyn KvRead + Send + Sync> = Arc::clone(&disk.view) as _;
        let now = Moment(1);
        let group = Group::new(config, initial, reader, now).expect("sound state");
        let mut node = Self { group, disk, hard_state, now };
        while !node.group.can_read() {
            node.pass(Timing::default().gate);
            while let Some(ready) = node.group.collect() {
                node.finish(&ready);
            }
        }
        node
    }

    fn pass(&mut self, span: flotilla_base::Span) {
        self.now = self.now + span;
        self.group.wake(self.now);
    }

    fn finish(&mut self, ready: &GroupReady) {
        let batch = single::write_log(&self.group, &mut self.hard_state, ready);
        if !ready.is_complete {
            self.disk.write(batch);
            self.disk.sync_one();
            self.group.on_persisted(ready.number);
        }
        for entry in &ready.committed {
            self.group.on_applied(entry.index);
        }
    }

    /// The learner says that it has nothing.
    fn learner_lacks_all(&mut self) {
        let term = self.group.role().term;
        let answer = Message::new(MessageKind::AppendResponse, LEARNER, LEADER, term);
        let refusal = Message { index: FIRST.index, reject: Some(Index(0)), ..answer };
        self.group.step(self.now, refusal).expect("taken");
        let answer = Message::new(MessageKind::HeartbeatResponse, LEARNER, LEADER, term);
        self.group.step(self.now, answer).expect("taken");
    }

    /// An attempt as far as its message, which nobody collects.
    fn attempt(&mut self) -> SnapshotNumber {
        self.learner_lacks_all();
        let (wishes, given_up) = self.group.take_snapshot_wishes();
        let [wish] = wishes[..] else { panic!("{wishes:?}, {given_up:?}") };
        assert_eq!(wish.to, LEARNER);
        self.group.snapshot_taken(wish.number, FIRST);
        wish.number
    }
}

/// The message of the first attempt would be taken for one of the second.
#[test]
fn an_attempt_is_sent_once_whatever_came_of_the_one_before() {
    let mut node = Node::leading();
    let first = node.attempt();
    node.group.snapshot_sent(first, SnapshotOutcome::Failed);
    node.pass(Timing::default().gate * 2);
    let second = node.attempt();
    assert!(first < second);
    let mut sent = Vec::new();
    while let Some(ready) = node.group.collect() {
        sent.extend(ready.snapshots.iter().map(|order| order.number));
        node.finish(&ready);
    }
    assert_eq!(sent, [second]);
}
