//! Proposals that wait for their fate, matched by (index, term).

use std::collections::VecDeque;

use flotilla_base::{Bug, Seeded};

use crate::message::{Entry, LogPosition};

/// Reply tickets of proposals in the order of the log.
///
/// A ticket leaves exactly once: with its own entry, or as lost when an entry of another term stands at
/// its index. Matching by index alone would answer the wrong client.
#[derive(Debug)]
pub struct Proposals<T> {
    waiting: VecDeque<(LogPosition, T)>,
    seeded: Seeded,
}

impl<T> Default for Proposals<T> {
    fn default() -> Self {
        Self::with_bugs(Seeded::NONE)
    }
}

impl<T> Proposals<T> {
    /// None waits yet; `seeded` is what is wrong on purpose.
    #[must_use]
    pub const fn with_bugs(seeded: Seeded) -> Self {
        Self { waiting: VecDeque::new(), seeded }
    }

    /// Remembers the ticket of the entry at `position`, which was just appended by this leader.
    ///
    /// Older tickets at or behind that index stay: this leader's log lacks their entries, but another
    /// peer may still hold them and commit them in a later term. Only a committed entry proves a loss.
    pub fn push(&mut self, position: LogPosition, ticket: T) {
        let newest = self.waiting.back().map_or(0, |(earlier, _)| earlier.term.get());
        assert!(position.term.get() >= newest, "a leader appends in its own term, the newest");
        self.waiting.push_back((position, ticket));
    }

    /// The ticket of a committed `entry`, and those which that entry proves lost. To be called for every
    /// committed entry, in order.
    pub fn committed(&mut self, entry: &Entry) -> (Option<T>, Vec<T>) {
        let mut lost = Vec::new();
        while let Some((position, _)) = self.waiting.front() {
            // Terms never fall along a log: behind an entry of a newer term none of an older can follow.
            let is_decided = position.index <= entry.index || position.term < entry.term;
            if !is_decided {
                break;
            }
            let is_own = *position == entry.position()
                || (position.index == entry.index && self.seeded.has(Bug::ANSWER_BY_INDEX_ALONE));
            let Some((_, ticket)) = self.waiting.pop_front() else { break };
            if is_own {
                return (Some(ticket), lost);
            }
            lost.push(ticket);
        }
        (None, lost)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All tickets, when the group ends.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.waiting.drain(..).map(|(_, ticket)| ticket)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Index, Term};

    use super::*;

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term: Term(term), index: Index(index) }
    }

    fn entry(term: u64, index: u64) -> Entry {
        Entry { term: Term(term), index: Index(index), ..Entry::default() }
    }

    #[test]
    fn tickets_leave_with_their_entry_or_as_lost() {
        let mut proposals = Proposals::default();
        proposals.push(at(2, 7), 'a');
        proposals.push(at(2, 8), 'b');
        assert_eq!(proposals.committed(&entry(2, 6)), (None, vec![]));
        assert_eq!(proposals.committed(&entry(2, 7)), (Some('a'), vec![]));
        assert_eq!(proposals.committed(&entry(3, 8)), (None, vec!['b']));
        assert!(proposals.is_empty());
    }

    #[test]
    fn an_entry_of_a_newer_term_loses_everything_older_behind_it() {
        let mut proposals = Proposals::default();
        proposals.push(at(2, 7), 'a');
        proposals.push(at(2, 8), 'b');
        proposals.push(at(2, 9), 'c');
        assert_eq!(proposals.committed(&entry(3, 7)), (None, vec!['a', 'b', 'c']));
    }

    /// The append at 7 in term 4 replaced 7 and 8 of term 2 here. Another peer still has them, leads
    /// in term 6 and commits them after all.
    #[test]
    fn an_append_proves_no_loss() {
        let mut proposals = Proposals::default();
        proposals.push(at(2, 7), 'a');
        proposals.push(at(2, 8), 'b');
        proposals.push(at(4, 7), 'c');
        assert_eq!(proposals.committed(&entry(2, 7)), (Some('a'), vec![]));
        assert_eq!(proposals.committed(&entry(2, 8)), (Some('b'), vec![]));
        assert_eq!(proposals.committed(&entry(6, 9)), (None, vec!['c']));
    }
}
