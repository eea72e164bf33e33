//! Placement rules: all of them are replaced at once, by one who has seen the last ones.

use flotilla_pdcore::{Decided, Leading};
use flotilla_placement::{PolicyRefusal, rule::RuleEdit};

use super::{Unwanted, decide};
use crate::handle::CoreHandle;

/// Changes rules, all or none.
///
/// # Errors
/// [`Unwanted::Denied`] with the first rule that cannot be, and what would be possible.
pub(crate) async fn change_rules(core: &CoreHandle, edits: Vec<RuleEdit>) -> Result<(), Unwanted> {
    decide(core, move |sight: &Leading<'_>| {
        let policy = sight.state().policy();
        let book = policy.edit_rules(edits).map_err(PolicyRefusal::Rule)?;
        Ok((Decided::Rules(Box::new(book)), ()))
    })
    .await
}
