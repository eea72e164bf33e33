//! What costs something is done when somebody who knows the cost says so: with `--yes`, or at the terminal.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use crate::{
    args::Globals,
    catalogue,
    fault::Fault,
    output::{self, Format},
};

/// What is to be done, and what it costs.
#[derive(Debug)]
pub(super) struct Plan {
    /// As a sentence: what is to be done.
    pub what: String,
    /// What it costs.
    pub cost: String,
    /// Other ways, and last the command that does it.
    pub hints: Vec<String>,
}

/// Asks whoever sits at the terminal; where nobody does, `--yes` is needed.
///
/// # Errors
/// [`catalogue::UNCONFIRMED`] where nobody has confirmed it.
pub(super) fn confirm(globals: &Globals, plan: Plan) -> Result<(), Fault> {
    let can_ask =
        globals.output == Format::Table && io::stdin().is_terminal() && io::stderr().is_terminal();
    if can_ask {
        let mut shown = io::stderr().lock();
        let asked = write!(shown, "{}\n  {}\ngo on? [y/N] ", plan.what, plan.cost);
        let answer = asked.and_then(|()| shown.flush()).and_then(|()| said_yes(io::stdin().lock()));
        if answer.map_err(|cause| Fault::io("cannot ask", &cause))? {
            return Ok(());
        }
        output::note("nothing was done");
    }
    let fault = Fault::new(&catalogue::UNCONFIRMED, plan.what).why(plan.cost);
    Err(plan.hints.into_iter().fold(fault, Fault::hint))
}

/// Everything but a clear yes is a no.
fn said_yes(mut answers: impl BufRead) -> io::Result<bool> {
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, is_yes) in [
            ("y\n", true),
            ("Yes\n", true),
            (" y ", true),
            ("\n", false),
            ("", false),
            ("ya\n", false),
        ] {
            assert_eq!(said_yes(answer.as_bytes()).expect("read"), is_yes, "{answer:?}");
        }
    }
}
