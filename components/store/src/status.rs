//! What the store's status server shows: its metrics, its configuration, and whether it should get
//! requests.

use std::sync::Arc;

use flotilla_base::{ByteSize, RegionId};
use flotilla_telemetry::{Check, StatusRoutes, render};

use crate::{config::StoreConfig, host::Shared, metrics::Volume, pd_link::PdLink};

/// Below this much free space no new requests should come: what is under way must still find room.
const DISK_RESERVE: ByteSize = ByteSize::mib(64);

/// Entries of one region that may wait to be applied: above what full load brings about, below what a restart may
/// have to catch up with.
const APPLY_LAG_MAX: u64 = 100_000;

/// The routes of one store; registers the gauges that are read at each scrape.
pub(crate) fn routes(config: &StoreConfig, shared: &Shared, link: &Arc<PdLink>) -> StatusRoutes {
    watch(config, shared, link);
    let shown = config.to_json();
    let (router, joined, data_dir) =
        (shared.router.clone(), Arc::clone(link), config.data_dir.clone());
    let regions = Check::new("regions", move || {
        // A store that joined later may have none; one of the first stores waits for its share.
        let has_joined = joined.is_bootstrapped() || !router.regions().is_empty();
        has_joined.then_some(()).ok_or_else(|| "waiting for the first regions".to_owned())
    });
    let disk = Check::new("disk", move || match Volume::of(&data_dir).available {
        available if available < DISK_RESERVE => Err(format!("only {available} are free")),
        _enough => Ok(()),
    });
    let behind = shared.router.clone();
    let apply = Check::new("apply", move || is_within_reach(behind.delegates().furthest_behind()));
    let (unfinished, clock) = (shared.unfinished.clone(), shared.clock);
    let threads = Check::new("threads", move || unfinished.check(clock.now()));
    let registry = shared.metrics.registry().clone();
    StatusRoutes {
        metrics: Arc::new(move || render(&registry)),
        live: vec![threads],
        ready: vec![regions, apply, disk],
        config: Arc::new(move || shown.clone()),
    }
}

/// Whether the data is near enough to what is committed that reads need not wait for long.
fn is_within_reach(furthest_behind: Option<(RegionId, u64)>) -> Result<(), String> {
    match furthest_behind {
        Some((region, entries)) if entries > APPLY_LAG_MAX => {
            Err(format!("region {region} has {entries} committed entries to apply"))
        }
        _none_or_near => Ok(()),
    }
}

fn watch(config: &StoreConfig, shared: &Shared, link: &Arc<PdLink>) {
    let (router, led) = (shared.router.clone(), Arc::clone(link));
    shared.metrics.watch_regions(move || (router.regions().len(), led.led_regions()));
    shared.metrics.watch_transport(&shared.peers);
    shared.metrics.watch_volume(config.data_dir.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_ready_while_its_data_is_within_reach_of_what_is_committed() {
        let region = RegionId(2);
        assert_eq!(is_within_reach(None), Ok(()));
        assert_eq!(is_within_reach(Some((region, APPLY_LAG_MAX))), Ok(()));
        let behind = is_within_reach(Some((region, APPLY_LAG_MAX + 1)));
        let why = "region 2 has 100001 committed entries to apply";
        assert_eq!(behind, Err(why.to_owned()));
    }
}
