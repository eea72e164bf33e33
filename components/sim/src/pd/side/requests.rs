//! Requests and answers on their way, and what their askers make of them.

use flotilla_base::{PeerId, Span, StoreId};
use flotilla_pdcore::Denied;

use super::{Asked, Asker, PdSide, ToWorld, index};
use crate::event::Run;
use crate::judge::{Verdict, require};
use crate::net::Fate;
use crate::pd::event::{PdAnswer, PdAsk, PdEvent, PdRequest, PdTicket};
use crate::pd::marks::PdMark;
use crate::pd::plan::Origin;
use crate::pd::stores::{Agent, Phase, to_world};

/// Whom a client talks to, for the network: no cut between clients and stores is for a member.
const ANY_MEMBER: StoreId = StoreId(0);

impl PdSide {
    /// An answer leaves a member.
    pub(super) fn reply(&mut self, ticket: PdTicket, answer: PdAnswer) {
        let Some(asked) = self.around.asked.get(index(ticket)).copied() else { return };
        let verdict = match &answer {
            PdAnswer::Ids(batch) => {
                self.marks.note(PdMark::Ids);
                self.judges.ids.on_batch(*batch, asked.ids)
            }
            PdAnswer::Done if asked.is_registration => {
                self.judges.incarnations.on_registered(ticket)
            }
            _ => Ok(()),
        };
        self.judges.note(verdict);
        if asked.who == Asker::Nobody {
            return;
        }
        if let Fate::Arrives(delays) = self.net.carry_client(ANY_MEMBER) {
            for delay in delays {
                self.later(delay, PdEvent::Answer(ticket, Box::new(answer.clone())));
            }
        }
    }

    pub(super) fn request(&mut self, member: PeerId, request: PdRequest) {
        let ticket = request.ticket;
        let mut is_heard = false;
        self.at_member(member, |node, sight| {
            is_heard = node.request(request, sight).is_some();
            Ok(())
        });
        if !is_heard {
            self.reply(ticket, PdAnswer::Down);
        }
    }

    /// A request leaves whoever asks.
    pub(super) fn post(&mut self, who: Asker, target: PeerId, ask: PdAsk) -> PdTicket {
        let ticket = PdTicket(self.around.asked.len() as u64);
        let ids = match &ask {
            PdAsk::Ids(count) => *count,
            // One for each region, and one for each of its peers.
            PdAsk::SplitIds(region, children) => {
                u32::try_from(region.peers.len() + 1).unwrap_or(0) * *children
            }
            _ => 0,
        };
        let is_registration = matches!(ask, PdAsk::Register(_));
        self.around.asked.push(Asked { who, ids, is_registration });
        let request = Box::new(PdRequest { ticket, ask });
        if let Fate::Arrives(delays) = self.net.carry_client(ANY_MEMBER) {
            for delay in delays {
                self.later(delay, PdEvent::Request(target, request.clone()));
            }
        }
        if who != Asker::Nobody {
            self.later(self.settings.plan.patience, PdEvent::Impatient(ticket));
        }
        ticket
    }

    pub(super) fn answer(&mut self, ticket: PdTicket, answer: PdAnswer) -> Verdict {
        let Some(asked) = self.around.asked.get(index(ticket)).copied() else { return Ok(()) };
        match asked.who {
            Asker::Nobody => {}
            Asker::Split => {
                if let PdAnswer::Ids(ids) = answer {
                    self.out.push(ToWorld::SplitIds(ticket, ids));
                }
            }
            Asker::Client(number) => {
                let client = &mut self.around.clients[number];
                if client.ticket == Some(ticket) {
                    let pause = client.on_answer(&self.settings.plan, &answer);
                    self.later(pause, PdEvent::Begin(number));
                }
            }
            Asker::Store(place, run) => self.tell_store(ticket, place, run, answer)?,
        }
        Ok(())
    }

