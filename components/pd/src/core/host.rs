//! Executes what the core wants done, with the threads and the disk of this process.

use std::collections::BTreeMap;

use flotilla_base::{Mutation, StoreId};
use flotilla_engine::{DataDir, Engine, WriteBatch};
use flotilla_pdcore::{LogWrite, Outcome, PdHost, Report, effects::HeartbeatOutcome};
use flotilla_placement::{
    Cluster, OperatorEvent, Order, StaleReport, TsoChange, view::ReportEffect,
};
use flotilla_raftgroup::Message;
use tokio::sync::mpsc;

use super::{Asker, Shared, syncer::Syncer};
use crate::PdError;

/// Everything the core acts on.
pub(super) struct Host {
    pub engine: Engine,
    pub syncer: Syncer,
    pub shared: Shared,
    pub lines: OrderLines,
    /// Last, so that the directory is given back after everything that holds the database is gone.
    pub data_dir: DataDir,
}

/// Where orders for the leaders on each store go: to the stream that last brought a report of one. One for each
/// registered store at most.
#[derive(Debug, Default)]
pub(super) struct OrderLines(BTreeMap<StoreId, mpsc::Sender<Order>>);

impl OrderLines {
    pub(super) fn note(&mut self, store: StoreId, line: mpsc::Sender<Order>) {
        self.0.insert(store, line);
    }

    /// Whether there is a stream with room. One that is full or gone loses the order, which is given again with a
    /// later report of the region.
    fn send(&self, order: Order) -> bool {
        let line = self.0.get(&order.leader.store);
        line.is_some_and(|line| line.try_send(order).is_ok())
    }
}

impl PdHost<Asker> for Host {
    type Error = PdError;

    fn tso(&mut self, change: TsoChange) {
        self.shared.tso.change(change);
    }

    fn send(&mut self, messages: Vec<Message>) {
        // One voter has nobody to send to; messages leave here once there are more.
        debug_assert!(messages.is_empty(), "{messages:?}");
    }

    fn persist(&mut self, write: LogWrite) -> Result<(), PdError> {
        if !write.batch.is_empty() {
            self.engine.write(&WriteBatch::from(write.batch))?;
        }
        if self.syncer.push(write.number) { Ok(()) } else { Err(super::sync_is_gone()) }
    }

    fn write(&mut self, batch: Vec<Mutation>) -> Result<(), PdError> {
        Ok(self.engine.write(&WriteBatch::from(batch))?)
    }

    fn claim(&mut self, cluster: Cluster) -> Result<(), PdError> {
        self.data_dir.claim(cluster.id, StoreId(0))?;
        tracing::info!(cluster = %cluster.id, max_replicas = cluster.max_replicas, "cluster is known");
        Ok(())
    }

    fn reply(&mut self, asker: Asker, outcome: Outcome) {
        asker.complete(outcome);
    }

    fn operator(&mut self, event: OperatorEvent) {
        match event {
            OperatorEvent::Begun(operator) => {
                let (region, id) = (operator.plan.region, operator.id.0);
                let (brief, asked_by) = (&operator.plan.brief, operator.asked_by);
                tracing::info!(%region, operator = id, brief, asked_by, "operator begins");
            }
            OperatorEvent::Ordered(order) => {
                tracing::debug!(region = %order.region, leader = %order.leader.store, command = ?order.command, "order");
                let is_sent = self.lines.send(order);
                self.shared.metrics.count_order(if is_sent { "sent" } else { "lost" });
            }
            OperatorEvent::Ended(ended) => {
                let operator = &ended.operator;
                let (region, id) = (operator.plan.region, operator.id.0);
                let (brief, steps) = (&operator.plan.brief, operator.done());
                tracing::info!(%region, operator = id, brief, steps, ending = %ended.ending, "operator ends");
                self.shared.metrics.count_operator(operator.plan.kind, ended.ending);
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Role(change) => {
                tracing::info!(role = ?change.role, term = %change.term, "placement driver changes its role");
            }
            Report::Opened(term) => tracing::info!(%term, "placement driver leads"),
            Report::Ended(term) => tracing::info!(%term, "placement driver leads no more"),
            Report::IdWindow(window) => {
                tracing::info!("id window extended to {}", window.last);
                let last = i64::try_from(window.last).unwrap_or(i64::MAX);
                self.shared.metrics.last_id.set(last);
            }
            Report::Bootstrapped => tracing::info!("cluster bootstrapped"),
            Report::Refused(refusal) => tracing::warn!(%refusal, "a command was refused"),
            Report::NotProposed(error) => tracing::warn!(%error, "a command was not proposed"),
            Report::StoreLeaves(store) => tracing::warn!(%store, "a store is to leave for good"),
            Report::StoreBuried(store) => {
                tracing::warn!(%store, "nothing is left on a store: it is a tombstone");
            }
            Report::StoreSlow(Some(store)) => {
                tracing::warn!(%store, "the disk of a store is slow: leads leave it");
            }
            Report::StoreSlow(None) => tracing::info!("no store is slow any more"),
            Report::Line { store, run, health } => {
                tracing::info!(%store, run = run.get(), ?health, "connection of a store begins or ends");
            }
            Report::Heartbeat { region, leader, outcome } => {
                self.note_heartbeat(&outcome);
                match outcome {
                    Ok(ReportEffect { conflict: Some(other), .. }) => {
                        tracing::error!(%region, %other, "two regions claim the same keys at one version");
                    }
                    Ok(ReportEffect { is_routing_changed: true, .. }) => {
                        tracing::debug!(%region, leader_store = %leader, "region has changed");
                    }
                    Ok(_) => {}
                    Err(StaleReport::Invalid(error)) => {
                        tracing::warn!(%error, store = %leader, "region heartbeat makes no sense");
                    }
                    // An old leader that keeps reporting is a signal in itself.
                    Err(stale) => {
                        tracing::debug!(%stale, store = %leader, "stale region heartbeat");
                    }
                }
            }
            Report::Piece { region, outcome } => {
                self.note_change(&outcome);
                tracing::debug!(%region, ?outcome, "a split is reported");
            }
        }
    }
}

impl Host {
    fn note_heartbeat(&self, outcome: &HeartbeatOutcome) {
        self.shared.metrics.count_region_heartbeat(match outcome {
            Ok(_) => "taken",
            Err(StaleReport::Invalid(_)) => "invalid",
            Err(_) => "stale",
        });
        self.note_change(outcome);
    }

    /// Wakes those who wait for a region.
    fn note_change(&self, outcome: &HeartbeatOutcome) {
        if outcome.as_ref().is_ok_and(|effect| effect.is_routing_changed) {
            self.shared.regions.send_modify(|count| *count += 1);
        }
    }
}
