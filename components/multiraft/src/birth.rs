//! How a peer gets its first data: from the bootstrap, or as the child of a split.
//!
//! A message may have made the peer before, and it may have promised something: a term, a vote, its gate. All
//! of that is kept. Both ways give the same first state, which every other member of the region begins with.

use flotilla_base::limit::{FIRST_INDEX, FIRST_TERM};
use flotilla_base::{Bug, Index, Moment, Term};
use flotilla_raftgroup::{ApplyState, HardState, LogPosition, Origin, RaftState, disk};

use crate::effects::{Effects, Report};
use crate::persist::{RegionState, delete_peer_mark, put_region_state};
use crate::replica::{Lifecycle, Replica, Start, new_group};
use crate::split::Birth;

/// What a peer without data keeps until it has some.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) birth: Birth,
    /// Region state and apply state are on disk: a split has written them.
    pub(crate) is_written: bool,
}

/// Where every region begins: nothing in front of it can be filled in by log.
pub(crate) const FIRST: LogPosition =
    LogPosition { term: Term(FIRST_TERM), index: Index(FIRST_INDEX) };

/// Where the state machine of a new region begins, behind a parent that was told of this clock.
pub(crate) const fn first_apply_state(clock_millis: u64) -> ApplyState {
    ApplyState { clock_millis, ..ApplyState::starting_at(FIRST) }
}

/// The raft state of a peer that gets its first data, and has promised something before.
pub(crate) fn first_raft_state(promised: HardState) -> RaftState {
    let mut hard_state = promised;
    if hard_state.term < FIRST.term {
        hard_state = HardState { term: FIRST.term, ..HardState::default() };
    }
    hard_state.commit = FIRST.index;
    RaftState { hard_state, last: FIRST }
}

impl<T> Replica<T> {
    /// The first region of a cluster. Whoever was told meanwhile to leave, or is given a snapshot, does not need it:
    /// nothing is written for it, so nothing is left behind.
    pub(crate) fn await_bootstrap(&mut self, birth: Birth) {
        if self.life == Lifecycle::Uninitialised {
            self.embryo.awaited = Some(Box::new(Awaited { birth, is_written: false }));
        }
    }

    /// Gives a peer without data its region, and keeps the promises that it has made before.
    ///
    /// It waits until those are durable: a notice on its way must not be taken for one of the new group.
    pub(crate) fn be_born(&mut self, now: Moment, effects: &mut Effects<T>) {
        let is_promising =
            self.group.outstanding() > 0 && !self.has_bug(Bug::BIRTH_BEFORE_PROMISES_DURABLE);
        if is_promising {
            return;
        }
        let Some(awaited) = self.embryo.awaited.take() else { return };
        let Awaited { birth, is_written } = *awaited;
        let Birth { region, peer, apply, leads } = birth;
        // Whoever drops what a split has written leaves data that is nobody's.
        assert_eq!(
            self.life,
            Lifecycle::Uninitialised,
            "{self:?}: data for whoever cannot have it"
        );
        assert_eq!((region.id, peer), (self.region.id, self.peer), "{self:?}: another one's data");
        let forgets = self.has_bug(Bug::SPLIT_WRITES_CHILD_RAFT_STATE);
        let promised = if forgets { HardState::default() } else { self.told.hard_state };
        let raft = first_raft_state(promised);
        let promised = self.group.role().term > Term(0);
        let origin = match (promised, leads) {
            // It may have promised its gate, too: to a leader that it heard before it had data.
            (true, _) => Origin::Restarted,
            (false, true) => Origin::CreatedToLead,
            (false, false) => Origin::Created,
        };
        let life = Lifecycle::Active;
        let start = Start { region, peer, raft, apply, life, origin };
        let group = new_group(&self.config, &start, now)
            .expect("the first state of a region, and promises that a group kept, are sound");
        let region = start.region;
        if !is_written {
            effects.log.extend([
                put_region_state(region.id, &RegionState::Normal(peer, region.clone())),
                disk::put_apply_state(region.id, &apply),
            ]);
        }
        self.write_first_state(raft, effects);
        self.group = group;
        self.told.hard_state = raft.hard_state;
        self.apply.applied = apply.applied.index;
        self.life = life;
        self.region = region.clone();
        effects.births.push(Report::Initialised { region, peer, apply });
    }

    /// Writes what recovery made up for a child whose store crashed before it began.
    pub(crate) fn finish_recovery(&mut self, effects: &mut Effects<T>) {
        if let Some(raft) = self.embryo.recovered.take() {
            self.write_first_state(raft, effects);
        }
    }

    fn write_first_state(&mut self, raft: RaftState, effects: &mut Effects<T>) {
        effects.log.extend([disk::put_raft_state(self.region.id, &raft)]);
        if std::mem::take(&mut self.embryo.is_marked) {
            effects.log.extend([delete_peer_mark(self.region.id)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::PeerId;

    use super::*;

    #[test]
    fn promises_are_kept_and_nothing_else() {
        let first = |term, vote| {
            let promised = HardState { term: Term(term), vote: PeerId(vote), commit: Index(0) };
            let RaftState { hard_state, last } = first_raft_state(promised);
            assert_eq!((hard_state.commit, last), (FIRST.index, FIRST));
            (hard_state.term.get(), hard_state.vote.get())
        };
        assert_eq!(first(0, 0), (5, 0));
        assert_eq!(first(4, 21), (5, 0), "a vote of a term that no member was in");
        assert_eq!(first(5, 21), (5, 21));
        assert_eq!(first(6, 0), (6, 0));
        assert_eq!(first(7, 22), (7, 22));
    }
}
