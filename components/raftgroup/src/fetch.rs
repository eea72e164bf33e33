//! Old entries for followers that lag behind what memory holds: who needs which, and what was read.
//!
//! The crate asks its storage for entries while it makes a message. Those that have left the cache are on disk, and no
//! thread that keeps leads alive reads megabytes there. So the answer is "not now", and a [`FetchOrder`] is handed out.
//! Whoever serves it reads ([`FetchOrder::read`]) and says what came of it ([`Group::on_fetched`]); the entries are kept
//! until their follower has them, and the follower is sent what it lacks. Its next answer asks for more.
//!
//! The crate's own way back (`on_entries_fetched`) wants the context of the question, which names the follower, and which
//! can neither be copied nor compared: a follower that asks twice could not be told from two. So this looks at what each
//! follower is to be sent next, and has the crate send that.
//!
//! One order is under way for a group at a time, and one piece of its log is kept: no more than [`FETCH_BYTES`] and an
//! entry. Both end with the lead and with its term: within a term a leader replaces nothing, so what was read stays true.
//! What is truncated meanwhile is not served. What is missing or damaged and was not truncated costs the peer its part in
//! the group ([`Group::damage`]): the log is not what it has acknowledged. An answer that never comes costs its followers their service until the lead
//! ends, so everybody who takes an order answers it.

use std::ops::Range;

use flotilla_base::{Index, KvRead, ReadError, RegionId, Term};
use raft::eraftpb::Entry as RaftEntry;

use crate::disk::{self, DiskError};
use crate::group::{Group, Role, RoleChange};
use crate::log::entry_bytes;
use crate::message::{Entry, LogPosition, entry_to_raft};

/// Bytes of one fetch: two messages, so that a follower has one on its way while it takes the other. Soft: one entry
/// always fits.
pub const FETCH_BYTES: u64 = 2 << 20;

/// Names one fetch of one peer. A peer leads once in a term, so no number comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchNumber {
    /// The term of the lead.
    pub term: Term,
    /// Counts fetches.
    pub count: u64,
}

/// Entries that are to be read from the log on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOrder {
    /// To be given back with what was read.
    pub number: FetchNumber,
    /// Whose log.
    pub group: RegionId,
    /// Where the log begins: behind this.
    pub truncated: Index,
    /// Which entries; a part from the first one on is enough.
    pub range: Range<Index>,
    /// No more bytes than that, but one entry in any case.
    pub bytes_max: u64,
}

/// What came of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The first entries of what was ordered, at least one, and none left out.
    Entries {
        /// The entry in front of them, where the log has it.
        before: Option<LogPosition>,
        /// They.
        entries: Vec<Entry>,
    },
    /// The disk has them damaged or not at all.
    Damaged(DiskError),
    /// Nothing was read, for want of room. The follower's next answer asks again.
    Refused,
}

impl FetchOrder {
    /// Reads what is ordered. What the group truncates meanwhile is found missing, and the group will not care.
    ///
    /// # Errors
    /// The engine fails.
    pub fn read(&self, reader: &dyn KvRead) -> Result<Fetched, ReadError> {
        match self.read_sound(reader) {
            Ok(fetched) => Ok(fetched),
            Err(DiskError::Read(error)) => Err(error),
            Err(damage) => Ok(Fetched::Damaged(damage)),
        }
    }

