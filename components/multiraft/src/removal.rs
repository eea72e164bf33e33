//! Members that were removed, until their stores confirm that nothing is left of them.
//!
//! Who is removed hears of it from nobody: the entry that says so may never reach it, and afterwards nobody sends it
//! anything. So the region remembers it, as a part of what its log decides, and whoever leads tells the removed peer
//! again and again, ever more slowly, until its store has a tombstone for it. Then one more entry of the log ends it. While
//! its store is silent the region may sleep on that; it wakes when the store is heard again ([`crate::quiescence`]).
//!
//! So it is where a newer peer of the region has data there. A store that is gone for good ([`crate::Liveness::bury`])
//! confirms nothing, and members turn away whatever comes of it: what was removed there counts as confirmed.
//!
//! A peer without data hears even less. It asks whoever talked to it last.
//!
//! ```text
//! family raftmeta   0x14 | region u64 BE -> record(version 1): count | (peer id, store id)*
//! ```

use flotilla_base::codec::{CodecError, RecordReader, RecordWriter};
use flotilla_base::{
    Bug, Family, Index, KvRead, Moment, Mutation, Peer, PeerId, ReadError, RegionId, Span, StoreId,
    Term,
};
use flotilla_raftgroup::{
    LogPosition, Message, MessageKind,
    disk::{self, DiskError},
};

use crate::command::ForgetCommand;
use crate::effects::Effects;
use crate::input::PeerMessage;
use crate::replica::{Lifecycle, Replica};

/// First byte of the keys of removed members.
pub const REMOVED_KIND: u8 = 0x14;
const VERSION: u8 = 1;

/// The pause between two attempts to tell a removed peer grows up to so many heartbeats.
const PAUSE_HEARTBEATS_MAX: u64 = 64;

/// A peer without data that hears nothing for so many gates asks whether it is still a member.
const SILENT_GATES: u64 = 10;

/// Why the removed members of a region are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemovedError {
    /// The storage engine failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record cannot be understood.
    #[error("the record of removed members: {0}")]
    Record(#[from] CodecError),
}

/// The removed members of a region that are not confirmed, in the order in which they were removed.
///
/// # Errors
/// [`RemovedError`].
pub fn read_removed(reader: &dyn KvRead, region: RegionId) -> Result<Vec<Peer>, RemovedError> {
    let key = disk::meta_key(REMOVED_KIND, region);
    let Some(record) = reader.get(Family::RaftMeta, &key)? else { return Ok(Vec::new()) };
    let mut fields = RecordReader::open(&record, VERSION)?;
    let mut peers = Vec::new();
    for _ in 0..fields.number()? {
        peers.push(Peer::voter(PeerId(fields.number()?), StoreId(fields.number()?)));
    }
    fields.finish()?;
    Ok(peers)
}

/// As [`read_removed`], with the words that are used of a group's other records.
pub(crate) fn removed_on_disk(
    reader: &dyn KvRead,
    region: RegionId,
) -> Result<Vec<Peer>, DiskError> {
    read_removed(reader, region).map_err(|error| match error {
        RemovedError::Read(error) => DiskError::Read(error),
        RemovedError::Record(cause) => {
            DiskError::Record { group: region, what: "removed members", cause }
        }
    })
}

/// The mutation that makes `peers` the removed members of `region`.
#[must_use]
pub fn put_removed(region: RegionId, peers: &[Peer]) -> Mutation {
    let key = disk::meta_key(REMOVED_KIND, region);
    if peers.is_empty() {
        return Mutation::Delete(Family::RaftMeta, key);
    }
    let mut record = RecordWriter::new(VERSION);
    record.number(peers.len() as u64);
    for peer in peers {
        record.number(peer.id.get()).number(peer.store.get());
    }
    Mutation::Put(Family::RaftMeta, key, record.finish())
}

/// What a replica knows of removed members, its own removal included.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// Not confirmed in the log yet.
    pub(crate) removed: Vec<Peer>,
    /// Confirmed to this leader.
    confirmed: Vec<PeerId>,
    /// The entry that this leader proposed for them.
    forgotten_at: Option<LogPosition>,
    pursuit: Pursuit,
    contact: Contact,
}

