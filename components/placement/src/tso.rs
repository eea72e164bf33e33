//! Timestamps of one reign: what one leader hands out in one term.
//!
//! Why no timestamp is handed out twice, whatever the clocks do:
//! 1. within a reign the last value only grows;
//! 2. every physical time handed out lies below a window end that was applied in the reign's own term;
//! 3. a new reign starts above the end of every window that any earlier reign can have used, because
//!    it reads the end after it has applied an entry of its own term.
//!
//! That a later reign's timestamp is also *seen* later is the business of the leader's lease.

/// How many bits of a timestamp count within a millisecond.
pub const LOGICAL_BITS: u32 = 18;
/// First logical value that does not fit.
const LOGICAL_END: u64 = 1 << LOGICAL_BITS;
/// How far physical time may run ahead of the clock by counting before callers wait, milliseconds.
const AHEAD_MS_MAX: u64 = 1000;
/// How much time a window gives, milliseconds.
const WINDOW_MS: u64 = 3000;
/// With less than this left, milliseconds, the next window is asked for.
const WINDOW_REST_MS: u64 = WINDOW_MS / 2;
/// How much a window gives to a reign that is ahead of the clock, milliseconds. Only counting moves it, and
/// not fast: this is room for 26 million timestamps. A whole window for each restart would add up.
const WINDOW_AHEAD_MS: u64 = 100;

/// The largest of the timestamps that were handed out together: the caller owns
/// `logical - count + 1 ..= logical` of `physical_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Milliseconds since 1970.
    pub physical_ms: u64,
    /// Position within the millisecond, below 2^18.
    pub logical: u64,
}

/// Why there is no timestamp now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TsoError {
    /// Zero timestamps are no request.
    #[error("tso count should be positive")]
    ZeroCount,
    /// More than one millisecond can hold.
    #[error("tso count {0} is too large: at most 262143 timestamps fit one request")]
    TooMany(u32),
    /// This member does not lead: try again once a reign has begun, here or elsewhere.
    #[error("no timestamps without a reign")]
    NoReign,
    /// The window is used up: try again once a larger one is applied.
    #[error("timestamp window ends; a larger one is being committed")]
    NeedWindow,
    /// So many were handed out that time must catch up: try again after so many milliseconds.
    #[error("timestamps are {ahead_ms} ms ahead of the clock")]
    Ahead {
        /// How long to wait.
        ahead_ms: u64,
    },
}

/// The timestamps of one leader in one term. Dropping it ends the reign; there is no reset.
#[derive(Debug)]
pub struct TsoReign {
    last: Timestamp,
    floor_ms: u64,
    window_end_ms: u64,
}

impl TsoReign {
    /// Opens a reign above `stored_window_end_ms`, which must have been read after an entry of the
    /// reign's own term was applied. It hands out nothing before [`Self::extend`].
    #[must_use]
    pub fn new(stored_window_end_ms: u64, now_ms: u64) -> Self {
        // A stored end beyond the clock is normal after a quick restart: counting goes on from there
        // without waiting for the clock.
        let floor_ms = now_ms.max(stored_window_end_ms.saturating_add(1));
        Self { last: Timestamp { physical_ms: floor_ms, logical: 0 }, floor_ms, window_end_ms: 0 }
    }

    /// The end of the window to propose now, in milliseconds; `None` while enough of it is left.
    #[must_use]
    pub fn window_wanted(&self, now_ms: u64) -> Option<u64> {
        let ahead_ms = self.last.physical_ms.saturating_add(WINDOW_AHEAD_MS);
        let is_short = now_ms.saturating_add(WINDOW_REST_MS) >= self.window_end_ms
            || ahead_ms.saturating_sub(WINDOW_AHEAD_MS / 2) >= self.window_end_ms;
        is_short.then(|| now_ms.saturating_add(WINDOW_MS).max(ahead_ms))
    }

    /// Takes over a window that was applied in the reign's own term.
    pub fn extend(&mut self, end_ms: u64) {
        self.window_end_ms = self.window_end_ms.max(end_ms);
    }

