//! As much data on each store as its weight asks for.

use std::fmt;

use flotilla_base::Bug;

use super::{
    Idle, MARGIN_PERCENT, Moved, STORES_PER_LOOK,
    cursors::Cursors,
    mib,
    score::{Score, lowest_of_each_weight},
};
use crate::{
    check,
    decision::{ALTERNATIVES_MAX, Alternative, Decision, Intent},
    fleet::{Fleet, Obstacle, REPLICA_OVERHEAD_BYTES, Seat},
    meta::StoreState,
    operator::{Change, step::votes_on},
    policy::SchedulerName,
    round::Round,
    view::RegionInfo,
};

/// Regions of one store that one look considers at most; the next one goes on behind them.
const REGIONS_PER_LOOK: usize = 64;

/// How far the stores have been looked at.
#[derive(Debug, Default)]
pub(crate) struct BalanceRegion {
    cursors: Cursors,
}

/// What a look is taken with.
struct Scale<'s, 'a> {
    fleet: &'s Fleet<'a>,
    moved: &'s Moved,
    margin: Score,
    /// What each of `takers` would carry if all were even.
    even: Score,
    /// Stores that take replicas now or in a moment, those that carry least in front.
    takers: Vec<&'s Seat<'a>>,
    /// Whether a store that carries more than those that are looked at has replicas that may not leave it yet.
    is_held_above: bool,
}

/// What a look at the replicas of one store has come to so far.
#[derive(Default)]
struct Search {
    /// A move of the second choice: to a store behind others, which would carry more than its share.
    spare: Option<Box<Intent>>,
    /// Whether replicas have come a short time ago: they may go later.
    is_held: bool,
}

/// Where a replica may go.
struct Target<'s, 'a> {
    seat: &'s Seat<'a>,
    /// Whether one that carries less does not take it, so that this one would carry more than its share.
    is_spare: bool,
}

/// Why a replica does not go to a store.
enum Refusal {
    /// It has one of the region.
    Holds,
    /// It carries so many bytes, and that is not enough less.
    Gap(u64),
    /// The replicas would stand nearer to each other.
    Nearer,
    /// A replica of the region has left it a short time ago.
    Rests,
    /// It takes none.
    Obstacle(Obstacle),
}

impl Refusal {
    /// Whether it is likely to be over in a moment.
    const fn is_passing(&self) -> bool {
        match self {
            Self::Rests => true,
            Self::Obstacle(obstacle) => obstacle.is_passing(),
            Self::Holds | Self::Gap(_) | Self::Nearer => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("it has a replica of the region"),
            Self::Gap(bytes) => {
                write!(f, "it holds {}: the gap is within the tolerance", mib(*bytes))
            }
            Self::Nearer => f.write_str("the replicas would be nearer to each other there"),
            Self::Rests => f.write_str("a replica of the region left it a short time ago"),
            Self::Obstacle(obstacle) => obstacle.fmt(f),
        }
    }
}

fn score(seat: &Seat<'_>) -> Score {
    Score::of(seat.weight_bytes(), seat.policy.region_weight_permille)
}

fn share(seat: &Seat<'_>, bytes: u64) -> Score {
    Score::of(bytes, seat.policy.region_weight_permille)
}