/// How a leader tells removed members.
#[derive(Debug, Default)]
struct Pursuit {
    /// The lead for which the rest counts.
    term: Term,
    due_at: Moment,
    pause: Span,
}

/// What a peer without data heard.
#[derive(Debug, Default)]
struct Contact {
    at: Moment,
    /// The largest version of the membership.
    conf_ver: u64,
}

impl Removals {
    pub(crate) fn new(removed: Vec<Peer>) -> Self {
        Self { removed, ..Self::default() }
    }

    /// Whether a member was removed that lived on this store, and is not confirmed to be gone.
    pub(crate) fn is_on(&self, store: StoreId) -> bool {
        self.removed.iter().any(|peer| peer.store == store)
    }

    /// Somebody is there again to be told: at once, however long the pauses have become.
    pub(crate) fn pursue_anew(&mut self) {
        self.pursuit = Pursuit::default();
    }

    /// The log says who is removed now.
    pub(crate) fn become_known(&mut self, removed: Vec<Peer>) {
        if removed.len() > self.removed.len() {
            self.pursue_anew();
        }
        self.confirmed.retain(|peer| removed.iter().any(|it| it.id == *peer));
        self.removed = removed;
    }
}

impl<T> Replica<T> {
    /// Whether a member was removed whose end is not confirmed.
    #[must_use]
    pub const fn remembers_removed(&self) -> bool {
        !self.members.removals.removed.is_empty()
    }

    /// Messages that raft does not know; `true` where this was one.
    pub(crate) fn take_aside(&mut self, message: &PeerMessage, effects: &mut Effects<T>) -> bool {
        match message.message.kind {
            MessageKind::PeerGone => self.hear_of_removal(message, effects),
            MessageKind::GoneConfirmed => self.note_confirmed(message.from),
            MessageKind::AmIGone => self.judge_asker(message, effects),
            _ => return self.turn_away(message, effects),
        }
        true
    }

    /// Whoever is no member of a newer membership than the one it knows was removed: it is told so, and not heard.
    fn turn_away(&mut self, message: &PeerMessage, effects: &mut Effects<T>) -> bool {
        let asks_by_its_own_epoch = message.epoch.conf_ver.get();
        if !self.proves_removal(message.from, asks_by_its_own_epoch) {
            return false;
        }
        self.tell_aside(MessageKind::PeerGone, message.from, effects);
        true
    }

    fn judge_asker(&mut self, message: &PeerMessage, effects: &mut Effects<T>) {
        if self.proves_removal(message.from, message.message.index.get()) {
            self.tell_aside(MessageKind::PeerGone, message.from, effects);
        }
    }

    /// `asker` was a member at this version of the membership. It is none at a later one: so it never will be again.
    /// A peer that knows no version may be about to become a member.
    fn proves_removal(&self, asker: Peer, conf_ver: u64) -> bool {
        let is_newer = conf_ver > 0 && conf_ver < self.region.epoch.conf_ver.get();
        self.life == Lifecycle::Active && is_newer && self.region.peer(asker.id).is_none()
    }

    fn note_confirmed(&mut self, peer: Peer) {
        let removals = &mut self.members.removals;
        let is_removed = removals.removed.iter().any(|it| it.id == peer.id);
        if is_removed && !removals.confirmed.contains(&peer.id) {
            removals.confirmed.push(peer.id);
        }
    }

    pub(crate) fn tell_aside(&self, kind: MessageKind, to: Peer, effects: &mut Effects<T>) {
        effects.send_now.push(self.aside(kind, to));
    }

    pub(crate) fn aside(&self, kind: MessageKind, to: Peer) -> PeerMessage {
        let own = self.region.peer(self.peer);
        PeerMessage {
            region: self.region.id,
            from: own.unwrap_or(Peer::voter(self.peer, self.config.store)),
            to,
            epoch: self.region.epoch,
            matched_by_all: Index(0),
            message: Message::new(kind, self.peer, to.id, Term(0)),
        }
    }

