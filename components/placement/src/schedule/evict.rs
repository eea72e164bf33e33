//! Leads leave stores that are to be free of them: because somebody said so, because they are being worked on, or because
//! they have become slow.

use flotilla_base::{RegionId, StoreId};

use super::{Idle, NO_ROOM};
use crate::{
    decision::{ALTERNATIVES_MAX, Alternative, Decision, Intent},
    fleet::{Fleet, Seat},
    operator::{
        Change,
        step::{has_caught_up, votes_on},
    },
    round::Round,
    view::RegionInfo,
};

/// Why a store is to be free of leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Eviction {
    /// The store.
    pub store: StoreId,
    /// Who wants so.
    pub by: &'static str,
    /// Why, as a sentence.
    pub why: String,
}

/// Decides on transfers that take leads off a store, at most `room`.
pub(crate) fn evict(round: &mut Round<'_>, eviction: &Eviction, room: usize) -> Idle {
    if room == 0 {
        return NO_ROOM.to_owned();
    }
    let before = round.decided();
    let mut stuck = None;
    let view = round.fleet.sight.view;
    for info in view.regions().of_store(eviction.store, RegionId(0)) {
        if round.decided() >= before + room {
            return NO_ROOM.to_owned();
        }
        let leads = info.leader.is_some_and(|leader| leader.store == eviction.store);
        if !leads || !round.is_free(info.region.id) {
            continue;
        }
        match transfer(&round.fleet, info, eviction) {
            Some(intent) => round.decide(intent),
            None => stuck = stuck.or(Some(info.region.id)),
        }
    }
    stuck.map_or_else(
        || format!("store {} leads no region that could be transferred", eviction.store),
        |region| format!("region {region} has no other voter that could lead it"),
    )
}

fn transfer(fleet: &Fleet<'_>, info: &RegionInfo, eviction: &Eviction) -> Option<Intent> {
    let voters = info.region.peers.iter().filter(|peer| votes_on(**peer));
    let others = voters.filter(|peer| peer.store != eviction.store);
    let mut seats: Vec<(&Seat<'_>, bool)> = others
        .filter_map(|peer| Some((fleet.seat(peer.store)?, has_caught_up(info, *peer))))
        .collect();
    seats.sort_by_key(|(seat, _)| (seat.leaders, seat.record.id));
    let refusal = |seat: &Seat<'_>, is_ready: bool| match fleet.check_leader(seat.record.id) {
        Err(obstacle) => Some(obstacle.to_string()),
        Ok(()) if !is_ready => Some("its peer lags behind".to_owned()),
        Ok(()) => None,
    };
    let (to, _) = *seats.iter().find(|(seat, is_ready)| refusal(seat, *is_ready).is_none())?;
    let plan = fleet.plan(info.region.id, &Change::TransferLeader(to.record.id)).ok()?;
    let others = seats.iter().filter(|(seat, _)| seat.record.id != to.record.id);
    let alternatives = others.take(ALTERNATIVES_MAX).map(|(seat, is_ready)| {
        let why = || format!("it leads {} regions", seat.leaders);
        Alternative { store: seat.record.id, why: refusal(seat, *is_ready).unwrap_or_else(why) }
    });
    let decision = Decision {
        by: eviction.by,
        region: info.region.id,
        brief: plan.brief.clone(),
        why: eviction.why.clone(),
        alternatives: alternatives.collect(),
    };
    Some(Intent { plan, decision })
}
