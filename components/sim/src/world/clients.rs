//! What clients ask, what they are told, and what that proves.

use flotilla_base::{Region, StoreId};
use flotilla_multiraft::Reply;

use super::{Attempt, World, number};
use crate::client::Next;
use crate::event::{Answer, Event, Request, Ticket};
use crate::hands::complete;
use crate::judge::applied::ticket_of;
use crate::judge::tickets::Outcome;
use crate::judge::{Place, Verdict, state};
use crate::marks;
use crate::net::Fate;
use crate::reads::ReadKind;

impl World {
    pub(super) fn request(&mut self, store: StoreId, request: Request) {
        let ticket = request.ticket;
        let mut is_heard = false;
        self.at_store(store, |node, desk| {
            is_heard = node.request(request, desk).is_some();
            Ok(())
        });
        if !is_heard {
            self.tell(store, ticket, Answer::Refused);
        }
    }

    /// A confirmed read looks at the data.
    pub(super) fn read(
        &mut self,
        store: StoreId,
        ticket: Ticket,
        index: flotilla_base::Index,
    ) -> Verdict {
        let Attempt { key, region, version, .. } = self.attempts[number(ticket)].clone();
        let view = self.store(store).read(region, &key, index);
        let place = Place(store, region);
        // Behind the view: what it shows may be another region's by now.
        if let Err(refusal) = self.store(store).owns(region, version, &key) {
            let reply = Reply::Failed(refusal);
            complete(&mut self.judges, ticket, &reply);
            self.tell(store, ticket, Answer::Reply(reply));
            return Ok(());
        }
        // A peer that was destroyed has none.
        let (value, applied) = view?;
        state::check_read(place, &key, applied, value.as_ref(), &self.judges.applied)?;
        self.judges.tickets.on_answer(ticket, Outcome::Done)?;
        self.tell(store, ticket, Answer::Value(value));
        Ok(())
    }

    pub(super) fn tell(&mut self, store: StoreId, ticket: Ticket, answer: Answer) {
        if let Fate::Arrives(delays) = self.net.carry_client(store) {
            for delay in delays {
                self.schedule(delay, Event::Answer(ticket, answer.clone()));
            }
        }
    }

    /// An answer reaches its client. One that has given up hears it all the same: what it says is true.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) -> Verdict {
        self.judges.history.on_answer(ticket, &answer, self.now);
        match &answer {
            Answer::Reply(Reply::GuardFailed) => {
                self.judges.lookout.reach(marks::SWAP_REFUSED);
            }
            Answer::Reply(Reply::Written) => {
                let position = self.judges.applied.position(ticket);
                self.judges.reads.register.on_written(ticket, position)?;
            }
            Answer::Value(value) => {
                let writer = value.as_ref().and_then(|value| ticket_of(value));
                let position = writer.and_then(|writer| self.judges.applied.position(writer));
                self.judges.reads.register.on_read(ticket, position.unwrap_or_default())?;
            }
            Answer::Reply(_) | Answer::Refused => {}
        }
        let client = self.attempts[number(ticket)].client;
        let Some(operation) = self.clients[client].waits_for(ticket) else { return Ok(()) };
        let key = operation.key.clone();
        let Some(region) = self.known_to(client, &key) else { return Ok(()) };
        let next = self.clients[client].on_answer(&region, &answer);
        self.follow(client, next);
        Ok(())
    }

    pub(super) fn ask(&mut self, client: usize) {
        let ticket = Ticket(self.attempts.len() as u64);
        let Some(operation) = self.clients[client].operation() else { return };
        operation.ticket = Some(ticket);
        let (key, is_read) = (operation.key.clone(), operation.is_read);
        let Some(region) = self.known_to(client, &key) else { return };
        let version = region.epoch.version;
        self.attempts.push(Attempt { client, key: key.clone(), region: region.id, version });
        *self.record.requests.entry(region.id).or_default() += 1;
        self.judges.tickets.on_attempt(ticket);
        self.judges.reads.register.on_begin(ticket, key.clone());
        self.judges.history.on_attempt(client, ticket, &key, is_read, self.now);
        let asking = &mut self.clients[client];
        let value = (!is_read).then(|| asking.value(ticket));
        let over = if is_read { None } else { asking.over(&key) };
        let mut store = asking.target(&region);
        let kind = self.chance.reads.kind();
        if is_read && kind == ReadKind::Replica {
            store = self.chance.reads.replica(&region);
            self.record.summary.replica_reads += 1;
        }
        let request =
            Box::new(Request { ticket, region: region.id, version, key, value, over, kind });
        if let Fate::Arrives(delays) = self.net.carry_client(store) {
            for delay in delays {
                self.schedule(delay, Event::Request(store, request.clone()));
            }
        }
        self.schedule(self.plan.load.patience, Event::Impatient(client, ticket));
    }

    /// The region of a key, as a client knows it.
    fn known_to(&mut self, client: usize, key: &[u8]) -> Option<Region> {
        self.clients[client].region_of(key, &self.regions).cloned()
    }

    pub(super) fn lose_patience(&mut self, client: usize, ticket: Ticket) {
        let Some(operation) = self.clients[client].waits_for(ticket) else { return };
        let key = operation.key.clone();
        let Some(region) = self.known_to(client, &key) else { return };
        let next = self.clients[client].on_silence(&region);
        self.follow(client, next);
    }

    pub(super) fn follow(&mut self, client: usize, next: Next) {
        let delay = match next {
            Next::Done(delay) => {
                self.record.summary.operations += 1;
                let verdict = self.judges.costs.on_served(self.now);
                self.judges.note(verdict);
                delay
            }
            Next::Again(delay) => delay,
        };
        self.schedule(delay, Event::Begin(client));
    }
}
