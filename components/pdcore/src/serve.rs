//! Requests: what changes, and what is only looked up. All are served by a member that is sure of its
//! lead at the moment of the answer.

use flotilla_base::{Incarnation, Moment, Region, RegionId, StoreId};
use flotilla_placement::{
    Answer, ClusterView, Fleet, Leave, MetaChange, MetaState, Mind, OperatorController, Premises,
    RegionReport, Sight, StoreHealth, StoreLoad, StorePolicy, StoreRecord, StoreState, StoreStats,
    StoreStatus, check_pieces, check_split, mind, view::RegionMap,
};

use crate::core::PdCore;
use crate::effects::{Effects, Report};
use crate::input::{Clocks, Decided, Denied, Outcome};
use crate::reign::Ticket;

/// Everything that is known of a store.
#[derive(Clone, Debug)]
pub struct StoreEntry {
    /// As it registered.
    pub record: StoreRecord,
    /// Its last heartbeat in this reign.
    pub status: Option<StoreStatus>,
    /// How it is.
    pub health: StoreHealth,
    /// What it carries.
    pub load: StoreLoad,
    /// How it is to be treated.
    pub policy: StorePolicy,
}

impl StoreEntry {
    /// Its labels: as it registered, and those that were set by hand in their place or behind them.
    #[must_use]
    pub fn labels(&self) -> Vec<(String, String)> {
        let mut labels = self.record.labels.clone();
        for (key, value) in &self.policy.labels {
            match labels.iter_mut().find(|(own, _)| own == key) {
                Some((_, own)) => own.clone_from(value),
                None => labels.push((key.clone(), value.clone())),
            }
        }
        labels
    }
}

/// How stores and regions are now.
#[derive(Clone, Debug)]
pub struct ClusterHealth {
    /// All stores that have not left, by id.
    pub stores: Vec<(StoreId, StoreHealth)>,
    /// Regions that may have no leader, since it does not report.
    pub silent_regions: Vec<RegionId>,
}

/// The sight of a member that leads.
#[derive(Clone, Copy, Debug)]
pub struct Leading<'a> {
    state: &'a MetaState,
    view: &'a ClusterView,
    operators: &'a OperatorController,
    mind: &'a Mind,
    now: Moment,
}

