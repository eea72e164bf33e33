//! Cleans the keys that destroyed peers left, around what others own or have claimed by then.
//!
//! An order of which a part is claimed for a peer without data waits until that claim has ended: what takes the place of
//! the data there, or does not, decides what is left to be cleaned. The keys are set aside in the region table and deleted
//! without its lock: the database may take its time, and messages of all regions go through the table. It is one deletion of
//! a range, unsynced; the thread that ends the claim writes it, a raft worker as a rule.

use flotilla_engine::WriteBatch;
use flotilla_multiraft::{
    Cleaning, Cleanup, PeerMessage,
    ruin::{Clearance, clear},
};

use super::Snapshots;
use crate::host::stop;

impl Snapshots {
    /// Deletes what nobody owns of `cleanup`, now or when a claim ends.
    pub(crate) fn clean(&self, cleanup: Cleanup) {
        // In front of the look at the table: a claim that ends behind that look finds the order here.
        self.shared.orders.lock().push(cleanup);
        self.claim_ended();
    }

    /// Ends a damaged peer that `message` says to be gone: without waiting for the disk, and once.
    pub(super) fn clear_soon(&self, message: PeerMessage) {
        let router = &self.shared.parts.router;
        if router.table().let_go(message.region, message.to.id) {
            self.run("clear a damaged peer", move |snapshots| snapshots.clear(&message));
        }
    }

    fn clear(&self, message: &PeerMessage) {
        let (parts, region, peer) = (&self.shared.parts, message.region, message.to.id);
        let cleared = clear(&parts.engine, region, peer, message.epoch);
        let cleared = cleared.unwrap_or_else(|error| stop("read a damaged peer", &error));
        let Clearance { batch, tombstone, cleanup } = cleared;
        let written = parts.engine.write(&WriteBatch::from(batch));
        let written = written.and_then(|()| parts.engine.sync());
        written.unwrap_or_else(|error| stop("clear a damaged peer", &error));
        parts.router.table().release(region, peer, tombstone);
        tracing::info!(region = region.get(), peer = peer.get(), "a damaged peer is cleared");
        cleanup.into_iter().for_each(|cleanup| self.clean(cleanup));
    }

    /// To be called behind each end of a claim: carries out every order that nothing stands in the way of any more.
    pub(crate) fn claim_ended(&self) {
        let parts = &self.shared.parts;
        while let Some(cleaning) = self.begin_cleaning() {
            let written = parts.engine.write(&WriteBatch::from(cleaning.batch()));
            written.unwrap_or_else(|error| stop("clean a range", &error));
            parts.router.table().end_cleaning(cleaning);
        }
    }

    fn begin_cleaning(&self) -> Option<Cleaning> {
        let mut orders = self.shared.orders.lock();
        if orders.is_empty() {
            return None;
        }
        self.shared.parts.router.table().begin_cleaning(&mut orders)
    }
}
