//! What breaks and is mended.

use flotilla_base::{RegionId, Span, StoreId};
use flotilla_raftgroup::Role;

use super::{FIRST_REGION, World};
use crate::client::SimClient;
use crate::event::Event;
use crate::fault::{Fault, Order, Strike, Targets};
use crate::hands::Out;
use crate::marks;

/// What a client waits for at least when nothing is broken: requests that it gave up before are still
/// being written, and the slowest disks take long.
const LAST_PATIENCE: Span = Span::from_millis(30_000);

impl World {
    /// Ends all faults and starts every store that is down.
    pub fn heal(&mut self) {
        self.record.is_healed = true;
        let verdict = self.judges.costs.on_served(self.now);
        self.judges.note(verdict);
        self.judges.costs.close();
        self.net.heal();
        self.plan.disk.stall_permille = 0;
        self.plan.load.patience = self.plan.load.patience.max(LAST_PATIENCE);
        self.clients.iter_mut().for_each(SimClient::wind_down);
        self.pd.heal(self.now);
        self.hear_from_pd();
        self.announce("all faults are mended".to_owned());
        for store in self.store_ids() {
            let (node, due) = self.slot(store);
            due.paused_until = flotilla_base::Moment(0);
            due.is_disk_hung = false;
            node.spare();
            self.set_to_work(store);
            self.start(store);
        }
    }

    pub(super) fn store_ids(&self) -> impl Iterator<Item = StoreId> + use<> {
        (1..=self.plan.topology.stores).map(StoreId)
    }

    /// From now on nothing that a store writes becomes durable, until it crashes or is mended.
    pub fn hang_disk(&mut self, store: StoreId) {
        self.due(store).is_disk_hung = true;
        self.announce(format!("the disk of store {store} hangs"));
    }

    /// The disk of a store takes no writes any more, or does again.
    pub fn fill_disk(&mut self, store: StoreId, is_full: bool) {
        self.slot(store).0.disk_mut().set_full(is_full);
        let has = if is_full { "is full" } else { "has room" };
        self.announce(format!("the disk of store {store} {has}"));
    }

    /// The next sync of a store fails.
    pub fn fail_sync(&mut self, store: StoreId) {
        self.slot(store).0.disk_mut().doom();
        self.announce(format!("the next sync of store {store} fails"));
    }

    /// Cuts these directions, from first to second.
    pub fn cut(&mut self, directions: &[(StoreId, StoreId)]) {
        for (from, to) in directions {
            self.net.cut(*from, *to);
        }
        self.announce(format!("cut {}", arrows(directions)));
    }

    /// Opens these directions.
    pub fn open(&mut self, directions: &[(StoreId, StoreId)]) {
        for (from, to) in directions {
            self.net.open(*from, *to);
        }
        self.announce(format!("open {}", arrows(directions)));
    }

    /// Cuts a store off from all clients, or lets them reach it again.
    pub fn cut_clients(&mut self, store: StoreId, is_cut: bool) {
        self.net.cut_clients(store, is_cut);
        let can = if is_cut { "no client reaches" } else { "clients reach" };
        self.announce(format!("{can} store {store}"));
    }

    /// Lets a store stand still.
    pub fn pause(&mut self, store: StoreId, length: Span) {
        self.due(store).paused_until = self.now + length;
        let is_leader = self.leaders().contains(&store);
        let is_long = length > self.plan.groups.timing.lease;
        self.judges.lookout.marks.reach_if(is_leader && is_long, marks::LEADER_PAUSED);
        self.announce(format!("store {store} stands still for {length}"));
    }

    /// Moves the wall clock of a store.
    pub fn jump_wall(&mut self, store: StoreId, millis: i64) {
        self.slot(store).0.wall.jump(millis);
        self.announce(format!("the wall clock of store {store} jumps by {millis} ms"));
    }

