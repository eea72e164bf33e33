//! A disk in memory: a crash keeps what was synced and a prefix of the batches behind it.

use std::sync::{Arc, Mutex};

use flotilla_base::{Mutation, Tables};

/// Everything that was written, shared with the groups that read it.
pub(crate) type View = Mutex<Tables>;

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) view: Arc<View>,
    synced: Tables,
    pending: Vec<Vec<Mutation>>,
}

impl Disk {
    pub(crate) fn write(&mut self, batch: Vec<Mutation>) {
        self.view.lock().expect("no test panics while it holds the disk").apply(&batch);
        self.pending.push(batch);
    }

    pub(crate) fn sync(&mut self) {
        for batch in self.pending.drain(..) {
            self.synced.apply(&batch);
        }
    }

    pub(crate) fn crash(&mut self, kept: usize) -> usize {
        let lost = self.pending.len().saturating_sub(kept);
        self.pending.truncate(kept);
        self.sync();
        self.view = Arc::new(Mutex::new(self.synced.clone()));
        lost
    }
}
