//! What people have decided about placement: settings, how each store and each scheduler is to be treated, and where replicas are to be. It is
//! replicated; nothing of it is learnt from heartbeats.
//!
//! Settings have the names that tools of the public protocol know. All of them are here, with their ranges and what they
//! mean: what is not in [`settings`] cannot be set.

mod scheduler;
mod settings;
mod store;
mod text;

use std::collections::BTreeMap;

use flotilla_base::StoreId;

pub use scheduler::{SchedulerName, SchedulerPolicy};
pub use settings::{Limits, Locations, Repairs, SettingRefusal, Settings};
pub use store::{PolicyRefusal, StorePolicy, check_label};
pub use text::{duration_text, parse_duration};

use crate::{
    meta::StoreRecord,
    rule::{Labels, RuleBook},
};

/// Everything that people have decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Voters of each region of which no rule says anything else; at least 1.
    pub max_replicas: u32,
    /// The settings.
    pub settings: Settings,
    /// Stores that are to be treated in a way of their own.
    pub stores: BTreeMap<StoreId, StorePolicy>,
    /// The schedulers that run.
    pub schedulers: BTreeMap<SchedulerName, SchedulerPolicy>,
    /// How many replicas regions have, and where.
    pub rules: RuleBook,
}

impl Default for Policy {
    fn default() -> Self {
        let run = |name: &SchedulerName| (*name, SchedulerPolicy::default());
        Self {
            max_replicas: 3,
            settings: Settings::default(),
            stores: BTreeMap::new(),
            schedulers: SchedulerName::USUAL.iter().map(run).collect(),
            rules: RuleBook::default(),
        }
    }
}

impl Policy {
    /// How a store is to be treated.
    #[must_use]
    pub fn store(&self, store: StoreId) -> &StorePolicy {
        static USUAL: StorePolicy = StorePolicy::USUAL;
        self.stores.get(&store).unwrap_or(&USUAL)
    }

    /// The labels of a store: what people have set goes first.
    #[must_use]
    pub fn labels<'a>(&'a self, store: &'a StoreRecord) -> Labels<'a> {
        self.store(store.id).labels_of(store)
    }
}
