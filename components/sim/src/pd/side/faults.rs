//! What breaks at members and is mended; members that start and crash.

use flotilla_base::{Moment, PeerId, Span};
use flotilla_pdcore::CoreConfig;

use super::{PdSide, Settings};
use crate::clock::LocalClock;
use crate::pd::clients::PdClient;
use crate::pd::event::PdEvent;
use crate::pd::faults::{PdFault, PdOrder};
use crate::pd::node::fresh_cluster;

/// What a client waits for at least when nothing is broken.
const LAST_PATIENCE: Span = Span::from_millis(10_000);

impl PdSide {
    /// Ends all faults and starts every member that is down.
    pub fn heal(&mut self, now: Moment) {
        self.now = now;
        self.is_healed = true;
        self.net.heal();
        self.settings.disk.stall_permille = 0;
        self.settings.plan.patience = self.settings.plan.patience.max(LAST_PATIENCE);
        self.around.clients.iter_mut().for_each(PdClient::wind_down);
        for member in self.members() {
            if let Some(slot) = self.slots.get_mut(&member) {
                slot.paused_until = Moment(0);
                slot.node.spare();
            }
            self.mend(PdFault::Hung(member));
            self.mend(PdFault::Down(member));
        }
    }

    pub(super) fn next_fault(&mut self) {
        if self.is_healed {
            return;
        }
        if let Some((order, length)) = self.chance.nemesis.draw() {
            self.note(|| format!("pd: {order:?} for {length}"));
            match order {
                PdOrder::Crash(members, 0) => {
                    for member in members {
                        self.crash(member);
                        self.later(length, PdEvent::Mend(PdFault::Down(member)));
                    }
                }
                PdOrder::Crash(members, steps) => {
                    for member in members {
                        self.slots.entry(member).and_modify(|slot| slot.node.doom(steps));
                    }
                }
                PdOrder::Pause(member) => {
                    let until = self.now + length;
                    self.slots.entry(member).and_modify(|slot| slot.paused_until = until);
                }
                PdOrder::Hang(member) => {
                    self.hang(member);
                    self.later(length, PdEvent::Mend(PdFault::Hung(member)));
                }
                PdOrder::Cut(directions) => {
                    for (from, to) in &directions {
                        self.net.cut(*from, *to);
                    }
                    self.later(length, PdEvent::Mend(PdFault::Cut(directions)));
                }
                PdOrder::Clock(member, by_ms, crashes) => {
                    if crashes {
                        self.crash(member);
                        self.later(length, PdEvent::Mend(PdFault::Down(member)));
                    }
                    self.set_clock(member, by_ms);
                }
            }
        }
        let interval = self.chance.nemesis.interval();
        self.later(interval, PdEvent::NextFault);
    }

    /// Ends a fault.
    pub fn mend(&mut self, fault: PdFault) {
        match fault {
            PdFault::Down(member) => {
                if self.slots.get(&member).is_some_and(|slot| slot.node.run().is_none()) {
                    self.start(member);
                }
            }
            PdFault::Hung(member) => {
                self.slots.entry(member).and_modify(|slot| slot.is_hung = false);
                self.set_to_work(member);
            }
            PdFault::Cut(directions) => {
                for (from, to) in directions {
                    self.net.open(from, to);
                }
            }
        }
    }

    /// From now on nothing that a member writes becomes durable, until its disk is mended.
    pub fn hang(&mut self, member: PeerId) {
        self.slots.entry(member).and_modify(|slot| slot.is_hung = true);
    }

    /// Sets the wall clock of a member forwards or back, also while it is down.
    pub fn set_clock(&mut self, member: PeerId, by_ms: i64) {
        self.slots.entry(member).and_modify(|slot| slot.node.wall_error_ms += by_ms);
    }

    /// Crashes a member now.
    pub fn crash(&mut self, member: PeerId) {
        let Some(slot) = self.slots.get_mut(&member) else { return };
        if slot.node.run().is_none() {
            return;
        }
        let lost = slot.node.crash(&mut self.chance.disk, &mut self.marks);
        self.judges.logs.on_crash(flotilla_base::StoreId(member.get()), slot.node.image());
        slot.is_turn_due = false;
        slot.sync = None;
        self.judges.leads.on_crash(member);
        self.note(|| format!("pd {member} crashes, {lost} batches are gone"));
    }

    /// Starts a member that is down.
    pub fn start(&mut self, member: PeerId) {
        let Settings { plan, timing, limits, max_replicas, seeded, .. } = &self.settings;
        let rng = &mut self.chance.schedule;
        let drift = plan.drift_permille;
        let rate = 1000 - drift + rng.below(2 * drift + 1);
        let clock = LocalClock::new(self.now, Moment(rng.below(1 << 40)), rate);
        let config = CoreConfig {
            members: self.slots.keys().copied().collect(),
            member,
            max_replicas: *max_replicas,
            fresh_cluster: fresh_cluster(rng),
            run: 0,
            timing: *timing,
            limits: *limits,
            log_entries_kept: plan.log_entries_kept,
            seeded: *seeded,
        };
        self.note(|| format!("pd {member} starts"));
        self.at_member(member, |node, sight| node.start(clock, config, sight));
    }
}
