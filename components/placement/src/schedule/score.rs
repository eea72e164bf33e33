//! What stores carry for their weight, and whether a move is worth it.

use std::{collections::BTreeMap, ops::Add};

/// What a store carries, divided by its weight: a store of weight 2000 counts half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Score(u128);

/// Of a store without weight that carries something.
const ENDLESS: u128 = u128::MAX / 4;

impl Score {
    pub(crate) fn of(load: u64, weight_permille: u32) -> Self {
        match (load, weight_permille) {
            (0, 0) => Self(0),
            (_, 0) => Self(ENDLESS),
            (load, weight) => Self(u128::from(load) * 1_000_000 / u128::from(weight)),
        }
    }

    /// The mean of several; 0 of none.
    pub(super) fn mean(scores: &[Self]) -> Self {
        let sum = scores.iter().fold(0_u128, |sum, score| sum.saturating_add(score.0));
        Self(sum / (scores.len() as u128).max(1))
    }

    /// Whether it is that of a store that is to carry nothing, and does.
    pub(super) const fn is_endless(self) -> bool {
        self.0 >= ENDLESS
    }

    /// A part of it.
    pub(super) const fn percent(self, percent: u128) -> Self {
        Self(self.0 / 100 * percent)
    }

    /// A margin that is no part of what moves: several such, or none.
    fn whole(self, moved: Self) -> Self {
        Self(self.0 / moved.0.max(1) * moved.0)
    }

    /// Whether a move from a store of score `self` to one of score `to` is worth it: behind it, the first still carries
    /// no less, by `margin`, which counts as often as what moves fits into it. `left` and `come` are what the move takes
    /// from the one and brings to the other.
    pub(super) fn gains(self, to: Self, (left, come): (Self, Self), margin: Self) -> bool {
        if self.is_endless() {
            return come.0 < ENDLESS;
        }
        let margin = margin.whole(left.max(come));
        let needed = to.0.saturating_add(left.0).saturating_add(come.0).saturating_add(margin.0);
        self.0 >= needed
    }

    /// As a number for people, in the unit of the load.
    pub(super) fn shown(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(u64::MAX)
    }
}

impl Add for Score {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

/// Of stores with these weights and scores the least score of each weight. What would gain nothing by a move to one of those
/// would by none: of two stores of one weight, the one that carries less gains more, while one of a small weight may carry
/// least of all and yet too much with one thing more.
pub(super) fn lowest_of_each_weight(
    stores: impl IntoIterator<Item = (u32, Score)>,
) -> BTreeMap<u32, Score> {
    let mut lowest = BTreeMap::new();
    for (weight_permille, score) in stores {
        let known = lowest.entry(weight_permille).or_insert(score);
        *known = score.min(*known);
    }
    lowest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The argument for an end: the squares of the loads, for the weights, fall with each move that is made; and the
        /// move back is none.
        #[test]
        fn a_move_that_is_made_is_not_taken_back(
            from in 0..1_000_000_u64,
            to in 0..1_000_000_u64,
            size in 1..100_000_u64,
            weights in (1..10_000_u32, 1..10_000_u32),
        ) {
            prop_assume!(from >= size);
            let (source, target) = (Score::of(from, weights.0), Score::of(to, weights.1));
            let moved = (Score::of(size, weights.0), Score::of(size, weights.1));
            prop_assume!(source.gains(target, moved, Score(0)));
            let after = (Score::of(from - size, weights.0), Score::of(to + size, weights.1));
            let back = (moved.1, moved.0);
            prop_assert!(!after.1.gains(after.0, back, Score(0)));
            let square = |load: u64, weight: u32| {
                let load = u128::from(load);
                load * load * 1_000_000 / u128::from(weight)
            };
            let before = square(from, weights.0) + square(to, weights.1);
            let behind = square(from - size, weights.0) + square(to + size, weights.1);
            prop_assert!(behind <= before, "{before} {behind}");
        }
    }

    #[test]
    fn the_lowest_of_all_is_not_always_the_one_to_which_a_move_gains() {
        let one = |weight| Score::of(1, weight);
        let stores = [(500, 0), (3_000, 1), (500, 3), (3_000, 2)];
        let lowest = lowest_of_each_weight(stores.map(|(it, load)| (it, Score::of(load, it))));
        assert_eq!(lowest, [(500, Score(0)), (3_000, one(3_000))].into());
        let gains = |weight| {
            Score::of(2, 1_000).gains(lowest[&weight], (one(1_000), one(weight)), Score(0))
        };
        assert_eq!((gains(500), gains(3_000)), (false, true));
    }

    #[test]
    fn a_store_without_weight_is_to_carry_nothing() {
        assert!(Score::of(1, 0) > Score::of(u64::MAX, 1_000));
        assert_eq!(Score::of(0, 0), Score::of(0, 1_000));
        assert_eq!(Score::of(6, 2_000), Score::of(3, 1_000));
        assert_eq!(Score::of(7, 1_000).shown(), 7);
        assert_eq!(Score::mean(&[]).shown(), 0);
        assert_eq!(
            Score::mean(&[Score::of(3, 1_000), Score::of(6, 1_000)]).percent(200).shown(),
            9
        );
    }
}
