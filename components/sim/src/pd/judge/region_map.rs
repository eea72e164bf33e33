//! I6: what is answered about regions was reported word for word, owns the key that was asked for, never
//! goes back to an earlier owner within a reign; and once all leaders have reported, the regions tile the
//! key space at their latest epochs.

use std::collections::BTreeMap;

use flotilla_base::{Key, PeerId, Region, RegionId, Term, Version};
use flotilla_placement::{RegionInfo, RegionReport};

use crate::event::Run;
use crate::judge::{Verdict, require};

const WORDS: &str = "I6: what is answered was reported word for word";
const OWNER: &str =
    "I6: a key is answered with a region that owns it, and never with an earlier one";
const COVERED: &str = "I6: a key that had an owner keeps one";
const APART: &str = "I6: no two regions of a list own one key";
const TILES: &str = "I6: regions tile the key space at their latest epochs";

/// Names a reign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReignKey {
    /// Which member.
    pub member: PeerId,
    /// Which run of it.
    pub run: Run,
    /// Its term.
    pub term: Term,
}

/// What was reported and answered.
#[derive(Debug, Default)]
pub struct RegionMapJudge {
    reported: BTreeMap<RegionId, Vec<RegionReport>>,
    /// What stores reported as made by splits.
    pieces: BTreeMap<RegionId, Vec<Region>>,
    /// The newest version that was answered for each key.
    owners: BTreeMap<(ReignKey, Key), Version>,
}

impl RegionMapJudge {
    /// A leader reports.
    pub fn on_report(&mut self, report: &RegionReport) {
        let known = self.reported.entry(report.region.id).or_default();
        if !known.contains(report) {
            known.push(report.clone());
        }
    }

    /// A store reports what a split has made.
    pub fn on_split(&mut self, pieces: &[Region]) {
        for piece in pieces {
            self.pieces.entry(piece.id).or_default().push(piece.clone());
        }
    }

    /// A key is looked up.
    ///
    /// # Errors
    /// The answer was not reported, does not own the key, or is older than an earlier answer.
    pub fn on_key(&mut self, reign: ReignKey, key: &Key, found: Option<&RegionInfo>) -> Verdict {
        let before = self.owners.get(&(reign, key.clone())).copied();
        let Some(info) = found else {
            return require(before.is_none(), COVERED, || {
                format!("{reign:?} {key:?}: nothing, {before:?} before")
            });
        };
        self.check_words(info)?;
        let version = info.region.epoch.version;
        let is_sound = info.region.range.contains(key) && before.is_none_or(|it| it <= version);
        require(is_sound, OWNER, || {
            format!("{reign:?} {key:?}: {:?}, version {before:?} before", info.region)
        })?;
        self.owners.insert((reign, key.clone()), version);
        Ok(())
    }

