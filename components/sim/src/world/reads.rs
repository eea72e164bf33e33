//! Reads in place, step by step, and leads that are handed over.

use flotilla_base::{Index, RegionId, StoreId};
use flotilla_multiraft::{NotInPlace, Reply, RequestError};

use super::{World, number};
use crate::event::{Answer, Event, Run, Task, Ticket};
use crate::hands::complete;
use crate::judge::applied::ticket_of;
use crate::judge::tickets::Outcome;
use crate::judge::{Place, Verdict, state};
use crate::marks;

impl World {
    /// A reading thread goes on: after a pause, if the read has begun or has a view now.
    pub(super) fn read_on(&mut self, store: StoreId, run: Run, task: Task) {
        let pause = self.chance.reads.pause();
        self.schedule(pause, Event::Task(store, run, task));
    }

    /// The view of the data is taken.
    pub(super) fn view(&mut self, store: StoreId, ticket: Ticket) -> Verdict {
        let node = &mut self.slot(store).0;
        node.take_view(ticket)?;
        let Some(run) = node.run() else { return Ok(()) };
        self.read_on(store, run, Task::Serve(ticket));
        Ok(())
    }

    /// The clock and the delegate decide whether the view may be served.
    pub(super) fn serve(&mut self, store: StoreId, ticket: Ticket) -> Verdict {
        let now = self.now;
        let reading = match self.slot(store).0.finish_reading(ticket, now) {
            Ok(reading) => reading,
            Err(refusal) => {
                let marks = &mut self.judges.lookout.marks;
                marks.reach_if(refusal == NotInPlace::Withdrawn, marks::LEASE_WITHDRAWN);
                marks.reach_if(refusal == NotInPlace::RanOut, marks::LEASE_RAN_OUT);
                let region = self.attempts[number(ticket)].region;
                if self.store(store).replica(region).is_none() {
                    // It was destroyed meanwhile.
                    let reply = Reply::Failed(RequestError::RegionNotFound(region));
                    self.judges.calls.on_answer(ticket);
                    complete(&mut self.judges, ticket, &reply);
                    self.tell(store, ticket, Answer::Reply(reply));
                    return Ok(());
                }
                // The replica is asked instead.
                self.set_to_work(store);
                return Ok(());
            }
        };
        let place = Place(store, reading.region);
        let (value, applied) = reading.view.unwrap_or_default();
        state::check_read(place, &reading.key, applied, value.as_ref(), &self.judges.applied)?;
        let writer = value.as_ref().and_then(|value| ticket_of(value));
        let position = writer.and_then(|writer| self.judges.applied.position(writer));
        let position = position.unwrap_or(Index(0));
        self.judges.reads.register.on_served(place, reading.floor, position)?;
        self.judges.lookout.reach(marks::LEASE_READ);
        self.judges.calls.on_answer(ticket);
        self.judges.tickets.on_answer(ticket, Outcome::Done)?;
        self.tell(store, ticket, Answer::Value(value));
        Ok(())
    }

    /// The placement driver asks for another leader, of any region, whether that makes sense or not.
    pub(super) fn transfer(&mut self) {
        if self.record.is_healed {
            return;
        }
        let Some(region) = self.chance.reads.region(&self.regions).cloned() else { return };
        let to = self.chance.reads.replica(&region);
        self.hand_over(region.id, to);
        self.transfer_later();
    }

    /// The region's leader is told to hand over: to the peer on `to`, or to whom it likes where it is on `to` itself.
    pub fn hand_over(&mut self, region: RegionId, to: StoreId) {
        let members = self.regions.iter().find(|it| it.id == region);
        let peer = members.and_then(|region| region.peer_on(to));
        if let (Some((store, _)), Some(peer)) = (self.leader(region), peer) {
            self.trace(|| format!("region {region} is to be led by store {to}"));
            self.record.summary.transfers += 1;
            if let Some(strike) = self.chance.ambush.on_transfer(store) {
                self.strike_later(strike);
            }
            self.at_store(store, |node, _| {
                if store == to {
                    node.step_aside(region);
                } else {
                    node.transfer(region, peer.id);
                }
                Ok(())
            });
        }
    }

    pub(super) fn transfer_later(&mut self) {
        if let Some(interval) = self.chance.reads.transfer_interval() {
            self.schedule(interval, Event::Transfer);
        }
    }
}