    /// What a leader owes to removed members.
    pub(crate) fn pursue_removed(&mut self, now: Moment, effects: &mut Effects<T>) {
        if !self.group.is_leader() || self.members.removals.removed.is_empty() {
            return;
        }
        self.confirm_for_the_gone();
        self.forget_confirmed();
        let (term, heartbeat) = (self.group.role().term, self.timing().heartbeat);
        let removals = &mut self.members.removals;
        let pursuit = &mut removals.pursuit;
        if pursuit.term != term {
            *pursuit = Pursuit { term, due_at: now, pause: heartbeat * 2 };
        }
        if now < pursuit.due_at {
            return;
        }
        pursuit.due_at = now + pursuit.pause;
        pursuit.pause = Span((pursuit.pause.0 * 2).min(heartbeat.0 * PAUSE_HEARTBEATS_MAX));
        let is_open = |peer: &&Peer| !removals.confirmed.contains(&peer.id);
        let open: Vec<Peer> = removals.removed.iter().filter(is_open).copied().collect();
        for peer in open {
            self.tell_aside(MessageKind::PeerGone, peer, effects);
        }
    }

    /// Nobody is left to be told on a store that never runs again, and nobody to confirm it.
    fn confirm_for_the_gone(&mut self) {
        let is_gone = |peer: &&Peer| self.config.liveness.look(|it| it.is_gone(peer.store));
        let removed = &self.members.removals.removed;
        let gone: Vec<Peer> = removed.iter().filter(is_gone).copied().collect();
        gone.into_iter().for_each(|peer| self.note_confirmed(peer));
    }

    /// Ends the pursuit of those who are confirmed, by the log.
    fn forget_confirmed(&mut self) {
        let removals = &self.members.removals;
        let term = self.group.role().term;
        let is_under_way = removals
            .forgotten_at
            .is_some_and(|at| at.term == term && at.index > self.apply.applied);
        if removals.confirmed.is_empty() || is_under_way {
            return;
        }
        let data = ForgetCommand { peers: removals.confirmed.clone() }.encode();
        if let Ok(position) = self.group.propose(data) {
            self.members.removals.forgotten_at = Some(position);
        }
    }

    /// Who talks to a peer without data, and by which version of the membership.
    pub(crate) fn note_contact(&mut self, now: Moment, message: &PeerMessage) {
        let contact = &mut self.members.removals.contact;
        contact.at = now;
        contact.conf_ver = contact.conf_ver.max(message.epoch.conf_ver.get());
    }

    /// When a peer without data asks.
    pub(crate) fn silence_deadline(&self) -> Moment {
        self.members.removals.contact.at + self.timing().gate * SILENT_GATES
    }

    /// A peer without data that hears nothing asks whoever talked to it last.
    pub(crate) fn ask_whether_gone(&mut self, now: Moment, effects: &mut Effects<T>) {
        let last_sender = self.embryo.last_sender;
        if self.life != Lifecycle::Uninitialised || now < self.silence_deadline() {
            return;
        }
        self.members.removals.contact.at = now;
        if !last_sender.id.is_none() {
            let mut question = self.aside(MessageKind::AmIGone, last_sender);
            question.message.index = Index(self.members.removals.contact.conf_ver);
            effects.send_now.push(question);
        }
    }

    /// Whether the removed peer acts as if it were still a member.
    pub(crate) fn is_orphan_on_purpose(&self) -> bool {
        self.has_bug(Bug::ORPHAN_ANSWERS_AFTER_REMOVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use flotilla_base::Tables;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(ids in prop::collection::vec((any::<u64>(), any::<u64>()), 0..5)) {
            let peer = |(peer, store)| Peer::voter(PeerId(peer), StoreId(store));
            let peers: Vec<Peer> = ids.into_iter().map(peer).collect();
            let disk = Mutex::new(Tables::default());
            let before = [Peer::voter(PeerId(9), StoreId(9))];
            let batch = [put_removed(RegionId(2), &before), put_removed(RegionId(2), &peers)];
            disk.lock().expect("nobody else").apply(&batch);
            prop_assert_eq!(read_removed(&disk, RegionId(2)), Ok(peers));
        }
    }

    #[test]
    fn a_damaged_record_is_found() {
        let disk = Mutex::new(Tables::default());
        let key = disk::meta_key(REMOVED_KIND, RegionId(2));
        let damaged = Mutation::Put(Family::RaftMeta, key, "damaged".into());
        disk.lock().expect("nobody else").apply(&[damaged]);
        assert!(matches!(read_removed(&disk, RegionId(2)), Err(RemovedError::Record(_))));
    }
}
