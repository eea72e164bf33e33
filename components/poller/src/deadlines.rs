//! Deadlines of many keys, each at most once.

use std::collections::{BTreeSet, HashMap};

use flotilla_base::Moment;

/// The earliest deadline of each key. No thread and no clock: [`crate::Alarm`] adds them.
#[derive(Debug, Default)]
pub struct Deadlines {
    by_key: HashMap<u64, Due>,
    by_time: BTreeSet<(Moment, u64)>,
}

/// The deadline of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    deadline: Moment,
    generation: u64,
}

impl Deadlines {
    /// Asks for `key` to be woken at `deadline`. Of two deadlines of one generation the earlier stands; a later
    /// generation replaces an earlier one, and an earlier one is ignored.
    pub fn set(&mut self, key: u64, generation: u64, deadline: Moment) {
        if let Some(old) = self.by_key.get(&key) {
            let keep = old.generation > generation
                || (old.generation == generation && old.deadline <= deadline);
            if keep {
                return;
            }
            self.by_time.remove(&(old.deadline, key));
        }
        self.by_key.insert(key, Due { deadline, generation });
        self.by_time.insert((deadline, key));
    }

    /// Forgets the deadline of `key`, unless it belongs to a later generation.
    pub fn clear(&mut self, key: u64, generation: u64) {
        if let Some(due) = self.by_key.get(&key).copied()
            && due.generation <= generation
        {
            self.by_key.remove(&key);
            self.by_time.remove(&(due.deadline, key));
        }
    }

    /// The earliest deadline of all.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        self.by_time.first().map(|&(deadline, _)| deadline)
    }

    /// Takes the keys whose deadline is not after `now` out, earliest first, with their generations.
    pub fn take_due(&mut self, now: Moment, into: &mut Vec<(u64, u64)>) {
        while let Some(&(deadline, key)) = self.by_time.first()
            && deadline <= now
        {
            self.by_time.remove(&(deadline, key));
            let due = self.by_key.remove(&key).expect("both maps hold the same keys");
            into.push((key, due.generation));
        }
    }

    /// Number of keys with a deadline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no key has a deadline.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(deadlines: &mut Deadlines, now: u64) -> Vec<(u64, u64)> {
        let mut keys = Vec::new();
        deadlines.take_due(Moment(now), &mut keys);
        keys
    }

    #[test]
    fn the_earliest_deadline_of_a_key_stands_and_fires_once() {
        let mut deadlines = Deadlines::default();
        deadlines.set(1, 1, Moment(50));
        deadlines.set(1, 1, Moment(70));
        deadlines.set(1, 1, Moment(30));
        deadlines.set(2, 1, Moment(40));
        assert_eq!(deadlines.next(), Some(Moment(30)));
        assert_eq!(deadlines.len(), 2);
        assert_eq!(due(&mut deadlines, 29), []);
        assert_eq!(due(&mut deadlines, 40), [(1, 1), (2, 1)]);
        assert_eq!(due(&mut deadlines, 1000), []);
        assert!(deadlines.is_empty());
    }

    #[test]
    fn generations_do_not_disturb_each_other() {
        let mut deadlines = Deadlines::default();
        deadlines.set(1, 1, Moment(10));
        deadlines.set(1, 2, Moment(90));
        deadlines.set(1, 1, Moment(5));
        deadlines.clear(1, 1);
        assert_eq!(due(&mut deadlines, 50), []);
        assert_eq!(due(&mut deadlines, 90), [(1, 2)]);
        deadlines.set(1, 2, Moment(95));
        deadlines.clear(1, 2);
        assert_eq!((deadlines.next(), deadlines.len()), (None, 0));
    }
}
