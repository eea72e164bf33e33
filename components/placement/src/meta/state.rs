//! The state itself: apply and load.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_base::{
    ClusterId, Family, Index, KeyRange, KvRead, Mutation, ScanDirection, StoreId, Term,
    codec::{CodecError, RecordReader},
};

use super::{
    MetaChange, MetaCommand, MetaError, Refusal, StoreRecord, StoreState,
    command::{read_cluster, write_cluster},
    read_pairs, record, write_pairs,
};
use crate::{
    BootstrapPlan, Policy, PolicyRefusal, RuleBook, SchedulerName, SchedulerPolicy, StorePolicy,
    ids::IdBatch, rule::Labels, scatter::ScatterOutcome,
};

/// Recorded with the cluster's identity, where it has stood from the beginning.
const MAX_REPLICAS: &str = "replication.max-replicas";
/// Can only be set behind the labels.
const ISOLATION_LEVEL: &str = "replication.isolation-level";

/// The cluster's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Non-zero and random.
    pub id: ClusterId,
    /// How many voters each region shall have.
    pub max_replicas: u32,
}

/// Where an entry stands in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryPosition {
    /// Its index.
    pub index: Index,
    /// Its term.
    pub term: Term,
}

/// What an applied command gives its proposer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// These ids belong to the proposer.
    Ids(IdBatch),
    /// Regions begin to be spread.
    Scattered(ScatterOutcome),
    /// Timestamps below this physical time may be handed out.
    TsoWindow {
        /// First physical time, in milliseconds, that may not be handed out.
        end_ms: u64,
    },
}

/// What applying one entry brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The outcome for the proposer; `None` for an entry without a command.
    pub outcome: Option<Result<Answer, Refusal>>,
    /// Records to be written before the outcome is told to anyone, in one batch with the position of
    /// the entry: it is never applied twice then.
    pub records: Vec<Mutation>,
}

/// The replicated state of the placement driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaState {
    cluster: Option<Cluster>,
    last_id: u64,
    tso_window_end_ms: u64,
    stores: BTreeMap<StoreId, StoreRecord>,
    /// Tombstones that are listed no more. None of them ever registers again.
    forgotten: BTreeSet<StoreId>,
    bootstrap: Option<BootstrapPlan>,
    /// Its number of replicas is that of `cluster`, which is where it is recorded.
    policy: Policy,
}

impl MetaState {
    /// What people have decided.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The cluster's identity, once it has one.
    #[must_use]
    pub const fn cluster(&self) -> Option<Cluster> {
        self.cluster
    }

    /// The largest id of any window.
    #[must_use]
    pub const fn last_id(&self) -> u64 {
        self.last_id
    }

    /// First physical time, in milliseconds, that no timestamp has had.
    #[must_use]
    pub const fn tso_window_end_ms(&self) -> u64 {
        self.tso_window_end_ms
    }

    /// Where a store is in its life, listed or not; `None` for one that never was.
    #[must_use]
    pub fn life(&self, id: StoreId) -> Option<StoreState> {
        let forgotten = self.forgotten.contains(&id).then_some(StoreState::Tombstone);
        forgotten.or_else(|| self.stores.get(&id).map(|known| known.state))
    }

    /// The registered stores by id, tombstones included, but for those that were forgotten.
    #[must_use]
    pub const fn stores(&self) -> &BTreeMap<StoreId, StoreRecord> {
        &self.stores
    }

    /// The first regions, once they were decided.
    #[must_use]
    pub const fn bootstrap(&self) -> Option<&BootstrapPlan> {
        self.bootstrap.as_ref()
    }

    /// Applies the entry at `at`, each entry once and in order. Empty `data` is the entry with which a
    /// leader opens its term.
    ///
    /// # Errors
    /// [`MetaError::Entry`] where the data is no command this program knows; nothing has changed then,
    /// and the program must stop.
    pub fn apply(&mut self, at: EntryPosition, data: &Bytes) -> Result<Applied, MetaError> {
        if data.is_empty() {
            return Ok(Applied::default());
        }
        let command = MetaCommand::decode(data)
            .map_err(|cause| MetaError::Entry { index: at.index, cause })?;
        let mut records = Vec::new();
        let outcome = Some(self.decide(at.term, command, &mut records));
        Ok(Applied { outcome, records })
    }

