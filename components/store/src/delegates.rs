//! What readers on any thread see of this store's replicas: permits, how far the data is, and the largest clock
//! that an applied entry carried.
//!
//! A raft worker publishes a permit before anything else of its round (rule F1), an applier its progress after
//! its batch can be read. A reader goes the five steps of [`flotilla_multiraft::permit`] and meets neither of them.
//!
//! **Knows nothing of** requests, of the engine, or of the clock that leases are judged by.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use flotilla_base::{Index, Moment, PeerId, RegionId};
use flotilla_multiraft::{Applied, Delegate, LocalRead, NotInPlace, RequestHeader};
use parking_lot::RwLock;

/// The slots of one store. Written by its raft workers and appliers, read by everybody.
#[derive(Debug, Default)]
pub(crate) struct Delegates {
    slots: RwLock<HashMap<RegionId, Arc<Slot>>>,
}

/// What is shown of one peer.
#[derive(Debug)]
struct Slot {
    peer: PeerId,
    delegate: RwLock<Delegate>,
    /// What the peer has handed to its applier reaches up to here.
    committed: AtomicU64,
    /// Stored after the batch can be read, so whoever loads it finds the data.
    applied: AtomicU64,
    /// Milliseconds since 1970; stored before `applied`.
    clock_millis: AtomicU64,
    /// A read was begun in place since somebody asked.
    is_in_use: AtomicBool,
}

/// A read in place that has begun: the view of the data is to be taken next.
#[derive(Debug)]
#[must_use = "nothing may be served before `finish`"]
pub struct InPlace {
    slot: Arc<Slot>,
    read: LocalRead,
}

impl Delegates {
    /// Shows this delegate in place of the peer's earlier one, before it returns.
    pub(crate) fn publish(&self, region: RegionId, peer: PeerId, delegate: Delegate) {
        *self.slot_of(region, peer).delegate.write() = delegate;
    }

    /// The data of `peer` can be read up to `index`, and no entry up to there carried a larger clock.
    pub(crate) fn reached(&self, region: RegionId, peer: PeerId, index: Index, clock_millis: u64) {
        let slot = self.slot_of(region, peer);
        slot.clock_millis.fetch_max(clock_millis, Ordering::Relaxed);
        slot.applied.fetch_max(index.get(), Ordering::Release);
    }

    /// `peer` knows that everything up to `index` is committed, and has it.
    pub(crate) fn committed(&self, region: RegionId, peer: PeerId, index: Index) {
        self.slot_of(region, peer).committed.fetch_max(index.get(), Ordering::Relaxed);
    }

    /// The region whose data is the furthest behind what is committed, and by how many entries.
    pub(crate) fn furthest_behind(&self) -> Option<(RegionId, u64)> {
        let slots = self.slots.read();
        let behind = slots.iter().map(|(region, slot)| {
            let committed = slot.committed.load(Ordering::Relaxed);
            (*region, committed.saturating_sub(slot.applied.load(Ordering::Relaxed)))
        });
        behind.max_by_key(|(region, entries)| (*entries, *region))
    }

    /// As [`Self::reached`], from an applier whose batch is written.
    pub(crate) fn applied(&self, region: RegionId, peer: PeerId, applied: &Applied) {
        self.reached(region, peer, applied.index, applied.clock_millis);
    }

    /// The peer is destroyed: nothing more comes from it.
    pub(crate) fn forget(&self, region: RegionId, peer: PeerId) {
        let mut slots = self.slots.write();
        if slots.get(&region).is_some_and(|slot| slot.peer <= peer) {
            slots.remove(&region);
        }
    }

    /// Steps 1 and 2 of a read in place.
    pub(crate) fn begin(
        &self,
        region: RegionId,
        header: &RequestHeader,
    ) -> Result<InPlace, NotInPlace> {
        let slot = self.slot(region).ok_or(NotInPlace::NoPermit)?;
        let delegate = *slot.delegate.read();
        // After the delegate: an index that was published later is compared by the next reader.
        let applied = Index(slot.applied.load(Ordering::Acquire));
        let read = LocalRead::begin(&delegate, header, applied)?;
        if !slot.is_in_use.load(Ordering::Relaxed) {
            slot.is_in_use.store(true, Ordering::Relaxed);
        }
        Ok(InPlace { slot, read })
    }

    /// Whether a read was begun in place since the last call.
    pub(crate) fn take_use(&self, region: RegionId) -> bool {
        self.slot(region).is_some_and(|slot| slot.is_in_use.swap(false, Ordering::Relaxed))
    }

    /// The largest clock, in milliseconds since 1970, that an entry which is applied here carried. Whoever looks
    /// after [`Self::begin`] or behind a barrier finds that of all entries which are in the view.
    pub(crate) fn clock_millis(&self, region: RegionId) -> u64 {
        self.slot(region).map_or(0, |slot| slot.clock_millis.load(Ordering::Relaxed))
    }

    fn slot(&self, region: RegionId) -> Option<Arc<Slot>> {
        self.slots.read().get(&region).cloned()
    }

    /// The peer's slot. A later peer of the region takes the place of an earlier one; what comes late for that
    /// one goes to a slot that nobody looks at.
    fn slot_of(&self, region: RegionId, peer: PeerId) -> Arc<Slot> {
        if let Some(slot) = self.slot(region).filter(|slot| slot.peer == peer) {
            return slot;
        }
        let mut slots = self.slots.write();
        match slots.get(&region) {
            Some(slot) if slot.peer == peer => Arc::clone(slot),
            Some(slot) if slot.peer > peer => Arc::new(Slot::new(peer)),
            _earlier_or_none => {
                let slot = Arc::new(Slot::new(peer));
                slots.insert(region, Arc::clone(&slot));
                slot
            }
        }
    }
}

impl InPlace {
    /// Steps 4 and 5: `now` was read after the view of the data was taken.
    ///
    /// # Errors
    /// [`NotInPlace`]; the view must not be used.
    pub(crate) fn finish(self, now: Moment) -> Result<(), NotInPlace> {
        let delegate = *self.slot.delegate.read();
        self.read.finish(now, &delegate)
    }
}

impl Slot {
    fn new(peer: PeerId) -> Self {
        Self {
            peer,
            delegate: RwLock::default(),
            committed: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            clock_millis: AtomicU64::new(0),
            is_in_use: AtomicBool::new(false),
        }
    }
}

#[cfg(test)]
mod tests;
