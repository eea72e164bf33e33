//! How a store starts: from what its disk holds, through the production code of recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flotilla_base::{Bug, Moment, PeerRole, RegionId, Span};
use flotilla_multiraft::{
    Applier, Liveness, RecoveredPeer, RegionTable, Replica, SharedLiveness, StageNumber,
    recover_remains, recover_store, ruin::marks_of_ruins, spread_at_start,
};

use super::{Desk, Lanes, Process, Pulse, StoreConfig, StoreNode};
use crate::clock::LocalClock;
use crate::disk::Image;
use crate::event::Run;
use crate::hands::Works;
use crate::judge::{Place, Verdict, require, state};
use crate::marks;
use crate::snapshots::SnapshotWorks;

impl StoreNode {
    /// Starts from what the disk holds.
    ///
    /// # Errors
    /// What is on disk is not what a crash may leave.
    pub fn start(
        &mut self,
        clock: LocalClock,
        config: StoreConfig,
        desk: &mut Desk<'_>,
    ) -> Verdict {
        self.run = Run(self.run.0 + 1);
        let incarnation = self.disk.ident.begin(desk.now);
        if !config.seeded.has(Bug::INCARNATION_NOT_SYNCED) {
            self.disk.ident.sync();
        }
        desk.judges.records.runs.on_start(self.id, incarnation)?;
        let mut process = Process {
            table: RegionTable::new(self.id).with_bugs(config.seeded),
            cells: BTreeMap::new(),
            works: Works {
                gate: config.timing.gate,
                snapshots: SnapshotWorks {
                    views_max: config.views_max,
                    ..SnapshotWorks::default()
                },
                seeded: config.seeded,
                slow_entries: config.limits.log.slow.entries,
                ..Works::default()
            },
            lanes: Lanes::new(config.workers),
            clock,
            started_at: desk.now,
            config,
            alarms: BTreeMap::new(),
            wants_room: BTreeSet::new(),
            liveness: SharedLiveness::new(Liveness::new(
                config.timing,
                config.seeded,
                clock.read(desk.now),
            )),
            pulse: Pulse::default(),
            start_spread: Span::ZERO,
        };
        process.works.readers.seeded = config.seeded;
        let image = Arc::clone(self.disk.image());
        let remains = recover_remains(image.as_ref()).unwrap_or_default();
        for (region, tombstone) in remains.tombstones {
            process.table.bury(region, tombstone);
        }
        process.works.news.cleanups = remains.cleanups;
        let found = recover_store(image.as_ref()).unwrap_or_default();
        self.mark_ruins(&found);
        process.start_spread = spread_at_start(found.len());
        let mut regions: BTreeSet<RegionId> = found.iter().map(region_of).collect();
        regions.extend(desk.judges.records.promises.regions(self.id));
        let regions: Vec<RegionId> = regions.into_iter().collect();
        desk.judges.records.on_synced(self.id, &regions, image.as_ref())?;
        self.disk.stages.keep(&found.iter().filter_map(stage_of).collect());
        desk.judges.votes.members.on_synced(self.id, &regions, image.as_ref());
        let now = clock.read(desk.now);
        for peer in found {
            self.revive(peer, &image, &mut process, now, desk)?;
        }
        self.process = Some(process);
        Ok(())
    }

    /// What is found damaged stays so. Where that cannot be written the store does not start.
    fn mark_ruins(&mut self, found: &[RecoveredPeer]) {
        let marks = marks_of_ruins(self.disk.image().as_ref(), found).unwrap_or_default();
        if marks.is_empty() {
            return;
        }
        let written = self.disk.write(marks).and_then(|number| self.disk.sync(number));
        if written.is_err() {
            self.doom = Some(0);
        }
    }

    fn revive(
        &self,
        found: RecoveredPeer,
        image: &Image,
        process: &mut Process,
        now: Moment,
        desk: &mut Desk<'_>,
    ) -> Verdict {
        let place = Place(self.id, region_of(&found));
        let mut is_fenced = true;
        match &found {
            RecoveredPeer::Normal { peer, region, raft, apply, is_fresh, .. } => {
                let judges = &mut *desk.judges;
                judges.lookout.marks.reach_if(*is_fresh, marks::SPLIT_RECOVERED);
                image.look(|layer| state::check(place, region, layer, &judges.applied))?;
                judges.epochs.on_region(self.id, region)?;
                judges.votes.members.on_found(place, *peer, region.peer(*peer).is_none());
                let applied = apply.applied.index;
                judges.apply_order.on_start(place, applied);
                let known = judges.applied.last(region.id).min(raft.last.index);
                judges.lookout.marks.reach_if(known > applied, marks::NOT_APPLIED);
                let claim = process.table.initialise(*peer, region);
                require(claim.is_ok(), "I5: ranges are disjoint", || format!("{claim:?}"))?;
                process.works.readers.visible.insert(region.id, applied);
                let applier = Applier::new(region.clone(), *peer, *apply);
                let applier = applier.with_bugs(process.config.seeded);
                process.works.appliers.insert(region.id, applier);
                let voters = region.peers.iter().filter(|peer| peer.role == PeerRole::Voter);
                is_fenced = voters.count() > 1;
            }
            RecoveredPeer::Uninitialised { region, peer, raft } => {
                let has_voted = !raft.hard_state.vote.is_none();
                desk.judges.lookout.marks.reach_if(has_voted, marks::LATE_BIRTH);
                let claim = process.table.create_uninitialised(*region, *peer);
                require(claim.is_ok(), "I6: one peer per region", || format!("{claim:?}"))?;
            }
            RecoveredPeer::Installing { applying, .. } => {
                desk.judges.lookout.reach(marks::INSTALL_RECOVERED);
                let claim = process.table.claim_again(applying);
                require(claim.is_ok(), "I5: ranges are disjoint", || format!("{claim:?}"))?;
            }
            RecoveredPeer::Damaged { region, peer, cause } => {
                let is_pardoned = desk.judges.records.is_pardoned(self.id);
                require(is_pardoned, "I4: a crash damages nothing", || cause.clone())?;
                process.table.find_ruin(*region, *peer);
                process.works.quarantined.push(*region);
            }
        }
        if is_fenced {
            desk.judges.votes.gate.close(place, now, process.config.timing.gate);
        }
        let config = process.replica_config(self.id, &self.disk);
        let replica = Replica::restart(config, found, now).ok().flatten();
        if let Some(replica) = replica {
            process.add(place.1, replica);
        }
        Ok(())
    }
}

fn region_of(peer: &RecoveredPeer) -> RegionId {
    match peer {
        RecoveredPeer::Uninitialised { region, .. } | RecoveredPeer::Damaged { region, .. } => {
            *region
        }
        RecoveredPeer::Normal { region, .. } => region.id,
        RecoveredPeer::Installing { applying, .. } => applying.region.id,
    }
}

fn stage_of(peer: &RecoveredPeer) -> Option<StageNumber> {
    match peer {
        RecoveredPeer::Installing { applying, .. } => Some(applying.stage),
        _ => None,
    }
}
