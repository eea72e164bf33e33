//! How a peer ends: its own removal was applied, or somebody proved that it is no member any more.
//!
//! 1. It takes part in nothing from now on: readers lose their permit, nothing is proposed, voted or collected. A
//!    snapshot that it was about to be given is given up; one that is half in its place is waited for first.
//! 2. What it has under way comes to an end: writes that are not durable, and whatever its applier was given.
//! 3. The region table, which also gives slots to a split's children, lets it go ([`Report::Leaving`], then
//!    [`crate::MembershipInput::MayLeave`]).
//! 4. One batch, made durable: a tombstone in place of everything that it had, and an order to clean its keys.
//! 5. Slot and keys are free ([`Report::Destroyed`]), and whoever asked is told so.
//! 6. The data is cleaned, where nobody else owns it by then ([`crate::cleaning`]), in the batch that takes the order
//!    back.
//!
//! A crash in front of 4 finds a peer that hears of its removal again, or knows of it and ends at once. Behind it the
//! tombstone keeps late messages and splits from making the peer anew, and the order is found at the next start.
//!
//! ```text
//! family raftmeta   0x15 | region u64 BE               -> record(version 1): smallest peer id that may live here |
//!                                                         version | conf_ver
//!                   0x16 | region u64 BE | peer u64 BE -> record(version 1): start bytes | end bytes
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_base::codec::{CodecError, RecordReader, RecordWriter};
use flotilla_base::{
    Bug, ConfVer, Epoch, Family, Index, Key, KeyRange, KvRead, Mutation, Peer, PeerId, ReadError,
    Region, RegionId, ScanDirection, Version,
};
use flotilla_raftgroup::{MessageKind, ReadyNumber, disk};

use crate::effects::{AfterPersist, Effects, Report};
use crate::input::{PeerMessage, Reply, RequestError};
use crate::persist::{RegionState, delete_peer_mark, region_state_key};
use crate::removal::put_removed;
use crate::replica::{Lifecycle, Replica};

/// First byte of the keys of tombstones.
pub const TOMBSTONE_KIND: u8 = 0x15;
/// First byte of the keys of orders to clean.
pub const CLEANUP_KIND: u8 = 0x16;
const VERSION: u8 = 1;

/// Notices of a group's own writes have smaller numbers.
const LAST_WRITE: ReadyNumber = ReadyNumber(u64::MAX);

/// What is left of a region's last peer on a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Peers with smaller ids are gone from here for good.
    pub min_next: PeerId,
    /// The newest shape of the region that was known here.
    pub epoch: Epoch,
}

/// Keys that may have an owner no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// Whose they were.
    pub region: RegionId,
    /// The peer that had them, or that was to have them.
    pub peer: PeerId,
    /// The keys.
    pub range: KeyRange,
}

/// Why what destroyed peers left is not known. The store must not start: it might make them anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemainsError {
    /// The storage engine failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record cannot be understood.
    #[error("region {region}: {what}: {cause}")]
    Record {
        /// The region.
        region: RegionId,
        /// Which record.
        what: &'static str,
        /// Why.
        cause: CodecError,
    },
}

/// What destroyed peers left on a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// By region.
    pub tombstones: BTreeMap<RegionId, Tombstone>,
    /// What is still to be cleaned.
    pub cleanups: Vec<Cleanup>,
}

/// The mutation that writes the tombstone of `region`.
#[must_use]
pub fn put_tombstone(region: RegionId, tombstone: &Tombstone) -> Mutation {
    let Tombstone { min_next, epoch } = tombstone;
    let mut record = RecordWriter::new(VERSION);
    record.number(min_next.get()).number(epoch.version.get()).number(epoch.conf_ver.get());
    Mutation::Put(Family::RaftMeta, disk::meta_key(TOMBSTONE_KIND, region), record.finish())
}

/// The mutation that orders the keys of `cleanup` to be cleaned.
#[must_use]
pub fn put_cleanup(cleanup: &Cleanup) -> Mutation {
    let mut record = RecordWriter::new(VERSION);
    record.bytes(&cleanup.range.start).bytes(&cleanup.range.end);
    Mutation::Put(Family::RaftMeta, cleanup_key(cleanup), record.finish())
}

