//! What is found on disk: whatever it says, a group is refused, or starts and works.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::Disk;
use flotilla_base::{Family, Index, KvRead, Moment, Mutation, PeerId, RegionId, Seeded, Term};
use flotilla_damage::damaged_records;
use flotilla_raftgroup::{
    ApplyState, Entry, Group, GroupConfig, GroupLimits, HardState, Initial, LogPosition, Message,
    MessageKind, Origin, RaftState, Timing, Voters, disk,
};
use proptest::prelude::*;

const GROUP: RegionId = RegionId(7);
const PEER: PeerId = PeerId(1);

/// A small number, or one of those that hurt.
fn numbers() -> impl Strategy<Value = u64> + Clone {
    let edges = vec![0, (1 << 62) - 1, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX];
    prop_oneof![12 => 0..12_u64, 1 => prop::sample::select(edges), 1 => any::<u64>()]
}

prop_compose! {
    fn raft_states()(numbers in prop::array::uniform5(numbers())) -> RaftState {
        let [term, vote, commit, index, last_term] = numbers;
        let hard_state = HardState { term: Term(term), vote: PeerId(vote), commit: Index(commit) };
        let last = LogPosition { term: Term(last_term), index: Index(index) };
        RaftState { hard_state, last }
    }
}

prop_compose! {
    fn apply_states()(numbers in prop::array::uniform6(numbers())) -> ApplyState {
        let [applied, applied_term, commit, truncated, truncated_term, clock_millis] = numbers;
        ApplyState {
            applied: LogPosition { term: Term(applied_term), index: Index(applied) },
            commit: Index(commit),
            truncated: LogPosition { term: Term(truncated_term), index: Index(truncated) },
            clock_millis,
        }
    }
}

fn record(put: Mutation) -> Vec<u8> {
    let Mutation::Put(_, _, record) = put else { panic!("a put") };
    record.to_vec()
}

fn put(key: Bytes, record: Vec<u8>) -> Mutation {
    Mutation::Put(Family::RaftMeta, key, record.into())
}

fn disk_with(batch: Vec<Mutation>) -> Disk {
    let mut disk = Disk::default();
    disk.write(batch);
    disk.crash(1);
    assert_eq!(disk.unsynced(), 0);
    disk
}

/// Entries as a log has them that begins behind `truncated` and ends at `last`, but for their terms.
fn log(truncated: Index, last: LogPosition, terms: &[u64]) -> Vec<Mutation> {
    let mut batch = Vec::new();
    let first = truncated.get().saturating_add(1);
    let indices = (first..=last.index.get()).take(20);
    for (index, term) in indices.zip(terms.iter().cycle()) {
        let term = if index == last.index.get() { last.term } else { Term(*term) };
        let (index, data) = (Index(index), Bytes::new());
        let entry = Entry { term, index, data, ..Entry::default() };
        let key = disk::entry_key(GROUP, index);
        batch.push(Mutation::Put(Family::RaftLog, key, disk::encode_entry(&entry)));
    }
    batch
}

/// Starts a group from `found`.
fn start(found: disk::Recovered, disk: &Disk) -> Group {
    let disk::Recovered { raft, apply } = found;
    let (timing, limits) = (Timing::default(), GroupLimits::default());
    let config = GroupConfig {
        group: GROUP,
        peer: PEER,
        seed: 1,
        run: 1,
        timing,
        limits,
        seeded: Seeded::NONE,
    };
    let initial = Initial {
        hard_state: raft.hard_state,
        voters: Voters { voters: vec![PEER, PeerId(2)], ..Voters::default() },
        applied: apply.applied.index,
        truncated: apply.truncated,
        last: raft.last,
        origin: Origin::Restarted,
    };
    let reader: Arc<dyn KvRead + Send + Sync> = Arc::clone(&disk.view) as _;
    Group::new(config, initial, reader, Moment(1)).expect("it was recovered")
}

/// Lets a group campaign, lead, and commit. Returns what it gave to be applied.
fn work(group: &mut Group) -> Vec<Entry> {
    let mut committed = Vec::new();
    for _ in 0..8 {
        group.wake(group.next_deadline());
        let term = group.role().term;
        for (kind, term) in [
            (MessageKind::RequestPreVoteResponse, term.next()),
            (MessageKind::RequestVoteResponse, term),
            (MessageKind::AppendResponse, term),
        ] {
            let answer = Message::new(kind, PeerId(2), PEER, term);
            let _refused_in_another_role =
                group.step(Moment(1), Message { index: group.last().index, ..answer });
        }
        while let Some(ready) = group.collect() {
            group.on_persisted(ready.number);
            if let Some(last) = ready.committed.last() {
                group.on_applied(last.index);
            }
            committed.extend(ready.committed);
        }
    }
    committed
}

