//! The order of effects, and the life of a member, as a host sees them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use flotilla_base::{
    ClusterId, Epoch, Family, Incarnation, KeyRange, KvRead, Moment, Mutation, Peer, PeerId,
    ReadError, Region, RegionId, ScanDirection, Seeded, Span, StoreId, Tables, Version,
};
use flotilla_pdcore::{
    AskedChange, Clocks, CoreConfig, CoreError, Decided, Denied, Effects, Input, LogWrite, Outcome,
    PdCore, PdHost, Report, Wish, birth,
};
use flotilla_placement::{
    Answer, Change, Cluster, Command, Ending, LabelConstraint, LabelOp, Leave, OperatorEvent,
    OperatorRefusal, Order, RegionReport, Rule, SchedulerName, SchedulerPolicy, SplitRefusal, Step,
    StoreRecord, StoreState, StoreStats, TsoChange, TsoDesk, TsoError,
    operator::{drain, leftover},
    rule::RuleEdit,
    scatter::{ScatterOutcome, ScatterWish},
};
use flotilla_raftgroup::{GroupLimits, Message, MessageKind, ReadyNumber, Timing};

/// A disk that never forgets.
type Disk = Mutex<Tables>;

fn write_down(disk: &Disk, batch: &[Mutation]) {
    disk.lock().expect("one thread").apply(batch);
}

/// Notes what it is told to do, and does it.
#[derive(Default)]
struct Host {
    disk: Arc<Disk>,
    desk: TsoDesk,
    calls: Vec<String>,
    unsynced: Vec<ReadyNumber>,
    replies: Vec<(u32, Outcome)>,
    operators: Vec<OperatorEvent>,
    is_broken: bool,
}

impl PdHost<u32> for Host {
    type Error = CoreError;

    fn tso(&mut self, change: TsoChange) {
        self.calls.push(match &change {
            TsoChange::Open(_) => "open".to_owned(),
            TsoChange::Extend { .. } => "extend".to_owned(),
            TsoChange::Lease(end) => format!("lease {}", end.is_some()),
            TsoChange::Close => "close".to_owned(),
        });
        self.desk.change(change);
    }

    fn send(&mut self, messages: Vec<Message>) {
        self.calls.push(format!("send {}", messages.len()));
    }

    fn persist(&mut self, write: LogWrite) -> Result<(), CoreError> {
        self.calls.push("persist".to_owned());
        write_down(&self.disk, &write.batch);
        self.unsynced.push(write.number);
        Ok(())
    }

    fn write(&mut self, batch: Vec<Mutation>) -> Result<(), CoreError> {
        self.calls.push("write".to_owned());
        write_down(&self.disk, &batch);
        if self.is_broken { Err(birth(&Broken).expect_err("broken")) } else { Ok(()) }
    }

    fn claim(&mut self, cluster: Cluster) -> Result<(), CoreError> {
        self.calls.push(format!("claim {}", cluster.id));
        Ok(())
    }

    fn reply(&mut self, ticket: u32, outcome: Outcome) {
        self.calls.push("reply".to_owned());
        self.replies.push((ticket, outcome));
    }

    fn report(&mut self, report: Report) {
        if !matches!(report, Report::Role(_)) {
            self.calls.push("report".to_owned());
        }
    }

    fn operator(&mut self, event: OperatorEvent) {
        let call = match &event {
            OperatorEvent::Begun(_) => "begun",
            OperatorEvent::Ordered(_) => "order",
            OperatorEvent::Ended(_) => "ended",
        };
        self.calls.push(call.to_owned());
        self.operators.push(event);
    }
}

/// A disk that cannot be read.
struct Broken;

impl KvRead for Broken {
    fn get(&self, _family: Family, _key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Err(ReadError("broken".to_owned()))
    }

    fn scan(
        &self,
        _family: Family,
        _range: &KeyRange,
        _direction: ScanDirection,
        _visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        Err(ReadError("broken".to_owned()))
    }
}

/// A member that is the only one, and its host.
struct Member {
    core: PdCore<u32>,
    host: Host,
    clocks: Clocks,
    effects: Effects<u32>,
}

