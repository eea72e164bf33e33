//! A leader keeps the log for whom it hears: it shortens its own past what such a member holds durably only where that
//! one is further behind than the bound for slow members, or is being sent a snapshot.

use std::collections::BTreeMap;

use flotilla_base::{Index, KvRead, Moment, RegionId, Span, StoreId};
use flotilla_raftgroup::disk;

use super::{Place, Verdict, require};

const KEPT: &str = "a log keeps what a member that is heard lacks";

/// What is known of who needs whose log.
#[derive(Debug, Default)]
pub struct RetentionJudge {
    /// When a leader last took an answer to a heartbeat, by its own clock.
    heard: BTreeMap<(Place, StoreId), Moment>,
    /// Where each log ends durably.
    durable: BTreeMap<Place, Index>,
    /// Where the last view stands that a leader had taken for a store.
    sent: BTreeMap<(Place, StoreId), Index>,
}

/// A leader that shortens its log.
#[derive(Clone, Copy, Debug)]
pub struct Shortening {
    /// Which.
    pub place: Place,
    /// Everything up to there goes.
    pub to: Index,
    /// What it has applied.
    pub applied: Index,
    /// Entries that it keeps for a slow member.
    pub slow_entries: u64,
    /// By its clock.
    pub now: Moment,
    /// Whom it has heard since counts.
    pub heard_within: Span,
}

impl RetentionJudge {
    /// A leader takes an answer to a heartbeat.
    pub fn on_heard(&mut self, leader: Place, from: StoreId, now: Moment) {
        self.heard.insert((leader, from), now);
    }

    /// A peer is something else than it was.
    pub fn on_role(&mut self, place: Place) {
        self.heard.retain(|(leader, _), _| *leader != place);
    }

    /// A leader has a view taken for a snapshot: whom it is for lacks more than the log has.
    pub fn on_snapshot(&mut self, leader: Place, to: StoreId, at: Index) {
        self.sent.insert((leader, to), at);
    }

    /// A store made everything up to a point durable.
    pub fn on_synced(&mut self, store: StoreId, regions: &[RegionId], synced: &dyn KvRead) {
        for region in regions {
            let state = disk::read_raft_state(synced, *region).ok().flatten().unwrap_or_default();
            self.durable.insert(Place(store, *region), state.last.index);
        }
    }

    /// A peer hands the order to shorten its log to its applier; one that does not lead has heard nobody.
    ///
    /// # Errors
    /// Somebody who is heard will need what goes.
    pub fn on_shorten(&self, it: &Shortening) -> Verdict {
        let Place(store, region) = it.place;
        let first = (it.place, StoreId(0));
        let of_leader = self.heard.range(first..).take_while(|((place, _), _)| *place == it.place);
        for ((_, other), heard_at) in of_leader {
            let is_heard = it.now.since(*heard_at) <= it.heard_within && *other != store;
            let held = self.durable.get(&Place(*other, region)).copied().unwrap_or_default();
            let sent = self.sent.get(&(it.place, *other)).copied().unwrap_or_default();
            let lag = it.applied.get().saturating_sub(it.to.get());
            let is_needless = it.to <= held.max(sent) || lag >= it.slow_entries;
            require(is_needless || !is_heard, KEPT, || {
                format!("{}: shortened to {}, store {other} holds {held}", it.place, it.to)
            })?;
        }
        Ok(())
    }

    /// A store is gone, or was given an older disk: what it has heard and sent is forgotten.
    pub fn on_crash(&mut self, store: StoreId) {
        self.heard.retain(|(leader, other), _| leader.0 != store && *other != store);
        self.sent.retain(|(leader, _), _| leader.0 != store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{ONE, OTHER, broken, disk, position, raft_state};

    #[test]
    fn a_log_that_is_too_short_for_whom_its_leader_hears_is_found() {
        let mut judge = RetentionJudge::default();
        let synced = disk([vec![raft_state(6, 0, position(6, 9))]]);
        judge.on_synced(OTHER.0, &[OTHER.1], synced.synced());
        judge.on_heard(ONE, OTHER.0, Moment(100));
        let shortening = |to, now| Shortening {
            place: ONE,
            to: Index(to),
            applied: Index(20),
            slow_entries: 5,
            now: Moment(now),
            heard_within: Span(50),
        };
        assert_eq!(judge.on_shorten(&shortening(9, 150)), Ok(()));
        assert_eq!(broken(judge.on_shorten(&shortening(16, 150))), KEPT);
        assert_eq!(judge.on_shorten(&shortening(16, 151)), Ok(()), "not heard");
        assert_eq!(judge.on_shorten(&shortening(15, 150)), Ok(()), "too slow");
        judge.on_snapshot(ONE, OTHER.0, Index(16));
        assert_eq!(judge.on_shorten(&shortening(16, 150)), Ok(()));
        assert_eq!(broken(judge.on_shorten(&shortening(17, 150))), KEPT);
        judge.on_role(ONE);
        assert_eq!(judge.on_shorten(&shortening(17, 150)), Ok(()), "it does not lead any more");
    }
}
