//! A disk that is full in the last step of an install, when staged data takes the place of what a range holds.
//!
//! The database is opened on a disk of its own, and the disk is filled but for so many bytes, from 4 KiB to more than the step
//! takes: so it fails wherever it writes. Whatever comes of it, keys beside the range and the stage are whole when the
//! database is opened again, and with room the install comes to its end.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use flotilla_base::{ByteSize, Family, Key, KeyRange, KvRead as _, Rng, ScanDirection};
use flotilla_client::Bytes;
use flotilla_engine::{
    Engine, EngineError, EngineOptions, MemtableOptions, ReplaceError, Stages, WriteBatch,
};

use crate::{
    common::{Sandbox, in_process::Pairs, say},
    facilities::Facilities,
    report::{Row, Verdict},
    volume::Volume,
};

const STAGE: u64 = 7;
/// Pairs that are staged, and as many that they take the place of.
const PAIRS: u64 = 60;
const VALUE_BYTES: u64 = 64 << 10;
/// What the disk has left, from one attempt to the next, in KiB.
const LEFT_KIB: [u64; 14] =
    [4, 8, 12, 32, 64, 128, 256, 512, 1_024, 2_048, 3_072, 4_096, 8_192, 16_384];

/// What a database and its stages hold.
struct Scene {
    place: PathBuf,
    beside: Pairs,
    staged: Pairs,
}

fn range() -> KeyRange {
    KeyRange::new("m", "n")
}

/// It does not shrink where it is compressed.
fn noise(rng: &mut Rng) -> Bytes {
    (0..VALUE_BYTES / 8).flat_map(|_| rng.next().to_le_bytes()).collect()
}

fn open(place: &Path) -> (Engine, Stages) {
    let memtables = |count| MemtableOptions { size: ByteSize::mib(4), count };
    let options = EngineOptions {
        data_memtables: memtables(4),
        log_memtables: memtables(4),
        meta_memtables: memtables(2),
        ..EngineOptions::default()
    };
    let engine = Engine::open(&place.join("db"), &options).expect("the database opens");
    let stages = Stages::open(&place.join("snap"), ByteSize(0)).expect("stages open");
    (engine, stages)
}

fn found(engine: &Engine, range: &KeyRange) -> Pairs {
    let mut pairs = Pairs::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        pairs.insert(key.to_vec(), value.to_vec());
        true
    };
    engine.scan(Family::Raw, range, ScanDirection::Forward, &mut visit).expect("read");
    pairs
}

impl Scene {
    /// Durable data in the range and beside it, and a whole stage.
    fn prepare(place: PathBuf, rng: &mut Rng) -> Self {
        fs::create_dir_all(&place).expect("a directory");
        let (engine, stages) = open(&place);
        let (mut beside, mut staged) = (Pairs::new(), Pairs::new());
        for number in 0..PAIRS {
            let mut batch = WriteBatch::new();
            batch.put(Family::Raw, Key::from(format!("m{number:04}")), noise(rng));
            for side in ["l", "n"] {
                let (key, value) = (format!("{side}{number:04}"), noise(rng).slice(..100));
                beside.insert(key.clone().into(), value.to_vec());
                batch.put(Family::Raw, Key::from(key), value);
            }
            engine.write(&batch).expect("written");
        }
        engine.sync().expect("synced");
        let mut writer = stages.begin(STAGE, range(), ByteSize(0)).expect("begun");
        for number in 0..PAIRS {
            let (key, value) = (format!("m{:04}", 2 * number), noise(rng));
            staged.insert(key.clone().into(), value.to_vec());
            writer.put(Family::Raw, Key::from(key), value).expect("in order");
        }
        writer.finish().expect("whole");
        Self { place, beside, staged }
    }

    /// Installs while the disk has only so much left. Returns what failed.
    fn attempt(&self, volume: &Volume, left: u64) -> Result<Option<String>, String> {
        let (engine, stages) = open(&self.place);
        let stage = stages.load(STAGE).map_err(|error| error.to_string())?;
        let replaced = volume.fill(left).map(|()| engine.replace_range(&range(), &stage));
        drop((engine, stages));
        volume.free();
        match replaced? {
            Ok(()) => Ok(None),
            Err(ReplaceError::Engine(EngineError::Fatal { operation, .. })) => {
                Ok(Some(operation.to_owned()))
            }
            Err(ReplaceError::Engine(error)) => Err(format!("not what ends a store: {error}")),
            Err(ReplaceError::Stage(error)) => Ok(Some(format!("stage: {error}"))),
        }
    }

    /// What is acknowledged is there; and with room, so is the new data in the end.
    fn go_on(&self) -> Result<(), String> {
        let ensure = |holds: bool, what: &str| holds.then_some(()).ok_or_else(|| what.to_owned());
        let (engine, stages) = open(&self.place);
        let beside = || {
            let mut both = found(&engine, &KeyRange::new("l", "m"));
            both.extend(found(&engine, &KeyRange::new("n", "o")));
            both == self.beside
        };
        ensure(beside(), "keys beside the range have changed")?;
        let stage = stages.load(STAGE).map_err(|error| error.to_string())?;
        engine.replace_range(&range(), &stage).map_err(|error| error.to_string())?;
        ensure(found(&engine, &range()) == self.staged, "the range is not as it was staged")?;
        ensure(beside(), "keys beside the range have changed with the second attempt")
    }
}

/// Installs on a disk that is full in every way.
pub(crate) fn run(name: &str, seed: u64, facilities: &Facilities) -> Row {
    let Some(kind) = facilities.disk else {
        return Row::skipped(name, "no disk here can be full");
    };
    let (sandbox, begin) = (Sandbox::new(), Instant::now());
    let mut failures: BTreeMap<String, u32> = BTreeMap::new();
    let (mut ok, mut wrong) = (0, Vec::new());
    let volume = Volume::create(kind, &sandbox.path().join("disk"));
    let volume = volume.expect("the probe of facilities has done the same");
    for kib in LEFT_KIB {
        let place = volume.directory().join(format!("data-{kib}"));
        let scene = Scene::prepare(place, &mut Rng::lane(seed, kib));
        match scene.attempt(&volume, kib << 10).and_then(|failed| scene.go_on().map(|()| failed)) {
            Ok(None) => ok += 1,
            Ok(Some(what)) => *failures.entry(what).or_default() += 1,
            Err(why) => wrong.push(format!("{kib} KiB left: {why}")),
        }
        fs::remove_dir_all(&scene.place).expect("nobody uses it");
    }
    let failed: usize = failures.values().map(|count| *count as usize).sum();
    say(&format!("chaos: {name}: {ok} installs found room, others failed at {failures:?}"));
    let verdict = if !wrong.is_empty() {
        Verdict::Violated(wrong.join("\n"))
    } else if ok == 0 || failures.len() < 2 {
        Verdict::Invalid(format!("the disk was not full in several places: {failures:?}"))
    } else {
        Verdict::Passed
    };
    Row {
        scenario: name.to_owned(),
        seed,
        seconds: begin.elapsed().as_secs(),
        ok,
        failed,
        unknown: 0,
        faults: BTreeMap::from([("full disks".to_owned(), u32::try_from(failed).expect("few"))]),
        verdict,
    }
}