impl Member {
    fn start(disk: &Arc<Disk>) -> Self {
        let records = birth(disk.as_ref()).expect("sound");
        write_down(disk, &records);
        let config = CoreConfig {
            members: vec![PeerId(1)],
            member: PeerId(1),
            max_replicas: 1,
            fresh_cluster: ClusterId(7),
            run: 1,
            timing: Timing::default(),
            limits: GroupLimits::default(),
            log_entries_kept: 4,
            seeded: Seeded::NONE,
        };
        let reader: Arc<dyn KvRead + Send + Sync> = Arc::clone(disk) as _;
        let is_new = !records.is_empty();
        let core = PdCore::open(config, reader, is_new, Moment(1)).expect("sound");
        let host = Host { disk: Arc::clone(disk), ..Host::default() };
        let clocks = Clocks { now: Moment(1), unix_ms: 1_000 };
        Self { core, host, clocks, effects: Effects::default() }
    }

    fn tell(&mut self, input: Input<u32>) {
        self.core.handle(self.clocks, input, &mut self.effects).expect("sound");
    }

    fn turn(&mut self) -> Vec<String> {
        self.core.turn(self.clocks, &mut self.effects, &mut self.host).expect("sound");
        std::mem::take(&mut self.host.calls)
    }

    /// Time passes, with a living disk.
    fn pass(&mut self, span: Span) {
        let end = self.clocks.now + span;
        while self.clocks.now < end {
            self.clocks.now = self.clocks.now + Span::from_millis(100);
            self.settle();
        }
    }

    /// Everything written is durable; then everything that follows from that, until all is calm.
    fn settle(&mut self) -> Vec<String> {
        let mut calls = self.turn();
        while let Some(number) = self.host.unsynced.pop() {
            self.host.unsynced.clear();
            self.tell(Input::Persisted(number));
            calls.extend(self.turn());
        }
        calls
    }
}

#[test]
fn effects_happen_in_the_order_that_safety_asks_for() {
    let message =
        Message::new(MessageKind::Heartbeat, PeerId(1), PeerId(2), flotilla_base::Term(6));
    let cluster = Cluster { id: ClusterId(7), max_replicas: 1 };
    let mut effects = Effects {
        stop: Some(TsoChange::Lease(None)),
        send: vec![message],
        log: Some(LogWrite { number: ReadyNumber(1), batch: Vec::new() }),
        records: vec![Mutation::Put(Family::RaftMeta, "key".into(), "value".into())],
        claim: Some(cluster),
        tso: vec![TsoChange::Extend { end_ms: 5 }],
        replies: vec![(1, Ok(Answer::Done))],
        reports: vec![Report::Bootstrapped],
        operators: vec![OperatorEvent::Ordered(Order {
            region: RegionId(2),
            epoch: Epoch::FIRST,
            leader: Peer::default(),
            command: Command::LeaveJoint,
        })],
    };
    let mut host = Host::default();
    effects.finish(&mut host).expect("nothing fails");
    let order = [
        "lease false",
        "send 1",
        "persist",
        "write",
        "claim 7",
        "extend",
        "reply",
        "report",
        "order",
    ];
    assert_eq!(host.calls, order);
    effects.finish(&mut host).expect("nothing fails");
    assert_eq!(host.calls.len(), order.len(), "nothing is done twice");
}

#[test]
#[should_panic(expected = "behind the end of their reign")]
fn no_timestamps_go_on_behind_the_end_of_a_reign() {
    let mut effects: Effects<u32> = Effects {
        stop: Some(TsoChange::Close),
        tso: vec![TsoChange::Extend { end_ms: 5 }],
        ..Effects::default()
    };
    let _never_returns = effects.finish(&mut Host::default());
}

#[test]
#[should_panic(expected = "is not written yet")]
fn a_round_is_not_collected_in_front_of_the_last_ones_write() {
    let mut member = Member::start(&Arc::new(Disk::default()));
    member.tell(Input::Wake);
    for number in 1.. {
        let Member { core, clocks, effects, .. } = &mut member;
        while core.drain(*clocks, effects).expect("sound") {}
        // As if it were durable; nothing was written.
        member.tell(Input::Persisted(ReadyNumber(number)));
    }
}

#[test]
fn nobody_is_answered_behind_a_write_that_failed() {
    let mut effects = Effects {
        records: vec![Mutation::Put(Family::RaftMeta, "key".into(), "value".into())],
        tso: vec![TsoChange::Extend { end_ms: 5 }],
        replies: vec![(1, Ok(Answer::Done))],
        ..Effects::default()
    };
    let mut host = Host { is_broken: true, ..Host::default() };
    assert!(effects.finish(&mut host).is_err());
    assert_eq!(host.calls, ["write"]);
}

