//! Mistakes that are planted on purpose, one at a time, to see which tests find them.
//!
//! The place of a rule asks [`Seeded::has`]. Without the feature `seeded-bugs`, which no program that serves
//! anybody has, the answer is the constant `false` and [`Seeded`] takes no room. It is a value of a
//! configuration and nothing global: two simulated worlds of one process may have different bugs.

use std::fmt;

/// A mistake. Each constant says what goes wrong, and who made it first or why it is tempting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bug {
    /// Its name on command lines and on the board. No two bugs share one.
    pub name: &'static str,
    /// The rule that it breaks.
    pub breaks: &'static str,
}

impl Bug {
    const fn new(name: &'static str, breaks: &'static str) -> Self {
        assert!(!name.is_empty() && !breaks.is_empty(), "a bug has a name, and breaks a rule");
        Self { name, breaks }
    }

    /// A follower acknowledges entries that a crash may take from it: a majority that never was. What
    /// `fsync = false` does to etcd, and early MongoDB did by default.
    pub const ACK_BEFORE_PERSIST: Self =
        Self::new("ack-before-persist", "F4: what is acknowledged is durable");

    /// A vote leaves before it is durable: a crash lets its peer vote twice in one term.
    pub const VOTE_BEFORE_PERSIST: Self = Self::new(
        "vote-before-persist",
        "F0: terms and votes are durable before messages of theirs",
    );

    /// The only voter of a group with learners sends entries of a term that it may forget. The crate
    /// `raft` 0.7 does so, since such a peer leads in the call that elects it.
    pub const SINGLETON_SENDS_BEFORE_VOTE_DURABLE: Self = Self::new(
        "singleton-sends-before-vote-durable",
        "F0: terms and votes are durable before messages of theirs",
    );

    /// Messages leave before the replica hears that its log is durable: an answer that overtakes the
    /// notice finds a peer that does not know its own log.
    pub const PERSISTED_AFTER_SEND: Self = Self::new(
        "persisted-after-send",
        "F5: a replica hears that its write is durable before anybody else",
    );

    /// Entries count as durable here as soon as they are handed out to be written.
    pub const LOG_COUNTS_BEFORE_DURABLE: Self =
        Self::new("log-counts-before-durable", "F6: what is applied is durable here");

    /// A peer without data keeps no record of its vote, and votes again after a restart.
    pub const UNINITIALISED_VOTE_FORGOTTEN: Self =
        Self::new("uninitialised-vote-forgotten", "I2: a peer never forgets its (term, vote)");

    /// After a restart a peer votes at once, though it may have promised its silence to a leader whose
    /// lease still holds.
    pub const VOTE_RIGHT_AFTER_RESTART: Self =
        Self::new("vote-right-after-restart", "the fence: behind a restart the gate is closed");

    /// A peer that heard its leader a moment ago refuses its vote to others, but campaigns itself: leases
    /// rest on both halves of it.
    pub const OWN_CAMPAIGN_IGNORES_GATE: Self =
        Self::new("own-campaign-ignores-gate", "the gate: who heard a leader does not campaign");

    /// Time that this process slept through counts, as silence of the leader and against the disk: leads
    /// move when a machine wakes up. Every ticker that delivers its missed ticks in a burst.
    pub const TICK_BURST_AFTER_STALL: Self =
        Self::new("tick-burst-after-stall", "time that a process slept through proves nothing");

    /// A late copy of a hand-over makes its receiver campaign past all gates, whatever happened since.
    pub const HANDOVER_NEVER_VOID: Self =
        Self::new("handover-never-void", "a late copy of a hand-over is void");

    /// A leader keeps its lead though its disk stands still: heartbeats need no disk, so nobody else finds
    /// out. A gray failure.
    pub const LEADER_KEEPS_STALLED_DISK: Self = Self::new(
        "leader-keeps-stalled-disk",
        "a leader whose disk stands still gives up its lead",
    );

    /// A lease counts from the moment at which the answers came, not from that at which the round left.
    pub const LEASE_FROM_RECEIVE_TIME: Self =
        Self::new("lease-from-receive-time", "a lease counts from the moment of sending");

    /// The lease stays while the lead is being handed over, though the successor waits for no gate.
    pub const LEASE_DURING_TRANSFER: Self =
        Self::new("lease-during-transfer", "no lease while handing over");

    /// After a hand-over that failed the lease is back at once, though its successor may still be told.
    pub const LEASE_AFTER_ABORTED_TRANSFER: Self = Self::new(
        "lease-after-aborted-transfer",
        "nor after a hand-over that failed, before a later entry",
    );

