//! How many instructions the placement driver takes for what it does all the time, in a cluster of a thousand stores and a
//! million regions. Callgrind counts them, which depends neither on the machine nor on what runs beside it; the cluster is
//! made before it begins to count. The same acts by the clock: `placement_large.rs`.

use std::{ffi::CStr, fs, hint::black_box, path::Path, process::Command};

use flotilla_sim::placement::large::Large;
use valgrind_requests::callgrind;

const STORES: u64 = 1_000;
const REGIONS: u64 = 1_000_000;
const SAMPLES: usize = 11;

/// An act and the most instructions that its median may take.
type Ceiling = (&'static CStr, u64);

const EVEN_LOOK_INSTRUCTIONS_MAX: u64 = 7_000_000;
const FILLING_LOOK_INSTRUCTIONS_MAX: u64 = 70_000_000;
const REGION_REPORT_INSTRUCTIONS_MAX: u64 = 42_000;

const EVEN_LOOK: Ceiling = (c"a look, all even", EVEN_LOOK_INSTRUCTIONS_MAX);
const FILLING_LOOK: Ceiling = (c"a look, one store empty", FILLING_LOOK_INSTRUCTIONS_MAX);
const REGION_REPORT: Ceiling = (c"a report of a region", REGION_REPORT_INSTRUCTIONS_MAX);
const ALL: [Ceiling; 3] = [EVEN_LOOK, FILLING_LOOK, REGION_REPORT];

/// Has the instructions of an act counted.
fn counted<R>((name, _): Ceiling, act: impl FnOnce() -> R) -> R {
    callgrind::zero_stats();
    let result = black_box(act());
    callgrind::dump_stats_at(name);
    result
}

#[test]
#[ignore = "the program that the other test runs under callgrind"]
fn program() {
    let mut large = Large::new((STORES, 0), REGIONS);
    // The first look walks over all regions: whether they are all there.
    assert!(large.look().is_empty(), "it is even");
    callgrind::start_instrumentation();
    for _sample in 0..SAMPLES {
        assert!(counted(EVEN_LOOK, || large.look()).is_empty(), "it is even");
        let report = large.draw_report();
        counted(REGION_REPORT, || large.heartbeat(report));
    }
    large.join();
    for _sample in 0..SAMPLES {
        assert!(!counted(FILLING_LOOK, || large.look()).is_empty(), "a store is empty");
    }
    callgrind::stop_instrumentation();
}

/// Runs [`program`], which leaves what was counted in a file.
fn run_under_callgrind(counts: &Path) {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--instr-atstart=no", "--combine-dumps=yes", "--quiet"]);
    valgrind.arg(format!("--callgrind-out-file={}", counts.display()));
    valgrind.arg(std::env::current_exe().expect("this program"));
    valgrind.args(["--ignored", "--exact", "program"]);
    let output = valgrind.output().unwrap_or_else(|error| {
        panic!("cannot run valgrind, which counts instructions: {error}; `make setup` installs it")
    });
    assert!(output.status.success(), "under valgrind: {output:?}");
}

/// The counts of an act, ascending.
fn samples(counts: &str, (name, _): Ceiling) -> Vec<u64> {
    let trigger = format!("desc: Trigger: Client Request: {}", name.to_str().expect("UTF-8"));
    let parts = counts.split("\npart: ").filter(|part| part.lines().any(|line| line == trigger));
    let total = |part: &str| {
        let total = part.lines().find_map(|line| line.strip_prefix("totals: "));
        total.and_then(|total| total.trim().parse().ok()).expect("each part has its total")
    };
    let mut samples: Vec<u64> = parts.map(total).collect();
    samples.sort_unstable();
    assert_eq!(samples.len(), SAMPLES, "{trigger}");
    samples
}

#[expect(clippy::disallowed_methods, reason = "callgrind gives its counts in a file")]
fn read(counts: &Path) -> String {
    fs::read_to_string(counts).expect("callgrind has written it")
}

#[test]
#[cfg_attr(debug_assertions, ignore = "counts are those of optimised code: use --release")]
fn decisions_about_a_large_cluster_take_few_instructions() {
    let folder = tempfile::tempdir().expect("a folder");
    let counts = folder.path().join("counts");
    run_under_callgrind(&counts);
    let counts = read(&counts);
    println!("| act | instructions: least | median | most | ceiling |\n|---|---|---|---|---|");
    let mut dear = Vec::new();
    for act @ (name, max) in ALL {
        let (samples, name) = (samples(&counts, act), name.to_str().expect("UTF-8"));
        let (least, median, most) = (samples[0], samples[SAMPLES / 2], samples[SAMPLES - 1]);
        println!("| {name} | {least} | {median} | {most} | {max} |");
        if median > max {
            dear.push(format!("{name}: {median} instructions, at most {max}"));
        }
    }
    assert!(dear.is_empty(), "{dear:?}");
}
