//! Which schedulers run, and how.

use flotilla_base::StoreId;
use flotilla_pdcore::{Decided, Leading};
use flotilla_placement::{SchedulerName, SchedulerPolicy};
use flotilla_proto::placement as wire;
use flotilla_telemetry::clock::unix_millis;

use super::{Unwanted, decide, explain::reason_to_wire};
use crate::handle::CoreHandle;

/// What becomes of a scheduler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SchedulerChange {
    /// It runs, for this store where it is for some only.
    Add(Option<StoreId>),
    /// It does not run any more, or not for this store.
    Remove(Option<StoreId>),
    /// It does nothing for so long; 0 lets it go on.
    Pause { millis: u64 },
}

/// The scheduler of this name, and the store that a name of the old kind ends with: `evict-leader-scheduler-4`.
fn named(text: &str) -> Result<(SchedulerName, Option<StoreId>), Unwanted> {
    if let Some(name) = SchedulerName::parse(text) {
        return Ok((name, None));
    }
    let old = text.rsplit_once('-').and_then(|(front, id)| {
        let name = SchedulerName::parse(front).filter(|name| name.takes_stores())?;
        Some((name, Some(StoreId(id.parse().ok()?))))
    });
    old.ok_or_else(|| Unwanted::UnknownScheduler(text.to_owned()))
}

/// Changes a scheduler. Whether a store was added to one that ran already.
pub(crate) async fn change_scheduler(
    core: &CoreHandle,
    name: &str,
    change: SchedulerChange,
) -> Result<bool, Unwanted> {
    let (name, store) = named(name)?;
    let change = match (change, store) {
        (SchedulerChange::Remove(None), Some(_)) => SchedulerChange::Remove(store),
        (SchedulerChange::Add(None), Some(_)) => SchedulerChange::Add(store),
        (change, _) => change,
    };
    decide(core, move |sight| {
        let running = sight.state().policy().schedulers.get(&name).cloned();
        let joins = running.is_some() && matches!(change, SchedulerChange::Add(_));
        Ok((Decided::Scheduler(name, apply(name, change, running)?), joins))
    })
    .await
}

fn apply(
    name: SchedulerName,
    change: SchedulerChange,
    running: Option<SchedulerPolicy>,
) -> Result<Option<SchedulerPolicy>, Unwanted> {
    let not_running = || Unwanted::SchedulerNotRunning(name);
    match change {
        SchedulerChange::Add(_) if running.is_some() && !name.takes_stores() => {
            Err(Unwanted::SchedulerRuns(name))
        }
        SchedulerChange::Add(store) => {
            let mut policy = running.unwrap_or_default();
            policy.stores.extend(store);
            Ok(Some(policy))
        }
        SchedulerChange::Remove(None) => running.map(|_runs| None).ok_or_else(not_running),
        SchedulerChange::Remove(Some(store)) => {
            let mut policy = running.ok_or_else(not_running)?;
            // Which store is slow is not for people to say.
            if !name.takes_stores() || !policy.stores.remove(&store) {
                return Err(Unwanted::NotItsStore(name, store));
            }
            Ok(Some(policy).filter(|policy| !policy.stores.is_empty()))
        }
        SchedulerChange::Pause { millis } => {
            let mut policy = running.ok_or_else(not_running)?;
            let until = |millis| unix_millis().saturating_add(millis);
            policy.paused_until_unix_ms = if millis == 0 { 0 } else { until(millis) };
            Ok(Some(policy))
        }
    }
}

/// All schedulers, those that run first.
pub(crate) fn schedulers(sight: &Leading<'_>) -> Vec<wire::Scheduler> {
    let all = SchedulerName::ALL.into_iter().map(|name| scheduler_to_wire(sight, name));
    let mut all: Vec<wire::Scheduler> = all.collect();
    all.sort_by_key(|scheduler| !scheduler.runs);
    all
}

pub(super) fn scheduler_to_wire(sight: &Leading<'_>, name: SchedulerName) -> wire::Scheduler {
    let policy = sight.state().policy().schedulers.get(&name);
    let until = policy.map_or(0, |policy| policy.paused_until_unix_ms);
    let stores = policy.into_iter().flat_map(|policy| &policy.stores);
    let idle = sight.mind().decisions().idle(name.name()).filter(|_| policy.is_some());
    let own = sight.operators().iter().filter(|running| running.asked_by == name.name());
    wire::Scheduler {
        name: name.to_string(),
        runs: policy.is_some(),
        paused_until_unix_ms: if until > unix_millis() { until } else { 0 },
        stores: stores.map(|store| store.get()).collect(),
        idle: idle.map(reason_to_wire),
        running: own.count() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_old_kind_end_with_a_store() {
        let named = |text: &str| named(text).ok();
        let evict = SchedulerName::EvictLeader;
        assert_eq!(named("evict-leader-scheduler"), Some((evict, None)));
        assert_eq!(named("evict-leader"), Some((evict, None)));
        assert_eq!(named("evict-leader-scheduler-4"), Some((evict, Some(StoreId(4)))));
        for unknown in ["balance-leader-scheduler-4", "evict-leader-scheduler-x", "", "-", "label"]
        {
            assert_eq!(named(unknown), None, "{unknown}");
        }
    }
}
