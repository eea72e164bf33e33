//! When a region is hot: a function of what windows of a second counted, and of nothing else.
//!
//! **Knows nothing of** clocks, of who counts, and of what becomes of a verdict.

use flotilla_base::{ByteSize, Key, Rng};

use super::finder::{Finder, Found, Touched};

/// Windows that are looked back at. A region is not judged before it was watched for so many: one that has just come
/// to be, or to be led from here, shows no habits.
const WINDOWS: u32 = 10;
/// So many of them must have been hot: a pause of the client's, or of this store, means nothing.
const HOT_MIN: u32 = 8;

/// When regions are split for their load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimits {
    /// Requests a second; a batch counts as many as it has keys. Zero for no limit.
    pub requests: u64,
    /// Bytes of keys and values that are read and written in a second. Zero for no limit.
    pub bytes: ByteSize,
}

impl Default for LoadLimits {
    /// As the field has it: a tenth of what a store with a few cores can do, so that a region beyond it is worth a lead
    /// of its own.
    fn default() -> Self {
        Self { requests: 3000, bytes: ByteSize::mib(30) }
    }
}

impl LoadLimits {
    /// No region is split for its load.
    pub(crate) const fn are_off(&self) -> bool {
        self.requests == 0 && self.bytes.bytes() == 0
    }

    fn is_hot(&self, window: &Window) -> bool {
        let is_over = |count: u64, limit: u64| {
            limit > 0 && count.saturating_mul(1000) / window.span_millis > limit
        };
        is_over(window.requests, self.requests) || is_over(window.bytes, self.bytes.bytes())
    }
}

/// What was counted of one region in one window.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Its length; not zero.
    pub(crate) span_millis: u64,
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    /// Some of the requests, each drawn with equal chances.
    pub(crate) samples: Vec<Touched>,
}

/// What is to be done about a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it is not hot, or not long enough.
    Wait,
    /// It is to be split here.
    Split(Key),
    /// No border helps: the load is for this key.
    HotKey(Key),
    /// No border helps: none divides the load well.
    Indivisible,
}

/// What is remembered of one region.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegionWatch {
    /// Windows since the last verdict, up to [`WINDOWS`].
    windows: u32,
    /// A bit for each of the last windows, the newest the lowest: it was hot.
    hot: u32,
    finder: Finder,
}

impl RegionWatch {
    /// A window ends. Behind every verdict but to wait it all begins anew.
    pub(crate) fn close(&mut self, limits: &LoadLimits, window: &Window, rng: &mut Rng) -> Verdict {
        debug_assert!(window.span_millis > 0, "a window has a length");
        self.windows = (self.windows + 1).min(WINDOWS);
        self.hot = (self.hot << 1 | u32::from(limits.is_hot(window))) & ((1 << WINDOWS) - 1);
        if self.is_cold() {
            // What is sampled of a region at rest says nothing about it under load.
            self.finder = Finder::default();
            return Verdict::Wait;
        }
        window.samples.iter().for_each(|touched| self.finder.note(touched, rng));
        if self.windows < WINDOWS || self.hot.count_ones() < HOT_MIN {
            return Verdict::Wait;
        }
        let verdict = match self.finder.find() {
            Found::Little => return Verdict::Wait,
            Found::Border(key) => Verdict::Split(key),
            Found::HotKey(key) => Verdict::HotKey(key),
            Found::Nowhere => Verdict::Indivisible,
        };
        *self = Self::default();
        verdict
    }

    /// No window that is looked back at was hot.
    pub(crate) const fn is_cold(&self) -> bool {
        self.hot == 0
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::Rng;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: LoadLimits = LoadLimits { requests: 1000, bytes: ByteSize::mib(1) };

    fn window(requests: u64, bytes: u64) -> Window {
        let mut load = Rng::new(requests ^ bytes);
        let samples = (0..64).map(|_| Touched::Key(format!("key{:04}", load.below(1000)).into()));
        Window { span_millis: 1000, requests, bytes, samples: samples.collect() }
    }

    /// The windows after which there was a verdict.
    fn verdicts(windows: impl IntoIterator<Item = Window>) -> Vec<usize> {
        let (mut watch, mut rng) = (RegionWatch::default(), Rng::new(1));
        let mut close = |window: &Window| watch.close(&LIMITS, window, &mut rng);
        let numbered = windows.into_iter().enumerate();
        numbered
            .filter(|(_, window)| close(window) != Verdict::Wait)
            .map(|(number, _)| number + 1)
            .collect()
    }

    #[test]
    fn what_is_hot_for_long_is_split_and_watched_anew() {
        assert_eq!(verdicts((0..25).map(|_| window(1001, 0))), [10, 20]);
        assert_eq!(verdicts((0..25).map(|_| window(1, (1 << 20) + 1))), [10, 20]);
        assert_eq!(verdicts((0..25).map(|_| window(1000, 1 << 20))), [0; 0], "up to the limits");
    }

    #[test]
    fn a_pause_means_nothing_and_a_rush_neither() {
        let pauses = |number: u64| window(if number % 5 == 3 { 0 } else { 5000 }, 0);
        assert_eq!(verdicts((0..12).map(pauses)), [10]);
        let rushes = |number: u64| window(if number % 10 < 7 { 5000 } else { 0 }, 0);
        assert_eq!(verdicts((0..100).map(rushes)), [0; 0]);
    }

    #[test]
    fn what_was_at_rest_is_judged_by_its_load() {
        let quiet = (0..30).map(|_| window(1, 0));
        assert_eq!(verdicts(quiet.chain((0..10).map(|_| window(5000, 0)))), [38]);
    }

    #[test]
    fn rates_are_those_of_a_second() {
        let long = |requests| Window { span_millis: 4000, ..window(requests, 0) };
        assert_eq!(verdicts((0..10).map(|_| long(4100))), [10]);
        assert_eq!(verdicts((0..10).map(|_| long(3900))), [0; 0]);
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let mut watch = RegionWatch::default();
        let none = LoadLimits { requests: 0, bytes: ByteSize(0) };
        assert!(none.are_off() && !LIMITS.are_off());
        for _ in 0..30 {
            let verdict = watch.close(&none, &window(u64::MAX, u64::MAX), &mut Rng::new(1));
            assert_eq!(verdict, Verdict::Wait);
        }
    }

    #[test]
    fn samples_are_waited_for() {
        let bare = |number: u64| Window {
            samples: if number < 40 { Vec::new() } else { window(1, 0).samples },
            ..window(5000, 0)
        };
        assert_eq!(verdicts((0..44).map(bare)), [42]);
    }

    proptest! {
        /// Whatever comes: no verdict without as many hot windows as are asked for since the last one.
        #[test]
        fn no_verdict_without_a_habit(hot in prop::collection::vec(any::<bool>(), 0..80)) {
            let windows = hot.iter().map(|hot| window(if *hot { 5000 } else { 10 }, 0));
            let mut since = 0;
            for end in verdicts(windows) {
                prop_assert!(end - since >= WINDOWS as usize);
                let last = &hot[end - WINDOWS as usize..end];
                prop_assert!(last.iter().filter(|hot| **hot).count() >= HOT_MIN as usize);
                since = end;
            }
        }
    }
}
