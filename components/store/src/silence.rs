//! Which other stores this one does not hear any more.
//!
//! A connection that broke is a hint; a message that came is the proof of the contrary. So a store counts as silent
//! when it could not be reached, again and again, and nothing came from it for a second.
//!
//! **Knows nothing of** regions and leads: whoever leads asks.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use flotilla_base::StoreId;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// A store that was not heard for so long since its connection broke is silent: longer than an election takes.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// What could not be reached is tried again within two seconds while there is something to send. A break that was not
/// seen again for so long is old news: nothing was sent meanwhile.
const BREAK_LASTS: Duration = Duration::from_secs(5);

/// Stores that are silent, with the moment since which they are.
pub(crate) type Silent = BTreeMap<StoreId, Instant>;

#[derive(Clone, Copy, Debug)]
struct Break {
    first: Instant,
    last: Instant,
}

/// What a store notices of the silence of others. Bounded by the stores there are.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    broken: Mutex<BTreeMap<StoreId, Break>>,
    /// Whether `broken` holds anything: messages come often, and breaks are rare.
    is_any: AtomicBool,
    has_changed: Notify,
}

impl Silence {
    /// `store` could not be reached.
    pub(crate) fn broke(&self, store: StoreId, now: Instant) {
        let mut broken = self.broken.lock();
        let is_first = !broken.contains_key(&store);
        broken.entry(store).or_insert(Break { first: now, last: now }).last = now;
        self.is_any.store(true, Ordering::Release);
        drop(broken);
        if is_first {
            self.has_changed.notify_one();
        }
    }

    /// Something came from `store`.
    pub(crate) fn heard(&self, store: StoreId) {
        if !self.is_any.load(Ordering::Acquire) {
            return;
        }
        let mut broken = self.broken.lock();
        let was_broken = broken.remove(&store).is_some();
        self.is_any.store(!broken.is_empty(), Ordering::Release);
        drop(broken);
        if was_broken {
            self.has_changed.notify_one();
        }
    }

    /// The stores that are silent now, and when that may change by time alone.
    pub(crate) fn judge(&self, now: Instant) -> (Silent, Option<Instant>) {
        let mut broken = self.broken.lock();
        broken.retain(|_store, seen| now < seen.last + BREAK_LASTS);
        self.is_any.store(!broken.is_empty(), Ordering::Release);
        let is_silent = |seen: &Break| now >= seen.first + SILENT_AFTER;
        let silent = broken.iter().filter(|(_store, seen)| is_silent(seen));
        let silent = silent.map(|(store, seen)| (*store, seen.first)).collect();
        let next = broken.values().map(|seen| match is_silent(seen) {
            true => seen.last + BREAK_LASTS,
            false => seen.first + SILENT_AFTER,
        });
        (silent, next.min())
    }

    /// Waits until a store breaks off or comes back. For one waiter.
    pub(crate) async fn changed(&self) {
        self.has_changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: StoreId = StoreId(2);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn silent_is_who_is_not_reached_and_not_heard_for_a_second() {
        let (silence, start) = (Silence::default(), Instant::now());
        assert_eq!(silence.judge(start), (Silent::new(), None));
        silence.broke(OTHER, start);
        assert_eq!(
            silence.judge(start + millis(999)),
            (Silent::new(), Some(start + millis(1_000)))
        );
        let since = Silent::from([(OTHER, start)]);
        assert_eq!(
            silence.judge(start + millis(1_000)),
            (since.clone(), Some(start + millis(5_000)))
        );
        silence.broke(OTHER, start + millis(4_000));
        assert_eq!(silence.judge(start + millis(8_000)).0, since);
        silence.heard(OTHER);
        assert_eq!(silence.judge(start + millis(8_001)), (Silent::new(), None));
    }

    #[test]
    fn old_news_is_forgotten() {
        let (silence, start) = (Silence::default(), Instant::now());
        silence.broke(OTHER, start);
        assert_eq!(silence.judge(start + millis(4_999)).0.len(), 1);
        assert_eq!(silence.judge(start + millis(5_000)), (Silent::new(), None));
        // It counts anew from the next break.
        silence.broke(OTHER, start + millis(9_000));
        assert_eq!(silence.judge(start + millis(9_500)).0.len(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_both_ends() {
        let silence = Silence::default();
        silence.broke(OTHER, Instant::now());
        silence.changed().await;
        silence.broke(OTHER, Instant::now());
        silence.heard(StoreId(3));
        silence.heard(OTHER);
        silence.changed().await;
    }
}
