//! Room on the volume that all stages share while they are written.
//!
//! What a stage is going to take is the sender's word. It is set aside when the stage begins, and looked at again with
//! every few megabytes that are written: whatever fills the volume meanwhile, stages end before they take the room that
//! must be left. A sender that says less than it sends is stopped a little above its word.

use std::{io, path::Path};

use flotilla_base::ByteSize;
use parking_lot::Mutex;

use super::StageError;

/// A stage looks at its room whenever it has grown by so much, and has so much set aside at least.
pub(super) const STEP_BYTES: u64 = 4 << 20;
/// What is announced is an estimate: a stage may become twice as large, and larger by this.
pub(super) const SLACK_BYTES: u64 = 64 << 20;

/// Asks for the free bytes of the volume that a directory is on.
pub type FreeBytes = fn(&Path) -> io::Result<ByteSize>;

/// The room of all stages of a directory.
pub(super) struct Room {
    /// What must be left of the volume behind all stages.
    free_min: u64,
    free_bytes: Box<dyn Fn() -> Result<u64, StageError> + Send + Sync>,
    /// What the stages that are being written may still take, all together.
    set_aside: Mutex<u64>,
}

/// The room of one stage that is being written; given back when it is dropped.
pub(super) struct Share<'a> {
    room: &'a Room,
    announced: u64,
    /// Bytes that were written when it was looked at last.
    written: u64,
    /// Its part of [`Room::set_aside`].
    set_aside: u64,
}

impl Room {
    pub(super) fn new(
        free_min: ByteSize,
        free_bytes: impl Fn() -> Result<u64, StageError> + Send + Sync + 'static,
    ) -> Self {
        let free_min = free_min.bytes();
        Self { free_min, free_bytes: Box::new(free_bytes), set_aside: Mutex::new(0) }
    }

    /// Sets room aside for a stage that is announced to take so much.
    pub(super) fn begin(&self, announced: u64) -> Result<Share<'_>, StageError> {
        let mut share = Share { room: self, announced, written: 0, set_aside: 0 };
        share.change(announced.max(STEP_BYTES))?;
        Ok(share)
    }
}

impl Share<'_> {
    /// The stage has `written` bytes now.
    ///
    /// # Errors
    /// [`StageError::NoSpace`], or [`StageError::TooLarge`]: the stage is to be dropped.
    pub(super) fn grow(&mut self, written: u64) -> Result<(), StageError> {
        debug_assert!(written >= self.written, "a stage does not shrink");
        if written - self.written < STEP_BYTES {
            return Ok(());
        }
        let limit = self.announced.saturating_mul(2).saturating_add(SLACK_BYTES);
        if written > limit {
            let announced = ByteSize(self.announced);
            return Err(StageError::TooLarge { announced, limit: ByteSize(limit) });
        }
        self.written = written;
        self.change(self.announced.saturating_sub(written).max(STEP_BYTES))
    }

    /// So much is set aside from now on, where the volume has it.
    fn change(&mut self, set_aside: u64) -> Result<(), StageError> {
        let mut all = self.room.set_aside.lock();
        let others = *all - self.set_aside;
        // Under the lock: what two stages find free at the same time would be promised to both.
        let available = (self.room.free_bytes)()?;
        let needed = others.saturating_add(set_aside).saturating_add(self.room.free_min);
        if available < needed {
            let (available, needed) = (ByteSize(available), ByteSize(needed));
            return Err(StageError::NoSpace { available, needed });
        }
        *all = others + set_aside;
        self.set_aside = set_aside;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.room.set_aside.lock() -= self.set_aside;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A volume whose free space the test says, of which 100 MiB must be left.
    fn volume(free_mib: u64) -> (Room, Arc<AtomicU64>) {
        let free = Arc::new(AtomicU64::new(free_mib * MIB));
        let asked = Arc::clone(&free);
        (Room::new(ByteSize::mib(100), move || Ok(asked.load(Ordering::Relaxed))), free)
    }

    fn has_no_space<T>(outcome: &Result<T, StageError>) -> bool {
        matches!(outcome, Err(StageError::NoSpace { .. }))
    }

    #[test]
    fn what_one_stage_was_promised_no_other_one_gets() {
        let (room, free) = volume(1_000);
        let mut first = room.begin(500 * MIB).expect("room");
        assert!(has_no_space(&room.begin(401 * MIB)), "each alone would have room");
        let second = room.begin(400 * MIB).expect("room");
        // Written by the first one: free space and what it needs still sink together.
        free.store(700 * MIB, Ordering::Relaxed);
        first.grow(300 * MIB).expect("its own room");
        assert!(has_no_space(&room.begin(MIB)));
        drop(second);
        let third = room.begin(400 * MIB).expect("given back");
        drop((first, third));
        assert_eq!(*room.set_aside.lock(), 0);
    }

    #[test]
    fn a_stage_ends_as_soon_as_others_have_taken_its_room() {
        let (room, free) = volume(1_000);
        let mut stage = room.begin(500 * MIB).expect("room");
        free.store(500 * MIB, Ordering::Relaxed);
        stage.grow(3 * MIB).expect("not looked at yet");
        assert!(has_no_space(&stage.grow(5 * MIB)));
        assert!(has_no_space(&stage.grow(10 * MIB)), "and stays so");
        free.store(590 * MIB, Ordering::Relaxed);
        stage.grow(10 * MIB).expect("there is room again");
    }

    #[test]
    fn announced_as_nothing_it_takes_little() {
        let (room, free) = volume(1_000);
        let mut stage = room.begin(0).expect("room");
        stage.grow(64 * MIB).expect("within the slack");
        let refused = stage.grow(70 * MIB);
        assert!(matches!(refused, Err(StageError::TooLarge { .. })), "{refused:?}");
        let mut stage = room.begin(100 * MIB).expect("room");
        stage.grow(264 * MIB).expect("an estimate");
        assert!(matches!(stage.grow(270 * MIB), Err(StageError::TooLarge { .. })));
        // Beyond its word it needs room still.
        let mut stage = room.begin(MIB).expect("room");
        free.store(103 * MIB, Ordering::Relaxed);
        assert!(has_no_space(&stage.grow(50 * MIB)));
    }
}
