//! What people decide about placement and ask of its decisions, whether it comes by HTTP or by gRPC.
//!
//! What is decided on what was decided before (one label more, one store less) is decided by one at a time: nobody's word
//! is lost to somebody else's.

mod explain;
mod loads;
mod plan;
mod progress;
mod regions;
mod rules;
mod scatter;
mod schedulers;
mod settings;
mod stores;

use flotilla_base::{RegionId, StoreId};
use flotilla_pdcore::{Decided, Denied, Leading};
use flotilla_placement::{
    Gap, PolicyRefusal, Refusal, SchedulerName, prospect::SuppositionRefusal,
};

pub(crate) use self::{
    explain::{Subject, decision_to_wire, explain, is_of},
    loads::loads,
    plan::{Supposed, plan, supposition},
    progress::{Progress, Stage},
    regions::{RegionFilter, has_replica, page},
    rules::change_rules,
    scatter::{ScatterGroups, scatter},
    schedulers::{SchedulerChange, change_scheduler, schedulers},
    settings::{all_settings, set},
    stores::{
        Limits, StoreChange, drain, forget, limit_stores, limits, list_stores, set_all_limits,
        stay, treat,
    },
};
use crate::{core::Request, handle::CoreHandle};

/// Why something is not decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwanted {
    /// The placement driver refuses it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It is none that could run.
    #[error("there is no scheduler {0:?}: there are {known}", known = known_schedulers())]
    UnknownScheduler(String),
    /// It does not run.
    #[error("the {0} does not run")]
    SchedulerNotRunning(SchedulerName),
    /// It runs, and for all stores.
    #[error("the {0} runs already")]
    SchedulerRuns(SchedulerName),
    /// It runs, and not for this store.
    #[error("the {0} is not for store {1}")]
    NotItsStore(SchedulerName, StoreId),
    /// Rules cannot be told of a region.
    #[error("{0}")]
    Rules(String),
    /// Not enough is known yet.
    #[error("not enough is known of the cluster yet: {0}")]
    Early(Gap),
    /// It cannot be supposed.
    #[error(transparent)]
    Supposition(#[from] SuppositionRefusal),
    /// A tombstone that is waited for.
    #[error(
        "store {0} cannot be forgotten yet: region {1} still has a replica that is said to be on it. Remove that replica first: \
         flotilla ctl region remove-peer --region {1} --store {0}"
    )]
    StillNamed(StoreId, RegionId),
    /// There is nothing to take away.
    #[error("store {0} has no label {1:?}")]
    NoLabel(StoreId, String),
    /// The store brings it with it.
    #[error(
        "store {0} registers with the label {1:?}, so it cannot be taken away here: give it another value, or change the \
         store's own labels and start it again"
    )]
    OwnLabel(StoreId, String),
    /// A number that makes no sense.
    #[error("{what} cannot be {value}: {possible}")]
    Number {
        /// What it is of.
        what: &'static str,
        /// The number.
        value: String,
        /// What is possible.
        possible: &'static str,
    },
}

impl From<Refusal> for Unwanted {
    fn from(refusal: Refusal) -> Self {
        Self::Denied(refusal.into())
    }
}

impl From<PolicyRefusal> for Unwanted {
    fn from(refusal: PolicyRefusal) -> Self {
        Refusal::Policy(refusal).into()
    }
}

fn known_schedulers() -> String {
    let names: Vec<&str> = SchedulerName::ALL.iter().map(|name| name.name()).collect();
    names.join(", ")
}

/// Decides what `decide` makes of what was decided before.
async fn decide<T: Send + 'static>(
    core: &CoreHandle,
    decide: impl FnOnce(&Leading<'_>) -> Result<(Decided, T), Unwanted> + Send + 'static,
) -> Result<T, Unwanted> {
    let _one_at_a_time = core.deciding.lock().await;
    let (decided, told) = core.glance(decide).await??;
    administer(core, decided).await?;
    Ok(told)
}

/// Has something recorded.
async fn administer(core: &CoreHandle, decided: Decided) -> Result<(), Denied> {
    let change = Box::new(decided);
    core.ask(|reply| Request::Administer { change, reply }).await
}
