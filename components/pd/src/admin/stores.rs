//! How stores are treated, and that they leave or stay.

use std::collections::BTreeMap;

use flotilla_base::{RegionId, StoreId};
use flotilla_pdcore::{Decided, Denied, Leading};
use flotilla_placement::{Leave, StorePolicy, StoreRecord, StoreState};
use flotilla_proto::placement as wire;
use flotilla_telemetry::clock::unix_millis;

use super::{Unwanted, decide};
use crate::{core::Request, handle::CoreHandle};

/// A weight is at most this.
const WEIGHT_MAX: f64 = 1_000.0;
const WEIGHT_POSSIBLE: &str = "a number from 0 to 1000 is possible; 1 is usual";
/// A store cannot be worked on for longer: somebody would have forgotten it.
const MAINTAIN_MAX_MS: u64 = 30 * 86_400_000;
/// Regions whose reasons are told; the others are counted.
const STUCK_TOLD_MAX: usize = 20;

/// Limits of a store, peers in a minute: `None` leaves one as it is, `Some(None)` gives it back to the settings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub add: Option<Option<u32>>,
    pub remove: Option<Option<u32>>,
}

/// What changes in how a store is treated.
#[derive(Clone, Debug)]
pub(crate) enum StoreChange {
    /// Labels that are set by hand.
    Label {
        /// In place of all that were set before.
        is_all: bool,
        /// With these values.
        set: Vec<(String, String)>,
        /// These are not set any more.
        delete: Vec<String>,
    },
    /// Its shares; `None` leaves one as it is.
    Weigh { leader: Option<f64>, region: Option<f64> },
    /// Its limits.
    Limit(Limits),
    /// It is being worked on for so long from now; 0 ends it.
    Maintain { millis: u64 },
}

impl StoreChange {
    /// What it makes of how a store is treated.
    fn apply(self, record: &StoreRecord, policy: &mut StorePolicy) -> Result<(), Unwanted> {
        match self {
            Self::Label { is_all, set, delete } => {
                if is_all {
                    policy.labels.clear();
                }
                for (key, value) in set {
                    policy.labels.retain(|(own, _)| *own != key);
                    policy.labels.push((key, value));
                }
                for key in delete {
                    take_label(record, policy, key)?;
                }
                policy.check()?;
            }
            Self::Weigh { leader, region } => {
                if let Some(weight) = leader {
                    policy.leader_weight_permille = permille("the leader weight", weight)?;
                }
                if let Some(weight) = region {
                    policy.region_weight_permille = permille("the region weight", weight)?;
                }
            }
            Self::Limit(Limits { add, remove }) => {
                policy.add_peers_per_minute = add.unwrap_or(policy.add_peers_per_minute);
                policy.remove_peers_per_minute = remove.unwrap_or(policy.remove_peers_per_minute);
            }
            Self::Maintain { millis: 0 } => policy.maintained_until_unix_ms = 0,
            Self::Maintain { millis } if millis > MAINTAIN_MAX_MS => {
                let possible = "at most 720h are possible, after which it counts as down";
                let what = "the time that a store is worked on";
                return Err(Unwanted::Number { what, value: format!("{millis} ms"), possible });
            }
            Self::Maintain { millis } => policy.maintained_until_unix_ms = unix_millis() + millis,
        }
        Ok(())
    }
}

fn take_label(record: &StoreRecord, policy: &mut StorePolicy, key: String) -> Result<(), Unwanted> {
    let before = policy.labels.len();
    policy.labels.retain(|(own, _)| *own != key);
    if policy.labels.len() < before {
        return Ok(());
    }
    let is_own = record.labels.iter().any(|(own, _)| *own == key);
    let unwanted = if is_own { Unwanted::OwnLabel } else { Unwanted::NoLabel };
    Err(unwanted(record.id, key))
}

fn permille(what: &'static str, weight: f64) -> Result<u32, Unwanted> {
    if !(0.0..=WEIGHT_MAX).contains(&weight) {
        let possible = WEIGHT_POSSIBLE;
        return Err(Unwanted::Number { what, value: weight.to_string(), possible });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number between 0 and a million"
    )]
    let permille = (weight * 1_000.0).round() as u32;
    Ok(permille)
}

/// Changes how a store is treated.
pub(crate) async fn treat(
    core: &CoreHandle,
    store: StoreId,
    change: StoreChange,
) -> Result<(), Unwanted> {
    let change = move |sight: &Leading<'_>| {
        let record = &sight.store(store)?.record;
        let mut policy = sight.state().policy().store(store).clone();
        change.apply(record, &mut policy)?;
        Ok((Decided::Store(store, policy), ()))
    };
    decide(core, change).await
}

/// Sets limits of all stores that have these labels, one after the other.
pub(crate) async fn limit_stores(
    core: &CoreHandle,
    limits: Limits,
    labels: Vec<(String, String)>,
) -> Result<(), Unwanted> {
    let stores = core.glance(|sight| sight.stores()).await?;
    let has_all = |own: Vec<(String, String)>| labels.iter().all(|label| own.contains(label));
    let stay = stores.iter().filter(|entry| entry.record.state != StoreState::Tombstone);
    for entry in stay.filter(|entry| has_all(entry.labels())) {
        treat(core, entry.record.id, StoreChange::Limit(limits)).await?;
    }
    Ok(())
}

