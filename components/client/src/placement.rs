//! What people decide about placement, and why the placement driver does what it does.

use flotilla_base::{KeyRange, RegionId, StoreId};
use flotilla_proto::placement::{
    self as wire, change_scheduler_request::Change, explain_request::Subject as Asked,
    treat_store_request::Treatment,
};
use tonic::Code;

use crate::{admin::Admin, error::Error, operators::OperatorInfo};

/// A setting of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// With its section, such as `schedule.leader-schedule-limit`.
    pub name: String,
    /// What it is.
    pub value: String,
    /// What it is where nobody sets it.
    pub usual: String,
    /// What it may be, in a sentence.
    pub possible: String,
}

/// How all stores are treated, and what is to be done to regions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// Stores that have not left, by id.
    pub stores: Vec<StorePlacement>,
    /// Regions that are not as they are to be and wait their turn.
    pub waiting_regions: u64,
    /// Regions that cannot be mended at the moment.
    pub stuck_regions: u64,
}

/// How a store is treated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorePlacement {
    /// The store.
    pub id: StoreId,
    /// Its labels, as it registered or as set by hand.
    pub labels: Vec<(String, String)>,
    /// Its share of leads; 1 for a usual store.
    pub leader_weight: f64,
    /// Its share of data.
    pub region_weight: f64,
    /// Peers that may come to it in a minute.
    pub add_peers_per_minute: u32,
    /// Peers that may leave it in a minute.
    pub remove_peers_per_minute: u32,
    /// It is being worked on until then, milliseconds since 1970; 0 where it is not.
    pub maintained_until_unix_ms: u64,
    /// Size of the regions that it has replicas of.
    pub region_bytes: u64,
    /// How far it is, where it leaves.
    pub drain: Option<Drain>,
}

/// How far a store is that leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Regions that have a replica on it.
    pub regions_left: u64,
    /// Size of these.
    pub bytes_left: u64,
    /// How many of them are being changed.
    pub moving: u64,
    /// The first of those that cannot be changed at the moment, with the reason.
    pub stuck: Vec<(RegionId, Reason)>,
    /// How many those are in all.
    pub stuck_regions: u64,
}

/// Why something is not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// When it was looked at last, milliseconds since 1970.
    pub unix_ms: u64,
    /// A sentence.
    pub why: String,
}

/// What becomes of regions that are to be spread over the stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scattered {
    /// They begin to move.
    pub moving: Vec<RegionId>,
    /// They are spread already.
    pub settled: Vec<RegionId>,
    /// They cannot be moved at the moment, or are not known; with the reason.
    pub failed: Vec<(RegionId, String)>,
}

/// A scheduler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// Its name.
    pub name: String,
    /// Whether it runs, paused or not.
    pub runs: bool,
    /// It does nothing before this time, milliseconds since 1970; 0 where it is not paused.
    pub paused_until_unix_ms: u64,
    /// The stores that it is for; none where it is for all.
    pub stores: Vec<StoreId>,
    /// Why it does nothing at the moment; `None` where it did something when it last looked, or has not looked.
    pub idle: Option<Reason>,
    /// How many of its changes are under way.
    pub running: u64,
}

/// What changes in how a store is treated.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreTreatment {
    /// Labels are set by hand, and some that were are not any more.
    Labels {
        /// Keys and values.
        set: Vec<(String, String)>,
        /// Keys.
        delete: Vec<String>,
    },
    /// Its shares, 1 being usual; `None` leaves one as it is.
    Weights {
        /// Of leads.
        leader: Option<f64>,
        /// Of data.
        region: Option<f64>,
    },
    /// Peers in a minute; `None` leaves one as it is.
    Limits {
        /// That may come to it.
        add: Option<StoreLimit>,
        /// That may leave it.
        remove: Option<StoreLimit>,
    },
    /// It is being worked on for so many milliseconds from now: it leads nothing, and is not taken for down. 0 ends it.
    Maintain(u64),
}

/// A limit of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreLimit {
    /// As the settings say.
    Usual,
    /// Its own: peers in a minute.
    Peers(u32),
}

/// What becomes of a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerChange {
    /// It runs, for this store where it is for some only.
    Add(Option<StoreId>),
    /// It does not run any more, or not for this store.
    Remove(Option<StoreId>),
    /// It does nothing for so many milliseconds; 0 lets it go on.
    Pause(u64),
}

/// By what regions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOrder {
    /// By what they cost the store that leads them.
    Heat,
    /// By what is read.
    Reads,
    /// By what is written.
    Writes,
}