impl<'a> Leading<'a> {
    /// The replicated state.
    #[must_use]
    pub const fn state(&self) -> &'a MetaState {
        self.state
    }

    /// The regions.
    #[must_use]
    pub const fn regions(&self) -> &'a RegionMap {
        self.view.regions()
    }

    /// What is being done to regions, and was done in this reign.
    #[must_use]
    pub const fn operators(&self) -> &'a OperatorController {
        self.operators
    }

    /// What is decided without being asked for, and why.
    #[must_use]
    pub const fn mind(&self) -> &'a Mind {
        self.mind
    }

    /// The stores as decisions see them.
    #[must_use]
    pub fn fleet(&self, unix_ms: u64) -> Fleet<'a> {
        mind::fleet(self.scheduling(), self.operators, unix_ms)
    }

    /// What is known when a change of a region is decided.
    #[must_use]
    pub fn scheduling(&self) -> Sight<'a> {
        Sight::of(self.state, self.view, self.now)
    }

    /// A copy of what decisions are made of, for a forecast. It costs the length of the lists.
    #[must_use]
    pub fn premises(&self, unix_ms: u64, copy_bytes_per_second: u64) -> Premises {
        let up = |store: &StoreId| self.view.health(*store, self.now) == StoreHealth::Up;
        let ids = self.state.stores().keys().copied().filter(up);
        Premises {
            policy: self.state.policy().clone(),
            stores: self.state.stores().clone(),
            statuses: ids.filter_map(|id| Some((id, *self.view.store(id)?))).collect(),
            regions: self.regions().iter().cloned().collect(),
            copy_bytes_per_second,
            unix_ms,
        }
    }

    /// One store. Of one that was forgotten it is still said that it is a tombstone: whoever waits for a word of it learns
    /// that none will come.
    ///
    /// # Errors
    /// [`Denied::UnknownStore`].
    pub fn store(&self, id: StoreId) -> Result<StoreEntry, Denied> {
        let state = self.state.life(id).ok_or(Denied::UnknownStore(id))?;
        let forgotten = StoreRecord { id, state, ..StoreRecord::default() };
        Ok(self.entry(self.state.stores().get(&id).unwrap_or(&forgotten)))
    }

    /// All stores, tombstones included.
    #[must_use]
    pub fn stores(&self) -> Vec<StoreEntry> {
        self.state.stores().values().map(|record| self.entry(record)).collect()
    }

    /// How all are.
    #[must_use]
    pub fn health(&self) -> ClusterHealth {
        let members = self.state.stores().values();
        let members = members.filter(|record| record.state != StoreState::Tombstone);
        let health = |record: &StoreRecord| (record.id, self.view.health(record.id, self.now));
        ClusterHealth {
            stores: members.map(health).collect(),
            silent_regions: self.view.silent_regions(self.now),
        }
    }

    /// Whether the store is one of the cluster.
    fn check_member(&self, id: StoreId) -> Result<(), Denied> {
        match self.state.life(id) {
            None => Err(Denied::UnknownStore(id)),
            Some(StoreState::Tombstone) => Err(Denied::Tombstone(id)),
            Some(StoreState::Up | StoreState::Offline) => Ok(()),
        }
    }

    /// Whether the store may be told to leave. What is seen goes first, since it says what can be done about it.
    fn check_removal(&self, id: StoreId, leave: Leave) -> Result<(), Denied> {
        self.check_member(id)?;
        self.scheduling().check_removal(id, leave)?;
        Ok(self.state.check_removal(id)?)
    }

    fn entry(&self, record: &StoreRecord) -> StoreEntry {
        StoreEntry {
            record: record.clone(),
            status: self.view.store(record.id).copied(),
            health: self.view.health(record.id, self.now),
            load: self.regions().load(record.id),
            policy: self.state.policy().store(record.id).clone(),
        }
    }
}

