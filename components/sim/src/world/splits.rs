//! Regions that are split, and how clients and the world find their way in the changed map.

use flotilla_base::{Region, Span, StoreId};
use flotilla_multiraft::{Reply, RequestError, SplitCommand, SplitRequest};
use flotilla_placement::{IdBatch, deal_split_ids};

use super::World;
use crate::event::{Event, Ticket};
use crate::fault::Order;
use crate::marks;
use crate::pd::event::PdTicket;
use crate::plan::FaultFamily;
use crate::splits::Aftermath;

/// How long a store is cut off right behind a split, at most.
const CUT_MAX: Span = Span::from_millis(1_500);

impl World {
    pub(super) fn split_later(&mut self) {
        if let Some(interval) = self.chance.splits.interval() {
            self.schedule(interval, Event::Split);
        }
    }

    /// Somebody wants a region to be split, whether that makes sense or not.
    pub(super) fn split(&mut self) {
        if self.record.is_healed {
            return;
        }
        if let Some(region) = self.chance.splits.region(&self.regions).cloned() {
            let command = self.chance.splits.command(&region);
            if self.pd.is_obeyed() && !command.children.is_empty() {
                self.ask_split_ids(region, command);
            } else {
                self.split_region(&region, command);
            }
        }
        self.split_later();
    }

    /// The ids of the parts come from the placement driver: a region's peers have larger ids than all before them.
    fn ask_split_ids(&mut self, region: Region, command: SplitCommand) {
        let Some((store, _)) = self.leader(region.id) else { return };
        let ticket = self.pd.ask_split(self.now, store, region.clone(), command.children.len());
        self.record.placed.splits.insert(ticket, (region, command));
        self.hear_from_pd();
    }

    /// The ids have come.
    pub(super) fn split_with(&mut self, ticket: PdTicket, ids: IdBatch) {
        let asked = self.record.placed.splits.remove(&ticket);
        let Some((region, mut command)) = asked.filter(|_| !self.record.is_healed) else { return };
        let count = u32::try_from(command.children.len()).unwrap_or(0);
        let dealt = deal_split_ids(ids, count, region.peers.len());
        for (child, ids) in command.children.iter_mut().zip(dealt) {
            (child.region, child.peers) = (ids.region, ids.peers);
        }
        self.split_region(&region, command);
    }

    fn split_region(&mut self, region: &Region, command: SplitCommand) {
        let ticket = self.chance.splits.ticket();
        let leader = self.leader(region.id).map(|(store, _)| store);
        let drawn = region.peers.get(self.chance.splits.below(region.peers.len()));
        let store = leader.or(drawn.map(|peer| peer.store)).unwrap_or_default();
        self.trace(|| format!("store {store} is asked to split region {}: {command:?}", region.id));
        self.judges.tickets.on_attempt(ticket);
        let request = SplitRequest { peer: flotilla_base::PeerId(0), command, ticket };
        self.at_store(store, |node, desk| {
            node.split(region.id, request, desk);
            Ok(())
        });
        let aftermath = self.chance.splits.aftermath();
        let target = self.chance.splits.below(region.peers.len());
        let after = self.chance.splits.moment();
        let target = region.peers.get(target).map(|peer| peer.store).unwrap_or_default();
        let length = Span(after.0 * 100).min(CUT_MAX);
        self.strike_behind(aftermath, target, (after, length));
    }

    /// Something breaks while a split or a change is under way.
    pub(super) fn strike_behind(
        &mut self,
        aftermath: Aftermath,
        store: StoreId,
        (after, length): (Span, Span),
    ) {
        let has = |family| self.plan.faults.families.contains(&family);
        let order = match aftermath {
            Aftermath::Crash(steps) if has(FaultFamily::Crash) => Order::Crash(store, 1 + steps),
            Aftermath::Cut if has(FaultFamily::Cut) => Order::Cut(self.links(store)),
            Aftermath::HandOver if self.plan.reads.transfer_interval > Span::ZERO => {
                self.schedule(after, Event::Transfer);
                return;
            }
            _ => return,
        };
        self.schedule(after, Event::Strike(order, length));
    }

    /// Whoever asked for a split is told.
    pub(super) fn on_split_answer(&mut self, ticket: Ticket, reply: &Reply) {
        self.trace(|| format!("split {} is answered {reply:?}", ticket.0));
        let marks = &mut self.judges.lookout.marks;
        marks.reach_if(matches!(reply, Reply::Split(_)), marks::SPLIT);
        let is_old = matches!(reply, Reply::Failed(RequestError::EpochNotMatch { .. }));
        marks.reach_if(is_old, marks::SPLIT_OF_OLD_SHAPE);
    }

    /// The map as the logs of all regions say.
    pub(super) fn follow_map(&mut self) {
        let shapes = self.judges.applied.lineage.shapes();
        if std::mem::replace(&mut self.record.shapes, shapes) != shapes {
            self.regions = self.judges.applied.lineage.map();
        }
    }
}