/// What stores and regions are asked for, smoothed over about half a minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    /// All stores that have not left, by id.
    pub stores: Vec<StoreHeat>,
    /// The hottest first.
    pub regions: Vec<RegionHeat>,
    /// What a store has in the mean; 0 where load is not spread.
    pub mean_heat: u64,
    /// A store with more is hot; 0 where load is not spread.
    pub heat_limit: u64,
}

/// What is asked for in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes of keys and values that are written.
    pub written_bytes: u64,
    /// The same that are read.
    pub read_bytes: u64,
    /// Keys that are written.
    pub written_keys: u64,
    /// Keys that are read.
    pub read_keys: u64,
}

/// What a store is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreHeat {
    /// The store.
    pub id: StoreId,
    /// By its own account.
    pub rates: Rates,
    /// What its leads and replicas cost it; 1 is a key that is read in a second, or a KiB.
    pub heat: u64,
    /// How slow its disk is: 1 as it is to be, 100 at most; 0 where it does not say.
    pub slow_score: u64,
    /// Leads are kept away, since its disk is slow or was a short time ago.
    pub is_slow: bool,
}

/// What a region is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionHeat {
    /// The region.
    pub id: RegionId,
    /// The store that leads it; `None` where none is known.
    pub leader: Option<StoreId>,
    /// What it owns.
    pub range: KeyRange,
    /// By its leader's account.
    pub rates: Rates,
    /// What it costs the store that leads it.
    pub heat: u64,
}

impl From<Option<wire::Rates>> for Rates {
    fn from(rates: Option<wire::Rates>) -> Self {
        let wire::Rates { written_bytes, read_bytes, written_keys, read_keys } =
            rates.unwrap_or_default();
        Self { written_bytes, read_bytes, written_keys, read_keys }
    }
}

impl From<wire::StoreHeat> for StoreHeat {
    fn from(store: wire::StoreHeat) -> Self {
        let wire::StoreHeat { store_id, rates, heat, slow_score, is_slow } = store;
        Self { id: StoreId(store_id), rates: rates.into(), heat, slow_score, is_slow }
    }
}

impl From<wire::RegionHeat> for RegionHeat {
    fn from(region: wire::RegionHeat) -> Self {
        let leader = StoreId(region.leader_store_id);
        Self {
            id: RegionId(region.region_id),
            leader: Some(leader).filter(|leader| !leader.is_none()),
            range: KeyRange { start: region.start_key, end: region.end_key },
            rates: region.rates.into(),
            heat: region.heat,
        }
    }
}

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// What is done to a region, and what it lacks.
    Region(RegionId),
    /// What a store takes.
    Store(StoreId),
    /// What a scheduler or a checker does.
    By(String),
    /// The change of a region that goes on, or the last one.
    Operator(RegionId),
}

/// Why something was done, or is not done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Decisions of the placement driver's leader that fit, the last one first.
    pub decisions: Vec<Decision>,
    /// How many fit in all.
    pub decisions_in_all: u64,
    /// What is being done to the region, or was done last.
    pub operator: Option<OperatorInfo>,
    /// Why the region is not mended.
    pub stuck: Option<Reason>,
    /// What the store carries and takes.
    pub store: Option<StoreAccount>,
    /// The scheduler.
    pub scheduler: Option<Scheduler>,
    /// Whether nothing is decided at all.
    pub is_halted: bool,
}

/// What a store carries, with what is under way, and what keeps it from taking more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreAccount {
    /// How it is treated.
    pub placement: StorePlacement,
    /// Leads.
    pub leaders: u64,
    /// Replicas.
    pub replicas: u64,
    /// Data of these.
    pub bytes: u64,
    /// Copies on their way to it.
    pub copies: u32,
    /// Why it takes no peers.
    pub no_peers: Option<String>,
    /// Why it takes no leads.
    pub no_leads: Option<String>,
}

/// Why a change began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Its number under this leader.
    pub id: u64,
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// The checker or scheduler.
    pub by: String,
    /// The region.
    pub region: RegionId,
    /// What was chosen, in short.
    pub brief: String,
    /// The reason, a sentence.
    pub why: String,
    /// Other stores, and why they were not chosen.
    pub alternatives: Vec<(StoreId, String)>,
}