/// Sets the limit that all stores have which have none of their own, and takes away those of their own.
pub(crate) async fn set_all_limits(core: &CoreHandle, peers: u32) -> Result<(), Unwanted> {
    let setting = ("schedule.store-limit".to_owned(), Some(peers.to_string()));
    super::set(core, vec![setting]).await?;
    limit_stores(core, Limits { add: Some(None), remove: Some(None) }, Vec::new()).await
}

/// The limits in force of each store that has not left: peers that may come and go in a minute.
pub(crate) fn limits(sight: &Leading<'_>) -> BTreeMap<StoreId, (u32, u32)> {
    let policy = sight.state().policy();
    let usual = policy.settings.limits.store_peers_per_minute;
    let members = sight.state().stores().values();
    let stay = members.filter(|record| record.state != StoreState::Tombstone);
    let limits = stay.map(|record| {
        let own = policy.store(record.id);
        let (add, remove) = (own.add_peers_per_minute, own.remove_peers_per_minute);
        (record.id, (add.unwrap_or(usual), remove.unwrap_or(usual)))
    });
    limits.collect()
}

/// A store is to be emptied.
pub(crate) async fn drain(core: &CoreHandle, id: StoreId) -> Result<(), Denied> {
    let leave = Leave::Drain;
    core.ask(|reply| Request::RemoveStore { id, leave, reply }).await?;
    let carried = core.glance(move |sight| sight.regions().load(id)).await?;
    core.progress.begin(id, carried);
    Ok(())
}

/// A store that was to leave stays.
pub(crate) async fn stay(core: &CoreHandle, id: StoreId) -> Result<(), Unwanted> {
    decide(core, move |sight| {
        let _known = sight.store(id)?;
        Ok((Decided::StoreStays(id), ()))
    })
    .await?;
    core.progress.end(id);
    Ok(())
}

/// Tombstones are listed no more: these, or all where none is named. Which those are.
pub(crate) async fn forget(
    core: &CoreHandle,
    named: Vec<StoreId>,
) -> Result<Vec<StoreId>, Unwanted> {
    let _one_at_a_time = core.deciding.lock().await;
    let gone = core.glance(move |sight| forgettable(sight, named)).await??;
    if !gone.is_empty() {
        super::administer(core, Decided::StoresForgotten(gone.clone())).await?;
    }
    Ok(gone)
}

/// Those of the stores that may be forgotten: nobody counts on them any more, as far as all leaders say.
fn forgettable(sight: &Leading<'_>, named: Vec<StoreId>) -> Result<Vec<StoreId>, Unwanted> {
    let all = sight.state().stores().values();
    let all = all.filter(|record| record.state == StoreState::Tombstone).map(|record| record.id);
    let ids = if named.is_empty() { all.collect() } else { named };
    sight.state().check_forgetting(&ids)?;
    if let Some(gap) = sight.scheduling().gap().filter(|_| !ids.is_empty()) {
        return Err(Unwanted::Early(gap));
    }
    for id in &ids {
        if let Some(info) = sight.regions().of_store(*id, RegionId(0)).next() {
            return Err(Unwanted::StillNamed(*id, info.region.id));
        }
    }
    Ok(ids)
}

/// All stores that have not left, and how far those are that leave.
pub(crate) fn list_stores(sight: &Leading<'_>) -> wire::ListStoresResponse {
    let stores = sight.state().stores().values();
    let stay = stores.filter(|record| record.state != StoreState::Tombstone);
    wire::ListStoresResponse {
        stores: stay.filter_map(|record| store_to_wire(sight, record.id)).collect(),
        waiting_regions: sight.mind().wanting() as u64,
        stuck_regions: sight.mind().decisions().stuck_count() as u64,
    }
}

/// How a store is treated.
pub(super) fn store_to_wire(sight: &Leading<'_>, id: StoreId) -> Option<wire::Store> {
    let entry = sight.store(id).ok()?;
    let (add, remove) = limits(sight).get(&id).copied().unwrap_or_default();
    let label = |(key, value)| wire::Label { key, value };
    let share = |permille: u32| f64::from(permille) / 1_000.0;
    Some(wire::Store {
        store_id: id.get(),
        labels: entry.labels().into_iter().map(label).collect(),
        leader_weight: share(entry.policy.leader_weight_permille),
        region_weight: share(entry.policy.region_weight_permille),
        add_peers_per_minute: add,
        remove_peers_per_minute: remove,
        maintained_until_unix_ms: entry.policy.maintained_until_unix_ms,
        drain: (entry.record.state == StoreState::Offline).then(|| drain_to_wire(sight, id)),
        region_bytes: entry.load.region_bytes,
    })
}

fn drain_to_wire(sight: &Leading<'_>, store: StoreId) -> wire::Drain {
    let load = sight.regions().load(store);
    let on_it = |region: &RegionId| {
        let info = sight.regions().by_id(*region);
        info.is_some_and(|info| info.region.peer_on(store).is_some())
    };
    let stuck: Vec<_> =
        sight.mind().decisions().all_stuck().filter(|(region, _)| on_it(region)).collect();
    let moving = sight.operators().iter().filter(|running| on_it(&running.plan.region)).count();
    let told = stuck.iter().take(STUCK_TOLD_MAX).map(|(region, idle)| wire::StuckRegion {
        region_id: region.get(),
        reason: Some(super::explain::reason_to_wire(idle)),
    });
    wire::Drain {
        regions_left: load.regions,
        bytes_left: load.region_bytes,
        moving: moving as u64,
        stuck: told.collect(),
        stuck_regions: stuck.len() as u64,
    }
}
