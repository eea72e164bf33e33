//! Tests of apply and load.

use flotilla_base::{
    ConfVer, Epoch, Incarnation, Peer, PeerId, PeerRole, ReadError, Region, RegionId, Version,
    storage::KvRead,
};
use flotilla_damage::{assert_canonical, damaged_records};
use proptest::prelude::*;

use super::*;
use crate::{
    BootstrapRegion,
    ids::IdPool,
    plan_bootstrap,
    rule::tests::{any_book, book},
};

/// The records of a state as an engine keeps them.
#[derive(Default)]
struct Records(BTreeMap<Bytes, Bytes>);

impl Records {
    fn write(&mut self, records: Vec<Mutation>) {
        for record in records {
            match record {
                Mutation::Put(Family::RaftMeta, key, value) => drop(self.0.insert(key, value)),
                Mutation::Delete(Family::RaftMeta, key) => drop(self.0.remove(&key)),
                other => panic!("the state only writes raftmeta, got {other:?}"),
            }
        }
    }
}

impl KvRead for Records {
    fn get(&self, _family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        _family: Family,
        range: &KeyRange,
        _direction: ScanDirection,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let mut pairs = self.0.iter().filter(|(key, _)| range.contains(key));
        pairs.all(|(key, value)| visit(key, value));
        Ok(())
    }
}

/// A member: its state and what it has written.
#[derive(Default)]
struct Member {
    last: Index,
    state: MetaState,
    records: Records,
}

impl Member {
    fn apply_in(
        &mut self,
        proposed: u64,
        term: u64,
        change: MetaChange,
    ) -> Result<Answer, Refusal> {
        self.last = self.last.next();
        let at = EntryPosition { index: self.last, term: Term(term) };
        let data = MetaCommand { term: Term(proposed), change }.encode();
        let applied = self.state.apply(at, &data).expect("a known command");
        self.records.write(applied.records);
        assert_eq!(
            MetaState::load(&self.records),
            Ok(self.state.clone()),
            "restart at {}",
            self.last
        );
        applied.outcome.expect("a command has an outcome")
    }

    fn apply(&mut self, change: MetaChange) -> Result<Answer, Refusal> {
        self.apply_in(6, 6, change)
    }
}

fn initialised() -> Member {
    let mut member = Member::default();
    let cluster = Cluster { id: ClusterId(77), max_replicas: 3 };
    assert_eq!(member.apply(MetaChange::InitCluster(cluster)), Ok(Answer::Done));
    member
}

fn store(id: u64, port: u16) -> StoreRecord {
    StoreRecord {
        id: StoreId(id),
        address: format!("127.0.0.1:{port}"),
        labels: vec![("zone".to_owned(), "north".to_owned())],
        start_unix_s: -5,
        incarnation: Incarnation(1),
        ..StoreRecord::default()
    }
}

#[test]
fn identity_is_given_once() {
    let mut member = Member::default();
    assert_eq!(member.apply(MetaChange::AllocWindow { ids: 1 }), Err(Refusal::NotInitialized));
    let mut member = initialised();
    let other = Cluster { id: ClusterId(78), max_replicas: 1 };
    assert_eq!(
        member.apply(MetaChange::InitCluster(other)),
        Err(Refusal::AlreadyInitialized(ClusterId(77)))
    );
    assert_eq!(member.state.cluster().map(|cluster| cluster.id), Some(ClusterId(77)));
}

#[test]
fn windows_follow_each_other() {
    let mut member = initialised();
    let first = member.apply(MetaChange::AllocWindow { ids: IdPool::window_for(1) });
    assert_eq!(first, Ok(Answer::Ids(IdBatch { first: 1, last: 1000 })));
    let second = member.apply(MetaChange::AllocWindow { ids: 1000 });
    assert_eq!(second, Ok(Answer::Ids(IdBatch { first: 1001, last: 2000 })));
    assert_eq!(member.apply(MetaChange::AllocWindow { ids: u64::MAX }), Err(Refusal::IdsUsedUp));
    let window = |end_ms| MetaChange::TsoWindow { end_ms };
    assert_eq!(member.apply(window(500)), Ok(Answer::TsoWindow { end_ms: 500 }));
    let behind = Refusal::TsoWindowBehind { current_ms: 500, asked_ms: 500 };
    assert_eq!(member.apply(window(500)), Err(behind));
}