impl Admin {
    /// All settings of the cluster, by name.
    ///
    /// # Errors
    /// [`Error`] where the placement driver does not answer.
    pub async fn settings(&self) -> Result<Vec<Setting>, Error> {
        let question = || {
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::ListSettingsRequest { cluster_id };
                Ok(placement.list_settings(request).await?.into_inner())
            })
        };
        let answer = self.call("list", "the settings").ask(question).await?;
        Ok(answer.settings.into_iter().map(Into::into).collect())
    }

    /// Sets settings, all or none; `None` stands for the usual value. Returns when that is recorded.
    ///
    /// # Errors
    /// [`Error`] where a setting is not known or a value not possible. Nothing is set then.
    pub async fn set_settings(&self, values: &[(String, Option<String>)]) -> Result<(), Error> {
        let question = || {
            let new = |(name, value): &(String, Option<String>)| wire::NewValue {
                name: name.clone(),
                value: value.clone(),
            };
            let values = values.iter().map(new).collect();
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::SetSettingsRequest { cluster_id, values };
                Ok(placement.set_settings(request).await?.into_inner())
            })
        };
        self.call("set", "the settings").ask(question).await.map(|_recorded| ())
    }

    /// How stores are treated, and what is to be done to regions; `None` where the placement driver is another
    /// implementation, which does not tell.
    ///
    /// # Errors
    /// [`Error`] where the placement driver does not answer.
    pub async fn placement(&self) -> Result<Option<Placement>, Error> {
        let question = || {
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                match placement.list_stores(wire::ListStoresRequest { cluster_id }).await {
                    Ok(answer) => Ok(Some(answer.into_inner())),
                    Err(status) if status.code() == Code::Unimplemented => Ok(None),
                    Err(status) => Err(status),
                }
            })
        };
        let answer = self.call("ask about", "the placement").ask(question).await?;
        Ok(answer.map(|answer| Placement {
            stores: answer.stores.into_iter().map(Into::into).collect(),
            waiting_regions: answer.waiting_regions,
            stuck_regions: answer.stuck_regions,
        }))
    }

    /// Empties a store, which serves meanwhile; then it is a tombstone. Returns when that is recorded;
    /// [`Self::placement`] tells how it goes on, and [`Self::keep_store`] takes it back.
    ///
    /// # Errors
    /// [`Error`] where the placement driver refuses: the store is not known or gone, or the others could not hold all replicas.
    pub async fn drain_store(&self, store: StoreId) -> Result<(), Error> {
        self.drain(store, false).await
    }

    /// Lets a store stay that was to leave.
    ///
    /// # Errors
    /// [`Error`] where the store is not known, or gone for good.
    pub async fn keep_store(&self, store: StoreId) -> Result<(), Error> {
        self.drain(store, true).await
    }

    async fn drain(&self, store: StoreId, undo: bool) -> Result<(), Error> {
        let question = || {
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::DrainStoreRequest { cluster_id, store_id: store.get(), undo };
                Ok(placement.drain_store(request).await?.into_inner())
            })
        };
        let verb = if undo { "keep" } else { "drain" };
        self.call(verb, "the store").ask(question).await.map(|_recorded| ())
    }

    /// Stores that are gone for good are listed no more, all or none. None of their ids is ever free again. Returns when that
    /// is recorded.
    ///
    /// # Errors
    /// [`Error`] where one of them is not known or not gone for good.
    pub async fn forget_stores(&self, stores: &[StoreId]) -> Result<(), Error> {
        if stores.is_empty() {
            return Ok(());
        }
        let question = || {
            let store_ids = stores.iter().map(|store| store.get()).collect();
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::ForgetStoresRequest { cluster_id, store_ids };
                Ok(placement.forget_stores(request).await?.into_inner())
            })
        };
        self.call("forget", "the stores").ask(question).await.map(|_recorded| ())
    }

    /// Changes how a store is treated. Returns when that is recorded.
    ///
    /// # Errors
    /// [`Error`] where the store is not known or gone, or it cannot be treated so.
    pub async fn treat_store(
        &self,
        store: StoreId,
        treatment: &StoreTreatment,
    ) -> Result<(), Error> {
        let question = || {
            let treatment = Some(Treatment::from(treatment));
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request =
                    wire::TreatStoreRequest { cluster_id, store_id: store.get(), treatment };
                Ok(placement.treat_store(request).await?.into_inner())
            })
        };
        self.call("change", "the store").ask(question).await.map(|_recorded| ())
    }

    /// What stores are asked for, and the regions that are asked for most, at most `limit`.
    ///
    /// # Errors
    /// [`Error`] where the placement driver does not answer.
    pub async fn loads(&self, order: LoadOrder, limit: u32) -> Result<Loads, Error> {
        let order = match order {
            LoadOrder::Heat => wire::LoadOrder::Heat,
            LoadOrder::Reads => wire::LoadOrder::Reads,
            LoadOrder::Writes => wire::LoadOrder::Writes,
        };
        let question = || {
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let order = order.into();
                let request = wire::ListLoadsRequest { cluster_id, order, limit };
                Ok(placement.list_loads(request).await?.into_inner())
            })
        };
        let answer = self.call("list", "the loads").ask(question).await?;
        Ok(Loads {
            stores: answer.stores.into_iter().map(Into::into).collect(),
            regions: answer.regions.into_iter().map(Into::into).collect(),
            mean_heat: answer.mean_heat,
            heat_limit: answer.heat_limit,
        })
    }

    /// All schedulers, those that run first.
    ///
    /// # Errors
    /// [`Error`] where the placement driver does not answer.
    pub async fn schedulers(&self) -> Result<Vec<Scheduler>, Error> {
        let question = || {
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::ListSchedulersRequest { cluster_id };
                Ok(placement.list_schedulers(request).await?.into_inner())
            })
        };
        let answer = self.call("list", "the schedulers").ask(question).await?;
        Ok(answer.schedulers.into_iter().map(Into::into).collect())
    }

    /// Changes a scheduler. Whether a store was added to one that ran already.
    ///
    /// # Errors
    /// [`Error`] where there is no such scheduler, it runs already, or does not run, or a store is missing or not known.
    pub async fn change_scheduler(
        &self,
        name: &str,
        change: SchedulerChange,
    ) -> Result<bool, Error> {
        let id = |store: Option<StoreId>| store.map_or(0, StoreId::get);
        let change = Some(match change {
            SchedulerChange::Add(store) => Change::Add(id(store)),
            SchedulerChange::Remove(store) => Change::Remove(id(store)),
            SchedulerChange::Pause(millis) => Change::PauseMs(millis),
        });
        let question = || {
            let name = name.to_owned();
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::ChangeSchedulerRequest { cluster_id, name, change };
                Ok(placement.change_scheduler(request).await?.into_inner())
            })
        };
        let answer = self.call("change", "the scheduler").ask(question).await?;
        Ok(answer.joined)
    }

    /// Spreads regions over the stores, as many replicas and leads of them on each as can be. Returns when that has begun;
    /// [`Self::operators`] tells how it goes on.
    ///
    /// # Errors
    /// [`Error`] where one region is asked for that is not known, or the placement driver does not answer.
    pub async fn scatter(&self, regions: &[RegionId]) -> Result<Scattered, Error> {
        let question = || {
            let region_ids = regions.iter().map(|region| region.get()).collect();
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::ScatterRegionsRequest { cluster_id, region_ids };
                Ok(placement.scatter_regions(request).await?.into_inner())
            })
        };
        let answer = self.call("spread", "the regions").ask(question).await?;
        let ids = |ids: Vec<u64>| ids.into_iter().map(RegionId).collect();
        let failed = answer
            .failed
            .into_iter()
            .map(|failed| (RegionId(failed.region_id), failed.reason.unwrap_or_default().why));
        Ok(Scattered {
            moving: ids(answer.moving),
            settled: ids(answer.settled),
            failed: failed.collect(),
        })
    }

    /// The placement rules in the order in which they apply: JSON, as `GET /pd/api/v1/config/rules` answers it.
    ///
    /// # Errors
    /// [`Error`] where the placement driver does not answer.
    pub async fn rules(&self) -> Result<String, Error> {
        let question = || {
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::ListRulesRequest { cluster_id };
                Ok(placement.list_rules(request).await?.into_inner())
            })
        };
        Ok(self.call("list", "the placement rules").ask(question).await?.rules)
    }

    /// Changes placement rules, all or none. `operations` is JSON: a list of rules, each with its action, as
    /// `POST /pd/api/v1/config/rules/batch` takes it. Returns when that is recorded.
    ///
    /// # Errors
    /// [`Error`] with the first rule that cannot be, and what would be possible. Nothing is changed then.
    pub async fn change_rules(&self, operations: &str) -> Result<(), Error> {
        let question = || {
            let operations = operations.to_owned();
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::ChangeRulesRequest { cluster_id, operations };
                Ok(placement.change_rules(request).await?.into_inner())
            })
        };
        let changed = self.call("change", "the placement rules").ask(question).await;
        changed.map(|_recorded| ())
    }

    /// Why something was done, or is not done, with at most `limit` decisions.
    ///
    /// # Errors
    /// [`Error`] where there is no such region, store or operator.
    pub async fn explain(&self, subject: &Subject, limit: u32) -> Result<Explanation, Error> {
        let question = || {
            let subject = Some(match subject {
                Subject::Region(region) => Asked::Region(region.get()),
                Subject::Store(store) => Asked::Store(store.get()),
                Subject::By(by) => Asked::By(by.clone()),
                Subject::Operator(region) => Asked::Operator(region.get()),
            });
            self.core().pd.ask_placement(|mut placement, cluster_id| async move {
                let request = wire::ExplainRequest { cluster_id, subject, limit };
                Ok(placement.explain(request).await?.into_inner())
            })
        };
        Ok(self.call("explain", "the placement").ask(question).await?.into())
    }
}

