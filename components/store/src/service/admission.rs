//! How much may be written at the same time. Clients give up on a store that calls itself busy, so a
//! write first waits here, for a bounded time.

use std::{sync::Arc, time::Duration};

use flotilla_base::ByteSize;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// How long a request waits for room before it is refused.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Bounds the bytes of writes in flight.
#[derive(Debug)]
pub(super) struct Admission {
    room: Arc<Semaphore>,
    capacity: usize,
    /// A write that was refused may find room.
    room_made: Arc<Notify>,
}

/// The room of one write; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    _room: OwnedSemaphorePermit,
    room_made: Arc<Notify>,
}

/// No room came free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Admission {
    /// `room_made` tells of room that others make; writes that end tell of theirs with it, too.
    pub(super) fn new(capacity: ByteSize, room_made: Arc<Notify>) -> Self {
        let capacity = usize::try_from(capacity.bytes()).unwrap_or(usize::MAX);
        // A permit is one byte; a single acquisition counts them in 32 bits.
        let capacity = capacity.clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(capacity)), capacity, room_made }
    }

    /// Waits for room for `bytes`, until `deadline` at most. First come, first served.
    pub(super) async fn admit(&self, bytes: usize, deadline: Instant) -> Result<Admitted, Full> {
        let permits = u32::try_from(bytes.clamp(1, self.capacity)).unwrap_or(u32::MAX);
        let acquire = Arc::clone(&self.room).acquire_many_owned(permits);
        match timeout_at(deadline, acquire).await {
            Ok(Ok(room)) => Ok(Admitted { _room: room, room_made: Arc::clone(&self.room_made) }),
            _closed_or_late => Err(Full),
        }
    }

    /// Whether some write has room.
    #[cfg(test)]
    pub(super) fn is_in_use(&self) -> bool {
        self.room.available_permits() < self.capacity
    }

    /// Waits until a write that was refused may find room, until `deadline` at most: another one is done, or less waits to
    /// be applied. Who waited longest is woken first, and wakes the next one when it is done itself: so each word costs one
    /// attempt, and one that is taken brings all others on.
    pub(super) async fn some_room(&self, deadline: Instant) -> Result<(), Full> {
        timeout_at(deadline, self.room_made.notified()).await.map_err(|_elapsed| Full)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.room_made.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_given_back_and_waited_for() {
        let admission = Admission::new(ByteSize(10), Arc::default());
        let now = Instant::now();
        let first = admission.admit(8, now).await.expect("room");
        assert_eq!(admission.admit(8, now).await.expect_err("no room"), Full);
        let later = now + Duration::from_secs(30);
        let second = admission.admit(8, later);
        drop(first);
        let second = second.await.expect("room came free");
        admission.some_room(later).await.expect("the first one finished");
        drop(second);
        let all = admission.admit(usize::MAX, later).await;
        all.expect("a write larger than everything goes alone");
    }
}
