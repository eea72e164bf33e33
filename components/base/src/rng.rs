//! A small seeded generator (SplitMix64). Not for secrets: it spreads retries and draws simulated faults.

/// A deterministic stream of numbers: the same seed gives the same stream on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for `(seed, lane)`, so that draws of one part do not shift those of another.
    #[must_use]
    pub fn lane(seed: u64, lane: u64) -> Self {
        let mut mixed = Self(seed ^ lane.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self(mixed.next())
    }

    /// The next number, uniform over all of `u64`.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`; zero where `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        let number = u64::try_from(wide >> 64).unwrap_or(0);
        debug_assert!(number < bound || bound == 0, "below the bound");
        number
    }

    /// True in `permille` of a thousand draws.
    pub fn chance(&mut self, permille: u64) -> bool {
        debug_assert!(permille <= 1000, "thousandths");
        self.below(1000) < permille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_stream() {
        let draws = |mut rng: Rng| [rng.next(), rng.below(10), rng.next()];
        assert_eq!(draws(Rng::new(7)), draws(Rng::new(7)));
        assert_ne!(draws(Rng::lane(7, 1)), draws(Rng::lane(7, 2)));
        assert_eq!(Rng::new(1).below(0), 0);
        assert_eq!(Rng::new(1_234_567).next(), 6_457_827_717_110_365_317, "published vector");
    }
}
