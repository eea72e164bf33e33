//! Counts what regions are asked for, where requests pass: a look into a map and two additions for each, and a copy of
//! the key for one in many. Without limits for splits it is counted all the same, since the placement driver wants to
//! know.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use flotilla_base::{Key, KeyRange, RegionId, Rng, Version};
use parking_lot::{Mutex, RwLock};

use super::{
    finder::{Touched, put, reservoir_place},
    flow::{Access, Flow},
    watch::{LoadLimits, RegionWatch, Verdict, Window},
};

/// So many samples a second are taken of a region that is at its limit.
const SAMPLES_PER_SECOND: u64 = 200;
/// One in so many requests is sampled where their number has no limit.
const DISTANCE_WITHOUT_LIMIT: u64 = 16;
/// So many samples of a region are kept in one window.
const SAMPLES_MAX: usize = 64;
/// So many bytes of keys all regions together may sample in one window: what comes beyond is counted alone.
const SAMPLED_BYTES_MAX: usize = 8 << 20;
/// A region that was asked for nothing between so many sums is forgotten: whoever leads it has reported the rest.
const IDLE_SUMS_MAX: u8 = 2;

/// The load of a store's regions. Written by all who serve requests.
#[derive(Debug)]
pub(crate) struct Loads {
    limits: LoadLimits,
    /// One in so many requests is sampled; zero where none is.
    distance: u64,
    /// The regions that were asked for something lately: bounded by those of the store, and its past of half a minute.
    regions: RwLock<HashMap<RegionId, Meter>>,
    /// Of meters that are gone, since the last sum.
    gone: Mutex<Flow>,
    /// Bytes of the samples of this window.
    sampled_bytes: AtomicUsize,
}

/// One region as it is now, and its load. Another shape of it is another load.
#[derive(Debug)]
struct Meter {
    version: Version,
    /// Since this was made.
    reads: Tally,
    writes: Tally,
    /// Keys that scans found beyond the first: each scan is one request.
    scanned: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct Tally {
    requests: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    samples: Vec<Touched>,
    /// Requests that were drawn in this window.
    drawn: u64,
    /// Requests and bytes up to the end of the last window.
    closed: (u64, u64),
    watch: RegionWatch,
    /// What was counted when its flow was taken last.
    taken: Flow,
    /// What was counted at the last sum, and for how many sums nothing has come to it.
    summed: Flow,
    idle_sums: u8,
}

/// A region, as requests mean it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) region: RegionId,
    pub(crate) version: Version,
}

impl Loads {
    pub(crate) fn new(limits: LoadLimits) -> Self {
        let distance = match limits {
            limits if limits.are_off() => 0,
            LoadLimits { requests: 0, .. } => DISTANCE_WITHOUT_LIMIT,
            LoadLimits { requests, .. } => (requests / SAMPLES_PER_SECOND).max(1),
        };
        let (regions, gone, sampled_bytes) = <_>::default();
        Self { limits, distance, regions, gone, sampled_bytes }
    }

    /// Whether regions are split for their load.
    pub(super) const fn are_limited(&self) -> bool {
        self.distance > 0
    }

