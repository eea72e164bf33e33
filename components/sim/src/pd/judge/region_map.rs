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

    /// All regions are listed.
    ///
    /// # Errors
    /// One of them was not reported; or a key that had an owner has none.
    pub fn on_all<'a>(
        &self,
        reign: ReignKey,
        found: impl Iterator<Item = &'a RegionInfo> + Clone,
    ) -> Verdict {
        found.clone().try_for_each(|info| self.check_words(info))?;
        let (first, last) = ((reign, Key::new()), ReignKey { run: Run(reign.run.0 + 1), ..reign });
        let owned = self.owners.range(first..(last, Key::new())).map(|((of, key), _)| (of, key));
        for (_, key) in owned.filter(|(of, _)| **of == reign) {
            let is_owned = found.clone().any(|info| info.region.range.contains(key));
            require(is_owned, COVERED, || format!("{reign:?} {key:?} is in no region"))?;
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

    fn check_words(&self, info: &RegionInfo) -> Verdict {
        let reports = self.reported.get(&info.region.id);
        let is_same = |report: &RegionReport| {
            (&report.region, report.leader, report.term) == (&info.region, info.leader, info.term)
        };
        let is_reported = reports.is_some_and(|reports| reports.iter().any(is_same));
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
        RegionInfo { region, leader, term, stats, down_peers, pending_peers, heard }
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
        assert_eq!(judge.on_all(REIGN, [info(&parent)].iter()), Ok(()));
        assert_eq!(rule(judge.on_all(REIGN, [].iter())), Some(COVERED));
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
