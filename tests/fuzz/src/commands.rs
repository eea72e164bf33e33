//! Log entries on their way into the two state machines. Each piece of the input is the body of an entry. Oracles:
//! an entry that is not known stops the machine before any effect; what is written is read back as the same state;
//! and nothing outside of the region is touched, which splits make smaller.

use bytes::Bytes;
use flotilla_base::{
    ClusterId, Epoch, Family, Index, KeyRange, Mutation, Peer, PeerId, Region, RegionId, StoreId,
    Tables, Term, Version,
};
use flotilla_damage::sealed;
use flotilla_multiraft::{
    Applied, Applier, ApplyEffects, ApplyFault, ApplyHost, ApplyTask, Claims, Guard,
    MembersChanged, NewRegion, Reply, SplitCommand, SplitDone, WriteCommand,
};
use flotilla_placement::{
    BootstrapPlan, BootstrapRegion, Cluster, EntryPosition, MetaChange, MetaCommand, MetaState,
    StoreRecord,
};
use flotilla_raftgroup::{ApplyState, Entry, LogPosition};

use crate::pieces;

const TERM: Term = Term(6);

/// See the module.
pub fn run(bytes: &[u8]) {
    let entries: Vec<Bytes> =
        pieces::split(bytes).into_iter().map(|body| sealed(body).into()).collect();
    placement(&entries);
    region(&entries);
}

fn placement(entries: &[Bytes]) {
    let (mut state, mut records) = (MetaState::default(), Tables::default());
    for (index, data) in (1..).zip(entries) {
        let before = state.clone();
        let at = EntryPosition { index: Index(index), term: TERM };
        match state.apply(at, data) {
            Ok(applied) => records.apply(&applied.records),
            Err(_the_program_stops) => assert_eq!(state, before, "before any effect"),
        }
    }
    assert_eq!(MetaState::load(&records), Ok(state), "what is written is the state");
}

fn region(entries: &[Bytes]) {
    let peer = Peer::voter(PeerId(21), StoreId(1));
    let range = KeyRange::new("b", "m");
    let region = Region { id: RegionId(2), range, epoch: Epoch::FIRST, peers: vec![peer] };
    let first = LogPosition { term: Term(5), index: Index(0) };
    let mut stored = Tables::default();
    let mut range = region.range.clone();
    let mut applier = Applier::new(region.clone(), peer.id, ApplyState::starting_at(first));
    for (index, data) in (1..).zip(entries) {
        let entry =
            Entry { term: TERM, index: Index(index), data: data.clone(), ..Entry::default() };
        let task = ApplyTask {
            region: region.id,
            peer: peer.id,
            entries: vec![(entry, Some(index))],
            commit: Index(index),
            truncate: None,
        };
        let mut effects = ApplyEffects::default();
        match applier.apply(task, &stored, &mut effects, &mut EverySlot) {
            Ok(()) => {
                let (range, stored) = (&mut range, &mut stored);
                effects.finish(&mut Witness { range, stored, replies: 0 });
            }
            Err(ApplyFault::UnknownCommand { .. }) => return,
            Err(fault) => panic!("{fault}"),
        }
    }
}

/// Sees what an applier does.
struct Witness<'a> {
    range: &'a mut KeyRange,
    stored: &'a mut Tables,
    replies: usize,
}

impl ApplyHost<u64> for Witness<'_> {
    fn write(&mut self, batch: Vec<Mutation>) {
        for mutation in &batch {
            match mutation {
                Mutation::Put(Family::RaftMeta, ..) | Mutation::Delete(Family::RaftMeta, _) => {}
                Mutation::Put(family, key, _) | Mutation::Delete(family, key) => {
                    assert!(Family::DATA.contains(family) && self.range.contains(key));
                }
                Mutation::DeleteRange(family, range) => {
                    assert!(Family::DATA.contains(family) && self.range.covers(range));
                }
            }
        }
        self.stored.apply(&batch);
    }

    fn reply(&mut self, _ticket: u64, reply: Reply) {
        self.replies += 1;
        assert!(
            matches!(
                reply,
                Reply::Written | Reply::GuardFailed | Reply::Split(_) | Reply::Failed(_)
            ),
            "{reply:?}"
        );
        assert_eq!(self.replies, 1, "one answer for a ticket");
    }

    fn split(&mut self, _region: RegionId, _peer: PeerId, done: SplitDone) {
        let SplitDone { parent, births, orphans } = done;
        assert_eq!(orphans, [], "every slot is free");
        let mut border = self.range.start.clone();
        for part in births.iter().map(|birth| &birth.region).chain([&parent]) {
            assert_eq!(part.range.start, border, "the parts tile what there was");
            border = part.range.end.clone();
        }
        assert_eq!(border, self.range.end, "the parts tile what there was");
        *self.range = parent.range;
    }

    fn members(&mut self, _region: RegionId, _peer: PeerId, changed: MembersChanged) {
        assert_eq!(changed.region.range, *self.range, "a change of members moves no border");
    }

    fn applied(&mut self, _region: RegionId, _peer: PeerId, _applied: Applied) {}
}

/// Every peer of a new region is welcome.
struct EverySlot;

impl Claims for EverySlot {
    fn claim(&mut self, _region: RegionId, _peer: PeerId) -> bool {
        true
    }
}

/// One command of each kind.
pub(crate) fn samples() -> Vec<MetaCommand> {
    let store = |id: u64| StoreRecord {
        id: StoreId(id),
        address: format!("127.0.0.{id}:20160"),
        labels: vec![("zone".to_owned(), "z".to_owned())],
        ..StoreRecord::default()
    };
    let region = Region {
        id: RegionId(2),
        range: KeyRange::all(),
        epoch: Epoch::FIRST,
        peers: vec![Peer::voter(PeerId(3), StoreId(1))],
    };
    let planned = BootstrapRegion { region, first_leader: PeerId(3) };
    let changes = [
        MetaChange::InitCluster(Cluster { id: ClusterId(77), max_replicas: 1 }),
        MetaChange::AllocWindow { ids: 1000 },
        MetaChange::TsoWindow { end_ms: 9 },
        MetaChange::PutStore(store(1)),
        MetaChange::PutStore(store(2)),
        MetaChange::Bootstrap(BootstrapPlan { unix_s: 1, regions: vec![planned] }),
    ];
    changes.map(|change| MetaCommand { term: TERM, change }).to_vec()
}

/// See the module.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let body = |record: Bytes| record[..record.len() - 4].to_vec();
    let put = |key: &'static str| Mutation::Put(Family::Raw, key.into(), "v".into());
    let over = |stored| Guard { family: Family::Raw, key: "k".into(), stored };
    let guards = [None, Some(over(None)), Some(over(Some("v".into())))];
    let writes = ["b", "k", "z"].into_iter().zip(guards).map(|(key, guard)| WriteCommand {
        version: Epoch::FIRST.version,
        clock_millis: 1,
        guard,
        mutations: vec![put(key), Mutation::DeleteRange(Family::Raw, KeyRange::new("c", "d"))],
    });
    let child = |end: &'static str, id: u64| NewRegion {
        end: end.into(),
        region: RegionId(id),
        peers: vec![PeerId(10 * id)],
    };
    let split = SplitCommand { epoch: Epoch::FIRST, children: vec![child("c", 3), child("f", 4)] };
    let late =
        WriteCommand { version: Version(3), mutations: vec![put("k")], ..WriteCommand::default() };
    vec![
        pieces::join([split.encode(), late.encode()].map(body)),
        pieces::join(samples().iter().map(|command| body(command.encode()))),
        pieces::join(writes.map(|write| body(write.encode()))),
    ]
}