/// The mutation that takes back the order of `cleanup`.
pub(crate) fn delete_cleanup(cleanup: &Cleanup) -> Mutation {
    Mutation::Delete(Family::RaftMeta, cleanup_key(cleanup))
}

fn cleanup_key(cleanup: &Cleanup) -> Key {
    let group = disk::meta_key(CLEANUP_KIND, cleanup.region);
    [&group[..], &cleanup.peer.get().to_be_bytes()].concat().into()
}

/// Reads what destroyed peers left.
///
/// # Errors
/// [`RemainsError`].
pub fn recover_remains(reader: &dyn KvRead) -> Result<Remains, RemainsError> {
    let mut remains = Remains::default();
    let mut failed = None;
    let range = KeyRange::new(vec![TOMBSTONE_KIND], vec![CLEANUP_KIND + 1]);
    reader.scan(Family::RaftMeta, &range, ScanDirection::Forward, &mut |key, record| {
        let outcome = remains.take(key, &Bytes::copy_from_slice(record));
        failed = outcome.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(remains), Err)
}

impl Remains {
    fn take(&mut self, key: &[u8], record: &Bytes) -> Result<(), RemainsError> {
        let number = |bytes: Option<&[u8]>| {
            bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
        };
        let region = RegionId(number(key.get(1..9)));
        let is_tombstone = key.first() == Some(&TOMBSTONE_KIND);
        let what = if is_tombstone { "its tombstone" } else { "an order to clean" };
        let wrong = |cause| RemainsError::Record { region, what, cause };
        if is_tombstone {
            self.tombstones.insert(region, decode_tombstone(record).map_err(wrong)?);
        } else {
            let (peer, range) = (PeerId(number(key.get(9..))), decode_range(record));
            self.cleanups.push(Cleanup { region, peer, range: range.map_err(wrong)? });
        }
        Ok(())
    }
}

fn decode_tombstone(record: &Bytes) -> Result<Tombstone, CodecError> {
    let mut fields = RecordReader::open(record, VERSION)?;
    let min_next = PeerId(fields.number()?);
    let epoch = Epoch { version: Version(fields.number()?), conf_ver: ConfVer(fields.number()?) };
    fields.finish()?;
    Ok(Tombstone { min_next, epoch })
}

fn decode_range(record: &Bytes) -> Result<KeyRange, CodecError> {
    let mut fields = RecordReader::open(record, VERSION)?;
    let range = KeyRange { start: fields.bytes()?, end: fields.bytes()? };
    fields.finish()?;
    Ok(range)
}

/// A peer on its way out.
#[derive(Debug)]
pub(crate) struct Leaving {
    stage: Stage,
    /// The newest membership that it heard of.
    epoch: Epoch,
    /// Who waits to hear that it is gone.
    askers: Vec<Peer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Something is under way.
    Draining,
    /// The region table is asked.
    Asked,
    /// The slot cannot be given to anybody else.
    Granted,
    /// The tombstone is on its way to the disk.
    Written,
    /// It is durable.
    Gone,
    /// The store knows.
    Told,
}

impl<T> Replica<T> {
    /// Somebody says that this peer is no member any more. It believes that of its very own id, where whoever says so
    /// knows a later membership; a peer without data knows none at all.
    pub(crate) fn hear_of_removal(&mut self, message: &PeerMessage, effects: &mut Effects<T>) {
        if let Some(leaving) = &mut self.members.leaving {
            if !leaving.askers.iter().any(|asker| asker.id == message.from.id) {
                leaving.askers.push(message.from);
            }
            return;
        }
        let is_newer = message.epoch.conf_ver > self.region.epoch.conf_ver;
        let is_proven = match self.life {
            // What a split has given it already it must own before it can leave it: it is told again.
            Lifecycle::Uninitialised => self.embryo.awaited.is_none(),
            Lifecycle::Active | Lifecycle::Quarantined => is_newer,
            // What is half installed is ended first: it is told again.
            Lifecycle::Installing => is_newer && self.may_give_up_install(),
            Lifecycle::Leaving => false,
        };
        if !is_proven {
            return;
        }
        if self.is_orphan_on_purpose() {
            self.tell_aside(MessageKind::GoneConfirmed, message.from, effects);
            return;
        }
        self.begin_leaving(effects);
        if let Some(leaving) = &mut self.members.leaving {
            leaving.askers.push(message.from);
            leaving.epoch = leaving.epoch.max(message.epoch);
        }
    }

    /// Whether the host knows that nothing is left of this peer but its tombstone.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.members.leaving.as_ref().is_some_and(|leaving| leaving.stage == Stage::Told)
    }

    /// Behind a start: a crash may have come between its removal, which its data knows, and its end. Nobody could prove to it
    /// what it knows already.
    pub(crate) fn leave_if_removed(&mut self, effects: &mut Effects<T>) {
        let is_removed = self.life == Lifecycle::Active && self.region.peer(self.peer).is_none();
        if is_removed && !self.is_orphan_on_purpose() {
            self.begin_leaving(effects);
        }
    }

    /// The first step. Whoever waits is answered: what is not proposed has no effect, and of the rest nobody here
    /// will know.
    pub(crate) fn begin_leaving(&mut self, effects: &mut Effects<T>) {
        assert!(self.members.leaving.is_none(), "{self:?}: a peer leaves once");
        self.give_up_install(effects);
        let region = self.region.id;
        let mut refused = self.writes.take_waiting();
        refused.extend(self.reads.take_unconfirmed());
        refused.extend(self.reads.take_granted());
        for ticket in refused {
            effects.refuse(ticket, RequestError::RegionNotFound(region));
        }
        let unknown = self.writes.drain().into_iter();
        effects.replies.extend(unknown.map(|ticket| (ticket, Reply::Unknown)));
        if self.life == Lifecycle::Active {
            self.group.resign();
            let (region, change) = (self.region.clone(), self.group.role());
            effects.reports.push(Report::Role { region, peer: self.peer, change });
        }
        self.life = Lifecycle::Leaving;
        let (stage, epoch) = (Stage::Draining, self.region.epoch);
        self.members.leaving = Some(Leaving { stage, epoch, askers: Vec::new() });
    }

    /// A split took the slot of this peer for its child before the table let the peer go: it begins to live, and can
    /// be removed later. The table lets nobody go whom a split has given data ([`crate::RegionTable::born`]).
    pub(crate) fn stay(&mut self) {
        let is_bound = |leaving: &Leaving| matches!(leaving.stage, Stage::Draining | Stage::Asked);
        if self.region.peers.is_empty() && self.members.leaving.as_ref().is_some_and(is_bound) {
            self.members.leaving = None;
            self.life = Lifecycle::Uninitialised;
        }
    }

    pub(crate) fn may_leave(&mut self) {
        if let Some(leaving) = &mut self.members.leaving {
            assert_eq!(leaving.stage, Stage::Asked, "the table answers a question");
            leaving.stage = Stage::Granted;
        }
    }

    /// Whether everything up to `number` is durable is no news for the group: it was the last write.
    pub(crate) fn is_last_write(&mut self, number: ReadyNumber) -> bool {
        if number != LAST_WRITE {
            return false;
        }
        if let Some(leaving) = &mut self.members.leaving {
            leaving.stage = Stage::Gone;
        }
        true
    }

    /// The next step, where it is due.
    pub(crate) fn leave(&mut self, effects: &mut Effects<T>) {
        let is_drained = self.group.outstanding() == 0 && self.apply.open_tasks == 0;
        let (region, peer) = (self.region.id, self.peer);
        let Some(leaving) = &mut self.members.leaving else { return };
        match leaving.stage {
            Stage::Draining if is_drained => {
                leaving.stage = Stage::Asked;
                effects.births.push(Report::Leaving { region, peer });
            }
            Stage::Granted => {
                leaving.stage = Stage::Written;
                self.write_tombstone(effects);
            }
            Stage::Gone => {
                leaving.stage = Stage::Told;
                let (tombstone, cleanup) = (self.tombstone(), self.cleanup());
                effects.reports.push(Report::Destroyed { region, peer, tombstone, cleanup });
            }
            Stage::Draining | Stage::Asked | Stage::Written | Stage::Told => {}
        }
    }

    fn tombstone(&self) -> Tombstone {
        let heard = self.members.leaving.as_ref().map_or(self.region.epoch, |it| it.epoch);
        Tombstone { min_next: self.peer.next(), epoch: heard.max(self.region.epoch) }
    }

    /// A peer without data owns no keys.
    fn cleanup(&self) -> Option<Cleanup> {
        let Region { id: region, range, .. } = self.region.clone();
        let owns = !self.region.peers.is_empty();
        owns.then_some(Cleanup { region, peer: self.peer, range })
    }

    fn write_tombstone(&mut self, effects: &mut Effects<T>) {
        let (region, peer) = (self.region.id, self.peer);
        let mut batch = vec![put_tombstone(region, &self.tombstone())];
        let (truncated, last) = (self.group.truncated(), self.group.written_last());
        let keeps_log = self.has_bug(Bug::DESTROY_KEEPS_LOG);
        let kept_up_to = if keeps_log { last.index } else { truncated.index };
        disk::delete_group(region, kept_up_to, last.index, &mut batch);
        // Whoever still looks at the group must not look for entries that are gone.
        self.group.on_truncated(last);
        let state = RegionState::Normal(peer, self.region.clone());
        batch.push(Mutation::Delete(Family::RaftMeta, region_state_key(region, &state)));
        batch.push(delete_peer_mark(region));
        batch.push(put_removed(region, &[]));
        batch.extend(self.cleanup().as_ref().map(put_cleanup));
        effects.log.extend(batch);
        let askers = self.members.leaving.as_ref().map_or(&[][..], |leaving| &leaving.askers);
        let told = askers.iter().map(|asker| self.aside(MessageKind::GoneConfirmed, *asker));
        let messages = told.collect();
        effects.log.after.push(AfterPersist { region, peer, number: LAST_WRITE, messages });
    }
}