#[test]
fn a_command_of_another_term_is_discarded() {
    let mut member = initialised();
    let stale = Refusal::StaleTerm { proposed: Term(6), applied: Term(7) };
    assert_eq!(member.apply_in(6, 7, MetaChange::AllocWindow { ids: 10 }), Err(stale));
    assert_eq!(member.state.last_id(), 0);
}

#[test]
fn the_entry_that_opens_a_term_changes_nothing() {
    let mut member = initialised();
    let before = member.state.clone();
    let at = EntryPosition { index: Index(9), term: Term(8) };
    assert_eq!(member.state.apply(at, &Bytes::new()), Ok(Applied::default()));
    assert_eq!(member.state, before);
}

#[test]
fn an_unknown_command_stops_before_any_effect() {
    let mut member = initialised();
    let before = member.state.clone();
    let newer = flotilla_base::codec::RecordWriter::new(9).finish();
    let at = EntryPosition { index: Index(2), term: Term(6) };
    let cause = CodecError::UnknownVersion(9);
    assert_eq!(member.state.apply(at, &newer), Err(MetaError::Entry { index: Index(2), cause }));
    assert_eq!(member.state, before);
}

#[test]
fn a_damaged_record_is_named() {
    let mut member = initialised();
    member.records.0.insert(Bytes::from_static(b"\x80cluster"), Bytes::from_static(b"nonsense"));
    let error = MetaState::load(&member.records).expect_err("damaged");
    assert!(error.to_string().contains("cluster"), "{error}");
}

#[test]
fn stores_register_and_return() {
    let mut member = initialised();
    assert_eq!(member.apply(MetaChange::PutStore(store(1, 20160))), Ok(Answer::Done));
    let moved = StoreRecord { incarnation: Incarnation(2), ..store(1, 20170) };
    assert_eq!(member.apply(MetaChange::PutStore(moved.clone())), Ok(Answer::Done));
    assert_eq!(member.state.stores()[&StoreId(1)], moved);
    let copy = member.apply(MetaChange::PutStore(store(1, 20160))).expect_err("an older run");
    assert!(matches!(copy, Refusal::StaleIncarnation { .. }));
    let nameless = StoreRecord { incarnation: Incarnation(0), ..moved.clone() };
    assert_eq!(member.apply(MetaChange::PutStore(nameless)), Ok(Answer::Done));
    assert_eq!(
        member.state.stores()[&StoreId(1)],
        moved,
        "a run that is not named is the last one"
    );
    assert_eq!(
        member.apply(MetaChange::PutStore(store(0, 20160))),
        Err(Refusal::IncompleteStore(StoreId(0)))
    );
}