    fn decide(
        &mut self,
        entry_term: Term,
        command: MetaCommand,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        if command.term != entry_term {
            return Err(Refusal::StaleTerm { proposed: command.term, applied: entry_term });
        }
        if let MetaChange::InitCluster(cluster) = command.change {
            return self.init_cluster(cluster, records);
        }
        if self.cluster.is_none() {
            return Err(Refusal::NotInitialized);
        }
        match command.change {
            MetaChange::InitCluster(cluster) => Err(Refusal::AlreadyInitialized(cluster.id)),
            MetaChange::AllocWindow { ids } => self.alloc_window(ids, records),
            MetaChange::TsoWindow { end_ms } => self.extend_tso_window(end_ms, records),
            MetaChange::PutStore(store) => self.put_store(store, records),
            MetaChange::RemoveStore(store) => self.remove_store(store, records),
            MetaChange::BuryStore(store) => self.bury_store(store, records),
            MetaChange::KeepStore(store) => self.keep_store(store, records),
            MetaChange::ForgetStores(stores) => self.forget_stores(&stores, records),
            MetaChange::Set(settings) => self.set(&settings, records),
            MetaChange::TreatStore(store, policy) => self.treat_store(store, policy, records),
            MetaChange::Schedule(name, policy) => self.schedule(name, policy, records),
            MetaChange::PutRules { revision, book } => self.put_rules(revision, book, records),
            MetaChange::NoteSlow(store) => self.note_slow(store, records),
            MetaChange::Bootstrap(plan) => self.bootstrap_cluster(plan, records),
        }
    }

    fn init_cluster(
        &mut self,
        cluster: Cluster,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        if let Some(known) = self.cluster {
            return Err(Refusal::AlreadyInitialized(known.id));
        }
        self.take_cluster(cluster);
        records.push(record::put(record::CLUSTER, |writer| write_cluster(cluster, writer)));
        Ok(Answer::Done)
    }

    fn take_cluster(&mut self, cluster: Cluster) {
        self.cluster = Some(cluster);
        self.policy.max_replicas = cluster.max_replicas;
    }

    fn alloc_window(&mut self, ids: u64, records: &mut Vec<Mutation>) -> Result<Answer, Refusal> {
        let last = self.last_id.checked_add(ids.max(1)).ok_or(Refusal::IdsUsedUp)?;
        let batch = IdBatch { first: self.last_id + 1, last };
        self.last_id = last;
        records.push(record::put(record::ALLOC_ID, |writer| {
            writer.number(last);
        }));
        Ok(Answer::Ids(batch))
    }

    fn extend_tso_window(
        &mut self,
        end_ms: u64,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        if end_ms <= self.tso_window_end_ms {
            let current_ms = self.tso_window_end_ms;
            return Err(Refusal::TsoWindowBehind { current_ms, asked_ms: end_ms });
        }
        self.tso_window_end_ms = end_ms;
        records.push(record::put(record::TIMESTAMP, |writer| {
            writer.number(end_ms);
        }));
        Ok(Answer::TsoWindow { end_ms })
    }

    fn put_store(
        &mut self,
        mut store: StoreRecord,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        self.check_store(&store)?;
        if let Some(known) = self.stores.get(&store.id) {
            // A store does not decide over its own life: what operators recorded stays.
            store.state = known.state;
            store.incarnation = store.incarnation.max(known.incarnation);
        } else {
            store.state = StoreState::Up;
        }
        records.push(record::put(record::store_key(store.id), |writer| store.write(writer)));
        self.stores.insert(store.id, store);
        Ok(Answer::Done)
    }

    fn remove_store(
        &mut self,
        id: StoreId,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        self.check_removal(id)?;
        Ok(self.set_store_state(id, StoreState::Offline, records))
    }

