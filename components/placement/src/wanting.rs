//! Regions that are not as they are to be, in the order in which they are looked at.
//!
//! Those that lack healthy voters go before all others: one failure more, and nobody could write to them. What was looked
//! at in vain is looked at again behind a pause that grows each time, unless something that the verdict rests on changes:
//! the region, who of its members is well, or the stores ([`Terrain`](crate::check::Terrain)). So what cannot be mended
//! costs little, however much of it there is.

use std::collections::BTreeMap;

use flotilla_base::{Epoch, Moment, Peer, PeerId, RegionId, Span};

use crate::{check::Standing, due::Due, operator::step::has_caught_up, view::RegionInfo};

/// The pause behind the first look in vain.
const PAUSE: Span = Span::from_millis(1_000);
/// When a copy ends, so many regions are tried for which there was no room.
const HASTENED: usize = 4;

/// How much a region wants a look; the first go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// It lacks healthy voters.
    AtRisk,
    /// It is not as it is to be.
    Wanting,
    /// It could stand better, and nothing better was found for it.
    Content,
}

impl Rank {
    /// The longest pause behind looks in vain.
    const fn longest_pause(self) -> Span {
        match self {
            Self::AtRisk | Self::Wanting => Span::from_millis(64_000),
            Self::Content => Span::from_millis(30 * 60_000),
        }
    }
}

/// What a verdict on a region rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grounds {
    epoch: Epoch,
    leader: Option<PeerId>,
    unwell: Vec<PeerId>,
    terrain: u64,
}

impl Grounds {
    fn of(info: &RegionInfo, terrain: u64) -> Self {
        let is_unwell = |peer: &&Peer| !has_caught_up(info, **peer);
        let unwell = info.region.peers.iter().filter(is_unwell).map(|peer| peer.id);
        Self {
            epoch: info.region.epoch,
            leader: info.leader.map(|leader| leader.id),
            unwell: unwell.collect(),
            terrain,
        }
    }
}

/// A look in vain.
#[derive(Debug)]
struct Trial {
    grounds: Grounds,
    next_pause: Span,
}

/// Regions that wait for a look.
#[derive(Debug, Default)]
pub(crate) struct Wanting {
    /// By rank. Each region is in one of them.
    queues: [Due; 3],
    tried: BTreeMap<RegionId, Trial>,
}

impl Wanting {
    /// A region is not as it is to be on this terrain: it is due at once, unless just that was looked at in vain.
    pub(crate) fn put(&mut self, now: Moment, info: &RegionInfo, terrain: u64, standing: Standing) {
        debug_assert_ne!(standing, Standing::Sound, "it wants something");
        let region = info.region.id;
        if let Some(trial) = self.tried.get(&region) {
            if trial.grounds == Grounds::of(info, terrain) {
                return;
            }
            self.forget(region);
        }
        let rank = if standing == Standing::AtRisk { Rank::AtRisk } else { Rank::Wanting };
        self.put_alone(region, rank, now);
    }

    /// A region that was taken was looked at in vain on this terrain.
    pub(crate) fn put_off(&mut self, now: Moment, info: &RegionInfo, terrain: u64, rank: Rank) {
        let (region, grounds) = (info.region.id, Grounds::of(info, terrain));
        let known = self.tried.get(&region).filter(|trial| trial.grounds == grounds);
        let pause = known.map_or(PAUSE, |trial| trial.next_pause.min(rank.longest_pause()));
        self.tried.insert(region, Trial { grounds, next_pause: pause + pause });
        self.put_alone(region, rank, now + pause);
    }

    fn put_alone(&mut self, region: RegionId, rank: Rank, due: Moment) {
        for (at, queue) in self.queues.iter_mut().enumerate() {
            if at == rank as usize {
                queue.put(region, due);
            } else {
                queue.forget(region);
            }
        }
    }

    /// A region wants nothing any more, or is being changed.
    pub(crate) fn forget(&mut self, region: RegionId) {
        self.queues.iter_mut().for_each(|queue| _ = queue.forget(region));
        self.tried.remove(&region);
    }

