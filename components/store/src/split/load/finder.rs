//! Where a region's load divides best: sampled keys, each judged by the requests that were sampled behind it.
//!
//! A key that is sampled is met where the load is; so one that divides the load well is soon among a few of them. What
//! comes later lies left of it, right of it, or on both sides, as far as it is a range. A load that only ever grows at
//! one end has everything on one side of every key, and no border would share it out.
//!
//! **Knows nothing of** time, of what is stored, and of who counts.

use flotilla_base::{Key, KeyRange, Rng};

/// Keys that are judged at the same time.
const CANDIDATES_MAX: usize = 20;
/// So many requests say something about a key.
const SAMPLES_MIN: u32 = 100;
/// By so much of what lies on one of the sides they may differ, in thousandths.
const IMBALANCE_MAX_PERMILLE: u64 = 250;

/// What one request reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// One key.
    Key(Key),
    /// All keys from one on, up to another one.
    Range(KeyRange),
}

/// Where a request lies, seen from a border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

impl Touched {
    fn side_of(&self, border: &Key) -> Side {
        match self {
            Self::Key(key) if key < border => Side::Left,
            Self::Key(_) => Side::Right,
            Self::Range(range) if range.start >= *border => Side::Right,
            Self::Range(range) if !range.end.is_empty() && range.end <= *border => Side::Left,
            Self::Range(_) => Side::Both,
        }
    }

    /// Where it begins.
    const fn first(&self) -> &Key {
        match self {
            Self::Key(key) => key,
            Self::Range(range) => &range.start,
        }
    }

    fn is_key(&self, key: &Key) -> bool {
        matches!(self, Self::Key(own) if own == key)
    }
}

/// A key, and the requests that were sampled since it is one of those that are judged.
#[derive(Clone, Debug)]
struct Candidate {
    key: Key,
    left: u32,
    right: u32,
    spanning: u32,
    /// Those of `right` that are for this very key.
    same: u32,
}

impl Candidate {
    const fn new(key: Key) -> Self {
        Self { key, left: 0, right: 0, spanning: 0, same: 0 }
    }

    fn judge(&mut self, touched: &Touched) {
        match touched.side_of(&self.key) {
            Side::Left => self.left += 1,
            Side::Right => self.right += 1,
            Side::Both => self.spanning += 1,
        }
        self.same += u32::from(touched.is_key(&self.key));
        debug_assert!(self.same <= self.right, "a key lies right of the border at it");
    }

    const fn total(&self) -> u32 {
        self.left + self.right + self.spanning
    }

    const fn is_hot(&self) -> bool {
        self.same * 2 > self.total()
    }

    /// How badly a border here would share the load out, in thousandths; `None` where it would not.
    fn badness(&self) -> Option<u64> {
        let permille = |part: u32, whole: u32| u64::from(part) * 1000 / u64::from(whole.max(1));
        let divided = self.left + self.right;
        let imbalance = permille(self.left.abs_diff(self.right), divided);
        let spanning = permille(self.spanning, self.total());
        let is_good = divided > 0 && imbalance <= IMBALANCE_MAX_PERMILLE && spanning < 500;
        is_good.then_some(imbalance + spanning)
    }
}

/// What the samples say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There are too few to say anything.
    Little,
    /// A border here shares the load out.
    Border(Key),
    /// More than half of the load is for one key: no border shares it out.
    HotKey(Key),
    /// No key divides the load well.
    Nowhere,
}

/// Samples of one region's load, as far as borders depend on them.
///
/// Invariant: at most [`CANDIDATES_MAX`] candidates, each drawn from all samples with equal chances.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finder {
    candidates: Vec<Candidate>,
    seen: u64,
}

impl Finder {
    /// A request was sampled.
    pub(crate) fn note(&mut self, touched: &Touched, rng: &mut Rng) {
        for candidate in &mut self.candidates {
            candidate.judge(touched);
        }
        self.seen += 1;
        let place = reservoir_place(self.seen, CANDIDATES_MAX, rng);
        put(&mut self.candidates, place, || Candidate::new(touched.first().clone()));
    }

    pub(crate) fn find(&self) -> Found {
        let known = || self.candidates.iter().filter(|it| it.total() >= SAMPLES_MIN);
        if let Some(hot) = known().find(|it| it.is_hot()) {
            return Found::HotKey(hot.key.clone());
        }
        let judged = known().filter_map(|it| it.badness().map(|badness| (badness, &it.key)));
        match judged.min() {
            Some((_, key)) => Found::Border(key.clone()),
            None if known().next().is_none() => Found::Little,
            None => Found::Nowhere,
        }
    }
}

/// Where the newest of `seen` things is kept, if at most `room` of them are and all have equal chances.
pub(super) fn reservoir_place(seen: u64, room: usize, rng: &mut Rng) -> Option<usize> {
    let place = if seen <= room as u64 { seen - 1 } else { rng.below(seen) };
    usize::try_from(place).ok().filter(|place| *place < room)
}

