//! Reach marks: rare situations that runs must reach. A sweep that never sees one of them is blind there,
//! whatever else it shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::AddAssign;

/// A rare situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Its name.
    pub name: &'static str,
    /// What happened where it is reached.
    pub what: &'static str,
}

macro_rules! marks {
    ($($(#[$group:meta])* $constant:ident = $name:literal, $what:literal;)*) => {
        $(
            #[doc = $what]
            pub const $constant: Mark = Mark { name: $name, what: $what };
        )*

        /// All marks; a sweep of the committed seeds reaches every one of them.
        pub const ALL: &[Mark] = &[$($constant),*];
    };
}

marks! {
    LEADER_CRASHED = "leader-crashed", "another peer leads after the leader's store crashed";
    VOTE_SPLIT = "vote-split", "two peers are candidates of one term";
    INHERITED = "inherited-entries", "a new leader holds entries of which nobody knew that they are committed";
    CONFLICT = "append-conflict", "a follower replaces entries of its log";
    PENDING_LOST = "pending-lost", "a crash takes written batches";
    PENDING_KEPT = "pending-kept", "a crash leaves written batches that were not synced";
    TORN = "torn-batch", "a crash leaves a batch in part";
    MID_ROUND_CRASH = "mid-round-crash", "a store dies between two effects of a round";
    SENT_NOT_WRITTEN = "sent-not-written", "a store dies after messages left and before its batch is written";
    NOT_APPLIED = "restart-not-applied", "a store starts with committed entries that it has not applied";
    LATE_BIRTH = "embryo-restart", "a peer without data starts with the vote that it gave before a crash";
    GATE_REFUSED = "gate-refused", "a gate keeps a peer from voting";
    QUORUM_CHECK = "quorum-check", "a leader that hears no majority steps down";
    LEADER_PAUSED = "leader-paused", "a leader stands still for longer than its lease";
    LEASE_READ = "lease-read", "a read is served in place";
    LEASE_WITHDRAWN = "lease-withdrawn", "a permit is withdrawn while a read in place is under way";
    LEASE_RAN_OUT = "lease-ran-out", "a lease runs out while a read in place is under way";
    READ_INDEX = "read-index", "a round of heartbeats confirms a read";
    READ_BATCH = "read-batch", "one round confirms two reads or more";
    FOLLOWER_READ = "follower-read", "a follower serves a read";
    FOLLOWER_REFUSED = "follower-gave-up", "a follower refuses a read for want of a word of its leader";
    SWAP_REFUSED = "swap-refused", "a swap finds something else";
    WRITE_LOST = "write-lost", "a write is refused since another leader's entry stands in its place";
    TRANSFERRED = "transferred", "a peer leads because it was told to";
    TRANSFER_ABORTED = "transfer-aborted", "a hand-over takes too long, and the old leader goes on";
    TRANSFER_TWICE = "told-twice", "a successor is told twice";
    TRANSFER_LATE = "told-late", "a peer is told to campaign in a term that has ended";
    STALL_TRANSFER = "stall-hand-over", "a leader hands over because its disk stands still";
    SYNC_FAILED = "sync-failed", "a sync fails, and the store stops";
    DISK_FULL = "disk-full", "a write is refused, and the store stops";
    SYNCER_FULL = "syncer-full", "so much waits for a sync that nothing is collected";
    CACHE_SHRUNK = "cache-shrunk", "a replica may keep less of its log in memory than it has there";
    APPLY_BEHIND = "apply-behind", "a replica takes no entries since too much waits to be applied";
    LOG_TRUNCATED = "log-truncated", "entries that nobody needs leave a log";
    TRUNCATED_PROBE = "probe-after-truncation", "a follower refuses entries of a leader whose log was shortened";
    FETCHED = "fetched", "a leader is given entries that were read for a follower";
    FETCH_REFUSED = "fetch-refused", "there is no room for entries that a follower lacks";
    FETCH_LATE = "fetch-late", "entries are read for a lead that has ended";
    FETCH_SHORTENED = "fetch-shortened", "entries are read that have left their log meanwhile";
    ALL_DOWN = "all-down", "no store runs";
    SPOKEN_AND_GONE = "spoken-and-gone", "a store dies that has spoken, before the system writes the number of its run back by itself";
    STORM = "restart-in-gate", "a store crashes before its gate opens";
    WALL_BACK = "wall-clock-back", "a leader's wall clock is behind what its data was written at";
    MINORITY_LEFT = "second-phase-missing", "clients finish while a store is missing";
    SPLIT = "split", "a region is split";
    SPLIT_RECOVERED = "split-recovered", "a store starts that crashed between a split and its child's first note";
    SPLIT_AFTER_VOTE = "split-after-vote", "a split's child has voted here before the split is applied here";
    SPLIT_OF_OLD_SHAPE = "split-of-old-shape", "a split is refused since the region has another shape";
    SPLIT_LED_ELSEWHERE = "split-led-elsewhere", "a split's child is led by another store than its parent's leader";
    FOLLOWER_BEHIND = "follower-behind-truncation", "a follower lacks entries that left its leader's log";
    SNAPSHOT_SENT = "snapshot-sent", "all of a snapshot has arrived";
    SNAPSHOT_INSTALLED = "snapshot-installed", "a peer has the data of a snapshot in place of its own";
    SNAPSHOT_TO_NEW = "snapshot-to-new-peer", "a peer without data gets it with a snapshot";
    SNAPSHOT_REFUSED = "snapshot-refused", "a snapshot arrives that is damaged, or whose keys are another's";
    SNAPSHOT_CANCELLED = "snapshot-cancelled", "a snapshot is given up on its way";
    INSTALL_RECOVERED = "install-recovered", "a store starts that crashed while data was put in place";
    CONF_CHANGED = "conf-changed", "the members of a region change";
    JOINT_LEFT_BY_OTHER = "joint-left-by-other-leader", "another leader ends a joint configuration than began it";
    LEADER_REMOVED = "leader-steps-down-removed", "a leader steps down since it was removed or demoted";
    TOMBSTONED = "tombstoned", "a removed peer is destroyed";
    CLEANED_AROUND = "cleaned-around", "what a destroyed peer left is to be deleted, and another peer has keys of it by then";
    GONE_CONFIRMED = "peer-gone-confirmed", "a region forgets a removed peer whose store has confirmed its end";
    CHANGE_REFUSED = "change-refused-guard", "a leader refuses a change for what it alone knows";
    SPLIT_ONTO_TOMBSTONE = "split-onto-tombstone", "a split's child has been destroyed here before the split is applied here";
    QUIESCED = "quiesced", "a leader falls asleep";
    SLEPT_ON_REMOVAL = "slept-on-removal", "a leader falls asleep whose region remembers a member that is removed and away";
    WOKEN_BY_REQUEST = "woken-by-request", "a sleeping replica wakes since somebody wants something";
    WOKEN_BY_MESSAGE = "woken-by-message", "a sleeping replica wakes since another member says something";
    WOKEN_BY_SILENCE = "woken-by-silence", "a sleeping follower wakes since its leader's store is gone";
    WOKEN_BY_RETURN = "woken-by-return", "a sleeping leader wakes since the store of a member begins to live";
    HELD_BACK = "held-back", "a clogged message arrives";
}

/// How often each mark was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<Mark, u64>);

impl Marks {
    /// It was reached once more.
    pub fn reach(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// It was reached once more, if `is_reached`.
    pub fn reach_if(&mut self, is_reached: bool, mark: Mark) {
        if is_reached {
            self.reach(mark);
        }
    }

    /// How often it was reached.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0.get(&mark).copied().unwrap_or(0)
    }

    /// What was never reached.
    pub fn missing(&self) -> impl Iterator<Item = Mark> {
        self.missing_of(ALL)
    }

    /// What of these was never reached.
    pub fn missing_of(&self, marks: &'static [Mark]) -> impl Iterator<Item = Mark> {
        marks.iter().copied().filter(|mark| self.count(*mark) == 0)
    }

    /// One line a mark: how often it was reached, its name, and what it means.
    #[must_use]
    pub fn table(&self) -> String {
        self.table_of(ALL)
    }

    /// The same for these marks.
    #[must_use]
    pub fn table_of(&self, marks: &[Mark]) -> String {
        let mut table = String::new();
        for mark in marks {
            let (count, Mark { name, what }) = (self.count(*mark), mark);
            let _never_fails = writeln!(table, "{count:>10}  {name:<28}{what}");
        }
        table
    }
}

impl AddAssign<&Self> for Marks {
    fn add_assign(&mut self, other: &Self) {
        for (mark, count) in &other.0 {
            *self.0.entry(*mark).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn marks_add_up_and_what_is_missing_is_named() {
        let mut marks = Marks::default();
        marks.reach(TORN);
        marks.reach_if(false, CONFLICT);
        let mut total = marks.clone();
        total += &marks;
        assert_eq!(total.count(TORN), 2);
        assert_eq!(total.missing().count(), ALL.len() - 1);
        assert!(total.missing().any(|mark| mark == CONFLICT));
        assert!(total.table().contains("2  torn-batch"), "{}", total.table());
        let names: BTreeSet<&str> = ALL.iter().map(|mark| mark.name).collect();
        assert_eq!(names.len(), ALL.len(), "no name is used twice");
    }
}
