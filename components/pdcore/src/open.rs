//! How a member begins, and how it comes back from disk.

use std::sync::Arc;

use flotilla_base::{
    ClusterId, Index, KvRead, Moment, Mutation, PeerId, RegionId, Seeded, Term, limit,
};
use flotilla_placement::{ClusterView, MetaError, MetaState};
use flotilla_raftgroup::{
    ApplyState, Group, GroupConfig, GroupError, GroupLimits, HardState, Initial, LogPosition,
    Origin, RaftState, Single, StepError, Timing, Voters,
    disk::{self, DiskError},
};

use crate::core::PdCore;

/// The group of a placement driver, in a database of its own.
pub const GROUP: RegionId = RegionId(1);

/// What a member is started with.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// All members, ascending.
    pub members: Vec<PeerId>,
    /// Which one this is.
    pub member: PeerId,
    /// Voters of each region. Chosen when the cluster is made; later starts take what was chosen.
    pub max_replicas: u32,
    /// Identity of the cluster, if this member makes it; random and not zero.
    pub fresh_cluster: ClusterId,
    /// Differs between any two runs of the member.
    pub run: u64,
    /// Times that decide elections; equal on all members.
    pub timing: Timing,
    /// Bounds of the group.
    pub limits: GroupLimits,
    /// Applied entries that stay in the log, for members that were away for a moment.
    pub log_entries_kept: u64,
    /// What is wrong on purpose.
    pub seeded: Seeded,
}

/// A member that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The raft group on disk is damaged.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The raft group cannot be made.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The replicated state is damaged or from a newer program.
    #[error(transparent)]
    State(#[from] MetaError),
    /// Another member's message proves that this member's log is damaged.
    #[error("the log of this placement driver is damaged: {0}")]
    Damaged(StepError),
}

/// What a member without data has to make durable before [`PdCore::open`]; nothing where there is data.
///
/// # Errors
/// [`CoreError`] where what is there is damaged.
pub fn birth(reader: &dyn KvRead) -> Result<Vec<Mutation>, CoreError> {
    if disk::recover(reader, GROUP)?.is_some() {
        return Ok(Vec::new());
    }
    let first = LogPosition { term: Term(limit::FIRST_TERM), index: Index(limit::FIRST_INDEX) };
    let hard_state = HardState { term: first.term, vote: PeerId(0), commit: first.index };
    let raft = RaftState { hard_state, last: first };
    let apply = ApplyState::starting_at(first);
    Ok(vec![disk::put_raft_state(GROUP, &raft), disk::put_apply_state(GROUP, &apply)])
}

impl<T> PdCore<T> {
    /// A member that continues from what `reader` holds. Nothing is proposed yet. `is_new` says that its
    /// [`birth`] was in this run: it has promised nothing.
    ///
    /// # Errors
    /// [`CoreError`] where what is there is damaged.
    pub fn open(
        config: CoreConfig,
        reader: Arc<dyn KvRead + Send + Sync>,
        is_new: bool,
        now: Moment,
    ) -> Result<Self, CoreError> {
        let is_ascending = config.members.is_sorted_by(|one, next| one < next);
        assert!(is_ascending && config.members.contains(&config.member), "{:?}", config.members);
        assert!(!config.fresh_cluster.is_none(), "0 is no cluster");
        let state = MetaState::load(reader.as_ref())?;
        let recovered = disk::recover(reader.as_ref(), GROUP)?;
        let nothing = || DiskError::Contradiction { group: GROUP, what: "no data".to_owned() };
        let disk::Recovered { raft, apply } = recovered.ok_or_else(nothing)?;
        let is_named = config.members.first() == Some(&config.member);
        let initial = Initial {
            hard_state: raft.hard_state,
            voters: Voters { voters: config.members.clone(), ..Voters::default() },
            applied: apply.applied.index,
            truncated: apply.truncated,
            last: raft.last,
            origin: match (is_new, is_named) {
                (true, true) => Origin::CreatedToLead,
                (true, false) => Origin::Created,
                (false, _) => Origin::Restarted,
            },
        };
        let group_config = GroupConfig {
            group: GROUP,
            peer: config.member,
            seed: config.run,
            run: config.run,
            timing: config.timing,
            limits: config.limits,
            seeded: config.seeded,
        };
        let group = Group::new(group_config, initial, reader, now)?;
        Ok(Self::new(config, Single::new(group, raft), state, ClusterView::new(now)))
    }
}
