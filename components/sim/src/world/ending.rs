//! A whole run: two phases, and the comparison at the end.

use flotilla_multiraft::Replica;

use super::{CATCHING_UP, SETTLING, World};
use crate::client::SimClient;
use crate::judge::{Verdict, Violation, require};
use crate::summary::Summary;

impl World {
    /// Runs both phases: faults, then peace in which everything must come to an end; then compares
    /// all replicas.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        self.run_for(self.plan.safety)?;
        self.heal();
        let healed_at = self.now;
        let deadline = self.now + self.plan.liveness;
        while !(self.clients.iter().all(SimClient::is_finished) && self.pd.is_finished()) {
            require(self.now < deadline, "liveness: all clients finish after the faults", || {
                let waiting = |client: &SimClient| !client.is_finished();
                let count = self.clients.iter().filter(|client| waiting(client)).count();
                let pd = if self.pd.is_finished() { "" } else { ", and clients of pd" };
                format!("{count} clients still wait{pd}")
            })?;
            self.step()?;
        }
        self.run_for(SETTLING)?;
        // What was sent late in the first phase may still be on its way.
        let latest = self.plan.net.straggler_max + self.plan.faults.length_max;
        let stragglers = healed_at + latest + SETTLING;
        self.run_for(stragglers.since(self.now))?;
        let deadline = self.now + CATCHING_UP;
        while !(self.is_converged() && self.check_pd().is_ok()) && self.now < deadline {
            self.run_for(SETTLING)?;
        }
        self.check_end()?;
        self.check_pd()?;
        Ok(self.summary())
    }

    pub(super) fn is_converged(&self) -> bool {
        self.stores.iter().all(|(node, _)| !node.wants_apply())
            && self.regions.iter().all(|region| {
                let last = self.judges.applied.last(region.id);
                let replicas =
                    region.peers.iter().map(|peer| self.store(peer.store).replica(region.id));
                let mut applied = replicas.map(|replica| replica.map(Replica::applied));
                applied.all(|applied| applied == Some(last))
            })
    }

    /// Compares all replicas with what was applied and acknowledged.
    pub(super) fn check_end(&mut self) -> Verdict {
        for region in &self.regions {
            let last = self.judges.applied.last(region.id);
            for peer in &region.peers {
                let node = self.store(peer.store);
                let applied = node.replica(region.id).map(Replica::applied);
                require(applied == Some(last), "liveness: all replicas apply everything", || {
                    format!("store {} region {}: {applied:?} of {last}", peer.store, region.id)
                })?;
                let judge = &self.judges.applied;
                node.disk().image().look(|image| judge.check_data(peer.store, region, image))?;
            }
        }
        for (key, floor) in self.judges.register.floors() {
            let Some(region) = self.region_of(key) else { continue };
            let last = self.judges.applied.last(region.id);
            let content = self.judges.applied.content(region.id, key, last);
            let found = content.map(|(index, _)| *index).unwrap_or_default();
            require(found >= floor, "an acknowledged write is never lost", || {
                format!("{key:?} was at {floor}, is at {found}")
            })?;
        }
        for (node, _) in &mut self.stores {
            let waiting = node.close();
            require(waiting.is_empty(), "liveness: every ticket is answered", || {
                format!("{waiting:?}")
            })?;
        }
        Ok(())
    }
}
