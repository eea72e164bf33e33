//! A disk in memory: a crash keeps what was synced and a prefix of the batches behind it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use flotilla_base::{Mutation, Tables};

/// A view of all families, shared with the groups that read it.
pub(crate) type View = Mutex<Tables>;

/// What is written, and which part of it a crash would leave.
#[derive(Default)]
pub(crate) struct Disk {
    /// Everything that was written.
    pub(crate) view: Arc<View>,
    /// What surely survives.
    pub(crate) synced: Tables,
    pending: VecDeque<Vec<Mutation>>,
}

impl Disk {
    pub(crate) fn write(&mut self, batch: Vec<Mutation>) {
        self.view.lock().expect("no test panics while it holds the disk").apply(&batch);
        self.pending.push_back(batch);
    }

    /// Makes the oldest batch durable.
    pub(crate) fn sync_one(&mut self) {
        if let Some(batch) = self.pending.pop_front() {
            self.synced.apply(&batch);
        }
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// Loses power: the oldest `kept` of the batches behind the last sync survive.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.pending.truncate(kept);
        while !self.pending.is_empty() {
            self.sync_one();
        }
        self.view = Arc::new(Mutex::new(self.synced.clone()));
    }
}
