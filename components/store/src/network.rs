//! Raft messages between this store and the others. Nothing here reads or writes the disk.

use std::sync::{Arc, OnceLock, Weak};

use flotilla_base::{Incarnation, PeerId, RegionId, StoreId};
use flotilla_multiraft::{
    Admission, Input, Notice, PeerMessage, Replica, ReplicaConfig, spread_of,
};
use flotilla_poller::{Mailbox, ReadyQueue};
use flotilla_proto::raft::RaftEnvelope;
use flotilla_raftgroup::MessageKind;
use flotilla_telemetry::MonotonicClock;
use flotilla_transport::{Lane, Peers, Target, TransportEvents};

use crate::brake::{Brake, Room};
use crate::envelope::{decode, encode, is_sign_of_life, sign_of_life};
use crate::memory::Memory;
use crate::metrics::StoreMetrics;
use crate::router::{PeerMail, PeerState, Router};
use crate::silence::Silence;

/// Brings messages of other stores to their replicas.
pub(crate) struct Inbound {
    pub(crate) router: Router,
    pub(crate) queue: ReadyQueue<PeerState, PeerMail>,
    pub(crate) replicas: ReplicaConfig,
    pub(crate) clock: MonotonicClock,
    pub(crate) metrics: Arc<StoreMetrics>,
    pub(crate) silence: Arc<Silence>,
    pub(crate) brake: Arc<Brake>,
    /// What replicas hold together.
    pub(crate) memory: Memory,
    /// For answers about peers that are gone; set once there is a transport.
    pub(crate) peers: OnceLock<Weak<Peers>>,
    /// Ends damaged peers that are said to be gone, without waiting for the disk; set once there is one.
    pub(crate) clears: OnceLock<Box<dyn Fn(PeerMessage) + Send + Sync>>,
}

impl TransportEvents for Inbound {
    fn deliver(&self, from: StoreId, run: Incarnation, envelopes: Vec<RaftEnvelope>) {
        self.silence.heard(from);
        for envelope in envelopes {
            if is_sign_of_life(&envelope) {
                self.hear(from, run);
                continue;
            }
            match decode(envelope) {
                Some(message) => self.accept(message),
                None => self.metrics.message_dropped("malformed"),
            }
        }
    }

    fn unreachable(&self, store: StoreId, targets: Vec<Target>) {
        self.silence.broke(store, tokio::time::Instant::now());
        for Target { region, peer } in targets {
            if let Some(cell) = self.router.cells().get(region.get()) {
                let _closed_means_gone =
                    cell.send(Input::Notice(Notice::Unreachable(peer))).is_err();
            }
        }
    }
}

impl Inbound {
    /// A sign of life arrives.
    fn hear(&self, from: StoreId, run: Incarnation) {
        let now = self.clock.now();
        let has_changed = self.replicas.liveness.change(|it| it.hear(from, run.get(), now));
        if has_changed {
            // In front of what its replicas say: whoever agrees to sleep has to know that this store lives.
            self.give_sign(&[from]);
            self.tell_of(from);
        }
    }

    /// Gives a sign of life to these stores.
    pub(crate) fn give_sign(&self, to: &[StoreId]) {
        let Some(peers) = self.peers.get().and_then(Weak::upgrade) else { return };
        for store in to {
            peers.send(*store, Lane::Urgent, sign_of_life(self.replicas.store, *store));
        }
        peers.flush();
    }

    /// Every replica hears that a store began or ceased to live. The view that they share shows it already.
    pub(crate) fn tell_of(&self, store: StoreId) {
        let spread = spread_of(self.router.cells().len());
        self.router.cells().for_each(|cell| {
            let _closed_means_gone =
                cell.send(Input::Notice(Notice::StoreChanged { store, spread })).is_err();
        });
    }

    fn accept(&self, message: PeerMessage) {
        let admission = self.router.table().admit(&message);
        match admission {
            Admission::Deliver => {}
            Admission::Create(peer) => self.create(message.region, peer),
            Admission::Confirm => {
                let answer = self.router.table().confirm(&message);
                if let Some(peers) = self.peers.get().and_then(Weak::upgrade) {
                    send_all(&peers, vec![answer]);
                }
                return;
            }
            Admission::Clear => return (self.clears.get()).map_or((), |clear| clear(message)),
            Admission::Drop(_) => return self.metrics.message_dropped("not admitted"),
        }
        let (region, bytes) = (message.region, message.message.size_bytes());
        let is_bulk = message.message.kind == MessageKind::Append;
        if is_bulk && !message.message.entries.is_empty() {
            // They are sent again. A write that fails would end the store.
            if self.brake.room() == Room::None {
                return self.metrics.message_dropped("disk full");
            }
            // Their replica would drop them as well, and they need no room in its inbox.
            if self.memory.is_apply_behind() {
                return self.metrics.message_dropped("apply behind");
            }
        }
        let input = Input::Message(Box::new(message));
        // Only entries are refused for lack of room: the leader sends them again. Heartbeats, votes and
        // answers are small, and losing them costs elections.
        let is_lost = if is_bulk {
            self.router.cells().try_send(region.get(), input, bytes).is_err()
        } else {
            self.router.cells().send(region.get(), input).is_err()
        };
        if is_lost {
            self.metrics.message_dropped("inbox");
        }
    }

    /// A peer that the bootstrap has not reached yet: it must be able to vote.
    pub(crate) fn create(&self, region: RegionId, peer: PeerId) {
        if let Some(cell) = self.make(region, peer) {
            self.router.table().create(cell, self.router.cells());
        }
    }

    /// A split takes the slot of its child; `false` where it cannot have it.
    pub(crate) fn claim(&self, region: RegionId, peer: PeerId) -> bool {
        let cell = self.make(region, peer);
        cell.is_some_and(|cell| self.router.table().claim_split(cell, self.router.cells()))
    }

    /// A peer without data in a cell of its own. Nothing of it is on the disk.
    fn make(&self, region: RegionId, peer: PeerId) -> Option<Mailbox<PeerState, PeerMail>> {
        let now = self.clock.now();
        match Replica::uninitialised(self.replicas.clone(), region, peer, now) {
            Ok(replica) => Some(self.queue.cell(region.get(), peer.get(), Box::new(replica))),
            Err(error) => {
                tracing::error!(region = region.get(), %error, "peer not created");
                None
            }
        }
    }
}

/// Hands messages to the transport.
pub(crate) fn send_all(peers: &Peers, messages: Vec<PeerMessage>) {
    for message in messages {
        let to = message.to_store();
        let envelope = encode(message);
        let lane = envelope.message.as_ref().map_or(Lane::Urgent, |body| Lane::of(body.kind()));
        peers.send(to, lane, envelope);
    }
}
