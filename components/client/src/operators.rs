//! Changes of regions: asked for, given up, looked at; and stores that are to leave.

use flotilla_base::{RegionId, StoreId};
use flotilla_proto::cluster::{
    self, AddOperatorRequest, CancelOperatorRequest, ListOperatorsRequest, RemoveStoreRequest,
    add_operator_request::Change as Wanted,
};

use crate::{admin::Admin, error::Error};

/// What is to become of a region. All of it happens step by step, each step safe by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionChange {
    /// Its leader is on this store.
    TransferLeader(StoreId),
    /// It has a voter on this store.
    AddPeer(StoreId),
    /// It has a learner on this store.
    AddLearner(StoreId),
    /// It has no peer on this store.
    RemovePeer(StoreId),
    /// The peer on one store is on another one.
    MovePeer {
        /// Where it is.
        from: StoreId,
        /// Where it is to be.
        to: StoreId,
    },
}

/// A change of a region that is under way, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInfo {
    /// Its number under the placement driver's leader.
    pub id: u64,
    /// The region.
    pub region: RegionId,
    /// What it is for, in one word.
    pub kind: String,
    /// The same with the stores meant.
    pub brief: String,
    /// Who asked for it.
    pub asked_by: String,
    /// Its steps.
    pub steps: Vec<String>,
    /// How many of them are done.
    pub done: usize,
    /// When it was made, milliseconds since 1970.
    pub created_unix_ms: u64,
    /// How long it may take in all, milliseconds.
    pub timeout_ms: u64,
    /// How it ended; `None` while it goes on.
    pub ending: Option<OperatorEnding>,
}

/// How an operator ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorEnding {
    /// In one word: `finished`, `timed out` or `cancelled`.
    pub outcome: &'static str,
    /// Why; empty where it was finished.
    pub reason: String,
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
}

/// What the placement driver's leader knows of changes. Those of an earlier leader are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// Those under way, by region.
    pub running: Vec<OperatorInfo>,
    /// Those that have ended, the last one first.
    pub ended: Vec<OperatorInfo>,
}

impl Admin {
    /// Has a region changed. Returns when that has begun; [`Self::operators`] tells how it goes on.
    ///
    /// # Errors
    /// [`Error`] where the placement driver refuses: the region or the store is not known or not up, something else is
    /// being done to it, or it would lose its majority. Nothing is changed then.
    pub async fn change_region(
        &self,
        region: RegionId,
        change: RegionChange,
    ) -> Result<OperatorInfo, Error> {
        let change = Some(wanted(change));
        let question = || {
            self.core().pd.ask_cluster(|mut cluster, cluster_id| async move {
                let request = AddOperatorRequest { cluster_id, region_id: region.get(), change };
                Ok(cluster.add_operator(request).await?.into_inner())
            })
        };
        let answer = self.call("change", "the region").ask(question).await?;
        Ok(answer.operator.unwrap_or_default().into())
    }

    /// Gives up what is being done to a region. What was ordered last may still happen.
    ///
    /// # Errors
    /// [`Error`] where nothing is being done to it, or the placement driver does not answer.
    pub async fn cancel_operator(&self, region: RegionId) -> Result<(), Error> {
        let question = || {
            self.core().pd.ask_cluster(|mut cluster, cluster_id| async move {
                let request = CancelOperatorRequest { cluster_id, region_id: region.get() };
                Ok(cluster.cancel_operator(request).await?.into_inner())
            })
        };
        self.call("cancel", "the operator").ask(question).await.map(|_cancelled| ())
    }

    /// What is being done to regions, and was done last.
    ///
    /// # Errors
    /// [`Error`] where the placement driver does not answer.
    pub async fn operators(&self) -> Result<Operators, Error> {
        let question = || {
            self.core().pd.ask_cluster(|mut cluster, cluster_id| async move {
                Ok(cluster.list_operators(ListOperatorsRequest { cluster_id }).await?.into_inner())
            })
        };
        let answer = self.call("list", "the operators").ask(question).await?;
        let all =
            |operators: Vec<cluster::Operator>| operators.into_iter().map(Into::into).collect();
        Ok(Operators { running: all(answer.running), ended: all(answer.ended) })
    }

    /// Removes a store for good that is gone. Returns when that is recorded; the placement driver then makes what it held
    /// anew on other stores, and has it as a tombstone in the end ([`Self::stores`]). It cannot be taken back.
    ///
    /// # Errors
    /// [`Error`] where the placement driver refuses: the store is not known, gone already or up, too few stores would be left for the
    /// replicas, or a region has no majority without it. Nothing is changed then.
    pub async fn remove_store(&self, store: StoreId) -> Result<(), Error> {
        let question = || {
            self.core().pd.ask_cluster(|mut cluster, cluster_id| async move {
                let request = RemoveStoreRequest { cluster_id, store_id: store.get() };
                Ok(cluster.remove_store(request).await?.into_inner())
            })
        };
        self.call("remove", "the store").ask(question).await.map(|_recorded| ())
    }
}

const fn wanted(change: RegionChange) -> Wanted {
    match change {
        RegionChange::TransferLeader(store) => Wanted::TransferLeader(store.get()),
        RegionChange::AddPeer(store) => Wanted::AddPeer(store.get()),
        RegionChange::AddLearner(store) => Wanted::AddLearner(store.get()),
        RegionChange::RemovePeer(store) => Wanted::RemovePeer(store.get()),
        RegionChange::MovePeer { from, to } => {
            Wanted::MovePeer(cluster::MovePeer { from_store: from.get(), to_store: to.get() })
        }
    }
}

impl From<cluster::Operator> for OperatorInfo {
    fn from(operator: cluster::Operator) -> Self {
        let ending = operator.ending.map(|ending| OperatorEnding {
            outcome: match ending.outcome() {
                cluster::Outcome::Finished => "finished",
                cluster::Outcome::TimedOut => "timed out",
                cluster::Outcome::Cancelled | cluster::Outcome::Unspecified => "cancelled",
            },
            reason: ending.reason,
            unix_ms: ending.unix_ms,
        });
        Self {
            id: operator.id,
            region: RegionId(operator.region_id),
            kind: operator.kind,
            brief: operator.brief,
            asked_by: operator.asked_by,
            steps: operator.steps,
            done: operator.done as usize,
            created_unix_ms: operator.created_unix_ms,
            timeout_ms: operator.timeout_ms,
            ending,
        }
    }
}
