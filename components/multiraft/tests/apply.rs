//! One log has one outcome, however appliers cut it into batches.

use bytes::Bytes;
use flotilla_base::{
    Epoch, Family, Index, Key, KeyRange, Mutation, Peer, PeerId, Region, RegionId, StoreId, Tables,
    Term, Version,
};
use flotilla_multiraft::{
    Applied, Applier, ApplyEffects, ApplyHost, ApplyTask, Claims, Guard, MembersChanged, Reply,
    SplitDone, WriteCommand,
};
use flotilla_raftgroup::{ApplyState, Entry, EntryKind, LogPosition};
use proptest::prelude::*;

const REGION: RegionId = RegionId(2);
const PEER: PeerId = PeerId(21);

/// The position of a region that was made a moment ago.
const FIRST: LogPosition = LogPosition { term: Term(5), index: Index(5) };

fn key() -> impl Strategy<Value = Key> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(Key::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["1", "2"]).prop_map(Bytes::from)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Mutation::Put(Family::Raw, key, value)),
        2 => key().prop_map(|key| Mutation::Delete(Family::Raw, key)),
        1 => (key(), key()).prop_map(|(start, end)| {
            Mutation::DeleteRange(Family::Raw, KeyRange { start, end })
        }),
        // Of another family: no guard here looks at it.
        1 => key().prop_map(|key| Mutation::Put(Family::Default, key, "other".into())),
    ]
}

fn writes() -> impl Strategy<Value = Vec<WriteCommand>> {
    let guard = (key(), prop::option::of(value()));
    let guard = guard.prop_map(|(key, stored)| Guard { family: Family::Raw, key, stored });
    let write = (prop::option::of(guard), prop::collection::vec(mutation(), 1..4));
    let write = write.prop_map(|(guard, mutations)| WriteCommand {
        version: Version(1),
        clock_millis: 1,
        guard,
        mutations,
    });
    prop::collection::vec(write, 1..30)
}

fn entries(writes: &[WriteCommand]) -> Vec<(Entry, Option<usize>)> {
    let entry = |(number, write): (usize, &WriteCommand)| {
        let index = Index(FIRST.index.get() + 1 + number as u64);
        let (kind, term, context) = (EntryKind::Normal, Term(6), Bytes::new());
        (Entry { kind, term, index, data: write.encode(), context }, Some(number))
    };
    writes.iter().enumerate().map(entry).collect()
}

/// What comes of applying.
#[derive(Default, Debug, PartialEq)]
struct Outcome {
    data: Tables,
    replies: Vec<(usize, Reply)>,
}

impl ApplyHost<usize> for Outcome {
    fn write(&mut self, batch: Vec<Mutation>) {
        self.data.apply(&batch);
    }

    fn reply(&mut self, ticket: usize, reply: Reply) {
        self.replies.push((ticket, reply));
    }

    fn split(&mut self, _region: RegionId, _peer: PeerId, _done: SplitDone) {}

    fn members(&mut self, _region: RegionId, _peer: PeerId, _changed: MembersChanged) {}

    fn applied(&mut self, _region: RegionId, _peer: PeerId, _applied: Applied) {}
}

/// No slot is to be had: these logs split nothing.
struct NoSlots;

impl Claims for NoSlots {
    fn claim(&mut self, _region: RegionId, _peer: PeerId) -> bool {
        false
    }
}

/// Applies the log in tasks and batches that end at these places.
fn apply(writes: &[WriteCommand], task_ends: &[bool], batch_ends: &[bool]) -> Outcome {
    let region = Region {
        id: REGION,
        range: KeyRange::all(),
        epoch: Epoch::FIRST,
        peers: vec![Peer::voter(PEER, StoreId(1))],
    };
    let mut applier = Applier::new(region, PEER, ApplyState::starting_at(FIRST));
    let (mut outcome, mut effects, mut task) =
        (Outcome::default(), ApplyEffects::default(), vec![]);
    let all = entries(writes);
    let count = all.len();
    for (number, entry) in all.into_iter().enumerate() {
        let commit = entry.0.index;
        task.push(entry);
        let ends = |ends: &[bool]| number + 1 == count || ends[number];
        if ends(task_ends) || ends(batch_ends) {
            let entries = std::mem::take(&mut task);
            let task = ApplyTask { region: REGION, peer: PEER, entries, commit, truncate: None };
            applier.apply(task, &outcome.data, &mut effects, &mut NoSlots).expect("a sound log");
        }
        if ends(batch_ends) {
            effects.finish(&mut outcome);
        }
    }
    outcome
}

/// What the log means, one entry after the other.
fn meaning(writes: &[WriteCommand]) -> (Tables, Vec<Reply>) {
    let mut data = Tables::default();
    let replies = writes.iter().map(|write| {
        let holds = write
            .guard
            .as_ref()
            .is_none_or(|guard| data.family(guard.family).get(&guard.key) == guard.stored.as_ref());
        if !holds {
            return Reply::GuardFailed;
        }
        data.apply(&write.mutations);
        Reply::Written
    });
    let replies = replies.collect();
    (data, replies)
}

proptest! {
    #[test]
    fn a_log_means_the_same_in_any_batches(
        writes in writes(),
        task_ends in prop::collection::vec(any::<bool>(), 30),
        batch_ends in prop::collection::vec(any::<bool>(), 30),
    ) {
        let outcome = apply(&writes, &task_ends, &batch_ends);
        let (data, replies) = meaning(&writes);
        for family in Family::DATA {
            prop_assert_eq!(outcome.data.family(family), data.family(family), "{:?}", family);
        }
        let told: Vec<Reply> = outcome.replies.into_iter().map(|(_, reply)| reply).collect();
        prop_assert_eq!(told, replies);
    }
}
