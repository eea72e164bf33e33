//! Signs of life between stores, and who sleeps on which.

use std::collections::BTreeMap;

use flotilla_base::{Incarnation, Moment, RegionId, Span, StoreId};
use flotilla_multiraft::Liveness;

use super::World;
use crate::event::{Event, Task};
use crate::judge::{Place, Verdict, require, sleep};
use crate::net::Fate;

/// What a turn, a late message and a slow clock may add to the time after which a sleeper wakes.
const PATIENCE: Span = Span::from_millis(1_500);

/// A store that has looked for signs so many times without a pause should have noticed.
const PULSES_MIN: u32 = 12;

impl World {
    /// A store gives its signs of life, and judges those of others.
    pub(super) fn pulse(&mut self, store: StoreId) -> Verdict {
        self.at_store(store, |node, desk| {
            node.pulse(desk);
            Ok(())
        });
        self.pulse_later(store);
        self.check_sleepers(store)?;
        self.check_owing(store)
    }

    pub(super) fn pulse_later(&mut self, store: StoreId) {
        if let Some(run) = self.store(store).run() {
            let interval = Liveness::interval(&self.plan.groups.timing);
            self.schedule(interval, Event::Task(store, run, Task::Pulse));
        }
    }

    pub(super) fn send_sign(&mut self, from: StoreId, run: Incarnation, to: StoreId) {
        let fate = self.net.carry(from, to, self.now);
        // Whoever is not there yet hears the next one.
        let Some(receiver) = self.store(to).run() else { return };
        if let Fate::Arrives(delays) = fate {
            for delay in delays {
                self.schedule(delay, Event::Task(to, receiver, Task::Hear(from, run)));
            }
        }
    }

    pub(super) fn hear(&mut self, store: StoreId, from: StoreId, run: Incarnation) {
        self.at_store(store, |node, desk| {
            node.hear(from, run, desk);
            Ok(())
        });
    }

    /// Nobody sleeps on for long whose leader's store is gone: a region without requests would never have a leader again.
    /// A late message of a run that is over may put one to sleep again: its time begins anew.
    fn check_sleepers(&mut self, store: StoreId) -> Verdict {
        let sleepers: Vec<_> = self.store(store).sleepers().collect();
        let before = std::mem::take(&mut self.record.sleeping);
        let since = |(region, leader, run)| match before.get(&Place(store, region)) {
            Some((on, in_run, since)) if (*on, *in_run) == (leader, run) => *since,
            _ => self.now,
        };
        let asleep: BTreeMap<Place, (StoreId, Incarnation, Moment)> =
            sleepers.iter().map(|it| (Place(store, it.0), (it.1, it.2, since(*it)))).collect();
        let others = before.iter().filter(|(Place(other, _), _)| *other != store);
        self.record.sleeping = others.map(|(place, it)| (*place, *it)).chain(asleep).collect();
        let node = self.store(store);
        if node.pulses() < PULSES_MIN {
            return Ok(());
        }
        let patience = self.plan.groups.timing.gate * 2 + PATIENCE;
        for (region, leader, run) in sleepers {
            let is_current = self.store(leader).incarnation() == Some(run);
            let ended = self.record.ended.get(&leader).copied().unwrap_or(Moment(0));
            let since = self.record.sleeping.get(&Place(store, region)).map(|it| it.2);
            let is_long_ago = self.now.since(ended.max(since.unwrap_or_default())) > patience;
            let rule = "liveness: nobody sleeps on for long whose leader's store is gone";
            require(is_current || !is_long_ago, rule, || {
                format!("store {store} region {region}: sleeps on store {leader}.{run}")
            })?;
        }
        Ok(())
    }

    /// Whoever was removed is told so as soon as its store is there: nobody else would tell it.
    fn check_owing(&mut self, store: StoreId) -> Verdict {
        let owing: Vec<RegionId> = self.store(store).owing().collect();
        let owes = |Place(other, region): &Place| *other != store || owing.contains(region);
        self.record.owing.retain(|place, _| owes(place));
        let patience = self.plan.groups.timing.gate * 2 + PATIENCE;
        let is_regular = self.store(store).pulses() >= PULSES_MIN;
        for region in owing {
            let place = Place(store, region);
            let since = *self.record.owing.entry(place).or_insert(self.now);
            let is_long_ago = is_regular && self.now.since(since) > patience;
            require(!is_long_ago, sleep::OWING, || format!("{place}: sleeps since {since:?}"))?;
        }
        Ok(())
    }
}