impl<'s, 'a> Scale<'s, 'a> {
    fn of(fleet: &'s Fleet<'a>, moved: &'s Moved) -> Self {
        let takes = |seat: &&Seat<'_>| {
            let obstacle = fleet.check_peer(seat.record.id, 0).err();
            seat.policy.region_weight_permille > 0
                && obstacle.is_none_or(|obstacle| obstacle.is_passing())
        };
        let mut takers: Vec<&Seat<'a>> = fleet.seats().filter(takes).collect();
        takers.sort_by_key(|seat| (score(seat), seat.record.id));
        let is_eager = fleet.seeded.has(Bug::NO_COOL_DOWN_OR_MARGIN);
        let margin = mean(fleet).percent(if is_eager { 0 } else { MARGIN_PERCENT });
        let even = even(&takers);
        Self { fleet, moved, margin, even, takers, is_held_above: false }
    }

    /// The stores that carry more than another one could take, those that carry most in front.
    fn sources(&self) -> Vec<&'s Seat<'a>> {
        let weighed = |seat: &&Seat<'_>| (seat.policy.region_weight_permille, score(seat));
        let lowest = lowest_of_each_weight(self.takers.iter().map(weighed));
        let gains = |seat: &Seat<'_>, (weight, low): (&u32, &Score)| {
            let least = Score::of(REPLICA_OVERHEAD_BYTES, *weight);
            score(seat).gains(*low, (share(seat, REPLICA_OVERHEAD_BYTES), least), self.margin)
        };
        // What leaves a store that is to be emptied is the checker's.
        let is_high = |seat: &&Seat<'_>| {
            seat.record.state == StoreState::Up && lowest.iter().any(|low| gains(seat, low))
        };
        let mut sources: Vec<&Seat<'a>> = self.fleet.seats().filter(is_high).collect();
        sources.sort_by_key(|seat| (std::cmp::Reverse(score(seat)), seat.record.id));
        sources.truncate(STORES_PER_LOOK);
        sources
    }

    /// Why a replica does not go from `source` to `target`; `None` where it may. What passes is told where nothing else
    /// is in the way.
    fn refusal(&self, info: &RegionInfo, source: &Seat<'_>, target: &Seat<'_>) -> Option<Refusal> {
        let (store, bytes) = (target.record.id, info.stats.size_bytes);
        if info.region.peer_on(store).is_some() {
            return Some(Refusal::Holds);
        }
        let obstacle = self.fleet.check_peer(store, bytes).err().map(Refusal::Obstacle);
        if obstacle.as_ref().is_some_and(|obstacle| !obstacle.is_passing()) {
            return obstacle;
        }
        let weight = self.weight(info, source);
        let moved = (share(source, weight), share(target, weight));
        if !score(source).gains(score(target), moved, self.margin) {
            return Some(Refusal::Gap(target.bytes));
        }
        if !check::keeps_place(self.fleet, info, source.record.id, store) {
            return Some(Refusal::Nearer);
        }
        if self.moved.is_cooling(self.fleet.sight.now, info.region.id, store) {
            return Some(Refusal::Rests);
        }
        if let Err(hot) = self.fleet.check_heat(store, info.load.rates.replica_heat()) {
            return Some(Refusal::Obstacle(hot));
        }
        obstacle
    }

    /// What a replica of the region weighs, in bytes.
    fn weight(&self, info: &RegionInfo, source: &Seat<'_>) -> u64 {
        if self.fleet.seeded.has(Bug::AVERAGE_INSTEAD_OF_ACTUAL_SIZE) {
            return source.weight_bytes() / source.replicas.max(1);
        }
        info.stats.size_bytes.saturating_add(REPLICA_OVERHEAD_BYTES)
    }

    /// Where a replica of the region goes from `source`: to the store that carries least of those that may take it.
    ///
    /// Where one that carries less takes none for a moment, others are only filled up to what all are to carry, and where
    /// one that carries more gives none for a moment, others only give what they have above that: the rest would have to
    /// move once more. So it is where one that carries less does not take this replica at all, while others may come to it.
    fn target(&self, info: &RegionInfo, source: &Seat<'_>) -> Option<Target<'s, 'a>> {
        let weight = self.weight(info, source);
        if self.is_held_above && score(source) < self.even + share(source, weight) {
            return None;
        }
        let (from, left) = (score(source), share(source, weight));
        // Behind the first that is as high as the source will be nobody gains: in a large cluster that is nearly everybody.
        let may_gain = |seat: &&Seat<'_>| from.is_endless() || score(seat) + left <= from;
        let (mut is_first, mut has_better) = (true, false);
        for seat in self.takers.iter().copied().take_while(may_gain) {
            match self.refusal(info, source, seat) {
                None => {
                    let is_filled = score(seat) + share(seat, weight) > self.even;
                    let target = Target { seat, is_spare: is_filled && !is_first };
                    return Some(target).filter(|_| !(has_better && is_filled));
                }
                Some(refusal) => has_better |= refusal.is_passing(),
            }
            is_first = false;
        }
        None
    }

    /// A replica of the region from `source` to another store.
    fn relocation(&self, info: &RegionInfo, source: &Seat<'_>, to: &Seat<'_>) -> Option<Intent> {
        let from = source.record.id;
        debug_assert_ne!(from, to.record.id, "a store that has a replica takes no other one");
        let change = Change::MovePeer { from, to: to.record.id };
        let plan = self.fleet.plan(info.region.id, &change).ok()?;
        // The lead goes with it, and not always to where the replica goes.
        self.fleet.check_plan_heat(info, &plan).ok()?;
        let others = self.takers.iter().filter(|seat| seat.record.id != to.record.id);
        let alternatives = others.take(ALTERNATIVES_MAX).map(|seat| {
            let why = || format!("it holds {}, which is more", mib(seat.bytes));
            let why =
                self.refusal(info, source, seat).map_or_else(why, |refusal| refusal.to_string());
            Alternative { store: seat.record.id, why }
        });
        let decision = Decision {
            by: SchedulerName::BalanceRegion.name(),
            region: info.region.id,
            brief: plan.brief.clone(),
            why: format!(
                "store {} holds {} in {} replicas and store {} {} in {}; the region has {}",
                from,
                mib(source.bytes),
                source.replicas,
                to.record.id,
                mib(to.bytes),
                to.replicas,
                mib(info.stats.size_bytes)
            ),
            alternatives: alternatives.collect(),
        };
        Some(Intent { plan, decision })
    }
}