    /// Whether a store may be told to leave now: what [`MetaChange::RemoveStore`] decides at apply. One that is leaving
    /// already may be told again.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give.
    pub fn check_removal(&self, id: StoreId) -> Result<(), Refusal> {
        match self.life(id).ok_or(Refusal::UnknownStore(id))? {
            StoreState::Tombstone => return Err(Refusal::Tombstone(id)),
            StoreState::Offline => return Ok(()),
            StoreState::Up => {}
        }
        let stay = self.labels_of_others(id);
        let (left, replicas) = (stay.len(), self.policy.replicas_max());
        if left < replicas as usize {
            return Err(Refusal::TooFewStores { store: id, left, replicas });
        }
        let goes: Vec<_> =
            self.stores.get(&id).map(|it| self.policy.labels(it)).into_iter().collect();
        let departed = self.policy.check_departure(&stay, &goes);
        departed.map_err(|rule| PolicyRefusal::Needed { store: id, rule }.into())
    }

    /// Whether all is moved away is known from heartbeats, by the leader that proposes it.
    fn bury_store(&mut self, id: StoreId, records: &mut Vec<Mutation>) -> Result<Answer, Refusal> {
        match self.life(id) {
            None => Err(Refusal::UnknownStore(id)),
            Some(StoreState::Up) => Err(Refusal::NotOffline(id)),
            Some(StoreState::Tombstone) => Ok(Answer::Done),
            Some(StoreState::Offline) => {
                Ok(self.set_store_state(id, StoreState::Tombstone, records))
            }
        }
    }

    /// One that is not leaving may be told again.
    fn keep_store(&mut self, id: StoreId, records: &mut Vec<Mutation>) -> Result<Answer, Refusal> {
        match self.life(id) {
            None => Err(Refusal::UnknownStore(id)),
            Some(StoreState::Tombstone) => Err(Refusal::Tombstone(id)),
            Some(StoreState::Up) => Ok(Answer::Done),
            Some(StoreState::Offline) => Ok(self.set_store_state(id, StoreState::Up, records)),
        }
    }

    /// Nothing that is recorded names them any more but the mark that they were.
    fn forget_stores(
        &mut self,
        ids: &[StoreId],
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        self.check_forgetting(ids)?;
        for id in ids.iter().filter(|id| self.forgotten.insert(**id)) {
            self.stores.remove(id);
            self.policy.stores.remove(id);
            records.push(record::delete(record::store_key(*id)));
            records.push(record::delete(record::store_policy_key(*id)));
            records.push(record::put(record::forgotten_key(*id), |_nothing| ()));
        }
        let schedulers = self.policy.schedulers.clone();
        self.policy.schedulers.values_mut().for_each(|it| it.stores.retain(|id| !ids.contains(id)));
        // One that is for some stores only is for none now.
        let is_left = |name: &SchedulerName, it: &mut SchedulerPolicy| {
            !name.takes_stores() || !it.stores.is_empty()
        };
        self.policy.schedulers.retain(is_left);
        if self.policy.schedulers != schedulers {
            records.push(self.put_schedulers());
        }
        debug_assert!(ids.iter().all(|id| self.life(*id) == Some(StoreState::Tombstone)));
        Ok(Answer::Done)
    }

