//! How a store serves clients: requests go to replicas, and reads look at the data.

use bytes::Bytes;
use flotilla_base::{Bug, Family, Index, KvRead, Moment, Mutation, RegionId, Version};
use flotilla_multiraft::{
    Guard, Input, NotInPlace, Proposal, ReadRequest, Reply, RequestError, RequestHeader,
    WriteCommand,
};
use flotilla_raftgroup::disk;

use super::{Desk, StoreNode};
use crate::event::{Request, Ticket};
use crate::hands::{Out, complete};
use crate::judge::{Place, Verdict, Violation, require};
use crate::marks;
use crate::reads::{ReadKind, Reading};

impl StoreNode {
    /// A request arrives; `None` where nobody listens.
    pub fn request(&mut self, request: Request, desk: &mut Desk<'_>) -> Option<()> {
        let early_view = self.early_view(&request);
        let process = self.process.as_mut()?;
        let Request { ticket, region, version, key, value, over, kind } = request;
        if !process.table.regions().any(|live| live.id == region) {
            let reply = Reply::Failed(RequestError::RegionNotFound(region));
            complete(desk.judges, ticket, &reply);
            desk.out.push(Out::Answer(ticket, reply));
            return Some(());
        }
        desk.judges.calls.on_arrival(ticket, self.id);
        let header = RequestHeader { version, ..RequestHeader::default() };
        if kind == ReadKind::InPlace && value.is_none() {
            let read = process.works.readers.begin(region, &header);
            if read.is_some() || early_view.is_some() {
                let floor = desk.judges.reads.register.floor(&key);
                let reading = Reading { read, region, key, header, floor, view: early_view };
                process.works.readers.readings.insert(ticket, reading);
                desk.out.push(Out::Begun(ticket));
                return Some(());
            }
        }
        let leads = process.cells.get(&region).is_some_and(|cell| cell.replica.group().is_leader());
        let input = match value {
            None if kind == ReadKind::Replica => {
                if !leads {
                    process.works.follower_reads.insert(ticket);
                }
                Input::ReplicaRead(ReadRequest { header, ticket })
            }
            None => Input::Read(ReadRequest { header, ticket }),
            Some(value) => {
                let clock_millis = self.wall.read(desk.now);
                let newest = desk.judges.applied.last(region);
                let is_behind = clock_millis < desk.judges.applied.clock_millis(region, newest);
                desk.judges.lookout.marks.reach_if(leads && is_behind, marks::WALL_BACK);
                let guard =
                    over.map(|stored| Guard { family: Family::Raw, key: key.clone(), stored });
                let mutations = vec![Mutation::Put(Family::Raw, key, value)];
                let command =
                    WriteCommand { version: header.version, clock_millis, guard, mutations };
                Input::Propose(Box::new(Proposal { header, command, ticket }))
            }
        };
        process.post(region, input);
        Some(())
    }

    /// Whether a region lives here in this shape and owns a key; else what it looks like. A confirmed read looks
    /// behind its view of the data.
    ///
    /// # Errors
    /// The client must learn another shape.
    pub fn owns(&self, region: RegionId, version: Version, key: &[u8]) -> Result<(), RequestError> {
        let process = self.process.as_ref();
        let live = process.and_then(|it| it.table.regions().find(|live| live.id == region));
        let live = live.ok_or(RequestError::RegionNotFound(region))?;
        if live.epoch.version == version && live.range.contains(key) {
            return Ok(());
        }
        Err(RequestError::EpochNotMatch { current: Box::new(live.clone()) })
    }

    /// Reads a key as of now; also where the data stands.
    ///
    /// # Errors
    /// The data is older than a confirmed read may see.
    pub fn read(
        &self,
        region: RegionId,
        key: &[u8],
        at: Index,
    ) -> Result<(Option<Bytes>, Index), Violation> {
        let image = self.disk.image();
        let applied = disk::read_apply_state(image.as_ref(), region)
            .ok()
            .flatten()
            .map(|state| state.applied.index)
            .unwrap_or_default();
        require(applied >= at, "a confirmed read finds its data", || {
            format!("{}: {applied} is applied, {at} was promised", Place(self.id, region))
        })?;
        let value = image.get(Family::Raw, key).unwrap_or_default();
        Ok((value, applied))
    }

    /// What a reader sees that does not look at its permit first.
    fn early_view(&self, request: &Request) -> Option<(Option<Bytes>, Index)> {
        let seeded = self.process.as_ref()?.config.seeded;
        let is_early = seeded.has(Bug::LEASE_VIEW_BEFORE_PERMIT);
        if is_early { self.read(request.region, &request.key, Index(0)).ok() } else { None }
    }

    /// A read in place takes its view.
    ///
    /// # Errors
    /// The data is older than the reading thread was told.
    pub fn take_view(&mut self, ticket: Ticket) -> Verdict {
        let Some(process) = &mut self.process else { return Ok(()) };
        let readers = &mut process.works.readers;
        let Some(reading) = readers.readings.get(&ticket) else { return Ok(()) };
        if reading.view.is_some() {
            readers.begin_again(ticket);
            return Ok(());
        }
        let (region, key) = (reading.region, reading.key.clone());
        let view = self.read(region, &key, Index(0))?;
        if let Some(process) = &mut self.process
            && let Some(reading) = process.works.readers.readings.get_mut(&ticket)
        {
            reading.view = Some(view);
        }
        Ok(())
    }

    /// A read in place comes to its end; where it may not be served the replica is asked instead.
    ///
    /// # Errors
    /// Why not.
    pub fn finish_reading(&mut self, ticket: Ticket, now: Moment) -> Result<Reading, NotInPlace> {
        let process = self.process.as_mut().ok_or(NotInPlace::NoPermit)?;
        let readers = &mut process.works.readers;
        let reading = readers.readings.remove(&ticket).ok_or(NotInPlace::NoPermit)?;
        let is_early = process.config.seeded.has(Bug::LEASE_CHECK_BEFORE_SNAPSHOT);
        let now = process.clock.read(now);
        let read = reading.read.ok_or(NotInPlace::NoPermit);
        let outcome = read.and_then(|(peer, read)| match is_early {
            true => Ok(()),
            false => read.finish(now, &readers.shown_by(reading.region, peer)),
        });
        if outcome.is_err() {
            let header = reading.header;
            process.post(reading.region, Input::Read(ReadRequest { header, ticket }));
        }
        outcome.map(|()| reading)
    }
}
