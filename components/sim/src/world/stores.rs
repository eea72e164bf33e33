//! Stores that start, crash and get an older disk.

use flotilla_base::{Moment, Mutation, RegionId, Rng, Span, StoreId};

use super::{Due, World, position};
use crate::clock::LocalClock;
use crate::event::Event;
use crate::fault::{Fault, Order};
use crate::marks;
use crate::node::StoreConfig;
use crate::plan::{Fate, Fates};

impl World {
    /// Crashes a store now.
    pub fn crash(&mut self, store: StoreId) {
        let rng = &mut self.chance.disk;
        let (node, due) = &mut self.stores[position(store)];
        let Some(started_at) = node.started_at() else { return };
        let loss = node.crash(self.now, rng, &mut self.judges);
        *due = Due::default();
        self.record.ended.insert(store, self.now);
        self.judges.on_crash(store, node.disk().image().as_ref());
        self.break_streams(store);
        self.record.summary.crashes += 1;
        self.record.summary.lost_batches += loss.lost as u64;
        let is_early = self.now.since(started_at) < self.plan.groups.timing.gate;
        let all_down = self.stores.iter().all(|(node, _)| node.run().is_none());
        let marks = &mut self.judges.lookout.marks;
        marks.reach_if(loss.lost > 0, marks::PENDING_LOST);
        marks.reach_if(loss.kept > 0, marks::PENDING_KEPT);
        marks.reach_if(loss.is_torn, marks::TORN);
        marks.reach_if(is_early && started_at > Moment(1), marks::STORM);
        marks.reach_if(all_down, marks::ALL_DOWN);
        let torn = if loss.is_torn { ", the first of them in part" } else { "" };
        self.announce(format!("store {store} crashes, {} batches are gone{torn}", loss.lost));
    }

    /// Starts a store for the first time, now or when it is to join; and ends it for good when it is to be lost.
    pub(super) fn join(&mut self, store: StoreId) {
        let after = |fates: &[Fate]| fates.iter().find(|it| it.store == store).map(|it| it.after);
        let Fates { late, lost, .. } = &self.plan.topology.fates;
        let (joins, ends) = (after(late), after(lost));
        match joins {
            None => self.start(store),
            Some(after) => self.schedule(after, Event::Mend(Fault::Down(store))),
        }
        if let Some(after) = ends {
            self.schedule(after, Event::Strike(Order::Lose(store), Span::ZERO));
        }
    }

    /// Starts a store that is down, unless it is to stay down.
    pub fn start(&mut self, store: StoreId) {
        let is_gone = self.record.placed.gone.contains(&store);
        if is_gone || self.record.missing == Some(store) || self.store(store).run().is_some() {
            return;
        }
        let drift = self.plan.clocks.drift_permille;
        let rng = &mut self.chance.schedule;
        let rate = 1000 - drift + rng.below(2 * drift + 1);
        let offset = Moment(rng.below(1 << 40));
        let clock = LocalClock::new(self.now, offset, rate);
        let seed = Rng::lane(self.plan.seed, 1000 + store.get()).next();
        let (groups, disk) = (&self.plan.groups, &self.plan.disk);
        let config = StoreConfig {
            seed,
            timing: groups.timing,
            limits: groups.limits,
            memory: groups.memory,
            seeded: groups.seeded,
            rounds_max: disk.rounds_max,
            views_max: disk.snapshots.views_max,
            streams_max: disk.snapshots.streams_max,
            workers: disk.workers,
            stores: self.plan.topology.stores,
            is_stepped: disk.step_spread > Span::ZERO,
        };
        self.announce(format!("store {store} starts"));
        self.at_store(store, |node, desk| node.start(clock, config, desk));
        self.pulse_later(store);
        self.tell_pd_of_start(store);
        if !self.pd.drives() {
            self.order(store);
        }
    }

    /// The order to make all regions goes to a store.
    pub(super) fn order(&mut self, store: StoreId) {
        let regions: Vec<RegionId> = self.record.planned.iter().map(|region| region.id).collect();
        for region in regions {
            let spread = self.plan.topology.bootstrap_spread;
            let delay = Span(self.chance.schedule.below(spread.0 + 1));
            self.schedule(delay, Event::Bootstrap(store, region));
        }
    }

    /// Keeps a copy of what a store has durably.
    pub fn copy_disk(&mut self, store: StoreId) {
        self.slot(store).0.disk_mut().copy();
    }

    /// Stops a store, writes past it to its disk, and starts it, as a disk does that loses a record, or gives one back.
    pub fn tamper(&mut self, store: StoreId, batch: Vec<Mutation>) {
        self.crash(store);
        let disk = self.slot(store).0.disk_mut();
        let written = disk.write(batch).and_then(|number| disk.sync(number));
        assert_eq!(written, Ok(()), "a store that does not run has a sound disk");
        self.judges.records.pardon(store);
        self.announce(format!("store {store} finds other records on its disk"));
        self.start(store);
    }

    /// The disk of a store, which may run, loses what is staged of snapshots.
    pub fn lose_stages(&mut self, store: StoreId) {
        self.slot(store).0.disk_mut().stages.lose();
        self.judges.records.pardon(store);
        self.announce(format!("store {store} loses what it has staged"));
    }

    /// Stops a store and starts it with the last copy of its disk, as somebody does who puts an old data
    /// directory back. From now on it may have forgotten what it promised.
    pub fn put_back_disk(&mut self, store: StoreId) {
        self.crash(store);
        self.slot(store).0.disk_mut().put_back();
        self.judges.records.pardon(store);
        self.announce(format!("store {store} gets an old disk"));
        self.start(store);
    }
}
