//! Rules F1 and F3: permits before all, one batch for the whole round.

use super::{Verdict, require};

const PERMITS: &str = "F1: permits change before anything else of the round";
const ONE_BATCH: &str = "F3: one batch for the whole round";

/// What one round did so far.
#[derive(Debug, Default)]
pub struct RoundJudge {
    batches: u64,
    has_sent: bool,
}

impl RoundJudge {
    /// Readers see from now on what they may do.
    ///
    /// # Errors
    /// Messages of this round have left before.
    pub fn on_permit(&self) -> Verdict {
        require(!self.has_sent, PERMITS, || "messages left before".to_owned())
    }

    /// Messages of the round leave.
    pub const fn on_send(&mut self) {
        self.has_sent = true;
    }

    /// Whether messages of the round have left.
    #[must_use]
    pub const fn has_sent(&self) -> bool {
        self.has_sent
    }

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
    fn a_permit_behind_messages_is_found() {
        let mut judge = RoundJudge::default();
        assert_eq!((judge.on_permit(), judge.on_permit()), (Ok(()), Ok(())));
        judge.on_send();
        assert_eq!(broken(judge.on_permit()), PERMITS);
        assert_eq!(judge.on_persist(), Ok(()));
    }

    #[test]
    fn a_second_batch_is_found() {
        let mut judge = RoundJudge::default();
        assert_eq!(judge.on_persist(), Ok(()));
        assert_eq!(broken(judge.on_persist()), ONE_BATCH);
    }
}
