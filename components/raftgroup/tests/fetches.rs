//! A leader with a learner that lacks what has left the leader's memory: others read it, and the group's own thread never
//! does.

#[allow(dead_code, reason = "other tests crash disks")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use common::{Disk, View};
use flotilla_base::{
    Family, Index, KeyRange, KvRead, Moment, Mutation, PeerId, ReadError, RegionId, ScanDirection,
    Seeded, Span, Term,
};
use flotilla_raftgroup::{
    ApplyState, Damage, FetchOrder, Fetched, Group, GroupConfig, GroupLimits, GroupReady,
    HardState, Initial, LogPosition, Message, MessageKind, Origin, RaftState, Timing, Voters, disk,
    disk::DiskError, fetch::FETCH_BYTES, single,
};

const GROUP: RegionId = RegionId(1);
const LEADER: PeerId = PeerId(1);
const LEARNER: PeerId = PeerId(2);
/// Of everything before it there is no log.
const FIRST: LogPosition = LogPosition { term: Term(5), index: Index(20) };
const VALUE_BYTES: usize = 600 << 10;

/// The leader's disk, of which it reads no ranges once it runs.
struct Watched {
    view: Arc<View>,
    is_running: AtomicBool,
}

impl KvRead for Watched {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.view.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
        direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        assert!(!self.is_running.load(Ordering::Relaxed), "the leader reads {range}");
        self.view.scan(family, range, direction, visit)
    }
}

/// The only voter of a group; nothing that is applied stays in its memory.
struct Node {
    group: Group,
    disk: Disk,
    hard_state: HardState,
    now: Moment,
    sent: Vec<Message>,
}

impl Node {
    /// It has written ten entries that the learner lacks.
    fn leading() -> Self {
        let hard_state = HardState { term: FIRST.term, vote: LEADER, commit: FIRST.index };
        let apply = ApplyState::starting_at(FIRST);
        let mut disk = Disk::default();
        let raft = RaftState { hard_state, last: FIRST };
        disk.write(vec![disk::put_raft_state(GROUP, &raft), disk::put_apply_state(GROUP, &apply)]);
        disk.sync_one();
        let limits = GroupLimits { cache_bytes_max: 0, ..GroupLimits::default() };
        let (timing, peer, seed, run, seeded) = (Timing::default(), LEADER, 1, 1, Seeded::NONE);
        let config = GroupConfig { group: GROUP, peer, seed, run, timing, limits, seeded };
        let voters = Voters { voters: vec![LEADER], learners: vec![LEARNER], ..Voters::default() };
        let (applied, truncated, last) = (FIRST.index, FIRST, FIRST);
        let origin = Origin::Created;
        let initial = Initial { hard_state, voters, applied, truncated, last, origin };
        let view = Arc::clone(&disk.view);
        let reader = Arc::new(Watched { view, is_running: AtomicBool::new(false) });
        let group = Group::new(config, initial, Arc::clone(&reader) as _, Moment(1));
        let group = group.expect("sound state");
        let mut node = Self { group, disk, hard_state, now: Moment(1), sent: Vec::new() };
        reader.is_running.store(true, Ordering::Relaxed);
        node.lead();
        for _ in 0..10 {
            node.group.propose(Bytes::from(vec![7; VALUE_BYTES])).expect("it leads");
            node.work();
        }
        node.sent.clear();
        node
    }

    fn lead(&mut self) {
        while !self.group.can_read() {
            self.now = self.now + Timing::default().gate;
            self.group.wake(self.now);
            self.work();
        }
    }

    fn work(&mut self) {
        while let Some(ready) = self.group.collect() {
            self.finish(ready);
        }
    }

    fn finish(&mut self, ready: GroupReady) {
        let batch = single::write_log(&self.group, &mut self.hard_state, &ready);
        if !ready.is_complete {
            self.disk.write(batch);
            self.disk.sync_one();
            self.group.on_persisted(ready.number);
        }
        if let Some(entry) = ready.committed.last() {
            self.group.on_applied(entry.index);
        }
        self.sent.extend(ready.send_now.into_iter().chain(ready.send_after_persist));
    }

    fn hear(&mut self, kind: MessageKind, index: Index) {
        let answer = Message::new(kind, LEARNER, LEADER, self.group.role().term);
        self.group.step(self.now, Message { index, ..answer }).expect("taken");
        self.work();
    }