#[test]
fn a_wiped_store_is_told_what_to_do() {
    let mut member = initialised();
    member.apply(MetaChange::PutStore(store(1, 20160))).expect("free address");
    let twin = member.apply(MetaChange::PutStore(store(2, 20160))).expect_err("taken address");
    let text = twin.to_string();
    for part in
        ["duplicated store address", "store 2", "store 1", "data directory", "store remove 1"]
    {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    let by_peer_address =
        StoreRecord { peer_address: "127.0.0.1:20160".to_owned(), ..store(3, 20163) };
    assert!(member.apply(MetaChange::PutStore(by_peer_address)).is_err());
}

#[test]
fn a_store_leaves_step_by_step_and_frees_its_address() {
    let mut member = initialised();
    for id in 1..=3 {
        member
            .apply(MetaChange::PutStore(store(id, 20160 + u16::try_from(id).expect("small"))))
            .expect("free");
    }
    let (remove, bury) = (MetaChange::RemoveStore(StoreId(3)), MetaChange::BuryStore(StoreId(3)));
    let few = Refusal::TooFewStores { store: StoreId(3), left: 2, replicas: 3 };
    assert_eq!(member.apply(remove.clone()), Err(few));
    member.apply(MetaChange::PutStore(store(4, 20164))).expect("free");
    assert_eq!(member.apply(bury.clone()), Err(Refusal::NotOffline(StoreId(3))));
    assert_eq!(member.apply(remove.clone()), Ok(Answer::Done));
    let new = store(5, 20163);
    assert!(member.apply(MetaChange::PutStore(new.clone())).is_err(), "it is not gone yet");
    assert_eq!(member.apply(remove.clone()), Ok(Answer::Done), "told again");
    let another = member.apply(MetaChange::RemoveStore(StoreId(4)));
    assert!(matches!(another, Err(Refusal::TooFewStores { left: 2, .. })), "{another:?}");
    assert_eq!(member.apply(bury.clone()), Ok(Answer::Done));
    assert_eq!(member.state.stores()[&StoreId(3)].state, StoreState::Tombstone);
    assert_eq!(member.apply(bury), Ok(Answer::Done), "told again");
    assert_eq!(member.apply(remove), Err(Refusal::Tombstone(StoreId(3))));
    assert_eq!(member.apply(MetaChange::PutStore(new)), Ok(Answer::Done));
    let back = member.apply(MetaChange::PutStore(store(3, 20173)));
    assert_eq!(back, Err(Refusal::Tombstone(StoreId(3))));
    for unknown in [MetaChange::RemoveStore(StoreId(9)), MetaChange::BuryStore(StoreId(9))] {
        assert_eq!(member.apply(unknown), Err(Refusal::UnknownStore(StoreId(9))));
    }
}

#[test]
fn what_is_forgotten_is_listed_no_more_and_never_comes_back() {
    let mut member = initialised();
    for id in 1..=5 {
        let port = 20_160 + u16::try_from(id).expect("small");
        member.apply(MetaChange::PutStore(store(id, port))).expect("free");
    }
    let (third, gone) = (StoreId(3), [StoreId(3), StoreId(4)]);
    let forget = MetaChange::ForgetStores(gone.into());
    let treated = StorePolicy { leader_weight_permille: 7, ..StorePolicy::USUAL };
    member.apply(MetaChange::TreatStore(third, treated)).expect("it is there");
    for (name, stores) in [
        (SchedulerName::EvictLeader, vec![third]),
        (SchedulerName::GrantLeader, vec![StoreId(1), StoreId(4)]),
    ] {
        let policy =
            SchedulerPolicy { stores: stores.into_iter().collect(), ..SchedulerPolicy::default() };
        member.apply(MetaChange::Schedule(name, Some(policy))).expect("they are there");
    }
    let refused = |id| Err(Refusal::Policy(PolicyRefusal::NotGone(StoreId(id))));
    assert_eq!(member.apply(forget.clone()), refused(3));
    member.apply(MetaChange::RemoveStore(third)).expect("four stay");
    assert_eq!(member.apply(forget.clone()), refused(3), "it is not empty yet");
    member.apply(MetaChange::BuryStore(third)).expect("it leaves");
    assert_eq!(member.apply(forget.clone()), refused(4), "all or none");
    assert!(member.state.stores().contains_key(&third));
    member.apply(MetaChange::RemoveStore(StoreId(4))).expect("three stay");
    member.apply(MetaChange::BuryStore(StoreId(4))).expect("it leaves");
    assert_eq!(member.apply(forget.clone()), Ok(Answer::Done));
    let listed: Vec<u64> = member.state.stores().keys().map(|id| id.get()).collect();
    assert_eq!(listed, [1, 2, 5]);
    let policy = member.state.policy();
    assert!(!policy.stores.contains_key(&third));
    assert!(!policy.schedulers.contains_key(&SchedulerName::EvictLeader), "it is for nobody");
    let granted = policy.schedulers.get(&SchedulerName::GrantLeader).map(|it| &it.stores);
    assert_eq!(granted, Some(&[StoreId(1)].into()));
    // For ever, also behind a start, which every command of these tests stands for.
    for id in gone {
        let gone = Err(Refusal::Tombstone(id));
        assert_eq!(member.apply(MetaChange::PutStore(store(id.get(), 20_180))), gone);
        assert_eq!(member.apply(MetaChange::RemoveStore(id)), gone);
        assert_eq!(member.apply(MetaChange::KeepStore(id)), gone);
        assert_eq!(member.apply(MetaChange::TreatStore(id, StorePolicy::USUAL)), gone);
        assert_eq!(member.state.life(id), Some(StoreState::Tombstone));
    }
    assert_eq!(member.apply(MetaChange::BuryStore(third)), Ok(Answer::Done), "told again");
    assert_eq!(member.apply(forget), Ok(Answer::Done), "told again");
    let unknown = member.apply(MetaChange::ForgetStores(vec![StoreId(9)]));
    assert_eq!(unknown, Err(Refusal::UnknownStore(StoreId(9))));
    let heir = member.apply(MetaChange::PutStore(store(6, 20_163)));
    assert_eq!(heir, Ok(Answer::Done), "its address is free");
}

#[test]
fn stores_do_not_decide_over_their_life() {
    let mut member = initialised();
    member.apply(MetaChange::PutStore(store(1, 20160))).expect("free address");
    member.state.stores.get_mut(&StoreId(1)).expect("registered").state = StoreState::Tombstone;
    assert_eq!(member.state.check_store(&store(1, 20160)), Err(Refusal::Tombstone(StoreId(1))));
    assert_eq!(member.state.check_store(&store(2, 20160)), Ok(()), "a tombstone's address is free");
    member.state.stores.get_mut(&StoreId(1)).expect("registered").state = StoreState::Offline;
    member.records = Records::default();
    let at = EntryPosition { index: Index(50), term: Term(6) };
    let change = MetaChange::PutStore(store(1, 20160));
    member.state.apply(at, &MetaCommand { term: Term(6), change }.encode()).expect("known");
    assert_eq!(member.state.stores()[&StoreId(1)].state, StoreState::Offline);
}

#[test]
fn bootstraps_once() {
    let mut member = initialised();
    for id in 1..=3 {
        let port = 20160 + u16::try_from(id).expect("small");
        member.apply(MetaChange::PutStore(store(id, port))).expect("free address");
    }
    let ids = IdBatch { first: 1, last: 8 };
    let plan = plan_bootstrap(member.state.stores(), 3, ids, 1).expect("three stores");
    let early = member.apply(MetaChange::Bootstrap(plan.clone())).expect_err("ids never granted");
    assert!(matches!(early, Refusal::BadBootstrap(_)));
    member.apply(MetaChange::AllocWindow { ids: 8 }).expect("granted");
    assert_eq!(member.apply(MetaChange::Bootstrap(plan.clone())), Ok(Answer::Done));
    assert_eq!(
        member.apply(MetaChange::Bootstrap(plan.clone())),
        Err(Refusal::AlreadyBootstrapped)
    );
    assert_eq!(member.state.bootstrap(), Some(&plan));
}

/// Stores 1 to `count`, of which the first is in a zone of its own.
fn member_with_stores(count: u64) -> Member {
    let mut member = initialised();
    for id in 1..=count {
        let zone = if id == 1 { "south" } else { "north" };
        let labels = vec![("zone".to_owned(), zone.to_owned())];
        let port = 20160 + u16::try_from(id).expect("small");
        let record = StoreRecord { labels, ..store(id, port) };
        member.apply(MetaChange::PutStore(record)).expect("free address");
    }
    member
}

#[test]
fn a_store_that_a_rule_needs_does_not_leave() {
    let removed = |stores, rules: &str, id| {
        let mut member = member_with_stores(stores);
        member.apply(MetaChange::PutRules { revision: 0, book: book(rules) }).expect("sound");
        member.apply(MetaChange::RemoveStore(StoreId(id)))
    };
    let south = "a/a voter 1 zone:in=south; a/b voter 2";
    let needed = removed(5, south, 1).expect_err("there is no other").to_string();
    for part in ["store 1 cannot be removed: without it placement rule \"a/a\"", "the zone north"] {
        assert!(needed.contains(part), "{needed:?} lacks {part:?}");
    }
    assert_eq!(removed(5, south, 2), Ok(Answer::Done));
    let five = Refusal::TooFewStores { store: StoreId(2), left: 4, replicas: 5 };
    assert_eq!(removed(5, "a/a voter 5", 2), Err(five));
    assert_eq!(removed(3, "a/a voter 1", 2), Ok(Answer::Done), "no key has three replicas");
    // Nobody has it: that is not the fault of whoever goes.
    assert_eq!(removed(4, "a/a voter 2; a/b voter 1 zone:in=west", 2), Ok(Answer::Done));
}

#[test]
fn replicas_that_nobody_could_hold_are_not_asked_for() {
    let set = |member: &Member, settings: &[(&str, &str)]| {
        let owned = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        member.state.check_new_settings(&owned.collect::<Vec<_>>()).map_err(|it| it.to_string())
    };
    let mut member = member_with_stores(3);
    assert_eq!(set(&member, &[("max-replicas", "7")]), Ok(()), "the stores are still to come");
    let ids = IdBatch { first: 1, last: 8 };
    let plan = plan_bootstrap(member.state.stores(), 3, ids, 1).expect("three stores");
    member.apply(MetaChange::AllocWindow { ids: 8 }).expect("granted");
    member.apply(MetaChange::Bootstrap(plan)).expect("sound");
    let refused = set(&member, &[("max-replicas", "5")]).expect_err("three stores");
    assert!(refused.contains("3 of 3 stores") && refused.contains("A count of 3"), "{refused}");
    let isolated = [("location-labels", "zone"), ("isolation-level", "zone")];
    assert_eq!(set(&member, &isolated[..1]), Ok(()));
    let refused = set(&member, &isolated).expect_err("two zones");
    assert!(refused.contains("in 2 places of the kind zone"), "{refused}");
    assert_eq!(set(&member, &[("halt-scheduling", "true")]), Ok(()));
    // Whoever has got there somehow comes back step by step.
    let seven = MetaChange::Set(vec![("max-replicas".to_owned(), "7".to_owned())]);
    member.apply(seven).expect("a member applies what was decided");
    assert_eq!(set(&member, &[("max-replicas", "5")]), Ok(()));
    assert_eq!(set(&member, &[("max-replicas", "3")]), Ok(()));
}

#[test]
fn rules_are_replaced_by_whoever_has_read_them() {
    let mut member = initialised();
    let put = |revision, text: &str| MetaChange::PutRules { revision, book: book(text) };
    assert_eq!(member.apply(put(0, "a/a voter 3")), Ok(Answer::Done));
    assert_eq!(member.state.policy().rules.revision(), 1);
    let stale = |asked| Err(PolicyRefusal::StaleRules { asked, known: 1 }.into());
    assert_eq!(member.apply(put(0, "a/b voter 3")), stale(0));
    assert_eq!(member.apply(put(2, "a/b voter 3")), stale(2));
    let refusal = member.apply(put(1, "a/b learner 3")).expect_err("nobody could lead");
    assert!(
        matches!(&refusal, Refusal::Policy(PolicyRefusal::Rule(rule)) if rule.rule == "a/b"),
        "{refusal}"
    );
    assert_eq!(member.state.policy().rules.rules(), book("a/a voter 3").rules());
    assert_eq!(member.apply(put(1, "")), Ok(Answer::Done));
    let rules = &member.state.policy().rules;
    assert_eq!((rules.revision(), rules.rules()), (2, &[][..]), "none is possible");
    let set = MetaChange::Set(vec![("max-replicas".to_owned(), "5".to_owned())]);
    assert_eq!(member.apply(put(2, "a/c voter 5")), Ok(Answer::Done));
    assert_eq!(member.apply(set), Ok(Answer::Done));
    assert_eq!(member.state.policy().rules.revision(), 3, "settings leave them as they are");
}

/// A small number, or any.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..9_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("127.0.0.1:20160".to_owned()), ".{0,9}"]
}