    fn read_sound(&self, reader: &dyn KvRead) -> Result<Fetched, DiskError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        disk::read_entries(reader, self.group, self.range.clone(), &mut |entry| {
            bytes += entry_bytes(entry.data.len() + entry.context.len()) as u64;
            let fits = bytes <= self.bytes_max || entries.is_empty();
            if fits {
                entries.push(entry);
            }
            fits
        })?;
        Ok(Fetched::Entries { before: self.read_before(reader)?, entries })
    }

    /// Where it has left the log meanwhile, the group knows its term.
    fn read_before(&self, reader: &dyn KvRead) -> Result<Option<LogPosition>, DiskError> {
        let index = Index(self.range.start.get() - 1);
        if index <= self.truncated {
            return Ok(None);
        }
        match disk::read_entry(reader, self.group, index) {
            Ok(entry) => Ok(Some(entry.position())),
            Err(DiskError::Contradiction { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Fetched {
    /// How much memory it takes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let Self::Entries { entries, .. } = self else { return 0 };
        entries.iter().map(|it| entry_bytes(it.data.len() + it.context.len())).sum()
    }
}

/// What a lead has fetched, and is to fetch.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    /// The term of the lead; none without one.
    term: Term,
    started: u64,
    /// Somebody was refused entries since the last order.
    is_missed: bool,
    /// With the index of its first entry.
    under_way: Option<(FetchNumber, Index)>,
    /// Whose order was the last: all get their turns.
    served: u64,
    piece: Option<Piece>,
}

/// A piece of the log that was read from the disk.
#[derive(Debug)]
struct Piece {
    /// Index of the first entry.
    first: u64,
    before: Option<LogPosition>,
    /// At least one.
    entries: Vec<RaftEntry>,
    bytes: usize,
}

impl Piece {
    fn covers(&self, index: u64) -> bool {
        (self.first..self.first + self.entries.len() as u64).contains(&index)
    }
}

/// What is known of entries that are not in the cache.
pub(crate) enum Kept<'a> {
    /// These, from the one that was asked for on.
    Entries(&'a [RaftEntry]),
    /// Not now.
    Missing,
}

impl Fetches {
    /// A lead begins in `term`; zero where one ends.
    pub(crate) fn start_anew(&mut self, term: Term) {
        // The crate asks for a new leader's followers in the step that makes it one.
        *self = Self { term, is_missed: self.is_missed, ..Self::default() };
    }

    /// The entry at `low` and those behind it are to be sent.
    pub(crate) fn ask(&mut self, low: u64) -> Kept<'_> {
        match &self.piece {
            Some(piece) if piece.covers(low) => {
                let offset = usize::try_from(low - piece.first).unwrap_or(usize::MAX);
                Kept::Entries(piece.entries.get(offset..).unwrap_or_default())
            }
            _ => {
                self.is_missed = true;
                Kept::Missing
            }
        }
    }

    /// The term of an entry in the piece, or of the one in front of it.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        let piece = self.piece.as_ref()?;
        if let Some(before) = piece.before.filter(|before| before.index.get() == index) {
            return Some(before.term.get());
        }
        let offset = usize::try_from(index.checked_sub(piece.first)?).ok()?;
        piece.entries.get(offset).map(|entry| entry.term)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.piece.as_ref().map_or(0, |piece| piece.bytes)
    }

    /// What was fetched is not kept any longer. Whoever still needs it asks again.
    pub(crate) fn forget(&mut self) {
        self.piece = None;
    }
}

impl Group {
    /// Entries that are to be read for followers, if any; never more than one order is under way. To be answered with
    /// [`Self::on_fetched`], whatever becomes of it.
    pub fn take_fetch(&mut self) -> Option<FetchOrder> {
        let log = self.raw.store();
        let fetches = log.fetches();
        let is_due = fetches.is_missed && fetches.under_way.is_none();
        let served = fetches.served;
        drop(fetches);
        if !is_due || !self.is_leader() {
            return None;
        }
        let (begin, end) = (self.truncated().index, log.cache_start());
        let mut lagging = self.lagging(begin.get() + 1..end.get());
        lagging.retain(|(_, next)| matches!(log.fetches_mut().ask(*next), Kept::Missing));
        let chosen = lagging.iter().find(|(id, _)| *id > served).or_else(|| lagging.first());
        let chosen = chosen.copied();
        let fetches = self.raw.mut_store().fetches_now();
        fetches.is_missed = lagging.len() > 1;
        let (id, next) = chosen?;
        fetches.served = id;
        fetches.started += 1;
        let number = FetchNumber { term: fetches.term, count: fetches.started };
        fetches.under_way = Some((number, Index(next)));
        Some(FetchOrder {
            number,
            group: self.id(),
            truncated: begin,
            range: Index(next)..end,
            bytes_max: FETCH_BYTES,
        })
    }