#[test]
fn a_fresh_member_opens_once_its_first_window_is_applied() {
    let disk = Arc::new(Disk::default());
    let mut member = Member::start(&disk);
    // The first turn only writes: a vote for itself, and then the entry of its term.
    assert!(member.turn().iter().all(|call| call == "persist"));
    assert!(!member.core.leads(Moment(2)));
    let calls = member.settle().join(", ");
    let made = calls.find("claim 7").expect("the cluster is made");
    let opened = calls.find("open").expect("timestamps are counted");
    let extended = calls.find("extend").expect("and may be handed out");
    assert!(made < opened && opened < extended, "{calls}");
    assert!(calls[..extended].ends_with("write, "), "the window is written first: {calls}");
    assert!(calls[extended..].contains("lease true"), "{calls}");
    assert!(member.core.leads(Moment(2)));
    let taken = member.host.desk.take(1, 1_000).expect("within the window");
    assert!(member.host.desk.release(taken, Moment(2)).is_some());
}

/// A crash between the entry that makes the cluster and the mark in the directory leaves no mark.
#[test]
fn a_directory_is_claimed_after_every_start() {
    let disk = Arc::new(Disk::default());
    assert!(Member::start(&disk).settle().contains(&"claim 7".to_owned()));
    let mut again = Member::start(&disk);
    assert_eq!(again.turn().first().map(String::as_str), Some("persist"));
    let claims = |calls: &[String]| calls.iter().filter(|call| call.starts_with("claim")).count();
    let mut third = Member::start(&disk);
    let calls = third.settle();
    assert_eq!(claims(&calls), 1, "{calls:?}");
    third.clocks.now = Moment(2);
    assert_eq!(claims(&third.settle()), 0, "once is enough");
}

#[test]
fn a_disk_that_stands_still_ends_the_lead_without_being_told() {
    let disk = Arc::new(Disk::default());
    let mut member = Member::start(&disk);
    member.settle();
    member.clocks.now = Moment(10);
    member.tell(Input::AllocIds { count: 1, ticket: 1 });
    member.turn();
    assert!(member.host.replies.is_empty(), "the window of ids is not durable");
    let gate = Timing::default().gate;
    let end = Moment(10) + gate;
    assert!(
        member.core.next_deadline(member.clocks.now) <= end,
        "who waits for the end hears of it"
    );
    assert!(member.core.leads(Moment(end.0 - 1)) && !member.core.leads(end));
    let taken = member.host.desk.take(1, 1_000).expect("within the window");
    assert_eq!(member.host.desk.release(taken, end), None, "no timestamp leaves either");
    member.clocks.now = end + Span::from_millis(1);
    member.tell(Input::AllocIds { count: 1, ticket: 2 });
    member.settle();
    let outcomes: Vec<_> = member.host.replies.iter().map(|(ticket, it)| (*ticket, it)).collect();
    let [(2, Err(Denied::NotLeader)), (1, Ok(Answer::Ids(batch)))] = outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!((batch.first, batch.last), (1, 1));
    assert!(member.core.leads(member.clocks.now), "the disk is back");
}

#[test]
fn a_registered_store_makes_the_first_regions_and_an_earlier_run_is_refused() {
    let disk = Arc::new(Disk::default());
    let mut member = Member::start(&disk);
    member.settle();
    let store = |run| {
        let (id, address) = (StoreId(900), "a:1".to_owned());
        Box::new(StoreRecord {
            id,
            address,
            incarnation: Incarnation(run),
            ..StoreRecord::default()
        })
    };
    member.tell(Input::PutStore { store: store(2), ticket: 1 });
    member.settle();
    assert_eq!(member.host.replies.pop(), Some((1, Ok(Answer::Done))));
    let plan = member.core.state().bootstrap().expect("one store is enough for one replica");
    assert_eq!(plan.regions.len(), 2);
    member.tell(Input::PutStore { store: store(1), ticket: 2 });
    member.settle();
    assert!(matches!(member.host.replies.pop(), Some((2, Err(Denied::Refused(_))))));
}

#[test]
fn a_member_that_ends_leaves_nobody_without_an_answer() {
    let disk = Arc::new(Disk::default());
    let mut member = Member::start(&disk);
    member.settle();
    member.tell(Input::AllocIds { count: 1, ticket: 1 });
    let store = StoreRecord { id: StoreId(9), address: "a:1".to_owned(), ..StoreRecord::default() };
    member.tell(Input::PutStore { store: Box::new(store), ticket: 2 });
    member.turn();
    member.core.close(&mut member.effects);
    member.effects.finish(&mut member.host).expect("sound");
    let told: Vec<_> =
        member.host.replies.iter().map(|(ticket, it)| (*ticket, it.is_err())).collect();
    assert_eq!(told, [(1, true), (2, true)]);
    assert_eq!(member.host.desk.take(1, 1_000).err(), Some(TsoError::NoReign));
}