prop_compose! {
    fn store_records()(
        id in numbers(),
        texts in prop::array::uniform6(texts()),
        labels in prop::collection::vec((texts(), texts()), 0..3),
        start_unix_s: i64,
        incarnation in numbers(),
        state in prop::sample::select(vec![
            StoreState::Up, StoreState::Offline, StoreState::Tombstone,
        ]),
    ) -> StoreRecord {
        let [address, peer_address, status_address, version, git_hash, deploy_path] = texts;
        StoreRecord {
            id: StoreId(id),
            address,
            peer_address,
            status_address,
            version,
            git_hash,
            deploy_path,
            labels,
            start_unix_s,
            incarnation: Incarnation(incarnation),
            state,
        }
    }
}

prop_compose! {
    fn regions()(
        numbers in prop::array::uniform3(numbers()),
        keys in prop::array::uniform2(prop::collection::vec(any::<u8>(), 0..3)),
        peers in prop::collection::vec((numbers(), numbers(), prop::sample::select(vec![
            PeerRole::Voter, PeerRole::Learner, PeerRole::IncomingVoter, PeerRole::DemotingVoter,
        ])), 0..4),
    ) -> Region {
        let ([id, version, conf_ver], [start, end]) = (numbers, keys);
        let peer = |(id, store, role)| Peer { id: PeerId(id), store: StoreId(store), role };
        Region {
            id: RegionId(id),
            range: KeyRange::new(start, end),
            epoch: Epoch { version: Version(version), conf_ver: ConfVer(conf_ver) },
            peers: peers.into_iter().map(peer).collect(),
        }
    }
}

