//! How hard to brake: a function of what the disk and the database look like.
//!
//! RocksDB would stall the whole database, raft's log included, so its own brakes are off. Clients are slowed down
//! where they come in instead:
//! - **debt**: the more files wait in level 0, or bytes for a compaction, between a soft and a hard limit, the smaller is
//!   the part of the usual pace that is let in;
//! - **room**: where the disk gets full, values are refused and deletions are not; where it is full, so is everything
//!   that a client writes, and entries of leaders elsewhere, which no debt slows down (decision 0022). What raft itself
//!   notes is small, and has the rest.
//!
//! **Knows nothing of** clocks, disks, and who is slowed down.

use flotilla_base::ByteSize;

/// Between these numbers of files in level 0 writes become slower.
const LEVEL0_FILES: Limits = Limits { soft: 24, hard: 72 };
/// The same for bytes that compactions owe.
const DEBT_BYTES: Limits = Limits { soft: 16 << 30, hard: 128 << 30 };
/// However large the debt: a cluster that takes nothing in cannot be told from one that is down.
const PACE_MIN: u64 = 1 << 20;
/// What counts as usual for a store that starts with a debt.
const PACE_UNKNOWN: u64 = 32 << 20;
/// What one look counts for against all before it, when the usual pace is measured.
const WEIGHT: u64 = 8;

struct Limits {
    soft: u64,
    hard: u64,
}

impl Limits {
    /// How much of the usual pace is left, in thousandths; `None` for all of it.
    fn share_permille(&self, amount: u64) -> Option<u64> {
        let over = amount.checked_sub(self.soft).filter(|over| *over > 0)?;
        Some(1000 - (over.min(self.hard - self.soft) * 1000) / (self.hard - self.soft))
    }
}

/// What a store looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// Of the family of data that has most.
    pub(crate) level0_files: u64,
    /// Of all families of data.
    pub(crate) debt_bytes: u64,
    /// On the volume; `None` where the system does not tell.
    pub(crate) available: Option<ByteSize>,
}

/// How much room a disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// For everything.
    #[default]
    Enough,
    /// For deletions, and for what other stores have agreed on.
    Scarce,
    /// For what raft notes about itself.
    None,
}

/// How hard to brake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) room: Room,
    /// Bytes that clients may write in a second; `None` for as many as they like.
    pub(crate) pace: Option<u64>,
}

/// Judges one store.
#[derive(Debug)]
pub(crate) struct Judge {
    free_min: ByteSize,
    /// Bytes a second that clients write where nothing slows them down; `None` where that was not seen yet.
    usual: Option<u64>,
    /// They were not slowed down since the last look.
    was_free: bool,
    room: Room,
}

impl Judge {
    /// A store does not start with less free space than `free_min`; so there is no room below it.
    pub(crate) const fn new(free_min: ByteSize) -> Self {
        Self { free_min, usual: None, was_free: false, room: Room::Enough }
    }

    /// The verdict on what is seen now; `written_per_second` bytes were let in since the last look.
    pub(crate) fn judge(&mut self, pressure: Pressure, written_per_second: u64) -> Verdict {
        // Silence says nothing about what clients could write.
        if self.was_free && written_per_second > 0 {
            let before = self.usual.unwrap_or(written_per_second);
            self.usual = Some((before * (WEIGHT - 1) + written_per_second) / WEIGHT);
        }
        let shares = [
            LEVEL0_FILES.share_permille(pressure.level0_files),
            DEBT_BYTES.share_permille(pressure.debt_bytes),
        ];
        let share = shares.into_iter().flatten().min();
        self.was_free = share.is_none();
        let usual = self.usual.unwrap_or(PACE_UNKNOWN);
        let pace = share.map(|share| (usual / 1000 * share).max(PACE_MIN));
        self.room = pressure.available.map_or(Room::Enough, |available| self.room_of(available));
        Verdict { room: self.room, pace }
    }

    /// A level ends a quarter above where it begins, so that nobody is let in and refused by turns.
    fn room_of(&self, available: ByteSize) -> Room {
        let least = self.free_min.bytes();
        let begins = |room: Room, below: u64| {
            let below = if self.room >= room { below + below / 4 } else { below };
            available.bytes() < below
        };
        if begins(Room::None, least) {
            Room::None
        } else if begins(Room::Scarce, 2 * least) {
            Room::Scarce
        } else {
            Room::Enough
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge() -> Judge {
        Judge::new(ByteSize::mib(256))
    }

    const fn files(level0_files: u64) -> Pressure {
        Pressure { level0_files, debt_bytes: 0, available: None }
    }

    fn free(mebibytes: u64) -> Pressure {
        Pressure { level0_files: 0, debt_bytes: 0, available: Some(ByteSize::mib(mebibytes)) }
    }

    #[test]
    fn nobody_is_slowed_down_without_need() {
        let mut judge = judge();
        for files_now in 0..=24 {
            assert_eq!(judge.judge(files(files_now), 1 << 30), Verdict::default());
        }
    }

    #[test]
    fn debt_takes_its_share_of_the_usual_pace_and_no_more() {
        let mut judge = judge();
        for _ in 0..100 {
            judge.judge(files(3), 64_000_000);
        }
        let pace = |judge: &mut Judge, pressure, written| judge.judge(pressure, written).pace;
        let half = pace(&mut judge, files(48), 64_000_000).expect("slowed down");
        assert!((30_000_000..=32_000_000).contains(&half), "{half}");
        // What is let in now is no measure of what is usual: the pace does not sink by itself.
        for _ in 0..100 {
            assert_eq!(pace(&mut judge, files(48), half), Some(half));
        }
        assert_eq!(pace(&mut judge, files(1000), half), Some(PACE_MIN));
        let debt = Pressure { debt_bytes: 72 << 30, ..files(0) };
        assert_eq!(pace(&mut judge, debt, 0), Some(half));
        assert_eq!(pace(&mut judge, files(24), 0), None);
    }

    #[test]
    fn a_store_that_starts_with_a_debt_is_not_shut() {
        let pace = judge().judge(files(25), 0).pace.expect("slowed down");
        assert!((30 << 20..33 << 20).contains(&pace), "{pace}");
        let mut judge = judge();
        for written in [64_000_000, 64_000_000, 0, 0, 0, 0, 0, 0, 0, 0] {
            judge.judge(files(3), written);
        }
        let pace = judge.judge(files(48), 0).pace.expect("slowed down");
        assert!(pace > 30_000_000, "what nobody writes is no measure: {pace}");
    }

    #[test]
    fn a_disk_that_fills_up_keeps_its_last_room_for_what_needs_it() {
        let mut judge = judge();
        let mut room = |mebibytes| judge.judge(free(mebibytes), 0).room;
        assert_eq!([10_000, 512].map(&mut room), [Room::Enough; 2]);
        assert_eq!([511, 600, 639, 256].map(&mut room), [Room::Scarce; 4]);
        assert_eq!([255, 0, 319].map(&mut room), [Room::None; 3]);
        assert_eq!([320, 639].map(&mut room), [Room::Scarce; 2]);
        assert_eq!(room(640), Room::Enough);
        assert_eq!(judge.judge(files(0), 0).room, Room::Enough, "nobody knows");
    }
}
