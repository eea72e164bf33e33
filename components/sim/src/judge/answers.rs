//! Rule F8: a write is answered by its applier, once reads see it, and by the log alone.

use flotilla_multiraft::{Reply, RequestError};

use super::{Verdict, require};

const BY_APPLIER: &str = "F8: a write is answered by its applier";
const VISIBLE: &str = "F8: a write is answered when reads see it";
const BY_LOG: &str = "F8: an applier answers by the log alone";

/// A round, not an applier, completes a ticket.
///
/// # Errors
/// It claims that a write is done.
pub fn check_round(reply: &Reply) -> Verdict {
    let is_of_applier =
        matches!(reply, Reply::Written | Reply::Split(_) | Reply::Changed(_) | Reply::GuardFailed);
    require(!is_of_applier, BY_APPLIER, || "a round answered one".to_owned())
}

/// An applier completes a ticket; `is_written` says whether the batch of its turn is.
///
/// # Errors
/// The answer comes before the write, or is none that the log alone decides.
pub fn check_applier(reply: &Reply, is_written: bool) -> Verdict {
    require(is_written, VISIBLE, || format!("{reply:?}"))?;
    let is_decided = match reply {
        Reply::Written | Reply::Split(_) | Reply::Changed(_) | Reply::GuardFailed => true,
        Reply::Failed(error) => matches!(
            error,
            RequestError::EpochNotMatch { .. }
                | RequestError::KeyNotInRegion { .. }
                | RequestError::Split { .. }
                | RequestError::Change { .. }
        ),
        Reply::ReadAt(_) | Reply::Unknown => false,
    };
    require(is_decided, BY_LOG, || format!("{reply:?}"))
}

#[cfg(test)]
mod tests {
    use flotilla_base::Index;

    use super::*;
    use crate::judge::samples::{REGION, broken, region};

    #[test]
    fn a_round_that_answers_a_write_is_found() {
        assert_eq!(check_round(&Reply::ReadAt(Index(7))), Ok(()));
        assert_eq!(check_round(&Reply::Unknown), Ok(()));
        assert_eq!(broken(check_round(&Reply::Written)), BY_APPLIER);
        assert_eq!(broken(check_round(&Reply::GuardFailed)), BY_APPLIER);
    }

    #[test]
    fn an_applier_that_answers_early_or_by_something_else_is_found() {
        let moved = RequestError::EpochNotMatch { current: Box::new(region()) };
        for reply in [Reply::Written, Reply::GuardFailed, Reply::Failed(moved)] {
            assert_eq!(check_applier(&reply, true), Ok(()));
            assert_eq!(broken(check_applier(&reply, false)), VISIBLE);
        }
        let busy = RequestError::Busy(REGION);
        for reply in [Reply::ReadAt(Index(7)), Reply::Unknown, Reply::Failed(busy)] {
            assert_eq!(broken(check_applier(&reply, true)), BY_LOG);
        }
    }
}