    /// All regions are listed, in the order of their keys. A key whose owner has not reported yet is in none.
    ///
    /// # Errors
    /// One of them was not reported; or they overlap; or a key is in one that is older than what was answered.
    pub fn on_all<'a>(
        &self,
        reign: ReignKey,
        found: impl Iterator<Item = &'a RegionInfo> + Clone,
    ) -> Verdict {
        found.clone().try_for_each(|info| self.check_words(info))?;
        for (left, right) in found.clone().zip(found.clone().skip(1)) {
            let (left, right) = (&left.region.range, &right.region.range);
            let is_apart = !left.end.is_empty() && left.end <= right.start;
            require(is_apart, APART, || format!("{left} and {right}"))?;
        }
        let (first, last) = ((reign, Key::new()), ReignKey { run: Run(reign.run.0 + 1), ..reign });
        let owned =
            self.owners.range(first..(last, Key::new())).filter(|((of, _), _)| *of == reign);
        for ((_, key), version) in owned {
            let owner = found.clone().find(|info| info.region.range.contains(key));
            let is_older = owner.is_some_and(|info| info.region.epoch.version < *version);
            require(!is_older, OWNER, || format!("{reign:?} {key:?}: {owner:?} after {version}"))?;
        }
        Ok(())
    }

    /// All leaders have reported to this reign: `truth` is what they lead, in the order of the keys.
    ///
    /// # Errors
    /// The regions are not these, or do not tile the key space.
    pub fn on_end<'a>(
        &self,
        truth: &[Region],
        found: impl Iterator<Item = &'a RegionInfo> + Clone,
    ) -> Verdict {
        let mut border = Some(Key::new());
        for info in found.clone() {
            let range = &info.region.range;
            require(border.as_ref() == Some(&range.start), TILES, || {
                format!("region {} of {range} does not begin at {border:?}", info.region.id)
            })?;
            border = (!range.end.is_empty()).then(|| range.end.clone());
        }
        require(border.is_none(), TILES, || format!("nothing owns the keys from {border:?}"))?;
        let is_truth = found.clone().map(|info| &info.region).eq(truth);
        require(is_truth, TILES, || {
            format!("{:?} instead of {truth:?}", found.map(|info| &info.region).collect::<Vec<_>>())
        })
    }

    /// Region, leader and term come from one report; or the region from a split, and its leader from nowhere or
    /// from an earlier report of the same region.
    fn check_words(&self, info: &RegionInfo) -> Verdict {
        let reports = self.reported.get(&info.region.id).map(Vec::as_slice).unwrap_or_default();
        let leads =
            |report: &&RegionReport| (Some(report.leader), report.term) == (info.leader, info.term);
        let pieces = self.pieces.get(&info.region.id);
        let is_piece = pieces.is_some_and(|pieces| pieces.contains(&info.region));
        let is_reported = reports.iter().filter(leads).any(|report| report.region == info.region)
            || (is_piece && (info.leader.is_none() || reports.iter().any(|it| leads(&it))));
        require(is_reported, WORDS, || format!("{:?} led by {:?}", info.region, info.leader))
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{ConfVer, Epoch, KeyRange, Moment, Peer, StoreId};

    use super::*;

    const REIGN: ReignKey = ReignKey { member: PeerId(1), run: Run(1), term: Term(6) };

    fn report(id: u64, range: (&'static str, &'static str), version: u64) -> RegionReport {
        let leader = Peer::voter(PeerId(id * 100), StoreId(1));
        let epoch = Epoch { version: Version(version), conf_ver: ConfVer(1) };
        let range = KeyRange::new(range.0, range.1);
        let region = Region { id: RegionId(id), range, epoch, peers: vec![leader] };
        RegionReport { region, leader, term: Term(6), ..RegionReport::default() }
    }

    fn info(report: &RegionReport) -> RegionInfo {
        let RegionReport { region, leader, term, stats, .. } = report.clone();
        let (down_peers, pending_peers, heard) = (Vec::new(), Vec::new(), Moment(1));
        let (leader, load) = (Some(leader), <_>::default());
        RegionInfo { region, leader, term, stats, load, down_peers, pending_peers, heard }
    }

    fn rule(verdict: Verdict) -> Option<&'static str> {
        verdict.err().map(|violation| violation.rule)
    }

    #[test]
    fn an_answer_that_nobody_reported_is_found() {
        let mut judge = RegionMapJudge::default();
        let reported = report(2, ("", "m"), 2);
        judge.on_report(&reported);
        let key = Key::from("c");
        assert_eq!(judge.on_key(REIGN, &key, Some(&info(&reported))), Ok(()));
        let edited = report(2, ("", "n"), 2);
        assert_eq!(rule(judge.on_key(REIGN, &key, Some(&info(&edited)))), Some(WORDS));
        assert_eq!(rule(judge.on_all(REIGN, [info(&edited)].iter())), Some(WORDS));
    }

    #[test]
    fn an_answer_that_goes_back_or_misses_the_key_is_found() {
        let mut judge = RegionMapJudge::default();
        let (parent, child) = (report(2, ("", ""), 1), report(3, ("m", ""), 2));
        judge.on_report(&parent);
        judge.on_report(&child);
        let key = Key::from("p");
        assert_eq!(judge.on_key(REIGN, &key, None), Ok(()));
        assert_eq!(judge.on_key(REIGN, &key, Some(&info(&child))), Ok(()));
        assert_eq!(rule(judge.on_key(REIGN, &key, Some(&info(&parent)))), Some(OWNER));
        assert_eq!(rule(judge.on_key(REIGN, &Key::from("c"), Some(&info(&child)))), Some(OWNER));
        assert_eq!(rule(judge.on_key(REIGN, &key, None)), Some(COVERED));
        let next = ReignKey { term: Term(7), ..REIGN };
        assert_eq!(judge.on_key(next, &key, Some(&info(&parent))), Ok(()), "another reign");
        assert_eq!(rule(judge.on_all(REIGN, [info(&parent)].iter())), Some(OWNER));
        assert_eq!(judge.on_all(next, [info(&parent)].iter()), Ok(()));
        assert_eq!(judge.on_all(REIGN, [].iter()), Ok(()), "a list may have holes");
    }

    #[test]
    fn regions_of_a_list_that_overlap_are_found() {
        let mut judge = RegionMapJudge::default();
        let (parent, child) = (report(2, ("", ""), 1), report(3, ("m", ""), 2));
        judge.on_report(&parent);
        judge.on_report(&child);
        let list = [info(&parent), info(&child)];
        assert_eq!(rule(judge.on_all(REIGN, list.iter())), Some(APART));
        assert_eq!(judge.on_all(REIGN, list[1..].iter()), Ok(()));
    }

    #[test]
    fn pieces_of_a_split_have_no_leader_or_the_one_they_had() {
        let mut judge = RegionMapJudge::default();
        let (parent, child) = (report(2, ("", ""), 1), report(3, ("m", ""), 2));
        let shrunk = report(2, ("", "m"), 2);
        judge.on_report(&parent);
        judge.on_split(&[shrunk.region.clone(), child.region.clone()]);
        let key = Key::from("p");
        let led = info(&child);
        assert_eq!(rule(judge.on_key(REIGN, &key, Some(&led))), Some(WORDS), "by nobody");
        let unled = RegionInfo { leader: None, term: Term(0), ..led };
        assert_eq!(judge.on_key(REIGN, &key, Some(&unled)), Ok(()));
        assert_eq!(judge.on_all(REIGN, [info(&shrunk)].iter()), Ok(()), "as before");
    }

    #[test]
    fn holes_overlaps_and_old_regions_are_found_in_the_end() {
        let judge = RegionMapJudge::default();
        let (left, right) = (report(2, ("", "m"), 2), report(3, ("m", ""), 2));
        let truth = [left.region.clone(), right.region.clone()];
        let end = |reports: &[&RegionReport]| {
            let infos: Vec<RegionInfo> = reports.iter().map(|report| info(report)).collect();
            judge.on_end(&truth, infos.iter())
        };
        assert_eq!(end(&[&left, &right]), Ok(()));
        let (parent, old) = (report(2, ("", ""), 1), report(2, ("", "m"), 1));
        let far = report(3, ("n", ""), 2);
        for wrong in [vec![&left], vec![&parent, &right], vec![&left, &far], vec![&old, &right]] {
            assert_eq!(rule(end(&wrong)), Some(TILES), "{wrong:?}");
        }
        assert_eq!(rule(end(&[])), Some(TILES));
    }
}
