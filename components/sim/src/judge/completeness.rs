//! Leader completeness: whoever leads a term holds everything that was committed in earlier terms.

use flotilla_base::{KvRead, Term};
use flotilla_raftgroup::{Entry, disk};

use super::{Place, Verdict, require};

const COMPLETE: &str = "leader completeness";

/// Judges the log of a peer that leads `term` from now on. `committed` is all that was certainly committed in
/// earlier terms, in order; `image` is what the leader's store has written.
///
/// # Errors
/// An entry is missing, or another one is in its place.
pub fn check(place: Place, term: Term, committed: &[Entry], image: &dyn KvRead) -> Verdict {
    let state = disk::read_apply_state(image, place.1).ok().flatten().unwrap_or_default();
    let first_kept = state.truncated.index.next();
    for entry in committed.iter().skip_while(|entry| entry.index < first_kept) {
        let found = disk::read_entry(image, place.1, entry.index);
        require(found.as_ref() == Ok(entry), COMPLETE, || {
            let (index, committed) = (entry.index, entry.term);
            let found = found.map(|found| found.term);
            format!(
                "{place} leads term {term}: committed {index} is of term {committed}, here {found:?}"
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{ONE, append, apply_state, broken, disk, entry, position};

    #[test]
    fn a_leader_without_a_committed_entry_is_found() {
        let committed = [entry(6, 6, "k", "1:"), entry(6, 7, "k", "2:"), entry(8, 8, "k", "3:")];
        let judge = |log: &[Entry]| {
            let disk = disk([vec![apply_state(position(5, 5), 0)], append(5, log)]);
            check(ONE, Term(9), &committed, disk.image().as_ref())
        };
        assert_eq!(judge(&committed), Ok(()));
        assert_eq!(broken(judge(&committed[..1])), COMPLETE);
        assert_eq!(broken(judge(&committed[..2])), COMPLETE);
        let other = [committed[0].clone(), entry(5, 7, "k", "2:"), committed[2].clone()];
        assert_eq!(broken(judge(&other)), COMPLETE);
    }

    #[test]
    fn what_left_the_log_is_not_looked_for() {
        let committed = [entry(6, 6, "k", "1:"), entry(6, 7, "k", "2:")];
        let mut state = flotilla_raftgroup::ApplyState::starting_at(position(6, 6));
        state.commit = flotilla_base::Index(6);
        let state = disk::put_apply_state(ONE.1, &state);
        let disk = disk([vec![state], append(6, &committed[1..])]);
        assert_eq!(check(ONE, Term(7), &committed, disk.image().as_ref()), Ok(()));
    }
}