impl BalanceRegion {
    /// Decides on moves that make the stores more even, at most `room`.
    pub(crate) fn look(&mut self, round: &mut Round<'_>, moved: &Moved, room: usize) -> Idle {
        let before = round.decided();
        while round.decided() < before + room {
            let Some(intent) = self.next(round, moved) else { break };
            round.decide(intent);
        }
        idle(&round.fleet, room)
    }

    fn next(&mut self, round: &Round<'_>, moved: &Moved) -> Option<Intent> {
        let mut scale = Scale::of(&round.fleet, moved);
        for source in scale.sources() {
            let mut search = Search::default();
            // A replica that leads costs a transfer of the lead as well: only where no other one may go.
            for leads in [false, true] {
                let found = self.from(round, &scale, (source, leads), &mut search);
                if found.is_some() {
                    return found;
                }
                scale.is_held_above |= search.is_held;
            }
            // The second choice is for when nothing better comes.
            if let Some(spare) = search.spare.filter(|_| !scale.is_held_above) {
                return Some(*spare);
            }
        }
        None
    }

    fn from(
        &mut self,
        round: &Round<'_>,
        scale: &Scale<'_, '_>,
        (source, leads): (&Seat<'_>, bool),
        search: &mut Search,
    ) -> Option<Intent> {
        let (store, now) = (source.record.id, scale.fleet.sight.now);
        let regions = scale.fleet.sight.view.regions();
        let regions = regions.of_store(store, self.cursors.first(store));
        let mut last = None;
        for (at, info) in regions.take(REGIONS_PER_LOOK).enumerate() {
            last = (at + 1 == REGIONS_PER_LOOK).then_some(info.region.id);
            let is_leader = info.leader.is_some_and(|leader| leader.store == store);
            let votes = info.region.peer_on(store).is_some_and(votes_on);
            if !votes || is_leader != leads || scale.moved.is_heated(now, info.region.id) {
                continue;
            }
            if scale.moved.is_cooling(now, info.region.id, store) {
                search.is_held = true;
                continue;
            }
            let target = Some(info).filter(|_| round.is_movable(info));
            let Some(target) = target.and_then(|info| scale.target(info, source)) else { continue };
            if target.is_spare && search.spare.is_some() {
                continue;
            }
            let Some(intent) = scale.relocation(info, source, target.seat) else { continue };
            if target.is_spare {
                search.spare = Some(Box::new(intent));
            } else {
                self.cursors.pass(store, Some(info.region.id));
                return Some(intent);
            }
        }
        // The same regions are looked at once more for those that lead.
        if leads {
            self.cursors.pass(store, last);
        }
        None
    }
}

/// What each of these stores would carry if all were even.
fn even(stores: &[&Seat<'_>]) -> Score {
    let bytes = stores.iter().fold(0_u64, |sum, seat| sum.saturating_add(seat.weight_bytes()));
    let weights = stores.iter().map(|seat| seat.policy.region_weight_permille);
    Score::of(bytes, weights.fold(0, u32::saturating_add))
}

fn mean(fleet: &Fleet<'_>) -> Score {
    let is_up = |seat: &&Seat<'_>| {
        seat.policy.region_weight_permille > 0 && fleet.check_leader(seat.record.id).is_ok()
    };
    Score::mean(&fleet.seats().filter(is_up).map(score).collect::<Vec<_>>())
}

fn idle(fleet: &Fleet<'_>, room: usize) -> String {
    if room == 0 {
        return "as many moves as region-schedule-limit allows are under way".to_owned();
    }
    let takes = |seat: &&Seat<'_>| fleet.check_peer(seat.record.id, 0).is_ok();
    let low = fleet.seats().filter(takes).min_by_key(|seat| score(seat));
    let high = fleet.seats().max_by_key(|seat| score(seat));
    match (low, high) {
        (Some(low), Some(high)) => format!(
            "stores hold {} in {} replicas (store {}) to {} in {} (store {}): no move would make them more even{}",
            mib(low.bytes),
            low.replicas,
            low.record.id,
            mib(high.bytes),
            high.replicas,
            high.record.id,
            closed(fleet)
        ),
        _ => "no store takes replicas at the moment".to_owned() + &closed(fleet),
    }
}

/// The stores that take no replicas, and why.
fn closed(fleet: &Fleet<'_>) -> String {
    let refusal = |seat: &Seat<'_>| {
        let obstacle = fleet.check_peer(seat.record.id, 0).err()?;
        Some(format!("; store {} takes none: {obstacle}", seat.record.id))
    };
    fleet.seats().filter_map(refusal).take(ALTERNATIVES_MAX).collect()
}
