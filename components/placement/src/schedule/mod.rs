//! Schedulers: what makes a cluster better that is sound already. Each looks at the stores and decides what is to begin
//! ([`crate::round`]), or says why nothing is.
//!
//! A move is made only if it leaves the store it comes from with no less than the one that it goes to, by a margin. Each
//! move then brings the sum of the squares of all loads down, so that at constant load there is an end, and no move can be
//! taken back by the scheduler that made it.

mod balance_leader;
mod balance_region;
mod cursors;
mod evict;
mod grant;
mod hot;
mod moved;
mod pace;
mod score;
mod shuffle;
mod slow;

pub(crate) use balance_leader::BalanceLeader;
pub(crate) use balance_region::BalanceRegion;
pub(crate) use evict::{Eviction, evict};
pub(crate) use grant::grant;
pub(crate) use hot::HotRegions;
pub(crate) use moved::{COOL_DOWN, Moved};
pub(crate) use pace::Pace;
pub(crate) use shuffle::Shuffle;
pub(crate) use slow::SlowStores;

use crate::round::Round;

/// Why nothing more is done: as much as may be is under way.
pub(crate) const FULL: &str =
    "as many transfers as may be at a time are under way (schedule.leader-schedule-limit)";
/// Stores that one look at balance takes something from at most.
const STORES_PER_LOOK: usize = 32;
/// What a store may have more than another one, in hundredths of the mean, beside what would move.
const MARGIN_PERCENT: u128 = 2;

/// Why a scheduler decides nothing more at the moment, in a sentence.
pub(crate) type Idle = String;

/// A number with its unit, for sentences.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / (1 << 20))
}

/// Lets each of these decide on its share of `room`, and on what those before it have left. What the last one says; `None`
/// where there are none.
pub(crate) fn shared<T>(
    round: &mut Round<'_>,
    all: &[T],
    room: usize,
    decide: impl Fn(&mut Round<'_>, &T, usize) -> Idle,
) -> Option<Idle> {
    let last = round.decided() + room;
    let mut idle = None;
    for (at, one) in all.iter().enumerate() {
        let share = last.saturating_sub(round.decided()).div_ceil(all.len() - at);
        idle = Some(decide(round, one, share));
    }
    debug_assert!(round.decided() <= last, "no more than there is room for");
    idle
}
