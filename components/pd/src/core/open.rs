//! How the owner's group and state come back from disk, or begin.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use flotilla_base::{ClusterId, Incarnation, Index, Moment, PeerId, RegionId, Term, limit};
use flotilla_engine::{DataDir, Engine, WriteBatch};
use flotilla_placement::MetaState;
use flotilla_raftgroup::{
    ApplyState, Group, GroupConfig, GroupLimits, HardState, Initial, LogPosition, Origin,
    RaftState, Single, Timing, Voters, disk,
};

use super::Ticket;
use crate::PdError;

/// The group of a placement driver, in a database of its own.
pub(super) const GROUP: RegionId = RegionId(1);
/// The only member so far.
pub(crate) const MEMBER: PeerId = PeerId(1);

/// What was found in a data directory.
pub(super) struct Opened {
    pub single: Single<Ticket>,
    pub state: MetaState,
}

/// Reads group and state back, or writes their beginning.
pub(super) fn open(
    engine: &Engine,
    data_dir: &DataDir,
    timing: Timing,
    now: Moment,
) -> Result<Opened, PdError> {
    let state = MetaState::load(engine)?;
    check_identity(&state, data_dir)?;
    let recovered = disk::recover(engine, GROUP)?;
    let (raft, apply) = match recovered {
        Some(found) => (found.raft, found.apply),
        None => begin(engine)?,
    };
    let initial = Initial {
        hard_state: raft.hard_state,
        voters: Voters { voters: vec![MEMBER], learners: Vec::new() },
        applied: apply.applied.index,
        truncated: apply.truncated,
        last: raft.last,
        // A restarted peer keeps still for a gate, since it may have promised that to a leader. The
        // only voter has nobody to whom it can have promised anything, and campaigns at once.
        origin: Origin::CreatedToLead,
    };
    let group = Group::new(config(data_dir, timing), initial, Arc::new(engine.clone()), now)?;
    Ok(Opened { single: Single::new(group, raft), state })
}

fn check_identity(state: &MetaState, data_dir: &DataDir) -> Result<(), PdError> {
    let directory = data_dir.cluster_id();
    match state.cluster() {
        Some(cluster) if !directory.is_none() && cluster.id != directory => {
            Err(PdError::MixedUp { path: data_dir.path().to_owned(), directory, state: cluster.id })
        }
        _ => Ok(()),
    }
}

fn begin(engine: &Engine) -> Result<(RaftState, ApplyState), PdError> {
    let first = LogPosition { term: Term(limit::FIRST_TERM), index: Index(limit::FIRST_INDEX) };
    let hard_state = HardState { term: first.term, vote: PeerId(0), commit: first.index };
    let raft = RaftState { hard_state, last: first };
    let apply = ApplyState::starting_at(first);
    let records = vec![disk::put_raft_state(GROUP, &raft), disk::put_apply_state(GROUP, &apply)];
    engine.write(&WriteBatch::from(records))?;
    engine.sync()?;
    Ok((raft, apply))
}

fn config(data_dir: &DataDir, timing: Timing) -> GroupConfig {
    let Incarnation(run) = data_dir.incarnation();
    GroupConfig {
        group: GROUP,
        peer: MEMBER,
        seed: run,
        run,
        timing,
        limits: GroupLimits::default(),
    }
}

/// A random identity for a new cluster: not zero, and small enough for programs with signed numbers.
pub(super) fn draw_cluster_id() -> ClusterId {
    // The standard library seeds each of these from the system's random source.
    let drawn = RandomState::new().hash_one("cluster") >> 1;
    ClusterId(drawn.max(1))
}