fn region(id: u64, range: (&'static str, &'static str), version: u64) -> Region {
    let peers = (1..=3).map(|store| Peer::voter(PeerId(100 * id + store), StoreId(store)));
    let epoch = Epoch { version: Version(version), ..Epoch::FIRST };
    let range = KeyRange::new(range.0, range.1);
    Region { id: RegionId(id), range, epoch, peers: peers.collect() }
}

fn heartbeat(region: &Region) -> Input<u32> {
    let (region, leader) = (region.clone(), region.peers[0]);
    Input::RegionHeartbeat(Box::new(RegionReport { region, leader, ..RegionReport::default() }))
}

fn ask_split(region: &Region, children: u32, ticket: u32) -> Input<u32> {
    Input::AskSplit { region: Box::new(region.clone()), children, ticket }
}

#[test]
fn the_ids_of_a_split_come_from_the_windows_of_all_ids() {
    let disk = Arc::new(Disk::default());
    let mut member = Member::start(&disk);
    member.tell(ask_split(&region(2, ("", ""), 1), 1, 1));
    assert_eq!(member.effects.replies, [(1, Err(Denied::NotLeader))]);
    member.settle();
    member.host.replies.clear();
    let known = region(2, ("", ""), 1);
    member.tell(ask_split(&known, 2, 2));
    member.tell(heartbeat(&known));
    member.tell(ask_split(&known, 2, 3));
    member.tell(Input::AllocIds { count: 1, ticket: 4 });
    member.tell(ask_split(&known, 0, 5));
    assert!(!member.turn().is_empty());
    let refused = [
        (2, Err(Denied::Split(SplitRefusal::Unknown(RegionId(2))))),
        (5, Err(Denied::Split(SplitRefusal::NoChildren(RegionId(2))))),
    ];
    assert_eq!(member.host.replies, refused, "the window is not durable");
    member.settle();
    let [(3, Ok(Answer::Ids(split))), (4, Ok(Answer::Ids(one)))] = member.host.replies[2..] else {
        panic!("{:?}", member.host.replies)
    };
    assert_eq!((split.first, split.last, one.first), (1, 8, 9), "four for each new region");
    let last = member.core.state().last_id();
    assert!(last >= 9, "{last}");
}

#[test]
fn a_split_that_was_carried_out_shows_before_its_leaders_report() {
    let disk = Arc::new(Disk::default());
    let mut member = Member::start(&disk);
    member.settle();
    let (parent, left, right) =
        (region(2, ("", ""), 1), region(3, ("", "m"), 2), region(2, ("m", ""), 2));
    member.tell(heartbeat(&parent));
    let report = |pieces: &[&Region], ticket| Input::ReportSplit {
        pieces: pieces.iter().copied().cloned().collect(),
        ticket,
    };
    member.tell(report(&[&right, &left], 1));
    member.tell(report(&[&left, &right], 2));
    member.settle();
    let [(1, Err(Denied::Split(SplitRefusal::NotPieces(_)))), (2, Ok(Answer::Done))] =
        member.host.replies[..]
    else {
        panic!("{:?}", member.host.replies)
    };
    let sight = member.core.leading(member.clocks.now).expect("it leads");
    let shown = sight.regions().scan(&KeyRange::all(), 9);
    let shown: Vec<_> = shown.iter().map(|info| (&info.region, info.leader)).collect();
    assert_eq!(shown, [(&left, None), (&right, Some(parent.peers[0]))]);
    member.tell(ask_split(&parent, 1, 3));
    member.settle();
    assert!(matches!(
        member.host.replies.last(),
        Some((3, Err(Denied::Split(SplitRefusal::Stale(_)))))
    ));
}

/// A member that leads, with four stores that are up and a region on three of them.
fn with_stores(disk: &Arc<Disk>) -> (Member, Region) {
    let mut member = Member::start(disk);
    member.settle();
    for id in 1..=4 {
        let (id, address) = (StoreId(id), format!("store-{id}:1"));
        let store = Box::new(StoreRecord { id, address, ..StoreRecord::default() });
        member.tell(Input::PutStore { store, ticket: 0 });
    }
    member.settle();
    for id in 1..=4 {
        let stats = Box::new(StoreStats::default());
        member.tell(Input::StoreHeartbeat { id: StoreId(id), stats, ticket: 0 });
    }
    let known = region(2, ("", ""), 1);
    member.tell(heartbeat(&known));
    member.settle();
    member.host.replies.clear();
    (member, known)
}