    /// A reading thread looks at its permit, then takes its view of the data, and looks at nothing after that: a
    /// pause in between goes unnoticed. TiKV's local reader did so until 2022.
    pub const LEASE_CHECK_BEFORE_SNAPSHOT: Self = Self::new(
        "lease-check-before-snapshot",
        "a read in place looks at clock and permit behind its view",
    );

    /// A reading thread takes its view of the data before it looks at the permit, or reuses an older one.
    pub const LEASE_VIEW_BEFORE_PERMIT: Self = Self::new(
        "lease-view-before-permit",
        "a read in place looks at its permit before its view",
    );

    /// A read in place does not wait for the published commit index: a follower has shown newer data.
    pub const LEASE_READ_IGNORES_PUBLISHED_COMMIT: Self = Self::new(
        "lease-read-ignores-published-commit",
        "a read in place waits for the published commit index",
    );

    /// What readers see of a lease changes behind the messages of the round.
    pub const PERMIT_AFTER_MESSAGES: Self =
        Self::new("permit-after-messages", "F1: permits before all");

    /// A leader grants a read without a round of heartbeats: it may have been deposed. Jepsen's first
    /// findings in etcd and Consul.
    pub const READ_INDEX_WITHOUT_QUORUM: Self =
        Self::new("read-index-without-quorum", "reads are confirmed by a majority");

    /// Rounds share one context: a late answer to an earlier one confirms a later one.
    pub const READ_INDEX_CONTEXT_REUSED: Self =
        Self::new("read-index-context-reused", "the context of a round is never used twice");

    /// A confirmed read is answered before this replica has applied up to its index.
    pub const READ_BEFORE_APPLY: Self =
        Self::new("read-before-apply", "a confirmed read waits for its index to be applied");

    /// An entry of an older term counts as committed once a majority holds it. Figure 8 of the paper on
    /// raft.
    pub const COMMIT_OLD_TERM_BY_COUNT: Self = Self::new(
        "commit-old-term-by-count",
        "only entries of the own term are committed by counting",
    );

    /// A leader shortens its log past what a follower holds that it hears: for want of a few entries that one needs
    /// all of the data.
    pub const TRUNCATE_PAST_FOLLOWER: Self =
        Self::new("truncate-past-follower", "a log keeps what a member that is heard lacks");

    /// What a snapshot says of its data is read beside the view that gives the data: the state machine has gone on
    /// in between.
    pub const SNAPSHOT_BEFORE_APPLY_FLUSH: Self = Self::new(
        "snapshot-before-apply-flush",
        "what a snapshot says of its data comes from the same view",
    );

    /// The data of a snapshot is read while it is sent, and not from the view that was taken.
    pub const VIEW_NOT_AT_META_INDEX: Self =
        Self::new("view-not-at-meta-index", "the data of a snapshot is that of its view");

    /// The old log stays where a snapshot is installed in front of which it ends.
    pub const STALE_LOG_AFTER_INSTALL: Self =
        Self::new("stale-log-after-install", "an install leaves no log behind");

    /// A snapshot is acknowledged when it is staged, and its data not yet in place.
    pub const ANSWER_BEFORE_INSTALL: Self =
        Self::new("answer-before-install", "an install is acknowledged behind its last batch");

    /// The data of a snapshot is written over what was there.
    pub const INSTALL_WITHOUT_CLEANING: Self =
        Self::new("install-without-cleaning", "an install deletes what was there");

    /// A client is answered by the index of its entry alone, whichever entry came to stand there.
    pub const ANSWER_BY_INDEX_ALONE: Self =
        Self::new("answer-by-index-alone", "F8: a write is answered by its own entry");

    /// A leader that steps down refuses what it has proposed, though it may still be committed. Clients
    /// that believe it write twice.
    pub const ERROR_AFTER_PROPOSE_AS_FAILURE: Self = Self::new(
        "error-after-propose-as-failure",
        "a proposal is refused only where it has no effect",
    );

    /// Effects and applied index are written one after the other, and a crash between them loses effects
    /// or repeats them.
    pub const APPLY_INDEX_NOT_ATOMIC: Self =
        Self::new("apply-index-not-atomic", "I3: effects and applied index are one batch");

    /// A restart begins to apply at the start of the log and not behind what is applied.
    pub const DUPLICATE_APPLY_AFTER_RESTART: Self =
        Self::new("duplicate-apply-after-restart", "an entry is applied once");