impl<T> PdCore<T> {
    /// What this member sees, if it may say at `now` that it leads. The clock must have been read after
    /// the question came.
    ///
    /// # Errors
    /// [`Denied::NotLeader`].
    pub fn leading(&self, now: Moment) -> Result<Leading<'_>, Denied> {
        let reign = self.reign.as_ref().filter(|_| self.leads(now)).ok_or(Denied::NotLeader)?;
        let (state, view, operators) = (&self.state, &self.view, &reign.operators);
        Ok(Leading { state, view, operators, mind: &reign.mind, now })
    }

    pub(crate) fn alloc_ids(
        &mut self,
        clocks: Clocks,
        count: u32,
        ticket: T,
        effects: &mut Effects<T>,
    ) {
        if self.leads(clocks.now) {
            self.wait_for_ids(clocks, count, ticket, effects);
        } else {
            effects.replies.push((ticket, Err(Denied::NotLeader)));
        }
    }

    pub(crate) fn put_store(
        &mut self,
        clocks: Clocks,
        store: StoreRecord,
        ticket: T,
        effects: &mut Effects<T>,
    ) {
        // Decided again when it is applied; asking first keeps refused commands out of the log.
        let sight = self.leading(clocks.now);
        let checked = sight.and_then(|sight| Ok(sight.state.check_store(&store)?));
        match checked {
            Ok(()) => self.propose(MetaChange::PutStore(store), Ticket::Store(ticket), effects),
            Err(denied) => effects.replies.push((ticket, Err(denied))),
        }
    }

    /// What the records say is decided again when it is applied; what heartbeats say, only here.
    pub(crate) fn remove_store(
        &mut self,
        clocks: Clocks,
        (id, leave): (StoreId, Leave),
        ticket: T,
        effects: &mut Effects<T>,
    ) {
        match self.leading(clocks.now).and_then(|sight| sight.check_removal(id, leave)) {
            Ok(()) => {
                effects.reports.push(Report::StoreLeaves(id));
                self.propose(MetaChange::RemoveStore(id), Ticket::Store(ticket), effects);
            }
            Err(denied) => effects.replies.push((ticket, Err(denied))),
        }
    }

    pub(crate) fn administer(
        &mut self,
        clocks: Clocks,
        decided: Decided,
        ticket: T,
        effects: &mut Effects<T>,
    ) {
        let sight = self.leading(clocks.now);
        match sight.and_then(|sight| Ok(decided.check(sight.state)?)) {
            Ok(()) => self.propose(decided.into(), Ticket::Store(ticket), effects),
            Err(denied) => effects.replies.push((ticket, Err(denied))),
        }
    }

    pub(crate) fn store_heartbeat(
        &mut self,
        clocks: Clocks,
        id: StoreId,
        stats: StoreStats,
    ) -> Outcome {
        self.leading(clocks.now)?.check_member(id)?;
        let Clocks { now: heard, unix_ms: heard_unix_ms } = clocks;
        let is_back = self.view.health(id, clocks.now) != StoreHealth::Up;
        let status = StoreStatus { stats, heard, heard_unix_ms, ..StoreStatus::default() };
        self.view.on_store_report(id, status);
        if let Some(reign) = self.reign.as_mut().filter(|_| is_back) {
            reign.mind.hurry(clocks.now);
        }
        Ok(Answer::Done)
    }

    pub(crate) fn open_line(
        &mut self,
        clocks: Clocks,
        id: StoreId,
        run: Incarnation,
        effects: &mut Effects<T>,
    ) -> Outcome {
        self.leading(clocks.now)?.check_member(id)?;
        self.view.on_line_opened(clocks.now, id, run);
        self.report_line(clocks, id, run, effects);
        Ok(Answer::Done)
    }

    pub(crate) fn break_line(
        &mut self,
        clocks: Clocks,
        id: StoreId,
        run: Incarnation,
        effects: &mut Effects<T>,
    ) {
        self.view.on_line_broken(id, run);
        self.report_line(clocks, id, run, effects);
    }

    fn report_line(
        &self,
        clocks: Clocks,
        store: StoreId,
        run: Incarnation,
        effects: &mut Effects<T>,
    ) {
        let health = self.view.health(store, clocks.now);
        effects.reports.push(Report::Line { store, run, health });
    }

    /// A member that does not lead drops it: the region's next heartbeat follows soon, to whoever leads
    /// then.
    pub(crate) fn region_heartbeat(
        &mut self,
        clocks: Clocks,
        report: RegionReport,
        effects: &mut Effects<T>,
    ) {
        if self.leads(clocks.now) {
            let (region, leader) = (report.region.id, report.leader.store);
            let outcome = self.view.on_region_report(clocks.now, report);
            if let Ok(effect) = outcome {
                self.pursue_operator(clocks, region, effect, effects);
            }
            effects.reports.push(Report::Heartbeat { region, leader, outcome });
        }
    }

    /// How many ids a split takes that may be.
    pub(crate) fn check_split(
        &self,
        clocks: Clocks,
        region: &Region,
        children: u32,
    ) -> Result<u32, Denied> {
        let sight = self.leading(clocks.now)?;
        Ok(check_split(sight.regions(), region, children)?)
    }

    /// A piece that is known better already is no error: leaders may have reported before.
    pub(crate) fn report_split(
        &mut self,
        clocks: Clocks,
        pieces: Vec<Region>,
        effects: &mut Effects<T>,
    ) -> Outcome {
        self.leading(clocks.now)?;
        check_pieces(&pieces)?;
        for piece in pieces {
            let region = piece.id;
            let outcome = self.view.on_split_piece(clocks.now, piece);
            effects.reports.push(Report::Piece { region, outcome });
        }
        Ok(Answer::Done)
    }
}