    /// One request was served for each of `keys`, with so many bytes in all.
    pub(crate) fn touched<'k>(
        &self,
        (shape, access): (Shape, Access),
        bytes: usize,
        keys: impl ExactSizeIterator<Item = &'k [u8]>,
    ) {
        self.with(shape, |meter| {
            let tally = meter.tally(access);
            tally.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            let first = tally.requests.fetch_add(keys.len() as u64, Ordering::Relaxed);
            for (number, key) in (first..).zip(keys) {
                if self.is_drawn(shape, number) {
                    let copy = || Touched::Key(Key::copy_from_slice(key));
                    self.keep(meter, number, key.len(), copy);
                }
            }
        });
    }

    /// One request was served that has read or written all of a range: so many keys that were found, with so many bytes
    /// in all.
    pub(crate) fn passed(
        &self,
        (shape, access): (Shape, Access),
        (bytes, found): (usize, usize),
        range: impl FnOnce() -> KeyRange,
    ) {
        self.with(shape, |meter| {
            let tally = meter.tally(access);
            tally.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            let number = tally.requests.fetch_add(1, Ordering::Relaxed);
            if access == Access::Read {
                meter.scanned.fetch_add(found.saturating_sub(1) as u64, Ordering::Relaxed);
            }
            if self.is_drawn(shape, number) {
                let range = range();
                let length = range.start.len() + range.end.len();
                self.keep(meter, number, length, || Touched::Range(range));
            }
        });
    }

    /// A window of so many milliseconds ends. Returns which regions something is to be done about.
    pub(super) fn close(&self, span_millis: u64, rng: &mut Rng) -> Vec<(Shape, Verdict)> {
        self.sampled_bytes.store(0, Ordering::Relaxed);
        let mut verdicts = Vec::new();
        for (region, meter) in self.regions.read().iter() {
            let shape = Shape { region: *region, version: meter.version };
            let mut state = meter.state.lock();
            let window = state.window(meter, span_millis);
            match state.watch.close(&self.limits, &window, rng) {
                Verdict::Wait => {}
                verdict => verdicts.push((shape, verdict)),
            }
        }
        // The order in a map differs from run to run.
        verdicts.sort_by_key(|(shape, _)| *shape);
        verdicts
    }

    /// What the region was asked for since this was asked last.
    pub(crate) fn take_flow(&self, region: RegionId) -> Flow {
        let regions = self.regions.read();
        let Some(meter) = regions.get(&region) else { return Flow::default() };
        let mut state = meter.state.lock();
        let now = meter.flow();
        now.since(std::mem::replace(&mut state.taken, now))
    }

    /// What all regions were asked for since this was asked last, whoever leads them. Those at rest are forgotten.
    pub(crate) fn take_sum(&self) -> Flow {
        let (mut sum, mut idle) = (Flow::default(), Vec::new());
        for (region, meter) in self.regions.read().iter() {
            let mut state = meter.state.lock();
            let more = state.sum(meter);
            sum = sum.and(more);
            let is_idle = more == Flow::default();
            state.idle_sums = if is_idle { state.idle_sums.saturating_add(1) } else { 0 };
            if state.idle_sums > IDLE_SUMS_MAX && state.watch.is_cold() {
                idle.push(*region);
            }
        }
        if !idle.is_empty() {
            let mut regions = self.regions.write();
            idle.iter().filter_map(|region| regions.remove(region)).for_each(|it| self.lose(&it));
        }
        sum.and(std::mem::take(&mut *self.gone.lock()))
    }

    /// What nobody has summed of a meter is not lost with it.
    fn lose(&self, meter: &Meter) {
        let rest = meter.state.lock().sum(meter);
        let mut gone = self.gone.lock();
        *gone = gone.and(rest);
    }

    /// Draws by the number of the request: no state, and no pattern that a client's own could fall in with.
    fn is_drawn(&self, shape: Shape, number: u64) -> bool {
        self.distance > 0 && Rng::lane(number, shape.region.get()).below(self.distance) == 0
    }

    fn keep(&self, meter: &Meter, number: u64, bytes: usize, touched: impl FnOnce() -> Touched) {
        if self.sampled_bytes.fetch_add(bytes, Ordering::Relaxed) > SAMPLED_BYTES_MAX {
            return;
        }
        let mut state = meter.state.lock();
        state.drawn += 1;
        let place = reservoir_place(state.drawn, SAMPLES_MAX, &mut Rng::new(number));
        put(&mut state.samples, place, touched);
    }

    /// What was counted of a region since this was asked last: requests, bytes, and those that were sampled.
    #[cfg(test)]
    pub(crate) fn counted(&self, region: RegionId) -> Option<(u64, u64, Vec<Touched>)> {
        let regions = self.regions.read();
        let meter = regions.get(&region)?;
        let window = meter.state.lock().window(meter, 1000);
        Some((window.requests, window.bytes, window.samples))
    }

    fn with(&self, shape: Shape, count: impl FnOnce(&Meter)) {
        let regions = self.regions.read();
        if let Some(meter) = regions.get(&shape.region).filter(|it| it.version == shape.version) {
            return count(meter);
        }
        drop(regions);
        let mut regions = self.regions.write();
        let meter = regions.entry(shape.region).or_insert_with(|| Meter::new(shape.version));
        if meter.version < shape.version {
            self.lose(&std::mem::replace(meter, Meter::new(shape.version)));
        }
        if meter.version == shape.version {
            count(meter);
        }
    }
}

impl Meter {
    fn new(version: Version) -> Self {
        let (reads, writes, scanned, state) = <_>::default();
        Self { version, reads, writes, scanned, state }
    }

