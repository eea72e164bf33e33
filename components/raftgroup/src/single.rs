//! The round of a process that is one group with one state machine: propose, persist, apply, answer.
//!
//! A placement driver is such a process. It shares gate, durability rules and disk format with stores,
//! since it drives the same [`Group`].

use bytes::Bytes;
use flotilla_base::{Index, Moment, Mutation};

use crate::disk::{self, ApplyState, RaftState};
use crate::group::{Group, GroupReady, ProposeError, ReadGrant, ReadyNumber, RoleChange};
use crate::guard::StepError;
use crate::message::{Entry, HardState, LogPosition, Message};
use crate::proposals::Proposals;

/// One round of work, in the order in which the caller must do it:
///
/// 1. send `send_now`; 2. write `log` as one batch and make it durable, if there is any;
/// 3. call [`Single::on_persisted`], then send `send_after_persist`;
/// 4. apply `committed`: the effects of each entry and [`Single::put_applied`] in one batch, which needs
///    no sync of its own; then complete the tickets and call [`Single::on_applied`].
#[derive(Debug)]
pub struct SingleRound<T> {
    /// To be given to [`Single::on_persisted`].
    pub number: ReadyNumber,
    /// Whether `log` is empty and `send_after_persist` has nothing to wait for.
    pub is_complete: bool,
    /// Role, term or leader changed.
    pub role_change: Option<RoleChange>,
    /// May leave at once.
    pub send_now: Vec<Message>,
    /// To be written and made durable.
    pub log: Vec<Mutation>,
    /// May leave once `log` is durable.
    pub send_after_persist: Vec<Message>,
    /// Entries to apply, with the tickets of those that were proposed here.
    pub committed: Vec<(Entry, Option<T>)>,
    /// Tickets of proposals that lost to another leader's entries: certainly without effect.
    pub lost: Vec<T>,
    /// Confirmed reads.
    pub reads: Vec<ReadGrant>,
}

/// A group, the tickets that wait for it, and its place on disk.
#[derive(Debug)]
pub struct Single<T> {
    group: Group,
    proposals: Proposals<T>,
    hard_state: HardState,
    lost: Vec<T>,
}

impl<T> Single<T> {
    /// Wraps a group that starts from `raft_state`.
    #[must_use]
    pub fn new(group: Group, raft_state: RaftState) -> Self {
        Self {
            group,
            proposals: Proposals::default(),
            hard_state: raft_state.hard_state,
            lost: Vec::new(),
        }
    }

    /// The group, for questions.
    #[must_use]
    pub const fn group(&self) -> &Group {
        &self.group
    }

    /// Proposes a command; its ticket comes back in a round.
    ///
    /// # Errors
    /// The ticket and the reason; the command certainly has no effect.
    pub fn propose(&mut self, command: Bytes, ticket: T) -> Result<LogPosition, (T, ProposeError)> {
        match self.group.propose(command) {
            Ok(position) => {
                self.proposals.push(position, ticket);
                Ok(position)
            }
            Err(error) => Err((ticket, error)),
        }
    }

    /// Starts a round that proves the lead; see [`Group::read_index`].
    ///
    /// # Errors
    /// As [`Group::read_index`].
    pub fn read_index(&mut self) -> Result<crate::group::ReadToken, crate::group::ReadError> {
        self.group.read_index()
    }

    /// Takes a message of another member; see [`Group::step`].
    ///
    /// # Errors
    /// As [`Group::step`].
    pub fn step(&mut self, now: Moment, message: Message) -> Result<(), StepError> {
        self.group.step(now, message)
    }

    /// Does what is due; see [`Group::wake`].
    pub fn wake(&mut self, now: Moment) {
        self.group.wake(now);
    }

