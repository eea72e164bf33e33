//! One store, and whatever other stores could send it. A sequence of bytes is a script: it chooses what the
//! store has been through, and then messages with the numbers that hurt, between the turns, syncs and crashes
//! of its life. The store may drop a message, take a peer out of service, or stop at an entry that it does not
//! know; it may not panic, answer a ticket twice, or change data outside of its regions.

mod store;

use flotilla_base::{ConfVer, Epoch, Index, Peer, PeerId, RegionId, StoreId, Version};
use flotilla_multiraft::{Arrival, PeerMessage, SnapshotMeta, StageNumber};
use flotilla_raftgroup::{ApplyState, LogPosition, MessageKind};

use crate::message;
use crate::script::Script;
pub(crate) use store::Store;

/// What became of some scripts: a test that saw nothing proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Messages that reached a replica, made one, and were dropped at the table.
    pub(crate) delivered: u64,
    pub(crate) created: u64,
    pub(crate) dropped: u64,
    /// Peers that were taken out of service.
    pub(crate) quarantined: u64,
    /// Entries that were applied.
    pub(crate) applied: u64,
    /// Stores that stopped at an entry.
    pub(crate) stopped: u64,
    pub(crate) crashes: u64,
    /// Tickets that were answered.
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) refused: u64,
    /// Splits that were answered with the regions, and regions that began here.
    pub(crate) split: u64,
    pub(crate) born: u64,
    /// Snapshots that were refused, at the table or by the replica; that were put in place; and that were lost then.
    pub(crate) turned_away: u64,
    pub(crate) installed: u64,
    pub(crate) lost: u64,
    /// Changes of members that were answered with the region, peers that were destroyed, and messages to those.
    pub(crate) changed: u64,
    pub(crate) destroyed: u64,
    pub(crate) confirmed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.created += other.created;
        self.dropped += other.dropped;
        self.quarantined += other.quarantined;
        self.applied += other.applied;
        self.stopped += other.stopped;
        self.crashes += other.crashes;
        self.written += other.written;
        self.read += other.read;
        self.refused += other.refused;
        self.split += other.split;
        self.born += other.born;
        self.turned_away += other.turned_away;
        self.installed += other.installed;
        self.lost += other.lost;
        self.changed += other.changed;
        self.destroyed += other.destroyed;
        self.confirmed += other.confirmed;
    }

    pub(crate) const fn seen(&self) -> [u64; 18] {
        let Self { delivered, created, dropped, quarantined, applied, stopped, .. } = *self;
        let Self { crashes, written, read, refused, split, born, .. } = *self;
        let Self { turned_away, installed, lost, changed, destroyed, confirmed, .. } = *self;
        [
            delivered,
            created,
            dropped,
            quarantined,
            applied,
            stopped,
            crashes,
            written,
            read,
            refused,
            split,
            born,
            turned_away,
            installed,
            lost,
            changed,
            destroyed,
            confirmed,
        ]
    }
}

/// Plays a script to its end, or until the store stops at an entry.
///
/// # Panics
/// Where the store panics, or breaks a rule.
#[must_use]
pub(crate) fn play(bytes: &[u8]) -> Tally {
    let mut script = Script::new(bytes);
    let mut store = Store::met_in(script.choose(store::STATES));
    while !script.is_over() && !store.is_stopped {
        match script.choose(28) {
            0..10 => {
                let message = any_message(&store, &mut script);
                store.receive(message);
            }
            10..15 => store.turn(),
            15..17 => store.sync(),
            17 => store.apply(),
            18 => store.wake(),
            19 => store.pass_time(u64::from(script.byte()) * 8),
            20 => store.ask(script.byte()),
            21 => store.put(script.byte()),
            23 => store.split(script.byte()),
            24 | 25 => {
                let arrival = any_arrival(&store, &mut script);
                store.bring(arrival);
            }
            26 => store.change(script.byte()),
            22 => store.transfer(PeerId(20 + u64::from(script.choose(5)))),
            _ if script.is_rare(32) => store.crash(usize::from(script.choose(4))),
            _ => store.settle(),
        }
        store.check();
    }
    store.tally
}

/// A message for one of the store's replicas, or for none.
fn any_message(store: &Store, script: &mut Script<'_>) -> PeerMessage {
    let region = store.some_region(script.byte());
    let Some(known) = store.known(region) else {
        // To a region that is not here yet.
        return PeerMessage { region: RegionId(script.near(2)), ..store.stray(script.choose(17)) };
    };
    let message = message::any(&known, script);
    let home = |peer: PeerId| StoreId(peer.get() % 10);
    let applied = known.applied.get();
    PeerMessage {
        region: if script.is_rare(4) { RegionId(script.near(region.get())) } else { region },
        from: Peer::voter(message.from, home(message.from)),
        to: Peer::voter(message.to, StoreId(if script.is_rare(4) { script.near(1) } else { 1 })),
        epoch: Epoch { version: Version(script.near(1)), conf_ver: ConfVer(script.near(1)) },
        matched_by_all: Index(if script.is_rare(64) { script.near(applied) } else { 0 }),
        message,
    }
}

/// A snapshot for one of the store's replicas, as a leader could send it, or nearly.
fn any_arrival(store: &Store, script: &mut Script<'_>) -> Arrival {
    let mut message = any_message(store, script);
    message.message.kind = MessageKind::Snapshot;
    if script.is_rare(200) {
        message.message.entries.clear();
        message.message.term = message.message.term.max(message.message.log_term);
    }
    if let Some(known) = store.known(message.region).filter(|_| script.is_rare(128)) {
        // What a sound leader could send.
        let (from, to) = (PeerId(known.peer.get() / 10 * 10 + 2), known.peer);
        let term = known.group.role().term.next();
        let index = Index(known.group.last().index.get() + 1 + u64::from(script.choose(4)));
        (message.from, message.to) = (Peer::voter(from, StoreId(2)), Peer::voter(to, StoreId(1)));
        message.message = flotilla_raftgroup::Message {
            index,
            log_term: term,
            ..flotilla_raftgroup::Message::new(MessageKind::Snapshot, from, to, term)
        };
    }
    let (index, term) = (message.message.index, message.message.log_term);
    let index = if script.is_rare(200) { index } else { Index(script.near(index.get())) };
    let apply = ApplyState::starting_at(LogPosition { index, term });
    let mut region = store.shape(message.region);
    if script.is_rare(32) {
        region.id = RegionId(script.near(region.id.get()));
    }
    if script.is_rare(32) {
        let (start, end) = [("", "m"), ("", "g"), ("g", "m"), ("m", ""), ("m", "b")]
            [usize::from(script.choose(5))];
        region.range = flotilla_base::KeyRange::new(start, end);
    }
    if script.is_rare(32) && !region.peers.is_empty() {
        let peer = usize::from(script.byte()) % region.peers.len();
        region.peers[peer].id = PeerId(script.near(region.peers[peer].id.get()));
    }
    if script.is_rare(32) {
        region.epoch.version = Version(script.near(region.epoch.version.get()));
    }
    if script.is_rare(32) {
        region.epoch.conf_ver = ConfVer(script.near(region.epoch.conf_ver.get()));
    }
    let removed = vec![Peer::voter(PeerId(29), StoreId(9)); usize::from(script.choose(2))];
    let stage = StageNumber(u64::from(script.byte()));
    Arrival { message, meta: SnapshotMeta { region, apply, removed }, stage }
}
