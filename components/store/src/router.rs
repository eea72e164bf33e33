//! The way of a request to its replica, and of the answer back.

use std::sync::Arc;

use flotilla_base::{PeerId, Region, RegionId, StoreId, Version};
use flotilla_multiraft::{
    Applier, ChangePeers, ChangeRequest, Input, MembershipInput, NotInPlace, Proposal, ReadRequest,
    RegionTable, Replica, Reply, RequestError, RequestHeader, SplitCommand, SplitRequest,
    WriteCommand,
};
use flotilla_poller as poller;
use flotilla_telemetry::MonotonicClock;
use tokio::sync::oneshot;

use crate::delegates::{Delegates, InPlace};
use crate::shared_table::SharedTable;

/// Where an answer goes. Dropped without an answer, it says that the outcome is not known.
pub(crate) type Ticket = oneshot::Sender<Reply>;
pub(crate) type PeerState = Box<Replica<Ticket>>;
pub(crate) type PeerMail = Input<Ticket>;
pub(crate) type PeerCells = poller::Router<PeerState, PeerMail>;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It was answered: applied, or refused without effect.
    Done(Reply),
    /// The store stops, or lost the ticket, after the write may have been proposed.
    Unknown,
}

/// Finds the replica of a region on this store and waits for its answers. Clones are handles to one store.
#[derive(Clone)]
pub struct Router {
    store: StoreId,
    cells: Arc<PeerCells>,
    table: Arc<SharedTable>,
    delegates: Arc<Delegates>,
    /// Leases are judged by it.
    clock: MonotonicClock,
}

impl Router {
    pub(crate) fn new(table: RegionTable, clock: MonotonicClock) -> Self {
        let (store, table) = (table.store(), Arc::new(SharedTable::new(table)));
        Self { store, cells: Arc::default(), table, delegates: Arc::default(), clock }
    }

    /// Replicates a write and waits until it is applied here.
    pub async fn write(
        &self,
        region: RegionId,
        header: RequestHeader,
        command: WriteCommand,
    ) -> WriteOutcome {
        let bytes = command.size_bytes();
        let (ticket, answer) = oneshot::channel();
        let proposal = Proposal { header, command, ticket };
        if let Err(reply) = self.submit(region, Input::Propose(Box::new(proposal)), bytes) {
            return WriteOutcome::Done(reply);
        }
        outcome(answer).await
    }

    /// Has `peer` split its region, and waits until that is applied here.
    pub(crate) async fn split(
        &self,
        region: RegionId,
        peer: PeerId,
        command: SplitCommand,
    ) -> WriteOutcome {
        let (ticket, answer) = oneshot::channel();
        let request = SplitRequest { peer, command, ticket };
        if let Err(reply) = self.submit(region, Input::Split(Box::new(request)), 0) {
            return WriteOutcome::Done(reply);
        }
        outcome(answer).await
    }

    /// Has `peer` change the members of its region, and waits until that is applied here.
    pub(crate) async fn change_peers(
        &self,
        region: RegionId,
        peer: PeerId,
        command: ChangePeers,
    ) -> WriteOutcome {
        let (ticket, answer) = oneshot::channel();
        let request = MembershipInput::ChangePeers(ChangeRequest { peer, command, ticket });
        if let Err(reply) = self.submit(region, Input::Membership(Box::new(request)), 0) {
            return WriteOutcome::Done(reply);
        }
        outcome(answer).await
    }

    /// Waits until the data on this store, which leads the region, holds everything that was acknowledged
    /// before the call. A view that is taken after it may be served.
    pub async fn read_barrier(&self, region: RegionId, header: RequestHeader) -> Reply {
        self.barrier(region, header, Input::Read).await
    }

    /// The same for a store that need not lead the region: it asks the one that does.
    pub async fn replica_barrier(&self, region: RegionId, header: RequestHeader) -> Reply {
        self.barrier(region, header, Input::ReplicaRead).await
    }