    /// Takes the next region that is due. Whoever does says what has become of it.
    pub(crate) fn pop(&mut self, now: Moment) -> Option<(RegionId, Rank)> {
        let ranks = [Rank::AtRisk, Rank::Wanting, Rank::Content];
        let mut queues = self.queues.iter_mut().zip(ranks);
        queues.find_map(|(queue, rank)| queue.pop(now).map(|region| (region, rank)))
    }

    /// There is room again on some store: some of the regions that were looked at in vain are due at once.
    pub(crate) fn hasten(&mut self, now: Moment) {
        let [at_risk, wanting, _content] = &mut self.queues;
        at_risk.hasten(now, HASTENED);
        wanting.hasten(now, HASTENED);
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Moment {
        self.queues.iter().map(Due::next).min().unwrap_or(Moment::NEVER)
    }

    /// How many are not as they are to be.
    pub(crate) fn len(&self) -> usize {
        let [at_risk, wanting, _content] = &self.queues;
        at_risk.len() + wanting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::RegionReport;

    fn info(id: u64, version: u64) -> RegionInfo {
        let mut report = RegionReport::default();
        report.region.id = RegionId(id);
        report.region.epoch.version.0 = version;
        RegionInfo::new(Moment(0), report, None)
    }

    #[test]
    fn those_at_risk_go_first_and_each_waits_once() {
        let (mut wanting, now) = (Wanting::default(), Moment(5));
        wanting.put(now, &info(1, 1), 1, Standing::Wanting);
        wanting.put(now, &info(3, 1), 1, Standing::Wanting);
        wanting.put(Moment(6), &info(2, 1), 1, Standing::AtRisk);
        wanting.put(Moment(6), &info(3, 1), 1, Standing::AtRisk);
        assert_eq!((wanting.len(), wanting.next()), (3, now));
        assert_eq!(wanting.pop(now), Some((RegionId(1), Rank::Wanting)), "who is due");
        wanting.put(now, &info(1, 1), 1, Standing::Wanting);
        for expected in [(2, Rank::AtRisk), (3, Rank::AtRisk), (1, Rank::Wanting)] {
            assert_eq!(wanting.pop(Moment(6)), Some((RegionId(expected.0), expected.1)));
        }
        assert_eq!(wanting.pop(Moment::NEVER), None);
    }

    #[test]
    fn pauses_grow_until_the_grounds_change() {
        let mut wanting = Wanting::default();
        let (mut now, mut looks) = (Moment(0), 0);
        wanting.put(now, &info(1, 1), 1, Standing::AtRisk);
        while now < Moment(0) + Span::from_millis(3_600_000) {
            assert_eq!(wanting.pop(now), Some((RegionId(1), Rank::AtRisk)));
            wanting.put_off(now, &info(1, 1), 1, Rank::AtRisk);
            assert!(wanting.next() > now && wanting.next() <= now + Span::from_millis(64_000));
            wanting.put(now, &info(1, 1), 1, Standing::AtRisk);
            (now, looks) = (wanting.next(), looks + 1);
        }
        assert!((55..70).contains(&looks), "{looks}");
        let soon = |wanting: &mut Wanting| (wanting.next() == now, wanting.pop(now).is_some());
        assert_eq!(soon(&mut wanting), (true, true));
        for (info, terrain) in [(info(1, 2), 1), (info(1, 2), 2)] {
            wanting.put_off(now, &info, terrain - 1, Rank::AtRisk);
            wanting.put(now, &info, terrain, Standing::Wanting);
            assert_eq!(soon(&mut wanting), (true, true), "{terrain}");
        }
        wanting.put_off(now, &info(1, 2), 2, Rank::AtRisk);
        assert_eq!(wanting.next(), now + PAUSE, "the first pause again");
        wanting.hasten(now);
        assert_eq!(soon(&mut wanting), (true, true), "there is room");
    }
}
