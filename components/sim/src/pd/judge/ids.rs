//! I11: an id is handed out once, over all lives of all members.

use std::collections::BTreeMap;

use flotilla_placement::IdBatch;

use crate::judge::{Verdict, require};

const ONCE: &str = "I11: an id is handed out once";

/// What was handed out.
#[derive(Debug, Default)]
pub struct IdJudge {
    /// Batches by their largest id, with their smallest.
    handed_out: BTreeMap<u64, u64>,
}

impl IdJudge {
    /// A member hands out a batch that was to hold `count` ids.
    ///
    /// # Errors
    /// One of them was handed out before, or they are not as many as asked for.
    pub fn on_batch(&mut self, batch: IdBatch, count: u32) -> Verdict {
        let wanted = u64::from(count.max(1));
        let is_sound = batch.first > 0 && batch.first <= batch.last && batch.count() == wanted;
        require(is_sound, ONCE, || format!("{batch:?} for {count} ids"))?;
        let neighbour = self.handed_out.range(batch.first..).next();
        require(neighbour.is_none_or(|(_, first)| *first > batch.last), ONCE, || {
            format!("{batch:?}, earlier {neighbour:?}")
        })?;
        self.handed_out.insert(batch.last, batch.first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_comes_again_is_found() {
        for (first, last) in [(5, 9), (9, 12), (1, 5), (6, 7), (1, 20)] {
            let mut judge = IdJudge::default();
            assert_eq!(judge.on_batch(IdBatch { first: 5, last: 9 }, 5), Ok(()));
            let count = u32::try_from(last - first + 1).expect("small");
            let verdict = judge.on_batch(IdBatch { first, last }, count);
            assert_eq!(verdict.map_err(|violation| violation.rule), Err(ONCE), "{first}..={last}");
            assert_eq!(judge.on_batch(IdBatch { first: 10, last: 10 }, 0), Ok(()));
        }
    }

    #[test]
    fn a_batch_of_another_size_is_found() {
        let verdict = IdJudge::default().on_batch(IdBatch { first: 5, last: 9 }, 4);
        assert_eq!(verdict.map_err(|violation| violation.rule), Err(ONCE));
    }
}
