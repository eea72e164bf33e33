//! Rule F6: what reaches an applier is committed, durable on its own store, and in order.

use std::collections::BTreeMap;

use flotilla_base::{Index, KvRead};
use flotilla_multiraft::ApplyTask;
use flotilla_raftgroup::disk;

use super::{Place, Verdict, require};

const ORDER: &str = "F6: applied is only what is committed and durable here, in order";

/// What was last handed to each applier, since the start of its store.
#[derive(Debug, Default)]
pub struct ApplyOrderJudge {
    handed: BTreeMap<Place, Index>,
}

impl ApplyOrderJudge {
    /// A store starts with a state machine at `applied`.
    pub fn on_start(&mut self, place: Place, applied: Index) {
        self.handed.insert(place, applied);
    }

    /// A store hands entries to an applier. `synced` is what its disk would keep in a crash.
    ///
    /// # Errors
    /// They are not committed, not durable, or not in order.
    pub fn on_hand_over<T>(
        &mut self,
        place: Place,
        task: &ApplyTask<T>,
        committed: Index,
        synced: &dyn KvRead,
    ) -> Verdict {
        for (entry, _) in &task.entries {
            let index = entry.index;
            let handed = self.handed.entry(place).or_default();
            require(index == handed.next(), ORDER, || format!("{place}: {index} after {handed}"))?;
            *handed = index;
            require(index <= committed, ORDER, || {
                format!("{place}: {index} is not committed, only {committed} is")
            })?;
            let durable = disk::read_entry(synced, task.region, index);
            require(durable.as_ref() == Ok(entry), ORDER, || {
                format!("{place}: {index} is not durable: {durable:?}")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{ONE, append, broken, disk, entry, task};

    #[test]
    fn what_is_not_committed_durable_and_in_order_is_found() {
        let log = [entry(6, 6, "k", "1:"), entry(6, 7, "k", "2:"), entry(6, 8, "k", "3:")];
        let mut disk = disk([append(5, &log[..2])]);
        disk.write(append(7, &log[2..])).expect("a sound disk");
        let judge = |entries: &[usize], committed| {
            let mut judge = ApplyOrderJudge::default();
            judge.on_start(ONE, Index(5));
            let entries = entries.iter().map(|at| log[*at].clone()).collect();
            judge.on_hand_over(ONE, &task(entries), Index(committed), disk.synced())
        };
        assert_eq!(judge(&[0, 1], 7), Ok(()));
        for (entries, committed) in
            [(&[1_usize][..], 7), (&[0, 0], 7), (&[1, 0], 7), (&[0, 1], 6), (&[0, 1, 2], 8)]
        {
            assert_eq!(broken(judge(entries, committed)), ORDER, "{entries:?} of {committed}");
        }
    }
}
