//! What breaks and is mended; stores that start and crash.

use flotilla_base::{Moment, RegionId, Rng, Span, StoreId};

use super::{Due, LAST_PATIENCE, World, position};
use crate::client::SimClient;
use crate::clock::LocalClock;
use crate::event::Event;
use crate::fault::{Fault, Order};
use crate::node::ReplicaConfigSeed;

impl World {
    /// Ends all faults and starts every store that is down.
    pub fn heal(&mut self) {
        self.record.is_healed = true;
        self.net.heal();
        self.plan.disk.stall_permille = 0;
        self.plan.load.patience = self.plan.load.patience.max(LAST_PATIENCE);
        self.clients.iter_mut().for_each(SimClient::wind_down);
        self.pd.heal(self.now);
        self.hear_from_pd();
        for id in 1..=self.plan.topology.stores {
            let (node, due) = self.slot(StoreId(id));
            due.paused_until = Moment(0);
            node.spare();
            if node.run().is_none() {
                self.start(StoreId(id));
            }
        }
        self.trace(|| "all faults are mended".to_owned());
    }

    /// Crashes a store now.
    pub fn crash(&mut self, store: StoreId) {
        let rng = &mut self.chance.disk;
        let (node, due) = &mut self.stores[position(store)];
        if node.run().is_none() {
            return;
        }
        let lost = node.crash(rng) as u64;
        *due = Due::default();
        self.judges.lease.on_crash(store);
        self.record.summary.crashes += 1;
        self.record.summary.lost_batches += lost;
        self.trace(|| format!("store {store} crashes, {lost} batches are gone"));
    }

    /// Starts a store that is down.
    pub fn start(&mut self, store: StoreId) {
        let drift = self.plan.topology.drift_permille;
        let rng = &mut self.chance.schedule;
        let rate = 1000 - drift + rng.below(2 * drift + 1);
        let offset = Moment(rng.below(1 << 40));
        let clock = LocalClock::new(self.now, offset, rate);
        let seed = Rng::lane(self.plan.seed, 1000 + store.get()).next();
        let (timing, limits) = (self.plan.timing, self.plan.limits);
        let config = ReplicaConfigSeed { seed, timing, limits };
        self.trace(|| format!("store {store} starts"));
        self.at_store(store, |node, desk| node.start(clock, config, desk));
        self.tell_pd_of_start(store);
        if !self.pd.drives() {
            self.order(store);
        }
    }

    /// The order to make all regions goes to a store.
    pub(super) fn order(&mut self, store: StoreId) {
        let regions: Vec<RegionId> = self.regions.iter().map(|region| region.id).collect();
        for region in regions {
            let spread = self.plan.topology.bootstrap_spread;
            let delay = Span(self.chance.schedule.below(spread.0 + 1));
            self.schedule(delay, Event::Bootstrap(store, region));
        }
    }

    /// From now on nothing that a store writes becomes durable, until it crashes.
    pub fn hang_disk(&mut self, store: StoreId) {
        self.due(store).is_disk_hung = true;
        self.trace(|| format!("the disk of store {store} hangs"));
    }

    /// Cuts these directions, from first to second.
    pub fn cut(&mut self, directions: &[(StoreId, StoreId)]) {
        for (from, to) in directions {
            self.net.cut(*from, *to);
        }
        self.trace(|| format!("cut {directions:?}"));
    }

    /// Opens these directions.
    pub fn open(&mut self, directions: &[(StoreId, StoreId)]) {
        for (from, to) in directions {
            self.net.open(*from, *to);
        }
        self.trace(|| format!("open {directions:?}"));
    }

    pub(super) fn bootstrap(&mut self, store: StoreId, region: RegionId) {
        let Some(region) = self.regions.iter().find(|it| it.id == region).cloned() else { return };
        let leads = region.peers.first().is_some_and(|peer| peer.store == store);
        self.at_store(store, |node, desk| {
            node.bootstrap(&region, leads, desk);
            Ok(())
        });
    }

    pub(super) fn next_fault(&mut self) {
        if self.record.is_healed {
            return;
        }
        let leaders = self.regions.iter().filter_map(|region| self.leader(region.id));
        let leaders: Vec<StoreId> = leaders.map(|(store, _)| store).collect();
        if let Some((order, length)) = self.chance.nemesis.draw(&leaders) {
            self.trace(|| format!("{order:?} for {length}"));
            match order {
                Order::Cut(directions) => {
                    self.cut(&directions);
                    self.schedule(length, Event::Mend(Fault::Cut(directions)));
                }
                Order::Crash(stores, 0) => {
                    for store in stores {
                        self.crash(store);
                        self.restart_later(store);
                    }
                }
                Order::Crash(stores, steps) => {
                    for store in stores {
                        self.slot(store).0.doom(steps);
                    }
                }
                Order::Pause(store) => self.due(store).paused_until = self.now + length,
            }
        }
        let interval = self.chance.nemesis.interval();
        self.schedule(interval, Event::NextFault);
    }

    pub(super) fn restart_later(&mut self, store: StoreId) {
        let length = self.chance.nemesis.length();
        self.schedule(length, Event::Mend(Fault::Down(store)));
    }

    pub(super) fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::Cut(directions) => self.open(&directions),
            Fault::Down(store) => {
                if self.store(store).run().is_none() {
                    self.start(store);
                }
            }
        }
    }
}
