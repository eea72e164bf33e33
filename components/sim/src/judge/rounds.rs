//! Rule F3: one batch for the whole round.

use super::{Verdict, require};

const ONE_BATCH: &str = "F3: one batch for the whole round";

/// What one round did so far.
#[derive(Debug, Default)]
pub struct RoundJudge {
    batches: u64,
}

impl RoundJudge {
    /// A round writes its batch.
    ///
    /// # Errors
    /// It is not the first.
    pub fn on_persist(&mut self) -> Verdict {
        self.batches += 1;
        require(self.batches == 1, ONE_BATCH, || format!("{} batches in one round", self.batches))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::broken;

    #[test]
    fn a_second_batch_is_found() {
        let mut judge = RoundJudge::default();
        assert_eq!(judge.on_persist(), Ok(()));
        assert_eq!(broken(judge.on_persist()), ONE_BATCH);
    }
}