    const fn tally(&self, access: Access) -> &Tally {
        match access {
            Access::Read => &self.reads,
            Access::Write => &self.writes,
        }
    }

    fn flow(&self) -> Flow {
        let [read_keys, read_bytes, written_keys, written_bytes, scanned] = [
            &self.reads.requests,
            &self.reads.bytes,
            &self.writes.requests,
            &self.writes.bytes,
            &self.scanned,
        ]
        .map(|count| count.load(Ordering::Relaxed));
        Flow { written_bytes, written_keys, read_bytes, read_keys: read_keys + scanned }
    }

    /// Requests and bytes.
    fn counted(&self) -> (u64, u64) {
        let both = |count: fn(&Tally) -> &AtomicU64| {
            let [reads, writes] = [&self.reads, &self.writes];
            count(reads).load(Ordering::Relaxed) + count(writes).load(Ordering::Relaxed)
        };
        (both(|tally| &tally.requests), both(|tally| &tally.bytes))
    }
}

impl State {
    /// What was counted since the last window.
    fn window(&mut self, meter: &Meter, span_millis: u64) -> Window {
        let now = meter.counted();
        let before = std::mem::replace(&mut self.closed, now);
        debug_assert!(now.0 >= before.0 && now.1 >= before.1, "counts only grow");
        self.drawn = 0;
        let samples = std::mem::take(&mut self.samples);
        let (requests, bytes) = (now.0 - before.0, now.1 - before.1);
        Window { span_millis, requests, bytes, samples }
    }

    /// What has come since the last sum.
    fn sum(&mut self, meter: &Meter) -> Flow {
        let now = meter.flow();
        now.since(std::mem::replace(&mut self.summed, now))
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::ByteSize;

    use super::*;

    const SHAPE: Shape = Shape { region: RegionId(2), version: Version(5) };

    fn loads(requests: u64) -> Loads {
        Loads::new(LoadLimits { requests, bytes: ByteSize(0) })
    }

    fn touch(loads: &Loads, shape: Shape, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            let key = format!("key{number:06}");
            loads.touched((shape, Access::Write), 100, [key.as_bytes()].into_iter());
        }
    }

    fn counted(loads: &Loads, region: RegionId) -> Option<(u64, u64, usize)> {
        let counted = loads.counted(region);
        counted.map(|(requests, bytes, samples)| (requests, bytes, samples.len()))
    }

    #[test]
    fn everything_is_counted_and_some_of_it_sampled() {
        let loads = loads(3000);
        touch(&loads, SHAPE, 0..600);
        let many: Vec<Key> = (0..300_u64).map(|it| it.to_string().into()).collect();
        loads.touched((SHAPE, Access::Read), 40_000, many.iter().map(|key| key.as_ref()));
        loads.passed((SHAPE, Access::Read), (1, 7), || KeyRange::new("a", "b"));
        let (requests, bytes, samples) = counted(&loads, SHAPE.region).expect("it was asked");
        assert_eq!((requests, bytes), (901, 100_001));
        assert!((30..=64).contains(&samples), "about a fifteenth of it, not {samples}");
        assert_eq!(counted(&loads, SHAPE.region), Some((0, 0, 0)), "a new window");
        touch(&loads, SHAPE, 0..60_000);
        assert_eq!(counted(&loads, SHAPE.region), Some((60_000, 6_000_000, SAMPLES_MAX)));
    }

    #[test]
    fn another_shape_is_another_load() {
        let loads = loads(1);
        let later = Shape { version: Version(6), ..SHAPE };
        touch(&loads, SHAPE, 0..10);
        touch(&loads, later, 0..3);
        touch(&loads, SHAPE, 0..10);
        assert_eq!(counted(&loads, SHAPE.region), Some((3, 300, 3)), "who comes late counts not");
    }

