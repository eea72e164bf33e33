//! Sleep: a group falls asleep with nothing left to do. A member that agreed while it lacked an entry would lack it for as
//! long as nobody wants anything of its region.

use flotilla_base::Index;

use super::{Place, Verdict, require};

/// Broken by a leader that sleeps while the store of a removed member lives, as far as it hears.
pub const OWING: &str = "sleep: no leader sleeps for long that owes somebody the end of a removal";

const RULE: &str = "sleep: whoever agrees has applied all that its leader holds";

/// A member sleeps behind a question of its leader, whose log ends at `last`.
///
/// # Errors
/// It has not applied all of it.
pub fn check_consent(place: Place, last: Index, applied: Index) -> Verdict {
    require(applied >= last, RULE, || format!("{place}: it has applied {applied} of {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{OTHER, broken};

    #[test]
    fn a_member_that_lacks_an_entry_must_not_agree() {
        assert_eq!(check_consent(OTHER, Index(7), Index(7)), Ok(()));
        assert_eq!(broken(check_consent(OTHER, Index(7), Index(6))), RULE);
    }
}
