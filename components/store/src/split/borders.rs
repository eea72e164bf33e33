//! Where a region may be cut: a function of what is known of its data, and of nothing else.
//!
//! Transactional clients decode the borders of the regions that they meet, and fail where one is not a memcomparable
//! form. Raw keys are as users write them. So a region is cut
//! - at a memcomparable form, where one lies near enough;
//! - at a raw key otherwise, if the region holds no transactional data. Then two *fences* keep the cut away from
//!   transactional neighbours: forms below and above the raw data, which become borders with the same split.
//!
//! **Knows nothing of** databases, of raft, or of who wants the split.

use flotilla_base::{
    Key, KeyRange,
    key::{decode_memcomparable, encode_memcomparable},
};

/// So many parts a region is cut into at once, at most; fences come to it.
pub(crate) const PARTS_MAX: usize = 10;

/// What a region holds, as far as cuts depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edges {
    /// First raw key.
    pub(crate) first: Option<Key>,
    /// Last raw key.
    pub(crate) last: Option<Key>,
    /// Whether there is any transactional data.
    pub(crate) has_transactional: bool,
}

/// A key, and how many bytes of data stand in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) key: Key,
    pub(crate) bytes_before: u64,
}

/// What one pass over a region found.
///
/// Invariant: marks ascend by key and by bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) edges: Edges,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
    /// Keys at about equal distances.
    pub(crate) marks: Vec<Mark>,
}

/// The new borders with which `range` falls into about `parts` equal parts, ascending and inside of it; none where it
/// cannot be cut.
pub(crate) fn cut(range: &KeyRange, survey: &Survey, parts: usize) -> Vec<Key> {
    let parts = parts.clamp(2, PARTS_MAX) as u64;
    let part_bytes = survey.bytes / parts;
    let ideal = (1..parts).filter_map(|number| survey.mark_at(number * part_bytes));
    let borders = ideal.filter_map(|mark| border_near(range, survey, mark, part_bytes)).collect();
    with_fences(range, &survey.edges, borders)
}

/// The new borders with which `range` falls apart at `keys`, ascending and inside of it: without those that are
/// borders already or lie outside, and without those that transactional clients could not decode where they
/// have data.
pub(crate) fn cut_at(range: &KeyRange, edges: &Edges, keys: Vec<Key>) -> Vec<Key> {
    let is_possible =
        |key: &Key| is_inside(range, key) && (!edges.has_transactional || is_decodable(key));
    with_fences(range, edges, keys.into_iter().filter(is_possible).collect())
}

impl Survey {
    /// The first mark with so many bytes in front of it.
    fn mark_at(&self, bytes: u64) -> Option<&Mark> {
        self.marks.get(self.marks.partition_point(|mark| mark.bytes_before < bytes))
    }

    /// About how many bytes stand in front of `key`.
    fn bytes_before(&self, key: &Key) -> u64 {
        let next = self.marks.partition_point(|mark| mark.key < *key);
        self.marks.get(next).map_or(self.bytes, |mark| mark.bytes_before)
    }
}

/// A memcomparable form that leaves each part at least a quarter of what it should have, else the raw key itself.
fn border_near(range: &KeyRange, survey: &Survey, mark: &Mark, part_bytes: u64) -> Option<Key> {
    let distance = |key: &Key| survey.bytes_before(key).abs_diff(mark.bytes_before);
    let near = |key: &Key| distance(key) <= part_bytes / 4 * 3;
    let has_data_on_both_sides = |key: &Key| {
        let before = survey.bytes_before(key);
        before > 0 && before < survey.bytes
    };
    let forms = [form_in(&mark.key), form_below(&mark.key), form_above(&mark.key)];
    let forms = forms.into_iter().flatten().filter(|key| is_inside(range, key));
    let mut forms: Vec<Key> =
        forms.filter(|key| near(key) && has_data_on_both_sides(key)).collect();
    forms.sort_by_key(distance);
    let raw = || {
        let is_possible = !survey.edges.has_transactional && is_inside(range, &mark.key);
        (is_possible && has_data_on_both_sides(&mark.key)).then(|| mark.key.clone())
    };
    forms.into_iter().next().or_else(raw)
}