/// Only what is asked for happens from now on.
fn halt(member: &mut Member) {
    set(member, "halt-scheduling", "true");
    assert!(member.core.state().policy().settings.is_halted);
}

fn set(member: &mut Member, name: &str, value: &str) {
    let settings = vec![(name.to_owned(), value.to_owned())];
    let change = Box::new(Decided::Settings(settings));
    member.tell(Input::Administer { change, ticket: 0 });
    member.settle();
    member.host.replies.clear();
}

fn add(change: Change, ticket: u32) -> Input<u32> {
    let asked = AskedChange { region: RegionId(2), change, asked_by: "test" };
    Input::Operate { wish: Wish::Change(Box::new(asked)), ticket }
}

fn is_order(event: &OperatorEvent) -> bool {
    matches!(event, OperatorEvent::Ordered(_))
}

/// Which store is slow is recorded, so that the next reign goes on with it.
#[test]
fn leads_leave_a_slow_store_also_in_the_next_reign() {
    let disk = Arc::new(Disk::default());
    let (mut member, known) = with_stores(&disk);
    // The regions of these tests have more replicas than the cluster asks for.
    set(&mut member, "enable-remove-extra-replica", "false");
    let report = |member: &mut Member, slow_score| {
        for id in 1..=4 {
            let slow_score = if id == 1 { slow_score } else { 1 };
            let stats = Box::new(StoreStats { slow_score, ..StoreStats::default() });
            member.tell(Input::StoreHeartbeat { id: StoreId(id), stats, ticket: 0 });
        }
        member.tell(heartbeat(&known));
    };
    let evicts = |member: &Member| {
        let is_it = |event: &OperatorEvent| matches!(event, OperatorEvent::Begun(begun) if begun.asked_by == "evict-slow-store");
        member.host.operators.iter().any(is_it)
    };
    report(&mut member, 79);
    member.pass(Span::from_millis(10_000));
    assert!(!evicts(&member));
    report(&mut member, 80);
    member.pass(Span::from_millis(10_000));
    member.settle();
    assert!(evicts(&member), "{:?}", member.host.operators);
    let slow = |member: &Member| {
        let schedulers = &member.core.state().policy().schedulers;
        schedulers[&SchedulerName::EvictSlowStore].stores.iter().copied().collect::<Vec<_>>()
    };
    assert_eq!(slow(&member), [StoreId(1)]);
    drop(member);
    let mut next = Member::start(&disk);
    next.pass(Span::from_millis(2_000));
    next.settle();
    assert_eq!(slow(&next), [StoreId(1)]);
    report(&mut next, 1);
    next.pass(Span::from_millis(10_000));
    assert!(evicts(&next), "it was slow a short time ago");
}

/// What was recorded holds for whoever leads next, and nothing is buried that holds a region.
#[test]
fn a_store_that_leaves_is_emptied_and_then_buried() {
    let disk = Arc::new(Disk::default());
    let (mut member, mut known) = with_stores(&disk);
    let gone = StoreId(3);
    let remove = |ticket| Input::RemoveStore { id: gone, leave: Leave::Lost, ticket };
    let state = |member: &Member| member.core.state().stores()[&gone].state;
    member.tell(remove(1));
    member.settle();
    let refused = member.host.replies.pop();
    assert!(matches!(refused, Some((1, Err(Denied::Removal(_))))), "it is up: {refused:?}");
    member.tell(Input::OpenLine { id: gone, run: Incarnation(1), ticket: 0 });
    member.tell(Input::BreakLine { id: gone, run: Incarnation(1) });
    member.tell(remove(2));
    member.settle();
    assert_eq!(member.host.replies.pop(), Some((2, Ok(Answer::Done))));
    assert_eq!(state(&member), StoreState::Offline);
    member.pass(drain::PAUSE);
    let begun = member.host.operators.iter().filter(|it| matches!(it, OperatorEvent::Begun(_)));
    assert_eq!(begun.count(), 1, "once, and not with each look");
    assert!(member.host.operators.iter().any(is_order), "{:?}", member.host.operators);
    // One look more, and so near to the next one the member has nothing of its own to do before.
    member.pass(drain::PAUSE);
    member.clocks.now = member.clocks.now + drain::PAUSE;
    member.settle();
    let next_look = member.clocks.now + drain::PAUSE;
    member.clocks.now = Moment(next_look.0 - Span::from_millis(1).0);
    member.settle();
    assert_eq!(member.core.next_deadline(member.clocks.now), next_look);
    known.peers.retain(|peer| peer.store != gone);
    known.epoch.conf_ver.0 += 2;
    member.tell(heartbeat(&known));
    member.settle();
    assert_eq!(state(&member), StoreState::Offline, "not before the next look");
    member.pass(drain::PAUSE);
    assert_eq!(state(&member), StoreState::Tombstone);
    member.tell(remove(3));
    member.settle();
    assert_eq!(member.host.replies.pop(), Some((3, Err(Denied::Tombstone(gone)))));
    let mut again = Member::start(&disk);
    again.settle();
    assert_eq!(state(&again), StoreState::Tombstone);
}

