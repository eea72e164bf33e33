//! What a node has begun and not finished, for the check whether it is alive.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use flotilla_base::{Moment, Span};
use parking_lot::Mutex;

/// A node whose oldest piece of work is older does nothing any more.
const AGE_MAX: Span = Span::from_millis(10_000);

/// Stands for "nothing is under way" in a mark.
const IDLE: u64 = u64::MAX;

/// The work of a node's threads. Clones are handles to one node.
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    workers: Arc<Mutex<Vec<Worker>>>,
}

#[derive(Debug)]
struct Worker {
    /// What it does, for people: `raft turn`.
    doing: &'static str,
    /// Nanoseconds at which it began; [`IDLE`] where it does nothing.
    since: Arc<AtomicU64>,
}

/// Where one thread says what it is about. It does one thing at a time.
#[derive(Debug)]
pub struct WorkMark {
    since: Arc<AtomicU64>,
}

impl Unfinished {
    /// The mark of one more thread.
    #[must_use]
    pub fn worker(&self, doing: &'static str) -> WorkMark {
        let since = Arc::new(AtomicU64::new(IDLE));
        self.workers.lock().push(Worker { doing, since: Arc::clone(&since) });
        WorkMark { since }
    }

    /// # Errors
    /// What has been under way for more than ten seconds.
    pub fn check(&self, now: Moment) -> Result<(), String> {
        let workers = self.workers.lock();
        let begun =
            workers.iter().map(|worker| (worker.since.load(Ordering::Relaxed), worker.doing));
        match begun.filter(|(since, _)| *since != IDLE).min() {
            Some((since, doing)) if now.since(Moment(since)) > AGE_MAX => {
                let age = std::time::Duration::from(now.since(Moment(since))).as_secs();
                Err(format!("a {doing} has not ended for {age} s"))
            }
            _none_or_young => Ok(()),
        }
    }
}

impl WorkMark {
    /// A piece of work begins.
    pub fn begin(&self, now: Moment) {
        self.since.store(now.0, Ordering::Relaxed);
    }

    /// It has ended.
    pub fn end(&self) {
        self.since.store(IDLE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_work_is_judged() {
        let second = |seconds: u64| Moment(seconds * 1_000_000_000);
        let unfinished = Unfinished::default();
        let (turn, sync) = (unfinished.worker("raft turn"), unfinished.worker("sync"));
        assert_eq!(unfinished.check(second(100)), Ok(()));
        turn.begin(second(5));
        sync.begin(second(3));
        assert_eq!(unfinished.check(second(13)), Ok(()));
        let stuck = unfinished.check(second(14));
        assert_eq!(stuck, Err("a sync has not ended for 11 s".to_owned()));
        sync.end();
        assert_eq!(unfinished.check(second(14)), Ok(()));
        assert_eq!(
            unfinished.check(second(16)),
            Err("a raft turn has not ended for 11 s".to_owned())
        );
        turn.end();
        assert_eq!(unfinished.check(second(100)), Ok(()));
    }
}