/// Puts fences around borders that are no forms, and all of them in order.
fn with_fences(range: &KeyRange, edges: &Edges, mut borders: Vec<Key>) -> Vec<Key> {
    borders.sort();
    borders.dedup();
    let mut raw = borders.iter().filter(|key| !is_decodable(key));
    if let Some(lowest) = raw.next() {
        let highest = raw.next_back().unwrap_or(lowest);
        let lowest = edges.first.as_ref().map_or(lowest, |first| first.min(lowest));
        let highest = edges.last.as_ref().map_or(highest, |last| last.max(highest));
        // Behind a border that cannot be decoded itself, a fence would keep nobody away.
        let low = is_decodable(&range.start).then(|| form_below(lowest)).flatten();
        let high = is_decodable(&range.end).then(|| form_above(highest)).flatten();
        borders.extend(low.into_iter().chain(high).filter(|fence| is_inside(range, fence)));
        borders.sort();
        borders.dedup();
    }
    debug_assert!(borders.iter().all(|key| is_inside(range, key)), "{range:?}: {borders:?}");
    borders
}

/// Whether a border at `key` leaves something on both sides.
fn is_inside(range: &KeyRange, key: &Key) -> bool {
    range.contains(key) && *key != range.start
}

/// Whether transactional clients can read this border. The empty one stands for none.
fn is_decodable(border: &Key) -> bool {
    border.is_empty() || decode_memcomparable(border).is_some()
}

/// The form with which `key` begins: of transactional data, all versions of one key begin with it.
fn form_in(key: &Key) -> Option<Key> {
    const GROUP_BYTES: usize = 9;
    let groups = key.len() / GROUP_BYTES;
    let is_form = |groups: &usize| decode_memcomparable(&key[..groups * GROUP_BYTES]).is_some();
    (1..=groups).find(is_form).map(|groups| key.slice(..groups * GROUP_BYTES))
}

/// A form below every key that begins with the same eight bytes; `None` where there is none.
fn form_below(key: &Key) -> Option<Key> {
    first_eight(key).checked_sub(1).map(|prefix| encode_memcomparable(&prefix.to_be_bytes()))
}

/// A form above every key that begins with the same eight bytes; `None` where there is none.
fn form_above(key: &Key) -> Option<Key> {
    first_eight(key).checked_add(1).map(|prefix| encode_memcomparable(&prefix.to_be_bytes()))
}

