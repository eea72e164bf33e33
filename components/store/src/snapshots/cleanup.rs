//! Cleans the keys that destroyed peers left, around what others own or have claimed by then.
//!
//! A range of which a part is claimed for a peer without data waits until that claim has ended: what takes the place of
//! the data there, or does not, decides what is left to be cleaned.

use flotilla_engine::WriteBatch;
use flotilla_multiraft::{
    Cleanup, PeerMessage, clean,
    ruin::{Clearance, clear},
};

use super::Snapshots;
use crate::host::stop;

impl Snapshots {
    /// Deletes what nobody owns of `cleanup`, now or when a claim ends.
    pub(crate) fn clean(&self, cleanup: Cleanup) {
        // Held over the look at the table: a claim that ends behind that look finds the order here.
        let mut postponed = self.shared.postponed.lock();
        if !self.clean_now(&cleanup) {
            postponed.push(cleanup);
        }
    }

    /// Ends a damaged peer that `message` says to be gone: without waiting for the disk, and once.
    pub(super) fn clear_soon(&self, message: PeerMessage) {
        let router = &self.shared.parts.router;
        if router.table().write().let_go(message.region, message.to.id) {
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
        parts.router.table().write().release(region, peer, tombstone);
        tracing::info!(region = region.get(), peer = peer.get(), "a damaged peer is cleared");
        cleanup.into_iter().for_each(|cleanup| self.clean(cleanup));
    }

    /// To be called behind each end of a claim.
    pub(crate) fn claim_ended(&self) {
        self.shared.postponed.lock().retain(|cleanup| !self.clean_now(cleanup));
    }

    /// `false` while keys of it are claimed. Nobody becomes the owner of a key of it meanwhile: that needs the table.
    fn clean_now(&self, cleanup: &Cleanup) -> bool {
        let parts = &self.shared.parts;
        let table = parts.router.table().write();
        let Some(batch) = clean(&table, cleanup) else { return false };
        let written = parts.engine.write(&WriteBatch::from(batch));
        written.unwrap_or_else(|error| stop("clean a range", &error));
        true
    }
}