impl From<&StoreTreatment> for Treatment {
    fn from(treatment: &StoreTreatment) -> Self {
        let limit = |limit: StoreLimit| wire::PeersPerMinute {
            peers: match limit {
                StoreLimit::Usual => None,
                StoreLimit::Peers(peers) => Some(peers),
            },
        };
        let label = |(key, value): &(String, String)| wire::Label {
            key: key.clone(),
            value: value.clone(),
        };
        match treatment {
            StoreTreatment::Labels { set, delete } => Self::Labels(wire::LabelChange {
                set: set.iter().map(label).collect(),
                delete: delete.clone(),
                replace: false,
            }),
            StoreTreatment::Weights { leader, region } => {
                Self::Weights(wire::Weights { leader: *leader, region: *region })
            }
            StoreTreatment::Limits { add, remove } => {
                Self::Limits(wire::StoreLimits { add: add.map(limit), remove: remove.map(limit) })
            }
            StoreTreatment::Maintain(millis) => Self::MaintainMs(*millis),
        }
    }
}

impl From<wire::Setting> for Setting {
    fn from(setting: wire::Setting) -> Self {
        let wire::Setting { name, value, usual, possible } = setting;
        Self { name, value, usual, possible }
    }
}

impl From<wire::Reason> for Reason {
    fn from(reason: wire::Reason) -> Self {
        Self { unix_ms: reason.unix_ms, why: reason.why }
    }
}