    /// The learner is there.
    fn learner_asks(&mut self) -> Option<FetchOrder> {
        self.hear(MessageKind::HeartbeatResponse, Index(0));
        self.group.take_fetch()
    }

    fn read(&self, order: &FetchOrder) -> Fetched {
        order.read(self.disk.view.as_ref()).expect("memory")
    }

    /// Entries that were sent to the learner since the last call: first, last and their bytes.
    fn take_entries(&mut self) -> Vec<(Index, Index, usize)> {
        let sent = std::mem::take(&mut self.sent);
        let with_entries = sent.iter().filter(|it| it.kind == MessageKind::Append);
        let shown = with_entries.filter_map(|it| {
            let bytes = it.entries.iter().map(|entry| entry.data.len()).sum();
            Some((it.entries.first()?.index, it.entries.last()?.index, bytes))
        });
        shown.collect()
    }
}

#[test]
fn a_learner_catches_up_with_what_others_read() {
    let mut node = Node::leading();
    let last = node.group.last().index;
    let mut order = node.learner_asks().expect("the learner lacks something");
    assert_eq!(node.take_entries(), [], "nothing that is not in memory was sent");
    assert_eq!(order.range, FIRST.index.next()..last.next());
    assert!(node.group.take_fetch().is_none(), "one at a time");
    let (mut has, mut reads) = (FIRST.index, 0);
    while has < last {
        let fetched = node.read(&order);
        let bytes = fetched.size_bytes() as u64;
        assert!(bytes <= FETCH_BYTES, "{bytes} bytes at once");
        assert_eq!(node.group.cached_bytes(), 0);
        node.group.on_fetched(order.number, fetched);
        assert!(node.group.cached_bytes() as u64 <= FETCH_BYTES, "counted as memory");
        node.work();
        reads += 1;
        // The learner takes what it is sent, until it is sent nothing more.
        let mut waiting = node.take_entries();
        while !waiting.is_empty() {
            for (first, to, bytes) in waiting {
                assert_eq!(first, has.next(), "no hole, nothing twice");
                assert!(bytes <= 2 * VALUE_BYTES, "messages have their own limit");
                has = to;
                node.hear(MessageKind::AppendResponse, to);
            }
            waiting = node.take_entries();
        }
        match node.group.take_fetch() {
            Some(next) => order = next,
            None => assert_eq!(has, last, "it asks until it has all"),
        }
    }
    assert!(reads >= 3, "{reads} reads of 2 MiB for 6 MB");
    node.work();
    assert_eq!(node.group.cached_bytes(), 0, "what nobody lacks is not kept");
}

#[test]
fn what_is_read_for_a_lead_that_has_ended_is_not_used() {
    let mut node = Node::leading();
    let order = node.learner_asks().expect("the learner lacks something");
    let fetched = node.read(&order);
    let newer = node.group.role().term.next();
    let news = Message::new(MessageKind::HeartbeatResponse, LEARNER, LEADER, newer);
    node.group.step(node.now, news).expect("taken");
    assert!(!node.group.is_leader());
    node.lead();
    node.sent.clear();
    node.group.on_fetched(order.number, fetched);
    node.work();
    assert_eq!(node.take_entries(), []);
    assert_eq!(node.group.cached_bytes(), 0);
    let anew = node.learner_asks();
    assert!(anew.is_some_and(|it| it.number > order.number), "the new lead asks for itself");
}

#[test]
fn who_finds_no_room_is_served_with_the_next_answer() {
    let mut node = Node::leading();
    let order = node.learner_asks().expect("the learner lacks something");
    node.group.on_fetched(order.number, Fetched::Refused);
    node.work();
    assert!(node.group.take_fetch().is_none(), "it would be refused again");
    let again = node.learner_asks().expect("it still lacks it");
    node.group.on_fetched(order.number, Fetched::Damaged(missing()));
    assert_eq!(node.group.damage(), None, "an order is answered once");
    node.group.on_fetched(again.number, node.read(&again));
    node.work();
    assert_ne!(node.take_entries(), []);
}