    #[test]
    fn flows_are_counted_with_limits_and_without() {
        for requests in [0, 1, 3000] {
            let loads = loads(requests);
            touch(&loads, SHAPE, 0..10);
            loads.touched((SHAPE, Access::Read), 30, [b"k".as_slice(), b"l"].into_iter());
            loads.passed((SHAPE, Access::Read), (500, 7), || KeyRange::new("a", "b"));
            loads.passed((SHAPE, Access::Read), (0, 0), || KeyRange::new("a", "b"));
            loads.passed((SHAPE, Access::Write), (2, 1), || KeyRange::new("a", "b"));
            let flow =
                Flow { written_bytes: 1002, written_keys: 11, read_bytes: 530, read_keys: 10 };
            assert_eq!((loads.take_flow(SHAPE.region), loads.take_sum()), (flow, flow));
            assert_eq!(loads.take_flow(SHAPE.region), Flow::default(), "taken already");
            assert_eq!(loads.take_flow(RegionId(9)), Flow::default(), "nobody asked for it");
            let sampled = counted(&loads, SHAPE.region).expect("counted").2;
            match requests {
                0 => assert_eq!(sampled, 0, "nobody looks at samples"),
                1 => assert_eq!(sampled, 15, "all of them"),
                _ => {}
            }
        }
    }

    /// Each who asks has a count of its own, and windows take nothing from either.
    #[test]
    fn what_is_counted_is_in_each_sum_once_whatever_becomes_of_the_region() {
        let loads = loads(1000);
        let later = Shape { version: Version(6), ..SHAPE };
        touch(&loads, SHAPE, 0..10);
        assert_eq!(loads.close(1000, &mut Rng::new(1)), []);
        assert_eq!(loads.take_sum().written_keys, 10);
        touch(&loads, SHAPE, 0..5);
        touch(&loads, later, 0..3);
        assert_eq!(loads.take_flow(SHAPE.region).written_keys, 3, "the shape that it has");
        assert_eq!(loads.take_sum().written_keys, 8, "the store has written all of it");
        // A pause is none of the reasons to forget it.
        touch(&loads, later, 0..2);
        assert_eq!([0; 12].map(|_| loads.close(1000, &mut Rng::new(1)).len()), [0; 12]);
        assert_eq!(loads.take_sum().written_keys, 2);
        for _sum in 0..=IDLE_SUMS_MAX {
            assert!(loads.regions.read().contains_key(&SHAPE.region));
            assert_eq!(loads.take_sum(), Flow::default());
        }
        assert!(loads.regions.read().is_empty(), "at rest");
    }

    #[test]
    fn a_region_with_too_much_load_is_told_with_the_border() {
        let loads = loads(200);
        let mut load = Rng::new(3);
        let mut verdicts = Vec::new();
        for _ in 0..10 {
            touch(&loads, SHAPE, (0..1000).map(|_| load.below(1000)));
            touch(&loads, Shape { region: RegionId(3), ..SHAPE }, (0..1000).map(|_| 7));
            touch(&loads, Shape { region: RegionId(4), ..SHAPE }, 0..100);
            verdicts.extend(loads.close(1000, &mut Rng::new(1)));
        }
        let [(first, Verdict::Split(_)), (second, Verdict::HotKey(hot))] = verdicts.as_slice()
        else {
            panic!("{verdicts:?}");
        };
        assert_eq!((*first, second.region), (SHAPE, RegionId(3)));
        assert_eq!(hot, &Key::from("key000007"));
    }

    /// Long keys of many regions must not fill the memory.
    #[test]
    fn samples_of_all_regions_together_are_bounded() {
        let loads = loads(1);
        let key = vec![b'k'; 8 << 10];
        for region in 0..200 {
            let shape = Shape { region: RegionId(region), ..SHAPE };
            let keys = std::iter::repeat_n(key.as_slice(), 64);
            loads.touched((shape, Access::Read), 0, keys);
        }
        let regions = loads.regions.read();
        let kept: usize = regions.values().map(|meter| meter.state.lock().samples.len()).sum();
        assert!((1000..=1025).contains(&kept), "{kept}");
    }

    /// What a request pays. `cargo test --release -p flotilla-store -- --ignored --nocapture what_counting_costs`.
    #[test]
    #[ignore = "a measurement"]
    fn what_counting_costs() {
        const REQUESTS: u32 = 20_000_000;
        let loads = loads(3000);
        let key = b"usertable:user00000500".as_slice();
        let cpu = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            time.tv_sec * 1_000_000_000 + time.tv_nsec
        };
        for round in 0..5 {
            let begin = cpu();
            for _ in 0..REQUESTS {
                loads.touched((SHAPE, Access::Read), 100, [key].into_iter());
            }
            let nanos = cpu() - begin;
            assert_eq!(loads.close(1_000_000, &mut Rng::new(1)), []);
            println!("round {round}: {} ns a request", nanos / i64::from(REQUESTS));
        }
    }
}
