//! Requests: reads from state and view, and proposals.

use std::collections::BTreeMap;

use flotilla_base::{Incarnation, StoreId};
use flotilla_placement::{
    IdBatch, MetaChange, RegionReport, StaleReport, StoreLoad, StoreRecord, StoreState, StoreStats,
    StoreStatus,
};

use super::{
    ClusterHealth, Denied, PdCore, RegionLookup, Reply, Request, StoreEntry, Ticket,
    request::answer,
};
use crate::clock::unix_ms;

impl PdCore {
    /// Serves one request. Every answer is given by a leader that is sure of its lead now.
    pub(super) fn serve(&mut self, request: Request) {
        // Its opening was counted, and nobody tells of the end again.
        if let Request::BreakLine { id, run } = request {
            return self.break_line(id, run);
        }
        if !self.leads() {
            return request.deny(&Denied::NotLeader);
        }
        match request {
            Request::AllocIds { count, reply } => self.alloc_ids(count, reply),
            Request::PutStore { store, reply } => self.put_store(*store, reply),
            Request::Store { id, reply } => answer(reply, self.store(id)),
            Request::Stores { reply } => answer(reply, Ok(self.stores())),
            Request::StoreHeartbeat { id, stats, reply } => {
                answer(reply, self.store_heartbeat(id, *stats));
            }
            Request::OpenLine { id, run, reply } => answer(reply, self.open_line(id, run)),
            Request::BreakLine { id, run } => self.break_line(id, run),
            Request::Health { reply } => answer(reply, Ok(self.health())),
            Request::RegionHeartbeat { report } => self.region_heartbeat(*report),
            Request::Region { lookup, reply } => {
                let regions = self.view.regions();
                let found = match lookup {
                    RegionLookup::Key(key) => regions.by_key(&key),
                    RegionLookup::Previous(key) => regions.previous(&key),
                    RegionLookup::Id(id) => regions.by_id(id),
                };
                answer(reply, Ok(found.cloned()));
            }
            Request::Regions { range, limit, reply } => {
                answer(reply, Ok(self.view.regions().scan(&range, limit)));
            }
        }
    }

    fn alloc_ids(&mut self, count: u32, reply: Reply<IdBatch>) {
        let Some(reign) = self.reign.as_mut() else {
            return answer(reply, Err(Denied::NotLeader));
        };
        reign.id_waiters.push_back((count, reply));
        self.serve_id_waiters();
    }

    fn put_store(&mut self, store: StoreRecord, reply: Reply<()>) {
        // Decided again when it is applied; asking first keeps refused commands out of the log.
        match self.state.check_store(&store) {
            Ok(()) => self.propose(MetaChange::PutStore(store), Ticket::PutStore(reply)),
            Err(refusal) => answer(reply, Err(refusal.into())),
        }
    }

    fn store(&self, id: StoreId) -> Result<StoreEntry, Denied> {
        let record = self.state.stores().get(&id).ok_or(Denied::UnknownStore(id))?;
        Ok(self.entry(record, &self.view.loads()))
    }

    fn stores(&self) -> Vec<StoreEntry> {
        let loads = self.view.loads();
        self.state.stores().values().map(|record| self.entry(record, &loads)).collect()
    }

    fn entry(&self, record: &StoreRecord, loads: &BTreeMap<StoreId, StoreLoad>) -> StoreEntry {
        StoreEntry {
            record: record.clone(),
            status: self.view.store(record.id).copied(),
            health: self.view.health(record.id, self.shared.clock.now()),
            load: loads.get(&record.id).copied().unwrap_or_default(),
        }
    }

    fn check_member(&self, id: StoreId) -> Result<(), Denied> {
        match self.state.stores().get(&id).map(|record| record.state) {
            None => Err(Denied::UnknownStore(id)),
            Some(StoreState::Tombstone) => Err(Denied::Tombstone(id)),
            Some(StoreState::Up | StoreState::Offline) => Ok(()),
        }
    }

    fn open_line(&mut self, id: StoreId, run: Incarnation) -> Result<(), Denied> {
        self.check_member(id)?;
        self.view.on_line_opened(self.shared.clock.now(), id, run);
        tracing::info!(store = %id, run = run.get(), "store is connected");
        Ok(())
    }

    fn break_line(&mut self, id: StoreId, run: Incarnation) {
        self.view.on_line_broken(id, run);
        let health = self.view.health(id, self.shared.clock.now());
        tracing::info!(store = %id, run = run.get(), ?health, "connection of a store ended");
    }

    fn health(&self) -> ClusterHealth {
        let now = self.shared.clock.now();
        let members = self.state.stores().values();
        let members = members.filter(|record| record.state != StoreState::Tombstone);
        ClusterHealth {
            stores: members.map(|record| (record.id, self.view.health(record.id, now))).collect(),
            silent_regions: self.view.silent_regions(now),
        }
    }

    fn store_heartbeat(&mut self, id: StoreId, stats: StoreStats) -> Result<(), Denied> {
        self.check_member(id)?;
        let heard = self.shared.clock.now();
        let status = StoreStatus { stats, heard, heard_unix_ms: unix_ms() };
        self.view.on_store_report(id, status);
        Ok(())
    }

    fn region_heartbeat(&mut self, report: RegionReport) {
        let (region, leader) = (report.region.id, report.leader);
        let metrics = &self.shared.metrics;
        match self.view.on_region_report(self.shared.clock.now(), report) {
            Ok(effect) => {
                metrics.count_region_heartbeat("taken");
                let regions = self.view.regions().len();
                metrics.regions.set(i64::try_from(regions).unwrap_or(i64::MAX));
                if let Some(other) = effect.conflict {
                    tracing::error!(%region, %other, "two regions claim the same keys at one version");
                }
                if effect.is_routing_changed {
                    tracing::debug!(%region, leader_store = %leader.store, "region has changed");
                    self.shared.regions.send_modify(|count| *count += 1);
                }
            }
            Err(StaleReport::Invalid(error)) => {
                metrics.count_region_heartbeat("invalid");
                tracing::warn!(%error, store = %leader.store, "region heartbeat makes no sense");
            }
            Err(stale) => {
                // An old leader that keeps reporting is a signal in itself.
                metrics.count_region_heartbeat("stale");
                tracing::debug!(%stale, store = %leader.store, "stale region heartbeat");
            }
        }
    }
}
