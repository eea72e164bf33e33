//! Load that comes together on one store is spread.
//!
//! A store is hot where its heat, which is what its leads and replicas cost it
//! ([`leader_heat`](crate::view::Rates::leader_heat)), is a fifth above the mean of all ([`HeatScale`]). Of its
//! hottest regions, one goes to another store: its lead if that helps, since that costs nothing; else a replica. Which one,
//! and where to, is what leaves the hotter of the two stores with least.
//!
//! **Why this has an end.** A move is made only if it leaves both stores with less than the hot one had, by a tenth of the
//! mean. So the squares of what stores have above the limit sum up to less with each move; and schedulers of balance do
//! not bring a store above the limit ([`Fleet::check_heat`]), so that they never add to that sum. At constant load there is
//! a last move for load, and behind it balance ends by its own argument. Beside that no region is moved twice within its
//! cool-down, whatever the load does.
//!
//! A region that is hot by itself is not moved but split: wherever it went would be hot.

use std::collections::BTreeMap;

use flotilla_base::{Moment, RegionId, Span, StoreId};

use super::{Idle, Moved};
use crate::{
    check,
    decision::{ALTERNATIVES_MAX, Alternative, Decision, Intent},
    fleet::{Fleet, HeatScale, Seat},
    operator::{Change, SplitAt, step::votes_on},
    policy::SchedulerName,
    round::Round,
    view::RegionInfo,
};

/// A store from which something was moved is let be for so long: what has moved shows at once, what clients make of it
/// does not.
const PAUSE_BEHIND_A_MOVE: Span = Span::from_millis(30_000);
/// A hot store that nothing could be done about is looked at again after so long: a look costs the number of its regions.
const PAUSE_BEHIND_A_LOOK: Span = Span::from_millis(10_000);
/// Regions of a hot store that are considered.
const CANDIDATES_MAX: usize = 20;
/// What a move has to gain at least: the mean, divided by this.
const GAIN_DIVISOR: u64 = 10;
/// A region with a larger part of the mean than one of so many is split.
const SPLIT_DIVISOR: u64 = 2;
/// A region with less is not split for its load: as small as it is, a border more would not divide the load. The store
/// that leads it knows better, since it sees the keys.
const SPLIT_BYTES_MIN: u64 = 16 << 20;

/// Hot stores that were looked at lately.
#[derive(Debug, Default)]
pub(crate) struct HotRegions {
    /// Until when they are let be.
    pauses: BTreeMap<StoreId, Moment>,
}

/// What a look at one hot store is taken with.
struct Hearth<'s, 'a> {
    round: &'s Round<'a>,
    moved: &'s Moved,
    scale: HeatScale,
    /// The hot store.
    source: &'s Seat<'a>,
    /// Stores that take leads or replicas, the coolest in front.
    others: Vec<&'s Seat<'a>>,
}

/// One way to cool a store.
struct Way<'s, 'a> {
    info: &'s RegionInfo,
    change: Change,
    to: &'s Seat<'a>,
    /// What goes to the other store.
    heat: u64,
    /// What the hotter of the two has behind it.
    peak: u64,
}

impl HotRegions {
    /// Decides on what cools hot stores, at most `room` changes.
    pub(crate) fn look(&mut self, round: &mut Round<'_>, moved: &Moved, room: usize) -> Idle {
        let now = round.fleet.sight.now;
        self.pauses.retain(|_, until| *until > now);
        let last = round.decided() + room;
        while round.decided() < last {
            let Some(source) = self.next(&round.fleet) else { break };
            let found = Hearth::of(round, moved, source).and_then(|hearth| hearth.decide());
            let pause = if found.is_some() { PAUSE_BEHIND_A_MOVE } else { PAUSE_BEHIND_A_LOOK };
            self.pauses.insert(source, now + pause);
            if let Some(intent) = found {
                round.decide(intent);
            }
        }
        idle(&round.fleet, room)
    }