    /// What became of an order. Where its lead has ended, or its term, nothing becomes of it.
    pub fn on_fetched(&mut self, number: FetchNumber, fetched: Fetched) {
        let RoleChange { role, term, .. } = self.role();
        let fetches = self.raw.mut_store().fetches_now();
        let Some((_, first)) = fetches.under_way.filter(|(awaited, _)| *awaited == number) else {
            return;
        };
        debug_assert!(role == Role::Leader && term == number.term, "an order ends with its lead");
        fetches.under_way = None;
        let bytes = fetched.size_bytes();
        let (before, entries) = match fetched {
            Fetched::Entries { before, entries } => (before, entries),
            Fetched::Damaged(damage) => return self.on_fetch_damaged(first, damage),
            Fetched::Refused => return,
        };
        assert!(entries.first().is_some_and(|it| it.index == first), "another piece of the log");
        let entries = entries.into_iter().map(entry_to_raft).collect();
        fetches.piece = Some(Piece { first: first.get(), before, entries, bytes });
        self.send_fetched();
    }

    /// Of what is truncated by now nobody can say that it must be there: whoever needs it asks again.
    fn on_fetch_damaged(&mut self, first: Index, damage: DiskError) {
        if self.truncated().index < first {
            self.raw.store().note_damage(damage);
        }
    }

    /// Reads what followers lack here and now: for a process whose one thread does everything for one group.
    ///
    /// # Panics
    /// The disk cannot be read.
    pub fn fetch_in_place(&mut self) {
        while let Some(order) = self.take_fetch() {
            let fetched = order.read(self.raw.store().reader());
            let fetched = fetched.expect("a process that cannot read its disk ends");
            self.on_fetched(order.number, fetched);
        }
    }

    /// Whoever is to be sent what was fetched is sent as much of it as may be under way.
    fn send_fetched(&mut self) {
        for (id, mut next) in self.lagging_in_piece() {
            loop {
                self.raw.raft.send_append(id);
                let progress = self.raw.raft.prs().get(id);
                let Some(progress) = progress.filter(|it| !it.is_paused()) else { break };
                let was = std::mem::replace(&mut next, progress.next_idx);
                if next == was || !self.is_in_piece(next) {
                    break;
                }
            }
        }
    }

    /// What nobody is to be sent any more leaves the memory.
    pub(crate) fn drop_fetched(&mut self) {
        if self.raw.store().fetches().piece.is_some() && !self.is_piece_needed() {
            self.raw.mut_store().fetches_now().forget();
        }
    }

    fn is_piece_needed(&self) -> bool {
        let mut others = self.raw.raft.prs().iter();
        others.any(|(_, progress)| progress.recent_active && self.is_in_piece(progress.next_idx))
    }

    fn is_in_piece(&self, index: u64) -> bool {
        let fetches = self.raw.store().fetches();
        fetches.piece.as_ref().is_some_and(|piece| piece.covers(index))
    }

    fn lagging_in_piece(&self) -> Vec<(u64, u64)> {
        let mut lagging = self.lagging(0..u64::MAX);
        lagging.retain(|(_, next)| self.is_in_piece(*next));
        lagging
    }

    /// Followers whose next entry is one of those, and that may be sent it now; by their ids, with that index.
    fn lagging(&self, range: Range<u64>) -> Vec<(u64, u64)> {
        let members = self.raw.raft.prs().iter();
        let waiting = members.filter(|(id, it)| {
            **id != self.peer().get() && !it.is_paused() && range.contains(&it.next_idx)
        });
        let mut lagging: Vec<_> = waiting.map(|(id, it)| (*id, it.next_idx)).collect();
        lagging.sort_unstable();
        lagging
    }
}
