//! As many leads on each store as its weight asks for.

use super::{
    Idle, MARGIN_PERCENT, Moved, NO_ROOM, STORES_PER_LOOK,
    cursors::Cursors,
    score::{Score, lowest_of_each_weight},
};
use crate::{
    decision::{ALTERNATIVES_MAX, Alternative, Decision, Intent},
    fleet::{Fleet, Seat},
    operator::{Change, step::votes_on},
    policy::SchedulerName,
    round::Round,
    view::RegionInfo,
};

/// Regions of one store that one look considers at most; the next one goes on behind them.
const REGIONS_PER_LOOK: usize = 256;

/// How far the stores have been looked at.
#[derive(Debug, Default)]
pub(crate) struct BalanceLeader {
    cursors: Cursors,
}

fn score(seat: &Seat<'_>) -> Score {
    Score::of(seat.leaders, seat.policy.leader_weight_permille)
}

fn one(seat: &Seat<'_>) -> Score {
    Score::of(1, seat.policy.leader_weight_permille)
}

impl BalanceLeader {
    /// Decides on transfers that make the stores more even, at most `room`.
    pub(crate) fn look(&mut self, round: &mut Round<'_>, moved: &Moved, room: usize) -> Idle {
        let before = round.decided();
        while round.decided() < before + room {
            let Some(intent) = self.next(round, moved) else { break };
            round.decide(intent);
        }
        idle(&round.fleet, room)
    }

    /// The best transfer from one of the stores that carry most.
    fn next(&mut self, round: &Round<'_>, moved: &Moved) -> Option<Intent> {
        let (fleet, now) = (&round.fleet, round.fleet.sight.now);
        let margin = mean(fleet).percent(MARGIN_PERCENT);
        let weighed = |seat: &Seat<'_>| (seat.policy.leader_weight_permille, score(seat));
        let lowest = lowest_of_each_weight(takers(fleet).map(weighed));
        let gains = |seat: &Seat<'_>, (weight, low): (&u32, &Score)| {
            score(seat).gains(*low, (one(seat), Score::of(1, *weight)), margin)
        };
        let is_high =
            |seat: &&Seat<'_>| !seat.is_granted && lowest.iter().any(|low| gains(seat, low));
        let mut sources: Vec<&Seat<'_>> = fleet.seats().filter(is_high).collect();
        sources.sort_by_key(|seat| (std::cmp::Reverse(score(seat)), seat.record.id));
        sources.truncate(STORES_PER_LOOK);
        sources.into_iter().find_map(|source| {
            let store = source.record.id;
            let regions = fleet.sight.view.regions();
            let regions = regions.of_store(store, self.cursors.first(store));
            let mut last = None;
            for (at, info) in regions.take(REGIONS_PER_LOOK).enumerate() {
                last = (at + 1 == REGIONS_PER_LOOK).then_some(info.region.id);
                let leads = info.leader.is_some_and(|leader| leader.store == store);
                if leads
                    && !moved.is_heated(now, info.region.id)
                    && round.is_movable(info)
                    && let Some(intent) = transfer(fleet, info, source, margin)
                {
                    self.cursors.pass(store, Some(info.region.id));
                    return Some(intent);
                }
            }
            self.cursors.pass(store, last);
            None
        })
    }
}

/// Stores that take leads.
fn takers<'s, 'a>(fleet: &'s Fleet<'a>) -> impl Iterator<Item = &'s Seat<'a>> {
    let takes = |seat: &&Seat<'_>| {
        seat.policy.leader_weight_permille > 0 && fleet.check_leader(seat.record.id).is_ok()
    };
    fleet.seats().filter(takes)
}

fn mean(fleet: &Fleet<'_>) -> Score {
    Score::mean(&takers(fleet).map(score).collect::<Vec<_>>())
}

/// The lead of a region to the voter whose store has fewest.
fn transfer(
    fleet: &Fleet<'_>,
    info: &RegionInfo,
    source: &Seat<'_>,
    margin: Score,
) -> Option<Intent> {
    let members = info.region.peers.iter().filter(|peer| votes_on(**peer));
    let others = members.map(|peer| peer.store).filter(|store| *store != source.record.id);
    let mut seats: Vec<&Seat<'_>> = others.filter_map(|store| fleet.seat(store)).collect();
    seats.sort_by_key(|seat| (score(seat), seat.record.id));
    let refusal = |seat: &Seat<'_>| -> Option<String> {
        if let Err(obstacle) = fleet.check_leader(seat.record.id) {
            return Some(obstacle.to_string());
        }
        if seat.policy.leader_weight_permille == 0 {
            return Some("its weight is 0".to_owned());
        }
        if let Err(obstacle) = fleet.check_heat(seat.record.id, info.load.rates.lead_heat()) {
            return Some(obstacle.to_string());
        }
        let gains = score(source).gains(score(seat), (one(source), one(seat)), margin);
        (!gains).then(|| format!("it has {} leads: the gap is within the tolerance", seat.leaders))
    };
    let to = *seats.iter().find(|seat| refusal(seat).is_none())?;
    let plan = fleet.plan(info.region.id, &Change::TransferLeader(to.record.id)).ok()?;
    let others = seats.iter().filter(|seat| seat.record.id != to.record.id);
    let alternatives = others.take(ALTERNATIVES_MAX).map(|seat| {
        let why = format!("it has {} leads", seat.leaders);
        Alternative { store: seat.record.id, why: refusal(seat).unwrap_or(why) }
    });
    let decision = Decision {
        by: SchedulerName::BalanceLeader.name(),
        region: info.region.id,
        brief: plan.brief.clone(),
        why: format!(
            "store {} leads {} regions and store {} leads {}; the mean is {}",
            source.record.id,
            source.leaders,
            to.record.id,
            to.leaders,
            mean(fleet).shown()
        ),
        alternatives: alternatives.collect(),
    };
    Some(Intent { plan, decision })
}

fn idle(fleet: &Fleet<'_>, room: usize) -> String {
    if room == 0 {
        return NO_ROOM.to_owned();
    }
    let takers: Vec<&Seat<'_>> = takers(fleet).collect();
    let ends = (
        takers.iter().min_by_key(|seat| score(seat)),
        fleet.seats().max_by_key(|seat| score(seat)),
    );
    match ends {
        (Some(low), Some(high)) => format!(
            "{} of {} stores take leads; they have {} (store {}) to {} (store {}): no transfer would make them more even",
            takers.len(),
            fleet.seats().count(),
            low.leaders,
            low.record.id,
            high.leaders,
            high.record.id
        ),
        _ => "no store takes leads".to_owned(),
    }
}
