//! Each key is a register: its operations have an order that real time allows.
//!
//! The log gives the order of writes; a read stands right behind the write whose value it returns. What
//! is left to check is real time: an operation that begins after another has ended stands behind it.
//! So no acknowledged write is lost, and no read is stale.

use std::collections::BTreeMap;

use flotilla_base::{Index, Key};

use super::{Place, Verdict, require};
use crate::event::Ticket;

const LOST: &str = "an acknowledged write is never lost";
const STALE: &str = "no read is stale";

/// The history, as far as it still matters.
#[derive(Debug, Default)]
pub struct RegisterJudge {
    /// Largest position of a finished operation, per key.
    floors: BTreeMap<Key, Index>,
    /// Key of each attempt, and its floor when it began.
    begun: BTreeMap<Ticket, (Key, Index)>,
}

impl RegisterJudge {
    /// A client begins.
    pub fn on_begin(&mut self, ticket: Ticket, key: Key) {
        let floor = self.floor(&key);
        self.begun.insert(ticket, (key, floor));
    }

    /// A write was acknowledged; `position` is where the log has it.
    ///
    /// # Errors
    /// The log does not have it.
    pub fn on_written(&mut self, ticket: Ticket, position: Option<Index>) -> Verdict {
        let Some(position) = position else {
            return require(false, LOST, || format!("attempt {} is in no log", ticket.0));
        };
        self.finish(ticket, position);
        Ok(())
    }

    /// A write took its place in the log.
    ///
    /// # Errors
    /// Before an operation that had ended when it began.
    pub fn on_effect(&self, ticket: Ticket, position: Index) -> Verdict {
        let Some((key, floor)) = self.begun.get(&ticket) else { return Ok(()) };
        require(position > *floor, STALE, || {
            format!("attempt {} on {key:?} at {position}, begun after {floor}", ticket.0)
        })
    }

    /// A read returned what was written at `position`, zero for nothing.
    ///
    /// # Errors
    /// Something newer was known when it began.
    pub fn on_read(&mut self, ticket: Ticket, position: Index) -> Verdict {
        let Some((key, floor)) = self.begun.get(&ticket) else { return Ok(()) };
        require(position >= *floor, STALE, || {
            format!("attempt {} on {key:?} saw {position}, begun after {floor}", ticket.0)
        })?;
        self.finish(ticket, position);
        Ok(())
    }

    /// A read in place returned what was written at `position`; `floor` was known when its store began it.
    ///
    /// # Errors
    /// Something newer was known.
    pub fn on_served(&self, place: Place, floor: Index, position: Index) -> Verdict {
        require(position >= floor, STALE, || {
            format!("{place}: a read saw {position}, {floor} was known when it began")
        })
    }

    /// What was acknowledged is still there in the end: `position` is that of the key's last write.
    ///
    /// # Errors
    /// Something newer was known.
    pub fn on_end(&self, key: &Key, position: Index) -> Verdict {
        let floor = self.floor(key);
        require(position >= floor, LOST, || format!("{key:?} was at {floor}, is at {position}"))
    }

    /// The newest position that somebody was told of.
    #[must_use]
    pub fn floor(&self, key: &Key) -> Index {
        self.floors.get(key).copied().unwrap_or_default()
    }

    /// All keys somebody was told of.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.floors.keys()
    }

    fn finish(&mut self, ticket: Ticket, position: Index) {
        if let Some((key, _)) = self.begun.get(&ticket) {
            let floor = self.floors.entry(key.clone()).or_default();
            *floor = position.max(*floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{ONE, broken};

    fn begin(judge: &mut RegisterJudge, ticket: u64) -> Ticket {
        judge.on_begin(Ticket(ticket), Key::from("k"));
        Ticket(ticket)
    }

    #[test]
    fn a_read_that_is_older_than_a_finished_operation_is_found() {
        let mut judge = RegisterJudge::default();
        let early = begin(&mut judge, 1);
        let write = begin(&mut judge, 2);
        assert_eq!(judge.on_written(write, Some(Index(7))), Ok(()));
        assert_eq!(judge.on_read(early, Index(6)), Ok(()), "it began before");
        for position in [Index(6), Index(0)] {
            let late = begin(&mut judge, 3);
            assert_eq!(broken(judge.on_read(late, position)), STALE);
        }
        let reader = begin(&mut judge, 4);
        assert_eq!(judge.on_read(reader, Index(9)), Ok(()));
        let late = begin(&mut judge, 5);
        assert_eq!(broken(judge.on_read(late, Index(8))), STALE, "another read saw more");
        assert_eq!(judge.on_served(ONE, judge.floor(&"k".into()), Index(9)), Ok(()));
        assert_eq!(broken(judge.on_served(ONE, Index(9), Index(8))), STALE);
    }

    #[test]
    fn a_write_that_stands_before_what_had_ended_is_found() {
        let mut judge = RegisterJudge::default();
        let first = begin(&mut judge, 1);
        assert_eq!(judge.on_written(first, Some(Index(7))), Ok(()));
        let second = begin(&mut judge, 2);
        assert_eq!(judge.on_effect(second, Index(8)), Ok(()));
        assert_eq!(broken(judge.on_effect(second, Index(7))), STALE);
    }

    #[test]
    fn a_lost_write_is_found() {
        let mut judge = RegisterJudge::default();
        let write = begin(&mut judge, 1);
        assert_eq!(broken(judge.on_written(write, None)), LOST);
        assert_eq!(judge.on_written(write, Some(Index(7))), Ok(()));
        let keys: Vec<Key> = judge.keys().cloned().collect();
        assert_eq!(judge.on_end(&keys[0], Index(7)), Ok(()));
        assert_eq!(broken(judge.on_end(&keys[0], Index(6))), LOST);
    }
}
