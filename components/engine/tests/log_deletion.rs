//! The oracle of single deletion: a raft log under random appends, overwrites, truncations, flushes,
//! compactions, snapshots and restarts holds exactly the entries of a plain map, in both modes.

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{options, pairs};
use flotilla_base::{Family, Index, KvRead, RegionId, ScanDirection};
use flotilla_engine::{
    Engine, LogDeletion, Snapshot, WriteBatch, log_range, raft_log_key, region_log_range,
};
use proptest::prelude::*;

const REGIONS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Appends so many entries, after cutting so many from the end.
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
        10 => (region.clone(), prop_oneof![3 => Just(0), 1 => 0..8_u64], 0..8_u64)
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

type Model = BTreeMap<(u64, u64), Bytes>;

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
        let values: Vec<Bytes> = (0..entries)
            .map(|offset| format!("entry {} of write {}", first + offset, self.written).into())
            .collect();
        self.written += 1;
        let last = Index(log.next - 1);
        log.next = first + entries;
        self.model.retain(|&(of, index), _| of != region || index < first);
        for (offset, value) in (0..).zip(&values) {
            self.model.insert((region, first + offset), value.clone());
        }
        let mut batch = WriteBatch::new();
        batch.append_log(RegionId(region), last, Index(first), values);
        self.engine().write(&batch).expect("write");
    }

    fn truncate(&mut self, region: u64, entries: u64) {
        let log = &mut self.logs[region as usize];
        let from = log.first;
        log.first = log.next.min(log.first + entries);
        let to = log.first;
        self.model.retain(|&(of, index), _| of != region || index >= to);
        let mut batch = WriteBatch::new();
        batch.delete_log(RegionId(region), Index(from), Index(to));
        self.engine().write(&batch).expect("write");
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

fn assert_holds(view: &impl KvRead, model: &Model) {
    let expected = |region: u64| {
        let entries = model.range((region, 0)..=(region, u64::MAX));
        let with_key = entries.map(|(&(region, index), value)| {
            (raft_log_key(RegionId(region), Index(index)).to_vec(), value.to_vec())
        });
        with_key.collect::<Vec<_>>()
    };
    for region in 0..REGIONS {
        let range = region_log_range(RegionId(region));
        let found = pairs(view, Family::RaftLog, &range, ScanDirection::Forward);
        assert_eq!(found, expected(region), "region {region}");
        let range = log_range(RegionId(region), Index(0), Index(1 << 40));
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
