//! Applying committed entries: a function of the log and of nothing else.
//!
//! An entry either changes data, is refused for a reason that every replica finds in the same log
//! (another epoch, a key outside), or stops the store. There is no fourth outcome: a failure that one
//! replica alone sees must never become an answer.

use flotilla_base::codec::CodecError;
use flotilla_base::{
    Bug, Index, Key, KvRead, Mutation, Peer, PeerId, ReadError, Region, RegionId, Seeded,
};
use flotilla_raftgroup::{ApplyState, Entry, EntryKind, LogPosition, disk};

use crate::birth;
use crate::command::{Command, Guard, SplitCommand, WriteCommand};
use crate::destroy::{Cleanup, put_cleanup};
use crate::input::{MembersChanged, Reply, RequestError};
use crate::persist::{RegionState, put_region_state};
use crate::split::{Birth, Claims, SplitDone, divide};

/// Committed entries of one region, and perhaps the order to shorten its log.
#[derive(Debug)]
pub struct ApplyTask<T> {
    /// The region.
    pub region: RegionId,
    /// The peer whose log this is.
    pub peer: PeerId,
    /// Entries in order, each with the ticket of whoever proposed it here.
    pub entries: Vec<(Entry, Option<T>)>,
    /// Commit index as the replica knows it.
    pub commit: Index,
    /// Entries up to there may leave the log.
    pub truncate: Option<LogPosition>,
}

/// What the replica hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Last applied entry.
    pub index: Index,
    /// Where the log on disk starts now.
    pub truncated: LogPosition,
    /// Bytes of the entries that were applied.
    pub bytes: usize,
    /// Keys that they wrote.
    pub mutations: usize,
    /// The largest clock of all entries that were ever applied, in milliseconds since 1970.
    pub clock_millis: u64,
}

/// What a turn of appliers wants done, in this order: write `batch` (atomic, unsynced: the entries are
/// durable in the log), then tell `notices` to replicas and `applied` to readers and replicas, then complete
/// `replies`.
#[derive(Debug)]
pub struct ApplyEffects<T> {
    pub(crate) batch: Vec<Mutation>,
    /// Bytes of `batch`, counted as it grows.
    bytes: usize,
    pub(crate) notices: Vec<(RegionId, PeerId, Notice)>,
    replies: Vec<(T, Reply)>,
    applied: Vec<(RegionId, PeerId, Applied)>,
}

/// A region that is another one from an entry of its log on.
#[derive(Debug)]
pub(crate) enum Notice {
    Split(SplitDone),
    Members(MembersChanged),
}

/// Executes what appliers want done.
pub trait ApplyHost<T> {
    /// Writes one atomic batch that needs no sync; returns when reads see it. A failure stops the store.
    fn write(&mut self, batch: Vec<Mutation>);
    /// Completes a ticket.
    fn reply(&mut self, ticket: T, reply: Reply);
    /// Puts [`crate::Input::SplitDone`] into the inbox of this peer, if it still lives.
    fn split(&mut self, region: RegionId, peer: PeerId, done: SplitDone);
    /// Puts [`crate::MembershipInput::Changed`] into the inbox of this peer, if it still lives.
    fn members(&mut self, region: RegionId, peer: PeerId, changed: MembersChanged);
    /// Shows readers on other threads how far the data is, and puts [`crate::Input::Applied`] into the inbox
    /// of this peer, if it still lives.
    fn applied(&mut self, region: RegionId, peer: PeerId, applied: Applied);
}

impl<T> Default for ApplyEffects<T> {
    fn default() -> Self {
        Self {
            batch: Vec::new(),
            bytes: 0,
            notices: Vec::new(),
            replies: Vec::new(),
            applied: Vec::new(),
        }
    }
}

impl<T> ApplyEffects<T> {
    /// Bytes in the batch so far: a host may finish early.
    #[must_use]
    pub const fn batch_bytes(&self) -> usize {
        self.bytes
    }

    /// Executes the effects and leaves them empty. Answers come after the write, so that a client that
    /// was answered reads what it wrote; and after the progress, so that its next read is served in place.
    pub fn finish(&mut self, host: &mut impl ApplyHost<T>) {
        let Self { batch, bytes: _, notices, replies, applied } = std::mem::take(self);
        if !batch.is_empty() {
            host.write(batch);
        }
        // In front of the progress: reads that wait for it were checked against the old range. And in the order of
        // the log: each says what the whole region looks like.
        for (region, peer, notice) in notices {
            match notice {
                Notice::Split(done) => host.split(region, peer, done),
                Notice::Members(changed) => host.members(region, peer, changed),
            }
        }
        for (region, peer, progress) in applied {
            host.applied(region, peer, progress);
        }
        for (ticket, reply) in replies {
            host.reply(ticket, reply);
        }
    }
}

