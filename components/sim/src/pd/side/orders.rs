//! What the placement driver decides and people wish for, on its way to those who carry it out.

use flotilla_base::{Moment, PeerId, Region, Span, StoreId};
use flotilla_pdcore::{Decided, Leading};
use flotilla_placement::{Operator, OperatorEvent, Order, StoreState};

use super::{Asker, PdSide};
use crate::net::Fate;
use crate::pd::event::{PdAsk, PdEvent, PdTicket, Wish};
use crate::pd::judge::orders::Done;
use crate::pd::stores::{order_to_world, place_of};

/// A wish is repeated so often until it is recorded.
const AGAIN: Span = Span::from_millis(1_000);

impl PdSide {
    /// Whether its orders are carried out.
    #[must_use]
    pub fn is_obeyed(&self) -> bool {
        !self.slots.is_empty() && self.settings.fates.are_orders_obeyed
    }

    /// Something becomes of an operator. Nobody hears of it where orders are lost.
    pub(super) fn follow(&mut self, event: OperatorEvent) {
        if !self.is_obeyed() {
            return;
        }
        match event {
            OperatorEvent::Begun(operator) => self.note(|| said(&operator, "begins")),
            OperatorEvent::Ended(ended) => {
                self.note(|| said(&ended.operator, &ended.ending.to_string()));
            }
            OperatorEvent::Ordered(order) => self.hand_over(order),
        }
    }

    /// An order leaves a member for a leader.
    fn hand_over(&mut self, order: Order) {
        let Some(order) = order_to_world(order, &self.around.agents) else { return };
        let store = order.leader.store;
        if let Fate::Arrives(delays) = self.net.carry_client(store) {
            for delay in delays {
                self.later(delay, PdEvent::Order(store, Box::new(order.clone())));
            }
        }
    }

    /// The leader of a region, on a store, asks for the ids of a split into itself and so many more.
    pub fn ask_split(
        &mut self,
        now: Moment,
        store: StoreId,
        region: Region,
        children: usize,
    ) -> PdTicket {
        self.now = now;
        let region = Box::new(self.in_words_of_pd(region));
        let target = self.agent(store).map_or(PeerId(1), |agent| agent.target);
        let ask = PdAsk::SplitIds(region, u32::try_from(children).unwrap_or(0));
        self.post(Asker::Split, target, ask)
    }

    /// Somebody asks for what he wishes, unless it is recorded.
    pub(super) fn wish(&mut self, wish: Wish) {
        let id = match &wish {
            Wish::Setting(..) => None,
            Wish::Leave(place, _) => self.agent(*place).and_then(|agent| agent.id),
        };
        if self.sight().is_some_and(|sight| is_recorded(&sight, &wish, id)) {
            self.note(|| format!("{wish:?} is recorded"));
            return;
        }
        let ask = match (&wish, id) {
            (Wish::Setting(name, value), _) => {
                let settings = vec![((*name).to_owned(), value.clone())];
                Some(PdAsk::Decide(Box::new(Decided::Settings(settings))))
            }
            (Wish::Leave(_, leave), Some(id)) => Some(PdAsk::Leave(id, *leave)),
            (Wish::Leave(..), None) => None,
        };
        let members: Vec<PeerId> = self.members();
        for (member, ask) in members.into_iter().zip(std::iter::repeat(ask)) {
            if let Some(ask) = ask {
                self.post(Asker::Nobody, member, ask);
            }
        }
        self.later(AGAIN, PdEvent::Wish(wish));
    }

    /// What a member sees that leads.
    #[must_use]
    pub fn sight(&self) -> Option<Leading<'_>> {
        self.slots.values().find_map(|slot| slot.node.leading(self.now))
    }

    /// The places of the stores that will never run again, by the word of a member that leads.
    #[must_use]
    pub fn buried(&self) -> Vec<StoreId> {
        let Some(sight) = self.sight() else { return Vec::new() };
        let is_gone = |state: StoreState| state == StoreState::Tombstone;
        let gone = sight.state().stores().values().filter(|store| is_gone(store.state));
        gone.filter_map(|store| place_of(store.id, &self.around.agents)).collect()
    }

    /// How much was done to regions.
    #[must_use]
    pub const fn done(&self) -> Done {
        self.judges.orders.done()
    }

    /// When something was last begun or ended.
    #[must_use]
    pub const fn last_decision(&self) -> Moment {
        self.judges.orders.last()
    }

    /// Nothing happens to stores from now on.
    pub const fn on_calm(&mut self) {
        self.judges.orders.on_calm(self.now);
    }
}

fn said(operator: &Operator, what: &str) -> String {
    let (id, by, plan) = (operator.id.0, operator.asked_by, &operator.plan);
    format!("operator {id} of {by}: {} of region {} {what}", plan.kind.name(), plan.region)
}

fn is_recorded(sight: &Leading<'_>, wish: &Wish, id: Option<StoreId>) -> bool {
    match wish {
        Wish::Setting(name, value) => {
            let settings = sight.state().policy().list();
            settings.iter().any(|(known, is)| known == name && is == value)
        }
        Wish::Leave(..) => {
            let record = id.and_then(|id| sight.state().stores().get(&id));
            record.is_some_and(|record| record.state != StoreState::Up)
        }
    }
}