impl From<wire::Store> for StorePlacement {
    fn from(store: wire::Store) -> Self {
        Self {
            id: StoreId(store.store_id),
            labels: store.labels.into_iter().map(|label| (label.key, label.value)).collect(),
            leader_weight: store.leader_weight,
            region_weight: store.region_weight,
            add_peers_per_minute: store.add_peers_per_minute,
            remove_peers_per_minute: store.remove_peers_per_minute,
            maintained_until_unix_ms: store.maintained_until_unix_ms,
            region_bytes: store.region_bytes,
            drain: store.drain.map(Into::into),
        }
    }
}

impl From<wire::Drain> for Drain {
    fn from(drain: wire::Drain) -> Self {
        let stuck = |stuck: wire::StuckRegion| {
            (RegionId(stuck.region_id), stuck.reason.unwrap_or_default().into())
        };
        Self {
            regions_left: drain.regions_left,
            bytes_left: drain.bytes_left,
            moving: drain.moving,
            stuck: drain.stuck.into_iter().map(stuck).collect(),
            stuck_regions: drain.stuck_regions,
        }
    }
}

impl From<wire::Scheduler> for Scheduler {
    fn from(scheduler: wire::Scheduler) -> Self {
        Self {
            name: scheduler.name,
            runs: scheduler.runs,
            paused_until_unix_ms: scheduler.paused_until_unix_ms,
            stores: scheduler.stores.into_iter().map(StoreId).collect(),
            idle: scheduler.idle.map(Into::into),
            running: scheduler.running,
        }
    }
}

impl From<wire::ExplainResponse> for Explanation {
    fn from(answer: wire::ExplainResponse) -> Self {
        Self {
            decisions: answer.decisions.into_iter().map(Into::into).collect(),
            decisions_in_all: answer.decisions_in_all,
            operator: answer.operator.map(Into::into),
            stuck: answer.stuck.map(Into::into),
            store: answer.store.map(Into::into),
            scheduler: answer.scheduler.map(Into::into),
            is_halted: answer.is_halted,
        }
    }
}

impl From<wire::StoreAccount> for StoreAccount {
    fn from(account: wire::StoreAccount) -> Self {
        let told = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            placement: account.store.unwrap_or_default().into(),
            leaders: account.leaders,
            replicas: account.replicas,
            bytes: account.bytes,
            copies: account.copies,
            no_peers: told(account.no_peers),
            no_leads: told(account.no_leads),
        }
    }
}

impl From<wire::Decision> for Decision {
    fn from(decision: wire::Decision) -> Self {
        let alternative = |other: wire::Alternative| (StoreId(other.store_id), other.why);
        Self {
            id: decision.id,
            unix_ms: decision.unix_ms,
            by: decision.by,
            region: RegionId(decision.region_id),
            brief: decision.brief,
            why: decision.why,
            alternatives: decision.alternatives.into_iter().map(alternative).collect(),
        }
    }
}