#[test]
fn a_learner_that_nobody_works_on_is_removed() {
    let disk = Arc::new(Disk::default());
    let (mut member, mut known) = with_stores(&disk);
    halt(&mut member);
    let learner = known.peers.last_mut().expect("it has members");
    learner.role = flotilla_base::PeerRole::Learner;
    known.epoch.conf_ver.0 += 1;
    member.host.operators.clear();
    member.tell(heartbeat(&known));
    let due = member.clocks.now + leftover::GRACE;
    member.settle();
    member.clocks.now = Moment(due.0 - Span::from_millis(1).0);
    member.settle();
    assert_eq!(member.host.operators, []);
    assert!(member.core.next_deadline(member.clocks.now) <= due);
    member.clocks.now = due;
    member.settle();
    let begun = member.host.operators.iter().filter(|it| matches!(it, OperatorEvent::Begun(_)));
    assert_eq!(begun.count(), 1);
    assert!(member.host.operators.iter().any(is_order), "{:?}", member.host.operators);
}

#[test]
fn a_learner_that_was_asked_for_stays() {
    let disk = Arc::new(Disk::default());
    let (mut member, mut known) = with_stores(&disk);
    halt(&mut member);
    member.tell(add(Change::AddLearner(StoreId(4)), 1));
    member.settle();
    let begun = member.host.operators.iter().find_map(|event| match event {
        OperatorEvent::Begun(operator) => Some(operator.plan.steps.clone()),
        _ => None,
    });
    let Some(&[Step::AddLearner(learner)]) = begun.as_deref() else { panic!("{begun:?}") };
    known.peers.push(Peer { role: flotilla_base::PeerRole::Learner, ..learner });
    known.epoch.conf_ver.0 += 1;
    member.tell(heartbeat(&known));
    member.settle();
    let last = member.host.operators.last();
    assert!(matches!(last, Some(OperatorEvent::Ended(_))), "{last:?}");
    member.host.operators.clear();
    member.tell(heartbeat(&known));
    member.settle();
    member.clocks.now = member.clocks.now + leftover::GRACE;
    member.tell(heartbeat(&known));
    member.settle();
    assert_eq!(member.host.operators, []);
}

/// Ids are a promise that they are never given twice: no order carries one whose window is not applied.
#[test]
fn an_order_waits_for_the_ids_in_it() {
    let (mut member, known) = with_stores(&Arc::new(Disk::default()));
    // What is left of the window is too little for the second one, and the operator stands behind it.
    member.tell(Input::AllocIds { count: 600, ticket: 1 });
    member.settle();
    member.host.replies.clear();
    member.tell(Input::AllocIds { count: 600, ticket: 3 });
    member.tell(add(Change::AddPeer(StoreId(4)), 4));
    member.turn();
    assert!(member.host.replies.is_empty() && member.host.operators.is_empty(), "not durable yet");
    // Somebody else is faster.
    let mut changed = known;
    changed.epoch.version.0 += 1;
    member.tell(heartbeat(&changed));
    member.settle();
    let stale = member.host.replies.iter().find(|(ticket, _)| *ticket == 4);
    let Some((_, Err(Denied::Operator(OperatorRefusal::StaleEpoch { .. })))) = stale else {
        panic!("{:?}", member.host.replies)
    };
    member.tell(add(Change::AddPeer(StoreId(4)), 5));
    let calls = member.settle();
    assert_eq!(calls, ["reply", "begun", "order"]);
    assert_eq!(member.host.replies.last(), Some(&(5, Ok(Answer::Done))));
    let last = member.core.state().last_id();
    let Some(OperatorEvent::Ordered(order)) = member.host.operators.last() else { panic!("none") };
    let Command::ChangePeer(change) = order.command.clone() else { panic!("{order:?}") };
    assert!(change.peer.id.get() <= last && !change.peer.id.is_none(), "{order:?}");
    assert_eq!((order.epoch, order.leader), (changed.epoch, changed.peers[0]));
}

