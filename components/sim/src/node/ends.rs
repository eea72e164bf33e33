//! Members that come and go at a store, and peers that end there.

use flotilla_base::{Family, Key, PeerId, Region, RegionId};
use flotilla_multiraft::{
    ChangeRequest, Input, MembershipInput, PeerMessage, Reply, RequestError, SnapshotInput,
    ruin::{Clearance, clear},
};

use super::{Desk, Process, StoreNode};
use crate::event::Ticket;
use crate::hands::{End, Out, complete};
use crate::judge::{Place, cleanings};
use crate::marks;
use crate::stages::Stages;

impl StoreNode {
    /// Somebody wants a region to have other members.
    pub fn change(
        &mut self,
        region: RegionId,
        request: ChangeRequest<Ticket>,
        desk: &mut Desk<'_>,
    ) {
        let Some(process) = &mut self.process else { return };
        let ticket = request.ticket;
        if !process.cells.contains_key(&region) {
            refuse(region, ticket, desk);
            return;
        }
        desk.judges.calls.on_arrival(ticket, self.id);
        let input = MembershipInput::ChangePeers(request);
        process.post(region, Input::Membership(Box::new(input)));
    }

    /// Deletes what was set aside the last time, then sets aside what nobody owns of what destroyed peers left. In between
    /// snapshots arrive, and the store may die.
    pub fn clean(&mut self, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        let snapshots = &mut process.works.snapshots;
        for cleaning in std::mem::take(&mut snapshots.cleaning) {
            let (batch, regions) = (cleaning.batch(), process.cells.keys().copied());
            let image = self.disk.image();
            desk.judges.note(cleanings::check(self.id, &batch, regions, image.as_ref()));
            if self.disk.write(batch).is_err() {
                self.doom = Some(0);
                return;
            }
            process.table.end_cleaning(cleaning);
            process.works.news.cleanups.append(&mut snapshots.postponed);
        }
        for cleanup in std::mem::take(&mut process.works.news.cleanups) {
            let is_shared = process.table.regions().any(|it| it.range.overlaps(&cleanup.range));
            desk.judges.lookout.marks.reach_if(is_shared, marks::CLEANED_AROUND);
            match process.table.begin_cleaning(&cleanup) {
                Some(cleaning) => snapshots.cleaning.push(cleaning),
                None => snapshots.postponed.push(cleanup),
            }
        }
    }

    /// A peer that was found damaged is a member no more.
    pub(super) fn clear(&mut self, message: &PeerMessage) {
        let Some(process) = &mut self.process else { return };
        let (region, peer) = (message.region, message.to.id);
        if !process.table.let_go(region, peer) {
            return;
        }
        let clearance = clear(self.disk.image().as_ref(), region, peer, message.epoch);
        let Clearance { batch, tombstone, cleanup } = clearance.expect("images are readable");
        let written = self.disk.write(batch).and_then(|number| self.disk.sync(number));
        if written.is_err() {
            self.doom = Some(0);
            return;
        }
        process.table.release(region, peer, tombstone);
        process.works.quarantined.retain(|it| *it != region);
        process.works.news.cleanups.extend(cleanup);
    }

    /// A key on the disk that belongs to no region with a member here.
    #[must_use]
    pub fn stray_key(&self, regions: &[Region]) -> Option<Key> {
        let own = |key: &&Key| {
            let owner = regions.iter().find(|region| region.range.contains(key));
            owner.is_some_and(|region| region.peer_on(self.id).is_some())
        };
        self.disk.image().look(|image| {
            let mut keys = Family::DATA.into_iter().flat_map(|family| image.family(family).keys());
            keys.find(|key| !own(key)).cloned()
        })
    }
}

impl Process {
    /// Whoever asks about a peer that is gone is told so.
    pub(super) fn confirm(&self, asked: &PeerMessage, desk: &mut Desk<'_>) {
        desk.out.push(Out::Send(Box::new(self.table.confirm(asked))));
    }

    /// The table hears of members and of ends, in order.
    pub(super) fn take_ends(&mut self, stages: &mut Stages, desk: &mut Desk<'_>) {
        for end in std::mem::take(&mut self.works.news.ends) {
            match end {
                End::Members(peer, region) => self.table.change_members(peer, &region),
                End::Born(region) => self.table.born(region),
                End::Leaving(region, peer) => {
                    if self.table.let_go(region, peer) {
                        let input = Box::new(MembershipInput::MayLeave);
                        self.post(region, Input::Membership(input));
                    }
                }
                End::Destroyed(region, peer, tombstone) => {
                    self.table.release(region, peer, tombstone);
                    self.destroy((region, peer), stages, desk);
                }
            }
        }
    }

    fn destroy(
        &mut self,
        (region, peer): (RegionId, PeerId),
        stages: &mut Stages,
        desk: &mut Desk<'_>,
    ) {
        let Some(cell) = self.cells.remove(&region) else { return };
        debug_assert_eq!(cell.replica.peer(), peer, "the table released its slot");
        self.works.appliers.remove(&region);
        self.works.readers.forget(region);
        self.works.quarantined.retain(|it| *it != region);
        self.alarms.remove(&region);
        self.wants_room.remove(&region);
        let store = self.table.store();
        let place = Place(store, region);
        desk.judges.records.retention.on_destroyed(place);
        desk.judges.epochs.on_destroyed(place);
        let mut views = self.works.snapshots.views.keys();
        debug_assert!(!views.any(|it| (it.region, it.peer) == (region, peer)), "it sends nothing");
        for input in &cell.inbox {
            if let Input::Snapshot(input) = input
                && let SnapshotInput::Arrived(arrival) = input.as_ref()
            {
                stages.remove(arrival.stage);
            }
        }
        for ticket in cell.inbox.into_iter().filter_map(Input::into_ticket) {
            self.works.follower_reads.remove(&ticket);
            desk.judges.calls.on_answer(ticket);
            refuse(region, ticket, desk);
        }
    }
}

fn refuse(region: RegionId, ticket: Ticket, desk: &mut Desk<'_>) {
    let reply = Reply::Failed(RequestError::RegionNotFound(region));
    complete(desk.judges, ticket, &reply);
    desk.out.push(Out::Answer(ticket, reply));
}
