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
pub(crate) use score::Score;
pub(crate) use shuffle::Shuffle;
pub(crate) use slow::SlowStores;

/// Stores that one look at balance takes something from at most.
const STORES_PER_LOOK: usize = 32;
/// What a store may have more than another one, in hundredths of the mean, beside what would move.
const MARGIN_PERCENT: u128 = 2;

/// Why a scheduler decides nothing more at the moment, in a sentence.
pub(crate) type Idle = String;

/// Why those who transfer leads do nothing where others do.
const NO_ROOM: &str = "as many transfers as schedule.leader-schedule-limit allows are under way";

/// A number with its unit, for sentences.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / (1 << 20))
}