    /// The next round; `None` when there is no work.
    ///
    /// # Panics
    /// The log is damaged: a process that is one group ends with it.
    pub fn collect(&mut self) -> Option<SingleRound<T>> {
        self.group.fetch_in_place();
        let ready = self.group.collect();
        if let Some(damage) = self.group.damage() {
            panic!("{damage}");
        }
        let ready = ready?;
        let log = self.write_log(&ready);
        let mut committed = Vec::with_capacity(ready.committed.len());
        for entry in ready.committed {
            let (ticket, lost) = self.proposals.committed(&entry);
            self.lost.extend(lost);
            committed.push((entry, ticket));
        }
        Some(SingleRound {
            number: ready.number,
            is_complete: ready.is_complete,
            role_change: ready.role_change,
            send_now: ready.send_now,
            log,
            send_after_persist: ready.send_after_persist,
            committed,
            lost: std::mem::take(&mut self.lost),
            reads: ready.reads,
        })
    }

    /// Everything up to this number is durable.
    pub fn on_persisted(&mut self, number: ReadyNumber) {
        self.group.on_persisted(number);
    }

    /// The mutation that belongs into the batch with the effects of the entry at `applied`.
    #[must_use]
    pub fn put_applied(&self, group: flotilla_base::RegionId, applied: LogPosition) -> Mutation {
        let state = ApplyState {
            applied,
            commit: self.group.committed().max(applied.index),
            truncated: self.group.truncated(),
            clock_millis: 0,
        };
        disk::put_apply_state(group, &state)
    }

    /// Forgets old entries once more than twice `keep` of them are applied: all but the last `keep`,
    /// and none that some member lacks. The mutations belong into the batch of the next
    /// [`Single::put_applied`], which is to be called after this and names the new begin of the log.
    pub fn truncate(&mut self, applied: Index, keep: u64) -> Vec<Mutation> {
        let begin = self.group.truncated().index;
        let mut batch = Vec::new();
        if applied.get().saturating_sub(begin.get()) <= 2 * keep {
            return batch;
        }
        let held_by_all = self.group.matched_by_all().unwrap_or(begin);
        let end = Index(applied.get() - keep).min(held_by_all);
        if let Some(position) = self.group.position(end).filter(|_| end > begin) {
            disk::delete_entries(self.group.id(), begin.next(), end, &mut batch);
            self.group.on_truncated(position);
        }
        batch
    }

    /// Everything up to `index` is applied.
    pub fn on_applied(&mut self, index: Index) {
        self.group.on_applied(index);
    }

    /// Until when this member may say that it leads, by its own clock; `None` where it may not.
    ///
    /// The only voter is its own majority, so its lead needs no proof that ends. But whoever says that it
    /// leads says that it can keep what it promises: a lease ends where a write has waited for one gate.
    #[must_use]
    pub fn lease(&self) -> Option<Moment> {
        let proved = if self.group.is_sole_voter() {
            self.group.can_read().then_some(Moment::NEVER)
        } else {
            self.group.lease().map(|lease| lease.until)
        };
        let disk_is_trusted = |since| since + self.group.timing().gate;
        let trusted = self.group.oldest_write().map_or(Moment::NEVER, disk_is_trusted);
        proved.map(|until| until.min(trusted))
    }

    /// All tickets that still wait, when the process ends.
    pub fn drain(&mut self) -> Vec<T> {
        let mut tickets = std::mem::take(&mut self.lost);
        tickets.extend(self.proposals.drain());
        tickets
    }

    fn write_log(&mut self, ready: &GroupReady) -> Vec<Mutation> {
        write_log(&self.group, &mut self.hard_state, ready)
    }
}

/// The mutations that make `ready` durable; `hard_state` is what was written last and is kept current.
pub fn write_log(group: &Group, hard_state: &mut HardState, ready: &GroupReady) -> Vec<Mutation> {
    let mut batch = Vec::new();
    if !ready.needs_write() {
        return batch;
    }
    if let Some(changed) = ready.hard_state {
        *hard_state = changed;
    }
    hard_state.commit = hard_state.commit.max(group.committed());
    if let Some(append) = &ready.append {
        disk::append_entries(group.id(), append.old_last, &append.entries, &mut batch);
    }
    let last = ready
        .append
        .as_ref()
        .and_then(|append| append.entries.last())
        .map_or_else(|| group.written_last(), Entry::position);
    batch.push(disk::put_raft_state(group.id(), &RaftState { hard_state: *hard_state, last }));
    batch
}