    /// The hottest store that is not let be.
    fn next(&self, fleet: &Fleet<'_>) -> Option<StoreId> {
        let scale = fleet.heat_scale()?;
        let is_hot = |seat: &&Seat<'_>| {
            seat.heat > scale.limit && !self.pauses.contains_key(&seat.record.id)
        };
        let hot = fleet.seats().filter(is_hot).max_by_key(|seat| (seat.heat, seat.record.id));
        hot.map(|seat| seat.record.id)
    }
}

impl<'s, 'a> Hearth<'s, 'a> {
    fn of(round: &'s Round<'a>, moved: &'s Moved, store: StoreId) -> Option<Self> {
        let fleet = &round.fleet;
        let mut others: Vec<&Seat<'a>> =
            fleet.seats().filter(|seat| seat.record.id != store).collect();
        others.sort_by_key(|seat| (seat.heat, seat.record.id));
        let (scale, source) = (fleet.heat_scale()?, fleet.seat(store)?);
        Some(Self { round, moved, scale, source, others })
    }

    fn decide(&self) -> Option<Intent> {
        let candidates = self.candidates();
        if let Some(split) = candidates.iter().find_map(|info| self.split(info)) {
            return Some(split);
        }
        let best = |ways: fn(&Self, &'s RegionInfo) -> Vec<Way<'s, 'a>>| {
            let all = candidates.iter().flat_map(|info| ways(self, info));
            all.min_by_key(|way| (way.peak, way.info.region.id, way.to.record.id))
        };
        let way = best(Self::transfers).or_else(|| best(Self::relocations))?;
        self.intent(&way)
    }

    fn leads(&self, info: &RegionInfo) -> bool {
        info.leader.is_some_and(|leader| leader.store == self.source.record.id)
    }

    /// What the region costs the hot store.
    fn heat(&self, info: &RegionInfo) -> u64 {
        let rates = info.load.rates;
        if self.leads(info) { rates.leader_heat() } else { rates.replica_heat() }
    }