#[test]
fn operators_end_by_reports_by_time_and_by_hand() {
    let (mut member, known) = with_stores(&Arc::new(Disk::default()));
    member.tell(add(Change::TransferLeader(StoreId(2)), 1));
    member.tell(add(Change::TransferLeader(StoreId(3)), 2));
    assert_eq!(member.turn(), ["reply", "reply", "begun", "order"]);
    assert!(matches!(
        member.host.replies[..],
        [(1, Ok(Answer::Done)), (2, Err(Denied::Operator(OperatorRefusal::Busy { .. })))]
    ));
    let (led, leader) = (known.clone(), known.peers[1]);
    let report = RegionReport { region: led, leader, ..RegionReport::default() };
    member.tell(Input::RegionHeartbeat(Box::new(report)));
    member.turn();
    let ended = |member: &Member| match member.host.operators.last() {
        Some(OperatorEvent::Ended(ended)) => ended.ending,
        other => panic!("{other:?}"),
    };
    assert_eq!(ended(&member), Ending::Finished);

    member.tell(add(Change::TransferLeader(StoreId(1)), 3));
    member.turn();
    member.tell(Input::Operate { wish: Wish::Cancel(RegionId(2)), ticket: 4 });
    member.tell(Input::Operate { wish: Wish::Cancel(RegionId(2)), ticket: 5 });
    member.turn();
    assert!(matches!(ended(&member), Ending::Cancelled(_)));
    let last = member.host.replies.last();
    assert_eq!(last, Some(&(5, Err(Denied::NoOperator(RegionId(2))))));

    member.tell(add(Change::TransferLeader(StoreId(1)), 6));
    member.turn();
    let deadline = member.clocks.now + Span::from_millis(60_000);
    assert!(member.core.next_deadline(member.clocks.now) <= deadline);
    // So near to it the member has nothing of its own to do before.
    member.clocks.now = Moment(deadline.0 - Span::from_millis(1).0);
    member.settle();
    assert_eq!(member.core.next_deadline(member.clocks.now), deadline);
    member.clocks.now = deadline;
    member.settle();
    assert_eq!(ended(&member), Ending::TimedOut, "nobody has reported");
}

/// The second of two regions on the same stores has a better place for one of its replicas.
#[test]
fn regions_are_spread_and_each_is_answered_for() {
    let disk = Arc::new(Disk::default());
    let (mut member, _) = with_stores(&disk);
    halt(&mut member);
    for piece in [region(2, ("", "m"), 2), region(3, ("m", ""), 2)] {
        member.tell(heartbeat(&piece));
    }
    let scatter = |ids: &[u64], ticket| {
        let regions = ids.iter().copied().map(RegionId).collect();
        let wish = ScatterWish { regions, ..ScatterWish::default() };
        Input::Operate { wish: Wish::Scatter(wish), ticket }
    };
    member.tell(scatter(&[9], 1));
    member.tell(scatter(&[2], 2));
    member.tell(scatter(&[2, 3, 9], 3));
    member.settle();
    let outcome = |moving: &[u64], settled: &[u64], failed: &[u64]| {
        let ids = |ids: &[u64]| ids.iter().copied().map(RegionId).collect();
        let unknown = |id: &u64| (RegionId(*id), "it is not known".to_owned());
        let failed = failed.iter().map(unknown).collect();
        Ok(Answer::Scattered(ScatterOutcome { moving: ids(moving), settled: ids(settled), failed }))
    };
    assert_eq!(
        member.host.replies,
        [
            (1, Err(Denied::UnknownRegion(RegionId(9)))),
            (2, outcome(&[], &[2], &[])),
            (3, outcome(&[2], &[3], &[9])),
        ]
    );
    let sight = member.core.leading(member.clocks.now).expect("it leads");
    let running = sight.operators().running(RegionId(2)).expect("it has begun");
    assert_eq!(running.asked_by, "scatter-region");
    let told = sight.mind().decisions().iter().next().expect("it is told");
    assert_eq!((told.decision.by, told.decision.region), ("scatter-region", RegionId(2)));
}

