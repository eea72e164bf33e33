//! Runs replicas in rounds: many inboxes, one write.

use std::sync::Arc;

use flotilla_multiraft::{AfterPersist, Effects, Held, Notice, Reply, RequestError, Round};
use flotilla_poller::{After, Handler, Mailbox, Syncer};
use flotilla_telemetry::WorkMark;

use crate::host::{StoreHost, answer};
use crate::router::{PeerMail, PeerState, Ticket};

/// A round is closed early at this size: a larger batch would only delay the sync of what it holds.
const ROUND_BYTES: usize = 1 << 20;

/// What the syncer carries from the write to the sync.
pub(crate) type RoundToken = Vec<AfterPersist>;

/// One worker of the raft pool.
pub(crate) struct RaftWorker {
    effects: Effects<Ticket>,
    host: StoreHost,
    syncer: Arc<Syncer<RoundToken>>,
    regions: usize,
    mark: WorkMark,
}

impl RaftWorker {
    pub(crate) fn new(host: StoreHost, syncer: Arc<Syncer<RoundToken>>) -> Self {
        let mark = host.mark();
        Self { effects: Effects::default(), host, syncer, regions: 0, mark }
    }
}

impl Handler for RaftWorker {
    type State = PeerState;
    type Message = PeerMail;

    fn begin(&mut self) {
        self.regions = 0;
        self.mark.begin(self.host.now());
    }

    fn handle(
        &mut self,
        cell: &Mailbox<PeerState, PeerMail>,
        replica: &mut PeerState,
        messages: &mut Vec<PeerMail>,
    ) -> After {
        // After these were taken, and for each cell anew: a gate that is closed, or a lease that is judged, by
        // an earlier moment than that of the message would promise less, or allow more, than it says.
        let now = self.host.now();
        let was_asleep = replica.is_asleep();
        let before = replica.held();
        replica.allow(self.host.memory().allowance());
        // Deadlines last: the message that makes one void may wait behind it in the inbox.
        let is_wake = |input: &PeerMail| matches!(input, PeerMail::Wake);
        let wakes = messages.iter().any(is_wake);
        for input in messages.drain(..).filter(|input| !is_wake(input)) {
            replica.handle(now, input, &mut self.effects);
        }
        if wakes {
            // Readers in place leave no other trace, and what they use shall not fall asleep.
            if self.host.take_use(replica.region().id) {
                replica.handle(now, PeerMail::Notice(Notice::InUse), &mut self.effects);
            }
            replica.handle(now, PeerMail::Wake, &mut self.effects);
        }
        self.regions += 1;
        // Without room nothing is written: the cell is woken when there is some.
        if self.syncer.has_room_or_wake(cell.key()) {
            replica.drain(now, &mut self.effects);
        } else {
            replica.drain_unwritten(now, &mut self.effects);
        }
        self.host.metrics().slept(was_asleep, replica.is_asleep());
        self.host.memory().changed(before, replica.held());
        if replica.is_destroyed() { After::Close } else { After::Keep }
    }

    fn closed(&mut self, replica: &mut PeerState, messages: Vec<PeerMail>) {
        let region = replica.region().id;
        self.host.memory().changed(replica.held(), Held::default());
        if replica.is_destroyed() {
            for ticket in messages.into_iter().filter_map(PeerMail::into_ticket) {
                answer(ticket, Reply::Failed(RequestError::RegionNotFound(region)));
            }
            return;
        }
        // Dropped tickets say that the outcome is not known, which is the truth.
        drop((replica.close(), messages));
    }

    fn is_full(&self) -> bool {
        self.effects.log_bytes() >= ROUND_BYTES
    }

    fn end(&mut self) {
        self.host.metrics().ready_batch(self.regions, self.effects.log_bytes());
        Round::finish(&mut self.effects, &mut self.host);
        self.host.flush();
        self.mark.end();
    }
}

#[cfg(test)]
mod tests;
