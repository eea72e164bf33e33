//! The group's rounds: propose, write, apply, complete.

use flotilla_base::Mutation;
use flotilla_engine::{EngineError, WriteBatch};
use flotilla_placement::{
    Answer, Cluster, EntryPosition, IdPool, MetaChange, MetaCommand, Refusal, TsoReign,
    bootstrap_ids, bootstrap_stores, plan_bootstrap,
};
use flotilla_raftgroup::{Entry, ReadyNumber, Role, RoleChange, SingleRound};

use super::{
    Asked, Denied, PdCore, Reign, Ticket,
    open::{GROUP, draw_cluster_id},
    request::answer,
};
use crate::{
    PdError,
    clock::{unix_ms, unix_s},
};

/// Applied entries that stay in the log, for members that were away for a moment.
const LOG_ENTRIES_KEPT: u64 = 1024;

impl PdCore {
    /// Does all work that the group has.
    pub(super) fn rounds(&mut self) -> Result<(), PdError> {
        // A round may bring proposals, which bring the next round.
        while let Some(round) = self.single.collect() {
            self.finish(round)?;
        }
        Ok(())
    }

    fn finish(&mut self, round: SingleRound<Ticket>) -> Result<(), PdError> {
        if let Some(change) = round.role_change {
            self.on_role_change(change);
        }
        // One voter has nobody to send to; messages leave here once there are more.
        debug_assert!(round.send_now.is_empty() && round.send_after_persist.is_empty());
        if !round.log.is_empty() {
            self.engine.write(&WriteBatch::from(round.log))?;
        }
        if !round.is_complete {
            self.unsynced.push_back((round.number, self.shared.clock.now()));
            if !self.syncer.push(round.number) {
                return Err(sync_is_gone());
            }
        }
        for (entry, ticket) in round.committed {
            self.apply(&entry, ticket)?;
        }
        for ticket in round.lost {
            self.abandon(ticket);
        }
        Ok(())
    }

    pub(super) fn on_durable(
        &mut self,
        durable: Option<Result<ReadyNumber, EngineError>>,
    ) -> Result<(), PdError> {
        let number = durable.ok_or_else(sync_is_gone)??;
        while self.unsynced.front().is_some_and(|(first, _)| *first <= number) {
            self.unsynced.pop_front();
        }
        self.single.on_persisted(number);
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, ticket: Option<Ticket>) -> Result<(), PdError> {
        let at = EntryPosition { index: entry.index, term: entry.term };
        let applied = self.state.apply(at, &entry.data)?;
        let mut records: Vec<Mutation> = applied.records;
        records.extend(self.single.truncate(entry.index, LOG_ENTRIES_KEPT));
        records.push(self.single.put_applied(GROUP, entry.position()));
        self.engine.write(&WriteBatch::from(records))?;
        self.single.on_applied(entry.index);
        let role = self.single.group().role();
        let begins_reign = role.role == Role::Leader && role.term == entry.term;
        if begins_reign && self.reign.is_none() {
            self.begin_reign(role);
        }
        match (ticket, applied.outcome) {
            (Some(ticket), Some(outcome)) => self.complete(ticket, outcome)?,
            (Some(ticket), None) => self.abandon(ticket),
            (None, _) => {}
        }
        Ok(())
    }

    fn on_role_change(&mut self, change: RoleChange) {
        tracing::info!(role = ?change.role, term = %change.term, "placement driver changes its role");
        let keeps_reign = |reign: &Reign| change.role == Role::Leader && reign.term == change.term;
        if self.reign.as_ref().is_some_and(|reign| !keeps_reign(reign)) {
            self.end_reign();
        }
        self.publish();
    }

    /// Order matters: windows are read after an entry of this term was applied, so they contain what
    /// any earlier leader can have used.
    fn begin_reign(&mut self, role: RoleChange) {
        self.reign = Some(Reign::new(role.term));
        if self.state.cluster().is_none() {
            let id = draw_cluster_id();
            let cluster = Cluster { id, max_replicas: self.max_replicas };
            self.propose(MetaChange::InitCluster(cluster), Ticket::InitCluster);
        } else {
            self.open_tso();
        }
    }

    fn open_tso(&mut self) {
        self.shared.tso.open(TsoReign::new(self.state.tso_window_end_ms(), unix_ms()));
        self.ask_tso_window();
    }

    pub(super) fn end_reign(&mut self) {
        let Some(reign) = self.reign.take() else { return };
        // First the timestamps, then everything else: nobody may take one after a successor began.
        self.shared.tso.close();
        for (_, reply) in reign.id_waiters {
            answer(reply, Err(Denied::NotLeader));
        }
        tracing::info!(term = %reign.term, "placement driver leads no more");
    }

    pub(super) fn propose(&mut self, change: MetaChange, ticket: Ticket) {
        let Some(reign) = &self.reign else { return self.abandon(ticket) };
        let command = MetaCommand { term: reign.term, change }.encode();
        if let Err((ticket, error)) = self.single.propose(command, ticket) {
            tracing::warn!(%error, "a command was not proposed");
            self.abandon(ticket);
        }
    }

