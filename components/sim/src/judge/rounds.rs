//! The order inside one round: rules F3, F5 and F8.

use flotilla_multiraft::{Reply, RequestError};

use super::{Verdict, require};

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
        require(self.batches == 1, "F3: one batch for the whole round", || {
            format!("{} batches in one round", self.batches)
        })
    }
}

/// A round, not an applier, completes a ticket.
///
/// # Errors
/// It claims that a write is done.
pub fn check_round_reply(reply: &Reply) -> Verdict {
    require(*reply != Reply::Written, "F8: a write is answered by its applier", || {
        "a round answered one".to_owned()
    })
}

/// An applier completes a ticket.
///
/// # Errors
/// The answer comes before the write, or is none that the log alone decides.
pub fn check_applier_reply(reply: &Reply, is_written: bool) -> Verdict {
    require(is_written, "F8: a write is answered when reads see it", || format!("{reply:?}"))?;
    let is_decided = match reply {
        Reply::Written => true,
        Reply::Failed(error) => matches!(
            error,
            RequestError::EpochNotMatch { .. } | RequestError::KeyNotInRegion { .. }
        ),
        Reply::ReadAt(_) | Reply::Unknown => false,
    };
    require(is_decided, "F8: an applier answers by the log alone", || format!("{reply:?}"))
}

/// What happened while one replica's durable write was delivered.
#[derive(Debug, Default)]
pub struct DeliveryJudge {
    is_told: bool,
}

impl DeliveryJudge {
    /// The notice is in the replica's inbox.
    pub const fn on_persisted(&mut self) {
        self.is_told = true;
    }

    /// Messages that waited leave.
    ///
    /// # Errors
    /// Before the notice.
    pub fn on_send(&self) -> Verdict {
        require(self.is_told, "F5: Persisted is in the inbox before the messages leave", || {
            "messages overtook the notice".to_owned()
        })
    }
}
