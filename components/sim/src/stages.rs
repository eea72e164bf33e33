//! What a store has staged of snapshots: files beside the database. A crash keeps what was made durable, and nothing
//! else of them: a file that was torn is found by its checksums, and is not read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_base::Key;
use flotilla_multiraft::StageNumber;

/// A key and its value.
pub type Pair = (Key, Bytes);

/// The staged snapshots of one store.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    files: BTreeMap<StageNumber, Stage>,
    last: StageNumber,
}

#[derive(Clone, Debug, Default)]
struct Stage {
    pairs: Vec<Pair>,
    is_durable: bool,
}

impl Stages {
    /// Begins a new one.
    pub fn open(&mut self) -> StageNumber {
        self.last = StageNumber(self.last.0 + 1);
        self.files.insert(self.last, Stage::default());
        self.last
    }

    /// Adds to one.
    pub fn append(&mut self, stage: StageNumber, pairs: &[Pair]) {
        if let Some(file) = self.files.get_mut(&stage) {
            file.pairs.extend_from_slice(pairs);
        }
    }

    /// Makes one durable.
    pub fn sync(&mut self, stage: StageNumber) {
        if let Some(file) = self.files.get_mut(&stage) {
            file.is_durable = true;
        }
    }

    /// What is in one, if it is there.
    #[must_use]
    pub fn read(&self, stage: StageNumber) -> Option<&[Pair]> {
        self.files.get(&stage).map(|file| &file.pairs[..])
    }

    /// Forgets one.
    pub fn remove(&mut self, stage: StageNumber) {
        self.files.remove(&stage);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// A store starts: what no peer is being given is needed by nobody.
    pub fn keep(&mut self, named: &BTreeSet<StageNumber>) {
        self.files.retain(|stage, _| named.contains(stage));
    }

    /// The disk loses all of them.
    pub fn lose(&mut self) {
        self.files.clear();
    }

    /// The store is gone.
    pub fn crash(&mut self) {
        self.files.retain(|_, file| file.is_durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_is_durable() {
        let mut stages = Stages::default();
        let (first, second) = (stages.open(), stages.open());
        stages.append(first, &[("k".into(), "v".into())]);
        stages.sync(first);
        stages.crash();
        assert_eq!(stages.read(first).map(<[Pair]>::len), Some(1));
        assert_eq!(stages.read(second), None);
        assert!(stages.open() > second, "no number comes again");
        stages.keep(&BTreeSet::from([second]));
        assert_eq!(stages.count(), 0);
    }
}
