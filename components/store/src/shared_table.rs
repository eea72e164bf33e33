//! The region table as the threads of a store share it. Its lock is the last that a thread takes: the guard never leaves
//! this file, and no function here runs what its caller gives it or calls anything but the table and, below it, the map of
//! the cells. So the table cannot be one of two locks that are taken in two orders (tikv #10910).

use flotilla_base::{PeerId, Region, RegionId, Version};
use flotilla_multiraft::region_table::ClaimError;
use flotilla_multiraft::{
    Admission, Arrival, Cleaning, Cleanup, PeerMessage, RegionTable, Slot, SnapshotMeta,
    SplitClaim, Tombstone,
};
use flotilla_poller::Mailbox;
use parking_lot::RwLock;

use crate::router::{PeerCells, PeerMail, PeerState};

/// Which peer has which region, and which keys, on this store. Each method is one step of [`RegionTable`], whose methods
/// of the same names say what they do.
pub(crate) struct SharedTable(RwLock<RegionTable>);

impl SharedTable {
    pub(crate) const fn new(table: RegionTable) -> Self {
        Self(RwLock::new(table))
    }

    pub(crate) fn admit(&self, message: &PeerMessage) -> Admission {
        self.0.read().admit(message)
    }

    pub(crate) fn confirm(&self, asked: &PeerMessage) -> PeerMessage {
        self.0.read().confirm(asked)
    }

    pub(crate) fn is_quarantined(&self, region: RegionId) -> bool {
        matches!(self.0.read().slot(region), Some(Slot::Quarantined(_)))
    }

    /// The region as it lives here.
    pub(crate) fn live(&self, region: RegionId) -> Option<Region> {
        match self.0.read().slot(region) {
            Some(Slot::Live(_, live)) => Some(live.clone()),
            _ => None,
        }
    }

    /// Whether the region lives here in this shape and owns `key`.
    pub(crate) fn owns(&self, region: RegionId, version: Version, key: &[u8]) -> bool {
        match self.0.read().slot(region) {
            Some(Slot::Live(_, live)) => live.epoch.version == version && live.range.contains(key),
            _ => false,
        }
    }

    /// Every region that lives here, by start key.
    pub(crate) fn regions(&self) -> Vec<Region> {
        self.0.read().regions().cloned().collect()
    }

    pub(crate) fn last_install(&self, region: RegionId) -> u64 {
        self.0.read().last_install(region)
    }

    pub(crate) fn check_install(
        &self,
        message: &PeerMessage,
        meta: &SnapshotMeta,
    ) -> Result<(), ClaimError> {
        self.0.read().check_install(message, meta).map(|_claim| ())
    }

    /// Takes the slot of an absent region, and puts the cell of its peer among `cells`: who sees the slot may send to the
    /// cell. Nothing happens where the slot is taken.
    pub(crate) fn create(&self, cell: PeerCell, cells: &PeerCells) {
        let mut table = self.0.write();
        let (region, peer) = (RegionId(cell.key()), PeerId(cell.generation()));
        if table.create_uninitialised(region, peer).is_ok() {
            register(cell, cells);
        }
    }

    /// The same for the child of a split; `false` where it cannot have its slot.
    pub(crate) fn claim_split(&self, cell: PeerCell, cells: &PeerCells) -> bool {
        let mut table = self.0.write();
        match table.claim_split(RegionId(cell.key()), PeerId(cell.generation())) {
            SplitClaim::Create => {
                register(cell, cells);
                true
            }
            SplitClaim::Held => true,
            SplitClaim::Skip => false,
        }
    }

    pub(crate) fn initialise(&self, peer: PeerId, region: &Region) -> Result<(), ClaimError> {
        self.0.write().initialise(peer, region)
    }

    pub(crate) fn split(
        &self,
        parent: &Region,
        children: &[(PeerId, &Region)],
    ) -> Result<(), ClaimError> {
        self.0.write().split(parent, children)
    }

    pub(crate) fn born(&self, region: RegionId) {
        self.0.write().born(region);
    }

    pub(crate) fn change_members(&self, peer: PeerId, region: &Region) {
        self.0.write().change_members(peer, region);
    }

    pub(crate) fn quarantine(&self, region: RegionId, peer: PeerId) {
        self.0.write().quarantine(region, peer);
    }

    pub(crate) fn let_go(&self, region: RegionId, peer: PeerId) -> bool {
        self.0.write().let_go(region, peer)
    }

    pub(crate) fn release(&self, region: RegionId, peer: PeerId, tombstone: Tombstone) {
        self.0.write().release(region, peer, tombstone);
    }

    /// Claims the keys of a snapshot that is here; `None` where the peer it is for is not here any more.
    pub(crate) fn claim_install(&self, arrival: &Arrival) -> Option<Result<(), ClaimError>> {
        let mut table = self.0.write();
        let is_here = table.admit(&arrival.message) == Admission::Deliver;
        is_here.then(|| table.claim_install(arrival))
    }

    pub(crate) fn release_claim(&self, region: RegionId, peer: PeerId) {
        self.0.write().release_claim(region, peer);
    }

    pub(crate) fn installed(&self, region: &Region, peer: PeerId) {
        self.0.write().installed(region, peer);
    }

    /// Takes the first of `orders` out that nothing stands in the way of.
    pub(crate) fn begin_cleaning(&self, orders: &mut Vec<Cleanup>) -> Option<Cleaning> {
        let mut table = self.0.write();
        let mut begun = orders.iter().enumerate();
        let begun = begun.find_map(|(at, order)| Some((at, table.begin_cleaning(order)?)));
        let (at, cleaning) = begun?;
        orders.remove(at);
        Some(cleaning)
    }

    pub(crate) fn end_cleaning(&self, cleaning: Cleaning) {
        self.0.write().end_cleaning(cleaning);
    }
}

type PeerCell = Mailbox<PeerState, PeerMail>;

fn register(cell: PeerCell, cells: &PeerCells) {
    let is_first = cells.register(cell).is_ok();
    debug_assert!(is_first, "the table gave the slot to this peer alone");
}
