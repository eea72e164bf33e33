//! Signs of life: those that a store gives, and what it makes of those of others.

use flotilla_base::{Incarnation, Moment, Peer, Region, RegionId, StoreId};
use flotilla_multiraft::{Input, Liveness, Notice, read_removed, spread_of};
use flotilla_raftgroup::Role;

use super::{Desk, Process, StoreNode};
use crate::hands::Out;
use crate::judge::Place;

/// How often a store has looked for signs of others, and when it did last.
#[derive(Debug, Default)]
pub struct Pulse {
    last: Moment,
    /// In a row, without a pause.
    count: u32,
}

impl StoreNode {
    /// Gives a sign of life, and judges the silence of others.
    pub fn pulse(&mut self, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        let interval = Liveness::interval(&process.config.timing);
        let is_in_time = desk.now.since(process.pulse.last) < interval * 2;
        process.pulse.count = if is_in_time { process.pulse.count + 1 } else { 0 };
        process.pulse.last = desk.now;
        let now = process.clock.read(desk.now);
        for store in process.liveness.change(|liveness| liveness.judge(now)) {
            process.tell_of(store);
        }
        let others = (1..=process.config.stores).map(StoreId).filter(|other| *other != self.id);
        desk.out.extend(others.map(Out::Sign));
    }

    /// A sign of life of another store's run arrives.
    pub fn hear(&mut self, store: StoreId, run: Incarnation, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        let now = process.clock.read(desk.now);
        let has_changed = process.liveness.change(|liveness| liveness.hear(store, run.get(), now));
        let gate = process.config.timing.gate;
        desk.judges.votes.gate.on_new_run(self.id, (store, run.get()));
        for (region, cell) in &process.cells {
            if cell.replica.sleeps_on() == Some((store, run.get())) {
                let place = Place(self.id, *region);
                desk.judges.votes.gate.close_by_sign(place, (store, run.get()), now + gate);
            }
        }
        if has_changed {
            // Before its replicas act on it: the other one may have to rely on this store as soon as it hears of them.
            desk.out.push(Out::Sign(store));
            process.tell_of(store);
        }
    }

    /// Other stores will never run again.
    pub fn bury(&mut self, stores: &[StoreId]) {
        if let Some(process) = &mut self.process {
            process.liveness.change(|liveness| stores.iter().for_each(|it| liveness.bury(*it)));
        }
    }

    /// The members of a region on other stores that give no sign of life.
    #[must_use]
    pub fn silent_members(&self, region: &Region) -> Vec<Peer> {
        let Some(process) = &self.process else { return Vec::new() };
        let is_silent = |peer: &&Peer| {
            let sign = process.liveness.look(|liveness| liveness.sign(peer.store));
            peer.store != self.id && sign.is_none()
        };
        region.peers.iter().filter(is_silent).copied().collect()
    }

    /// How often in a row it has looked for signs of others, without a pause.
    #[must_use]
    pub fn pulses(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.pulse.count)
    }

    /// Regions whose leader here sleeps, while the disk knows of a removed member whose store lives.
    pub fn owing(&self) -> impl Iterator<Item = RegionId> {
        let processes = self.process.iter();
        let cells = processes.flat_map(|process| process.cells.iter().map(move |it| (process, it)));
        cells.filter_map(|(process, (region, cell))| {
            let leads = cell.replica.is_asleep() && cell.replica.role().role == Role::Leader;
            let removed = || read_removed(self.disk.image().as_ref(), *region).unwrap_or_default();
            let lives = |store| process.liveness.look(|it| it.sign(store)).is_some();
            (leads && removed().iter().any(|peer| lives(peer.store))).then_some(*region)
        })
    }

    /// Followers that sleep, and on which run of which store.
    pub fn sleepers(&self) -> impl Iterator<Item = (RegionId, StoreId, Incarnation)> {
        let cells = self.process.iter().flat_map(|process| &process.cells);
        cells.filter_map(|(region, cell)| {
            let (store, run) = cell.replica.sleeps_on()?;
            Some((*region, store, Incarnation(run)))
        })
    }
}

impl Process {
    /// Every replica hears that a store began or ceased to live.
    fn tell_of(&mut self, store: StoreId) {
        let spread = spread_of(self.cells.len());
        for cell in self.cells.values_mut() {
            cell.inbox.push_back(Input::Notice(Notice::StoreChanged { store, spread }));
        }
    }
}