/// The first eight bytes of a key, filled up with zeros: forms are made of groups of eight.
fn first_eight(key: &Key) -> u64 {
    let mut bytes = [0; 8];
    let taken = key.len().min(bytes.len());
    bytes[..taken].copy_from_slice(&key[..taken]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use flotilla_base::key::{display, guard_border};
    use proptest::prelude::*;

    use super::*;

    /// A region with these keys, each with a value that makes it this many bytes.
    fn survey(keys: impl IntoIterator<Item = Key>, bytes_each: u64) -> Survey {
        let mut survey = Survey::default();
        for key in keys {
            survey.marks.push(Mark { key: key.clone(), bytes_before: survey.bytes });
            survey.bytes += bytes_each;
            survey.keys += 1;
            survey.edges.first.get_or_insert_with(|| key.clone());
            survey.edges.last = Some(key);
        }
        survey
    }

    fn ordinary() -> KeyRange {
        KeyRange::new("", guard_border())
    }

    fn shown(borders: &[Key]) -> Vec<String> {
        borders.iter().map(|key| display(key)).collect()
    }

    fn users(count: usize) -> impl Iterator<Item = Key> {
        (0..count).map(|number| format!("usertable:user{number:08}").into())
    }

    #[test]
    fn keys_with_one_prefix_are_cut_behind_fences() {
        let borders = cut(&ordinary(), &survey(users(1000), 100), 2);
        let expected = [
            r"usertabk\xff\x00\x00\x00\x00\x00\x00\x00\x00\xf7",
            "usertable:user00000500",
            r"usertabm\xff\x00\x00\x00\x00\x00\x00\x00\x00\xf7",
        ];
        assert_eq!(shown(&borders), expected);
    }

    #[test]
    fn a_region_behind_fences_is_cut_without_new_ones() {
        let range = KeyRange::new("usertable:user00000200", "usertable:user00000900");
        let inside = users(1000).filter(|key| range.contains(key));
        let borders = cut(&range, &survey(inside, 100), 3);
        assert_eq!(shown(&borders), ["usertable:user00000434", "usertable:user00000667"]);
        let range = KeyRange::new(encode_memcomparable(b"usertabk"), "usertable:user00000900");
        let inside = users(1000).filter(|key| range.contains(key));
        assert_eq!(cut(&range, &survey(inside, 100), 2).len(), 1);
    }

    #[test]
    fn forms_are_preferred_where_they_are_near() {
        let keys = (0..1000).map(|number| Key::from(format!("user:{number:05}")));
        let borders = cut(&ordinary(), &survey(keys, 100), 2);
        assert_eq!(shown(&borders), [r"user:004\xff\x00\x00\x00\x00\x00\x00\x00\x00\xf7"]);
        let keys = (b'a'..=b'z').map(|letter| Key::from(vec![letter]));
        let borders = cut(&ordinary(), &survey(keys, 100), 4);
        assert_eq!(borders.len(), 3);
        assert!(borders.iter().all(is_decodable));
    }

    #[test]
    fn a_region_with_transactional_data_is_cut_at_forms_alone() {
        let mut shared = survey(users(1000), 100);
        shared.edges.has_transactional = true;
        assert_eq!(cut(&ordinary(), &shared, 2), [""; 0]);
        let versions = (0..200_u64).map(|number| {
            let mut key =
                encode_memcomparable(format!("table{:04}", number / 2).as_bytes()).to_vec();
            key.extend_from_slice(&number.to_be_bytes());
            Key::from(key)
        });
        let mut rows = survey(versions, 100);
        rows.edges = Edges { has_transactional: true, ..Edges::default() };
        let borders = cut(&ordinary(), &rows, 2);
        assert_eq!(borders, [encode_memcomparable(b"table0050")]);
    }

    #[test]
    fn one_key_cannot_be_cut() {
        for count in 0..2 {
            assert_eq!(cut(&ordinary(), &survey(users(count), 1 << 30), 4), [""; 0]);
        }
        let range = KeyRange::new("usertable:user00000000", "");
        assert_eq!(cut(&range, &survey(users(1), 100), 2), [""; 0], "its first key is its border");
    }

    #[test]
    fn wishes_are_put_in_order_and_fenced() {
        let wish = |keys: &[&'static str]| keys.iter().map(|key| Key::from(*key)).collect();
        let range = KeyRange::new("b", "y");
        let borders = cut_at(&range, &Edges::default(), wish(&["m", "b", "z", "f", "m", "y", ""]));
        assert_eq!(shown(&borders), ["f", "m"], "borders that cannot be decoded are there already");
        let borders = cut_at(&ordinary(), &Edges::default(), wish(&["m", "f"]));
        let (low, high) = (form_below(&"f".into()), form_above(&"m".into()));
        assert_eq!(borders, [low.expect("one"), "f".into(), "m".into(), high.expect("one")]);
        let transactional = Edges { has_transactional: true, ..Edges::default() };
        let form = encode_memcomparable(b"k");
        let keys = vec!["f".into(), form.clone()];
        assert_eq!(cut_at(&ordinary(), &transactional, keys), [form]);
    }

    #[test]
    fn prefixes_at_the_ends_have_no_fence() {
        assert_eq!(form_below(&"".into()), None);
        assert_eq!(form_below(&vec![0; 20].into()), None);
        assert_eq!(form_above(&vec![0xff; 20].into()), None);
    }

    proptest! {
        #[test]
        fn fences_stand_around_all_keys_with_the_prefix(key: Vec<u8>, tail: Vec<u8>) {
            let mut longer = key.clone();
            longer.resize(longer.len().max(8), 0);
            longer.extend(tail);
            for key in [Key::from(key), Key::from(longer)] {
                let (below, above) = (form_below(&key), form_above(&key));
                prop_assert!(below.is_none_or(|it| it < key && is_decodable(&it)));
                prop_assert!(above.is_none_or(|it| it > key && is_decodable(&it)));
            }
        }

        /// Whatever the data: borders ascend inside of the range, and a raw one never meets a neighbour whose
        /// other border can be decoded, except where no form fits in between.
        #[test]
        fn cuts_are_sound(
            keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..12), 2..60),
            parts in 2_usize..12,
            bytes in 1_u64..1000,
        ) {
            let range = ordinary();
            let keys: Vec<Key> = keys.into_iter().map(Key::from).collect();
            let survey = survey(keys.clone(), bytes);
            let borders = cut(&range, &survey, parts);
            prop_assert!(borders.is_sorted() && borders.iter().all(|key| is_inside(&range, key)));
            let raw: Vec<&Key> = borders.iter().filter(|key| !is_decodable(key)).collect();
            if let (Some(low), Some(high)) = (raw.first(), raw.last()) {
                let fence = form_below(&keys[0]);
                prop_assert!(fence.is_none_or(|_| is_decodable(&borders[0]) && borders[0] < **low));
                let last = &borders[borders.len() - 1];
                let fence = form_above(&keys[keys.len() - 1]).filter(|key| range.contains(key));
                prop_assert!(fence.is_none_or(|_| is_decodable(last) && *last > **high));
            }
        }
    }
}