fn changes() -> impl Strategy<Value = MetaChange> {
    let planned = (regions(), numbers())
        .prop_map(|(region, leader)| BootstrapRegion { region, first_leader: PeerId(leader) });
    prop_oneof![
        (numbers(), any::<u32>()).prop_map(|(id, max_replicas)| {
            MetaChange::InitCluster(Cluster { id: ClusterId(id), max_replicas })
        }),
        numbers().prop_map(|ids| MetaChange::AllocWindow { ids }),
        numbers().prop_map(|end_ms| MetaChange::TsoWindow { end_ms }),
        store_records().prop_map(MetaChange::PutStore),
        (numbers(), prop::collection::vec(planned, 0..3))
            .prop_map(|(unix_s, regions)| MetaChange::Bootstrap(BootstrapPlan { unix_s, regions })),
        (0..2_u64, prop_oneof![3 => any_book(), 1 => Just(book("a/a voter 3 b..m"))])
            .prop_map(|(revision, book)| MetaChange::PutRules { revision, book }),
        prop::option::of((1..9_u64).prop_map(StoreId)).prop_map(MetaChange::NoteSlow),
        prop::collection::vec((0..4_u64).prop_map(StoreId), 0..3)
            .prop_map(MetaChange::ForgetStores),
    ]
}

