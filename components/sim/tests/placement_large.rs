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

/// Least, median and most of several, microseconds.
fn measure(times: usize, mut act: impl FnMut() -> u64) -> [u64; 3] {
    let mut micros: Vec<u64> = (0..times).map(|_| act() / 1_000).collect();
    micros.sort_unstable();
    [micros[0], micros[times / 2], micros[times - 1]]
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
    let look = measure(21, || {
        let begun = used();
        assert!(large.look().is_empty(), "it is even");
        used() - begun
    });
    println!("a look, even: {look:?} us");
    let batch = measure(21, || {
        let reports: Vec<_> = (0..1_000).map(|_| large.draw_report()).collect();
        let begun = used();
        reports.into_iter().for_each(|report| large.heartbeat(report));
        used() - begun
    });
    println!("a thousand reports: {batch:?} us");
    drop(large);
    let mut large = Large::new((STORES, 1), REGIONS);
    assert!(!large.look().is_empty(), "a store is empty");
    let filling = measure(21, || {
        let begun = used();
        let intents = large.look();
        let time = used() - begun;
        assert!(!intents.is_empty(), "a store is empty");
        time
    });
    println!("a look, one store is empty: {filling:?} us");
    assert!(look[1] < 200_000, "a look that finds nothing takes {look:?} us");
    assert!(filling[1] < 500_000, "a look that finds moves takes {filling:?} us");
    assert!(batch[1] < 500_000, "a thousand reports take {batch:?} us");
}
