//! How slow the disk of a store is: a score from 1 (as it is to be) to 100, made of the share of syncs of the log that
//! take long.
//!
//! It rises fast, to the hundredfold in little more than a minute, and falls slowly, within five minutes: a disk that is slow
//! every other minute is a slow disk. The rules and the numbers are those of `TiKV`, whose placement driver takes leads off a
//! store from 80 on.

use flotilla_base::{Moment, Span};
use parking_lot::Mutex;

/// A sync that takes longer is slow on any disk, and is about to cost leads: a lease lasts 600 ms.
const SLOW: Span = Span::from_millis(250);
/// A share of slow syncs in thousandths from which on the score rises as fast as it does.
const SHARE_FULL_PERMILLE: u64 = 100;
/// The score falls from its most to its least in so long.
const FALL: Span = Span::from_millis(300_000);
/// What happened in less is judged with what follows.
const WINDOW_MIN: Span = Span::from_millis(5_000);
/// Hundredths, as the score is kept.
const LEAST: u64 = 100;
const MOST: u64 = 100 * LEAST;

/// The syncs of one store.
#[derive(Debug, Default)]
pub(crate) struct Slowness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    window: Window,
    /// When a window ended last.
    closed: Moment,
    /// The begin of a sync that goes on.
    begun: Option<Moment>,
    score: SlowScore,
}

/// Syncs that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    syncs: u64,
    slow: u64,
}

/// The score in hundredths; see the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SlowScore(u64);

impl Default for SlowScore {
    fn default() -> Self {
        Self(LEAST)
    }
}

impl Slowness {
    /// A sync begins. There is one at a time.
    pub(crate) fn begin(&self, now: Moment) {
        self.0.lock().begun = Some(now);
    }

    /// It has ended.
    pub(crate) fn end(&self, now: Moment) {
        let mut state = self.0.lock();
        let Some(begun) = state.begun.take() else { return };
        state.window.syncs += 1;
        state.window.slow += u64::from(now.since(begun) > SLOW);
    }

    /// The score, with everything that has happened until now.
    pub(crate) fn score(&self, now: Moment) -> u64 {
        let mut state = self.0.lock();
        let span = now.since(state.closed);
        if span >= WINDOW_MIN {
            state.closed = now;
            let mut window = std::mem::take(&mut state.window);
            // One that does not end is the slowest of all, and counts in each window.
            if state.begun.is_some_and(|begun| now.since(begun) > SLOW) {
                window.syncs += 1;
                window.slow += 1;
            }
            state.score.close(window, span);
        }
        state.score.0 / LEAST
    }
}

impl SlowScore {
    fn close(&mut self, window: Window, span: Span) {
        debug_assert!(window.slow <= window.syncs, "slow syncs are syncs");
        let changed = if window.slow == 0 {
            let fall = u128::from(MOST) * u128::from(span.0) / u128::from(FALL.0);
            self.0.saturating_sub(u64::try_from(fall).unwrap_or(MOST))
        } else {
            let permille = window.slow * 1000 / window.syncs.max(1);
            let share = permille.clamp(1, SHARE_FULL_PERMILLE);
            // Twice as much at most.
            self.0 + self.0 * share / SHARE_FULL_PERMILLE
        };
        self.0 = changed.clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPORT: Span = Span::from_millis(10_000);

    fn after(syncs: u64, slow: u64, windows: usize, score: &mut SlowScore) -> u64 {
        for _window in 0..windows {
            score.close(Window { syncs, slow }, REPORT);
        }
        score.0 / LEAST
    }

    #[test]
    fn it_rises_within_a_minute_and_falls_within_five() {
        let mut score = SlowScore(LEAST);
        assert_eq!(after(1000, 0, 60, &mut score), 1);
        assert_eq!(after(1000, 500, 6, &mut score), 64);
        assert_eq!(after(1000, 100, 1, &mut score), 100, "a tenth is as bad as half");
        assert_eq!(after(1000, 1000, 60, &mut score), 100);
        assert_eq!(after(1000, 0, 6, &mut score), 80);
        assert_eq!(after(0, 0, 23, &mut score), 3, "without syncs none is slow");
        assert_eq!(after(1000, 0, 1, &mut score), 1);
    }

    #[test]
    fn a_few_slow_syncs_raise_it_a_little() {
        let mut score = SlowScore(LEAST);
        assert_eq!(after(1000, 10, 7, &mut score), 1);
        assert!(score.0 > LEAST, "{score:?}");
        // One slow minute in two is a slow disk.
        for _minute in 0..10 {
            after(1000, 500, 6, &mut score);
            assert!(after(1000, 0, 6, &mut score) >= 44, "{score:?}");
        }
    }

    #[test]
    fn a_sync_that_does_not_end_is_slow_in_each_window() {
        let slowness = Slowness::default();
        let mut now = Moment(0) + REPORT;
        slowness.begin(now);
        for expected in [2, 4, 8, 16, 32, 64, 100, 100] {
            now = now + REPORT;
            assert_eq!(slowness.score(now), expected);
            // Asked again at once, it says the same.
            assert_eq!(slowness.score(now + Span::from_millis(1_000)), expected);
        }
        slowness.end(now);
        now = now + REPORT;
        assert_eq!(slowness.score(now), 100, "it was slow when it ended");
        for sync in 0..1000_u64 {
            let begun = now + Span::from_millis(sync);
            slowness.begin(begun);
            slowness.end(begun + SLOW);
        }
        assert_eq!(slowness.score(now + REPORT), 96, "none takes longer than a slow one");
    }

    proptest! {
        #[test]
        fn it_stays_between_its_ends(windows in prop::collection::vec((0..50_u64, 0..50_u64, 0..100_000_u64), 0..60)) {
            let mut score = SlowScore(LEAST);
            for (slow, fast, millis) in windows {
                score.close(Window { syncs: slow + fast, slow }, Span::from_millis(millis));
                prop_assert!((LEAST..=MOST).contains(&score.0));
            }
        }
    }
}
