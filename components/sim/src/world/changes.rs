//! Regions whose members change, and who hears of it.

use flotilla_base::PeerId;
use flotilla_multiraft::{ChangeError, ChangeRequest, Reply, RequestError};

use super::World;
use crate::event::{Event, Ticket};
use crate::judge::{Verdict, require};
use crate::marks;

impl World {
    pub(super) fn change_later(&mut self) {
        if let Some(interval) = self.chance.changes.interval() {
            self.schedule(interval, Event::Change);
        }
    }

    /// Somebody wants other members, whether that makes sense or not.
    pub(super) fn change(&mut self) {
        if self.record.is_healed {
            return;
        }
        let stores = self.plan.topology.stores;
        if let Some(region) = self.chance.changes.region(&self.regions).cloned() {
            let command = self.chance.changes.command(&region, stores);
            let ticket = self.chance.changes.ticket();
            let leader = self.leader(region.id).map(|(store, _)| store);
            let drawn = self.chance.changes.below(region.peers.len());
            let store = leader.or(region.peers.get(drawn).map(|peer| peer.store));
            let store = store.unwrap_or_default();
            self.trace(|| {
                format!("store {store} is asked to change region {}: {command:?}", region.id)
            });
            self.judges.tickets.on_attempt(ticket);
            let request = ChangeRequest { peer: PeerId(0), command, ticket };
            self.at_store(store, |node, desk| {
                node.change(region.id, request, desk);
                Ok(())
            });
            let (aftermath, after) =
                (self.chance.changes.aftermath(), self.chance.changes.moment());
            let target = self.chance.changes.below(region.peers.len());
            if let Some(target) = region.peers.get(target) {
                self.strike_behind(aftermath, target.store, after);
            }
        }
        self.change_later();
    }

    /// Whoever asked for a change is told.
    pub(super) fn on_change_answer(&mut self, ticket: Ticket, reply: &Reply) {
        self.trace(|| format!("change {} is answered {reply:?}", ticket.0));
        let is_guarded = matches!(
            reply,
            Reply::Failed(RequestError::Change {
                cause: ChangeError::Leader { .. }
                    | ChangeError::NotCaughtUp { .. }
                    | ChangeError::Silent(_)
                    | ChangeError::NoMajority { .. },
                ..
            })
        );
        self.judges.lookout.marks.reach_if(is_guarded, marks::CHANGE_REFUSED);
    }

    /// Whether every change has come to its end, and every removed peer with it.
    pub(super) fn check_membership(&self) -> Verdict {
        self.judges.applied.lineage.on_end()?;
        for (store, (node, _)) in (1..).zip(&self.stores) {
            let stray = node.stray_key(&self.regions);
            require(stray.is_none(), "the data of destroyed peers is cleaned", || {
                format!("store {store}: key {stray:?}")
            })?;
        }
        Ok(())
    }
}