    /// A write is answered before readers can see it.
    pub const REPLY_BEFORE_APPLY_WRITE: Self =
        Self::new("reply-before-apply-write", "F8: appliers answer behind their own write");

    /// A split writes its child's first raft state over what the child has promised to others before. CockroachDB
    /// lost votes this way from 2016 on.
    pub const SPLIT_WRITES_CHILD_RAFT_STATE: Self =
        Self::new("split-writes-child-raft-state", "I2: a peer never forgets its (term, vote)");

    /// A child begins while what it has promised is still on its way to the disk: a notice of the old group counts
    /// for the new one.
    pub const BIRTH_BEFORE_PROMISES_DURABLE: Self = Self::new(
        "birth-before-promises-durable",
        "a child begins when its earlier promises are durable",
    );

    /// The leader of a region that is being split lets readers look at all of it: a child serves others meanwhile.
    pub const PERMIT_DURING_SPLIT: Self =
        Self::new("permit-during-split", "nobody reads in place while a split has no result");

    /// A sync that failed is tried again and believed: the system has forgotten by then what was not
    /// written. PostgreSQL's "fsyncgate" of 2018.
    pub const FSYNC_ERROR_RETRIED: Self =
        Self::new("fsync-error-retried", "a sync that failed is never tried again");

    /// Timestamps are handed out before the window that holds them is committed: the next leader hands
    /// them out again.
    pub const TSO_SERVE_BEFORE_WINDOW: Self =
        Self::new("tso-serve-before-window", "timestamps come from a window that is committed");

    /// Ids are handed out before the window that holds them is committed: the next leader hands them out
    /// again.
    pub const ID_BEFORE_DURABLE: Self =
        Self::new("id-before-durable", "ids come from a window that is committed");

    /// A joint configuration counts only the half that stays: the half that goes may elect a leader beside it.
    pub const JOINT_QUORUM_ONE_HALF: Self =
        Self::new("joint-quorum-one-half", "a joint configuration needs majorities of both halves");

    /// A new leader leaves a joint configuration alone that an earlier one entered: the membership is frozen. What
    /// the automatic end of joint configurations does in etcd and in the crate `raft`.
    pub const LEAVE_LOST: Self =
        Self::new("leave-lost", "every new leader leaves the joint configuration that it finds");

    /// A learner becomes a voter without a proof that it holds the log and answers.
    pub const PROMOTE_WITHOUT_PROOF: Self =
        Self::new("promote-without-proof", "a learner is promoted by proof");

    /// What a command says about the shape of its region is not checked again where it stands in the log.
    pub const STALE_EPOCH_NOT_CHECKED_ON_APPLY: Self = Self::new(
        "stale-epoch-not-checked-on-apply",
        "a command for another shape of its region has no effect",
    );

    /// A removed peer goes on to vote and to answer, as a member that nobody counts.
    pub const ORPHAN_ANSWERS_AFTER_REMOVAL: Self =
        Self::new("orphan-answers-after-removal", "a peer that is removed takes part in nothing");

    /// A peer that is destroyed leaves its log behind, and the region's next peer here finds it.
    pub const DESTROY_KEEPS_LOG: Self =
        Self::new("destroy-keeps-log", "nothing but its tombstone is left of a destroyed peer");

    /// What a destroyed peer left is deleted whole when its turn comes, though a later peer has keys of it by then.
    /// Stores that delete in the background and remember the range alone have lost data this way.
    pub const DESTROY_RANGE_AFTER_REUSE: Self =
        Self::new("destroy-range-after-reuse", "what is being deleted is nobody's");

    /// A store takes part under a number that is not durable yet: behind a loss of power its next run has the same.
    pub const INCARNATION_NOT_SYNCED: Self = Self::new(
        "incarnation-not-synced",
        "the number of a run is durable before its store takes part",
    );

    /// Sleeping peers do not hear that the store of their leader is gone.
    pub const WAKE_LOST: Self =
        Self::new("wake-lost", "nobody sleeps on for long whose leader's store is gone");

    /// A group falls asleep while members lack entries.
    pub const QUIESCE_WHILE_BEHIND: Self = Self::new(
        "quiesce-while-behind",
        "a group sleeps only where all hold and have applied all",
    );

    /// A store that runs anew counts as the one whose leaders others sleep on.
    pub const LIVENESS_OF_ANOTHER_RUN_COUNTS: Self = Self::new(
        "liveness-of-another-run-counts",
        "a store that runs anew is not the one that led",
    );