fn commands() -> impl Strategy<Value = MetaCommand> {
    (numbers(), changes()).prop_map(|(term, change)| MetaCommand { term: Term(term), change })
}

/// What some member has written.
fn written() -> impl Strategy<Value = BTreeMap<Bytes, Bytes>> {
    prop::collection::vec(changes(), 0..6).prop_map(|changes| {
        let mut member = initialised();
        for change in changes {
            let _refused_alike_by_all = member.apply(change);
        }
        member.records.0
    })
}

/// People say whether it runs, and the mind which store it is for: neither takes back what the other one has said.
#[test]
fn which_store_is_slow_is_kept_beside_what_people_decide() {
    let mut member = initialised();
    let name = SchedulerName::EvictSlowStore;
    for (id, port) in [(1, 20_161), (2, 20_162)] {
        let put = MetaChange::PutStore(store(id, port));
        assert_eq!(member.apply(put), Ok(Answer::Done));
    }
    let slow = |member: &Member| {
        let known = member.state.policy().schedulers.get(&name);
        known.map(|known| (known.paused_until_unix_ms, known.stores.iter().copied().collect()))
    };
    let of = |ids: &[u64]| ids.iter().copied().map(StoreId).collect::<Vec<_>>();
    assert_eq!(member.apply(MetaChange::NoteSlow(Some(StoreId(2)))), Ok(Answer::Done));
    assert_eq!(slow(&member), Some((0, of(&[2]))));
    let unknown = member.apply(MetaChange::NoteSlow(Some(StoreId(9))));
    assert_eq!(unknown, Err(Refusal::UnknownStore(StoreId(9))));
    let mut run = |paused_until_unix_ms, ids: &[u64]| {
        let stores = of(ids).into_iter().collect();
        let policy = SchedulerPolicy { paused_until_unix_ms, stores };
        let applied = member.apply(MetaChange::Schedule(name, Some(policy)));
        (applied.is_ok(), slow(&member))
    };
    assert_eq!(run(7, &[2]), (true, Some((7, of(&[2])))));
    assert_eq!(run(8, &[]), (true, Some((8, of(&[2])))));
    assert_eq!(run(9, &[1]), (false, Some((8, of(&[2])))), "not for people to say");
    assert_eq!(member.apply(MetaChange::NoteSlow(None)), Ok(Answer::Done));
    assert_eq!(slow(&member), Some((8, of(&[]))));
    assert_eq!(member.apply(MetaChange::Schedule(name, None)), Ok(Answer::Done));
    assert_eq!(member.apply(MetaChange::NoteSlow(Some(StoreId(2)))), Ok(Answer::Done));
    assert_eq!(slow(&member), None, "it was removed meanwhile");
}