    pub(super) fn bootstrap(&mut self, store: StoreId, region: RegionId) {
        let Some(region) = self.record.planned.iter().find(|it| it.id == region).cloned() else {
            return;
        };
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
        let targets = Targets { leaders: self.leaders(), hottest: self.hottest() };
        let number = self.chance.nemesis.next_number();
        let strikes = self.chance.nemesis.draw(&targets);
        self.trace(|| {
            let left_out = if strikes.is_empty() { " is left out" } else { "" };
            format!("  fault {number}{left_out}")
        });
        for Strike { after, order, length } in strikes {
            self.schedule(after, Event::Strike(order, length));
        }
        let interval = self.chance.nemesis.interval();
        self.schedule(interval, Event::NextFault);
    }

    fn leaders(&self) -> Vec<StoreId> {
        let leaders = self.regions.iter().filter_map(|region| self.leader(region.id));
        leaders.map(|(store, _)| store).collect()
    }

    fn hottest(&self) -> Option<StoreId> {
        let hottest = self.record.requests.iter().max_by_key(|(_, count)| **count);
        hottest.and_then(|(region, _)| self.leader(*region)).map(|(store, _)| store)
    }

    pub(super) fn strike(&mut self, order: Order, length: Span) {
        // Whoever is lost is no fault that is mended.
        if self.record.is_healed && !matches!(order, Order::Lose(_)) {
            return;
        }
        let mended = match order {
            Order::Cut(directions) => {
                self.cut(&directions);
                Some(Fault::Cut(directions))
            }
            Order::Clog(store) => {
                self.net.clog(store, self.now + length);
                self.announce(format!("store {store} is clogged for {length}"));
                None
            }
            Order::ClientCut(store) => {
                self.cut_clients(store, true);
                Some(Fault::ClientCut(store))
            }
            Order::Crash(store, 0) => {
                self.crash(store);
                Some(Fault::Down(store))
            }
            Order::Crash(store, steps) => {
                self.slot(store).0.doom(steps);
                None
            }
            Order::Lose(store) => {
                self.lose(store);
                None
            }
            Order::Pause(store) => {
                self.pause(store, length);
                None
            }
            Order::Hang(store) => {
                self.hang_disk(store);
                Some(Fault::Hang(store))
            }
            Order::FailSync(store) => {
                self.fail_sync(store);
                None
            }
            Order::Fill(store) => {
                self.fill_disk(store, true);
                Some(Fault::Full(store))
            }
            Order::JumpWall(store, millis) => {
                self.jump_wall(store, millis);
                None
            }
        };
        if let Some(fault) = mended {
            self.schedule(length, Event::Mend(fault));
        }
    }

    /// Something happened at a store that a fault may wait for.
    pub(super) fn spring(&mut self, store: StoreId, given: &Out) {
        let ambush = &mut self.chance.ambush;
        let strike = match given {
            Out::Role(FIRST_REGION, change) if change.role == Role::Leader => {
                ambush.on_leader(store)
            }
            Out::Applies(FIRST_REGION) => ambush.on_apply(store),
            _ => None,
        };
        if let Some(strike) = strike {
            self.strike_later(strike);
        }
    }

    /// Something breaks after a while, or before anything else happens.
    pub(super) fn strike_later(&mut self, strike: Strike) {
        let Strike { after, order, length } = strike;
        if after == Span::ZERO {
            self.strike(order, length);
        } else {
            self.schedule(after, Event::Strike(order, length));
        }
    }

    pub(super) fn restart_later(&mut self, store: StoreId) {
        let length = self.chance.nemesis.length();
        self.schedule(length, Event::Mend(Fault::Down(store)));
    }

    pub(super) fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::Down(store) => self.start(store),
            // Everything else was mended at once, and the second phase may have cut something itself.
            _ if self.record.is_healed => {}
            Fault::Cut(directions) => self.open(&directions),
            Fault::ClientCut(store) => self.cut_clients(store, false),
            Fault::Hang(store) => {
                self.due(store).is_disk_hung = false;
                self.announce(format!("the disk of store {store} goes on"));
                self.set_to_work(store);
            }
            Fault::Full(store) => self.fill_disk(store, false),
        }
    }
}

fn arrows(directions: &[(StoreId, StoreId)]) -> String {
    let arrows: Vec<String> = directions.iter().map(|(from, to)| format!("{from}->{to}")).collect();
    arrows.join(" ")
}
