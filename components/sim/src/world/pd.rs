//! Where the stores and the placement driver meet.

use flotilla_base::{Span, StoreId};

use super::World;
use crate::event::Event;
use crate::judge::Verdict;
use crate::pd::{PdEvent, PdSide, ToWorld};

impl World {
    /// Something happens at or around the placement driver.
    pub(super) fn at_pd(&mut self, event: PdEvent) -> Verdict {
        if let PdEvent::Store(store, run) | PdEvent::Beat(store, run) = event
            && self.store(store).run() != Some(run)
        {
            return Ok(());
        }
        let beats = if let PdEvent::Beat(store, _) = event { Some(store) } else { None };
        let verdict = match event {
            PdEvent::Beat(store, run) => self.beat(store, run),
            PdEvent::Order(store, order) => {
                self.obey(store, *order);
                Ok(())
            }
            event => self.pd.happen(self.now, event),
        };
        self.hear_from_pd();
        if let Some(store) = beats {
            self.hear_of_the_gone(store);
        }
        verdict
    }

    /// The placement driver, to look at.
    #[must_use]
    pub const fn pd(&self) -> &PdSide {
        &self.pd
    }

    /// Does something to the placement driver now.
    pub fn to_pd(&mut self, act: impl FnOnce(&mut PdSide)) {
        self.pd.note_time(self.now);
        act(&mut self.pd);
        self.hear_from_pd();
    }

    /// Carries out what the placement driver's side wants of the world.
    pub(super) fn hear_from_pd(&mut self) {
        for given in self.pd.take_out() {
            match given {
                ToWorld::Later(delay, event) => self.schedule(delay, Event::Pd(event)),
                ToWorld::Plan(store, regions) => {
                    if self.regions.is_empty() {
                        self.found(regions);
                        self.begin();
                    }
                    self.order(store);
                }
                ToWorld::SplitIds(ticket, ids) => self.split_with(ticket, ids),
                ToWorld::Note(line) => self.trace(|| line),
            }
        }
    }

    /// The regions are known: clients and hand-overs begin.
    pub(super) fn begin(&mut self) {
        for client in 0..self.clients.len() {
            self.schedule(Span::from_millis(1), Event::Begin(client));
        }
        self.transfer_later();
        self.split_later();
        self.change_later();
    }

    pub(super) fn tell_pd_of_start(&mut self, store: StoreId) {
        let node = self.store(store);
        if let (Some(run), Some(incarnation)) = (node.run(), node.incarnation()) {
            self.pd.on_store_start(self.now, store, (run, incarnation));
            self.hear_from_pd();
        }
    }

    /// Whether the placement driver knows what is true.
    pub(super) fn check_pd(&mut self) -> Verdict {
        self.pd.note_time(self.now);
        self.pd.check_end(&self.regions)
    }
}
