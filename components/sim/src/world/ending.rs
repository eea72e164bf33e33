//! A whole run: two phases, and the comparison at the end.

use flotilla_base::{Span, StoreId};
use flotilla_multiraft::Replica;

use super::World;
use crate::client::SimClient;
use crate::judge::queues::{self, Backlog};
use crate::judge::{Place, Verdict, Violation, require, state};
use crate::marks;
use crate::plan::Missing;
use crate::summary::Summary;

/// Long enough for every answer and notice under way to arrive.
const SETTLING: Span = Span::from_millis(500);

/// What a replica that has heard nothing may take to catch up, entry by entry over the slowest disk.
const CATCHING_UP: Span = Span::from_millis(120_000);

impl World {
    /// Runs both phases: faults, then peace in which everything must come to an end; then compares
    /// all replicas.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        self.run_for(self.plan.phases.safety)?;
        self.finish()
    }

    /// The second phase and what follows.
    ///
    /// # Errors
    /// The first violation.
    pub fn finish(&mut self) -> Result<Summary, Violation> {
        self.choose_missing();
        self.heal();
        let healed_at = self.now;
        self.lose_missing();
        self.finish_clients()?;
        self.find_missing();
        self.run_for(SETTLING)?;
        // What was sent late in the first phase may still be on its way.
        let latest = self.plan.net.straggler_max + self.plan.faults.length_max * 2;
        let stragglers = healed_at + latest + SETTLING;
        self.run_for(stragglers.since(self.now))?;
        self.settle_placement()?;
        self.come_to_rest()?;
        self.check_end()?;
        self.check_pd()?;
        Ok(self.summary())
    }

    fn finish_clients(&mut self) -> Verdict {
        let deadline = self.now + self.plan.phases.liveness;
        while !(self.clients.iter().all(SimClient::is_finished) && self.pd.is_finished()) {
            require(self.now < deadline, "liveness: all clients finish after the faults", || {
                let waiting = |client: &SimClient| !client.is_finished();
                let count = self.clients.iter().filter(|client| waiting(client)).count();
                let pd = if self.pd.is_finished() { "" } else { ", and clients of pd" };
                format!("{count} clients still wait{pd}")
            })?;
            self.step()?;
        }
        Ok(())
    }

    fn choose_missing(&mut self) {
        let stores = self.plan.topology.stores;
        let drawn = StoreId(1 + self.chance.schedule.below(stores));
        // A cluster is made by all of its stores: before that none may be missing for good.
        let is_made = !self.regions.is_empty();
        // Nor where so few may vote by now that each one is needed.
        let is_dead = is_made
            && !self.plan.topology.changes.is_on()
            && self.plan.phases.missing == Missing::Dead;
        self.record.missing = is_dead.then_some(drawn);
        if self.record.missing.is_some() {
            self.crash(drawn);
        }
    }

    fn lose_missing(&mut self) {
        if self.plan.phases.missing == Missing::CutOff && !self.plan.topology.changes.is_on() {
            let store = StoreId(1 + self.chance.schedule.below(self.plan.topology.stores));
            self.record.missing = Some(store);
            self.cut(&self.links(store));
        }
    }

    fn find_missing(&mut self) {
        if let Some(store) = self.record.missing.take() {
            self.judges.lookout.reach(marks::MINORITY_LEFT);
            self.open(&self.links(store));
            self.start(store);
        }
    }

    /// Both directions between a store and every other one.
    pub(super) fn links(&self, store: StoreId) -> Vec<(StoreId, StoreId)> {
        let others = self.store_ids().filter(|other| *other != store);
        others.flat_map(|other| [(store, other), (other, store)]).collect()
    }

    /// Every region is led, and all its replicas have applied all that anybody applied.
    fn is_converged(&self) -> bool {
        self.regions.iter().all(|region| {
            let last = self.judges.applied.last(region.id);
            let replicas =
                region.peers.iter().map(|peer| self.store(peer.store).replica(region.id));
            let mut applied = replicas.map(|replica| replica.map(Replica::applied));
            let is_led = self
                .leader(region.id)
                .and_then(|(store, _)| self.store(store).replica(region.id))
                .is_some_and(|replica| replica.group().can_read());
            is_led && applied.all(|applied| applied == Some(last))
        })
    }

    /// Nobody asks for anything: there comes a moment at which all replicas are equal and nothing waits
    /// anywhere.
    fn come_to_rest(&mut self) -> Verdict {
        let deadline = self.now + CATCHING_UP;
        while self.now < deadline {
            let is_at_rest = self.judges.calls.open() == 0
                && self.backlogs().iter().all(|(_, backlog)| backlog.is_empty());
            let is_settled = self.check_membership().is_ok();
            if is_at_rest && is_settled && self.is_converged() && self.check_pd().is_ok() {
                return Ok(());
            }
            self.step()?;
        }
        for region in &self.regions {
            let leader = self.leader(region.id);
            require(leader.is_some(), "liveness: every region has a leader", || {
                format!("region {} has none", region.id)
            })?;
        }
        self.judges.calls.on_end()?;
        if self.is_converged() {
            return queues::check(&self.backlogs());
        }
        // Which replica is behind, the comparison says.
        Ok(())
    }

    fn backlogs(&self) -> Vec<(StoreId, Backlog)> {
        self.store_ids().map(|store| (store, self.store(store).backlog())).collect()
    }

    /// Compares all replicas with what was applied and acknowledged.
    fn check_end(&mut self) -> Verdict {
        self.check_membership()?;
        for region in &self.regions {
            let last = self.judges.applied.last(region.id);
            for peer in &region.peers {
                let (node, place) = (self.store(peer.store), Place(peer.store, region.id));
                let applied = node.replica(region.id).map(Replica::applied);
                require(applied == Some(last), "liveness: all replicas apply everything", || {
                    format!("{place}: {applied:?} of {last}")
                })?;
                let judge = &self.judges.applied;
                node.disk().image().look(|image| state::check(place, region, image, judge))?;
            }
        }
        let register = &self.judges.reads.register;
        for key in register.keys() {
            let Some(region) = self.region_of(key) else { continue };
            let last = self.judges.applied.last(region.id);
            let content = self.judges.applied.content(region.id, key, last);
            register.on_end(key, content.map(|(index, _)| *index).unwrap_or_default())?;
        }
        for (node, _) in &mut self.stores {
            let waiting = node.close();
            require(waiting.is_empty(), "liveness: every ticket is answered", || {
                format!("{waiting:?}")
            })?;
        }
        self.judges.history.on_end()
    }
}