/// Why a store must stop: going on would make its replicas differ from others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyFault {
    /// The entry is damaged or of a newer format.
    #[error("region {region}: entry {index} cannot be applied: {cause}")]
    UnknownCommand {
        /// The region.
        region: RegionId,
        /// The entry.
        index: Index,
        /// Why.
        cause: CodecError,
    },
    /// The entry is of a form of changes of the membership that no leader makes.
    #[error("region {region}: entry {index} changes the membership in a form that is not used")]
    Membership {
        /// The region.
        region: RegionId,
        /// The entry.
        index: Index,
    },
    /// The database did not tell what a guarded write is compared with.
    #[error("region {region}: entry {index} cannot be applied: {cause}")]
    Read {
        /// The region.
        region: RegionId,
        /// The entry.
        index: Index,
        /// Why.
        cause: ReadError,
    },
    /// The log has a hole.
    #[error("region {region}: entry {found} came where {expected} was due")]
    OutOfOrder {
        /// The region.
        region: RegionId,
        /// What was due.
        expected: Index,
        /// What came.
        found: Index,
    },
}

/// The state machine of one region on one store.
///
/// Invariant: `state` in memory is what the last finished batch wrote.
#[derive(Debug)]
pub struct Applier {
    pub(crate) region: Region,
    pub(crate) peer: PeerId,
    state: ApplyState,
    /// Who was removed, once that was looked for.
    pub(crate) removed: Option<Vec<Peer>>,
    seeded: Seeded,
}

impl Applier {
    /// The applier of `peer`, which has applied up to `state`.
    #[must_use]
    pub const fn new(region: Region, peer: PeerId, state: ApplyState) -> Self {
        Self { region, peer, state, removed: None, seeded: Seeded::NONE }
    }

    /// The same applier with what is wrong on purpose.
    #[must_use]
    pub fn with_bugs(self, seeded: Seeded) -> Self {
        Self { seeded, ..self }
    }

    /// Whether what a command says about the shape of the region is believed without a look.
    pub(crate) fn is_careless(&self) -> bool {
        self.seeded.has(Bug::STALE_EPOCH_NOT_CHECKED_ON_APPLY)
    }

    /// Which peer this is.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// How far it is.
    #[must_use]
    pub const fn state(&self) -> &ApplyState {
        &self.state
    }

    /// Applies `task` into `effects`. `data` holds what earlier effects wrote, and not yet what stands in
    /// `effects`; a split takes the slots of its children from `claims`.
    ///
    /// # Errors
    /// [`ApplyFault`]: the store must stop, and nothing of the entry may have an effect.
    pub fn apply<T>(
        &mut self,
        task: ApplyTask<T>,
        data: &impl KvRead,
        effects: &mut ApplyEffects<T>,
        claims: &mut impl Claims,
    ) -> Result<(), ApplyFault> {
        let first_new = effects.batch.len();
        let mut bytes = 0;
        for (entry, ticket) in task.entries {
            bytes += entry.data.len();
            let reply = self.apply_entry(&entry, data, effects, claims)?;
            assert!(entry.term >= self.state.applied.term, "terms fall along the log");
            self.state.applied = entry.position();
            if let Some(ticket) = ticket {
                effects.replies.push((ticket, reply));
            }
        }
        let mutations = effects.batch.len() - first_new;
        self.state.commit = self.state.commit.max(task.commit).max(self.state.applied.index);
        if let Some(position) = task.truncate {
            self.truncate(position, &mut effects.batch);
        }
        let ApplyState { truncated, applied, commit, .. } = &self.state;
        assert!(truncated.index <= applied.index, "the log was shortened beyond what is applied");
        assert!(applied.index <= *commit, "an entry was applied before it was committed");
        effects.batch.push(disk::put_apply_state(self.region.id, &self.state));
        effects.bytes += effects.batch[first_new..].iter().map(Mutation::size_bytes).sum::<usize>();
        let ApplyState { applied, truncated, clock_millis, .. } = self.state;
        let index = applied.index;
        let progress = Applied { index, truncated, bytes, mutations, clock_millis };
        effects.applied.push((self.region.id, self.peer, progress));
        Ok(())
    }

    fn apply_entry<T>(
        &mut self,
        entry: &Entry,
        data: &impl KvRead,
        effects: &mut ApplyEffects<T>,
        claims: &mut impl Claims,
    ) -> Result<Reply, ApplyFault> {
        let (region, index) = (self.region.id, entry.index);
        let expected = self.state.applied.index.next();
        if index != expected {
            return Err(ApplyFault::OutOfOrder { region, expected, found: index });
        }
        match entry.kind {
            EntryKind::Normal => {}
            EntryKind::ConfChangeV2 => return self.apply_change(entry, data, effects),
            EntryKind::ConfChange => return Err(ApplyFault::Membership { region, index }),
        }
        if entry.data.is_empty() {
            // The first entry of a term: it only makes older ones committable.
            return Ok(Reply::Written);
        }
        let command = Command::decode(&entry.data).map_err(|cause| ApplyFault::UnknownCommand {
            region,
            index,
            cause,
        })?;
        match command {
            Command::Write(write) => self
                .apply_write(write, data, &mut effects.batch)
                .map_err(|cause| ApplyFault::Read { region, index, cause }),
            Command::Forget(forget) => self.apply_forget(&forget, index, data, effects),
            Command::Split(split) => {
                Ok(self.apply_split(&split, effects, claims).unwrap_or_else(Reply::Failed))
            }
        }
    }

