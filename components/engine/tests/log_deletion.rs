//! The oracle of single deletion: a raft log under random appends, overwrites, truncations, flushes,
//! compactions, snapshots and restarts holds exactly the entries of a plain map, in both modes. It is written by
//! what writes it in production, `flotilla_raftgroup::disk`.

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{options, pairs};
use flotilla_base::{Family, Index, KeyRange, KvRead, RegionId, ScanDirection, Term};
use flotilla_engine::{Engine, LogDeletion, Snapshot, WriteBatch};
use flotilla_raftgroup::{Entry, disk};
use proptest::prelude::*;

const REGIONS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Appends so many entries, at least one, in the place of so many at the end.
    Append {
        region: u64,
        overwrite: u64,
        entries: u64,
    },
    /// Truncates so many entries from the front.
    Truncate {
        region: u64,
        entries: u64,
    },
    Flush,
    Compact,
    TakeSnapshot,
    DropSnapshots,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let region = 0..REGIONS;
    prop_oneof![
        10 => (region.clone(), prop_oneof![3 => Just(0), 1 => 0..8_u64], 1..8_u64)
            .prop_map(|(region, overwrite, entries)| Step::Append { region, overwrite, entries }),
        6 => (region, 0..12_u64).prop_map(|(region, entries)| Step::Truncate { region, entries }),
        3 => Just(Step::Flush),
        2 => Just(Step::Compact),
        1 => Just(Step::TakeSnapshot),
        1 => Just(Step::DropSnapshots),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Clone, Copy)]
struct Log {
    /// Entries `[first, next)` exist.
    first: u64,
    next: u64,
}

type Model = BTreeMap<(u64, u64), Entry>;

struct World {
    engine: Option<Engine>,
    dir: tempfile::TempDir,
    mode: LogDeletion,
    logs: [Log; REGIONS as usize],
    model: Model,
    snapshots: Vec<(Snapshot, Model)>,
    written: u64,
}

impl World {
    fn new(mode: LogDeletion) -> Self {
        let mut world = Self {
            engine: None,
            dir: tempfile::tempdir().expect("scratch directory"),
            mode,
            logs: [Log { first: 1, next: 1 }; REGIONS as usize],
            model: Model::new(),
            snapshots: Vec::new(),
            written: 0,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let engine = Engine::open(&self.dir.path().join("db"), &options(self.mode));
        self.engine = Some(engine.expect("open"));
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("open between steps")
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append { region, overwrite, entries } => self.append(region, overwrite, entries),
            Step::Truncate { region, entries } => self.truncate(region, entries),
            Step::Flush => self.engine().flush().expect("flush"),
            Step::Compact => self.engine().compact(Family::RaftLog),
            Step::TakeSnapshot => {
                self.snapshots.push((self.engine().snapshot(), self.model.clone()));
            }
            Step::DropSnapshots => self.snapshots.clear(),
            Step::Reopen => {
                self.snapshots.clear();
                self.engine = None;
                self.open();
            }
        }
    }

    fn append(&mut self, region: u64, overwrite: u64, entries: u64) {
        let log = &mut self.logs[region as usize];
        let first = log.first.max(log.next.saturating_sub(overwrite));
        let entries: Vec<Entry> = (first..first + entries)
            .map(|index| {
                let data = format!("entry {index} of write {}", self.written).into();
                Entry { index: Index(index), term: Term(1), data, ..Entry::default() }
            })
            .collect();
        self.written += 1;
        let last = Index(log.next - 1);
        self.model.retain(|&(of, index), _| of != region || index < first);
        for entry in &entries {
            log.next = entry.index.next().get();
            self.model.insert((region, entry.index.get()), entry.clone());
        }
        let mut batch = Vec::new();
        disk::append_entries(RegionId(region), last, &entries, &mut batch);
        self.engine().write(&WriteBatch::from(batch)).expect("write");
    }

    fn truncate(&mut self, region: u64, entries: u64) {
        let log = &mut self.logs[region as usize];
        let from = log.first;
        log.first = log.next.min(log.first + entries);
        let to = log.first;
        self.model.retain(|&(of, index), _| of != region || index >= to);
        let mut batch = Vec::new();
        disk::delete_entries(RegionId(region), Index(from), Index(to - 1), &mut batch);
        self.engine().write(&WriteBatch::from(batch)).expect("write");
    }

    fn check(&self) {
        assert_holds(self.engine(), &self.model);
        for (snapshot, model) in &self.snapshots {
            assert_holds(snapshot, model);
        }
    }

    fn truncate_everything(&mut self) {
        self.snapshots.clear();
        for region in 0..REGIONS {
            self.truncate(region, u64::MAX / 2);
        }
        self.engine().flush().expect("flush");
        self.engine().compact(Family::RaftLog);
    }
}

/// The keys of all entries of a region.
fn log_range(region: u64) -> KeyRange {
    let [start, end] = [region, region + 1].map(|id| disk::entry_key(RegionId(id), Index(0)));
    KeyRange::new(start, end)
}

fn assert_holds(view: &impl KvRead, model: &Model) {
    let expected = |region: u64| {
        let entries = model.range((region, 0)..=(region, u64::MAX));
        let with_key = entries.map(|(&(region, index), entry)| {
            let key: Bytes = disk::entry_key(RegionId(region), Index(index));
            (key.to_vec(), disk::encode_entry(entry).to_vec())
        });
        with_key.collect::<Vec<_>>()
    };
    for region in 0..REGIONS {
        let range = log_range(region);
        let found = pairs(view, Family::RaftLog, &range, ScanDirection::Forward);
        assert_eq!(found, expected(region), "region {region}");
        let mut reversed = pairs(view, Family::RaftLog, &range, ScanDirection::Reverse);
        reversed.reverse();
        assert_eq!(reversed, found, "region {region} backwards");
        for (key, value) in found {
            assert_eq!(view.get(Family::RaftLog, &key), Ok(Some(value.into())));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_was_written(
        steps in prop::collection::vec(step(), 1..80),
        mode in prop::sample::select(vec![LogDeletion::SingleDelete, LogDeletion::Delete]),
    ) {
        let mut world = World::new(mode);
        for step in &steps {
            world.run(step);
            world.check();
        }
        world.truncate_everything();
        world.check();
        prop_assert_eq!(world.engine().stats().family(Family::RaftLog).table_bytes, 0);
    }
}

#[test]
fn entries_deleted_in_memory_never_reach_a_table() {
    let written = |mode| {
        let mut world = World::new(mode);
        for _round in 0..200 {
            world.run(&Step::Append { region: 0, overwrite: 0, entries: 8 });
            world.run(&Step::Truncate { region: 0, entries: 8 });
        }
        world.engine().flush().expect("flush");
        world.engine().stats().family(Family::RaftLog).table_bytes
    };
    assert_eq!(written(LogDeletion::SingleDelete), 0, "puts and their deletions annihilate");
    assert!(written(LogDeletion::Delete) > 0, "tombstones are written");
}