/// Who keeps leads away keeps them away from what is spread as well.
#[test]
fn no_lead_goes_to_a_store_that_is_kept_free_of_them() {
    let disk = Arc::new(Disk::default());
    let (mut member, _) = with_stores(&disk);
    halt(&mut member);
    // No replica may move.
    set(&mut member, "store-limit", "0");
    let regions = [region(2, ("", "b"), 2), region(3, ("b", "c"), 2), region(4, ("c", ""), 2)];
    regions.iter().for_each(|region| member.tell(heartbeat(region)));
    let regions: BTreeSet<RegionId> = regions.iter().map(|region| region.id).collect();
    let mut moving = |evicted: Option<SchedulerPolicy>| {
        let change = Box::new(Decided::Scheduler(SchedulerName::EvictLeader, evicted));
        member.tell(Input::Administer { change, ticket: 0 });
        member.settle();
        let wish = ScatterWish { regions: regions.clone(), ..ScatterWish::default() };
        member.tell(Input::Operate { wish: Wish::Scatter(wish), ticket: 1 });
        member.settle();
        match member.host.replies.last() {
            Some((1, Ok(Answer::Scattered(outcome)))) => outcome.moving.len(),
            other => panic!("{other:?}"),
        }
    };
    let stores = (2..=4).map(StoreId).collect();
    assert_eq!(moving(Some(SchedulerPolicy { stores, ..SchedulerPolicy::default() })), 0);
    assert_eq!(moving(None), 2, "one stays where it is");
}

/// A rule is recorded where there are stores for it, and by nobody who has not seen the last ones.
#[test]
fn rules_are_recorded_once_and_only_where_there_are_stores_for_them() {
    let disk = Arc::new(Disk::default());
    let (mut member, _) = with_stores(&disk);
    let book = |member: &Member, count: u32, key: Option<&str>| {
        let policy = member.core.state().policy();
        let constraint = |key: &str| LabelConstraint {
            key: key.to_owned(),
            op: LabelOp::Exists,
            values: Vec::new(),
        };
        let constraints = key.map(constraint).into_iter().collect();
        let rule = Rule { count, constraints, ..policy.default_rule() };
        Box::new(policy.edit_rules(vec![RuleEdit::Put(Box::new(rule))]).expect("possible"))
    };
    let put =
        |change, ticket| Input::Administer { change: Box::new(Decided::Rules(change)), ticket };
    let four = book(&member, 4, None);
    for (ticket, book) in [
        (1, book(&member, 5, None)),
        (2, book(&member, 0, None)),
        (3, book(&member, 3, Some("disk"))),
        (4, four.clone()),
    ] {
        member.tell(put(book, ticket));
        member.settle();
    }
    member.tell(put(four, 5));
    member.settle();
    let told = |ticket: u32| {
        let mut replies = member.host.replies.iter();
        let found = replies.find(|(own, _)| *own == ticket).expect("answered");
        found.1.as_ref().map_err(ToString::to_string).cloned()
    };
    for (ticket, part) in [
        (1, "4 of 4 stores"),
        (2, "its count is 0. A number from 1 to 7 is possible"),
        (3, "No store has a label disk"),
        (5, "others"),
    ] {
        let refusal = told(ticket).expect_err("refused");
        assert!(ticket == 5 || refusal.contains(part), "no {part:?} in {refusal}");
    }
    assert_eq!(told(4), Ok(Answer::Done));
    let rules = &member.core.state().policy().rules;
    assert_eq!((rules.revision(), rules.rules()[0].count), (1, 4));
}

#[test]
fn operators_are_gone_with_their_reign() {
    let disk = Arc::new(Disk::default());
    let (mut member, _) = with_stores(&disk);
    member.tell(add(Change::AddPeer(StoreId(4)), 1));
    member.settle();
    assert!(member.host.operators.iter().any(is_order));
    let count = |member: &Member| {
        let sight = member.core.leading(member.clocks.now);
        sight.map(|sight| sight.operators().len())
    };
    assert_eq!(count(&member), Ok(1));
    let mut next = Member::start(&disk);
    next.tell(add(Change::AddPeer(StoreId(4)), 1));
    next.tell(Input::Operate { wish: Wish::Cancel(RegionId(2)), ticket: 2 });
    assert_eq!(next.effects.replies, [(1, Err(Denied::NotLeader)), (2, Err(Denied::NotLeader))]);
    next.clocks.now = Moment(2);
    next.settle();
    assert_eq!(count(&next), Ok(0));
}