#[test]
fn who_lacks_what_left_the_log_meanwhile_gets_a_snapshot() {
    let second = FIRST.index.next().next();
    // Read in front of the truncation; behind it, when the entries were gone; and of what nobody has sound any more.
    for is_deleted in [false, true] {
        let mut node = Node::leading();
        let order = node.learner_asks().expect("the learner lacks something");
        let position = node.group.position(second).expect("it is in the log");
        node.group.on_truncated(position);
        if is_deleted {
            let mut batch = Vec::new();
            disk::delete_entries(GROUP, FIRST.index.next(), second, &mut batch);
            node.disk.write(batch);
        }
        let fetched = node.read(&order);
        assert_eq!(matches!(fetched, Fetched::Damaged(_)), is_deleted, "{fetched:?}");
        node.group.on_fetched(order.number, fetched);
        node.work();
        node.hear(MessageKind::HeartbeatResponse, Index(0));
        assert_eq!(node.take_entries(), []);
        let (wishes, _) = node.group.take_snapshot_wishes();
        assert_eq!(wishes.iter().map(|wish| wish.to).collect::<Vec<_>>(), [LEARNER]);
        assert_eq!(node.group.damage(), None);
    }
}

/// An entry that is gone and was not truncated.
fn missing() -> DiskError {
    DiskError::Contradiction { group: GROUP, what: "entry 22 is missing".to_owned() }
}

/// Whatever is damaged of what was ordered, or right in front of it, where the order has that in the log.
#[test]
fn a_leader_whose_old_log_is_damaged_says_nothing_any_more() {
    let key = disk::entry_key(GROUP, Index(22));
    let spoilt = Mutation::Put(Family::RaftLog, key.clone(), "?".into());
    for damage in [spoilt, Mutation::Delete(Family::RaftLog, key)] {
        let mut node = Node::leading();
        let order = node.learner_asks().expect("the learner lacks something");
        node.disk.write(vec![damage]);
        let fetched = node.read(&order);
        let Fetched::Damaged(cause) = fetched.clone() else { panic!("{fetched:?}") };
        assert!(cause.to_string().contains("entry 22"), "{cause}");
        node.group.on_fetched(order.number, fetched);
        assert_eq!(node.group.damage(), Some(Damage::Entry(cause)));
        assert_eq!(node.group.propose("x".into()).map(|_| ()), Ok(()), "it does not know");
        node.group.wake(node.group.next_deadline());
        assert!(node.group.collect().is_none(), "neither entries nor heartbeats");
        assert!(node.group.collect_unwritten().is_none());
        assert_eq!(node.group.position(Index(21)), None, "nothing is truncated there");
    }
}

/// Truncation looks for the term of the last entry that goes: an answer that is made up must not be written.
#[test]
fn a_damaged_entry_has_no_position() {
    let mut node = Node::leading();
    let key = disk::entry_key(GROUP, Index(22));
    node.disk.write(vec![Mutation::Put(Family::RaftLog, key, "?".into())]);
    assert!(node.group.position(Index(21)).is_some());
    assert_eq!(node.group.position(Index(22)), None);
    assert!(matches!(node.group.damage(), Some(Damage::Entry(_))));
}

#[test]
fn what_has_left_the_log_in_front_of_an_order_costs_no_snapshot() {
    let mut node = Node::leading();
    let order = node.learner_asks().expect("the learner lacks something");
    node.group.on_fetched(order.number, node.read(&order));
    node.work();
    let mut has = FIRST.index;
    while let Some((_, to, _)) = node.take_entries().last() {
        has = *to;
        node.hear(MessageKind::AppendResponse, has);
    }
    let order = node.group.take_fetch().expect("the learner lacks more");
    assert_eq!(order.range.start, has.next());
    node.group.on_truncated(node.group.position(has).expect("it is in the log"));
    let mut batch = Vec::new();
    disk::delete_entries(GROUP, FIRST.index.next(), has, &mut batch);
    node.disk.write(batch);
    node.group.on_fetched(order.number, node.read(&order));
    node.work();
    assert_eq!(node.take_entries().first().map(|it| it.0), Some(has.next()));
    assert_eq!(node.group.take_snapshot_wishes().0, []);
}

/// A member whose messages are lost for a while must not fill the leader's memory with what it is not sent.
#[test]
fn what_a_silent_learner_lacks_leaves_the_memory() {
    let mut node = Node::leading();
    let order = node.learner_asks().expect("the learner lacks something");
    let fetched = node.read(&order);
    node.group.on_fetched(order.number, fetched);
    node.work();
    assert!(node.group.cached_bytes() > 0, "the rest waits for its answer");
    for _ in 0..3 {
        node.now = node.now + Timing::default().gate + Span::from_millis(1);
        node.group.wake(node.now);
        node.work();
    }
    assert_eq!(node.group.cached_bytes(), 0);
}