/// What a store says of a peer that is gone from it, to whoever asks; `known` is what it knows of the region.
pub(crate) fn confirmation(asked: &PeerMessage, known: Epoch) -> PeerMessage {
    let (from, to) = (asked.to, asked.from);
    let kind = MessageKind::GoneConfirmed;
    let message = flotilla_raftgroup::Message::new(kind, from.id, to.id, flotilla_base::Term(0));
    let (region, matched_by_all) = (asked.region, Index(0));
    PeerMessage { region, from, to, epoch: known, matched_by_all, message }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use flotilla_base::Tables;

    use super::*;

    fn cleanup(range: (&'static str, &'static str)) -> Cleanup {
        let range = KeyRange::new(range.0, range.1);
        Cleanup { region: RegionId(9), peer: PeerId(91), range }
    }

    #[test]
    fn remains_are_read_back() {
        let disk = Mutex::new(Tables::default());
        let tombstone = Tombstone { min_next: PeerId(92), epoch: Epoch::FIRST };
        let cleanups = vec![cleanup(("a", "b")), Cleanup { peer: PeerId(95), ..cleanup(("", "")) }];
        let mut batch = vec![put_tombstone(RegionId(9), &tombstone)];
        batch.extend(cleanups.iter().map(put_cleanup));
        disk.lock().expect("nobody else").apply(&batch);
        let tombstones = BTreeMap::from([(RegionId(9), tombstone)]);
        assert_eq!(recover_remains(&disk), Ok(Remains { tombstones, cleanups }));
        let damaged = |key| Mutation::Put(Family::RaftMeta, key, "damaged".into());
        for key in [disk::meta_key(TOMBSTONE_KIND, RegionId(9)), cleanup_key(&cleanup(("a", "")))] {
            let disk = Mutex::new(Tables::default());
            disk.lock().expect("nobody else").apply(&[damaged(key)]);
            assert!(matches!(recover_remains(&disk), Err(RemainsError::Record { .. })));
        }
    }
}