#[test]
fn a_count_that_lies_takes_no_memory() {
    for count in [1, u64::from(u32::MAX), u64::MAX] {
        let mut plan = flotilla_base::codec::RecordWriter::new(1);
        plan.number(6).byte(5).number(1).number(count);
        assert_eq!(MetaCommand::decode(&plan.finish()), Err(CodecError::Short), "{count}");
    }
}

proptest! {
    #[test]
    fn damaged_commands_are_refused_or_canonical(
        record in damaged_records(commands().prop_map(|command| command.encode().to_vec())),
    ) {
        let decode = |record: &[u8]| MetaCommand::decode(&Bytes::copy_from_slice(record));
        assert_canonical(&record, decode, |command| command.encode().to_vec());
    }

    /// Each member checks after each command that what it wrote gives the same state.
    #[test]
    fn any_commands_leave_a_state_that_is_read_back(
        changes in prop::collection::vec(changes(), 0..12),
    ) {
        let mut member = Member::default();
        for change in changes {
            let _refused_alike_by_all = member.apply(change);
        }
    }

    #[test]
    fn damaged_records_are_named_or_load(
        (mut records, spoilt) in written().prop_flat_map(|records| {
            let all: Vec<_> = records.values().map(|record| record.to_vec()).collect();
            (Just(records), damaged_records(prop::sample::select(all)))
        }),
        which: prop::sample::Index,
        name in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let key = records.keys().nth(which.index(records.len())).expect("one of them").clone();
        records.insert(key, spoilt.clone().into());
        let _named = MetaState::load(&Records(records.clone()));
        records.insert([record::STORE_PREFIX, &name].concat().into(), spoilt.into());
        let _named = MetaState::load(&Records(records));
    }

    #[test]
    fn keys_of_stores_sort_as_their_ids(a: u64, b: u64) {
        let key = |id| record::store_key(StoreId(id));
        prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, tag in 0..15_u8) {
        let mut writer = flotilla_base::codec::RecordWriter::new(1);
        writer.number(6).byte(tag);
        for byte in &bytes { writer.byte(*byte); }
        let _decoded = MetaCommand::decode(&writer.finish());
        let _decoded = MetaCommand::decode(&Bytes::from(bytes));
    }
}
