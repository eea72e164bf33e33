//! Data follows the log: what a store holds is what its applied index asks for, since both change in one batch.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_base::{Family, Index, Key, Region, Tables};
use flotilla_raftgroup::disk;

use super::applied::AppliedJudge;
use super::{Place, Verdict, require};

const ATOMIC: &str = "I3: data and applied index change in one batch";
const SHAPE: &str = "a split is seen by all replicas at the same entry";
const FOLLOWS: &str = "data follows the log";

/// Compares the data of a region on a store with what its applied index asks for.
///
/// # Errors
/// They differ.
pub fn check(place: Place, region: &Region, image: &Tables, applied: &AppliedJudge) -> Verdict {
    let Ok(Some(state)) = disk::read_apply_state(image, region.id) else {
        return require(false, ATOMIC, || format!("{place}: no apply state"));
    };
    let index = state.applied.index;
    let found = image.family(Family::Raw).iter().filter(|(key, _)| region.range.contains(key));
    let found: BTreeMap<&Key, &Bytes> = found.collect();
    let keys = applied.keys(region.id);
    let expected = keys
        .into_iter()
        .filter(|key| region.range.contains(key))
        .filter_map(|key| applied.content(region.id, key, index).map(|(_, value)| (key, value)));
    let expected: BTreeMap<&Key, &Bytes> = expected.collect();
    require(found == expected, ATOMIC, || {
        let differs = |key: &&&Key| found.get(**key) != expected.get(**key);
        let key = found.keys().chain(expected.keys()).find(differs);
        format!("{place} at {index}: key {key:?}")
    })?;
    let shape = applied.lineage.shape_at(region.id, index);
    require(shape.is_none_or(|shape| shape == region), SHAPE, || {
        format!("{place} at {index}: {region:?}, by the log {shape:?}")
    })?;
    let clock = applied.clock_millis(region.id, index);
    require(state.clock_millis == clock, ATOMIC, || {
        format!("{place} at {index}: the clock is {}, not {clock}", state.clock_millis)
    })
}

/// Compares what a read found in data at `index` with the log.
///
/// # Errors
/// They differ.
pub fn check_read(
    place: Place,
    key: &[u8],
    index: Index,
    found: Option<&Bytes>,
    applied: &AppliedJudge,
) -> Verdict {
    let content = applied.content(place.1, key, index).map(|(_, value)| value);
    require(content == found, FOLLOWS, || {
        let key = flotilla_base::key::display(key);
        format!("{place}: {key} at {index} is {found:?}, the log says {content:?}")
    })
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Mutation, Term};

    use super::*;
    use crate::judge::samples::{
        ONE, REGION, apply_state, broken, disk, entry, position, region, task,
    };

    fn log() -> AppliedJudge {
        let mut judge = AppliedJudge::default();
        let entries = vec![entry(6, 6, "k", "1:"), entry(6, 7, "l", "2:"), entry(6, 8, "k", "3:")];
        judge.on_hand_over(ONE, &task(entries), Term(9)).expect("a sound log");
        judge
    }

    fn judge(pairs: &[(&'static str, &'static str)], applied: u64, clock: u64) -> Verdict {
        let put = |(key, value): &(&'static str, &'static str)| {
            Mutation::Put(Family::Raw, Key::from(*key), Bytes::from(*value))
        };
        let mut batch: Vec<Mutation> = pairs.iter().map(put).collect();
        batch.push(apply_state(position(6, applied), clock));
        check(ONE, &region(), disk([batch]).synced(), &log())
    }

    #[test]
    fn data_that_is_ahead_or_behind_is_found() {
        assert_eq!(judge(&[], 5, 0), Ok(()));
        assert_eq!(judge(&[("k", "1:")], 6, 6), Ok(()));
        assert_eq!(judge(&[("k", "3:"), ("l", "2:")], 8, 8), Ok(()));
        for (pairs, applied, clock) in [
            (&[("k", "3:"), ("l", "2:")][..], 7, 7),
            (&[("k", "1:"), ("l", "2:")], 8, 8),
            (&[("k", "3:")], 8, 8),
            (&[("k", "3:"), ("l", "2:"), ("m", "9:")], 8, 8),
            (&[("k", "3:"), ("l", "2:")], 8, 7),
        ] {
            assert_eq!(broken(judge(pairs, applied, clock)), ATOMIC, "{pairs:?} at {applied}");
        }
        assert_eq!(broken(check(ONE, &region(), disk([]).synced(), &log())), ATOMIC);
    }

    #[test]
    fn a_replica_that_missed_a_split_is_found() {
        let mut log = AppliedJudge::default();
        log.lineage.found(&region());
        let peers = vec![701, 702, 703].into_iter().map(flotilla_base::PeerId).collect();
        let child = flotilla_multiraft::NewRegion { end: "l".into(), region: 7.into(), peers };
        let epoch = region().epoch;
        let split = flotilla_multiraft::SplitCommand { epoch, children: vec![child] };
        let split = flotilla_raftgroup::Entry { data: split.encode(), ..entry(6, 7, "l", "2:") };
        let entries = vec![entry(6, 6, "l", "1:"), split];
        log.on_hand_over(ONE, &task(entries), Term(9)).expect("a sound log");
        let batch = |applied| {
            let put = Mutation::Put(Family::Raw, "l".into(), "1:".into());
            disk([vec![put, apply_state(position(6, applied), 6)]])
        };
        let after = log.lineage.shape(REGION).expect("told").clone();
        assert_eq!(check(ONE, &region(), batch(6).synced(), &log), Ok(()));
        assert_eq!(check(ONE, &after, batch(7).synced(), &log), Ok(()));
        assert_eq!(broken(check(ONE, &after, batch(6).synced(), &log)), SHAPE);
        assert_eq!(broken(check(ONE, &region(), batch(7).synced(), &log)), SHAPE);
    }

    #[test]
    fn a_read_of_something_else_is_found() {
        let judge = |index, found: Option<&'static str>| {
            let found = found.map(Bytes::from);
            check_read(Place(ONE.0, REGION), b"k", Index(index), found.as_ref(), &log())
        };
        assert_eq!(judge(5, None), Ok(()));
        assert_eq!(judge(7, Some("1:")), Ok(()));
        assert_eq!(broken(judge(8, Some("1:"))), FOLLOWS);
        assert_eq!(broken(judge(8, None)), FOLLOWS);
    }
}