    /// Whoever is asked for a vote in its sleep gives it, though the store of its leader lives.
    pub const GATE_OPENS_WHILE_LEADER_SLEEPS: Self = Self::new(
        "gate-opens-while-leader-sleeps",
        "the gate: a sleeping peer heard its leader when it last heard the leader's store",
    );

    /// An operator goes on for members that somebody else has changed. TiKV's placement driver compares epochs for that.
    pub const EPOCH_IGNORED_OPERATOR: Self = Self::new(
        "epoch-ignored-operator",
        "an operator ends when somebody else changes its region",
    );

    /// A second operator of a region takes the place of the first, whose orders are still under way.
    pub const TWO_OPERATORS_ON_ONE_REGION: Self =
        Self::new("two-operators-on-one-region", "a region has one operator at a time");

    /// What is under way does not count when the next move is decided.
    pub const BALANCE_IGNORES_IN_FLIGHT: Self =
        Self::new("balance-ignores-in-flight", "what is under way counts once");

    /// What is under way counts on top of what the view counts already.
    pub const BALANCE_COUNTS_IN_FLIGHT_TWICE: Self =
        Self::new("balance-counts-in-flight-twice", "what is under way counts once");

    /// The new voter takes the place of the old one before it has the data.
    pub const REMOVAL_BEFORE_CAUGHT_UP: Self =
        Self::new("removal-before-the-new-voter-caught-up", "a learner votes when it has all data");

    /// Moves are made for any gain, and again and again.
    pub const NO_COOL_DOWN_OR_MARGIN: Self =
        Self::new("no-cool-down-or-margin", "balance leaves alone for a while what it has moved");

    /// A region counts as the mean of all: one that holds most of the data goes round among stores.
    pub const AVERAGE_INSTEAD_OF_ACTUAL_SIZE: Self = Self::new(
        "average-instead-of-actual-size",
        "a move leaves its source with no less than its target",
    );

    /// Those which the family of placement finds.
    pub const PLACEMENT: &[Self] = &[
        Self::EPOCH_IGNORED_OPERATOR,
        Self::TWO_OPERATORS_ON_ONE_REGION,
        Self::BALANCE_IGNORES_IN_FLIGHT,
        Self::BALANCE_COUNTS_IN_FLIGHT_TWICE,
        Self::REMOVAL_BEFORE_CAUGHT_UP,
        Self::NO_COOL_DOWN_OR_MARGIN,
        Self::AVERAGE_INSTEAD_OF_ACTUAL_SIZE,
    ];

    /// All of them, in the order of the board.
    pub const ALL: &[Self] = &[
        Self::ACK_BEFORE_PERSIST,
        Self::VOTE_BEFORE_PERSIST,
        Self::SINGLETON_SENDS_BEFORE_VOTE_DURABLE,
        Self::PERSISTED_AFTER_SEND,
        Self::LOG_COUNTS_BEFORE_DURABLE,
        Self::UNINITIALISED_VOTE_FORGOTTEN,
        Self::VOTE_RIGHT_AFTER_RESTART,
        Self::OWN_CAMPAIGN_IGNORES_GATE,
        Self::TICK_BURST_AFTER_STALL,
        Self::HANDOVER_NEVER_VOID,
        Self::LEADER_KEEPS_STALLED_DISK,
        Self::LEASE_FROM_RECEIVE_TIME,
        Self::LEASE_DURING_TRANSFER,
        Self::LEASE_AFTER_ABORTED_TRANSFER,
        Self::LEASE_CHECK_BEFORE_SNAPSHOT,
        Self::LEASE_VIEW_BEFORE_PERMIT,
        Self::LEASE_READ_IGNORES_PUBLISHED_COMMIT,
        Self::PERMIT_AFTER_MESSAGES,
        Self::READ_INDEX_WITHOUT_QUORUM,
        Self::READ_INDEX_CONTEXT_REUSED,
        Self::READ_BEFORE_APPLY,
        Self::COMMIT_OLD_TERM_BY_COUNT,
        Self::TRUNCATE_PAST_FOLLOWER,
        Self::SNAPSHOT_BEFORE_APPLY_FLUSH,
        Self::VIEW_NOT_AT_META_INDEX,
        Self::STALE_LOG_AFTER_INSTALL,
        Self::ANSWER_BEFORE_INSTALL,
        Self::INSTALL_WITHOUT_CLEANING,
        Self::ANSWER_BY_INDEX_ALONE,
        Self::ERROR_AFTER_PROPOSE_AS_FAILURE,
        Self::APPLY_INDEX_NOT_ATOMIC,
        Self::DUPLICATE_APPLY_AFTER_RESTART,
        Self::REPLY_BEFORE_APPLY_WRITE,
        Self::SPLIT_WRITES_CHILD_RAFT_STATE,
        Self::BIRTH_BEFORE_PROMISES_DURABLE,
        Self::PERMIT_DURING_SPLIT,
        Self::FSYNC_ERROR_RETRIED,
        Self::TSO_SERVE_BEFORE_WINDOW,
        Self::ID_BEFORE_DURABLE,
        Self::JOINT_QUORUM_ONE_HALF,
        Self::LEAVE_LOST,
        Self::PROMOTE_WITHOUT_PROOF,
        Self::STALE_EPOCH_NOT_CHECKED_ON_APPLY,
        Self::ORPHAN_ANSWERS_AFTER_REMOVAL,
        Self::DESTROY_KEEPS_LOG,
        Self::DESTROY_RANGE_AFTER_REUSE,
        Self::INCARNATION_NOT_SYNCED,
        Self::WAKE_LOST,
        Self::QUIESCE_WHILE_BEHIND,
        Self::LIVENESS_OF_ANOTHER_RUN_COUNTS,
        Self::GATE_OPENS_WHILE_LEADER_SLEEPS,
        Self::EPOCH_IGNORED_OPERATOR,
        Self::TWO_OPERATORS_ON_ONE_REGION,
        Self::BALANCE_IGNORES_IN_FLIGHT,
        Self::BALANCE_COUNTS_IN_FLIGHT_TWICE,
        Self::REMOVAL_BEFORE_CAUGHT_UP,
        Self::NO_COOL_DOWN_OR_MARGIN,
        Self::AVERAGE_INSTEAD_OF_ACTUAL_SIZE,
    ];

