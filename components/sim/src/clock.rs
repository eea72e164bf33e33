//! Each store reads its own clocks: a monotonic one with another zero and perhaps another speed, and a wall
//! clock that may be wrong and may jump.

use flotilla_base::{Moment, Span};

/// A clock that started at the world's `zero` with the reading `offset`.
#[derive(Clone, Copy, Debug)]
pub struct LocalClock {
    zero: Moment,
    offset: Moment,
    rate_permille: u64,
}

impl LocalClock {
    /// A clock that runs `rate_permille` thousandths as fast as the world's.
    #[must_use]
    pub const fn new(zero: Moment, offset: Moment, rate_permille: u64) -> Self {
        Self { zero, offset, rate_permille }
    }

    /// What the clock shows at `world`.
    #[must_use]
    pub fn read(&self, world: Moment) -> Moment {
        self.offset + scale(world.since(self.zero), self.rate_permille, 1000, 0)
    }

    /// The first moment of the world at which the clock shows `local` or more.
    #[must_use]
    pub fn world_moment(&self, local: Moment) -> Moment {
        if local == Moment::NEVER {
            return local;
        }
        let round_up = u128::from(self.rate_permille) - 1;
        self.zero + scale(local.since(self.offset), 1000, self.rate_permille, round_up)
    }
}

/// What the world's wall clocks show at its first moment, in milliseconds since 1970.
const WALL_START_MILLIS: i64 = 1_750_000_000_000;

/// A wall clock. It keeps its error when its store restarts.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    error_millis: i64,
}

impl WallClock {
    /// What it shows at `world`, in milliseconds since 1970.
    #[must_use]
    pub fn read(&self, world: Moment) -> u64 {
        let passed = i64::try_from(world.0 / 1_000_000).unwrap_or(i64::MAX);
        u64::try_from(WALL_START_MILLIS.saturating_add(passed).saturating_add(self.error_millis))
            .unwrap_or(0)
    }

    /// Moves it.
    pub const fn jump(&mut self, millis: i64) {
        self.error_millis = self.error_millis.saturating_add(millis);
    }
}

fn scale(span: Span, times: u64, parts: u64, carry: u128) -> Span {
    let scaled = (u128::from(span.0) * u128::from(times) + carry) / u128::from(parts);
    Span(u64::try_from(scaled).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_never_rings_early() {
        for rate in [990, 1000, 1013] {
            let clock = LocalClock::new(Moment(17), Moment(1_000_000_007), rate);
            for world in [17, 18, 5_000_000_019, 123_456_789_123] {
                let local = clock.read(Moment(world));
                let rings = clock.world_moment(local);
                assert!(rings <= Moment(world) && clock.read(rings) >= local, "rate {rate}");
            }
        }
    }

    #[test]
    fn a_wall_clock_runs_on_from_where_it_jumped() {
        let mut wall = WallClock::default();
        let before = wall.read(Moment(5_000_000));
        wall.jump(-3_600_000);
        assert_eq!(wall.read(Moment(5_000_000)), before - 3_600_000);
        wall.jump(3_600_001);
        assert_eq!(wall.read(Moment(7_000_000)), before + 3);
    }
}
