//! Shapes of partitions: which pairs of stores do not reach each other.

use std::collections::BTreeSet;

use flotilla_base::{Rng, StoreId};

/// A shape of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One store is alone.
    Alone,
    /// A minority and a majority.
    Half,
    /// Each pair of stores is cut or not.
    Random,
    /// Every store reaches a majority, and no two reach the same one. With fewer than five stores that
    /// cannot be, and it is a bridge.
    Ring,
    /// Two halves that reach each other only over one store in the middle.
    Bridge,
    /// The store that leads the region with the most requests is alone.
    Hottest,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Alone, Self::Half, Self::Random, Self::Ring, Self::Bridge, Self::Hottest];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "shape-alone",
            Self::Half => "shape-half",
            Self::Random => "shape-random",
            Self::Ring => "shape-ring",
            Self::Bridge => "shape-bridge",
            Self::Hottest => "shape-hottest",
        }
    }

    /// The pairs, the smaller store first, that do not reach each other. `victim` is the store that is
    /// alone, belongs to the minority, or is the bridge.
    #[must_use]
    pub fn pairs(
        self,
        stores: u64,
        victim: StoreId,
        rng: &mut Rng,
    ) -> BTreeSet<(StoreId, StoreId)> {
        let mut circle: Vec<StoreId> =
            (1..=stores).map(StoreId).filter(|it| *it != victim).collect();
        shuffle(&mut circle, rng);
        circle.insert(0, victim);
        let count = circle.len();
        let is_cut = |one: usize, other: usize, rng: &mut Rng| match self {
            Self::Alone | Self::Hottest => one == 0,
            Self::Half => one < count / 2 && other >= count / 2,
            Self::Random => rng.chance(500),
            Self::Ring if count >= 5 => {
                let distance = other - one;
                // With so many neighbours on either side a store sees a majority.
                let reach = (count / 2).div_ceil(2);
                distance.min(count - distance) > reach
            }
            Self::Ring | Self::Bridge => one > 0 && one <= count / 2 && other > count / 2,
        };
        let mut pairs = BTreeSet::new();
        for one in 0..count {
            for other in one + 1..count {
                if is_cut(one, other, rng) {
                    let (first, second) = (circle[one], circle[other]);
                    pairs.insert((first.min(second), first.max(second)));
                }
            }
        }
        pairs
    }
}

/// Puts `items` into a random order.
pub fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for end in (1..items.len()).rev() {
        let other = usize::try_from(rng.below(end as u64 + 1)).unwrap_or(0);
        items.swap(end, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORES: [u64; 4] = [1, 3, 5, 7];

    /// Whom each store reaches, itself included.
    fn views(shape: Shape, stores: u64, victim: StoreId, seed: u64) -> Vec<BTreeSet<StoreId>> {
        let cut = shape.pairs(stores, victim, &mut Rng::new(seed));
        let all = || (1..=stores).map(StoreId);
        let reaches =
            |one: StoreId, other: StoreId| !cut.contains(&(one.min(other), one.max(other)));
        all().map(|one| all().filter(|other| reaches(one, *other)).collect()).collect()
    }

    #[test]
    fn one_is_alone() {
        for shape in [Shape::Alone, Shape::Hottest] {
            for view in views(shape, 5, StoreId(2), 1).iter().enumerate() {
                assert_eq!(view.1.len(), if view.0 == 1 { 1 } else { 4 });
            }
        }
    }

    #[test]
    fn halves_do_not_reach_each_other() {
        for stores in [3, 5, 7] {
            let views: BTreeSet<_> =
                views(Shape::Half, stores, StoreId(1), 1).into_iter().collect();
            let sizes: Vec<usize> = views.iter().map(BTreeSet::len).collect();
            assert_eq!(sizes.len(), 2, "{stores} stores");
            assert_eq!(sizes.iter().sum::<usize>() as u64, stores);
        }
    }

    #[test]
    fn in_a_ring_everybody_sees_another_majority() {
        for stores in [5, 7] {
            let views = views(Shape::Ring, stores, StoreId(1), 3);
            assert!(views.iter().all(|view| view.len() as u64 > stores / 2));
            assert!(views.iter().all(|view| (view.len() as u64) < stores));
            let different: BTreeSet<_> = views.iter().collect();
            assert_eq!(different.len() as u64, stores);
        }
    }

    #[test]
    fn a_bridge_sees_all_and_is_all_that_two_halves_share() {
        for stores in [3, 5, 7] {
            let bridge = StoreId(2);
            let views = views(Shape::Bridge, stores, bridge, 1);
            let (of_bridge, others): (Vec<_>, Vec<_>) =
                views.iter().partition(|view| view.len() as u64 == stores);
            assert_eq!(of_bridge.len(), 1);
            assert!(others.iter().all(|view| view.contains(&bridge)));
            assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), 2);
        }
    }

    #[test]
    fn pairs_are_of_two_stores_that_exist() {
        for (stores, seed) in
            STORES.into_iter().flat_map(|stores| (0..50).map(move |it| (stores, it)))
        {
            for shape in Shape::ALL {
                let victim = StoreId(1 + seed % stores);
                let pairs = shape.pairs(stores, victim, &mut Rng::new(seed));
                assert!(pairs.iter().all(|(one, other)| one < other && other.get() <= stores));
            }
        }
    }
}