/// A leader of term 9 is obeyed: it sends nothing new behind `index`, and says that all up to `commit` is committed.
fn obey(group: &mut Group, index: Index, log_term: Term, commit: Index) {
    let append = Message::new(MessageKind::Append, PeerId(2), PEER, Term(9));
    let append = Message { index, log_term, commit, ..append };
    let _refused_where_it_is_damaged = group.step(Moment(1), append);
}

proptest! {
    #[test]
    fn damaged_states_are_refused_or_canonical(
        raft in damaged_records(raft_states().prop_map(|it| record(disk::put_raft_state(GROUP, &it)))),
        apply in damaged_records(apply_states().prop_map(|it| record(disk::put_apply_state(GROUP, &it)))),
    ) {
        let disk = disk_with(vec![
            put(disk::meta_key(0x20, GROUP), raft),
            put(disk::meta_key(0x30, GROUP), apply),
        ]);
        let view = disk.view.as_ref();
        if let Ok(Some(state)) = disk::read_raft_state(view, GROUP) {
            let again = disk_with(vec![disk::put_raft_state(GROUP, &state)]);
            prop_assert_eq!(disk::read_raft_state(again.view.as_ref(), GROUP), Ok(Some(state)));
        }
        if let Ok(Some(state)) = disk::read_apply_state(view, GROUP) {
            let again = disk_with(vec![disk::put_apply_state(GROUP, &state)]);
            prop_assert_eq!(disk::read_apply_state(again.view.as_ref(), GROUP), Ok(Some(state)));
        }
        let _refused_for_want_of_entries = disk::recover(view, GROUP);
    }

    #[test]
    fn what_is_recovered_starts_and_works(
        raft in raft_states(),
        apply in apply_states(),
        terms in prop::collection::vec(numbers(), 1..9),
        is_sound in prop::bool::weighted(0.7),
    ) {
        let (mut raft, mut apply) = (raft, apply);
        if is_sound {
            // In the order that every state has, but for the terms.
            let mut indices = [apply.truncated.index, apply.applied.index, raft.last.index];
            indices.sort_unstable();
            [apply.truncated.index, apply.applied.index, raft.last.index] = indices;
        }
        if raft.last.index == apply.truncated.index {
            raft.last = apply.truncated;
        }
        let mut batch = log(apply.truncated.index, raft.last, &terms);
        batch.push(disk::put_raft_state(GROUP, &raft));
        batch.push(disk::put_apply_state(GROUP, &apply));
        let disk = disk_with(batch);
        if let Ok(Some(found)) = disk::recover(disk.view.as_ref(), GROUP) {
            prop_assert_eq!(found, disk::Recovered { raft, apply });
            let mut group = start(found, &disk);
            work(&mut group);
            prop_assert!(group.role().term >= raft.hard_state.term, "a term never falls");
            prop_assert!(group.committed() >= apply.applied.index, "what is applied is committed");
        }
    }

    /// The log was whole when the group started. Wherever it is not any more, the group never ends its process, and gives
    /// out nothing that was made up in the place of an entry.
    #[test]
    fn a_log_that_is_damaged_behind_the_start_ends_nothing(
        terms in prop::collection::vec(1..8_u64, 12),
        applied in 1..=12_u64,
        spoilt in 1..=12_u64,
        is_missing: bool,
        probes in prop::collection::vec((0..=13_u64, 0..=8_u64, 0..=12_u64), 0..6),
    ) {
        let mut terms = terms;
        terms.sort_unstable();
        let position = |index: u64| {
            let term = terms[usize::try_from(index - 1).expect("small")];
            LogPosition { term: Term(term), index: Index(index) }
        };
        let last = position(12);
        let hard_state = HardState { term: last.term, vote: PeerId(0), commit: Index(applied) };
        let raft = RaftState { hard_state, last };
        let apply = ApplyState {
            applied: position(applied),
            commit: Index(applied),
            truncated: LogPosition::default(),
            clock_millis: 0,
        };
        let mut disk = disk_with(log(Index(0), last, &terms));
        let mut group = start(disk::Recovered { raft, apply }, &disk);
        let key = disk::entry_key(GROUP, Index(spoilt));
        let damage = if is_missing {
            Mutation::Delete(Family::RaftLog, key)
        } else {
            Mutation::Put(Family::RaftLog, key, "?".into())
        };
        disk.write(vec![damage]);
        for (index, log_term, commit) in probes {
            obey(&mut group, Index(index), Term(log_term), Index(commit));
            let _noted_at_most = group.position(Index(index));
            while let Some(ready) = group.collect() {
                prop_assert!(group.damage().is_none());
                for entry in &ready.committed {
                    prop_assert_eq!(entry.position(), position(entry.index.get()));
                }
                group.on_persisted(ready.number);
                if let Some(last) = ready.committed.last() {
                    group.on_applied(last.index);
                }
            }
        }
        for entry in work(&mut group) {
            if entry.index <= last.index {
                prop_assert_eq!(entry.position(), position(entry.index.get()));
                prop_assert_ne!(entry.index, Index(spoilt), "it was damaged when it was read");
            }
        }
    }
}