    /// The bug of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name == name)
    }
}

impl fmt::Debug for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Which bug is planted, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    #[cfg(feature = "seeded-bugs")]
    bug: Option<Bug>,
}

impl Seeded {
    /// Nothing is wrong on purpose.
    pub const NONE: Self = Self {
        #[cfg(feature = "seeded-bugs")]
        bug: None,
    };

    /// This bug is planted; `None` where the feature is not built in.
    #[must_use]
    pub const fn planting(bug: Bug) -> Option<Self> {
        #[cfg(feature = "seeded-bugs")]
        return Some(Self { bug: Some(bug) });
        #[cfg(not(feature = "seeded-bugs"))]
        {
            let _not_built_in = bug;
            None
        }
    }

    /// Whether this bug is planted; the constant `false` without the feature.
    #[inline]
    #[must_use]
    pub fn has(self, bug: Bug) -> bool {
        self.bug() == Some(bug)
    }

    /// The planted bug.
    #[inline]
    #[must_use]
    pub const fn bug(self) -> Option<Bug> {
        #[cfg(feature = "seeded-bugs")]
        return self.bug;
        #[cfg(not(feature = "seeded-bugs"))]
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_lead_back_to_their_bugs() {
        let names: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        for bug in Bug::ALL {
            assert_eq!(Bug::from_name(bug.name), Some(*bug));
            assert!(!Seeded::NONE.has(*bug));
        }
        assert_eq!(Bug::from_name("none"), None);
    }

    #[test]
    fn the_board_leaves_none_out() {
        let constants = include_str!("seeded.rs").lines();
        let count = constants.filter(|line| {
            line.starts_with("    pub const") && line.contains(": Self = Self::new(")
        });
        let wrapped = include_str!("seeded.rs").lines();
        let wrapped =
            wrapped.filter(|line| line.starts_with("    pub const") && line.ends_with(": Self ="));
        assert_eq!(count.count() + wrapped.count(), Bug::ALL.len());
    }

    #[cfg(not(feature = "seeded-bugs"))]
    #[test]
    fn without_the_feature_there_is_nothing() {
        assert_eq!(size_of::<Seeded>(), 0);
        assert_eq!(Seeded::planting(Bug::ACK_BEFORE_PERSIST), None);
    }

    #[cfg(feature = "seeded-bugs")]
    #[test]
    fn one_bug_is_planted() {
        let seeded = Seeded::planting(Bug::ACK_BEFORE_PERSIST).expect("the feature is on");
        let planted: Vec<Bug> = Bug::ALL.iter().copied().filter(|bug| seeded.has(*bug)).collect();
        assert_eq!(planted, [Bug::ACK_BEFORE_PERSIST]);
    }
}