    pub(super) fn tell_store(
        &mut self,
        ticket: PdTicket,
        place: StoreId,
        run: Run,
        answer: PdAnswer,
    ) -> Verdict {
        let Some(agent) = self.agent(place).filter(|it| it.run == run && it.ticket == Some(ticket))
        else {
            return Ok(());
        };
        agent.ticket = None;
        let is_lost = agent.phase == Phase::WaitsForPlan
            && matches!(&answer, PdAnswer::Denied(Denied::UnknownStore(_)));
        require(!is_lost, "a registration that was confirmed is never lost", || {
            format!("store {place}, run {}", run.0)
        })?;
        if matches!(answer, PdAnswer::Denied(_) | PdAnswer::Down) {
            let target = PeerId(1 + agent.target.get() % (self.slots.len() as u64));
            if let Some(agent) = self.agent(place) {
                agent.target = target;
            }
        }
        let origin = self.settings.plan.origin;
        let Some(agent) = self.agent(place) else { return Ok(()) };
        let planned = agent.on_answer(answer, origin);
        let pause = agent.pause(Span::from_millis(100));
        let next = match agent.phase {
            Phase::Reports => PdEvent::Beat(place, run),
            Phase::Registers | Phase::WaitsForPlan => PdEvent::Store(place, run),
        };
        self.later(pause, next);
        let Some(planned) = planned else { return Ok(()) };
        let regions = to_world(&planned, &self.around.agents);
        let known = self.around.plan.get_or_insert_with(|| regions.clone());
        require(*known == regions, "the first regions are planned once", || {
            format!("{known:?}, then {regions:?}")
        })?;
        self.out.push(ToWorld::Plan(place, regions));
        Ok(())
    }

    pub(super) fn agent(&mut self, place: StoreId) -> Option<&mut Agent> {
        self.around.agents.iter_mut().find(|agent| agent.place == place)
    }

    /// A store goes on with its registration.
    pub(super) fn go_on(&mut self, place: StoreId, run: Run) {
        let Some(agent) = self.agent(place).filter(|it| it.run == run && it.ticket.is_none())
        else {
            return;
        };
        let target = agent.target;
        if let Some(ask) = agent.ask() {
            let ticket = self.post(Asker::Store(place, run), target, ask);
            if let Some(agent) = self.agent(place) {
                agent.ticket = Some(ticket);
            }
        }
    }

    pub(super) fn ask(&mut self, number: usize) {
        let key = match self.settings.plan.origin {
            Origin::Paper => self.around.paper.key(),
            Origin::Plan | Origin::World => crate::client::key_name(self.chance.schedule.below(40)),
        };
        let client = &mut self.around.clients[number];
        let target = client.target;
        if client.ticket.is_none()
            && let Some(ask) = client.ask(&self.settings.plan, key.clone())
        {
            let ask = match (self.settings.plan.origin, ask) {
                (Origin::Paper, PdAsk::Ids(count @ 1..=3)) => self.around.paper.ask(&key, count),
                (_, ask) => ask,
            };
            let ticket = self.post(Asker::Client(number), target, ask);
            self.around.clients[number].ticket = Some(ticket);
        }
    }

    pub(super) fn lose_patience(&mut self, ticket: PdTicket) {
        let Some(asked) = self.around.asked.get(index(ticket)).copied() else { return };
        let members = self.slots.len() as u64;
        match asked.who {
            Asker::Nobody | Asker::Split => {}
            Asker::Client(number) => {
                let client = &mut self.around.clients[number];
                if client.ticket == Some(ticket) {
                    let pause = client.turn_elsewhere(&self.settings.plan);
                    self.later(pause, PdEvent::Begin(number));
                }
            }
            Asker::Store(place, run) => {
                let agent = self.agent(place);
                if let Some(agent) = agent.filter(|it| it.ticket == Some(ticket)) {
                    agent.ticket = None;
                    agent.target = PeerId(1 + agent.target.get() % members);
                    self.later(Span::from_millis(1), PdEvent::Store(place, run));
                }
            }
        }
    }
}