    /// Whether these stores may be forgotten: what [`MetaChange::ForgetStores`] decides at apply. One that is forgotten may
    /// be told again.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give.
    pub fn check_forgetting(&self, ids: &[StoreId]) -> Result<(), Refusal> {
        for id in ids {
            match self.life(*id).ok_or(Refusal::UnknownStore(*id))? {
                StoreState::Tombstone => {}
                StoreState::Up | StoreState::Offline => {
                    return Err(PolicyRefusal::NotGone(*id).into());
                }
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        settings: &[(String, String)],
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        let changed = self.check_settings(settings)?;
        if let Some(cluster) = self.cluster.as_mut()
            && cluster.max_replicas != changed.max_replicas
        {
            cluster.max_replicas = changed.max_replicas;
            let cluster = *cluster;
            records.push(record::put(record::CLUSTER, |writer| write_cluster(cluster, writer)));
        }
        let mut recorded = changed.changed();
        recorded.retain(|(name, _)| *name != MAX_REPLICAS);
        records.push(record::put(record::SETTINGS, |writer| write_pairs(&recorded, writer)));
        self.policy = changed;
        Ok(Answer::Done)
    }

    /// What the policy is with these settings: what [`MetaChange::Set`] decides at apply.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give.
    pub fn check_settings(&self, settings: &[(String, String)]) -> Result<Policy, Refusal> {
        let mut changed = self.policy.clone();
        for (name, value) in settings {
            changed.set(name, value)?;
        }
        Ok(changed)
    }

    /// Whether these settings may be set now: they make sense, and where they ask for other replicas there are stores for
    /// these. Whoever applies them does not ask for the stores once more.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give, or that there are too few stores.
    pub fn check_new_settings(&self, settings: &[(String, String)]) -> Result<(), Refusal> {
        let changed = self.check_settings(settings)?;
        // The first stores are still to come.
        if self.bootstrap.is_none() || changed.default_rule() == self.policy.default_rule() {
            return Ok(());
        }
        let stores = self.labels_of_others(StoreId(0));
        let checked = changed.check_stores(&stores).map_err(PolicyRefusal::Rule);
        // What is not possible as it is may become better step by step.
        let asks_less = changed.max_replicas <= self.policy.max_replicas;
        if checked.is_err() && asks_less && self.policy.check_stores(&stores).is_err() {
            return Ok(());
        }
        Ok(checked?)
    }

    fn treat_store(
        &mut self,
        id: StoreId,
        policy: StorePolicy,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        self.check_treatment(id, &policy)?;
        records.push(record::put(record::store_policy_key(id), |writer| policy.write(writer)));
        self.policy.stores.insert(id, policy);
        Ok(Answer::Done)
    }

    /// Whether a store may be treated so: what [`MetaChange::TreatStore`] decides at apply.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give.
    pub fn check_treatment(&self, id: StoreId, policy: &StorePolicy) -> Result<(), Refusal> {
        match self.life(id) {
            None => return Err(Refusal::UnknownStore(id)),
            Some(StoreState::Tombstone) => return Err(Refusal::Tombstone(id)),
            Some(StoreState::Up | StoreState::Offline) => {}
        }
        Ok(policy.check()?)
    }

    fn schedule(
        &mut self,
        name: SchedulerName,
        policy: Option<SchedulerPolicy>,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        self.check_scheduler(name, policy.as_ref())?;
        match policy {
            Some(mut policy) => {
                // Which store is slow is not for people to say.
                if !name.takes_stores() {
                    policy.stores = self.own_stores(name);
                }
                self.policy.schedulers.insert(name, policy);
            }
            None => _ = self.policy.schedulers.remove(&name),
        }
        records.push(self.put_schedulers());
        Ok(Answer::Done)
    }

    fn put_schedulers(&self) -> Mutation {
        let schedulers = &self.policy.schedulers;
        record::put(record::SCHEDULERS, |writer| {
            writer.number(schedulers.len() as u64);
            for (name, policy) in schedulers {
                name.write(writer);
                policy.write(writer);
            }
        })
    }

    /// The stores that a scheduler is for.
    fn own_stores(&self, name: SchedulerName) -> BTreeSet<StoreId> {
        let known = self.policy.schedulers.get(&name);
        known.map(|known| known.stores.clone()).unwrap_or_default()
    }

    fn note_slow(
        &mut self,
        slow: Option<StoreId>,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        if let Some(unknown) = slow.filter(|store| !self.stores.contains_key(store)) {
            return Err(Refusal::UnknownStore(unknown));
        }
        // Somebody may have removed the scheduler meanwhile.
        if let Some(known) = self.policy.schedulers.get_mut(&SchedulerName::EvictSlowStore) {
            known.stores = slow.into_iter().collect();
            records.push(self.put_schedulers());
        }
        Ok(Answer::Done)
    }

    /// Whether a scheduler may run so: what [`MetaChange::Schedule`] decides at apply.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give.
    pub fn check_scheduler(
        &self,
        name: SchedulerName,
        policy: Option<&SchedulerPolicy>,
    ) -> Result<(), Refusal> {
        let Some(policy) = policy else { return Ok(()) };
        match (name.takes_stores(), policy.stores.is_empty()) {
            (true, true) => return Err(PolicyRefusal::NoStore(name).into()),
            // A tool may say what it has read.
            (false, false) if policy.stores == self.own_stores(name) => {}
            (false, false) => return Err(PolicyRefusal::NamesStore(name).into()),
            (true, false) | (false, true) => {}
        }
        let unknown = policy.stores.iter().find(|store| !self.stores.contains_key(store));
        unknown.map_or(Ok(()), |store| Err(Refusal::UnknownStore(*store)))
    }

    fn put_rules(
        &mut self,
        revision: u64,
        book: RuleBook,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        self.check_rules(revision, &book)?;
        let book = book.at_revision(revision.saturating_add(1));
        debug_assert!(book.revision() > self.policy.rules.revision(), "it only grows");
        records.push(record::put(record::RULES, |writer| book.write(writer)));
        self.policy.rules = book;
        Ok(Answer::Done)
    }

    /// Whether these rules may replace those of `revision`: what [`MetaChange::PutRules`] decides at apply.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give.
    pub fn check_rules(&self, revision: u64, book: &RuleBook) -> Result<(), Refusal> {
        let known = self.policy.rules.revision();
        if revision != known {
            return Err(PolicyRefusal::StaleRules { asked: revision, known }.into());
        }
        Ok(book.check().map_err(PolicyRefusal::Rule)?)
    }

    /// Whether rules that are made of these may replace them now: they make sense, and there are stores for those that are
    /// new. Whoever applies them does not ask for the stores once more.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give, or the first rule for which there are too few stores.
    pub fn check_new_rules(&self, book: &RuleBook) -> Result<(), Refusal> {
        self.check_rules(book.revision(), book)?;
        let checked = book.check_stores(&self.policy.rules, &self.labels_of_others(StoreId(0)));
        Ok(checked.map_err(PolicyRefusal::Rule)?)
    }

    /// The labels of the stores that are to stay, without that of `id`.
    fn labels_of_others(&self, id: StoreId) -> Vec<Labels<'_>> {
        let stays = |store: &&StoreRecord| store.id != id && store.state == StoreState::Up;
        self.stores.values().filter(stays).map(|store| self.policy.labels(store)).collect()
    }

    fn set_store_state(
        &mut self,
        id: StoreId,
        state: StoreState,
        records: &mut Vec<Mutation>,
    ) -> Answer {
        if let Some(store) = self.stores.get_mut(&id) {
            store.state = state;
            records.push(record::put(record::store_key(id), |writer| store.write(writer)));
        }
        Answer::Done
    }

    /// Whether `store` may register now: what [`MetaChange::PutStore`] decides at apply.
    ///
    /// # Errors
    /// The [`Refusal`] that applying would give.
    pub fn check_store(&self, store: &StoreRecord) -> Result<(), Refusal> {
        if store.id.is_none() || store.address.is_empty() {
            return Err(Refusal::IncompleteStore(store.id));
        }
        if self.life(store.id) == Some(StoreState::Tombstone) {
            return Err(Refusal::Tombstone(store.id));
        }
        if let Some(known) = self.stores.get(&store.id) {
            // The public protocol has no runs: a store that does not name one updates the last.
            if !store.incarnation.is_none() && store.incarnation < known.incarnation {
                return Err(Refusal::StaleIncarnation {
                    store: store.id,
                    asking: store.incarnation,
                    registered: known.incarnation,
                });
            }
        }
        let is_other_live =
            |other: &&StoreRecord| other.id != store.id && other.state != StoreState::Tombstone;
        let twin =
            self.stores.values().filter(is_other_live).find(|o| o.shares_address_with(store));
        match twin {
            Some(twin) => Err(Refusal::DuplicateAddress {
                address: twin.address.clone(),
                asking: store.id,
                registered: twin.id,
            }),
            None => Ok(()),
        }
    }

    fn bootstrap_cluster(
        &mut self,
        plan: BootstrapPlan,
        records: &mut Vec<Mutation>,
    ) -> Result<Answer, Refusal> {
        if self.bootstrap.is_some() {
            return Err(Refusal::AlreadyBootstrapped);
        }
        plan.check(&self.stores, self.last_id).map_err(Refusal::BadBootstrap)?;
        records.push(record::put(record::BOOTSTRAP, |writer| plan.write(writer)));
        self.bootstrap = Some(plan);
        Ok(Answer::Done)
    }

    /// Restores the state from its records; an empty database gives the empty state.
    ///
    /// # Errors
    /// [`MetaError`] where a record is damaged or from a newer program, or the engine fails.
    pub fn load(engine: &dyn KvRead) -> Result<Self, MetaError> {
        let mut state = Self::default();
        let mut damaged = None;
        let mut end = record::META_PREFIX.to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let range = KeyRange::new(record::META_PREFIX, end);
        engine.scan(Family::RaftMeta, &range, ScanDirection::Forward, &mut |key, value| {
            let restored = state.restore(key, &Bytes::copy_from_slice(value));
            damaged = restored
                .err()
                .map(|cause| MetaError::Record { key: flotilla_base::key::display(key), cause });
            damaged.is_none()
        })?;
        damaged.map_or(Ok(state), Err)
    }

    fn restore(&mut self, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        match key {
            record::CLUSTER => self.take_cluster(record::read(value, read_cluster)?),
            record::SETTINGS => self.restore_settings(&record::read(value, read_pairs)?)?,
            record::SCHEDULERS => {
                self.policy.schedulers = record::read(value, read_schedulers)?;
            }
            record::RULES => self.policy.rules = record::read(value, RuleBook::read)?,
            record::ALLOC_ID => self.last_id = record::read(value, RecordReader::number)?,
            record::TIMESTAMP => {
                self.tso_window_end_ms = record::read(value, RecordReader::number)?;
            }
            record::BOOTSTRAP => self.bootstrap = Some(record::read(value, BootstrapPlan::read)?),
            _ if key.starts_with(record::STORE_PREFIX) => {
                let store = record::read(value, StoreRecord::read)?;
                self.stores.insert(store.id, store);
            }
            _ if key.starts_with(record::STORE_POLICY_PREFIX) => {
                let policy = record::read(value, StorePolicy::read)?;
                let store = record::store_of(record::STORE_POLICY_PREFIX, key)?;
                self.policy.stores.insert(store, policy);
            }
            _ if key.starts_with(record::FORGOTTEN_PREFIX) => {
                record::read(value, |_nothing| Ok(()))?;
                self.forgotten.insert(record::store_of(record::FORGOTTEN_PREFIX, key)?);
            }
            _ => return Err(CodecError::Meaningless("key of the placement driver's state")),
        }
        Ok(())
    }

    /// They were possible together when they were set, whatever their order.
    fn restore_settings(&mut self, settings: &[(String, String)]) -> Result<(), CodecError> {
        let is_last = |name: &str| name == ISOLATION_LEVEL;
        let (last, first): (Vec<_>, Vec<_>) = settings.iter().partition(|(name, _)| is_last(name));
        for (name, value) in first.into_iter().chain(last) {
            let set = self.policy.set(name, value);
            set.map_err(|_refusal| CodecError::Meaningless("setting"))?;
        }
        Ok(())
    }
}

fn read_schedulers(
    reader: &mut RecordReader,
) -> Result<BTreeMap<SchedulerName, SchedulerPolicy>, CodecError> {
    let count = reader.number()?;
    let mut schedulers = BTreeMap::new();
    for _scheduler in 0..count {
        let name = SchedulerName::read(reader)?;
        schedulers.insert(name, SchedulerPolicy::read(reader)?);
    }
    Ok(schedulers)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
