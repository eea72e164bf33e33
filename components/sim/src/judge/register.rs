//! Each key is a register: its operations have an order that real time allows.
//!
//! The log gives the order of writes; a read stands right behind the write whose value it returns. What
//! is left to check is real time: an operation that begins after another has ended stands behind it.
//! So no acknowledged write is lost, and no read is stale.

use std::collections::BTreeMap;

use flotilla_base::{Index, Key};

use super::{Verdict, require};
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

    /// The newest position that somebody was told of.
    #[must_use]
    pub fn floor(&self, key: &Key) -> Index {
        self.floors.get(key).copied().unwrap_or_default()
    }

    /// All keys somebody was told of, with that position.
    pub fn floors(&self) -> impl Iterator<Item = (&Key, Index)> {
        self.floors.iter().map(|(key, floor)| (key, *floor))
    }

    fn finish(&mut self, ticket: Ticket, position: Index) {
        if let Some((key, _)) = self.begun.get(&ticket) {
            let floor = self.floors.entry(key.clone()).or_default();
            *floor = position.max(*floor);
        }
    }
}
