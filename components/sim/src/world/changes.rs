//! Regions whose members change, and who hears of it.

use flotilla_base::{Peer, PeerId, Region, StoreId};
use flotilla_multiraft::{
    ChangeError, ChangePeers, ChangeRequest, Lifecycle, Replica, Reply, RequestError,
};

use super::World;
use crate::changes::ChangeChance;
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
        if let Some((region, command)) = self.draw_change() {
            let ticket = self.chance.changes.ticket();
            let leader = self.leader(region.id).map(|(store, _)| store);
            let drawn = self.chance.changes.below(region.peers.len());
            let store = leader.or(region.peers.get(drawn).map(|peer| peer.store));
            let store = store.unwrap_or_default();
            self.trace(|| {
                format!("store {store} is asked to change region {}: {command:?}", region.id)
            });
            let is_return = self.chance.changes.awaits_return();
            self.chance.changes.follow(&region, &command);
            self.judges.tickets.on_attempt(ticket);
            let request = ChangeRequest { peer: PeerId(0), command, ticket };
            self.at_store(store, |node, desk| {
                node.change(region.id, request, desk);
                Ok(())
            });
            let (aftermath, after) =
                (self.chance.changes.aftermath(), self.chance.changes.moment());
            let target = self.chance.changes.below(2 * region.peers.len());
            // Half of the time it is the leader.
            let target = region.peers.get(target).map_or(store, |peer| peer.store);
            let length = self.chance.changes.length();
            // They are asked for again and again.
            if !is_return {
                self.strike_behind(aftermath, target, (after, length));
            }
        }
        self.change_later();
    }

    fn draw_change(&mut self) -> Option<(Region, ChangePeers)> {
        if self.chance.changes.awaits_return() {
            return self.chance.changes.homecoming(&self.regions);
        }
        if self.chance.changes.removes_late()
            && let Some((region, member)) = self.late_member()
        {
            let command = ChangeChance::removal(&region, member);
            return Some((region, command));
        }
        let region = self.chance.changes.region(&self.regions).cloned()?;
        let command = self.chance.changes.command(&region, self.plan.topology.stores);
        Some((region, command))
    }

    /// A member of a region that has a leader, on a store that runs and has not heard of the region, or of no more
    /// than its name: its parent's split is not applied there.
    fn late_member(&self) -> Option<(Region, Peer)> {
        let is_late = |region: &Region, member: &Peer| {
            let node = self.store(member.store);
            let life = node.replica(region.id).map(Replica::life);
            node.run().is_some() && life.is_none_or(|life| life == Lifecycle::Uninitialised)
        };
        let led = self.regions.iter().filter(|region| self.leader(region.id).is_some());
        let late = led.filter_map(|region| {
            let member = region.peers.iter().find(|member| is_late(region, member))?;
            Some((region.clone(), *member))
        });
        late.last()
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
        self.mark_order(reply);
    }

    /// Whether every change has come to its end, and every removed peer with it.
    pub(super) fn check_membership(&self) -> Verdict {
        self.judges.applied.lineage.on_end()?;
        let is_there = |store: u64| !self.record.placed.gone.contains(&StoreId(store));
        for (store, (node, _)) in (1..).zip(&self.stores).filter(|(store, _)| is_there(*store)) {
            let stray = node.stray_key(&self.regions);
            require(stray.is_none(), "the data of destroyed peers is cleaned", || {
                format!("store {store}: key {stray:?}")
            })?;
        }
        Ok(())
    }
}
