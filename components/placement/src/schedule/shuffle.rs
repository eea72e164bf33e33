//! Leads and replicas go round, for tests of everything that has to stand it.

use flotilla_base::{RegionId, StoreId};

use super::Idle;
use crate::{
    decision::{Decision, Intent},
    operator::{Change, step::votes_on},
    policy::SchedulerName,
    round::Round,
    view::RegionInfo,
};

/// Which region is next, and how often one was.
#[derive(Debug, Default)]
pub(crate) struct Shuffle {
    next: RegionId,
    turns: usize,
}

impl Shuffle {
    /// Decides on one change of the next region that may be changed, where there is `room`.
    pub(crate) fn look(&mut self, round: &mut Round<'_>, by: SchedulerName, room: usize) -> Idle {
        let view = round.fleet.sight.view;
        let behind = view.regions().iter_from(self.next);
        let all = behind.chain(view.regions().iter()).take(view.regions().len());
        for info in all.filter(|_| room > 0) {
            self.next = RegionId(info.region.id.get().saturating_add(1));
            self.turns += 1;
            if let Some(intent) = self.change(round, info, by) {
                round.decide(intent);
                break;
            }
        }
        "no region could be changed".to_owned()
    }

    fn change(&self, round: &Round<'_>, info: &RegionInfo, by: SchedulerName) -> Option<Intent> {
        if !round.is_movable(info) {
            return None;
        }
        let leader = info.leader?.store;
        let voters = || info.region.peers.iter().filter(|peer| votes_on(**peer));
        let pick = |stores: Vec<StoreId>| {
            let at = self.turns.checked_rem(stores.len())?;
            stores.get(at).copied()
        };
        let change = if by == SchedulerName::ShuffleLeader {
            let fits =
                |store: &StoreId| *store != leader && round.fleet.check_leader(*store).is_ok();
            Change::TransferLeader(pick(voters().map(|peer| peer.store).filter(fits).collect())?)
        } else {
            let from = pick(voters().map(|peer| peer.store).collect())?;
            let bytes = info.stats.size_bytes;
            let fits = |store: &StoreId| {
                info.region.peer_on(*store).is_none()
                    && round.fleet.check_peer(*store, bytes).is_ok()
            };
            let others = round.fleet.seats().map(|seat| seat.record.id).filter(fits);
            Change::MovePeer { from, to: pick(others.collect())? }
        };
        let plan = round.fleet.plan(info.region.id, &change).ok()?;
        let decision = Decision {
            by: by.name(),
            region: info.region.id,
            brief: plan.brief.clone(),
            why: "it is this region's turn".to_owned(),
            alternatives: Vec::new(),
        };
        Some(Intent { plan, decision })
    }
}