/// Puts a thing where [`reservoir_place`] said.
pub(super) fn put<T>(kept: &mut Vec<T>, place: Option<usize>, make: impl FnOnce() -> T) {
    match place {
        Some(place) if place < kept.len() => kept[place] = make(),
        Some(_behind_the_last) => kept.push(make()),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::Rng;
    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> Key {
        format!("key{number:06}").into()
    }

    fn range(start: u64, end: u64) -> Touched {
        Touched::Range(KeyRange::new(key(start), key(end)))
    }

    /// What is found after so many samples, each made of draws.
    fn found(count: usize, sample: impl Fn(usize, &mut Rng) -> Touched) -> Found {
        let (mut finder, mut rng, mut load) = (Finder::default(), Rng::new(7), Rng::new(8));
        (0..count).for_each(|number| finder.note(&sample(number, &mut load), &mut rng));
        finder.find()
    }

    /// The share of keys below 1000 that lie left of what was found.
    fn share_left(found: &Found) -> u64 {
        let Found::Border(border) = found else { panic!("{found:?}") };
        (0..1000).filter(|number| key(*number) < *border).count() as u64
    }

    #[test]
    fn a_uniform_load_is_cut_in_the_middle() {
        let found = found(600, |_, load| Touched::Key(key(load.below(1000))));
        assert!((370..=630).contains(&share_left(&found)), "{found:?}");
    }

    /// Nine of ten requests are for the last tenth of the keys: that is where the border belongs.
    #[test]
    fn a_skewed_load_is_cut_where_it_lies() {
        let found = found(600, |_, load| {
            let is_rare = load.chance(100);
            Touched::Key(key(if is_rare { load.below(900) } else { 900 + load.below(100) }))
        });
        assert!((910..980).contains(&share_left(&found)), "{found:?}");
    }

    #[test]
    fn a_hot_key_is_told_and_not_cut() {
        let load = |permille| {
            found(600, move |_, load| {
                let is_hot = load.chance(permille);
                Touched::Key(key(if is_hot { 500 } else { load.below(1000) }))
            })
        };
        assert_eq!(load(1000), Found::HotKey(key(500)));
        assert_eq!(load(700), Found::HotKey(key(500)));
        assert!(matches!(load(100), Found::Border(_)));
    }

    #[test]
    fn a_load_that_grows_at_its_end_is_not_cut() {
        for direction in [|number| number, |number| 999_999 - number] {
            let found = found(2000, |number, _| Touched::Key(key(direction(number as u64))));
            assert_eq!(found, Found::Nowhere);
        }
    }

    #[test]
    fn scans_are_cut_where_few_of_them_pass() {
        let short = |_: usize, load: &mut Rng| {
            let start = load.below(990);
            range(start, start + 10)
        };
        let cut = found(600, short);
        assert!((370..=630).contains(&share_left(&cut)), "{cut:?}");
        assert_eq!(found(600, |_, _| range(0, 1000)), Found::Nowhere, "each would become two");
        let open = |_: usize, _: &mut Rng| Touched::Range(KeyRange::new(key(3), ""));
        assert_eq!(found(600, open), Found::Nowhere);
    }

    #[test]
    fn few_samples_say_nothing() {
        let uniform = |_: usize, load: &mut Rng| Touched::Key(key(load.below(1000)));
        assert_eq!(found(0, uniform), Found::Little);
        assert_eq!(found(SAMPLES_MIN as usize, uniform), Found::Little, "the first has one less");
        assert_ne!(found(600, uniform), Found::Little);
    }

    #[test]
    fn sides_meet_at_the_border() {
        let border = key(5);
        let side = |touched: Touched| touched.side_of(&border);
        assert_eq!(side(Touched::Key(key(4))), Side::Left);
        assert_eq!(side(Touched::Key(key(5))), Side::Right);
        assert_eq!(side(range(3, 5)), Side::Left);
        assert_eq!(side(range(5, 6)), Side::Right);
        assert_eq!(side(range(4, 6)), Side::Both);
        assert_eq!(side(Touched::Range(KeyRange::new("", ""))), Side::Both);
    }

    proptest! {
        /// Whatever the load: a border is a key of it, has load on both sides, and what is promised of it holds for a
        /// count of all samples, as far as some hundred of them can tell.
        #[test]
        fn borders_divide(
            keys in prop::collection::vec(0_u64..200, 1..30),
            lengths in prop::collection::vec(0_u64..50, 1..30),
            seed: u64,
        ) {
            let mut load = Rng::new(seed);
            let mut draw = |from: &[u64]| from[usize::try_from(load.below(from.len() as u64)).unwrap_or(0)];
            let samples: Vec<Touched> = (0..2000)
                .map(|_| match (draw(&keys), draw(&lengths)) {
                    (start, 0) => Touched::Key(key(start)),
                    (start, length) => range(start, start + length),
                })
                .collect();
            let (mut finder, mut rng) = (Finder::default(), Rng::new(seed ^ 1));
            samples.iter().for_each(|touched| finder.note(touched, &mut rng));
            prop_assert!(finder.candidates.len() <= CANDIDATES_MAX);
            match finder.find() {
                Found::Border(border) => {
                    let count = |side| samples.iter().filter(|it| it.side_of(&border) == side).count();
                    let (left, right, both) = (count(Side::Left), count(Side::Right), count(Side::Both));
                    prop_assert!(samples.iter().any(|it| *it.first() == border));
                    prop_assert!(left > 0 && right > 0);
                    prop_assert!(left.abs_diff(right) * 10 <= (left + right) * 6, "{} {}", left, right);
                    prop_assert!(both * 10 < samples.len() * 7, "{} of {}", both, samples.len());
                }
                Found::HotKey(hot) => {
                    let same = samples.iter().filter(|it| it.is_key(&hot)).count();
                    prop_assert!(same * 10 > samples.len() * 3, "{}", same);
                }
                Found::Nowhere => {}
                Found::Little => prop_assert!(false, "two thousand are enough"),
            }
        }
    }
}
