//! What one look and one report cost in a cluster of a thousand stores and a million regions, by the time that this thread
//! had a processor. The ceilings are many times what was measured: they see another order of growth, not a slow machine.

use flotilla_sim::placement::large::Large;

/// Without optimisation a hundredth of it.
const REGIONS: u64 = if cfg!(debug_assertions) { 10_000 } else { 1_000_000 };
const STORES: u64 = 1_000;

/// Processor time of this thread, nanoseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the time of the thread is measured, not that of the wall"
)]
fn used() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    stat.split_whitespace().next().and_then(|it| it.parse().ok()).expect("a number")
}

/// Least, median and most of one act, microseconds. The time of a thread may be counted in ticks of some milliseconds: many
/// acts are one sample.
fn measure(acts: u64, mut act: impl FnMut(u64)) -> [u64; 3] {
    let mut sample = || {
        let begun = used();
        act(acts);
        (used() - begun) / acts / 1_000
    };
    let mut micros: Vec<u64> = (0..11).map(|_| sample()).collect();
    micros.sort_unstable();
    [micros[0], micros[5], micros[10]]
}

#[test]
fn looks_and_reports_of_a_large_cluster_are_cheap() {
    let begun = used();
    let mut large = Large::new((STORES, 0), REGIONS);
    println!("all regions are reported: {} ms", (used() - begun) / 1_000_000);
    // The first look opens the gate, which costs a walk over all regions.
    let begun = used();
    assert!(large.look().is_empty(), "it is even");
    println!("first look: {} us", (used() - begun) / 1_000);
    let look = measure(20, |looks| {
        (0..looks).for_each(|_| assert!(large.look().is_empty(), "it is even"));
    });
    println!("a look, even: {look:?} us");
    let report = measure(10_000, |reports| {
        for _report in 0..reports {
            let report = large.draw_report();
            large.heartbeat(report);
        }
    });
    println!("a report, with its making: {report:?} us");
    drop(large);
    let mut large = Large::new((STORES, 1), REGIONS);
    let filling = measure(10, |looks| {
        (0..looks).for_each(|_| assert!(!large.look().is_empty(), "a store is empty"));
    });
    println!("a look, one store is empty: {filling:?} us");
    assert!(look[1] < 50_000, "a look that finds nothing takes {look:?} us");
    assert!(filling[1] < 200_000, "a look that finds moves takes {filling:?} us");
    assert!(report[1] < 200, "a report takes {report:?} us");
}

/// How many regions wait, and what a look and a report cost, in a cluster whose labels ask for more than there is.
fn measure_poor(mut large: Large) -> (usize, [u64; 3], [u64; 3]) {
    // The first look opens the gate.
    assert!(large.look().is_empty(), "there is nowhere to go");
    let look = measure(20, |looks| {
        (0..looks).for_each(|_| assert!(large.look().is_empty(), "there is nowhere to go"));
    });
    let report = measure(10_000, |reports| {
        for _report in 0..reports {
            let report = large.draw_report();
            large.heartbeat(report);
        }
    });
    let again = measure(20, |looks| (0..looks).for_each(|_| _ = large.look()));
    (large.wanting(), look.max(again), report)
}

/// With two zones for three replicas no region is as far apart as labels could say. It is as far as can be, which one look
/// at the stores tells for all; and where two in one zone are refused, what cannot be mended is tried within a budget.
#[test]
fn fewer_zones_than_replicas_cost_little() {
    let regions = REGIONS / 10;
    let (wanting, look, report) = measure_poor(Large::in_zones(STORES, regions, (2, "")));
    println!("two zones: a look {look:?} us, a report {report:?} us, {wanting} wait");
    assert!(look[1] < 50_000, "a look takes {look:?} us");
    assert!(report[1] < 200, "a report takes {report:?} us");
    let (stuck, look, report) = measure_poor(Large::in_zones(STORES, regions, (2, "zone")));
    println!(
        "two zones, none of them twice: a look {look:?} us, a report {report:?} us, {stuck} wait"
    );
    assert!(look[1] < 100_000, "a look takes {look:?} us");
    assert!(report[1] < 200, "a report takes {report:?} us");
    assert!(stuck as u64 * 2 > regions, "{stuck} of {regions} regions are stuck");
}