    /// Hands out `count` timestamps; the largest is returned. A failed call hands out nothing.
    ///
    /// # Errors
    /// [`TsoError`]; [`TsoError::NeedWindow`] and [`TsoError::Ahead`] pass by themselves.
    pub fn alloc(&mut self, count: u32, now_ms: u64) -> Result<Timestamp, TsoError> {
        let count_wide = u64::from(count);
        if count == 0 {
            return Err(TsoError::ZeroCount);
        }
        if count_wide >= LOGICAL_END {
            return Err(TsoError::TooMany(count));
        }
        // A clock that goes back changes nothing, for values and for how far ahead of it they may be: the last value
        // stays the floor, and the latest time that was seen the clock.
        self.floor_ms = self.floor_ms.max(now_ms);
        let base = self.last.max(Timestamp { physical_ms: now_ms, logical: 0 });
        let next = if base.logical + count_wide < LOGICAL_END {
            Timestamp { logical: base.logical + count_wide, ..base }
        } else {
            // One request must not span two milliseconds: the rest of this one is left unused.
            Timestamp { physical_ms: base.physical_ms + 1, logical: count_wide }
        };
        if next.physical_ms >= self.window_end_ms {
            return Err(TsoError::NeedWindow);
        }
        let limit_ms = self.floor_ms.saturating_add(AHEAD_MS_MAX);
        if next.physical_ms > limit_ms {
            return Err(TsoError::Ahead { ahead_ms: next.physical_ms - limit_ms });
        }
        assert!(next > self.last, "a timestamp is handed out once");
        assert!(next.logical < LOGICAL_END, "a timestamp keeps to its millisecond");
        self.last = next;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened(stored_end_ms: u64, now_ms: u64) -> TsoReign {
        let mut reign = TsoReign::new(stored_end_ms, now_ms);
        let end_ms = reign.window_wanted(now_ms).expect("a new reign has no window");
        reign.extend(end_ms);
        reign
    }

    #[test]
    fn counts_within_a_millisecond_and_starts_anew_in_the_next() {
        let mut reign = opened(0, 1000);
        assert_eq!(reign.alloc(1, 1000), Ok(Timestamp { physical_ms: 1000, logical: 1 }));
        assert_eq!(reign.alloc(5, 1000), Ok(Timestamp { physical_ms: 1000, logical: 6 }));
        assert_eq!(reign.alloc(5, 900), Ok(Timestamp { physical_ms: 1000, logical: 11 }));
        assert_eq!(reign.alloc(2, 1001), Ok(Timestamp { physical_ms: 1001, logical: 2 }));
        assert_eq!(
            reign.alloc(262_143, 1001),
            Ok(Timestamp { physical_ms: 1002, logical: 262_143 }),
            "a request that does not fit the millisecond takes the next one"
        );
        assert_eq!(reign.alloc(0, 1001), Err(TsoError::ZeroCount));
        assert_eq!(reign.alloc(262_144, 1001), Err(TsoError::TooMany(262_144)));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nobody() {
        let mut reign = opened(0, 1000);
        let later_ms = 7_200_000;
        let end_ms = reign.window_wanted(later_ms).expect("the window is over");
        reign.extend(end_ms);
        let last = reign.alloc(1, later_ms).expect("handed out");
        for _call in 0..100 {
            let next = reign.alloc(1, later_ms - 3_600_000).expect("an hour back");
            assert!(next > last && next.physical_ms == later_ms);
        }
    }

    #[test]
    fn nothing_before_and_nothing_beyond_the_window() {
        let mut reign = TsoReign::new(0, 1000);
        assert_eq!(reign.alloc(1, 1000), Err(TsoError::NeedWindow));
        assert_eq!(reign.window_wanted(1000), Some(4000));
        reign.extend(4000);
        assert_eq!(reign.window_wanted(2499), None);
        assert_eq!(reign.window_wanted(2500), Some(5500), "half used: ask for the next one");
        assert_eq!(reign.alloc(1, 3999).map(|timestamp| timestamp.physical_ms), Ok(3999));
        assert_eq!(reign.alloc(1, 4000), Err(TsoError::NeedWindow));
    }

    #[test]
    fn running_ahead_of_the_clock_waits_after_a_second() {
        let mut reign = opened(0, 1000);
        let mut granted = 0;
        let refused = loop {
            match reign.alloc(262_143, 1000) {
                Ok(_) => granted += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((granted, refused), (1001, TsoError::Ahead { ahead_ms: 1 }));
        assert!(reign.alloc(262_143, 1001).is_ok(), "time that passes gives room");
    }

    #[test]
    fn a_quick_restart_goes_on_above_the_stored_window_at_once() {
        let mut first = opened(0, 1000);
        let before = first.alloc(1, 1000).expect("open");
        let mut second = opened(4000, 1001);
        let after = second.alloc(1, 1001).expect("no waiting for the clock");
        assert!(after > before);
        assert_eq!(after.physical_ms, 4001);
    }

    #[test]
    fn restarts_do_not_add_up() {
        let mut stored_end_ms = 0;
        for restart in 0..20 {
            let mut reign = opened(stored_end_ms, 1000);
            stored_end_ms = reign.window_end_ms;
            let first = reign.alloc(1, 1000).expect("open");
            let most_ms = 4001 + restart * (WINDOW_AHEAD_MS + 1);
            assert!(first.physical_ms <= most_ms, "restart {restart}: {first:?}");
        }
    }

    #[test]
    fn a_reign_that_is_ahead_has_room_and_gets_its_window_before_the_clock_arrives() {
        let mut reign = opened(4000, 1000);
        assert_eq!((reign.window_end_ms, reign.window_wanted(1000)), (4101, None));
        assert!((0..51).all(|_| reign.alloc(262_143, 1000).is_ok()));
        assert_eq!(reign.window_wanted(1000), Some(4151), "counting has used half of it");
        assert_eq!(opened(4000, 1000).window_wanted(2601), Some(5601), "the clock comes near");
    }

    proptest! {
        #[test]
        fn grows_over_reigns_and_any_clock(
            steps in prop::collection::vec((1..300_000_u32, 0..10_000_u64, prop::bool::weighted(0.1)), 1..200)
        ) {
            let (mut stored_end_ms, mut now_ms) = (0_u64, 5_000_u64);
            let mut reign = TsoReign::new(stored_end_ms, now_ms);
            let mut last = Timestamp { physical_ms: 0, logical: 0 };
            for (count, clock, restart) in steps {
                now_ms = if clock < 9_000 { now_ms + clock % 7 } else { clock };
                if restart {
                    reign = TsoReign::new(stored_end_ms, now_ms);
                }
                if let Some(end_ms) = reign.window_wanted(now_ms) {
                    stored_end_ms = stored_end_ms.max(end_ms);
                    reign.extend(end_ms);
                }
                if let Ok(next) = reign.alloc(count, now_ms) {
                    prop_assert!(next.logical < LOGICAL_END);
                    prop_assert!(next.physical_ms < stored_end_ms);
                    let smallest = Timestamp { logical: next.logical - u64::from(count) + 1, ..next };
                    prop_assert!(smallest > last);
                    last = next;
                }
            }
        }
    }
}
