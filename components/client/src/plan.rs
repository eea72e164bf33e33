//! What would be if stores came or went.

use flotilla_base::{RegionId, StoreId};
use flotilla_proto::placement as wire;

use crate::{admin::Admin, error::Error};

/// What is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supposed {
    /// The labels of each store that would come.
    pub come: Vec<Vec<(String, String)>>,
    /// Stores that would be emptied.
    pub go: Vec<StoreId>,
    /// How far is looked ahead, milliseconds; 0 for an hour.
    pub horizon_ms: u64,
    /// Changes of placement rules, as [`Admin::change_rules`] takes them; empty for none.
    pub rule_operations: String,
}

/// What would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Replicas that would be copied.
    pub moves: u64,
    /// Data of these.
    pub moved_bytes: u64,
    /// Leads that would be handed over for their own sake.
    pub transfers: u64,
    /// When the last change would end, milliseconds from now.
    pub ends_after_ms: u64,
    /// Whether nothing would be left to do then.
    pub is_settled: bool,
    /// All stores, those that would come last.
    pub stores: Vec<PlannedStore>,
    /// The first of the regions that would not be as they are to be, with the reason.
    pub stuck: Vec<(RegionId, String)>,
    /// How many those are in all.
    pub stuck_regions: u64,
    /// Schedulers, and why each would do no more.
    pub idle: Vec<(String, String)>,
    /// Bytes that one store is taken to copy in a second.
    pub copy_bytes_per_second: u64,
    /// How far was looked ahead, milliseconds.
    pub horizon_ms: u64,
    /// What brought it to an end before that, in a sentence.
    pub cut_off: Option<String>,
}

/// A store, as it is and as it would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedStore {
    /// Which; an id that nobody has yet where it would come.
    pub id: StoreId,
    /// Whether it would come.
    pub is_new: bool,
    /// Whether it would be emptied, or is already.
    pub is_removed: bool,
    /// What it carries.
    pub before: Carried,
    /// What it would carry.
    pub after: Carried,
}

/// What a store carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Regions that it leads.
    pub leaders: u64,
    /// Replicas.
    pub replicas: u64,
    /// Data of these.
    pub bytes: u64,
}

impl Admin {
    /// What would be moved if stores came or went, by the rules that would then decide. Nothing is done.
    ///
    /// # Errors
    /// [`Error`] where it cannot be supposed: a store is not known, or too few would stay. Or where the answer takes longer
    /// than the deadline allows.
    pub async fn plan(&self, supposed: &Supposed) -> Result<Outlook, Error> {
        // The whole of the time that there is: a second question would only begin from the front.
        let patience = self.options().deadline;
        let question = || {
            let label = |(key, value): &(String, String)| wire::Label {
                key: key.clone(),
                value: value.clone(),
            };
            let new = |labels: &Vec<(String, String)>| wire::NewStore {
                labels: labels.iter().map(label).collect(),
            };
            let add_stores = supposed.come.iter().map(new).collect();
            let remove_stores = supposed.go.iter().map(|store| store.get()).collect();
            let horizon_ms = supposed.horizon_ms;
            let rule_operations = supposed.rule_operations.clone();
            self.core().pd.ask_placement_for(
                patience,
                move |mut placement, cluster_id| async move {
                    let request = wire::PlanRequest {
                        cluster_id,
                        add_stores,
                        remove_stores,
                        horizon_ms,
                        rule_operations,
                    };
                    Ok(placement.plan(request).await?.into_inner())
                },
            )
        };
        Ok(self.call("plan", "the placement").ask(question).await?.into())
    }
}

impl From<wire::PlanResponse> for Outlook {
    fn from(plan: wire::PlanResponse) -> Self {
        let stuck = plan
            .stuck
            .into_iter()
            .map(|stuck| (RegionId(stuck.region_id), stuck.reason.unwrap_or_default().why));
        Self {
            moves: plan.moves,
            moved_bytes: plan.moved_bytes,
            transfers: plan.transfers,
            ends_after_ms: plan.ends_after_ms,
            is_settled: plan.is_settled,
            stores: plan.stores.into_iter().map(Into::into).collect(),
            stuck: stuck.collect(),
            stuck_regions: plan.stuck_regions,
            idle: plan.idle.into_iter().map(|idle| (idle.name, idle.why)).collect(),
            copy_bytes_per_second: plan.copy_bytes_per_second,
            horizon_ms: plan.horizon_ms,
            cut_off: Some(plan.cut_off).filter(|why| !why.is_empty()),
        }
    }
}

impl From<wire::PlannedStore> for PlannedStore {
    fn from(store: wire::PlannedStore) -> Self {
        Self {
            id: StoreId(store.store_id),
            is_new: store.is_new,
            is_removed: store.is_removed,
            before: store.before.unwrap_or_default().into(),
            after: store.after.unwrap_or_default().into(),
        }
    }
}

impl From<wire::Carried> for Carried {
    fn from(carried: wire::Carried) -> Self {
        let wire::Carried { leaders, replicas, bytes } = carried;
        Self { leaders, replicas, bytes }
    }
}