    /// Begins a read without any barrier. The view of the data is to be taken after this.
    ///
    /// # Errors
    /// [`NotInPlace`]: a barrier is needed, which also says what is wrong with the request.
    pub fn begin_in_place(
        &self,
        region: RegionId,
        header: &RequestHeader,
    ) -> Result<InPlace, NotInPlace> {
        self.delegates.begin(region, header)
    }

    /// Whether the view that was taken since `read` began may be served.
    ///
    /// # Errors
    /// [`NotInPlace`]: it must not be used, and a barrier is needed.
    pub fn finish_in_place(&self, read: InPlace) -> Result<(), NotInPlace> {
        // After the view: a thread that stood still in between finds the lease run out.
        let now = self.clock.now();
        read.finish(now)
    }

    /// The largest clock that an entry of the region carried which is applied here, in milliseconds since 1970.
    /// No value that has ended by it is ever served, by any store.
    #[must_use]
    pub fn applied_clock_millis(&self, region: RegionId) -> u64 {
        self.delegates.clock_millis(region)
    }

    /// The region as it lives on this store.
    #[must_use]
    pub fn region(&self, region: RegionId) -> Option<Region> {
        self.table.live(region)
    }

    /// Whether the region lives on this store in this shape and owns `key`.
    #[must_use]
    pub fn owns(&self, region: RegionId, version: Version, key: &[u8]) -> bool {
        self.table.owns(region, version, key)
    }

    /// Names the last time that the region's data here was about to be replaced by a snapshot; zero for none.
    #[must_use]
    pub fn last_install(&self, region: RegionId) -> u64 {
        self.table.last_install(region)
    }

    /// Every region that lives on this store, by start key.
    #[must_use]
    pub fn regions(&self) -> Vec<Region> {
        self.table.regions()
    }

    /// This store.
    #[must_use]
    pub const fn store_id(&self) -> StoreId {
        self.store
    }

    pub(crate) fn table(&self) -> &SharedTable {
        &self.table
    }

    /// Shows readers where a state machine stands that is about to go on.
    pub(crate) fn show_applier(&self, region: RegionId, applier: &Applier) {
        let (peer, state) = (applier.peer(), applier.state());
        self.delegates.reached(region, peer, state.applied.index, state.clock_millis);
    }

    pub(crate) fn delegates(&self) -> &Delegates {
        &self.delegates
    }

    pub(crate) fn cells(&self) -> &PeerCells {
        &self.cells
    }

    /// Delivers what must not be lost, if that very peer still lives.
    pub(crate) fn notify(&self, region: RegionId, peer: PeerId, input: PeerMail) {
        let cell = self.cells.get(region.get()).filter(|cell| cell.generation() == peer.get());
        if let Some(cell) = cell {
            // A closed cell has answered its tickets already: nobody waits for the notice.
            let _closed_means_gone = cell.send(input).is_err();
        }
    }

    async fn barrier(
        &self,
        region: RegionId,
        header: RequestHeader,
        input: fn(ReadRequest<Ticket>) -> PeerMail,
    ) -> Reply {
        let (ticket, answer) = oneshot::channel();
        if let Err(reply) = self.submit(region, input(ReadRequest { header, ticket }), 0) {
            return reply;
        }
        let lost =
            |_ticket_dropped| Reply::Failed(RequestError::NotLeader { region, leader: None });
        answer.await.unwrap_or_else(lost)
    }

    fn submit(&self, region: RegionId, input: PeerMail, bytes: usize) -> Result<(), Reply> {
        self.cells.try_send(region.get(), input, bytes).map_err(|refused| {
            Reply::Failed(match refused {
                poller::SendError::Full(_) => RequestError::Busy(region),
                poller::SendError::Closed(_) => self.why_absent(region),
            })
        })
    }

    fn why_absent(&self, region: RegionId) -> RequestError {
        if self.table.is_quarantined(region) {
            RequestError::Quarantined(region)
        } else {
            RequestError::RegionNotFound(region)
        }
    }
}

async fn outcome(answer: oneshot::Receiver<Reply>) -> WriteOutcome {
    match answer.await {
        Ok(Reply::Unknown) | Err(_) => WriteOutcome::Unknown,
        Ok(reply) => WriteOutcome::Done(reply),
    }
}