    /// The regions that cost the store most and may be moved, the hottest in front.
    fn candidates(&self) -> Vec<&'s RegionInfo> {
        let sight = self.round.fleet.sight;
        let regions = sight.view.regions().of_store(self.source.record.id, RegionId(0));
        let may_help = |info: &&RegionInfo| {
            info.load.is_settled()
                && self.heat(info) > 0
                && self.moved.may_heat(sight.now, info.region.id)
                && self.round.is_movable(info)
        };
        let mut hot: Vec<&RegionInfo> = regions.map(AsRef::as_ref).filter(may_help).collect();
        hot.sort_by_key(|info| (std::cmp::Reverse(self.heat(info)), info.region.id));
        hot.truncate(CANDIDATES_MAX);
        hot
    }

    fn split(&self, info: &RegionInfo) -> Option<Intent> {
        let (heat, mean) = (self.heat(info), self.scale.mean);
        let is_too_hot = heat > mean / SPLIT_DIVISOR && info.stats.size_bytes >= SPLIT_BYTES_MIN;
        if !is_too_hot || !self.leads(info) {
            return None;
        }
        let change = Change::SplitRegion(SplitAt::AboutMiddle);
        let plan = self.round.fleet.plan(info.region.id, &change).ok()?;
        let (store, own) = (self.source.record.id, self.source.heat);
        let decision = Decision {
            by: SchedulerName::BalanceHotRegion.name(),
            region: info.region.id,
            brief: plan.brief.clone(),
            why: format!(
                "store {store} has a heat of {own}, the mean is {mean}; this region alone has {heat}, and wherever it went \
                 would be hot"
            ),
            alternatives: Vec::new(),
        };
        Some(Intent { plan, decision })
    }

    /// What the hotter of the two stores has when `heat` has gone to another one; `None` where that gains too little.
    fn peak(&self, to: &Seat<'_>, heat: u64) -> Option<u64> {
        let peak = self.source.heat.saturating_sub(heat).max(to.heat.saturating_add(heat));
        let gain = (self.scale.mean / GAIN_DIVISOR).max(1);
        (peak.saturating_add(gain) <= self.source.heat).then_some(peak)
    }

    fn transfers(&self, info: &'s RegionInfo) -> Vec<Way<'s, 'a>> {
        if !self.leads(info) || self.source.is_granted {
            return Vec::new();
        }
        let votes = |seat: &Seat<'_>| info.region.peer_on(seat.record.id).is_some_and(votes_on);
        let heat = info.load.rates.lead_heat();
        let ways = self.others.iter().filter(|seat| votes(seat) && self.takes_leads(seat));
        let ways = ways.filter_map(|to| {
            let (peak, change) = (self.peak(to, heat)?, Change::TransferLeader(to.record.id));
            Some(Way { info, change, to, heat, peak })
        });
        ways.collect()
    }

    fn takes_leads(&self, seat: &Seat<'_>) -> bool {
        seat.policy.leader_weight_permille > 0
            && self.round.fleet.check_leader(seat.record.id).is_ok()
    }

    /// Where the replica on the hot store may go, with the lead if it has it.
    fn relocations(&self, info: &'s RegionInfo) -> Vec<Way<'s, 'a>> {
        let (fleet, from) = (&self.round.fleet, self.source.record.id);
        let (leads, heat, now) = (self.leads(info), self.heat(info), fleet.sight.now);
        let votes = info.region.peer_on(from).is_some_and(votes_on);
        if !votes
            || leads && self.source.is_granted
            || self.moved.is_cooling(now, info.region.id, from)
        {
            return Vec::new();
        }
        let takes = |seat: &Seat<'_>| {
            let to = seat.record.id;
            info.region.peer_on(to).is_none()
                && seat.policy.region_weight_permille > 0
                && (!leads || self.takes_leads(seat))
                && !self.moved.is_cooling(now, info.region.id, to)
                && fleet.check_peer(to, info.stats.size_bytes).is_ok()
                && check::keeps_place(fleet, info, from, to)
        };
        let change = |to| match leads {
            true => Change::MoveLeader { from, to },
            false => Change::MovePeer { from, to },
        };
        let ways = self.others.iter().filter_map(|to| {
            let peak = self.peak(to, heat)?;
            takes(to).then(|| Way { info, change: change(to.record.id), to, heat, peak })
        });
        ways.collect()
    }

    fn intent(&self, way: &Way<'s, 'a>) -> Option<Intent> {
        let Way { info, change, to, heat, .. } = way;
        let plan = self.round.fleet.plan(info.region.id, change).ok()?;
        let (from, had) = (self.source.record.id, self.source.heat);
        let others = self.others.iter().filter(|seat| seat.record.id != to.record.id);
        let alternatives = others.take(ALTERNATIVES_MAX).map(|seat| {
            let why = match self.peak(seat, *heat) {
                Some(_) => {
                    format!("its heat is {}: it would be hotter, or cannot take it", seat.heat)
                }
                None => format!("its heat is {}: nothing would be gained", seat.heat),
            };
            Alternative { store: seat.record.id, why }
        });
        let decision = Decision {
            by: SchedulerName::BalanceHotRegion.name(),
            region: info.region.id,
            brief: plan.brief.clone(),
            why: format!(
                "store {from} has a heat of {had} and store {} of {}, the mean is {}; behind it they have {} and {}",
                to.record.id,
                to.heat,
                self.scale.mean,
                had.saturating_sub(*heat),
                to.heat.saturating_add(*heat),
            ),
            alternatives: alternatives.collect(),
        };
        Some(Intent { plan, decision })
    }
}

fn idle(fleet: &Fleet<'_>, room: usize) -> Idle {
    if room == 0 {
        return "as many changes as hot-region-schedule-limit allows are under way".to_owned();
    }
    let Some(HeatScale { mean, limit }) = fleet.heat_scale() else {
        return "no store is up".to_owned();
    };
    let hottest = fleet.seats().max_by_key(|seat| (seat.heat, std::cmp::Reverse(seat.record.id)));
    let (store, heat) = hottest.map_or((StoreId(0), 0), |seat| (seat.record.id, seat.heat));
    if heat <= limit {
        return format!(
            "the hottest store is {store} with a heat of {heat}; the mean is {mean}, and more than {limit} is hot"
        );
    }
    format!(
        "store {store} has a heat of {heat}, the mean is {mean}: no region that may be moved would make it better"
    )
}
