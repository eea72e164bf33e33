//! Leads come to stores that somebody names.

use flotilla_base::{RegionId, StoreId};

use super::{Idle, NO_ROOM};
use crate::{
    decision::{Decision, Intent},
    operator::{Change, step::votes_on},
    policy::SchedulerName,
    round::Round,
};

/// Decides on transfers that bring leads to a store, at most `room`.
pub(crate) fn grant(round: &mut Round<'_>, store: StoreId, room: usize) -> Idle {
    if room == 0 {
        return NO_ROOM.to_owned();
    }
    let before = round.decided();
    if let Err(obstacle) = round.fleet.check_leader(store) {
        return format!("store {store} takes no leads: {obstacle}");
    }
    let view = round.fleet.sight.view;
    for info in view.regions().of_store(store, RegionId(0)) {
        if round.decided() >= before + room {
            return NO_ROOM.to_owned();
        }
        let votes = info.region.peer_on(store).is_some_and(votes_on);
        let is_elsewhere = info.leader.is_some_and(|leader| leader.store != store);
        let is_pinned = info
            .leader
            .and_then(|leader| round.fleet.seat(leader.store))
            .is_some_and(|seat| seat.is_granted);
        if !votes || !is_elsewhere || is_pinned || !round.is_movable(info) {
            continue;
        }
        let change = Change::TransferLeader(store);
        let Ok(plan) = round.fleet.plan(info.region.id, &change) else { continue };
        let decision = Decision {
            by: SchedulerName::GrantLeader.name(),
            region: info.region.id,
            brief: plan.brief.clone(),
            why: format!("leads are to come to store {store}: grant-leader-scheduler names it"),
            alternatives: Vec::new(),
        };
        round.decide(Intent { plan, decision });
    }
    format!("store {store} leads every region that it could lead")
}
