//! What clients ask, what they are told, and what that proves.

use flotilla_base::{Index, StoreId};
use flotilla_multiraft::Reply;

use super::{World, number};
use crate::client::Next;
use crate::event::{Answer, Event, Request, Ticket};
use crate::judge::applied::ticket_of;
use crate::judge::tickets::Outcome;
use crate::judge::{Verdict, require};
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
            self.tell(ticket, Answer::Refused);
        }
    }

    pub(super) fn read(&mut self, store: StoreId, ticket: Ticket, index: Index) -> Verdict {
        let client = &self.clients[self.attempts[number(ticket)]];
        let Some(operation) = client.waits_for(ticket) else { return Ok(()) };
        let key = operation.key.clone();
        let Some(region) = self.region_of(&key).map(|region| region.id) else { return Ok(()) };
        let (value, applied) = self.store(store).read(region, &key, index)?;
        let content = self.judges.applied.content(region, &key, applied);
        require(content.map(|(_, value)| value) == value.as_ref(), "data follows the log", || {
            format!("store {store}: {key:?} at {applied} is {value:?}")
        })?;
        self.judges.tickets.on_answer(ticket, Outcome::Done)?;
        self.tell(ticket, Answer::Value(value));
        Ok(())
    }

    pub(super) fn tell(&mut self, ticket: Ticket, answer: Answer) {
        if let Fate::Arrives(delays) = self.net.carry_client() {
            for delay in delays {
                self.schedule(delay, Event::Answer(ticket, answer.clone()));
            }
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) -> Verdict {
        let client = self.attempts[number(ticket)];
        let Some(operation) = self.clients[client].waits_for(ticket) else { return Ok(()) };
        let Some(region) = self.region_of(&operation.key).cloned() else { return Ok(()) };
        match &answer {
            Answer::Reply(Reply::Written) => {
                let position = self.judges.applied.position(ticket);
                self.judges.register.on_written(ticket, position)?;
            }
            Answer::Value(value) => {
                let writer = value.as_ref().and_then(|value| ticket_of(value));
                let position = writer.and_then(|writer| self.judges.applied.position(writer));
                self.judges.register.on_read(ticket, position.unwrap_or_default())?;
            }
            Answer::Reply(_) | Answer::Refused => {}
        }
        let next = self.clients[client].on_answer(&region, &answer);
        self.follow(client, next);
        Ok(())
    }

    pub(super) fn ask(&mut self, client: usize) {
        let ticket = Ticket(self.attempts.len() as u64);
        let Some(operation) = self.clients[client].operation() else { return };
        operation.ticket = Some(ticket);
        let (key, is_read) = (operation.key.clone(), operation.is_read);
        let Some(region) = self.region_of(&key).cloned() else { return };
        self.attempts.push(client);
        self.judges.tickets.on_attempt(ticket);
        self.judges.register.on_begin(ticket, key.clone());
        let asking = &mut self.clients[client];
        let value = (!is_read).then(|| asking.value(ticket));
        let mut store = asking.target(&region);
        let kind = self.chance.reads.kind();
        if is_read && kind == ReadKind::Replica {
            store = self.chance.reads.replica(&region);
            self.record.summary.replica_reads += 1;
        }
        let request = Box::new(Request { ticket, region: region.id, key, value, kind });
        if let Fate::Arrives(delays) = self.net.carry_client() {
            for delay in delays {
                self.schedule(delay, Event::Request(store, request.clone()));
            }
        }
        self.schedule(self.plan.load.patience, Event::Impatient(client, ticket));
    }

    pub(super) fn lose_patience(&mut self, client: usize, ticket: Ticket) {
        let Some(operation) = self.clients[client].waits_for(ticket) else { return };
        let Some(region) = self.region_of(&operation.key).cloned() else { return };
        let next = self.clients[client].on_silence(&region);
        self.follow(client, next);
    }

    pub(super) fn follow(&mut self, client: usize, next: Next) {
        let delay = match next {
            Next::Done(delay) => {
                self.record.summary.operations += 1;
                delay
            }
            Next::Again(delay) => delay,
        };
        self.schedule(delay, Event::Begin(client));
    }
}