    /// Completes a ticket whose command certainly had no effect.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        match (ticket, self.reign.as_mut()) {
            (Ticket::PutStore(reply), _) => {
                answer(reply, Err(Denied::NotLeader));
            }
            (Ticket::IdWindow, Some(reign)) => {
                reign.asked.remove(&Asked::IdWindow);
                for (_, reply) in reign.id_waiters.drain(..) {
                    answer(reply, Err(Denied::NotLeader));
                }
            }
            (Ticket::TsoWindow, Some(reign)) => {
                reign.asked.remove(&Asked::TsoWindow);
            }
            (Ticket::Bootstrap, Some(reign)) => {
                reign.asked.remove(&Asked::Bootstrap);
            }
            (Ticket::InitCluster, _) | (_, None) => {}
        }
    }

    fn complete(
        &mut self,
        ticket: Ticket,
        outcome: Result<Answer, Refusal>,
    ) -> Result<(), PdError> {
        match ticket {
            Ticket::InitCluster => self.on_cluster_made(outcome)?,
            Ticket::IdWindow => self.on_id_window(outcome),
            Ticket::TsoWindow => self.on_tso_window(outcome),
            Ticket::PutStore(reply) => {
                answer(reply, outcome.map(|_done| ()).map_err(Denied::Refused));
                self.publish();
                self.bootstrap_if_due();
            }
            Ticket::Bootstrap => self.on_bootstrap(outcome),
        }
        Ok(())
    }

    fn on_cluster_made(&mut self, outcome: Result<Answer, Refusal>) -> Result<(), PdError> {
        if let Err(refusal) = outcome {
            tracing::info!(%refusal, "cluster was made by another member");
        }
        if let Some(cluster) = self.state.cluster() {
            self.data_dir.claim(cluster.id, flotilla_base::StoreId(0))?;
            tracing::info!(cluster = %cluster.id, max_replicas = cluster.max_replicas, "cluster made");
        }
        self.open_tso();
        self.publish();
        Ok(())
    }

    fn on_id_window(&mut self, outcome: Result<Answer, Refusal>) {
        let Some(reign) = self.reign.as_mut() else { return };
        reign.asked.remove(&Asked::IdWindow);
        match outcome {
            Ok(Answer::Ids(window)) => {
                tracing::info!("id window extended to {}", window.last);
                self.shared.metrics.last_id.set(i64::try_from(window.last).unwrap_or(i64::MAX));
                reign.ids.refill(window);
                self.serve_id_waiters();
                self.bootstrap_if_due();
            }
            Ok(answer) => debug_assert!(false, "an id window brings ids, not {answer:?}"),
            Err(refusal) => {
                for (_, reply) in reign.id_waiters.drain(..) {
                    answer(reply, Err(refusal.clone().into()));
                }
            }
        }
    }

    pub(super) fn serve_id_waiters(&mut self) {
        let Some(reign) = self.reign.as_mut() else { return };
        while let Some((count, _)) = reign.id_waiters.front() {
            let Some(batch) = reign.ids.take(*count) else {
                let count = *count;
                return self.ask_id_window(count);
            };
            if let Some((_, reply)) = reign.id_waiters.pop_front() {
                answer(reply, Ok(batch));
            }
        }
    }

    pub(super) fn ask_id_window(&mut self, count: u32) {
        let Some(reign) = self.reign.as_mut() else { return };
        if !reign.asked.insert(Asked::IdWindow) {
            return;
        }
        let ids = IdPool::window_for(count);
        self.propose(MetaChange::AllocWindow { ids }, Ticket::IdWindow);
    }

    pub(super) fn ask_tso_window(&mut self) {
        let Some(end_ms) = self.shared.tso.wanted_window() else { return };
        let Some(reign) = self.reign.as_mut() else { return };
        if !reign.asked.insert(Asked::TsoWindow) {
            return;
        }
        self.propose(MetaChange::TsoWindow { end_ms }, Ticket::TsoWindow);
    }

    fn on_tso_window(&mut self, outcome: Result<Answer, Refusal>) {
        let Some(reign) = self.reign.as_mut() else { return };
        reign.asked.remove(&Asked::TsoWindow);
        match outcome {
            Ok(Answer::TsoWindow { end_ms }) => {
                self.shared.tso.extend(end_ms);
                let opens = !std::mem::replace(&mut reign.is_open, true);
                if opens {
                    tracing::info!(term = %reign.term, "placement driver leads");
                    self.judge_lease();
                    self.bootstrap_if_due();
                }
            }
            Ok(answer) => debug_assert!(false, "a window was asked, not {answer:?}"),
            Err(refusal) => tracing::warn!(%refusal, "timestamp window refused"),
        }
    }

    /// Makes the first regions once enough stores are registered.
    pub(super) fn bootstrap_if_due(&mut self) {
        let Some(cluster) = self.state.cluster() else { return };
        let is_due = self.state.bootstrap().is_none()
            && bootstrap_stores(self.state.stores(), cluster.max_replicas).is_some();
        let Some(reign) =
            self.reign.as_mut().filter(|reign| is_due && !reign.asked.contains(&Asked::Bootstrap))
        else {
            return;
        };
        let count = bootstrap_ids(cluster.max_replicas);
        let Some(ids) = reign.ids.take(count) else { return self.ask_id_window(count) };
        let plan = plan_bootstrap(self.state.stores(), cluster.max_replicas, ids, unix_s());
        let Some(plan) = plan else { return };
        reign.asked.insert(Asked::Bootstrap);
        self.propose(MetaChange::Bootstrap(plan), Ticket::Bootstrap);
    }

    fn on_bootstrap(&mut self, outcome: Result<Answer, Refusal>) {
        if let Some(reign) = self.reign.as_mut() {
            reign.asked.remove(&Asked::Bootstrap);
        }
        match outcome {
            Ok(_done) => tracing::info!("cluster bootstrapped"),
            Err(refusal) => tracing::warn!(%refusal, "bootstrap refused"),
        }
        self.publish();
    }
}

fn sync_is_gone() -> PdError {
    PdError::Thread(std::io::Error::other("the thread that syncs the log has ended"))
}