    fn apply_write(
        &mut self,
        mut write: WriteCommand,
        data: &impl KvRead,
        batch: &mut Vec<Mutation>,
    ) -> Result<Reply, ReadError> {
        self.state.clock_millis = self.state.clock_millis.max(write.clock_millis);
        if self.is_careless() {
            write.version = self.region.epoch.version;
        }
        if let Err(refusal) = check_write(&self.region, &write) {
            return Ok(Reply::Failed(refusal));
        }
        if let Some(guard) = &write.guard
            && !holds(guard, data, batch)?
        {
            return Ok(Reply::GuardFailed);
        }
        batch.extend(write.mutations);
        Ok(Reply::Written)
    }

    /// All slots are claimed before anything is written, and what is written depends on them.
    fn apply_split<T>(
        &mut self,
        split: &SplitCommand,
        effects: &mut ApplyEffects<T>,
        claims: &mut impl Claims,
    ) -> Result<Reply, RequestError> {
        let division = divide(&self.region, split)?;
        let own = self.region.peers.iter().position(|peer| peer.id == self.peer);
        // No value that has ended by the parent's clock comes back in a child.
        let apply = birth::first_apply_state(self.state.clock_millis);
        let (mut births, mut orphans) = (Vec::new(), Vec::new());
        for child in &division.children {
            let peer = own.and_then(|own| child.peers.get(own)).map_or(self.peer, |it| it.id);
            if own.is_some() && claims.claim(child.id, peer) {
                births.push(Birth { region: child.clone(), peer, apply, leads: false });
            } else {
                orphans.push(Cleanup { region: child.id, peer, range: child.range.clone() });
            }
        }
        effects.batch.extend(orphans.iter().map(put_cleanup));
        for Birth { region, peer, apply, .. } in &births {
            effects.batch.extend([
                put_region_state(region.id, &RegionState::Normal(*peer, region.clone())),
                disk::put_apply_state(region.id, apply),
            ]);
        }
        let parent = division.parent.clone();
        let state = RegionState::Normal(self.peer, parent.clone());
        effects.batch.push(put_region_state(parent.id, &state));
        self.region = parent.clone();
        let done = SplitDone { parent, births, orphans };
        effects.notices.push((self.region.id, self.peer, Notice::Split(done)));
        Ok(Reply::Split(Box::new(division)))
    }

    /// Shortens the log in the same batch as the progress that makes it needless: one write-ahead log
    /// keeps their order, so no sync stands between them.
    fn truncate(&mut self, position: LogPosition, batch: &mut Vec<Mutation>) {
        let target = position.index.min(self.state.applied.index);
        if target != position.index || target <= self.state.truncated.index {
            return;
        }
        assert!(position.term >= self.state.truncated.term, "terms fall along the log");
        let first = self.state.truncated.index.next();
        disk::delete_entries(self.region.id, first, target, batch);
        self.state.truncated = position;
    }
}

/// Whether the key of `guard` has the value that it names, after `batch` is written over `data`.
fn holds(guard: &Guard, data: &impl KvRead, batch: &[Mutation]) -> Result<bool, ReadError> {
    let change = batch.iter().rev().find_map(|mutation| match mutation {
        Mutation::Put(family, key, value) => {
            (*family == guard.family && *key == guard.key).then_some(Some(value))
        }
        Mutation::Delete(family, key) => {
            (*family == guard.family && *key == guard.key).then_some(None)
        }
        Mutation::DeleteRange(family, range) => {
            (*family == guard.family && range.contains(&guard.key)).then_some(None)
        }
    });
    match change {
        Some(stored) => Ok(stored == guard.stored.as_ref()),
        None => Ok(data.get(guard.family, &guard.key)? == guard.stored),
    }
}

/// Checks a write against the region: at proposal, and again where it stands in the log.
pub(crate) fn check_write(region: &Region, write: &WriteCommand) -> Result<(), RequestError> {
    if write.version != region.epoch.version {
        return Err(RequestError::EpochNotMatch { current: Box::new(region.clone()) });
    }
    if let Some(guard) = &write.guard
        && !region.range.contains(&guard.key)
    {
        return Err(key_not_in_region(region, &guard.key));
    }
    for mutation in &write.mutations {
        let outside = match mutation {
            Mutation::Put(_, key, _) | Mutation::Delete(_, key) => {
                (!region.range.contains(key)).then_some(key)
            }
            // The engine deletes no range without an upper bound, not even in the last region.
            Mutation::DeleteRange(_, range) => {
                let is_inside = !range.end.is_empty() && region.range.covers(range);
                (!is_inside).then_some(&range.start)
            }
        };
        if let Some(key) = outside {
            return Err(key_not_in_region(region, key));
        }
    }
    Ok(())
}

fn key_not_in_region(region: &Region, key: &Key) -> RequestError {
    RequestError::KeyNotInRegion {
        region: region.id,
        key: key.clone(),
        range: region.range.clone(),
    }
}
